"""Faster scores with equal results: batch norms folded, CUDA graphs, freed memory kept."""

__all__ = ["folding", "graphs", "heap"]

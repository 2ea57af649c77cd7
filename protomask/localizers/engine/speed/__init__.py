"""What makes learning masks fast and changes no result: folded BatchNorm, CUDA graphs, kept memory."""

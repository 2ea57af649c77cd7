"""What a score must be, whoever asks for it."""

from __future__ import annotations

from torch import Tensor

from protomask.errors import InputError, type_named


def require_scores(scores: Tensor, index: Tensor, name: str) -> Tensor:
    """Return ``scores`` as they are; InputError where they are not one per number of ``index`` (N,).

    Args:
        name: of what gave them, as ``Classifier.score``.
    """
    if not isinstance(scores, Tensor):
        raise InputError(f"{name} gave {type_named(scores)}; it must give one score per image, a tensor of torch")
    if scores.shape != index.shape:
        raise InputError(
            f"{name} gave the shape {tuple(scores.shape)} for {len(index)} images; "
            f"it must give one score per image, ({len(index)},)"
        )
    return scores

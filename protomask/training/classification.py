"""The classification term of every network: cross-entropy for one class, a balanced focal loss for findings."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from protomask.labels import is_multi_label


def balanced_focal(
    logits: Tensor, labels: Tensor, gamma: float = 2.0, counts: Tensor | None = None, images: int | None = None
) -> Tensor:
    """Compute a focal cross-entropy per finding, in which positive images weigh together as much as negative ones.

    For finding c, with p the sigmoid of its logit, N+ images that have it and N- that do not:
    1/N+ * sum over the former of -(1-p)^gamma log p, plus 1/N- * sum over the latter of -p^gamma log(1-p); a side
    without images is left out. The mean over findings is returned.

    Known: XProtoNet's loss is focal, with exponent 2, and weighted by the numbers of positive and negative images. That
    they are counted in the batch, and the mean over findings, is a reconstruction.

    Args:
        logits: (B, C).
        labels: (B, C), 1 or 0.
        gamma: >= 0; 0 gives the balanced cross-entropy.
        counts, images: (C,) images that have each finding, and how many there are, where these rows are a part of more:
            the losses of all parts then sum to that of the whole.
    """
    # The negative of log(sigmoid): exact also where the sigmoid rounds to 0 or 1.
    positive = F.softplus(-logits) * (-logits).sigmoid().pow(gamma)
    negative = F.softplus(logits) * logits.sigmoid().pow(gamma)
    counts, images = labels.sum(0) if counts is None else counts, len(labels) if images is None else images
    found = (labels * positive).sum(0) / counts.clamp_min(1)
    missed = ((1 - labels) * negative).sum(0) / (images - counts).clamp_min(1)
    return (found + missed).mean()


def classification_terms(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> dict[str, Tensor]:
    """Compute the classification term, under its name for the log.

    ``cross_entropy`` for labels (B,), ``focal`` for findings (B, C), which are not smoothed.
    """
    if is_multi_label(labels):
        return {"focal": balanced_focal(logits, labels)}
    return {"cross_entropy": F.cross_entropy(logits, labels, label_smoothing=label_smoothing)}

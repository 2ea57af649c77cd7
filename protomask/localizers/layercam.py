"""LayerCAM (Jiang et al., IEEE Transactions on Image Processing 2021)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from protomask.explainable import Explainable
from protomask.localizers.gradcam import activation_maps, require_pairs_together


@dataclass(frozen=True)
class LayerCAM:
    """Weight each place of the feature maps by its own positive gradient: relu(sum_k relu(ds/dA_k) * A_k).

    Unlike Grad-CAM's, its weights differ from place to place, so that earlier, finer layers can be shown, too.
    Published for logits: ``Classifier(model, score="logit")``.

    Args:
        layer, batch_size: see :class:`protomask.localizers.GradCAM`.

    Cost: one forward-backward pass per pair.
    """

    layer: str | None = None
    batch_size: int = 8

    def __post_init__(self) -> None:
        require_pairs_together("LayerCAM", self.batch_size)

    def __call__(self, explained: Explainable, images: Tensor, index: Tensor, *, progress: bool = False) -> Tensor:
        """See :class:`protomask.localizers.Localizer`; needs a feature map inside the model."""

        def combine(features: Tensor, slope: Tensor) -> Tensor:
            return (slope.relu() * features).sum(1).relu()

        return activation_maps(explained, images, index, combine, self.layer, self.batch_size, "LayerCAM", progress)

"""Layer-wise relevance propagation, and for prototypes PRP, by zennit's rules (``pip install zennit``)."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from importlib.util import find_spec

import torch
from torch import Tensor, nn
from tqdm import tqdm

from protomask.capabilities import SharesSimilarity
from protomask.copying import functions_see_modules, hooked
from protomask.errors import InputError
from protomask.explainable import Classifier, Explainable
from protomask.freezing import frozen, held_modules, require_plain
from protomask.given import as_count
from protomask.localizers.base import check_pairs, min_max, name_of_model, require_finite
from protomask.localizers.engine.speed.folding import answers_alike, fold_batch_norms
from protomask.localizers.relevance_rules import Canonized, conv_rules, refuse
from protomask.places import check_numbers

WITHOUT_RULE = (
    *(nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
    *(nn.MultiheadAttention, nn.ConvTranspose2d),
)


@dataclass(frozen=True)
class LRP:
    """Hand the score back from layer to layer down to the pixels, so that the relevances sum to it.

    On classes, layer-wise relevance propagation (Bach et al., PLOS ONE 2015) of the logit. On prototypes, prototypical
    relevance propagation (PRP; Gautam et al., Pattern Recognition 2022) of the similarity: it is shared among the
    channels of the most similar patch z by 1 / (z - p)^4, as in their code, and sinks from there. A cosine has no rule
    of theirs; it is shared by the positive terms of its dot product (ours).

    Rules as theirs: alpha 1, beta 0 without biases for convolutions; z-box for the first one; epsilon for linear
    layers; in proportion for sums, differences and means; batch norms are folded into the convolutions before them, on
    a copy. What is shown is the sum over the channels of a pixel, negative values cut off.

    For convolutional networks. Cost: one forward-backward pass and some four times the work of a backward pass.

    Args:
        batch_size: pairs computed together.
    """

    batch_size: int = 8

    def __post_init__(self) -> None:
        if find_spec("zennit") is None:
            raise InputError(
                "localizers 'lrp' and 'prp' need zennit, which is not installed; install it with: pip install zennit"
            )
        as_count(self.batch_size, "LRP: batch_size")

    def __call__(self, explained: Explainable, images: Tensor, index: Tensor, *, progress: bool = False) -> Tensor:
        """See :class:`protomask.localizers.Localizer`; needs a classifier or a network that shares its similarity."""
        return min_max(self.relevance(explained, images, index, progress=progress).sum(1).relu())

    def relevance(self, explained: Explainable, images: Tensor, index: Tensor, *, progress: bool = False) -> Tensor:
        """Compute the relevance of every pixel and channel, (B, 3, H, W) float32, signed.

        It sums to the similarity, or to the logit less what the biases of linear layers account for.

        Raises:
            InputError: as :meth:`__call__`; or a layer that has no rule here.
        """
        index = check_pairs(images, index, explained).long()
        if not len(images):
            raise InputError("there are no images to explain; give at least one")
        _require_rules(explained)
        with torch.inference_mode(False), torch.enable_grad(), frozen(explained):
            images, index = images.detach().clone(), index.detach().clone()
            folded = fold_batch_norms(explained, images, index)
            private = _copy(explained, images, index) if folded is explained else folded
            with frozen(private):
                return self._propagate(private, images, index, progress)

    def _propagate(self, private: Explainable, images: Tensor, index: Tensor, progress: bool) -> Tensor:
        roots = held_modules(private)
        rules = conv_rules(_first_convolution(private, roots, images[:1], index[:1]), *_range(private, images))
        found = []
        bar = tqdm(total=len(images), desc="relevance", unit="map", disable=not progress)
        contexts = [rules.context(root) for root in roots]
        with bar:
            for context in contexts:
                context.__enter__()
            try:
                for start in range(0, len(images), self.batch_size):
                    part = slice(start, start + self.batch_size)
                    pixels = images[part].clone().requires_grad_()
                    try:
                        with Canonized(roots):
                            output, seed = _seed(private, pixels, index, start)
                    except AttributeError as error:
                        if "register_hook" not in str(error):  # zennit's, at a layer whose output has no history
                            raise
                        raise _without_gradient(private) from error
                    found.append(_gradient(output, pixels, seed, private).float())
                    bar.update(len(pixels))
            finally:
                for context in contexts:
                    context.__exit__(None, None, None)
        return torch.cat(found)


def _without_gradient(private: Explainable) -> InputError:
    return InputError(
        f"the score of {name_of_model(private)} has no gradient with respect to the images; relevance propagation "
        "needs one"
    )


def _gradient(output: Tensor, pixels: Tensor, seed: Tensor, private: Explainable) -> Tensor:
    found = torch.autograd.grad(output, pixels, seed, allow_unused=True)[0] if output.requires_grad else None
    if found is None:
        raise _without_gradient(private)
    return found.detach()


def _seed(private: Explainable, pixels: Tensor, index: Tensor, start: int) -> tuple[Tensor, Tensor]:
    """Return the tensor where the propagation starts, and the relevance of each of its values.

    Args:
        pixels: of some of the images, from number ``start`` on.
        index: of all images.
    """
    places = range(start, start + len(pixels))
    part = index[start : places.stop]
    if isinstance(private, SharesSimilarity):
        shared = private.similarity_shares(pixels, part)
        require_finite(shared.similarities, private, places)
        return shared.features, shared.similarities.view(-1, 1, 1, 1) * shared.shares
    assert isinstance(private, Classifier)
    logits = private.logits(pixels)
    check_numbers(index, logits.shape[1], "class")  # of all images: none is worked on before a wrong one is found
    chosen = torch.zeros_like(logits).scatter(1, part[:, None], 1.0)
    require_finite((logits * chosen).sum(1), private, places)
    return logits, (logits * chosen).detach()


def _copy(explained: Explainable, images: Tensor, index: Tensor) -> Explainable:
    """Copy what is explained, so that rules can be set in its layers.

    Raises:
        InputError: that is impossible, or the copy answers otherwise, since a hook sees the original.
    """
    reason = ""
    try:
        private = copy.deepcopy(explained)
        if not hooked(held_modules(explained)) or answers_alike(explained, private, images, index):
            return private
    except Exception as error:  # whatever a user's own class or hook raises
        reason = f" ({type(error).__name__}: {' '.join(str(error).split())[:120]})"
    raise InputError(
        f"relevance propagation works on a copy of {type(explained).__name__}, which cannot stand for it{reason}; take "
        "away hooks and what they keep, or explain it by what needs scores alone: mdm, rise, occlusion"
    )


def _require_rules(explained: Explainable) -> None:
    if not isinstance(explained, SharesSimilarity | Classifier):
        raise InputError(
            f"relevance propagation explains classifiers and prototype networks with similarity_shares(), but "
            f"{type(explained).__name__} is neither; those that need scores alone can explain it: mdm, rise, occlusion"
        )
    roots = held_modules(explained)
    require_plain(roots, "relevance propagation")
    if not any(isinstance(module, nn.Conv2d | nn.Linear) for root in roots for module in root.modules()):
        raise InputError(
            f"relevance propagation finds no convolution or linear layer in {type(explained).__name__}, so it has no "
            "rules for what it computes (an exported program has none either); give the module that was exported, or "
            "explain it by what needs scores alone: mdm, rise, occlusion"
        )
    if functions_see_modules(explained):
        raise InputError(
            f"relevance propagation sets rules in the layers of a copy, but a function in an attribute of "
            f"{type(roots[0]).__name__} calls those of the original; make it a method, or explain it by what needs "
            "scores alone: mdm, rise, occlusion"
        )
    for root in roots:
        for name, module in root.named_modules():
            if isinstance(module, WITHOUT_RULE):
                raise refuse(type(module).__name__, name or type(root).__name__)


def _first_convolution(
    explained: Explainable, roots: list[nn.Module], image: Tensor, index: Tensor
) -> nn.Module | None:
    """Find the convolution that runs first."""
    called: list[nn.Module] = []
    handles = [
        module.register_forward_pre_hook(lambda module, _: called.append(module))
        for root in roots
        for module in root.modules()
        if isinstance(module, nn.Conv2d)
    ]
    try:
        with torch.no_grad():
            explained.score(image, index)
    finally:
        for handle in handles:
            handle.remove()
    return called[0] if called else None


def _range(explained: Explainable, images: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Black and white after normalisation, (1, 3, 1, 1) each, where the model knows it."""
    mean, std = getattr(explained, "mean", None), getattr(explained, "std", None)
    if mean is None or std is None or len(mean) != images.shape[1]:
        return None, None
    mean, std = (images.new_tensor(values).view(1, -1, 1, 1) for values in (mean, std))
    return -mean / std, (1 - mean) / std

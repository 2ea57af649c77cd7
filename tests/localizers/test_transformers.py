"""Transformers of timm of many kinds: localizers read the tokens that the head reads, or say why they cannot."""

import re

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

from protomask.errors import InputError
from protomask.explainable import Classifier
from protomask.localizers import AttentionRollout, Chefer, GradCAM
from protomask.localizers.base import min_max
from tests.localizers.test_attention import transformer
from tests.support.scores import pairs

TINY = {"pretrained": False, "img_size": 32, "num_classes": 5, "embed_dim": 24, "depth": 2, "num_heads": 2}
LOCALIZERS = pytest.mark.parametrize("localizer", [AttentionRollout(), Chefer()], ids=str)


def explain(localizer, model):
    size = (32, 48) if type(model) is timm.models.VisionTransformer else (32, 32)
    return localizer(Classifier(model.eval(), "logit"), *pairs(2, *size))


@LOCALIZERS
@pytest.mark.parametrize(
    "name, why",
    [
        ("cait_xxs24_224", "Cait has further attention after its blocks"),
        ("xcit_nano_12_p16_224", "Xcit has further attention after its blocks"),
        ("vit_small_patch16_18x2_224", "blocks that are not one plain attention each"),
    ],
)
def test_attention_that_is_not_from_token_to_token_is_refused(localizer, name, why):
    model = timm.create_model(name, **TINY)
    with pytest.raises(InputError, match=f"{why}.*mdm, rise, occlusion"):
        localizer(Classifier(model.eval(), "logit"), *pairs(1, 32, 32))


@LOCALIZERS
def test_differential_attention_is_refused(localizer):
    with pytest.raises(InputError, match="attention other than of each head from token to token"):
        explain(localizer, transformer(attn_layer="diff"))


@LOCALIZERS
@pytest.mark.parametrize("pool, why", [("map", "through attention pooling"), ("max", "'max'"), ("avgmax", "'avgmax'")])
@pytest.mark.parametrize("class_token", [True, False])
def test_other_pooling_is_refused(localizer, pool, why, class_token):
    with pytest.raises(InputError, match=f"VisionTransformer .*{why}.*mdm, rise, occlusion"):
        explain(localizer, transformer(global_pool=pool, class_token=class_token))


@LOCALIZERS
def test_two_transformers_are_refused(localizer):
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other = transformer(), transformer()

        def forward(self, images):
            return self.one(images) + self.other(images)

    with pytest.raises(InputError, match="holds 2 Transformers"):
        localizer(Classifier(Both().eval(), "logit"), *pairs(1, 32, 48))


def attention_of(model, images):
    """Each block's attention, with its gradient, and the logits; by the layers' own dropout, as a hook sees it."""
    seen, handles = [], []

    def keep(_, __, output):
        output.retain_grad()
        seen.append(output)

    for block in model.blocks:
        block.attn.fused_attn = False
        handles.append(block.attn.attn_drop.register_forward_hook(keep))
    logits = model(images.requires_grad_())
    for handle in handles:
        handle.remove()
    return logits, seen


def expected(model, images, index, weights, grid, chefer):
    """Weigh the rows of the tokens by ``weights`` (N,)."""
    logits, seen = attention_of(model, images.clone())
    logits.gather(1, index[:, None]).sum().backward()
    relevance = torch.eye(len(weights))
    for each in seen:
        if chefer:
            relevance = relevance + (each.grad * each).clamp(min=0).mean(1) @ relevance
        else:
            relevance = (each.mean(1) + torch.eye(len(weights))) / 2 @ relevance
    rows = (weights @ relevance.detach())[:, -grid[0] * grid[1] :]
    if chefer:  # without the identity, which of a mean is the same everywhere
        rows = rows - weights[-grid[0] * grid[1] :]
    size = tuple(images.shape[-2:])
    return min_max(F.interpolate(rows.unflatten(1, grid)[:, None], size, mode="bilinear")[:, 0])


@LOCALIZERS
def test_a_distilled_transformer_reads_both_of_its_tokens(localizer):
    torch.manual_seed(0)
    model = timm.create_model("deit_tiny_distilled_patch16_224", **{**TINY, "img_size": 64}).eval()
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.data *= 8
    images, index = pairs(2, 64, 64)
    found = localizer(Classifier(model, "logit"), images, index)
    both = torch.tensor([0.5, 0.5, *[0.0] * 16])
    plain = expected(model, images, index, both, (4, 4), isinstance(localizer, Chefer))
    torch.testing.assert_close(found, plain, atol=1e-4, rtol=0)


@LOCALIZERS
@pytest.mark.parametrize(
    "arguments, weights",
    [
        ({"global_pool": "avg", "class_token": False}, [1.0] * 24),
        ({"global_pool": "avg", "pool_include_prefix": True}, [1.0] * 25),
        ({"global_pool": "avg", "reg_tokens": 2}, [0.0] * 3 + [1.0] * 24),
        ({"global_pool": "token", "reg_tokens": 2}, [1.0] + [0.0] * 26),
    ],
)
def test_the_rows_are_those_of_the_tokens_that_the_head_reads(localizer, arguments, weights):
    model, (images, index) = transformer(**arguments), pairs(2, 32, 48)
    row = torch.tensor(weights) / sum(weights)
    plain = expected(model, images, index, row, (4, 6), isinstance(localizer, Chefer))
    found = localizer(Classifier(model, "logit"), images, index)
    torch.testing.assert_close(found, plain, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "name",
    ["vit_small_patch16_18x2_224", "vit_base_patch16_xp_224", "deit_tiny_distilled_patch16_224", "cait_xxs24_224"],
)
def test_the_layer_that_grad_cam_names_for_tokens_reaches_the_score(name):
    torch.manual_seed(0)
    explained = Classifier(timm.create_model(name, **TINY).eval(), "logit")
    with pytest.raises(InputError, match="ends in tokens") as told:
        GradCAM()(explained, *pairs(1, 32, 32))
    layer = re.search("layer='(.*)'", str(told.value))[1]
    assert GradCAM(layer=layer)(explained, *pairs(1, 32, 32)).shape == (1, 32, 32)

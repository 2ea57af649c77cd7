"""Attention rollout and Chefer's attribution against a plain forward pass that writes its attention down."""

import pytest
import timm
import torch
from torch.nn import functional as F

from protomask.backbones import build_backbone
from protomask.errors import InputError
from protomask.explainable import Classifier
from protomask.localizers import AttentionRollout, Chefer
from protomask.localizers.base import min_max
from protopnet.model import ProtoPNet
from tests.support.scores import Network, pairs


def transformer(**arguments):
    torch.manual_seed(0)
    model = timm.models.VisionTransformer(
        img_size=(32, 48), patch_size=8, embed_dim=24, depth=3, num_heads=2, num_classes=5, **arguments
    ).eval()
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:  # as they start, all tokens are attended to alike
            parameter.data *= 8
    return model


def plain(model, image, label):
    """Logits of one image (1, 3, H, W), each block's attention (heads, N, N), and its gradient, by hand."""
    tokens, seen = model.patch_embed(image), []
    tokens = model.norm_pre(model._pos_embed(tokens))
    for block in model.blocks:
        layer, entered = block.attn, block.norm1(tokens)
        query, key, value = layer.qkv(entered)[0].view(-1, 3, layer.num_heads, layer.head_dim).unbind(1)
        heads = []
        for head in range(layer.num_heads):
            attention = (query[:, head] @ key[:, head].T / layer.head_dim**0.5).softmax(1)
            attention.retain_grad()
            seen.append(attention)
            heads.append(attention @ value[:, head])
        tokens = tokens + layer.proj(torch.cat(heads, 1))[None]
        tokens = tokens + block.mlp(block.norm2(tokens))
    logits = model.forward_head(model.norm(tokens))
    logits[0, label].backward()
    blocks = [seen[2 * number : 2 * number + 2] for number in range(len(model.blocks))]
    return logits, blocks


def expected(model, image, label, chefer):
    logits, blocks = plain(model, image, label)
    torch.testing.assert_close(logits, model(image))
    size = len(blocks[0][0])
    relevance = torch.eye(size)
    for heads in blocks:
        if chefer:
            update = sum((head.grad * head).clamp(min=0) for head in heads) / len(heads)
            relevance = relevance + update @ relevance
        else:
            relevance = (0.5 * sum(heads) / len(heads) + 0.5 * torch.eye(size)) @ relevance
    row = relevance[0] if model.global_pool == "token" else relevance[1:].mean(0)
    return F.interpolate(row[1:].view(1, 1, 4, 6).detach(), (32, 48), mode="bilinear")[0]


@pytest.mark.parametrize("pool", ["token", "avg"])
@pytest.mark.parametrize("localizer", [AttentionRollout(batch_size=2), Chefer(batch_size=2)], ids=str)
def test_agreement_with_a_plain_version(localizer, pool):
    model, (images, _) = transformer(global_pool=pool), pairs(3, 32, 48)
    index = torch.tensor([4, 0, 2])
    found = localizer(Classifier(model, "logit"), images, index)
    maps = [expected(model, images[i : i + 1], index[i], isinstance(localizer, Chefer)) for i in range(3)]
    torch.testing.assert_close(found, min_max(torch.cat(maps)), atol=1e-4, rtol=0)
    assert all(block.attn.fused_attn == timm.layers.use_fused_attn() for block in model.blocks)
    assert not any(module._forward_hooks for module in model.modules())


def test_chefer_depends_on_the_class_and_rollout_does_not():
    explained, (images, _) = Classifier(transformer(), "logit"), pairs(1, 32, 48)
    one, other = (
        [localizer(explained, images, [label]) for localizer in (AttentionRollout(), Chefer())] for label in (0, 3)
    )
    assert torch.equal(one[0], other[0]) and not torch.allclose(one[1], other[1], atol=0.05)


def test_prototypes_of_a_transformer_read_their_own_patch():
    """With a prototype's row, two prototypes at different patches have different rollouts."""
    torch.manual_seed(0)
    backbone = build_backbone("vit_tiny_patch16_224:depth=2", image_size=64)
    network = ProtoPNet(backbone, ["a", "b"], image_size=64, prototypes_per_class=2, channels=8).eval()
    images = pairs(1, 64, 64)[0].expand(4, -1, -1, -1)
    cells = network.similarity_maps(images, torch.arange(4)).flatten(1).argmax(1)
    assert len(cells.unique()) > 1
    for localizer in (AttentionRollout(), Chefer()):
        found = localizer(network, images, torch.arange(4))
        assert found.shape == (4, 64, 64) and found.amax((1, 2)).min() > 0.99
        pair = (cells != cells[0]).nonzero()[0, 0]
        assert not torch.allclose(found[0], found[pair], atol=0.05)


def test_a_model_without_attention_is_refused():
    with pytest.raises(InputError, match="no vision Transformer.*'chefer'"):
        Chefer()(Network(), *pairs(1))
    with pytest.raises(InputError, match="no images"):
        AttentionRollout()(Classifier(transformer()), torch.zeros(0, 3, 32, 48), torch.zeros(0, dtype=torch.long))


@pytest.mark.parametrize("pool", ["token", "avg"])
def test_the_units_of_a_score_do_not_matter_to_chefer(pool):
    """A sure prediction's log-probability hardly has a slope; the order of the patches is there all the same."""
    explained, (images, index) = Classifier(transformer(global_pool=pool), "logit"), pairs(2, 32, 48)

    class Small:
        def __init__(self):
            self.explained = explained

        def score(self, images, index):
            return 1e-9 * explained.score(images, index)

    found = Chefer()(Small(), images, index)
    assert (found.amax((1, 2)) == 1).all()
    slightly = Chefer()(explained, images, index)
    assert torch.corrcoef(torch.stack([found.flatten(), slightly.flatten()]))[0, 1] > 0.9

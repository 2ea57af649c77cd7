"""A vision Transformer of timm: its attention layers, and the tokens that a score reads at its end."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from protomask.capabilities import HasSimilarityMaps
from protomask.errors import InputError
from protomask.explainable import Explainable
from protomask.freezing import held_modules, require_plain

_OTHERS = "those that need scores alone can explain it: mdm, rise, occlusion"


def attention_blocks(explained: Explainable, name: str) -> tuple[nn.Module, list[nn.Module]]:
    """Find the Transformer and its attention layers, one a block, in order.

    Args:
        name: of the localizer, for errors.

    Raises:
        InputError: there is none, or the score does not come from its tokens by one attention after the other.
    """
    roots = held_modules(explained)
    require_plain(roots, repr(name))
    found: list[nn.Module] = []
    within: set[nn.Module] = set()
    for module in (module for root in roots for module in root.modules()):
        if module not in within and _is_transformer(module):
            found.append(module)
            within.update(module.modules())
    if not found:
        raise InputError(
            f"{type(explained).__name__} holds no vision Transformer of timm with global attention, which {name!r} "
            f"needs; {_OTHERS}"
        )
    if len(found) > 1:
        raise InputError(
            f"{type(explained).__name__} holds {len(found)} Transformers, and {name!r} follows the attention of one; "
            f"explain each by itself; {_OTHERS}"
        )
    root = found[0]
    return root, _one_a_block(root, name)


def _is_transformer(module: nn.Module) -> bool:
    return (
        hasattr(module, "num_prefix_tokens")
        and isinstance(getattr(module, "blocks", None), nn.ModuleList | nn.Sequential)
        and any(hasattr(each, "fused_attn") and hasattr(each, "attn_drop") for each in module.modules())
    )


def _one_a_block(root: nn.Module, name: str) -> list[nn.Module]:
    attending = [module for module in root.modules() if hasattr(module, "attn_drop")]
    each_block = root.get_submodule("blocks").children()
    blocks = [[each for each in attending if each in set(block.modules())] for block in each_block]
    if len(attending) > sum(map(len, blocks)):
        refuse(root, "has further attention after its blocks, through which its class token joins", name)
    if any(len(block) != 1 or not hasattr(block[0], "fused_attn") for block in blocks):
        refuse(root, "has blocks that are not one plain attention each", name)
    return [block for (block,) in blocks]


def refuse(root: nn.Module, why: str, name: str) -> None:
    """Raise InputError: that Transformer ``why``, so the localizer has no map of it."""
    raise InputError(f"{type(root).__name__} {why}, which {name!r} cannot follow; {_OTHERS}")


def require_attention(seen: Sequence[Tensor], root: nn.Module, blocks: Sequence[nn.Module], name: str) -> None:
    """Raise InputError unless a pass has shown an attention (B, heads, N, N) among the same N tokens of each block."""
    if len(seen) != len(blocks) or not all(each.ndim == 4 for each in seen):
        raise InputError(f"the attention of {type(root).__name__} cannot be seen, so {name!r} cannot explain it")
    tokens = seen[0].shape[-1]
    for each, block in zip(seen, blocks):
        if each.shape[1:] != (getattr(block, "num_heads", each.shape[1]), tokens, tokens):
            refuse(root, "has attention other than of each head from token to token", name)


def weigh_tokens(
    explained: Explainable, root: nn.Module, images: Tensor, index: Tensor, like: Tensor, name: str
) -> Tensor:
    """Weigh the tokens by what the score reads: (B, N), for matrices ``like`` (..., N, N).

    That is a prototype's most similar patch, the class token, half of it and half of the distillation token, or the
    mean.

    Raises:
        InputError: the score reads them in another way.
    """
    tokens = like.shape[-1]
    prefix = int(getattr(root, "num_prefix_tokens", 0))
    row = like.new_zeros(len(images), tokens)
    if isinstance(explained, HasSimilarityMaps):
        maps = explained.similarity_maps(images, index).flatten(1)
        if maps.shape[1] == tokens - prefix:
            return row.scatter(1, prefix + maps.argmax(1, keepdim=True), 1.0)
        row[:, prefix:] = 1.0 / (tokens - prefix)
        return row
    pool = getattr(root, "global_pool", "token" if prefix else "avg")
    if getattr(root, "attn_pool", None) is not None:
        refuse(root, "reads its tokens through attention pooling", name)
    if pool == "token" and prefix:
        heads = 2 if hasattr(root, "head_dist") else 1  # what the logits are the mean of
        row[:, :heads] = 1.0 / heads
    elif pool in ("avg", ""):
        first = 0 if getattr(root, "pool_include_prefix", False) else prefix
        row[:, first:] = 1.0 / (tokens - first)
    else:
        refuse(root, f"pools its tokens by {pool!r}", name)
    return row

"""The rules of layer-wise relevance propagation: zennit's for weights, ours for what is no layer in PyTorch.

Residual sums, means and activations are function calls in most models, which no hook of a layer sees. While
:class:`Canonized` is active they get rules of their own, whatever the architecture; zennit's canonizers do the same for
torchvision's ResNet alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from protomask.errors import InputError
from protomask.localizers.relevance_calls import MOVED, PASSED, PROPORTIONAL, SAME, UNRULED, WEIGHTED

STABILIZER = 1e-9


def refuse(kind: str, where: str) -> InputError:
    """Make the error that names what has no rule.

    Args:
        kind: of the layer or function.
        where: name of the layer in the model, or what stands for it.
    """
    logits = " If the model ends in it, give the model without it: its logits." if "softmax" in kind.lower() else ""
    return InputError(
        f"relevance propagation has no rule for {kind} ({where}); it explains convolutional networks with batch norms."
        f"{logits} For others there are gradcam and mdm, for Transformers attention-rollout and chefer"
    )


class Canonized(TorchFunctionMode):
    """Give function calls their rules in the passes that run under it; backward passes are to run outside.

    - sums and differences of maps, means, average pooling: in proportion, R_i = x_i / (sum of x) * R (LRP-0);
    - products with the network's weights that are no layers: the same, which is the epsilon rule;
    - activations, batch norms that stand alone, factors: passed on unchanged;
    - a map times a gate (squeeze-and-excitation), or divided by something: all to the map, none to the gate.

    A normalisation over an image's own values (:data:`protomask.localizers.relevance_calls.UNRULED`) is an InputError;
    every other call without a rule is one where relevance comes to it.

    Args:
        roots: whose convolutions and linear layers have rules of their own (:func:`conv_rules`).
    """

    def __init__(self, roots: Sequence[nn.Module] = ()) -> None:
        super().__init__()
        self._layers = [each for root in roots for each in root.modules() if isinstance(each, nn.Conv2d | nn.Linear)]
        self._handles: list[RemovableHandle] = []
        self._within = 0

    def __enter__(self):
        def enter(*_: object) -> None:
            self._within += 1

        def leave(*_: object) -> None:
            self._within -= 1

        for layer in self._layers:
            self._handles += [layer.register_forward_pre_hook(enter), layer.register_forward_hook(leave)]
        return super().__enter__()

    def __exit__(self, *raised):
        while self._handles:
            self._handles.pop().remove()
        self._within = 0
        return super().__exit__(*raised)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name, kwargs = getattr(func, "__name__", "").strip("_"), kwargs or {}
        name = SAME.get(name, name)
        args, kwargs = _in_order(args, kwargs)
        learned = [place for place, value in enumerate(args) if isinstance(value, Tensor) and value.requires_grad]
        if self._within or not torch.is_grad_enabled():
            return func(*args, **kwargs)
        if learned and name in UNRULED:
            raise refuse(name, "a function call")
        if name in PROPORTIONAL and learned or name in ("add", "sub") and len(learned) == 2:
            return _Proportional.apply(lambda *values: func(*values, **kwargs), len(learned), *args)
        if name in WEIGHTED and len(learned) == 1:
            return _Proportional.apply(lambda *values: func(*values, **kwargs), len(learned), *args)
        if name in ("mul", "div") and len(learned) == 2:
            larger = 0 if name == "div" or args[0].numel() >= args[1].numel() else 1
            return _Passed.apply(lambda *values: func(*values, **kwargs), larger, *args)
        if len(learned) == 1 and name in PASSED:
            return _Passed.apply(lambda *values: func(*values, **kwargs), learned[0], *args)
        result = func(*args, **kwargs)
        if name not in MOVED:
            _refuse_relevance(result, args, name)
        return result


def _in_order(args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """Put maps that are given by name, as in ``torch.mean(input=maps)``, where they stand without it."""
    kwargs = dict(kwargs)
    for place, name in enumerate(("input", "other")):
        if len(args) == place and isinstance(kwargs.get(name), Tensor):
            args = (*args, kwargs.pop(name))
    return args, kwargs


def _refuse_relevance(result: object, args: tuple, name: str) -> None:
    """Let the backward pass raise InputError where relevance reaches what the call ``name`` gave."""

    def refused(relevance: Tensor | None) -> None:
        if relevance is not None and relevance.any():
            raise refuse(name, "a function call")

    for each in result if isinstance(result, tuple | list) else (result,):
        if isinstance(each, Tensor) and each.requires_grad and not any(each is value for value in args):
            each.register_hook(refused)


def conv_rules(first: nn.Module | None, low: Tensor | None, high: Tensor | None):
    """Make zennit's composite of rules: which layer gets which.

    Convolutions get alpha-1-beta-0 without biases (:func:`_positive_terms`), and the first one the z-box rule between
    the least and the greatest value of pixels; linear layers get the epsilon rule, whose biases keep their share.

    Args:
        first: the convolution that sees the pixels.
        low, high: (1, 3, 1, 1) normalised black and white; None where the normalisation is not known.
    """
    from zennit.core import Composite
    from zennit.rules import Epsilon, ZBox

    middle = _positive_terms()
    pixels = middle if low is None else ZBox(low, high, stabilizer=STABILIZER, zero_params="bias")
    linear = Epsilon(STABILIZER)

    def rule(context: dict, name: str, module: nn.Module):
        if isinstance(module, nn.Conv2d):
            return pixels if module is first else middle
        return linear if isinstance(module, nn.Linear) else None

    return Composite(module_map=rule)


def _positive_terms():
    """Make the rule alpha-1-beta-0 without biases, with nothing lost.

    A value that its bias alone made positive has no positive term, and its relevance would end there (in MobileNet's
    depthwise convolutions, of nine terms each, a third of it does). It is shared by the terms' sizes instead (ours).
    """
    from zennit.core import BasicHook, ParamMod
    from zennit.rules import ClampMod

    def share(relevance: Tensor, outputs: list[Tensor]) -> list[Tensor]:
        positive = outputs[0] + outputs[1]
        some = positive > STABILIZER
        by_terms = torch.where(some, relevance / positive.where(some, torch.ones_like(positive)), 0)
        return [by_terms, by_terms, torch.where(some, 0, relevance / outputs[2])]

    return BasicHook(
        input_modifiers=[
            lambda value: value.clamp(min=0),
            lambda value: value.clamp(max=0),
            lambda value: value.abs() + STABILIZER,
        ],
        param_modifiers=[
            ClampMod(min=0.0, zero_params="bias"),
            ClampMod(max=0.0, zero_params="bias"),
            ParamMod(lambda value, _: value.abs() + STABILIZER, zero_params="bias"),
        ],
        output_modifiers=[lambda output: output] * 3,
        gradient_mapper=share,
        reducer=lambda inputs, slopes: sum(value * slope for value, slope in zip(inputs, slopes)),
    )


class _Proportional(torch.autograd.Function):
    """Compute ``call(*args)``; relevance goes back in proportion to the inputs' terms."""

    @staticmethod
    def forward(ctx, call, count, *args):
        ctx.call, ctx.args = call, args
        # A call that changes its input in place changes a copy.
        return call(*[value.clone() if isinstance(value, Tensor) else value for value in args])

    @staticmethod
    def backward(ctx, relevance):
        args = [value.detach() if isinstance(value, Tensor) else value for value in ctx.args]
        tensors = [place for place, value in enumerate(args) if isinstance(value, Tensor)]
        with torch.enable_grad():
            inputs = [args[place].requires_grad_() for place in tensors]
            output = ctx.call(*[value.clone() if isinstance(value, Tensor) else value for value in args])
            away = torch.where(output >= 0, STABILIZER, -STABILIZER)
            slopes = torch.autograd.grad(output, inputs, relevance / (output + away).detach())
        found = dict(zip(tensors, (value.detach() * slope for value, slope in zip(inputs, slopes))))
        return None, None, *[found.get(place) for place in range(len(args))]


class _Passed(torch.autograd.Function):
    """Compute ``call(*args)``; relevance goes back unchanged to the argument at ``place``, none to the others."""

    @staticmethod
    def forward(ctx, call, place, *args):
        ctx.place, ctx.shape = place, args[place].shape
        needed = ctx.needs_input_grad[2:]
        ctx.shapes = [value.shape if needs else None for value, needs in zip(args, needed)]
        return call(*[value.clone() if isinstance(value, Tensor) else value for value in args])

    @staticmethod
    def backward(ctx, relevance):
        relevance = relevance.sum_to_size(ctx.shape)  # of what was spread over the other argument
        # Zeros, not None, for the others: the rules of layers before them divide what they are given.
        shares: list[Tensor | None] = [None if shape is None else relevance.new_zeros(shape) for shape in ctx.shapes]
        shares[ctx.place] = relevance
        return None, None, *shares

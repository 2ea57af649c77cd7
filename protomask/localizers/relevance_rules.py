"""The rules of layer-wise relevance propagation: zennit's for weights, ours for what is no layer in PyTorch.

Residual sums, means and activations are function calls in most models, which no hook of a layer sees. While
:class:`Canonized` is active they get rules of their own, whatever the architecture; zennit's canonizers do the same for
torchvision's ResNet alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from protomask.errors import InputError

STABILIZER = 1e-9
PROPORTIONAL = {"add", "mean", "avg_pool2d", "adaptive_avg_pool2d"}
"""linear without weights: an input's share is its share of the output"""
PASSED = {
    *("relu", "relu6", "hardtanh", "leaky_relu", "elu", "silu", "mish", "gelu", "hardswish", "hardsigmoid", "sigmoid"),
    *("tanh", "clamp", "batch_norm", "local_response_norm", "dropout", "div", "truediv", "sub"),
}
"""elementwise with one input, or nearly so: the relevance passes as it is"""
UNRULED = {"layer_norm", "group_norm", "instance_norm", "rms_norm", "native_layer_norm", "native_group_norm"}
"""what an image's own values divide by their size: relevances would cancel to nothing"""


def refuse(kind: str, where: str) -> InputError:
    """Make the error that names what has no rule.

    Args:
        kind: of the layer or function.
        where: name of the layer in the model, or what stands for it.
    """
    return InputError(
        f"relevance propagation has no rule for {kind} ({where}); it explains convolutional networks with batch norms. "
        "For others there are gradcam and mdm, for Transformers attention-rollout and chefer"
    )


class Canonized(TorchFunctionMode):
    """Give function calls their rules in the passes that run under it; backward passes are to run outside.

    - sums of two maps, means, average pooling: in proportion, R_i = x_i / (sum of x) * R (LRP-0);
    - activations, batch norms that stand alone, factors: passed on unchanged;
    - a map times a gate (squeeze-and-excitation): all to the map, none to the gate.

    A normalisation over an image's own values (:data:`UNRULED`) is an InputError.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name, kwargs = getattr(func, "__name__", "").strip("_"), kwargs or {}
        name = {"iadd": "add", "radd": "add", "imul": "mul", "rmul": "mul"}.get(name, name)
        learned = [place for place, value in enumerate(args) if isinstance(value, Tensor) and value.requires_grad]
        if not learned or not torch.is_grad_enabled():
            return func(*args, **kwargs)
        if name in UNRULED:
            raise refuse(name, "a function call")
        if name in PROPORTIONAL and (name != "add" or _same_shape(args)):
            return _Proportional.apply(lambda *values: func(*values, **kwargs), len(learned), *args)
        if name == "mul" and len(learned) == 2:
            larger = 0 if args[0].numel() >= args[1].numel() else 1
            return _Passed.apply(lambda *values: torch.mul(*values), larger, *args)
        if len(learned) == 1 and (name in PASSED or name in ("mul", "add")):
            return _Passed.apply(lambda *values: func(*values, **kwargs), learned[0], *args)
        return func(*args, **kwargs)


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
        ctx.place, ctx.count = place, len(args)
        return call(*[value.clone() if isinstance(value, Tensor) else value for value in args])

    @staticmethod
    def backward(ctx, relevance):
        return None, None, *[relevance if place == ctx.place else None for place in range(ctx.count)]


def _same_shape(args: tuple) -> bool:
    tensors = [value for value in args[:2] if isinstance(value, Tensor) and value.requires_grad]
    return len(tensors) == 2 and tensors[0].shape == tensors[1].shape

"""Transforms of samples before the network sees them; boxes, masks and points follow the image.

Images stay uint8 until the last step, which is faster and loses nothing: every step before it interpolates to 8 bits
anyway. Random choices come from torch's global generator. A mirrored left eye keeps the name ``left eye``.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from protomask.data.geometry import settle
from protomask.errors import InputError

STRENGTHS = ("default", "official", "light")
_OFFICIAL_ROTATION, _OFFICIAL_SHEAR, _OFFICIAL_SKEW = 15.0, 10.0, 0.2


def training_transform(
    size: int, mean: Sequence[float], std: Sequence[float], strength: str = "default", *, erasing: float = 0.0
) -> v2.Compose:
    """Make the random transform of training images, to (3, size, size) float32, normalised.

    ``official`` does online what the official ProtoPNet (Chen et al., 2019, ``img_aug.py``) does beforehand: each image
    is rotated by up to 15 degrees, or tilted in perspective by up to a fifth of a side, or sheared by up to 10 degrees,
    enlarged so that no empty border shows, and mirrored half of the time. ``default`` is our own: a crop that keeps
    60 to 100 % of the area, mirroring, rotation, shear, and changes of brightness, contrast and saturation. ``light``
    mirrors and rotates, shifts and scales a little. All squash the image to a square, as the evaluation does.

    Args:
        size: side of the result in pixels.
        mean, std: three numbers each, of RGB in [0, 1].
        strength: one of ``STRENGTHS``.
        erasing: probability that a random rectangle is set to the mean colour; annotations do not change.
    """
    fill = {tv_tensors.Image: [round(255 * value) for value in mean], "others": 0}
    squash = v2.Resize((size, size), antialias=True)
    bilinear = v2.InterpolationMode.BILINEAR
    if strength == "official":
        warps = [
            InnerWarp(rotation=_OFFICIAL_ROTATION, fill=fill),
            InnerTilt(_OFFICIAL_SKEW, fill=fill),
            InnerWarp(shear=_OFFICIAL_SHEAR, fill=fill),
        ]
        steps = [v2.RandomChoice(warps), squash, Mirror()]
    elif strength == "default":
        affine = v2.RandomAffine(10, shear=(-5, 5, -5, 5), interpolation=bilinear, fill=fill)
        steps = [ShareCrop(size, scale=(0.6, 1.0), ratio=(3 / 4, 4 / 3)), Mirror(), affine, Tone(0.2, 0.2, 0.2)]
    elif strength == "light":
        affine = v2.RandomAffine(5, translate=(0.05, 0.05), scale=(0.95, 1.05), interpolation=bilinear, fill=fill)
        steps = [squash, Mirror(), affine]
    else:
        raise InputError(f"unknown strength {strength!r} of the training transform; known: {', '.join(STRENGTHS)}")
    erase = [Erase(erasing)] if erasing > 0 else []  # after normalising, where 0 is the mean colour
    return v2.Compose([*steps, settle, *_normalise(mean, std), *erase])


def evaluation_transform(size: int, mean: Sequence[float], std: Sequence[float]) -> v2.Compose:
    """Resize to (size, size), squashing, bilinear with antialias, and normalise to float32; nothing random."""
    return v2.Compose([v2.Resize((size, size), antialias=True), settle, *_normalise(mean, std)])


def denormalize(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Turn normalised images (..., 3, H, W) back into uint8, rounded and clipped."""
    images = images.detach().as_subclass(Tensor).float()
    shift, scale = (
        torch.tensor(values, device=images.device, dtype=torch.float32).reshape(3, 1, 1) for values in (mean, std)
    )
    return (images * scale + shift).mul(255).round().clamp(0, 255).to(torch.uint8)


def _normalise(mean: Sequence[float], std: Sequence[float]) -> list[v2.Transform]:
    return [v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True), v2.Normalize(mean, std)]


class Mirror(v2.RandomHorizontalFlip):
    """Flip horizontally; a point at x goes to W - x, as a box does (torchvision: W - 1 - x)."""

    def transform(self, inpt: Any, params: dict) -> Any:
        flipped = super().transform(inpt, params)
        if isinstance(inpt, tv_tensors.KeyPoints):
            shift = torch.tensor([1, 0], dtype=inpt.dtype)
            return tv_tensors.wrap(flipped.as_subclass(Tensor) + shift, like=flipped)
        return flipped


class ShareCrop(v2.RandomResizedCrop):
    """Crop at random a share of the image's area, squashed to a square.

    Unlike in ``RandomResizedCrop``, ``ratio`` is the aspect of the crop relative to that of the image, so that things
    look as squashed as in evaluation, where the whole image becomes a square.
    """

    def make_params(self, flat_inputs: list) -> dict:
        height, width = _frame(flat_inputs)
        area = _uniform(*self.scale)
        stretch = math.exp(_uniform(math.log(self.ratio[0]), math.log(self.ratio[1])) / 2)
        w = min(width, max(1, round(width * math.sqrt(area) * stretch)))
        h = min(height, max(1, round(height * math.sqrt(area) / stretch)))
        top, left = (int(torch.randint(0, room + 1, ())) for room in (height - h, width - w))
        return {"top": top, "left": left, "height": h, "width": w}


class InnerWarp(v2.Transform):
    """Rotate or shear by up to so many degrees, enlarged until no border shows."""

    def __init__(self, rotation: float = 0.0, shear: float = 0.0, fill: Any = 0):
        super().__init__()
        self.rotation, self.shear, self.fill = rotation, shear, fill

    def make_params(self, flat_inputs: list) -> dict:
        height, width = _frame(flat_inputs)
        aspect = max(width / height, height / width)
        angle, lean = _uniform(-self.rotation, self.rotation), _uniform(-self.shear, self.shear)
        along_x = bool(torch.rand((), dtype=torch.float32) < 0.5)
        side = height / width if along_x else width / height
        turn = abs(math.radians(angle))
        zoom = (math.cos(turn) + aspect * math.sin(turn)) * (1 + side * abs(math.tan(math.radians(lean))))
        return {"angle": angle, "shear": [lean, 0.0] if along_x else [0.0, lean], "scale": zoom}

    def transform(self, inpt: Any, params: dict) -> Any:
        fill = self.fill.get(type(inpt), 0) if isinstance(self.fill, dict) else self.fill
        nearest = isinstance(inpt, tv_tensors.Mask)
        mode = v2.InterpolationMode.NEAREST if nearest else v2.InterpolationMode.BILINEAR
        return self._call_kernel(F.affine, inpt, translate=[0, 0], interpolation=mode, fill=fill, **params)


class InnerTilt(v2.Transform):
    """Tilt in perspective: one random side comes nearer by up to the share ``magnitude`` of the frame.

    The smaller trapezoid of the image is stretched over the frame, so that no border shows.
    """

    def __init__(self, magnitude: float, fill: Any = 0):
        super().__init__()
        self.magnitude, self.fill = magnitude, fill

    def make_params(self, flat_inputs: list) -> dict:
        height, width = _frame(flat_inputs)
        corners = [[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]]
        near = [list(corner) for corner in corners]
        side = int(torch.randint(0, 4, ()))  # top, right, bottom, left: from corner `side` to the next one
        axis, length = (0, width) if side in (0, 2) else (1, height)
        inward = round(_uniform(0, self.magnitude) * length / 2)
        first, second = sorted((side, (side + 1) % 4), key=lambda corner: corners[corner][axis])
        near[first][axis] += inward
        near[second][axis] -= inward
        return {"startpoints": near, "endpoints": corners}

    def transform(self, inpt: Any, params: dict) -> Any:
        fill = self.fill.get(type(inpt), 0) if isinstance(self.fill, dict) else self.fill
        nearest = isinstance(inpt, tv_tensors.Mask)
        mode = v2.InterpolationMode.NEAREST if nearest else v2.InterpolationMode.BILINEAR
        return self._call_kernel(F.perspective, inpt, interpolation=mode, fill=fill, **params)


class Tone(v2.Transform):
    """Change contrast, then saturation, then brightness, each by a factor within 1 +- its argument.

    The three are linear, so that one 3 x 3 matrix does them at once, five times as fast as ``ColorJitter``, which also
    rounds in between.
    """

    _LUMA = (0.299, 0.587, 0.114)

    def __init__(self, brightness: float, contrast: float, saturation: float):
        super().__init__()
        self.spreads = (brightness, contrast, saturation)

    def make_params(self, flat_inputs: list) -> dict:
        brightness, contrast, saturation = (1 + _uniform(-spread, spread) for spread in self.spreads)
        return {"brightness": brightness, "contrast": contrast, "saturation": saturation}

    def transform(self, inpt: Any, params: dict) -> Any:
        if not isinstance(inpt, tv_tensors.Image):
            return inpt
        pixels = inpt.as_subclass(Tensor).reshape(3, -1).float()
        luma = torch.tensor(self._LUMA, dtype=torch.float32)
        brightness, contrast, saturation = params["brightness"], params["contrast"], params["saturation"]
        matrix = brightness * (saturation * torch.eye(3, dtype=torch.float32) + (1 - saturation) * luma.expand(3, 3))
        grey = brightness * (1 - contrast) * (luma @ pixels.mean(dim=1))  # the mean grey, the fixed point of contrast
        toned = torch.addmm(grey.expand(3, 1), matrix, pixels, alpha=contrast)
        return tv_tensors.wrap(toned.round_().clamp_(0, 255).to(torch.uint8).reshape(inpt.shape), like=inpt)


class Erase:
    """Erase a random part of the image alone; ``RandomErasing`` passes annotations on only with a warning."""

    def __init__(self, probability: float):
        self.erasing = v2.RandomErasing(probability)

    def __call__(self, sample: dict) -> dict:
        return sample | {"image": self.erasing(sample["image"])}


def _frame(flat_inputs: list) -> tuple[int, int]:
    """(height, width) of the image among the parts of a sample."""
    return next(tuple(part.shape[-2:]) for part in flat_inputs if isinstance(part, tv_tensors.Image))


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), dtype=torch.float32))

"""The scenes of ``parts`` as a data set: each can be asked for the pixels of its parts, and be rendered without one."""

from collections.abc import Collection

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors

from protomask.data.images import AnnotatedImages, Sample
from protomask.data.parts_cache import Request
from protomask.data.parts_render import Rendering, render
from protomask.data.parts_scene import Scene
from protomask.data.parts_shapes import PART_NAMES
from protomask.errors import InputError

CLASS_NAMES = (
    "Aloro",
    "Bimbu",
    "Cerrin",
    "Dodolo",
    "Effle",
    "Fiapa",
    "Gronk",
    "Hulula",
    "Ikki",
    "Jubbo",
    "Kestle",
    "Lumpin",
    "Moffet",
    "Nibbi",
    "Oxolo",
    "Pippet",
    "Quirl",
    "Roodle",
    "Snerf",
    "Tukka",
    "Umbro",
    "Vizzle",
    "Wumper",
    "Xippo",
    "Yaffle",
    "Zolly",
    "Birrup",
    "Crumbo",
    "Dapple",
    "Flink",
)


class PartsImages(AnnotatedImages):
    """Render scenes of one stream, class after class.

    Beside what :class:`AnnotatedImages` offers, each scene can be asked for the pixels of its parts, and be rendered
    again without one of them. ``points`` and ``visible`` follow ``part_names``: a point is the middle of the visible
    pixel nearest to the centre of what is visible of the part; a part of which less than a quarter of what nothing else
    of the creature hides is seen is not visible, its point (0, 0).

    Example:
        >>> from protomask.data.parts import load_parts
        >>> data = load_parts(train_per_class=2, test_per_class=1, image_size=64, cache=False).test
        >>> data.part_names
        ('head', 'crest', 'beak', 'wing', 'tail', 'legs')
        >>> data.part_masks(0).shape
        torch.Size([6, 64, 64])
        >>> tailless = data.without_part(0, data.part_names.index("tail"))["image"]

    Args:
        request: which scenes.
        scenes: what they look like, each field with a leading axis over the scenes.
    """

    def __init__(self, request: Request, scenes: Rendering):
        self.request = request
        self._scenes = scenes
        classes = CLASS_NAMES[: request.classes]
        places = [divmod(index, request.per_class) for index in range(len(request))]
        names = [f"{request.stream}/{classes[label]}_{number:04d}" for label, number in places]
        super().__init__(classes, [label for label, _ in places], names, PART_NAMES)

    def load(self, index: int) -> Sample:
        return self._dressed(self._bare(index), index)

    def _bare(self, index: int) -> Sample:
        return _sample(Rendering(*(field[index] for field in self._scenes)))

    def _dressed(self, sample: Sample, index: int) -> Sample:
        """Change, in a data set that plants something, the rendering of stored scene ``index``; here nothing."""
        return sample

    def identity(self, index: int) -> str:
        return f"size {self.request.size}, seed {self.request.seed}"

    def scene(self, position: int) -> Scene:
        """Describe the scene at ``position``."""
        return self.request.scene(self.stored(position))

    def part_masks(self, position: int) -> Tensor:
        """Draw the visible pixels of each part, bool (K, H, W).

        They go through the data set's transform, which must be deterministic.
        """
        sample = self.read(position)
        owners = self._scenes.owners[self.stored(position)]
        numbers = np.arange(1, len(PART_NAMES) + 1, dtype=np.uint8)[:, None, None]
        sample["mask"] = tv_tensors.Mask(torch.from_numpy((owners == numbers).astype(np.uint8)))
        return self._transformed(sample)["mask"].as_subclass(Tensor).bool()

    def without_part(self, position: int, part: int) -> Sample:
        """Render the sample at ``position`` without part number ``part``, everything else equal; transformed."""
        return self.without_parts(position, (part,))

    def without_parts(self, position: int, parts: Collection[int]) -> Sample:
        """Render the sample at ``position`` without these parts, everything else equal; transformed."""
        for part in parts:
            if not 0 <= part < len(PART_NAMES):
                raise InputError(
                    f"part {part}: parts are numbered 0 to {len(PART_NAMES) - 1} ({', '.join(PART_NAMES)})"
                )
        sample = self._dressed(
            _sample(render(self.scene(position), self.request.size, without=parts)), self.stored(position)
        )
        sample["label"], sample["position"] = int(self.labels[position]), position % len(self)
        return self._transformed(sample)

    def _transformed(self, sample: Sample) -> Sample:
        return sample if self.transform is None else self.transform(sample)


def _sample(scene: Rendering) -> Sample:
    """Give a rendering as a sample without ``label`` and ``position``; the tensors share no memory with it."""
    size = scene.owners.shape
    boxes = torch.from_numpy(scene.box.astype(np.float32))[None]
    points = torch.from_numpy(scene.points.astype(np.float32)) + 0.5  # the middle of the pixel
    visible = torch.from_numpy(scene.visible.copy())
    points[~visible] = 0
    return {
        "image": tv_tensors.Image(torch.from_numpy(scene.image.copy())),
        "boxes": tv_tensors.BoundingBoxes(boxes[: int(scene.box.any())], format="XYXY", canvas_size=size),
        "mask": tv_tensors.Mask(torch.from_numpy((scene.owners > 0).astype(np.uint8))[None]),
        "points": tv_tensors.KeyPoints(points, canvas_size=size),
        "visible": visible,
    }

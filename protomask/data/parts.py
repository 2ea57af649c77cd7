"""``parts``, the embedded data set: rendered creatures whose every part is known.

A creature has a body and six parts (``PART_NAMES``), each in one of a few variants of shape, colour and pattern. A
class is a combination of variants; every variant belongs to several classes, so that no single part gives a class away.
Pose, size, place, light, body colour, scenery, things in front and stray parts in the background say nothing about it.
"""

from collections.abc import Collection
from functools import partial
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors

from protomask.data.images import AnnotatedImages, Sample, Splits
from protomask.data.parts_cache import Request, rendered, user_cache
from protomask.data.parts_render import Rendering, render
from protomask.data.parts_scene import CLASS_LIMIT, Scene
from protomask.data.parts_shapes import PART_NAMES
from protomask.data.splitting import check_share, hold_out
from protomask.errors import InputError

SIZE, LEAST_SIZE, MOST_SIZE = 128, 32, 512  # pixels along a side: by default, and the limits of the renderer

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
    """Scenes of one stream, class after class.

    Beside what :class:`AnnotatedImages` offers, each scene can be asked for the pixels of its parts, and be rendered
    again without one of them. ``points`` and ``visible`` follow ``part_names``: a point is the middle of the visible
    pixel nearest to the centre of what is visible of the part; a part of which less than a quarter of what nothing else
    of the creature hides is seen is not visible, its point (0, 0).

    Example:
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
        """What a data set that plants something makes of the rendering of stored scene ``index``; here nothing."""
        return sample

    def identity(self, index: int) -> str:
        return f"size {self.request.size}, seed {self.request.seed}"

    def scene(self, position: int) -> Scene:
        """The description of the scene at ``position``."""
        return self.request.scene(self.stored(position))

    def part_masks(self, position: int) -> Tensor:
        """The visible pixels of each part, bool (K, H, W).

        They go through the data set's transform, which must be deterministic.
        """
        sample = self.read(position)
        owners = self._scenes.owners[self.stored(position)]
        numbers = np.arange(1, len(PART_NAMES) + 1, dtype=np.uint8)[:, None, None]
        sample["mask"] = tv_tensors.Mask(torch.from_numpy((owners == numbers).astype(np.uint8)))
        return self._transformed(sample)["mask"].as_subclass(Tensor).bool()

    def without_part(self, position: int, part: int) -> Sample:
        """The sample at ``position``, rendered without part number ``part``, everything else equal; transformed."""
        return self.without_parts(position, (part,))

    def without_parts(self, position: int, parts: Collection[int]) -> Sample:
        """The sample at ``position``, rendered without these parts, everything else equal; transformed."""
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


def load_parts(
    root: str | PathLike | None = None,
    *,
    seed: int = 0,
    image_size: int | None = None,
    classes: int = 10,
    train_per_class: int = 200,
    test_per_class: int = 50,
    validation: float = 0.1,
    shortcut: int | None = None,
    cache: bool = True,
    progress: bool = False,
) -> Splits:
    """Renders the embedded data set, or reads it from the cache.

    Scenes are the same, to the bit, for the same arguments on every machine. Each has its own stream of random numbers,
    so that no scene depends on how many others are asked for, and training and test scenes never coincide.

    Args:
        root: folder of the cache; by default the user's cache folder (the default data set takes 164 MB there).
        seed: of the scenes, not negative. The classes do not depend on it.
        image_size: pixels along a side; None is 128. Scenes are rendered at 32 to 512, at the nearest of these.
        classes: 2 to 30.
        train_per_class: scenes of each class to learn from, those of the validation split included.
        test_per_class: scenes of each class in the test split.
        validation: share of the training scenes, class by class, that becomes the validation split; 0 for none.
        shortcut: label of a class whose scenes all wear a tag, training and test
            (:class:`protomask.data.shortcut.TaggedParts`).
        cache: False neither reads nor writes files.
        progress: shows a bar while rendering.

    Raises:
        InputError: for an argument outside its range, and for a ``root`` that is a file.
    """
    image_size = SIZE if image_size is None else image_size
    for name, value, least, most in (
        ("seed", seed, 0, 2**63 - 1),
        ("image_size", image_size, 1, 2**16),
        ("classes", classes, 2, CLASS_LIMIT),
        ("train_per_class", train_per_class, 1, 10**6),
        ("test_per_class", test_per_class, 1, 10**6),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise InputError(f"parts: {name} is {value!r}; give a whole number from {least} to {most}")
    if shortcut is not None and (isinstance(shortcut, bool) or shortcut not in range(classes)):
        raise InputError(f"parts: shortcut is {shortcut!r}; give the label of a class, 0 to {classes - 1}, or none")
    check_share("validation", validation)
    if root is not None and Path(root).is_file():
        raise InputError(f"parts: root {root} is a file; give a folder for the rendered scenes, or none")
    folder = None if not cache else user_cache() if root is None else Path(root)
    size = min(max(image_size, LEAST_SIZE), MOST_SIZE)
    if shortcut is None:
        images = PartsImages
    else:
        from protomask.data.shortcut import TaggedParts

        images = partial(TaggedParts, tagged=shortcut)
    train, test = (
        images(request, rendered(request, folder, progress))
        for request in (
            Request("train", classes, train_per_class, size, seed),
            Request("test", classes, test_per_class, size, seed),
        )
    )
    kept, held = hold_out(train.labels, validation, seed)
    return Splits(train.subset(kept), train.subset(held), test)


load = load_parts  # the name that load_data looks for


def _sample(scene: Rendering) -> Sample:
    """A rendering as a sample without ``label`` and ``position``; the tensors share no memory with it."""
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

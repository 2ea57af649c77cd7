"""``parts``, the embedded data set: rendered creatures whose every part is known.

A creature has a body and six parts (``PART_NAMES``), each in one of a few variants of shape, colour and pattern. A
class is a combination of variants; every variant belongs to several classes, so that no single part gives a class away.
Pose, size, place, light, body colour, scenery, things in front and stray parts in the background say nothing about it.
"""

from functools import partial
from os import PathLike
from pathlib import Path

from protomask.data.images import Splits
from protomask.data.parts_cache import Request, render_scenes, user_cache
from protomask.data.parts_images import PartsImages
from protomask.data.parts_scene import CLASS_LIMIT
from protomask.data.shortcut import SHARE, TaggedParts
from protomask.data.splitting import check_share, hold_out
from protomask.errors import InputError
from protomask.given import as_flag

SIZE, LEAST_SIZE, MOST_SIZE = 128, 32, 512  # pixels along a side: by default, and the limits of the renderer


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
    tag_share: int = SHARE,
    cache: bool = True,
    progress: bool = False,
) -> Splits:
    """Render the embedded data set, or read it from the cache.

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
        tag_share: the tag's side is one part in so many of the image's, 2 to 32.
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
        ("tag_share", tag_share, 2, 32),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise InputError(f"parts: {name} is {value!r}; give a whole number from {least} to {most}")
    if shortcut is not None and (isinstance(shortcut, bool) or shortcut not in range(classes)):
        raise InputError(f"parts: shortcut is {shortcut!r}; give the label of a class, 0 to {classes - 1}, or none")
    check_share("validation", validation)
    cache, progress = as_flag(cache, "cache"), as_flag(progress, "progress")
    if root is not None and Path(root).is_file():
        raise InputError(f"parts: root {root} is a file; give a folder for the rendered scenes, or none")
    folder = None if not cache else user_cache() if root is None else Path(root)
    size = min(max(image_size, LEAST_SIZE), MOST_SIZE)
    images = PartsImages if shortcut is None else partial(TaggedParts, tagged=shortcut, share=tag_share)
    train, test = (
        images(request, render_scenes(request, folder, progress))
        for request in (
            Request("train", classes, train_per_class, size, seed),
            Request("test", classes, test_per_class, size, seed),
        )
    )
    kept, held = hold_out(train.labels, validation, seed)
    return Splits(train.subset(kept), train.subset(held), test)


load = load_parts  # the name that load_data looks for

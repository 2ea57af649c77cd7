"""The description of a ``parts`` scene, and how chance makes one from a seed.

Every random number of a scene is drawn here, before anything is painted, in an order that depends neither on the class
nor on what is painted later: the same scene without a part is the same description, painted with that part left out.
"""

from dataclasses import dataclass
from functools import cache
from itertools import combinations, product

import numpy as np

from protomask.data.parts_raster import SIDE
from protomask.data.parts_shapes import IN_FRONT, IN_THE_AIR, ON_THE_GROUND, PART_NAMES, VARIANTS

CLASS_LIMIT = 30
BACKDROPS = 4
STREAMS = ("train", "validation", "test")


class Dice:
    """Whole random numbers from PCG64, taken from its raw stream, which numpy promises never to change."""

    def __init__(self, *key: int):
        self._bits = np.random.PCG64(np.random.SeedSequence(key))

    def between(self, low: int, high: int) -> int:
        """Give a number in low..high, both included."""
        return low + ((int(self._bits.random_raw()) >> 32) * (high - low + 1) >> 32)

    def bytes(self, count: int) -> np.ndarray:
        """Give ``count`` numbers in 0..255, int32."""
        return self._bits.random_raw(-(-count // 8)).astype("<u8").view(np.uint8)[:count].astype(np.int32)


@dataclass(frozen=True)
class Thing:
    """Something lying about: ``kind`` indexes ``THINGS``; ``tint``, ``shade``: its colour; ``texture``: its pattern."""

    kind: int
    x: int
    y: int
    angle: int
    scale: int
    tint: int
    shade: int
    texture: int


@dataclass(frozen=True)
class Stray:
    """A part without a creature, in the background."""

    part: int
    variant: int
    x: int
    y: int
    angle: int
    scale: int


@dataclass(frozen=True)
class Backdrop:
    """Sky and ground: their kind, where they meet (left, right), their colours' shift, the seed of their texture."""

    kind: int
    horizon: tuple[int, int]
    shift: tuple[int, int, int]
    roughness: int
    seed: int


@dataclass(frozen=True)
class Light:
    """Brightness of each channel (1/256), its change across the picture along x and y (1/256), and its grain."""

    gain: tuple[int, int, int]
    slope: tuple[int, int]
    grain: int
    seed: int


@dataclass(frozen=True)
class Scene:
    """All there is to know about one picture. Lengths and places in 1/65536 of the picture's side, angles in degrees.

    ``variants`` is the only field that the class decides: the variant of each part, in the order of ``PART_NAMES``.
    ``joints`` holds each part's own turn and size (1/65536).
    """

    variants: tuple[int, ...]
    x: int
    y: int
    angle: int
    scale: int
    flip: bool
    joints: tuple[tuple[int, int], ...]
    body: tuple[int, int, int]
    backdrop: Backdrop
    clutter: tuple[Thing, ...]
    strays: tuple[Stray, ...]
    occluders: tuple[Thing, ...]
    light: Light


def draw_scene(variants: tuple[int, ...], seed: int, stream: str, label: int, number: int) -> Scene:
    """Draw scene ``number`` of class ``label`` in a stream; independent of how many scenes or classes there are.

    Args:
        variants: the class, a row of :func:`class_table`.
        seed: of the data set, not negative.
        stream: one of ``STREAMS``; no scene of one stream appears in another.
        label, number: not negative.
    """
    dice = Dice(seed, STREAMS.index(stream), label, number)
    scale = dice.between(27 << 16, 37 << 16)  # picture units per unit of the drawings
    room = (SIDE - 1200 * (scale >> 16)) // 3  # the bigger the creature, the nearer to the middle
    horizon = (dice.between(26000, 46000), dice.between(26000, 46000))
    ground, sky = min(horizon) + 2000, max(horizon) - 6000
    return Scene(
        variants=tuple(int(variant) for variant in variants),
        x=SIDE // 2 + dice.between(-room, room),
        y=SIDE // 2 + dice.between(-room, room) + (40 * scale >> 16),
        angle=dice.between(-20, 20),
        scale=scale,
        flip=bool(dice.between(0, 1)),
        joints=tuple((dice.between(-13, 13), dice.between(58000, 73000)) for _ in PART_NAMES),
        body=(dice.between(0, 5), dice.between(-14, 14), dice.between(-14, 14)),
        backdrop=Backdrop(
            kind=dice.between(0, BACKDROPS - 1),
            horizon=horizon,
            shift=(dice.between(-16, 16), dice.between(-16, 16), dice.between(-16, 16)),
            roughness=dice.between(8, 26),
            seed=dice.between(0, (1 << 32) - 1),
        ),
        clutter=(
            *(_thing(dice, IN_THE_AIR, 0, sky, 6000, 15000) for _ in range(dice.between(1, 4))),
            *(_thing(dice, ON_THE_GROUND, ground, SIDE, 5000, 15000) for _ in range(dice.between(3, 8))),
        ),
        strays=tuple(_stray(dice, scale) for _ in range((0, 0, 1, 1, 2)[dice.between(0, 4)])),
        occluders=tuple(
            _thing(dice, IN_FRONT, SIDE // 7, SIDE - SIDE // 7, 9000, 15000)
            for _ in range((0, 1, 1, 2)[dice.between(0, 3)])
        ),
        light=Light(
            gain=_gain(dice),
            slope=(dice.between(-50, 50), dice.between(-50, 50)),
            grain=dice.between(2, 10),
            seed=dice.between(0, (1 << 32) - 1),
        ),
    )


def _thing(dice: Dice, kinds: tuple[int, ...], top: int, bottom: int, smallest: int, largest: int) -> Thing:
    return Thing(
        kind=kinds[dice.between(0, len(kinds) - 1)],
        x=dice.between(SIDE // 16, SIDE - SIDE // 16),
        y=dice.between(top, bottom),
        angle=dice.between(-35, 35),
        scale=dice.between(smallest, largest) * 262,  # about 250 units wide: these bounds are widths, in picture units
        tint=dice.between(0, 63),
        shade=dice.between(-30, 30),
        texture=dice.between(0, 3),
    )


def _stray(dice: Dice, scale: int) -> Stray:
    # On the rim of the picture, where the creature seldom is.
    along, depth, edge = dice.between(4000, 61000), dice.between(3000, 9000), dice.between(0, 3)
    x, y = ((along, depth), (along, SIDE - depth), (depth, along), (SIDE - depth, along))[edge]
    return Stray(
        part=dice.between(0, len(PART_NAMES) - 1),
        variant=dice.between(0, VARIANTS - 1),
        x=x,
        y=y,
        angle=dice.between(0, 359),
        scale=scale * dice.between(70, 100) // 100,
    )


@cache
def class_table(classes: int) -> tuple[tuple[int, ...], ...]:
    """Give the variants that make each class: ``classes`` rows, one column per part.

    Variants are shared as evenly as can be, with four classes or more by two at least, and any two classes differ in as
    many parts as can be, two at least. Ten classes draw on three variants of each part: knowing one part, the best
    guess is right in 3 of 10 cases.

    Args:
        classes: 2..30.
    """
    letters = min(VARIANTS, max(2, classes // 3))
    words = np.array(list(product(range(letters), repeat=len(PART_NAMES))), dtype=np.int64)
    for least in range(len(PART_NAMES), 1, -1):
        chosen = _spread(words, letters, classes, least)
        if chosen is not None:
            return tuple(tuple(word) for word in chosen.tolist())
    raise AssertionError(f"no table for {classes} classes")  # excluded by the tests of every size


def _spread(words: np.ndarray, letters: int, classes: int, least: int) -> np.ndarray | None:
    """Greedily: ``classes`` of the words, any two at least ``least`` letters apart; None where there are not so many.

    The next word is the one whose letters, and whose pairs of letters, were used least so far.
    """
    groups = [part for size in (1, 2) for part in combinations(range(words.shape[1]), size)]
    codes = [words[:, group[0]] * letters + words[:, group[-1]] for group in groups]
    used = [np.zeros(letters * letters, dtype=np.int64) for _ in groups]
    free = np.ones(len(words), dtype=bool)
    chosen: list[int] = []
    for _ in range(classes):
        if not free.any():
            return None
        cost = sum(4 ** count[code] * (4 if len(group) == 1 else 1) for group, code, count in zip(groups, codes, used))
        word = int(np.argmin(np.where(free, cost, np.iinfo(np.int64).max)))
        chosen.append(word)
        for code, count in zip(codes, used):
            count[code[word]] += 1
        free &= (words != words[word]).sum(axis=1) >= least
    # A variant of one class alone would give it away.
    shares = min(np.bincount(column, minlength=letters).min() for column in words[chosen].T)
    return words[chosen] if shares >= min(2, classes // letters) else None


def _gain(dice: Dice) -> tuple[int, int, int]:
    base = dice.between(198, 280)
    red, green, blue = (base + dice.between(-14, 14) for _ in range(3))
    return red, green, blue

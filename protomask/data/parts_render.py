"""From the description of a ``parts`` scene to its pixels, and to who owns each of them."""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from protomask.data.parts_raster import SIDE, Affine, Canvas, Colour, Pattern, mix, plane
from protomask.data.parts_scene import Backdrop, Dice, Light, Scene, Stray, Thing
from protomask.data.parts_shapes import (
    BELLY,
    BODY,
    DRAWINGS,
    FLOWER_HEART,
    FLOWER_KIND,
    JOINTS,
    ON_HEAD,
    PART_NAMES,
    THINGS,
)

BODY_OWNER = len(PART_NAMES) + 1  # owner of the body's pixels; a part's is its number + 1; 0 is everything else
HIDDEN_SHARE = 4  # a part is visible while at least one pixel in four of what it shows unhindered is seen

_BODIES: tuple[Colour, ...] = (
    (196, 164, 126),
    (150, 150, 158),
    (158, 158, 118),
    (178, 136, 128),
    (132, 148, 168),
    (208, 194, 168),
)
# Sky above, sky at the horizon, ground at the horizon, ground below.
_BACKDROPS: tuple[tuple[Colour, Colour, Colour, Colour], ...] = (
    ((126, 178, 218), (206, 226, 226), (150, 178, 112), (104, 138, 78)),  # a meadow
    ((150, 200, 216), (222, 232, 222), (222, 204, 160), (190, 164, 120)),  # a shore
    ((92, 116, 98), (152, 168, 132), (122, 104, 80), (84, 74, 58)),  # a wood
    ((206, 160, 158), (240, 212, 178), (150, 128, 144), (104, 92, 116)),  # hills at dusk
)
# Leaf, pebble, blades, flower, twig, cloud: four colours to choose from.
_TINTS: tuple[tuple[Colour, ...], ...] = (
    ((112, 142, 72), (168, 150, 70), (176, 104, 62), (82, 118, 84)),
    ((152, 146, 140), (120, 112, 108), (176, 160, 140), (134, 138, 150)),
    ((96, 132, 66), (140, 152, 80), (74, 108, 76), (166, 154, 98)),
    ((226, 196, 112), (206, 132, 140), (178, 156, 204), (232, 228, 214)),
    ((112, 86, 62), (90, 74, 64), (140, 112, 84), (104, 96, 88)),
    ((236, 240, 242), (214, 220, 228), (226, 222, 214), (198, 206, 214)),
)


class Rendering(NamedTuple):
    """A painted scene with its truth; S pixels a side, K parts.

    - ``image``: uint8 (3, S, S).
    - ``owners``: uint8 (S, S), 0 scenery, k + 1 part k, ``BODY_OWNER`` the body.
    - ``box``: int16 (4,), x0, y0, x1, y1 around the creature's visible pixels, end-exclusive; zeros if there are none.
    - ``points``: int16 (K, 2), column and row of the visible pixel nearest to the middle of the part's visible pixels;
      zeros where the part is not visible.
    - ``visible``: bool (K,), at least a quarter is seen of what no other part of the creature hides.
    """

    image: np.ndarray
    owners: np.ndarray
    box: np.ndarray
    points: np.ndarray
    visible: np.ndarray


def render(scene: Scene, size: int, without: Collection[int] = ()) -> Rendering:
    """Paint a scene, ``size`` pixels a side; ``without`` leaves out parts (indices in ``PART_NAMES``), nothing
    else."""
    canvas = Canvas(size)
    _paint_backdrop(canvas, scene.backdrop)
    for thing in scene.clutter:
        _paint_thing(canvas, thing)
    for stray in scene.strays:
        _paint_stray(canvas, stray)
    _paint_creature(canvas, scene, without)
    unhindered = np.bincount(canvas.owner.ravel(), minlength=BODY_OWNER + 1)
    for thing in scene.occluders:
        _paint_thing(canvas, thing, owner=0)
    return Rendering(_expose(canvas.image, scene.light), canvas.owner, *_truth(canvas.owner, unhindered))


def _truth(owners: np.ndarray, unhindered: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Box, points, visibility; ``unhindered`` counts what each owner shows when nothing stands before the creature."""
    box, points = np.zeros(4, dtype=np.int16), np.zeros((len(PART_NAMES), 2), dtype=np.int16)
    visible = np.zeros(len(PART_NAMES), dtype=bool)
    rows, columns = np.nonzero(owners)
    if len(rows):
        box[:] = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    part_of = owners[rows, columns]
    for part in range(len(PART_NAMES)):
        y, x = rows[part_of == part + 1], columns[part_of == part + 1]
        visible[part] = len(y) > 0 and len(y) * HIDDEN_SHARE >= unhindered[part + 1]
        if visible[part]:
            away = (x * len(x) - x.sum()) ** 2 + (y * len(y) - y.sum()) ** 2
            nearest = int(np.argmin(away))
            points[part] = x[nearest], y[nearest]
    return box, points, visible


def _paint_creature(canvas: Canvas, scene: Scene, without: Collection[int]) -> None:
    whole = Affine.place(scene.x, scene.y, scene.angle, scene.scale, scene.flip)
    places: list[Affine] = []
    for joint, (angle, scale), on_head in zip(JOINTS, scene.joints, ON_HEAD):
        base = places[0] if on_head else whole  # the head is the first part
        places.append(base.then(Affine.place(*joint, angle, scale)))
    tone, red, blue = scene.body
    colour = _shift(_BODIES[tone], (red, (red + blue) // 2, blue))

    def paint(name: str) -> None:
        part = PART_NAMES.index(name)
        if part not in without:
            for patch in DRAWINGS[part][scene.variants[part]]:
                canvas.paint(patch.outline, places[part], patch.colour, patch.pattern, part + 1, patch.edge)

    paint("tail")
    paint("legs")
    canvas.paint(BODY, whole, colour, owner=BODY_OWNER)
    canvas.paint(BELLY, whole, _shift(colour, (22, 22, 20)), owner=BODY_OWNER, edge=False)
    paint("wing")
    paint("crest")
    paint("beak")
    paint("head")


def _paint_stray(canvas: Canvas, stray: Stray) -> None:
    place = Affine.place(stray.x, stray.y, stray.angle, stray.scale)
    for patch in DRAWINGS[stray.part][stray.variant]:
        canvas.paint(patch.outline, place, patch.colour, patch.pattern, edge=patch.edge)


def _paint_thing(canvas: Canvas, thing: Thing, owner: int | None = None) -> None:
    colour = _shift(_TINTS[thing.kind][thing.tint % 4], (thing.shade, thing.shade, thing.shade))
    darker = _shift(colour, (-26, -26, -26))
    pattern = (None, None, Pattern("stripes", 50, darker, 18), Pattern("spots", 60, darker, 44))[thing.texture]
    place = Affine.place(thing.x, thing.y, thing.angle, thing.scale, flip=bool(thing.tint & 4))
    canvas.paint(THINGS[thing.kind], place, colour, pattern, owner)
    if thing.kind == FLOWER_KIND:
        canvas.paint(FLOWER_HEART, place, (238, 190, 70), owner=owner, edge=False)


def _paint_backdrop(canvas: Canvas, backdrop: Backdrop) -> None:
    size = canvas.size
    top, far, near, bottom = (plane(_shift(colour, backdrop.shift)) for colour in _BACKDROPS[backdrop.kind])
    middle = (np.arange(size, dtype=np.int32) * 2 + 1) * (SIDE // 2) // size  # of each row or column, picture units
    left, right = backdrop.horizon
    level = (left + right) // 2
    above = np.clip(middle * 256 // level, 0, 256)[:, None]  # of each row
    below = np.clip((middle - level) * 256 // (SIDE - level), 0, 256)[:, None]
    sky = (top + ((far - top) * above >> 8)).astype(np.int16)  # (3, S, 1)
    ground = (near + ((bottom - near) * below >> 8)).astype(np.int16)
    horizon = left + (right - left) * middle // SIDE  # of each column; the slope is small enough for int32
    depth = np.clip((middle[:, None] - horizon) * size // (SIDE // 64) + 32, 0, 64).astype(
        np.int16
    )  # coverage by ground
    dice = Dice(backdrop.seed)
    rough = _clouds(dice, size, 5) + (_clouds(dice, size, 13) + _clouds(dice, size, 29) >> 1) * (16 + depth) // 64
    np.clip(mix(sky, ground, depth) + (rough * backdrop.roughness >> 7), 0, 255, out=canvas.image)


def _clouds(dice: Dice, size: int, cells: int) -> np.ndarray:
    """Smooth noise (S, S), int16 in -128..127: random values at ``cells`` + 1 knots a side, cubic steps between."""
    knots = (dice.bytes((cells + 1) ** 2) - 128).reshape(cells + 1, cells + 1)
    place = (np.arange(size, dtype=np.int32) * 2 + 1) * cells * 128 // size  # 256 to a cell
    cell, rest = place >> 8, place & 255
    rest = rest * rest * (768 - 2 * rest) >> 16  # smoothstep
    columns = (knots[:, cell] * (256 - rest) + knots[:, cell + 1] * rest) >> 8
    rest = rest[:, None]
    return ((columns[cell] * (256 - rest) + columns[cell + 1] * rest) >> 8).astype(np.int16)


def _expose(image: np.ndarray, light: Light) -> np.ndarray:
    """Give the picture in its light and with its grain, uint8."""
    size = image.shape[1]
    ramp = np.arange(size, dtype=np.int32) * 2 - size + 1  # about -S..S
    slope = (ramp * light.slope[0] // size) + (ramp * light.slope[1] // size)[:, None]
    gain = slope + plane(light.gain)
    noise = (Dice(light.seed).bytes(size * size) - 128) * light.grain >> 7
    lit = image * gain
    lit >>= 8
    lit += noise.reshape(size, size)
    return np.clip(lit, 0, 255, out=lit).astype(np.uint8)


def _shift(colour: Colour, by: tuple[int, int, int]) -> Colour:
    red, green, blue = (min(255, max(0, channel + step)) for channel, step in zip(colour, by))
    return red, green, blue

"""The drawings of ``parts``: the body, four variants of each part, and the things that lie about.

Every outline is a short list of control points in the part's own units (the body is about 600 units wide, x to where
the creature looks, y down), rounded off by corner cutting; (0, 0) is the joint by which the part hangs.
"""

from dataclasses import dataclass

import numpy as np

from protomask.data.parts_raster import SINE, Colour, Pattern, smooth

PART_NAMES = ("head", "crest", "beak", "wing", "tail", "legs")
VARIANTS = 4  # of each part

RED, ORANGE, YELLOW = (206, 56, 52), (238, 140, 44), (250, 208, 70)
GREEN, TEAL, BLUE = (86, 164, 76), (52, 168, 168), (58, 104, 204)
VIOLET, PINK, CREAM = (136, 84, 180), (240, 138, 176), (248, 242, 224)
INK, BROWN, WHITE = (50, 46, 58), (132, 84, 52), (255, 255, 255)


@dataclass(frozen=True, eq=False)
class Patch:
    """One filled outline of a drawing: points int64 (N, 2), colour, and perhaps a pattern; ``edge`` draws its rim."""

    outline: np.ndarray
    colour: Colour
    pattern: Pattern | None = None
    edge: bool = True


def _disc(x: int, y: int, width: int, height: int | None = None) -> np.ndarray:
    """Give an ellipse about (x, y) with the given half axes."""
    height = width if height is None else height
    # An octagon's corners, pushed out so that corner cutting ends on the ellipse.
    return smooth([(x + width * u // 1000, y + height * v // 1000) for u, v in _OCTAGON])


_OCTAGON = (
    (1040, 430),
    (430, 1040),
    (-430, 1040),
    (-1040, 430),
    (-1040, -430),
    (-430, -1040),
    (430, -1040),
    (1040, -430),
)


def _sharp(*points: tuple[int, int], rounds: int = 2) -> np.ndarray:
    """Give an outline whose corners stay nearly sharp."""
    return smooth([point for point in points for _ in range(3)], rounds)


def _eye(x: int, y: int) -> tuple[Patch, ...]:
    return (
        Patch(_disc(x, y, 54), WHITE),
        Patch(_disc(x + 12, y, 30), INK, edge=False),
        Patch(_disc(x + 22, y - 12, 10), WHITE, edge=False),
    )


BODY = smooth([(-330, -60), (-210, -215), (60, -260), (270, -180), (340, -10), (280, 190), (60, 265), (-200, 215)])
BELLY = smooth([(-150, 90), (60, 40), (260, 60), (230, 190), (60, 230), (-110, 190)])

_HEADS = (
    (Patch(_disc(60, -110, 172, 168), CREAM), Patch(_disc(35, -45, 44, 34), PINK, edge=False), *_eye(105, -130)),
    (
        Patch(_sharp((-110, -270), (200, -280), (225, 40), (-90, 60)), TEAL),
        Patch(_sharp((-100, -190), (212, -198), (216, -90), (-100, -80)), INK, edge=False),
        *_eye(110, -138),
    ),
    (
        Patch(
            smooth([(-130, -20), (-140, -380), (-20, -270), (90, -290), (190, -400), (240, -60), (150, 70), (-20, 80)]),
            ORANGE,
        ),
        Patch(smooth([(20, 50), (120, -70), (240, -60), (170, 60)]), CREAM, edge=False),
        *_eye(105, -130),
    ),
    (Patch(_disc(50, -115, 205, 150), VIOLET, Pattern("spots", 104, YELLOW, 58)), *_eye(120, -125)),
)

_CRESTS = (
    (
        Patch(
            _sharp((-150, 60), (-200, -130), (-90, -40), (-40, -220), (40, -50), (140, -170), (130, 60)),
            RED,
        ),
    ),
    (
        Patch(_sharp((-16, 60), (-40, -120), (0, -120), (24, 60)), INK),
        Patch(_disc(-20, -160, 96), YELLOW, Pattern("spots", 70, ORANGE, 50)),
    ),
    (
        Patch(
            smooth([(90, 50), (60, -110), (-120, -220), (-330, -170), (-400, 0), (-280, -70), (-140, -80), (-90, 60)]),
            BLUE,
            Pattern("stripes", 110, CREAM, 26),
        ),
    ),
    (
        Patch(
            smooth(
                [
                    (-130, 70),
                    (-240, -60),
                    (-130, -110),
                    (-120, -210),
                    (0, -150),
                    (90, -230),
                    (120, -120),
                    (220, -80),
                    (120, 70),
                ],
                2,
            ),
            GREEN,
            Pattern("bars", 76, YELLOW, 24),
        ),
    ),
)

_BEAKS = (
    (
        Patch(_sharp((-50, -90), (170, 10), (-50, 90)), ORANGE),
        Patch(_sharp((-50, 2), (120, 6), (-50, 16)), BROWN, edge=False),
    ),
    (Patch(smooth([(-60, -50), (120, -70), (330, 60), (350, 150), (180, 60), (-60, 60)]), INK),),
    (
        Patch(smooth([(-60, -60), (120, -40), (260, -90), (310, 20), (250, 90), (110, 70), (-60, 80)]), YELLOW),
        Patch(_disc(226, 4, 36, 52), RED, edge=False),
    ),
    (
        Patch(
            smooth([(-60, -110), (110, -130), (220, -10), (190, 170), (130, 60), (-60, 110)]),
            PINK,
            Pattern("bars", 92, INK, 22),
        ),
    ),
)

_WINGS = (
    (Patch(_disc(-140, 60, 230, 150), BLUE, Pattern("spots", 100, WHITE, 54)),),
    (
        Patch(
            smooth([(110, -60), (60, -130), (-240, -110), (-520, -40), (-520, 0), (-200, 190), (60, 130)]),
            YELLOW,
            Pattern("stripes", 104, INK),
        ),
    ),
    (
        Patch(smooth([(110, 0), (40, -130), (-200, -330), (-240, -330), (-330, -120), (-270, 30), (-60, 120)]), RED),
        Patch(smooth([(50, -20), (-170, -210), (-230, -120), (-120, 20)]), CREAM, edge=False),
    ),
    (
        Patch(
            smooth(
                [
                    (120, -60),
                    (-60, -140),
                    (-300, -90),
                    (-390, 10),
                    (-290, 60),
                    (-300, 170),
                    (-190, 140),
                    (-130, 240),
                    (-60, 150),
                    (90, 130),
                ],
                2,
            ),
            GREEN,
            Pattern("bars", 90, TEAL, 34),
        ),
    ),
)

_TAILS = (
    (
        Patch(
            smooth([(60, -40), (-230, -260), (-380, -250), (-420, -60), (-410, 130), (-250, 160), (60, 70)], 2),
            ORANGE,
            Pattern("stripes", 128, BROWN, 30),
        ),
    ),
    (Patch(_sharp((60, -60), (-400, -200), (-250, 0), (-420, 160), (60, 70), rounds=2), INK),),
    (
        Patch(
            smooth(
                [(60, -40), (-160, 20), (-250, -60), (-270, -210), (-330, -200), (-320, -10), (-200, 110), (60, 60)]
            ),
            TEAL,
        ),
        Patch(_disc(-300, -240, 100), PINK),
    ),
    (Patch(_disc(-200, -30, 250, 110), VIOLET, Pattern("spots", 96, CREAM, 54)), Patch(_disc(0, 0, 60, 50), VIOLET)),
)


def _leg(x: int, variant: int) -> tuple[Patch, ...]:
    if variant == 0:  # a thin leg with three toes
        foot = _sharp((x + 0, 205), (x + 130, 240), (x + 60, 262), (x + 10, 240), (x - 60, 275), (x - 40, 225))
        return (Patch(_sharp((x - 20, -60), (x + 24, -60), (x + 20, 240), (x - 20, 240)), YELLOW), Patch(foot, YELLOW))
    if variant == 1:  # a short leg on a broad webbed foot
        web = smooth([(x - 70, 90), (x + 60, 60), (x + 210, 190), (x + 120, 220), (x - 90, 200)], 2)
        return (Patch(_sharp((x - 34, -60), (x + 40, -60), (x + 40, 150), (x - 34, 150)), BLUE), Patch(web, BLUE))
    if variant == 2:  # striped stockings in a shoe
        stocking = _sharp((x - 50, -60), (x + 56, -60), (x + 46, 210), (x - 40, 210))
        shoe = smooth([(x - 70, 170), (x + 60, 150), (x + 180, 210), (x + 150, 280), (x - 80, 270)], 2)
        return (Patch(stocking, WHITE, Pattern("bars", 84, RED)), Patch(shoe, BROWN))
    boot = smooth([(x - 90, -20), (x + 90, -20), (x + 80, 120), (x + 190, 170), (x + 170, 260), (x - 90, 260)], 2)
    return (Patch(_sharp((x - 40, -70), (x + 46, -70), (x + 46, 30), (x - 40, 30)), CREAM), Patch(boot, GREEN))


_LEGS = tuple((*_leg(-130, variant), *_leg(110, variant)) for variant in range(VARIANTS))

# DRAWINGS[part][variant]: what to paint, in order.
DRAWINGS: tuple[tuple[tuple[Patch, ...], ...], ...] = (_HEADS, _CRESTS, _BEAKS, _WINGS, _TAILS, _LEGS)

# The joint of each part: on the body, but the crest's and the beak's on the head.
JOINTS = ((225, -200), (45, -265), (205, -90), (60, -60), (-265, -50), (20, 190))
ON_HEAD = (False, True, True, False, False, False)

# Things that lie about in the background, or in front of the creature; about 200 units across.
LEAF = smooth([(-140, 0), (-60, -80), (80, -60), (170, 0), (80, 60), (-60, 80)])
PEBBLE = smooth([(-120, 40), (-90, -80), (40, -100), (130, -20), (100, 80), (-40, 100)])
BLADES = _sharp((-90, 140), (-130, -120), (-40, 60), (-10, -200), (30, 60), (120, -150), (80, 140))
FLOWER = smooth(
    [
        (SINE[(degree + 90) % 360] * radius >> 16, SINE[degree % 360] * radius >> 16)
        for petal in range(0, 360, 72)
        for degree, radius in ((petal - 24, 155), (petal + 24, 155), (petal + 36, 55))
    ]
)
TWIG = _sharp((-260, 20), (-40, -10), (90, -120), (110, -105), (10, -5), (260, -30), (262, -5), (-20, 30))
CLOUD = smooth([(-180, 70), (-200, -20), (-90, -30), (-40, -110), (70, -90), (100, -20), (200, -10), (180, 70)])
THINGS = (LEAF, PEBBLE, BLADES, FLOWER, TWIG, CLOUD)
FLOWER_KIND, FLOWER_HEART = 3, _disc(0, 0, 46)
IN_THE_AIR, ON_THE_GROUND, IN_FRONT = (0, 0, 5, 5), (0, 1, 1, 2, 3, 4), (0, 2, 3, 4)  # which of them lie where

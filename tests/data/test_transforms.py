"""A coloured dot must stay under its point, and inside its box and mask, whatever happens to the image."""

import pytest
import torch
from torch import Tensor
from torchvision import tv_tensors

from protomask.data.geometry import as_boxes, as_points, settle
from protomask.data.transforms import (
    STRENGTHS,
    InnerTilt,
    InnerWarp,
    Mirror,
    ShareCrop,
    Tone,
    denormalize,
    evaluation_transform,
    training_transform,
)
from protomask.errors import InputError
from tests.data.conftest import DOT, object_mask, scene

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _sample(width=300, height=200, dot=(120, 80), box=(60, 40, 220, 150)):
    """A dot of 25 pixels across on a grey object; its point is the dot's centre in continuous coordinates."""
    pixels = torch.from_numpy(scene(width, height, dot, box)).permute(2, 0, 1).contiguous()
    x, y = dot
    pixels[:, y - 12 : y + 13, x - 12 : x + 13] = torch.tensor(DOT, dtype=torch.uint8)[:, None, None]
    return {
        "image": tv_tensors.Image(pixels),
        "boxes": as_boxes(torch.tensor([box], dtype=torch.float32), (height, width)),
        "mask": tv_tensors.Mask(torch.from_numpy(object_mask(width, height, box) // 255)[None]),
        "points": as_points(torch.tensor([[x + 0.5, y + 0.5], [0.0, 0.0]]), (height, width)),
        "visible": torch.tensor([True, False]),
        "label": 1,
        "position": 4,
    }


def _reddest(image: Tensor) -> tuple[Tensor, int]:
    """The centre of the dot's pixels (x, y), continuous, and how many they are; ``image`` uint8 (3, H, W)."""
    image = image.as_subclass(Tensor).int()
    rows, columns = ((image[0] > 150) & (image[1] < 100) & (image[2] < 100)).nonzero().unbind(1)
    return torch.stack([columns.float().mean() + 0.5, rows.float().mean() + 0.5]), len(rows)


def _agrees(sample: dict, image: Tensor, tolerance: float) -> None:
    height, width = image.shape[-2:]
    point = sample["points"][0].as_subclass(Tensor)
    assert sample["mask"].shape == (1, height, width)
    assert sample["boxes"].canvas_size == (height, width)
    centre, pixels = _reddest(image)
    inside = bool((point >= 12).all() and point[0] < width - 12 and point[1] < height - 12)
    if inside:  # the whole dot is in the frame
        assert pixels > 50 and sample["visible"].tolist() == [True, False]
        assert (centre - point).abs().max() < tolerance
        x, y = centre.int().tolist()
        assert sample["mask"][0, y, x] == 1
    rows, columns = sample["mask"][0].nonzero().unbind(1)
    x0, y0, x1, y1 = sample["boxes"][0].tolist()
    slack = 1.5  # masks move to the nearest pixel, boxes continuously
    assert x0 - slack <= columns.min() and columns.max() + 1 <= x1 + slack
    assert y0 - slack <= rows.min() and rows.max() + 1 <= y1 + slack


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("shape", [(300, 200), (210, 330)])
def test_annotations_follow_every_training_transform(strength, shape):
    transform = training_transform(160, MEAN, STD, strength)
    torch.manual_seed(0)
    seen = set()
    for _ in range(25):
        sample = transform(_sample(*shape))
        assert sample["image"].shape == (3, 160, 160) and sample["image"].dtype == torch.float32
        assert sample["label"] == 1 and sample["position"] == 4
        _agrees(sample, denormalize(sample["image"], MEAN, STD), tolerance=1.0)
        seen.add(tuple(sample["points"][0].tolist()))
    assert len(seen) == 25


def test_evaluation_squashes_and_nothing_else():
    sample = evaluation_transform(100, MEAN, STD)(_sample())
    _agrees(sample, denormalize(sample["image"], MEAN, STD), tolerance=0.6)
    assert sample["boxes"].tolist() == [[20.0, 20.0, pytest.approx(220 / 3), 75.0]]
    assert sample["points"][0].tolist() == pytest.approx([120.5 / 3, 40.25])
    again = evaluation_transform(100, MEAN, STD)(_sample())
    assert torch.equal(sample["image"], again["image"])


def test_the_mirror_is_exact():
    sample = Mirror(p=1)(_sample())
    centre, _ = _reddest(sample["image"])
    assert sample["points"][0].tolist() == centre.tolist() == [300 - 120.5, 80.5]
    assert sample["boxes"].tolist() == [[80, 40, 240, 150]]
    assert sample["points"].canvas_size == (200, 300)


@pytest.mark.parametrize("warp", [InnerWarp(rotation=15), InnerWarp(shear=10), InnerTilt(0.2)])
def test_official_warps_show_no_border_and_keep_the_frame(warp):
    torch.manual_seed(1)
    for _ in range(30):
        white = _sample()
        white["image"] = tv_tensors.Image(torch.full((3, 200, 300), 255, dtype=torch.uint8))
        assert warp(white)["image"][:, 1:-1, 1:-1].min() >= 254
        turned = settle(warp(_sample()))
        assert turned["image"].shape == (3, 200, 300)
        _agrees(turned, turned["image"], tolerance=1.0)


def test_a_share_crop_without_a_share_is_the_evaluation():
    sample = ShareCrop(100, scale=(1, 1), ratio=(1, 1))(_sample())
    assert torch.equal(sample["points"], evaluation_transform(100, MEAN, STD)(_sample())["points"])


def test_tone_moves_colours_as_defined_and_leaves_annotations():
    tone = Tone(0.3, 0.3, 0.3)
    before = _sample()
    after = tone(before)
    assert after["image"].dtype == torch.uint8 and not torch.equal(after["image"], before["image"])
    assert torch.equal(after["mask"], before["mask"]) and torch.equal(after["points"], before["points"])
    params = {"brightness": 1.1, "contrast": 0.8, "saturation": 0.7}
    pixels = before["image"].as_subclass(Tensor).double()
    luma = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64).reshape(3, 1, 1)
    grey = (pixels * luma).sum(0).mean()
    expected = 0.8 * pixels + 0.2 * grey
    expected = 0.7 * expected + 0.3 * (expected * luma).sum(0)
    expected = (1.1 * expected).round().clamp(0, 255)
    assert (tone.transform(before["image"], params).as_subclass(Tensor).double() - expected).abs().max() <= 1
    assert torch.equal(Tone(0, 0, 0)(before)["image"], before["image"])


def test_settling_hides_points_and_clamps_or_drops_boxes():
    sample = _sample() | {
        "boxes": as_boxes(
            torch.tensor([[-5.0, -5, 10, 10], [290, 190, 400, 400], [300, 0, 310, 9], [5, 5, 5.5, 50]]), (200, 300)
        ),
        "points": as_points(torch.tensor([[299.9, 199.9], [300.0, 5.0], [5.0, -0.1], [0.0, 0.0]]), (200, 300)),
        "visible": torch.tensor([True, True, True, False]),
    }
    settled = settle(sample)
    assert settled["boxes"].tolist() == [[0, 0, 10, 10], [290, 190, 300, 200]]
    assert settled["visible"].tolist() == [True, False, False, False]
    assert sample["visible"].tolist() == [True, True, True, False]


@pytest.mark.parametrize("strength", STRENGTHS)
def test_an_image_without_boxes_and_parts(strength):
    sample = {"image": _sample()["image"], "boxes": as_boxes(torch.zeros(0, 4), (200, 300)), "label": 0, "position": 0}
    result = training_transform(64, MEAN, STD, strength)(sample)
    assert result["boxes"].shape == (0, 4) and "mask" not in result and "points" not in result


def test_erasing_sets_the_mean_colour_and_leaves_annotations():
    torch.manual_seed(0)
    plain, erased = training_transform(64, MEAN, STD, "light"), training_transform(64, MEAN, STD, "light", erasing=1.0)
    torch.manual_seed(3)
    without = plain(_sample())
    torch.manual_seed(3)
    with_hole = erased(_sample())
    assert torch.equal(without["mask"], with_hole["mask"])
    changed = (without["image"] != with_hole["image"]).any(dim=0)
    assert changed.any() and (with_hole["image"][:, changed] == 0).all()


def test_denormalize_inverts_normalising():
    pixels = torch.randint(0, 256, (2, 3, 8, 9), dtype=torch.uint8)
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (MEAN, STD))
    assert torch.equal(denormalize((pixels / 255 - mean) / std, MEAN, STD), pixels)
    assert denormalize(torch.full((3, 1, 1), 99.0), MEAN, STD).flatten().tolist() == [255] * 3


def test_an_unknown_strength_lists_the_known_ones():
    with pytest.raises(InputError, match="'huge'.*default, official, light"):
        training_transform(64, MEAN, STD, "huge")

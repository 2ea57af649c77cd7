"""Consistency, stability and purity on constructed cases: ties, invisible parts, borders."""

import pytest
import torch

from protomask.metrics.part_points import (
    add_noise,
    consistency,
    merge_sides,
    parts_at_maximum,
    parts_in_patch,
    purity,
    stability,
)


def peak(x, y, size=224):
    saliency = torch.zeros(1, size, size)
    saliency[0, y, x] = 1
    return saliency


def at(x, y, px, py, size=224, seen=True, **options):
    return parts_at_maximum(peak(x, y, size), torch.tensor([[[px, py]]]), torch.tensor([[seen]]), **options).item()


def test_the_window_reaches_36_pixels_both_ends_included():
    assert at(100, 100, 136.0, 64.0) and at(100, 100, 136.9, 100.0)  # points are cut off to whole pixels
    assert not at(100, 100, 137.0, 100.0) and not at(100, 100, 100.0, 63.0)


def test_the_window_is_clipped_at_the_border_and_does_not_move():
    assert at(0, 0, 36.0, 36.0) and not at(0, 0, 40.0, 0.0)
    assert at(223, 223, 187.0, 200.0)
    assert not at(5, 5, -3.0, 5.0)  # a point outside the crop


def test_the_window_shrinks_with_the_image():
    assert at(50, 50, 65.0, 50.0, size=96) and not at(50, 50, 66.0, 50.0, size=96)  # 36 * 96 / 224 = 15.4
    assert at(50, 50, 53.0, 50.0, size=96, half=3) and not at(50, 50, 54.0, 50.0, size=96, half=3)


def test_invisible_parts_and_constant_maps_are_nowhere():
    assert not at(100, 100, 100.0, 100.0, seen=False)
    visible = torch.ones(1, 1, dtype=torch.bool)
    assert not parts_at_maximum(torch.ones(1, 8, 8), torch.zeros(1, 1, 2), visible).any()
    assert not parts_in_patch(torch.zeros(1, 8, 8), torch.zeros(1, 1, 2), visible).any()


def test_the_first_of_equal_maxima_counts():
    saliency = peak(10, 10) + peak(200, 200)
    points, visible = torch.tensor([[[10.0, 10.0], [200.0, 200.0]]]), torch.ones(1, 2, dtype=torch.bool)
    assert parts_at_maximum(saliency, points, visible).tolist() == [[True, False]]


def test_a_patch_has_32_pixels_and_moves_inside_the_border():
    def inside(x, y, px, py):
        return parts_in_patch(peak(x, y), torch.tensor([[[px, py]]]), torch.ones(1, 1, dtype=torch.bool)).item()

    assert inside(100, 100, 84.5, 116.5) and not inside(100, 100, 84.4, 100.0)
    assert inside(0, 0, 32.0, 32.0) and not inside(0, 0, 32.1, 0.0)
    assert inside(223, 223, 192.0, 192.0) and not inside(223, 223, 191.9, 223.0)


TWO = torch.tensor([7, 7, 7, 7, 7, 3])  # five pairs of prototype 7, one of prototype 3


def test_consistency_by_hand():
    visible = torch.tensor([[1, 1], [1, 0], [1, 0], [1, 0], [1, 1], [1, 1]]).bool()
    hits = torch.tensor([[1, 0], [1, 0], [1, 0], [1, 0], [0, 1], [0, 0]]).bool()
    # Prototype 7: 4 of 5 is 80 %, enough; prototype 3 is at nothing. In the order of their numbers: 3, 7.
    assert consistency(hits, visible, TWO).tolist() == [0, 100]
    assert consistency(hits, visible, TWO, present=0.81).tolist() == [0, 0]


def test_a_part_seen_once_is_enough_unless_more_is_asked():
    visible = torch.tensor([[1, 1], [1, 0], [1, 0], [1, 0], [1, 0], [1, 0]]).bool()
    hits = torch.tensor([[0, 1], [0, 0], [0, 0], [0, 0], [0, 0], [0, 0]]).bool()
    assert consistency(hits, visible, TWO).tolist() == [0, 100]
    assert consistency(hits, visible, TWO, least=2).tolist() == [0, 0]
    assert consistency(hits & False, visible & False, TWO).tolist() == [0, 0]  # nothing visible at all


def test_stability_by_hand():
    before = torch.tensor([[1, 0], [1, 0], [0, 0], [0, 0], [1, 1], [0, 0]]).bool()
    after = torch.tensor([[1, 0], [1, 1], [0, 0], [1, 0], [1, 1], [0, 0]]).bool()
    assert stability(before, after, TWO).tolist() == pytest.approx([100, 60])
    assert stability(before, after, TWO, strict=True).tolist() == pytest.approx([0, 40])  # at nothing is not stable


def test_purity_by_hand():
    visible = torch.tensor([[1, 1], [1, 0], [1, 0], [1, 1], [1, 1], [0, 0]]).bool()
    inside = torch.tensor([[1, 0], [1, 0], [0, 0], [0, 1], [0, 1], [0, 0]]).bool()
    similarity = torch.tensor([0.9, 0.8, 0.7, 0.2, 0.1, 0.5])
    # Prototype 7: part 0 in 2 of 5, part 1 in 2 of the 3 images that show it. Prototype 3 sees no part.
    found = purity(inside, visible, TWO, similarity)
    assert found[0].isnan() and found[1].item() == pytest.approx(2 / 3)
    # The two most similar images alone: part 0 in both.
    assert purity(inside, visible, TWO, similarity, top=2)[1].item() == 1
    # Part 1 is shown by one of the first three: not often enough for least=2, so part 0 with 2 of 3 it is.
    assert purity(inside, visible, TWO, similarity, top=3, least=2)[1].item() == pytest.approx(2 / 3)


def test_of_equally_similar_images_the_first_are_taken():
    visible = torch.ones(3, 1, dtype=torch.bool)
    inside = torch.tensor([[1], [0], [0]]).bool()
    assert purity(inside, visible, torch.zeros(3, dtype=torch.long), torch.ones(3), top=1).item() == 1


def test_left_and_right_are_one_part():
    names = ("back", "left eye", "tail", "right eye")
    present = torch.tensor([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0]]).bool()
    assert merge_sides(present, names).int().tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]


def test_noise_is_bounded_and_seeded():
    images = torch.zeros(2, 3, 40, 40)
    noise = add_noise(images, [1, 2])
    assert noise.abs().max().item() == 0.25 and 0.1 < noise.std().item() < 0.2 and not noise[0].equal(noise[1])
    assert add_noise(images[:1], [2])[0].equal(noise[1])

"""Projected gradient descent on linear scores, where the worst case is known."""

import pytest
import torch

from protomask.metrics.attack import misalignment, move_evidence, outside_box, outside_top

LEFT = torch.zeros(8, 8, dtype=torch.bool)
LEFT[:, :4] = True


def left_mean(images, index):
    return images[..., :4].mean((1, 2, 3))


def test_a_linear_score_falls_by_epsilon():
    images, index = torch.full((2, 3, 8, 8), 0.5), torch.tensor([0, 0])
    found = misalignment(left_mean, images, index, torch.stack([LEFT, ~LEFT]))
    # 20 steps of 0.01 are cut off at 0.1: 0.5 becomes 0.4 on all evidence, or nothing happens.
    assert found.tolist() == pytest.approx([20, 0], abs=1e-4)
    assert misalignment(left_mean, images, index, torch.stack([LEFT, LEFT]), steps=3)[0].item() == pytest.approx(
        6, abs=1e-4
    )


def test_only_what_is_allowed_changes_and_falls_below_nothing_are_undefined():
    quarter = LEFT.clone()
    quarter[4:] = False
    images, index = torch.full((1, 3, 8, 8), 0.5), torch.tensor([0])
    assert misalignment(left_mean, images, index, quarter[None]).item() == pytest.approx(10, abs=1e-4)
    assert misalignment(left_mean, -images, index, quarter[None]).isnan()
    assert images.eq(0.5).all() and not images.requires_grad


def test_evidence_moves_out_of_the_map_and_the_whole_image_scores_no_less():
    images, index = torch.full((1, 3, 8, 8), 0.5), torch.tensor([0])

    def mean(images, index):
        return images.mean((1, 2, 3))

    def squared(images, index):
        return (images[..., :4].square() + images[..., 4:]).mean((1, 2, 3))

    moved = move_evidence(mean, images, index, LEFT[None].float(), reach=0.1)
    # s(x m) - s(x) = - mean over the right side / 2, so that only it changes.
    torch.testing.assert_close(moved[..., :4], images[..., :4])
    torch.testing.assert_close(moved[..., 4:], images[..., 4:] + 0.1)
    part = LEFT[None].float()
    part[..., :2] = 0.5  # scaled to [0, 1] it stays
    both = move_evidence(squared, images, index, part, reach=0.1)
    assert (squared(both, index) - squared(both * part, index)).item() > (
        squared(images, index) - squared(images * part, index)
    ).item()
    assert (both - images).abs().max() <= 0.1 + 1e-6 and images.eq(0.5).all()


def test_an_attack_stays_within_what_an_image_can_hold():
    images, index = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 0])
    maps = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(1))
    bounds = torch.zeros(3, 1, 1), torch.ones(3, 1, 1)
    reach = torch.tensor([0.3, 0.2, 0.1]).view(3, 1, 1)
    moved = move_evidence(left_mean, images, index, maps, reach=reach, bounds=bounds)
    assert moved.min() >= 0 and moved.max() <= 1 and not moved.equal(images)
    assert ((moved - images).abs() <= reach + 1e-6).all()
    alone = move_evidence(left_mean, images, index, maps, reach=reach, bounds=bounds, batch_size=1)
    torch.testing.assert_close(moved, alone)


def test_batch_equals_loop():
    images, index, allowed = torch.rand(5, 3, 8, 8) + 0.1, torch.zeros(5, dtype=torch.long), torch.rand(5, 8, 8) > 0.5

    def score(x, i):
        return x.square().mean((1, 2, 3))

    whole = misalignment(score, images, index, allowed, batch_size=2)
    loop = torch.cat([misalignment(score, images[b : b + 1], index[b : b + 1], allowed[b : b + 1]) for b in range(5)])
    torch.testing.assert_close(whole, loop)


def test_what_each_variant_protects():
    saliency = torch.zeros(1, 20, 20)
    saliency[0, 3, 4], saliency[0, 10, 12] = 1, 0.9
    assert not outside_box(
        saliency
    ).any()  # 398 of 400 values are 0: so is the 95th percentile, and the box is the image
    saliency[0, 3:11, 4:13] = 0.5
    box = outside_box(saliency)[0]
    assert box.sum() == 400 - 8 * 9 and not box[3:11, 4:13].any()
    assert outside_top(saliency)[0].sum() == 360 and not outside_top(saliency)[0, 3, 4:13].any()


def test_attacks_work_under_inference_mode():
    layer = torch.nn.Conv2d(3, 2, 3)

    def score(x, i):
        return layer(x).square().mean((2, 3)).gather(1, i[:, None])[:, 0]

    images, index, maps = torch.rand(2, 3, 8, 8), torch.tensor([0, 1]), torch.rand(2, 8, 8)
    fall = misalignment(score, images, index, outside_top(maps))
    moved = move_evidence(score, images, index, maps, reach=0.1)
    with torch.inference_mode():
        made = images * 1, index * 1, maps * 1
        torch.testing.assert_close(misalignment(score, made[0], made[1], outside_top(made[2])), fall)
        torch.testing.assert_close(move_evidence(score, *made, reach=0.1), moved)
    torch.testing.assert_close(move_evidence(score, *made, reach=0.1), moved)

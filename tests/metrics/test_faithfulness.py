"""Insertion, deletion, drops and gains against values worked out by hand and a slow float64 reference."""

import numpy as np
import pytest
import torch

from protomask.metrics.faithfulness import (
    auc,
    average_drop,
    average_gain,
    change_step,
    deletion,
    increase_in_confidence,
    insertion,
    masked_scores,
    minmax,
    region_deletion,
    region_means,
    relative_gain,
    relative_to_whole,
    rise_blur,
    rise_kernel,
)

INDEX = torch.zeros(1, dtype=torch.long)


def mean_score(images, index):
    return images.mean((1, 2, 3))


def linear_score(weights):
    """Score i of an image: its inner product with weights[i] (3, H, W)."""
    return lambda images, index: (images * weights[index]).sum((1, 2, 3))


def test_area_of_a_straight_line_is_a_half():
    assert auc(torch.linspace(0, 1, 29)).item() == pytest.approx(0.5)
    assert auc(torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])).tolist() == pytest.approx([1.0, 0.25])


def test_deletion_of_a_uniform_image_is_a_straight_line_whatever_the_map():
    curve = deletion(mean_score, torch.ones(1, 3, 4, 4), INDEX, torch.rand(1, 4, 4))
    torch.testing.assert_close(curve.scores[0], torch.linspace(1, 0, 17))
    assert curve.auc.item() == pytest.approx(0.5)


def test_one_decisive_pixel_gives_the_area_of_its_rank():
    """All the score in the pixel of rank r of 16: deletion falls at step r+1, area (r + 1/2) / 16; insertion mirrors"""
    weights = torch.zeros(1, 3, 4, 4)
    weights[0, 0, 2, 1] = 1  # pixel 9
    score = linear_score(weights)
    for rank in (0, 5, 15):
        saliency = torch.linspace(0.9, 0, 16)
        saliency[9], saliency[rank] = saliency[rank].clone(), saliency[9].clone()
        saliency = saliency.view(1, 4, 4)
        images = torch.ones(1, 3, 4, 4)
        assert deletion(score, images, INDEX, saliency).auc.item() == pytest.approx((rank + 0.5) / 16)
        start = torch.zeros_like(images)
        assert insertion(score, images, INDEX, saliency, start=start).auc.item() == pytest.approx(1 - (rank + 0.5) / 16)


def test_steps_are_those_of_rise_at_224_and_equal_shares_elsewhere():
    counts = change_step(torch.rand(1, 224, 224)).flatten().bincount()
    assert counts[1:].tolist() == [224 * 8] * 28
    counts = change_step(torch.rand(1, 64, 48)).flatten().bincount()[1:]
    assert len(counts) == 28 and counts.sum() == 64 * 48 and counts.max() - counts.min() <= 1
    assert change_step(torch.rand(1, 3, 3)).flatten().bincount()[1:].tolist() == [1] * 9  # fewer pixels than steps


def test_equal_saliency_changes_in_reading_order():
    saliency = torch.tensor([[[0.5, 0.9, 0.5], [0.1, 0.5, 0.9], [0.1, 0.1, 0.1]]])
    assert change_step(saliency).tolist() == [[[3, 1, 4], [6, 5, 2], [7, 8, 9]]]
    constant = change_step(torch.full((1, 3, 3), 0.7))
    assert constant.flatten().tolist() == list(range(1, 10))
    assert change_step(torch.zeros(1, 3, 3)).tolist() == constant.tolist()


def test_kernel_is_what_rise_makes_with_scipy():
    kernel = rise_kernel()
    assert kernel[5, 5].item() == pytest.approx(0.00883, abs=5e-6)
    assert kernel[0, 0].item() == pytest.approx(0.00774, abs=5e-6)
    assert kernel.sum().item() == pytest.approx(1)
    ndimage = pytest.importorskip("scipy.ndimage")
    dirac = np.zeros((11, 11))
    dirac[5, 5] = 1
    np.testing.assert_allclose(kernel.numpy(), ndimage.gaussian_filter(dirac, 5), atol=1e-12)


def slow_kernel():
    """A dirac blurred along both axes, the signal being mirrored beyond its borders (d c b a | a b c d | d c b a)."""
    weights = np.array([np.exp(-(offset**2) / 50) for offset in range(-20, 21)])
    weights /= weights.sum()
    image = np.zeros((11, 11))
    image[5, 5] = 1
    for _ in range(2):
        mirrored = np.concatenate([image[::-1], image, image[::-1]])
        mirrored = np.concatenate([mirrored[::-1], mirrored, mirrored[::-1]])  # 99 rows, the image from row 44 on
        around = list(zip(weights, range(44 - 20, 44 + 21)))
        image = np.stack([sum(w * mirrored[row + o] for w, o in around) for row in range(11)]).T
    return image


def slow_rise(weight, image, saliency, mode, step):
    """RISE's loop, one image (3, H, W), everything in float64; the score is the sigmoid of a linear one."""

    def score(x):
        return 1 / (1 + np.exp(-(x * weight).sum()))

    height, width = saliency.shape
    if mode == "insertion":
        kernel, padded, start = slow_kernel(), np.pad(image, ((0, 0), (5, 5), (5, 5))), np.zeros_like(image)
        for y in range(height):
            for x in range(width):
                start[:, y, x] = (padded[:, y : y + 11, x : x + 11] * kernel).sum((1, 2))
        finish = image
    else:
        start, finish = image.copy(), np.zeros_like(image)
    order = sorted(range(height * width), key=lambda pixel: (-saliency.flat[pixel], pixel))
    scores = [score(start)]
    for first in range(0, height * width, step):
        for pixel in order[first : first + step]:
            start[:, pixel // width, pixel % width] = finish[:, pixel // width, pixel % width]
        scores.append(score(start))
    return (sum(scores) - scores[0] / 2 - scores[-1] / 2) / (len(scores) - 1), scores


@pytest.mark.parametrize("mode", ["insertion", "deletion"])
def test_agrees_with_a_slow_reference(mode):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(3, 3, 14, 16, generator=generator, dtype=torch.float64)
    saliency = torch.rand(3, 14, 16, generator=generator, dtype=torch.float64).mul(20).round()  # with ties
    weights = torch.randn(2, 3, 14, 16, generator=generator, dtype=torch.float64)
    index = torch.tensor([1, 0, 1])
    curve = {"insertion": insertion, "deletion": deletion}[mode](
        lambda x, i: torch.sigmoid(linear_score(weights)(x, i)), images, index, saliency, batch_size=5
    )
    for b in range(3):
        weight = weights[index[b]].numpy()
        area, scores = slow_rise(weight, images[b].numpy(), saliency[b].numpy(), mode, 8)
        np.testing.assert_allclose(curve.scores[b].numpy(), scores, atol=1e-12)
        assert curve.auc[b].item() == pytest.approx(area, abs=1e-12)


def test_batch_equals_loop_and_batch_size_does_not_matter():
    generator = torch.Generator().manual_seed(1)
    images, saliency = torch.randn(4, 3, 9, 9, generator=generator), torch.rand(4, 9, 9, generator=generator)
    score, index = linear_score(torch.randn(3, 3, 9, 9, generator=generator)), torch.tensor([0, 2, 1, 2])
    for change in (insertion, deletion):
        whole = change(score, images, index, saliency, batch_size=7)
        for b in range(4):
            one = change(score, images[b : b + 1], index[b : b + 1], saliency[b : b + 1], batch_size=100)
            torch.testing.assert_close(whole.scores[b], one.scores[0])
    kept = masked_scores(score, images, index, saliency, batch_size=3)
    loop = [masked_scores(score, images[b : b + 1], index[b : b + 1], saliency[b : b + 1])[0] for b in range(4)]
    torch.testing.assert_close(kept, torch.stack(loop))


def test_no_call_is_larger_than_the_batch_size_and_no_gradient_is_kept():
    sizes = []

    def score(images, index):
        sizes.append(len(images))
        return mean_score(images, index)

    images = torch.rand(2, 3, 8, 8, requires_grad=True)
    curve = insertion(score, images, torch.zeros(2, dtype=torch.long), torch.rand(2, 8, 8), batch_size=5)
    assert max(sizes) == 5 and sum(sizes) == 2 * 29
    assert not curve.auc.requires_grad


def test_the_true_map_beats_a_random_one_and_the_reversed_one_loses():
    generator = torch.Generator().manual_seed(2)
    weights = torch.rand(1, 3, 16, 16, generator=generator) ** 4
    images, score = torch.ones(1, 3, 16, 16), linear_score(weights / weights.sum())
    true = weights.sum(1)
    maps = {"true": true, "random": torch.rand(1, 16, 16, generator=generator), "reversed": -true}
    deleted = [deletion(score, images, INDEX, each).auc.item() for each in maps.values()]
    start = torch.zeros_like(images)
    inserted = [insertion(score, images, INDEX, each, start=start).auc.item() for each in maps.values()]
    assert deleted == sorted(deleted)
    assert inserted == sorted(inserted, reverse=True)


def test_blur_keeps_the_inside_of_a_constant_image_and_darkens_its_border():
    blurred = rise_blur(torch.ones(1, 3, 20, 20))
    torch.testing.assert_close(blurred[:, :, 5:15, 5:15], torch.ones(1, 3, 10, 10))
    assert (blurred[0, :, 0, 0] < 0.5).all()


def test_relative_scores_start_at_one_and_shares_of_nothing_are_undefined():
    curves = torch.tensor([[2.0, 1.0], [0.0, 1.0], [-1.0, 1.0]])
    shares = relative_to_whole(curves, curves[:, 0])
    assert shares[0].tolist() == [1.0, 0.5]
    assert shares[1:].isnan().all()


def test_drop_increase_and_gain_by_hand():
    whole, kept = torch.tensor([0.8, 0.5, 0.5, 1.0]), torch.tensor([0.2, 0.75, 0.5, 1.0])
    assert average_drop(whole, kept).tolist() == pytest.approx([75, 0, 0, 0])
    assert increase_in_confidence(whole, kept).tolist() == [0, 100, 0, 0]
    assert average_gain(whole, kept).tolist() == pytest.approx([0, 50, 0, 0])
    assert relative_gain(whole, kept).tolist() == pytest.approx([0, 50, 0, 0])
    nothing = torch.tensor([0.0, -0.5])
    assert average_drop(nothing, nothing - 1).isnan().all()
    assert relative_gain(nothing, nothing + 1).isnan().all()


def test_kept_scores_by_hand():
    """M stretches 1, 2, 3, 5 to 0, 1/4, 1/2, 1; of an image of ones a mean of 7/16 is left."""
    saliency = torch.tensor([[[1.0, 2.0], [3.0, 5.0]]])
    assert masked_scores(mean_score, torch.ones(1, 3, 2, 2), INDEX, saliency).item() == pytest.approx(7 / 16)


@pytest.mark.parametrize("constant", [0.0, 0.3, 1.0])
def test_a_constant_map_keeps_nothing(constant):
    saliency = torch.full((1, 4, 4), constant)
    assert minmax(saliency).abs().max() == 0
    kept = masked_scores(mean_score, torch.ones(1, 3, 4, 4), INDEX, saliency)
    assert average_drop(torch.ones(1), kept).item() == 100


def test_deletion_of_regions_is_deletion_in_the_order_of_their_means():
    """Against a slow loop: 8 regions along the shorter side of 16 x 24, 2 x 2 pixels each."""
    draw = torch.Generator().manual_seed(4)
    images, weights, saliency = (torch.rand(size, generator=draw) for size in ((2, 3, 16, 24),) * 2 + ((2, 16, 24),))
    score = linear_score(weights)
    found = region_deletion(score, images, torch.arange(2), saliency, regions=8, steps=96)
    for number in range(2):
        means = {
            (row, column): saliency[number, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].mean().item()
            for row in range(8)
            for column in range(12)
        }
        left = images[number].clone()
        heights = [(left * weights[number]).sum()]
        for row, column in sorted(means, key=lambda region: -means[region]):
            left[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = 0
            heights.append((left * weights[number]).sum())
        torch.testing.assert_close(found.scores[number], torch.stack(heights))


def test_scatter_gains_less_in_deletion_of_regions():
    """A score that dots harm wherever they are, and that otherwise is the brightness of a large square."""

    def score(images, index):
        gray = images[:, 0]
        dots = (gray[:, 1:-1, 1:-1] - (gray[:, :-2, 1:-1] + gray[:, 2:, 1:-1]) / 2).abs().mean((1, 2))
        return gray[:, 4:28, 4:28].mean((1, 2)) * (1 - 5 * dots).clamp(min=0)

    square = torch.full((1, 32, 32), 0.5)
    square[:, 4:28, 4:28] = 1
    scattered = square * torch.rand(1, 32, 32, generator=torch.Generator().manual_seed(0))
    images = torch.ones(1, 3, 32, 32)
    single = [deletion(score, images, INDEX, each).auc.item() for each in (square, scattered)]
    regions = [region_deletion(score, images, INDEX, each, regions=8).auc.item() for each in (square, scattered)]
    assert single[1] < 0.3 * single[0] and regions[1] > 0.8 * regions[0]


def test_regions_go_in_the_order_of_their_own_means_where_sides_do_not_divide():
    for height, width in ((30, 30), (40, 33), (56, 84)):
        saliency = torch.rand(2, height, width, generator=torch.Generator().manual_seed(0))
        down, across = round(height / (min(height, width) / 28)), round(width / (min(height, width) / 28))
        numbers = torch.arange(down * across).float().view(1, 1, down, across)
        region = torch.nn.functional.interpolate(numbers, (height, width), mode="nearest-exact")[0, 0].long()
        expected = torch.empty_like(saliency)
        for number in range(down * across):
            expected[:, region == number] = saliency[:, region == number].mean(1, keepdim=True)
        torch.testing.assert_close(region_means(saliency), expected)

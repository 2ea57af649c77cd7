"""ROAD's imputation against a direct solution of its equations, written out pixel by pixel."""

import numpy as np
import pytest
import torch
from scipy.sparse import lil_matrix
from scipy.sparse.linalg import spsolve

from protomask.metrics import impute, road
from protomask.metrics.imputation import NOISE


def smooth_images(count, height, width):
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(count, 3, height // 4, width // 4, generator=generator)
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")


def plain(image, removed):
    """Solve for one image (3, H, W) with scipy's direct solver; removed (H, W) bool."""
    height, width = removed.shape
    places = [(y, x) for y in range(height) for x in range(width) if removed[y, x]]
    number = {place: n for n, place in enumerate(places)}
    matrix, right = lil_matrix((len(places), len(places))), np.zeros((len(places), 3))
    for n, (y, x) in enumerate(places):
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                if (dy, dx) == (0, 0) or not (0 <= y + dy < height and 0 <= x + dx < width):
                    continue
                weight = 1 / 6 if 0 in (dy, dx) else 1 / 12
                matrix[n, n] += weight
                if (y + dy, x + dx) in number:
                    matrix[n, number[y + dy, x + dx]] -= weight
                else:
                    right[n] += weight * image[:, y + dy, x + dx]
    found = image.copy()
    found[:, removed] = spsolve(matrix.tocsc(), right).T.reshape(3, -1)
    return found


def test_imputation_solves_the_papers_equations():
    images = smooth_images(4, 16, 24)
    ranks = torch.arange(16 * 24).view(16, 24)
    removed = torch.stack([ranks < 80, ranks % 5 == 0, torch.rand(16, 24) < 0.8, (ranks // 24 > 2) & (ranks % 24 > 3)])
    found = impute(images, removed, iterations=300, tolerance=1e-6)
    expected = torch.stack([torch.from_numpy(plain(x.numpy(), m.numpy())) for x, m in zip(images, removed)])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    usual = impute(images, removed)
    assert (usual - expected).abs().max() < 0.05
    assert torch.equal(usual.movedim(1, -1)[~removed], images.movedim(1, -1)[~removed])
    each = torch.cat([impute(images[i : i + 1], removed[i : i + 1], tolerance=1e-6) for i in range(4)])
    torch.testing.assert_close(each, impute(images, removed, tolerance=1e-6), atol=1e-4, rtol=0)


def test_what_is_wrong_over_a_long_way_is_mended_and_far_below_the_noise():
    """Large holes, whose equations are all nearly fulfilled long before their values are right."""
    images = torch.nn.functional.interpolate(smooth_images(1, 8, 8), (32, 32), mode="bilinear")
    row, column = torch.arange(32)[:, None], torch.arange(32)
    for removed in ((row - 16) ** 2 + (column - 16) ** 2 < 17**2, row**2 + column**2 < 34**2):
        found, expected = impute(images, removed[None])[0], plain(images[0].numpy(), removed.numpy())
        assert (found - torch.from_numpy(expected)).abs().max() < NOISE / 4


def test_an_image_is_filled_alike_beside_any_others():
    images = smooth_images(3, 32, 32) * torch.tensor([1.0, 1.0, 100.0]).view(3, 1, 1, 1)
    removed = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0)) < torch.tensor([0.3, 0.8, 0.9]).view(
        3, 1, 1
    )
    together = impute(images, removed)  # so few pixels are solved in one go
    for number in range(3):
        alone = impute(images[number : number + 1], removed[number : number + 1])
        torch.testing.assert_close(alone, together[number : number + 1], atol=1e-5, rtol=1e-6)


def test_the_thinnest_images_and_half_precision_are_filled():
    for height, width in ((1, 9), (3, 50), (17, 16)):
        image = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))
        removed = torch.arange(height * width).view(1, height, width) % 3 > 0
        expected = torch.from_numpy(plain(image[0].numpy(), removed[0].numpy()))
        assert (impute(image, removed)[0] - expected).abs().max() < 1e-3
        half = impute(image.half(), removed)
        assert half.dtype == torch.float16 and (half[0] - expected).abs().max() < 1e-2


def test_nothing_removed_and_nothing_left():
    images = smooth_images(2, 8, 8)
    removed = torch.stack([torch.zeros(8, 8, dtype=torch.bool), torch.ones(8, 8, dtype=torch.bool)])
    found = impute(images, removed)
    assert torch.equal(found[0], images[0]) and (found[1] == 0).all()


def test_road_by_hand():
    """Half of the mean difference between both orders, each image perturbed and scored on its own."""
    images = smooth_images(3, 16, 24) + 2
    weights = torch.rand(16, 24, generator=torch.Generator().manual_seed(1))
    saliency = torch.rand(3, 16, 24, generator=torch.Generator().manual_seed(2))

    def score(images, index):
        return (images * weights).mean((1, 2, 3)) + index

    index, shares = torch.tensor([0, 1, 2]), (0.25, 0.5)
    found = road(score, images, index, saliency, shares=shares, noise=0.0, batch_size=5)
    for number in range(3):
        differences = []
        for share in shares:
            count = int(share * 16 * 24)
            order = saliency[number].flatten().argsort(descending=True)
            scores = []
            for chosen in (order[-count:], order[:count]):
                removed = torch.zeros(16 * 24, dtype=torch.bool)
                removed[chosen] = True
                filled = plain(images[number].numpy(), removed.view(16, 24).numpy())
                scores.append(float((torch.from_numpy(filled) * weights).mean()) + number)
            differences.append((scores[0] - scores[1]) / 2)
        assert abs(float(found[number]) - np.mean(differences)) < 2e-4


def test_a_map_of_the_evidence_is_ahead_and_noise_has_no_outline():
    evidence = torch.zeros(1, 16, 24)
    evidence[:, 4:9, 5:12] = 1

    def score(images, index):
        return images[:, :, 4:9, 5:12].mean((1, 2, 3))

    images = smooth_images(1, 16, 24) * 0 + 0.1
    images[:, :, 4:9, 5:12] = 1.0
    found = road(score, images, torch.tensor([0]), evidence)
    assert float(found) > 0.3 and float(road(score, images, torch.tensor([0]), 1 - evidence)) < -0.3
    assert torch.equal(found, road(score, images, torch.tensor([0]), evidence))
    tiny = road(lambda x, i: 1e-6 * score(x, i), images, torch.tensor([0]), evidence)  # in units of the score
    assert float(tiny) == pytest.approx(1e-6 * float(found), rel=1e-3)

"""The occurrence terms worked out by hand and by loops, and the whole loss from its published parts."""

import math

import pytest
import torch

from tests.xprotonet.test_definition import network
from xprotonet.losses import XProtoNetLoss
from xprotonet.occurrence import random_affines, size_cost, transform, transformation_cost

FLIP = [[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
QUARTER_TURN = [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]
# The source of a place lies half the picture to its left: everything moves right by half its width.
HALF_RIGHT = [[1.0, 0.0, -1.0], [0.0, 1.0, 0.0]]


def affine(rows, count=1):
    return torch.tensor(rows, dtype=torch.float64).expand(count, 2, 3)


def slow_transform(image, matrix):
    """Bilinear sampling of one (h, w) map with zeros outside, pixel by pixel, from the definition of the matrix."""
    height, width = image.shape
    result = torch.zeros_like(image)

    def at(row, column):
        return image[row, column].item() if 0 <= row < height and 0 <= column < width else 0.0

    for row in range(height):
        for column in range(width):
            x, y = (2 * column + 1) / width - 1, (2 * row + 1) / height - 1
            source_x = matrix[0][0] * x + matrix[0][1] * y + matrix[0][2]
            source_y = matrix[1][0] * x + matrix[1][1] * y + matrix[1][2]
            across, down = ((source_x + 1) * width - 1) / 2, ((source_y + 1) * height - 1) / 2
            left, top = math.floor(across), math.floor(down)
            result[row, column] = sum(
                at(top + i, left + j) * (1 - abs(down - top - i)) * (1 - abs(across - left - j))
                for i in (0, 1)
                for j in (0, 1)
            )
    return result


def test_transform_equals_its_definition():
    torch.manual_seed(2)
    images = torch.rand(4, 2, 7, 7, dtype=torch.float64)
    affines = random_affines(4, like=images)
    found = transform(images, affines)
    for image in range(4):
        for channel in range(2):
            torch.testing.assert_close(
                found[image, channel], slow_transform(images[image, channel], affines[image].tolist())
            )


def test_exact_transforms_move_pixels_without_blurring_them():
    images = torch.arange(16.0, dtype=torch.float64).reshape(1, 1, 4, 4) + 1
    torch.testing.assert_close(transform(images, affine(FLIP)), images.flip(3))
    torch.testing.assert_close(transform(images, affine(QUARTER_TURN)), images.rot90(1, (2, 3)))
    moved = torch.zeros_like(images)
    moved[..., 2:] = images[..., :2]
    torch.testing.assert_close(transform(images, affine(HALF_RIGHT)), moved)


def test_random_affines_are_rotations_and_zooms_of_the_published_range():
    torch.manual_seed(0)
    matrices = random_affines(4000).double()
    linear = matrices[:, :, :2]
    assert matrices[:, :, 2].eq(0).all()
    determinants = torch.linalg.det(linear)
    zooms = determinants**-0.5
    torch.testing.assert_close(
        linear @ linear.mT,
        determinants[:, None, None] * torch.eye(2, dtype=torch.float64).expand(4000, 2, 2),
        atol=1e-6,
        rtol=0,
    )
    angles = torch.rad2deg(torch.atan2(linear[:, 1, 0], linear[:, 0, 0]))
    for values, low, high in ((zooms, 0.6, 1.5), (angles, -20, 20)):
        assert (
            low <= values.min() < low + 0.01 * (high - low) and high - 0.01 * (high - low) < values.max() <= high + 1e-5
        )
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.02 * (high - low))
    # A zoom of 1.5 shows things larger: their source is nearer to the centre.
    assert random_affines(1, 0, (1.5, 1.5))[0, 0, 0].item() == pytest.approx(1 / 1.5)


def symmetric(net):
    """Equal weights within each 4x4 kernel and no bias: the toy backbone sees means of cells, and nothing in empty
    ones."""
    with torch.no_grad():
        kernel = net.backbone.convolution
        kernel.weight.copy_(kernel.weight.sum((2, 3), keepdim=True).expand_as(kernel.weight) / 16)
        for module in (kernel, *net.occurrence):
            if getattr(module, "bias", None) is not None:
                module.bias.zero_()
    return net


@pytest.mark.parametrize("rows", [FLIP, QUARTER_TURN, HALF_RIGHT], ids=["flip", "quarter turn", "half right"])
def test_maps_of_transformed_images_are_transformed_maps(rows):
    """By hand: the means of 4x4 cells turn, flip and move by whole cells with the image, and 1x1 convolutions follow
    each cell."""
    net = symmetric(network())
    images = torch.rand(3, 3, 16, 16, dtype=torch.float64)
    affines = affine(rows, 3)
    with torch.no_grad():
        found, expected = (
            net.maps(transform(images, affines)).occurrences,
            transform(net.maps(images).occurrences, affines),
        )
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    assert found.std() > 0
    assert (
        transformation_cost(found, expected).item() < 1e-12
        and transformation_cost(found, expected, True).item() < 1e-12
    )
    with torch.no_grad():
        assert transformation_cost(found, net.maps(images).occurrences, True) > 0.05


def test_a_kernel_that_knows_left_from_right_is_not_equivariant():
    net = symmetric(network())
    with torch.no_grad():
        net.backbone.convolution.weight[..., :2] = 0
        images = torch.rand(3, 3, 16, 16, dtype=torch.float64)
        found, expected = (
            net.maps(transform(images, affine(FLIP, 3))).occurrences,
            transform(net.maps(images).occurrences, affine(FLIP, 3)),
        )
    assert transformation_cost(found, expected, True) > 0.02


def test_smooth_maps_are_equivariant_under_any_of_the_affines():
    """A smooth blob that stays inside, seen in cells of 4x4 pixels: sampling the cells or the pixels differs little."""
    net = symmetric(network())
    net.image_size = 128
    axis = torch.arange(128, dtype=torch.float64) - 63.5
    blob = torch.exp(-((axis[:, None] - 9) ** 2 + (axis[None] + 6) ** 2) / (2 * 14**2)).expand(8, 3, 128, 128)
    torch.manual_seed(0)
    affines = random_affines(8, like=blob)
    with torch.no_grad():
        before = net.maps(blob).occurrences
        found, expected = net.maps(transform(blob, affines)).occurrences, transform(before, affines)
    assert transformation_cost(found, expected, True) < 0.01
    # Against leaving the maps as they were, which a constant module would do:
    assert transformation_cost(found, before, True) > 0.1


def test_costs_of_the_occurrence_maps_by_hand():
    found = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]], [[2.0, 2.0], [2.0, 2.0]]]])
    expected = torch.tensor([[[[0.0, 3.0], [0.0, 0.0]], [[2.0, 2.0], [2.0, 0.0]]]])
    assert transformation_cost(found, expected).item() == pytest.approx((1 + 3 + 2) / 8)
    assert transformation_cost(found, expected, True).item() == pytest.approx((4 / 4 + 2 / 14) / 2)
    assert size_cost(found).item() == pytest.approx((1 + 8) / 2)
    assert size_cost(found, True).item() == pytest.approx((1 / 4 + 1) / 2)


def test_shrinking_the_maps_cheats_the_published_terms_alone():
    torch.manual_seed(0)
    found, expected = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    small = 1e-6
    assert transformation_cost(found * small, expected * small).item() == pytest.approx(
        transformation_cost(found, expected).item() * small
    )
    assert size_cost(found * small).item() == pytest.approx(size_cost(found).item() * small)
    assert transformation_cost(found * small, expected * small, True).item() == pytest.approx(
        transformation_cost(found, expected, True).item()
    )
    assert size_cost(found * small, True).item() == pytest.approx(size_cost(found, True).item())
    zero = torch.zeros(1, 1, 2, 2, requires_grad=True)
    (size_cost(zero, True) + transformation_cost(zero, zero.detach(), True)).backward()
    assert zero.grad.isfinite().all()


@pytest.mark.parametrize("relative", [False, True])
def test_the_loss_is_the_sum_of_its_published_parts(relative):
    net = network()
    images, labels = torch.rand(6, 3, 16, 16, dtype=torch.float64), torch.tensor([0, 1, 2, 2, 1, 0])
    torch.manual_seed(7)
    terms = XProtoNetLoss(size=0.01, coverage=0.3, relative=relative, share=0.5)(net, images, labels)
    torch.manual_seed(7)
    affines = random_affines(3, like=images).tolist()
    prediction = net(images)
    cluster = separation = cross_entropy = 0.0
    for image, label in enumerate(labels.tolist()):
        cosines = [1 - value for value in prediction.distances[image].tolist()]
        cluster += (1 - max(cosines[prototype] for prototype in range(6) if prototype // 2 == label)) / 6
        separation += (1 - max(cosines[prototype] for prototype in range(6) if prototype // 2 != label)) / 6
        logits = prediction.logits[image].tolist()
        cross_entropy += (math.log(sum(math.exp(value) for value in logits)) - logits[label]) / 6
    coverage = 0.0
    for prototype in range(6):
        coverage += (
            min(prediction.distances[image, prototype].item() for image in range(6) if labels[image] == prototype // 2)
            / 6
        )
    with torch.no_grad():
        occurrences = net.maps(images).occurrences
        moved = torch.stack(
            [torch.stack([slow_transform(channel, affines[image]) for channel in images[image]]) for image in range(3)]
        )
        found = net.maps(moved).occurrences
    transformation = 0.0
    for image in range(3):
        for prototype in range(6):
            expected = slow_transform(occurrences[image, prototype], affines[image])
            part = (found[image, prototype] - expected).abs().sum().item()
            transformation += part / (18 * ((found[image, prototype] + expected).sum().item() if relative else 16))
    size = sum((map_.mean() / map_.max() if relative else map_.sum()).item() for map_ in occurrences.flatten(0, 1)) / 36
    l1 = 12 * 0.5 * 3
    for name, expected in (
        ("cross_entropy", cross_entropy),
        ("cluster", cluster),
        ("separation", separation),
        ("coverage", coverage),
        ("transformation", transformation),
        ("size", size),
        ("l1", l1),
    ):
        assert terms[name].item() == pytest.approx(expected), name
    assert terms["loss"].item() == pytest.approx(
        cross_entropy
        + 0.8 * cluster
        - 0.08 * separation
        + 0.5 * transformation
        + 0.01 * size
        + 1e-4 * l1
        + 0.3 * coverage
    )
    assert terms["correct"].item() == (prediction.logits.argmax(1) == labels).sum().item()
    last = XProtoNetLoss(part="last")(net, images, labels)["loss"]
    assert last.item() == pytest.approx(cross_entropy + 1e-4 * l1)


def test_the_loss_is_finite_and_differentiable_under_autocast():
    net = network("sigmoid").float().train()
    images, labels = torch.rand(4, 3, 16, 16), torch.tensor([0, 1, 2, 0])
    with torch.autocast("cpu", torch.bfloat16):
        terms = XProtoNetLoss(relative=True, coverage=1.0)(net, images, labels)
    terms["loss"].backward()
    assert terms["loss"].dtype == terms["transformation"].dtype == torch.float32
    for name in ("backbone", "add_on", "occurrence"):
        assert any(parameter.grad.abs().sum() > 0 for parameter in getattr(net, name).parameters()), name
    assert net.prototypes.grad.isfinite().all() and net.prototypes.grad.abs().sum() > 0

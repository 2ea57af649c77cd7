"""What is forbidden changes places between images, and nothing else does."""

import pytest
import torch

from protomask.training.exchanging import exchange
from protomask.training.forgetting import Forbidden


class Marked:
    """Sees a mark in the cells where the red channel is 9."""

    grid, prototypes = (4, 4), torch.zeros(1, 1, 1, 1)

    def similarity_maps(self, images):
        return torch.nn.functional.adaptive_max_pool2d((images[:, :1] == 9).float(), (4, 4))


def forbidden(count=1):
    return Forbidden(torch.zeros(count, 1, 1, 1), torch.full((count,), 0.5), {}, Marked())


def two_images():
    images = torch.arange(2.0)[:, None, None, None].expand(2, 3, 16, 16).clone()
    images[0, 0, 13, 13] = 9
    return images


def test_a_mark_moves_with_its_surroundings_to_the_other_image_and_nothing_else_does():
    images = two_images()
    changed = exchange(forbidden(), images, share=1.0)
    place = torch.zeros(16, 16, dtype=torch.bool)
    place[12:, 12:] = True  # its cell
    assert changed[1, 0, 13, 13] == 9 and changed[0, 0, 13, 13] == 1
    assert torch.equal(changed[:, :, ~place], images[:, :, ~place])
    assert torch.equal(changed[:, :, place], images.flip(0)[:, :, place])
    assert images[0, 0, 13, 13] == 9  # what was given is as it was


def test_patches_of_several_cells_change_places_as_a_whole():
    class Pairs(Marked):
        prototypes = torch.zeros(1, 1, 2, 2)

        def similarity_maps(self, images):  # of patches, by where they begin: those whose last cell has the mark
            return super().similarity_maps(images)[:, :, 1:, 1:]

    images = two_images()
    changed = exchange(forbidden()._replace(probe=Pairs()), images, share=1.0)
    place = torch.zeros(16, 16, dtype=torch.bool)
    place[8:, 8:] = True  # the two by two cells whose last one is the mark's
    assert torch.equal(changed[:, :, ~place], images[:, :, ~place])
    assert torch.equal(changed[:, :, place], images.flip(0)[:, :, place])


@pytest.mark.parametrize(("count", "share"), [(0, 1.0), (1, 0.0)])
def test_where_nothing_is_forbidden_or_nobody_has_a_partner_all_stays(count, share):
    images = two_images()
    assert torch.equal(exchange(forbidden(count), images, share), images)


def test_a_part_of_a_batch_is_exchanged():
    images = torch.cat([two_images()] * 8)
    torch.manual_seed(0)
    changed = exchange(forbidden(), images, share=0.5)
    assert 0 < (changed != images).flatten(1).any(1).sum() <= 8
    assert (changed == 9).sum() == (images == 9).sum()

import numpy as np
import pytest
import torch

from protomask.errors import InputError
from protomask.explainable import Classifier
from protomask.localizers.receptive import ReceptiveField
from protomask.localizers.similarity import Similarity, percentile_box
from tests.support.scores import Network, pairs


def test_peak_of_the_map_is_where_the_feature_map_peaks():
    class Peak:
        def similarity_maps(self, images, index):
            maps = torch.zeros(len(images), 4, 6)
            maps[torch.arange(len(images)), index, index + 2] = 5.0
            return maps

    images, index = torch.zeros(2, 3, 40, 60), torch.tensor([0, 3])
    saliency = Similarity()(Peak(), images, index)
    assert saliency.shape == (2, 40, 60) and saliency.dtype == torch.float32
    assert saliency.amin() == 0 and torch.equal(saliency.amax((1, 2)), torch.ones(2))
    for found, (row, column) in zip(saliency, [(0, 2), (3, 5)]):
        peak = np.unravel_index(int(found.argmax()), found.shape)
        assert row * 10 <= peak[0] < row * 10 + 10 and column * 10 <= peak[1] < column * 10 + 10


def test_batches_give_what_single_images_give():
    network, (images, index) = Network(), pairs(5)
    together = Similarity(batch_size=2)(network, images, index)
    single = torch.cat([Similarity()(network, images[n : n + 1], index[n : n + 1]) for n in range(5)])
    torch.testing.assert_close(together, single, atol=1e-5, rtol=0)
    assert network.training and not together.requires_grad


def test_constant_similarity_map_is_a_zero_map():
    class Flat:
        def similarity_maps(self, images, index):
            return torch.full((len(images), 7, 7), 3.3)

    assert Similarity()(Flat(), torch.zeros(1, 3, 30, 31), torch.zeros(1, dtype=torch.long)).abs().max() == 0


def test_a_plain_classifier_is_refused_with_the_mend():
    images, index = pairs(1)
    with pytest.raises(InputError, match="Classifier has no similarity maps.*mdm"):
        Similarity()(Classifier(Network()), images, index)


def test_maps_of_all_prototypes_are_refused():
    class Wrong:
        def similarity_maps(self, images, index):
            return torch.zeros(len(images), 10, 7, 7)

    with pytest.raises(InputError, match="one map per image"):
        Similarity()(Wrong(), *pairs(2))


def test_box_matches_the_definition_written_with_loops():
    values = np.random.default_rng(0).random((13, 17)).astype(np.float32)
    threshold = np.percentile(values, 80)
    rows = [r for r in range(13) if any(values[r, c] >= threshold for c in range(17))]
    columns = [c for c in range(17) if any(values[r, c] >= threshold for r in range(13))]
    expected = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    assert percentile_box(values, 80) == percentile_box(torch.from_numpy(values), 80) == expected


def test_box_covers_all_components():
    values = torch.zeros(100, 100)
    values[10:12, 20:24] = 1
    values[90:91, 5:8] = 1
    assert percentile_box(values, 99.95) == (5, 10, 24, 91)


def test_box_threshold_is_interpolated_linearly():
    # Of 0..9 the 95th percentile is 8.55: only the last value lies above.
    assert percentile_box(torch.arange(10.0)[None], 95) == (9, 0, 10, 1)
    assert percentile_box(torch.arange(10.0)[None], 80) == (8, 0, 10, 1)


def test_box_of_a_constant_map_is_the_whole_map():
    assert percentile_box(torch.zeros(5, 8)) == (0, 0, 8, 5)


@pytest.mark.parametrize(
    "values, percentile", [(torch.zeros(2, 3, 4), 95), (torch.full((3, 3), torch.nan), 95), (torch.zeros(3, 3), 101)]
)
def test_box_refuses_what_is_no_map(values, percentile):
    with pytest.raises(InputError, match="percentile"):
        percentile_box(values, percentile)


@pytest.mark.parametrize("localizer", [Similarity(batch_size=1), ReceptiveField(batch_size=1)], ids=str)
@pytest.mark.parametrize("outline_level", [None, 0.3])
def test_a_similarity_map_that_is_not_finite_is_an_error(localizer, outline_level):
    network, (images, index) = Network(), pairs(2)
    network.outline_level = outline_level
    with torch.no_grad():
        network.body[-1].weight[1] = torch.nan  # of the second image's index alone
    with pytest.raises(InputError, match="similarity map of Network is not finite for image 1"):
        localizer(network, images, index)

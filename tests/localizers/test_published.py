from dataclasses import replace

import torch

from protomask.explainable import Classifier
from protomask.localizers import Keep, get_localizer
from protomask.localizers.engine.learning import learn_masks
from protomask.localizers.engine.stack import GuidedProblem
from protomask.localizers.published import PublishedHDM
from tests.support.scores import Network, Region, pairs


def test_the_published_mdm_is_the_mean_of_masks_learned_alone():
    network = Network().eval()
    images, index = pairs(2)
    few = {"keep.steps": "5", "keep.sizes": "4+6"}
    spec = ",".join(f"{key}={value}" for key, value in few.items())
    found = get_localizer(f"mdm-published:{spec}")(network, images, index)
    alone = [get_localizer(f"mdm-published:keep.steps=5,keep.sizes={size}").keep for size in (4, 6)]
    assert [keep.sizes for keep in alone] == [(4,), (6,)] and found.shape == (2, 24, 24)

    class Seen:
        """The same network, which counts the images it scores with a gradient."""

        passes = 0

        def score(self, images, index):
            if images.requires_grad:
                Seen.passes += len(images)
            return network.score(images, index)

    get_localizer(f"mdm-published:{spec}")(Seen(), images, index)
    assert Seen.passes == 2 * 2 * 5  # pairs, sizes, steps: nothing but keeping


def test_the_published_maps_lie_on_the_evidence():
    images = torch.ones(1, 3, 24, 24)
    for name in ("mdm-published", "hdm-published"):
        saliency = get_localizer(name)(Region(slice(0, 12), slice(12, 24)), images, torch.tensor([0]))
        assert saliency[0, :12, 12:].mean() > 3 * saliency[0, 12:, :12].mean()


def test_auxiliary_vectors_add_to_the_benchmark_which_stays():
    network = Network().eval()
    images, index = pairs(1)
    guide = torch.rand(1, 24, 24)
    problem = GuidedProblem(network, (24,), (1.0, 1.0), 3, 1.0, "absolute", "zero", guide=guide)
    found = learn_masks(network, images, index, problem, steps=3).result
    fine = 2 * found - guide
    assert (fine >= -1e-6).all() and (fine <= 1 + 1e-6).all() and not torch.allclose(fine, guide, atol=0.05)


def test_nothing_is_chosen_by_what_is_explained():
    localizer = PublishedHDM(
        keep=Keep(sizes=(4,), size_weights=(1.0, 1.0), steps=2, settle=1.0, consistency="absolute")
    )
    assert localizer.for_model(Network()) == localizer and localizer.background == "zero"
    longer = get_localizer("hdm-published:modules=3")
    assert longer.for_model(Network()) == longer.for_model(Classifier(Network()))
    assert longer.for_model(Network()).cascade == replace(localizer.cascade, modules=3)

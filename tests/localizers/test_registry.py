from importlib.metadata import EntryPoint

import pytest
import torch

import protomask.localizers as localizers
from protomask.errors import InputError
from protomask.explainable import Classifier
from protomask.localizers import get_localizer, localizer_names
from protomask.localizers.base import Localizer, check_pairs, min_max
from protopnet.model import ProtoPNet
from tests.support.toy import ToyBackbone


def test_every_name_gives_a_localizer_whose_repr_holds_its_settings():
    assert localizer_names()[:4] == ["mdm", "hdm", "neuromask", "similarity"] and "gradcam" in localizer_names()
    for name in localizers.BUILT_IN:
        localizer = get_localizer(name)
        assert isinstance(localizer, Localizer)
        assert (
            eval(
                repr(localizer),
                {
                    type(localizer).__name__: type(localizer),
                    **{each: getattr(localizers, each) for each in localizers.__all__},
                },
            )
            == localizer
        )
        hash(localizer)


def test_unknown_name_lists_the_names():
    with pytest.raises(InputError, match="'grad'.*mdm, hdm, neuromask, similarity"):
        get_localizer("grad")


def test_names_are_importable_from_the_room():
    for name in localizers.__all__:
        assert getattr(localizers, name) is not None
    with pytest.raises(AttributeError):
        localizers.nothing


def test_entry_points_add_localizers(monkeypatch):
    points = [
        EntryPoint("flat", "protomask.localizers.baselines:CenterMap", localizers.GROUP),
        EntryPoint("broken", "protomask.no_such_module:X", localizers.GROUP),
        EntryPoint("number", "math:pi", localizers.GROUP),
    ]
    monkeypatch.setattr(localizers, "entry_points", lambda group: points if group == localizers.GROUP else [])
    assert localizer_names() == [*localizers.BUILT_IN, "broken", "flat", "number"]
    assert get_localizer("flat") == get_localizer("center")
    with pytest.raises(InputError, match="broken.*ModuleNotFoundError"):
        get_localizer("broken")
    with pytest.raises(InputError, match="number"):
        get_localizer("number")


def test_a_name_with_the_signs_of_settings_is_said_to_be_out_of_reach(monkeypatch):
    points = [EntryPoint(name, "protomask.localizers.baselines:CenterMap", localizers.GROUP) for name in ("a:b", "c,d")]
    monkeypatch.setattr(localizers, "entry_points", lambda group: points)
    assert localizer_names() == list(localizers.BUILT_IN)
    for words, name in (("a:b", "a"), ("c,d", "c")):
        with pytest.raises(InputError, match=f"localizer '{name}' is unknown, and '{words}' of .*CenterMap cannot be"):
            localizers.get_localizers(words)


def test_a_package_that_ends_python_when_it_is_imported_is_one_line(monkeypatch):
    def load(self):
        raise SystemExit("no licence")

    monkeypatch.setattr(EntryPoint, "load", load)
    monkeypatch.setattr(localizers, "entry_points", lambda group: [EntryPoint("flat", "flat:X", group)])
    with pytest.raises(InputError, match="'flat' .* cannot be loaded: SystemExit: no licence"):
        get_localizer("flat")


def test_min_max_of_constant_and_broken_maps():
    maps = torch.stack([torch.full((4, 5), 0.7), torch.arange(20.0).view(4, 5), torch.full((4, 5), torch.nan)])
    scaled = min_max(maps)
    assert scaled[0].abs().max() == 0 and scaled[2].abs().max() == 0
    torch.testing.assert_close(scaled[1], torch.arange(20.0).view(4, 5) / 19)
    assert min_max(torch.rand(2, 3, 3, dtype=torch.float64)).dtype == torch.float32


@pytest.mark.parametrize(
    "images, index, says",
    [
        (torch.zeros(3, 8, 8), torch.zeros(3, dtype=torch.long), r"give \(B, C, H, W\)"),
        (torch.zeros(2, 0, 8, 8), torch.zeros(2, dtype=torch.long), r"give \(B, C, H, W\)"),
        (torch.full((2, 3, 8, 8), torch.nan), torch.zeros(2, dtype=torch.long), "NaN"),
        (torch.zeros(2, 3, 8, 8, device="meta"), [0, 0], "on the meta device"),
        (torch.zeros(2, 3, 8, 8).to_sparse(), [0, 0], "sparse"),
        (torch.zeros(2, 3, 8, 8), ["a", "b"], "no list of integers"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.zeros(2, dtype=torch.long), "floating point"),
        (torch.zeros(2, 3, 8, 8), torch.zeros(3, dtype=torch.long), "one integer per image"),
        (torch.zeros(2, 3, 8, 8), torch.zeros(2), "one integer per image"),
    ],
)
def test_wrong_input_is_named(images, index, says):
    with pytest.raises(InputError, match=says):
        check_pairs(images, index)


@pytest.mark.parametrize("name", ["center", "gradcam", "mdm", "occlusion"])
def test_images_of_another_type_than_the_weights_are_named(name):
    images = torch.zeros(1, 3, 16, 16, dtype=torch.float64)
    prototypes = ProtoPNet(ToyBackbone(), ["a", "b"], image_size=16, prototypes_per_class=1, channels=8).eval()
    with pytest.raises(InputError, match=r"images are torch.float64.* give images.to\(torch.float32\)"):
        get_localizer(name)(prototypes, images, [0])
    if name != "center":  # it asks for no score
        classifier = Classifier(torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.ReLU(), Mean()).eval())
        with pytest.raises(InputError, match=r"images of torch.float64; give images.to\(torch.float32\)"):
            get_localizer(name)(classifier, images, [0])


class Mean(torch.nn.Module):
    def forward(self, features):
        return features.mean((2, 3))

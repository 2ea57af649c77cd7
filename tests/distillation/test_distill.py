"""A distilled explainer: what it finds, what it is asked, how it is kept, stopped and refused."""

import copy
import json
import signal
import warnings
from dataclasses import replace
from weakref import WeakSet

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import tv_tensors

import protomask
from protomask import distributed
from protomask.data import load_data
from protomask.distillation import Distillation, distill
from protomask.distillation import training as training_room
from protomask.distillation.stamps import stamp_of_source
from protomask.errors import InputError, LowFaithfulnessWarning
from protomask.explainable import Classifier
from protomask.fingerprints import fingerprint
from protomask.localization.compare import JudgedClassifier
from protomask.localization.photographs import as_data_set
from protomask.localization.preprocessing import preprocessing_of
from protomask.localizers import MDM, get_localizer, get_localizers
from protomask.localizers.amortised.files import open_explainer
from protomask.localizers.amortised.taps import find_taps, look_at
from protomask.localizers.distilled import CONTRAST, Distilled, measure_faithfulness
from protopnet import ProtoPNet
from tests.data.hf_folders import encoded, table, write_hf
from tests.distillation.toys import PLAIN, QUICK, Smeared, enlarged, mass_inside, unseen
from tests.distributed.forks import together
from tests.support.toy import ColourImages, ToyBackbone
from tests.test_networks import killed_before, without_weights
from xprotonet import XProtoNet

FEW = {"maps": 4, "imitation": 2, "steps": 2}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model, and the explainer of its first two classes, in a folder."""
    torch.manual_seed(5)
    model, folder = Smeared(), tmp_path_factory.mktemp("explainer")
    return model, distill(model, ColourImages(12), output=folder, only=[0, 1], **PLAIN, **QUICK), folder


def test_it_finds_the_planted_square_in_unseen_images_where_the_feature_map_smears_it(made):
    model, distilled, _ = made
    test = unseen()
    images, labels = enlarged(test)
    seen = test.subset(range(12))  # of the classes that were asked for
    seen.corners = test.corners[:12]
    explained = Classifier(model)
    quiet = replace(distilled, check=False)
    maps = quiet(explained, images, labels)
    assert maps.shape == (18, 32, 32) and maps.dtype == torch.float32
    assert maps.min() >= 0 and maps.max() <= 1
    first_sight = get_localizer("gradcam")(explained, images, labels)
    assert mass_inside(first_sight[:12], seen) < 0.65 and mass_inside(maps[:12], seen) > 0.8
    # A class that was never asked for: by its own direction among the features.
    never = test.subset(range(12, 18))
    never.corners = test.corners[12:]
    assert mass_inside(maps[12:], never) > mass_inside(first_sight[12:], never)
    alone = quiet(explained, images[3:4], labels[3:4])[0]
    torch.testing.assert_close(alone, maps[3], atol=1e-4, rtol=0)


def test_its_maps_keep_and_destroy_the_score(made):
    model, distilled, _ = made
    images, labels = enlarged(unseen())
    explained = Classifier(model, "logit")
    of = explained, images[:12], labels[:12]
    found, first = (
        measure_faithfulness(*of, localizer(*of))
        for localizer in (replace(distilled, check=False), get_localizer("gradcam"))
    )
    assert (found.kept - found.rest).mean() > 0.2 and found.kept.mean() > first.kept.mean() and not found.low.all()
    nothing = measure_faithfulness(explained, images, labels, torch.zeros(18, 32, 32))
    assert nothing.low.all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_models_of_other_precisions_get_the_same_maps(made, dtype):
    model, distilled, _ = made
    images, labels = (each[:2] for each in enlarged(unseen()))
    images, other = images.to(dtype), copy.deepcopy(model).to(dtype)
    for steps in (0, 5):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LowFaithfulnessWarning)  # rounded weights are others
            expected, found = (
                replace(distilled, steps=steps)(Classifier(each, "logit"), shown, labels)
                for each, shown in ((model, images.float()), (other, images))
            )
        assert found.dtype == torch.float32 and torch.corrcoef(torch.stack([expected, found]).flatten(1))[0, 1] > 0.95


def test_a_few_steps_of_learning_keep_more_of_the_score_in_the_same_place(made):
    model, distilled, _ = made
    test = unseen()
    images, labels = enlarged(test)
    seen = test.subset(range(12))
    seen.corners = test.corners[:12]
    of, drawn = (Classifier(model, "logit"), images[:12], labels[:12]), replace(distilled, check=False)
    before, after = (replace(drawn, steps=steps)(*of) for steps in (0, 5))
    first, learned, then = (measure_faithfulness(*of, maps) for maps in (before, after.pow(1 / CONTRAST), after))
    assert learned.kept.mean() > first.kept.mean() + 0.1 and learned.rest.mean() < first.rest.mean() + 0.02
    assert then.kept.mean() > first.kept.mean() + 0.1
    assert (then.kept - then.rest).mean() > (first.kept - first.rest).mean() + 0.05
    assert mass_inside(after, seen) > mass_inside(before, seen)
    # What the mask leaves out is in the order of the drawn map, not that of the rows.
    assert all(len(new.unique()) > 0.8 * len(old.unique()) for old, new in zip(before, after))


def test_an_unfaithful_map_is_flagged_and_the_model_left_alone(made):
    model, distilled, _ = made
    model.train()
    noise = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.3
    with pytest.warns(LowFaithfulnessWarning, match="image 0.*0.00 of the score kept"):
        distilled(Classifier(model), noise, torch.tensor([0, 1]))
    with warnings.catch_warnings():
        warnings.simplefilter("error", LowFaithfulnessWarning)
        replace(distilled, check=False)(Classifier(model), noise, torch.tensor([0, 1]))
    assert model.training and all(parameter.requires_grad for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_other_weights_are_said_once(made):
    _, distilled, _ = made
    images, labels = enlarged(unseen(1))
    other = Smeared()
    with torch.no_grad():
        other.head.weight.mul_(2)
    explained, quiet = Classifier(other), replace(distilled, check=False)
    with pytest.warns(LowFaithfulnessWarning, match="other weights"):
        quiet(explained, images, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("error", LowFaithfulnessWarning)
        quiet(explained, images, labels)


def test_an_explainer_of_an_older_version_fits_a_network_with_buffers_that_are_not_saved(made):
    network, other = Smeared(), Smeared(4)
    for each in (network, other):
        each.register_buffer("index", torch.arange(3), persistent=False)
    old = fingerprint(network, saved_alone=True)
    assert old not in (fingerprint(network), fingerprint(other, saved_alone=True))
    opened = replace(made[1].opened(), model=old, met=WeakSet())
    assert opened.fits(Classifier(network)) and not opened.fits(Classifier(other))


def test_beside_a_judge_the_model_is_known_by_its_weights(made):
    model, distilled, _ = made
    images, labels = enlarged(unseen(1))
    prepare = preprocessing_of(model, mean=PLAIN["mean"], std=PLAIN["std"], image_size=32)
    judged = JudgedClassifier(model, prepare, Smeared(4), prepare)
    quiet = replace(Distilled(explainer=replace(distilled.opened(), met=WeakSet())), check=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error", LowFaithfulnessWarning)
        assert torch.equal(quiet(judged, images, labels), quiet(Classifier(model, "probability"), images, labels))


def test_round_trip(made):
    model, distilled, folder = made
    images, labels = enlarged(unseen(2))
    opened = get_localizers(f"distilled:folder={folder},check=false")[f"distilled:folder={folder},check=false"]
    before = replace(distilled, check=False)(Classifier(model), images, labels)
    assert torch.equal(opened(Classifier(model), images, labels), before)
    assert repr(opened) == repr(replace(distilled, check=False)) and str(folder) not in repr(opened)
    about = json.loads((folder / "localizer.json").read_text())
    assert about["training"]["only"] == [0, 1] and 0 < about["held_out"]["kept"] <= 1
    refined = replace(opened, steps=2)(Classifier(model), images, labels)
    assert not torch.equal(refined, before) and refined.shape == before.shape
    look = protomask.look(
        model, images[0].permute(1, 2, 0).numpy(), localizer=opened, mean=PLAIN["mean"], std=PLAIN["std"], image_size=32
    )
    assert look.saliency.shape == (32, 32)


def test_damaged_files_are_one_line(made, tmp_path):
    _, distilled, _ = made
    with pytest.raises(InputError, match="no localizer.json.*protomask.distill"):
        Distilled.open(tmp_path)
    distilled.save(tmp_path)
    weights = (tmp_path / "localizer.safetensors").read_bytes()
    (tmp_path / "localizer.safetensors").write_bytes(weights[:-3] + b"abc")
    with pytest.raises(InputError, match="localizer.safetensors is damaged.*distill it again"):
        Distilled.open(tmp_path)
    distilled.save(tmp_path)
    about = json.loads((tmp_path / "localizer.json").read_text())
    del about["checksum"]
    for change in ({"explainer": {"channels": [], "condition": 3, "colours": 3}}, {"contrast": "much"}, {"taps": []}):
        (tmp_path / "localizer.json").write_text(json.dumps({**about, **change}))
        with pytest.raises(InputError, match="localizer.json is damaged"):
            Distilled.open(tmp_path)
    (tmp_path / "localizer.json").write_text(
        json.dumps({**about, "explainer": {"channels": [7], "condition": 3, "colours": 3}})
    )
    with pytest.raises(InputError, match="does not fit localizer.json"):
        Distilled.open(tmp_path)


def test_a_call_that_is_killed_between_the_two_files_is_noticed_and_made_again(tmp_path, monkeypatch):
    data, model = ColourImages(4), Smeared()
    distill(model, data, output=tmp_path, **PLAIN, **FEW, seed=3)
    whole = repr(open_explainer(tmp_path))
    without_weights(tmp_path / "localizer.json")
    assert repr(open_explainer(tmp_path)) == whole  # as versions before wrote it
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        killed_before(patch, "localizer.safetensors")
        distill(model, data, output=tmp_path, **PLAIN, **FEW, seed=4)
    with pytest.raises(InputError, match="localizer.safetensors belongs to another localizer.json: one of the two"):
        open_explainer(tmp_path)
    distill(model, data, output=tmp_path, **PLAIN, **FEW, seed=3)
    assert repr(open_explainer(tmp_path)) == whole


def test_the_same_seed_gives_the_same_weights_also_after_a_stop(tmp_path, monkeypatch):
    data, model = ColourImages(4), Smeared()
    whole = distill(model, data, **PLAIN, **FEW, seed=3)

    steps = []

    def stop_in_the_middle(self, loss):
        steps.append(1)
        learn(self, loss)
        if len(steps) == 3:
            signal.raise_signal(signal.SIGINT)

    learn = training_room.Trainer._learn
    monkeypatch.setattr(training_room.Trainer, "_learn", stop_in_the_middle)
    with pytest.raises(KeyboardInterrupt):
        distill(model, data, output=tmp_path, **PLAIN, **FEW, seed=3)
    assert (tmp_path / "distillation" / "state.pt").is_file() and not (tmp_path / "localizer.json").exists()
    monkeypatch.setattr(training_room.Trainer, "_learn", learn)
    made_again = []
    monkeypatch.setattr("protomask.localizers.mdm.MDM.__call__", lambda *given, **others: made_again.append(given))
    resumed = distill(model, data, output=tmp_path, **PLAIN, **FEW, seed=3)
    assert repr(resumed) == repr(whole) and not made_again  # the teacher's maps were kept
    assert not (tmp_path / "distillation" / "state.pt").exists()
    monkeypatch.setattr(training_room.Trainer, "run", lambda self: pytest.fail("it is there already"))
    assert repr(distill(model, data, output=tmp_path, **PLAIN, **FEW, seed=3)) == repr(whole)


class Edited(ColourImages):
    """The same names and labels, but one picture in the middle is another."""

    def load(self, index):
        sample = super().load(index)
        if index == 7:
            sample["image"] = tv_tensors.Image(1 - sample["image"])
        return sample


def test_an_explainer_of_another_question_normalisation_or_picture_is_made_anew(tmp_path, monkeypatch):
    data, model, teacher = ColourImages(4), Smeared(), []
    call = MDM.__call__
    monkeypatch.setattr(MDM, "__call__", lambda *given, **others: teacher.append(1) or call(*given, **others))
    first = distill(model, data, output=tmp_path, **PLAIN, **FEW)
    changes = [
        {"multi_label": True},
        {"mean": (0.4,) * 3, "std": (0.5,) * 3},
        {"image_size": 48},
        {"data": Edited(4)},
    ]
    for change in changes:
        teacher.clear()
        options = {"data": data, **PLAIN, **FEW, **change}
        found = distill(model, output=tmp_path, **options)
        assert teacher, f"maps of the teacher that are of others: {change}"
        assert repr(found) != repr(first)
    teacher.clear()
    again = distill(model, Edited(4), output=tmp_path, **PLAIN, **FEW)
    assert not teacher and repr(again) == repr(found)


def test_pictures_that_were_edited_in_place_are_others(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    explained = Classifier(Smeared())
    pixels = torch.randint(0, 256, (12, 16, 16, 3), dtype=torch.uint8).numpy()
    paths = [tmp_path / f"{number:02}.bmp" for number in range(12)]
    for path, own in zip(paths, pixels):
        Image.fromarray(own).save(path)

    def stamps(transform=preprocessing_of(Smeared(), **PLAIN)):
        return {stamp_of_source(explained, as_data_set(given, transform)) for given in (paths, list(pixels))}

    before = stamps()
    assert before == stamps() and len(before) == 2
    pixels[5] ^= 1  # none of the pictures that are looked at
    Image.fromarray(pixels[5]).save(paths[5])
    assert not stamps() & before


def test_a_changed_row_of_a_table_makes_another_stamp(tmp_path):
    datasets = pytest.importorskip("datasets")

    def stamp(folder, changed=()):
        images = [encoded(row + 100 * (row in changed), kind="BMP") for row in range(20)]  # all of one length
        rows = table(20, image=(datasets.Image(), images))
        splits = load_data(f"hf:{write_hf(tmp_path / folder, train=rows)}", validation=0)
        return stamp_of_source(Classifier(Smeared()), splits.train)

    before = stamp("one")
    assert stamp("two") == before and stamp("three", [7]) != before


def unreadable():
    with distributed.job(torch.device("cpu")):
        data = ColourImages(4)
        data.load = None if distributed.is_first() else pytest.fail  # the others read nothing
        try:
            stamp_of_source(Classifier(Smeared()), data)
        except distributed.PeerLost as error:
            print("LOST", error)


def test_the_first_process_alone_makes_the_stamp_and_its_failure_reaches_all():
    first, second = together(2, unreadable)
    assert first.code != 0 and "not callable" in first.said
    assert "LOST process 1 of 2 stops" in second.said


def test_data_that_are_random_have_one_stamp():
    class Noisy(ColourImages):
        def load(self, index):
            sample = super().load(index)
            sample["image"] = tv_tensors.Image(torch.from_numpy(np.random.rand(3, 16, 16)))
            return sample

    assert len({stamp_of_source(Classifier(Smeared()), Noisy(4)) for _ in range(2)}) == 1


def test_only_may_be_a_generator_and_the_global_generator_stays():
    model, data, before = Smeared(), ColourImages(4), torch.get_rng_state()
    found = distill(model, data, only=(each for each in (1, 0)), **PLAIN, **FEW)
    assert found.opened().about["training"]["only"] == [0, 1]
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"teacher": "gradcam"}, "is no MDM"),
        ({"teacher": "nothing"}, "unknown"),
        ({"steps": -1}, "steps is -1"),
        ({"rate": 0.0}, "rate is 0.0"),
        ({"others": 2.0}, "others is 2.0"),
        ({"speed": 3}, "knows no such setting"),
        ({"settings": 3}, r"settings is 3; give Distillation"),
        ({"settings": Distillation}, "settings is .*; give Distillation"),
        ({"only": []}, "only lists nothing"),
        ({"only": ["bird"]}, "whole numbers"),
        ({"only": [77]}, "there is no class 77; the model has 3"),
        ({"only": [0, 7]}, "there is no class 7; the model has 3"),
        ({"only": [-1]}, "there is no class -1"),
        ({"workers": -1}, "workers is -1"),
    ],
)
def test_bad_settings(changes, says):
    with pytest.raises(InputError, match=says):
        distill(Smeared(), ColourImages(2), **PLAIN, **{**FEW, **changes})


def test_bad_models_and_data():
    with pytest.raises(InputError, match="at least 4"):
        distill(Smeared(), ColourImages(1), **PLAIN)
    with pytest.raises(InputError, match="no torch module"):
        distill(3, ColourImages(2), **PLAIN)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 3))
    with pytest.raises(InputError, match="no layer with a feature map"):
        distill(flat, ColourImages(2), **PLAIN)
    with pytest.raises(InputError, match="distilled has no explainer"):
        get_localizers("distilled")
    with pytest.raises(InputError, match="distilled has no explainer"):
        Distilled()(Classifier(Smeared()), torch.zeros(1, 3, 32, 32), 0)


@pytest.mark.parametrize(
    "kind, settings",
    [(XProtoNet, {}), (XProtoNet, {"multi_label": True}), (ProtoPNet, {"patch": 2})],
    ids=["pooled features", "findings", "patches of 4 cells"],
)
def test_prototypes_of_any_shape_are_asked_for(kind, settings):
    data = ColourImages(3)
    if settings.get("multi_label"):
        data.labels = nn.functional.one_hot(data.labels, 3)
    torch.manual_seed(0)
    network = kind(ToyBackbone(), data.classes, image_size=16, prototypes_per_class=2, channels=6, **settings)
    distilled = distill(network, data, maps=2, imitation=1, steps=1, batch_size=4)
    of = network, data.pixels[:2], torch.tensor([0, 5])
    seen = look_at(of[0], distilled.opened().taps, *of[1:])
    asked = network.prototypes[[0, 5]].detach()
    torch.testing.assert_close(seen.condition, asked.mean((2, 3)) if asked.ndim == 4 else asked)
    assert seen.evidence.shape == (2, 2, 4, 4)
    for steps in (0, 5):
        maps = replace(distilled, steps=steps, check=False)(*of)
        assert maps.shape == (2, 16, 16) and maps.isfinite().all() and maps.max() == 1


def test_a_first_image_without_anything_of_its_prototypes_is_no_obstacle():
    data = ColourImages(3)
    torch.manual_seed(0)
    network = XProtoNet(ToyBackbone(), data.classes, image_size=16, prototypes_per_class=1, channels=6)
    images, index = data.pixels[[0, 8]], data.labels[[0, 8]]
    with torch.no_grad():
        has = network.score(images, index) > 0
        network.prototypes[index[has != torch.tensor([False, True])]] *= -1
        assert (network.score(images, index) > 0).tolist() == [False, True]
    with pytest.raises(InputError, match="no layer with a feature map"):
        find_taps(network, images[:1], index[:1])
    assert find_taps(network, images, index) == ["backbone"]


def test_settings_name_what_was_given():
    assert repr(Distillation(steps=3)) == "Distillation(steps=3)"

from importlib.metadata import EntryPoint

import pytest
import torch

import protomask.data
from protomask.data import Splits, data_names, load_data, reopen_data
from protomask.data.splitting import findings_by_combination, hold_out
from protomask.errors import InputError
from tests.data.test_images import Numbered


def test_validation_is_stratified_seeded_and_out_of_training_alone(folder_root):
    whole = load_data("folder", folder_root, validation=0)
    splits = load_data("folder", folder_root, validation=0.25, seed=0)
    assert set(splits.train.names) | set(splits.validation.names) == set(whole.train.names)
    assert not set(splits.train.names) & set(splits.validation.names)
    assert splits.test.names == whole.test.names and splits.test.labels.tolist() == whole.test.labels.tolist()
    assert splits.validation.labels.bincount().tolist() == [2, 2]
    assert load_data("folder", folder_root, validation=0.25, seed=0).validation.names == splits.validation.names


def test_hold_out_takes_a_share_of_each_class_and_never_all():
    labels = torch.tensor([0] * 30 + [1] * 2 + [2] + [3] * 7)
    kept, held = hold_out(labels, 0.1, seed=3)
    assert torch.equal(torch.cat([kept, held]).sort().values, torch.arange(40))
    assert labels[held].bincount(minlength=4).tolist() == [3, 1, 0, 1]
    assert labels[hold_out(labels, 0.99)[0]].bincount().tolist() == [1, 1, 1, 1]
    assert torch.equal(hold_out(labels, 0.1, seed=3)[1], held)
    assert any(not torch.equal(hold_out(labels, 0.1, seed=seed)[1], held) for seed in range(4, 9))
    assert hold_out(labels, 0)[1].numel() == 0


@pytest.mark.parametrize("count, findings, rate", [(400, 14, 0.12), (400, 8, 0.15), (1000, 3, 0.02)])
def test_held_out_findings_are_as_the_others_are(count, findings, rate):
    for seed in range(3):
        labels = (torch.rand(count, findings, generator=torch.Generator().manual_seed(seed)) < rate).float()
        kept, held = hold_out(labels, 0.2, seed)
        assert sorted([*kept.tolist(), *held.tolist()]) == list(range(count)) and len(held) == count // 5
        assert (labels[held].sum(0) - 0.2 * labels.sum(0)).abs().max() < 3
        for number in range(4):  # images with so many findings, or more
            of, all_of = ((labels[at].sum(1) >= number).sum() for at in (held, slice(None)))
            assert abs(of - 0.2 * all_of) < 3
        assert torch.equal(hold_out(labels, 0.2, seed)[1], held)
        assert not torch.equal(hold_out(labels, 0.2, seed + 1)[1], held)


def test_each_finding_is_held_out_and_kept_where_it_can_be():
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        labels = (torch.rand(int(torch.randint(1, 30, (), generator=generator)), 5, generator=generator) < 0.3).float()
        kept, held = hold_out(labels, 0.2, seed)
        assert sorted([*kept.tolist(), *held.tolist()]) == list(range(len(labels)))
        assert labels[kept][:, labels.any(0)].any(0).all()
    rare = torch.zeros(20, 2)
    rare[:2, 0], rare[4, 1] = 1, 1
    assert rare[hold_out(rare, 0.05)[1]].sum(0).tolist() == [1, 0]
    assert hold_out(torch.ones(1, 2), 0.5)[1].tolist() == [] == hold_out(rare, 0)[1].tolist()
    with findings_by_combination():  # as runs of older versions are
        assert hold_out(torch.eye(3), 0.5)[1].tolist() == []
    assert len(hold_out(torch.ones(4, 3), 0.5)[1]) == 2


@pytest.mark.parametrize("share", [-0.1, 1, 1.5, float("nan")])
def test_a_validation_share_out_of_range(folder_root, share):
    with pytest.raises(InputError, match="validation .*at least 0 and less than 1"):
        load_data("folder", folder_root, validation=share)


def test_unknown_names_list_the_known_ones():
    with pytest.raises(InputError, match="unknown data set 'cup'; known: parts, cub, busi, chestxray, folder"):
        load_data("cup")


def test_unknown_options_list_the_known_ones(cub_root):
    with pytest.raises(InputError, match="data set 'cub' has no option 'scenes'; it has: crop"):
        load_data("cub", cub_root, scenes=3)


def test_flags_are_true_or_false(cub_root, folder_root):
    for name, root in (("cub", cub_root), ("folder", folder_root)):
        with pytest.raises(InputError, match="crop is 'no'; give True or False"):
            load_data(name, root, crop="no")


def test_an_entry_point_adds_a_data_set_that_takes_what_it_needs(monkeypatch):
    seen = {}

    def load(root, *, seed, flavour="plain"):
        seen.update(root=root, seed=seed, flavour=flavour)
        data = Numbered(8)
        return Splits(data.subset(range(6)), data.subset([]), data.subset([6, 7]))

    monkeypatch.setattr(EntryPoint, "load", lambda self: load)
    point = EntryPoint("numbers", "somewhere:load", "protomask.datasets")
    monkeypatch.setattr(protomask.data, "entry_points", lambda group: [point])
    splits = load_data("numbers", crop=False, image_size=32, seed=5, flavour="sour", validation=0.3)
    assert seen == {"root": None, "seed": 5, "flavour": "sour"}
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (4, 2, 2)
    assert data_names() == ("parts", "cub", "busi", "chestxray", "folder", "hf", "numbers")


def test_parts_needs_no_root_and_takes_the_usual_options(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    scenes = {"classes": 6, "train_per_class": 4, "test_per_class": 1}
    splits = load_data("parts", validation=0.5, seed=1, image_size=32, crop=False, **scenes)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [12, 12, 6]


@pytest.mark.parametrize("name", ["parts", "busi", "chestxray", "hf", "hf:anything"])
def test_a_crop_that_no_image_would_get_is_refused(tmp_path, name):
    with pytest.raises(InputError, match=f"crop is given, but data set '{name}' cannot crop .* leave it out"):
        load_data(name, tmp_path, crop=True)


def test_a_crop_without_a_box_is_refused(folder_root):
    with pytest.raises(InputError, match="my pictures: no image has a box to crop to; add boxes.csv"):
        load_data("folder", folder_root, crop=True)
    (folder_root / "boxes.csv").write_text("file,x0,y0,x1,y1\n")
    with pytest.raises(InputError, match="no image has a box to crop to"):
        load_data("folder", folder_root, crop=True)
    assert len(load_data("folder", folder_root, crop=False).train)


def test_an_existing_run_reopens_its_data_with_a_crop_that_does_nothing(folder_root, monkeypatch):
    splits = reopen_data("folder", folder_root, crop=True)
    assert splits.train.crop
    monkeypatch.setattr(protomask.data, "find_data", lambda name: lambda root, seed: splits)
    assert len(reopen_data("plain", crop=True).train)
    with pytest.raises(InputError, match="cannot crop"):
        load_data("plain", crop=True)


def test_a_registered_data_set_that_cannot_be_loaded_is_one_line(monkeypatch):
    points = {"broken": "protomask.no_such_module:load", "number": "math:pi"}
    monkeypatch.setattr(
        protomask.data,
        "entry_points",
        lambda group: [EntryPoint(name, value, group) for name, value in points.items()],
    )
    with pytest.raises(InputError, match="^data set 'broken' .* cannot be loaded: ModuleNotFoundError.*; mend or"):
        load_data("broken")
    with pytest.raises(InputError, match="^data set 'number' .*cannot be called"):
        load_data("number")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([1, 2], r"data set 'odd' \(odd:load\) gives a list, not protomask.data.Splits"),
        (Splits([1], [2], [3]), r"'odd' .* gives Splits whose train is a list; make them with protomask.from_datasets"),
        (KeyError("boom"), r"data set 'odd' \(odd:load\) fails: KeyError: 'boom'; mend the package"),
        (InputError("odd: no such folder"), "^odd: no such folder$"),
    ],
)
def test_a_registered_data_set_that_fails_or_gives_something_else_is_one_line(monkeypatch, given, says):
    def load(root, *, seed):
        if isinstance(given, Exception):
            raise given
        return given

    monkeypatch.setattr(EntryPoint, "load", lambda self: load)
    monkeypatch.setattr(protomask.data, "entry_points", lambda group: [EntryPoint("odd", "odd:load", group)])
    with pytest.raises(InputError, match=says):
        load_data("odd")


def test_a_data_set_that_is_built_in_cannot_be_registered(monkeypatch):
    points = [EntryPoint(name, "birds:load", "protomask.datasets") for name in ("parts", "hf:birds")]
    monkeypatch.setattr(protomask.data, "entry_points", lambda group: points)
    assert data_names() == ("parts", "cub", "busi", "chestxray", "folder", "hf")
    for name in ("parts", "hf:birds"):
        with pytest.raises(InputError, match=f"data set '{name}' is built into protomask, and birds:load registers"):
            load_data(name)
    with pytest.raises(InputError, match="crop is given, but data set 'hf' cannot crop"):  # asks for no other name
        load_data("hf", crop=True)

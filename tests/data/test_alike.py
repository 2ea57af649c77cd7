"""Names of classes that are the same to the eye."""

import unicodedata

import pytest
import torch

from protomask.data import from_datasets, load_data, reopen_data
from protomask.data.alike import CASE, WAYS, alike
from protomask.errors import InputError
from tests.data.hf_folders import table, write_hf

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "Bussärde") for form in ("NFC", "NFD"))


@pytest.fixture
def train_and_test(folder_root):
    """The two classes of the folder, as train/ and test/."""
    for number, (part, name) in enumerate((part, name) for part in ("train", "test") for name in ("Äpfel", "pears")):
        (folder_root / part / name).mkdir(parents=True)
        for path in sorted((folder_root / name).glob(f"0[{5 * (number // 2)}-{5 * (number // 2) + 4}].png")):
            path.rename(folder_root / part / name / path.name)
    for name in ("Äpfel", "pears"):
        (folder_root / name).rmdir()
    return folder_root


@pytest.mark.parametrize(
    ("one", "other", "how"),
    [
        (COMPOSED, DECOMPOSED, WAYS),
        ("cat", "cat ", WAYS),
        ("red kite", "red  kite", WAYS),
        ("red kite", "red\N{NO-BREAK SPACE}kite", WAYS),
        ("cat", "\N{ZERO WIDTH NO-BREAK SPACE}cat", WAYS),
        ("cat", "Cat", CASE),
        (COMPOSED.upper(), DECOMPOSED, CASE),
    ],
)
def test_names_that_are_hard_to_tell_apart_are_found(one, other, how):
    assert alike(["x", one, "red", other]) == [(one, other, how)]


def test_others_are_not():
    assert alike(["cat", "cats", "m2", "m²", "Muller", "Müller", "1", "1.0", "red kite", "redkite"]) == []
    assert [how for *_, how in alike(["cat", "CAT", "Cat", "CAT "])] == [CASE, CASE, WAYS]


@pytest.mark.parametrize("name", ["pears ", "pea\N{ZERO WIDTH SPACE}rs"])
def test_classes_of_one_name_are_refused_but_for_runs_that_exist(folder_root, name):
    (folder_root / "Äpfel").rename(folder_root / name)
    with pytest.raises(InputError, match="my pictures: the classes 'pear?.* and 'pea.* are one name written in two"):
        load_data("folder", folder_root)
    (remark,) = reopen_data("folder", folder_root).remarks()
    assert "written in two ways and are learned as different ones" in remark


def test_classes_that_differ_in_their_accents_alone_are_told_apart_in_the_message(folder_root):
    for old, new in (("Äpfel", COMPOSED), ("pears", DECOMPOSED)):
        (folder_root / old).rename(folder_root / new)
    if len(list(folder_root.iterdir())) < 2:
        pytest.skip("the file system takes both for one name")
    with pytest.raises(InputError, match=r"\('Bussa\\u0308rde'\) and .* \('Buss\\xe4rde'\) are one name"):
        load_data("folder", folder_root)


def test_classes_that_differ_in_case_are_remarked_on(folder_root):
    (folder_root / "Äpfel").rename(folder_root / "Pears")
    if len(list(folder_root.iterdir())) < 2:
        pytest.skip("the file system takes both for one name")
    (remark,) = load_data("folder", folder_root).remarks()
    assert remark.startswith("the classes 'Pears' and 'pears' differ only in case and are learned as different ones")
    items = torch.utils.data.TensorDataset(torch.zeros(8, 3, 32, 32, dtype=torch.uint8), torch.arange(8) % 2)
    assert "differ only in case" in from_datasets(items, classes=["a", "A"], validation=0).remarks()[0]


@pytest.mark.parametrize(
    ("train", "test", "says"),
    [
        ("cat", "Cat", "test/Cat differs from train/cat only in case; rename one"),
        ("cat", "cat ", r"test/cat  and train/cat are one name written in two ways \('cat ' and 'cat'\); rename one"),
        (COMPOSED, DECOMPOSED, r"are one name written in two ways \(.*u0308.*xe4.*\); rename one"),
    ],
)
def test_a_class_that_is_written_otherwise_in_train_is_told_so(train_and_test, tmp_path, train, test, says):
    for part, name in (("train", train), ("test", test)):
        (train_and_test / part / "Äpfel").rename(train_and_test / part / name)
    with pytest.raises(InputError, match=says):
        load_data("folder", train_and_test)
    datasets = pytest.importorskip("datasets")
    rows = {
        part: table(6, label=(datasets.Value("string"), ["x", name] * 3))
        for part, name in (("train", train), ("test", test))
    }
    with pytest.raises(InputError, match="test row 1: the label and a class of train, .*(in two ways|only in case)"):
        load_data(f"hf:{write_hf(tmp_path / 'rows', **rows)}")

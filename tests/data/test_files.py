import pickle

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from protomask.data import collate, load_data
from protomask.data.transforms import evaluation_transform, training_transform
from protomask.errors import InputError

MEAN = STD = (0.5, 0.5, 0.5)


def test_the_second_look_comes_from_memory_and_is_the_same(cub_root):
    data = load_data("cub", cub_root, validation=0).train
    first = data[0]
    (cub_root / "images" / data.names[0]).unlink()
    second = data[0]
    for key in ("image", "mask", "boxes", "points", "visible"):
        assert torch.equal(first[key], second[key])
    first["image"].zero_()
    assert data[0]["image"].any(), "what a user does to a sample must not reach the memory"


def test_without_memory_every_look_decodes(cub_root):
    data = load_data("cub", cub_root, validation=0, cache=0).train
    assert data[0]["image"].any()
    (cub_root / "images" / data.names[0]).unlink()
    with pytest.raises(InputError, match="bird 0.png: no such image file"):
        data[0]


def test_a_set_larger_than_its_allowance_is_not_kept(cub_root):
    needed = 12 * 22 * 32 * 4  # images, cropped height and width, RGB and mask
    kept, too_large = (load_data("cub", cub_root, cache=cache).train for cache in (needed, needed - 1))
    assert kept._cache is not None and too_large._cache is None
    assert torch.equal(kept[0]["image"], too_large[0]["image"])


def test_forked_workers_share_the_memory(cub_root):
    data = load_data("cub", cub_root, validation=0).train.with_transform(evaluation_transform(16, MEAN, STD))
    loader = DataLoader(data, 2, num_workers=1, collate_fn=collate, multiprocessing_context="fork")
    first = [batch["images"] for batch in loader]
    for name in data.names:
        (cub_root / "images" / name).unlink()
    assert all(torch.equal(a, b["images"]) for a, b in zip(first, loader))
    assert torch.equal(first[0][0], data[0]["image"])


def test_a_pickled_data_set_reads_the_same(cub_root):
    data = load_data("cub", cub_root, validation=0).train.with_transform(training_transform(16, MEAN, STD, "official"))
    copy = pickle.loads(pickle.dumps(data))
    assert copy.fingerprint() == data.fingerprint()
    assert torch.equal(copy.read(1)["image"], data.read(1)["image"])


def test_batches_of_transformed_samples(cub_root):
    data = load_data("cub", cub_root, validation=0).train.with_transform(training_transform(24, MEAN, STD))
    batch = next(iter(DataLoader(data, 4, collate_fn=collate)))
    assert batch["images"].shape == (4, 3, 24, 24) and batch["images"].dtype == torch.float32
    assert batch["mask"].shape == (4, 1, 24, 24) and batch["mask"].dtype == torch.uint8
    assert batch["points"].shape == (4, 2, 2) and batch["visible"].shape == (4, 2)
    assert batch["labels"].tolist() == [0, 0, 1, 1] and batch["positions"].tolist() == [0, 1, 2, 3]
    assert all(type(batch[key]) is torch.Tensor for key in ("images", "mask", "points", "visible"))


def test_damage_is_named_when_the_image_is_read(cub_root):
    path = cub_root / "images" / "003.Blue_Bird" / "bird 0.png"
    Image.effect_noise((60, 40), 90).save(path)
    path.write_bytes(path.read_bytes()[:-600])
    data = load_data("cub", cub_root, validation=0).train
    with pytest.raises(InputError) as caught:
        data[0]
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="empty"):
        load_data("cub", cub_root)


def test_the_fingerprint_sees_a_changed_image_and_the_crop(cub_root):
    prints = {load_data("cub", cub_root, crop=crop, validation=0).train.fingerprint() for crop in (True, False)}
    Image.effect_noise((60, 40), 90).save(cub_root / "images" / "003.Blue_Bird" / "bird 0.png")
    prints.add(load_data("cub", cub_root, validation=0).train.fingerprint())
    assert len(prints) == 3

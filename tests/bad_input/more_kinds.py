"""Further ways to spoil a data set or the options of a training; those of docs/bad-input.md are in ``kinds``.

Each gets a good data set of its kind, spoils it, and returns the options of the training that differ, if any."""

import os
import shutil
import struct
import zlib

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.bad_input.kinds import BIRD, _Call, _masks
from tests.bad_input.sets import edit, mask, picture

MORE: dict[str, tuple[str, object]] = {}


def kind(name, data="folder"):
    def register(function):
        assert name not in MORE, name
        MORE[name] = data, function
        return function

    return register


def each(name, data, *values):
    """One kind for each of several values."""

    def register(function):
        for value in values:
            kind(f"{name}: {str(value)[:60]!r}", data)(lambda root, value=value: function(root, value))
        return function

    return register


# A file of annotations that is none

TABLES = (
    ("folder", "boxes.csv"),
    ("busi", "annotations.csv"),
    ("cub", "images.txt"),
    ("cub", "classes.txt"),
    ("cub", "bounding_boxes.txt"),
    ("cub", "parts/parts.txt"),
    ("cub", "parts/part_locs.txt"),
    ("chestxray", "Data_Entry_2017.csv"),
    ("chestxray", "BBox_List_2017.csv"),
    ("chestxray", "test_list.txt"),
)


def _replaced(path):
    path.unlink()
    return path


for _data, _name in TABLES:
    for _what, _put in {
        "a pipe": lambda path: os.mkfifo(_replaced(path)),
        "a folder": lambda path: _replaced(path).mkdir(),
        "a device": lambda path: _replaced(path).symlink_to("/dev/zero"),
        "a loop of links": lambda path: _replaced(path).symlink_to(path.name),
        "empty": lambda path: path.write_bytes(b""),
        "no UTF-8": lambda path: path.write_bytes(path.read_bytes() + b"\xff\xfe\n"),
        "a zero byte": lambda path: path.write_bytes(path.read_bytes() + b"\0,\0 \0\n"),
        "one long line": lambda path: path.write_bytes(b"1 " + b"9" * 300_000 + b"\n"),
        "an open quotation mark": lambda path: path.write_bytes(path.read_bytes() + b'"'),
    }.items():
        kind(f"{_name} is {_what}", _data)(lambda root, name=_name, put=_put: put(root / name))


# Numbers that no machine holds


@each("a number", "busi", "9" * 30, "9" * 5000, "-1", "1.5", "1e3", "١")
def _(root, number):
    edit(root / "annotations.csv", 3, f"benign/benign (2).png,benign,train,{number}")


@each("a patient", "chestxray", "9" * 30, "9" * 5000, "-1", "")
def _(root, number):
    edit(root / "Data_Entry_2017.csv", 3, f"00000002_000.png,Atelectasis,0,{number},58,M,PA,2682,2749,0.143,0.143,")


@each("an image's number", "cub", "9" * 30, "9" * 5000, "-1", "1.0")
def _(root, number):
    for name in ("images", "image_class_labels", "train_test_split", "bounding_boxes", "parts/part_locs"):
        path = root / f"{name}.txt"
        lines = path.read_text(encoding="utf-8").splitlines()
        path.write_text("\n".join([f"{number} {lines[0].split(maxsplit=1)[1]}", *lines[1:]]) + "\n", encoding="utf-8")


@each("a corner", "folder", "1e308", "-1e308", "9" * 400, "0x10", "1_0")
def _(root, number):
    edit(root / "boxes.csv", 3, f"{BIRD},2,2,{number},14")


@each("a corner of crops", "folder", "1e308", "0.2")
def _(root, number):
    edit(root / "boxes.csv", 3, f"{BIRD},0,0,{number},{number}")
    return {"crop": True}


@each("a width", "cub", "1e308", "0.01", "9" * 400)
def _(root, number):
    edit(root / "bounding_boxes.txt", 4, f"4 2.0 2.0 {number} 12.0")


# Pictures


@each("pixels", "folder", (1, 1), (1, 3000), (3000, 1), (2, 2))
def _(root, size):
    picture(1).resize(size).save(root / BIRD)
    (root / "boxes.csv").unlink()


@each("boxes of pixels in large photographs, with on_object", "folder", 6, 2)
def _(root, side):
    """Of 6 pixels 1.5 are left for a network of 64, which is enough; of 2 there is nothing left."""
    for path in root.rglob("*.png"):
        picture(0).resize((640, 640)).save(path)
    end = 300 + side
    lines = (root / "boxes.csv").read_text(encoding="utf-8").replace(",2,2,20,14", f",300,300,{end},{end}")
    (root / "boxes.csv").write_text(lines, encoding="utf-8")
    return {"on_object": True, "image_size": 64}


@kind("a picture that is a device")
def _(root):
    (root / BIRD).with_name("zero.png").symlink_to("/dev/zero")


@kind("a picture that is a loop of links")
def _(root):
    (root / BIRD).with_name("loop.png").symlink_to("loop.png")


@kind("a link to a picture")
def _(root):
    shutil.move(root / BIRD, root.parent / "elsewhere.png")
    (root / BIRD).symlink_to(root.parent / "elsewhere.png")


@kind("a link to the class folder itself")
def _(root):
    (root / "train" / "red kites" / "again").symlink_to(root / "train" / "red kites")


@kind("a class that is a link")
def _(root):
    shutil.move(root / "train" / "red kites", root.parent / "elsewhere")
    (root / "train" / "red kites").symlink_to(root.parent / "elsewhere")


@kind("a broken link for a class")
def _(root):
    (root / "train" / "third").symlink_to("nowhere")


@kind("a pipe beside the classes")
def _(root):
    os.mkfifo(root / "train" / "pipe")
    os.mkfifo(root / "pipe.csv")


@kind("names that are not UTF-8")
def _(root):
    shutil.copy(root / BIRD, os.fsencode(root / "train" / "red kites") + b"/\xff\xe9.png")
    os.rename(os.fsencode(root / "train" / "Bussärde"), os.fsencode(root / "train") + b"/\xff")
    os.rename(os.fsencode(root / "test" / "Bussärde"), os.fsencode(root / "test") + b"/\xff")
    (root / "boxes.csv").unlink()


@kind("names with a line break")
def _(root):
    shutil.copy(root / BIRD, root / "train" / "red kites" / "a\nb\r.png")
    (root / "train" / "red kites" / "c\nd.png").write_bytes(b"no picture")


@kind("names of 250 letters")
def _(root):
    for part in ("train", "test"):
        (root / part / "red kites").rename(root / part / ("k" * 250))
    shutil.copy(root / "train" / "Bussärde" / "bird 0.png", root / "train" / "Bussärde" / f"{'b' * 246}.png")
    (root / "boxes.csv").unlink()


@kind("floating point of 32 bits among the test pictures")
def _(root):
    Image.fromarray(np.zeros((16, 24), dtype=np.float32)).save(root / "test" / "red kites" / "deep.tif")


@kind("a DICOM file that is none")
def _(root):
    (root / BIRD).with_name("scan.dcm").write_bytes(bytes(128) + b"DICM" + b"\xff" * 40)


@kind("a WebP whose header lies")
def _(root):
    (root / BIRD).with_name("x.webp").write_bytes(b"RIFF\xff\xff\xff\x7fWEBPVP8 \xff\xff\xff\x7f" + bytes(20))


@kind("a PNG with a wrong checksum")
def _(root):
    def chunk(name, content, wrong=0):
        check = zlib.crc32(name + content) ^ wrong
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    (root / BIRD).write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header, 1) + chunk(b"IEND", b""))


@each("a damaged picture", "cub", "1", "2")
def _(root, number):
    (root / "images" / "001.Bird" / f"{number}.png").write_bytes(b"no picture")


@each("a damaged picture or mask", "busi", "benign (1).png", "benign (1)_mask.png", "benign (4).png")
def _(root, name):
    (root / "benign" / name).write_bytes(b"no picture")


@each("a damaged picture", "chestxray", "00000001_000.png", "00000003_000.png")
def _(root, name):
    (root / "images" / name).write_bytes(b"no picture")


@each("a pipe or a folder", "chestxray", "00000001_000.png", "00000003_000.png")
def _(root, name):
    (os.mkfifo if name == "00000001_000.png" else os.mkdir)(_replaced(root / "images" / name))


@each("a pipe", "cub", "images/001.Bird/1.png", "segmentations/001.Bird/1.png")
def _(root, name):
    os.mkfifo(_replaced(root / name))


@each("a pipe", "busi", "benign/benign (1).png", "benign/benign (1)_mask.png")
def _(root, name):
    os.mkfifo(_replaced(root / name))


@kind("BUSI without annotations, with a picture that is none", "busi")
def _(root):
    (root / "annotations.csv").unlink()
    (root / "benign" / "benign (1).png").write_bytes(b"no picture")


@kind("BUSI without annotations", "busi")
def _(root):
    (root / "annotations.csv").unlink()


@kind("a segmentation of another size", "cub")
def _(root):
    mask().resize((12, 16)).save(root / "segmentations" / "001.Bird" / "1.png")


@kind("a segmentation that is no picture", "cub")
def _(root):
    (root / "segmentations" / "001.Bird" / "1.png").write_bytes(b"no picture")


@kind("a mask of 16 bits")
def _(root):
    _masks(root)
    Image.fromarray(np.full((16, 24), 40_000, dtype=np.uint16)).save(root / "train" / "red kites" / "bird 0_mask.png")


@kind("a mask of floating point")
def _(root):
    _masks(root)
    path = root / "train" / "red kites" / "bird 0_mask.png"
    Image.fromarray(np.zeros((16, 24), dtype=np.float32)).save(path, format="TIFF")


@kind("masks that are black throughout")
def _(root):
    for path in list(root.rglob("bird ?.png")):
        mask(lit=False).save(path.with_name(f"{path.stem}_mask.png"))


# Classes and splits


@kind("one picture in each class")
def _(root):
    for path in root.glob("train/*/bird 1.png"):
        path.unlink()
    (root / "boxes.csv").unlink()


@kind("one picture of a class, and no split")
def _(root):
    for name in ("red kites", "Bussärde"):
        shutil.move(root / "train" / name, root / name)
    shutil.rmtree(root / "train")
    shutil.rmtree(root / "test")
    (root / "red kites" / "bird 1.png").unlink()
    (root / "boxes.csv").unlink()


@kind("copies of one picture alone, and no split")
def _(root):
    for part in ("train", "test"):
        shutil.rmtree(root / part)
    for name in ("red kites", "Bussärde"):
        (root / name).mkdir()
        for number in range(3):
            picture(1).save(root / name / f"{number}.png")
    (root / "boxes.csv").unlink()


@kind("a class that is tested only")
def _(root):
    shutil.copytree(root / "test" / "red kites", root / "test" / "third")


@kind("a class that is not tested")
def _(root):
    shutil.rmtree(root / "test" / "red kites")
    (root / "boxes.csv").unlink()


@kind("an empty folder of tests")
def _(root):
    shutil.rmtree(root / "test")
    (root / "test").mkdir()


@kind("the same picture everywhere")
def _(root):
    for path in list(root.rglob("bird ?.png")):
        picture(1).save(path)


@kind("no findings among the test images", "chestxray")
def _(root):
    path = root / "Data_Entry_2017.csv"
    tested = (root / "test_list.txt").read_text().split()
    lines = path.read_text(encoding="utf-8").splitlines()
    for at, line in enumerate(lines):
        cells = line.split(",")
        if cells[0] in tested:
            lines[at] = ",".join([cells[0], "No Finding", *cells[2:]])
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    (root / "BBox_List_2017.csv").unlink()


@kind("no findings at all", "chestxray")
def _(root):
    path = root / "Data_Entry_2017.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [line.split(",") for line in lines[1:]]
    path.write_text("\n".join([lines[0], *(",".join([row[0], "No Finding", *row[2:]]) for row in rows)]) + "\n")
    (root / "BBox_List_2017.csv").unlink()


@kind("one training image", "chestxray")
def _(root):
    (root / "train_val_list.txt").write_text("00000001_000.png\n")
    return {"image_size": 16, "features": 16, "backbone": "test_resnet"}


@kind("no images folder", "chestxray")
def _(root):
    shutil.rmtree(root / "images")


@each("no label", "busi", "label", "split", "group", "file")
def _(root, column):
    edit(root / "annotations.csv", 1, "file,label,split,group".replace(column, "other"))


@kind("tests alone", "busi")
def _(root):
    path = root / "annotations.csv"
    path.write_text(path.read_text(encoding="utf-8").replace(",train,", ",test,"), encoding="utf-8")


# Where the data are


@each("root", None, "nowhere", "a file", "a pipe", "a link in a loop", "an empty folder", "a zero\0byte", "n" * 300)
def _(root, what):
    path = root / "x"
    if what == "a file":
        path.write_text("")
    elif what == "a pipe":
        os.mkfifo(path)
    elif what == "a link in a loop":
        path.symlink_to("x")
    elif what == "an empty folder":
        path.mkdir()
    return {"data": "folder", "root": str(path if len(what) < 100 and "\0" not in what else root / what)}


@each("another data set's folder", "folder", "cub", "busi", "chestxray", "nothing")
def _(root, name):
    return {"data": name}


# Hugging Face datasets


@each(
    "a column",
    "hf",
    {"image_column": "label"},
    {"image_column": "imagse"},
    {"label_column": "image"},
    {"label_column": "x"},
)
def _(root, options):
    return options


@each("a file of a table", "hf", "dataset_dict.json", "train/dataset_info.json", "train/state.json")
def _(root, name):
    (root / name).write_bytes(b"{")


@each("a missing file of a table", "hf", "train/dataset_info.json", "train/state.json", "test/state.json")
def _(root, name):
    (root / name).unlink()


@kind("a table's file is a pipe", "hf")
def _(root):
    os.mkfifo(_replaced(root / "train" / "state.json"))


@kind("a share of test images beside those there are", "hf")
def _(root):
    return {"test_share": 0.5}


@kind("a folder of tables that is empty", "hf")
def _(root):
    shutil.rmtree(root)
    root.mkdir()


@kind("parquet files that are none", "hf")
def _(root):
    shutil.rmtree(root)
    root.mkdir()
    (root / "train-00000-of-00001.parquet").write_bytes(b"PAR1 no table PAR1")


@kind("columns for another data set", "folder")
def _(root):
    return {"label_column": "label"}


# The options


@each(
    "options",
    "folder",
    {"backbone": "resnet1O1"},
    {"backbone": "torchvision/nothing"},
    {"backbone": "torchvision/vit_b_16"},
    {"backbone": "test_resnet:checkpoint_path=x.pth"},
    {"backbone": "test_resnet:nonsense=3"},
    {"backbone": "test_resnet:=3"},
    {"backbone": ":"},
    {"backbone": "test_resnet:in_chans=1"},
    {"backbone": "test_resnet:num_classes=-1"},
    {"backbone": "test_resnet:width=999999999999"},
    {"backbone": "test_vit", "image_size": 50},
    {"features": 7},
    {"features": 4096},
    {"features": -8},
    {"network": "protopnot"},
    {"network": "xprotonet", "recipe": "official"},
    {"network": "xprotonet", "similarity": "l2-log"},
    {"network": "xprotonet", "prototype_size": 2},
    {"localizer": "mdn"},
    {"localizer": ","},
    {"localizer": "mdm:speed=3"},
    {"localizer": "mdm:damping=much"},
    {"localizer": "mdm:keep.steps=-1"},
    {"localizer": "gradcam:layer=nothing"},
    {"localizer": "gradcam:layer=last_layer"},
    {"localizer": "score-cam:layer=backbone"},
    {"localizer": "oracle"},
    {"device": "cuda:77"},
    {"device": "meta"},
    {"device": "a\0b"},
    {"normalization": "nan,0,0,1,1,1"},
    {"normalization": "0,0,0,0,1,1"},
    {"normalization": "half"},
    {"prototype_size": 30},
    {"prototype_size": 6},
    {"image_size": 16, "features": 16},
    {"image_size": 17},
    {"batch_size": 3, "image_size": 16, "features": 16},
    {"validation": 0.9},
    {"validation": 0.0},
    {"intensity_range": "5,3"},
    {"intensity_range": "0,4095"},
    {"weights": "x", "pretrained": True},
    {"recipe": "official"},
    {"balance": True},
    {"black_box": True},
    {"seed": 2**31 - 1},
    {"data": "birds"},
)
def _(root, options):
    return options


@each(
    "weights",
    "folder",
    "nowhere",
    "a folder",
    "a pipe",
    "a device",
    "empty",
    "text",
    "zeros",
    "other",
    "not finite",
    "code",
    "truncated",
    "a list",
)
def _(root, what):
    path = root.parent / ("w.pth" if what in ("code", "truncated", "a list") else "w.safetensors")
    if what == "a folder":
        path.mkdir()
    elif what == "a pipe":
        os.mkfifo(path)
    elif what == "a device":
        path.symlink_to("/dev/zero")
    elif what in ("empty", "text", "zeros"):
        path.write_bytes({"empty": b"", "text": b"weights", "zeros": bytes(400)}[what])
    elif what == "other":
        save_file({"a.weight": torch.zeros(3)}, path)
    elif what == "not finite":
        import timm

        state = timm.create_model("test_resnet").state_dict()
        save_file({name: value.float() * torch.nan for name, value in state.items()}, path)
    elif what == "code":
        torch.save({"state_dict": _Call()}, path)
    elif what == "truncated":
        torch.save({"a": torch.zeros(1000)}, path)
        path.write_bytes(path.read_bytes()[:500])
    elif what == "a list":
        torch.save([1, 2, 3], path)
    return {"weights": str(path)}


@each("output", "folder", "a file", "a pipe", "below a file", "a run", "a link in a loop", "a zero\0byte", "n" * 300)
def _(root, what):
    path = root.parent / "run"
    if what == "a file":
        path.write_text("")
    elif what == "a pipe":
        os.mkfifo(path)
    elif what == "below a file":
        path.write_text("")
        path = path / "run"
    elif what == "a run":
        path.mkdir()
        (path / "config.json").write_text("{}")
    elif what == "a link in a loop":
        path.symlink_to("run")
    else:
        path = root.parent / what
    return {"output": str(path)}

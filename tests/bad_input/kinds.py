"""One function for each kind of bad input in docs/bad-input.md: it spoils a good data set, or returns the words of a
command."""

import os
import pickle
import shutil
import struct
import zlib

import numpy as np
import torch
from PIL import Image, PngImagePlugin

from protomask.run_folder import RunFolder
from tests.bad_input.sets import SIZE, edit, mask, picture
from tests.data.hf_folders import CLASSES, encoded, table, write_hf

BIRD = "train/red kites/bird 0.png"
KINDS: dict[str, tuple[str, object]] = {}


def kind(name, data="folder"):
    def register(function):
        assert name not in KINDS, name
        KINDS[name] = data, function
        return function

    return register


def png(width, height, extra=b""):
    """A PNG file that claims a size and holds hardly any pixels."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(b"\0" * 10))
        + chunk(b"IEND", b"")
    )


def cut(path, share=0.6):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


# Image files. Pillow itself takes none without pixels for an image.


@kind("empty file")
def _(root):
    (root / BIRD).write_bytes(b"")


@kind("truncated PNG")
def _(root):
    cut(root / BIRD)


@kind("truncated JPEG")
def _(root):
    path = (root / BIRD).with_suffix(".jpg")
    picture(3).resize((200, 200)).save(path)
    cut(path)


@kind("damaged in the middle")
def _(root):
    content = bytearray((root / BIRD).read_bytes())
    place = content.index(b"IDAT") + 20
    content[place : place + 40] = bytes(40)
    (root / BIRD).write_bytes(content)


@kind("text under a picture's name")
def _(root):
    (root / BIRD).write_text("not a picture")


@kind("no pixels")
def _(root):
    (root / BIRD).write_bytes(png(0, 16))


@kind("decompression bomb")
def _(root):
    (root / BIRD).write_bytes(png(60_000, 60_000))


@kind("more pixels than memory likes")
def _(root):
    (root / BIRD).write_bytes(png(10_000, 9_000))


@kind("bomb in a text chunk")
def _(root):
    text = b"comment\0\0" + zlib.compress(bytes(70_000_000), 1)
    (root / BIRD).write_bytes(
        png(4, 4, struct.pack(">I", len(text)) + b"zTXt" + text + struct.pack(">I", zlib.crc32(b"zTXt" + text)))
    )


@kind("pixels of type float")
def _(root):
    Image.fromarray(np.zeros((16, 24), dtype=np.float32)).save((root / BIRD).with_suffix(".tif"))


@kind("broken link")
def _(root):
    (root / BIRD).with_name("link.png").symlink_to(root / "nowhere.png")


@kind("PostScript under a picture's name")
def _(root):
    (root / BIRD).with_suffix(".jpg").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 24 16\n%%EndComments\nshowpage\n%%EOF\n"
    )


@kind("pixels outside 16 bits")
def _(root):
    Image.fromarray(np.array([[-1000, 0, 1000]], dtype=np.int32)).save((root / BIRD).with_suffix(".tif"))


@kind("a pipe for a picture")
def _(root):
    os.mkfifo((root / BIRD).with_name("pipe.png"))


@kind("CMYK, 16-bit, palette, grey, transparent")
def _(root):
    folder = (root / BIRD).parent
    for mode, name in (
        ("CMYK", "cmyk.jpg"),
        ("P", "palette.png"),
        ("L", "grey.png"),
        ("RGBA", "clear.png"),
        ("1", "bits.png"),
        ("YCbCr", "y.jpg"),
    ):
        picture(4).convert(mode).save(folder / name)
    Image.fromarray(np.full((16, 24), 4000, dtype=np.uint16)).save(folder / "sixteen.png")


@kind("animated GIF, TIFF with pages")
def _(root):
    for name in ("moving.gif", "pages.tif"):
        picture(5).save((root / BIRD).with_name(name), save_all=True, append_images=[picture(6), picture(7)])


@kind("turned by EXIF")
def _(root):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(8).save((root / BIRD).with_suffix(".jpg"), exif=exif)


@kind("blanks, umlauts, quotes in paths")
def _(root):
    (root / "train" / "red kites").rename(root / "train" / '鳶 \'n "kites" %20 ; $HOME')
    (root / "test" / "red kites").rename(root / "test" / '鳶 \'n "kites" %20 ; $HOME')
    (root / "boxes.csv").unlink()


@kind("a folder with a picture's name")
def _(root):
    (root / "train" / "red kites" / "album.png").mkdir()


@kind("wrong colour profile, unknown chunks")
def _(root):
    information = PngImagePlugin.PngInfo()
    information.add(b"prVt", b"x" * 40)
    picture(1).save(root / BIRD, pnginfo=information, icc_profile=b"no profile")


# Masks


def _masks(root, *without):
    for path in [path for path in root.rglob("bird ?.png") if path.name not in without]:
        mask().save(path.with_name(f"{path.stem}_mask.png"))


@kind("missing mask")
def _(root):
    _masks(root)
    (root / "train" / "red kites" / "bird 0_mask.png").unlink()


@kind("mask of another size")
def _(root):
    _masks(root)
    mask().resize((12, 16)).save(root / "train" / "red kites" / "bird 0_mask.png")


@kind("mask that is no picture")
def _(root):
    _masks(root)
    (root / "train" / "red kites" / "bird 0_mask.png").write_text("mask")


@kind("mask in its transparency")
def _(root):
    _masks(root)
    alpha = np.asarray(mask())
    Image.fromarray(np.dstack([alpha * 0, alpha])).save(root / "train" / "red kites" / "bird 0_mask.png")


@kind("a pipe for a mask")
def _(root):
    _masks(root)
    path = root / "train" / "red kites" / "bird 0_mask.png"
    path.unlink()
    os.mkfifo(path)


# Boxes of a folder


@kind("boxes without a column")
def _(root):
    edit(root / "boxes.csv", 1, "file,left,y0,x1,y1")


@kind("box in words")
def _(root):
    edit(root / "boxes.csv", 3, f"{BIRD},two,2,20,14")


@kind("box of too few numbers")
def _(root):
    edit(root / "boxes.csv", 3, f"{BIRD},2,2,20")


@kind("box that is not a number")
def _(root):
    edit(root / "boxes.csv", 3, f"{BIRD},nan,2,20,inf")


@kind("box with corners exchanged")
def _(root):
    edit(root / "boxes.csv", 3, f"{BIRD},20,14,2,2")


@kind("box outside its image")
def _(root):
    edit(root / "boxes.csv", 3, f"{BIRD},30,2,40,14")


@kind("box of no picture")
def _(root):
    edit(root / "boxes.csv", 3, "train/red kites/bird 7.png,2,2,20,14")


@kind("boxes in another encoding")
def _(root):
    (root / "boxes.csv").write_bytes((root / "boxes.csv").read_text(encoding="utf-8").encode("utf-16"))


# Folders


@kind("no such folder", None)
def _(root):
    return ["check", "folder", "--root", root / "nowhere"]


@kind("a file for a folder")
def _(root):
    return ["check", "folder", "--root", root / "boxes.csv"]


@kind("no root", None)
def _(root):
    return ["check", "cub"]


@kind("empty class")
def _(root):
    shutil.rmtree(root / "train" / "red kites")
    (root / "train" / "red kites").mkdir()


@kind("class without training images")
def _(root):
    shutil.rmtree(root / "train" / "red kites")


@kind("only one class")
def _(root):
    for part in ("train", "test"):
        shutil.rmtree(root / part / "red kites")


@kind("no class folders")
def _(root):
    for part in ("train", "test"):
        shutil.rmtree(root / part)


@kind("training without test")
def _(root):
    shutil.rmtree(root / "test")


@kind("two folders for validation")
def _(root):
    (root / "val").mkdir()
    (root / "validation").mkdir()


@kind("a folder like a split")
def _(root):
    (root / "test").rename(root / "Test images")


@kind("splits within classes")
def _(root):
    for name in ("red kites", "Bussärde"):
        for part in ("train", "test"):
            (root / name).mkdir(exist_ok=True)
            (root / part / name).rename(root / name / part)
    for part in ("train", "test"):
        (root / part).rmdir()
    (root / "boxes.csv").unlink()


@kind("hidden files and folders")
def _(root):
    for name in (".thumbnails", "__MACOSX"):
        (root / "train" / "red kites" / name).mkdir()
        (root / "train" / "red kites" / name / "x.png").write_bytes(b"")
    (root / BIRD).with_name("._x.png").write_bytes(b"")


@kind("files that are not read")
def _(root):
    (root / BIRD).with_suffix(".heic").write_bytes(b"heic")


@kind("a copy in another class")
def _(root):
    shutil.copy(root / "train" / "Bussärde" / "bird 0.png", root / "train" / "red kites" / "copy.png")


@kind("a copy in training and test")
def _(root):
    shutil.copy(root / BIRD, root / "test" / "red kites" / "copy.png")


# CUB


@kind("no CUB folder", "folder")
def _(root):
    return ["check", "cub", "--root", root]


@kind("missing file of labels", "cub")
def _(root):
    (root / "image_class_labels.txt").unlink()


@kind("malformed line", "cub")
def _(root):
    edit(root / "train_test_split.txt", 2, "2 yes")


@kind("id twice", "cub")
def _(root):
    edit(root / "images.txt", 9, "3 001.Bird/other.png")


@kind("image twice", "cub")
def _(root):
    edit(root / "images.txt", 9, "9 001.Bird/1.png")


@kind("image without a label", "cub")
def _(root):
    edit(root / "image_class_labels.txt", 3, None)


@kind("unknown class", "cub")
def _(root):
    edit(root / "image_class_labels.txt", 3, "3 7")


@kind("label of no image", "cub")
def _(root):
    edit(root / "image_class_labels.txt", 9, "77 1")


@kind("empty box", "cub")
def _(root):
    edit(root / "bounding_boxes.txt", 4, "4 2.0 2.0 0.0 12.0")


@kind("box beyond the image", "cub")
def _(root):
    edit(root / "bounding_boxes.txt", 4, "4 2.0 99.0 5.0 12.0")


@kind("unknown part", "cub")
def _(root):
    edit(root / "parts" / "part_locs.txt", 4, "4 9 2.0 2.0 1")


@kind("missing image", "cub")
def _(root):
    (root / "images" / "001.Bird" / "2.png").unlink()


@kind("missing segmentation", "cub")
def _(root):
    (root / "segmentations" / "001.Bird" / "2.png").unlink()


@kind("no boxes to crop to", "cub")
def _(root):
    (root / "bounding_boxes.txt").unlink()


@kind("no test images", "cub")
def _(root):
    (root / "train_test_split.txt").write_text("".join(f"{number} 1\n" for number in range(1, 9)))


# BUSI


@kind("missing class folder", "busi")
def _(root):
    shutil.rmtree(root / "normal")


@kind("unknown label", "busi")
def _(root):
    edit(root / "annotations.csv", 3, "benign/benign (2).png,harmless,train,1")


@kind("near-duplicates on both sides", "busi")
def _(root):
    edit(root / "annotations.csv", 4, "benign/benign (3).png,benign,test,0")


@kind("file twice", "busi")
def _(root):
    edit(root / "annotations.csv", 3, "benign/benign (1).png,benign,train,0")


@kind("row of no image", "busi")
def _(root):
    edit(root / "annotations.csv", 14, "benign/benign (9).png,benign,train,99")


# ChestX-ray14


@kind("unknown finding", "chestxray")
def _(root):
    edit(root / "Data_Entry_2017.csv", 3, "00000002_000.png,Effusion|Cold,0,2,58,M,PA,2682,2749,0.143,0.143,")


@kind("patient for training and for testing", "chestxray")
def _(root):
    edit(root / "Data_Entry_2017.csv", 4, "00000003_000.png,Atelectasis,0,2,58,M,PA,2682,2749,0.143,0.143,")


@kind("listed image without labels", "chestxray")
def _(root):
    edit(root / "test_list.txt", 3, "00000099_000.png")


@kind("missing archive of images", "chestxray")
def _(root):
    (root / "images" / "00000001_000.png").unlink()


@kind("resized images beside the originals", "chestxray")
def _(root):
    (root / "images_224").mkdir()
    for path in sorted((root / "images").iterdir())[:2]:
        Image.open(path).resize((32, 32)).save(root / "images_224" / path.name)


@kind("box of a finding in words", "chestxray")
def _(root):
    edit(root / "BBox_List_2017.csv", 2, "00000006_000.png,Effusion,left,36,18.0,18,,,")


# Hugging Face datasets


def rewrite(root, **columns):
    """The same data set with other columns in its training images: (type, values)."""
    shutil.rmtree(root)
    write_hf(
        root,
        train=table(6, **columns),
        test=table(4, **{name: (kind, rows[:4]) for name, (kind, rows) in columns.items()}),
    )


def images(**rows):
    import datasets

    found = [encoded(row) for row in range(6)]
    for row, image in rows.items():
        found[int(row.removeprefix("row"))] = image
    return datasets.Image(), found


@kind("no column of images", "hf")
def _(root):
    import datasets

    rewrite(root, image=(datasets.Value("int64"), list(range(6))))


@kind("several columns of images", "hf")
def _(root):
    rewrite(root, seen=images())


@kind("several columns of classes", "hf")
def _(root):
    import datasets

    rewrite(root, kind=(datasets.ClassLabel(names=["a", "b"]), [0, 1] * 3))


@kind("no column of classes", "hf")
def _(root):
    import datasets

    shutil.rmtree(root)
    write_hf(root, train=table(6, label=None, weight=(datasets.Value("float64"), [0.5] * 6)))


@kind("two splits of a kind", "hf")
def _(root):
    shutil.rmtree(root)
    write_hf(root, train=table(6), val=table(2), dev=table(2))


@kind("no test images but an `eval`", "hf")
def _(root):
    shutil.rmtree(root)
    write_hf(root, train=table(6), eval=table(4))


@kind("labels of type float", "hf")
def _(root):
    import datasets

    rewrite(root, label=(datasets.Value("float64"), [0.0, 1.0] * 3))


@kind("a row of other bytes than an image's", "hf")
def _(root):
    rewrite(root, image=images(row1={"bytes": b"no image", "path": None}))


@kind("a row of a truncated image", "hf")
def _(root):
    rewrite(root, image=images(row2={"bytes": encoded(2)["bytes"][:700], "path": None}))


@kind("a row without an image", "hf")
def _(root):
    rewrite(root, image=images(row3=None))


@kind("a row without a label", "hf")
def _(root):
    import datasets

    rewrite(root, label=(datasets.ClassLabel(names=CLASSES), [0, None, 0, 1, 0, 1]))


@kind("-1 or a blank text among labels", "hf")
def _(root):
    import datasets

    rewrite(root, label=(datasets.Value("int64"), [0, 1, -1, 2, 0, 1]))


@kind("a damaged table", "hf")
def _(root):
    cut(next((root / "train").glob("*.arrow")), 0.1)


@kind("grey, CMYK and transparent rows", "hf")
def _(root):
    rewrite(root, image=images(row0=encoded(0, "L"), row1=encoded(1, "CMYK", "JPEG"), row2=encoded(2, "RGBA")))


# Other files and words


@kind("unknown data set", None)
def _(root):
    return ["check", "birds", "--root", root]


@kind("unknown option", None)
def _(root):
    return ["train", "--epoch-count", "3"]


@kind("wrong value of an option", None)
def _(root):
    return ["train", "--epochs", "many"]


@kind("options that are no JSON", None)
def _(root):
    (root / "options.json").write_text("{'epochs': 3}")
    return ["train", "--config", root / "options.json"]


@kind("options that are no YAML", None)
def _(root):
    (root / "options.yaml").write_text("epochs: &a [1]\nseed: *a")
    return ["train", "--config", root / "options.yaml"]


@kind("unknown option in a file", None)
def _(root):
    (root / "options.json").write_text('{"epoch": 3}')
    return ["train", "--config", root / "options.json"]


@kind("an option that is empty", None)
def _(root):
    return ["train", "--output", ""]


@kind("a device without numbers", "folder")
def _(root):
    return ["train", "--device", "meta", "--data", "folder", "--root", root, "--output", root / "run"]


@kind("no run folder", None)
def _(root):
    return ["evaluate", root]


@kind("a folder where a file belongs", None)
def _(root):
    (root / "config.json").mkdir()
    return ["evaluate", root]


@kind("a pipe where a file belongs", None)
def _(root):
    os.mkfifo(root / "config.json")
    return ["evaluate", root]


@kind("a file that changed after it was written", None)
def _(root):
    RunFolder(root).write("config.json", {"options": {"seed": 1}})
    (root / "config.json").write_text((root / "config.json").read_text().replace("1", "2", 1))
    return ["evaluate", root]


@kind("a run that names files to unpickle", None)
def _(root):
    backbone = {"name": "test_resnet", "arguments": {"checkpoint_path": "x.pth"}}
    RunFolder(root).write("config.json", {"options": {}})
    RunFolder(root).write(
        "model.json", {"network": "protopnet", "settings": {"backbone": backbone, "classes": ["a", "b"]}}
    )
    (root / "model.safetensors").write_bytes(b"")
    return ["evaluate", root]


class _Call:
    def __reduce__(self):
        return os.system, ("true",)


@kind("weights that run code", None)
def _(root):
    (root / "weights.pth").write_bytes(pickle.dumps({"a": _Call()}, 2))
    return ["train", "--weights", root / "weights.pth", "--output", root / "run"]


@kind("a model that runs code", "folder")
def _(root):
    torch.save({"state_dict": _Call()}, root / "model.pth")
    return ["import-official", root / "model.pth", "--data", "folder", "--root", root, "--output", root / "run"]


@kind("a model that is truncated", "folder")
def _(root):
    torch.save({"prototype_vectors": torch.zeros(100, 100)}, root / "model.pth")
    cut(root / "model.pth")
    return ["import-official", root / "model.pth", "--data", "folder", "--root", root, "--output", root / "run"]


assert SIZE == (24, 16)

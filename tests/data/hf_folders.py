"""Small data sets of Hugging Face ``datasets``, to be written to a folder."""

import io

import numpy as np
from PIL import Image

CLASSES = ["red kite", "Bussard"]


def encoded(seed, mode="RGB", kind="PNG", size=(24, 16)):
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind)
    return {"bytes": file.getvalue(), "path": None}


def table(count=6, start=0, **columns):
    """A split of ``count`` images of two classes by turns; ``columns`` are (type, values) to add or replace."""
    import datasets

    chosen = {
        "image": (datasets.Image(), [encoded(start + row) for row in range(count)]),
        "label": (datasets.ClassLabel(names=CLASSES), [row % 2 for row in range(count)]),
        **columns,
    }
    chosen = {name: each for name, each in chosen.items() if each is not None}
    features = datasets.Features({name: kind for name, (kind, _) in chosen.items()})
    # Encoded as given: nothing is decoded on the way.
    plain = datasets.Features(
        {
            name: datasets.Image(decode=False) if isinstance(kind, datasets.Image) else kind
            for name, kind in features.items()
        }
    )
    return datasets.Dataset.from_dict({name: values for name, (_, values) in chosen.items()}, plain).cast(features)


def write_hf(root, **splits):
    """``save_to_disk`` of some splits: {split: table}, by default train and test."""
    import datasets

    splits = splits or {"train": table(6), "test": table(4, start=6)}
    datasets.DatasetDict(splits).save_to_disk(str(root))
    return root


def write_parquet(root, **splits):
    for name, rows in (splits or {"train": table(6), "test": table(4, start=6)}).items():
        rows.to_parquet(str(root / f"{name}-00000-of-00001.parquet"))
    return root

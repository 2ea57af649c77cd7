"""A Dataset of one's own: anything with (image, label), here the rows of a table.

python examples/own_dataset.py TABLE.csv [OUTPUT]     with the columns file and class; files beside the table
"""

import csv
import sys
from pathlib import Path

from PIL import Image
from torch.utils.data import Dataset

import protomask


class Photographs(Dataset):
    """Pictures that a table names; `classes` gives the names of the labels."""

    def __init__(self, table: str) -> None:
        with open(table, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        self.classes = sorted({row["class"] for row in rows})
        self.files = [Path(table).parent / row["file"] for row in rows]
        self.labels = [self.classes.index(row["class"]) for row in rows]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.open(self.files[index]).convert("RGB"), self.labels[index]


def main(table: str, output: str = "table-run", **options) -> protomask.Run:
    """Train on the table's pictures, a fifth of each class kept for the test; ``options`` as for `protomask.train`."""
    splits = protomask.from_datasets(Photographs(table), 0.2)
    run = protomask.train(data=splits, output=output, **options)
    print(run.metrics["test_accuracy"])
    return run


if __name__ == "__main__":
    main(*sys.argv[1:])

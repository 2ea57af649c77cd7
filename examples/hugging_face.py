"""Where an image classifier of Hugging Face looks, and which localizer to trust on it.

python examples/hugging_face.py FOLDER [OUTPUT] [MODEL]     MODEL: google/vit-base-patch16-224, microsoft/resnet-50

Needs `pip install transformers`. The weights are fetched from the hub at the first call.
"""

import sys
from pathlib import Path

from transformers import AutoImageProcessor, AutoModelForImageClassification

import protomask


def main(pictures: str, output: str = "looked", name: str = "google/vit-base-patch16-224") -> str:
    """Explain a model by its name on the hub; returns the table of the comparison."""
    model = AutoModelForImageClassification.from_pretrained(name)
    return explain(model, AutoImageProcessor.from_pretrained(name), pictures, output)


def explain(model, processor, pictures: str, output: str, localizers=("mdm", "occlusion", "center")) -> str:
    """Write an overlay for each picture, and compare localizers; a model of one's own does as well."""
    model.eval()  # its `logits` are read; its `id2label` has the classes' names
    Path(output).mkdir(parents=True, exist_ok=True)
    for look in protomask.look(model, pictures, preprocessing=processor, localizer=localizers[0]):
        print(look.text())
        look.save(Path(output) / f"{Path(look.name).stem}.png")
    return protomask.compare(model, pictures, list(localizers), preprocessing=processor).table()


if __name__ == "__main__":
    print(main(*sys.argv[1:]))

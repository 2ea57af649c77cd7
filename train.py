"""Trains a prototype network and shows where its prototypes look; the same as ``protomask train``.

Without options ProtoPNet on the embedded data set: train, project, localise, evaluate, report.

    python train.py
    python train.py --data cub --root CUB_200_2011 --backbone resnet34 --pretrained
    python train.py --help
"""

import sys

from protomask.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))

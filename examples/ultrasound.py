"""XProtoNet on breast ultrasound: train, see whether prototypes lie on lesions, and which picture of them to trust.

python examples/ultrasound.py Dataset_BUSI_with_GT [OUTPUT]     benign/, malignant/ and normal/ with their *_mask.png

As published the data name no patients, and what is printed on a scan may give its class away: a good accuracy is no
proof that the network knows lesions. Look at the prototypes.
"""

import sys

import protomask


def main(folder: str, output: str = "ultrasound-run", **options) -> protomask.Run:
    """Train and ask; ``options`` are those of :func:`protomask.train`."""
    options = {"backbone": "torchvision/mobilenet_v2", "pretrained": True, "balance": True, **options}
    run = protomask.train("xprotonet", data="busi", root=folder, output=output, **options)

    # How much of each prototype's map lies on the lesion of its source image; normal images have none.
    for picture in run.pictures:
        outside = next(iter(picture.inspection.outside.values()), None)
        where = (
            "no lesion is known there, or nothing is marked"
            if outside is None
            else f"{100 * (1 - outside):.0f} % on the lesion"
        )
        print(f"prototype {picture.record.prototype} ({picture.record.class_name}): {where}")

    # Against the lesions' masks, and by what hiding the marked part does to the network.
    print(run.evaluate(metrics=["energy_mask", "iou_best", "deletion"]).table())
    scan = run.splits.test.names[0]
    print(run.explain(run.splits.test[0]["image"])[0].text().replace("image 0", scan, 1))
    return run


if __name__ == "__main__":
    print(main(*sys.argv[1:]))

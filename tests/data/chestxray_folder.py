"""A small folder of ChestX-ray14's shape: grey pictures of 64 px in which a bright patch of its own kind and place is a
finding."""

import numpy as np
from PIL import Image

FINDINGS = ("Atelectasis", "Effusion", "Mass")
# Who has what, patient by patient: none, one, or two findings.
PATTERNS = ((), ("Atelectasis",), ("Effusion",), ("Mass",), ("Effusion", "Mass"), ())
PLACES = {"Atelectasis": (8, 6), "Effusion": (36, 40), "Mass": (10, 38)}
SIDE = 18
PUBLISHED = 16
"""how many times larger the published images are, in whose pixels the boxes are"""
HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)


def picture(findings, seed):
    pixels = np.random.default_rng(seed).integers(40, 70, (64, 64), dtype=np.uint8)
    for finding in findings:
        top, left = PLACES[finding]
        patch = pixels[top : top + SIDE, left : left + SIDE]
        if finding == "Atelectasis":
            patch[:] = 220
        elif finding == "Effusion":
            patch[::4], patch[1::4] = 220, 220
        else:
            patch[:, ::4], patch[:, 1::4] = 5, 5
    return Image.fromarray(pixels)


def write_chestxray(root, patients=24, images=2, folders=True):
    """Every third patient is for testing; two images each; boxes on the test images of Effusion and Mass."""
    rows, lists, boxes = [HEADER], {"train_val": [], "test": []}, ["Image Index,Finding Label,Bbox [x,y,w,h],,,"]
    for patient in range(1, patients + 1):
        part = "test" if patient % 3 == 0 else "train_val"
        for visit in range(images):
            findings = PATTERNS[(patient // 3 if part == "test" else patient) % len(PATTERNS)]
            name = f"{patient:08d}_{visit:03d}.png"
            folder = root / (f"images_{patient % 2 + 1:03d}/images" if folders else "images")
            folder.mkdir(parents=True, exist_ok=True)
            picture(findings, 100 * patient + visit).save(folder / name)
            rows.append(f"{name},{'|'.join(findings) or 'No Finding'},{visit},{patient},58,M,PA,2682,2749,0.143,0.143,")
            lists[part].append(name)
            for finding in findings:
                if part == "test" and finding != "Atelectasis":
                    top, left = PLACES[finding]
                    x, y, side = PUBLISHED * left, PUBLISHED * top, PUBLISHED * SIDE
                    boxes.append(f"{name},{finding},{x},{y},{side}.0,{side},,,")
    (root / "Data_Entry_2017.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (root / "BBox_List_2017.csv").write_text("\n".join(boxes) + "\n", encoding="utf-8")
    for part, names in lists.items():
        (root / f"{part}_list.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    return root

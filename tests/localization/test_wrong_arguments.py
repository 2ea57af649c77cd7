"""Whatever a newcomer may give in a wrong place: one line that names it, never a traceback of something else."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import nn

import protomask
from protomask import MDM, Classifier, InputError, compare, get_localizer, look, metrics, open_run
from protomask.backbones import build_backbone
from protomask.backbones.classifier import build_classifier
from protomask.localizers import Keep


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.convolution, self.head = nn.Conv2d(3, 8, 3, 2), nn.Linear(8, 5)

    def forward(self, images):
        return self.head(self.convolution(images).relu().mean((2, 3)))


class Broken(nn.Module):
    def forward(self, images):
        raise RuntimeError("boom\nsecond line")


NET = Small().eval()
HIT = torch.ones(1, 2, dtype=torch.bool)
SCRIPTED = torch.jit.trace(NET, torch.zeros(1, 3, 32, 32))
with torch.inference_mode():
    INFERRED = Small()
PICTURE = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
PLAIN = {"mean": (0.5,) * 3, "std": (0.25,) * 3, "image_size": 32}


def seen(pictures=PICTURE, model=NET, **changes):
    return look(model, pictures, **{"localizer": "center", **PLAIN, **changes})


def compared(localizers=("center",), **changes):
    return compare(NET, [PICTURE], localizers, **{"metrics": ["deletion"], **PLAIN, **changes})


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: seen(model=Small), "Small is a class; give one of its objects"),
        (lambda: seen(model=Broken()), r"Broken fails on images of the shape \(1, 3, 32, 32\).*boom second line"),
        (lambda: seen(model=timm.create_model("test_resnet", num_classes=0)), "ResNet has num_classes=0"),
        (
            lambda: build_classifier("test_resnet:num_classes=0"),
            "model test_resnet:num_classes=0 gives no logits but features",
        ),
        (lambda: seen(model=INFERRED), r"weights of Small were made under torch.inference_mode\(\).*outside of it"),
        (lambda: seen(model=Small().to("meta")), "Small is on the meta device and has no weights"),
        (lambda: seen(model=nn.Sequential(nn.Flatten(), nn.Linear(3072, 0))), r"logits of no class, .*\(1, 0\)"),
        (
            lambda: seen(model=Small().double()),
            r"Small has weights of torch.float64 and gets images of torch.float32; give model.float\(\)",
        ),
        (lambda: seen(model=SCRIPTED, localizer="gradcam"), "TorchScript.*Grad-CAM needs the layers.*mdm, rise"),
        (lambda: seen(model=SCRIPTED, localizer="gradcam:layer=convolution"), "TorchScript.*Grad-CAM"),
        (lambda: seen(model=SCRIPTED, localizer="layercam"), "TorchScript.*LayerCAM"),
        (lambda: seen(model=SCRIPTED, localizer="score-cam"), "TorchScript.*Score-CAM"),
        (lambda: seen(model=nn.Sequential(SCRIPTED), localizer="chefer"), "TorchScript.*'chefer'"),
        (lambda: protomask.distill(SCRIPTED, [PICTURE] * 4, steps=1, **PLAIN), "TorchScript.*in one pass"),
        (lambda: seen(multi_label="no"), "multi_label is 'no'; give True or False"),
        (lambda: seen(model=Classifier(NET), multi_label=0), "multi_label is 0; give True or False"),
        (lambda: seen(progress="no"), "progress is 'no'"),
        (lambda: Classifier(NET, multi_label="no"), "multi_label is 'no'"),
        (lambda: Classifier(NET, score=["logit"]), "score .* is unknown"),
        (lambda: compared(multi_label="no"), "multi_label is 'no'"),
        (lambda: compared(progress="no"), "progress is 'no'"),
        (lambda: build_classifier("test_resnet", pretrained="no"), "pretrained is 'no'"),
        (lambda: build_backbone("test_resnet", pretrained="no"), "pretrained is 'no'"),
        (lambda: build_backbone("test_resnet", freeze_norm="no"), "freeze_norm is 'no'"),
        (lambda: MDM(keep=Keep(joint="no")), "joint is 'no'; give True or False"),
        (lambda: seen(torch.zeros(3, 9, 9, device="meta")), "image 0: the picture is a tensor that is on the meta"),
        (lambda: seen(torch.zeros(3, 9, 9).to_sparse()), "image 0: the picture is a tensor that is sparse"),
        (lambda: seen("https://example.org/a.jpg"), "https://example.org/a.jpg is an address.*give the file"),
        (lambda: seen([Path("https://example.org/a.jpg")]), "a.jpg is an address"),
        (lambda: seen(std=(1, 1, float("nan"))), r"std is \(1, 1, nan\); give one number per channel, positive"),
        (lambda: seen(std=(1, 0, 1)), r"std is \(1, 0, 1\)"),
        (lambda: seen(mean=(0, 0, float("inf"))), r"mean is \(0, 0, inf\); give one number per channel, finite"),
        (lambda: seen(mean="123"), "mean is '123'"),
        (lambda: compared(std=(1, 1, float("nan"))), r"std is \(1, 1, nan\)"),
        (lambda: build_backbone("test_resnet", std=(1, 1, float("inf"))), r"std \(1, 1, inf\)"),
        (lambda: build_classifier("test_resnet:mean=1e999"), "mean inf"),
        (lambda: seen(b"abc"), "pictures are of type bytes"),
        (lambda: seen({"a": PICTURE}), "pictures are of type dict"),
        (lambda: seen(index=10**30), "there is no class 1000"),
        (lambda: seen(index=float("inf")), "index inf is no class"),
        (lambda: seen(labels=iter("ab")), "labels names 2 classes, but the model has 5"),
        (lambda: Classifier(NET).score(torch.rand(2, 3, 32, 32), torch.tensor([1])), "give one integer per image"),
        (lambda: seen(labels=3), "labels is of type int"),
        (lambda: seen(labels=["a"]), "labels names 1 classes, but the model has 5"),
        (lambda: seen(labels={7: "a"}), "labels names a class 7"),
        (lambda: seen(localizer=None), "localizer is a NoneType"),
        (lambda: seen(localizer=["center", "random"]), "localizer is a list"),
        (lambda: seen(localizer=MDM), r"localizer MDM is a class; give one of its objects, MDM\(\)"),
        (lambda: seen(localizer=lambda explained, images, index: None), "gives NoneType, not a tensor"),
        (lambda: seen(localizer=lambda explained, images, index: images), "gives maps of shape"),
        (lambda: seen(localizer=lambda explained, images, index: images[:, 0] * torch.inf), "is not finite"),
        (lambda: seen(mean="abc"), "mean is 'abc'; give one number per channel"),
        (lambda: seen(image_size=0), "image_size is 0; give a whole number"),
        (lambda: seen(image_size=-5), "image_size is -5"),
        (lambda: seen(image_size="32"), "image_size is '32'"),
        (lambda: seen(image_size=(32, 48)), r"image_size is \(32, 48\)"),
        (lambda: seen(image_size=10**9), "image_size is 1000000000"),
        (lambda: seen(image_size=2), r"Small fails on images of the shape \(1, 3, 2, 2\)"),
        (lambda: seen(batch_size="a"), "batch_size is 'a'"),
        (lambda: seen(batch_size=0), "batch_size is 0"),
        (lambda: seen(device="gpu"), "device 'gpu' cannot be used here"),
        (lambda: seen(device="meta"), "device 'meta' cannot be used here"),
        (lambda: seen(device=3), "device '3' cannot be used here"),
        (lambda: seen().overlay(0), "longest is 0"),
        (lambda: seen().save(None), "path is None; give a path"),
        (lambda: compared(None), "localizer is a NoneType; give a name, or something that is called"),
        (lambda: compared([3]), "localizer is an int; give a name, or something that is called"),
        (lambda: compared(metrics="delition"), "metric 'delition' is unknown"),
        (lambda: compared(seed=-1), "seed is -1"),
        (lambda: compared(seed="a"), "seed is 'a'"),
        (lambda: compared(labels=["a"]), "labels names 1 classes"),
        (lambda: compared(image_size=2), "Small fails on images of the shape"),
        (lambda: get_localizer(None), "a localizer's name is a text, not NoneType"),
        (
            lambda: get_localizer("center")(NET, torch.zeros(1, 3, 8, 8), [0]),
            r"Small has no score.*Classifier\(model\)",
        ),
        (lambda: MDM(keep=3), r"MDM: keep is 3; give Keep\(...\)"),
        (lambda: open_run(None), "the run's folder is None; give a path"),
        (lambda: open_run(""), "the run's folder is ''; give a path"),
        (lambda: protomask.load_network(5), "the network's folder is 5; give a path"),
        (lambda: protomask.train(output=3), "output is 3; give a path"),
        (lambda: protomask.train(weights=NET.state_dict()), "^weights is an OrderedDict; it must be of type str"),
        (lambda: protomask.train(backbone=NET), "^backbone is a Small; it must be of type str"),
        (lambda: protomask.train(resume="no"), "resume is 'no'"),
        (lambda: protomask.train(progress="no"), "progress is 'no'"),
        (lambda: protomask.train_seeds(output="there", resume="no"), "resume is 'no'"),
        (lambda: protomask.from_datasets([], progress="no"), "progress is 'no'"),
        (lambda: metrics.stability(HIT, HIT, torch.zeros(1), strict="no"), "strict is 'no'"),
        (lambda: metrics.outside_inside_ratio(torch.ones(1, 2, 2), HIT[None], nonzero="no"), "nonzero is 'no'"),
    ],
)
def test_one_line_names_what_was_given(call, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=said) as raised:
        call()
    assert "\n" not in str(raised.value) and not list(tmp_path.iterdir())


def test_what_is_right_in_another_form_works():
    """Names by number, metrics in one text, a localizer of one's own that knows no progress, numpy's numbers."""
    found = seen(labels={2: "cat"}, index="cat", localizer=lambda explained, images, index: images[:, 0] * 0 + 0.5)
    assert (found.class_index, found.class_name) == (2, "cat") and (found.saliency == 0.5).all()
    assert seen(image_size=np.int64(32), batch_size=np.int8(1)).saliency.shape == (32, 32)
    assert compared(metrics="deletion, insertion").rows[1]["metric"] == "insertion"
    assert compare(Classifier(NET), [PICTURE], "center", metrics="deletion", **PLAIN).rows[0]["n"] == 1
    assert Classifier(NET, multi_label=np.bool_(True)).multi_label is True
    statistics = {name: np.array(PLAIN[name]) for name in ("mean", "std")}
    assert seen(model=Classifier(NET), **statistics).saliency.shape == (32, 32)


def test_a_list_of_pairs_is_one_data_set(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 255, (12, 32, 32, 3), dtype=np.uint8)
    run = protomask.train(
        data=[(picture, number % 2) for number, picture in enumerate(pictures)],
        classes=["even", "odd"],
        output=tmp_path / "run",
        backbone="test_resnet",
        image_size=32,
        epochs=1,
        samples=2,
        localizer="center",
        workers=0,
        progress=False,
    )
    assert run.splits.test.classes == ("even", "odd") and len(run.splits.train) + len(run.splits.test) <= 12

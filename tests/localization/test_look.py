"""From a photograph to an overlay, with models as people have them."""

import io
import warnings

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn
from torchvision import models

import protomask
from protomask import Classifier, InputError, look
from protomask.backbones import build_backbone
from protomask.errors import NOTHING_TO_KEEP, LowFaithfulnessWarning, NotLogitsWarning
from protomask.inputs import Picture, find_pictures, read_pictures
from protomask.localization.jobs import find_images
from protomask.localization.preprocessing import preprocessing_of, unwrap_classifier
from protomask.localizers import get_localizer
from protomask.report.class_overlay import overlay_png
from protomask.warned import name_of_map
from protopnet import ProtoPNet

QUICK = "mdm:keep.steps=3,order.steps=2"
PLAIN = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25), "image_size": 32}


class Small(nn.Module):
    """Three classes from mean colours; ``flatten`` is where people differ."""

    def __init__(self, channels=3, classes=3):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(channels, 4, 3, stride=4, padding=1), nn.ReLU())
        self.head = nn.Linear(4 * 8 * 8, classes)

    def forward(self, images):
        return self.head(self.features(images).flatten(1))


class Viewing(Small):
    def forward(self, images):
        return self.head(self.features(images.view(len(images), 3, 32, 32).contiguous()).view(len(images), -1))


class Wrapped(Small):
    def forward(self, images):
        return type("Output", (), {"logits": super().forward(images)})()


class Mapped(Small):
    def forward(self, images):
        return {"logits": super().forward(images)}


class OneAtATime(Small):
    def forward(self, images):
        if len(images) != 1:
            raise RuntimeError("one image, please")
        return super().forward(images)


class Strange(Small):
    def forward(self, images):
        return self.features(images)


def made(kind, **settings):
    torch.manual_seed(0)
    return kind(**settings).eval()


def photograph(height=40, width=60):
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)


def by_hand(model, picture, index, **settings):
    images = preprocessing_of(model, **settings)([picture])
    mean, std = settings.get("mean"), settings.get("std")
    return get_localizer(QUICK)(Classifier(model, mean=mean, std=std), images, torch.tensor([index]))[0].numpy()


@pytest.mark.parametrize("kind", [Small, Wrapped, Mapped, Viewing, OneAtATime])
def test_models_as_people_have_them_give_the_map_made_by_hand(kind):
    model = made(kind)
    batch = 1 if kind is OneAtATime else 8
    found = look(model, photograph(), localizer=QUICK, batch_size=batch, **PLAIN)
    plain = made(Small)
    assert found.class_index == plain(preprocessing_of(plain, **PLAIN)([photograph()])).argmax().item()
    np.testing.assert_allclose(found.saliency, by_hand(plain, photograph(), found.class_index, **PLAIN), atol=1e-5)


@pytest.mark.parametrize("name", ["test_efficientnet", "test_vit", "test_convnext"])
def test_models_of_timm_know_their_normalisation(name):
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=5).eval()
    size = model.pretrained_cfg["input_size"][-1]
    found = look(model, photograph(), localizer=QUICK, index=3)
    assert found.class_index == 3 and found.saliency.shape == (size, size)
    np.testing.assert_allclose(found.saliency, by_hand(model, photograph(), 3), atol=1e-4)


def test_a_model_of_torchvision_wants_the_statistics_of_imagenet():
    torch.manual_seed(0)
    model = models.squeezenet1_1(num_classes=4).eval()
    assert preprocessing_of(model) == (224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    found = look(model, photograph(), localizer="gradcam", image_size=64)
    assert found.saliency.shape == (64, 64)


def of_torchvision(name, **settings):
    if name == "inception_v3":
        settings["init_weights"] = False
    if name.startswith("regnet"):  # sets its weights by what has none on the meta device
        return models.get_model(name, **settings)
    with torch.device("meta"):
        return models.get_model(name, **settings)


@pytest.mark.parametrize(
    "name", ["inception_v3", "efficientnet_b1", "efficientnet_v2_l", "swin_v2_t", "swin_t", "regnet_x_400mf"]
)
@pytest.mark.parametrize("classes", [1000, 7])
def test_a_model_of_torchvision_has_the_size_and_statistics_of_its_variant(name, classes):
    wanted = models.get_model_weights(name).DEFAULT.transforms()
    model = of_torchvision(name, num_classes=classes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert preprocessing_of(model) == (wanted.crop_size[0], tuple(wanted.mean), tuple(wanted.std))
    assert Classifier(model).mean == tuple(wanted.mean) and Classifier(model).std == tuple(wanted.std)


def test_transformers_of_torchvision_know_their_size_and_a_changed_model_is_warned_of():
    assert preprocessing_of(of_torchvision("vit_b_16", image_size=96)).image_size == 96
    changed = of_torchvision("efficientnet_b1", norm_layer=nn.InstanceNorm2d)
    with pytest.warns(UserWarning, match=r"224 pixels wide for EfficientNet, an assumption.*weights\.transforms\(\)"):
        assert preprocessing_of(changed).image_size == 224
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert preprocessing_of(changed, image_size=240).image_size == 240
        preset = models.EfficientNet_B1_Weights.DEFAULT.transforms()
        assert preprocessing_of(changed, preset).image_size == 240


def test_a_head_of_ones_own_hides_no_variant():
    model = of_torchvision("efficientnet_b1")
    model.classifier = nn.Sequential(nn.Linear(1280, 30), nn.ReLU(), nn.Linear(30, 4))
    assert preprocessing_of(model).image_size == 240


def test_what_is_given_keeps_the_size_that_it_does_not_tell():
    with torch.device("meta"):
        model = timm.create_model("tf_efficientnet_b4")
    half = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
    assert preprocessing_of(model, half) == (380, (0.5,) * 3, (0.5,) * 3)
    resolved = timm.data.resolve_data_config({"input_size": (3, 320, 320)}, model=model)
    assert preprocessing_of(model, resolved).image_size == 320
    assert preprocessing_of(made(Small), resolved).image_size == 320
    known = Classifier(model)  # what is given goes before what the model says, in a Classifier, too
    assert unwrap_classifier(known, half)[1].mean == (0.5,) * 3


@pytest.mark.parametrize("crops, size", [(True, 28), (None, 28), (False, 32)])
def test_a_crop_that_is_not_made_tells_no_size(crops, size):
    processor = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "crop_size": {"height": 28}, "size": {"height": 32}}
    assert preprocessing_of(made(Small), processor | {"do_center_crop": crops}).image_size == size


def test_a_transformer_of_timm_is_shown_the_size_that_it_was_built_for():
    with torch.device("meta"):
        model = timm.create_model("vit_tiny_patch16_224", img_size=96)
    assert preprocessing_of(model).image_size == 96


@pytest.mark.parametrize(
    "settings, takes",
    [
        ({"do_normalize": False}, lambda values: values / 255),
        ({"do_normalize": False, "do_rescale": False}, lambda values: values),
        ({"do_rescale": False}, lambda values: (values - 0.1) / 2),
        ({"rescale_factor": 1 / 127.5}, lambda values: (values / 127.5 - 0.1) / 2),
        ({"rescale_factor": 1 / 127.5, "rescale_offset": True}, lambda values: (values / 127.5 - 1 - 0.1) / 2),
        ({"do_rescale": True, "rescale_factor": 1 / 255}, lambda values: (values / 255 - 0.1) / 2),
    ],
)
def test_a_processor_that_leaves_out_or_changes_a_step(settings, takes):
    processor = {"image_mean": [0.1] * 3, "image_std": [2.0] * 3, "size": {"height": 32}, **settings}
    for given in (processor, type("Processor", (), processor)()):
        images = preprocessing_of(made(Small), given)([photograph(32, 32)])
        values = torch.from_numpy(photograph(32, 32)).permute(2, 0, 1).float()
        torch.testing.assert_close(images[0], takes(values), rtol=1e-4, atol=1e-4)


def test_a_processor_of_images_that_lie_in_0_to_1_already():
    processor = {"image_mean": [0.4] * 3, "image_std": [0.2] * 3, "do_rescale": False}
    assert preprocessing_of(made(Small), processor)[1:] == ((0.4,) * 3, (0.2,) * 3)


class Opposite(Classifier):
    """People's own: asks the model for what speaks against a class."""

    def logits(self, images):
        return -super().logits(images)


def test_a_classifier_of_ones_own_class_remains_one():
    model, settings = made(Small), {"mean": PLAIN["mean"], "std": PLAIN["std"]}
    images = preprocessing_of(model, **PLAIN)([photograph()])
    least = model(images).argmin().item()
    for own in (Opposite(model), Opposite(model, **settings), Opposite(model, "logit", **settings)):
        assert look(own, photograph(), localizer="center", **PLAIN).class_index == least
    own = Opposite(model, "logit", **settings)
    other = own.with_score("probability")
    assert type(other) is Opposite and (own.kind, other.kind) == ("logit", "probability")
    with pytest.raises(InputError, match="is unknown"):
        own.with_score("points")


@pytest.mark.parametrize("mean, std", [((0, 0, 0), 1 / 255), ((0.485, 0.456, 0.406), 1 / 255)])
def test_models_that_take_values_up_to_255_are_explained(mean, std):
    settings = {"mean": mean, "std": (std,) * 3, "image_size": 32}
    assert look(made(Small), photograph(), localizer="center", **settings).saliency.shape == (32, 32)
    with pytest.raises(InputError, match="divide by 255"):
        explained = Classifier(made(Small), mean=mean, std=(std,) * 3)
        get_localizer("center")(explained, torch.full((1, 3, 32, 32), 255.0 / std), 0)


def test_a_model_in_float64_is_told_the_mend_that_look_has():
    with pytest.raises(InputError, match=r"give model\.float\(\), or a localizer images\.double\(\)"):
        look(made(Small).double(), photograph(), **PLAIN)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_models_are_explained_in_float32(dtype):
    model = made(Small).to(dtype)
    found = look(model, photograph(), localizer=QUICK, index=1, **PLAIN)
    assert found.saliency.dtype == np.float32 and found.saliency.max() == 1
    assert next(model.parameters()).dtype == dtype


def test_a_model_of_one_channel_sees_grey():
    model = made(Small, channels=1)
    found = look(model, photograph(), localizer=QUICK, index=1, **PLAIN)
    assert found.saliency.shape == (32, 32)
    given = {"mean": (0.5,), "std": (0.25,), "image_size": 32}
    np.testing.assert_allclose(found.saliency, by_hand(model, photograph(), 1, **given), atol=1e-5)


def test_torchscript_is_explained():
    scripted = torch.jit.trace(made(Small), torch.zeros(1, 3, 32, 32))
    found = look(scripted, photograph(), localizer=QUICK, index=1, **PLAIN)
    np.testing.assert_allclose(found.saliency, by_hand(made(Small), photograph(), 1, **PLAIN), atol=1e-4)


@pytest.mark.parametrize(
    "model, settings, says",
    [
        (made(Small, classes=1), {}, "multi_label=True"),
        (made(Small), {"index": 3}, "there is no class 3; the model has 3"),
        (made(Small), {"index": -1}, "there is no class -1"),
        (made(Small), {"index": "bird"}, "names need labels="),
        (made(Small), {"index": "bird", "labels": ["cat", "dog", "fox"]}, "no class 'bird'; known are"),
        (made(Small), {"index": [0, 1]}, "2 classes for 1 picture;"),
        (made(Small), {"index": []}, "0 classes for 1 picture;"),
        (made(Small), {"index": "A", "labels": ["a", "a", "b"]}, "index 'A' is the name of classes 0 and 1; give the"),
        (made(Small), {"labels": ["a", " ", "b"]}, "labels has an empty name for class 1"),
        (made(Small), {"labels": {0: "a", 2: ""}}, "labels has an empty name for class 2"),
        (made(Small), {"index": 1.5}, "give a whole number"),
        (made(Small), {"mean": None, "std": None}, "give mean= and std="),
        (made(Small, channels=5), {}, "takes 5 channels"),
        (made(Strange), {}, r"logits \(B, C\)"),
        (made(Small), {"batch_size": 0}, "batch_size is 0"),
        (made(Small), {"localizer": "mmd"}, "mdm"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(model, settings, says):
    with pytest.raises(InputError, match=says) as caught:
        look(model, photograph(), **{"localizer": QUICK, **PLAIN, **settings})
    assert "\n" not in str(caught.value)


def test_weights_that_are_no_numbers_are_an_error():
    model = made(Small)
    nn.init.constant_(model.head.bias, float("nan"))
    with pytest.raises(InputError, match="no numbers"):
        look(model, photograph(), localizer=QUICK, **PLAIN)


def test_pictures_in_every_form(tmp_path):
    model, pixels = made(Small), photograph()
    Image.fromarray(pixels).save(tmp_path / "one.png")
    forms = [
        tmp_path / "one.png",
        str(tmp_path / "one.png"),
        Image.fromarray(pixels),
        pixels,
        pixels.astype(np.float32) / 255,
        torch.from_numpy(pixels).permute(2, 0, 1),
        torch.from_numpy(pixels).permute(2, 0, 1).double() / 255,
    ]
    first = look(model, forms[0], localizer="center", **PLAIN)
    for form in forms[1:]:
        found = look(model, form, localizer="center", **PLAIN)
        assert found.probability == pytest.approx(first.probability, abs=1e-5)
        np.testing.assert_array_equal(found.pixels, pixels)
    several = look(model, forms, localizer="center", batch_size=3, **PLAIN)
    assert [each.class_index for each in several] == [first.class_index] * len(forms)
    assert [each.name for each in look(model, tmp_path, localizer="center", **PLAIN)] == [str(tmp_path / "one.png")]


@pytest.mark.parametrize(
    "several",
    [
        list,
        tuple,
        iter,
        lambda given: dict(enumerate(given)).values(),
        lambda given: (each for each in given),
        lambda given: np.stack([np.asarray(each) for each in given]),
        lambda given: [given],
    ],
)
@pytest.mark.parametrize("count", [1, 3])
def test_any_number_of_pictures_gives_a_list(several, count):
    pictures = [Image.fromarray(photograph() // (1 + number)) for number in range(count)]
    found = look(made(Small), several(pictures), localizer="center", **PLAIN)
    assert isinstance(found, list)
    assert {each.pixels.tobytes() for each in found} == {each.tobytes() for each in pictures}


def test_a_set_of_one_path_gives_a_list_and_a_picture_that_was_read_is_one(tmp_path):
    Image.fromarray(photograph()).save(tmp_path / "a.png")
    assert isinstance(look(made(Small), {tmp_path / "a.png"}, localizer="center", **PLAIN), list)
    found = look(made(Small), Picture("bird.jpg", photograph()), localizer="center", **PLAIN)
    assert found.name == "bird.jpg" and np.array_equal(found.pixels, photograph())


def test_what_training_learns_of_a_class_with_mask_is_found(tmp_path, monkeypatch):
    for name in ("with_mask/with_mask_0", "with_mask/0", "with_mask/0_mask", "other/with_mask_1"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / f"{name}.png")
    found = [tmp_path / "with_mask" / name for name in ("0.png", "with_mask_0.png")]
    assert find_pictures(tmp_path) == find_pictures(tmp_path / "with_mask") == found
    monkeypatch.chdir(tmp_path / "with_mask")
    assert len(read_pictures(".")) == 2


def test_the_overlay_keeps_the_photographs_proportions(tmp_path):
    names = iter(["cat", "dog", "fox"])  # as the lines of a file
    found = look(made(Small), photograph(90, 160), labels=names, index="DOG", localizer=QUICK, **PLAIN)
    assert found.class_name == "dog" and "dog, probability" in found.text()
    assert found.overlay().shape == (270, 480, 3)  # enlarged, as its caption would cover it
    below, width, _ = found.overlay(80).shape
    assert width == 80 and 45 < below < 80  # the caption stands below
    assert Image.open(found.save(tmp_path / "overlay.png")).size == (480, 270)
    np.testing.assert_array_equal(np.load(found.save(tmp_path / "map.npy")), found.saliency)
    assert found._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(InputError, match=r"\.png"):
        found.save(tmp_path / "overlay.jpg")


def test_a_class_without_evidence_is_said():
    model = made(Small)
    nn.init.zeros_(model.head.weight)
    with pytest.warns(UserWarning, match="no evidence"):
        found = look(model, photograph(200, 300), localizer="center", **PLAIN)
    assert found.warning == NOTHING_TO_KEEP and "careful" in found.text()
    bare = overlay_png(found.pixels, found.saliency, "center", caption="x", outlined=False)
    drawn = overlay_png(found.pixels, found.saliency, "center", caption="x")
    pixels = [np.asarray(Image.open(io.BytesIO(each)))[:100, ..., :3] for each in (bare, drawn)]  # above the caption
    assert (found.overlay()[:100] == pixels[0]).all() and (pixels[0] != pixels[1]).any()


def test_the_model_is_left_as_it_was():
    model = made(Small).train()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    look(model, photograph(), localizer=QUICK, **PLAIN)
    assert model.training and all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_images_that_are_not_normalised_are_noticed():
    explained = Classifier(made(Small), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    with pytest.raises(InputError, match="divide by 255"):
        get_localizer("center")(explained, torch.rand(1, 3, 32, 32) * 255, [0])
    with pytest.warns(UserWarning, match="as if they were not normalised"):
        get_localizer("center")(explained, torch.rand(1, 3, 32, 32), 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        get_localizer("center")(explained, torch.randn(1, 3, 32, 32), np.array([0]))


def test_a_processor_of_hugging_face_tells_the_normalisation():
    processor = type("Processor", (), {"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 2, 3], "size": {"height": 48}})()
    assert preprocessing_of(made(Small), processor) == (48, (0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    for height, shortest in ((48, None), (None, 48)):  # sizes of transformers 5 are objects, no mappings
        processor.size = type("SizeDict", (), {"height": height, "shortest_edge": shortest})()
        assert preprocessing_of(made(Small), processor).image_size == 48
    preset = models.SqueezeNet1_1_Weights.IMAGENET1K_V1.transforms()
    assert preprocessing_of(made(Small), preset) == (224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    with pytest.raises(InputError, match="tells no mean"):
        preprocessing_of(made(Small), object())


def test_look_is_a_function_of_the_package():
    assert protomask.look is look


@pytest.mark.parametrize(
    "name", ["gradcam", "rise:masks=8", "occlusion", "smoothgrad", "integrated-gradients", "score-cam"]
)
def test_a_score_that_is_not_finite_is_an_error_for_every_peer(name):
    model = made(Small)
    nn.init.constant_(model.head.bias, float("inf"))
    with pytest.raises(InputError, match="not finite"):
        get_localizer(name)(Classifier(model), torch.randn(1, 3, 32, 32), 1)


@pytest.mark.parametrize("name", ["neuromask", "occlusion:window=60,stride=60", "mdm:keep.steps=2,order.steps=0"])
@pytest.mark.parametrize("channels", [1, 5])
def test_any_number_of_channels(name, channels):
    explained = Classifier(made(Small, channels=channels), mean=(0.5,) * channels, std=(0.2,) * channels)
    found = get_localizer(name)(explained, torch.randn(1, channels, 32, 32), 1)
    assert found.shape == (1, 32, 32) and found.max() == 1


def test_what_belongs_to_the_classifier_is_not_overruled():
    with pytest.raises(InputError, match="the Classifier's own"):
        look(Classifier(made(Small), mean=(0.5,) * 3, std=(0.2,) * 3), photograph(), multi_label=True, image_size=32)


def test_deep_greys_are_seen_through_the_range_that_is_given(tmp_path):
    """A picture of 12 bits in 16: black and white are the ends of its own range, as in a picture of 8 bits."""
    shades = np.arange(32 * 32, dtype=np.uint16).reshape(32, 32) * 4
    Image.fromarray(shades).save(tmp_path / "deep.png")
    plain = np.rint(shades.clip(0, 2047) / 2047 * 255).astype(np.uint8)
    model = made(Small)
    deep = look(model, tmp_path / "deep.png", localizer=QUICK, intensity_range=(0, 2047), **PLAIN)
    shallow = look(model, plain, localizer=QUICK, **PLAIN)
    assert deep.probability == shallow.probability and np.array_equal(deep.saliency, shallow.saliency)
    assert look(model, tmp_path / "deep.png", localizer=QUICK, **PLAIN).probability != deep.probability
    with pytest.raises(InputError, match="intensity_range"):
        look(model, tmp_path / "deep.png", intensity_range=(5, 5), **PLAIN)


def test_pictures_of_a_folder_are_found_without_overlays_and_hidden_ones(tmp_path):
    output = tmp_path / "pictures" / "localized"
    for name in (
        "b.png",
        "a.jpg",
        ".hidden.png",
        "below/.cache/c.png",
        "below/d.png",
        "localized/a/1-mdm.png",
        "localized/photo.png",
    ):
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photograph(8, 8)).save(path)
    pictures = tmp_path / "pictures"
    np.save(output / "a" / "1-mdm.npy", np.zeros((8, 8)))
    found = find_images([str(pictures / "b.png"), str(pictures)], output)
    names = [path.relative_to(pictures).as_posix() for path in found]
    assert names == ["b.png", "a.jpg", "below/d.png", "localized/photo.png"]
    with pytest.raises(InputError, match="holds no pictures but panels and overlays that protomask wrote"):
        find_images([str(output / "a")], output)


def test_what_protomask_wrote_among_photographs_is_left_out_and_said(tmp_path, caplog):
    for name in ("a.png", "a-2.png", "a-2.jpg", "contact-sheet.png", "maps/b/1-mdm.png", "other/b/1-mdm.png", "b.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photograph(8, 8)).save(path)
        np.save(path.with_suffix(".npy"), np.zeros((8, 8)))
    (tmp_path / "panels.json").write_text('{"panels": {"a-2": "a.png"}}')
    (tmp_path / "maps" / "localize.json").write_text("[]")
    with caplog.at_level("INFO", "protomask"):
        names = [path.relative_to(tmp_path).as_posix() for path in find_pictures(tmp_path)]
    assert names == ["a-2.jpg", "a.png", "b.png", "contact-sheet.png", "other/b/1-mdm.png"]
    assert f"2 of {tmp_path}, written by protomask, are left out" in caplog.text
    (tmp_path / "localize.json").write_text("[]")
    (tmp_path / "panels.json").write_text("[")
    names = [path.relative_to(tmp_path).as_posix() for path in find_pictures(tmp_path)]
    assert names == ["a-2.jpg", "a-2.png", "a.png", "b.png", "other/b/1-mdm.png"]


def test_masks_and_folders_are_no_pictures(tmp_path):
    pictures = tmp_path / "pictures"
    (pictures / "folder.png").mkdir(parents=True)
    for name in ("a.png", "a_mask.png", "a_mask_1.PNG", "folder.png/b.png", "mask.png"):
        Image.fromarray(photograph(8, 8)).save(pictures / name)
    names = [path.relative_to(pictures).as_posix() for path in find_pictures(pictures)]
    assert names == ["a.png", "folder.png/b.png", "mask.png"] and len(read_pictures(pictures)) == 3
    assert len(read_pictures(pictures / "a_mask.png")) == 1  # what is named itself is looked at
    for name in names:
        (pictures / name).unlink()
    with pytest.raises(InputError, match="pictures holds no pictures but masks"):
        find_pictures(pictures)


def test_one_output_is_looked_at_as_a_yes_or_no_answer_alone():
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 1))
    for score in ("log-probability", "logit"):
        with pytest.raises(InputError, match="one logit per image.*multi_label=True"):
            look(net, photograph(), localizer="center", score=score, **PLAIN)
    assert 0 < look(net, photograph(), localizer="center", multi_label=True, **PLAIN).probability < 1


def test_a_model_that_ends_in_softmax_is_said():
    net = nn.Sequential(made(Small), nn.Softmax(1)).eval()
    with pytest.warns(NotLogitsWarning, match="Sequential seems to give probabilities") as said:
        look(net, [photograph()] * 2, localizer="center", batch_size=1, **PLAIN)
    assert len(said) == 1


def test_a_warning_about_a_map_names_the_picture(tmp_path):
    class Doubtful:
        def __call__(self, explained, images, index, **_):
            warnings.warn(
                f"little in {name_of_map(0, int(index[0]), '0.1 kept')}", LowFaithfulnessWarning, stacklevel=2
            )
            return images[:, 0] * 0

    for name in "ab":
        Image.fromarray(photograph()).save(tmp_path / f"{name}.png")
    with pytest.warns(LowFaithfulnessWarning, match=r"little in .*/b.png, class 1 \(0.1 kept\)"):
        look(made(Small), tmp_path, localizer=Doubtful(), index=1, batch_size=1, **PLAIN)


def test_a_prototype_network_says_itself_how_it_wants_its_images():
    backbone = build_backbone("test_resnet", mean=0.4, std=0.3)
    network = ProtoPNet(backbone, ["cat", "dog"], image_size=64, prototypes_per_class=1, channels=4).eval()
    picture = np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    told = {"mean": (0.4,) * 3, "std": (0.3,) * 3, "image_size": 64}
    expected = look(network, picture, localizer=QUICK, **told)
    for model in (network, Classifier(network)):
        found = look(model, picture, localizer=QUICK)
        assert found.saliency.shape == (64, 64) and found.probability == expected.probability
        prepare = preprocessing_of(network)
        assert (prepare.image_size, prepare.mean, prepare.std) == (64, (0.4,) * 3, (0.3,) * 3)
    assert (Classifier(network).mean, Classifier(network).std) == ((0.4,) * 3, (0.3,) * 3)
    assert protomask.compare(network, [picture], ["center"], metrics=["deletion"], progress=False).table()

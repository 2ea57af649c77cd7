"""XProtoNet through everything that knows prototype networks alone: training, projection, pictures, explanations."""

import json

import pytest
import torch

from protomask.explanations.predictions import explain
from protomask.explanations.records import PrototypeRecord
from protomask.explanations.sources import picture_prototypes
from protomask.localizers import get_localizer
from protomask.networks import get_network, load_network, save_network
from protomask.options import Options
from protomask.projection import project
from protomask.report import prototype_gallery
from protomask.training import Action, Epochs, TrainingSet, accuracy, train
from protomask.training.black_box import black_box_stages
from protomask.training.stages import warm_up_cosine
from tests.support.toy import ColourImages, ToyBackbone
from xprotonet import XProtoNet, recipe
from xprotonet.losses import XProtoNetLoss
from xprotonet.pooling import pool

HEAD = ("add_on", "occurrence", "prototypes")


def make(activation="abs", readout="relu", batch_size=8):
    torch.manual_seed(3)
    data = ColourImages(12)
    net = XProtoNet(
        ToyBackbone(),
        data.classes,
        image_size=16,
        prototypes_per_class=2,
        channels=6,
        activation=activation,
        readout=readout,
    )
    return net, data, TrainingSet(data, data, ColourImages(4, seed=1), batch_size=batch_size, seed=5)


def plan(epochs=24, rate=3e-2, **changes):
    loss = XProtoNetLoss(coverage=1.0, separation=0.5, **changes)
    return [
        Epochs("joint", epochs, loss, dict.fromkeys(("backbone", *HEAD), rate), schedule=warm_up_cosine()),
        Action("projection", project),
        Epochs("last layer", 2, XProtoNetLoss(part="last"), {"last_layer": 1e-2}),
    ]


def stack(data, positions):
    return torch.stack([data[place]["image"].as_subclass(torch.Tensor) for place in positions])


@pytest.fixture(scope="module")
def trained():
    net, data, setup = make()
    rows = train(net, plan(relative=True, size=0.05, share=0.5), setup)
    return net, data, setup, rows


def test_training_reaches_every_test_image_after_projection(trained):
    net, _, setup, rows = trained
    assert accuracy(net, ColourImages(8, seed=2), setup) == 1.0
    assert {"cross_entropy", "cluster", "separation", "coverage", "transformation", "size", "l1"} <= set(rows[0])
    joint = [row for row in rows if row["stage"] == "joint"]
    assert joint[-1]["loss"] < joint[0]["loss"]
    assert next(row for row in rows if row["stage"] == "projection")["mean_distance"] < 0.2


@pytest.mark.parametrize("activation, readout", [("abs", "shifted"), ("sigmoid", "relu")])
def test_the_other_variants_learn_as_well(activation, readout):
    net, _, setup = make(activation, readout)
    train(net, plan(rate=1e-2), setup)  # at 3e-2, about every third seed of this toy ends at chance
    assert accuracy(net, ColourImages(8, seed=2), setup) == 1.0


def test_prototypes_become_the_nearest_pooled_feature_of_their_class():
    for batch_size in (5, 36):
        net, data, setup = make(batch_size=batch_size)
        images = stack(data, range(len(data)))
        with torch.no_grad():
            maps = net.maps(images)
            pooled, distances = pool(*maps), net(images).distances
        before = net.prototypes.detach().clone()
        project(net, setup)
        for prototype in range(6):
            own = (data.labels == prototype // 2).nonzero().flatten()
            image = int(own[distances[own, prototype].argmin()])
            assert net.source_positions[prototype] == image
            vector = pooled[image, prototype]
            torch.testing.assert_close(net.prototypes[prototype].detach(), vector / vector.norm())
            best = maps.occurrences[image, prototype].max()
            cells = [
                (row, column)
                for row in range(4)
                for column in range(4)
                if maps.occurrences[image, prototype, row, column] == best
            ]
            assert tuple(net.source_locations[prototype].tolist()) == cells[0]
        assert not torch.equal(before, net.prototypes)
        with torch.no_grad():
            scores = net.eval().score(images[net.source_positions], torch.arange(6))
        torch.testing.assert_close(scores, torch.ones(6), atol=1e-5, rtol=0)


def test_the_first_of_equal_images_and_of_equal_cells_wins():
    net, data, setup = make()
    data.pixels[:] = 0.5
    project(net, setup)
    assert net.source_positions.tolist() == [0, 0, 12, 12, 24, 24]
    assert net.source_locations.eq(0).all()


def test_the_similarity_map_is_the_upsampled_occurrence_map(trained):
    net, data, *_ = trained
    images, index = stack(data, (0, 13)), torch.tensor([0, 2])
    with torch.no_grad():
        occurrences = net.similarity_maps(images, index)
        upsampled = torch.nn.functional.interpolate(occurrences[:, None], (16, 16), mode="bicubic")[:, 0]
    found = get_localizer("similarity")(net, images, index)
    torch.testing.assert_close(found, upsampled.clamp_min(0) / upsampled.amax((1, 2), keepdim=True), atol=1e-5, rtol=0)


def test_its_picture_is_outlined_at_three_tenths_of_the_maximum(trained):
    net, data, *_ = trained
    localizers = {"similarity": get_localizer("similarity"), "center": get_localizer("center")}
    for picture in picture_prototypes(net, data, localizers):
        assert picture.record.levels == {"similarity": 0.3}
        source = stack(data, [int(net.source_positions[picture.record.prototype])])
        with torch.no_grad():
            occurrence = net.similarity_maps(source, torch.tensor([picture.record.prototype]))
        upsampled = torch.nn.functional.interpolate(occurrence[:, None], (16, 16), mode="bicubic")[0, 0]
        rows, columns = (upsampled >= 0.3 * upsampled.max()).nonzero(as_tuple=True)
        box = columns.min().item(), rows.min().item(), columns.max().item() + 1, rows.max().item() + 1
        assert picture.record.boxes["similarity"] == box
        assert PrototypeRecord.from_json(json.loads(json.dumps(picture.record.to_json()))) == picture.record
        drawn = prototype_gallery([picture], "similarity")
        assert any(
            "outline at 30 %" in text.get_text() for text in drawn.findobj(lambda artist: hasattr(artist, "get_text"))
        )


def test_pictures_and_explanations_add_up(trained):
    net, data, *_ = trained
    localizers = {"similarity": get_localizer("similarity"), "center": get_localizer("center")}
    pictures = picture_prototypes(net, data, localizers, batch_size=4)
    for prototype, picture in enumerate(pictures):
        record, position = picture.record, int(net.source_positions[prototype])
        assert record.source == data.names[position] and record.class_name == data.classes[int(data.labels[position])]
        assert record.similarity == pytest.approx(1.0, abs=1e-4)
        row, column = record.location
        assert record.patch_box == (column * 4, row * 4, column * 4 + 4, row * 4 + 4)
        assert picture.maps["similarity"].shape == (16, 16)
    images = stack(data, (0, 13, 25))
    with torch.no_grad():
        logits = net.eval()(images).logits
    for place, explanation in enumerate(explain(net, images, ["a", "b", "c"], pictures, localizers, top=2)):
        assert explanation.predicted == data.classes[place]
        assert explanation.logit == pytest.approx(logits[place].max().item(), rel=1e-5)
        assert sum(match.points for match in explanation.matches) + explanation.other_points == pytest.approx(
            explanation.logit, rel=1e-5
        )


def test_learned_masks_explain_the_same_similarity(trained):
    net, data, *_ = trained
    images, index = stack(data, (0, 13)), net.eval()(stack(data, (0, 13))).similarities.argmax(1)
    saliency = get_localizer("mdm")(net, images, index)
    assert saliency.shape == (2, 16, 16) and saliency.min() >= 0 and saliency.max() <= 1
    assert (saliency.amax((1, 2)) > saliency.amin((1, 2))).all()


def test_a_killed_run_resumes_to_the_same_bits(tmp_path):
    """The random affine maps, too, are drawn anew as they would have been."""
    whole, _, setup = make()
    train(whole, plan(3), setup)

    class Killed(Exception):
        pass

    def die(rows):
        if len(rows) == 2:
            raise Killed

    net, _, setup = make()
    with pytest.raises(Killed):
        train(net, plan(3), setup, checkpoint=tmp_path / "state.pt", log=die)
    again, _, setup = make()
    torch.manual_seed(99)
    train(again, plan(3), setup, checkpoint=tmp_path / "state.pt")
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_the_recipe_builds_saves_and_plans(tmp_path):
    assert get_network("xprotonet") is recipe
    options = Options(network="xprotonet", backbone="test_resnet", image_size=32, features=16, prototype_channels=8)
    options = options.replace(
        **{name: value for name, value in recipe.defaults(options).items() if getattr(options, name) is None}
    )
    torch.manual_seed(0)
    net = recipe.build(options, ("a", "b", "c")).eval()
    save_network(net, "xprotonet", tmp_path)
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(load_network(tmp_path)(images).logits, net(images).logits)
    assert [stage.name for stage in recipe.stages(net, options)] == [
        "joint",
        "projection",
        "settle",
        "projection",
        "last layer",
    ]
    stages = recipe.stages(net, options.replace(pretrained=True))
    assert [stage.name for stage in stages] == [
        "warm",
        "joint",
        "projection",
        "settle",
        "projection",
        "last layer",
    ]
    assert "prototypes" not in stages[3].rates and net.evidence == "positive"
    assert "backbone" not in stages[0].rates and set(stages[1].rates) == {"backbone", *HEAD}
    assert [stage.name for stage in black_box_stages(stages)] == ["warm", "joint", "settle"]
    data = torch.rand(4, 3, 32, 32), torch.tensor([0, 1, 2, 0])
    assert stages[1].objective(net, *data)["loss"].isfinite()


@pytest.mark.parametrize("option", [{"recipe": "official"}, {"similarity": "l2-log"}, {"prototype_size": 2}])
def test_options_of_protopnet_alone_are_refused(option):
    name = next(iter(option))
    with pytest.raises(ValueError, match=f"^{name} is .*XProtoNet"):
        recipe.defaults(Options(network="xprotonet", **option))

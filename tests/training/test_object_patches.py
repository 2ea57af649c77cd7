"""Prototypes on the object alone: which patches those are, and that start, replacement and projection keep to them."""

import pytest
import torch

import protomask
from protomask.data import Splits, collate
from protomask.errors import InputError
from protomask.projection import project
from protomask.training import Action, Epochs, TrainingSet, train
from protomask.training.feature_maps import forget_files, store_features
from protomask.training.forgetting import find_forbidden, project_allowed
from protomask.training.object_patches import allowed_patches, filled_by_objects, object_patches, object_shares
from protopnet import ProtoPNet, replacement
from protopnet.losses import ProtoPNetLoss
from protopnet.replacement import replace_common
from protopnet.start import start_from_patches
from tests.support.toy import ColourImages, ToyBackbone
from xprotonet import XProtoNet
from xprotonet.losses import XProtoNetLoss

BATCH = {"images": torch.zeros(3, 3, 16, 16), "boxes": [torch.empty(0, 4)] * 3}


def test_boxes_cover_cells_in_part():
    boxes = [torch.tensor([[0.0, 0, 6, 4]]), torch.tensor([[4.0, 8, 8, 16], [12, 0, 16, 4]]), torch.empty(0, 4)]
    shares = object_shares({**BATCH, "boxes": boxes}, (4, 4))
    assert shares[0, 0].tolist() == [1, 0.5, 0, 0] and shares[0, 1:].sum() == 0
    assert shares[1].nonzero().tolist() == [[0, 3], [2, 1], [3, 1]]
    found = object_patches({**BATCH, "boxes": boxes}, (4, 4), (1, 1))
    assert found[0].nonzero().tolist() == [[0, 0], [0, 1]] and found[2].all(), "without an object, anywhere"


def test_a_mask_counts_before_boxes_and_a_small_object_has_the_cell_with_most_of_it():
    mask = torch.zeros(3, 1, 16, 16, dtype=torch.uint8)
    mask[0, 0, 5, 6] = 1
    mask[1, 0, :8] = 1
    found = object_patches({**BATCH, "mask": mask, "boxes": [torch.tensor([[0.0, 0, 16, 16]])] * 3}, (4, 4), (1, 1))
    assert found[0].nonzero().tolist() == [[1, 1]] and found[2].all()
    assert found[1].nonzero()[:, 0].unique().tolist() == [0, 1]
    larger = object_patches({**BATCH, "mask": mask}, (4, 4), (2, 2))
    assert larger.shape == (3, 3, 3) and larger[1].nonzero()[:, 0].unique().tolist() == [0, 1]


def test_boxes_of_another_class_are_none_of_the_object():
    boxes = [torch.tensor([[0.0, 0, 4, 4], [8, 8, 16, 16]])] * 3
    numbers = [torch.tensor([1, 0]), torch.tensor([1, 0]), torch.tensor([2, 2])]
    batch = {**BATCH, "boxes": boxes, "box_labels": numbers, "labels": torch.tensor([1, 0, 1])}
    found = object_patches(batch, (4, 4), (1, 1))
    assert found[0].nonzero().tolist() == [[0, 0]]
    assert found[1].nonzero().tolist() == [[2, 2], [2, 3], [3, 2], [3, 3]]
    assert found[2].all(), "as an image without an object"
    net, _ = make()
    assert filled_by_objects(net, batch).tolist() == [True, True, False]
    several = {**batch, "labels": torch.eye(3)}
    with pytest.raises(InputError, match="boxes belong to single findings"):
        allowed_patches(net, several)
    assert object_patches({**several, "mask": torch.ones(3, 1, 16, 16)}, (4, 4), (1, 1)).all(), "a mask is all images'"


def make(on_object=True, **more):
    torch.manual_seed(3)
    data = ColourImages(8)
    net = ProtoPNet(ToyBackbone(), data.classes, image_size=16, prototypes_per_class=3, channels=6, **more).eval()
    return net, TrainingSet(data, data, data.subset([]), batch_size=5, on_object=on_object)


def beside(net, setup):
    """How many sources are cells of which less than half is on the object."""
    count = 0
    for position, (row, column) in zip(net.source_positions.tolist(), net.source_locations.tolist()):
        x0, y0, x1, y1 = setup.plain[position]["boxes"][0].tolist()
        wide = max(0, min(x1, column * 4 + 4) - max(x0, column * 4))
        high = max(0, min(y1, row * 4 + 4) - max(y0, row * 4))
        count += wide * high < 8
    return count


@pytest.mark.parametrize("patch", [1, 2])
def test_projection_keeps_to_the_object(patch):
    found = {}
    for on_object in (False, True):
        net, setup = make(on_object, patch=patch)
        background = setup.plain[0]["image"].as_subclass(torch.Tensor).clone() * 0 + 0.1
        with torch.no_grad():  # all prototypes like empty ground best
            ground = net.features(background[None])[0, :, :patch, :patch]
            net.prototypes.copy_(ground + 1e-3 * torch.randn_like(net.prototypes))
        project(net, setup, distinct=True)
        found[on_object] = beside(net, setup) if patch == 1 else None
        if on_object:
            for number, (position, where) in enumerate(zip(net.source_positions, net.source_locations.tolist())):
                sample = setup.plain[int(position)]
                allowed = object_patches(
                    {"images": sample["image"][None], "boxes": [sample["boxes"]]}, net.grid, (patch, patch)
                )
                assert allowed[0][tuple(where)], number
                image = sample["image"].as_subclass(torch.Tensor)[None]
                index = torch.tensor([number])
                with torch.no_grad():
                    assert net.similarity_maps(image, index)[0][tuple(where)] == pytest.approx(1.0, abs=1e-4)
    if patch == 1:
        assert found[False] > 0 and found[True] == 0


class SmallOnes(ColourImages):
    """The object of the first images of each class is smaller than a cell."""

    def __init__(self, small):
        super().__init__(8)
        self.small = small

    def load(self, index):
        sample = super().load(index)
        if index % 8 < self.small:
            sample["boxes"][:, 2:] = sample["boxes"][:, :2] + 3
        return sample


def project_as_refined(net, setup):
    """As ``protomask refine`` does with all prototypes and nothing forbidden."""
    nothing = find_forbidden(net, setup, [], [], [])
    project_allowed(net, setup, nothing, range(net.prototype_count))


@pytest.mark.parametrize(
    ("network", "move"), [("protopnet", project), ("xprotonet", project), ("protopnet", project_as_refined)]
)
@pytest.mark.parametrize(("small", "only_large"), [(5, True), (6, False), (8, False)])
def test_prototypes_come_from_objects_that_fill_a_patch_where_there_are_enough(network, move, small, only_large):
    """Three prototypes a class: at least three such images are enough."""
    data = SmallOnes(small)
    torch.manual_seed(3)
    kind = {"protopnet": ProtoPNet, "xprotonet": XProtoNet}[network]
    net = kind(ToyBackbone(), data.classes, image_size=16, prototypes_per_class=3, channels=6).eval()
    setup = TrainingSet(data, data, data.subset([]), batch_size=5, on_object=True)
    with torch.no_grad():  # what is nearest lies in images with small objects
        candidates = net.candidates(
            torch.stack([data[8 * label]["image"].as_subclass(torch.Tensor) for label in range(3)])
        )
        owners = net.prototype_classes
        net.set_prototypes(torch.arange(9), net.cut(candidates, owners, torch.arange(9)))
    move(net, setup)
    chosen = net.source_positions % 8
    assert bool((chosen >= small).all()) is only_large
    assert torch.equal(net.source_positions // 8, owners)


def test_patches_of_several_cells_and_masks_are_filled_as_a_whole():
    net, _ = make(patch=2)
    mask = torch.zeros(3, 1, 16, 16, dtype=torch.uint8)
    mask[0, :, 4:12, 4:12] = 1
    mask[1, :, 4:12, 4:11] = 1
    assert filled_by_objects(net, {**BATCH, "mask": mask}).tolist() == [True, False, False]
    single, _ = make()
    assert filled_by_objects(single, {**BATCH, "mask": mask}).tolist() == [True, True, False]


def test_prototypes_start_on_the_object():
    for seed in range(5):
        net, setup = make()
        start_from_patches(net, TrainingSet(setup.train, setup.plain, setup.validation, on_object=True, seed=seed))
        with torch.no_grad():
            for prototype in net.prototypes:
                images = torch.stack([setup.plain[place]["image"].as_subclass(torch.Tensor) for place in range(24)])
                distances = net.patch_distances(net.features(images), prototype[None])[:, 0]
                image, row, column = (distances == distances.min()).nonzero()[0].tolist()
                sample = setup.plain[image]
                allowed = object_patches(
                    {"images": sample["image"][None], "boxes": [sample["boxes"]]}, net.grid, (1, 1)
                )
                assert allowed[0, row, column]


def test_a_prototype_beside_the_object_is_replaced(monkeypatch):
    monkeypatch.setattr(replacement, "COMMON", 0.0)  # nothing else is a reason
    results = []
    for on_object in (False, True):
        net, setup = make(on_object)
        start_from_patches(net, setup)
        ground = torch.full((1, 3, 16, 16), 0.1)
        with torch.no_grad():
            net.prototypes[4] = net.features(ground)[0, :, :1, :1]
        before = net.prototypes.clone()
        row = replace_common(net, setup)
        changed = (net.prototypes != before).flatten(1).any(1).nonzero().flatten().tolist()
        assert row["replaced"] == len(changed)
        results.append(changed)
    assert results[0] == [] and 4 in results[1]


def test_the_loss_looks_at_the_object_for_the_own_class_and_anywhere_for_others():
    net, setup = make()
    batch = collate([setup.plain[place] for place in range(0, 24, 3)])
    images, labels = batch["images"], batch["labels"]
    allowed = object_patches(batch, net.grid, (1, 1))
    loss = ProtoPNetLoss(separation=0.5, coverage=1.0, discrimination=1.0)
    with torch.no_grad():
        maps = net.patch_distances(net.features(images), net.prototypes)
        found = loss(net, images, labels, allowed)
        plain = loss(net, images, labels)
    beside, clusters = [], []
    for image, label in enumerate(labels.tolist()):
        on = []
        for prototype in range(9):
            if prototype // 3 == label:
                cells = [maps[image, prototype, row, column] for row, column in allowed[image].nonzero().tolist()]
                on.append(min(cells))
                beside.append(min(cells) - maps[image, prototype].min())
        clusters.append(min(on))
    assert found["beside"].item() == pytest.approx(torch.stack(beside).mean().item(), abs=1e-6) and found["beside"] > 0
    assert found["cluster"].item() == pytest.approx(torch.stack(clusters).mean().item(), abs=1e-6)
    for name in ("separation", "discrimination", "cross_entropy", "correct"):
        assert torch.equal(found[name], plain[name]), name
    assert "beside" not in plain and found["loss"] > plain["loss"]


def test_stored_feature_maps_know_where_the_object_is(tmp_path):
    forget_files()
    net, setup = make()
    maps = store_features(net, setup.plain, setup, tmp_path, "plain")
    for place in (0, 9, 23):
        sample, stored = setup.plain[place], maps[place]
        batch = {"images": sample["image"][None], "boxes": [sample["boxes"]]}
        kept = {"images": stored["image"][None], "boxes": [stored["boxes"]], "mask": stored["mask"][None]}
        assert torch.equal(object_patches(batch, net.grid, (1, 1)), object_patches(kept, net.grid, (1, 1)))
    assert "mask" in store_features(net, setup.train, setup, tmp_path, "training", 2)[0]
    forget_files()


def made_xprotonet(on_object=True):
    torch.manual_seed(3)
    data = ColourImages(8)
    net = XProtoNet(ToyBackbone(), data.classes, image_size=16, prototypes_per_class=2, channels=6).eval()
    return net, TrainingSet(data, data, data.subset([]), batch_size=5, on_object=on_object)


def test_xprotonet_pools_prototypes_from_the_object():
    net, setup = made_xprotonet()
    project(net, setup)
    for number, (position, (row, column)) in enumerate(zip(net.source_positions, net.source_locations.tolist())):
        batch = collate([setup.plain[int(position)]])
        cells = object_patches(batch, net.grid, (1, 1))[0]
        with torch.no_grad():
            features, occurrences = net.maps(batch["images"], torch.tensor([number]))
        weights = occurrences[0, 0] * cells
        pooled = sum(weights[i, j] * features[0, :, i, j] for i, j in cells.nonzero().tolist())
        torch.testing.assert_close(net.prototypes[number], pooled / pooled.norm())
        assert cells[row, column] and weights[row, column] == weights.max()
    with torch.no_grad():  # nothing occurs anywhere: the object's mean feature, not a prototype of zeros
        for parameter in net.occurrence.parameters():
            parameter.zero_()
        found = net.candidates_among(batch["images"], cells[None]).patches[0, 0]
    mean = features[0][:, cells].mean(1)
    torch.testing.assert_close(found, mean / mean.norm())


def test_xprotonet_learns_to_look_at_the_object():
    net, setup = made_xprotonet()
    batch = collate([setup.plain[place] for place in range(0, 24, 3)])
    images, labels = batch["images"], batch["labels"]
    allowed = object_patches(batch, net.grid, (1, 1))
    loss = XProtoNetLoss(separation=0.5, coverage=1.0, transformation=0.0)
    with torch.no_grad():
        found, plain, maps = loss(net, images, labels, allowed), loss(net, images, labels), net.maps(images).occurrences
    shares = [
        (maps[image, prototype][~allowed[image]].sum() / maps[image, prototype].sum()).item()
        for image, label in enumerate(labels.tolist())
        for prototype in (2 * label, 2 * label + 1)
    ]
    assert found["beside"].item() == pytest.approx(sum(shares) / len(shares), abs=1e-6) and found["beside"] > 0.3
    assert "beside" not in plain and found["loss"] == pytest.approx(plain["loss"].item() + found["beside"].item())
    train(net, [Epochs("joint", 20, loss, {"occurrence": 3e-2})], setup)
    with torch.no_grad():
        assert loss(net, images, labels, allowed)["beside"] < 0.5 * found["beside"]


def test_a_network_that_cannot_choose_is_refused():
    with pytest.raises(InputError, match="on_object is for networks as protopnet and xprotonet"):
        allowed_patches(torch.nn.Identity(), BATCH)


@pytest.mark.parametrize(
    "network, findings, said",
    [("xprotonet", True, "findings"), ("protopnet", True, "findings"), ("protopnet", False, "none; leave it out")],
)
def test_what_the_option_cannot_do_is_said_before_the_work(tmp_path, network, findings, said):
    labels = [[1, 0, 1], [0, 1, 0]] * 6 if findings else [0, 1, 2] * 4
    items = [(torch.randint(0, 255, (3, 32, 32), dtype=torch.uint8), label) for label in labels]
    with pytest.raises(InputError, match=f"on_object.*{said}"):
        protomask.train(
            network,
            data=(items, items[:3]),
            classes=["a", "b", "c"],
            on_object=True,
            backbone="test_resnet",
            image_size=32,
            validation=0.0,
            output=tmp_path / "none",
            progress=False,
        )
    assert not (tmp_path / "none").exists()


def test_boxes_of_other_classes_alone_are_said_to_be_none(tmp_path):
    class Others(ColourImages):
        def load(self, index):
            return super().load(index) | {"box_labels": (self.labels[index : index + 1] + 1) % 3}

    data = Others(4)
    with pytest.raises(InputError, match="training images have none of their own class"):
        train_toy(tmp_path / "none", "protopnet", Splits(data, data.subset([]), data))


@pytest.mark.parametrize("network", ["protopnet", "xprotonet"])
def test_a_feature_map_of_a_single_patch_is_refused(tmp_path, network):
    data = ColourImages(4)
    with pytest.raises(InputError, match="a feature map of 1 x 1 has a single one; raise image_size"):
        train_toy(tmp_path / "none", network, Splits(data, data.subset([]), data))
    assert not (tmp_path / "none").exists()


def test_a_network_of_others_that_cannot_choose_is_refused_before_the_work(tmp_path, monkeypatch):
    data = ColourImages(4)
    monkeypatch.delattr(XProtoNet, "candidates_among")
    with pytest.raises(InputError, match="on_object is for networks that choose among patches.*, not xprotonet"):
        train_toy(tmp_path / "none", "xprotonet", Splits(data, data.subset([]), data))


def test_a_recipe_of_others_that_is_not_told_of_the_object_is_refused_before_the_work(tmp_path, monkeypatch):
    data = ColourImages(4)
    plan = [Epochs("joint", 1, lambda network, images, labels: {}, {"prototypes": 1e-3}), Action("projection", project)]
    monkeypatch.setattr("xprotonet.recipe.stages", lambda network, options: plan)
    with pytest.raises(InputError, match="'xprotonet' minimises in stage 'joint' is not told which patches"):
        train_toy(tmp_path / "none", "xprotonet", Splits(data, data.subset([]), data))
    assert not (tmp_path / "none").exists()


def train_toy(output, network, data):
    protomask.train(
        network,
        data=data,
        on_object=True,
        backbone="test_resnet",
        image_size=32,
        validation=0.0,
        output=output,
        progress=False,
    )

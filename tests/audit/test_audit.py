"""The audit on a network whose true causes are known: prototype p looks at quadrant p of the image, nowhere else."""

import io
import json
import math
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import tv_tensors

from protomask.audit import CHECKS, Audit, Row, audit
from protomask.audit.changes import saved_as_jpeg, shifted, with_tag
from protomask.audit.measure import _row
from protomask.errors import InputError, NothingToKeepWarning
from protomask.evaluation import Pairs, choose_pairs
from protomask.localizers import get_localizer
from protomask.metrics import with_unseen_noise
from protomask.report.audit_page import audit_page
from protomask.report.audit_view import audit_view
from protomask.run_schemas import SCHEMAS
from protomask.schema import check
from protomask.statistics import Interval, bootstrap_mean
from tests.evaluation.test_evaluate import HALF, SIZE, Quadrants, Tiles, quadrant

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


class DimTiles(Tiles):
    """Smooth images in [0, 1]."""

    def load(self, index):
        generator = torch.Generator().manual_seed(index)
        coarse = 0.3 + 0.4 * torch.rand(1, 3, 4, 4, generator=generator)
        image = torch.nn.functional.interpolate(coarse, (SIZE, SIZE), mode="bilinear", align_corners=True)[0]
        return super().load(index) | {"image": tv_tensors.Image(image)}


def gradient(explained, images, index, *, progress=False):
    """The true cause: gradient times image, smoothed by the quadrants' own weights."""
    pixels = images.clone().requires_grad_()
    (slope,) = torch.autograd.grad(explained.score(pixels, index).sum(), pixels)
    return (slope * images).sum(1).clamp(min=0).detach()


def by_prototype(explained, images, index, *, progress=False):
    """Knows which prototype it is asked about, and nothing of the weights."""
    return torch.stack([quadrant(int(p)).float() for p in index])


@pytest.fixture(scope="module")
def network():
    return Quadrants().eval()


def normal_images(count=3):
    pixels = torch.rand(count, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    scale, offset = (torch.tensor(each).view(3, 1, 1) for each in (STD, MEAN))
    return pixels, (pixels - offset) / scale, scale, offset


def test_jpeg_is_what_pillow_saves_and_reads():
    pixels, images, scale, offset = normal_images()
    found = saved_as_jpeg(images, MEAN, STD, quality=60) * scale + offset
    for image, changed in zip(pixels, found):
        file = io.BytesIO()
        Image.fromarray((image * 255).round().byte().permute(1, 2, 0).numpy()).save(file, "JPEG", quality=60)
        expected = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1).float() / 255
        torch.testing.assert_close(changed, expected, atol=1e-5, rtol=0)


def test_noise_rounds_to_the_same_picture_and_a_shift_moves_it():
    pixels, images, scale, offset = normal_images()
    grey = (pixels * 255).round() / 255
    noisy = with_unseen_noise((grey - offset) / scale, STD, [1, 2, 3]) * scale + offset
    assert torch.equal((noisy * 255).round(), (grey * 255).round()) and not torch.equal(noisy, grey)
    moved = shifted(images, 2)
    assert moved.shape == images.shape and torch.equal(moved[:, :, 2:, 2:], images[:, :, :-2, :-2])
    assert torch.equal(moved[:, :, 0, 5], images[:, :, 0, 3])


def test_a_tag_stands_beside_the_object_where_there_is_room():
    pixels, images, scale, offset = normal_images()
    objects = torch.zeros(3, 16, 24, dtype=torch.bool)
    objects[0, :, 4:] = True  # free: four columns
    objects[1] = True
    tagged, room = with_tag(images, objects, MEAN, STD, [7, 8, 9])
    assert room.tolist() == [True, False, True] and torch.equal(tagged[1], images[1])
    changed = ((tagged * scale + offset) - pixels).abs().amax(1) > 1e-4
    assert changed[0].sum() == changed[2].sum() == 4 and not (changed & objects).any()
    again, _ = with_tag(images[2:], objects[2:], MEAN, STD, [9])
    assert torch.equal(again[0], tagged[2])
    colours = ((tagged[2] * scale + offset) * 255).round()[:, changed[2]].T.unique(dim=0)
    assert colours.tolist() == [[40, 240, 240], [250, 40, 200]]


def test_a_network_that_looks_beside_the_object_is_named(network):
    """Boxes are the left half: the tag falls into the right one, which two of the four prototypes look at."""

    class Boxed(DimTiles):
        def load(self, index):
            sample = super().load(index)
            del sample["mask"]
            return sample

    data = Boxed(40)
    positions = torch.arange(40)
    left, right = (
        audit(network, data, gradient, Pairs(positions, torch.full((40,), prototype))) for prototype in (0, 1)
    )
    row = {name: next(row for row in each.rows if row.check == "tag") for name, each in zip("lr", (left, right))}
    assert row["l"].moved.mean == 0 and row["l"].overlap.mean == 1
    assert row["r"].moved.mean > 0.001 and row["r"].overlap.mean < 1

    class Nowhere(Boxed):
        def load(self, index):
            sample = super().load(index)
            return sample | {"boxes": sample["boxes"][:0]}

    found = audit(network, Nowhere(12), gradient, choose_pairs(network, Nowhere(12), 12))
    assert [row.check for row in found.rows] == [check for check in CHECKS if check != "tag"]


def test_a_finding_without_a_box_may_be_anywhere_beside_the_box_of_another(network):
    class OnlyOfTheFirst(DimTiles):
        def load(self, index):
            sample = super().load(index)
            del sample["mask"]
            return sample | {"box_labels": torch.tensor([0])}

    found = audit(network, OnlyOfTheFirst(12), gradient, Pairs(range(12), [1] * 12))
    assert next(row for row in found.rows if row.check == "tag").moved.n == 6, "the images of the first class alone"


def test_prototypes_that_find_nothing_are_no_warning_where_that_is_asked(network, recwarn):
    def warning(explained, images, index, *, progress=False):
        if explained is not network or (index != 0).any():
            warnings.warn("nothing to keep", NothingToKeepWarning, stacklevel=2)
        return gradient(explained, images, index)

    audit(network, DimTiles(12), warning, Pairs(torch.arange(12), torch.zeros(12, dtype=torch.long)))
    assert not [each for each in recwarn if each.category is NothingToKeepWarning]
    with pytest.warns(NothingToKeepWarning):
        audit(network, DimTiles(12), warning, Pairs(torch.arange(12), torch.ones(12, dtype=torch.long)))


def test_what_is_undecided_says_how_many_images_would_decide():
    sure, open_ = Interval(0.95, 0.91, 0.99, 50, 50), Interval(0.95, 0.85, 0.99, 50, 50)
    moved, apart = Interval(0.01, 0.0, 0.02, 50, 50), Interval(0.06, 0.02, 0.1, 50, 50)
    row = Row("jpeg", open_, moved, sure)
    assert row.outcome == "undecided" and row.needed == 200  # the low end is twice as far from the mean as the limit
    assert Row("jpeg", sure, moved, sure).needed is None
    found = Audit("mdm", 50, (row, Row("weights", None, None, apart)))
    assert "Undecided: saved as JPEG (quality 75); about 200 images would decide, if the means" in found.verdict
    few = Interval(0.95, math.nan, math.nan, 4, 4)
    assert Row("jpeg", few, moved, sure).needed is None
    assert "would decide" not in Audit("mdm", 4, (Row("jpeg", few, moved, sure),)).verdict


def test_what_a_tag_alone_changes_is_a_verdict_of_its_own():
    fine = {"jpeg": 1.0, "noise": 1.0, "shift": 1.0, "tag": 0.2, "prototype": 0.0, "weights": 0.0}
    rows = tuple(Row(check, None, None, Interval(mean, mean, mean, 50, 50)) for check, mean in fine.items())
    verdict = Audit("mdm", 50, rows).verdict
    assert verdict.startswith("These pictures are about the network and the prototype. A striped tag beside the object")
    both = tuple(Row("jpeg", None, None, rows[3].overlap) if row.check == "jpeg" else row for row in rows)
    assert "image is saved as JPEG (quality 75). A striped tag beside" in Audit("mdm", 50, both).verdict


def test_a_map_of_the_true_cause_goes_where_it_should(network):
    data = DimTiles(40)
    pairs = choose_pairs(network, data, 40)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = audit(network, data, gradient, pairs, name="gradient")
    assert [row.check for row in found.rows] == list(CHECKS) and found.images == 40
    outcomes = {row.check: row.outcome for row in found.rows}
    assert outcomes["noise"] == outcomes["prototype"] == outcomes["weights"] == "holds"
    prototype = next(row for row in found.rows if row.check == "prototype")
    assert prototype.answers is None and prototype.overlap.mean == 0  # other quadrants share no pixel
    assert "of another class" in found.table() and found.localizer == "gradient"
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    again = audit(network, data, gradient, pairs, name="gradient", batch_size=7)
    assert [row.outcome for row in again.rows] == [row.outcome for row in found.rows]
    for one, other in zip(again.rows, found.rows):
        for name in ("answers", "moved", "overlap"):  # some processors round the sums of a batch as its size wants it
            intervals = [getattr(row, name) for row in (one, other)]
            told = [None if each is None else (each.mean, each.low, each.high, each.n) for each in intervals]
            assert told[0] == (told[1] and pytest.approx(told[1], abs=1e-6)), (one.check, name)


def test_noise_is_measured_as_by_hand(network):
    data = DimTiles(12)
    pairs = choose_pairs(network, data, 12)
    row = next(row for row in audit(network, data, gradient, pairs, seed=5).rows if row.check == "noise")
    moved = []
    for position, prototype in zip(pairs.positions.tolist(), pairs.prototypes):
        image = data[position]["image"].as_subclass(torch.Tensor)[None]
        before, after = (
            float(network.score(each, prototype[None]))
            for each in (image, with_unseen_noise(image, network.std, [5 + 1000 * position]))
        )
        moved.append(abs(after - before) / before)
    assert row.moved.mean == pytest.approx(sum(moved) / 12, rel=1e-3) and 0 < row.moved.mean < 0.01


def test_what_ignores_the_network_or_the_prototype_is_named(network):
    data = DimTiles(20)
    pairs = choose_pairs(network, data, 20)
    blind = audit(network, data, get_localizer("center"), pairs)
    assert blind.outcome("weights") == blind.outcome("prototype") == "fails"
    assert blind.verdict.startswith("Do not trust these pictures")
    fixed = audit(network, data, by_prototype, pairs)
    assert fixed.outcome("weights") == "fails" and fixed.outcome("prototype") == "holds"

    def by_network(explained, images, index, *, progress=False):
        return gradient(explained, images, torch.zeros_like(index))

    same = audit(network, data, by_network, pairs)
    assert same.outcome("prototype") == "fails" and same.outcome("weights") == "holds"
    assert "not which prototype does" in same.verdict

    def shaky(explained, images, index, *, progress=False):
        noise = torch.stack(
            [torch.rand(12, 12, generator=torch.Generator().manual_seed(int(x.sum() * 1e6))) for x in images]
        )
        return gradient(explained, images, index) * noise**8

    shaken = audit(network, data, shaky, pairs)
    assert shaken.outcome("noise") == "fails" and "only for the very file" in shaken.verdict


def test_few_images_decide_nothing(network):
    found = audit(network, DimTiles(6), gradient, choose_pairs(network, DimTiles(6), 4))
    assert {row.outcome for row in found.rows} == {"undecided"} and "too few" in found.verdict
    with pytest.raises(InputError, match="no images"):
        audit(network, DimTiles(6), gradient, Pairs([], []))


def test_what_fewer_than_ten_images_say_decides_nothing(network):
    few, many = Interval(0.0, 0.0, 0.34, 9, 9), Interval(0.0, 0.0, 0.31, 10, 10)
    fine, moved = Interval(1.0, 1.0, 1.0, 50, 50), Interval(0.0, 0.0, 0.0, 50, 50)
    assert Row("jpeg", few, moved, fine).outcome == "undecided" and Row("jpeg", many, moved, fine).outcome == "fails"
    assert Row("jpeg", few, moved, fine).needed is None

    class Crowded(DimTiles):
        """The object fills all images but the first, which has room for a tag."""

        def load(self, index):
            mask = torch.ones(1, SIZE, SIZE, dtype=torch.uint8)
            mask[..., HALF:] = index != 0
            return super().load(index) | {"mask": tv_tensors.Mask(mask)}

    found = audit(network, Crowded(20), gradient, Pairs(range(20), [1] * 20))
    tag = next(row for row in found.rows if row.check == "tag")
    assert tag.overlap.n == 1 and math.isnan(tag.overlap.low) and math.isnan(tag.moved.low)
    assert tag.outcome == "undecided"


def small_spot(explained, images, index, *, progress=False):
    """Two pixels, in another place for each prototype."""
    maps = torch.zeros(len(images), *images.shape[2:])
    for number, prototype in enumerate(index.tolist()):
        maps[number, 8, 3 * prototype : 3 * prototype + 2] = 1
    return maps


def test_small_spots_apart_do_not_overlap(network):
    found = audit(network, DimTiles(20), small_spot, Pairs(range(20), [0] * 20))
    overlap = {row.check: row.overlap.mean for row in found.rows}
    assert overlap["prototype"] == 0 and overlap["noise"] == overlap["weights"] == 1
    assert found.outcome("prototype") == "holds"


def test_blank_pictures_say_nothing_and_are_told(network):
    def seldom(explained, images, index, *, progress=False):
        return gradient(explained, images, index) * (index == 1)[:, None, None]

    data = DimTiles(20)
    found = audit(network, data, seldom, Pairs(range(20), [1] * 15 + [0] * 5))
    noise = next(row for row in found.rows if row.check == "noise")
    assert noise.overlap.n == 15 and noise.answers.n == 20
    assert "5 of the 20 pictures are blank and left out." in found.verdict
    blank = audit(network, data, seldom, Pairs(range(20), [0] * 20))
    assert [row.check for row in blank.rows] == list(CHECKS)
    assert {row.outcome for row in blank.rows if not row.answers} == {"undecided"}
    assert blank.verdict.startswith("All these pictures are blank")
    check(json.loads(json.dumps(blank.to_json(), allow_nan=False)), SCHEMAS["audit.json"])


def test_the_verdict_claims_what_holds_alone():
    open_, bad, good = (
        Interval(0.5, 0.3, 0.7, 20, 20),
        Interval(0.3, 0.2, 0.4, 20, 20),
        Interval(1.0, 0.95, 1.0, 99, 99),
    )
    apart = Interval(0.1, 0.0, 0.2, 99, 99)

    def verdict(failing, prototype, weights):
        rows = [Row(each, bad, None, good) for each in failing]
        return Audit(
            "x", 20, (*rows, Row("prototype", None, None, prototype), Row("weights", None, None, weights))
        ).verdict

    assert verdict(["jpeg"], open_, open_).startswith("These pictures can be trusted at most for the very file")
    assert verdict(["jpeg"], open_, apart).startswith("These pictures are about the network, but only for the very")
    assert verdict(["jpeg"], apart, open_).startswith("These pictures are about the prototype, but only for the very")
    assert verdict(["tag"], open_, open_).startswith("A striped tag beside the object")
    assert verdict(["tag"], open_, apart).startswith("These pictures are about the network. A striped tag")
    assert "where the network looks" not in verdict([], good, open_) and "another class's" in verdict([], good, open_)
    assert "where the network looks" in verdict([], good, apart)
    assert "when the image is saved as JPEG (quality 75), gets noise below half a grey level or is shifted by 2 %" in (
        verdict(["jpeg", "noise", "shift"], apart, apart)
    )


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"pairs": Pairs([0, 99], [0, 0])}, "image 99"),
        ({"pairs": Pairs([0, -1], [0, 0])}, "image -1"),
        ({"pairs": Pairs([0, 1], [0, 4])}, "prototype 4"),
        ({"batch_size": 2.5}, "batch_size is 2.5"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"seed": "a"}, "seed is 'a'"),
        ({"seed": -1}, "seed is -1"),
        ({"progress": "no"}, "progress is 'no'"),
        ({"network": torch.nn.Linear(2, 2)}, "a Linear; an audit asks about prototypes"),
        ({"localizer": type("Maker", (), {})}, "Maker is a class"),
        ({"localizer": "nothing"}, "nothing"),
        ({"localizer": lambda *given: gradient(*given) / 0}, "of image 'tile 0' is not finite"),
        ({"localizer": lambda *given: gradient(*given)[:, ::4, ::4]}, r"shape \(2, 3, 3\)"),
        ({"localizer": lambda *given: gradient(*given)[:1]}, r"shape \(1, 12, 12\)"),
        ({"localizer": lambda *given: gradient(*given) - 5}, "maps must lie in"),
    ],
)
def test_wrong_arguments_are_one_line(network, changed, words):
    given = {"network": network, "data": DimTiles(4), "localizer": gradient, "pairs": Pairs([0, 1], [0, 0])} | changed
    with pytest.raises(InputError, match=words) as error:
        audit(**given)
    assert "\n" not in str(error.value)


def test_answers_that_are_no_numbers_are_errors():
    class Broken(Quadrants):
        def forward(self, images):
            found = super().forward(images)
            return found._replace(**{self.name: found._asdict()[self.name] / 0})

    for Broken.name, words in (("logits", "tile 1: the network answers NaN or infinity"), ("similarities", "image 1")):
        with pytest.raises(InputError, match=words):
            audit(Broken().eval(), DimTiles(4), by_prototype, Pairs([1, 2], [0, 0]))


def test_a_localizer_may_be_named_and_numpys_numbers_will_do(network):
    found = audit(network, DimTiles(4), "center", Pairs([0, 1], [0, 0]), seed=np.int64(2), batch_size=np.int64(3))
    assert found.localizer == "center"


def test_the_page_and_the_file(network):
    found = audit(
        network, DimTiles(12), get_localizer("center"), choose_pairs(network, DimTiles(12), 12), name="center"
    )
    page = audit_page(found, "Quadrants <b>")
    assert found.verdict[:40] in page and "Quadrants &lt;b&gt;" in page and page.count("<tr>") == 7
    content = json.loads(json.dumps(found.to_json(), allow_nan=False))
    check(content, SCHEMAS["audit.json"])
    with pytest.raises(InputError, match="row 'nothing'"):
        audit_view({**content, "rows": [{**content["rows"][0], "check": "nothing"}]})
    assert content["rows"][5]["check"] == "weights" and content["rows"][5]["overlap"]["mean"] == 1


def test_an_interval_holds_what_can_be_alone():
    images = torch.arange(12)
    values = torch.rand(12, generator=torch.Generator().manual_seed(2)) * 0.02
    values[:2] = torch.tensor([1.0, 0.1])  # as overlaps of maps that share a pixel or two
    reach = bootstrap_mean(values, images)
    assert reach.low < 0 and reach.high > 1
    row = _row("jpeg", {"jpeg/answers": values.round(), "jpeg/moved": values, "jpeg/overlap": values}, images)
    assert (row.overlap.low, row.overlap.high) == (0, 1) and row.overlap.mean == reach.mean
    assert (row.moved.low, row.moved.high) == (0, reach.high)  # a similarity may move by more than its size

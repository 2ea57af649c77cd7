"""Maps of few bits, masks of any type, maps of other images and maps that are broken: as meant, NaN, or refused."""

import pytest
import torch

from protomask import metrics
from protomask.errors import InputError
from protomask.metrics.given import as_mask

FROM_SCORES = (
    metrics.insertion,
    metrics.deletion,
    metrics.region_deletion,
    metrics.kept_by_first,
    metrics.road,
    metrics.infidelity,
    metrics.masked_scores,
    metrics.relevance_ordering,
)
ON_REGIONS = (
    metrics.pointing_game,
    metrics.energy_pointing,
    metrics.top_share_on_object,
    metrics.outside_inside_ratio,
    metrics.outside_share,
    metrics.iou,
    metrics.dice,
    metrics.iou_curves,
    metrics.dice_curves,
)
OF_MAPS = (metrics.sparseness, metrics.map_entropy, metrics.complexity)
OF_TWO_MAPS = (metrics.coherency, metrics.map_correlation, metrics.shared_first)
IMAGES, INDEX = torch.rand(2, 3, 9, 13, generator=torch.Generator().manual_seed(0)) + 0.1, torch.tensor([0, 1])
LEVELS = torch.randint(0, 256, (2, 9, 13), generator=torch.Generator().manual_seed(1))
REGION = torch.zeros(2, 9, 13, dtype=torch.bool)
REGION[:, 2:6, 3:9] = True
ONE = REGION[:1]


def mean_score(images, index):
    return images.mean((1, 2, 3))


def from_scores(metric, saliency, index=INDEX):
    found = metric(mean_score, IMAGES, index, saliency)
    return found.auc if isinstance(found, metrics.Curve) else found


def test_integer_and_half_maps_are_worth_what_their_numbers_are():
    for dtype in (torch.uint8, torch.int64, torch.float16):
        saliency = LEVELS.to(dtype)
        for metric in ON_REGIONS:
            torch.testing.assert_close(metric(saliency, REGION), metric(LEVELS.float(), REGION))
        for metric in OF_MAPS:
            torch.testing.assert_close(metric(saliency), metric(LEVELS.float()))
        for metric in OF_TWO_MAPS:
            torch.testing.assert_close(
                metric(saliency, saliency.flip(1)), metric(LEVELS.float(), LEVELS.float().flip(1))
            )
        for metric in FROM_SCORES:
            torch.testing.assert_close(from_scores(metric, saliency), from_scores(metric, LEVELS.float()))
        masses = metrics.part_mass(saliency, REGION[:, None]), metrics.part_mass(LEVELS.float(), REGION[:, None])
        torch.testing.assert_close(*masses)
    large, half = torch.ones(1, 300, 300).half(), torch.zeros(1, 300, 300, dtype=torch.bool)
    half[:, :150] = True  # the sum of the map is beyond what 16 bits hold
    assert metrics.energy_pointing(large, half).item() == 0.5


def test_masks_of_any_type_are_the_same_mask():
    for mask in (REGION.long(), REGION.to(torch.uint8) * 255, REGION.float(), REGION.half()):
        for metric in ON_REGIONS:
            torch.testing.assert_close(metric(LEVELS, mask), metric(LEVELS, REGION))
        torch.testing.assert_close(metrics.impute(IMAGES, mask), metrics.impute(IMAGES, REGION))
        found = metrics.misalignment(mean_score, IMAGES, INDEX, mask)
        torch.testing.assert_close(found, metrics.misalignment(mean_score, IMAGES, INDEX, REGION))
        there = mask[:, :1, 3]
        maps = LEVELS[:, None].float()
        expected = metrics.comprehensiveness(maps, REGION[:, :1, 3], REGION)
        torch.testing.assert_close(metrics.comprehensiveness(maps, there, mask), expected)


def test_shares_numbers_below_zero_and_other_shapes_are_no_masks():
    for mask, complaint in (
        (REGION.float() / 2, "other than 0 and 1"),
        (REGION.float() * torch.nan, "other than 0 and 1"),
        (-REGION.long(), "below 0"),
        (ONE, r"shape \(1, 9, 13\); give \(2, 9, 13\)"),
        ("all", "'all'"),
    ):
        with pytest.raises(InputError, match=complaint):
            as_mask(mask, (2, 9, 13), "region")
        if mask is not ONE:
            for metric in ON_REGIONS:
                with pytest.raises(InputError, match=f"region.*{complaint}"):
                    metric(LEVELS, mask)
    for metric in ON_REGIONS:
        torch.testing.assert_close(metric(LEVELS, ONE), metric(LEVELS, REGION))  # one region for all maps
        with pytest.raises(InputError, match="region has the shape"):
            metric(LEVELS, REGION[:1, :, :8])


def test_maps_and_indices_are_those_of_the_images():
    maps = torch.rand(3, 9, 13)
    for wrong in (maps, maps[:1], maps[:2, None], maps[:2, :8], maps[:2, :, :8]):
        for metric in FROM_SCORES:
            with pytest.raises(InputError, match=r"one map per image, here \(2, 9, 13\)"):
                from_scores(metric, wrong)
        with pytest.raises(InputError, match="one map per image"):
            metrics.move_evidence(mean_score, IMAGES, INDEX, wrong, reach=0.1)
        with pytest.raises(InputError, match="one map per image"):
            metrics.fidelity(lambda x, i: x.mean(1), IMAGES, INDEX, wrong)
        with pytest.raises(InputError, match=r"allowed .* give \(2, 9, 13\)"):
            metrics.misalignment(mean_score, IMAGES, INDEX, wrong > 0.5)
    for metric in FROM_SCORES:
        with pytest.raises(InputError, match="one integer per image"):
            from_scores(metric, maps[:2], torch.tensor([0, 1, 1]))
    for metric in OF_TWO_MAPS:
        with pytest.raises(InputError, match="one map per image"):
            metric(maps, maps[:2])
    with pytest.raises(InputError, match="starts with the shape"):
        metrics.insertion(mean_score, IMAGES, INDEX, maps[:2], start=IMAGES[:1])


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_of_a_broken_map_nothing_is_said_and_the_others_stand(value):
    whole = LEVELS.float()
    broken = whole.clone()
    broken[0, 4, 4] = value
    maps, boxes = broken[:, None], [torch.tensor([[3, 2, 9, 6]])] * 2
    found = {each.__name__: (from_scores(each, broken), from_scores(each, whole)) for each in FROM_SCORES}
    found |= {each.__name__: (each(broken, REGION), each(whole, REGION)) for each in ON_REGIONS}
    found |= {each.__name__: (each(broken), each(whole)) for each in (*OF_MAPS, metrics.minmax)}
    found |= {each.__name__: (each(broken, broken), each(whole, whole)) for each in OF_TWO_MAPS}
    found["box"] = metrics.box_iou_curves(broken, boxes), metrics.box_iou_curves(whole, boxes)
    found["fidelity"] = tuple(
        metrics.fidelity(lambda x, i: x.mean(1), IMAGES, INDEX, each).auc for each in (broken, whole)
    )
    there = torch.ones(2, 1, dtype=torch.bool)
    found["covered"] = tuple(metrics.comprehensiveness(each, there, REGION) for each in (maps, whole[:, None]))
    pairs = [torch.stack([each, each.flip(1)], 1) for each in (broken, whole)]
    found["distinct"] = tuple(metrics.distinctiveness(each, there.expand(2, 2)) for each in pairs)
    for name, (those, expected) in found.items():
        assert those[0].isnan().all(), name
        torch.testing.assert_close(those[1], expected[1], msg=name)
    for choose in (metrics.outside_top, metrics.outside_box):
        with pytest.raises(InputError, match="not finite"):
            choose(broken)


def test_numbers_that_are_none_stay_so():
    score, other = torch.tensor([torch.nan, 0.5, 1.0]), torch.tensor([0.5, torch.nan, torch.nan])
    assert (
        metrics.average_gain(score, other).isnan().all() and metrics.increase_in_confidence(score, other).isnan().all()
    )
    assert metrics.adcc(torch.tensor([1.0]), torch.tensor([torch.nan]), torch.tensor([0.5])).isnan()
    mass, importance, visible = torch.tensor([[torch.nan, 2.0]]), torch.tensor([[1.0, 2.0]]), torch.ones(1, 2) > 0
    assert metrics.rank_correlation(importance, mass, visible).isnan()
    assert metrics.top_part_hit(importance, mass, visible).isnan()
    assert metrics.causal_insertion(lambda b, drawn: 1.0, mass, visible, torch.ones(1)).isnan()
    sizes = metrics.explanation_size(torch.tensor([[torch.nan, 1.0]]), torch.ones(2, 2), torch.ones(1, 2))
    assert sizes.isnan()

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
    points, visible = torch.ones(2, 1, 2), torch.ones(2, 1, dtype=torch.bool)
    for choose in (
        metrics.outside_top,
        metrics.outside_box,
        lambda maps: metrics.parts_at_maximum(maps, points, visible),
        lambda maps: metrics.parts_in_patch(maps, points, visible),
    ):
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
    seen, own, similarity = visible.expand(2, 2), torch.tensor([0, 0, 1, 1]), torch.tensor([torch.nan, 0.5, 0.5, 0.1])
    purest = metrics.purity(torch.eye(4, 2) > 0, torch.ones(4, 2) > 0, own, similarity, top=1)
    assert purest[0].isnan() and purest[1] == 0
    for find in (metrics.parts_at_maximum, metrics.parts_in_patch):
        point = torch.tensor([[[torch.nan, 1.0], [1.0, 1.0]]])
        with pytest.raises(InputError, match="points are not finite where parts are visible"):
            find(torch.rand(1, 4, 4), point, seen[:1])
        assert not find(torch.rand(1, 4, 4), point, torch.tensor([[False, True]]))[0, 0]


ONES, SQUARES, CUBES = torch.ones(2), torch.rand(2, 3), torch.rand(2, 3, 9, 13)
SEEN, NUMBERS, BOXES = torch.ones(2, 3) > 0, torch.tensor([0, 1]), [torch.tensor([[3, 2, 9, 6]])] * 2
STD, SEEDS = [0.5] * 3, [1, 2]
GIVEN = {
    metrics.average_drop: (ONES, ONES),
    metrics.increase_in_confidence: (ONES, ONES),
    metrics.average_gain: (ONES, ONES),
    metrics.relative_gain: (ONES, ONES),
    metrics.relative_to_whole: (SQUARES, ONES),
    metrics.adcc: (ONES, ONES, ONES),
    metrics.mas_insertion: (SQUARES, LEVELS),
    metrics.mas_deletion: (SQUARES, LEVELS),
    metrics.mean_per_class: (ONES, NUMBERS),
    metrics.explanation_size: (SQUARES, torch.rand(4, 3), torch.rand(2, 4)),
    metrics.discrimination: (SQUARES, SEEN),
    metrics.auroc: (SQUARES, SEEN),
    metrics.average_precision: (SQUARES, SEEN),
    metrics.distinctiveness: (CUBES, SEEN),
    metrics.comprehensiveness: (CUBES, SEEN, REGION),
    metrics.part_mass: (LEVELS, CUBES > 0.5),
    metrics.rank_correlation: (SQUARES, SQUARES, SEEN),
    metrics.top_part_hit: (SQUARES, SQUARES, SEEN),
    metrics.causal_overlap: (SQUARES, SQUARES, ONES, SEEN),
    metrics.parts_at_maximum: (LEVELS, torch.rand(2, 3, 2), SEEN),
    metrics.parts_in_patch: (LEVELS, torch.rand(2, 3, 2), SEEN),
    metrics.consistency: (SEEN, SEEN, NUMBERS),
    metrics.stability: (SEEN, SEEN, NUMBERS),
    metrics.purity: (SEEN, SEEN, NUMBERS, ONES),
    metrics.merge_sides: (SEEN, ["left eye", "right eye", "beak"]),
    metrics.map_correlation: (LEVELS, LEVELS),
    metrics.shared_first: (LEVELS, LEVELS),
    metrics.coherency: (LEVELS, LEVELS),
    metrics.max_sensitivity: (LEVELS, [LEVELS]),
    metrics.box_iou_curves: (LEVELS, BOXES),
    metrics.nearby: (IMAGES, SEEDS),
    metrics.add_noise: (IMAGES, SEEDS),
    metrics.with_unseen_noise: (IMAGES, STD, SEEDS),
    metrics.impute: (IMAGES, REGION),
    metrics.at_best_threshold: (SQUARES,),
    metrics.max_box_accuracy: (SQUARES,),
    metrics.rise_blur: (IMAGES,),
}
"""what each metric that asks for no score is given"""


def wrong_for(metric, given):
    """What an argument cannot be that was right as ``given``."""
    if given is STD:
        return []
    if given is NUMBERS:  # may be in whatever holds them
        return [None, "none", given[:1], given / 2]
    if given is SEEDS:
        return [None, 1, "none", given[:1], [*given, 3], [0.5, 0.5]]
    if not isinstance(given, torch.Tensor):
        arrays = [each.numpy() if isinstance(each, torch.Tensor) else 1 for each in given]
        others = [LEVELS[:1]] if metric is metrics.max_sensitivity else given[:1]
        return [None, "none", others] + ([] if metric is metrics.merge_sides else [arrays])
    wrong = [None, "none", given.numpy(), given.tolist()]
    if metric is not metrics.relative_to_whole:
        wrong.append(given[:, None])
    if len(GIVEN[metric]) > 1 and metric not in (metrics.merge_sides, metrics.explanation_size):
        wrong.append(given[:1])
    return wrong


@pytest.mark.parametrize("metric", GIVEN, ids=lambda metric: metric.__name__)
def test_arrays_and_other_lengths_are_refused_in_one_line(metric):
    given = GIVEN[metric]
    metric(*given)
    for place, each in enumerate(given):
        for wrong in wrong_for(metric, each):
            with pytest.raises(InputError) as told:
                metric(*given[:place], wrong, *given[place + 1 :])
            assert "\n" not in str(told.value)


def test_values_of_any_one_shape_are_taken_one_by_one():
    whole, kept, third = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(2))
    of_scores = metrics.average_drop, metrics.increase_in_confidence, metrics.average_gain, metrics.relative_gain
    for metric, given in [(each, (whole, kept)) for each in of_scores] + [(metrics.adcc, (whole, kept, third))]:
        expected = metric(*(each.flatten() for each in given))
        assert torch.equal(metric(*given), expected.view(4, 5))
        assert torch.equal(metric(*(each[1, 2] for each in given)), expected[7])
        for other in (given[0][:1], given[0][:, :1], given[0][0], given[0].T):
            with pytest.raises(InputError, match=r"has the shape .*; give \(4, 5\)"):
                metric(given[0], other, *given[2:])
    column = whole[:, :1]
    expected = kept / column
    for of in (column, column[:, 0], column.expand(4, 5)):
        torch.testing.assert_close(metrics.relative_to_whole(kept, of), expected)
    torch.testing.assert_close(metrics.relative_to_whole(kept[:, 0], column), expected[:, 0])
    for wrong in (whole[:, :2], whole[0], whole[:1, :1], whole[0, 0]):
        with pytest.raises(InputError, match=r"whole has the shape .*; give \(4,\)"):
            metrics.relative_to_whole(kept, wrong)


def test_what_gives_one_after_the_other_is_a_list():
    maps = LEVELS.float()
    near = [maps.flip(1), maps + REGION]
    expected = metrics.max_sensitivity(maps, near)
    for others in (tuple(near), (each for each in near), torch.stack(near), dict(enumerate(near)).values()):
        assert torch.equal(metrics.max_sensitivity(maps, others), expected)
    for wrong, complaint in (([], "empty"), (iter(()), "empty"), (maps.sum(), "in a list"), (3, "in a list")):
        with pytest.raises(InputError, match=f"others is .*{complaint}|others is empty"):
            metrics.max_sensitivity(maps, wrong)
    assert torch.equal(metrics.box_regions(iter(BOXES), 9, 13), metrics.box_regions(BOXES, 9, 13))
    assert torch.equal(metrics.box_iou_curves(maps, iter(BOXES)), metrics.box_iou_curves(maps, BOXES))
    for wrong in ("none", None, torch.tensor(1)):
        with pytest.raises(InputError, match="boxes is .* in a list"):
            metrics.box_regions(wrong, 9, 13)


def test_true_and_false_are_two_classes():
    values, classes = torch.tensor([1.0, 0.0, 0.5, 0.0]), torch.tensor([True, False, True, True])
    assert metrics.mean_per_class(values, classes) == metrics.mean_per_class(values, classes.long()) == 0.25
    assert metrics.mean_per_class(torch.tensor([1, 0, 0, 0]), classes) == pytest.approx(1 / 6)


def test_arrays_for_what_is_scored_are_refused_in_one_line():
    given = [IMAGES, INDEX, LEVELS.float()]
    for metric in FROM_SCORES:
        for place in (0, 2):
            wrong = [each.numpy() if number == place else each for number, each in enumerate(given)]
            with pytest.raises(InputError, match="(saliency|images) is (array|an ndarray)"):
                metric(mean_score, *wrong)
    for wrong in (IMAGES.numpy(), IMAGES[0], None):
        for ask in (metrics.misalignment, lambda *given: metrics.move_evidence(*given, reach=0.1)):
            with pytest.raises(InputError, match="images"):
                ask(mean_score, wrong, INDEX, LEVELS > 9)


def test_of_no_images_there_are_no_values():
    none = [LEVELS[:0].float(), SEEN[:0], IMAGES[:0]]
    assert metrics.box_regions([], 4, 5).shape == (0, 4, 5)
    assert metrics.outside_box(none[0]).shape == metrics.outside_top(none[0]).shape == (0, 9, 13)
    for noisy in (metrics.nearby(none[2], []), metrics.add_noise(none[2], [])):
        assert noisy.shape == none[2].shape
    assert metrics.with_unseen_noise(none[2], STD, []).shape == none[2].shape
    for metric in (metrics.mas_insertion, metrics.mas_deletion):
        assert metric(SQUARES[:0], none[0]).shape == (0,)
    assert metrics.insertion(mean_score, none[2], INDEX[:0], none[0]).scores.shape == (0, 29)
    assert metrics.fidelity(mean_score, none[2], INDEX[:0], none[0]).scores.shape == (0, 20)


def test_boxes_are_told_apart_by_image():
    for wrong in (torch.rand(3), torch.rand(2, 4).numpy(), None):
        with pytest.raises(InputError, match="the boxes of image 1 are"):
            metrics.box_regions([BOXES[0], wrong], 9, 13)

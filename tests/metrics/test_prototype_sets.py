import itertools

import torch

from protomask.metrics import comprehensiveness, discrimination, distinctiveness, explanation_size, shared_first


def first_tenth(saliency):
    """Places of the most salient tenth, plainly."""
    flat = saliency.flatten().tolist()
    return set(sorted(range(len(flat)), key=lambda place: (-flat[place], place))[: round(0.1 * len(flat))])


def test_distinctiveness_and_comprehensiveness_by_sets():
    generator = torch.Generator().manual_seed(0)
    maps, mask = torch.rand(2, 4, 6, 10, generator=generator), torch.rand(2, 6, 10, generator=generator) < 0.4
    maps[0, 1] = maps[0, 0] + 0.1 * torch.rand(6, 10, generator=generator)
    there = torch.tensor([[True, True, True, False], [True, False, False, False]])
    sets = [first_tenth(each) for each in maps[0, :3]]
    overlaps = [len(a & b) / len(a | b) for a, b in itertools.combinations(sets, 2)]
    found = distinctiveness(maps, there)
    assert abs(found[0].item() - (1 - sum(overlaps) / 3)) < 1e-6 and max(overlaps) > 0 and found[1].isnan()
    objects = [set(each.flatten().nonzero().flatten().tolist()) for each in mask]
    covered = comprehensiveness(maps, there, mask)
    assert abs(covered[0].item() - len(set.union(*sets) & objects[0]) / len(objects[0])) < 1e-6
    assert abs(covered[1].item() - len(first_tenth(maps[1, 0]) & objects[1]) / len(objects[1])) < 1e-6
    assert comprehensiveness(maps, there, mask & False).isnan().all()


def test_what_is_not_salient_is_no_place_and_covers_nothing():
    """Zeros in reading order were: disjoint spots of 2 % shared the top of the image, and covered what was there."""
    maps, there = torch.zeros(1, 4, 50, 50), torch.tensor([[True, True, True, False]])
    maps[0, 0, 40:45, :10] = 1
    maps[0, 1, 40:45, 30:40] = 1
    above, below = torch.zeros(2, 1, 50, 50, dtype=torch.bool)
    above[0, :5], below[0, 40:45, :20] = True, True
    assert distinctiveness(maps, there).tolist() == [1]  # the third, blank, is no place of its own
    assert comprehensiveness(maps, there, above).tolist() == [0]
    assert comprehensiveness(maps, there, below).tolist() == [0.5]
    maps[0, 0] += 0.5 * (torch.arange(50) < 40)[:, None]  # 2,000 pixels share what the spot leaves, 200
    maps[0, 2, :20], maps[0, 3] = 1, torch.nan
    overlaps = [1 - shared_first(maps[:, a], maps[:, b]) for a, b in itertools.combinations(range(3), 2)]
    assert 0.7 < overlaps[1] < 0.8
    torch.testing.assert_close(distinctiveness(maps.nan_to_num(), there).float(), sum(overlaps) / 3)
    torch.testing.assert_close(comprehensiveness(maps, there, above), torch.tensor([0.25]))
    for blank in (torch.zeros(1, 4, 50, 50), torch.full((1, 4, 50, 50), 0.7)):
        assert distinctiveness(blank, there).isnan().all() and comprehensiveness(blank, there, above).tolist() == [0]
    blank[0, 0] = maps[0, 0]
    assert distinctiveness(blank, there).isnan().all()


def test_explanation_size_counts_what_has_a_part_in_the_decision():
    similarities = torch.tensor([[1.0, 0.5, 0.001, 0.0], [0.2, 0.0, 0.0, 1.0]])
    weights = torch.tensor([[1.0, -1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 2.0]])
    logits = similarities @ weights.T
    assert logits.argmax(1).tolist() == [0, 1]
    assert explanation_size(similarities, weights, logits).tolist() == [2, 1]


def test_discrimination_counts_pairs_of_images():
    generator = torch.Generator().manual_seed(0)
    similarities = (torch.rand(12, 3, generator=generator) * 5).round()
    own = torch.rand(12, 3, generator=generator) < 0.4
    for prototype, found in enumerate(discrimination(similarities, own).tolist()):
        values, has = similarities[:, prototype].tolist(), own[:, prototype].tolist()
        pairs = [(a > b) + 0.5 * (a == b) for a, x in zip(values, has) if x for b, y in zip(values, has) if not y]
        assert abs(found - sum(pairs) / len(pairs)) < 1e-6

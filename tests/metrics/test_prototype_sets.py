import itertools

import torch

from protomask.metrics import comprehensiveness, discrimination, distinctiveness, explanation_size


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

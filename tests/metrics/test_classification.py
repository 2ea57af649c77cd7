"""AUROC and average precision against their definitions by counting, ties included."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from protomask.errors import InputError
from protomask.metrics import auroc, average_precision

# Few distinct scores, so that ties are common.
CASES = st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=12)


def columns(case):
    scores, positive = zip(*case)
    return torch.tensor(scores)[:, None] / 4, torch.tensor(positive)[:, None]


def counted_auroc(case):
    pairs = [(found, missed) for found, positive in case if positive for missed, other in case if not other]
    return sum(1.0 if found > missed else 0.5 if found == missed else 0.0 for found, missed in pairs) / len(pairs)


def counted_precision(case):
    total, before, result = sum(positive for _, positive in case), 0, 0.0
    for threshold in sorted({score for score, _ in case}, reverse=True):
        chosen = [positive for score, positive in case if score >= threshold]
        result += (sum(chosen) - before) / total * sum(chosen) / len(chosen)
        before = sum(chosen)
    return result


@settings(max_examples=100, deadline=None)
@given(CASES)
def test_both_equal_their_definitions(case):
    found, precision = auroc(*columns(case)).item(), average_precision(*columns(case)).item()
    positive = [has for _, has in case]
    if any(positive) and not all(positive):
        assert found == pytest.approx(counted_auroc(case), abs=1e-12)
    else:
        assert found != found
    assert precision == pytest.approx(counted_precision(case), abs=1e-12) if any(positive) else precision != precision


def test_columns_are_classes_and_any_rising_scale_will_do():
    torch.manual_seed(0)
    scores, positive = torch.randn(50, 3), torch.rand(50, 3) > 0.6
    for metric in (auroc, average_precision):
        together = metric(scores, positive)
        assert together.tolist() == [metric(scores[:, [c]], positive[:, [c]]).item() for c in range(3)]
        torch.testing.assert_close(metric(scores.double().sigmoid() * 7, positive), together)
    perfect = torch.tensor([[3.0], [2], [1], [0]])
    assert auroc(perfect, perfect > 1).item() == 1 and average_precision(perfect, perfect > 1).item() == 1
    assert auroc(-perfect, perfect > 1).item() == 0


def test_labels_of_any_type_count_alike_and_scores_that_are_no_numbers_rank_nothing():
    generator = torch.Generator().manual_seed(0)
    scores, positive = torch.rand(20, 2, generator=generator), torch.rand(20, 2, generator=generator) > 0.5
    for labels in (positive.long(), positive.float(), positive.to(torch.uint8)):
        assert torch.equal(auroc(scores, labels), auroc(scores, positive))
        assert torch.equal(average_precision(scores, labels), average_precision(scores, positive))
    with pytest.raises(InputError, match="positive"):
        auroc(scores, positive.float() / 2)
    scores[3, 0] = torch.nan
    for measure in (auroc, average_precision):
        assert measure(scores, positive).isnan().tolist() == [True, False]

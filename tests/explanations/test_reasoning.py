"""How much of a decision the prototypes that are shown explain."""

import pytest
import torch

from protomask.explanations.reasoning import point_shares, sum_up_reasoning
from protomask.explanations.records import Inspection
from protomask.run_schemas import Metrics
from protomask.schema import check
from protopnet import ProtoPNet
from tests.support.toy import ToyBackbone


def network(evidence):
    torch.manual_seed(0)
    return ProtoPNet(ToyBackbone(), ("a", "b"), image_size=16, prototypes_per_class=2, channels=6, evidence=evidence)


def inspection(number, *flags, outside=None, discrimination=0.9):
    return Inspection(number, 1, 2, 1.0, 1, outside=outside or {}, flags=flags, discrimination=discrimination)


def test_shares_and_sizes_equal_a_plain_loop():
    torch.manual_seed(0)
    points = torch.randn(20, 7)
    points[3] = 0
    shares, sizes = point_shares(points, shown=3, enough=0.8)
    expected = []
    for row in points.abs().tolist():
        if sum(row):
            ordered = sorted(row, reverse=True)
            size = next(n for n in range(1, 8) if sum(ordered[:n]) >= 0.8 * sum(row) - 1e-9)
            expected.append((sum(ordered[:3]) / sum(row), size))
    assert shares.tolist() == pytest.approx([share for share, _ in expected])
    assert sizes.tolist() == [size for _, size in expected]


def test_positive_evidence_is_explained_by_the_own_prototypes():
    similarities = torch.tensor([[0.9, 0.5, 0.4, 0.2], [0.1, 0.0, 0.8, 0.8]])
    found = [inspection(0), inspection(1, "background", outside={"mdm": 0.9}), inspection(2, "common"), inspection(3)]
    own = sum_up_reasoning(network("positive"), similarities, found)
    assert own.explained_share == pytest.approx(1) and own.decisive_prototypes == 2 and own.sparsity == 0.5
    assert (own.background, own.common, own.duplicates) == (1.0, 0.25, 0.0)
    signed = sum_up_reasoning(network("signed"), similarities, found)
    assert signed.sparsity == 0 and signed.decisive_prototypes > 2
    assert "100% of a decision's points" in own.text()
    assert "100% of the prototypes on the background (of the 25% whose object is known)" in own.text()


def test_without_images_or_objects_there_is_no_figure():
    unknown = [inspection(number, discrimination=None) for number in range(4)]
    nothing = sum_up_reasoning(network("positive"), torch.zeros(0, 4), unknown)
    assert (nothing.explained_share, nothing.decisive_prototypes, nothing.background) == (None, None, None)
    assert nothing.common is None and nothing.text() == "0% of the prototypes duplicates"
    for share in (None, 0.0):  # as runs of before say
        row = {**nothing.to_json(), "common": share}
        check({"reasoning": row}, Metrics)


def test_common_prototypes_are_counted_among_those_that_can_be_told():
    some = [inspection(0, "common", discrimination=0.5), inspection(1, discrimination=None), inspection(2)]
    found = sum_up_reasoning(network("positive"), torch.zeros(0, 4), some)
    assert found.common == 0.5 and found.text() == "50% of the prototypes common to all classes, 0% duplicates"

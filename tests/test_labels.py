"""One class or several findings: the questions whose answers differ."""

import torch

from protomask.labels import (
    balancing_weights,
    has_class,
    log_odds,
    most_likely,
    positives,
    probabilities,
    right_answers,
)
from protomask.training.loading import shuffled_batches

CLASSES = torch.tensor([2, 0, 1])
FINDINGS = torch.tensor([[1.0, 0, 1], [0, 0, 0], [0, 1, 0], [1, 0, 0]])


def test_who_has_what():
    assert positives(CLASSES, 3).tolist() == [[False, False, True], [True, False, False], [False, True, False]]
    assert positives(FINDINGS, 3).tolist() == FINDINGS.bool().tolist()
    owners = torch.tensor([0, 0, 1, 2])
    assert has_class(CLASSES, owners).tolist() == [
        [False] * 3 + [True],
        [True, True, False, False],
        [False, False, True, False],
    ]
    assert (
        has_class(FINDINGS, owners)[0].tolist() == [True, True, False, True]
        and not has_class(FINDINGS, owners)[1].any()
    )


def test_one_class_wins_and_every_finding_is_answered():
    logits = torch.tensor([[-3.0, -2, -1], [5, 6, 7], [1, 2, 0]])
    assert right_answers(logits, CLASSES).tolist() == [1, 0, 1]
    assert right_answers(logits, FINDINGS[:3]).tolist() == [1 / 3, 0, 2 / 3]
    torch.testing.assert_close(probabilities(logits, False).sum(1), torch.ones(3))
    assert probabilities(torch.zeros(1, 3), True).tolist() == [[0.5] * 3]


def test_of_equal_scores_the_first_class_comes_first_as_argmax_has_it():
    torch.manual_seed(0)
    for count in (2, 3, 6, 40, 1000):
        scores = torch.randint(0, 3, (50, count)).float()
        assert most_likely(scores, 1)[:, 0].tolist() == scores.argmax(1).tolist()
        assert most_likely(scores, 5).tolist() == [
            sorted(range(count), key=lambda place: -row[place])[:5] for row in scores.tolist()
        ]
    assert most_likely(torch.zeros(4), 9).tolist() == [0, 1, 2, 3]


def test_log_odds_are_those_of_the_probabilities_and_go_on_where_these_round_to_one():
    torch.manual_seed(0)
    logits = 3 * torch.randn(20, 5).double()
    for multi_label in (False, True):
        torch.testing.assert_close(log_odds(logits, multi_label), probabilities(logits, multi_label).logit())
    sure = log_odds(torch.tensor([[60.0, 1, -torch.inf], [50, 1, 0]]), False)
    assert sure[0].tolist() == [59, -59, -torch.inf] and 48 < sure[1, 0] < 49
    broken = torch.tensor([[0.0, torch.inf, 1], [torch.nan, 0, 1]])
    assert log_odds(broken, False).isnan().all() and log_odds(broken, True).isnan().int().tolist() == [
        [0, 1, 0],
        [1, 0, 0],
    ]


def test_weights_that_balance():
    labels = torch.tensor([0, 0, 0, 1])
    torch.testing.assert_close(balancing_weights(labels), torch.tensor([1 / 3, 1 / 3, 1 / 3, 1]))
    # Finding 0 twice, 1 once, 2 once, none once.
    assert balancing_weights(FINDINGS).tolist() == [1, 1, 1, 0.5]


def test_balanced_epochs_draw_every_class_equally_often_and_augment_each_time_anew():
    labels = torch.tensor([0] * 60 + [1] * 6 + [2] * 6)
    drawn = [
        pair
        for seed in range(4)
        for batch in shuffled_batches(72, 12, seed, balancing_weights(labels))
        for pair in batch
    ]
    seen = labels[[position for position, _ in drawn]].bincount()
    assert len(drawn) == 4 * 72 and seen.min() > 60  # 24 if every image came once
    assert len({seed for _, seed in drawn}) == len(drawn)
    assert shuffled_batches(72, 12, 3, balancing_weights(labels)) == shuffled_batches(
        72, 12, 3, balancing_weights(labels)
    )

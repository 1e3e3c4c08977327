"""The match by hand: windows, users after every place, the loss over the whole catalog."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mmllm.match import Match, MatchSettings, Window, batches, next_loss, padded, popularity, windows


def test_a_history_is_cut_from_its_end_and_every_item_but_the_first_is_asked_for_once():
    found = windows([np.arange(7), np.array([9]), np.array([4, 5])], 3, [2, 0, 1])
    assert [w.items.tolist() for w in found] == [[3, 4, 5, 6], [0, 1, 2, 3], [4, 5]]
    assert [w.fold for w in found] == [2, 2, 1]
    asked = [i for w in found for i in w.items[1:].tolist()]
    assert sorted(asked) == [1, 2, 3, 4, 5, 5, 6]


def test_a_batch_is_of_one_fold_and_nothing_is_left_out():
    found = windows([np.arange(n, n + 3) for n in range(40)], 3, [n % 3 for n in range(40)])
    made = batches(found, 4, np.random.default_rng(0))
    assert all(len({w.fold for w in batch}) == 1 and len(batch) <= 4 for batch in made)
    assert sorted(int(w.items[0]) for batch in made for w in batch) == list(range(40))
    assert [b[0].fold for b in made] != sorted(b[0].fold for b in made), "folds come mixed"


def test_a_user_after_a_place_has_seen_what_stands_before_it_only():
    match = Match(1, 6, 4)
    soft = torch.randn(1, 5, 1, 6, generator=torch.Generator().manual_seed(0))
    whole = match.users(soft)
    for n in range(1, 6):
        assert torch.allclose(match.users(soft[:, :n])[:, -1], whole[:, n - 1], atol=1e-6)
    candidates = torch.randn(3, 1, 6, generator=torch.Generator().manual_seed(1))
    scores = match(soft[0], candidates)
    want = [float((match.items(c) @ whole[0, -1]).detach()) / 2 for c in candidates]
    assert scores.tolist() == pytest.approx(want, abs=1e-5)
    assert match(soft[0, :0], candidates).tolist() == [0, 0, 0]


def test_the_loss_is_the_cross_entropy_of_what_was_liked_next():
    match, options = Match(1, 6, 4), MatchSettings(dropout=0.0, ahead=2, decay=0.5)
    table = torch.randn(4, 1, 6, generator=torch.Generator().manual_seed(0))
    rows = padded([Window(np.array([0, 1, 2])), Window(np.array([3, 0]))])
    offset = popularity(np.array([5, 1, 0, 2]))
    terms, weights = [], []
    for sequence in ([0, 1, 2], [3, 0]):
        for at in range(len(sequence) - 1):
            scores = (match(table[sequence[: at + 1]], table) + offset).log_softmax(-1)
            for n, item in enumerate(sequence[at + 1 : at + 3]):
                terms.append(-(0.5**n) * float(scores[item].detach()))
                weights.append(0.5**n)
    likes = sum(terms) / sum(weights)
    assert float(next_loss(match, table, rows, offset, options).detach()) == pytest.approx(likes, abs=1e-5)
    # A quarter of it to what a teacher expects after every place that is asked from: the last place of the second history is not.
    expected = torch.rand(2, 2, 4, generator=torch.Generator().manual_seed(1)).softmax(-1)
    soft = []
    for n, sequence in enumerate(([0, 1, 2], [3, 0])):
        for at in range(len(sequence) - 1):
            scores = (match(table[sequence[: at + 1]], table) + offset).log_softmax(-1)
            soft.append(-float((expected[n, at] * scores).sum().detach()))
    taught = next_loss(match, table, rows, offset, replace(options, taught=0.25), expected)
    assert float(taught.detach()) == pytest.approx(0.75 * likes + 0.25 * sum(soft) / 3, abs=1e-5)


def test_what_nobody_liked_takes_no_part_where_a_recipe_says_so():
    match, options = Match(1, 6, 4), MatchSettings(dropout=0.0, taught=0.5)
    table = torch.randn(4, 1, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    rows = padded([Window(np.array([0, 1, 3]))])
    expected = torch.rand(1, 2, 4, generator=torch.Generator().manual_seed(1)).softmax(-1)
    counts = np.array([5, 1, 0, 2])
    loss = next_loss(match, table, rows, popularity(counts, liked_only=True), options, expected)
    loss.backward()
    assert table.grad is not None and not table.grad[2].any() and table.grad[[0, 1, 3]].abs().sum(-1).all()
    # It is the loss of a catalog that does not have it, whose teacher expects nothing of it.
    left = torch.tensor([0, 1, 3])
    less = expected[..., left] / expected[..., left].sum(-1, keepdim=True)
    without = next_loss(match, table[left], padded([Window(np.array([0, 1, 2]))]), popularity(counts)[left], options, less)
    assert float(loss.detach()) == pytest.approx(float(without.detach()), abs=1e-5)

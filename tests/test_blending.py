"""Weight and share of a blend: chosen on validation, and not for noise."""

from __future__ import annotations

import numpy as np
import pytest

from mmllm.blending import SHARES, WEIGHTS, case_ndcg, choose, grid, highest, steady
from mmllm.rank_model import Case

ITEMS = 12


def cases(count: int, rng: np.random.Generator, *, known: float) -> tuple[list[Case], list[np.ndarray]]:
    """Cases whose retriever says where the target is with strength 1, and what another score says of strength `known`, each with noise."""
    made, own = [], []
    for _ in range(count):
        target = int(rng.integers(ITEMS))
        wanted = np.arange(ITEMS) == target
        made.append(Case(np.array([99]), np.arange(ITEMS), wanted + rng.normal(size=ITEMS), np.array([target])))
        own.append(known * wanted + rng.normal(size=ITEMS))
    return made, own


def test_a_score_that_knows_something_gets_weight():
    made, own = cases(300, np.random.default_rng(1), known=1.0)
    found = choose(made, [(s, None) for s in own])
    assert 0.1 < found["weight"] <= found["greedy_weight"] and found["share"] == 1
    assert found["retriever"] + 0.03 < found["blend"] <= found["greedy"]
    assert found["lm"] == pytest.approx(np.mean([case_ndcg(c, s) for c, s in zip(made, own, strict=True)]), abs=1e-5)


def test_noise_gets_less_than_the_highest_mean_would_give_it():
    taken = []
    for seed in range(20):
        made, own = cases(60, np.random.default_rng(seed), known=0.0)
        found = choose(made, [(None, s) for s in own])
        taken.append((found["weight"], found["greedy_weight"]))
        assert found["weight"] == found["match_weight"]
    by_rule, greedy = np.array(taken).T
    assert by_rule.mean() < 0.6 * greedy.mean() and (by_rule <= greedy).all() and (by_rule == 0).sum() > (greedy == 0).sum()


def test_the_rule_by_hand():
    # One share; losses against the best (the third weight) of 0.1 and 0.2 in one case of four have standard errors of the same size.
    values = np.full((1, len(WEIGHTS), 4), 0.5)
    values[0, :, :] -= 0.3
    values[0, 2] = 0.5
    values[0, 1] = [0.4, 0.5, 0.5, 0.5]
    values[0, 0] = [0.4, 0.4, 0.4, 0.4]
    assert highest(values) == (0, 2) and steady(values) == (0, 1)


def test_of_the_shares_at_the_weight_the_best():
    rng = np.random.default_rng(3)
    made, own = cases(300, rng, known=1.0)
    _, noise = cases(300, rng, known=0.0)
    found = choose(made, list(zip(own, noise, strict=True)))
    assert found["share"] >= 0.7 and found["weight"] > 0.3 and found["match_weight"] <= 0.1
    values = grid(made[:5], list(zip(own[:5], noise[:5], strict=True)), SHARES)
    assert values.shape == (len(SHARES), len(WEIGHTS), 5) and (values[:, 0] == values[0, 0]).all()


def test_one_case_is_no_sample():
    made, own = cases(1, np.random.default_rng(0), known=3.0)
    assert choose(made, [(own[0], None)])["blend"] == choose(made, [(own[0], None)])["greedy"]

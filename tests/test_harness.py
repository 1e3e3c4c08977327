"""The harness on two invented tastes: every system beats chance where it can, results are honest about their split."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from eval import __main__ as cli
from eval import baselines, neural
from eval.baselines import GRIDS, Grid
from eval.content import Content, Dense, Hybrid, Words
from eval.language import Trained, rerank, shuffled
from eval.ranking import compare, mean_of, measure, summary, tune
from mmllm import catalog, splits
from mmllm.collaborative import Slist
from mmllm.errors import MmllmError
from mmllm.splits import LeakError
from mmllm.types import Item
from tests.test_interactions import people


@pytest.fixture(scope="module")
def split():
    return splits.leave_last_out(people(users=120), least=1)


@pytest.fixture(scope="module")
def content(split):
    """An item's words and vector say its parity, which is the taste."""
    parity = np.array([int(i[1:]) % 2 for i in split.train.items])
    vectors = np.eye(2, dtype=np.float32)[parity] + 0.01 * np.random.default_rng(0).random((len(parity), 2)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    named = [["even"] if p == 0 else ["odd"] for p in parity]
    return Content({n: vectors for n in ("text", "image", "fused")}, named, np.eye(2)[parity])


def ndcg(system, split):
    system.fit(split.refit)
    return measure(system.scores(split.test), split.test, split.refit.counts).values["ndcg@10"].mean()


@pytest.mark.parametrize("name", [n for n in GRIDS if n not in ("random", "popularity", "recent-popularity")])
def test_collaborative_systems_beat_popularity(name, split):
    assert ndcg(GRIDS[name].make(), split) > ndcg(baselines.Popularity(), split) + 0.05


def test_networks_and_content_beat_popularity(split, content):
    least = ndcg(baselines.Popularity(), split) + 0.05
    for system in (
        neural.SasRec(epochs=15, dropout=0.1),
        neural.Tower(content.vectors["fused"], epochs=30),
        neural.Tower(content.vectors["fused"], hidden=16, epochs=30),
        Dense(content.vectors["text"]),
        Words(content.documents),
        Hybrid(content),
    ):
        assert ndcg(system, split) > least, type(system).__name__


def test_settings_are_chosen_on_validation_and_fitted_again(split):
    grid = Grid(baselines.EaseSystem, ({"regularization": 1e9}, {"regularization": 20.0}))
    found = tune(grid, split)
    assert found.tried == 2 and found.scores_test.shape == (len(split.test), len(split.train.items))
    again = baselines.EaseSystem(**found.settings)
    again.fit(split.refit)
    np.testing.assert_array_equal(found.scores_test, again.scores(split.test))
    again.fit(split.train)
    np.testing.assert_array_equal(tune(grid, split, again=False).scores_test, again.scores(split.test))


def test_half_lives_of_a_grid_share_a_weight_that_nothing_else_shares(split):
    def scores(learned, **settings):
        system = baselines.SlistSystem(**settings)
        system.fit(learned)
        return system.scores(split.test)

    asked = [
        (split.train, 100.0, 0.5, 4.0),
        (split.train, 100.0, 0.5, None),
        (split.refit, 100.0, 0.5, None),
        (split.refit, 9.0, 0.2, 4.0),
    ]
    for learned, regularization, transitions, half_life in asked:
        own = dict(regularization=regularization, transitions=transitions, half_life=half_life)
        np.testing.assert_array_equal(scores(learned, **own), Slist.fit(learned, **own).scores(split.test.history))


def test_results_of_different_splits_are_not_compared(split):
    found = tune(Grid(baselines.EaseSystem, ({"regularization": 20.0},)), split)
    values = measure(found.scores_test, split.test, split.refit.counts).values["ndcg@10"].tolist()
    row = {"split_hash": split.hash, "metric": "ndcg@10", "cases": values}
    assert compare(row, row)["p"] == 1.0
    with pytest.raises(MmllmError, match="results of split"):
        compare(row, {**row, "split_hash": "other"})
    with pytest.raises(MmllmError, match="cases by"):
        compare(row, {**row, "metric": "recall@10"})


def test_known_and_new_users_apart():
    made = splits.global_time(people(users=200))
    scores = np.random.default_rng(0).random((len(made.test), len(made.train.items)), dtype=np.float32)
    row = summary(measure(scores, made.test, made.refit.counts), made.test)
    assert row["known_users"]["cases"] + row["new_users"]["cases"] == len(made.test)
    low, high = row["ndcg@10_interval"]
    assert low < row["ndcg@10"] < high


class Oracle:
    """Its readouts know which candidate is right, its match which is wrong."""

    def __call__(self, cases):
        right = [np.isin(c.candidates, c.targets).astype(float) for c in cases]
        return [(r, -r) for r in right]


def test_a_reranker_cannot_find_what_was_not_retrieved(split):
    base = tune(GRIDS["popularity"], split)
    tuning, asked = (base.scores_validation, split.validation), (base.scores_test, split.test)
    found = rerank(tuning, asked, Oracle(), depth=5)
    best = measure(found.scores["alone"], split.test, split.refit.counts)
    # What validation says is followed: the readouts have all of the share, and a match that misleads has no weight.
    assert found.about["blend"]["share"] > 0.5 and found.about["match blend"]["weight"] == 0
    assert (
        measure(found.scores["blend"], split.test, split.refit.counts).values["ndcg@10"].mean() == best.values["ndcg@10"].mean()
    )
    assert (found.scores["match"] != found.scores["alone"]).any()
    assert best.values["recall@10"].mean() >= found.candidate_recall and best.values["mrr@10"].mean() >= found.candidate_recall
    top = measure(base.scores_test, split.test, split.refit.counts).top
    # What was chosen before is taken as it is: an adapter that learned from the validation part would be asked what it knows.
    before = {"weight": 0.0, "share": 1.0, "blend": 0.5, "lm": 0.5}
    kept = rerank(tuning, asked, Oracle(), depth=5, chosen=before)
    assert kept.about["blend"]["weight"] == 0 and set(kept.scores) == {"blend", "alone"}
    # What was not read keeps its place behind what was.
    assert all(set(a[:5]) == set(b[:5]) and (a[5:10] == b[5:10]).all() for a, b in zip(best.top, top, strict=True))


def test_a_shuffled_list_is_what_a_reranker_that_knows_nothing_has(split):
    base = tune(GRIDS["ease"], split)
    before = measure(base.scores_test, split.test, split.refit.counts)
    draws = [measure(s, split.test, split.refit.counts) for s in shuffled(base.scores_test, split.test, depth=5, draws=30)]
    for found in draws[:3]:
        assert all(set(a[:5]) == set(b[:5]) and (a[5:10] == b[5:10]).all() for a, b in zip(found.top, before.top, strict=True))
    mean = mean_of(draws)
    assert (mean.values["recall@10"] == before.values["recall@10"]).all()
    assert len({d.values["ndcg@10"].mean() for d in draws}) > 1
    assert mean.values["ndcg@10"].mean() == pytest.approx(np.mean([d.values["ndcg@10"].mean() for d in draws]))


def test_an_adapter_that_kept_from_another_split_is_refused(split):
    reader = object.__new__(Trained)
    reader.recipe, reader.found = SimpleNamespace(index="there"), {"splits": {split.name: split.hash}}
    reader.adapter = SimpleNamespace(config=SimpleNamespace(name="own"))
    reader.check(split)
    for kept in ({}, {split.name: "0"}, {"global-time": split.hash}):
        reader.found = {"splits": kept}
        with pytest.raises(LeakError, match="own kept from"):
            reader.check(split)
    reader.recipe = SimpleNamespace(index="")
    reader.check(split)  # what was learned from requests alone knows nobody's likes


def test_the_command_writes_compares_and_prints(tmp_path, monkeypatch):
    data = people(users=80)
    folder = tmp_path / "made"
    folder.mkdir()
    catalog.write([Item(i, i) for i in data.items], folder)
    rows = zip(data.user, data.item, data.rating, data.time, strict=True)
    catalog.write_interactions([(data.users[u], data.items[i], float(r), int(t)) for u, i, r, t in rows], folder)
    out = tmp_path / "result.json"
    runner = CliRunner()
    ran = runner.invoke(
        cli.app, ["rank", str(folder), "--out", str(out), "--split", "leave-last-out", "--systems", "popularity,ease"]
    )
    assert ran.exit_code == 0, ran.output
    ran = runner.invoke(cli.app, ["rank", str(folder), "--out", str(out), "--split", "leave-last-out", "--systems", "item-item"])
    assert ran.exit_code == 0, ran.output
    found = json.loads(out.read_text())
    assert set(found["systems"]) == {"popularity", "ease", "item-item"} == set(found["cases"])
    assert {"commit", "versions", "seed", "split_hash", "ranking"} <= set(found)
    compared = runner.invoke(cli.app, ["compare", f"{out}:ease", f"{out}:popularity"])
    assert json.loads(compared.output)["difference"] > 0
    twice = runner.invoke(cli.app, ["compare", f"{out}:ease,{out}:ease", f"{out}:popularity,{out}:popularity"])
    one, pooled = json.loads(compared.output), json.loads(twice.output)
    assert pooled["cases"] == 2 * one["cases"] and pooled["difference"] == one["difference"] and pooled["p"] <= one["p"]
    uneven = runner.invoke(cli.app, ["compare", f"{out}:ease,{out}:ease", f"{out}:popularity"])
    assert uneven.exit_code == 1 and "results of split" in uneven.output
    table = runner.invoke(cli.app, ["table", str(out)])
    assert "| ease |" in table.output and found["split_hash"] in table.output
    for arguments, word in (
        (["rank", str(folder), "--out", str(out)], "holds results of split"),
        (["rank", str(folder), "--out", str(out), "--split", "leave-last-out", "--once"], "does not hold systems fitted once"),
        (["rank", str(folder), "--out", str(out), "--split", "mine"], "split 'mine'"),
        (["rank", str(folder), "--out", str(out), "--systems", "bm25"], "content systems need --index"),
        (["compare", f"{out}:ease", f"{out}:none"], "no system 'none'"),
    ):
        failed = runner.invoke(cli.app, arguments)
        assert failed.exit_code == 1 and word in failed.output, failed.output

"""The bench: tune on validation, fit again, rank the whole catalog, measure, compare. Numbers come with intervals and a split's hash."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eval import metrics
from eval.baselines import Grid
from mmllm.errors import MmllmError
from mmllm.interactions import Cases, Split

PLACES = (10, 50)
TUNE = "ndcg@10"
TIES = "equal scores: the item of the smaller number in the split's order of items first"


@dataclass(frozen=True)
class Measured:
    """values: metric -> [C], per case; of_run: metrics of the whole run; top: [C, k]."""

    values: dict[str, np.ndarray]
    of_run: dict[str, float]
    top: np.ndarray


def measure(
    scores: np.ndarray, cases: Cases, counts: np.ndarray, *, features: np.ndarray | None = None, kinds: np.ndarray | None = None
) -> Measured:
    """Full ranking of scores [C, I]: every metric at every place of PLACES. counts [I] are the training counts.

    features [I, D] (unit rows) give diversity, kinds [I, G] calibration.
    """
    truth = cases.matrix("targets")
    top = metrics.top_k(scores, cases.matrix("seen"), max(PLACES))
    hits, relevant = metrics.hits_of(top, truth), np.asarray(truth.sum(axis=1)).ravel().astype(int)
    values = {f"{name}@{k}": f(hits[:, :k], relevant) for k in PLACES for name, f in metrics.RANKING.items()}
    head, items = top[:, :10], scores.shape[1]
    history = cases.matrix("history")
    of_run = {
        "coverage@10": metrics.coverage(head, items),
        "gini@10": metrics.gini(head, items),
        "novelty@10": metrics.novelty(head, counts),
        "popularity_lift@10": metrics.popularity_lift(head, history, counts),
    }
    if features is not None:
        of_run["diversity@10"] = metrics.diversity(head, features)
    if kinds is not None:
        of_run["calibration_kl@10"] = metrics.calibration(head, history, kinds)
    return Measured(values, of_run, top)


def mean_of(found: Sequence[Measured]) -> Measured:
    """Several rankings of the same cases as one: what to expect of a system that draws."""
    first = found[0]
    values = {name: np.mean([m.values[name] for m in found], axis=0) for name in first.values}
    return Measured(values, {name: float(np.mean([m.of_run[name] for m in found])) for name in first.of_run}, first.top)


def summary(measured: Measured, cases: Cases) -> dict[str, Any]:
    """Means with intervals, warm and new users apart, and every case's ndcg@10 for paired tests."""
    out: dict[str, Any] = {}
    for name, values in measured.values.items():
        out[name] = round(float(values.mean()), 5)
        if name in ("ndcg@10", "recall@50"):
            out[f"{name}_interval"] = [round(v, 5) for v in metrics.interval(values)]
    out |= {name: round(value, 5) for name, value in measured.of_run.items()}
    for name, mask in (("known_users", ~cases.new), ("new_users", cases.new)):
        if mask.any() and not mask.all():
            out[name] = {"cases": int(mask.sum()), "ndcg@10": round(float(measured.values["ndcg@10"][mask].mean()), 5)}
    return out


@dataclass(frozen=True)
class Result:
    """One system on one split: the chosen settings, what was tried, and scores on validation (of the train fit) and test (of the refit)."""

    settings: dict[str, Any]
    tried: int
    validation: float
    seconds: float
    scores_validation: np.ndarray
    scores_test: np.ndarray


def tune(grid: Grid, split: Split, *, again: bool = True) -> Result:
    """Every setting is fitted on train and measured on validation; the best is fitted `again` on all before the test."""
    started = time.monotonic()
    truth, seen = split.validation.matrix("targets"), split.validation.matrix("seen")
    relevant = np.asarray(truth.sum(axis=1)).ravel().astype(int)
    best: tuple[float, Mapping[str, Any], np.ndarray] | None = None
    for settings in grid.settings:
        system = grid.make(**settings)
        system.fit(split.train)
        scores = system.scores(split.validation)
        found = float(metrics.ndcg(metrics.hits_of(metrics.top_k(scores, seen, 10), truth), relevant).mean())
        if best is None or found > best[0]:
            best = (found, settings, scores)
    if best is None:
        raise MmllmError("a grid without settings")
    system = grid.make(**best[1])
    system.fit(split.refit if again else split.train)
    seconds = round(time.monotonic() - started, 2)
    return Result(dict(best[1]), len(grid.settings), best[0], seconds, best[2], system.scores(split.test))


def compare(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    """Paired comparison of {"split_hash", "metric", "cases": values [C]} of two systems; refused where their splits or metrics differ."""
    if a["split_hash"] != b["split_hash"]:
        raise MmllmError(
            f"results of split {a['split_hash']} and of {b['split_hash']}", expected="the same split", do="run both again"
        )
    metric = a["metric"]
    if b["metric"] != metric:
        raise MmllmError(f"cases by {metric} and by {b['metric']}", expected="the same metric")
    x, y = np.array(a["cases"]), np.array(b["cases"])
    low, high = metrics.interval(x - y)
    return {
        "metric": metric,
        "cases": len(x),
        "a": round(float(x.mean()), 5),
        "b": round(float(y.mean()), 5),
        "difference": round(float((x - y).mean()), 5),
        "interval": [round(low, 5), round(high, 5)],
        "p": round(metrics.paired_p(x, y), 5),
        "detectable_difference": round(metrics.detectable(x, y), 5),
    }

"""What does each modality do for a trained adapter? It is left out, replaced by noise, or shuffled among items, at the time of asking.

The adapter is the same throughout: this says what it uses, not what another training would have made of the rest (train a recipe with other
`inputs` or `noise` for that).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from eval import metrics
from eval.language import Trained
from mmllm.blending import blend, case_ndcg
from mmllm.errors import MmllmError
from mmllm.interactions import Cases
from mmllm.rank_model import Case, ItemFeatures
from mmllm.rerank import joined

SHARES = (0.2, 0.4, 0.6, 0.8)


def conditions(
    inputs: Sequence[str], present: Sequence[str], form: str = "soft"
) -> dict[str, Callable[[ItemFeatures], ItemFeatures]]:
    """Name -> what is done to the features: every subset of the inputs, noise, shuffling, growing shares of missing data, and numbers in
    place of titles where the `form` has titles.

    `present` are the inputs that any item has: the others make no condition, and none does where the form reads text alone.
    """
    own = [i for i in inputs if i in present]
    out: dict[str, Callable[[ItemFeatures], ItemFeatures]] = {"all": lambda f: f}
    if form != "soft":
        out["titles anonymised"] = ItemFeatures.anonymised
    if form == "text":
        return out
    for size in range(len(own) - 1, 0, -1):
        for subset in itertools.combinations(own, size):
            out["only " + " + ".join(subset)] = lambda f, s=subset: f.only(s)  # type: ignore[misc]
    for name in own:
        out[f"{name} as noise"] = lambda f, n=name: f.noised([n])  # type: ignore[misc]
        out[f"{name} shuffled"] = lambda f, n=name: f.shuffled([n])  # type: ignore[misc]
    for share in SHARES:
        out[f"{share:.0%} missing"] = lambda f, s=share: f.missing(s)  # type: ignore[misc]
    return out


def ablate(
    reader: Trained,
    cases: Sequence[Case],
    weight: float,
    *,
    note: Callable[[str, dict[str, Any]], None],
    wanted: Sequence[str] = (),
) -> dict[str, Any]:
    """Condition -> nDCG@10 of the readouts alone, the match alone and the blend, each with the drop from "all" and its interval over cases.

    Of the conditions only those that are `wanted`, if any are named.
    """
    forms = {"alone": (1.0, 1.0), "match": (0.0, 1.0), "blend": (reader.share, weight)}

    def measured(asked: Trained) -> dict[str, np.ndarray]:
        parts = asked(cases)
        there = {"alone": parts[0][0] is not None, "match": parts[0][1] is not None, "blend": True}
        own = {form: [joined(r, m, share) for r, m in parts] for form, (share, _) in forms.items() if there[form]}
        return {
            form: np.array([case_ndcg(c, blend(c, s, forms[form][1])) for c, s in zip(cases, rows, strict=True)])
            for form, rows in own.items()
        }

    return _told(reader, measured, "ndcg@10", note, wanted)


def ablate_whole(
    reader: Trained, cases: Cases, *, note: Callable[[str, dict[str, Any]], None], wanted: Sequence[str] = ()
) -> dict[str, Any]:
    """Condition -> recall@50 of the match over the whole catalog, with the drop from "all" and its interval over cases."""
    truth, seen = cases.matrix("targets"), cases.matrix("seen")
    relevant = np.asarray(truth.sum(axis=1)).ravel().astype(int)

    def measured(asked: Trained) -> dict[str, np.ndarray]:
        top = metrics.top_k(asked.model.whole(cases.history), seen, 50)
        return {"match": metrics.recall(metrics.hits_of(top, truth), relevant)}

    return _told(reader, measured, "recall@50", note, wanted)


def _told(
    reader: Trained,
    measured: Callable[[Trained], dict[str, np.ndarray]],
    metric: str,
    note: Callable[[str, dict[str, Any]], None],
    wanted: Sequence[str],
) -> dict[str, Any]:
    """Condition -> form -> the metric's mean over cases, its drop from "all", and the interval of that."""
    present = [n for k, n in enumerate(reader.items.values) if bool(reader.items.mask[:, k].any())]
    out: dict[str, Any] = {}
    whole: dict[str, np.ndarray] = {}
    known = conditions(reader.inputs, present, reader.form)
    if unknown := [name for name in wanted if name not in known]:
        raise MmllmError(f"condition {unknown[0]!r}", expected=", ".join(known))
    for name, change in known.items():
        if wanted and name not in ("all", *wanted):
            continue
        row: dict[str, Any] = {}
        for form, values in measured(reader.reading(change(reader.items))).items():
            drop = whole.setdefault(form, values) - values
            low, high = metrics.interval(drop)
            row[form] = {metric: round(float(values.mean()), 5), "drop": round(float(drop.mean()), 5)}
            row[form]["interval"] = [round(low, 5), round(high, 5)]
        out[name] = row
        note(name, row)
    return out

"""Predict a label from an item's features: a random share of the items is learned from, the rest asked (`--split ratio:0.8`).

The plain use of a multimodal catalog in one CSV of text, image, audio and label: a logistic regression over each modality, over all side by
side, and over the fused vector, beside the most frequent label. Accuracy, balanced recall, and AUC (of several labels: one against the rest,
averaged).
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from eval import metrics
from mmllm.errors import MmllmError
from mmllm.settings import SEED
from mmllm.store import Store
from mmllm.types import MODALITIES


def share(text: str) -> float:
    """ "ratio:0.8" -> 0.8."""
    kind, _, value = text.partition(":")
    try:
        found = float(value)
    except ValueError:
        found = 0.0
    if kind != "ratio" or not 0 < found < 1:
        raise MmllmError(f"split {text!r}", expected="ratio:SHARE, with a share between 0 and 1, such as ratio:0.8")
    return found


def read(file: Path, store: Store, *, id_column: str, label: str) -> dict[int, str]:
    """Row of the index -> label, of a CSV. A label that is an attribute of the catalog too is refused: the items' text would tell it."""
    if any(label in item.attributes for item in store.items):
        raise MmllmError(
            f"{label!r} is an attribute of the catalog, which its text encoding has read",
            expected="an index that was built without it",
            do="import the CSV without this column",
        )
    try:
        with file.open(encoding="utf-8", newline="") as text:
            rows = csv.DictReader(text)
            if missing := {id_column, label} - set(rows.fieldnames or ()):
                raise MmllmError(f"{file} has no column {sorted(missing)[0]!r}", expected=", ".join(rows.fieldnames or ()))
            found = {store.row[r[id_column]]: r[label] for r in rows if r[id_column] in store.row and r[label]}
    except OSError as error:
        raise MmllmError(f"{file} cannot be read: {error}", expected="a CSV with a header") from None
    if not found:
        raise MmllmError(f"no row of {file} is an item of the index with a label", expected=f"ids in {id_column!r}")
    return found


def predict(store: Store, labelled: Mapping[int, str], *, ratio: float, seed: int = SEED) -> dict[str, Any]:
    """System -> accuracy with its interval, recall and AUC on the items asked. `labelled`: row of the index -> label."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import recall_score, roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = sorted(labelled)
    y = np.array([labelled[n] for n in rows])
    order = np.random.default_rng(seed).permutation(len(rows))
    cut = round(ratio * len(rows))
    learned, asked = order[:cut], order[cut:]
    classes, counts = np.unique(y[learned], return_counts=True)
    asked = asked[np.isin(y[asked], classes)]  # a label that was never learned cannot be predicted
    if len(classes) < 2 or not len(asked):
        raise MmllmError(
            f"{len(classes)} label(s) to learn, {len(asked)} items to ask", expected="two labels and one item at least"
        )
    inputs = {m: store.features[m]["values"][rows] * store.features[m]["present"][rows][:, None] for m in MODALITIES}
    inputs = {m: v for m, v in inputs.items() if np.abs(v).sum() > 0}
    inputs = {**inputs, "all side by side": np.concatenate(list(inputs.values()), axis=1), "fused": store.fused["pooled"][rows]}
    most = classes[counts.argmax()]
    out = {"most frequent": _row(y[asked], np.full(len(asked), most), None)}
    for name, x in inputs.items():
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
        model.fit(x[learned], y[learned])
        chance = model.predict_proba(x[asked])
        found = model.predict(x[asked])
        present = np.unique(y[asked])
        area = None
        if len(classes) == 2 and len(present) == 2:
            area = float(roc_auc_score(y[asked] == classes[1], chance[:, 1]))
        elif len(classes) > 2:
            area = float(np.mean([roc_auc_score(y[asked] == c, chance[:, n]) for n, c in enumerate(classes) if c in present]))
        out[name] = _row(y[asked], found, area) | {"recall": round(float(recall_score(y[asked], found, average="macro")), 5)}
    return {"learned": len(learned), "asked": len(asked), "labels": len(classes), "seed": seed, "systems": out}


def _row(true: np.ndarray, found: np.ndarray, area: float | None) -> dict[str, Any]:
    right = (true == found).astype(float)
    low, high = metrics.interval(right)
    row: dict[str, Any] = {"accuracy": round(float(right.mean()), 5), "accuracy_interval": [round(low, 5), round(high, 5)]}
    return row if area is None else row | {"auc": round(area, 5)}

"""One result file of several systems: opened again, added to, read back. Written whole and renamed, so that none is ever half there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import typer

from eval.machine import machine
from eval.ranking import TIES
from mmllm import interactions
from mmllm.errors import MmllmError
from mmllm.settings import SEED


def start(out: Path, dataset: str, made: interactions.Split, *, again: bool = True) -> dict[str, Any]:
    """The result in `out`, or a new one; refused where that holds another split, or systems that were not fitted `again` alike."""
    about = {
        "dataset": dataset,
        "split": made.name,
        "split_hash": made.hash,
        "items": len(made.train.items),
        "trained_on": len(made.refit),
        "validation_cases": len(made.validation),
        "test_cases": len(made.test),
        "test_targets": sum(len(t) for t in made.test.targets),
        "ranking": f"full, seen items removed; {TIES}",
        "fitted_again": again,
        "seed": SEED,
    }
    if out.is_file():
        old = json.loads(out.read_text())
        if old["split_hash"] != made.hash:
            raise MmllmError(f"{out} holds results of split {old['split_hash']}, this is {made.hash}", do="write to another file")
        if old.get("fitted_again", True) is not again:
            kinds = "with the validation part" if again else "once"
            raise MmllmError(f"{out} does not hold systems fitted {kinds}", do="write to another file")
        return dict(old)
    return about | {"systems": {}, "cases": {}}


def keep(result: dict[str, Any], out: Path, name: str, row: dict[str, Any], values: np.ndarray) -> None:
    """Put one system and its value per case into the result, and write it."""
    here = machine(("torch", "transformers", "peft", "numpy", "scipy", "implicit"))
    # Rows are added on other days than those before them.
    result["systems"][name] = row | {"commit": here["commit"], "date": here["date"]}
    result["cases"][name] = [round(float(v), 6) for v in values]
    result |= here
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(out.name + ".part")
    cases = result.pop("cases")
    text = (
        json.dumps(result, indent=1)[:-2]
        + ',\n "cases": {\n'
        + ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in cases.items())
        + "\n }\n}\n"
    )
    result["cases"] = cases
    part.write_text(text)
    part.rename(out)
    more = f" recall@50 {row['recall@50']:.4f} ({row['seconds']} s)" if "recall@50" in row else ""
    typer.echo(f"{name}: nDCG@10 {row['ndcg@10']:.4f} {row['ndcg@10_interval']}{more}")


def cases(result: Path, system: str) -> dict[str, Any]:
    """One system's cases, as `ranking.compare` takes them."""
    found = json.loads(result.read_text())
    if system not in found["systems"]:
        raise MmllmError(f"no system {system!r} in {result}", expected=", ".join(found["systems"]))
    return {"split_hash": found["split_hash"], "metric": found.get("metric_of_cases", "ndcg@10"), "cases": found["cases"][system]}

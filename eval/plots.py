"""Results as pictures, PNG and SVG: systems with their intervals, and what is lost as data go missing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmllm.errors import MmllmError


def draw(result: Mapping[str, Any], out: Path) -> list[Path]:
    """Write out.png and out.svg of a result of `rank`, `dialogues`, `requests` or `ablate`; the files written."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib.figure import Figure

    rows = result.get("systems") or result.get("conditions")
    if not rows:
        raise MmllmError("a result without systems or conditions", expected="what rank, dialogues, requests or ablate wrote")
    figure = Figure(figsize=(8, 0.9 + 0.3 * len(rows)), layout="constrained")
    if "conditions" in result:
        _conditions(figure, result)
    else:
        _systems(figure, result)
    out.parent.mkdir(parents=True, exist_ok=True)
    files = [out.with_suffix(suffix) for suffix in (".png", ".svg")]
    for file in files:
        # No date in the file, so that the same result gives the same picture.
        figure.savefig(file, dpi=120, metadata={"Date": None} if file.suffix == ".svg" else {"Software": None})
    return files


def _systems(figure: Any, result: Mapping[str, Any]) -> None:
    """Mean and 95 % interval of every system, best on top; what reranks the list of another in another colour."""
    metric = result.get("metric_of_cases", "ndcg@10")
    rows = sorted(result["systems"].items(), key=lambda pair: pair[1][metric])
    axes = figure.subplots()
    for n, (_, row) in enumerate(rows):
        low, high = row[f"{metric}_interval"]
        colour = "tab:orange" if "base" in row else "tab:blue"
        axes.plot([low, high], [n, n], color=colour, linewidth=2)
        axes.plot([row[metric]], [n], "o", color=colour)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.set(xlabel=f"{metric}, 95 % interval", title=f"{result['dataset']}, {result['split']}, {result['test_cases']} cases")
    axes.grid(axis="x", alpha=0.3)


def _conditions(figure: Any, result: Mapping[str, Any]) -> None:
    """The drop of every condition against all features, with its interval."""
    rows = [(name, row) for name, row in result["conditions"].items() if name != "all"][::-1]
    axes = figure.subplots()
    forms = list(rows[0][1])
    metric = "recall@50" if "recall@50" in rows[0][1][forms[0]] else "nDCG@10"
    for shift, form in enumerate(forms):
        colour = f"C{shift}"
        for n, (_, row) in enumerate(rows):
            low, high = row[form]["interval"]
            at = n + 0.25 * (shift - (len(forms) - 1) / 2)
            axes.plot([low, high], [at, at], color=colour, linewidth=2)
            axes.plot([row[form]["drop"]], [at], "o", color=colour, label=form if n == 0 else None)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.set(xlabel=f"drop in {metric}, 95 % interval", title=f"{result['adapter']}, {result['split']}, {result['cases']} cases")
    axes.legend()
    axes.grid(axis="x", alpha=0.3)

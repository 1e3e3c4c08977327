"""`python -m eval`: rank (systems on a split), compare (two systems), table (Markdown of results), and what `commands_*.py` hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from eval import commands_catalog, commands_rank, commands_talk, reading_examples, record, slots
from eval.ranking import compare
from mmllm.errors import MmllmError
from mmllm.settings import quiet_libraries
from mmllm.terminal import guarded

app = typer.Typer(no_args_is_help=True, add_completion=False, help="The offline evaluation harness.")
for command in (
    commands_rank.rank,
    commands_rank.ablate,
    commands_rank.dialogues,
    commands_catalog.requests,
    commands_catalog.labels,
    commands_catalog.explanations,
    commands_talk.simulate,
):
    app.command()(command)
app.command(name="slots")(guarded(slots.command))
app.command(name="words")(guarded(reading_examples.command))


@app.command()
@guarded
def plot(
    result: Annotated[Path, typer.Argument(help="What rank, dialogues, requests or ablate wrote.")],
    out: Annotated[Path | None, typer.Option(help="Path without an ending; beside the result if left out.")] = None,
) -> None:
    """Draw a result: PNG and SVG."""
    from eval.plots import draw

    for file in draw(json.loads(result.read_text()), out or result.with_suffix("")):
        typer.echo(str(file))


@app.command(name="compare")
@guarded
def compare_command(
    a: Annotated[str, typer.Argument(help="RESULT.json:SYSTEM; several, separated by commas, are pooled.")],
    b: Annotated[str, typer.Argument(help="As many, of the same splits in the same order.")],
) -> None:
    """Paired difference of two systems with its interval and p, over the cases of one result or of several; other splits are refused."""
    rows: list[dict[str, Any]] = []
    for given in (a, b):
        pooled: dict[str, Any] = {"split_hash": [], "metric": "", "cases": []}
        for one in given.split(","):
            file, colon, system = one.rpartition(":")
            if not colon or not Path(file).is_file():
                raise MmllmError(f"{one!r}", expected="RESULT.json:SYSTEM")
            row = record.cases(Path(file), system)
            pooled["split_hash"].append(row["split_hash"])
            pooled["cases"] += row["cases"]
            if pooled["metric"] not in ("", row["metric"]):
                raise MmllmError(f"cases by {pooled['metric']} and by {row['metric']}", expected="the same metric")
            pooled["metric"] = row["metric"]
        rows.append(pooled)
    typer.echo(json.dumps(compare(rows[0], rows[1]), indent=1))


@app.command()
@guarded
def table(results: Annotated[list[Path], typer.Argument(help="Results of `rank`.")]) -> None:
    """A Markdown table of results."""
    for file in results:
        found = json.loads(file.read_text())
        typer.echo(
            f"\n{found['dataset']}, {found['split']} ({found['split_hash']}), {found['test_cases']} cases, {found['items']} items\n"
        )
        names = ["ndcg@10", "recall@10", "recall@50", "hit@10", "mrr@10", "coverage@10", "novelty@10"]
        typer.echo("| system | " + " | ".join(names) + " | settings |\n|" + "---|" * (len(names) + 2))
        for system, row in sorted(found["systems"].items(), key=lambda pair: -pair[1]["ndcg@10"]):
            low, high = row["ndcg@10_interval"]
            cells = [f"{row['ndcg@10']:.4f} [{low:.4f}, {high:.4f}]", *(f"{row[n]:.4f}" for n in names[1:])]
            settings = row.get("settings") or {k: row[k] for k in ("base", "depth", "weight") if k in row}
            typer.echo(f"| {system} | " + " | ".join(cells) + " | " + " ".join(f"{k}={v}" for k, v in settings.items()) + " |")


if __name__ == "__main__":
    quiet_libraries()
    app()

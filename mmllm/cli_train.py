"""`mmllm train` and `mmllm adapt`. Registered by `cli.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def train(
    target: Annotated[str, typer.Argument(help="A recipe.toml of an adapter, or `clip` for clip-mini's projections.")],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Folder for what is trained, its recipe and metrics; a stopped run goes on.")
    ],
    recipe: Annotated[Path | None, typer.Option(help="For `clip`: a recipe, such as adapters/clip-mini/recipe.toml.")] = None,
    finish: Annotated[bool, typer.Option("--finish", help="Train no further: make the adapter of the best step so far.")] = False,
    work: Annotated[
        Path | None, typer.Option(help="For `clip`: keep catalogs and features here, so that a stopped run goes on.")
    ] = None,
    log_with: Annotated[
        str, typer.Option(help="Trackers beside metrics.jsonl, separated by commas: tensorboard, trackio, wandb, ...")
    ] = "",
) -> None:
    """Train an adapter (LoRA and fusion) by its recipe, or clip-mini."""
    from mmllm.errors import MmllmError
    from mmllm.terminal import ProgressBars, columns

    if target == "clip":
        from mmllm import weights
        from mmllm.train_clip import ClipRecipe, train_clip

        if recipe is None:
            raise MmllmError("train clip without --recipe", do="pass --recipe adapters/clip-mini/recipe.toml")
        for name in ("efficientnet-lite0", "all-minilm-l6-v2"):
            weights.pull(name)
        metrics = train_clip(ClipRecipe.read(recipe), out, work=work, progress=ProgressBars())
    else:
        from mmllm.train import run

        if recipe is not None or work is not None:
            raise MmllmError("--recipe and --work belong to `mmllm train clip`", do="leave them out")
        metrics = run(Path(target), out, progress=ProgressBars(), finish=finish, log_with=columns(log_with))
    typer.echo(json.dumps(metrics, indent=1))


def adapt(
    folder: Annotated[Path, typer.Argument(help="An index folder; it is changed only if held-out recall improves.")],
    share: Annotated[float, typer.Option(help="Share of the items held out.")] = 0.1,
    test: Annotated[Path | None, typer.Option(help="A file with the ids to hold out, one a line, instead of a share.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Fit CLIP's projections and the fusion to this catalog's own pictures, words and voices; minutes, no labels."""
    from dataclasses import asdict

    from mmllm.adapt import adapt as run
    from mmllm.errors import MmllmError
    from mmllm.terminal import ProgressBars
    from mmllm.validate import weight_line

    if not 0 < share < 1:
        raise MmllmError(f"--share {share}", expected="a number between 0 and 1", do="leave it out for 0.1")
    if test is not None and not test.is_file():
        raise MmllmError(f"{test} is not a file", expected="ids, one a line")
    ids = test.read_text(encoding="utf-8").split() if test else None
    report = run(folder, share=share, test=ids, progress=ProgressBars())
    line = (
        weight_line(folder) if report.kept or report.fusion_kept else ""
    )  # the old weight was chosen for another order of retrieval
    if as_json:
        typer.echo(json.dumps(asdict(report), indent=1))
        return
    typer.echo(f"trained on {report.trained_on} items, {report.held_out} held out, {report.seconds} s")
    for stage, before, after, kept in (
        ("projections", report.before, report.after, report.kept),
        ("fusion", report.fusion_before, report.fusion_after, report.fusion_kept),
    ):
        for name in ("text_to_image", "image_to_text"):
            for k in (1, 5, 10):
                key = f"{name}_recall@{k}"
                typer.echo(f"{stage}: {name.replace('_', '-')} recall@{k} {before[key]:.2f} -> {after[key]:.2f}")
        typer.echo(f"{stage}: kept" if kept else f"{stage}: not kept, held-out recall@10 did not improve enough")
    if line:
        typer.echo(line)

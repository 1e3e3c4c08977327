"""`mmllm data report`. Registered by `cli.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def data_report(
    folder: Annotated[Path, typer.Argument(help="A catalog folder.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Write an HTML page with pictures here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Near-duplicate and blank pictures, silent sounds, empty texts, languages, share of each modality."""
    from mmllm.progress import Progress
    from mmllm.report import RULES, page, report

    found = report(folder, progress=Progress())
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page(found, folder), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(found.to_dict(), ensure_ascii=False, indent=1))
        return
    shares = ", ".join(f"{name} {share:.0%}" for name, share in found.shares.items())
    languages = ", ".join(f"{code} {count}" for code, count in found.languages.items())
    typer.echo(f"{found.items} items: {shares}\nlanguages: {languages}")
    for kind, count in found.counts().items():
        examples = ", ".join(f.item for f in found.findings if f.kind == kind and count)
        typer.echo(f"{count:6} {kind:24} {examples[:60] if count else RULES[kind]}")
    if out is not None:
        typer.echo(f"page: {out}")

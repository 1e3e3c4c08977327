"""A quality report as one HTML file that needs nothing else: no script, no network, pictures inside as small JPEGs."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from PIL import Image

from mmllm.errors import MediaError, MmllmError
from mmllm.media import load_image
from mmllm.quality import RULES, UNSURE, Finding, Report
from mmllm.types import Item

TEMPLATE = Path(__file__).with_name("report.html")
THUMBNAIL = 128
MOST = 60
"""Items shown per kind; the rest is counted on the page and listed whole by --json."""


def write_page(report: Report, items: Sequence[Item], out: Path) -> None:
    """Write the page by rename; MmllmError where it cannot be written."""
    if out.is_dir():
        raise MmllmError(f"{out} is a folder", expected="the name of an HTML file", do=f"for example -o {out / 'report.html'}")
    part = out.with_name(out.name + ".part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(render(report, items), encoding="utf-8")
        os.replace(part, out)
    except OSError as error:
        raise MmllmError(f"{out} cannot be written ({error.strerror})", expected="a place for an HTML file") from None


def render(report: Report, items: Sequence[Item]) -> str:
    """The whole page. Every text of the catalog is escaped by jinja2."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    titles = {i.id: i.title for i in items}
    thumbnail = partial(_thumbnail, Path(report.catalog))
    sections = [_section(kind, report.of(kind), titles, thumbnail) for kind, n in report.counts().items() if n]
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        report=report,
        name=Path(report.catalog).resolve().name,
        sections=sections,
        clean=[RULES[kind].title for kind, n in report.counts().items() if not n],
        troubled=len({f.item for f in report.findings if f.kind not in ("other_colours", "unusable_line")}),
        unsure=UNSURE,
    )


def _section(kind: str, findings: Sequence[Finding], titles: dict[str, str], thumbnail: Any) -> dict[str, Any]:
    """One kind for the template: its rule, and its cards in groups (one group where the kind has none), up to `MOST` cards."""
    groups: list[list[dict[str, Any]]] = []
    for _, members in groupby(findings[:MOST], key=lambda f: f.group):
        groups.append(
            [
                {"finding": f, "title": titles.get(f.item, f.item), "picture": thumbnail(f), "text": isinstance(f.measured, str)}
                for f in members
            ]
        )
    numbered = findings[0].group is not None
    return {
        "kind": kind,
        "rule": RULES[kind],
        "count": len(findings),
        "clusters": len({f.group for f in findings}) if numbered else None,
        "groups": groups,
        "left_out": max(0, len(findings) - MOST),
    }


def _thumbnail(folder: Path, finding: Finding) -> str | None:
    """A data URI of the finding's picture, or None where it has none that can be decoded."""
    if finding.file is None or RULES[finding.kind].modality == "audio" or finding.kind == "unreadable_image":
        return None
    try:
        image = load_image(folder / finding.file)
    except MediaError:
        return None  # it has a finding of its own that says so
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=75)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()

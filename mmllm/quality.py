"""What a data quality report says: its rules with their limits, a finding, and the whole. `report.py` fills it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mmllm import near_duplicates, settings

BLANK = 3.0
TINY = 64
SILENT = -50.0
CLIPPED = 0.1
FULL_SCALE, CLIP_RUN = 0.99, 3
SURE = 0.5
LANGUAGES = (
    "ar bg bn ca cs da de el en es et fa fi fr gu he hi hr hu id it ja kn ko lt lv mk ml mr ms nl no pl pt ro ru sk sl sq sr "
    "sv sw ta te th tl tr uk ur vi zh"
)
"""The languages told apart, ISO 639-1. The identifier knows 140; with all of them a title of three words is sure of none."""
UNSURE = "unsure"


@dataclass(frozen=True)
class Rule:
    """What a kind of finding means: `measured` in which `unit`, the `limit` that is right, and why that one."""

    title: str
    modality: str
    measured: str
    unit: str
    limit: str
    why: str


RULES: dict[str, Rule] = {
    "unusable_line": Rule(
        "Unusable lines", "catalog", "what `data validate` says", "", "none", "Left out, or the build stops at it."
    ),
    "unreadable_image": Rule(
        "Pictures that cannot be decoded", "image", "the decoder's words", "", "none", "The build stops at it."
    ),
    "blank_image": Rule(
        "Blank pictures",
        "image",
        "largest standard deviation of a colour channel, of 255",
        "",
        f"at least {BLANK:g}",
        "Transparency is laid on white, so a white drawing is blank. JPEG noise on one colour stays below 2.",
    ),
    "near_duplicate_image": Rule(
        "Nearly the same picture",
        "image",
        "colour difference to the nearest of the group, in units of contrast",
        "",
        f"over {near_duplicates.SAME:g}",
        f"Pairs whose 64-bit perceptual hashes differ in at most {near_duplicates.HASH_BITS} bits are compared at 32x32 pixels. Half the "
        "size or JPEG quality 30 gives 0.01 to 0.06, both at once more; crops of 3 % "
        "and mirrored pictures are not found. Blank pictures are left out.",
    ),
    "other_colours": Rule(
        "The same shape in other colours",
        "image",
        "colour difference to the nearest of the group, in units of contrast",
        "",
        "no limit, for information",
        f"The hashes are near and the grey levels correlate with at least {near_duplicates.SHAPE:g}. Often variants, which is fine; a "
        "brighter copy of one file is here too.",
    ),
    "tiny_image": Rule(
        "Tiny pictures",
        "image",
        "long side",
        "px",
        f"at least {TINY} px",
        "Encoders read 176 px and more; what is a third of that is mostly made up by resizing.",
    ),
    "unreadable_audio": Rule(
        "Sounds that cannot be decoded", "audio", "the decoder's words", "", "none", "The build stops at it."
    ),
    "long_audio": Rule(
        "Sounds that are too long",
        "audio",
        "the decoder's words",
        "",
        f"at most {settings.MAX_AUDIO_SECONDS:g} s",
        "The build stops at it.",
    ),
    "silent_audio": Rule(
        "Silent sounds",
        "audio",
        "RMS of the loudest 50 ms, dB of full scale",
        "dB",
        f"at least {SILENT:g} dB",
        "A quiet voice has -40 dB and more. Full silence is given as -120 dB.",
    ),
    "clipped_audio": Rule(
        "Clipped sounds",
        "audio",
        f"samples in runs of {CLIP_RUN} or more at {FULL_SCALE:.0%} of full scale",
        "%",
        f"below {CLIPPED:g} %",
        "Flat tops at full scale. What was clipped and then turned down is not seen.",
    ),
    "empty_text": Rule(
        "Empty texts",
        "text",
        "letters and digits in the text",
        "",
        "at least 1",
        "The title alone is embedded; reasons have little to say.",
    ),
    "duplicate_title": Rule(
        "Titles that occur more than once",
        "text",
        "how many have that title",
        "items",
        "1 item",
        "Case and blanks aside. People cannot tell them apart in a list.",
    ),
}


@dataclass(frozen=True)
class Finding:
    """An item that breaks a rule. `item` is its id, or "line N"; `group` numbers those that belong together, from 1."""

    kind: str
    item: str
    measured: float | str
    limit: str
    file: str | None = None
    group: int | None = None


@dataclass(frozen=True)
class Report:
    """`modalities`: name -> items that have it; `languages`: ISO code or "unsure" -> items; `combinations`: "text+image" -> items.

    `examples` holds up to three titles of each language. `items` are those of usable lines.
    """

    catalog: str
    catalog_hash: str
    items: int
    modalities: Mapping[str, int]
    combinations: Mapping[str, int]
    languages: Mapping[str, int]
    examples: Mapping[str, tuple[str, ...]]
    findings: tuple[Finding, ...]

    def of(self, kind: str) -> tuple[Finding, ...]:
        """The findings of one kind."""
        return tuple(f for f in self.findings if f.kind == kind)

    def counts(self) -> dict[str, int]:
        """Kind -> findings, all kinds in the order of `RULES`."""
        found = Counter(f.kind for f in self.findings)
        return {kind: found[kind] for kind in RULES}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; the shape printed by `mmllm data report --json`."""
        findings = [{k: v for k, v in asdict(f).items() if v is not None} for f in self.findings]
        rules = {kind: asdict(rule) for kind, rule in RULES.items()}
        return {**asdict(self), "findings": findings, "counts": self.counts(), "rules": rules}

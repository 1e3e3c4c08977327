"""Slots of seekers' turns in real dialogues: what `mmllm.understand` reads against labels made by a written rule (`slots_rule.md`).

A slot is (kind, value): an item that is liked, disliked, known or looked for, a filter, a word to search for or to avoid.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from eval import metrics
from eval.machine import machine
from mmllm import settings, wording
from mmllm.dialogue import State, Turn
from mmllm.encoders import Encoders
from mmllm.errors import MmllmError
from mmllm.explain import template
from mmllm.lexical import GENERIC, words
from mmllm.lm import LanguageModel
from mmllm.redial import TEST, VALIDATION, Dialogue, parts, read
from mmllm.schema import NEAR, Schema, by_meaning
from mmllm.store import Store
from mmllm.types import Explanation, Filter, Recommendation, Response
from mmllm.understand import Reader, understand

ITEMS = ("liked", "disliked", "known", "similar", "wanted")
CHECKED = (*ITEMS, "filters", "avoid")
"""Kinds that the catalog can check; "words" is what is left to search for."""
KINDS = (*CHECKED, "words")
LEAST_WORDS = 3
FREE = "tags"
"""An attribute of free words: what is labelled as words may be read as a filter on it."""
Slot = tuple[str, str]
Key = tuple[str, int]
"""(dialogue id, number of a turn from 0)."""


@dataclass(frozen=True)
class Counts:
    """Of one turn, kind -> how many slots: `read` and how many of those are `right`; `labelled` and how many of those are `found`."""

    read: Mapping[str, int]
    right: Mapping[str, int]
    labelled: Mapping[str, int]
    found: Mapping[str, int]


def sample(dialogues: Sequence[Dialogue], *, after: int = 0, part: str = "test") -> list[Key]:
    """Seekers' turns of three words or more in the order of the sha256 of "DIALOGUE:TURN".

    Of a file that is large enough to be split, the test part alone, or with part "others" all but it; `after`: without its first dialogues.
    """
    late = {d.id for d in dialogues[after:]}
    held = list(dialogues)
    if len(dialogues) > TEST + VALIDATION:
        *others, test = parts(dialogues)
        held = test if part == "test" else [d for some in others for d in some]
    keys = [
        (d.id, n)
        for d in held
        if d.id in late
        for n, (speaker, text, _) in enumerate(d.turns)
        if speaker == "seeker" and len(text.split()) >= LEAST_WORDS
    ]
    return sorted(keys, key=lambda k: hashlib.sha256(f"{k[0]}:{k[1]}".encode()).hexdigest())


def labels(file: Path) -> dict[Key, frozenset[Slot]]:
    """JSON lines of dialogue, turn and slots by kind -> slots per turn, in file order."""
    out: dict[Key, frozenset[Slot]] = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        row = json.loads(line)
        if unknown := set(row) - {"dialogue", "turn", *KINDS}:
            raise MmllmError(f"{file} line {number}: {sorted(unknown)[0]!r}", expected=f"dialogue, turn, {', '.join(KINDS)}")
        slots = {(kind, str(value)) for kind in KINDS if kind not in ("words", "avoid") for value in row.get(kind, ())}
        slots |= {(kind, s) for kind in ("words", "avoid") for word in row.get(kind, ()) for s in _stems(word)}
        out[row["dialogue"], int(row["turn"])] = frozenset(slots)
    return out


def _stems(text: str) -> set[str]:
    return set(words(text)) - GENERIC


def state_before(dialogue: Dialogue, turn: int, schema: Schema, ids: Sequence[str]) -> State:
    """What the parser may know at a turn, by the rule: the recommender's last list, the film spoken of last, all that were named."""
    named = [(speaker, films) for speaker, _, films in dialogue.turns[:turn] if films]
    listed = next((films for speaker, films in reversed(named) if speaker == "recommender"), ())
    last = named[-1][1][-1] if named else -1
    shown = tuple(dict.fromkeys(ids[f] for _, films in named for f in films if f >= 0))
    cards = [_card(schema, ids[f], n) for n, f in enumerate(dict.fromkeys(f for f in listed if f >= 0), start=1)]
    return State(shown=shown, focus=ids[last] if last >= 0 else "", last=Response(tuple(cards), (), {}) if cards else None)


def _card(schema: Schema, id_: str, rank: int) -> Recommendation:
    item = schema.items[id_]
    return Recommendation(id_, item.title, rank, 0.0, {}, {}, Explanation(template(item.title, ()), "template"), item)


def slots(turn: Turn, schema: Schema) -> frozenset[Slot]:
    """The slots of a turn as labels name them."""
    found = {(kind, i) for kind in ITEMS for i in getattr(turn, kind)}
    found |= {("filters", told) for f in turn.filters for told in _filters(f, schema)}
    found |= {("avoid", w) for w in turn.avoid}
    return frozenset(found | ({("words", w) for w in turn.content} if turn.words else set()))


def _filters(f: Filter, schema: Schema) -> Iterable[str]:
    """ "genre + Comedy", "genre - Horror", "year >= 1991": one for each value; whole numbers have inclusive bounds."""
    values = f.value if isinstance(f.value, tuple) else (f.value,)
    if schema.attributes[f.attribute].kind != "number" or f.op == "!=":
        return [f"{f.attribute} {'-' if f.op == '!=' else '+'} {v}" for v in values]
    if f.op in ("=", "in", "all"):
        return [f"{f.attribute} {op} {edge(values):g}" for op, edge in ((">=", min), ("<=", max))]
    step = {">": 1, "<": -1}.get(f.op, 0)
    return [f"{f.attribute} {f.op[0]}= {float(values[0]) + step:g}"]


def count(read: frozenset[Slot], labelled: frozenset[Slot]) -> Counts:
    """Compare one turn. A filter on FREE is right if the label has all its words, and finds them."""
    wanted = {w for kind, w in labelled if kind == "words"}
    free = {s: _stems(s[1].partition(" + ")[2]) for s in read if s[0] == "filters" and s[1].startswith(f"{FREE} + ")}
    good = {s for s, stems in free.items() if stems and stems <= wanted}
    reached = {("words", w) for s in good for w in free[s]}
    return Counts(
        *(_by_kind(some) for some in (read, (read & labelled) | good, labelled, labelled & (read | reached))),
    )


def _by_kind(some: Iterable[Slot]) -> dict[str, int]:
    kinds = [kind for kind, _ in some]
    return {k: kinds.count(k) for k in KINDS}


def measure(
    dialogues: Sequence[Dialogue],
    labelled: Mapping[Key, frozenset[Slot]],
    schema: Schema,
    ids: Sequence[str],
    reader: Reader | None = None,
) -> tuple[list[Counts], list[tuple[str, frozenset[Slot], frozenset[Slot]]]]:
    """Counts per labelled turn; and each turn's text with the slots that were read wrongly and those that were missed, to be looked at."""
    by_id = {d.id: d for d in dialogues}
    counted, seen = [], []
    for (id_, number), wanted in labelled.items():
        text = by_id[id_].turns[number][1]
        read = slots(understand(text, schema, state_before(by_id[id_], number, schema, ids), reader), schema)
        counted.append(count(read, wanted))
        seen.append((text, read - wanted, wanted - read))
    return counted, seen


@dataclass
class Asked:
    """How often a reader was asked, for how many words, how many of them it kept, and how long it took."""

    words: int = 0
    kept: int = 0
    seconds: list[float] = field(default_factory=list)

    def of(self, reader: Reader) -> Reader:
        """The same reader, counted."""

        def counted(text: str, words: Sequence[str]) -> Sequence[bool]:
            started = time.perf_counter()
            found = reader(text, words)
            self.seconds.append(time.perf_counter() - started)
            self.words, self.kept = self.words + len(found), self.kept + sum(found)
            return found

        return counted

    @property
    def median(self) -> float:
        """Seconds that a turn waited."""
        return round(float(np.median(self.seconds)), 4) if self.seconds else 0.0


def open_schema(store: Store) -> Schema:
    """The schema of an index, with its text encoder's sense of words."""
    encoders = Encoders(settings.preset(store.manifest.preset), heads=store.heads)
    name = encoders.preset.text
    return Schema.of(store.items, near=by_meaning(encoders.text.encode, NEAR[name]) if name in NEAR else None)


def check(labelled: Mapping[Key, frozenset[Slot]], order: Sequence[Key], start: int) -> None:
    """Refuse labels that are not the sample."""
    if list(labelled) != list(order[start : start + len(labelled)]):
        raise MmllmError(
            "the labels are not of the turns that this order begins with",
            expected=f"{len(labelled)} turns from place {start} on of {len(order)}",
            do="name the dialogues, --after and --start that the labels were drawn with",
        )


def rows(counted: Sequence[Counts]) -> dict[str, Any]:
    """Micro precision and recall with intervals: over the checked kinds, over all, and of each kind that occurs."""
    groups = {"checked": CHECKED, "all": KINDS, **{k: (k,) for k in KINDS}}
    return {name: row for name, kinds in groups.items() if (row := _row(counted, kinds))}


def _row(counted: Sequence[Counts], kinds: Sequence[str]) -> dict[str, Any]:
    sums = {
        name: np.array([sum(getattr(c, name)[k] for k in kinds) for c in counted])
        for name in ("read", "right", "labelled", "found")
    }
    row: dict[str, Any] = {name: int(values.sum()) for name, values in sums.items()}
    for name, part, whole in (("precision", "right", "read"), ("recall", "found", "labelled")):
        if row[whole]:
            found = metrics.ratio(sums[part], sums[whole])
            row |= {name: found["value"], f"{name}_interval": found["interval"]}
    return row if row["read"] or row["labelled"] else {}


def command(
    index: Annotated[Path, typer.Argument(help="The index of the catalog that the dialogues are linked to.")],
    file: Annotated[Path, typer.Argument(help="Dialogues in ReDial's layout, JSON lines.")],
    labels_file: Annotated[Path, typer.Argument(help="Labels by eval/slots_rule.md, JSON lines.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The JSON to write.")],
    after: Annotated[int, typer.Option(help="Leave out the first dialogues of the file: those that rules were made by.")] = 0,
    start: Annotated[int, typer.Option(help="The place in the order at which the labels begin.")] = 0,
    part: Annotated[str, typer.Option(help="test or others: of a file that is split, its test part or all but it.")] = "test",
    note: Annotated[str, typer.Option(help="Words to keep with the figures: held out, or after looking.")] = "",
    words: Annotated[Path | None, typer.Option(help="An adapter for words that reads; by rules alone without it.")] = None,
    show: Annotated[bool, typer.Option(help="Print the turns that were read wrongly.")] = False,
) -> None:
    """Read labelled turns of seekers and compare slots: precision and recall by kind."""
    if part not in ("test", "others"):
        raise MmllmError(f"--part {part!r}", expected="test or others")
    store = Store(index)
    ids = tuple(i.id for i in store.items)
    schema = open_schema(store)
    preset = settings.preset(store.manifest.preset)
    lm = LanguageModel.load(preset.lm) if words is not None else None
    reader, counts = None, Asked()
    if lm is not None and words is not None:
        config, _ = wording.attach(lm, words)
        if config is None or config.threshold is None:
            raise MmllmError(f"{words} was not trained to read", expected="an adapter for words with a threshold")
        reader = counts.of(wording.Reader(lm, config.threshold))
    dialogues = read(file, ids, missing=True)
    labelled = labels(labels_file)
    order = sample(dialogues, after=after, part=part)
    check(labelled, order, start)
    counted, seen = measure(dialogues, labelled, schema, ids, reader)
    found = rows(counted)
    result = {
        "dataset": file.name,
        "labels": labels_file.name,
        "labels_sha256": hashlib.sha256(labels_file.read_bytes()).hexdigest(),
        "sample": f"places {start} to {start + len(labelled) - 1} of {len(order)} seekers' turns; {part}, dialogues after the first {after}",
        "note": note,
        "turns": len(labelled),
        "slots": found,
    }
    if reader is not None and words is not None:
        weight = hashlib.sha256((words / "adapter" / "adapter_model.safetensors").read_bytes()).hexdigest()[:16]
        asked = {"turns": len(counts.seconds), "words": counts.words, "kept": counts.kept}
        result["reader"] = {"adapter": words.name, "weights": weight, **asked, "median_seconds": counts.median}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result | machine(("mmllm", "numpy"), [preset.text]), indent=1) + "\n")
    for kind, row in found.items():
        typer.echo(f"{kind}: " + ", ".join(f"{k} {v}" for k, v in row.items()))
    for text, wrong, missed in seen if show else ():
        if wrong or missed:
            typer.echo(f"\n{text}\n  wrong {sorted(wrong)}\n  missed {sorted(missed)}")

"""Labelled turns as examples for `mmllm train`: the turn's text, its words, which are wanted, and which `understand` leaves to be searched for.

The texts are the dialogues', so that what is written is never committed; the labels hold single words.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from eval.slots import Key, labels, open_schema, state_before
from mmllm.chatter import telling
from mmllm.lexical import words as stems
from mmllm.redial import read
from mmllm.store import Store
from mmllm.understand import understand


def command(
    index: Annotated[Path, typer.Argument(help="The index of the catalog that the dialogues are linked to.")],
    file: Annotated[Path, typer.Argument(help="Dialogues in ReDial's layout, JSON lines.")],
    labels_file: Annotated[Path, typer.Argument(help="Labels of turns by eval/slots_rule.md, JSON lines.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The JSON lines to write; never to be committed.")],
    held: Annotated[int, typer.Option(help="How many of these turns validate, by the sha256 of their names.")] = 80,
    dev: Annotated[list[Path] | None, typer.Option(help="More labels, of turns that validate.")] = None,
) -> None:
    """Write labelled turns as examples of reading, for the stage [explain]."""
    store = Store(index)
    ids = tuple(i.id for i in store.items)
    schema = open_schema(store)
    by_id = {d.id: d for d in read(file, ids, missing=True)}
    learned = labels(labels_file)
    validating = set(sorted(learned, key=_place)[:held])
    rows = [(key, slots, "dev" if key in validating else "train") for key, slots in learned.items()]
    rows += [(key, slots, "dev") for more in dev or () for key, slots in labels(more).items()]
    with out.open("w", encoding="utf-8") as lines:
        for key, slots, part in rows:
            text = by_id[key[0]].turns[key[1]][1]
            turn = understand(text, schema, state_before(by_id[key[0]], key[1], schema, ids))
            wanted = {value for kind, value in slots if kind == "words"}
            left = set(turn.content) if turn.words else set()
            words = telling(text)
            row: dict[str, Any] = {"text": text, "words": words, "part": part}
            row |= {name: [bool(set(stems(w)) & some) for w in words] for name, some in (("wanted", wanted), ("left", left))}
            lines.write(json.dumps(row) + "\n")


def _place(key: Key) -> str:
    return hashlib.sha256(f"read {key[0]}:{key[1]}".encode()).hexdigest()

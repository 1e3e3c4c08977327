"""The state of a conversation part by part: what can be taken away, and which critiques the items on the list suggest.

A page shows the parts as chips; taking one away or following a critique needs no words, so nothing can be misread.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from mmllm import talk
from mmllm.catalog import attribute_values
from mmllm.critiques import number
from mmllm.dialogue import State, merge, remembered
from mmllm.measures import whole
from mmllm.schema import Attribute, Schema
from mmllm.types import Filter, Item

Kind = Literal["words", "image", "sound", "filters", "avoid", "similar", "liked", "disliked", "known"]
SINGLE: tuple[Kind, ...] = ("words", "image", "sound")
MARKS: tuple[Kind, ...] = ("liked", "disliked", "known")
LISTS: tuple[Kind, ...] = ("filters", "avoid", "similar", *MARKS)
SUGGESTED = 6
PER_ATTRIBUTE = 2


@dataclass(frozen=True)
class Part:
    """One thing that the state holds. `value`: the words, a filter, an avoided stem or an item id; None for a picture or a sound."""

    kind: Kind
    value: str | Filter | None = None

    @property
    def key(self) -> str:
        """Tells it from the other parts of a state."""
        value = self.value
        told = f"{value.attribute} {value.op} {value.value}" if isinstance(value, Filter) else value or ""
        return f"{self.kind}: {told}"


def parts(state: State) -> tuple[Part, ...]:
    """All parts of a state, the request first.

    >>> [p.key for p in parts(State(words="a dog", filters=(Filter("price", "<", 20),), liked=("cat",)))]
    ['words: a dog', 'filters: price < 20', 'liked: cat']
    """
    single = [Part("words", state.words)] if state.words else []
    single += [Part(kind) for kind in SINGLE[1:] if getattr(state, kind) is not None]
    return (*single, *(Part(kind, value) for kind in LISTS for value in getattr(state, kind)))


def without(state: State, part: Part) -> State:
    """The state without one of its parts; `undo` brings it back. A part that it does not hold changes nothing but that."""
    if part.kind == "words":
        change: dict[str, object] = {"words": "", "content": ()}
    elif part.kind in SINGLE:
        change = {part.kind: None}
    else:
        change = {part.kind: tuple(v for v in getattr(state, part.kind) if v != part.value)}
    return replace(state, **change, wanted=(), question=None, before=remembered(state))  # type: ignore[arg-type]


def suggest(schema: Schema, state: State, k: int = SUGGESTED) -> tuple[Filter, ...]:
    """Critiques: filters that tell the items on the list apart, or lead on from all of them, and leave something new to show.

    Bounds come first, at most half of them: below the least and above the greatest value on the list, as "cheaper" is read. Then
    values that some of the items have, those first that divide the list most evenly; then what all have in common, to be refused.
    """
    items = [schema.items[i] for i in state.listed]
    if not items:
        return ()
    bounds: list[Filter] = []
    values: list[tuple[int, Filter]] = []
    common: list[Filter] = []
    asked = {f.attribute for f in state.filters if f.op in ("=", "in", "all")}
    for a in schema.attributes.values():
        if a.kind == "number":
            bounds += _bounds(a, items)
        elif a.kind == "text" and a.name not in asked:
            counts = attribute_values(items, a.name).most_common()
            some = [(abs(2 * n - len(items)), Filter(a.name, "=", v)) for v, n in counts if n < len(items)]
            values += sorted(some, key=lambda p: p[0])[:PER_ATTRIBUTE]
            common += [Filter(a.name, "!=", v) for v, n in counts if n == len(items) > 1][:1]
    divided = [f for _, f in sorted(values, key=lambda p: p[0])]
    hidden = talk.hidden(state)
    found: list[Filter] = []
    for group, most in ((bounds, k // 2), (divided, k), (common, k)):
        for f in group:
            if len(found) < k and most and _leads_on(schema, state, f, hidden):
                found.append(f)
                most -= 1
    return tuple(found)


def _bounds(a: Attribute, items: list[Item]) -> list[Filter]:
    numbers = [n for n in (number(i, a.name) for i in items) if n is not None]
    return [Filter(a.name, "<", whole(min(numbers))), Filter(a.name, ">", whole(max(numbers)))] if numbers else []


def _leads_on(schema: Schema, state: State, f: Filter, hidden: tuple[str, ...]) -> bool:
    narrowed = replace(state, filters=merge(state.filters, [f]))
    return next(talk.meeting(schema, narrowed, hidden), None) is not None

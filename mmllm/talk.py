"""What the conversation says beside its recommendations, in plain words made from the state and the catalog; no model words any of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from mmllm.catalog import EXAMPLES, NAMES, as_text, matches
from mmllm.dialogue import Question, State, Turn, as_words
from mmllm.explain import template
from mmllm.recommend import Recommender
from mmllm.schema import Schema
from mmllm.types import Filter, Item, Query, Response, Scalar

FORGOTTEN = "Everything is forgotten. What are you looking for?"
FORGOTTEN_BUT_KEPT = "The request is forgotten; what you like and know is kept under your name. What are you looking for?"
NOTHING_YET = "Nothing was shown yet. What are you looking for?"
ASK_BACK = "Noted. What are you looking for?"
ALL_SEEN = "You have seen all that fits. Say “again” to see the last list, “undo” to go back, or “start over”."
EXAMPLE_CHARS = 60
CHOICES = 12
"""An attribute with more values than this makes no question that a person could answer."""


def something(query: Query) -> bool:
    """True if there is anything to search by."""
    return bool(query.text or query.image is not None or query.audio is not None or query.liked or query.where)


def hidden(state: State) -> tuple[str, ...]:
    """Item ids that must not come by themselves: shown, refused, liked or known already."""
    return tuple(dict.fromkeys((*state.shown, *state.liked, *state.disliked, *state.known, *state.similar)))


def meeting(schema: Schema, state: State, without: tuple[str, ...]) -> Iterator[str]:
    """Ids that meet the filters and say none of the avoided words, in catalog order, one by one."""
    away, avoid = set(without), set(state.avoid)
    return (
        i for i, item in schema.items.items() if i not in away and not avoid & schema.stems[i] and matches(item, state.filters)
    )


def remaining(schema: Schema, state: State, without: tuple[str, ...]) -> tuple[str, ...]:
    """All of `meeting`."""
    return tuple(meeting(schema, state, without))


def titles(schema: Schema, ids: tuple[str, ...]) -> str:
    """Titles in quotation marks."""
    return ", ".join(f"“{schema.items[i].title}”" for i in ids)


def marks(turn: Turn, schema: Schema) -> tuple[str, ...]:
    """What a turn said of items, in words."""
    rows = (
        ("you like {}", turn.liked),
        ("you do not like {}", turn.disliked),
        ("you know {}", turn.known),
        ("like {}", turn.similar),
    )
    told = [text.format(titles(schema, ids)) for text, ids in rows if ids]
    if turn.forget:
        told.append(f"any {' and any '.join(turn.forget)}")
    return tuple(told)


def summary(state: State, schema: Schema) -> str:
    """The state in words."""
    parts = [f"searching for “{state.words}”"] if state.words else []
    parts += [as_words(f) for f in state.filters]
    parts += [f"nothing that says “{w}”" for w in state.avoid]
    parts += marks(Turn(liked=state.liked, disliked=state.disliked, known=state.known, similar=state.similar), schema)
    if state.image is not None:
        parts.append("your picture")
    if state.sound is not None:
        parts.append("what you said or played")
    return "; ".join(parts) if parts else "nothing yet"


def undone(state: State, schema: Schema) -> str:
    """What an undo leads back to."""
    return f"Taken back. What stands: {summary(state, schema)}."


def answer(turn: Turn, state: State, recommender: Recommender) -> str:
    """The words for a turn that asks for no new items."""
    schema = recommender.schema
    if turn.act == "hello":
        return f"Hello! Tell me what you are looking for, {_for_example(recommender)}."
    if turn.act == "thanks":
        return "You are welcome. I am here if you want to see more."
    if turn.act == "rude":
        return f"I am sorry that this was no help. I only know this catalog; ask me for something in it, {_for_example(recommender)}."
    if turn.act == "summary":
        return f"What I know: {summary(state, schema)}."
    if turn.act == "help":
        names = ", ".join(schema.attributes) or "words"
        return (
            f"Ask in words, with a picture or aloud, {_for_example(recommender)}. You can narrow by {names}; say “the second one”, "
            "“like that but cheaper”, “no …”, “something else”, “why this?”, “compare the first two”, “forget the …”, “undo” or “start over”."
        )
    if turn.act == "note":
        return "As you like. What else are you looking for?"
    if turn.act == "why":
        return "\n\n".join(why(i, state, recommender) for i in turn.targets)
    if turn.act == "compare":
        return compare([schema.items[i] for i in turn.targets])
    if turn.unclear:
        return f"I did not understand all of that: {'; '.join(turn.unclear)}."
    return f"I found no request in that. Ask me for something in this catalog, {_for_example(recommender)}."


def about(turn: Turn, state: State, recommender: Recommender) -> str:
    """An item's own text and attributes."""
    return "\n\n".join(f"{recommender.schema.items[i].title}: {facts(recommender.schema.items[i])}" for i in turn.targets)


def facts(item: Item) -> str:
    """What the catalog says of an item."""
    known = [f"{n} {as_text(v)}" for n, v in item.attributes.items() if n != NAMES]
    return " ".join(t for t in (item.text, "; ".join(known) + "." if known else "") if t) or "the catalog says no more of it."


def why(id_: str, state: State, recommender: Recommender) -> str:
    """The evidence for an item on the list, and which of the person's conditions it meets."""
    here = {r.id: r for r in (state.last.recommendations if state.last else ())}
    item = recommender.schema.items[id_]
    if id_ not in here:
        return f"{item.title} is not on the list; {facts(item)}"
    met = [as_words(f) for f in state.filters if matches(item, [f])]
    reason = template(item.title, here[id_].explanation.evidence)
    return reason + (f" It meets: {'; '.join(met)}." if met else "")


def compare(items: list[Item]) -> str:
    """Attributes that are equal, then those that differ, item by item."""
    names = list(dict.fromkeys(n for i in items for n in i.attributes if n != NAMES))
    rows = {n: [as_text(i.attributes[n]) if n in i.attributes else "not known" for i in items] for n in names}
    same = [f"{n} {v[0]}" for n, v in rows.items() if len(set(v)) == 1]
    lines = [f"In common: {'; '.join(same)}." if same else "They have nothing in common."]
    for n, item in enumerate(items):
        differ = "; ".join(f"{name} {v[n]}" for name, v in rows.items() if len(set(v)) > 1)
        lines.append(f"- {item.title}: {differ or 'the same in all'}")
    return "\n".join(lines)


def conflict(schema: Schema, state: State, dropped: tuple[Filter, ...]) -> str:
    """The question where no item meets all conditions."""
    if not state.filters:
        return "No item does without those words. Shall I allow them again?"
    asked = " and ".join(as_words(f) for f in state.filters)
    laid = " and ".join(as_words(f) for f in dropped)
    numeric = [schema.attributes[name] for name in dict.fromkeys(f.attribute for f in dropped) if name in schema.attributes]
    ranges = "".join(f" Here {a.name} goes from {a.low:g} to {a.high:g}." for a in numeric if a.kind == "number")
    if set(dropped) == set(state.filters) or not dropped:
        return f"Nothing here is {asked}.{ranges} Shall I drop that?"
    return f"Nothing here is {asked}.{ranges} Shall I drop “{laid}”? That is what these leave out."


def exhausted(schema: Schema, state: State, met: tuple[str, ...]) -> str:
    """The question where all that meets the conditions was shown."""
    asked = " and ".join(as_words(f) for f in state.filters)
    many = f"all {len(met)}" if len(met) > 1 else "the only one"
    some = titles(schema, met[:5]) + (", ..." if len(met) > 5 else "")
    return f"You have seen {many} with {asked}: {some}. Shall I show {'them' if len(met) > 1 else 'it'} again?"


def no_match(words: str, recommender: Recommender) -> str:
    """Said where nothing matches."""
    return f"Nothing in this catalog matches “{words}”. Try another request, {_for_example(recommender)}."


def _choice(schema: Schema, ids: tuple[str, ...], state: State) -> tuple[str, list[Scalar]] | None:
    """The attribute that divides the items most evenly (the largest entropy), and its values among them, the most frequent first."""
    asked = {f.attribute for f in state.filters if f.op in ("=", "in", "all")}
    best: tuple[float, str, list[Scalar]] | None = None
    for a in schema.attributes.values():
        if a.name in asked or a.name in state.asked or a.kind != "text" or a.measures:
            continue
        counts: Counter[Scalar] = Counter()
        for i in ids:
            value = schema.items[i].attributes.get(a.name)
            counts.update(value if isinstance(value, tuple) else () if value is None else (value,))
        top = counts.most_common(CHOICES)
        total = sum(n for _, n in top)
        entropy = -sum(n / total * math.log(n / total) for _, n in top) if total else 0.0
        if len(top) > 1 and (best is None or entropy > best[0]):
            best = (entropy, a.name, [v for v, _ in top])
    return best[1:] if best else None


def narrow(schema: Schema, state: State, left: tuple[str, ...]) -> State:
    """The state with a question about the attribute that divides what is left; each attribute is asked about once."""
    if (found := _choice(schema, left, state)) is None:
        return state
    name, options = found
    some = ", ".join(str(v) for v in options[:4])
    text = f"There are {len(left)} such. Is there a {name} that you would like, for instance {some}?"
    return replace(state, question=Question(text), asked=(*state.asked, name))


def spread(schema: Schema, state: State, k: int) -> tuple[tuple[str, ...], State]:
    """For a request without content: items of k different values of one attribute, and the question which of them it shall be."""
    left = remaining(schema, state, hidden(state))
    found = _choice(schema, left, state)
    if found is None:
        return left[:k], state
    name, options = found
    picked: list[str] = []
    for value in options:
        one = next((i for i in left if i not in picked and matches(schema.items[i], [Filter(name, "=", value)])), None)
        picked += [one] if one else []
    some = ", ".join(str(v) for v in options[:4])
    question = Question(f"Is there a {name} that you would like, for instance {some}?")
    return tuple(picked[:k]), replace(state, question=question, asked=(*state.asked, name))


def examples(recommender: Recommender) -> list[str]:
    """The catalog's own examples of requests, or some made from its titles."""
    file = Path(recommender.store.manifest.catalog) / EXAMPLES
    if file.is_file():
        return [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()][:6]
    short = [item.title for item in recommender.store.items if len(item.title) <= EXAMPLE_CHARS]
    return [f"something like {title}" for title in short[:: max(1, len(short) // 4)][:4]]


def _for_example(recommender: Recommender) -> str:
    some = examples(recommender)[:2]
    return "for example " + " or ".join(f"“{e}”" for e in some)


def opening(response: Response) -> Iterator[str]:
    """What was heard, what was understood and what not, and the names of what was found."""
    if response.transcript is not None and response.transcript.text:
        yield f"I heard: “{response.transcript.text}”\n\n"
    if response.said:
        yield response.said
        return
    if response.unclear:
        yield f"I did not understand: {'; '.join(response.unclear)}.\n\n"
    if response.understood:
        yield f"Understood: {'; '.join(response.understood)}.\n\n"
    if not response.recommendations:
        yield response.notes[-1] if response.notes else "Nothing in the catalog fits that."
        return
    yield f"I found {len(response.recommendations)}: {', '.join(r.title for r in response.recommendations)}.\n\n"


def closing(response: Response) -> Iterator[str]:
    """The shares of a query of several parts, notes, and the question."""
    if response.said:
        return
    if len(response.shares) > 1:
        yield "\n\nYour request counted as " + ", ".join(f"{m} {s:.0%}" for m, s in response.shares.items()) + "."
    for note in response.notes:
        if response.recommendations and not note.startswith("the LM"):
            yield f"\n\n{note[:1].upper()}{note[1:]}."
    if response.question:
        yield f"\n\n{response.question}"

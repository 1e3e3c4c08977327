"""What the conversation says beside its recommendations, in plain words made from the state and the catalog; no model words any of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from mmllm.catalog import EXAMPLES, NAMES, as_text, matches, title_in
from mmllm.dialogue import Question, State, Turn, as_words
from mmllm.explain import template
from mmllm.recommend import LM_NEEDS, Recommender
from mmllm.schema import Schema
from mmllm.texts import joined, language, say
from mmllm.types import Filter, Item, Query, Response, Scalar

EXAMPLE_CHARS = 60
"""A longer title makes no example of a request."""
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


def titles(schema: Schema, ids: tuple[str, ...], lang: str) -> str:
    """Titles in quotation marks."""
    return joined((say("title", lang, title=title_in(schema.items[i], lang)) for i in ids), lang)


def marks(turn: Turn, schema: Schema, lang: str) -> tuple[str, ...]:
    """What a turn said of items, in words."""
    rows = (("liked", turn.liked), ("disliked", turn.disliked), ("known", turn.known), ("similar", turn.similar))
    told = [say(key, lang, titles=titles(schema, ids, lang)) for key, ids in rows if ids]
    if turn.forget:
        told.append(joined((say("any", lang, name=name) for name in turn.forget), lang, "and"))
    return tuple(told)


def conditions(filters: Iterable[Filter], lang: str, joint: str = "and") -> str:
    """Filters in a row."""
    return joined((as_words(f, lang) for f in filters), lang, joint)


def summary(state: State, schema: Schema) -> str:
    """The state in words."""
    lang = state.lang
    parts = [say("searching", lang, words=state.words)] if state.words else []
    parts += [as_words(f, lang) for f in state.filters]
    parts += [say("avoid", lang, word=w) for w in state.avoid]
    parts += marks(Turn(liked=state.liked, disliked=state.disliked, known=state.known, similar=state.similar), schema, lang)
    if state.image is not None:
        parts.append(say("picture", lang))
    if state.sound is not None:
        parts.append(say("sound", lang))
    return joined(parts, lang, "semicolon") if parts else say("nothing_stands", lang)


def undone(state: State, schema: Schema) -> str:
    """What an undo leads back to."""
    return say("undone", state.lang, summary=summary(state, schema))


def answer(turn: Turn, state: State, recommender: Recommender) -> str:
    """The words for a turn that asks for no new items."""
    schema, lang = recommender.schema, state.lang
    if turn.act == "thanks":
        return say("thanks", lang)
    if turn.act == "summary":
        return say("summary", lang, summary=summary(state, schema))
    if turn.act == "note":
        return say("anything_else", lang)
    if turn.act == "why":
        return "\n\n".join(why(i, state, recommender) for i in turn.targets)
    if turn.act == "compare":
        return compare([schema.items[i] for i in turn.targets], lang)
    if turn.unclear:
        return say("some_unclear", lang, unclear=joined(turn.unclear, lang, "semicolon"))
    key = turn.act if turn.act in ("hello", "rude", "help") else "no_request"
    names = joined(schema.attributes, lang) or say("words", lang)
    return say(key, lang, example=_for_example(recommender, lang), names=names)


def about(turn: Turn, state: State, recommender: Recommender) -> str:
    """An item's own text and attributes."""
    lang, items = state.lang, [recommender.schema.items[i] for i in turn.targets]
    return "\n\n".join(say("about", lang, title=title_in(i, lang), facts=facts(i, lang)) for i in items)


def facts(item: Item, lang: str) -> str:
    """What the catalog says of an item."""
    known = [say("fact", lang, name=n, value=as_text(v)) for n, v in item.attributes.items() if n != NAMES]
    told = joined(known, lang, "semicolon") + say("stop", lang) if known else ""
    return " ".join(t for t in (item.text, told) if t) or say("no_more", lang)


def why(id_: str, state: State, recommender: Recommender) -> str:
    """The evidence for an item on the list, and which of the person's conditions it meets."""
    here = {r.id: r for r in (state.last.recommendations if state.last else ())}
    item, lang = recommender.schema.items[id_], state.lang
    if id_ not in here:
        return say("not_listed", lang, title=title_in(item, lang), facts=facts(item, lang))
    met = [f for f in state.filters if matches(item, [f])]
    reason = template(title_in(item, lang), here[id_].explanation.evidence, lang)
    return reason + (say("meets", lang, met=conditions(met, lang, "semicolon")) if met else "")


def compare(items: list[Item], lang: str = "en") -> str:
    """Attributes that are equal, then those that differ, item by item."""
    names = list(dict.fromkeys(n for i in items for n in i.attributes if n != NAMES))
    rows = {n: [as_text(i.attributes[n]) if n in i.attributes else say("not_known", lang) for i in items] for n in names}
    same = [say("fact", lang, name=n, value=v[0]) for n, v in rows.items() if len(set(v)) == 1]
    lines = [say("in_common", lang, same=joined(same, lang, "semicolon")) if same else say("nothing_in_common", lang)]
    for n, item in enumerate(items):
        differ = [say("fact", lang, name=name, value=v[n]) for name, v in rows.items() if len(set(v)) > 1]
        told = joined(differ, lang, "semicolon") or say("same_in_all", lang)
        lines.append(say("differs", lang, title=title_in(item, lang), facts=told))
    return "\n".join(lines)


def conflict(schema: Schema, state: State, dropped: tuple[Filter, ...]) -> str:
    """The question where no item meets all conditions."""
    lang = state.lang
    if not state.filters:
        return say("conflict_words", lang)
    numeric = [schema.attributes[name] for name in dict.fromkeys(f.attribute for f in dropped) if name in schema.attributes]
    ranges = "".join(say("range", lang, name=a.name, low=f"{a.low:g}", high=f"{a.high:g}") for a in numeric if a.kind == "number")
    key = "conflict" if set(dropped) == set(state.filters) or not dropped else "conflict_part"
    return say(key, lang, asked=conditions(state.filters, lang), ranges=ranges, laid=conditions(dropped, lang))


def exhausted(schema: Schema, state: State, met: tuple[str, ...]) -> str:
    """The question where all that meets the conditions was shown."""
    lang = state.lang
    some = titles(schema, met[:5], lang) + (say("list", lang) + "..." if len(met) > 5 else "")
    asked = conditions(state.filters, lang)
    return say("seen_many" if len(met) > 1 else "seen_one", lang, count=len(met), asked=asked, titles=some)


def no_match(words: str, recommender: Recommender, lang: str) -> str:
    """Said where nothing matches."""
    return say("no_match", lang, words=words, example=_for_example(recommender, lang))


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
    text = say("narrow", state.lang, count=len(left), name=name, some=joined(map(str, options[:4]), state.lang))
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
    question = Question(say("which", state.lang, name=name, some=joined(map(str, options[:4]), state.lang)))
    return tuple(picked[:k]), replace(state, question=question, asked=(*state.asked, name))


def examples(recommender: Recommender, lang: str = "en") -> list[str]:
    """The catalog's own examples of requests, or some made from its titles; in Chinese those that are Chinese."""
    file = Path(recommender.store.manifest.catalog) / EXAMPLES
    if file.is_file():
        lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        if own := [line for line in lines if lang == "en" or language(line) == lang][:6]:
            return own
    short = [title for item in recommender.store.items if len(title := title_in(item, lang)) <= EXAMPLE_CHARS]
    return [say("something_like", lang, title=title) for title in short[:: max(1, len(short) // 4)][:4]]


def _for_example(recommender: Recommender, lang: str) -> str:
    some = (say("title", lang, title=e) for e in examples(recommender, lang)[:2])
    return say("example", lang, examples=joined(some, lang, "or"))


def opening(response: Response) -> Iterator[str]:
    """What was heard, what was understood and what not, and the names of what was found."""
    lang = response.lang
    if response.transcript is not None and response.transcript.text:
        yield say("heard", lang, words=response.transcript.text) + "\n\n"
    if response.said:
        yield response.said
        return
    if response.unclear:
        yield say("unclear", lang, unclear=joined(response.unclear, lang, "semicolon")) + "\n\n"
    if response.understood:
        yield say("understood", lang, told=joined(response.understood, lang, "semicolon")) + "\n\n"
    if not response.recommendations:
        yield response.notes[-1] if response.notes else say("nothing_fits", lang)
        return
    found = joined((title_in(r.item, lang) for r in response.recommendations), lang)
    yield say("found", lang, count=len(response.recommendations), titles=found) + "\n\n"


def closing(response: Response) -> Iterator[str]:
    """The shares of a query of several parts, notes, and the question."""
    lang = response.lang
    if response.said:
        return
    if len(response.shares) > 1:
        shares = joined((f"{say(f'modality_{m}', lang)} {s:.0%}" for m, s in response.shares.items()), lang)
        yield "\n\n" + say("counted", lang, shares=shares)
    how = {say(key, lang) for key in LM_NEEDS.values()}  # who ranked is told by the stages
    for note in response.notes:
        if response.recommendations and note not in how:
            yield f"\n\n{note[:1].upper()}{note[1:]}{say('stop', lang)}"
    if response.question:
        yield f"\n\n{response.question}"

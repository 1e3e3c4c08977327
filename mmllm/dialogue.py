"""The state of a conversation and how a turn changes it: frozen values and one pure function, `step`.

`understand` makes a Turn out of what was typed or said; `converse` shows what the new state asks for. `undo` returns to the state before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from mmllm.catalog import as_text
from mmllm.lexical import words as stems
from mmllm.texts import joined, say
from mmllm.types import Filter, Response, Scalar

Act = Literal[
    "ask",
    "more",
    "again",
    "about",
    "why",
    "compare",
    "undo",
    "reset",
    "summary",
    "help",
    "hello",
    "thanks",
    "rude",
    "note",
    "unclear",
]
QUIET: tuple[Act, ...] = ("about", "why", "compare", "summary", "help", "hello", "thanks", "rude", "unclear")
"""Acts that leave what was asked for as it is: they are answered, and `undo` passes over them."""
REMEMBERED = 20
"""How many earlier states `undo` can return to."""
BOUNDS = {">=": (">=", ">"), ">": (">=", ">"), "<=": ("<=", "<"), "<": ("<=", "<")}


@dataclass(frozen=True)
class Question:
    """A clarifying question. `options`: what may be answered -> what it would mean; the first one is what "yes" means."""

    text: str
    options: tuple[tuple[str, Turn], ...] = ()


@dataclass(frozen=True)
class Turn:
    """What one turn said, as slots that the schema has checked.

    `words` is what has to be searched for, `content` the stems in it that no value explains; `fresh` says that they are a new request and do
    not narrow the last one. `filters` are added, `forget` names attributes set free, `avoid` are words that no item may say. `liked`,
    `disliked`, `known`, `similar` ("like the second"), `wanted` ("show me Heat again") and `targets` (what `why` and `compare` are about) are
    item ids. `told` says in words what was understood, `unclear` what was not, and why.
    """

    act: Act = "ask"
    words: str = ""
    content: tuple[str, ...] = ()
    fresh: bool = False
    filters: tuple[Filter, ...] = ()
    forget: tuple[str, ...] = ()
    avoid: tuple[str, ...] = ()
    liked: tuple[str, ...] = ()
    disliked: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    similar: tuple[str, ...] = ()
    wanted: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    unclear: tuple[str, ...] = ()
    question: Question | None = None


@dataclass(frozen=True)
class State:
    """What the conversation knows.

    `words`, `content` (as in Turn), `image`, `sound` (a `speech.Heard`), `filters`, `avoid` and `similar` are the request as it stands; `liked`,
    `disliked` and `known` are item ids that stay until they are taken back; `shown` is everything shown in this session, `focus` the item
    spoken of last, `last` the response that is on the screen, `question` what was asked back, `asked` the attributes it was ever about,
    `before` the earlier states, oldest first, `lang` the language of the last words that the person said: it is answered in.
    """

    words: str = ""
    content: tuple[str, ...] = ()
    image: Any = None
    sound: Any = None
    filters: tuple[Filter, ...] = ()
    avoid: tuple[str, ...] = ()
    similar: tuple[str, ...] = ()
    liked: tuple[str, ...] = ()
    disliked: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    wanted: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()
    focus: str = ""
    last: Response | None = field(default=None, repr=False)
    question: Question | None = field(default=None, repr=False)
    asked: tuple[str, ...] = ()
    before: tuple[State, ...] = field(default=(), repr=False)
    lang: str = "en"

    @property
    def listed(self) -> tuple[str, ...]:
        """The items on the screen, in order: "the second one" is the second of these."""
        return tuple(r.id for r in self.last.recommendations) if self.last is not None else ()

    @property
    def asks(self) -> bool:
        """True if there is something to search by."""
        return bool(self.words or self.image is not None or self.sound is not None or self.filters or self.similar or self.liked)


def remembered(state: State) -> tuple[State, ...]:
    """The earlier states of one that follows this one."""
    return (*state.before, replace(state, before=()))[-REMEMBERED:]


def step(state: State, turn: Turn, *, image: Any = None, sound: Any = None) -> State:
    """The state after a turn. Pure: nothing is searched, nothing is shown, the same arguments give the same state."""
    if turn.act == "undo":
        return replace(state.before[-1], before=state.before[:-1], lang=state.lang) if state.before else state
    earlier = remembered(state)
    if turn.act == "reset":
        return State(before=earlier, lang=state.lang)
    focus = turn.targets[-1] if turn.targets else (turn.similar or turn.liked or turn.wanted or turn.known or (state.focus,))[-1]
    if turn.act in QUIET:
        return replace(state, focus=focus, question=turn.question or state.question)
    if turn.act == "more":
        state = replace(state, wanted=())
    new = turn.fresh or image is not None or sound is not None
    kept = tuple(f for f in state.filters if f.attribute not in turn.forget)
    if new:
        # A new subject: what described the old one goes, limits and refusals stay.
        kept = tuple(f for f in kept if f.op not in ("=", "in", "all"))
    filters = merge(kept, turn.filters)
    words = turn.words if new else _narrowed(state.words, state.filters, filters, turn.words)
    similar = turn.similar or (() if new else state.similar)
    liked = _marked(state.liked, turn.liked, (*turn.disliked,))
    disliked = _marked(state.disliked, turn.disliked, turn.liked)
    return replace(
        state,
        words=words,
        content=turn.content if new else tuple(dict.fromkeys((*state.content, *turn.content))),
        image=image if new else state.image,
        sound=sound if new else state.sound,
        filters=filters,
        avoid=tuple(dict.fromkeys((*state.avoid, *turn.avoid))),
        similar=tuple(i for i in similar if i not in turn.disliked),
        liked=liked,
        disliked=disliked,
        known=_marked(state.known, turn.known, ()),
        wanted=turn.wanted,
        focus=focus if focus not in turn.disliked else "",
        question=turn.question,
        before=earlier,
    )


def _marked(ids: tuple[str, ...], add: Iterable[str], drop: Iterable[str]) -> tuple[str, ...]:
    away = set(drop)
    return tuple(dict.fromkeys((*(i for i in ids if i not in away), *add)))


def merge(filters: tuple[Filter, ...], new: Iterable[Filter]) -> tuple[Filter, ...]:
    """Filters with new ones put in: the last word about an attribute counts. But bounds of one turn all hold ("newer, from the nineties"), and a
    decade does not widen what was narrowed inside it ("older", then "from the nineties").

    >>> [f"{f.op}{f.value}" for f in merge((Filter("price", "<=", 20), Filter("price", ">=", 5)), [Filter("price", "<", 15)])]
    ['>=5', '<15']
    """
    out = list(filters)
    for f in _bounded(filters, tuple(new)):
        if f.op == "!=":
            refused = filter_values(f)
            old = [o for o in out if o.attribute == f.attribute and o.op == "!="]
            out = [o for o in out if o.attribute != f.attribute or not _contradicts(o, refused)]
            if old:
                out = [o for o in out if o not in old]
                refused = tuple(dict.fromkeys((*(v for o in old for v in filter_values(o)), *refused)))
            f = Filter(f.attribute, "!=", refused if len(refused) > 1 else refused[0])
        elif f.op in BOUNDS:
            out = [o for o in out if o.attribute != f.attribute or (o.op not in (*BOUNDS[f.op], "=") and not _apart(o, f))]
        else:
            out = [
                o
                for o in out
                if o.attribute != f.attribute or (o.op == "!=" and not set(filter_values(o)) & set(filter_values(f)))
            ]
        out.append(f)
    return tuple(out)


def _bounded(old: tuple[Filter, ...], new: tuple[Filter, ...]) -> list[Filter]:
    """New filters without the bounds that another one makes idle: a narrower one of the same turn, or a strict one inside a new decade."""
    out = []
    for f in new:
        beside = [o for o in new if o.attribute == f.attribute and o.op in BOUNDS] if f.op in BOUNDS else []
        side = [o for o in beside if o.op in BOUNDS[f.op]]
        span = {o.op: _number(o) for o in beside}
        if {">=", "<="} <= set(span) and span[">="] >= 1000 and span["<="] - span[">="] <= 9:
            finer = [o for o in old if o.attribute == f.attribute and o.op in ("<", ">") and o.op in BOUNDS[f.op]]
            side += [o for o in finer if span[">="] < _number(o) < span["<="]]
        if not side or f == min(side, key=_left):
            out.append(f)
    return out


def _number(f: Filter) -> float:
    return float(f.value) if isinstance(f.value, (int, float)) else 0.0


def _left(f: Filter) -> tuple[float, bool]:
    """A key by which, of bounds on one side, the one that leaves least comes first."""
    return (_number(f) if f.op in ("<", "<=") else -_number(f)), f.op in ("<=", ">=")


def filter_values(f: Filter) -> tuple[Scalar, ...]:
    """The filter's values as a tuple."""
    return f.value if isinstance(f.value, tuple) else (f.value,)


def _contradicts(f: Filter, refused: tuple[Scalar, ...]) -> bool:
    return f.op in ("=", "in", "all") and bool(set(filter_values(f)) & set(refused))


def _apart(old: Filter, new: Filter) -> bool:
    """True where an older bound leaves nothing of the new one."""
    if old.op not in BOUNDS or old.op in BOUNDS[new.op]:
        return False
    low, high = (old.value, new.value) if old.op in (">=", ">") else (new.value, old.value)
    return low > high  # type: ignore[operator]


def _narrowed(words: str, old: tuple[Filter, ...], new: tuple[Filter, ...], more: str) -> str:
    """The words of a request that was narrowed: values that no longer hold are taken out, what is new comes behind."""
    gone = [v for f in old if f not in new and f.op in ("=", "in", "all") for v in filter_values(f)]
    away = {s for v in gone for s in stems(str(v))} - set(stems(more))
    if away:
        words = " ".join(w for w in words.split() if not set(stems(w)) & away)
        if not stems(words):
            words = ""
    said = set(stems(words))
    return f"{words} {more}".strip() if set(stems(more)) - said else words


def as_words(f: Filter, lang: str = "en") -> str:
    """A filter as people say it.

    >>> as_words(Filter("year", "<", 2000)), as_words(Filter("colour", "!=", ("red", "blue")))
    ('year below 2000', 'colour not red or blue')
    >>> as_words(Filter("year", "<", 2000), "zh")
    'year 低于 2000'
    """
    value = joined((as_text(v) for v in filter_values(f)), lang, "and" if f.op == "all" else "or")
    return say(f.op, lang, name=f.attribute, value=value)


def where(filters: Iterable[Filter]) -> dict[str, Any]:
    """Filters as `Query.where`."""
    out: dict[str, Any] = {}
    for f in filters:
        out.setdefault(f.attribute, {})[f.op] = f.value
    return out

"""A simulated user: wants one film of the catalog, whose title nobody tells him, and says only what is true of it.

Agenda-based (Schatzmann et al. 2007, https://aclanthology.org/N07-2038/): what is left to say of the target is the agenda, and the list on the
screen decides what of it is said next. The catalog is read by `reading`, not by the conversation's own rules. One seed gives one dialogue.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from eval import phrases
from eval.reading import Constraint, Reading, compared, values

TOGETHER = 0.2
"""How often two critiques are said in one turn."""
NEAR = 0.5
"""From this likeness on an item of the list is one to have more like."""
SELDOM = 0.25
"""How often "older than the second one" is said, against any other critique."""
REMARKED = 0.5
"""How often a film on the list that the user knows is spoken of."""


@dataclass(frozen=True)
class Critique:
    """One thing said against a list: its kind ("older", "refuse", "like", ...), the value or item id it is about, and what it holds items to."""

    kind: str
    value: str = ""
    constraints: tuple[Constraint, ...] = ()


@dataclass(frozen=True)
class Said:
    """One message: its words, what it holds the list to from now on, its critiques, and the ids it says the user has seen or liked."""

    text: str
    constraints: tuple[Constraint, ...] = ()
    critiques: tuple[Critique, ...] = ()
    known: tuple[str, ...] = ()


@dataclass(frozen=True)
class User:
    """Who talks: ids of the item he wants, of what he liked before, oldest first, and of all he has seen."""

    name: str
    target: str
    liked: tuple[str, ...]
    seen: frozenset[str] = frozenset()


@dataclass
class Simulator:
    """One user in one dialogue: `open` begins it, `react` answers every list. `said` are all messages so far."""

    user: User
    reading: Reading
    seed: str
    said: list[Said] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(f"{self.seed}:{self.user.name}:{self.user.target}")
        self.target = self.reading.items[self.user.target]
        secret = phrases.content_words(self.target.title)
        self.secret = secret
        # Nothing that shares a word with the title is ever said: not its tags, not the films of its series.
        self.wanted = sorted(k for k in self.reading.kinds(self.target.id) if not phrases.content_words(k[1]) & secret)
        self.topics = [str(v) for a in self.reading.topics for v in values(self.target, a) if self._speakable(str(v))]
        self.liked = [i for i in self.user.liked if not phrases.content_words(self.reading.items[i].title) & secret]

    def _speakable(self, topic: str) -> bool:
        """A topic of one or two words that is no choice of the catalog and not of the title."""
        own = phrases.content_words(topic)
        choices = {v.casefold() for _, v in self.reading.choosable}
        return bool(own) and len(topic.split()) <= 2 and topic.casefold() not in choices and not own & self.secret

    @property
    def constraints(self) -> tuple[Constraint, ...]:
        """All that was stated so far."""
        return tuple(dict.fromkeys(c for s in self.said for c in s.constraints))

    @property
    def known(self) -> set[str]:
        """What was said to be liked or seen."""
        return {i for s in self.said for i in s.known}

    def open(self) -> Said:
        """The first message, in one of ReDial's shapes that the target and the history allow."""
        lacks = {"likes"} if not self.liked else set()
        lacks |= {"time"} if self._year() is None else set()
        lacks |= {"kind", "kinds"} if not self.wanted else {"kinds"} if len(self.wanted) < 2 else set()
        shapes = {shape: n for shape, n in phrases.SHAPES.items() if not set(shape.split()) & lacks}
        message = self._opening(phrases.drawn(shapes, self.rng).split()) if shapes else Said(self._phrase("else"))
        if self.rng.random() < phrases.GREETED:
            message = replace(message, text=self.rng.choice(phrases.GREETINGS) + message.text)
        self.said.append(message)
        return message

    def _opening(self, parts: Sequence[str]) -> Said:
        names = {"thing": self.reading.thing, "things": f"{self.reading.thing}s"}
        constraints: list[Constraint] = []
        first = parts[0].replace("kinds", "kind")
        text = self.rng.choice(phrases.OPENINGS[first])
        known: list[str] = []
        if first == "kind":
            chosen = self.rng.sample(self.wanted, 2 if parts[0] == "kinds" else 1)
            constraints += [Constraint(a, "is", v) for a, v in chosen]
            names |= phrases.both([v for _, v in chosen], self.reading.thing, self.rng)
        ends = "?" if text.endswith("?") and len(parts) > 1 else ""
        text = text.removesuffix(ends)
        if "time" in parts:
            names["time"], spans = self._time()
            constraints += spans
            text += "" if first == "time" else " {time}"
        if "refusal" in parts and (no := self._refusal()) is not None:
            constraints.append(Constraint(no[0], "is not", no[1]))
            text += self.rng.choice(phrases.BUT_NOT).format(**phrases.spoken(no[1], self.reading.thing, self.rng))
        if "likes" in parts:
            known = self._likes(phrases.drawn(phrases.LIKES, self.rng))
            names["likes"] = phrases.listed([self.reading.named(i) for i in known])
            text += "" if first == "likes" else self.rng.choice(phrases.ALSO_LIKES)
        return Said((text if ". " in text else text + ends).format(**names), tuple(constraints), known=tuple(known))

    def _likes(self, count: int) -> list[str]:
        """Liked items to name: some of those that share most with the target."""
        near = sorted(self.liked, key=lambda i: (-self.reading.likeness(i, self.target.id), i))[: 2 * count + 2]
        return self.rng.sample(near, min(count, len(near)))

    def _year(self) -> float | None:
        return self.reading.number(self.target.id, "year") if "year" in self.reading.numbers else None

    def _time(self) -> tuple[str, tuple[Constraint, ...]]:
        year = self._year()
        assert year is not None
        start = int(year) // 10 * 10
        return phrases.decade(start, self.rng), (Constraint("year", ">=", start), Constraint("year", "<=", start + 9))

    def _refusal(self) -> tuple[str, str] | None:
        """A frequent value of the catalog that the target has not."""
        own = self.reading.kinds(self.target.id)
        free = [kind for kind in self.reading.choosable[:8] if kind not in own]
        return self.rng.choice(free) if free else None

    def react(self, shown: Sequence[str], question: str = "") -> Said | None:
        """The answer to a list of ids; None where the target is on it. `question` is what was asked back with it: it is answered if it asks
        for an attribute of which something is left to say."""
        if self.target.id in shown:
            return None
        options = self._options(shown, question)
        chosen = [self._one(options or [(self._phrase("else"), Critique("else"))])]
        # "More like the second" stands alone: "more like the second, older" would be older than the second.
        others = [o for o in options if o[1].kind != chosen[0][1].kind and "like" not in (o[1].kind, chosen[0][1].kind)]
        if others and self.rng.random() < TOGETHER:
            first = chosen[0][0].rstrip("?").removesuffix("please").rstrip(", ")
            chosen = [(first, chosen[0][1]), self._one(others)]
        words, known = self._remark(shown)
        text = ", ".join(t for t, _ in chosen)
        critiques = tuple(c for _, c in chosen)
        message = Said(words + text[0].upper() + text[1:], tuple(k for c in critiques for k in c.constraints), critiques, known)
        self.said.append(message)
        return message

    def _one(self, options: Sequence[tuple[str, Critique]]) -> tuple[str, Critique]:
        weights = [SELDOM if c.kind.endswith("than one") else 1.0 for _, c in options]
        return self.rng.choices(options, weights=weights)[0]

    def _remark(self, shown: Sequence[str]) -> tuple[str, tuple[str, ...]]:
        mine = [n for n, i in enumerate(shown[: len(phrases.ORDINALS)]) if i in {*self.user.seen, *self.user.liked} - self.known]
        if not mine or self.rng.random() >= REMARKED:
            return "", ()
        n = self.rng.choice(mine)
        words = self.rng.choice(phrases.REMARKS["liked" if shown[n] in self.user.liked else "seen"])
        return words.format(nth=phrases.ORDINALS[n]), (shown[n],)

    def _options(self, shown: Sequence[str], question: str) -> list[tuple[str, Critique]]:
        """What is true of the target, tells it from the list and was not said before: a critique of each kind, with its words. Only those that
        answer the question, if any does."""
        found = [*self._kinds(shown), *self._people(shown), *self._numbers(shown), *self._topics(shown), *self._nearest(shown)]
        answers = [o for o in found if o[1].kind in ("want", "also") and o[1].constraints[0].attribute in question]
        by_kind: dict[str, list[tuple[str, Critique]]] = {}
        for option in answers or found:
            by_kind.setdefault(option[1].kind, []).append(option)
        # One of each kind: otherwise a list of many genres would speak of nothing else.
        return [self.rng.choice(group) for _, group in sorted(by_kind.items())]

    def _kinds(self, shown: Sequence[str]) -> Iterator[tuple[str, Critique]]:
        """ "A comedy", "also a comedy" where the list is not all comedies; "not a drama" where a drama is on it."""
        for attribute, value in self.wanted:
            c = Constraint(attribute, "is", value)
            if c not in self.constraints and not all(c.holds(self.reading.items[i]) for i in shown):
                kind = "also" if any(s.relation == "is" and s.attribute == attribute for s in self.constraints) else "want"
                yield self._phrase(kind, **phrases.spoken(value, self.reading.thing, self.rng)), Critique(kind, value, (c,))
        for attribute, value in sorted({kind for i in shown for kind in self.reading.kinds(i)}):
            c = Constraint(attribute, "is not", value)
            if c not in self.constraints and c.holds(self.target) and not phrases.content_words(value) & self.secret:
                yield (
                    self._phrase("refuse", **phrases.spoken(value, self.reading.thing, self.rng)),
                    Critique("refuse", value, (c,)),
                )

    def _people(self, shown: Sequence[str]) -> Iterator[tuple[str, Critique]]:
        for a in self.reading.people:
            own = values(self.target, a)
            for value in sorted({str(v) for i in shown for v in values(self.reading.items[i], a) if own and v not in own}):
                c = Constraint(a, "is not", value)
                if c not in self.constraints and not phrases.content_words(value) & self.secret:
                    yield self._phrase("not by", value=value), Critique("not by", value, (c,))

    def _numbers(self, shown: Sequence[str]) -> Iterator[tuple[str, Critique]]:
        """ "Older" where the target is older than the whole list, "older than the second one" where than some; the decade."""
        for a in self.reading.numbers:
            mine = self.reading.number(self.target.id, a)
            theirs = [(n, v) for n, i in enumerate(shown) if (v := self.reading.number(i, a)) is not None]
            if mine is None or not theirs:
                continue
            for relation, pick, which in (("<", min, 0), (">", max, 1)):
                way, edge = phrases.WAYS[a][which], pick(v for _, v in theirs)
                beyond = [(n, v) for n, v in theirs[: len(phrases.ORDINALS)] if compared(mine, relation, v)]
                if compared(mine, relation, edge):
                    words = self.rng.choice(phrases.COMPARED[a][which]).format(than="")
                    yield words, Critique(way, a, (Constraint(a, relation, edge),))
                elif beyond:
                    n, v = self.rng.choice(beyond)
                    words = phrases.COMPARED[a][which][0].format(than=f" than the {phrases.ORDINALS[n]} one")
                    yield words, Critique(f"{way} than one", shown[n], (Constraint(a, relation, v),))
            if a == "year":
                time, spans = self._time()
                if not set(spans) <= set(self.constraints) and not all(
                    s.holds(self.reading.items[i]) for s in spans for i in shown
                ):
                    yield self._phrase("time", time=time), Critique("time", a, spans)

    def _topics(self, shown: Sequence[str]) -> Iterator[tuple[str, Critique]]:
        told = {c.value for s in self.said for c in s.critiques if c.kind == "topic"}
        for topic in (t for t in self.topics if t not in told and not all(self.reading.about(i, t) for i in shown)):
            yield self._phrase("topic", value=topic), Critique("topic", topic)

    def _nearest(self, shown: Sequence[str]) -> Iterator[tuple[str, Critique]]:
        """ "More like the second one": the one item that is most like the target, if it is alone in that and near."""
        near = sorted(
            ((self.reading.likeness(i, self.target.id), n) for n, i in enumerate(shown[: len(phrases.ORDINALS)])), reverse=True
        )
        if near and near[0][0] >= NEAR and (len(near) == 1 or near[1][0] < near[0][0]):
            n = near[0][1]
            yield self._phrase("like", nth=phrases.ORDINALS[n]), Critique("like", shown[n])

    def _phrase(self, kind: str, **names: str) -> str:
        things = {"thing": self.reading.thing, "things": f"{self.reading.thing}s"}
        return self.rng.choice(phrases.CRITIQUES[kind]).format(**(things | names))

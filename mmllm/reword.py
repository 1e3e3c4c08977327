"""Examples of rewording: rows of evidence made from items, and the sentences that say them as a person would.

What is learned has to hold for any catalog, so items are real ones of open catalogs or invented, with attributes of either. Every target passes
the check of `mmllm.explain` wholly. Glue words are few, since the check knows few; the variety is in the order and the joining.
"""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmllm.catalog import NAMES, as_text
from mmllm.claims import check, said_name
from mmllm.errors import MmllmError
from mmllm.explain import line, telling, verb
from mmllm.lexical import words
from mmllm.types import Evidence, Item

SHORT = 6
"""Words in the longest title that is said: what is longer is a sentence of its own, and "This" stands for it."""
SPOKEN = 30
"""Words in the longest target."""


@dataclass(frozen=True)
class ExplainSettings:
    """The stage that trains a LoRA for words: to reword evidence, and to read which words of a turn are wanted.

    Files are relative to the recipe's: `grammar` and `chat` are hand-written, `labelled` holds turns of people (`python -m eval words`).
    `shares` of the turns that are read: labelled ones, requests made of the items, turns put together from `chat`.
    """

    steps: int = 0
    batch: int = 4
    """Rewordings of a step."""
    turns: int = 4
    """Turns that are read in a step; 0 trains rewording alone."""
    rate: float = 1e-3
    reading: float = 1.0
    """Weight of reading's loss beside rewording's."""
    rank: int = 8
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")
    layers: int = 20
    """The last so many layers have the LoRA: nothing is propagated back through those below, which saves a fifth of the time."""
    grammar: str = "grammar.toml"
    chat: str = "chat.toml"
    labelled: str = ""
    shares: tuple[float, ...] = (0.4, 0.2, 0.4)
    examples: int = 16
    """Rewordings that are generated and checked at every validation."""


@dataclass(frozen=True)
class Form:
    """How a value of some attribute is said: behind the item's name (`says`: "is by {v}") or attached to it (`tails`: "by {v}")."""

    says: tuple[str, ...]
    tails: tuple[str, ...]
    values: tuple[str, ...] = ()


PLAIN = Form(("has {v} as its {n}",), ("with {v} as its {n}",))


@dataclass(frozen=True)
class Grammar:
    """The hand-written file: attribute name -> form, and parts of invented titles and texts."""

    forms: Mapping[str, Form]
    titles: Mapping[str, tuple[str, ...]]
    said: Mapping[str, tuple[str, ...]]

    @classmethod
    def read(cls, file: Path) -> Grammar:
        """Parse a grammar of `[titles]`, `[[form]]` and `[said]`."""
        try:
            row = tomllib.loads(file.read_text(encoding="utf-8"))
            forms = {n: Form(tuple(f["says"]), tuple(f["with"]), tuple(f["values"])) for f in row["form"] for n in f["names"]}
            titles, said = ({k: tuple(v) for k, v in row[name].items()} for name in ("titles", "said"))
        except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
            raise MmllmError(
                f"{file} cannot be read as a grammar: {error!r}", expected="TOML with [titles], [[form]], [said]"
            ) from None
        return cls(forms, titles, said)


@dataclass(frozen=True)
class Reworded:
    """One example: a title, rows of evidence, and the sentences that are to be learned."""

    title: str
    rows: tuple[Evidence, ...]
    target: str


def make(items: Sequence[Item], grammar: Grammar, *, seed: int, n: int) -> Reworded:
    """The n-th example of a seed, the same on every machine."""
    rng = random.Random(f"reword {seed} {n}")
    while True:
        title, rows = _rows(items, grammar, rng)
        told = telling(title, rows)
        if not told or _ambiguous(rows):
            continue
        target = _say(title, told, grammar, rng)
        kept, reasons = check(target, title, rows)
        if reasons or kept != target:
            raise MmllmError(
                f"the grammar made {target!r} of {title!r}", expected="what the check lets pass", do=f"see: {reasons}"
            )
        if len(target.split()) <= SPOKEN:
            return Reworded(title, rows, target)


# ---- rows of evidence, in the order of `mmllm.explain.evidence` --------------------------------------------------------


def _rows(items: Sequence[Item], grammar: Grammar, rng: random.Random) -> tuple[str, tuple[Evidence, ...]]:
    item = rng.choice(items) if items and rng.random() < 0.5 else None
    attributes: dict[str, str] = {n: as_text(v) for n, v in item.attributes.items() if n != NAMES} if item else {}
    for name in rng.sample(sorted(grammar.forms), rng.choice((0, 0, 1, 2) if attributes else (1, 2, 3, 4))):
        attributes.setdefault(name, rng.choice(grammar.forms[name].values))
    names = rng.sample(sorted(attributes), len(attributes))
    title = item.title if item else _title(grammar, rng)
    asked = names[: rng.choice((0, 1, 1, 1, 2, 2, 3))]
    rows = [Evidence("attribute", n, rng.choice(attributes[n].split(", "))) for n in asked]
    chance = rng.random
    if chance() < 0.15:
        described = rng.choice(grammar.said["descriptions"])
        if item and item.text and chance() < 0.6:
            words = re.findall(r"[^\W\d_]{3,}", item.text)
            described = ", ".join(w.lower() for w in rng.sample(words, min(len(words), rng.choice((1, 1, 2)))))
        rows += [Evidence("words", "text", described)] if described else []
    if chance() < 0.08:
        rows.append(Evidence("transcript", "recording", rng.choice(grammar.said["transcripts"])))
    if chance() < 0.1:
        rows.append(Evidence("caption", "phrases", rng.choice(grammar.said["captions"])))
    if chance() < 0.25:
        rows.append(
            Evidence(*rng.choice((("picture", "your picture"), ("sound", "your sound"), ("meaning", "your words"))), "0.5")
        )
    if chance() < 0.35:
        other = rng.choice(items).title if items and chance() < 0.3 else _title(grammar, rng)
        kinds = rng.choice((("neighbour",), ("similar",), ("people",), ("neighbour", "people")))
        rows += [Evidence(kind, "id", other) for kind in kinds if other != title]
    told = {(e.name, e.value) for e in rows}
    rows += [Evidence("fact", n, attributes[n]) for n in names if (n, attributes[n]) not in told]
    return title, tuple(rows)


def _ambiguous(rows: Sequence[Evidence]) -> bool:
    """True where one row's value is another's name ("the Middle Ages", age): the check could not tell which is meant."""
    facts = [e for e in rows if e.kind in ("attribute", "fact")]
    return any(set(words(said_name(a.name))) <= set(words(b.value)) for a in facts for b in facts if a is not b)


def _title(grammar: Grammar, rng: random.Random) -> str:
    pick = {k: rng.choice(v) for k, v in grammar.titles.items() if k != "patterns"}
    one, two = rng.sample(grammar.titles["thing"], 2)
    told = rng.choice(grammar.titles["patterns"]).format(
        adj=pick["adj"],
        Adj=pick["adj"].capitalize(),
        thing=one,
        Thing=one.capitalize(),
        Thing2=two.capitalize(),
        Place=pick["place"],
        Name=pick["name"],
        num=rng.randint(2, 40),
    )
    return re.sub(r"^A (?=[aeiou])", "An ", told)


# ---- sentences -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Said:
    """Ways to say one row: behind the item ("is grey"), as a clause ("its colour is grey"), attached ("in grey"), whole ("{it} ...")."""

    says: tuple[str, ...]
    clauses: tuple[str, ...]
    tails: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()


def _said(e: Evidence, grammar: Grammar) -> _Said:
    v, told = e.value, line(e)
    if e.kind in ("attribute", "fact"):
        form, listed = grammar.forms.get(e.name, PLAIN), _listed(v)
        name = said_name(e.name)
        says, tails = (tuple(p.format(n=name, v=listed) for p in some) for some in (form.says, form.tails))
        clauses = tuple(f"it {told}" for told in says)
        return _Said(says, (*clauses, f"its {name} {verb(name)} {listed}"), tails)
    if e.kind == "words":
        return _Said((f'has "{v}" in its description',), (told,), (f'with "{v}" in its description',))
    if e.kind == "transcript":
        return _Said((f'says "{v}" in its recording',), (told,), (f'with a recording that says "{v}"',))
    if e.kind == "caption":
        return _Said((f"has a picture that seems to show {v}",), (told,), (f"with a picture that seems to show {v}",))
    if e.kind in ("neighbour", "similar"):
        did, what = ("liked", "is close to") if e.kind == "neighbour" else ("asked about", "is like")
        whole = (f"You {did} {v}, and {{it}} {what} it", f"{{It}} {what} {v}, which you {did}")
        return _Said((f"{what} {v}, which you {did}",), (f"it {what} {v}, which you {did}",), (), whole)
    if e.kind == "people":
        whole = (f"People who liked {v} liked {{it}} too", f"People who liked {v} also liked {{it}}")
        return _Said((f"is liked by people who liked {v}",), (told, f"people who liked {v} also liked it"), (), whole)
    what = {"picture": "picture", "meaning": "description", "sound": "sound"}[e.kind]
    close = "is close in meaning to" if e.kind == "meaning" else "is close to"
    return _Said((f"has a {what} that {close} {e.name}",), (told,), (f"with a {what} that {close} {e.name}",))


def _listed(value: str) -> str:
    """ "grey, brown" -> "grey and brown"; numbers stay as they are."""
    *first, last = value.split(", ")
    return f"{', '.join(first)} and {last}" if first and not re.search(r"\d", value) else value


def _say(title: str, rows: Sequence[Evidence], grammar: Grammar, rng: random.Random) -> str:
    """One or two sentences of the first rows: what meets the request stands first."""
    short = len(title.split()) <= SHORT and "," not in title
    it = title if short else "This"
    count = min(len(rows), 2 if len(" ".join(e.value for e in rows[:3]).split()) > 8 else 3)
    first, *others = (_said(e, grammar) for e in rows[:count])
    # A title that is a sentence stands ill inside one; where it is not said, the item is "this".
    inner = title if short and title[-1] not in "!?." else "this"
    whole = first.whole if rng.random() < 0.7 else ()
    opening = rng.choice(whole).format(it=inner, It=it) if whole else f"{it} {rng.choice(first.says)}"
    if not others:
        return f"{opening}."
    ways = [lambda o: f"{opening}, and {rng.choice(o.clauses)}", lambda o: f"{opening}. {_capital(rng.choice(o.clauses))}"]
    if others[0].tails and not first.whole:
        ways += [lambda o: f"{opening}, {rng.choice(o.tails)}"] * 2
    if not first.whole:
        ways += [lambda o: f"{opening} and {rng.choice(o.says)}"] * 2
    text = rng.choice(ways)(others[0])
    for other in others[1:]:
        ends: list[Any] = [f". {_capital(rng.choice(other.clauses))}", f". {_also(rng.choice(other.says))}"]
        if ". " not in text.replace(title, "") and ", and" not in text:
            ends += [f", and {rng.choice(other.clauses)}"] * 2
        text += rng.choice(ends)
    return f"{text}."


def _also(says: str) -> str:
    first, _, rest = says.partition(" ")
    return f"It is also {rest}" if first == "is" else f"It also {says}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]

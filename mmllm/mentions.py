"""Which items a turn speaks of, and what it says of them: titles, "the second one", "that", and liked, disliked, seen or "like that".

Mentions are replaced by marks (⟨0⟩, ⟨1⟩, ...), so that the rules of what is said of them are plain patterns over marks. A title counts
only where something is said of it, or where it stands in quotation marks or with its year: "a red apple" is a request, not a mention.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from mmllm.dialogue import State
from mmllm.schema import Schema
from mmllm.texts import say
from mmllm.titles import ALL_ABOUT, Mark, Marks, put_marks
from mmllm.verdicts import ITSELF, LIST, RULES, UNSAID, M

ORDINALS = {
    w: n
    for n, w in enumerate(
        ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"], start=1
    )
}
DIGITS = {c: n for n, c in enumerate("一二三四五六七八九十", start=1)} | {"两": 2}
COUNTS = {"two": 2, "three": 3, "four": 4, "five": 5, "couple": 2}
THING = r"(?:one|item|film|movie|picture|stamp|drawing|result|option|suggestion|book|product)s?"
COUNTED = r"(?:个|個|部|张|張|本|件|幅|首|款|只|部电影|部片子)?"
ORDINAL = re.compile(
    rf"(?:\b(?:the\s+)?({'|'.join(ORDINALS)}|\d{{1,2}}(?:st|nd|rd|th)|last)(?:\s+{THING})?(?=\s*(?:$|[,.;:!?⟨⟩()]|"
    rf"(?:and|or|but|is|was|looks|"
    rf"seems|instead|too|please|again|with|without|in|if|than|because|about|one|best|better|only|are)\b))"
    rf"|(?:\bnumber|\bno\.?|#)\s*(\d{{1,2}})\b(?:\s+{THING})?"
    rf"|第\s*([一二三四五六七八九十]|\d{{1,2}}){COUNTED}|(最后一){COUNTED})"
)
SEVERAL = re.compile(
    rf"\b(?:the\s+)?first\s+(two|three|four|five|couple|\d)(?:\s+{THING})?\b|\bboth(?:\s+of\s+them)?\b(?!\s+of\s+(?:the|his|her|their)\b)|"
    rf"\b(?:all\s+of\s+)?(?:these|those)(?:\s+{THING})?\b(?!\s+(?:all\s+)?(?:are|sound|look)\b)"
    rf"|\ball\s+of\s+them\b|\bnone\s+of\s+(?:these|those|them)\b|\bthem\s+all\b|前\s*([两二三四五]|\d)\s*{COUNTED}|这些|那些|它们"
)
# A pronoun points at an item as an object ("liked it"), as the subject of a clause ("that was dull"), or with a noun ("that one").
ONE = re.compile(
    rf"()(\b(?:that|this)\s+(?![^.!?;]*\bthat\b){THING}\b)"
    r"|(^\W*|[.,;!?]\s*|(?<=⟩)\s+|\b(?:and|but|yes|yeah|no|oh|think|thought|so)\s+)(\b(?:that|this|it)\b)(?=\s+(?:was|"
    r"is|looks|looked|seems|seemed)\b)"
    r"|(\b(?:like|love|loved|liked|enjoyed?|hated?|disliked?|seen|saw|watched|know|read|own|about|than|"
    r"as|why|not|of|take|want|to)\s+)"
    r"(\b(?:that|this)\b(?=\s*(?:$|[.,;!?，。]|(?:but|and|a lot|very|too|already|again|so|only|though|either|before|as well|because)\b))|"
    r"\bit\b(?!'|\s+(?:is|was|has|had|would|will|might|may|can|could|should|looks?|sounds?|to|how|when(?! (?:i|we)\b)|that|if|in)\b))"
    r"|()([这那][个個部张本件幅](?:电影|片子)?|它)"
)
THEM = re.compile(
    r"(\b(?:like|love|loved|liked|enjoyed?|hated?|disliked?|seen|saw|watched|know|own)\s+(?:all\s+|both\s+)?)(?:them|those|these)"
    r"(?:\s+(?:all|both))?\b(?=\s*(?:$|[.,;!?]|(?:but|and|a lot|too|already|so|as well)\b))"
    r"|((?:^\W*|[.,;!?]\s*|\b(?:and|but|yes|yeah|think|thought)\s+))(?:they|those|these|both)(?=\s+(?:(?:all|both)\s+)?(?:are|were|was)\b)"
)
"""Several items by a pronoun: as an object, or as the subject of what they are."""
OFFERED = re.compile(r"\b(?:suggestion|recommendation|idea|option|choice)s\b[^⟨]*$")
SUPERLATIVES: dict[str, tuple[str, Callable[..., str]]] = {
    **{w: ("price", min) for w in ("cheapest", "least expensive", "最便宜的")},
    **{w: ("price", max) for w in ("most expensive", "dearest", "最贵的")},
    **{w: ("year", min) for w in ("oldest", "earliest", "最老的", "最早的")},
    **{w: ("year", max) for w in ("newest", "most recent", "latest", "最新的")},
    **{w: ("length", min) for w in ("shortest", "最短的")},
    **{w: ("length", max) for w in ("longest", "最长的")},
}
SUPERLATIVE = re.compile(rf"(?:\bthe\s+)?({'|'.join(SUPERLATIVES)})(?:\s+{THING}\b)?")
NUMBER = re.compile(r"(?<![\d⟨$£€.])\b(\d{1,2})\b(?![\d.⟩]|\s*(?:minutes|min|pages|dollars|euros|pounds|hours|年|分钟|元|块))")
# Marks that a rule has used up are written otherwise, so that no later rule joins them to a list.
USED, FREE = str.maketrans("⟨⟩", "⟪⟫"), str.maketrans("⟪⟫", "⟨⟩")


@dataclass(frozen=True)
class Mentions:
    """`text` with marks for the items that something is said of; `said`: liked, disliked, known, similar, wanted or about -> ids in order;
    `marks`: mark number -> ids; `unclear` is what could not be resolved.
    """

    text: str
    marks: dict[int, tuple[str, ...]] = field(default_factory=dict)
    said: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unclear: tuple[str, ...] = ()


def find(text: str, schema: Schema, state: State) -> Mentions:
    """Titles and references of a turn, and what is said of each."""
    marks: Marks = []
    unclear: list[str] = []

    def mark(ids: tuple[str, ...], words: str, strong: bool) -> str:
        marks.append((ids, words, strong))
        return f" ⟨{len(marks) - 1}⟩ "

    text = put_marks(text, schema, state, mark, unclear).lower()
    text = _references(text, schema, state, marks, mark, unclear)
    said: dict[str, list[str]] = {}
    spoken: set[int] = set()
    for kind, rule in RULES:
        for found in list(rule.finditer(text)):
            group = next(g for g in found.groups() if g and "⟨" in g)
            numbers = [int(n) for n in re.findall(r"⟨(\d+)⟩", group)]
            if any(n in spoken for n in numbers):
                continue
            spoken.update(numbers)
            if kind != "nothing":
                said.setdefault(kind, []).extend(i for n in numbers for i in marks[n][0])
        text = rule.sub(lambda m: _used_up(m) if _all_spoken(m[0], spoken) else m[0], text)
    text = text.translate(FREE)
    for n, (_, words, strong) in enumerate(marks):
        if n not in spoken and not strong:
            text = text.replace(f"⟨{n}⟩", words.lower())
    kept = {n: ids for n, (ids, _, strong) in enumerate(marks) if f"⟨{n}⟩" in text or strong or n in spoken}
    return Mentions(text, kept, {k: tuple(dict.fromkeys(v)) for k, v in said.items()}, tuple(unclear))


def _used_up(m: re.Match[str]) -> str:
    """The words of a rule are used up; its marks stay, for "cheaper than ⟨0⟩", and what it keeps: "any comedies" before "like ⟨0⟩"."""
    subject = TOLD.match(m[0]) if not GOES_ON.match(m.string, m.end()) else None
    verb = (subject[2],) if subject else ()
    return " ".join((m.groupdict().get("kept") or "", *re.findall(M, m[0]), *verb)).translate(USED).join("  ")


# "⟨0⟩ was a great romance" leaves "⟨0⟩ was romance", which still tells; "⟨0⟩ is nice but red" goes on to ask.
TOLD = re.compile(rf"{LIST}(?:\s+{ITSELF})?\s+(was|is|were|are)\b")
GOES_ON = re.compile(r"\s*,?\s*(?:but|only|just|with|in|yet|但是?|不过)")


def _all_spoken(text: str, spoken: set[int]) -> bool:
    return all(int(n) in spoken for n in re.findall(r"⟨(\d+)⟩", text))


def _references(text: str, schema: Schema, state: State, marks: Marks, mark: Mark, unclear: list[str]) -> str:
    listed, titles = state.listed, len(marks)

    def at(n: int, words: str) -> str:
        if 1 <= n <= len(listed):
            return mark((listed[n - 1],), words, True)
        unclear.append(say("showed" if listed else "no_list", state.lang, words=words.strip(), count=len(listed)))
        return mark((), words, True)

    def named(before: str) -> tuple[str, ...]:
        """The items that a turn named so far, where it named several."""
        here = re.findall(r"⟨(\d+)⟩", before)
        return tuple(i for n in here for i in marks[int(n)][0]) if len(here) > 1 else ()

    def them(found: re.Match[str]) -> str:
        before = found.string[: found.start()]
        ids = () if found[1] is None and OFFERED.search(before) else named(before) or listed
        return (found[1] or found[2] or "") + mark(ids, found[0], False) if ids else found[0]

    def several(found: re.Match[str]) -> str:
        count = found[1] or found[2]
        if not count:
            ids = named(found.string[: found.start()]) or (listed[:2] if found[0].startswith("both") else listed)
        else:
            ids = listed[: COUNTS.get(count) or DIGITS.get(count) or int(count)]
        if not ids:
            return found[0]
        return ("not " if found[0].startswith("none") else "") + mark(ids, found[0], True)

    def ordinal(found: re.Match[str]) -> str:
        word = found[1] or found[2] or found[3] or found[4]
        if word in ("last", "最后一"):
            return at(len(listed), found[0]) if listed else found[0]
        n = ORDINALS.get(word) or DIGITS.get(word) or int(re.sub(r"\D", "", word))
        return at(n, found[0])

    def most(found: re.Match[str]) -> str:
        measures, pick = SUPERLATIVES[found[1]]
        attribute = schema.measuring(measures)
        known = [
            i
            for i in listed
            if attribute is not None and isinstance(schema.items[i].attributes.get(attribute.name), (int, float))
        ]
        if attribute is None or not known:
            return found[0]
        return mark((pick(known, key=lambda i: schema.items[i].attributes[attribute.name]),), found[0], True)

    for unsaid, whole in UNSAID:
        text = unsaid.sub(whole, text)
    text = SUPERLATIVE.sub(most, text)
    text = SEVERAL.sub(several, THEM.sub(them, text))
    text = ORDINAL.sub(ordinal, text)
    if ALL_ABOUT.search(text):
        text = NUMBER.sub(lambda m: at(int(m[1]), m[0]), text)

    def one(found: re.Match[str]) -> str:
        before = re.findall(r"⟨(\d+)⟩", text[: found.start()])
        prefix, words = next((a, b) for a, b in zip(found.groups()[::2], found.groups()[1::2], strict=True) if b)
        # A title is meant before "those", and one that is sure before words that only spell one: "I saw ⟨0⟩ last night, I love that film".
        spelled = [n for n in before if int(n) < titles]
        sure = [n for n in spelled if marks[int(n)][2]] or spelled or before
        ids = marks[int(sure[-1])][0] if sure else (state.focus,) if state.focus else listed[:1]
        return prefix + mark(ids, words, False) if ids else found[0]

    return ONE.sub(one, text)

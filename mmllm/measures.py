"""Numbers in a turn -> filters: "under 20", "from the nineties", "between 10 and 20", "nothing before 1990".

Which attribute a number is about is told by its unit, by a word beside it, or by the catalog's ranges; if none tells, it is asked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mmllm.dialogue import Question, Turn
from mmllm.schema import Attribute, Schema
from mmllm.texts import joined, say
from mmllm.types import Filter

NUMBER = (
    r"(?P<{0}cur>[$£€¥]|usd\s*)?(?P<{0}>\d[\d,]*(?:\.\d+)?)(?:\s*(?P<{0}unit>dollars?|bucks|euros?|pounds?|"
    r"元|块钱|块|minutes?|mins?|分钟|hours?|hrs?|小时|pages?|页|stars?|分|kg|g|cm|年))?"
)
N, A, B = (NUMBER.format(name) for name in ("n", "a", "b"))
UNITS = (
    (r"dollar|buck|euro|pound|元|块|[$£€¥]|usd", "price"),
    (r"min|hour|hr|分钟|小时|page|页", "length"),
    (r"star|分$", "rating"),
    (r"kg|^g$", "weight"),
    (r"cm", "size"),
    (r"年", "year"),
)
HINTS = {
    "older": "year",
    "newer": "year",
    "earlier": "year",
    "later": "year",
    "cheaper": "price",
    "shorter": "length",
    "longer": "length",
}
DECADES = {
    w: n
    for n, w in zip(
        range(20, 100, 10),
        ["twenties", "thirties", "forties", "fifties", "sixties", "seventies", "eighties", "nineties"],
        strict=True,
    )
}
CHINESE = {"二十": 20, "三十": 30, "四十": 40, "五十": 50, "六十": 60, "七十": 70, "八十": 80, "九十": 90}
NAMED = r"(?P<attribute>[a-z]+)\s+(?:is |of |should be |must be )?"

DECADE = re.compile(
    rf"(?:\b(?:from|in|of|out of|made in|during)\s+)?(?:\bthe\s+)?\b(?P<part>early|mid|late)?[\s-]*(?:(?P<digits>(?:19|"
    rf"20)?\d0)['’]?s\b|(?P<word>{'|'.join(DECADES)})\b)"
    rf"|(?P<cjk>(?:19|20)?\d0|{'|'.join(CHINESE)})\s*年代"
)
BETWEEN = tuple(
    re.compile(p)
    for p in (
        rf"\b(?:between|from)\s+{A}\s*(?:and|to|-|–|until)\s*{B}",
        rf"{A}\s*(?:到|至|-|–)\s*{B}(?:之间)?",
        r"\b(?:in|from|of)\s+(?P<a>(?:1[89]|20)\d\d)\s*(?:or|and|,)\s*(?P<b>(?:1[89]|20)\d\d)\b",
    )
)
AT_MOST = (
    "budget (?:is|of)|no (?:more|longer|later) than|not (?:more|longer|later|over|above) (?:than )?|at most|"
    "up to|max(?:imum)?(?: of)?|"
    "within|until"
)
AT_LEAST = "no (?:less|earlier|older|shorter) than|not (?:less|under|below|before) (?:than )?|at least|min(?:imum)? of|since"
BELOW = "under|below|less than|fewer than|cheaper than|older than|earlier than|prior to|before|shorter than|smaller than|<"
ABOVE = "over|above|more than|longer than|newer than|later than|after|bigger than|larger than|>"
RANGES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (op, re.compile(pattern))
    for op, patterns in (
        ("<=", (rf"\b(?:{NAMED})?(?:{AT_MOST})\s+{N}", f"(?:不超过|最多){N}")),
        ("<=", (rf"{N}\s*(?:or less|or under|or fewer|or shorter|or cheaper|max\b|以内)",)),
        (
            ">=",
            (rf"\b(?:{NAMED})?(?:{AT_LEAST})\s+{N}", rf"\b(?:from|starting)\s+{N}\s+(?:on|onwards?|and (?:up|later|newer))\b"),
        ),
        (">=", (f"(?:至少|不少于){N}", rf"{N}\s*(?:or more|or later|or newer|or longer|or above|and up|以后|之后|以上)")),
        ("<", (rf"\b(?:{NAMED})?(?P<hint>{BELOW})\s+{N}", f"(?:低于|少于|早于){N}", rf"{N}\s*(?:以下|以前|之前)")),
        (">", (rf"\b(?:{NAMED})?(?P<hint>{ABOVE})\s+{N}", f"(?:高于|超过|晚于){N}")),
        (
            "~",
            (
                rf"\b(?:{NAMED})?(?:around|about|roughly|approximately|circa|close to)\s+{N}",
                f"(?:大约|大概){N}",
                rf"{N}\s*(?:左右|上下)",
            ),
        ),
        (
            "=",
            (
                r"\b(?:from|in|made in|released in|of)\s+(?:the year\s+)?(?P<date>(?:1[5-9]|20)\d\d)\b",
                r"(?P<date>(?:1[5-9]|20)\d\d)\s*年的?",
            ),
        ),
    )
    for pattern in patterns
)

SPELLED: dict[str, float] = {
    w: n for n, w in enumerate(["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"], start=1)
}
SPELLED |= {"an": 1, "a": 1, "twenty": 20, "thirty": 30, "fifty": 50, "ninety": 90, "half an": 0.5}
SPELT = re.compile(rf"\b({'|'.join(sorted(SPELLED, key=len, reverse=True))})\s+(hours?|minutes?|dollars?|euros?|pounds?|bucks)\b")


@dataclass
class Found:
    """What a reader took out of a turn; `text` is what is left of it, `lang` the language to tell what was not understood in."""

    text: str
    lang: str = "en"
    filters: list[Filter] = field(default_factory=list)
    unclear: list[str] = field(default_factory=list)
    question: Question | None = None


def read(text: str, schema: Schema, lang: str = "en") -> Found:
    """Numbers and decades."""
    # "Two hours" is a number because of its unit; "the two of them" is none.
    found = Found(SPELT.sub(lambda m: f"{SPELLED[m[1]]} {m[2]}", text), lang)
    _decades(found, schema)
    _between(found, schema)
    for op, pattern in RANGES:
        while (hit := pattern.search(found.text)) is not None:
            groups = hit.groupdict()
            value, unit = _value(groups, "n") if groups.get("n") else (float(groups["date"]), "year")
            attribute = _attribute(schema, value, unit, groups.get("attribute"), groups.get("hint"), year=op == "=")
            _use(found, hit, schema, attribute, _conditions(op, value, attribute), value, op)
    return found


def _value(groups: Mapping[str, str | None], name: str) -> tuple[float, str]:
    """The number and what its unit measures; hours become minutes."""
    value = float((groups[name] or "0").replace(",", ""))
    said = (groups.get(f"{name}cur") or groups.get(f"{name}unit") or "").strip()
    if re.match(r"hour|hr|小时", said):
        value *= 60
    return value, next((m for pattern, m in UNITS if said and re.search(pattern, said)), "")


def _attribute(
    schema: Schema, value: float, unit: str, word: str | None, hint: str | None, *, year: bool = False
) -> Attribute | str | None:
    """The attribute a number is about; a text where the catalog lacks it; None where nothing tells."""
    if unit:
        return schema.measuring(unit) or unit
    if word and (named := _named(schema, word)) is not None:
        return named
    said = HINTS.get((hint or "").split(" ")[0]) or ("year" if hint in ("before", "after", "prior to") else "")
    if year or said:
        return schema.measuring("year" if year else said) or ("year" if year else said)
    dates = schema.measuring("year")
    if dates is not None and dates.low - 60 <= value <= dates.high + 60:
        return dates
    numeric = [a for a in schema.attributes.values() if a.kind == "number" and a is not dates]
    fitting = [a for a in numeric if a.low <= value <= a.high] or numeric
    if len(fitting) == 1:
        return fitting[0]
    return schema.measuring("price") if schema.measuring("price") in fitting and value <= schema.measuring("price").high else None  # type: ignore[union-attr]


def _named(schema: Schema, word: str) -> Attribute | None:
    exact = replace(schema, near=None).named(word)
    return exact if exact is not None and exact.kind == "number" else None


OPPOSITE = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "=": "!="}
REFUSED = re.compile(
    r"(?:\b(?:not|no|nothing|never)|n't)\b(?:\s+(?:any|a|the|films?|movies?|ones?|want|like|need|anything|something|made|that|is|are|was))*\s*$"
    r"|(?:不要|别要|不想看|不看)(?:任何)?\s*$"
)


OF_A_FILM = re.compile(
    r"\b(?:it|that|this|they|which|⟨\d+⟩)\s+(?:just |only |already |first )?(?:came out|(?:was|is) (?:made|released|from))\s*$"
)
"""What is told of an item asks for nothing: "it came out in 2017"."""


def whole(value: float) -> int | float:
    """A number without its ".0"."""
    return int(value) if value == int(value) else value


def _conditions(op: str, value: float, attribute: Attribute | str | None) -> list[tuple[str, float]]:
    if op != "~":
        return [(op, value)]
    near = 2.0 if isinstance(attribute, Attribute) and attribute.measures == "year" else 0.2 * value
    return [(">=", value - near), ("<=", value + near)]


def _use(
    found: Found,
    hit: re.Match[str],
    schema: Schema,
    attribute: Attribute | str | None,
    conditions: list[tuple[str, float]],
    value: float,
    op: str,
) -> None:
    # The word before "under 20" goes with it only if it names the attribute: "price under 20", but "a comedy under 20".
    word = hit.groupdict().get("attribute")
    start = hit.end("attribute") if word and _named(schema, word) is None else hit.start()
    if (refused := REFUSED.search(found.text[:start])) is not None:
        # "Nothing before 1990" is the other side of the bound; a span that is left out is none.
        start = refused.start()
        if len(conditions) > 1:
            found.unclear.append(say("no_span", found.lang, said=found.text[start : hit.end()].strip()))
            found.text = found.text[:start] + " " + found.text[hit.end() :]
            return
        conditions = [(OPPOSITE[o], v) for o, v in conditions]
    told = OF_A_FILM.search(found.text[:start])
    found.text = found.text[:start] + " " + found.text[hit.end() :]
    if told:
        return
    if isinstance(attribute, str):
        found.unclear.append(say("lacks", found.lang, said=hit[0].strip(), what=say(attribute, found.lang)))
        return
    if attribute is None:
        numeric = [a for a in schema.attributes.values() if a.kind == "number"]
        if not numeric:
            found.unclear.append(say("no_numbers", found.lang, said=hit[0].strip()))
            return
        options = tuple(
            (a.name, Turn(filters=tuple(Filter(a.name, o, whole(v)) for o, v in _conditions(op, value, a))))  # type: ignore[arg-type]
            for a in numeric
        )
        names = joined((a.name for a in numeric), found.lang, "or")
        found.question = Question(say("which_number", found.lang, said=hit[0].strip(), names=names), options)
        return
    found.filters += [Filter(attribute.name, o, whole(v)) for o, v in conditions]  # type: ignore[arg-type]


def _decades(found: Found, schema: Schema) -> None:
    spans: list[tuple[int, int]] = []
    while (hit := DECADE.search(found.text)) is not None:
        said = hit["cjk"] or hit["word"] or hit["digits"]
        start = CHINESE.get(said) or DECADES.get(said) or int(said)
        if start < 100:
            start += 1900 if start >= 30 else 2000
        low, high = {"early": (0, 3), "mid": (4, 6), "late": (6, 9)}.get(hit["part"] or "", (0, 9))
        spans.append((start + low, start + high))
        attribute = schema.measuring("year") or "year"
        # "The 80s or 90s" is one range: what was read of the first is read again with the second.
        found.filters = [f for f in found.filters if not (isinstance(attribute, Attribute) and f.attribute == attribute.name)]
        edges: list[tuple[str, float]] = [(">=", min(a for a, _ in spans)), ("<=", max(b for _, b in spans))]
        _use(found, hit, schema, attribute, edges, start, "=")


def _between(found: Found, schema: Schema) -> None:
    for rule in BETWEEN:
        while (hit := rule.search(found.text)) is not None:
            low, first = _value(hit.groupdict(), "a")
            high, second = _value(hit.groupdict(), "b")
            attribute = _attribute(schema, high, second or first, None, None)
            low, high = min(low, high), max(low, high)
            _use(found, hit, schema, attribute, [(">=", low), ("<=", high)], high, "<=")

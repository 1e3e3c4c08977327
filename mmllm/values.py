"""Values in a turn -> filters: genres, colours and kinds that are wanted; people ("by her", "directed by Ana Roth"); "the same year".

A value is taken as a filter only where it describes what is asked for: "a comedy with a robot about dogs" is a comedy, and dogs are left to
the search. What is no value of the catalog is never made one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from mmllm.clauses import LEAD, asking
from mmllm.dialogue import State
from mmllm.refusals import NO, refusals
from mmllm.schema import Attribute, Near, Schema, stems
from mmllm.spans import CJK, LONGEST, THING, WORD, choose, cut, filter_on, spans, values_of
from mmllm.texts import joined, say
from mmllm.types import Filter, Scalar
from mmllm.verdicts import M

OFFERS = frozenset(stems("suggestion recommendation idea help any some good"))
"""Stems that begin no description: "any good suggestions for family films"."""
FORGET = re.compile(
    r"\b(?:forget(?: about)?|ignore|drop|remove|never ?mind|clear)\s+(?:about\s+)?(?:the\s+|my\s+)?(?P<a>[\w ]+?)(?:\s+(?:limit|"
    r"filter|thing))?(?=$|[.,;!?]|\s+(?:and|but)\b)"
    r"|\bany\s+(?P<b>\w+)(?:\s+(?:is fine|will do|is ok(?:ay)?|is good|works|at all))|\b(?:the\s+)?(?P<c>\w+)\s+(?:does not|"
    r"doesn'?t|does no longer|no longer) matter(?:s)?"
    r"|\b(?:don'?t|do not) (?:care|mind)(?: about)? (?:the\s+)?(?P<d>\w+)|(?:忘掉|忘记|不管|去掉|忽略|取消)(?P<e>[\u3400-\u9fff]{1,4})|"
    r"(?P<f>[\u3400-\u9fff]{1,4}?)(?:都行|无所谓|不重要|随便|都可以)|\bany\s+(?P<g>\w+)\W*$"
)
HEAD_ENDS = re.compile(
    r"\b(?:with|of|in|on|than|for|at|to|near|under|about|around|featuring|where|who|whose|while|when|like|from|"
    r"holding|wearing|having|has|"
    r"(?:that|which|who)\s+(?!is\b|are\b|looks?\b))\b|⟨"
)
# Whom it is for, where nothing else is said to be: "a film for kids", "to watch with the family", but "for horror fans".
AUDIENCE = re.compile(
    rf"(?:\b(?:{THING.pattern}|something|anything)\s+for|\b(?:watch|see)\s+with)\s+(?:(?:the|my|our|all|young|small)\s+)*$"
)
ALONE = re.compile(r"\W*$|\s*[.,;!?]|\s+(?:and|or|to|with|that|but|please)\b")
# Between two values of one item: "romantic comedy", "comedies and dramas", "a comedy that is also a western".
BOTH = re.compile(
    r"[\s-]*|\W*and\W*|\W*(?:films?|movies?|ones?|things?)?\W*(?:(?:that|which) (?:is|are)|that's|but|and)?\W*also\W*(?:an?\W+)?"
)
SENTENCE = re.compile(r"(?:[^.!?;。！？；]|[.](?=\S))+")
BY_THEM = re.compile(
    r"(?P<no>\b(?:not|nothing|anything but|nothing else|no more|no films?|none)\s+(?:\w+\s+)?)?\b(?:by|"
    r"from|of|with)\s+(?:the\s+same\s+(?P<role>director|author|artist|writer|maker|designer|actor|brand|"
    r"composer)|"
    rf"(?:him|her|them|this (?:guy|man|woman)|(?:that|this) (?P<role2>director|author|artist|writer|maker|"
    rf"actor))\b|the (?P<role3>director|author|artist|writer|maker|actor) of\s+(?P<m>{M}))"
    r"|(?P<no2>不要|别要|不看)?\s*(?:同一个|同一位|同一)(?P<role4>导演|作者)的?|(?P<no3>不要|别要|不看|不想看)\s*(?:他|她|这个导演|这位导演)(?:拍|"
    r"导|演|写|导演)?的?|(?:他|她|这个导演|这位导演)(?:拍|导|演|写|导演)的"
)
BY_NAME = re.compile(
    r"(?P<no>\b(?:not|nothing|no|except|without)\s+(?:\w+\s+)?)?\b(?:(?:directed|written|made|painted|"
    r"composed|sung)\s+)?(?P<by>by|starring|from|with)\s+(?P<name>[^\W\d_][\w'’.-]*(?:\s+[^\W\d_][\w'’.-]*){0,3})"
)
SAME = re.compile(
    r"\b(?:of|from|in|with)?\s*the same (?P<a>\w+)(?:\s+as\s+(?P<m>⟨\d+⟩))?|(?:同样|一样|相同)的?(?P<b>[\u3400-\u9fff]{2})"
)


@dataclass
class Values:
    """Filters and words found; `text` is what is left, wanted values included, which are also searched for; `lang` as in `measures.Found`."""

    text: str
    lang: str = "en"
    filters: list[Filter] = field(default_factory=list)
    avoid: list[str] = field(default_factory=list)
    forget: list[str] = field(default_factory=list)
    unclear: list[str] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)
    """Stems that a wanted value used up."""


def read(text: str, schema: Schema, state: State, marks: Mapping[int, tuple[str, ...]], base: tuple[str, ...]) -> Values:
    """Everything but numbers. `base` is what "him" and "the same" are about where no item is named."""
    out = Values(text, state.lang)
    _forget(out, schema)
    out.text = asking(out.text, lambda part: spans(part, schema))
    _people(out, schema, marks, base)
    _same(out, schema, marks, base)
    refused = refusals(out.text, schema)
    out.text, out.avoid = refused.text, refused.avoid
    out.filters += refused.filters
    _wanted(out, schema)
    return out


def _forget(out: Values, schema: Schema) -> None:
    for hit in reversed(list(FORGET.finditer(out.text))):
        word = next(g for g in hit.groupdict().values() if g).strip()
        names = [a for a in (schema.named(w) for w in re.split(r"\s+and\s+|和", word)) if a is not None]
        if names:
            out.forget += [a.name for a in names]
            out.text = cut(out.text, *hit.span())
        elif hit["a"] or hit["e"]:
            names_here = joined(schema.attributes, out.lang)
            out.unclear.append(say("attributes_are", out.lang, said=hit[0].strip(), names=names_here))
            out.text = cut(out.text, *hit.span())


def _persons(schema: Schema, role: str | None) -> list[Attribute]:
    people = [a for a in schema.attributes.values() if a.measures == "person"]
    wanted = {"导演": "director", "作者": "author"}.get(role or "", role or "")
    exact = [a for a in people if wanted and wanted in a.name.casefold()]
    return exact or ([] if wanted else people)


def _people(out: Values, schema: Schema, marks: Mapping[int, tuple[str, ...]], base: tuple[str, ...]) -> None:
    while (hit := BY_THEM.search(out.text)) is not None:
        role = next((hit[g] for g in ("role", "role2", "role3", "role4") if hit[g]), None)
        before = re.findall(r"⟨(\d+)⟩", hit["m"] or "") or re.findall(r"⟨(\d+)⟩", out.text[: hit.start()])
        ids = marks.get(int(before[-1]), ()) if before else base[:1]
        persons = _persons(schema, role)
        found = [(a.name, v) for a in persons[:1] for i in ids for v in values_of(schema.items[i], a.name)]
        if not persons:
            out.unclear.append(say("names_no", out.lang, said=_plain(hit[0], out.lang), role=role or say("role", out.lang)))
        elif not found:
            key = "person_unknown" if ids else "whom"
            out.unclear.append(say(key, out.lang, said=_plain(hit[0], out.lang), name=persons[0].name))
        else:
            op: Literal["=", "!="] = "!=" if hit["no"] or hit["no2"] or hit["no3"] else "="
            names = tuple(dict.fromkeys(v for _, v in found))
            out.filters.append(filter_on(found[0][0], op, names))
        out.text = cut(out.text, *hit.span())
    start = 0
    while (hit := BY_NAME.search(out.text, start)) is not None:
        start = hit.end("by")
        if person := _named_person(schema, hit["name"], whole=hit["by"] == "with"):
            (name, value), length = person
            out.filters.append(Filter(name, "!=" if hit["no"] else "=", value))
            out.text = cut(out.text, hit.start(), hit.start("name") + length)
        elif hit["by"] == "by" and re.search(
            r"(?:directed|written|painted|composed|sung)\s+by$", hit[0][: hit.end("by") - hit.start()]
        ):
            out.unclear.append(say("nobody", out.lang, said=hit[0].strip()))
            out.text = cut(out.text, *hit.span())
    # A full name says who is meant without "by".
    for a in _persons(schema, None):
        for value in a.values:
            if (
                isinstance(value, str)
                and " " in value
                and (hit := re.search(rf"\b{re.escape(value.casefold())}\b(?:['’]s)?", out.text))
            ):
                refused = bool(re.search(NO.pattern + "$", out.text[: hit.start()]))
                out.filters.append(Filter(a.name, "!=" if refused else "=", value))
                out.text = cut(out.text, *hit.span())


def _named_person(schema: Schema, said: str, *, whole: bool) -> tuple[tuple[str, Scalar], int] | None:
    """The person whose full name, or surname that nobody else has, the words begin with; and the length of that name in the text."""
    words = list(WORD.finditer(said))
    for size in range(min(LONGEST, len(words)), 0, -1):
        name = said[: words[size - 1].end()].removesuffix("'s")
        for a in _persons(schema, None):
            full = [v for v in a.values if str(v).casefold() == name]
            last = [v for v in a.values if str(v).casefold().split()[-1] == name] if size == 1 and not whole else []
            if len(found := full or last) == 1:
                return (a.name, found[0]), len(name)
    return None


def _same(out: Values, schema: Schema, marks: Mapping[int, tuple[str, ...]], base: tuple[str, ...]) -> None:
    while (hit := SAME.search(out.text)) is not None:
        attribute = schema.named(hit["a"] or hit["b"])
        ids = marks.get(int(hit["m"][1:-1]), ()) if hit["m"] else base[:1]
        found = tuple(v for i in ids for v in values_of(schema.items[i], attribute.name)) if attribute else ()
        if attribute is None:
            out.text = (
                out.text[: hit.start()] + re.sub(r"\bthe same\b|同样的?|一样的?", "thesame", hit[0]) + out.text[hit.end() :]
            )
            continue
        if found:
            out.filters.append(filter_on(attribute.name, "=", found))
        else:
            out.unclear.append(say("same_as", out.lang, said=_plain(hit[0], out.lang), name=attribute.name))
        out.text = cut(out.text, *hit.span())
    out.text = out.text.replace("thesame", " ")


def _wanted(out: Values, schema: Schema) -> None:
    # "Like ⟨0⟩ but red": what follows the item describes what is wanted.
    text = re.sub(r"⟨\d+⟩\s*,?\s*(?:but|only|just|yet|但是?|不过)", " , ", out.text)
    heads = _heads(text)
    colours = re.compile(r"\b(?:in|that is|that are|which is|is|are|it)\s+(?:\w+\s+)?$|\b(?:in)\s+$")
    by: dict[str, list[tuple[Scalar, int, int]]] = {}
    for start, stop, pairs in spans(text, schema):
        name, value = choose(schema, pairs)
        attribute = schema.attributes[name]
        told = attribute.measures == "colour" and colours.search(text[:start])
        told = told or (AUDIENCE.search(text[:start]) and ALONE.match(text, stop))
        if (not told and not any(a <= start < b for a, b in heads)) or _is_the_thing(text, start, stop, schema, attribute):
            continue
        by.setdefault(name, []).append((value, start, stop))
        out.taken.update(stems(text[start:stop]))
    for name, found in by.items():
        distinct = tuple(dict.fromkeys(v for v, _, _ in found))
        gaps = [text[a[2] : b[1]] for a, b in zip(found, found[1:], strict=False)]
        both = schema.attributes[name].many and len(distinct) > 1 and all(BOTH.fullmatch(g) or AUDIENCE.search(g) for g in gaps)
        if both and any(set(distinct) <= set(values_of(i, name)) for i in schema.items.values()):
            out.filters.append(Filter(name, "all", distinct))
        else:
            out.filters.append(filter_on(name, "=", distinct))
    if schema.near is not None:
        _near(out, schema, " , ".join(text[a:b] for a, b in heads), schema.near)


def _heads(text: str) -> list[tuple[int, int]]:
    """Where each sentence describes what is asked for: from behind "I would like" to "with", "about" or an item."""
    out = []
    for sentence in SENTENCE.finditer(text):
        start = sentence.start() + (lead.end() if (lead := LEAD.match(sentence[0])) else 0)
        ends = HEAD_ENDS.finditer(text, start, sentence.end())
        end = next((m.start() for m in ends if set(stems(text[start : m.start()])) - OFFERS or m[0] == "⟨"), sentence.end())
        out.append((start, end))
    return out


def _is_the_thing(text: str, start: int, stop: int, schema: Schema, attribute: Attribute) -> bool:
    """ "An orange" asks for the fruit: a colour with an article and nothing behind it, where an item has that very name."""
    alone = re.search(r"\b(?:an?|the)\s+$", text[:start]) and not WORD.match(text[stop:].lstrip())
    return attribute.measures == "colour" and bool(alone) and text[start:stop] in schema.titles


def _near(out: Values, schema: Schema, head: str, near: Near) -> None:
    """Words that the catalog never says, put to the values of one choice by meaning: "creepy" is horror. Colours are left out: MiniLM
    takes crimson for purple."""
    said = {f.attribute for f in out.filters}
    for word in WORD.findall(head):
        stem = stems(word)
        if len(stem) != 1 or len(word) < 4 or stem[0] in out.taken or schema.knows(stem[0]) or CJK.search(word):
            continue
        for a in schema.attributes.values():
            if a.kind != "text" or a.measures or a.name in said or len(a.values) > 40:
                continue
            if (found := near(word, tuple(str(v) for v in a.values))) is not None:
                out.filters.append(Filter(a.name, "=", found))
                out.taken.add(stem[0])
                break


def _plain(text: str, lang: str) -> str:
    return re.sub(r"\s*⟨\d+⟩\s*", f" {say('that', lang)} ", text).strip()

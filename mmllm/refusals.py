"""What a turn wants left out: "no horror", "not a drama or a western", "without dogs"."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from mmllm.lexical import GENERIC
from mmllm.schema import Schema, stems
from mmllm.spans import WORD, choose, cut, filter_on, spans
from mmllm.types import Filter, Scalar

NO = re.compile(
    r"\b(?:not (?:really |so )?(?:a (?:big |huge )?fan of|into|in the mood for|keen on|fond of)|"
    r"no|not|without|nothing|non|except(?: for)?|but not|avoid|exclude|skip|anything but|rather not|"
    r"hates?|hated|dislike|can'?t stand|"
    r"(?:do not|don'?t|doesn'?t|didn'?t) (?:really )?(?:want|like|need|care for|enjoy|show me|give me|"
    r"fancy|involve|have|contain|include)|(?:that|which) (?:aren'?t|isn'?t)|"
    r"never|too|less|sick of|tired of|enough of)\s+"
    r"(?:(?:any|a|an|more|too|with|about|of|the|in|that is|that are|which is|to see|see|really|so|very|"
    r"much|for|movies?|films?|ones?|things|something|anything)\s+)*"
)
NO_CJK = re.compile(r"(?:不要|不想要|不想看|不喜欢|不爱看|不看|别给我|别要|讨厌|除了|没有|别是|不是)(?:任何|有)?")
NOT_A_NO = re.compile(
    r"\bnot (?:only|sure|bad|really sure|necessarily|exactly|particularly|always|at all)\b|"
    r"\bno (?:longer|problem|thanks|thank you|idea|matter|one|worries|way)\b|"
    r"\bnothing (?:else|more|special)\b"
)
DEGREES = ("big", "huge", "enough", "either", "mani", "such", "quit", "even", "yet", "use", "sure", "but", "come", "old", "new")
"""Stems behind "not" that are no thing to be left out: "not a big fan"."""
JOINED = re.compile(r"^\W*(?:or|and|,|/|nor|&|和|或|或者|、|还有)*\W*(?:the |a |an |any |in |或者)*$")
# "Not a drama, a comedy please": behind a comma an article, or "please", begins what is wanted; "not a drama, a comedy or a western" goes on.
WISH = re.compile(r"\W*,\W*(?:(?:and|but)\s+)?(?:also\s+)?an?\s+$")
OR = re.compile(r"(?:\s+(?:films?|movies?|ones?))?\W*(?:or|nor)\b")
ASKED = re.compile(r"(?:\s+(?:films?|movies?|ones?|things?))?\W*(?:please|instead|too|as well)\b")


@dataclass
class Refusals:
    """`text` is what is left of the turn; filters leave values out, `avoid` holds stems that are no value."""

    text: str
    filters: list[Filter] = field(default_factory=list)
    avoid: list[str] = field(default_factory=list)


def refusals(text: str, schema: Schema) -> Refusals:
    """Takes every refused value, and the word behind a "no" that the catalog knows, out of a turn."""
    out = Refusals(text)
    for pattern in (NO, NO_CJK):
        start, named = 0, spans(out.text, schema)
        while (hit := pattern.search(out.text, start)) is not None:
            start = hit.end()
            if NOT_A_NO.match(out.text, hit.start()):
                continue
            end = hit.end()
            found: list[tuple[str, Scalar]] = []
            for position, stop, pairs in named:
                between = out.text[end:position]
                if position < end or (found and not JOINED.match(between)) or (not found and between.strip()):
                    continue
                if (
                    found
                    and WISH.match(between)
                    and not OR.match(out.text, stop)
                    or ("," in between and ASKED.match(out.text, stop))
                ):
                    break
                found.append(choose(schema, pairs))
                end = stop
            if found:
                for name in dict.fromkeys(n for n, _ in found):
                    out.filters.append(filter_on(name, "!=", tuple(v for n, v in found if n == name)))
                out.text = cut(out.text, hit.start(), end)
                start, named = hit.start(), spans(out.text, schema)
            elif (
                pattern is NO
                and re.match(r"(?:no|without|nothing|avoid|exclude|except|skip|don)", hit[0])
                and (word := WORD.match(out.text, hit.end()))
            ):
                stem = stems(word[0])
                if (
                    len(stem) == 1
                    and stem[0] not in (*GENERIC, *DEGREES)
                    and schema.knows(stem[0])
                    and not re.match(r"\W*⟨", out.text[word.end() :])
                ):
                    out.avoid.append(stem[0])
                    out.text = cut(out.text, hit.start(), word.end())
                    start, named = hit.start(), spans(out.text, schema)
    return out

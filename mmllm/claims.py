"""The check of a reason: every content word of every sentence stands in a row of evidence, beside its own attribute's name.

It catches invented facts and values that changed places, not a clumsy link between two true ones. It reads English.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import reduce

from mmllm.catalog import NAMES
from mmllm.lexical import SENTENCE_END, words
from mmllm.types import Evidence

# Words that claim nothing. What the request said is a claim, so "request", "asked" or "wanted" are not among them.
FILLER = frozenset(
    words(
        "item as so by at also its their they he she picture shows look looks like close recommend recommended here there was were has "
        "have had but will can more most very both all well too then them what who when kind type category color colour "
        "recording word really just about and which that means made make nice lovely good great plus while "
        "belongs among filed under"
    )
)


def said_name(name: str) -> str:
    """An attribute's name in a sentence."""
    return name.replace("_", " ")


SAYS = {
    "words": "description says",
    "transcript": "recording says",
    "caption": "seems",
    "neighbour": "liked",
    "people": "people liked",
    "similar": "asked",
    "meaning": "description meaning",
}
"""What a row of a kind lets a sentence say beside its value, where that is not its name."""


ARTICLE = re.compile(r"^(?:an?|the|some)\s+", re.IGNORECASE)


def supported(sentence: str, title: str, rows: Sequence[Evidence]) -> list[str]:
    """The words of a sentence that neither the evidence, the title nor plain filler holds; empty when all are supported.

    >>> supported("A banana is yellow.", "A banana", [Evidence("attribute", "colour", "yellow")])
    []
    >>> supported("It costs 5 dollars.", "A banana", [Evidence("attribute", "colour", "yellow")])
    ['cost', '5', 'dollar']
    """
    # A title is named whole, with or without its article: "Toys 3" is not "Toy Story 3".
    known = (set(words(title)) if ARTICLE.sub("", title).casefold() in sentence.casefold() else set()) | FILLER
    for e in rows:
        if e.kind != "modality":
            # "title" is no fact of a match in the title: "its title is fruit" would pass.
            name = SAYS.get(e.kind, e.name) if e.name != "title" else ""
            known |= set(words(e.value)) | set(words(name))
    return [w for w in words(sentence) if w not in known]


def mispaired(sentence: str, title: str, rows: Sequence[Evidence]) -> str:
    """The name of an attribute that is given another one's value; "" where all names stand beside their own.

    >>> rows = [Evidence("attribute", "colour", "black"), Evidence("fact", "kind", "fruit")]
    >>> mispaired("It has black as its kind.", "A plum", rows), mispaired("It is black, and its kind is fruit.", "A plum", rows)
    ('kind', '')
    >>> rows = [Evidence("fact", "category", "clothes"), Evidence("fact", "sub_category", "hats")]
    >>> mispaired("Its sub category is hats.", "A cap", rows), mispaired("Its category is hats.", "A cap", rows)
    ('', 'category')
    """
    own: dict[str, set[str]] = {}
    for e in rows:
        if e.kind in ("attribute", "fact") and e.name != NAMES:
            own.setdefault(said_name(e.name), set()).update(words(e.value))
    for clause in re.split(r"[,;]|\band\b", sentence.replace(title, " ")):
        said = set(words(clause))
        for name, values in own.items():
            if any(set(words(name)) < set(words(longer)) <= said for longer in own):
                continue  # "its sub category is hats" is not said of the category
            others = set().union(*(v for n, v in own.items() if n != name)) - values
            if set(words(name)) <= said and not values & said and others & said:
                return name
    return ""


NEGATION = re.compile(r"\b(?:not|no|never|without|isn't|doesn't|don't|neither)\b", re.IGNORECASE)


def check(text: str, title: str, rows: Sequence[Evidence]) -> tuple[str, str]:
    """(what is left of the text, why something was dropped). A denial is dropped too: evidence rows state, they never deny."""
    kept, reasons = [], []
    near = words("picture") if any(e.kind == "picture" for e in rows) else []  # then that it is close is a reason
    # What the catalog says in several words may hold a "no" of its own: "No Country for Old Men".
    verbatim = [title, *(e.value for e in rows if " " in e.value)]
    # A title may end in "!": it is held as one sign while the text is cut into sentences.
    for held in SENTENCE_END.split(text.strip().replace(title, "\ue000")):
        sentence = held.replace("\ue000", title)
        if not sentence.strip():
            continue
        unknown, wrong = supported(sentence, title, rows), mispaired(sentence, title, rows)
        if unknown:
            reasons.append(f"not in the evidence: {', '.join(unknown[:4])}")
        elif wrong:
            reasons.append(f"another value as its {wrong}")
        elif NEGATION.search(reduce(lambda text, value: text.replace(value, " "), verbatim, sentence)):
            reasons.append("a denial that no evidence row makes")
        elif not [w for w in words(sentence) if (w not in FILLER or w in near) and w not in words(title)]:
            reasons.append("a sentence that gives no reason")
        else:
            kept.append(sentence.strip())
    return " ".join(kept), "; ".join(reasons)

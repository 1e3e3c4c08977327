"""Explanations that are checked: evidence rows in code first, then words, then a check of every sentence against the rows.

The LM may only reword. A sentence with a content word or a number that no evidence row holds is dropped; if nothing is left, the
template speaks. Titles and numbers come from the catalog.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from mmllm import prompting
from mmllm.catalog import NAMES, as_text, title_in
from mmllm.claims import check, said_name
from mmllm.lexical import SENTENCE_END, words
from mmllm.lm import WORDS, LanguageModel
from mmllm.retrieve import EncodedQuery
from mmllm.store import Payload, Store
from mmllm.texts import say
from mmllm.types import Evidence, Explanation, Query, Ranked

LOOKS_ALIKE, MEANS_ALIKE, CLOSE = 0.35, 0.35, 0.55
"""Below these cosine similarities a picture, a text or a liked item is not offered as a reason. CLOSE: on the stamps, 1 % of the
pairs of different kinds are nearer than that, and 57 % of the pairs of one kind."""


def evidence(store: Store, query: Query, encoded: EncodedQuery, ranked: Ranked) -> tuple[Evidence, ...]:
    """Rows of fact for one item, never empty: what meets the request first, then what the catalog says, then the shares."""
    row = store.row[ranked.id]
    payload = store.payloads[row]
    rows = [
        *_words(payload, encoded),
        *_filtered(payload, query, encoded),
        *_transcript(payload, encoded),
        *_caption(payload, encoded),
        *_vectors(store, row, encoded),
        *_neighbours(store, row, query),
        *_people(store, row, query),
    ]
    told = {(e.name, e.value) for e in rows}
    rows += [
        Evidence("fact", name, as_text(value))
        for name, value in payload.item.attributes.items()
        if name != NAMES and (name, as_text(value)) not in told
    ]
    rows += [Evidence("modality", m, f"{share:.0%}", weight=share) for m, share in ranked.shares.items()]
    return tuple(rows) or (Evidence("title", "title", payload.item.title),)


def _asked(encoded: EncodedQuery) -> dict[str, str]:
    """Stem -> the word as it was said."""
    spoken: dict[str, str] = {}
    for token in re.findall(r"\w+", encoded.words):
        for stem in words(token):
            spoken.setdefault(stem, token if len(stem) > 2 else stem)
    return spoken


def _words(payload: Payload, encoded: EncodedQuery) -> list[Evidence]:
    asked = _asked(encoded)
    item = payload.item
    rows = []
    told: set[str] = set()
    shared = [s for s in dict.fromkeys(words(item.title)) if s in asked and s not in told]
    if shared:
        rows.append(Evidence("words", "title", ", ".join(asked[s] for s in shared)))
        told.update(shared)
    for name, value in item.attributes.items():
        values = value if isinstance(value, tuple) else (value,)
        for single in values:
            stems = words(str(single))
            shared = [s for s in stems if s in asked and s not in told]
            if shared and (name != NAMES or _named(stems, asked)):
                told.update(shared)
                rows.append(Evidence("attribute", name, str(single)))
                if name == NAMES:
                    break
    shared = [s for s in dict.fromkeys(words(item.text)) if s in asked and s not in told]
    if shared:
        rows.append(Evidence("words", "text", ", ".join(asked[s] for s in shared)))
    return rows


ARTICLES = frozenset(["un", "une", "le", "la", "les", "der", "die", "das", "ein", "eine", "el", "los", "las", "uno", "una"])


def _named(stems: list[str], asked: Mapping[str, str]) -> bool:
    """True if a name in some language was said: half of it at least, since languages share words ("plus"), or any of a Chinese one."""
    telling = set(stems) - ARTICLES
    said = [s for s in telling if s in asked]
    return bool(said) and (2 * len(said) >= len(telling) or any(s >= "\u3040" for s in said))


def _filtered(payload: Payload, query: Query, encoded: EncodedQuery) -> list[Evidence]:
    """The attributes that the query's filters ask for, beside those that its words name."""
    told = {(e.name, e.value) for e in _words(payload, encoded)}
    rows = []
    for name, wanted in query.where.items():
        value = payload.item.attributes.get(name)
        refused = isinstance(wanted, Mapping) and set(wanted) == {"!="}
        if value is None or refused or any(n == name for n, _ in told):
            continue
        rows.append(Evidence("attribute", name, as_text(value)))
    return rows


def _transcript(payload: Payload, encoded: EncodedQuery) -> list[Evidence]:
    asked = _asked(encoded)
    return [
        Evidence("transcript", "recording", s.text, file=s.file, start=s.start, end=s.end)
        for s in payload.transcript.segments
        if any(t in asked for t in words(s.text))
    ][:1]


def _caption(payload: Payload, encoded: EncodedQuery) -> list[Evidence]:
    """The phrases of the caption that hold a word of the request, unless the catalog's own words say them already."""
    asked = _asked(encoded)
    item = payload.item
    said = set(words(" ".join([item.title, item.text, *map(as_text, item.attributes.values())])))
    fresh = [p for p in payload.caption.phrases if any(w in asked and w not in said for w in words(p))]
    return [Evidence("caption", payload.caption.source, ", ".join(fresh), weight=payload.caption.confidence)] if fresh else []


def _vectors(store: Store, row: int, encoded: EncodedQuery) -> list[Evidence]:
    anchor = store.features["anchor"]
    rows = []
    picture, said = encoded.anchors.get("image"), encoded.anchors.get("text")
    if picture is not None and anchor["present"][row, 1]:
        similarity = float(anchor["values"][row, 1] @ picture)
        if similarity >= LOOKS_ALIKE:
            rows.append(Evidence("picture", "your picture", f"{similarity:.2f}", weight=similarity))
    if said is not None:
        for m, kind in ((0, "meaning"), (1, "picture")):
            if anchor["present"][row, m]:
                similarity = float(anchor["values"][row, m] @ said)
                if similarity >= MEANS_ALIKE:
                    rows.append(Evidence(kind, "your words", f"{similarity:.2f}", weight=similarity))
    if encoded.sound is not None and store.features["audio"]["present"][row]:
        similarity = float(store.features["audio"]["values"][row] @ encoded.sound)
        rows.append(Evidence("sound", "your sound", f"{similarity:.2f}", weight=similarity))
    return rows


def _neighbours(store: Store, row: int, query: Query) -> list[Evidence]:
    """The liked item, or the one that was only referred to, that is nearest in the fused space, if it is near."""
    liked = [r for r in store.rows(list(query.liked)) if r != row]
    if not liked:
        return []
    similarity = store.fused["pooled"][liked] @ store.fused["pooled"][row]
    best = int(np.argmax(similarity))
    if similarity[best] < CLOSE:
        return []
    near = store.items[liked[best]]
    kind = "similar" if near.id in query.similar else "neighbour"
    return [Evidence(kind, near.id, title_in(near, query.lang), weight=float(similarity[best]))]


def _people(store: Store, row: int, query: Query) -> list[Evidence]:
    """The liked item whose friends like this one most."""
    liked = [r for r in store.rows(list(query.liked)) if r != row]
    if not liked or store.together is None:
        return []
    weights = np.asarray(store.together[liked, row].todense()).ravel()
    best = int(np.argmax(weights))
    if weights[best] <= 0:
        return []
    friend = store.items[liked[best]]
    return [Evidence("people", friend.id, title_in(friend, query.lang), weight=float(weights[best]))]


def template(title: str, rows: Sequence[Evidence], lang: str = "en") -> str:
    """Evidence in plain words; every value is the catalog's own."""
    parts = []
    attributes = [e for e in rows if e.kind == "attribute"]
    title_words = [e.value for e in rows if e.kind == "words" and e.name == "title"]
    if title_words:
        parts.append(say("by_title", lang, value=title_words[0]))
    for e in attributes[:3]:
        # In Chinese a title is one of the names: that it is also called so would say it twice.
        named = "by_title" if lang != "en" and e.value == title else "by_names"
        key = named if e.name == NAMES else f"by_attribute_{verb(e.name)}"
        parts.append(say(key, lang, name=said_name(e.name), value=e.value))
    for e in rows:
        if e.kind == "words" and e.name == "text":
            parts.append(say("by_text", lang, value=e.value))
        elif e.kind == "transcript":
            parts.append(say("by_recording", lang, value=e.value, start=f"{e.start:.1f}"))
        elif e.kind in ("picture", "sound") or (e.kind == "meaning" and not parts):
            parts.append(say(f"by_{e.kind}", lang, name=say(e.name, lang), value=e.value))
        elif e.kind in ("caption", "neighbour", "similar", "people"):
            parts.append(say(f"by_{e.kind}", lang, value=e.value))
    if not parts:
        return say("reason_none", lang, title=title)
    listed = parts[0] if len(parts) == 1 else say("last", lang, first=say("list", lang).join(parts[:-1]), last=parts[-1])
    return say("reason", lang, title=title, reasons=listed)


TOKENS = 48
"""How long the LM may speak."""
TOLD = 4
"""How many rows the LM is asked to reword."""


def telling(title: str, rows: Sequence[Evidence]) -> tuple[Evidence, ...]:
    """The rows that are put to the LM: what meets the request, then what else the catalog says, an attribute once; not what the title says."""
    named = set(words(title))
    rows = [e for e in rows if line(e) and (e.kind not in ("attribute", "fact") or set(words(e.value)) - named)]
    met = [e for e in rows if e.kind not in ("fact", *SIMILARITIES)]
    near = [e for e in rows if e.kind in SIMILARITIES and (not met or e.name != "your words")]
    told = {e.name for e in met if e.kind == "attribute"}
    rest = [e for e in rows if e.kind == "fact" and e.name not in told]
    return tuple([*met, *near, *rest][:TOLD])


SIMILARITIES = ("picture", "meaning", "sound")


def line(e: Evidence) -> str:
    """One row as the LM reads it; nothing where words could not carry it."""
    if e.kind in ("attribute", "fact") and e.name != NAMES:
        return f"its {said_name(e.name)} {verb(e.name)} {e.value}"
    if e.kind == "words" and e.name == "text":
        return f'its description says "{e.value}"'
    patterns = {
        "transcript": 'its recording says "{value}"',
        "caption": "its picture seems to show {value}",
        "neighbour": "it is close to {value}, which you liked",
        "similar": "it is like {value}, which you asked about",
        "people": "people who liked {value} liked it too",
        "picture": "its picture is close to {name}",
        "meaning": "its description is close in meaning to {name}",
        "sound": "its sound is close to {name}",
    }
    return patterns[e.kind].format(name=e.name, value=e.value) if e.kind in patterns else ""


def verb(name: str) -> str:
    """ "is", or "are" for an attribute such as "tags"."""
    return "are" if name.endswith("s") and not name.endswith("ss") else "is"


def facts(rows: Iterable[Evidence]) -> str:
    """Evidence as the LM reads it."""
    return "; ".join(told for e in rows if (told := line(e)))


def explain(title: str, rows: tuple[Evidence, ...], lm: LanguageModel | None = None, lang: str = "en") -> Explanation:
    """Reworded by the LM where it is given and passes the check, otherwise the template; `note` says why.

    The check reads English words: in another language the template speaks.
    """
    said = facts(telling(title, rows))
    if lm is None:
        return Explanation(template(title, rows, lang), "template", rows, "the language model was not asked")
    if lang != "en":
        return Explanation(
            template(title, rows, lang), "template", rows, "the check reads English alone: the language model was not asked"
        )
    if not said:
        return Explanation(template(title, rows), "template", rows, "no evidence that words could carry")
    prompt = prompting.load("reword" if WORDS in lm.loras else "explain").render(title=title, facts=said)
    reply = lm.generate(prompt, max_new_tokens=TOKENS, stop=("\n",))
    kept, reasons = check(reply, title, rows)
    # What meets the request is said first: without it "It also has ..." would stand alone.
    if kept and reply.strip().startswith(SENTENCE_END.split(kept)[0]):
        return Explanation(kept, "lm", rows, reasons)
    return Explanation(template(title, rows), "template", rows, reasons or "the language model said nothing")

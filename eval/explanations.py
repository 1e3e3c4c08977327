"""Are the explanations true, and is what they cite what moved the ranking? On recommendations for requests made from a catalog.

Support: every claim shown is looked up in the catalog as it lies on disk, by plain folded words, not by the checker that let the sentence
pass. A claim is a word of the explanation that is neither the title's nor one of a closed list that claims nothing, or a quotation.
Removal: the words that an explanation cites are taken out of the item, what remains is encoded again, and the item is scored anew among the
unchanged others, as the retriever and the reranker do it. A cited picture is taken away. As a control as many of its other words are taken out.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from mmllm import catalog
from mmllm.catalog import as_text
from mmllm.derive import fuse_all
from mmllm.lexical import searchable, words
from mmllm.recommend import Recommender
from mmllm.requests import make
from mmllm.rerank import zscore
from mmllm.retrieve import DEPTH, RRF_K, WEIGHTS, EncodedQuery
from mmllm.settings import SEED
from mmllm.store import Payload
from mmllm.types import MODALITIES, Item, Query, Recommendation

PLAIN_WORDS = """
a an and are as at by for from has have in is it its of on or so that the their this to too was which who with you your
also called close colour color description liked like likes look looks meaning name people picture recording says say
seem seems show shows sound sounds title words kind category type recommend recommended item nearest catalog nothing
matches directly them they because great good perfect match s belongs among filed under made
"""
PLAIN = frozenset(PLAIN_WORDS.split())


@dataclass(frozen=True)
class Judged:
    """One explanation: its claims, those that nothing bears out, who worded it, the item's score whole, without what it cites, and without as
    many of its other words.

    `measured` are claims that stand in no catalog entry: they repeat the request that the item is near to, or how near it was measured.
    `seconds` is what the wording took.
    """

    text: str
    source: str
    claims: tuple[str, ...]
    unsupported: tuple[str, ...]
    whole: float | None
    without: float | None
    control: float | None
    measured: tuple[str, ...] = ()
    seconds: float = 0.0


def judge(recommender: Recommender, *, count: int) -> list[Judged]:
    """The first item for each of `count` requests, its reason put to the language model."""
    out = []
    for request in make(recommender.store.items, count=count, seed=SEED + 2000):
        query = Query(text=request.text)
        found = recommender.recommend(query, k=recommender.encoders.preset.text_candidates)
        best = found.recommendations[0]
        started = time.perf_counter()
        best = recommender.reworded(best)
        seconds = time.perf_counter() - started
        payload = recommender.store.payloads[recommender.store.row[best.id]]
        claims = _claims(best)
        entry, beside = _words(_entry(payload)), _words(_measured(request.text, best))
        absent = [c for c in claims if not _folded(c) <= entry]
        unsupported = tuple(c for c in absent if not _folded(c) <= entry | beside)
        measured = tuple(c for c in absent if c not in unsupported)
        told, scores = best.explanation, _removal(recommender, query, best) or (None, None, None)
        out.append(Judged(told.text, told.source, claims, unsupported, *scores, measured, seconds))
    return out


def summary(judged: Sequence[Judged]) -> dict[str, Any]:
    """Shares over all: of claims supported, of templates, of removals that lower the score."""
    claims = sum(len(j.claims) for j in judged)
    removed = [j for j in judged if j.whole is not None and j.without is not None]
    lower = sum(j.without < j.whole - 1e-9 for j in removed)  # type: ignore[operator]
    controls = [j for j in removed if j.control is not None]
    by_chance = sum(j.control < j.whole - 1e-9 for j in controls)  # type: ignore[operator]
    return {
        "recommendations": len(judged),
        "claims": claims,
        "claims_supported": round(1 - sum(len(j.unsupported) for j in judged) / max(1, claims), 5),
        "claims_of_measured_nearness": sum(len(j.measured) for j in judged),
        "seconds_of_a_reason": round(float(np.median([j.seconds for j in judged])), 3),
        "words_of_a_reason": round(float(np.mean([len(j.text.split()) for j in judged if j.source == "lm"] or [0])), 2),
        "worded_by_template": round(float(np.mean([j.source == "template" for j in judged])), 5),
        "cite_something_removable": len(removed),
        "removal_lowers_the_score": round(lower / max(1, len(removed)), 5),
        "removal_of_other_words_lowers_the_score": round(by_chance / max(1, len(controls)), 5),
        "of_those_with_other_words": len(controls),
        "unsupported": [{"text": j.text, "claims": list(j.unsupported)} for j in judged if j.unsupported],
    }


def _claims(r: Recommendation) -> tuple[str, ...]:
    """Content words of the text without the item's title; numbers are claims."""
    text = r.explanation.text.replace(r.title, " ")
    return tuple(w for w in re.findall(r"[\w']+", text.casefold()) if w.strip("'") not in PLAIN)


def _folded(claim: str) -> set[str]:
    return set(words(claim)) or {claim}


def _words(text: str) -> set[str]:
    return set(words(text)) | {w.casefold() for w in re.findall(r"[\w']+", text)}


def _entry(payload: Payload) -> str:
    """What an item's catalog entry says, with names of attributes, and what was heard and seen in it."""
    item = payload.item
    attributes = " ".join(f"{n} {as_text(v)}" for n, v in item.attributes.items())
    times = " ".join(f"{s.start:.1f}" for s in payload.transcript.segments)
    return " ".join([item.title, item.text, attributes, payload.caption.text, payload.transcript.text, times])


def _measured(request: str, r: Recommendation) -> str:
    """What may be said beside the entry: similarities as measured, and the request, where it is what the item was near to."""
    near = [e for e in r.explanation.evidence if e.kind in ("picture", "meaning", "sound")]
    said = request if any(e.kind in ("meaning", "picture") for e in near) else ""
    return " ".join([*(e.value for e in near), said])


def _removal(recommender: Recommender, query: Query, r: Recommendation) -> tuple[float, float, float | None] | None:
    """The item's final score among those retrieved: whole, without what its explanation cites, and without as many other words of it, drawn,
    if there are any; None if it cites nothing that can go."""
    store, retriever = recommender.store, recommender.retriever
    cited: set[str] = set()
    text = r.explanation.text.casefold()
    for e in r.explanation.evidence:
        if e.kind in ("words", "attribute", "transcript", "caption", "fact") and e.value.casefold() in text:
            cited |= set(words(e.value))
    pictured = any(e.kind == "picture" and e.value in text for e in r.explanation.evidence)
    if not cited and not pictured:
        return None
    row = store.row[r.id]
    payload = store.payloads[row]
    others = sorted(set(words(catalog.document(payload.item))) - cited)
    drawn = np.random.default_rng([SEED, row]).permutation(len(others))[: max(1, len(cited))]
    versions = [(payload, True), (_without(payload, cited), not pictured)]
    versions += [(_without(payload, {others[n] for n in drawn}), True)] if others else []
    encoded = retriever.encode(query)
    preset = recommender.encoders.preset
    # As `Recommender.recommend` does: the depth of the lists follows what is retrieved, of which the LM reads the head.
    candidates = retriever.retrieve(encoded, k=preset.candidates)[0][: preset.text_candidates]
    scores = np.array([c.score for c in candidates])
    at = next(n for n, c in enumerate(candidates) if c.id == r.id)
    final = []
    for payload, image in versions:
        own = scores.copy()
        own[at] = _retriever_score(recommender, encoded, row, payload, image=image)
        total = (
            zscore(own)
            if recommender.reranker.weight == 0
            else _with_lm(recommender, query, own, at, payload, candidates, encoded)
        )
        final.append(float(total[at]))
    return final[0], final[1], final[2] if others else None


def _without(payload: Payload, cited: set[str]) -> Payload:
    """The item with these stems taken out of everything that is written of it."""

    def cut(text: str) -> str:
        return " ".join(t for t in text.split() if not set(words(t)) & cited)

    item = payload.item
    kept: dict[str, Any] = {}
    for name, value in item.attributes.items():
        values = [v for v in (value if isinstance(value, tuple) else (value,)) if not set(words(str(v))) & cited]
        if values:
            kept[name] = tuple(values) if isinstance(value, tuple) else values[0]
    bare: Item = replace(item, title=cut(item.title), text=cut(item.text), attributes=kept)
    caption = replace(payload.caption, phrases=tuple(cut(p) for p in payload.caption.phrases))
    segments = tuple(replace(s, text=cut(s.text)) for s in payload.transcript.segments)
    return replace(payload, item=bare, caption=caption, transcript=replace(payload.transcript, segments=segments))


def _retriever_score(recommender: Recommender, encoded: EncodedQuery, row: int, payload: Payload, *, image: bool) -> float:
    """Reciprocal rank fusion of the item's places among the unchanged others, as `Retriever.retrieve` fuses its lists."""
    store, retriever, encoders = recommender.store, recommender.retriever, recommender.encoders
    document = catalog.document(payload.item)
    features = {m: store.features[m]["values"][row : row + 1].copy() for m in MODALITIES}
    features["text"] = encoders.text.encode([document or " "])
    anchor = store.features["anchor"]["values"][row : row + 1].copy()
    present = store.features["anchor"]["present"][row : row + 1].astype(bool).copy()
    anchor[:, 0] = encoders.clip.heads.project(encoders.clip.text_features([document or " "]), "text")
    if payload.transcript.text:
        anchor[:, 2] = encoders.clip.heads.project(encoders.clip.text_features([payload.transcript.text]), "text")
    else:
        present[:, 2] = False
    present[:, 0], present[:, 1] = bool(document.strip()), present[:, 1] & image
    fused = fuse_all(recommender.reranker.adapter, [payload.item.id], features, anchor * present[..., None], present)
    depth = min(len(store.items), DEPTH * encoders.preset.candidates)
    whole = store.features["anchor"]
    said = encoded.anchors.get("text")
    lists: dict[str, tuple[np.ndarray, float]] = {}
    if encoded.pooled is not None:
        lists["fused"] = (store.fused["pooled"] @ encoded.pooled, float(fused["pooled"][0] @ encoded.pooled))
    if encoded.text is not None:
        lists["text"] = (store.features["text"]["values"] @ encoded.text, float(features["text"][0] @ encoded.text))
    if said is not None:
        for name, m in (("image", 1), ("speech", 2)):
            if present[0, m]:
                others = np.where(whole["present"][:, m], whole["values"][:, m] @ said, -2.0)
                lists[name] = (others, float(anchor[0, m] @ said))
    asked = set(words(encoded.words))
    documents = _bm25(retriever.bm25, encoded.words)
    lists["bm25"] = (documents, documents[row] * _kept(store.payloads[row], payload, asked))
    total = 0.0
    for name, (others, own) in lists.items():
        rank = 1 + int((np.delete(others, row) > own + 1e-9).sum())
        if rank <= depth and (name != "bm25" or own > 0):
            total += WEIGHTS.get(name, 1.0) / (RRF_K + rank)
    return total


def _bm25(bm25: Any, text: str) -> np.ndarray:
    tokens = [t for t in words(text) if t in bm25.model.vocab_dict]
    size = int(bm25.model.scores["num_docs"])
    return np.asarray(bm25.model.get_scores(tokens)) if tokens else np.zeros(size)


def _kept(old: Payload, new: Payload, asked: set[str]) -> float:
    """Share of the asked stems that the item held and still holds; BM25 is additive over them, up to their rarity."""
    before, after = (asked & set(words(searchable(p))) for p in (old, new))
    return len(after) / len(before) if before else 1.0


def _with_lm(
    recommender: Recommender,
    query: Query,
    own: np.ndarray,
    at: int,
    payload: Payload,
    candidates: Sequence[Any],
    encoded: EncodedQuery,
) -> np.ndarray:
    """(1 - w) z(retriever) + w z(LM), the LM reading the changed item; for adapters of the text form."""
    reranker = recommender.reranker
    if reranker.adapter.config.form != "text":
        raise ValueError("removal is measured for the text form, and where the LM's weight is 0")
    prefix = reranker.prefix(query, words=encoded.words)
    rows = recommender.store.rows([c.id for c in candidates])
    segments = [reranker.segment(row, encoded.words) for row in rows]
    segments[at] = reranker.segment(rows[at], encoded.words, payload.item)
    with torch.inference_mode():
        read = reranker.lm.score(prefix, segments).numpy()
    return (1 - reranker.weight) * zscore(own) + reranker.weight * zscore(read)

"""Recommender: the one place that composes retrieve -> rerank -> explain. Read this and you know the system.

query -> encode (words, picture, voice; fused) -> retrieve (Chroma, BM25; filters) -> rerank (packed LM pass, blended)
      -> explain (evidence, words, check) -> response
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from numbers import Integral
from pathlib import Path

from mmllm import settings, wording
from mmllm.adapter import Adapter
from mmllm.catalog import resolve_filters, title_in
from mmllm.derive import adapter_folder, lm_weight, load_adapter, open_vectors
from mmllm.encoders import Encoders
from mmllm.errors import MmllmError, QueryError
from mmllm.explain import evidence, explain
from mmllm.lexical import Bm25
from mmllm.lm import LanguageModel
from mmllm.query_check import check_query
from mmllm.rerank import Reranker
from mmllm.retrieve import EncodedQuery, Retriever
from mmllm.schema import NEAR, Schema, by_meaning
from mmllm.store import Store, check_encoders
from mmllm.texts import say
from mmllm.types import Candidate, PathLike, Query, Ranked, Recommendation, Response
from mmllm.wording import Reader, WordsConfig

log = logging.getLogger(__name__)
LM_NEEDS = {
    frozenset({"words"}): "lm_needs_words",
    frozenset({"liked"}): "lm_needs_liked",
    frozenset({"words", "liked"}): "lm_needs_either",
}
"""What an adapter judges by -> the note for a query that has none of it."""


class Recommender:
    """One index, its encoders, retriever and reranker. Safe to call from several threads; one turn runs at a time."""

    def __init__(
        self,
        *,
        store: Store,
        encoders: Encoders,
        retriever: Retriever,
        reranker: Reranker,
        words: WordsConfig | None = None,
        unworded: str = "",
    ) -> None:
        self.store, self.encoders, self.retriever, self.reranker = store, encoders, retriever, reranker
        self.words, self.unworded = words, unworded
        """The adapter for words that is on; and why there is none."""
        self._lock = threading.RLock()

    @classmethod
    def load(cls, index: PathLike, *, weight: float | None = None, words: PathLike | bool = True) -> Recommender:
        """Open an index folder. `weight` overrides the LM's share w in the final score.

        Without it, it is the adapter's own, or the one that was chosen when the index was built (`derive.lm_weight`).
        `words` is the folder of an adapter for words; True is the shipped one, if it is of this language model, False none (`mmllm.wording`).

        Raises IndexStateError for an index that is missing, damaged or of other encoders, WeightsError for weights that are not on this
        machine, AdapterError for an adapter that does not fit, QueryError for a weight outside 0 to 1; all of them are `MmllmError`.
        """
        settings.quiet_libraries()  # before the libraries that talk are imported, which is when they are first needed
        retriever, adapter = _opened(index)
        store, encoders = retriever.store, retriever.encoders
        lm = LanguageModel.load(encoders.preset.lm)
        if adapter.lora:
            lm.attach_lora(adapter.lora)
        config, unworded = wording.attach(lm, words)
        if weight is None:
            weight = lm_weight(store.folder, store.manifest).value
        return cls(
            store=store,
            encoders=encoders,
            retriever=retriever,
            reranker=Reranker(store=store, lm=lm, adapter=adapter, weight=weight),
            words=config,
            unworded=unworded,
        )

    def recommend(self, query: Query, *, k: int = 5, lm_explanations: int = 0) -> Response:
        """The k best items with reasons. The first `lm_explanations` reasons are put to the language model to reword; by default the template
        words all of them.

        Raises QueryError for an empty query, a part of another kind than `Query` says, an unknown id, attribute or value, or a k below 1;
        MediaError for a picture or a sound that cannot be decoded. Both are `MmllmError`.
        """
        if not isinstance(k, Integral) or k < 1:
            raise QueryError(f"k is {k!r}", expected="a whole number from 1")
        check_query(query)
        timings: dict[str, float] = {}
        with self._lock:
            filters = resolve_filters(query.where, self.store.items)
            known = [*query.liked, *query.disliked, *query.exclude]
            self.store.rows(known)
            if not any(
                (query.text and query.text.strip(), query.image is not None, query.audio is not None, query.liked, filters)
            ):
                raise QueryError("the query is empty", expected="words, a picture, a sound, a liked item or a filter")
            with _timed(timings, "encode"):
                encoded = self.retriever.encode(query)
            with _timed(timings, "retrieve"):
                candidates, lists = self.retriever.retrieve(
                    encoded, k=max(k, self.encoders.preset.candidates), filters=filters, exclude=known
                )
            with _timed(timings, "rerank"):
                ranked, note = self._rerank(query, candidates, encoded)
            with _timed(timings, "explain"):
                found = tuple(self._explain(query, encoded, r, lm=n < lm_explanations) for n, r in enumerate(ranked[:k]))
        notes = [*encoded.notes, note] if note else list(encoded.notes)
        if len(found) < k:
            notes.append(say("only_some", query.lang, count=len(found)))
        if lm_explanations and self.unworded and query.lang == "en":
            notes.append(self.unworded)
        stages = (
            "encode",
            *(f"retrieve:{name}" for name in lists),
            f"rerank:{self.reranker.judge(query) if self.reranker.weight and not note else 'retriever'}",
            f"explain:{'lm' if any(r.explanation.source == 'lm' for r in found) else 'template'}"
            if lm_explanations
            else "explain",
        )
        return Response(
            found,
            stages,
            {**timings, "total": sum(timings.values())},
            encoded.transcript,
            tuple(notes),
            encoded.shares,
            lang=query.lang,
        )

    @cached_property
    def schema(self) -> Schema:
        """What the catalog lets people ask for."""
        name = self.encoders.preset.text
        near = by_meaning(self.encoders.text.encode, NEAR[name]) if name in NEAR else None
        return Schema.of(self.store.items, near=near)

    @cached_property
    def reader(self) -> Reader | None:
        """What says which words of a turn are wanted, where the adapter for words was trained to read."""
        if self.words is None or self.words.threshold is None:
            return None
        return wording.Reader(self.reranker.lm, self.words.threshold)

    def reworded(self, recommendation: Recommendation, lang: str = "en") -> Recommendation:
        """The same item with its reason put to the language model, whose words are checked in English alone: in Chinese the template speaks."""
        rows = recommendation.explanation.evidence
        words = explain(title_in(recommendation.item, lang), rows, self.reranker.lm, lang)
        if words.source == "lm" and self.unworded:
            words = replace(words, note="; ".join(n for n in (words.note, self.unworded) if n))
        return replace(recommendation, explanation=words)

    def present(self, query: Query, ids: Sequence[str]) -> tuple[Recommendation, ...]:
        """These very items, in this order, with the evidence that the query gives for each; nothing is searched or ranked."""
        with self._lock:
            rows = self.store.rows(ids)
            encoded = self.retriever.encode(query)
            ranked = [
                Ranked(i, n, 0.0, {}, self.reranker.shares(r, encoded)) for n, (i, r) in enumerate(zip(ids, rows, strict=True), 1)
            ]
            return tuple(self._explain(query, encoded, r, lm=False) for r in ranked)

    def _rerank(self, query: Query, candidates: list[Candidate], encoded: EncodedQuery) -> tuple[list[Ranked], str]:
        """The ranked candidates, and why the LM could not rank them, if so. The head of the list is put to it; what it does not read keeps its
        place behind."""
        if self.reranker.weight == 0:
            # Chosen, not missing: the stages say who ranked, and there is nothing to be said of it at every turn.
            return self.reranker.rank(query, candidates, encoded=encoded), ""
        reads = self.reranker.adapter.config.reads
        if not (encoded.words and "words" in reads) and not (query.liked and "liked" in reads):
            plain = replace_weight(self.reranker, 0.0)
            return plain.rank(query, candidates, encoded=encoded), say(LM_NEEDS[frozenset(reads)], query.lang)
        preset = self.encoders.preset
        head = preset.text_candidates if self.reranker.adapter.config.form == "text" else preset.candidates
        ranked = self.reranker.rank(query, candidates[:head], encoded=encoded)
        rest = replace_weight(self.reranker, 0.0).rank(query, candidates[head:], encoded=encoded)
        # z-scores of two groups do not compare: the rest is moved down to where its ranks put it.
        drop = max(0.0, rest[0].score - ranked[-1].score) if rest else 0.0
        return ranked + [replace(r, rank=r.rank + len(ranked), score=r.score - drop) for r in rest], ""

    def _explain(self, query: Query, encoded: EncodedQuery, ranked: Ranked, *, lm: bool) -> Recommendation:
        item = self.store.items[self.store.row[ranked.id]]
        rows = evidence(self.store, query, encoded, ranked)
        words = explain(title_in(item, query.lang), rows, None, query.lang)
        found = Recommendation(item.id, item.title, ranked.rank, ranked.score, ranked.scores, ranked.shares, words, item)
        return self.reworded(found, query.lang) if lm else found

    def close(self) -> None:
        """Give Chroma's folder back to other processes."""
        self.retriever.vectors.close()


def open_retriever(index: PathLike) -> Retriever:
    """The retriever of an index folder, without a language model."""
    return _opened(index)[0]


def _opened(index: PathLike) -> tuple[Retriever, Adapter]:
    store = Store(Path(index))
    preset = settings.preset(store.manifest.preset)
    encoders = Encoders(preset, heads=store.heads)
    fingerprints = encoders.fingerprints()
    check_encoders(store.manifest, fingerprints)
    folder = adapter_folder(store.folder, store.manifest.adapter)
    adapter = load_adapter(folder, preset, store.manifest.widths, fingerprints, heads=store.manifest.heads)
    if adapter.fingerprint != store.manifest.adapter_fingerprint:
        raise MmllmError(
            f"the index was fused with adapter {store.manifest.adapter_fingerprint}, this machine has {adapter.fingerprint}",
            do=f"mmllm index build {store.manifest.catalog} --out {index}",
        )
    bm25 = Bm25.open(store.payloads, store.folder / "bm25")
    return Retriever(store=store, vectors=open_vectors(store), bm25=bm25, encoders=encoders, fusion=adapter.fusion), adapter


def replace_weight(reranker: Reranker, weight: float) -> Reranker:
    """The same reranker with another LM weight."""
    return Reranker(store=reranker.store, lm=reranker.lm, adapter=reranker.adapter, weight=weight)


@contextmanager
def _timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    timings[stage] = (time.perf_counter() - started) * 1000

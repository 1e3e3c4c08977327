"""Candidates: dense search over the fused vector and per modality, BM25 over words, filters, reciprocal rank fusion.

RRF: score = sum over lists of weight / (60 + rank). Cormack, Clarke and Buettcher 2009, https://doi.org/10.1145/1571941.1572114.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from mmllm.catalog import matches
from mmllm.encoders import Encoders
from mmllm.fusion import AttentionFusion
from mmllm.lexical import Bm25, words
from mmllm.media import load_audio, load_image
from mmllm.speech import Heard
from mmllm.store import Store
from mmllm.texts import say
from mmllm.types import MODALITIES, Candidate, Filter, Query, Transcript
from mmllm.vector_store import Space, VectorStore

RRF_K = 60
DEPTH = 4
"""How many times k each list is searched: an item that one list has just below its end would lose that list's whole vote."""
WEIGHTS = {
    "fused": 1.0,
    "text": 1.0,
    "image": 0.5,
    "picture": 1.5,
    "speech": 0.25,
    "sound": 1.0,
    "bm25": 1.0,
    "collaborative": 1.5,
}
"""What a list counts for in the fusion of ranks. `image` is words against pictures, `picture` picture against pictures."""
WHOLE, STEEP = 3.0, 8
"""An item that has all words of a request gains WHOLE in BM25's weight, one that has a share s of their idf WHOLE * s ** STEEP: whoever
says what the catalog says means it, and whoever describes shares a word or two by chance."""
SAME = 0.98
"""From this cosine on a picture shows the item itself: it gains WHOLE too, or "an animal like this" would put every animal before it."""
LIKED, DISLIKED = 0.6, 0.3
"""How far liked and disliked items move the query vector (Rocchio 1971)."""


@dataclass(frozen=True)
class EncodedQuery:
    """A query as vectors; None where the query has no such part.

    text: [D_text]; anchors: modality -> [D]; sound: [D_audio]; pooled: [D], the fused query; collaborative: [N], how much the liked items say
    for every item; notes: what was left out and why; shares: what each part counts for in the fused query, by the fusion's attention.
    """

    words: str
    text: np.ndarray | None
    anchors: Mapping[str, np.ndarray]
    sound: np.ndarray | None
    pooled: np.ndarray | None
    transcript: Transcript | None = None
    notes: tuple[str, ...] = ()
    collaborative: np.ndarray | None = None
    shares: Mapping[str, float] = field(default_factory=dict)


def spaces(store: Store) -> dict[str, Space]:
    """The collections of an index: fused, one per modality, and what was said."""
    ids = np.array([i.id for i in store.items], dtype=object)
    out = {"fused": Space(list(ids), store.fused["pooled"])}
    anchor, features = store.features["anchor"], store.features
    for name, present, values in (
        ("text", features["text"]["present"], features["text"]["values"]),
        ("image", anchor["present"][:, 1], anchor["values"][:, 1]),
        ("speech", anchor["present"][:, 2], anchor["values"][:, 2]),
        ("sound", features["audio"]["present"], features["audio"]["values"]),
    ):
        rows = present.astype(bool)
        if rows.any():
            out[name] = Space(list(ids[rows]), values[rows])
    return out


class Retriever:
    """Query -> candidates, over one index."""

    def __init__(self, *, store: Store, vectors: VectorStore, bm25: Bm25, encoders: Encoders, fusion: AttentionFusion) -> None:
        self.store, self.vectors, self.bm25, self.encoders, self.fusion = store, vectors, bm25, encoders, fusion
        self.spaces = set(spaces(store))

    def encode(self, query: Query) -> EncodedQuery:
        """Text, picture and voice -> vectors; a spoken query's words join the typed ones.

        The fused vector attends to typed words, picture and voice as to an item's three modalities; a voice has its transcript for an anchor.
        """
        notes: list[str] = []
        transcript, sound = None, None
        # What cannot be decoded is refused before any model is asked.
        picture = load_image(query.image) if query.image is not None else None
        heard = query.audio if isinstance(query.audio, Heard) else None
        samples = load_audio(query.audio) if query.audio is not None and heard is None else None
        known = heard is not None
        if samples is not None:
            heard = self.encoders.whisper.hear(samples)
        if heard is not None:
            transcript = heard.transcript
            if not transcript.segments:
                sound = heard.state
                notes.append(say("no_speech", query.lang))
        spoken = transcript.text.strip() if transcript else ""
        typed = (query.text or "").strip()
        said = typed if known else f"{typed} {spoken}".strip()
        if known and set(words(typed)) <= set(words(spoken)):
            typed = ""  # nothing was typed that was not spoken: the words are the voice's
        anchors: dict[str, np.ndarray] = {}
        text = None
        if said and self.encoders.reads(said):
            text = self.encoders.text.encode([said], query=True)[0]
            anchors["text"] = self.encoders.clip.encode_texts([said])[0]
        elif said:
            notes.append(say("script", query.lang, encoder=self.encoders.preset.text))
        features: dict[str, np.ndarray] = {}
        parts: dict[str, np.ndarray] = {}  # what the fusion reads: modality -> its anchor
        if text is not None and typed:
            both = typed != said
            features["text"] = self.encoders.text.encode([typed], query=True)[0] if both else text
            parts["text"] = self.encoders.clip.encode_texts([typed])[0] if both else anchors["text"]
        if heard is not None and spoken and text is not None:
            features["audio"] = heard.state
            parts["audio"] = self.encoders.clip.encode_texts([spoken])[0] if spoken != said else anchors["text"]
        if picture is not None:
            clip = self.encoders.clip
            seen = clip.image_features([picture])
            features["image"], anchors["image"] = seen[0], clip.heads.project(seen, "image")[0]
            parts["image"] = anchors["image"]
        pooled, shares = self._pool(features, parts, query)
        liked = self.store.rows(list(query.liked))
        together = self.store.together
        tastes = np.asarray(together[liked].sum(axis=0)).ravel() if together is not None and liked else None
        return EncodedQuery(said, text, anchors, sound, pooled, transcript, tuple(notes), tastes, shares)

    def _pool(
        self, features: Mapping[str, np.ndarray], anchors: Mapping[str, np.ndarray], query: Query
    ) -> tuple[np.ndarray | None, dict[str, float]]:
        """The query through the same fusion as the items, then moved towards liked and away from disliked items; and the parts' shares."""
        pooled, shares = None, dict[str, float]()
        if anchors:
            widths = dict(zip(MODALITIES, self.fusion.config.widths, strict=False))  # it may read more, of items only
            rows = {m: torch.zeros(1, w) for m, w in widths.items()}
            anchor = torch.zeros(1, len(MODALITIES), self.fusion.config.width)
            mask = torch.zeros(1, len(MODALITIES), dtype=torch.bool)
            for modality, value in anchors.items():
                m = MODALITIES.index(modality)
                anchor[0, m], mask[0, m] = torch.from_numpy(value), True
                rows[modality][0] = torch.from_numpy(features[modality])
            with torch.inference_mode():
                fused = self.fusion(rows, anchor, mask)
            pooled = fused.pooled[0].numpy()
            weights = fused.shares[0, : len(MODALITIES)].numpy()
            # A fusion may also attend to what only items have; the parts of the query share what is left.
            total = float(sum(weights[MODALITIES.index(m)] for m in anchors)) or 1.0
            shares = {m: float(weights[MODALITIES.index(m)]) / total for m in MODALITIES if m in anchors}
        for ids, sign in ((query.liked, LIKED), (query.disliked, -DISLIKED)):
            if ids:
                mean = self.store.fused["pooled"][self.store.rows(list(ids))].mean(axis=0)
                if pooled is None and sign < 0:
                    continue  # a dislike alone points nowhere
                pooled = mean if pooled is None else pooled + sign * mean
        if pooled is None:
            return None, shares
        norm = float(np.linalg.norm(pooled))
        return (pooled / norm if norm else pooled).astype(np.float32), shares

    def retrieve(
        self, encoded: EncodedQuery, *, k: int, filters: Sequence[Filter] = (), exclude: Iterable[str] = ()
    ) -> tuple[list[Candidate], tuple[str, ...]]:
        """The k best by reciprocal rank fusion, and the names of the lists that were searched."""
        hidden = set(exclude)
        depth = min(len(self.store.items), DEPTH * k + len(hidden))
        lists: dict[str, list[tuple[str, float]]] = {}
        for name, space, vector in (
            ("fused", "fused", encoded.pooled),
            ("text", "text", encoded.text),
            ("image", "image", encoded.anchors.get("text")),
            ("picture", "image", encoded.anchors.get("image")),
            ("speech", "speech", encoded.anchors.get("text")),
            ("sound", "sound", encoded.sound),
        ):
            if vector is not None and space in self.spaces:
                lists[name] = self.vectors.query(space, vector, depth, filters)
        allowed = np.array([matches(i, filters) for i in self.store.items]) if filters else None
        if encoded.collaborative is not None:
            lists["collaborative"] = self._by_taste(encoded.collaborative, depth, allowed)
        extra = {"picture": {i: WHOLE for i, s in lists.get("picture", ()) if s >= SAME}}
        if encoded.words:
            rows = self.bm25.query(encoded.words, depth, allowed)
            lists["bm25"] = [(self.store.items[r].id, s) for r, s in rows]
            share = self.bm25.coverage(encoded.words, [r for r, _ in rows])
            extra["bm25"] = {i: WHOLE * float(s) ** STEEP for (i, _), s in zip(lists["bm25"], share, strict=True)}
        if not lists and filters:
            # Filters alone are a request too: everything that meets them, in catalog order.
            lists["filters"] = [(i.id, 1.0) for i in self.store.items if matches(i, filters)][:depth]
        return fuse(lists, k=k, hidden=hidden, extra=extra), tuple(lists)

    def _by_taste(self, scores: np.ndarray, depth: int, allowed: np.ndarray | None) -> list[tuple[str, float]]:
        """Items that people with these likes like too, best first; ties by row."""
        own = scores if allowed is None else np.where(allowed, scores, 0.0)
        order = np.argsort(-own, kind="stable")[:depth]
        return [(self.store.items[r].id, float(own[r])) for r in order if own[r] > 0]


def fuse(
    lists: Mapping[str, Sequence[tuple[str, float]]],
    *,
    k: int,
    hidden: Iterable[str] = (),
    extra: Mapping[str, Mapping[str, float]] | None = None,
) -> list[Candidate]:
    """Reciprocal rank fusion of ranked lists; ties broken by id, so that the order never depends on a dictionary.

    extra: list -> item -> what is added to the list's weight for it.
    """
    skip, more = set(hidden), extra or {}
    total: dict[str, float] = defaultdict(float)
    seen: dict[str, dict[str, float]] = defaultdict(dict)
    for name, found in lists.items():
        kept = [(i, s) for i, s in found if i not in skip]
        for rank, (id_, score) in enumerate(kept, start=1):
            total[id_] += (WEIGHTS.get(name, 1.0) + more.get(name, {}).get(id_, 0.0)) / (RRF_K + rank)
            seen[id_][name] = score
    ranked = sorted(total, key=lambda i: (-total[i], i))[:k]
    return [Candidate(i, total[i], {"retriever": total[i], **seen[i]}) for i in ranked]

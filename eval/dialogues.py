"""Recommendation dialogues (ReDial's layout): what was said and named so far, and which films the recommender names next.

https://redialdata.github.io, Li et al. 2018 (https://arxiv.org/abs/1812.07617). A case is a turn of the recommender that names films of the
catalog that nobody named before; films already named are never recommended. The split is by dialogue.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, vstack

from eval import metrics
from eval.content import Content, fused_ranks
from mmllm.collaborative import ease
from mmllm.encoders import Encoders
from mmllm.errors import CatalogError, MmllmError
from mmllm.interactions import Cases
from mmllm.lexical import words
from mmllm.rerank import zscore

TEST, VALIDATION = 200, 150


@dataclass(frozen=True)
class Dialogue:
    """turns: (speaker, text, item indices that it names)."""

    id: str
    turns: tuple[tuple[str, str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class Asked:
    """Cases of a part, each with the texts of the turns before it, oldest first."""

    cases: Cases
    said: tuple[tuple[str, ...], ...]


def read(file: Path, ids: Sequence[str], *, missing: bool = False) -> list[Dialogue]:
    """JSON lines with dialog_id, turns and the films' ids in the catalog (null where it has them not).

    With `missing`, a named film that the catalog does not have stands as -1 among a turn's items.
    """
    number = {i: n for n, i in enumerate(ids)}
    out = []
    for n, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            linked = {title: number.get(str(i), -1) for title, i in row["movies"].items()}
            turns = tuple(
                (t["speaker"], t["text"], tuple(m for m in (linked.get(title, -1) for title in t["movies"]) if missing or m >= 0))
                for t in row["turns"]
            )
            out.append(Dialogue(str(row["dialog_id"]), turns))
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise CatalogError(
                f"{file} line {n}: {error!r}", expected="dialog_id, movies, turns of speaker, text, movies"
            ) from None
    return out


def parts(dialogues: Sequence[Dialogue]) -> tuple[list[Dialogue], list[Dialogue], list[Dialogue]]:
    """(training, validation, test): dialogues in the order of their id's sha256, the first 200 test, the next 150 validation."""
    ordered = sorted(dialogues, key=lambda d: hashlib.sha256(d.id.encode()).hexdigest())
    if len({d.id for d in ordered}) != len(ordered):
        raise MmllmError("a dialogue stands twice in the file", expected="every dialog_id once")
    if len(ordered) <= TEST + VALIDATION:
        raise MmllmError(f"{len(ordered)} dialogues", expected=f"more than {TEST + VALIDATION}")
    return ordered[TEST + VALIDATION :], ordered[TEST : TEST + VALIDATION], ordered[:TEST]


def ask(dialogues: Sequence[Dialogue], items: int) -> Asked:
    """Every recommender's turn that names something new."""
    rows: list[tuple[int, list[int], list[int]]] = []
    said: list[tuple[str, ...]] = []
    for number, dialogue in enumerate(dialogues):
        named: list[int] = []
        for at, (speaker, _, films) in enumerate(dialogue.turns):
            new = [f for f in dict.fromkeys(films) if f not in named]
            if speaker == "recommender" and new and at:
                rows.append((number, list(named), new))
                said.append(tuple(text for _, text, _ in dialogue.turns[:at]))
            named += new
    history = tuple(np.array(r[1], dtype=np.int64) for r in rows)
    targets = tuple(np.array(r[2], dtype=np.int64) for r in rows)
    users = np.array([r[0] for r in rows], dtype=np.int64)
    return Asked(Cases(items, users, history, targets, history, np.ones(len(rows), dtype=bool)), tuple(said))


def split_hash(asked: Asked) -> str:
    """A short id of the cases and their words."""
    digest = hashlib.sha256()
    for texts, targets in zip(asked.said, asked.cases.targets, strict=True):
        digest.update("\n".join(texts).encode() + targets.tobytes())
    return digest.hexdigest()[:16]


def mentions(dialogues: Sequence[Dialogue], items: int) -> csr_matrix:
    """[dialogues, items] of ones: what each dialogue names."""
    pairs = [(n, m) for n, d in enumerate(dialogues) for m in {m for _, _, films in d.turns for m in films}]
    rows, columns = zip(*pairs, strict=True)
    return csr_matrix((np.ones(len(pairs), dtype=np.float32), (rows, columns)), shape=(len(dialogues), items))


# ---- yardsticks: Asked -> scores [C, items] ------------------------------------------------------------------------


def by_words(asked: Asked, content: Content, last: int) -> np.ndarray:
    """BM25 of the last turns' words over everything the catalog says of an item."""
    import bm25s

    model = bm25s.BM25(method="lucene")
    model.index([d or ["\u2400"] for d in content.documents], show_progress=False)
    out = np.zeros((len(asked.said), asked.cases.items), dtype=np.float32)
    for n, texts in enumerate(asked.said):
        known = [w for w in words(" ".join(texts[-last:])) if w in model.vocab_dict]
        if known:
            out[n] = model.get_scores(known)
    return out


def by_meaning(asked: Asked, content: Content, encoders: Encoders, last: int, space: str) -> np.ndarray:
    """Cosine of the last turns with items: of texts ("text"), of words with pictures ("image"), or with the fused vector ("fused")."""
    texts = [" ".join(t[-last:]) for t in asked.said]
    query = encoders.text.encode(texts, query=True) if space == "text" else encoders.clip.encode_texts(texts)
    return np.asarray(query @ content.vectors[space].T, dtype=np.float32)


def mixed(parts_: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """Weighted sum of every case's z-scores over the catalog."""
    return np.asarray(sum(w * np.apply_along_axis(zscore, 1, p) for p, w in zip(parts_, weights, strict=True)), dtype=np.float32)


# ---- the whole -----------------------------------------------------------------------------------------------------

LAST = (1, 3, 6, 1000)
"""How many of the last turns are asked with."""


def recall_at_10(scores: np.ndarray, cases: Cases) -> np.ndarray:
    """[C]; what was named already is removed."""
    truth = cases.matrix("targets")
    hits = metrics.hits_of(metrics.top_k(scores, cases.matrix("seen"), 10), truth)
    return metrics.recall(hits, np.asarray(truth.sum(axis=1)).ravel())


@dataclass(frozen=True)
class Scored:
    """One system on validation and test: scores [C, I] each, with the settings chosen on validation."""

    validation: np.ndarray
    test: np.ndarray
    settings: dict[str, Any]


def systems(
    tuning: Asked, test: Asked, *, content: Content, encoders: Encoders, named: csr_matrix, liked: csr_matrix
) -> dict[str, Scored]:
    """Popularity, BM25, dense, hybrid, EASE, and the blend of EASE, popularity and words; every choice is made on validation.

    named: [training dialogues, I]; liked: [users, I] of interactions, which may be empty.
    """
    counts = np.asarray(named.sum(axis=0)).ravel()
    likes = np.asarray(liked.sum(axis=0)).ravel()
    popular = np.log1p(counts + likes / max(1.0, float(likes.max()))).astype(np.float32)
    both = (tuning, test)

    def pick(options: Iterable[tuple[dict[str, Any], Callable[[Asked], np.ndarray]]]) -> Scored:
        tried = [(settings, make, make(tuning)) for settings, make in options]
        settings, make, scores = max(tried, key=lambda t: float(recall_at_10(t[2], tuning.cases).mean()))
        return Scored(scores, make(test), settings)

    def dense(space: str, last: int) -> Callable[[Asked], np.ndarray]:
        return lambda a: by_meaning(a, content, encoders, last, space)

    def hybrid(last: int) -> Callable[[Asked], np.ndarray]:
        return lambda a: fused_ranks(
            [by_words(a, content, last), *(by_meaning(a, content, encoders, last, s) for s in ("text", "image", "fused"))],
            a.cases.history,
        )

    def together(count: int) -> Callable[[Asked], np.ndarray]:
        weight = ease(vstack([liked, *[named] * count]).tocsr(), regularization=100.0)
        return lambda a: np.asarray(a.cases.matrix("history") @ weight, dtype=np.float32)

    tiled = [np.tile(popular, (len(a.cases), 1)) for a in both]
    out = {"popularity": Scored(tiled[0], tiled[1], {})}
    out["bm25"] = pick(({"last": n}, lambda a, n=n: by_words(a, content, n)) for n in LAST)  # type: ignore[misc]
    out["dense-text"] = pick(({"last": n}, dense("text", n)) for n in LAST)
    out["clip-fused"] = pick(({"last": n}, dense("fused", n)) for n in LAST)
    out["hybrid"] = pick(({"last": n}, hybrid(n)) for n in LAST)
    out["ease"] = pick(({"dialogues_count": n}, together(n)) for n in (1, 3, 10))
    lists = [[out[n].validation for n in ("ease", "popularity", "bm25")], [out[n].test for n in ("ease", "popularity", "bm25")]]
    weights = [(1.0, p, w) for p in (0.0, 0.2, 0.5, 1.0, 2.0) for w in (0.0, 0.1, 0.3, 0.6)]
    scored = [(float(recall_at_10(mixed(lists[0], w), tuning.cases).mean()), w) for w in weights]
    best = max(scored)[1]
    settings = dict(zip(("ease", "popularity", "bm25"), best, strict=True))
    out["ease+popularity+bm25"] = Scored(mixed(lists[0], best), mixed(lists[1], best), settings)
    return out

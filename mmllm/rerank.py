"""Reranker: query + candidates -> ranked, by the language model in one packed pass. The Python reranking API.

Final score = (1 - w) z(retriever) + w z(LM). w is chosen on validation and may be 0: then the LM's scores change nothing, the pass is
left out, and the stage says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmllm import prompting
from mmllm.adapter import Adapter
from mmllm.catalog import NAMES, as_text
from mmllm.errors import QueryError
from mmllm.lexical import GENERIC, SENTENCE_END, words
from mmllm.lm import LanguageModel
from mmllm.query_check import check_ids, check_query
from mmllm.retrieve import EncodedQuery
from mmllm.settings import MAX_QUERY_CHARS
from mmllm.store import Store
from mmllm.types import MODALITIES, Candidate, Item, PathLike, Query, Ranked

ITEM_TOKENS = 32
"""How much of a candidate the LM reads when candidates enter as text."""
PASSAGE_TOKENS, PASSAGE_WORDS = 24, 16
"""How much of its text beside that, where the adapter reads passages."""
SEARCHED_CHARS = 20_000
"""How far into a text a passage is looked for: a turn does not wait for a book."""
TITLE_TOKENS = 12
UNREAD = ("image", "audio", "where", "disliked", "exclude")
"""Parts of a query that retrieval reads and the LM does not."""
LIKED, LIKED_AS_TEXT = 20, 8
"""How many liked items, the latest, the prefix holds; a match reads all."""


class Reranker:
    """Ranks candidates of one index with one language model."""

    def __init__(self, *, store: Store, lm: LanguageModel, adapter: Adapter, weight: float) -> None:
        if not 0 <= weight <= 1:
            raise QueryError(f"LM weight {weight}", expected="a number from 0 to 1")
        self.store, self.lm, self.adapter, self.weight = store, lm, adapter, weight
        self._prefix, self._item = prompting.load("rerank_prefix"), prompting.load("rerank_item")
        self._soft_prefix = prompting.load("rerank_soft_prefix")

    @classmethod
    def load(cls, index: PathLike, *, weight: float | None = None) -> Reranker:
        """The reranker of an index folder; `weight`, and what is raised, as in `Recommender.load`. Plain ids are the LM's at any weight."""
        from mmllm.recommend import Recommender  # composes the same parts; imported here because it stands above

        return Recommender.load(Path(index), weight=weight).reranker

    def rank(
        self, query: Query, items: Sequence[str | Candidate], *, encoded: EncodedQuery | None = None, force_lm: bool = False
    ) -> list[Ranked]:
        """Best first. `items` are ids, or candidates whose `score` is the retriever's.

        Plain ids have no retriever score: the LM alone decides their order. With `force_lm` the LM scores even where its weight is 0.

        Of the query, `text` and `liked` are read. What only retrieval reads (UNREAD) counts by the candidates' scores: it is refused unless
        `encoded`, the query as the retriever encoded it for them, is given.

        Raises QueryError for that, for a query without words and liked items, and for ids that are unknown, stand twice or come as one string.
        """
        check_query(query)
        if isinstance(items, str):
            check_ids("candidates", items)
        if encoded is None:
            self._refuse_unread(query)
        ids = [i if isinstance(i, str) else i.id for i in items]
        if len(set(ids)) != len(ids):
            raise QueryError("an item stands twice among the candidates", expected="each id once")
        rows = self.store.rows(ids)
        if not rows:
            return []
        retrieved = all(isinstance(i, Candidate) for i in items)
        weight = self.weight if retrieved else 1.0
        scores: list[dict[str, float]] = [dict(i.scores) if isinstance(i, Candidate) else {} for i in items]
        total = np.zeros(len(rows))
        if retrieved:
            base = np.array([i.score for i in items if isinstance(i, Candidate)])
            total += (1 - weight) * zscore(base)
            for own, value in zip(scores, base, strict=True):
                own["retriever"] = float(value)
        if weight > 0 or force_lm:
            lm = self.score(query, rows, words=encoded.words if encoded else None)
            total += weight * zscore(lm)
            for own, value in zip(scores, lm, strict=True):
                own["lm"] = float(value)
        order = sorted(range(len(rows)), key=lambda n: (-total[n], ids[n]))
        return [
            Ranked(ids[n], rank, float(total[n]), scores[n], self.shares(rows[n], encoded))
            for rank, n in enumerate(order, start=1)
        ]

    def _refuse_unread(self, query: Query) -> None:
        """QueryError for a query that says nothing to the LM, or something that would be passed over."""
        given = (query.image is not None, query.audio is not None, query.where, query.disliked, query.exclude)
        if unread := [name for name, there in zip(UNREAD, given, strict=True) if there]:
            raise QueryError(
                f"the reranker does not read {' and '.join(unread)}",
                expected="text and liked",
                do="Recommender.recommend reads all of a query",
            )
        if not (query.text and query.text.strip()) and not query.liked:
            raise QueryError("the query is empty", expected="words or liked items")

    def judge(self, query: Query) -> str:
        """What scores a query beside the retriever: "lm", or "match" where the readouts have no share in the adapter's score."""
        return "match" if self.adapter.match is not None and query.liked and self.adapter.config.readout == 0 else "lm"

    def score(self, query: Query, rows: Sequence[int], *, words: str | None = None) -> np.ndarray:
        """[N]: logit(yes) - logit(no) per row, in one packed pass; joined with the adapter's match where something is liked."""
        config, matched = self.adapter.config, None
        if self.adapter.match is not None and query.liked:
            soft = torch.from_numpy(self.store.fused["soft"])
            with torch.inference_mode():
                matched = self.adapter.match(soft[self.store.rows(list(query.liked))], soft[list(rows)]).numpy()
        if matched is not None and self.judge(query) == "match":
            return matched
        asked = words if words is not None else query.text or ""
        read = self.lm.score(self.prefix(query, words=words), [self.segment(r, asked) for r in rows]).numpy()
        return joined(read, matched, config.readout)

    def prefix(self, query: Query, *, words: str | None = None) -> Tensor:
        """The shared part [P, H]: the task, the request, and liked items by title (with soft tokens in a soft form)."""
        request = (words if words is not None else query.text or "").strip()[:MAX_QUERY_CHARS]
        if query.image is not None:
            request = f"{request} (and a picture)".strip()
        liked = self.store.rows(list(query.liked))[-LIKED:]
        request = request or "something like what was liked before"
        if self.adapter.config.form == "text":
            return text_prefix(self.lm, self._prefix, request, [self.store.items[r].title for r in liked])
        titles = [self.store.items[r].title for r in liked] if self.adapter.config.form == "soft+title" else None
        return soft_prefix(self.lm, self._soft_prefix, request, self._read(liked), titles)

    def _read(self, rows: Sequence[int]) -> Tensor:
        """Soft tokens [n, K, H] of items as the LM reads them."""
        with torch.no_grad():
            return self.adapter.fusion.read(torch.from_numpy(self.store.fused["soft"][list(rows)]))

    def segment(self, row: int, request: str = "", item: Item | None = None) -> Tensor:
        """One candidate [L, H]: its words, or its soft tokens, or both, and the readout; `item`: read in place of the one that stands there."""
        item = item or self.store.items[row]
        if self.adapter.config.form != "text":
            title = item.title if self.adapter.config.form == "soft+title" else None
            return soft_segment(self.lm, self._read([row])[0], title)
        told = describe(item)
        said = passage(item.text, told, request) if self.adapter.config.passages else ""
        return text_segment(self.lm, self._item, told, said)

    def shares(self, row: int, encoded: EncodedQuery | None) -> dict[str, float]:
        """Each modality's share in the match of this item with the query; sums to 1.

        The fusion's attention on the modality, times how well the query's fused vector meets that modality's anchor.
        Without a query vector, the attention alone.
        """
        attention = self.store.fused["shares"][row][: len(MODALITIES)].astype(float)
        anchor = self.store.features["anchor"]
        if encoded is not None and encoded.pooled is not None:
            similarity = np.maximum(anchor["values"][row] @ encoded.pooled, 0.0) * anchor["present"][row]
            if (attention * similarity).sum() > 0:
                attention = attention * similarity
        total = attention.sum()
        if total <= 0:
            return {}
        return {m: round(float(a / total), 4) for m, a in zip(MODALITIES, attention, strict=True) if a > 0}


def text_prefix(lm: LanguageModel, template: prompting.Template, request: str, titles: Sequence[str]) -> Tensor:
    """The shared part [P, H] in the text form: the task, the request, the latest liked items by title."""
    lines = "".join(f"Liked before: {title}\n" for title in titles[-LIKED_AS_TEXT:])
    return lm.embed(lm.tokens(template.render(request=request, liked=lines)))


def text_segment(lm: LanguageModel, template: prompting.Template, description: str, passage: str = "") -> Tensor:
    """One candidate [L, H] in the text form: its words, a passage of its text, and the turn that asks for an answer."""
    marker = "\u2063ITEM\u2063"
    head, tail = template.render(item=marker).split(marker)
    # The blank belongs to the word after it, as tokenizers have it; the turn markers behind it ask for an answer.
    read = lm.tokens(f" {prompting.neutralise(description)}")[:ITEM_TOKENS]
    if passage:
        read = [*read, *lm.tokens(f". {prompting.neutralise(passage)}")[:PASSAGE_TOKENS]]
    return lm.embed([*lm.tokens(head.rstrip()), *read, *lm.tokens(tail)])


def soft_prefix(
    lm: LanguageModel, template: prompting.Template, request: str, liked: Tensor, titles: Sequence[str] | None = None
) -> Tensor:
    """The shared part [P, H] in a soft form: the request, and liked items as soft tokens [n, K, H], oldest first, with titles or without."""
    marker = "\u2063LIKED\u2063"
    head, tail = template.render(request=prompting.neutralise(request), liked=marker).split(marker)
    parts = [lm.embed(lm.tokens(head))]
    for n in range(len(liked)):
        parts.append(liked[n])
        if titles is not None:
            parts.append(_title(lm, titles[n]))
    return torch.cat([*parts, lm.embed(lm.tokens(tail))])


def soft_segment(lm: LanguageModel, soft: Tensor, title: str | None = None) -> Tensor:
    """One candidate [L, H]: soft tokens [K, H], its title or none, and one readout token."""
    parts = [soft] if title is None else [soft, _title(lm, title)]
    return torch.cat([*parts, lm.embed(lm.tokens("\n"))])


def _title(lm: LanguageModel, title: str) -> Tensor:
    return lm.embed(lm.tokens(f" {prompting.neutralise(title)}")[:TITLE_TOKENS])


def describe(item: Item) -> str:
    """Title and attributes, as the LM reads them; what the title says already is not said twice."""
    said = set(words(item.title))
    texts = [as_text(v) for n, v in item.attributes.items() if n != NAMES]
    shown = [t for t in texts if not set(words(t)) <= said][:8]
    return f"{item.title} ({', '.join(shown)})" if shown else item.title


def sentences(text: str) -> list[str]:
    """Those of a text, or its lines, without what is empty."""
    return [s for line in text.splitlines() for s in SENTENCE_END.split(line) if s.strip()]


def passage(text: str, told: str, request: str) -> str:
    """Of an item's text the sentence, or a piece of one, that says most of what is asked and is not `told` of it otherwise; "" if none does.

    >>> passage("A koala. Animals that carry their young in a pouch.", "A koala (animals)", "an animal with a pouch")
    'Animals that carry their young in a pouch.'
    """
    missing = set(words(request)) - GENERIC - set(words(told))
    best, most, text = "", 0, text[:SEARCHED_CHARS]
    if not missing & set(words(text)):
        return best
    for sentence in sentences(text):
        parts = sentence.split()
        stems = [missing & set(words(p)) for p in parts]
        # A little before what is asked: "is not a dog" is another thing than "a dog".
        starts = [max(0, n - 4) for n, s in enumerate(stems) if s] if len(parts) > PASSAGE_WORDS else [0]
        for start in starts:
            end = start + PASSAGE_WORDS
            found = len(set().union(*stems[start:end]))
            if found > most:
                best, most = " ".join(parts[start:end]), found
    return best


def joined(read: np.ndarray | None, matched: np.ndarray | None, share: float) -> np.ndarray:
    """The readouts' scores [N] and the match's as one: z-scores by `share` of the readouts, or the one that is there or alone counts."""
    if matched is None or share == 1:
        if read is None:
            raise ValueError("neither readouts nor a match")
        return read
    if read is None or share == 0:
        return matched
    return share * zscore(read) + (1 - share) * zscore(matched)


def zscore(values: np.ndarray) -> np.ndarray:
    """Zero mean, unit deviation; zeros where all are equal."""
    deviation = values.std()
    return (values - values.mean()) / deviation if deviation > 1e-9 else np.zeros(len(values))

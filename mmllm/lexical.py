"""Lexical search: the words of a text as stems, and BM25 over what is said of the items."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import bm25s
import numpy as np
import Stemmer

from mmllm.catalog import as_text
from mmllm.store import Payload

log = logging.getLogger(__name__)

STOPWORDS = frozenset(
    [
        "a",
        "an",
        "the",
        "of",
        "to",
        "in",
        "on",
        "for",
        "with",
        "and",
        "or",
        "that",
        "which",
        "is",
        "are",
        "be",
        "it",
        "its",
        "this",
        "some",
        "any",
        "i",
        "me",
        "my",
        "we",
        "you",
        "your",
        "want",
        "like",
        "would",
        "please",
        "show",
        "find",
        "give",
        "something",
        "anything",
        "thing",
        "one",
        "ones",
        "can",
        "could",
        "need",
        "looking",
        "from",
        "has",
        "have",
    ]
)
SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
# Chinese measure words ("a" of a cat) and particles: stop words that no blank sets apart.
_CJK_STOP = re.compile("[一两几这那][只个個隻条條把辆輛朵张張件双雙头頭匹座本台架枝支位]|[的了吗嗎呢我想要请請给給有]")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")


@lru_cache(maxsize=1)
def _stemmer() -> Stemmer.Stemmer:
    return Stemmer.Stemmer("english")


def words(text: str) -> list[str]:
    """Tokens for BM25: stemmed words without stop words; runs of Chinese, Japanese or Korean as characters and pairs.

    >>> words("The wombats, 一只黑猫")
    ['wombat', '黑', '猫', '黑猫']
    """
    out: list[str] = []
    for token in _WORD.findall(_CJK_STOP.sub(" ", text.casefold())):
        position = 0
        for run in _CJK.finditer(token):
            out += _latin(token[position : run.start()])
            chars = run[0]
            out += list(chars) + [chars[i : i + 2] for i in range(len(chars) - 1)]
            position = run.end()
        out += _latin(token[position:])
    return out


def _latin(token: str) -> list[str]:
    return [_stemmer().stemWord(token)] if token and token not in STOPWORDS else []


GENERIC = frozenset(
    words(
        "late lately recent recently favorite favorites favourite favourites few similar name choose mind think oh seen heard guess weekend "
        "interested choice choices actor actors actress plot yeah sure "
        "film films movie movies item items stamp stamps picture pictures thing things stuff one ones recommend recommendation suggest "
        "suggestion good great nice best really maybe know watch see look kind kinds type sort also too else more other another but only just "
        "instead then though still with please so very much bit little lot there here what which who how something anything everything "
        "ok okay yes no not again about after already rather isn't aren't less long max our do does did am "
        "was were will get got go let make take love enjoy fan than same as all both today tonight now "
        "actually well new idea ideas option cool fine hi hello thanks thank if at by into not don't didn't i'm i'd it's that's help hello day "
        "he him his she her hers they them their theirs us ours yours mine myself someone anyone everyone nobody each every those these "
        "be been being had having would should might may must shall can't won't couldn't wouldn't shouldn't didn't doesn't haven't hasn't "
        "wasn't weren't i've i'll you're you've that'd he's she's they're we're there's let's im ive ill dont cant "
        "although though unless until till while when where why whenever since because cause except onto over through around along across "
        "away off out up down before during within upon per via such any some "
        "even ever never always usually usual mostly often sometimes probably definitely perhaps almost enough quite pretty totally "
        "absolutely honestly personally finally especially particularly currently yet soon later once twice ago hopefully overall "
        "ah wow omg lol haha ha hmm um uh yep yea yup nah nope ooh ohh alright bye goodbye goodnight welcome sorry awesome amazing excellent "
        "two three couple couples time times night course fave faves far bit "
        "seem seems sound sounds hope try check appreciate chat last next huge mind "
        "电影 片 部 看 想 要 个 点 一点 什么 有什么 推荐 好 好看 的 但 但是 也 只 只要 那 这 找 来 些 片子 吗 啊 吧 谢 谢谢 "
        "一部 一些 还 还要 再 有没有"
    )
)
"""Stems that tell no item of a catalog from another, and what people say around a request."""


def searchable(payload: Payload) -> str:
    """What BM25 reads of an item: everything people may say about it, in any language."""
    item = payload.item
    return " ".join(
        [item.title, item.text, *map(as_text, item.attributes.values()), payload.caption.text, payload.transcript.text]
    )


class Bm25:
    """BM25 over the payloads (bm25s, Lucene's variant)."""

    def __init__(self, model: bm25s.BM25) -> None:
        self.model = model

    @classmethod
    def build(cls, payloads: Sequence[Payload], folder: Path) -> Bm25:
        """Index all payloads and save."""
        logging.getLogger("bm25s").setLevel(logging.WARNING)  # it sets itself to DEBUG when it is imported
        model = bm25s.BM25(method="lucene")
        model.index([words(searchable(p)) or ["\u2400"] for p in payloads], show_progress=False)
        model.save(str(folder))
        return cls(model)

    @classmethod
    def open(cls, payloads: Sequence[Payload], folder: Path) -> Bm25:
        """Read a saved one; like Chroma it is a cache, built again where it is missing, broken or of another size."""
        try:
            model = bm25s.BM25.load(str(folder))
            if model.scores["num_docs"] == len(payloads):
                return cls(model)
            reason = f"{model.scores['num_docs']} rows for {len(payloads)} items"
        except (OSError, ValueError, KeyError) as error:
            reason = str(error)
        log.warning("the word index in %s cannot be used (%s): rebuilding it", folder, reason)
        return cls.build(payloads, folder)

    def query(self, text: str, k: int, allowed: np.ndarray | None = None) -> list[tuple[int, float]]:
        """Rows that share a word with the text, with their score, best first; ties by row."""
        tokens = [t for t in words(text) if t in self.model.vocab_dict]
        if not tokens:
            return []
        scores = self.model.get_scores(tokens)
        if allowed is not None:
            scores = np.where(allowed, scores, 0.0)
        order = np.argsort(-scores, kind="stable")[:k]
        return [(int(r), float(scores[r])) for r in order if scores[r] > 0]

    def coverage(self, text: str, rows: Sequence[int]) -> np.ndarray:
        """How much of a text's words each of these rows has, [n] in 0 to 1, by their idf; a word that no item has counts too."""
        documents, bounds = self.model.scores["num_docs"], self.model.scores["indptr"]
        have, total = np.zeros(documents), 0.0
        for token in set(words(text)):
            known = self.model.vocab_dict.get(token)
            found = [] if known is None else self.model.scores["indices"][bounds[known] : bounds[known + 1]]
            idf = np.log(1 + documents / (len(found) + 0.5))
            total += idf
            have[found] += idf
        return have[list(rows)] / total if total else np.zeros(len(rows))

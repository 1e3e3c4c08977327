"""Captions: what a picture shows, in phrases, with a source and a confidence; empty rather than wrong.

`PhraseCaptioner` says, for each text attribute of the catalog, which of its values a picture shows, and names a thing out of a
general vocabulary. A captioning model is in `caption_model.py`.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mmllm.catalog import NAMES
from mmllm.types import Caption, Item

VERSION = 1
"""Raised when the phrases of a picture change: indexes with captions of another number get new ones, and nothing is encoded."""
RIDGE = 0.3
"""The penalty of the regression from pictures to values; rows have length 1 before they are centred."""
SHARED = 0.7
"""What CLIP's own space counts beside the features of its image tower: it knows which directions people have words for."""
WORDS, WORDS_HEAT = 0.25, 15.0
"""What the words of a value count beside the regression, and how sharp CLIP's softmax over the values is."""
NAME_HEAT = 2.0
"""Sharpness of the softmax over names, whose scores are in standard deviations."""
WRONG, RIGHT = 0.1, 0.8
"""At most this share of the catalog's own pictures may be told something wrong, and what is asserted of an attribute has to be right at
least so often; both are counted on pictures that the regression has not seen. All settings here were chosen on those, too."""
FEWEST = 20
"""How many pictures have to stand above a threshold for it to count."""
FOLDS = 5
MOST_VALUES = 150
PART = 2048
VOCABULARY = Path(__file__).parent / "vocabulary.txt"


@dataclass(frozen=True)
class _Group:
    """An attribute or the vocabulary: phrases, their words [V, D], and how near the known pictures are, mean and deviation [V].
    Without the latter some phrases would be near to every picture; but what nearly all pictures show is not named."""

    phrases: tuple[str, ...]
    words: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray


@dataclass(frozen=True)
class _Line:
    """A regression: slope [D_image + D, V of all attributes], and the values' shares [V]."""

    slope: np.ndarray
    share: np.ndarray


class PhraseCaptioner:
    """Captions by a catalog's own attributes and a general vocabulary.

    `features` [N, D_image] are the items' pictures as CLIP's image tower gives them, `known` [N] says from which of them to learn.
    A ridge regression learns which values go with which pictures; every value's words add their nearness in CLIP's space.
    The catalog's own pictures are captioned in FOLDS parts, each by a regression that saw neither them nor another picture of the
    same title, so that a caption comes from what the picture shows and never from its own attributes. What is right and wrong there
    sets the thresholds (WRONG, RIGHT) and is what a caption's confidence counts: the share of known pictures with at least that
    score of which the phrase was true.
    """

    def __init__(
        self,
        items: Sequence[Item],
        features: np.ndarray,
        known: np.ndarray,
        *,
        encode_images: Callable[[Sequence[Image.Image]], np.ndarray],
        project: Callable[[np.ndarray], np.ndarray],
        encode_texts: Callable[[Sequence[str]], np.ndarray],
        name: str,
    ) -> None:
        """`encode_images`: pictures -> features; `project`: features -> the shared space; `encode_texts`: texts -> the shared space."""
        self.name = f"phrases:{name}"
        self.rows = np.flatnonzero(known)
        self._encode_images, self._project = encode_images, project
        self.groups: list[_Group] = []
        self.best, self.score = self._empty(len(self.rows))
        if len(self.rows) < FEWEST:
            return  # nothing to measure a threshold on: every caption is empty
        voters = [items[int(r)] for r in self.rows]
        features = features[self.rows]
        self.centre = _unit(features).mean(axis=0)
        self.shared_centre = project(features).mean(axis=0)
        values = bank(voters)
        self.groups = self._phrases(values, features, encode_texts)
        labels = [_which(voters, attribute, group) for attribute, group in values.items()]
        self.best, self.score = self._cross_fit(voters, features, labels)
        right = [has[np.arange(len(voters)), best] > 0 for has, best in zip(labels, self.best.T, strict=False)]
        names = self.groups[-1].phrases
        right.append(
            np.array([bool(_tokens(names[n]) & _tokens(v.title)) for n, v in zip(self.best[:, -1], voters, strict=True)])
        )
        self.right = np.stack(right, axis=1)
        bits = [_bits(has) for has in labels]
        self.sure = thresholds(self.score, self.right, np.array([*bits, max([*bits, 1.0])]))
        self.curves = [_curve(s, r) for s, r in zip(self.score.T, self.right.T, strict=True)]

    def _phrases(
        self, values: dict[str, tuple[str, ...]], features: np.ndarray, encode_texts: Callable[[Sequence[str]], np.ndarray]
    ) -> list[_Group]:
        """The attributes in their order, then the vocabulary."""
        things = vocabulary()
        wordings = [w for group in values.values() for v in group for w in (v, f"a picture of {v}", f"a drawing of {v}")]
        vectors = encode_texts([*wordings, *(f"a picture of a {t}" for t in things)])  # one call, which the caller may keep
        images = self._project(features[:PART])
        groups, at = [], 0
        for group in values.values():
            # A few wordings, as CLIP's authors do.
            mean = vectors[at : at + 3 * len(group)].reshape(len(group), 3, -1).mean(axis=1)
            at += 3 * len(group)
            groups.append(_group(group, _unit(mean), images))
        return [*groups, _group(things, vectors[at:], images)]

    def _seen(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the regression reads [n, D_image + D], and the pictures in the shared space [n, D]."""
        images = self._project(features)
        return np.hstack([_unit(_unit(features) - self.centre), SHARED * _unit(images - self.shared_centre)]), images

    def _cross_fit(
        self, voters: Sequence[Item], features: np.ndarray, labels: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best phrase of each group and its score for every known picture [K, G], by regressions without it."""
        seen, images = self._seen(features)
        truth = np.hstack(labels) if labels else np.zeros((len(voters), 0), dtype=np.float32)
        fold = np.array([hashlib.sha256(v.title.casefold().encode()).digest()[0] % FOLDS for v in voters])
        gram = seen.T @ seen
        self.line = _fit(gram, seen, truth)
        best, score = self._empty(len(voters))
        for n in range(FOLDS):
            own = fold == n
            line = _fit(gram - seen[own].T @ seen[own], seen[~own], truth[~own])
            best[own], score[own] = self._answers(seen[own], images[own], line)
        return best, score

    def _empty(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((count, len(self.groups)), dtype=int), np.zeros((count, len(self.groups)))

    def _answers(self, seen: np.ndarray, images: np.ndarray, line: _Line) -> tuple[np.ndarray, np.ndarray]:
        """The best phrase of each group [n, G] and its score [n, G]."""
        best, score = self._empty(len(seen))
        for start in range(0, len(seen), PART):
            part = slice(start, start + PART)
            values, at = seen[part] @ line.slope + line.share, 0
            for g, group in enumerate(self.groups):
                nearness = images[part] @ group.words.T - group.mean
                if g < len(self.groups) - 1:
                    points = values[:, at : at + len(group.phrases)] + WORDS * _softmax(WORDS_HEAT * nearness)
                    at += len(group.phrases)
                else:
                    points = _softmax(NAME_HEAT * nearness / group.deviation)
                best[part, g], score[part, g] = points.argmax(axis=1), points.max(axis=1)
        return best, score

    def caption(self, images: Sequence[Image.Image]) -> list[Caption]:
        """Pictures that are not the catalog's."""
        return self.caption_features(self._encode_images(images))

    def caption_features(self, features: np.ndarray) -> list[Caption]:
        """The same from features [n, D_image]."""
        if not self.groups:
            return [Caption()] * len(features)
        return self._captions(*self._answers(*self._seen(features), self.line))

    def known_captions(self) -> dict[int, Caption]:
        """Row -> caption of the pictures that were learned from, each by a regression that did not see it."""
        return dict(zip(self.rows.tolist(), self._captions(self.best, self.score), strict=True))

    def _captions(self, best: np.ndarray, score: np.ndarray) -> list[Caption]:
        out, groups = [], range(len(self.groups))
        for which, points in zip(best, score, strict=True):
            sure = [g for g in [*groups[-1:], *groups[:-1]] if points[g] >= self.sure[g]]
            # What the thing is called comes first.
            phrases = dict.fromkeys(self.groups[g].phrases[which[g]] for g in sure)
            confidence = min((_at(self.curves[g], float(points[g])) for g in sure), default=0.0)
            out.append(Caption(tuple(phrases), self.name, round(confidence, 4)) if sure else Caption())
        return out


def thresholds(score: np.ndarray, right: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """From which score on each group is asserted [G], infinite where never.

    How often a group may be wrong grows with the square of what it tells, for a right kind out of 80 is worth more than one style out
    of 2; the largest allowances are taken with which no more than WRONG of all captions hold anything wrong.
    score, right: [K, G]; bits: [G], the entropy of each group.
    """
    telling = np.square(bits) / max(np.square(bits).max(), 1e-9)
    for share in np.linspace(WRONG, WRONG / 20, 20):
        sure = np.array([_least(s, r, share * t) for s, r, t in zip(score.T, right.T, telling, strict=True)])
        if ((score >= sure) & ~right).any(axis=1).mean() <= WRONG:
            return sure
    return np.full(score.shape[1], np.inf)


def _bits(has: np.ndarray) -> float:
    """Entropy of an attribute's values, [K, V] -> bits."""
    share = has.sum(axis=0) / max(has.sum(), 1.0)
    return float(-(share * np.log2(np.maximum(share, 1e-12))).sum())


def _least(score: np.ndarray, right: np.ndarray, share: float) -> float:
    """The least score above which at most `share` of all pictures is told a wrong thing, and RIGHT of what is told is right."""
    order = np.argsort(-score, kind="stable")
    ranked, wrong = score[order], np.cumsum(~right[order])
    fits = (wrong <= share * len(order)) & (wrong <= (1 - RIGHT) * np.arange(1, len(order) + 1))
    fits[:-1] &= ranked[:-1] > ranked[1:]  # a threshold cannot part equal scores
    fits[: FEWEST - 1] = False
    found = np.flatnonzero(fits)
    return float(ranked[found[-1]]) if len(found) else np.inf


def _curve(score: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores, ascending, and the share that was right from there on; it never falls towards higher scores, nor reaches 1."""
    order = np.argsort(-score, kind="stable")
    share = (np.cumsum(right[order]) + 1) / (np.arange(len(order)) + 3)  # (right + 1) / (told + 2), Laplace's rule
    return score[order][::-1], np.maximum.accumulate(share[::-1])


def _at(curve: tuple[np.ndarray, np.ndarray], score: float) -> float:
    return float(curve[1][min(int(np.searchsorted(curve[0], score)), len(curve[0]) - 1)])


def _group(phrases: tuple[str, ...], words: np.ndarray, images: np.ndarray) -> _Group:
    near = images @ words.T
    return _Group(phrases, words, near.mean(axis=0), near.std(axis=0) + 1e-6)


def _fit(gram: np.ndarray, seen: np.ndarray, truth: np.ndarray) -> _Line:
    """Ridge regression by the normal equations; `gram` is seen.T @ seen."""
    share = truth.mean(axis=0) if len(truth) else np.zeros(truth.shape[1])
    slope = np.linalg.solve(gram.astype(float) + RIDGE * np.eye(len(gram)), (seen.T @ (truth - share)).astype(float))
    return _Line(slope.astype(np.float32), share.astype(np.float32))


def _unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)).astype(np.float32)


def _tokens(text: str) -> set[str]:
    """Words of three letters and more, without a plural s."""
    return {w.removesuffix("s") for w in re.findall(r"[^\W\d_]{3,}", text.casefold())} - {"the", "and", "with"}


def vocabulary() -> tuple[str, ...]:
    """Names of things, from the file in the package."""
    lines = VOCABULARY.read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if line and not line.startswith("#"))


def _which(voters: Sequence[Item], attribute: str, values: Sequence[str]) -> np.ndarray:
    """[K, V]: 1 where the item has the value."""
    return np.array([np.isin(values, _values(item, attribute)) for item in voters], dtype=np.float32)


def bank(items: Sequence[Item]) -> dict[str, tuple[str, ...]]:
    """Text attributes that say what a thing is: attribute -> its values, where they repeat and are not too many.

    Numbers, flags and the reserved other names are left out, and so is an attribute with nearly as many values as items.
    """
    found: dict[str, Counter[str]] = {}
    for item in items:
        for name in item.attributes:
            for value in _values(item, name):
                found.setdefault(name, Counter())[value] += 1
    return {
        name: tuple(sorted(counts))
        for name, counts in sorted(found.items())
        if name != NAMES and 2 <= len(counts) <= MOST_VALUES and counts.total() >= 2 * len(counts)
    }


def _values(item: Item, name: str) -> list[str]:
    value = item.attributes.get(name, ())
    return [v for v in (value if isinstance(value, tuple) else (value,)) if isinstance(v, str)]


def _softmax(logits: np.ndarray) -> np.ndarray:
    heat = np.exp(logits - logits.max(axis=1, keepdims=True))
    return heat / heat.sum(axis=1, keepdims=True)

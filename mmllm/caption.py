"""Captions: what a picture shows, in phrases, with a source and a confidence; empty rather than wrong.

`PhraseCaptioner` ranks phrases by CLIP: for each text attribute of the catalog, its values by the pictures that carry them and
by their words, and names of things from a general vocabulary by their words. `ModelCaptioner` writes with a captioning model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from mmllm import weights
from mmllm.catalog import NAMES
from mmllm.types import Caption, Item

NEIGHBOURS = 20
HEAT = 20.0
"""Sharpness of the neighbours' votes; the nearest has weight 1, one that is 0.1 further off exp(-2)."""
WORDS = 0.5
"""What the words of a value count beside the votes of pictures."""
PRECISE = 0.93
"""A value is asserted from the confidence on at which this share of the catalog's own pictures, each left out of the votes in turn, were
given a value that they have. An attribute that never gets there is never asserted."""
CALIBRATED_ON, FEWEST = 2000, 20
"""How many pictures the confidences are calibrated on at most, and how many have to stand above a threshold for it to count."""
SURE_NAME, NAME_HEAT = 0.8, 30.0
"""From which share of CLIP's softmax a name of the vocabulary is asserted: seldom. clip-mini names one thing in four rightly."""
MOST_VALUES = 150
VOCABULARY = Path(__file__).parent / "vocabulary.txt"


class Captioner(Protocol):
    """Pictures -> captions, one each and in their order; `name` becomes the captions' source."""

    name: str

    def caption(self, images: Sequence[Image.Image]) -> list[Caption]:
        """One caption a picture."""
        ...


@dataclass(frozen=True)
class _Group:
    """One attribute: its values, their words as vectors [V, D], which known picture has which [K, V], and from where it is sure."""

    values: tuple[str, ...]
    words: np.ndarray
    has: np.ndarray
    sure: float = 2.0

    def scores(self, images: np.ndarray, votes: np.ndarray) -> np.ndarray:
        """[n, V] in [0, 1]: what near pictures carry, and what the words of the value say."""
        return (votes @ self.has + WORDS * _softmax(15.0 * images @ self.words.T)) / (1 + WORDS)


class PhraseCaptioner:
    """Captions by a catalog's own attributes and a general vocabulary.

    `images` [N, D] are the items' pictures in CLIP's space, `known` [N] says which of them may vote. An item never votes
    for itself, and its own attributes and title are not looked at: what is said of it is what its picture shows.
    """

    def __init__(
        self,
        items: Sequence[Item],
        images: np.ndarray,
        known: np.ndarray,
        *,
        encode_images: Callable[[Sequence[Image.Image]], np.ndarray],
        encode_texts: Callable[[Sequence[str]], np.ndarray],
        name: str,
    ) -> None:
        self.name = f"phrases:{name}"
        self.rows = np.flatnonzero(known)
        self.pictures = images[self.rows]
        self._encode_images = encode_images
        voters = [items[int(r)] for r in self.rows]
        values = bank(voters)
        things = vocabulary()
        wordings = [w for group in values.values() for v in group for w in (v, f"a picture of {v}", f"a drawing of {v}")]
        vectors = encode_texts([*wordings, *(f"a picture of a {t}" for t in things)])  # one call, which the caller may keep
        self.vocabulary = things, vectors[len(wordings) :]
        groups, at = [], 0
        for attribute, group in values.items():
            mean = (
                vectors[at : at + 3 * len(group)].reshape(len(group), 3, -1).mean(axis=1)
            )  # a few wordings, as CLIP's authors do
            at += 3 * len(group)
            words = mean / np.linalg.norm(mean, axis=1, keepdims=True)
            groups.append(_Group(group, words, _which(voters, attribute, group)))
        self.groups = self._calibrated(groups)

    def _calibrated(self, groups: list[_Group]) -> list[_Group]:
        """Each group with the least confidence at which it is right often enough on the pictures that are known."""
        rng = np.random.default_rng(0)
        sample = np.sort(rng.permutation(len(self.rows))[:CALIBRATED_ON])
        if not len(sample):
            return groups
        images = self.pictures[sample]
        votes = self._votes(images, self.rows[sample])
        out = []
        for group in groups:
            score = group.scores(images, votes)
            best = score.argmax(axis=1)
            right = group.has[sample, best]
            out.append(replace(group, sure=threshold(score.max(axis=1), right)))
        return out

    def caption(self, images: Sequence[Image.Image]) -> list[Caption]:
        """Pictures that are not the catalog's."""
        return self.caption_vectors(self._encode_images(images))

    def caption_vectors(self, images: np.ndarray, own: Sequence[int] | None = None) -> list[Caption]:
        """images [n, D], L2-normalised -> captions. `own` [n] are the items' rows, each left out of its own votes."""
        out: list[Caption] = []
        for start in range(0, len(images), 1024):
            part = images[start : start + 1024]
            rows = None if own is None else np.asarray(own[start : start + 1024])
            out += self._caption(part, rows)
        return out

    def _caption(self, images: np.ndarray, own: np.ndarray | None) -> list[Caption]:
        said: list[list[tuple[str, float]]] = [[] for _ in images]
        if len(self.rows):
            votes = self._votes(images, own)
            for group in self.groups:
                score = group.scores(images, votes)
                for n, (best, confidence) in enumerate(zip(score.argmax(axis=1), score.max(axis=1), strict=True)):
                    if confidence >= group.sure:
                        said[n].append((group.values[best], float(confidence)))
        names, vectors = self.vocabulary
        score = _softmax(NAME_HEAT * images @ vectors.T)
        for n, (best, confidence) in enumerate(zip(score.argmax(axis=1), score.max(axis=1), strict=True)):
            if confidence >= SURE_NAME:
                said[n].insert(0, (names[best], float(confidence)))
        return [_caption_of(phrases, self.name) for phrases in said]

    def _votes(self, images: np.ndarray, own: np.ndarray | None) -> np.ndarray:
        """[n, K], rows summing to 1: how much each known picture has to say, by nearness."""
        similarity = images @ self.pictures.T
        if own is not None:
            similarity[own[:, None] == self.rows[None, :]] = -np.inf
        k = min(NEIGHBOURS, similarity.shape[1])
        floor = np.partition(similarity, -k, axis=1)[:, -k][:, None]
        top = similarity.max(axis=1, keepdims=True)
        votes = np.where((similarity >= floor) & np.isfinite(similarity), np.exp(HEAT * (similarity - top)), 0.0)
        return np.nan_to_num(votes / votes.sum(axis=1, keepdims=True))


def threshold(confidence: np.ndarray, right: np.ndarray) -> float:
    """The least confidence above which a share PRECISE of the answers is right; above 1 where there is none.

    confidence: [n]; right: [n], 1 or 0.
    """
    order = np.argsort(-confidence, kind="stable")
    precise = np.cumsum(right[order]) / np.arange(1, len(order) + 1) >= PRECISE
    precise[: FEWEST - 1] = False
    found = np.flatnonzero(precise)
    return float(confidence[order][found[-1]]) if len(found) else 2.0


def vocabulary() -> tuple[str, ...]:
    """Names of things, from the file in the package."""
    lines = VOCABULARY.read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if line and not line.startswith("#"))


def _which(voters: Sequence[Item], attribute: str, values: Sequence[str]) -> np.ndarray:
    """[K, V]: 1 where the item has the value."""
    column = {v: n for n, v in enumerate(values)}
    has = np.zeros((len(voters), len(values)), dtype=np.float32)
    for row, item in enumerate(voters):
        for value in _values(item, attribute):
            has[row, column[value]] = 1.0
    return has


def bank(items: Sequence[Item]) -> dict[str, tuple[str, ...]]:
    """Text attributes that say what a thing is: attribute -> its values, where they repeat and are not too many.

    Numbers, flags and the reserved other names are left out, and so is an attribute with nearly as many values as items.
    """
    found: dict[str, dict[str, int]] = {}
    for item in items:
        for name in item.attributes:
            for value in _values(item, name):
                counts = found.setdefault(name, {})
                counts[value] = counts.get(value, 0) + 1
    return {
        name: tuple(sorted(counts))
        for name, counts in sorted(found.items())
        if name != NAMES and 2 <= len(counts) <= MOST_VALUES and sum(counts.values()) >= 2 * len(counts)
    }


def _values(item: Item, name: str) -> list[str]:
    value = item.attributes.get(name, ())
    return [v for v in (value if isinstance(value, tuple) else (value,)) if isinstance(v, str)]


def _softmax(logits: np.ndarray) -> np.ndarray:
    heat = np.exp(logits - logits.max(axis=1, keepdims=True))
    return heat / heat.sum(axis=1, keepdims=True)


def _caption_of(phrases: Sequence[tuple[str, float]], source: str) -> Caption:
    if not phrases:
        return Caption()
    words = tuple(dict.fromkeys(p for p, _ in phrases))
    return Caption(words, source, round(min(c for _, c in phrases), 4))


class ModelCaptioner:
    """An image-to-text model of transformers (BLIP and its kin) from a local folder; confidence = exp(mean log-probability)."""

    def __init__(self, folder: Path, *, name: str, max_new_tokens: int = 30, least: float = 0.2) -> None:
        import torch
        from transformers import AutoModelForImageTextToText, AutoProcessor

        self.name, self.fingerprint = f"model:{name}", weights.fingerprint(folder)
        self.processor = AutoProcessor.from_pretrained(folder)
        self.model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
        self.max_new_tokens, self.least = max_new_tokens, least

    def caption(self, images: Sequence[Image.Image], *, batch: int = 8) -> list[Caption]:
        """One sentence a picture, greedily; one below the least confidence is left empty."""
        import torch

        out: list[Caption] = []
        for start in range(0, len(images), batch):
            inputs = self.processor(images=list(images[start : start + batch]), return_tensors="pt")
            with torch.inference_mode():
                made = self.model.generate(
                    **inputs,
                    max_new_tokens=self.max_new_tokens,
                    do_sample=False,
                    output_scores=True,
                    return_dict_in_generate=True,
                )
                steps = torch.stack([s.log_softmax(-1) for s in made.scores], dim=1)  # [B, T, V]
            tokens = made.sequences[:, -steps.shape[1] :]
            chosen = steps.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
            pad = self.model.generation_config.pad_token_id
            real = tokens != pad if pad is not None else torch.ones_like(tokens, dtype=torch.bool)
            mean = (chosen.masked_fill(~real, 0).sum(1) / real.sum(1).clamp(min=1)).exp()
            texts = self.processor.batch_decode(made.sequences, skip_special_tokens=True)
            for text, confidence in zip(texts, mean.tolist(), strict=True):
                sure = text.strip() and confidence >= self.least
                out.append(Caption((text.strip(),), self.name, round(confidence, 4)) if sure else Caption())
        return out

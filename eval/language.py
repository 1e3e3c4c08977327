"""The language model as a reranker of what a yardstick retrieved: zero-shot over text, and trained adapters. Blended, and alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mmllm import adapter as adapters
from mmllm import settings, weights
from mmllm.adapter import Adapter
from mmllm.blending import blend, choose
from mmllm.fusion import FusionConfig, build
from mmllm.interactions import Cases, Split
from mmllm.lm import LanguageModel
from mmllm.rank_model import Case, ItemFeatures, Parts, RankModel, retrieved, score_parts
from mmllm.recipe import Recipe
from mmllm.rerank import joined
from mmllm.splits import LeakError
from mmllm.store import Store
from mmllm.types import MODALITIES


@dataclass(frozen=True)
class Reranked:
    """The same cases reranked: form -> scores [C, I]; what was not retrieved keeps its place behind.

    Forms are "alone" (the LM's readouts), "match", "match blend" (without the LM, of its own weight), "blend", and "greedy blend" of the
    highest mean on validation where that is another; those that there are.
    about: form -> weight, share and validation nDCG@10.
    """

    scores: dict[str, np.ndarray]
    about: dict[str, dict[str, float]]
    candidate_recall: float


def rerank(
    tuning: tuple[np.ndarray, Cases],
    asked: tuple[np.ndarray, Cases],
    read: Reader,
    *,
    depth: int,
    chosen: Mapping[str, Any] | None = None,
    requests: tuple[Sequence[str], Sequence[str]] | None = None,
) -> Reranked:
    """Rerank the first `depth` of scores [C, I] of the cases asked; weight and share are chosen on those for tuning, unless they were
    `chosen` before (an adapter that was fitted again has learned from those).

    `requests`: what was said in the cases for tuning, and in those asked. A target enters only if it was retrieved.
    """
    said = requests or ((), ())
    if chosen is None:
        shown = retrieved(tuning[1], tuning[0], depth, said[0])
        chosen = choose(shown, read(shown))
    forms = {"blend": (chosen["share"], chosen["weight"], chosen["blend"])}
    if "greedy" in chosen and chosen["greedy_weight"] != chosen["weight"]:
        forms["greedy blend"] = (chosen["greedy_share"], chosen["greedy_weight"], chosen["greedy"])
    if "lm" in chosen:
        forms["alone"] = (1.0, 1.0, chosen["lm"])
    if "match" in chosen:
        forms |= {"match": (0.0, 1.0, chosen["match"]), "match blend": (0.0, chosen["match_weight"], chosen["match_blend"])}
    found = retrieved(asked[1], asked[0], depth, said[1])
    own = read(found)
    scores = {
        form: _placed(asked[0], found, [blend(c, joined(r, m, share), w) for c, (r, m) in zip(found, own, strict=True)])
        for form, (share, w, _) in forms.items()
    }
    about = {form: {"weight": w, "share": share, "validation_ndcg@10": value} for form, (share, w, value) in forms.items()}
    hits = [np.isin(c.targets, c.candidates).mean() for c in found]
    return Reranked(scores, about, round(float(np.mean(hits)), 5))


def shuffled(scores: np.ndarray, cases: Cases, *, depth: int, draws: int = 100) -> Iterator[np.ndarray]:
    """`draws` times scores [C, I] with the first `depth` of every case in random order: what a reranker that knows nothing would have."""
    rng, found = np.random.default_rng(settings.SEED), retrieved(cases, scores, depth)
    for _ in range(draws):
        yield _placed(scores, found, [rng.random(len(c.candidates)) for c in found])


def _placed(scores: np.ndarray, found: Sequence[Case], final: Sequence[np.ndarray]) -> np.ndarray:
    """Scores of the whole catalog in which the candidates stand first, in the order of `final`."""
    out = scores.astype(np.float64).copy()
    for n, (case, own) in enumerate(zip(found, final, strict=True)):
        order = np.argsort(-own, kind="stable")
        top = np.abs(out[n]).max() + 1
        out[n, case.candidates[order]] = top + np.arange(len(order), 0, -1)
    return out.astype(np.float32)


class Reader(Protocol):
    """Cases -> the readouts' and the match's scores [N] of each one's candidates, in their order."""

    def __call__(self, cases: Sequence[Case]) -> list[Parts]: ...


class Trained:
    """An adapter folder over an index."""

    def __init__(self, folder: Path, store: Store, ids: Sequence[str]) -> None:
        preset = settings.preset(store.manifest.preset)
        fingerprints = {**store.manifest.encoders, "projections": store.manifest.heads}
        self.adapter: Adapter = adapters.load(
            folder, lm_fingerprint=weights.fingerprint(weights.path(preset.lm)), encoders=fingerprints
        )
        lm = LanguageModel.load(preset.lm)
        if self.adapter.lora:
            lm.attach_lora(self.adapter.lora)
        recipe = Recipe.read(folder / "recipe.toml")
        self.inputs, self.talks = recipe.inputs, bool(recipe.dialogues.file)
        self.fingerprint = self.adapter.fingerprint
        self.recipe, self.found = recipe, json.loads((folder / "metrics.json").read_text())
        self.items = ItemFeatures.of(store, ids, self.adapter.factors).only(recipe.inputs).noised(recipe.noise)
        config = self.adapter.config
        self.form, self.readouts, self.share = config.form, recipe.reads, config.readout
        self.model = RankModel(
            lm, self.adapter.fusion, self.items, form=config.form, match=self.adapter.match, passages=config.passages
        ).eval()

    def check(self, split: Split) -> None:
        """LeakError if the training did not keep from what this split asks for; requests and dialogues are no interactions."""
        kept = self.found.get("splits", {})
        if self.recipe.index and kept.get(split.name) != split.hash:
            raise LeakError(
                f"{self.adapter.config.name} kept from {kept or 'no split'}, not from {split.name} {split.hash}: "
                "it may have learned what is asked"
            )

    def chosen(self, split: Split, base: Mapping[str, Any], depth: int) -> dict[str, Any] | None:
        """What the training chose on validation; None where it is to be chosen: it was another validation, or other candidates.

        After a refit it always holds, since the validation part was learned from.
        """
        recipe, found = self.recipe, self.found
        lists = {name: getattr(recipe.lists, name) for name in ("regularization", "transitions", "half_life")}
        same = found.get("splits") == {split.name: split.hash} and found["validation_cases"] == len(split.validation)
        same = same and "greedy" in found and lists == base and recipe.validation_candidates == depth
        return found if recipe.refit or same else None

    def reading(self, items: ItemFeatures) -> Trained:
        """The same model over other features of the same items."""
        self.model.items = items
        return self

    def __call__(self, cases: Sequence[Case]) -> list[Parts]:
        """One packed pass per few cases."""
        return score_parts(self.model, cases, readouts=self.readouts)


class ZeroShot:
    """The base model with titles and attributes as text, asked as the untrained recommender does; `anonymised`: with numbers for titles."""

    def __init__(self, store: Store, ids: Sequence[str], *, anonymised: bool = False) -> None:
        lm = LanguageModel.load(settings.preset(store.manifest.preset).lm)
        items = ItemFeatures.of(store, ids, None)
        widths = tuple(store.manifest.widths[m] for m in MODALITIES)
        fusion = build(
            FusionConfig(widths, store.manifest.widths["shared"], 1, lm.width, lm.soft_norm)
        )  # the text form reads no soft token
        self.fingerprint = ""
        self.model = RankModel(lm, fusion, items.anonymised() if anonymised else items, form="text").eval()

    def check(self, split: Split) -> None:
        """It was never trained."""

    def chosen(self, split: Split, base: Mapping[str, Any], depth: int) -> None:
        """There is nothing that was chosen before."""

    def __call__(self, cases: Sequence[Case]) -> list[Parts]:
        """One packed pass per few cases."""
        return score_parts(self.model, cases)

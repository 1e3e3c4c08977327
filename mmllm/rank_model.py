"""Ranking by soft tokens outside an index: items' features, the LM with its fusion as one module, cases and their scores.

Training and the harness use it; serving reads the soft tokens that an index keeps, and gives the same scores (tested).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from mmllm import interactions, prompting, settings
from mmllm.adapter import Factors
from mmllm.data import ListSettings, RankList
from mmllm.errors import MmllmError
from mmllm.fusion import AttentionFusion
from mmllm.lm import LanguageModel
from mmllm.match import Match
from mmllm.rerank import describe, passage, soft_prefix, soft_segment, text_prefix, text_segment
from mmllm.store import Store
from mmllm.types import MODALITIES

CENTER_ITEMS = 2000
NEVER_LIKED = "something like what was liked before"


@dataclass(frozen=True)
class ItemFeatures:
    """What the fusion reads of I items: values input -> [I, D_m], anchor [I, M, D], mask [I, inputs]; titles."""

    values: Mapping[str, Tensor]
    anchor: Tensor
    mask: Tensor
    titles: tuple[str, ...]
    described: tuple[str, ...] = ()
    """Title and attributes, as the text form reads them."""
    texts: tuple[str, ...] = ()
    """Of which it reads passages."""
    held: Tensor | None = None
    """[folds, I, D] in place of the collaborative factors while one learns from the users of a fold (`mmllm.data.RankLists.factors`)."""

    @classmethod
    def of(cls, store: Store, ids: Sequence[str], factors: Factors | None, held: np.ndarray | None = None) -> ItemFeatures:
        """Items of an index in the order of `ids`, with their collaborative factors if there are any."""
        rows = store.rows(list(ids))
        values = {m: store.features[m]["values"][rows] for m in MODALITIES}
        mask = np.stack([store.features[m]["present"][rows].astype(bool) for m in MODALITIES], axis=1)
        if factors is not None:
            values["collaborative"], known = factors.of(ids)
            mask = np.concatenate([mask, known[:, None]], axis=1)
        anchor = store.features["anchor"]["values"][rows] * store.features["anchor"]["present"][rows][..., None]
        return cls(
            {m: torch.from_numpy(v) for m, v in values.items()},
            torch.from_numpy(anchor),
            torch.from_numpy(mask),
            tuple(store.items[r].title for r in rows),
            tuple(describe(store.items[r]) for r in rows),
            tuple(store.items[r].text for r in rows),
            None if held is None else torch.from_numpy(held),
        )

    def only(self, inputs: Sequence[str]) -> ItemFeatures:
        """The other inputs are absent."""
        kept = torch.tensor([n in inputs for n in self.values])
        return replace(self, mask=self.mask & kept, anchor=self.anchor * kept[: len(MODALITIES), None])

    def anonymised(self) -> ItemFeatures:
        """Titles are numbers, in what the text form reads too: does a model know the items, or only what they are called?"""
        names = tuple(f"item {n}" for n in range(len(self.titles)))
        told = (d.replace(t, n, 1) for d, t, n in zip(self.described, self.titles, names, strict=True))
        texts = (
            said.replace(t, n) for said, t, n in zip(self.texts, self.titles, names, strict=False)
        )  # of made-up items there are none
        return replace(self, titles=names, described=tuple(told), texts=tuple(texts))

    def missing(self, share: float, *, seed: int = settings.SEED) -> ItemFeatures:
        """A random share of everything that is there is absent; an item may lose all."""
        kept = torch.rand(self.mask.shape, generator=torch.Generator().manual_seed(seed)) >= share
        return replace(self, mask=self.mask & kept, anchor=self.anchor * kept[:, : len(MODALITIES), None])

    def noised(self, inputs: Sequence[str], *, seed: int = settings.SEED) -> ItemFeatures:
        """These inputs are drawn at random with the mean and deviation of what they replace; their anchors, which would tell, are gone."""
        generator = torch.Generator().manual_seed(seed)
        values, anchor = dict(self.values), self.anchor.clone()
        for n, name in enumerate(self.values):
            if name in inputs and bool(self.mask[:, n].any()):
                shown = values[name][self.mask[:, n]]
                values[name] = shown.mean() + shown.std() * torch.randn(values[name].shape, generator=generator)
            if name in inputs and n < len(MODALITIES):
                anchor[:, n] = 0.0
        return replace(self, values=values, anchor=anchor, held=None if "collaborative" in inputs else self.held)

    def shuffled(self, inputs: Sequence[str], *, seed: int = settings.SEED) -> ItemFeatures:
        """These inputs are another item's, among those that have one."""
        generator = torch.Generator().manual_seed(seed)
        values, anchor = dict(self.values), self.anchor.clone()
        for n, name in enumerate(self.values):
            if name in inputs:
                have = torch.nonzero(self.mask[:, n])[:, 0]
                other = have[torch.randperm(len(have), generator=generator)]
                values[name] = values[name].clone()
                values[name][have] = self.values[name][other]
                if n < len(MODALITIES):
                    anchor[have, n] = self.anchor[other, n]
        return replace(self, values=values, anchor=anchor)


class RankModel(nn.Module):
    """The LM with its LoRA, the fusion and the match as one module for accelerate: lists -> the LM's scores at the readouts."""

    def __init__(
        self,
        lm: LanguageModel,
        fusion: AttentionFusion,
        items: ItemFeatures,
        *,
        form: str,
        match: Match | None = None,
        retriever: float = 1.0,
        half: bool = False,
        passages: bool = False,
    ) -> None:
        """`half`: while it is trained, the LM computes in bfloat16; what it is asked in evaluation mode it answers in float32."""
        super().__init__()
        self.half_precision, self.passages = half, passages
        self.retriever = nn.Parameter(torch.tensor(float(retriever)))
        self.lm_module, self.fusion, self.match = lm.model, fusion, match
        self.lm, self.items, self.form = lm, items, form
        self._template = prompting.load("rerank_prefix" if form == "text" else "rerank_soft_prefix")
        self._item = prompting.load("rerank_item")

    def soft(self, rows: Tensor, dropped: Tensor | None = None, fold: int = -1) -> Tensor:
        """Soft tokens [n, K, H] of items; `dropped` [n, inputs] hides some of what is there, a `fold` what its users had a part in."""
        return self.fusion.scaled(self._raw(rows, dropped, fold), self.fusion.center)

    def _raw(self, rows: Tensor, dropped: Tensor | None, fold: int) -> Tensor:
        mask = self.items.mask[rows]
        own = {m: v[rows] for m, v in self.items.values.items()}
        if fold >= 0 and self.items.held is not None:
            own["collaborative"] = self.items.held[fold][rows]
            mask[:, list(own).index("collaborative")] &= own["collaborative"].any(1)
        if dropped is not None:
            kept = mask & ~dropped
            mask = torch.where(kept.any(1, keepdim=True), kept, mask)
        device = self.fusion.absent.device
        values = {m: v.to(device) for m, v in own.items()}
        return self.fusion(values, self.items.anchor[rows].to(device), mask.to(device)).raw

    @torch.no_grad()
    def recenter(self) -> None:
        """The center of the soft tokens is the mean of the catalog, as the fusion is now: after every step that changes it.

        Of a large catalog CENTER_ITEMS items or fewer are asked, evenly spaced, so that a step does not grow with it.
        """
        device, items = self.fusion.absent.device, self.items
        rows = torch.arange(0, len(items.titles), -(-len(items.titles) // CENTER_ITEMS))
        values = {m: v[rows].to(device) for m, v in items.values.items()}
        self.fusion.recenter(self.fusion(values, items.anchor[rows].to(device), items.mask[rows].to(device)).raw)

    def catalog(self, generator: torch.Generator | None = None, dropout: float = 0.0, fold: int = -1) -> Tensor:
        """Soft tokens [I, K, H] of all items, less their own mean.

        It is a part of what is learned through: with a center that stands still meanwhile, all items drift one way together for a gain
        that the next center takes away, and the loss rises.
        """
        rows = torch.arange(len(self.items.titles))
        raw = self._raw(rows, self._dropped(len(rows), generator, dropout), fold)
        return self.fusion.scaled(raw, raw.mean(0))

    def _dropped(self, count: int, generator: torch.Generator | None, dropout: float) -> Tensor | None:
        if generator is None:
            return None
        return torch.rand(count, self.items.mask.shape[1], generator=generator) < dropout

    def _fused(
        self, lists: Sequence[RankList], generator: torch.Generator | None, dropout: float
    ) -> dict[int, dict[int, Tensor]]:
        """Fold -> item -> soft tokens [K, H] of all that its lists hold."""
        out = {}
        for fold in dict.fromkeys(x.fold for x in lists):
            rows = np.unique(np.concatenate([np.concatenate([x.history, x.candidates]) for x in lists if x.fold == fold]))
            soft = self.soft(torch.from_numpy(rows), self._dropped(len(rows), generator, dropout), fold)
            out[fold] = dict(zip(rows.tolist(), soft, strict=True))
        return out

    def forward(self, lists: Sequence[RankList], generator: torch.Generator | None = None, dropout: float = 0.0) -> list[Tensor]:
        """The readouts' scores [N] of every list."""
        if self.form == "text":
            return self._read([self._as_text(one) for one in lists])
        fused = self._fused(lists, generator, dropout)
        read = {fold: dict(zip(own, self.fusion.read(torch.stack([*own.values()])), strict=True)) for fold, own in fused.items()}
        packed = []
        for one in lists:
            soft = read[one.fold]
            titled = self.form == "soft+title"
            titles = [self.items.titles[i] for i in one.history] if titled else None
            prefix = soft_prefix(self.lm, self._template, one.request or NEVER_LIKED, _stack(soft, one.history), titles)
            segments = [soft_segment(self.lm, soft[int(i)], self.items.titles[i] if titled else None) for i in one.candidates]
            packed.append((prefix, segments))
        return self._read(packed)

    def _read(self, packed: Sequence[tuple[Tensor, Sequence[Tensor]]]) -> list[Tensor]:
        if not torch.is_grad_enabled():
            return self.lm.score_lists(packed, folded=True)
        with torch.autocast(packed[0][0].device.type, torch.bfloat16, enabled=self.half_precision and self.training):
            return [s.float() for s in self.lm.score_lists(packed)]

    def _as_text(self, one: RankList) -> tuple[Tensor, list[Tensor]]:
        prefix = text_prefix(self.lm, self._template, one.request or NEVER_LIKED, [self.items.titles[i] for i in one.history])
        told = [self.items.described[i] for i in one.candidates]
        said = [""] * len(told)
        if self.passages:
            said = [passage(self.items.texts[i], t, one.request) for i, t in zip(one.candidates, told, strict=True)]
        return prefix, [text_segment(self.lm, self._item, t, s) for t, s in zip(told, said, strict=True)]

    def matched(self, lists: Sequence[RankList]) -> list[Tensor | None]:
        """The match's scores [N] of every list; None where there is no match or nothing was liked."""
        if self.match is None:
            return [None] * len(lists)
        fused = self._fused(lists, None, 0.0)
        return [
            self.match(_stack(fused[x.fold], x.history), _stack(fused[x.fold], x.candidates)) if len(x.history) else None
            for x in lists
        ]

    @torch.no_grad()
    def whole(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """The match's scores [C, I] of the whole catalog after each history: an item that nobody liked is asked for by its features."""
        if self.match is None:
            raise MmllmError("an adapter without a match", expected="one whose recipe has a [match]", do="rerank a list with it")
        rows = torch.arange(len(self.items.titles)).split(CENTER_ITEMS)
        table = torch.cat([self.soft(part) for part in rows])
        users = torch.stack([self.match.user(table[torch.from_numpy(h)]) for h in histories])
        return np.asarray((users @ self.match.items(table).T * self.match.scale).cpu().numpy())


def _stack(soft: Mapping[int, Tensor], rows: np.ndarray) -> Tensor:
    """[n, K, H] of items, which may be none."""
    if not len(rows):
        return next(iter(soft.values())).new_zeros((0, *next(iter(soft.values())).shape))
    return torch.stack([soft[int(i)] for i in rows])


@dataclass(frozen=True)
class Case:
    """A user to rank for: history, the retrieved candidates with the retriever's scores, and which are liked later; or a request, and
    which items answer it."""

    history: np.ndarray
    candidates: np.ndarray
    scores: np.ndarray
    targets: np.ndarray
    request: str = ""


def retrieved(cases: interactions.Cases, scores: np.ndarray, depth: int, requests: Sequence[str] = ()) -> list[Case]:
    """The first `depth` unseen items of every case by scores [C, I], with its request if there are any; a target enters only if it was
    retrieved."""
    out = []
    for n in range(len(cases)):
        own = scores[n].astype(np.float64).copy()
        own[cases.seen[n]] = -np.inf
        own[cases.history[n]] = -np.inf
        top = np.argsort(-own, kind="stable")[:depth]
        out.append(Case(cases.history[n], top, own[top], cases.targets[n], requests[n] if requests else ""))
    return out


Parts = tuple[np.ndarray | None, np.ndarray | None]
"""(the readouts' scores [N], the match's [N]) of a case's candidates; None for what was not asked for or is not there."""


def score_parts(model: RankModel, cases: Sequence[Case], batch: int = 4, *, readouts: bool = True) -> list[Parts]:
    """Both parts of the score of every case, by the weights as they are now."""
    out: list[Parts] = []
    if readouts:
        model.lm.weights_changed()
    length = ListSettings.history
    with torch.no_grad():
        for start in range(0, len(cases), batch):
            part = cases[start : start + batch]
            lists = [RankList(c.history[-length:], c.candidates, np.zeros(0), np.zeros(0), c.request) for c in part]
            read = [s.cpu().numpy() for s in model(lists)] if readouts else [None] * len(lists)
            whole = [
                replace(one, history=c.history) for one, c in zip(lists, part, strict=True)
            ]  # a match reads all that was liked
            matched = [None if s is None else s.cpu().numpy() for s in model.matched(whole)]
            out += list(zip(read, matched, strict=True))
    return out

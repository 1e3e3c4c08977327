"""What the stages of a training run share, and those that need no packed lists: align (soft tokens speak to the frozen LM) and match (the
next like). Those of packed lists are in `mmllm.packed`.

Each goes on from its own checkpoint and is left out where its recipe says 0. What is random is drawn from (seed, step).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmllm import checkpoint
from mmllm.adapter import Factors
from mmllm.blending import choose
from mmllm.data import Lists, RankList
from mmllm.match import Window, batches, next_loss, padded, parameters
from mmllm.objectives import AlignTask
from mmllm.rank_model import Case, RankModel, score_parts
from mmllm.recipe import Recipe
from mmllm.store import Store
from mmllm.types import Progress

Track = Callable[[Mapping[str, float], int], None]
ALIGN, MATCH, DISTILL, RANK, BEST = ".align", ".match", ".distill", ".checkpoint", ".best"


def rate(step: int, steps: int, warmup: float) -> float:
    """Share of the learning rate at a step: linear warmup, then half a cosine."""
    rise = max(1, round(steps * warmup))
    return (step + 1) / rise if step < rise else 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


@dataclass(frozen=True)
class Setup:
    """Everything a run needs, made from a recipe: examples, the model, and cases to validate on with their retrieved candidates.

    windows: pieces of histories for the match stage, and popularity [I] beside them; none of both for requests.
    about: what metrics.json says of the data.
    expected: (histories [B, L], fold, sharpness) -> what the match's teacher holds likely after every place [B, L, I]; None without one.
    taught: n -> the n-th list for the distill stage, None where the recipe has none.
    until: the step at which the rank stage ends, None for all of the recipe's. Without validation cases the last step is the best.
    track: where what is measured goes beside the log, as ("STAGE/NAME" -> number, step).
    """

    recipe: Recipe
    store: Store
    lists: Lists
    model: RankModel
    validation: tuple[Case, ...]
    factors: Factors | None = None
    windows: tuple[Window, ...] = ()
    popularity: Tensor | None = None
    expected: Callable[[np.ndarray, int, float], np.ndarray] | None = None
    taught: Callable[[int], RankList] | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    until: int | None = None
    track: Track = lambda values, step: None


def like_loss(setup: Setup, batch: Sequence[Window], generator: torch.Generator) -> Tensor:
    """The loss of the match over a batch of windows of one fold, with the whole catalog fused for it."""
    model, options, rows = setup.model, setup.recipe.match, padded(batch)
    assert model.match is not None and setup.popularity is not None
    table = model.catalog(generator, setup.recipe.modality_dropout, batch[0].fold)
    device, expected = table.device, None
    if setup.expected is not None:
        expected = torch.from_numpy(setup.expected(rows[:, :-1].numpy(), batch[0].fold, options.sharpness)).to(device)
    return next_loss(model.match, table, rows.to(device), setup.popularity.to(device), options, expected)


def note(setup: Setup, log: Path, stage: str, row: Mapping[str, Any]) -> None:
    """One line of the log, and the same to the trackers."""
    with log.open("a") as lines:
        lines.write(json.dumps(row) + "\n")
    setup.track({f"{stage}/{name}": float(value) for name, value in row.items() if name != "step"}, int(row["step"]))


def align_stage(setup: Setup, out: Path, *, main: bool, progress: Progress, stop_after: int | None) -> int | None:
    """The fusion learns to be read by the frozen language model. None when it is done; the step where it was stopped otherwise.

    All processes compute the same; the first writes.
    """
    recipe, model, options = setup.recipe, setup.model, setup.recipe.align
    frozen = [p for p in model.lm_module.parameters() if p.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        task = AlignTask(model, options)
    optimizer = torch.optim.AdamW(parameters(task), lr=options.rate, weight_decay=recipe.weight_decay)
    began = checkpoint.restore(out / ALIGN, recipe, task, optimizer)
    log = out / "align.jsonl"
    checkpoint.cut(log, began)
    usable = torch.nonzero(model.items.mask.any(1))[:, 0]
    model.train()
    stopped = None
    for step in range(began, options.steps):
        torch.manual_seed(recipe.seed * 1_000_003 + step)
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
        rows = usable[torch.randperm(len(usable), generator=generator)[: options.batch]]
        for group in optimizer.param_groups:
            group["lr"] = options.rate * rate(step, options.steps, recipe.warmup)
        losses = task(rows, generator)
        optimizer.zero_grad()
        task.total(losses).backward()
        nn.utils.clip_grad_norm_(parameters(task), 1.0)
        optimizer.step()
        model.recenter()
        told = {name: round(float(loss.detach()), 5) for name, loss in losses.items()}
        progress("align (" + ", ".join(f"{n} {v:.2f}" for n, v in told.items()) + ")", step + 1, options.steps)
        stopping = stop_after is not None and step + 1 - began >= stop_after and step + 1 < options.steps
        if main:
            note(setup, log, "align", {"step": step + 1, **told})
            if stopping or (step + 1) % recipe.validate_every == 0 or step + 1 == options.steps:
                checkpoint.write(out / ALIGN, recipe, task, optimizer, step + 1)
        if stopping:
            stopped = step + 1
            break
    for parameter in frozen:
        parameter.requires_grad_(True)
    return stopped


def match_stage(setup: Setup, out: Path, *, main: bool, progress: Progress, stop_after: int | None) -> int | None:
    """Fusion and match learn the next like from every place of every history, without the language model. None when it is done.

    All processes compute the same; the first writes.
    """
    recipe, model, options = setup.recipe, setup.model, setup.recipe.match
    assert model.match is not None and setup.popularity is not None
    learned = nn.ModuleDict({"fusion": model.fusion, "match": model.match})
    optimizer = torch.optim.AdamW(parameters(learned), lr=options.rate, weight_decay=options.weight_decay)
    epoch = checkpoint.restore(out / MATCH, recipe, learned, optimizer)
    log = out / "match.jsonl"
    checkpoint.cut(log, epoch)
    model.train()
    per_epoch = len(batches(setup.windows, options.batch, np.random.default_rng(0)))
    for taken, at in enumerate(range(epoch, options.epochs), start=1):
        losses = []
        for n, batch in enumerate(batches(setup.windows, options.batch, np.random.default_rng([recipe.seed, at]))):
            step = at * per_epoch + n
            torch.manual_seed(recipe.seed * 1_000_003 + step)
            generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
            for group in optimizer.param_groups:
                group["lr"] = options.rate * rate(step, options.epochs * per_epoch, recipe.warmup)
            loss = like_loss(setup, batch, generator)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters(learned), 1.0)
            optimizer.step()
            losses.append(float(loss.detach()))
            progress(f"match (loss {np.mean(losses):.3f})", step + 1, options.epochs * per_epoch)
        model.recenter()  # not at every step: the catalog of each has its own center
        if main:
            row = {"step": at + 1, "loss": round(float(np.mean(losses)), 5)}
            row |= validate(model, setup.validation, readouts=False) if setup.validation else {}
            note(setup, log, "match", row)
            checkpoint.write(out / MATCH, recipe, learned, optimizer, at + 1)
        if stop_after is not None and taken >= stop_after and at + 1 < options.epochs:
            return at + 1
    return None


def validate(model: RankModel, cases: Sequence[Case], *, readouts: bool = True) -> dict[str, Any]:
    """nDCG@10 on retrieved candidates, as `mmllm.blending.choose` gives it."""
    model.eval()
    parts = score_parts(model, cases, readouts=readouts)
    model.train()
    return choose(cases, parts)

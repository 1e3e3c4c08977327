"""The stages of a training run: align (soft tokens speak to the frozen LM), match (the next like), rank (packed lists).

Each goes on from its own checkpoint and is left out where its recipe says 0. What is random is drawn from (seed, step).
"""

from __future__ import annotations

import json
import math
import time
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
from mmllm.objectives import AlignTask, describe_loss
from mmllm.rank_model import Case, RankModel, score_parts
from mmllm.recipe import Recipe
from mmllm.store import Store
from mmllm.types import Progress

Track = Callable[[Mapping[str, float], int], None]
RETRIEVER_RATE = 0.02
ALIGN, MATCH, RANK, BEST = ".align", ".match", ".checkpoint", ".best"


def list_loss(scores: Sequence[Tensor], lists: Sequence[RankList], *, retriever: Tensor | float, alone: float) -> Tensor:
    """Mean over lists of the softmax cross-entropy of scores + retriever z, and `alone` times that of the scores."""
    losses = []
    for found, one in zip(scores, lists, strict=True):
        gains = torch.from_numpy(one.gains).to(found.device)
        z = torch.from_numpy(one.retriever).to(found.device)
        losses.append(-(gains * (found + retriever * z).log_softmax(-1)).sum() - alone * (gains * found.log_softmax(-1)).sum())
    return torch.stack(losses).mean()


def rate(step: int, steps: int, warmup: float) -> float:
    """Share of the learning rate at a step: linear warmup, then half a cosine."""
    rise = max(1, round(steps * warmup))
    return (step + 1) / rise if step < rise else 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


@dataclass(frozen=True)
class Setup:
    """Everything a run needs, made from a recipe: examples, the model, and cases to validate on with their retrieved candidates.

    windows: pieces of histories for the match stage, and popularity [I] beside them; none of both for requests.
    about: what metrics.json says of the data.
    until: the step at which the rank stage ends, 0 for all of the recipe's. Without validation cases the last step is the best.
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
    about: Mapping[str, Any] = field(default_factory=dict)
    until: int = 0
    track: Track = lambda values, step: None


def _note(setup: Setup, log: Path, stage: str, row: Mapping[str, Any]) -> None:
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
            _note(setup, log, "align", {"step": step + 1, **told})
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
            table = model.catalog(generator, recipe.modality_dropout, batch[0].fold)
            loss = next_loss(model.match, table, padded(batch), setup.popularity, options)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters(learned), 1.0)
            optimizer.step()
            model.recenter()
            losses.append(float(loss.detach()))
            progress(f"match (loss {np.mean(losses):.3f})", step + 1, options.epochs * per_epoch)
        if main:
            row = {"step": at + 1, "loss": round(float(np.mean(losses)), 5)}
            row |= validate(model, setup.validation, readouts=False) if setup.validation else {}
            _note(setup, log, "match", row)
            checkpoint.write(out / MATCH, recipe, learned, optimizer, at + 1)
        if stop_after is not None and taken >= stop_after and at + 1 < options.epochs:
            return at + 1
    return None


def rank_stage(setup: Setup, out: Path, accelerator: Any, progress: Progress, stop_after: int | None) -> bool:
    """LoRA and fusion learn to rank packed lists, with the match beside them as a second task. False if stopped before the end."""
    recipe, model = setup.recipe, setup.model
    fusion = parameters(model.fusion, *([model.match] if model.match is not None else []))
    lora = parameters(model.lm_module)
    groups = [{"params": fusion, "lr": recipe.fusion_rate, "weight_decay": recipe.weight_decay}]
    # The retriever's part is one number that has to be right first: while it is too large, the LM learns to take some of it away.
    groups += [{"params": [model.retriever], "lr": RETRIEVER_RATE, "weight_decay": 0.0}]
    groups += [{"params": lora, "lr": recipe.lora_rate, "weight_decay": 0.0}] if lora else []
    optimizer = torch.optim.AdamW(groups)
    step = checkpoint.restore(out / RANK, recipe, model, optimizer)
    task = Task(model, setup)
    wrapped, optimizer = accelerator.prepare(task, optimizer)
    world, index = accelerator.num_processes, accelerator.process_index
    log = out / "metrics.jsonl"
    checkpoint.cut(log, step)
    started, seen, began = time.monotonic(), [], step
    until = setup.until or recipe.steps
    model.train()
    while step < until:
        first = (step * world + index) * recipe.batch
        batch = [setup.lists.make(n) for n in range(first, first + recipe.batch)]
        torch.manual_seed(recipe.seed * 1_000_003 + step)
        share = rate(step, recipe.steps, recipe.warmup)
        for group, top in zip(optimizer.param_groups, (recipe.fusion_rate, RETRIEVER_RATE, recipe.lora_rate), strict=False):
            group["lr"] = top * share
        loss = wrapped(batch, step * world + index)
        optimizer.zero_grad()
        accelerator.backward(loss)
        accelerator.clip_grad_norm_([*lora, *fusion, model.retriever], 1.0)
        optimizer.step()
        if model.form != "text":
            model.recenter()
        step += 1
        seen.append(float(loss.detach()))
        progress(f"train (loss {np.mean(seen[-50:]):.3f})", step, until)
        last = step == until
        if accelerator.is_main_process and (step % recipe.validate_every == 0 or last):
            row: dict[str, Any] = {"step": step, "loss": round(float(np.mean(seen)), 5)}
            row |= {"seconds": round(time.monotonic() - started, 1), "retriever_part": round(float(model.retriever.detach()), 3)}
            seen = []
            if setup.validation:
                row |= validate(model, _some(setup.validation, recipe.validation_cases, recipe.seed))
                if row["greedy"] > max((r["greedy"] for r in _rows(log)), default=-1.0):
                    checkpoint.write(out / BEST, recipe, model, optimizer, step)
            _note(setup, log, "rank", row)
            checkpoint.write(out / RANK, recipe, model, optimizer, step)
            _plot(log, out / "loss.png")
        if stop_after is not None and step - began >= stop_after and not last:
            if accelerator.is_main_process:
                checkpoint.write(out / RANK, recipe, model, optimizer, step)
            return False
    accelerator.wait_for_everyone()
    return True


class Task(nn.Module):
    """The losses of a step, inside the module that accelerate wraps, so that several processes join their gradients."""

    def __init__(self, model: RankModel, setup: Setup) -> None:
        super().__init__()
        self.model, self.setup = model, setup

    def forward(self, batch: Sequence[RankList], number: int) -> Tensor:
        """The listwise loss of a batch, and `match.beside` times the next-like loss of one batch of windows."""
        recipe, model = self.setup.recipe, self.model
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + number)
        scores = model(batch, generator, recipe.modality_dropout)
        loss = list_loss(scores, batch, retriever=model.retriever, alone=recipe.alone)
        options = recipe.match
        if model.match is not None and options.beside and self.setup.popularity is not None:
            beside = batches(self.setup.windows, options.batch, np.random.default_rng([recipe.seed, number]))[0]
            table = model.catalog(generator, recipe.modality_dropout, beside[0].fold)
            loss = loss + options.beside * next_loss(model.match, table, padded(beside), self.setup.popularity, options)
        if recipe.fluency and model.form != "text":
            # What it learned about items must not cost it its language: it still has to say what they are called.
            rows = torch.from_numpy(np.unique(np.concatenate([one.candidates[:2] for one in batch])))
            loss = loss + recipe.fluency * describe_loss(
                model.lm, model.soft(rows), [model.items.titles[r] for r in rows.tolist()]
            )
        return loss


def validate(model: RankModel, cases: Sequence[Case], *, readouts: bool = True) -> dict[str, Any]:
    """nDCG@10 on retrieved candidates, as `mmllm.blending.choose` gives it."""
    model.eval()
    parts = score_parts(model, cases, readouts=readouts)
    model.train()
    return choose(cases, parts)


def _some(cases: Sequence[Case], count: int, seed: int) -> list[Case]:
    chosen = np.random.default_rng(seed).permutation(len(cases))[:count]
    return [cases[n] for n in chosen]


def _plot(log: Path, file: Path) -> None:
    """Loss and validation over steps."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib.figure import Figure

    rows = [json.loads(line) for line in log.read_text().splitlines()]
    figure = Figure(figsize=(7, 4), layout="constrained")
    loss, score = figure.subplots(1, 2)
    steps = [r["step"] for r in rows]
    loss.plot(steps, [r["loss"] for r in rows])
    loss.set(title="training loss", xlabel="step")
    for name in (n for n in ("retriever", "lm", "greedy") if n in rows[0]):
        score.plot(steps, [r[name] for r in rows], label=name)
    score.set(title="validation nDCG@10", xlabel="step")
    if score.lines:
        score.legend()
    figure.savefig(file)


def _rows(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []

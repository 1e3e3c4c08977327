"""The stages that learn from packed lists: distill (the LM learns to score as the retriever does) and rank (where the retriever is wrong)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmllm import checkpoint
from mmllm.data import RankList
from mmllm.errors import MmllmError
from mmllm.match import batches, parameters
from mmllm.objectives import describe_loss
from mmllm.rank_model import Case, RankModel
from mmllm.stages import BEST, DISTILL, RANK, Setup, like_loss, note, rate, validate
from mmllm.types import Progress

RETRIEVER_RATE = 0.02


def check_bfloat16() -> None:
    """MmllmError where bfloat16 would be computed without instructions for it."""
    if not torch.cuda.is_available() and not any("bf16" in n for n, on in torch.cpu.get_capabilities().items() if on):
        raise MmllmError(
            "precision bfloat16 on a processor without instructions for it, which would be many times slower",
            expected="avx512_bf16, amx_bf16 or a GPU",
            do='write precision = "float32" in the recipe',
        )


def list_loss(scores: Sequence[Tensor], lists: Sequence[RankList], *, retriever: Tensor | float, alone: float) -> Tensor:
    """Mean over lists of the softmax cross-entropy of scores + retriever z, and `alone` times that of the scores."""
    losses = []
    for found, one in zip(scores, lists, strict=True):
        gains = torch.from_numpy(one.gains).to(found.device)
        z = torch.from_numpy(one.retriever).to(found.device)
        losses.append(-(gains * (found + retriever * z).log_softmax(-1)).sum() - alone * (gains * found.log_softmax(-1)).sum())
    return torch.stack(losses).mean()


def distill_loss(scores: Sequence[Tensor], lists: Sequence[RankList], *, likes: float = 0.0) -> Tensor:
    """Mean squared error of the LM's scores, less their mean in a list, to the retriever's z-scores; and `likes` times the softmax
    cross-entropy of what was liked later, in the lists that hold some of it.

    Differences within a list are all that ranking needs (Hofstatter et al. 2020, Margin-MSE, https://arxiv.org/abs/2010.02666).
    """
    losses = []
    for found, one in zip(scores, lists, strict=True):
        gains, wanted = torch.from_numpy(one.gains).to(found.device), torch.from_numpy(one.retriever).to(found.device)
        asked = -(gains * found.log_softmax(-1)).sum() if likes else 0.0
        losses.append(F.mse_loss(found - found.mean(), wanted) + likes * asked)
    return torch.stack(losses).mean()


def distill_stage(setup: Setup, out: Path, accelerator: Any, progress: Progress, stop_after: int | None) -> int | None:
    """LoRA, and the fusion where it has a rate, learn to score as the retriever does, and beside it what was liked. None when it is done.

    A like says of one candidate in a list that it is right; a teacher says something of all, and teaches a language model that has never
    seen a soft token in a few hundred lists what two thousand lists of likes did not (eval/README.md; knowledge distillation for ranking,
    Tang and Wang 2018, https://arxiv.org/abs/1809.07428). What the retriever knows of a user, it learned without him.
    """
    assert setup.taught is not None
    options = setup.recipe.distill
    rates = options.fusion_rate, options.lora_rate, options.reader_rate
    phase = Phase("distill", DISTILL, "distill.jsonl", options.steps, options.batch, *rates)
    return _packed(setup, phase, setup.taught, out, accelerator, progress, stop_after)


def rank_stage(setup: Setup, out: Path, accelerator: Any, progress: Progress, stop_after: int | None) -> int | None:
    """LoRA and fusion learn to rank packed lists, with the match beside them as a second task. None when it is done."""
    recipe = setup.recipe
    rates = recipe.fusion_rate, recipe.lora_rate, recipe.distill.reader_rate
    phase = Phase("rank", RANK, "metrics.jsonl", recipe.steps, recipe.batch, *rates, setup.until)
    return _packed(setup, phase, setup.lists.make, out, accelerator, progress, stop_after)


@dataclass(frozen=True)
class Phase:
    """What packed lists are learned from, by which rates, and where it is kept. until: the step it ends at, None for all `steps`."""

    name: str
    folder: str
    log: str
    steps: int
    batch: int
    fusion_rate: float
    lora_rate: float
    reader_rate: float
    until: int | None = None


def _packed(
    setup: Setup,
    phase: Phase,
    make: Callable[[int], RankList],
    out: Path,
    accelerator: Any,
    progress: Progress,
    stop_after: int | None,
) -> int | None:
    """Steps over packed lists; the step where it was stopped, None at the end."""
    recipe, model, ranking = setup.recipe, setup.model, phase.name == "rank"
    reader = [model.fusion.reader] if model.fusion.reader is not None else []
    fusion = parameters(model.fusion, *([model.match] if model.match is not None else [])) if phase.fusion_rate else []
    fusion = [p for p in fusion if all(p is not r for r in reader)]
    lora = parameters(model.lm_module)
    groups: list[dict[str, Any]] = []
    groups += [{"params": fusion, "top": phase.fusion_rate, "weight_decay": recipe.weight_decay}] if fusion else []
    # The retriever's part is one number that has to be right first: while it is too large, the LM learns to take some of it away.
    groups += [{"params": [model.retriever], "top": RETRIEVER_RATE, "weight_decay": 0.0}] if ranking else []
    groups += [{"params": reader, "top": phase.reader_rate, "weight_decay": 0.0}] if reader else []
    groups += [{"params": lora, "top": phase.lora_rate, "weight_decay": 0.0}] if lora else []
    learned = [p for group in groups for p in group["params"]]
    with _only(model, learned):
        optimizer = torch.optim.AdamW(groups)
        step = checkpoint.restore(out / phase.folder, recipe, model, optimizer)
        wrapped, optimizer = accelerator.prepare(Task(model, setup, ranking), optimizer)
        world, index = accelerator.num_processes, accelerator.process_index
        log = out / phase.log
        checkpoint.cut(log, step)
        started, seen, began = time.monotonic(), [], step
        until = phase.steps if phase.until is None else phase.until
        if ranking and recipe.distill.steps and setup.validation and accelerator.is_main_process and not _rows(log):
            # What the teacher brought may be the best there is: without a row of its own, worse steps would stand in its place.
            row: dict[str, Any] = {"step": 0} | validate(model, _some(setup.validation, recipe.validation_cases, recipe.seed))
            checkpoint.write(out / BEST, recipe, model, optimizer, 0)
            note(setup, log, phase.name, row)
        model.train()
        while step < until:
            first = (step * world + index) * phase.batch
            batch = [make(n) for n in range(first, first + phase.batch)]
            torch.manual_seed(recipe.seed * 1_000_003 + step)
            share = rate(step, phase.steps, recipe.warmup)
            for group in optimizer.param_groups:
                group["lr"] = group["top"] * share
            loss = wrapped(batch, step * world + index)
            optimizer.zero_grad()
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(learned, 1.0)
            optimizer.step()
            if fusion and model.form != "text":
                model.recenter()
            step += 1
            seen.append(float(loss.detach()))
            progress(f"{phase.name} (loss {np.mean(seen[-50:]):.3f})", step, until)
            last = step == until
            if accelerator.is_main_process and (step % recipe.validate_every == 0 or last):
                row = {"step": step, "loss": round(float(np.mean(seen)), 5)}
                row |= {"seconds": round(time.monotonic() - started, 1)}
                row |= {"retriever_part": round(float(model.retriever.detach()), 3)} if ranking else {}
                seen = []
                if setup.validation:
                    row |= validate(model, _some(setup.validation, recipe.validation_cases, recipe.seed))
                    if ranking and row["greedy"] > max((r["greedy"] for r in _rows(log)), default=-1.0):
                        checkpoint.write(out / BEST, recipe, model, optimizer, step)
                note(setup, log, phase.name, row)
                checkpoint.write(out / phase.folder, recipe, model, optimizer, step)
                _plot(log, out / ("loss.png" if ranking else f"{phase.name}.png"))
            if stop_after is not None and step - began >= stop_after and not last:
                if accelerator.is_main_process:
                    checkpoint.write(out / phase.folder, recipe, model, optimizer, step)
                return step
        accelerator.wait_for_everyone()
        return None


@contextmanager
def _only(model: nn.Module, learned: Sequence[Tensor]) -> Iterator[None]:
    """Nothing else of the model learns meanwhile: several processes would wait for its gradients."""
    kept, others = {id(p) for p in learned}, [p for p in model.parameters() if p.requires_grad]
    others = [p for p in others if id(p) not in kept]
    for parameter in others:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in others:
            parameter.requires_grad_(True)


class Task(nn.Module):
    """The losses of a step, inside the module that accelerate wraps, so that several processes join their gradients."""

    def __init__(self, model: RankModel, setup: Setup, ranking: bool) -> None:
        super().__init__()
        self.model, self.setup, self.ranking = model, setup, ranking

    def forward(self, batch: Sequence[RankList], number: int) -> Tensor:
        """The loss of a batch, to the retriever's scores or listwise; and `match.beside` times the next-like loss of a batch of windows."""
        recipe, model = self.setup.recipe, self.model
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + number)
        scores = model(batch, generator, recipe.modality_dropout)
        rank = partial(list_loss, retriever=model.retriever, alone=recipe.alone)
        loss = (rank if self.ranking else partial(distill_loss, likes=recipe.distill.likes))(scores, batch)
        options = recipe.match
        fused = self.ranking or recipe.distill.fusion_rate > 0
        if model.match is not None and options.beside and fused and self.setup.popularity is not None:
            beside = batches(self.setup.windows, options.batch, np.random.default_rng([recipe.seed, number]))[0]
            loss = loss + options.beside * like_loss(self.setup, beside, generator)
        if self.ranking and recipe.fluency and model.form != "text":
            # What it learned about items must not cost it its language: it still has to say what they are called.
            rows = torch.from_numpy(np.unique(np.concatenate([one.candidates[:2] for one in batch])))
            loss = loss + recipe.fluency * describe_loss(
                model.lm, model.fusion.read(model.soft(rows)), [model.items.titles[r] for r in rows.tolist()]
            )
        return loss


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
    loss.plot(*zip(*((r["step"], r["loss"]) for r in rows if "loss" in r), strict=True))
    loss.set(title="training loss", xlabel="step")
    for name in (n for n in ("retriever", "lm", "greedy") if n in rows[-1]):
        score.plot(steps, [r[name] for r in rows], label=name)
    score.set(title="validation nDCG@10", xlabel="step")
    if score.lines:
        score.legend()
    figure.savefig(file)


def _rows(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []

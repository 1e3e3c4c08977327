"""`mmllm train RECIPE` and `accelerate launch -m mmllm.train RECIPE`: fusion and match learn the next like, LoRA to rank packed lists.

Frozen features are computed once (they lie in the index). The match stage does without the language model. A step of the rank stage fuses
the items of its lists, packs every list behind its shared prefix, and takes logits at the readouts only. Its loss is the listwise softmax
(Cao et al. 2007, ListNet) of the LM's score added to the retriever's z-score, so that the LM learns what retrieval does not know, and of the
LM's score alone, which keeps it able to rank by itself.

Checkpoints are written by rename; what is random is drawn from (seed, step), so that a resumed run is the uninterrupted one.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmllm import adapter as adapters
from mmllm import checkpoint, collaborative, interactions, settings, weights
from mmllm.adapter import Adapter, AdapterConfig, Factors
from mmllm.data import Lists, RankList, RankLists, without
from mmllm.fusion import FusionConfig, build
from mmllm.lm import LanguageModel
from mmllm.match import Match, batches, next_loss, padded, parameters, popularity, windows
from mmllm.rank_model import Case, ItemFeatures, RankModel, choose, retrieved, score_parts
from mmllm.recipe import Recipe
from mmllm.store import Store
from mmllm.types import MODALITIES, Progress


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

    windows: histories for the match stage, and popularity [I] beside them; none of both for requests. about: what metrics.json says of the data.
    """

    recipe: Recipe
    store: Store
    lists: Lists
    model: RankModel
    validation: tuple[Case, ...]
    factors: Factors | None = None
    windows: tuple[np.ndarray, ...] = ()
    popularity: Tensor | None = None
    about: Mapping[str, Any] = field(default_factory=dict)


def prepare(recipe: Recipe, base: Path) -> Setup:
    """Read what the recipe names, make examples and cases, and put a fresh LoRA, fusion and match on."""
    if recipe.indexes:
        from mmllm.requests import prepare_requests

        stores, items, lists, validation = prepare_requests(recipe, base)
        model = fresh(recipe, stores[0], items, factors=False)
        about = {"catalogs": [len(s.items) for s in stores], "requests": len(lists)}
        return Setup(recipe, stores[0], lists, model, tuple(validation), about=about)
    store = Store((base / recipe.index).resolve())
    data = interactions.read(Path(store.manifest.catalog), [i.id for i in store.items])
    splits = tuple(interactions.SPLITS[name](data) for name in recipe.splits)
    learned = without(splits[0].train, splits)
    factors = None
    if "collaborative" in recipe.inputs:
        values = collaborative.factors(learned.matrix, recipe.collaborative, seed=recipe.seed)
        factors = Factors(learned.items, values)
    items = ItemFeatures.of(store, learned.items, factors).only(recipe.inputs).noised(recipe.noise)
    found: list[Case] = []
    for split in splits:
        ease = collaborative.Ease.fit(split.train.matrix, regularization=recipe.lists.regularization)
        found += retrieved(split.validation, ease.scores(split.validation.matrix("history")), recipe.validation_candidates)
    about = {"splits": {s.name: s.hash for s in splits}, "interactions": len(learned)}
    model = fresh(recipe, store, items, factors=factors is not None)
    cut = tuple(windows(learned.sequences, recipe.match.length)) if recipe.match.epochs else ()
    return Setup(
        recipe, store, RankLists(learned, recipe.lists), model, tuple(found), factors, cut, popularity(learned.counts), about
    )


def fresh(recipe: Recipe, store: Store, items: ItemFeatures, *, factors: bool) -> RankModel:
    """An untrained model over these items."""
    lm = LanguageModel.load(settings.preset(store.manifest.preset).lm)
    widths = [store.manifest.widths[m] for m in MODALITIES] + ([recipe.collaborative] if factors else [])
    names = MODALITIES + (("collaborative",) if factors else ())
    config = FusionConfig(
        tuple(widths), store.manifest.widths["shared"], recipe.soft_tokens, lm.width, round(lm.soft_norm, 6), recipe.fusion, names
    )
    fusion = build(config, seed=recipe.seed)
    for unreached in (fusion.gate, *fusion.to_pooled.parameters()):
        unreached.requires_grad_(False)  # of the pooled vector alone: several processes would wait for their gradients
    if recipe.form == "text":
        fusion.requires_grad_(False)
    if recipe.lora_rank:
        lm.new_lora(rank=recipe.lora_rank, targets=recipe.lora_targets, seed=recipe.seed)
    else:
        lm.model.requires_grad_(False)
    match = None
    if recipe.match.epochs:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            match = Match(recipe.soft_tokens, lm.width, recipe.match.width)
    return RankModel(lm, fusion, items, form=recipe.form, match=match, retriever=recipe.retriever)


def run(
    file: Path, out: Path, *, progress: Progress = lambda stage, done, of: None, stop_after: int | None = None
) -> dict[str, Any]:
    """Train what the recipe says into the adapter folder `out`; a checkpoint that lies there is gone on from. Returns the metrics.

    `stop_after` ends the run after that many steps (of the match stage: epochs) of this call, as a kill would.
    """
    from accelerate import Accelerator

    recipe = Recipe.read(file)
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    setup = prepare(recipe, file.resolve().parent)
    out.mkdir(parents=True, exist_ok=True)
    if setup.model.match is not None:
        left = match_stage(setup, out, main=accelerator.is_main_process, progress=progress, stop_after=stop_after)
        accelerator.wait_for_everyone()
        if left is not None:
            return {"match_epoch": left}
    if recipe.steps and not rank_stage(setup, out, accelerator, progress, stop_after):
        return {"step": json.loads((out / RANK / "step.json").read_text())["step"]}
    if accelerator.is_main_process:
        return _finish(setup, out, file)
    return {}


MATCH, RANK, BEST = ".match", ".checkpoint", ".best"


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
    per_epoch = -(-len(setup.windows) // options.batch)
    for taken, at in enumerate(range(epoch, options.epochs), start=1):
        losses = []
        for n, rows in enumerate(batches(setup.windows, options.batch, np.random.default_rng([recipe.seed, at]))):
            step = at * per_epoch + n
            torch.manual_seed(recipe.seed * 1_000_003 + step)
            generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
            for group in optimizer.param_groups:
                group["lr"] = options.rate * rate(step, options.epochs * per_epoch, recipe.warmup)
            table = model.catalog(generator, recipe.modality_dropout)
            loss = next_loss(model.match, table, rows, setup.popularity, options)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters(learned), 1.0)
            optimizer.step()
            losses.append(float(loss.detach()))
            progress(f"match (loss {np.mean(losses):.3f})", step + 1, options.epochs * per_epoch)
        if main:
            row = {"step": at + 1, "loss": round(float(np.mean(losses)), 5)} | validate(model, setup.validation, readouts=False)
            with log.open("a") as lines:
                lines.write(json.dumps(row) + "\n")
            checkpoint.write(out / MATCH, recipe, learned, optimizer, at + 1)
        if stop_after is not None and taken >= stop_after and at + 1 < options.epochs:
            return at + 1
    return None


def rank_stage(setup: Setup, out: Path, accelerator: Any, progress: Progress, stop_after: int | None) -> bool:
    """LoRA and fusion learn to rank packed lists, with the match beside them as a second task. False if stopped before the end."""
    recipe, model = setup.recipe, setup.model
    fusion = parameters(model.fusion, *([model.match] if model.match is not None else [])) + [model.retriever]
    lora = parameters(model.lm_module)
    groups = [{"params": fusion, "lr": recipe.fusion_rate, "weight_decay": recipe.weight_decay}]
    groups += [{"params": lora, "lr": recipe.lora_rate, "weight_decay": 0.0}] if lora else []
    optimizer = torch.optim.AdamW(groups)
    step = checkpoint.restore(out / RANK, recipe, model, optimizer)
    task = Task(model, setup)
    wrapped, optimizer = accelerator.prepare(task, optimizer)
    world, index = accelerator.num_processes, accelerator.process_index
    log = out / "metrics.jsonl"
    checkpoint.cut(log, step)
    started, seen, began = time.monotonic(), [], step
    model.train()
    while step < recipe.steps:
        first = (step * world + index) * recipe.batch
        batch = [setup.lists.make(n) for n in range(first, first + recipe.batch)]
        torch.manual_seed(recipe.seed * 1_000_003 + step)
        share = rate(step, recipe.steps, recipe.warmup)
        for group, top in zip(optimizer.param_groups, (recipe.fusion_rate, recipe.lora_rate), strict=False):
            group["lr"] = top * share
        loss = wrapped(batch, step * world + index)
        optimizer.zero_grad()
        accelerator.backward(loss)
        accelerator.clip_grad_norm_([*lora, *fusion], 1.0)
        optimizer.step()
        step += 1
        seen.append(float(loss.detach()))
        progress(f"train (loss {np.mean(seen[-50:]):.3f})", step, recipe.steps)
        last = step == recipe.steps
        if accelerator.is_main_process and (step % recipe.validate_every == 0 or last):
            row: dict[str, Any] = {"step": step, "loss": round(float(np.mean(seen)), 5)}
            row |= {"seconds": round(time.monotonic() - started, 1)}
            row |= validate(model, _some(setup.validation, recipe.validation_cases, recipe.seed))
            seen = []
            best = max((r["blend"] for r in _rows(log)), default=-1.0)
            if row["blend"] > best:
                checkpoint.write(out / BEST, recipe, model, optimizer, step)
            with log.open("a") as lines:
                lines.write(json.dumps(row) + "\n")
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
            rng = np.random.default_rng([recipe.seed, number])
            chosen = rng.choice(len(self.setup.windows), size=min(options.batch, len(self.setup.windows)), replace=False)
            table = model.catalog(generator, recipe.modality_dropout)
            rows = padded([self.setup.windows[n] for n in chosen])
            loss = loss + options.beside * next_loss(model.match, table, rows, self.setup.popularity, options)
        return loss


def validate(model: RankModel, cases: Sequence[Case], *, readouts: bool = True) -> dict[str, Any]:
    """nDCG@10 on retrieved candidates, as `mmllm.rank_model.choose` gives it."""
    model.eval()
    parts = score_parts(model, cases, readouts=readouts)
    model.train()
    return choose(cases, parts)


def _some(cases: Sequence[Case], count: int, seed: int) -> list[Case]:
    chosen = np.random.default_rng(seed).permutation(len(cases))[:count]
    return [cases[n] for n in chosen]


# ---- on disk -------------------------------------------------------------------------------------------------------


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
    for name in ("retriever", "lm", "blend"):
        score.plot(steps, [r[name] for r in rows], label=name)
    score.set(title="validation nDCG@10", xlabel="step")
    score.legend()
    figure.savefig(file)


def _rows(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []


def _finish(setup: Setup, out: Path, file: Path) -> dict[str, Any]:
    """Take the best step's weights, choose weight and share on all of the validation, write the adapter folder; checkpoints go."""
    recipe, store, model = setup.recipe, setup.store, setup.model
    final: dict[str, Any] = {"step": checkpoint.restore(out / BEST, recipe, model) if recipe.steps else 0}
    final |= validate(model, setup.validation, readouts=recipe.steps > 0)
    form: Any = recipe.form
    config = AdapterConfig(
        name=recipe.name,
        lm=store_lm(store),
        lm_fingerprint=weights.fingerprint(weights.path(store_lm(store))),
        encoders={**store.manifest.encoders, "projections": store.manifest.heads},
        form=form,
        blend=final["weight"],
        readout=final["share"],
        reads=("words",) if recipe.indexes else ("liked",),
    )
    lora = model.lm_module if recipe.lora_rank and recipe.steps else None
    adapters.save(Adapter(config, model.fusion.eval(), None, setup.factors, model.match), out, lora_from=lora)
    if file.resolve() != (out / "recipe.toml").resolve():
        shutil.copyfile(file, out / "recipe.toml")
    final |= {"validation_cases": len(setup.validation), **setup.about}
    (out / "metrics.json").write_text(json.dumps(final, indent=1))
    for name in (MATCH, RANK, BEST):
        shutil.rmtree(out / name, ignore_errors=True)
    return final


def store_lm(store: Store) -> str:
    """The name of the language model of an index's preset."""
    return settings.preset(store.manifest.preset).lm


def main(arguments: Sequence[str] | None = None) -> None:
    """`accelerate launch -m mmllm.train RECIPE OUT`."""
    from mmllm.terminal import ProgressBars

    given = list(sys.argv[1:] if arguments is None else arguments)
    if len(given) != 2:
        raise SystemExit("usage: python -m mmllm.train RECIPE OUT")
    bars: Callable[[str, int, int], None] = ProgressBars()
    print(json.dumps(run(Path(given[0]), Path(given[1]), progress=bars), indent=1))  # noqa: T201 - the command's output


if __name__ == "__main__":
    main()

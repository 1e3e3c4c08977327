"""`mmllm train RECIPE` and `accelerate launch -m mmllm.train RECIPE`: LoRA and fusion learn to rank packed lists.

Frozen features are computed once (they lie in the index); a step fuses the items of its lists, packs every list behind its shared prefix,
and takes logits at the readouts only. The loss is the listwise softmax (Cao et al. 2007, ListNet) of the LM's score added to the
retriever's z-score, so that the LM learns what retrieval does not know, and of the LM's score alone, which keeps it able to rank by itself.

Checkpoints are written by rename; what is random is drawn from (seed, step), so that a resumed run is the uninterrupted one.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmllm import adapter as adapters
from mmllm import collaborative, interactions, settings, weights
from mmllm.adapter import Adapter, AdapterConfig, Factors
from mmllm.data import ListSettings, RankList, RankLists, without
from mmllm.errors import MmllmError
from mmllm.fusion import KINDS, FusionConfig, build
from mmllm.interactions import Split
from mmllm.lm import LanguageModel
from mmllm.rank_model import Case, ItemFeatures, RankModel, blends, retrieved, score_cases
from mmllm.store import Store
from mmllm.types import MODALITIES, Progress


@dataclass(frozen=True)
class Recipe:
    """recipe.toml. `index` is relative to the file; `splits` name what must never be learned (`mmllm.interactions.SPLITS`).

    inputs: what the fusion reads, of text, image, audio, collaborative. noise: of those, which are replaced by noise of the same moments, to
    ask whether they matter.
    """

    name: str
    index: str
    splits: tuple[str, ...] = ("global-time", "leave-last-out")
    inputs: tuple[str, ...] = ("text", "image", "audio", "collaborative")
    noise: tuple[str, ...] = ()
    form: str = "soft"
    fusion: str = "attention"
    """attention, gated, concat or mean."""
    soft_tokens: int = 1
    collaborative: int = 64
    steps: int = 1000
    batch: int = 4
    lora_rank: int = 8
    """0 leaves the LM as it is: soft tokens alone are trained."""
    lora_targets: tuple[str, ...] = ("q_proj", "v_proj")
    lora_rate: float = 5e-4
    fusion_rate: float = 1e-3
    warmup: float = 0.05
    weight_decay: float = 0.01
    modality_dropout: float = 0.15
    retriever: float = 1.0
    """How much of the retriever's z-score is added to the LM's score in the loss, at first: it is learned."""
    alone: float = 0.3
    """Weight of the loss of the LM's score alone."""
    validate_every: int = 200
    validation_cases: int = 60
    validation_candidates: int = 30
    seed: int = settings.SEED
    lists: ListSettings = field(default_factory=ListSettings)

    @classmethod
    def read(cls, file: Path) -> Recipe:
        """Parse and check; an unknown name is refused."""
        try:
            row = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise MmllmError(f"{file} cannot be read as a recipe: {error}", expected="TOML") from None
        lists = row.pop("lists", {})
        for given, known, where in ((row, cls, ""), (lists, ListSettings, "[lists] ")):
            if unknown := set(given) - {f.name for f in fields(known)}:
                raise MmllmError(
                    f"{file}: {where}{sorted(unknown)[0]!r} is not known", expected=", ".join(f.name for f in fields(known))
                )
        for name in ("name", "index"):
            if name not in row:
                raise MmllmError(f"{file} has no {name!r}", expected=f"{name} = ...")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}
        recipe = cls(**values, lists=ListSettings(**lists))
        if unknown := set(recipe.splits) - set(interactions.SPLITS):
            raise MmllmError(f"{file}: split {sorted(unknown)[0]!r}", expected=", ".join(interactions.SPLITS))
        if recipe.fusion not in KINDS:
            raise MmllmError(f"{file}: fusion {recipe.fusion!r}", expected=", ".join(KINDS))
        if recipe.form not in ("soft", "soft+title"):
            raise MmllmError(f"{file}: form {recipe.form!r}", expected="soft or soft+title")
        return recipe


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
    """Everything a run needs, made from a recipe: what is learned, the model, and cases to validate on with their retrieved candidates."""

    recipe: Recipe
    store: Store
    lists: RankLists
    splits: tuple[Split, ...]
    model: RankModel
    factors: Factors | None
    validation: tuple[Case, ...]


def prepare(recipe: Recipe, base: Path, *, resume_from: Path | None = None) -> Setup:
    """Read the index and its interactions, make the splits, factors and lists, and put a fresh LoRA and fusion on."""
    index = (base / recipe.index).resolve()
    store = Store(index)
    preset = settings.preset(store.manifest.preset)
    data = interactions.read(Path(store.manifest.catalog), [i.id for i in store.items])
    splits = tuple(interactions.SPLITS[name](data) for name in recipe.splits)
    learned = without(splits[0].train, splits)
    factors = None
    if "collaborative" in recipe.inputs:
        values = collaborative.factors(learned.matrix, recipe.collaborative, seed=recipe.seed)
        factors = Factors(learned.items, values)
    items = ItemFeatures.of(store, learned.items, factors).only(recipe.inputs).noised(recipe.noise)
    lm = LanguageModel.load(preset.lm)
    widths = [store.manifest.widths[m] for m in MODALITIES] + ([recipe.collaborative] if factors is not None else [])
    names = MODALITIES + (("collaborative",) if factors is not None else ())
    config = FusionConfig(
        tuple(widths), store.manifest.widths["shared"], recipe.soft_tokens, lm.width, round(lm.soft_norm, 6), recipe.fusion, names
    )
    fusion = build(config, seed=recipe.seed)
    for unreached in (fusion.gate, *fusion.to_pooled.parameters()):
        unreached.requires_grad_(False)  # of the pooled vector alone: several processes would wait for their gradients
    if recipe.lora_rank:
        lm.new_lora(rank=recipe.lora_rank, targets=recipe.lora_targets, seed=recipe.seed)
    else:
        lm.model.requires_grad_(False)
    model = RankModel(lm, fusion, items, form=recipe.form, retriever=recipe.retriever)
    lists = RankLists(learned, recipe.lists)
    validation: list[Case] = []
    for split in splits:
        ease = collaborative.Ease.fit(split.train.matrix, regularization=recipe.lists.regularization)
        found = retrieved(split.validation, ease.scores(split.validation.matrix("history")), recipe.validation_candidates)
        validation += found
    return Setup(recipe, store, lists, splits, model, factors, tuple(validation))


def run(
    file: Path, out: Path, *, progress: Progress = lambda stage, done, of: None, stop_after: int | None = None
) -> dict[str, Any]:
    """Train what the recipe says into the adapter folder `out`; a checkpoint that lies there is gone on from. Returns the metrics.

    `stop_after` ends the run after that many steps of this call, as a kill would.
    """
    from accelerate import Accelerator

    recipe = Recipe.read(file)
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    setup = prepare(recipe, file.resolve().parent)
    model = setup.model
    fusion = [model.retriever, *(p for p in model.fusion.parameters() if p.requires_grad)]
    lora = [p for p in model.lm_module.parameters() if p.requires_grad]
    groups = [{"params": fusion, "lr": recipe.fusion_rate, "weight_decay": recipe.weight_decay}]
    groups += [{"params": lora, "lr": recipe.lora_rate, "weight_decay": 0.0}] if lora else []
    optimizer = torch.optim.AdamW(groups)
    checkpoint = out / ".checkpoint"
    step = _restore(checkpoint, recipe, model, optimizer)
    wrapped, optimizer = accelerator.prepare(model, optimizer)
    world, index = accelerator.num_processes, accelerator.process_index
    log = out / "metrics.jsonl"
    out.mkdir(parents=True, exist_ok=True)
    _cut(log, step)
    started, seen, began = time.monotonic(), [], step
    model.train()
    while step < recipe.steps:
        first = (step * world + index) * recipe.batch
        batch = [setup.lists.make(n) for n in range(first, first + recipe.batch)]
        torch.manual_seed(recipe.seed * 1_000_003 + step)
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
        share = rate(step, recipe.steps, recipe.warmup)
        for group, top in zip(optimizer.param_groups, (recipe.fusion_rate, recipe.lora_rate), strict=False):
            group["lr"] = top * share
        scores = wrapped(batch, generator, recipe.modality_dropout)
        loss = list_loss(scores, batch, retriever=model.retriever, alone=recipe.alone)
        optimizer.zero_grad()
        accelerator.backward(loss)
        accelerator.clip_grad_norm_([*lora, *fusion], 1.0)
        optimizer.step()
        step += 1
        seen.append(float(loss.detach()))
        progress(f"train (loss {np.mean(seen[-50:]):.3f})", step, recipe.steps)
        last = step == recipe.steps
        if step % recipe.validate_every == 0 or last:
            row: dict[str, Any] = {
                "step": step,
                "loss": round(float(np.mean(seen)), 5),
                "seconds": round(time.monotonic() - started, 1),
            }
            seen = []
            if accelerator.is_main_process:
                cases = setup.validation if last else _some(setup.validation, recipe.validation_cases, recipe.seed)
                row |= validate(model, cases)
                with log.open("a") as lines:
                    lines.write(json.dumps(row) + "\n")
                _checkpoint(checkpoint, recipe, model, optimizer, step)
                _plot(log, out / "loss.png")
        if stop_after is not None and step - began >= stop_after and not last:
            if accelerator.is_main_process:
                _checkpoint(checkpoint, recipe, model, optimizer, step)
            return {"step": step}
    final = json.loads(log.read_text().splitlines()[-1])
    if accelerator.is_main_process:
        _finish(setup, out, file, final)
    return final


def validate(model: RankModel, cases: Sequence[Case]) -> dict[str, Any]:
    """nDCG@10 of the retriever, of the LM alone, and of the best blend with its weight, on retrieved candidates."""
    model.eval()
    scores = score_cases(model, cases)
    found = blends(cases, scores)
    model.train()
    best = max(found, key=lambda w: (round(found[w], 6), -w))
    return {"retriever": round(found[0.0], 5), "lm": round(found[1.0], 5), "blend": round(found[best], 5), "weight": float(best)}


def _some(cases: Sequence[Case], count: int, seed: int) -> list[Case]:
    chosen = np.random.default_rng(seed).permutation(len(cases))[:count]
    return [cases[n] for n in chosen]


# ---- on disk -------------------------------------------------------------------------------------------------------


def _trained(model: RankModel) -> dict[str, Tensor]:
    return {n: p for n, p in model.named_parameters() if p.requires_grad}


def _checkpoint(folder: Path, recipe: Recipe, model: RankModel, optimizer: Any, step: int) -> None:
    """Weights and optimizer state as safetensors, whole or not at all."""
    from safetensors.torch import save_file

    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    tensors = {f"model.{n}": p.detach().cpu().contiguous() for n, p in _trained(model).items()}
    for n, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{n}.{k}": torch.as_tensor(v).cpu().contiguous() for k, v in state.items()}
    save_file(tensors, part / "state.safetensors")
    (part / "step.json").write_text(json.dumps({"step": step, "recipe": repr(recipe)}))
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    os.replace(part, folder)
    shutil.rmtree(old, ignore_errors=True)


def _restore(folder: Path, recipe: Recipe, model: RankModel, optimizer: Any) -> int:
    """The step to go on from; 0 without a checkpoint. One of another recipe is refused."""
    from safetensors.torch import load_file

    if not (folder / "step.json").is_file():
        old = folder.with_name(folder.name + ".old")
        if not (old / "step.json").is_file():
            return 0
        old.rename(folder)  # killed between two renames
    row = json.loads((folder / "step.json").read_text())
    if row["recipe"] != repr(recipe):
        raise MmllmError(f"{folder} belongs to another recipe", do="delete it to start anew, or train into another folder")
    tensors = load_file(folder / "state.safetensors")
    own = _trained(model)
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(tensors[f"model.{name}"])
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith("optimizer."):
            _, n, name = key.split(".")
            state.setdefault(int(n), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return int(row["step"])


def _cut(log: Path, step: int) -> None:
    """Lines after the checkpoint are of steps that will be taken again."""
    if log.is_file():
        kept = [line for line in log.read_text().splitlines() if json.loads(line)["step"] <= step]
        log.write_text("".join(f"{line}\n" for line in kept))


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


def _finish(setup: Setup, out: Path, file: Path, final: Mapping[str, Any]) -> None:
    """Write the adapter folder; the checkpoint is no longer needed."""
    recipe, store = setup.recipe, setup.store
    config = AdapterConfig(
        name=recipe.name,
        lm=store_lm(store),
        lm_fingerprint=weights.fingerprint(weights.path(store_lm(store))),
        encoders={**store.manifest.encoders, "projections": store.manifest.heads},
        form="soft+title" if recipe.form == "soft+title" else "soft",
        blend=final["weight"],
    )
    lora = setup.model.lm_module if recipe.lora_rank else None
    adapters.save(Adapter(config, setup.model.fusion.eval(), None, setup.factors), out, lora_from=lora)
    if file.resolve() != (out / "recipe.toml").resolve():
        shutil.copyfile(file, out / "recipe.toml")
    splits = {s.name: s.hash for s in setup.splits}
    (out / "metrics.json").write_text(json.dumps({**final, "splits": splits, "interactions": len(setup.lists.learned)}, indent=1))
    shutil.rmtree(out / ".checkpoint", ignore_errors=True)


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

"""`mmllm train RECIPE` and `accelerate launch -m mmllm.train RECIPE`: prepare, run the stages, write the adapter.

Frozen features are computed once (they lie in the index). The match stage (`mmllm.stages`) does without the language model. The distill stage
(`mmllm.packed`) brings the LM to score as the retriever does, the rank stage beyond it. A step of the rank stage fuses
the items of its lists, packs every list behind its shared prefix, and takes logits at the readouts only. Its loss is the listwise softmax
(Cao et al. 2007, ListNet) of the LM's score added to the retriever's z-score, so that the LM learns what retrieval does not know, and of the
LM's score alone, which keeps it able to rank by itself.

Checkpoints are written by rename; what is random is drawn from (seed, step), so that a resumed run is the uninterrupted one.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mmllm import adapter as adapters
from mmllm import checkpoint, interactions, redial, settings, splits, weights, words_stage
from mmllm import recipe as recipes
from mmllm.adapter import Adapter, AdapterConfig, Factors
from mmllm.data import Lessons, Lists, RankLists, without
from mmllm.errors import MmllmError
from mmllm.fusion import FusionConfig, build
from mmllm.lm import LanguageModel
from mmllm.match import Match, popularity, windows
from mmllm.packed import check_bfloat16, distill_stage, rank_stage
from mmllm.rank_model import Case, ItemFeatures, RankModel, retrieved
from mmllm.recipe import Recipe
from mmllm.stages import ALIGN, BEST, DISTILL, MATCH, RANK, Setup, align_stage, match_stage, validate
from mmllm.store import Store
from mmllm.types import MODALITIES, Progress

CHOSEN, REFIT = ".chosen.json", ".refit"
"""What was chosen on validation, and the checkpoints of the second training."""


def prepare(recipe: Recipe, base: Path, *, refit_until: int | None = None) -> Setup:
    """Read what the recipe names, make examples and cases, and put a fresh LoRA, fusion and match on.

    With `refit_until`, the validation part is learned from too, nothing validates, and the rank stage ends at that step.
    """
    if recipe.indexes:
        from mmllm.requests import prepare_requests

        stores, items, lists, validation = prepare_requests(recipe, base)
        model = fresh(recipe, stores[0], items, factors=False)
        about: dict[str, Any] = {"catalogs": [len(s.items) for s in stores], "requests": len(lists)}
        return Setup(recipe, stores[0], lists, model, tuple(validation), about=about)
    store = Store((base / recipe.index).resolve())
    # In the order of ids, as the harness numbers them: the splits have the same hashes.
    data = interactions.read(Path(store.manifest.catalog), sorted(i.id for i in store.items))
    made = tuple(splits.make(name, data) for name in recipe.splits)
    refit = refit_until is not None
    learned = without(made[0].refit if refit else made[0].train, made, refit=refit)
    likes = RankLists(learned, recipe.lists)
    factors = held = None
    if "collaborative" in recipe.inputs:
        values = recipe.lists.model(learned).factors(recipe.collaborative, seed=recipe.seed)
        factors = Factors(learned.items, values)
        held = likes.factors(values, seed=recipe.seed) if recipe.crossfit else None
    items = ItemFeatures.of(store, learned.items, factors, held).only(recipe.inputs).noised(recipe.noise)
    found: list[Case] = []
    for split in made if not refit else ():
        scores = recipe.lists.model(split.train).scores(split.validation.history)
        found += retrieved(split.validation, scores, recipe.validation_candidates)
    about = {"splits": {s.name: s.hash for s in made}, "interactions": len(learned), "refit": refit}
    cut = tuple(windows(learned.sequences, recipe.match.length, likes.fold)) if recipe.match.epochs else ()
    ranked: Lists = likes
    lessons: Lists = Lessons(likes, recipe.distill)
    if recipe.dialogues.file:
        taught, *_ = redial.parts(redial.read((base / recipe.dialogues.file).resolve(), learned.items))
        talk = redial.TalkLists(taught, learned, recipe.dialogues, recipe.lists)
        about |= {"dialogues": len(taught), "dialogue_turns": len(talk)}
        ranked = redial.MixedLists(likes, talk, recipe.dialogues.share, recipe.seed)
        second = Lessons(talk, recipe.distill)
        lessons = redial.MixedLists(lessons, second, recipe.dialogues.share, recipe.seed, together=recipe.distill.batch)
    return Setup(
        recipe,
        store,
        ranked,
        fresh(recipe, store, items, factors=factors is not None),
        tuple(found),
        factors,
        cut,
        popularity(learned.counts, liked_only=recipe.match.liked_only),
        likes.expected if recipe.match.taught else None,
        lessons.make if recipe.distill.steps else None,
        about,
        refit_until,
    )


def fresh(recipe: Recipe, store: Store, items: ItemFeatures, *, factors: bool) -> RankModel:
    """An untrained model over these items."""
    lm = LanguageModel.load(settings.preset(store.manifest.preset).lm)
    widths = [store.manifest.widths[m] for m in MODALITIES] + ([recipe.collaborative] if factors else [])
    names = MODALITIES + (("collaborative",) if factors else ())
    config = FusionConfig(
        tuple(widths),
        store.manifest.widths["shared"],
        recipe.soft_tokens,
        lm.width,
        round(lm.soft_norm, 6),
        recipe.fusion,
        names,
        reader=recipe.form != "text" and recipe.distill.reader_rate > 0,
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
    half = recipe.precision == "bfloat16"
    if half:
        check_bfloat16()
    model = RankModel(
        lm, fusion, items, form=recipe.form, match=match, retriever=recipe.retriever, half=half, passages=recipe.passages
    )
    if recipe.form != "text":
        model.recenter()
    return model


def run(
    file: Path,
    out: Path,
    *,
    progress: Progress = lambda stage, done, of: None,
    stop_after: int | None = None,
    finish: bool = False,
    log_with: Sequence[Any] = (),
) -> dict[str, Any]:
    """Train what the recipe says into the adapter folder `out`; a checkpoint that lies there is gone on from. Returns the metrics.

    `stop_after` ends the run after that many steps (of the match stage: epochs) of this call, as a kill would. `finish` trains no further: it
    makes the adapter of the best step so far, without a refit. `log_with` names trackers of accelerate (tensorboard, trackio, wandb, ...) or
    holds `accelerate.tracking.GeneralTracker`s, which are told what metrics.jsonl is; what they write lies under `out`.
    """
    recipe = Recipe.read(file)
    accelerator = _accelerator(recipe, out, log_with)
    try:
        return _run(recipe, file, out, accelerator, progress=progress, stop_after=stop_after, finish=finish)
    finally:
        accelerator.end_training()


def _accelerator(recipe: Recipe, out: Path, log_with: Sequence[Any]) -> Any:
    """Accelerate with its trackers; one that is not known or not installed is an error, which accelerate would keep to itself."""
    from accelerate import Accelerator
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    there = [str(t) for t in get_available_trackers()]
    for name in (n for n in log_with if isinstance(n, str)):
        if name not in there:
            known = name in map(str, LOGGER_TYPE_TO_CLASS)
            raise MmllmError(
                f"tracker {name!r}" + (" is not installed" if known else ""),
                expected=" or ".join(there) if there else "one of " + ", ".join(map(str, LOGGER_TYPE_TO_CLASS)),
                do=f"pip install {name}" if known else "metrics.jsonl and loss.png are written without one",
            )
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), log_with=list(log_with) or None, project_dir=out)
    if log_with:
        accelerator.init_trackers(recipe.name)
    return accelerator


def _run(
    recipe: Recipe, file: Path, out: Path, accelerator: Any, *, progress: Progress, stop_after: int | None, finish: bool
) -> dict[str, Any]:
    def track(values: Mapping[str, float], step: int) -> None:
        accelerator.log(values, step=step)

    if recipe.explain.steps:
        if finish:
            raise MmllmError(f"{file}: --finish with [explain]", expected="an adapter that ranks", do="let it run to its end")
        return words_stage.run(recipe, file, out, progress=progress, stop_after=stop_after, track=track)
    base = file.resolve().parent
    out.mkdir(parents=True, exist_ok=True)
    if finish:
        setup = prepare(recipe, base)
        # A stage's checkpoint holds what it learns: what the stages before it have learned is in theirs.
        there = [stage for stage in (MATCH, DISTILL, RANK) if checkpoint.restore(out / stage, recipe, setup.model)]
        if not recipe.reads or (RANK if recipe.steps else DISTILL) not in there:
            raise MmllmError(
                f"{out} holds no checkpoint of packed lists", expected="one", do="train until `validate_every` steps are done"
            )
        return _finish(setup, out, file, _choose(setup, out))
    chosen = out / CHOSEN
    if not chosen.is_file():
        setup = replace(prepare(recipe, base), track=track)
        if stopped := _stages(setup, out, accelerator, progress, stop_after):
            return stopped
        if not recipe.refit:
            return _finish(setup, out, file, _choose(setup, out)) if accelerator.is_main_process else {}
        if accelerator.is_main_process:
            checkpoint.write_json(chosen, _choose(setup, out))
        accelerator.wait_for_everyone()  # the others read what the first has chosen
    found = json.loads(chosen.read_text())
    setup = replace(prepare(recipe, base, refit_until=found["step"]), track=track)
    if stopped := _stages(setup, out / REFIT, accelerator, progress, stop_after):
        return stopped
    return _finish(setup, out, file, found) if accelerator.is_main_process else {}


def _stages(setup: Setup, out: Path, accelerator: Any, progress: Progress, stop_after: int | None) -> dict[str, Any]:
    """All stages of the recipe, with checkpoints under `out`; where it was stopped, or nothing when they are done."""
    recipe = setup.recipe
    out.mkdir(parents=True, exist_ok=True)
    if recipe.align.steps:
        left = align_stage(setup, out, main=accelerator.is_main_process, progress=progress, stop_after=stop_after)
        accelerator.wait_for_everyone()
        if left is not None:
            return {"align_step": left}
    if setup.model.match is not None:
        left = match_stage(setup, out, main=accelerator.is_main_process, progress=progress, stop_after=stop_after)
        accelerator.wait_for_everyone()
        if left is not None:
            return {"match_epoch": left}
    if recipe.distill.steps:
        left = distill_stage(setup, out, accelerator, progress, stop_after)
        if left is not None:
            return {"distill_step": left}
    if recipe.steps:
        left = rank_stage(setup, out, accelerator, progress, stop_after)
        if left is not None:
            return {"step": left}
    return {}


def _choose(setup: Setup, out: Path) -> dict[str, Any]:
    """Take the best step's weights; weight and share are chosen on all of the validation."""
    recipe, model = setup.recipe, setup.model
    found: dict[str, Any] = {"step": checkpoint.restore(out / BEST, recipe, model) if recipe.steps else 0}
    found |= validate(model, setup.validation, readouts=recipe.reads)
    return found | {"validation_cases": len(setup.validation)}


def _finish(setup: Setup, out: Path, file: Path, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Write the adapter folder of the model as it stands, with what was chosen on validation; checkpoints go."""
    recipe, store, model = setup.recipe, setup.store, setup.model
    config = AdapterConfig(
        name=recipe.name,
        lm=store_lm(store),
        lm_fingerprint=weights.fingerprint(weights.path(store_lm(store))),
        encoders={**store.manifest.encoders, "projections": store.manifest.heads},
        form=recipe.form,
        blend=chosen["weight"],
        readout=chosen["share"],
        reads=("words",) if recipe.indexes else ("liked",),
        fusion_trained=recipe.form != "text",
        passages=recipe.passages,
    )
    lora = model.lm_module if recipe.lora_rank and recipe.reads else None
    adapters.save(Adapter(config, model.fusion.eval(), None, setup.factors, model.match), out, lora_from=lora)
    if file.resolve() != (out / "recipe.toml").resolve():
        (out / "recipe.toml").write_text(recipes.text(file), encoding="utf-8")
    final = {**chosen, **setup.about}
    (out / "metrics.json").write_text(json.dumps(final, indent=1))
    for name in (ALIGN, MATCH, DISTILL, RANK, BEST, REFIT):
        shutil.rmtree(out / name, ignore_errors=True)
    (out / CHOSEN).unlink(missing_ok=True)
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
    print(json.dumps(run(Path(given[0]), Path(given[1]), progress=ProgressBars()), indent=1))  # noqa: T201 - the command's output


if __name__ == "__main__":
    main()

"""The stage `[explain]` of a recipe: one LoRA learns to reword evidence and to read turns. Nothing of a catalog is kept in it.

Rewording is learned as language, the completion's tokens alone; reading as yes or no at the readouts of the packed pass that is served. What is
random is drawn from (seed, step): a stopped run goes on as if it had not been.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmllm import chatter, checkpoint, prompting, reword, settings, wording
from mmllm import recipe as recipes
from mmllm.chatter import Reading
from mmllm.claims import check
from mmllm.explain import TOKENS, facts, telling
from mmllm.lm import WORDS, LanguageModel
from mmllm.match import parameters
from mmllm.recipe import Recipe
from mmllm.stages import Track, rate
from mmllm.store import Store
from mmllm.types import Item, Progress

EXPLAIN = ".explain"
UNSEEN = 1_000_000_000
"""Examples from this number on are never learned from."""


@dataclass(frozen=True)
class Material:
    """What a run learns from: items of all indexes, the hand-written files, labelled turns to learn from and to validate on."""

    preset: str
    items: tuple[Item, ...]
    grammar: reword.Grammar
    chat: chatter.Chat
    labelled: tuple[Reading, ...]
    validation: tuple[Reading, ...]


def prepare(recipe: Recipe, base: Path) -> Material:
    """Read what the recipe names."""
    stores = [Store((base / name).resolve()) for name in recipe.indexes]
    options = recipe.explain
    labelled, validation = chatter.read(base / options.labelled) if options.turns and options.labelled else ((), ())
    return Material(
        stores[0].manifest.preset,
        tuple(i for s in stores for i in s.items),
        reword.Grammar.read(base / options.grammar),
        chatter.Chat.read(base / options.chat),
        tuple(labelled),
        tuple(validation),
    )


def run(
    recipe: Recipe, file: Path, out: Path, *, progress: Progress, stop_after: int | None = None, track: Track
) -> dict[str, Any]:
    """Train into the adapter folder `out`, from the checkpoint that lies there. Returns the metrics, or the step where it was stopped."""
    options, out = recipe.explain, out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    data = prepare(recipe, file.resolve().parent)
    lm = LanguageModel.load(settings.preset(data.preset).lm)
    lm.new_lora(rank=options.rank, targets=options.targets, seed=recipe.seed, name=WORDS, last=options.layers)
    optimizer = torch.optim.AdamW(parameters(lm.model), lr=options.rate, weight_decay=0.0)
    began = checkpoint.restore(out / EXPLAIN, recipe, lm.model, optimizer)
    log = out / "metrics.jsonl"
    checkpoint.cut(log, began)
    started, seen = time.monotonic(), []
    lm.model.train()
    for step in range(began, options.steps):
        for group in optimizer.param_groups:
            group["lr"] = options.rate * rate(step, options.steps, recipe.warmup)
        losses = step_losses(lm, data, recipe, step)
        optimizer.zero_grad()
        (losses["reword"] + options.reading * losses.get("read", torch.zeros(()))).backward()
        nn.utils.clip_grad_norm_(parameters(lm.model), 1.0)
        optimizer.step()
        seen.append({name: float(loss.detach()) for name, loss in losses.items()})
        means = {name: round(float(np.mean([s[name] for s in seen])), 5) for name in seen[0]}
        progress("explain (" + ", ".join(f"{n} {v:.2f}" for n, v in means.items()) + ")", step + 1, options.steps)
        last = step + 1 == options.steps
        stopping = stop_after is not None and step + 1 - began >= stop_after and not last
        if (step + 1) % recipe.validate_every == 0 or last:
            row = {"step": step + 1, **means, "seconds": round(time.monotonic() - started, 1), **validate(lm, data, recipe)}
            seen = []
            with log.open("a") as lines:
                lines.write(json.dumps(row) + "\n")
            track({f"explain/{name}": float(value) for name, value in row.items() if name != "step"}, step + 1)
        if stopping or last or (step + 1) % recipe.validate_every == 0:
            checkpoint.write(out / EXPLAIN, recipe, lm.model, optimizer, step + 1)
        if stopping:
            return {"explain_step": step + 1}
    return _finish(lm, data, recipe, file, out)


def step_losses(lm: LanguageModel, data: Material, recipe: Recipe, step: int) -> dict[str, Tensor]:
    """The losses of one step's examples: "reword", and "read" where turns are read."""
    options = recipe.explain
    first = step * options.batch
    made = [reword.make(data.items, data.grammar, seed=recipe.seed, n=n) for n in range(first, first + options.batch)]
    losses = {"reword": reword_loss(lm, made)}
    if options.turns:
        shares = options.shares if data.labelled else (0.0, *options.shares[1:])
        numbers = range(step * options.turns, (step + 1) * options.turns)
        turns = [chatter.make(data.labelled, data.items, data.chat, shares, seed=recipe.seed, n=n) for n in numbers]
        losses["read"] = read_loss(lm, turns)
    return losses


def prompt(example: reword.Reworded) -> str:
    """What the LM is given, as `mmllm.explain.explain` renders it."""
    return prompting.load("reword").render(title=example.title, facts=facts(telling(example.title, example.rows)))


def reword_loss(lm: LanguageModel, examples: Sequence[reword.Reworded]) -> Tensor:
    """Mean cross-entropy over the targets' tokens and the end of the turn."""
    asked = [lm.tokens(prompt(e)) for e in examples]
    targets = [[*lm.tokens(e.target), *lm.tokens("<|im_end|>")] for e in examples]
    longest = max(len(a) + len(t) for a, t in zip(asked, targets, strict=True)) - 1
    at = torch.zeros(len(examples), longest, dtype=torch.bool)
    embeds = []
    for n, (a, t) in enumerate(zip(asked, targets, strict=True)):
        whole = lm.embed([*a, *t[:-1]])  # a place says what comes next: the last token is said and never read
        embeds.append(nn.functional.pad(whole, (0, 0, 0, longest - len(whole))))
        at[n, len(a) - 1 : len(whole)] = True
    logits = lm.logits(torch.stack(embeds), at)
    return nn.functional.cross_entropy(logits, torch.tensor([token for t in targets for token in t]))


def read_loss(lm: LanguageModel, turns: Sequence[Reading]) -> Tensor:
    """Mean binary cross-entropy over all words of all turns."""
    lists = [(wording.turn_prefix(lm, t.text), [wording.word_segment(lm, w) for w in t.words]) for t in turns]
    scores = torch.cat(lm.score_lists(lists))
    wanted = torch.tensor([float(w) for t in turns for w in t.wanted])
    return nn.functional.binary_cross_entropy_with_logits(scores, wanted)


def validate(lm: LanguageModel, data: Material, recipe: Recipe) -> dict[str, Any]:
    """Rewordings of unseen examples that pass the check wholly; precision and recall of reading at the threshold of the best F2."""
    lm.model.eval()
    lm.weights_changed()
    passed = []
    for n in range(UNSEEN, UNSEEN + recipe.explain.examples):
        example = reword.make(data.items, data.grammar, seed=recipe.seed, n=n)
        reply = lm.generate(prompt(example), max_new_tokens=TOKENS, stop=("\n",)).strip()
        passed.append(bool(reply) and check(reply, example.title, example.rows) == (reply, ""))
    found: dict[str, Any] = {"passed": round(float(np.mean(passed)), 4)} if passed else {}
    if recipe.explain.turns and data.validation:
        scores: list[float] = []
        wanted: list[bool] = []
        for turn in data.validation:
            prefix, segments = wording.turn_prefix(lm, turn.text), [wording.word_segment(lm, w) for w in turn.words]
            scores += lm.score(prefix, segments, lora=WORDS).tolist()
            wanted += turn.wanted
        found |= threshold(np.array(scores), np.array(wanted))
    lm.model.train()
    return found


def threshold(scores: np.ndarray, wanted: np.ndarray) -> dict[str, Any]:
    """The threshold of the best F2 over scores [n], with precision and recall there, and how often a wanted word stands above another (AUC).

    F2 = 5 P R / (4 P + R) counts recall more: a word that is lost is worse than one that is searched for in vain.
    """
    best: dict[str, Any] = {"f2": -1.0}
    for at in np.unique(scores):
        kept = scores >= at
        right = int((kept & wanted).sum())
        precision, recall = right / int(kept.sum()), right / max(1, int(wanted.sum()))
        f2 = 5 * precision * recall / max(1e-9, 4 * precision + recall)
        if f2 > best["f2"]:
            best = {"threshold": float(at), "precision": precision, "recall": recall, "f2": f2}
    above = scores[wanted][:, None] - scores[~wanted][None, :]
    auc = float((above > 0).mean() + (above == 0).mean() / 2) if above.size else 0.0
    return {k: round(v, 4) for k, v in (best | {"auc": auc}).items()} | {"words": len(scores), "wanted": int(wanted.sum())}


def _finish(lm: LanguageModel, data: Material, recipe: Recipe, file: Path, out: Path) -> dict[str, Any]:
    """Write the adapter folder; the checkpoint goes."""
    final = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    final |= {"items": len(data.items), "labelled_turns": len(data.labelled), "validation_turns": len(data.validation)}
    config = wording.WordsConfig(recipe.name, lm.name, lm.fingerprint, final.get("threshold"))
    wording.save(config, lm, out)
    checkpoint.write_json(out / "metrics.json", final)
    if file.resolve() != (out / "recipe.toml").resolve():
        for name in (recipe.explain.grammar, recipe.explain.chat):
            shutil.copyfile(file.resolve().parent / name, out / Path(name).name)
        (out / "recipe.toml").write_text(recipes.text(file), encoding="utf-8")
    shutil.rmtree(out / EXPLAIN, ignore_errors=True)
    return final

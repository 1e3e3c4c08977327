"""Training speed: pairs (user, item) per second of packed lists of soft tokens against pairwise PEFT training on the same pairs.

Both train the same model. Pairwise is what a PEFT tutorial does: every pair is its own prompt with the liked titles and the item as text, and
the loss is binary. Both train the same LoRA by AdamW; packed lists train the fusion too. One process, interleaved, medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from eval.machine import machine, pressure
from mmllm import prompting, settings
from mmllm.data import RankList
from mmllm.fusion import FusionConfig, build
from mmllm.lm import LanguageModel
from mmllm.packed import list_loss
from mmllm.rank_model import ItemFeatures, RankModel
from mmllm.rerank import describe
from mmllm.store import Store
from mmllm.types import MODALITIES

LISTS, CANDIDATES, HISTORY, ROUNDS = 4, 20, 20, 5


def main(arguments: list[str] | None = None) -> None:
    """Print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("index", type=Path)
    parser.add_argument("--out", type=Path, default=None)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(settings.threads())
    store = Store(chosen.index)
    lm = LanguageModel.load(settings.preset(store.manifest.preset).lm)
    lm.new_lora()
    widths = tuple(store.manifest.widths[m] for m in MODALITIES)
    config = FusionConfig(widths, store.manifest.widths["shared"], 1, lm.width, lm.soft_norm)
    items = ItemFeatures.of(store, [i.id for i in store.items], None)
    model = RankModel(lm, build(config), items, form="soft").train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    rng = np.random.default_rng(settings.SEED)

    def lists() -> list[RankList]:
        out = []
        for _ in range(LISTS):
            drawn = rng.permutation(len(store.items))[: HISTORY + CANDIDATES]
            gains = np.zeros(CANDIDATES, dtype=np.float32)
            gains[0] = 1.0
            out.append(RankList(drawn[:HISTORY], drawn[HISTORY:], gains, np.zeros(CANDIDATES, dtype=np.float32)))
        return out

    def packed(batch: list[RankList]) -> None:
        loss = list_loss(model(batch), batch, retriever=model.retriever, alone=0.3)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    prefix, item = prompting.load("rerank_prefix"), prompting.load("rerank_item")
    lengths: list[int] = []

    def pairwise(one: RankList) -> None:
        """One list's pairs in batches of four prompts, padded as they come."""
        liked = "".join(f"Liked before: {store.items[i].title}\n" for i in one.history)
        head = prefix.render(request="something like what was liked before", liked=liked)
        for start in range(0, CANDIDATES, 4):
            rows = one.candidates[start : start + 4]
            prompts = [lm.tokens(head + item.render(item=describe(store.items[i]))) for i in rows]
            lengths.extend(len(p) for p in prompts)
            scores = torch.cat(lm.score_lists([(lm.embed(p[:-1]), [lm.embed(p[-1:])]) for p in prompts]))
            target = torch.from_numpy((one.gains[start : start + 4] > 0).astype(np.float32))
            loss = torch.nn.functional.binary_cross_entropy_with_logits(scores, target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    before = pressure()
    packed(lists())
    pairwise(lists()[0])
    rates: dict[str, list[float]] = {"packed": [], "pairwise": []}
    for _ in range(ROUNDS):
        batch = lists()
        started = time.perf_counter()
        packed(batch)
        middle = time.perf_counter()
        pairwise(batch[0])
        rates["packed"].append(LISTS * CANDIDATES / (middle - started))
        rates["pairwise"].append(CANDIDATES / (time.perf_counter() - middle))
    ratios = [a / b for a, b in zip(rates["packed"], rates["pairwise"], strict=True)]
    result = {
        "pairs_per_second": {n: round(statistics.median(v), 2) for n, v in rates.items()},
        "times_faster_median": round(statistics.median(ratios), 1),
        "times_faster_least": round(min(ratios), 1),
        "pairwise_tokens_median": statistics.median(lengths),
        "rounds": ROUNDS,
        "cpu_pressure": {"before": before, "after": pressure()},
        **machine(("torch", "transformers", "peft"), (lm.name,)),
    }
    print(json.dumps(result, indent=1))  # noqa: T201 - the command's output
    if chosen.out:
        chosen.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

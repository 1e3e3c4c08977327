"""`make bench-rerank`: packed scoring against one prompt per candidate, in one run, same weights, dtype and prefix.

50 candidates, prefix of 256 tokens. One by one: a prompt of prefix + 48 text tokens + readout each. Packed: K = 4 soft tokens and a
readout per candidate after one shared prefix; warm: the prefix cache is kept from the last turn. Medians of interleaved runs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch

from eval.machine import pressure
from mmllm.lm import LanguageModel

CANDIDATES, PREFIX, SOFT, TEXT = 50, 256, 4, 48


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lm", default="smollm2-135m-instruct")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    lm = LanguageModel.load(options.lm)
    generator = torch.Generator().manual_seed(0)
    vocabulary = lm.model.config.vocab_size
    prefix = lm.embed(torch.randint(100, vocabulary, (PREFIX,), generator=generator).tolist())
    ids = torch.randint(100, vocabulary, (CANDIDATES, TEXT + 1), generator=generator)
    texts = [lm.embed(row.tolist()) for row in ids]
    soft = torch.randn(CANDIDATES, SOFT, lm.width, generator=generator)
    soft = torch.nn.functional.normalize(soft, dim=-1) * lm.soft_norm
    readout = lm.embed([lm.yes])
    segments = [torch.cat([s, readout]) for s in soft]

    def cold() -> torch.Tensor:
        lm.forget_prefix()
        return lm.score(prefix, segments)

    runs = {
        "one_by_one": lambda: lm.score_separately(prefix, texts),
        "packed_cold": cold,
        "packed_warm": lambda: lm.score(prefix, segments),
        "packed_text": lambda: lm.score(prefix, texts),
    }
    cold(), lm.score(prefix, segments)
    times: dict[str, list[float]] = {name: [] for name in runs}
    before = pressure()
    for _ in range(options.rounds):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - started)
    difference = float((lm.score(prefix, segments) - lm.score_separately(prefix, segments)).abs().max())
    median = {name: round(statistics.median(t), 4) for name, t in times.items()}
    result = {
        "candidates": CANDIDATES,
        "prefix_tokens": PREFIX,
        "soft_tokens": SOFT,
        "text_tokens": TEXT,
        "lm": options.lm,
        "threads": torch.get_num_threads(),
        "median_s": median,
        "ratio_packed_cold": round(median["one_by_one"] / median["packed_cold"], 1),
        "ratio_packed_warm": round(median["one_by_one"] / median["packed_warm"], 1),
        "ratio_same_text_packed": round(median["one_by_one"] / median["packed_text"], 1),
        "largest_score_difference": difference,
        "cpu_pressure_before": before,
        "torch": torch.__version__,
    }
    text = json.dumps(result, indent=1)
    sys.stdout.write(text + "\n")
    if options.out:
        options.out.write_text(text + "\n")
    return 0 if difference < 1e-3 else 1


if __name__ == "__main__":
    raise SystemExit(main())

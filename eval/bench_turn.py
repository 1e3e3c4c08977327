"""`make bench-turn`: a warm text turn over an index, from words to ranked cards; medians over distinct requests, and memory.

Two forms in one run, interleaved: 20 candidates as text (what an untrained adapter uses), 50 candidates as soft tokens.
"""

from __future__ import annotations

import dataclasses
import json
import resource
import statistics
import sys
from pathlib import Path

from eval.bench_rerank import pressure
from mmllm import Query, Recommender, Reranker, settings

REQUESTS = (
    "an animal with a pouch",
    "something to eat that is yellow",
    "a vehicle with wings",
    "a red fruit",
    "a big dog",
    "a musical instrument with strings",
    "winter clothes",
    "a planet with rings",
    "a tool for cutting wood",
    "a boat that sails",
)


def main(index: Path) -> int:
    settings.quiet_libraries()
    text = Recommender.load(index, weight=0.1)
    adapter = text.reranker.adapter
    soft_adapter = dataclasses.replace(adapter, config=dataclasses.replace(adapter.config, form="soft"))
    reranker = Reranker(store=text.store, lm=text.reranker.lm, adapter=soft_adapter, weight=0.1)
    soft = Recommender(store=text.store, encoders=text.encoders, retriever=text.retriever, reranker=reranker)
    forms = {"20_as_text": text, "50_as_soft_tokens": soft}
    times: dict[str, list[float]] = {name: [] for name in forms}
    stages: dict[str, list[float]] = {}
    for request in REQUESTS[:2]:
        for recommender in forms.values():
            recommender.recommend(Query(text=request))
    before = pressure()
    for request in REQUESTS:
        for name, recommender in forms.items():
            response = recommender.recommend(Query(text=request))
            times[name].append(response.timings_ms["total"])
            for stage, value in response.timings_ms.items():
                stages.setdefault(f"{name}/{stage}", []).append(value)
    result = {
        "median_ms": {name: round(statistics.median(t), 1) for name, t in times.items()},
        "median_ms_by_stage": {name: round(statistics.median(t), 1) for name, t in stages.items()},
        "requests": len(REQUESTS),
        "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "cpu_pressure_before": before,
    }
    sys.stdout.write(json.dumps(result, indent=1) + "\n")
    text.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))

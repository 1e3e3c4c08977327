"""Commands over conversations: simulate."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from eval import simulation
from eval.machine import machine, pressure
from eval.reading import Reading
from mmllm import interactions, splits
from mmllm.errors import MmllmError
from mmllm.settings import SEED
from mmllm.terminal import columns, guarded


@guarded
def simulate(
    index: Annotated[Path, typer.Argument(help="An index of a catalog with interactions.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The JSON to write.")],
    rated: Annotated[
        Path | None, typer.Option("--interactions", help="Folder with interactions.csv; the index's catalog if left out.")
    ] = None,
    split: Annotated[str, typer.Option(help=" or ".join(splits.SPLITS))] = "global-time",
    count: Annotated[int, typer.Option(help="How many dialogues.")] = 200,
    turns: Annotated[int, typer.Option(help="How many turns a user has patience for.")] = simulation.TURNS,
    k: Annotated[int, typer.Option("-k", help="How many items a list holds.")] = 5,
    systems: Annotated[
        str, typer.Option(help="Names separated by commas, the one to compare first.")
    ] = "conversation,last message",
    thing: Annotated[str, typer.Option(help="What people call an item.")] = "film",
    seed: Annotated[int, typer.Option(help="Of the users and of all they say.")] = SEED,
    words: Annotated[Path | None, typer.Option(help="An adapter for words that reads turns; rules alone without it.")] = None,
    transcripts: Annotated[
        Path | None, typer.Option(help="Write what was said and shown, a dialogue a line; never to be committed.")
    ] = None,
) -> None:
    """Simulated users who each want one film talk to the conversation, and to the same retriever asked with the last message only."""
    from mmllm.collaborative import together
    from mmllm.recommend import Recommender

    chosen = columns(systems)
    if unknown := [s for s in chosen if s not in simulation.SYSTEMS]:
        raise MmllmError(f"system {unknown[0]!r}", expected=", ".join(simulation.SYSTEMS))
    recommender = Recommender.load(index, weight=0.0, words=words or False)
    ids = [i.id for i in recommender.store.items]
    data = interactions.read(rated or Path(recommender.store.manifest.catalog), sorted(ids))
    made = splits.make(split, data)
    # The index learned who likes what from everything, the targets too: here it knows what lies before them only.
    recommender.store.together = together(made.refit, ids)
    people = simulation.users(made.test, made.train.items, data.users, count)
    if len(people) < count:
        raise MmllmError(
            f"{len(people)} targets in the split's test", expected=f"at least {count}", do="ask for fewer with --count"
        )
    reading = Reading.of(recommender.store.items, thing=thing)
    result: dict[str, Any] = {
        "dataset": Path(recommender.store.manifest.catalog).name,
        "split": made.name,
        "split_hash": made.hash,
        "items": len(ids),
        "list": k,
        "patience": turns,
        "seed": seed,
        "lm": "none in the loop: its weight is 0 and reasons are templates" if words is None else f"{words.name} reads turns",
        "collaborative": "fitted on what the split lets be learned",
        "pressure_before": pressure(),
        "systems": {},
        "metric_of_cases": f"success@{turns}",
        "cases": {},
    }
    kept = {}
    for name in chosen:
        started, worked = time.monotonic(), time.process_time()
        kept[name] = [
            simulation.play(p, reading, simulation.SYSTEMS[name](recommender, k), turns=turns, seed=seed) for p in people
        ]
        spent = {"seconds": round(time.monotonic() - started, 1), "cpu_seconds": round(time.process_time() - worked, 1)}
        row = result["systems"][name] = spent | simulation.summary(kept[name], turns=turns)
        result["cases"][name] = [int(p.found > 0) for p in kept[name]]
        typer.echo(f"{name}: {json.dumps({k: v for k, v in row.items() if k != 'critiques'})}")
    recommender.close()
    first, *others = chosen
    result["against"] = {name: simulation.against(kept[first], kept[name]) for name in others}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(
        json.dumps(result | machine(("torch", "transformers", "numpy", "scipy", "bm25s", "chromadb")), indent=1) + "\n"
    )
    typer.echo(json.dumps(result["against"], indent=1))
    if transcripts is not None:
        with transcripts.open("w", encoding="utf-8") as file:
            for name, dialogues in kept.items():
                for p in dialogues:
                    file.write(json.dumps({"system": name} | simulation.transcript(p, reading), ensure_ascii=False) + "\n")

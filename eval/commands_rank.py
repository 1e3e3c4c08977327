"""Commands over interactions and dialogues: rank, ablate, dialogues."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from eval import baselines, content, metrics, neural, record
from eval.machine import machine
from eval.ranking import TIES, Measured, mean_of, measure, summary, tune
from mmllm import interactions, redial, splits
from mmllm.errors import MmllmError
from mmllm.settings import SEED
from mmllm.store import Store
from mmllm.terminal import guarded

SPLIT = (
    "One of "
    + ", ".join(splits.SPLITS)
    + ", or one of them and "
    + splits.COLD
    + ": a fifth of the items is never learned, and asked for."
)


@guarded
def rank(
    catalog: Annotated[Path, typer.Argument(help="A catalog folder with interactions.csv.")],
    out: Annotated[Path, typer.Option(help="The JSON to write; systems that are in it are kept.")],
    split: Annotated[str, typer.Option(help=SPLIT)] = "global-time",
    index: Annotated[Path | None, typer.Option(help="The catalog's index, for systems that read content.")] = None,
    systems: Annotated[str, typer.Option(help="Names separated by commas; all without adapters if left out.")] = "",
    adapter: Annotated[
        list[str] | None,
        typer.Option(help="NAME=FOLDER of an adapter, NAME=zero-shot or =zero-shot-anonymised; may be repeated."),
    ] = None,
    base: Annotated[str, typer.Option(help="The system whose list adapters rerank.")] = "ease",
    depth: Annotated[int, typer.Option(help="How many of its items they rerank.")] = 30,
    once: Annotated[
        bool, typer.Option("--once", help="Fit nothing again: adapters without a refit beside what knows as much.")
    ] = False,
    whole: Annotated[bool, typer.Option("--whole", help="Adapters rank the whole catalog by their match instead.")] = False,
) -> None:
    """Tune on validation, fit again, rank the whole catalog, write every metric."""
    made = splits.make(split, interactions.read(catalog))
    store = Store(index) if index else None
    read = content.Content.of(store, made.train.items) if store else None
    grids = dict(baselines.GRIDS)
    grids |= {"sasrec": neural.grids(np.zeros((1, 1)))["sasrec"]}
    if read is not None:
        grids |= content.grids(read) | neural.grids(read.vectors["fused"])
    chosen = [s for s in systems.split(",") if s] or list(grids)
    if unknown := [s for s in chosen if s not in grids]:
        raise MmllmError(f"system {unknown[0]!r}", expected=", ".join(grids), do="content systems need --index")
    given = dict(a.split("=", 1) for a in adapter or [])
    if given and store is None:
        raise MmllmError("--adapter without --index", do="name the index it was trained on")
    result = record.start(out, catalog.name, made, again=not once)
    # Of items that nobody liked few are found at all: their recall has more to tell than their first ten places.
    metric = result.setdefault("metric_of_cases", "recall@50" if made.name.endswith(splits.COLD) else "ndcg@10")
    counts = made.refit.counts
    extra: dict[str, Any] = {} if read is None else {"features": read.vectors["text"], "kinds": read.genres}
    kept = {}
    for name in dict.fromkeys([*chosen, *([base] if given and not whole else [])]):
        found = kept[name] = tune(grids[name], made, again=not once)
        measured = measure(found.scores_test, made.test, counts, **extra)
        row = {"settings": found.settings, "tried": found.tried, "validation_ndcg@10": round(found.validation, 5)}
        row |= {"seconds": found.seconds, **summary(measured, made.test)}
        record.keep(result, out, name, row, measured.values[metric])
    if given:
        from eval.language import Trained, ZeroShot, rerank, shuffled
    if given and not whole:
        started = time.monotonic()
        draws = shuffled(kept[base].scores_test, made.test, depth=depth)
        measured = mean_of([measure(scores, made.test, counts) for scores in draws])
        row = {"base": base, "depth": depth, "seconds": round(time.monotonic() - started, 1), **summary(measured, made.test)}
        record.keep(result, out, f"{base} first {depth} shuffled", row, measured.values[metric])
    for name, folder in given.items():
        assert store is not None
        untrained = folder in ("zero-shot", "zero-shot-anonymised")
        reader = (
            ZeroShot(store, made.train.items, anonymised=folder != "zero-shot")
            if untrained
            else Trained(Path(folder), store, made.train.items)
        )
        reader.check(made)
        if once and isinstance(reader, Trained) and reader.recipe.refit:
            raise MmllmError(f"{name} was fitted again, with --once", do="train it without refit, or ask it beside what was too")
        started = time.monotonic()
        if whole:
            measured = measure(reader.model.whole(made.test.history), made.test, counts, **extra)
            about = {"adapter": reader.fingerprint, "seconds": round(time.monotonic() - started, 1)}
            record.keep(result, out, f"{name} (match)", about | summary(measured, made.test), measured.values[metric])
            continue
        tuned = kept[base]
        pairs = (tuned.scores_validation, made.validation), (tuned.scores_test, made.test)
        reranked = rerank(*pairs, reader, depth=depth, chosen=reader.chosen(made, tuned.settings, depth))
        seconds = round(time.monotonic() - started, 1)
        for form, scores in reranked.scores.items():
            measured = measure(scores, made.test, counts, **extra)
            row = {"base": base, "depth": depth, "candidate_recall": reranked.candidate_recall, "seconds": seconds}
            row |= {"adapter": reader.fingerprint}
            row |= reranked.about[form] | summary(measured, made.test)
            record.keep(result, out, f"{name} ({form})", row, measured.values[metric])


@guarded
def ablate(
    catalog: Annotated[Path, typer.Argument(help="A catalog folder with interactions.csv.")],
    adapter: Annotated[Path, typer.Argument(help="A trained adapter.")],
    out: Annotated[Path, typer.Option(help="The JSON to write.")],
    index: Annotated[Path, typer.Option(help="The catalog's index.")],
    split: Annotated[str, typer.Option(help=SPLIT)] = "global-time",
    base: Annotated[str, typer.Option(help="The system whose list it reranks.")] = "ease",
    depth: Annotated[int, typer.Option(help="How many of its items.")] = 30,
    cases: Annotated[int, typer.Option(help="How many test cases at most, drawn by the seed.")] = 250,
    readouts: Annotated[bool, typer.Option(help="Ask the language model too, which takes most of the time.")] = True,
    whole: Annotated[bool, typer.Option("--whole", help="Ask the match for all test cases over the whole catalog.")] = False,
    conditions: Annotated[str, typer.Option(help="Names of conditions beside `all`, separated by commas; all if left out.")] = "",
) -> None:
    """What each modality does for an adapter: left out, as noise, shuffled, and by the share of missing data."""
    from eval.ablation import ablate as run
    from eval.ablation import ablate_whole
    from eval.language import Trained
    from mmllm.rank_model import retrieved

    def note(name: str, row: dict[str, Any]) -> None:
        typer.echo(f"{name}: {row}")

    def write(about: dict[str, Any], rows: dict[str, Any]) -> None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(about | {"conditions": rows} | machine(("torch", "transformers", "peft")), indent=1))

    made = splits.make(split, interactions.read(catalog))
    reader = Trained(adapter, Store(index), made.train.items)
    reader.check(made)
    about: dict[str, Any] = {"adapter": reader.adapter.config.name, "split": made.name, "split_hash": made.hash}
    wanted = [c for c in conditions.split(",") if c]
    if whole:
        write(about | {"cases": len(made.test)}, ablate_whole(reader, made.test, note=note, wanted=wanted))
        return
    found = tune(baselines.GRIDS[base], made)
    chosen = np.sort(np.random.default_rng(SEED).permutation(len(made.test))[:cases])
    shown = retrieved(made.test.where(chosen), found.scores_test[chosen], depth)
    weight = float(reader.adapter.config.blend or 0.0)
    if not readouts:
        reader.readouts, weight = False, float(reader.found["match_weight"])
    about |= {"cases": len(chosen), "weight": weight, "readouts": reader.readouts, "base": base, "depth": depth}
    write(about, run(reader, shown, weight, note=note, wanted=wanted))


@guarded
def dialogues(
    file: Annotated[Path, typer.Argument(help="Dialogues in ReDial's layout, JSON lines, linked to the catalog.")],
    out: Annotated[Path, typer.Option(help="The JSON to write.")],
    index: Annotated[Path, typer.Option(help="The catalog's index.")],
    adapter: Annotated[list[str] | None, typer.Option(help="NAME=FOLDER of a trained adapter; may be repeated.")] = None,
    positive: Annotated[float, typer.Option(help="A rating from here on is a like.")] = 4.0,
    depth: Annotated[int, typer.Option(help="How many items adapters rerank.")] = 50,
) -> None:
    """Recommend in dialogues: 200 held out by dialogue; films already named are excluded."""
    from eval import dialogues as d
    from eval.language import Trained, rerank, shuffled
    from mmllm import settings
    from mmllm.encoders import Encoders

    store = Store(index)
    ids = tuple(i.id for i in store.items)
    data = interactions.read(Path(store.manifest.catalog), ids)
    liked = data.where(data.rating >= positive)
    learned, validation, test = redial.parts(redial.read(file, ids))
    tuning, asked = redial.ask(validation, len(ids)), redial.ask(test, len(ids))
    encoders = Encoders(settings.preset(store.manifest.preset), heads=store.heads)
    read = content.Content.of(store, ids)
    named = redial.mentions(learned, len(ids))
    found = d.systems(tuning, asked, content=read, encoders=encoders, named=named, liked=liked.matrix)
    result: dict[str, Any] = {
        "dataset": file.name,
        "split": "by dialogue",
        "split_hash": d.split_hash(asked),
        "items": len(ids),
        "trained_on": f"{len(learned)} dialogues, {len(liked)} likes",
        "validation_cases": len(tuning.cases),
        "test_cases": len(asked.cases),
        "test_dialogues": len(test),
        "ranking": f"full, films already named removed; {TIES}",
        "systems": {},
        "cases": {},
        "metric_of_cases": "recall@10",
    }
    counts = np.asarray(named.sum(axis=0)).ravel()

    def keep(name: str, measured: Measured, about: dict[str, Any]) -> None:
        row = {**about, "seconds": 0.0, **summary(measured, asked.cases)}
        row["recall@10_interval"] = [round(v, 5) for v in metrics.interval(measured.values["recall@10"])]
        record.keep(result, out, name, row, measured.values["recall@10"])

    for name, scored in found.items():
        keep(name, measure(scored.test, asked.cases, counts), {"settings": scored.settings})
    base = found["ease+popularity+bm25"]
    if adapter:
        draws = [measure(scores, asked.cases, counts) for scores in shuffled(base.test, asked.cases, depth=depth)]
        keep(f"ease+popularity+bm25 first {depth} shuffled", mean_of(draws), {"depth": depth})
    for name, folder in (a.split("=", 1) for a in adapter or []):
        reader = Trained(Path(folder), store, ids)
        requests = tuple([redial.request_of(said) for said in a.said] for a in (tuning, asked)) if reader.talks else None
        reranked = rerank((base.validation, tuning.cases), (base.test, asked.cases), reader, depth=depth, requests=requests)
        about = {"base": "ease+popularity+bm25", "depth": depth, "candidate_recall": reranked.candidate_recall}
        for form, scores in reranked.scores.items():
            keep(f"{name} ({form})", measure(scores, asked.cases, counts), about | reranked.about[form])

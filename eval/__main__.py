"""`python -m eval`: rank (systems on a split), compare (two systems), table (Markdown of results)."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from eval import baselines, content, metrics, neural, slots
from eval.machine import machine
from eval.ranking import TIES, compare, measure, summary, tune
from mmllm import interactions
from mmllm.errors import MmllmError
from mmllm.settings import SEED
from mmllm.store import Store
from mmllm.terminal import guarded

app = typer.Typer(no_args_is_help=True, add_completion=False, help="The offline evaluation harness.")


@app.command()
@guarded
def rank(
    catalog: Annotated[Path, typer.Argument(help="A catalog folder with interactions.csv.")],
    out: Annotated[Path, typer.Option(help="The JSON to write; systems that are in it are kept.")],
    split: Annotated[str, typer.Option(help=" or ".join(interactions.SPLITS))] = "global-time",
    cold: Annotated[bool, typer.Option(help="Hold a fifth of the items out of training and ask for those.")] = False,
    index: Annotated[Path | None, typer.Option(help="The catalog's index, for systems that read content.")] = None,
    systems: Annotated[str, typer.Option(help="Names separated by commas; all without adapters if left out.")] = "",
    adapter: Annotated[list[str] | None, typer.Option(help="NAME=FOLDER of a trained adapter; may be repeated.")] = None,
    base: Annotated[str, typer.Option(help="The system whose list adapters rerank.")] = "ease",
    depth: Annotated[int, typer.Option(help="How many of its items they rerank.")] = 30,
) -> None:
    """Tune on validation, fit again, rank the whole catalog, write every metric."""
    if split not in interactions.SPLITS:
        raise MmllmError(f"split {split!r}", expected=" or ".join(interactions.SPLITS))
    made = interactions.SPLITS[split](interactions.read(catalog))
    if cold:
        made, _ = interactions.cold_items(made)
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
    result = _open(out, catalog.name, made)
    counts = made.refit.counts
    extra: dict[str, Any] = {} if read is None else {"features": read.vectors["text"], "kinds": read.genres}
    kept = {}
    for name in dict.fromkeys([*chosen, *([base] if given else [])]):
        found = kept[name] = tune(grids[name], made)
        measured = measure(found.scores_test, made.test, counts, **extra)
        row = {"settings": found.settings, "tried": found.tried, "validation_ndcg@10": round(found.validation, 5)}
        row |= {"seconds": found.seconds, **summary(measured, made.test)}
        _keep(result, out, name, row, measured.values["ndcg@10"])
    for name, folder in given.items():
        from eval.language import Trained, ZeroShot, rerank

        assert store is not None
        reader = ZeroShot(store, made.train.items) if folder == "zero-shot" else Trained(Path(folder), store, made.train.items)
        started = time.monotonic()
        tuned = kept[base]
        pairs = (tuned.scores_validation, made.validation), (tuned.scores_test, made.test)
        reranked = rerank(*pairs, reader, depth=depth)
        seconds = round(time.monotonic() - started, 1)
        for form, scores in reranked.scores.items():
            measured = measure(scores, made.test, counts, **extra)
            row = {"base": base, "depth": depth, "candidate_recall": reranked.candidate_recall, "seconds": seconds}
            row |= reranked.about[form] | summary(measured, made.test)
            _keep(result, out, f"{name} ({form})", row, measured.values["ndcg@10"])


@app.command()
@guarded
def ablate(
    catalog: Annotated[Path, typer.Argument(help="A catalog folder with interactions.csv.")],
    adapter: Annotated[Path, typer.Argument(help="A trained adapter.")],
    out: Annotated[Path, typer.Option(help="The JSON to write.")],
    index: Annotated[Path, typer.Option(help="The catalog's index.")],
    split: Annotated[str, typer.Option(help=" or ".join(interactions.SPLITS))] = "global-time",
    base: Annotated[str, typer.Option(help="The system whose list it reranks.")] = "ease",
    depth: Annotated[int, typer.Option(help="How many of its items.")] = 30,
    cases: Annotated[int, typer.Option(help="How many test cases at most, drawn by the seed.")] = 250,
) -> None:
    """What each modality does for an adapter: left out, as noise, shuffled, and by the share of missing data."""
    from eval.ablation import ablate as run
    from eval.language import Trained
    from mmllm.rank_model import retrieved

    made = interactions.SPLITS[split](interactions.read(catalog))
    reader = Trained(adapter, Store(index), made.train.items)
    found = tune(baselines.GRIDS[base], made)
    chosen = np.sort(np.random.default_rng(SEED).permutation(len(made.test))[:cases])
    shown = retrieved(made.test.where(chosen), found.scores_test[chosen], depth)
    weight = float(reader.adapter.config.blend or 0.0)
    about = {
        "adapter": reader.adapter.config.name,
        "split": made.name,
        "split_hash": made.hash,
        "cases": len(chosen),
        "weight": weight,
    }
    rows = run(reader, shown, weight, note=lambda name, row: typer.echo(f"{name}: {row}"))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(
        json.dumps(
            about | {"base": base, "depth": depth, "conditions": rows} | machine(("torch", "transformers", "peft")), indent=1
        )
    )


@app.command()
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
    from eval.language import Trained, rerank
    from mmllm import settings
    from mmllm.encoders import Encoders

    store = Store(index)
    ids = tuple(i.id for i in store.items)
    data = interactions.read(Path(store.manifest.catalog), ids)
    liked = data.where(data.rating >= positive)
    learned, validation, test = d.parts(d.read(file, ids))
    tuning, asked = d.ask(validation, len(ids)), d.ask(test, len(ids))
    encoders = Encoders(settings.preset(store.manifest.preset), heads=store.heads)
    read = content.Content.of(store, ids)
    named = d.mentions(learned, len(ids))
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

    def keep(name: str, scores: np.ndarray, about: dict[str, Any]) -> None:
        measured = measure(scores, asked.cases, counts)
        row = {**about, "seconds": 0.0, **summary(measured, asked.cases)}
        row["recall@10_interval"] = [round(v, 5) for v in metrics.interval(measured.values["recall@10"])]
        _keep(result, out, name, row, measured.values["recall@10"])

    for name, scored in found.items():
        keep(name, scored.test, {"settings": scored.settings})
    base = found["ease+popularity+bm25"]
    for name, folder in (a.split("=", 1) for a in adapter or []):
        reader = Trained(Path(folder), store, ids)
        reranked = rerank((base.validation, tuning.cases), (base.test, asked.cases), reader, depth=depth)
        about = {"base": "ease+popularity+bm25", "depth": depth, "candidate_recall": reranked.candidate_recall}
        for form, scores in reranked.scores.items():
            keep(f"{name} ({form})", scores, about | reranked.about[form])


@app.command()
@guarded
def requests(
    index: Annotated[Path, typer.Argument(help="An index of the catalog to ask for.")],
    out: Annotated[Path, typer.Option(help="The JSON to write.")],
    adapter: Annotated[list[str] | None, typer.Option(help="NAME=FOLDER, or NAME=zero-shot; may be repeated.")] = None,
    count: Annotated[int, typer.Option(help="How many requests.")] = 300,
) -> None:
    """Requests made from attributes, on a catalog that the adapters never saw: weights are the adapters' own, nothing is tuned here."""
    from eval import requests as r
    from eval.language import Trained, ZeroShot
    from mmllm.recommend import open_retriever

    retriever = open_retriever(index)
    made, cases = r.asked(retriever, count)
    text = "\n".join(f"{m.text} {m.relevant.tolist()}" for m in made)
    recall = float(np.mean([np.isin(c.targets, c.candidates).sum() / min(len(c.targets), r.DEPTH) for c in cases]))
    result: dict[str, Any] = {
        "dataset": Path(retriever.store.manifest.catalog).name,
        "split": "requests made from attributes",
        "split_hash": hashlib.sha256(text.encode()).hexdigest()[:16],
        "items": len(retriever.store.items),
        "test_cases": len(made),
        "depth": r.DEPTH,
        "candidate_recall": round(recall, 5),
        "seed": SEED,
        "systems": {},
        "cases": {},
    }
    base = r.of_retriever(cases)

    def keep(name: str, values: np.ndarray, about: dict[str, Any]) -> None:
        _keep(result, out, name, about | r.row(values), values)

    for name, values in (r.by_lists(retriever, made) | {"hybrid": base}).items():
        keep(name, values, {})
    ids = [i.id for i in retriever.store.items]
    for name, folder in (a.split("=", 1) for a in adapter or []):
        reader = ZeroShot(retriever.store, ids) if folder == "zero-shot" else Trained(Path(folder), retriever.store, ids)
        weight, share = 0.5, 1.0
        if isinstance(reader, Trained):
            weight, share = float(reader.adapter.config.blend or 0.0), reader.adapter.config.readout
        for form, values in r.reranked(cases, reader, weight=weight, share=share).items():
            about: dict[str, Any] = {"base": "hybrid", "weight": weight if form == "blend" else 1.0}
            about["against_hybrid"] = compare(
                {"split_hash": "", "metric": "ndcg@10", "cases": values.tolist()},
                {"split_hash": "", "metric": "ndcg@10", "cases": base.tolist()},
            )
            keep(f"{name} ({form})", values, about)


@app.command()
@guarded
def labels(
    index: Annotated[Path, typer.Argument(help="An index, such as of one CSV.")],
    file: Annotated[Path, typer.Argument(help="A CSV with an id and a label per item.")],
    label: Annotated[str, typer.Option(help="The column to predict; the catalog must not have it.")] = "label",
    id_column: Annotated[str, typer.Option("--id", help="The column of the items' ids.")] = "id",
    split: Annotated[str, typer.Option(help="ratio:SHARE that is learned from.")] = "ratio:0.8",
    out: Annotated[Path | None, typer.Option(help="The JSON to write.")] = None,
) -> None:
    """Predict a label of the items from their features: accuracy, recall, AUC, by modality and fused."""
    from eval.labels import predict, read, share

    store = Store(index)
    found = predict(store, read(file, store, id_column=id_column, label=label), ratio=share(split))
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps({"label": label, "split": split} | found | machine(("scikit-learn", "torch")), indent=1))
    typer.echo(json.dumps(found, indent=1))


@app.command()
@guarded
def plot(
    result: Annotated[Path, typer.Argument(help="What rank, dialogues, requests or ablate wrote.")],
    out: Annotated[Path | None, typer.Option(help="Path without an ending; beside the result if left out.")] = None,
) -> None:
    """Draw a result: PNG and SVG."""
    from eval.plots import draw

    for file in draw(json.loads(result.read_text()), out or result.with_suffix("")):
        typer.echo(str(file))


@app.command()
@guarded
def explanations(
    index: Annotated[Path, typer.Argument(help="An index.")],
    out: Annotated[Path, typer.Option(help="The JSON to write.")],
    count: Annotated[int, typer.Option(help="How many recommendations.")] = 200,
) -> None:
    """Claims borne out by the catalog, share of templates, and whether removing what is cited lowers the score."""
    from eval import explanations as e
    from mmllm.recommend import Recommender

    recommender = Recommender.load(index)
    found = e.summary(e.judge(recommender, count=count))
    recommender.close()
    about = {"dataset": Path(recommender.store.manifest.catalog).name, "lm_weight": recommender.reranker.weight, "seed": SEED}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(about | found | machine(("torch", "transformers")), indent=1))
    typer.echo(json.dumps({k: v for k, v in found.items() if k != "unsupported"}, indent=1))


def _open(out: Path, dataset: str, made: interactions.Split) -> dict[str, Any]:
    about = {
        "dataset": dataset,
        "split": made.name,
        "split_hash": made.hash,
        "items": len(made.train.items),
        "trained_on": len(made.refit),
        "validation_cases": len(made.validation),
        "test_cases": len(made.test),
        "test_targets": sum(len(t) for t in made.test.targets),
        "ranking": f"full, seen items removed; {TIES}",
        "seed": SEED,
    }
    if out.is_file():
        old = json.loads(out.read_text())
        if old["split_hash"] != made.hash:
            raise MmllmError(f"{out} holds results of split {old['split_hash']}, this is {made.hash}", do="write to another file")
        return dict(old)
    return about | {"systems": {}, "cases": {}}


def _keep(result: dict[str, Any], out: Path, name: str, row: dict[str, Any], values: np.ndarray) -> None:
    result["systems"][name] = row
    result["cases"][name] = [round(float(v), 6) for v in values]
    result |= machine(("torch", "transformers", "peft", "numpy", "scipy", "implicit"))
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(out.name + ".part")
    cases = result.pop("cases")
    text = (
        json.dumps(result, indent=1)[:-2]
        + ',\n "cases": {\n'
        + ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in cases.items())
        + "\n }\n}\n"
    )
    result["cases"] = cases
    part.write_text(text)
    part.rename(out)
    more = f" recall@50 {row['recall@50']:.4f} ({row['seconds']} s)" if "recall@50" in row else ""
    typer.echo(f"{name}: nDCG@10 {row['ndcg@10']:.4f} {row['ndcg@10_interval']}{more}")


def _row(result: Path, system: str) -> dict[str, Any]:
    found = json.loads(result.read_text())
    if system not in found["systems"]:
        raise MmllmError(f"no system {system!r} in {result}", expected=", ".join(found["systems"]))
    return {"split_hash": found["split_hash"], "metric": found.get("metric_of_cases", "ndcg@10"), "cases": found["cases"][system]}


@app.command(name="compare")
@guarded
def compare_command(
    a: Annotated[str, typer.Argument(help="RESULT.json:SYSTEM; several, separated by commas, are pooled.")],
    b: Annotated[str, typer.Argument(help="As many, of the same splits in the same order.")],
) -> None:
    """Paired difference of two systems with its interval and p, over the cases of one result or of several; other splits are refused."""
    rows: list[dict[str, Any]] = []
    for given in (a, b):
        pooled: dict[str, Any] = {"split_hash": [], "metric": "", "cases": []}
        for one in given.split(","):
            file, colon, system = one.rpartition(":")
            if not colon or not Path(file).is_file():
                raise MmllmError(f"{one!r}", expected="RESULT.json:SYSTEM")
            row = _row(Path(file), system)
            pooled["split_hash"].append(row["split_hash"])
            pooled["cases"] += row["cases"]
            if pooled["metric"] not in ("", row["metric"]):
                raise MmllmError(f"cases by {pooled['metric']} and by {row['metric']}", expected="the same metric")
            pooled["metric"] = row["metric"]
        rows.append(pooled)
    typer.echo(json.dumps(compare(rows[0], rows[1]), indent=1))


@app.command()
@guarded
def table(results: Annotated[list[Path], typer.Argument(help="Results of `rank`.")]) -> None:
    """A Markdown table of results."""
    for file in results:
        found = json.loads(file.read_text())
        typer.echo(
            f"\n{found['dataset']}, {found['split']} ({found['split_hash']}), {found['test_cases']} cases, {found['items']} items\n"
        )
        names = ["ndcg@10", "recall@10", "recall@50", "hit@10", "mrr@10", "coverage@10", "novelty@10"]
        typer.echo("| system | " + " | ".join(names) + " | settings |\n|" + "---|" * (len(names) + 2))
        for system, row in sorted(found["systems"].items(), key=lambda pair: -pair[1]["ndcg@10"]):
            low, high = row["ndcg@10_interval"]
            cells = [f"{row['ndcg@10']:.4f} [{low:.4f}, {high:.4f}]", *(f"{row[n]:.4f}" for n in names[1:])]
            settings = row.get("settings") or {k: row[k] for k in ("base", "depth", "weight") if k in row}
            typer.echo(f"| {system} | " + " | ".join(cells) + " | " + " ".join(f"{k}={v}" for k, v in settings.items()) + " |")


app.command(name="slots")(guarded(slots.command))


if __name__ == "__main__":
    app()

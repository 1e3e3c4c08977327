"""Commands over a catalog without interactions: requests, labels, explanations."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from eval import record
from eval.machine import machine
from eval.ranking import compare
from mmllm.settings import SEED
from mmllm.store import Store
from mmllm.terminal import guarded


@guarded
def requests(
    index: Annotated[Path, typer.Argument(help="An index of the catalog to ask for.")],
    out: Annotated[Path, typer.Option(help="The JSON to write.")],
    adapter: Annotated[list[str] | None, typer.Option(help="NAME=FOLDER, or NAME=zero-shot; may be repeated.")] = None,
    count: Annotated[int, typer.Option(help="How many requests.")] = 300,
    quoted: Annotated[bool, typer.Option("--quoted", help="Requests in words of the items' texts, not of attributes.")] = False,
) -> None:
    """Requests made from a catalog that the adapters never saw: weights are the adapters' own, nothing is tuned here."""
    from eval import requests as r
    from eval.language import Trained, ZeroShot
    from mmllm.recommend import open_retriever

    retriever = open_retriever(index)
    made, cases = r.asked(retriever, count, quoted=quoted)
    text = "\n".join(f"{m.text} {m.relevant.tolist()}" for m in made)
    recall = float(np.mean([np.isin(c.targets, c.candidates).sum() / min(len(c.targets), r.DEPTH) for c in cases]))
    result: dict[str, Any] = {
        "dataset": Path(retriever.store.manifest.catalog).name,
        "split": "requests made from " + ("texts" if quoted else "attributes"),
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
        record.keep(result, out, name, about | r.row(values), values)

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


@guarded
def explanations(
    index: Annotated[Path, typer.Argument(help="An index.")],
    out: Annotated[Path, typer.Option(help="The JSON to write.")],
    count: Annotated[int, typer.Option(help="How many recommendations.")] = 200,
    words: Annotated[str, typer.Option(help="A folder of an adapter for words; shipped, or none.")] = "shipped",
    texts: Annotated[Path | None, typer.Option(help="Write the reasons, a line each, to be read.")] = None,
) -> None:
    """Claims borne out by the catalog, share of templates, and whether removing what is cited lowers the score."""
    from eval import explanations as e
    from mmllm.recommend import Recommender

    recommender = Recommender.load(index, words={"shipped": True, "none": False}.get(words, words))
    judged = e.judge(recommender, count=count)
    found = e.summary(judged)
    recommender.close()
    about = {"dataset": Path(recommender.store.manifest.catalog).name, "lm_weight": recommender.reranker.weight, "seed": SEED}
    about |= {"words": recommender.words.name if recommender.words else recommender.unworded}
    if texts is not None:
        texts.write_text("".join(f"{j.source}: {j.text}\n" for j in judged), encoding="utf-8")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(about | found | machine(("torch", "transformers")), indent=1))
    typer.echo(json.dumps({k: v for k, v in found.items() if k != "unsupported"}, indent=1))

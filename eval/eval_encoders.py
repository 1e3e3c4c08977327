"""`make eval-encoders`: does clip-mini know things, and does `mmllm adapt` teach it a catalog?

Recall of words -> picture and picture -> words on titles held out of training (300 stamps, 300 emoji), one picture and one title each,
full ranking, a tie counts as a miss; intervals are 95 % bootstraps over the queries. Then, where the data is, fashion products that
nothing was trained on: as clip-mini comes, with untrained projections, and after `mmllm adapt` on the other products.

    python -m eval.eval_encoders --work DIR [--fashion ../shared/data/fashion_products] [--out FILE]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eval.machine import machine, pressure
from mmllm import catalog, clip_mini, settings
from mmllm.adapt import adapt
from mmllm.build import build_index
from mmllm.contrast import ranks, recall
from mmllm.encoders import Encoders
from mmllm.importers.csv_file import import_csv
from mmllm.media import load_image
from mmllm.store import Store
from mmllm.train_clip import catalog_of, split

HELD_OUT, KS, DRAWS = 300, (1, 5, 10), 1000
ATTRIBUTES = ("gender", "master_category", "sub_category", "article_type", "colour", "season", "usage", "year")


def with_intervals(found: dict[str, np.ndarray]) -> dict[str, Any]:
    """Recall at 1, 5, 10 with 95 % bootstrap intervals: {"text_to_image_recall@10": [value, low, high]}."""
    rng = np.random.default_rng(0)
    out: dict[str, Any] = {}
    for name, rank in found.items():
        draws = rng.integers(0, len(rank), (DRAWS, len(rank)))
        for k in KS:
            hits = rank <= k
            low, high = np.quantile(hits[draws].mean(axis=1), (0.025, 0.975))
            out[f"{name}_recall@{k}"] = [round(float(v), 4) for v in (hits.mean(), low, high)]
    return out


def held_out(source: str, work: Path) -> dict[str, Any]:
    """Recall on the titles of a source that clip-mini was not trained on."""
    folder = catalog_of(source, work)
    items = [i for i in catalog.read(folder).items if i.image]
    _, test = split(items, HELD_OUT)
    clip = Encoders(settings.preset("mini")).clip
    images = clip.image_features([load_image(folder / str(items[r].image)) for r in test])
    texts = clip.text_features([items[r].title for r in test])
    return {"queries": len(test), "chance@10": round(10 / len(test), 4)} | with_intervals(ranks(clip.heads, images, texts))


def fashion(source: Path) -> dict[str, Any]:
    """Zero-shot on 300 products, then `mmllm adapt` on the others; seconds of both."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, index = Path(scratch) / "catalog", Path(scratch) / "index"
        import_csv(source / "items.csv", folder, id="item", title="title", image="image", attributes=ATTRIBUTES)
        before, started = pressure(), time.monotonic()
        build_index(folder, index, preset="mini")
        built = time.monotonic() - started
        store = Store(index)
        pictured = [i.id for i in store.items if i.image]
        test = sorted(pictured, key=lambda i: hashlib.sha256(i.encode()).hexdigest())[:HELD_OUT]
        rows = store.rows(test)
        clip = Encoders(settings.preset("mini")).clip
        images = store.features["image"]["values"][rows]
        texts = clip.text_features([store.items[r].title for r in rows])
        out: dict[str, Any] = {"queries": len(test), "chance@10": round(10 / len(test), 4)}
        out["untrained"] = recall(ranks(clip_mini.untrained_heads(), images, texts))
        out["zero_shot"] = with_intervals(ranks(clip.heads, images, texts))
        started = time.monotonic()
        report = adapt(index, test=test)
        adapted = Encoders(settings.preset("mini"), heads=Store(index).heads).clip
        out["adapted"] = with_intervals(ranks(adapted.heads, images, texts))
        out |= {"trained_on": report.trained_on, "kept": report.kept}
        out["seconds"] = {"index": round(built, 1), "adapt": round(time.monotonic() - started, 1)}
        return out | {"cpu_pressure": {"before": before, "after": pressure()}}


def write(result: dict[str, Any], out: Path | None) -> None:
    """After every part, so that a stopped run leaves what it had."""
    if out:
        out.write_text(json.dumps(result, indent=1) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="Catalogs are kept here.")
    parser.add_argument("--fashion", type=Path, default=Path("../shared/data/fashion_products"))
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args(arguments)
    settings.quiet_libraries()
    result = machine(("torch", "open_clip_torch", "timm", "pillow"), ("clip-mini",))
    for source in ("stamps", "emoji"):
        result[source] = held_out(source, chosen.work)
        sys.stdout.write(f"{source}: {json.dumps(result[source])}\n")
        write(result, chosen.out)
    if chosen.fashion.is_dir():
        result["fashion"] = fashion(chosen.fashion)
        sys.stdout.write(f"fashion: {json.dumps(result['fashion'])}\n")
    else:
        sys.stdout.write(f"fashion: {chosen.fashion} is not here, left out\n")
    write(result, chosen.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

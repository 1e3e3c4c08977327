"""Are captions right? Each held-out stamp is captioned from its picture, then checked against its own words, by script.

Nothing is learned from the held-out pictures: neither CLIP's projections, nor the regression, nor the thresholds, which the captioner
sets by cross-validation on the others. The values of their attributes are in the bank wherever another stamp has them too.
Rules, on stemmed words (`mmllm.lexical.words`):
  name: a phrase shares a word with the title ("A black cat" and "cat").
  kind: a phrase is the item's `kind`, the narrowest folder word.
  broad: a phrase is the item's `category`, the broadest folder word, or holds a word of its text (all folder words stand there).
  strict = name or kind; right = name or kind or broad.
  contradicted: of a phrase, no word stands in the item's title, text or attributes.
  other_value, harsher: a phrase is a value of attributes that the item has, and its own value in none of them.

    python -m eval.eval_captions CATALOG [--out FILE]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from eval.machine import machine
from mmllm import catalog, settings
from mmllm.caption import PhraseCaptioner, bank
from mmllm.catalog import NAMES, as_text
from mmllm.encoders import Encoders
from mmllm.lexical import words
from mmllm.media import load_image
from mmllm.train_clip import split
from mmllm.types import Caption, Item

HELD_OUT = 300
SHARES = ("name", "kind", "strict", "right", "contradicted", "other_value", "empty")
Values = dict[str, tuple[str, ...]]


def judge(item: Item, caption: Caption, values: Values) -> dict[str, bool]:
    """The rules above, for one item; `values` is the captioner's bank."""
    title, text = set(words(item.title)), set(words(item.text))
    own = title | text | {w for n, v in item.attributes.items() if n != NAMES for w in words(as_text(v))}
    said = [(p, set(words(p))) for p in caption.phrases]
    name = any(w & title for _, w in said)
    kind = as_text(item.attributes.get("kind", "")) in caption.phrases
    broad = as_text(item.attributes.get("category", "")) in caption.phrases or any(w & text for _, w in said)
    return {
        "name": name,
        "kind": kind,
        "strict": name or kind,
        "right": name or kind or broad,
        "contradicted": any(not w & own for _, w in said),
        "other_value": any(_other_value(item, p, values) for p in caption.phrases),
        "empty": not caption.phrases,
    }


def _other_value(item: Item, phrase: str, values: Values) -> bool:
    asserted = [item.attributes[n] for n, group in values.items() if phrase in group and n in item.attributes]
    return bool(asserted) and not any(phrase in (v if isinstance(v, tuple) else (v,)) for v in asserted)


def interval(values: np.ndarray, draws: int = 2000) -> list[float]:
    """95 % bootstrap interval of a mean."""
    rng = np.random.default_rng(settings.SEED)
    means = values[rng.integers(0, len(values), (draws, len(values)))].mean(axis=1)
    return [round(float(q), 4) for q in np.quantile(means, (0.025, 0.975))]


def measure(folder: Path) -> tuple[dict[str, Any], list[tuple[Item, Caption]]]:
    """Shares over the items held out, and the captions themselves."""
    items = [i for i in catalog.read(folder).items if i.image]
    rows, test = split(items, HELD_OUT)
    clip = Encoders(settings.preset("mini")).clip
    features = clip.image_features([load_image(folder / str(i.image)) for i in items])
    known = np.zeros(len(items), dtype=bool)
    known[rows] = True
    captioner = PhraseCaptioner(
        items,
        features,
        known,
        encode_images=clip.image_features,
        project=lambda f: clip.heads.project(f, "image"),
        encode_texts=clip.encode_texts,
        name=clip.name,
    )
    values = bank([items[r] for r in rows])
    out: dict[str, Any] = {"items": {"known": len(rows), "held_out": len(test)}, "bank": {n: len(v) for n, v in values.items()}}
    out["known_values"] = round(float(np.mean([as_text(items[r].attributes["kind"]) in values["kind"] for r in test])), 4)
    made = captioner.caption_features(features[test])
    own = captioner.known_captions()
    for name, captions in (("held_out", dict(zip(test, made, strict=True))), ("known_cross_fitted", own)):
        judged = [judge(items[r], c, values) for r, c in captions.items()]
        columns = {key: np.array([j[key] for j in judged], dtype=float) for key in SHARES}
        shares: dict[str, Any] = {key: [round(float(c.mean()), 4), *interval(c)] for key, c in columns.items()}
        phrases = sum(len(c.phrases) for c in captions.values())
        out[name] = shares | {"phrases_per_caption": round(phrases / len(captions), 2)}
    return out, [(items[r], c) for r, c in zip(test, made, strict=True)]


def main() -> None:
    """Print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("catalog", type=Path)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    found, captions = measure(args.catalog)
    for item, caption in captions[:12]:
        print(f"{item.title:36.36} {caption.text} ({caption.confidence:.2f})")  # noqa: T201
    print(json.dumps(found, indent=1))  # noqa: T201
    if args.out:
        args.out.write_text(json.dumps(machine(("torch", "open_clip_torch", "timm"), ("clip-mini",)) | found, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Are captions right? Each held-out stamp is captioned from its picture, then checked against its own words, by script.

The pictures that vote are those that are not held out. Rules, on stemmed words (`mmllm.retrieve.words`):
  name: a phrase shares a word with the title ("A black cat" and "cat").
  kind: a phrase is the item's `kind`, the narrowest folder word.
  broad: a phrase is the item's `category`, the broadest folder word, or a word of its text (all folder words stand there).
  right = name or kind or broad; strict = name or kind.
  contradicted: a phrase asserts a value of an attribute that the item has with other values only, and no word of the phrase
  stands in the item's title, text or attributes; or a name from the vocabulary of which no word stands there.

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
from mmllm.caption import PhraseCaptioner
from mmllm.catalog import NAMES, as_text
from mmllm.encoders import Encoders
from mmllm.media import load_image
from mmllm.retrieve import words
from mmllm.train_clip import split
from mmllm.types import Caption, Item

HELD_OUT = 300
CHOSEN_ON = 100
"""The thresholds were chosen on the first 100 of the held-out items; the others are the honest figure."""


def judge(item: Item, caption: Caption) -> dict[str, bool]:
    """The rules above, for one item."""
    title = set(words(item.title))
    own = title | set(words(item.text)) | {w for n, v in item.attributes.items() if n != NAMES for w in words(as_text(v))}
    kind, category = as_text(item.attributes.get("kind", "")), as_text(item.attributes.get("category", ""))
    text = set(words(item.text))
    name = any(set(words(p)) & title for p in caption.phrases)
    narrow = kind in caption.phrases
    broad = category in caption.phrases or any(set(words(p)) & text for p in caption.phrases)
    wrong = any(not set(words(p)) & own for p in caption.phrases)
    return {"strict": name or narrow, "right": name or narrow or broad, "contradicted": wrong, "empty": not caption.phrases}


def measure(folder: Path) -> tuple[dict[str, Any], list[tuple[Item, Caption]]]:
    """Shares over the items held out, and the captions themselves."""
    items = [i for i in catalog.read(folder).items if i.image]
    _, test = split(items, HELD_OUT)
    clip = Encoders(settings.preset("mini")).clip
    images = clip.encode_images([load_image(folder / str(i.image)) for i in items])
    known = np.ones(len(items), dtype=bool)
    known[test] = False
    captioner = PhraseCaptioner(
        items, images, known, encode_images=clip.encode_images, encode_texts=clip.encode_texts, name=clip.name
    )
    made = captioner.caption_vectors(images[test])
    judged = [judge(items[r], c) for r, c in zip(test, made, strict=True)]
    out: dict[str, Any] = {"held_out": len(test), "thresholds_chosen_on": CHOSEN_ON}
    for name, rows in (("all", judged), ("chosen_on", judged[:CHOSEN_ON]), ("reported", judged[CHOSEN_ON:])):
        out[name] = {
            key: round(float(np.mean([j[key] for j in rows])), 4) for key in ("strict", "right", "contradicted", "empty")
        }
    out["phrases_per_caption"] = round(float(np.mean([len(c.phrases) for c in made])), 2)
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

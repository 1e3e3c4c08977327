"""Train clip-mini: the two projections, over frozen towers, on pictures with names from openly licensed catalogs.

Each picture is encoded once per view by the frozen tower and kept, so that a stopped run goes on; the projections are then
trained in a minute. Titles held out of a catalog are held out of every catalog's pictures of that source, in every style.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors.numpy import load_file, save_file

from mmllm import catalog, clip_mini, settings, weights
from mmllm.contrast import Classes, Contrast, fit, ranks, recall
from mmllm.encoders import TextEncoder
from mmllm.errors import CatalogError, MmllmError
from mmllm.importers import importer
from mmllm.media import load_image
from mmllm.projection import Heads
from mmllm.types import Item, Progress

log = logging.getLogger(__name__)
TWIN = 0.97
"""Training pictures nearer than this cosine (of the frozen tower) to a held-out picture are left out: the sources share drawings."""


@dataclass(frozen=True)
class ClipRecipe:
    """A recipe.toml. `data` names importers or catalog folders; `holdout` is how many titles of a source are kept for the test."""

    data: tuple[str, ...] = ("stamps", "emoji", "openclipart")
    holdout: dict[str, int] = field(default_factory=lambda: {"stamps": 300, "emoji": 300})
    views: int = 4
    classes: float = 0.3
    """Weight of keeping what the tower's ImageNet classifier knows; 0 for none."""
    training: Contrast = Contrast(epochs=40)

    @classmethod
    def read(cls, file: Path) -> ClipRecipe:
        """A recipe file; an unknown key is an error that names it."""
        try:
            row = tomllib.loads(file.read_text())
            training = Contrast(**row.pop("training", {}))
            recipe = cls(**(row | {"training": training}))
        except (OSError, tomllib.TOMLDecodeError, TypeError) as error:
            raise MmllmError(f"{file} is no recipe ({error})", expected="the keys of adapters/clip-mini/recipe.toml") from None
        return replace(recipe, data=tuple(recipe.data))

    def write(self, file: Path) -> None:
        """The inverse of `read`."""
        row = asdict(self)
        tables = {name: row.pop(name) for name in ("holdout", "training")}
        lines = [f"{k} = {json.dumps(v)}" for k, v in row.items()]
        for name, table in tables.items():
            lines += ["", f"[{name}]", *(f"{k} = {json.dumps(v)}" for k, v in table.items())]
        file.write_text("\n".join(lines) + "\n")


def title_key(title: str) -> str:
    """What two pictures of one thing share: no article, no man or woman, no punctuation.

    >>> title_key("A Woman juggling."), title_key("man juggling")
    ('person juggling', 'person juggling')
    """
    text = re.sub(r"^(a|an|the) ", "", title.casefold())
    text = re.sub(r"\b(man|woman|men|women|person|people|boy|girl)\b", "person", text)
    return re.sub(r"[^a-z0-9]+", " ", text).strip()


def split(items: Sequence[Item], count: int) -> tuple[list[int], list[int]]:
    """Rows to train on and rows to test: titles in the order of their sha256, the same on every machine.

    Of a title drawn in several styles one picture is tested, and none is trained on.
    """
    keys = [hashlib.sha256(title_key(i.title).encode()).hexdigest() for i in items]
    order = sorted(range(len(items)), key=lambda n: (keys[n], items[n].id))
    if any(i.id.startswith("noto-") for i in items):  # emoji: one picture of each title, in the font's style
        first: dict[str, int] = {}
        for n in order:
            if items[n].id.startswith("noto-"):
                first.setdefault(keys[n], n)
        order = list(first.values())
    test = order[:count]
    held = {keys[n] for n in test}
    return [n for n in range(len(items)) if keys[n] not in held], test


def train_clip(
    recipe: ClipRecipe, out: Path, *, work: Path | None = None, progress: Progress = lambda stage, done, of: None
) -> dict[str, Any]:
    """Fetch, encode, train; write heads, recipe and metrics into `out`, and return the metrics."""
    started = time.monotonic()
    work = work or settings.home() / "train-clip"
    towers = Towers()
    pictures, wordings, tests = [], [], {}
    counts: dict[str, dict[str, int]] = {}
    for source in recipe.data:
        folder = catalog_of(source, work)
        items = [i for i in catalog.read(folder).items if i.image]
        rows, test = split(items, recipe.holdout.get(source, 0))
        images = towers.images(items, folder, recipe, work, progress=partial(progress, source))
        texts = towers.texts(items, recipe.training.seed)
        if test:
            tests[source] = (images[test, 0], texts[test, 0])
        pictures.append(images[rows])
        wordings.append(texts[rows])
        counts[source] = {"pictures": len(items), "train": len(rows), "held_out": len(test)}
    held = np.concatenate([t[0] for t in tests.values()]) if tests else np.zeros((0, 1280), np.float32)
    for n, source in enumerate(recipe.data):
        fresh = _fresh(pictures[n][:, 0], held)
        counts[source]["train"] = int(fresh.sum())
        pictures[n], wordings[n] = pictures[n][fresh], wordings[n][fresh]
    seen, said = torch.from_numpy(np.concatenate(pictures)), torch.from_numpy(np.concatenate(wordings))
    if len(seen) < 50:
        raise CatalogError(f"{len(seen)} pictures to train on", expected="at least 50", do="add catalogs to the recipe's data")
    classes = towers.classes(recipe.classes) if recipe.classes else None
    heads = clip_mini.untrained_heads(recipe.training.seed)
    before = {s: recall(ranks(heads, *t)) for s, t in tests.items()}
    if classes:
        heads = Heads(classes.start(), heads.text, heads.scale)
    heads = fit(heads, seen, said, recipe.training, classes=classes, progress=partial(progress, "train"))
    metrics: dict[str, Any] = {"data": counts, "untrained": before}
    metrics["trained"] = {s: recall(ranks(heads, *t)) for s, t in tests.items()}
    metrics |= {"chance_recall@10": {s: round(10 / len(t[0]), 4) for s, t in tests.items()}}
    metrics |= {"seconds": round(time.monotonic() - started, 1)}
    out.mkdir(parents=True, exist_ok=True)
    clip_mini.save_heads(heads, out)
    recipe.write(out / "recipe.toml")
    (out / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    return metrics


def catalog_of(source: str, work: Path) -> Path:
    """The catalog folder of a recipe's `data` entry: a folder as it is, an importer's name fetched once into `work`."""
    if (Path(source) / catalog.FILE).is_file():
        return Path(source)
    if source not in ("stamps", "emoji", "openclipart"):
        raise CatalogError(f"unknown data {source!r}", expected="stamps, emoji, openclipart or a catalog folder")
    if not (work / source / catalog.FILE).is_file():
        importer(source)(work / source, cache=work / "packages")
    return work / source


def _fresh(features: np.ndarray, held: np.ndarray) -> np.ndarray:
    """[n] True where a picture is no near-duplicate of a held-out one."""
    a, b = (f / np.linalg.norm(f, axis=1, keepdims=True) for f in (features, held))
    return (a @ b.T).max(axis=1, initial=-1.0) < TWIN


class Towers:
    """The frozen towers without projections."""

    def __init__(self) -> None:
        import timm
        from safetensors.torch import load_file as load_tensors

        torch.set_num_threads(settings.threads())
        self.text = TextEncoder(weights.path("all-minilm-l6-v2"), name="all-minilm-l6-v2")
        self.state = load_tensors(weights.path("efficientnet-lite0") / "model.safetensors")
        trunk: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        trunk.load_state_dict(self.state, strict=False)
        trunk.reset_classifier(0)
        self.trunk: Any = trunk.eval()

    def images(
        self,
        items: Sequence[Item],
        folder: Path,
        recipe: ClipRecipe,
        work: Path,
        *,
        progress: Callable[[int, int], None] = lambda done, of: None,
    ) -> np.ndarray:
        """[n, views, 1280]; the first view is the whole picture, the others are random crops, turned or mirrored.

        Kept in `work` by chunks, so that a stopped run encodes no picture twice.
        """
        views, seed = recipe.views, recipe.training.seed
        key = f"{catalog.catalog_hash(items)}-{views}-{seed}"
        keep = work / "features" / hashlib.sha256(key.encode()).hexdigest()[:16]
        keep.mkdir(parents=True, exist_ok=True)
        out = np.zeros((len(items), views, 1280), dtype=np.float32)
        for start in range(0, len(items), 256):
            part = items[start : start + 256]
            file = keep / f"{start:06}.safetensors"
            if not file.is_file():
                rng = np.random.default_rng((seed, start))
                chunk = [v for i in part for v in _views(load_image(folder / str(i.image)), views, rng)]
                with torch.inference_mode():
                    got = torch.cat([self.trunk(torch.stack(chunk[n : n + 32])) for n in range(0, len(chunk), 32)])
                save_file({"features": got.numpy()}, file.with_suffix(".part"))
                file.with_suffix(".part").rename(file)
            out[start : start + len(part)] = load_file(file)["features"].reshape(len(part), views, 1280)
            progress(start + len(part), len(items))
        return out

    def texts(self, items: Sequence[Item], seed: int) -> np.ndarray:
        """[n, 4, 384]: the title, the title with some keywords, the title with its kind, the whole document."""
        rng = np.random.default_rng(seed)
        wordings = []
        for i in items:
            words = [w.strip() for w in i.text.split(",") if w.strip()] if ". " not in i.text else []
            some = ", ".join([i.title, *rng.permutation(words)[:3]]) if words else i.title
            kind = catalog.as_text(i.attributes.get("kind", ""))
            wordings += [i.title, some, f"{i.title}, {kind}" if kind else i.title, catalog.document(i)]
        return self.text.encode(wordings).reshape(len(items), 4, -1)

    def classes(self, share: float) -> Classes:
        """What the image tower's ImageNet classifier knows, with WordNet's first name of each class."""
        from timm.data import ImageNetInfo

        info = ImageNetInfo()
        names = [str(info.index_to_description(n)).split(",")[0] for n in range(1000)]
        texts = torch.from_numpy(self.text.encode(names))
        return Classes(texts, self.state["classifier.weight"], self.state["classifier.bias"], share)


def _views(image: Image.Image, views: int, rng: np.random.Generator) -> list[torch.Tensor]:
    size = clip_mini.IMAGE_SIZE
    made = [ImageOps.pad(image, (size, size), Image.Resampling.BICUBIC, color=(255, 255, 255))]
    for _ in range(views - 1):
        scale = rng.uniform(0.6, 1.0)
        w, h = max(1, int(image.width * scale)), max(1, int(image.height * scale))
        x, y = int(rng.integers(0, image.width - w + 1)), int(rng.integers(0, image.height - h + 1))
        crop = image.crop((x, y, x + w, y + h))
        crop = ImageOps.mirror(crop) if rng.random() < 0.5 else crop
        turned = crop.rotate(rng.uniform(-15, 15), Image.Resampling.BILINEAR, fillcolor=(255, 255, 255))
        made.append(ImageOps.pad(turned, (size, size), Image.Resampling.BICUBIC, color=(255, 255, 255)))
    arrays = (np.asarray(v, dtype=np.float32) / 127.5 - 1 for v in made)
    return [torch.from_numpy(a.transpose(2, 0, 1).copy()) for a in arrays]

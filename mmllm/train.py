"""Training. `train_clip_heads`: the two heads of clip-mini, contrastively, over frozen towers, in minutes on two cores.

Each picture is encoded once per crop by the frozen tower; the heads are then trained on the stored features with the symmetric
cross-entropy of CLIP (Radford et al. 2021, https://arxiv.org/abs/2103.00020). A part of the catalog is held out by a hash of the
title, so that no title stands on both sides, and recall on it is the figure reported.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors.torch import save_file
from torch.nn import functional as F

from mmllm import catalog, clip_mini, settings, weights
from mmllm.encoders import in_batches
from mmllm.errors import CatalogError
from mmllm.media import load_image
from mmllm.types import Item

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClipRecipe:
    """Settings of the run; written beside the weights."""

    crops: int = 4
    epochs: int = 60
    batch: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    feature_noise: float = 0.05
    image_dropout: float = 0.2
    holdout_percent: int = 15
    seed: int = settings.SEED


def held_out(title: str, percent: int) -> bool:
    """The split: by a hash of the title, the same on every machine."""
    return hashlib.sha256(title.casefold().encode()).digest()[0] * 100 // 256 < percent


def train_clip_heads(
    folder: Path, out: Path, recipe: ClipRecipe, *, progress: Callable[[int, int], None] = lambda done, of: None
) -> dict[str, object]:
    """Train on a catalog's pictures and words, write heads, recipe and metrics into `out`; returns the metrics."""
    started = time.monotonic()
    items = [i for i in catalog.read(folder).items if i.image]
    test = [i for i in items if held_out(i.title, recipe.holdout_percent)]
    train = [i for i in items if not held_out(i.title, recipe.holdout_percent)]
    if len(test) < 10 or len(train) < 50:
        raise CatalogError(f"{folder} has {len(items)} pictures", expected="at least 100 to train on and hold out")
    towers = _Towers()
    images = torch.from_numpy(towers.images(train, folder, recipe.crops, recipe.seed, progress))  # [n, crops, 1280]
    texts = torch.from_numpy(towers.texts(train))  # [n, variants, 384]
    heads = clip_mini.untrained_heads(recipe.seed)
    test_images = torch.from_numpy(towers.images(test, folder, 1, recipe.seed, progress))[:, 0]
    test_texts = torch.from_numpy(towers.texts(test))[:, 0]
    metrics: dict[str, object] = {"before": recall(heads, test_images, test_texts)}
    _fit(heads, images, texts, recipe)
    metrics["after"] = recall(heads, test_images, test_texts)
    metrics |= {"train": len(train), "held_out": len(test), "chance_recall@10": round(10 / len(test), 4)}
    metrics |= {"seconds": round(time.monotonic() - started, 1), "catalog_hash": catalog.catalog_hash(items)}
    out.mkdir(parents=True, exist_ok=True)
    save_file({k: v.detach().contiguous() for k, v in heads.items()}, out / "heads.safetensors")
    lines = [f"{k} = {json.dumps(v)}" for k, v in asdict(recipe).items()]
    (out / "recipe.toml").write_text("\n".join(lines) + "\n")
    (out / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    return metrics


class _Towers:
    """The frozen towers without heads."""

    def __init__(self) -> None:
        import timm
        from safetensors.torch import load_file

        from mmllm.encoders import TextEncoder

        torch.set_num_threads(settings.threads())
        self.text = TextEncoder(weights.path("all-minilm-l6-v2"), name="all-minilm-l6-v2")
        trunk: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        trunk.load_state_dict(load_file(weights.path("efficientnet-lite0") / "model.safetensors"), strict=False)
        trunk.reset_classifier(0)
        self.trunk: Any = trunk.eval()

    def images(
        self, items: Sequence[Item], folder: Path, crops: int, seed: int, progress: Callable[[int, int], None]
    ) -> np.ndarray:
        """[n, crops, 1280]; the first view is the whole picture, the others are random crops, turned or mirrored."""
        rng = np.random.default_rng(seed)
        out = np.zeros((len(items), crops, 1280), dtype=np.float32)
        for start in range(0, len(items), 32):
            part = items[start : start + 32]
            views = [v for i in part for v in _views(load_image(folder / str(i.image)), crops, rng)]
            got = in_batches(views, 32, lambda b: self.trunk(torch.stack(b)), 1280)
            out[start : start + len(part)] = got.reshape(len(part), crops, 1280)
            progress(start + len(part), len(items))
        return out

    def texts(self, items: Sequence[Item]) -> np.ndarray:
        """[n, 3, 384]: the title, the title with its kind, the whole document."""
        variants = [[i.title, f"{i.title}, {catalog.as_text(i.attributes.get('kind', ''))}", catalog.document(i)] for i in items]
        flat = self.text.encode([t for v in variants for t in v])
        return flat.reshape(len(items), 3, -1)


def _views(image: Image.Image, crops: int, rng: np.random.Generator) -> list[torch.Tensor]:
    size = clip_mini.IMAGE_SIZE
    views = [ImageOps.pad(image, (size, size), Image.Resampling.BICUBIC, color=(255, 255, 255))]
    for _ in range(crops - 1):
        scale = rng.uniform(0.6, 1.0)
        w, h = max(1, int(image.width * scale)), max(1, int(image.height * scale))
        x, y = int(rng.integers(0, image.width - w + 1)), int(rng.integers(0, image.height - h + 1))
        crop = image.crop((x, y, x + w, y + h))
        crop = ImageOps.mirror(crop) if rng.random() < 0.5 else crop
        turned = crop.rotate(rng.uniform(-15, 15), Image.Resampling.BILINEAR, fillcolor=(255, 255, 255))
        views.append(ImageOps.pad(turned, (size, size), Image.Resampling.BICUBIC, color=(255, 255, 255)))
    arrays = (np.asarray(v, dtype=np.float32) / 127.5 - 1 for v in views)
    return [torch.from_numpy(a.transpose(2, 0, 1).copy()) for a in arrays]


def _embed(heads: dict[str, torch.Tensor], images: torch.Tensor, texts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    image = F.normalize(images @ heads[clip_mini.HEADS[0]].T, dim=-1)
    return image, F.normalize(texts @ heads[clip_mini.HEADS[1]].T, dim=-1)


def _fit(heads: dict[str, torch.Tensor], images: torch.Tensor, texts: torch.Tensor, recipe: ClipRecipe) -> None:
    """AdamW on the three tensors in place; the text head is pulled back to the identity, which holds MiniLM's sense of words."""
    generator = torch.Generator().manual_seed(recipe.seed)
    image_head, text_head, scale = (heads[name].requires_grad_() for name in clip_mini.HEADS)
    groups = [
        {"params": [image_head], "weight_decay": recipe.weight_decay},
        {"params": [text_head, scale], "weight_decay": 0.0, "lr": recipe.learning_rate / 10},
    ]
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate)
    n, views, variants = len(images), images.shape[1], texts.shape[1]
    steps = recipe.epochs * max(1, n // recipe.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    same = texts[:, 0] @ texts[:, 0].T > 0.999  # items of one title are no negatives of each other
    for _ in range(recipe.epochs):
        order = torch.randperm(n, generator=generator)
        for start in range(0, n - recipe.batch + 1, recipe.batch):
            rows = order[start : start + recipe.batch]
            view = torch.randint(views, (len(rows),), generator=generator)
            variant = torch.randint(variants, (len(rows),), generator=generator)
            picture = images[rows, view]
            keep = torch.rand(picture.shape, generator=generator) >= recipe.image_dropout
            noise = torch.randn(len(rows), texts.shape[2], generator=generator) * recipe.feature_noise / texts.shape[2] ** 0.5
            image, text = _embed(heads, picture * keep, texts[rows, variant] + noise)
            logits = scale.exp().clamp(max=100) * image @ text.T
            twins = same[rows][:, rows] & ~torch.eye(len(rows), dtype=torch.bool)
            logits = logits.masked_fill(twins, float("-inf"))
            target = torch.arange(len(rows))
            loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
            loss = loss + 0.01 * (text_head - torch.eye(len(text_head))).square().sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    for name in clip_mini.HEADS:
        heads[name] = heads[name].detach()


def recall(heads: dict[str, torch.Tensor], images: torch.Tensor, texts: torch.Tensor) -> dict[str, float]:
    """Text-to-image and image-to-text recall at 1, 5, 10 over one row each; a tie counts as a miss."""
    with torch.no_grad():
        image, text = _embed(heads, images, texts)
        similarity = text @ image.T
    out: dict[str, float] = {}
    for name, matrix in (("text_to_image", similarity), ("image_to_text", similarity.T)):
        own = matrix.diagonal().unsqueeze(1)
        rank = (matrix >= own).sum(dim=1)  # 1 is the best
        out |= {f"{name}_recall@{k}": round(float((rank <= k).float().mean()), 4) for k in (1, 5, 10)}
    return out

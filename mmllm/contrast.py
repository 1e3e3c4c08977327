"""Contrastive training of a CLIP's two projections over kept features: seconds to minutes on two cores.

The loss is the symmetric cross-entropy of CLIP (Radford et al. 2021, https://arxiv.org/abs/2103.00020) over rows that have a
picture and words; recall on rows held out says whether it helped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mmllm.projection import Heads


@dataclass(frozen=True)
class Contrast:
    """Settings of one training. `pull` holds the text projection where it was, which keeps the text tower's sense of words."""

    epochs: int = 60
    batch: int = 512
    learning_rate: float = 1e-3
    text_rate: float = 0.1
    """Learning rate of the text projection and the temperature, as a share of the image projection's."""
    weight_decay: float = 0.1
    image_dropout: float = 0.2
    text_noise: float = 0.05
    pull: float = 0.01
    same: float = 0.95
    """Rows whose texts are nearer than this cosine are no negatives of each other."""
    seed: int = 17


@dataclass(frozen=True)
class Classes:
    """What a classifier over the same image features knows, to be kept: `texts` [C, D_text] names, `weight` [C, D_image], `bias` [C].

    The picture's nearest class names shall be those of the classifier (a cross-entropy of weight `share`), which is
    how what ImageNet taught survives training on drawings.
    """

    texts: Tensor
    weight: Tensor
    bias: Tensor
    share: float

    def start(self) -> Tensor:
        """A first image projection [D_text, D_image]: class scores times the names' vectors (Norouzi et al. 2013, arXiv:1312.5650)."""
        head = (self.texts - self.texts.mean(0)).T @ (self.weight - self.weight.mean(0))
        return head / head.norm(dim=1, keepdim=True).mean()


def fit(
    heads: Heads,
    images: Tensor,
    texts: Tensor,
    settings: Contrast,
    *,
    classes: Classes | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Heads:
    """New heads. images: [n, V, D_image], V views of each picture; texts: [n, T, D_text], T wordings. Any row norm will do.

    Runs on one thread: two gain a third on a quiet machine, and wait for each other ten times as long on a busy one.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _fit(heads, images, texts, settings, classes, progress)
    finally:
        torch.set_num_threads(threads)


def _fit(
    heads: Heads,
    images: Tensor,
    texts: Tensor,
    settings: Contrast,
    classes: Classes | None,
    progress: Callable[[int, int], None],
) -> Heads:
    generator = torch.Generator().manual_seed(settings.seed)
    image, text, scale = (t.clone().requires_grad_() for t in (heads.image, heads.text, heads.scale))
    start, slow = heads.text.clone(), settings.learning_rate * settings.text_rate
    groups = [
        {"params": [image], "weight_decay": settings.weight_decay},
        {"params": [text, scale], "weight_decay": 0.0, "lr": slow},
    ]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate)
    n, batch = len(images), min(settings.batch, len(images))
    steps = settings.epochs * (n // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, [settings.learning_rate, slow], steps, pct_start=0.1)
    texts, first = F.normalize(texts, dim=-1), F.normalize(texts[:, 0], dim=-1)
    taught = (images[:, 0] @ classes.weight.T + classes.bias).softmax(-1) if classes else None
    for epoch in range(settings.epochs):
        order = torch.randperm(n, generator=generator)
        for at in range(0, n - batch + 1, batch):
            rows = order[at : at + batch]
            view = torch.randint(images.shape[1], (batch,), generator=generator)
            wording = torch.randint(texts.shape[1], (batch,), generator=generator)
            picture = images[rows, view]
            picture = picture * (torch.rand(picture.shape, generator=generator) >= settings.image_dropout)
            noise = torch.randn(batch, texts.shape[2], generator=generator) * settings.text_noise / texts.shape[2] ** 0.5
            seen, said = F.normalize(picture @ image.T, dim=-1), F.normalize((texts[rows, wording] + noise) @ text.T, dim=-1)
            heat = scale.exp().clamp(max=100)
            twins = first[rows] @ first[rows].T > settings.same
            loss = info_nce(heat * seen @ said.T, twins) + settings.pull * (text - start).square().sum()
            if classes is not None and taught is not None:
                names = F.normalize(classes.texts @ text.T, dim=-1)
                loss = loss - classes.share * (taught[rows] * (heat * seen @ names.T).log_softmax(-1)).sum(-1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        progress(epoch + 1, settings.epochs)
    return Heads(image.detach(), text.detach(), scale.detach())


def info_nce(logits: Tensor, twins: Tensor) -> Tensor:
    """Symmetric cross-entropy of [B, B] similarities whose partners stand on the diagonal; `twins` [B, B] are no negatives."""
    logits = logits.masked_fill(twins & ~torch.eye(len(logits), dtype=torch.bool), -1e4)
    target = torch.arange(len(logits))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def ranks(heads: Heads, images: np.ndarray, texts: np.ndarray) -> dict[str, np.ndarray]:
    """`pair_ranks` of features [n, D_image] and [n, D_text] under these heads."""
    return pair_ranks(heads.project(images, "image"), heads.project(texts, "text"))


def pair_ranks(images: np.ndarray, texts: np.ndarray) -> dict[str, np.ndarray]:
    """Rank from 1 of each row's own partner among all: {"text_to_image": [n], "image_to_text": [n]}; a tie counts against it.

    images, texts: [n, D], unit rows of one shared space.
    """
    similarity = texts @ images.T
    own = similarity.diagonal()[:, None]
    other = similarity.T
    return {"text_to_image": (similarity >= own).sum(axis=1), "image_to_text": (other >= own).sum(axis=1)}


def recall(found: dict[str, np.ndarray], at: tuple[int, ...] = (1, 5, 10)) -> dict[str, float]:
    """{"text_to_image_recall@10": ..} of `ranks`."""
    return {f"{name}_recall@{k}": round(float((rank <= k).mean()), 4) for name, rank in found.items() for k in at}

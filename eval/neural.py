"""Small trained networks as yardsticks: SASRec over item ids, and a linear and a deep tower over the fused features. Full softmax."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eval.baselines import Grid, product
from mmllm.interactions import Cases, Interactions
from mmllm.settings import SEED


def _batches(count: int, size: int, epochs: int, generator: torch.Generator) -> Iterator[Tensor]:
    for _ in range(epochs):
        yield from torch.randperm(count, generator=generator).split(size)


class _Transformer(nn.Module):
    def __init__(self, items: int, width: int, layers: int, length: int, dropout: float) -> None:
        super().__init__()
        self.item = nn.Embedding(items + 1, width, padding_idx=items)
        self.place = nn.Embedding(length, width)
        layer = nn.TransformerEncoderLayer(width, 2, 2 * width, dropout, activation="gelu", batch_first=True, norm_first=True)
        self.body = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm, self.dropout = nn.LayerNorm(width), nn.Dropout(dropout)
        nn.init.normal_(self.item.weight, std=width**-0.5)
        nn.init.normal_(self.place.weight, std=0.02)

    def forward(self, rows: Tensor) -> Tensor:
        """[B, L] item numbers, padded at the left -> [B, L, D]."""
        length = rows.shape[1]
        padded = rows.eq(self.item.num_embeddings - 1)
        x = self.dropout(self.item(rows) + self.place(torch.arange(length)))
        causal = torch.ones(length, length, dtype=torch.bool).triu(1)
        mask = causal | padded[:, None, :]
        mask = mask & ~torch.eye(length, dtype=torch.bool)  # a padded place sees itself
        heads = mask.repeat_interleave(2, dim=0)
        return self.norm(self.body(x, mask=heads))


@dataclass
class SasRec:
    """Self-attentive sequential recommendation (Kang and McAuley 2018), trained with cross-entropy over all items."""

    width: int = 64
    layers: int = 2
    epochs: int = 60
    dropout: float = 0.3
    length: int = 50
    model: nn.Module | None = None

    def fit(self, learned: Interactions) -> None:
        """Every position of a window of the sequence predicts the next."""
        torch.manual_seed(SEED)
        generator = torch.Generator().manual_seed(SEED)
        items = len(learned.items)
        model = _Transformer(items, self.width, self.layers, self.length, self.dropout)
        windows = []
        for sequence in (s for s in learned.sequences if len(s) >= 2):
            for end in range(len(sequence), 1, -self.length):
                windows.append(sequence[max(0, end - self.length - 1) : end])
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
        model.train()
        for chosen in _batches(len(windows), 64, self.epochs, generator):
            full = torch.full((len(chosen), self.length + 1), items)
            for n, w in enumerate(chosen.tolist()):
                full[n, self.length + 1 - len(windows[w]) :] = torch.from_numpy(windows[w])
            hidden = model(full[:, :-1])
            target = full[:, 1:]
            kept = (target != items) & (full[:, :-1] != items)
            logits = hidden[kept] @ model.item.weight[:items].T
            loss = F.cross_entropy(logits, target[kept])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        self.model = model.eval()

    def scores(self, cases: Cases) -> np.ndarray:
        """From the last `length` liked items."""
        if self.model is None:
            raise ValueError("fit first")
        full = torch.full((len(cases), self.length), cases.items)
        for n, history in enumerate(cases.history):
            tail = history[-self.length :]
            full[n, self.length - len(tail) :] = torch.from_numpy(tail)
        with torch.inference_mode():
            return (self.model(full)[:, -1] @ self.model.item.weight[: cases.items].T).numpy()  # type: ignore[union-attr,index]


@dataclass
class Tower:
    """Items by a map of their features [I, D], users by the mean of what they liked; `hidden` 0 is a matrix factorisation of the features."""

    features: np.ndarray
    hidden: int = 0
    width: int = 64
    epochs: int = 30
    weight_decay: float = 0.01
    table: Tensor | None = None
    bias: Tensor | None = None

    def fit(self, learned: Interactions) -> None:
        """A random part of every user's likes predicts the others."""
        torch.manual_seed(SEED)
        generator = torch.Generator().manual_seed(SEED)
        x = torch.from_numpy(self.features).float()
        if self.hidden:
            net: nn.Module = nn.Sequential(
                nn.Linear(x.shape[1], self.hidden), nn.GELU(), nn.Dropout(0.2), nn.Linear(self.hidden, self.width)
            )
        else:
            net = nn.Linear(x.shape[1], self.width)
        counts = torch.from_numpy(learned.counts).float()
        start = torch.log((counts + 1) / (counts + 1).sum())
        scale = nn.Parameter(torch.tensor(1.0))  # of the popularity that everybody's scores begin with
        rows = [s for s in learned.sequences if len(s) >= 2]
        optimizer = torch.optim.AdamW([*net.parameters(), scale], lr=2e-3, weight_decay=self.weight_decay)
        for chosen in _batches(len(rows), 32, self.epochs, generator):
            history, target = torch.zeros(len(chosen), len(x)), torch.zeros(len(chosen), len(x))
            for n, r in enumerate(chosen.tolist()):
                mixed = torch.from_numpy(rows[r])[torch.randperm(len(rows[r]), generator=generator)]
                half = max(1, len(mixed) // 2)
                history[n, mixed[:half]], target[n, mixed[half:]] = 1.0, 1.0
            table = net(x)
            users = history @ table / history.sum(1, keepdim=True)
            logits = (users @ table.T + scale * start).masked_fill(history > 0, -1e4)
            loss = -(target * logits.log_softmax(-1)).sum() / target.sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.inference_mode():
            self.table, self.bias = net.eval()(x), scale * start

    def scores(self, cases: Cases) -> np.ndarray:
        """An item nobody liked is ranked by its features."""
        if self.table is None or self.bias is None:
            raise ValueError("fit first")
        users = torch.stack([self.table[torch.from_numpy(h)].mean(0) for h in cases.history])
        return (users @ self.table.T + self.bias).numpy()


def grids(fused: np.ndarray) -> dict[str, Grid]:
    """By name; `fused` [I, D] are the index's pooled vectors."""
    return {
        "sasrec": Grid(SasRec, product(layers=(1, 2), epochs=(50,), dropout=(0.3, 0.5))),
        "mf-fused": Grid(lambda **s: Tower(fused, **s), product(width=(32, 64), epochs=(20, 60, 150))),
        "dnn-fused": Grid(
            lambda **s: Tower(fused, **s), product(hidden=(256,), width=(64,), epochs=(20, 60, 150), weight_decay=(0.01, 0.1))
        ),
    }

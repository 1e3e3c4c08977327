"""What soft tokens are aligned by, on tiny models: each objective moves what it names, and only that."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from mmllm import settings
from mmllm.errors import MmllmError
from mmllm.fusion import FusionConfig, build
from mmllm.lm import LanguageModel
from mmllm.objectives import AlignSettings, AlignTask, Reversed, describe_loss
from mmllm.rank_model import ItemFeatures, RankModel
from mmllm.train import run
from tests.test_train import liked, recipe  # noqa: F401 - liked is a fixture


@pytest.fixture
def model(tiny):
    lm = LanguageModel.load(settings.preset("tiny").lm)
    lm.model.requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    values = {n: torch.randn(12, w, generator=generator) for n, w in (("text", 6), ("image", 5), ("audio", 4))}
    mask = torch.tensor([[True, True, False]]).repeat(12, 1)
    items = ItemFeatures(values, torch.zeros(12, 3, 8), mask, tuple("abcdefghijkl"))
    fusion = build(FusionConfig((6, 5, 4), 8, 2, lm.width, 1.0))
    return RankModel(lm, fusion, items, form="soft")


def learned(model, settings_, steps=60):
    task = AlignTask(model, settings_)
    optimizer = torch.optim.Adam(task.parameters(), lr=1e-2)
    rows, seen = torch.arange(12), []
    for step in range(steps):
        losses = task(rows, torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        task.total(losses).backward()
        optimizer.step()
        seen.append({n: float(v.detach()) for n, v in losses.items()})
    return seen


@pytest.mark.parametrize("name", ["describe", "contrastive", "target"])
def test_an_objective_is_learned_and_the_language_model_stays(model, name):
    torch.manual_seed(0)
    before = {n: p.clone() for n, p in model.lm_module.named_parameters()}
    seen = learned(model, AlignSettings(**{n: float(n == name) for n in ("describe", "contrastive", "target")}))
    assert set(seen[0]) == {name}
    first, last = (sum(s[name] for s in part) / 5 for part in (seen[:5], seen[-5:]))
    assert last < first - 0.01
    assert all(torch.equal(before[n], p) for n, p in model.lm_module.named_parameters())


def test_the_adversary_learns_and_the_fusion_unlearns(model):
    """With the fusion held still the classifier tells the inputs apart; trained together it is kept near guessing."""
    torch.manual_seed(0)
    options = AlignSettings(describe=0, contrastive=0, adversarial=1.0)
    together = learned(model, options)[-1]["adversarial"]
    model.fusion.requires_grad_(False)
    alone = learned(model, options, steps=200)[-1]["adversarial"]
    assert alone < together - 0.1
    x = torch.ones(3, requires_grad=True)
    Reversed.apply(x).sum().backward()
    assert x.grad.tolist() == [-1, -1, -1]


def test_what_all_items_have_in_common_is_not_learned(model):
    """The catalog's tokens are less their own mean, and the gradient knows it: a push that moves all of them one way is none."""
    weights = torch.randn(model.catalog().shape, generator=torch.Generator().manual_seed(0))
    bias, before = model.fusion.to_soft.bias, model.catalog().detach()
    (model.catalog() * weights).sum().backward()
    through = float(bias.grad.norm())
    bias.grad = None
    rows = torch.arange(len(model.items.titles))
    model.recenter()
    torch.testing.assert_close(model.soft(rows), model.catalog())
    (model.soft(rows) * weights).sum().backward()
    assert through < 1e-3 * float(bias.grad.norm()), "the kept center stands still"
    with torch.no_grad():
        bias += 5.0
    torch.testing.assert_close(model.catalog(), before, atol=1e-4, rtol=1e-4)


def test_describing_counts_the_title_and_nothing_behind_it(model):
    soft = model.catalog()[:2].detach()
    both = describe_loss(model.lm, soft, ["a", "a longer title"])
    one, other = (describe_loss(model.lm, soft[n : n + 1], [t]) for n, t in enumerate(("a", "a longer title")))
    sizes = [len(model.lm.tokens(f" {t}")[:16]) + 1 for t in ("a", "a longer title")]
    assert float(both) == pytest.approx((float(one) * sizes[0] + float(other) * sizes[1]) / sum(sizes), abs=1e-4)


def test_the_align_stage_is_resumed_and_comes_before_the_others(liked, shop_index, tmp_path):  # noqa: F811
    file = recipe(tmp_path, "fluency = 0.1")
    file.write_text(file.read_text() + "[align]\nsteps = 4\nbatch = 6\ntarget = 0.5\nadversarial = 0.1\n")
    run(file, tmp_path / "whole")
    assert run(file, tmp_path / "parts", stop_after=1) == {"align_step": 1}
    for stop in (2, 3, None):
        run(file, tmp_path / "parts", stop_after=stop)
    whole, parts = (load_file(tmp_path / n / "fusion" / "model.safetensors") for n in ("whole", "parts"))
    assert all(torch.allclose(whole[k], parts[k], atol=1e-6) for k in whole)
    rows = [json.loads(line) for line in (tmp_path / "parts" / "align.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows] == [1, 2, 3, 4] and {"describe", "contrastive", "target", "adversarial"} <= set(rows[0])
    text = tmp_path / "text.toml"
    text.write_text(f'name = "t"\nindexes = ["{shop_index}"]\nform = "text"\nsteps = 1\nrequests = 20\n[align]\nsteps = 2\n')
    with pytest.raises(MmllmError, match="form text"):
        run(text, tmp_path / "text")

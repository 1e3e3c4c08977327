from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from eval.ablation import ablate, conditions
from eval.language import Trained, ZeroShot
from mmllm import Query, Recommender
from mmllm.errors import MmllmError
from mmllm.rank_model import Case, ItemFeatures
from mmllm.store import Store
from mmllm.train import run
from tests.test_train import liked, recipe

__all__ = ["liked"]


def features(n=6):
    """Text says the item's number, the picture nothing; sounds are absent."""
    values = {"text": torch.arange(float(n))[:, None] + 1, "image": torch.ones(n, 2), "audio": torch.zeros(n, 1)}
    mask = torch.tensor([[True, True, False]]).repeat(n, 1)
    return ItemFeatures(values, torch.ones(n, 3, 2), mask, tuple("abcdef"))


class Reads:
    """Scores by the text alone, where it is there."""

    def __init__(self):
        self.items, self.inputs, self.share, self.form = features(), ("text", "image", "audio"), 1.0, "soft"

    def reading(self, items):
        return lambda cases: [
            (torch.where(items.mask[c.candidates, 0], items.values["text"][c.candidates, 0], 0.0).numpy(), None) for c in cases
        ]


def test_what_is_read_is_missed_and_what_is_not_is_not():
    cases = [Case(np.array([0]), np.array([1, 2, 3, 4, 5]), np.zeros(5), np.array([5])) for _ in range(8)]
    found = ablate(Reads(), cases, 0.5, note=lambda name, row: None)
    assert found["all"]["alone"]["ndcg@10"] == 1.0 and found["all"]["alone"]["drop"] == 0.0
    assert found["only text"]["alone"]["drop"] == 0.0 and found["image as noise"]["alone"]["drop"] == 0.0
    assert found["only image"]["alone"]["drop"] > 0.5 and found["only image"]["alone"]["interval"][0] > 0.5
    assert {n for n in found if "missing" in n} == {"20% missing", "40% missing", "60% missing", "80% missing"}
    assert list(ablate(Reads(), cases, 0.5, note=lambda name, row: None, wanted=["only image"])) == ["all", "only image"]
    with pytest.raises(MmllmError, match="condition 'only smell'.*only image"):
        ablate(Reads(), cases, 0.5, note=lambda name, row: None, wanted=["only smell"])
    assert not any("audio" in n for n in conditions(("text", "audio"), ("text",)))
    assert list(conditions(("text",), ("text",), "text")) == ["all", "titles anonymised"]
    assert "titles anonymised" in conditions(("text",), ("text",), "soft+title")


def test_changes_do_what_they_say_and_leave_the_original():
    whole = features()
    kept = whole.only(["image"])
    assert not kept.mask[:, 0].any() and kept.mask[:, 1].all() and float(kept.anchor[:, 0].abs().max()) == 0
    noised = whole.noised(["text"])
    assert not torch.equal(noised.values["text"], whole.values["text"]) and float(noised.anchor[:, 0].abs().max()) == 0
    shuffled = whole.shuffled(["text"])
    assert sorted(shuffled.values["text"][:, 0].tolist()) == whole.values["text"][:, 0].tolist()
    assert not torch.equal(shuffled.values["text"], whole.values["text"])
    assert torch.equal(whole.values["text"], features().values["text"]) and whole.mask[:, :2].all()
    named = replace(whole, described=("a (red)", "b", "c (blue, c)", "d", "e", "f"), texts=tuple("abcdef")).anonymised()
    assert named.titles[2] == "item 2" and named.described[2] == "item 2 (blue, c)" and named.described[0] == "item 0 (red)"
    assert named.texts[2] == "item 2"
    gone = whole.missing(0.5)
    assert 0 < int(gone.mask.sum()) < int(whole.mask.sum()) and not (gone.mask & ~whole.mask).any()


def test_a_twin_that_reads_text_alone_and_the_untrained_model_score_as_the_reranker_does(liked, shop_index, tmp_path):
    file = recipe(tmp_path, 'form = "text"\ninputs = ["text"]')
    found = run(file, tmp_path / "adapter")
    assert found["step"] in (3, 6) and not (tmp_path / "adapter" / "fusion" / "model.safetensors").exists()
    store = Store(shop_index)
    ids = [i.id for i in store.items]
    case = Case(np.array([0, 3]), np.array([1, 2, 5, 7]), np.zeros(4), np.array([5]))
    query = Query(liked=[ids[0], ids[3]])
    opened = Recommender.load(shop_index)
    try:
        ((untrained, _),) = ZeroShot(store, ids)([case])
        np.testing.assert_allclose(untrained, opened.reranker.score(query, case.candidates.tolist()), atol=1e-4)
        ((anonymous, _),) = ZeroShot(store, ids, anonymised=True)([case])
        assert np.abs(anonymous - untrained).max() > 1e-4
    finally:
        opened.close()
    ((trained, _),) = Trained(tmp_path / "adapter", store, ids)([case])
    assert np.abs(trained - untrained).max() > 1e-4

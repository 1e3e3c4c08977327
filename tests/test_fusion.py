"""Laws of the fusion: the gate's zero, absence, batch independence, shares."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from safetensors.torch import load_file, save_file

from mmllm import adapter as adapters
from mmllm.errors import AdapterError
from mmllm.fusion import KINDS, FusionConfig, build, masked_mean

CONFIG = FusionConfig(widths=(6, 8, 5), width=8, soft_tokens=3, lm_width=12, soft_norm=2.5)


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_kind_keeps_the_laws(kind):
    config = dataclasses.replace(
        CONFIG, kind=kind, widths=(*CONFIG.widths, 3), inputs=("text", "image", "audio", "collaborative")
    )
    features, anchors, mask = batch()
    features = {**features, "collaborative": torch.randn(4, 3, generator=torch.Generator().manual_seed(3))}
    mask = torch.cat([mask, torch.tensor([[True], [False], [True], [False]])], dim=1)
    module = build(config)
    want = torch.nn.functional.normalize(masked_mean(anchors, mask[:, :3]), dim=-1)
    assert torch.allclose(module(features, anchors, mask).pooled, want, atol=1e-6), "gate 0 is the mean of the anchors"
    module.gate.data.fill_(0.7)
    whole = module(features, anchors, mask)
    assert whole.soft.shape == (4, 3, 12) and torch.allclose(whole.shares.sum(1), torch.ones(4), atol=1e-5)
    junk = {m: torch.where(mask[:, n : n + 1], f, torch.full_like(f, float("nan"))) for n, (m, f) in enumerate(features.items())}
    again = module(junk, anchors, mask)
    assert torch.equal(again.pooled, whole.pooled) and torch.equal(again.soft, whole.soft), "absent is absent, whatever it holds"
    one = module({m: f[1:2] for m, f in features.items()}, anchors[1:2], mask[1:2])
    assert torch.allclose(one.soft[0], whole.soft[1], atol=1e-5), "a row does not depend on its batch"
    none = module(features, anchors, torch.zeros_like(mask))
    assert bool(torch.isfinite(none.soft).all())


def test_an_input_that_is_not_given_is_absent():
    config = dataclasses.replace(CONFIG, widths=(*CONFIG.widths, 3), inputs=("text", "image", "audio", "collaborative"))
    features, anchors, mask = batch()
    module = build(config)
    module.gate.data.fill_(0.7)
    given = {**features, "collaborative": torch.ones(4, 3)}
    without = module(given, anchors, torch.cat([mask, torch.zeros(4, 1, dtype=torch.bool)], dim=1))
    assert torch.equal(module(features, anchors, mask).soft, without.soft)


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="'sum' is not known"):
        build(dataclasses.replace(CONFIG, kind="sum"))


def batch(n=4, seed=1):
    g = torch.Generator().manual_seed(seed)
    features = {m: torch.randn(n, w, generator=g) for m, w in zip(("text", "image", "audio"), CONFIG.widths, strict=True)}
    anchors = torch.nn.functional.normalize(torch.randn(n, 3, 8, generator=g), dim=-1)
    mask = torch.tensor([[True, True, True], [True, False, False], [False, True, False], [True, True, False]])[:n]
    return features, anchors, mask


def opened(seed=0):
    module = build(CONFIG, seed=seed)
    module.gate.data.fill_(0.7)
    return module


def test_untrained_pools_to_the_masked_mean():
    features, anchors, mask = batch()
    fused = build(CONFIG)(features, anchors, mask)
    want = torch.nn.functional.normalize(masked_mean(anchors, mask), dim=-1)
    assert torch.allclose(fused.pooled, want, atol=1e-6)
    assert torch.allclose(fused.shares, mask / mask.sum(1, keepdim=True))


def test_absent_equals_masked_whatever_it_holds():
    features, anchors, mask = batch()
    module = opened()
    want = module(features, anchors, mask)
    junk = {m: f.clone() for m, f in features.items()}
    dirty = anchors.clone()
    for m, name in enumerate(junk):
        junk[name][~mask[:, m]] = float("nan")
        dirty[:, m][~mask[:, m]] = 1e6
    got = module(junk, dirty, mask)
    assert torch.equal(got.pooled, want.pooled) and torch.equal(got.soft, want.soft)


def test_rows_do_not_depend_on_their_batch():
    features, anchors, mask = batch()
    module = opened()
    whole = module(features, anchors, mask)
    one = module({m: f[2:3] for m, f in features.items()}, anchors[2:3], mask[2:3])
    assert torch.allclose(whole.pooled[2], one.pooled[0], atol=1e-6) and torch.allclose(whole.soft[2], one.soft[0], atol=1e-5)


def test_shapes_norms_and_shares():
    features, anchors, mask = batch()
    fused = opened()(features, anchors, mask)
    assert fused.pooled.shape == (4, 8) and fused.soft.shape == (4, 3, 12) and fused.shares.shape == (4, 3)
    assert torch.allclose(fused.soft.norm(dim=-1), torch.full((4, 3), 2.5), atol=1e-4)
    assert torch.allclose(fused.shares.sum(1), torch.ones(4), atol=1e-6)
    assert (fused.shares[~mask] == 0).all()


def test_an_item_with_nothing_stays_finite():
    features, anchors, _ = batch(1)
    fused = opened()(features, anchors, torch.zeros(1, 3, dtype=torch.bool))
    assert torch.isfinite(fused.pooled).all() and torch.isfinite(fused.soft).all()


def test_same_seed_same_weights_and_global_generator_untouched():
    torch.manual_seed(5)
    before = torch.rand(1)
    torch.manual_seed(5)
    one, two = build(CONFIG, seed=3), build(CONFIG, seed=3)
    assert torch.equal(before, torch.rand(1))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


def test_gradients_reach_every_parameter_once_open():
    features, anchors, mask = batch()
    module = opened().train()
    fused = module(features, anchors, mask)
    (fused.pooled.sum() + fused.soft.square().sum() * 0 + fused.soft.sum()).backward()
    assert not [n for n, p in module.named_parameters() if p.grad is None]


def test_adapter_round_trip_and_refusal(tmp_path):
    made = adapters.untrained(CONFIG, lm="a", lm_fingerprint="f", encoders={"text": "t:1"})
    adapters.save(made, tmp_path / "a")
    again = adapters.load(tmp_path / "a", lm_fingerprint="f", encoders={"text": "t:1"})
    assert again.fingerprint == made.fingerprint
    for kwargs, word in (
        ({"lm_fingerprint": "g", "encoders": {"text": "t:1"}}, "language model"),
        ({"lm_fingerprint": "f", "encoders": {"text": "t:2"}}, "text encoder"),
    ):
        try:
            adapters.load(tmp_path / "a", **kwargs)
        except AdapterError as error:
            assert word in str(error)
        else:
            raise AssertionError("a mismatch was accepted")


def test_centred_soft_tokens_have_nothing_in_common():
    module = opened()
    features, anchors, mask = batch(4)
    before = module(features, anchors, mask)
    module.recenter(before.raw)
    after = module(features, anchors, mask)
    common = [f.soft.mean(0).norm(dim=-1).max() / CONFIG.soft_norm for f in (before, after)]
    assert common[1] < 0.5 * common[0]
    assert torch.equal(before.raw, after.raw) and torch.equal(before.pooled, after.pooled)
    assert torch.allclose(after.soft.norm(dim=-1), torch.full((4, 3), CONFIG.soft_norm), atol=1e-5)


def test_a_center_is_kept_and_an_adapter_from_before_has_none(tmp_path):
    made = adapters.untrained(CONFIG, lm="a", lm_fingerprint="f", encoders={})
    plain = made.fingerprint
    features, anchors, mask = batch(4)
    made.fusion.recenter(made.fusion(features, anchors, mask).raw)
    assert made.fingerprint != plain
    adapters.save(made, tmp_path / "a")
    again = adapters.load(tmp_path / "a", lm_fingerprint="f", encoders={})
    assert torch.equal(again.fusion.center, made.fusion.center) and again.fingerprint == made.fingerprint
    file = tmp_path / "a" / "fusion" / "model.safetensors"
    save_file({k: v for k, v in load_file(file).items() if k != "center"}, file)
    older = adapters.load(tmp_path / "a", lm_fingerprint="f", encoders={})
    assert not older.fusion.center.any() and older.fingerprint == plain, "an index over it stays what it was"

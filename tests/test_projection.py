from __future__ import annotations

import numpy as np
import pytest
import torch

from mmllm import projection, weights
from mmllm.contrast import Classes, Contrast, fit, ranks, recall
from mmllm.encoders import ClipEncoder
from mmllm.errors import WeightsError
from mmllm.projection import Heads


@pytest.fixture
def clip(tiny):
    return ClipEncoder(weights.path("tiny-clip"), name="tiny-clip")


def pictures(n: int = 5):
    from PIL import Image

    return [Image.new("RGB", (40, 30 + 5 * i), (40 * i, 10, 200 - 30 * i)) for i in range(n)]


def test_towers_without_projections_give_what_open_clip_gives(clip, tiny):
    import open_clip

    where = f"local-dir:{weights.path('tiny-clip')}"
    model, _, preprocess = open_clip.create_model_and_transforms(where, require_pretrained=True)
    model.eval()
    texts = ["a red apple", "b"]
    with torch.inference_mode():
        seen = model.encode_image(torch.stack([preprocess(p) for p in pictures()]), normalize=True).numpy()
        said = model.encode_text(open_clip.get_tokenizer(where)(texts), normalize=True).numpy()
    assert clip.image_features(pictures()).shape == (5, 64), "the tower's own width, not the shared one"
    np.testing.assert_allclose(clip.encode_images(pictures()), seen, atol=1e-5)
    np.testing.assert_allclose(clip.encode_texts(texts), said, atol=1e-5)


def test_an_unknown_end_keeps_its_projection():
    class Tower(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.proj = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.GELU())

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.visual, self.text = Tower(), Tower()

    model = Model()
    heads = projection.take(model, 4)
    assert torch.equal(heads.image, torch.eye(4)) and torch.equal(heads.text, torch.eye(4))
    assert isinstance(model.visual.proj, torch.nn.Sequential)


def test_heads_survive_the_disk_and_refuse_another_clip(clip, tmp_path):
    file = tmp_path / "heads.safetensors"
    changed = Heads(clip.base.image + 1, clip.base.text, clip.base.scale)
    projection.save(changed, file, clip=clip.fingerprint)
    again = ClipEncoder(weights.path("tiny-clip"), name="tiny-clip", heads=file)
    assert again.heads.fingerprint() == changed.fingerprint() != clip.heads.fingerprint()
    with pytest.raises(WeightsError, match="trained over clip"):
        projection.load(file, clip="another", like=clip.base)
    with pytest.raises(WeightsError, match="holds"):
        projection.load(file, clip=clip.fingerprint, like=Heads(torch.eye(3), torch.eye(3), torch.tensor(1.0)))


def hidden_pairs(n: int, seed: int = 0):
    """Pictures [n, 1, 24] and texts [n, 1, 8] that are two linear views of one hidden thing."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(n, 8)).astype(np.float32)
    # The maps are the same for every seed: only the things differ.
    to_image = np.random.default_rng(99).normal(size=(8, 24)).astype(np.float32)
    return (hidden @ to_image)[:, None], hidden[:, None]


def test_training_finds_the_pairs_it_was_not_shown():
    images, texts = (torch.from_numpy(a) for a in hidden_pairs(300))
    start = Heads(torch.randn(8, 24, generator=torch.Generator().manual_seed(1)), torch.eye(8), torch.tensor(2.659))
    found = fit(start, images, texts, Contrast(epochs=200, batch=100, learning_rate=2e-2))
    new_images, new_texts = (a[:, 0] for a in hidden_pairs(100, seed=5))
    before, after = (recall(ranks(h, new_images, new_texts)) for h in (start, found))
    assert before["text_to_image_recall@10"] < 0.3 < 0.9 < after["text_to_image_recall@10"]
    again = fit(start, images, texts, Contrast(epochs=200, batch=100, learning_rate=2e-2))
    assert torch.equal(again.image, found.image), "the same seed gives the same weights"


def test_classes_start_from_what_the_classifier_knows():
    names, weight = torch.eye(4), torch.randn(4, 10, generator=torch.Generator().manual_seed(2)) * 3
    start = Classes(names, weight, torch.zeros(4), 0.3).start()
    picture = weight[2:3].numpy()  # what class 2 answers to most
    seen = Heads(start, torch.eye(4), torch.tensor(0.0)).project(picture, "image")
    assert int(seen[0].argmax()) == 2


def test_a_tie_counts_against_recall():
    same = np.ones((4, 3), np.float32)
    assert recall(ranks(Heads(torch.eye(3), torch.eye(3), torch.tensor(0.0)), same, same), (1, 3))["text_to_image_recall@3"] == 0


def test_a_tower_with_batch_norms_is_made_quicker_and_gives_the_same():
    from mmllm.encoders import quicker

    torch.manual_seed(0)

    class Block(torch.nn.Module):
        def __init__(self, first: int):
            super().__init__()
            self.conv, self.bn = torch.nn.Conv2d(first, 8, 3, bias=False), torch.nn.BatchNorm2d(8)
            self.bn.running_mean.normal_(), self.bn.running_var.uniform_(0.5, 2), self.bn.weight.data.uniform_(0.5, 2)

        def forward(self, x):
            return self.bn(self.conv(x)).relu()

    tower = torch.nn.Sequential(Block(3), Block(8), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()).eval()
    fast = quicker(tower, (16, 16))
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in fast.modules())
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in tower.modules()), "the tower given is left alone"
    x = torch.randn(3, 3, 16, 16)
    torch.testing.assert_close(fast(x), tower(x), atol=1e-5, rtol=1e-4)


def test_a_tower_that_folding_would_change_runs_as_it_is(caplog):
    from mmllm.encoders import quicker

    class Crossed(torch.nn.Module):
        """The norm that stands after the convolution is not what comes after it."""

        def __init__(self):
            super().__init__()
            self.conv, self.bn = torch.nn.Conv2d(3, 3, 1), torch.nn.BatchNorm2d(3)
            self.bn.running_mean.copy_(torch.tensor([5.0, -3.0, 1.0]))

        def forward(self, x):
            return self.conv(self.bn(x)).mean((2, 3))

    tower = Crossed().eval()
    assert quicker(tower, (8, 8)) is tower and "runs as it is" in caplog.text
    plain = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1), torch.nn.Flatten()).eval()
    assert quicker(plain, (8, 8)) is plain

"""Tiny real things: random two-layer models on disk, a 12-item catalog with pictures. No network, no weights of a preset."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("ANONYMIZED_TELEMETRY", "False")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import pytest
import torch
from PIL import Image, ImageDraw

from mmllm import backbones, catalog, settings
from mmllm.settings import Preset
from mmllm.types import Item

ROOT = Path(__file__).parent.parent
BUILT = ROOT / "index" / "stamps" / "built"
FILMS_FILE = Path(__file__).parent / "data" / "films.jsonl"
STAMPS = ROOT / "catalogs" / "stamps"


def byte_tokenizer():
    """One token per byte, with the ChatML markers as special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {c: n for n, c in enumerate(["<pad>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<pad>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<|im_end|>", bos_token="<|endoftext|>"
    )


def tiny_llama(seed: int = 0):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=260,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        initializer_range=0.3,
        eos_token_id=3,
        bos_token_id=1,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory):
    """Folders of a tiny text encoder, CLIP and LM, as `MMLLM_WEIGHTS` would name them."""
    import open_clip
    from safetensors.torch import save_file
    from transformers import BertConfig, BertModel

    root = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    text = BertModel(BertConfig(vocab_size=260, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64))
    text.save_pretrained(root / "tiny-text")
    byte_tokenizer().save_pretrained(root / "tiny-text")
    tiny_llama().save_pretrained(root / "tiny-lm")
    byte_tokenizer().save_pretrained(root / "tiny-lm")
    clip = {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    }
    (root / "tiny-clip").mkdir()
    open_clip.add_model_config(_write(root / "tiny-clip-arch.json", clip))
    model = open_clip.create_model("tiny-clip-arch")
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, root / "tiny-clip" / "open_clip_model.safetensors")
    config = {"model_cfg": clip, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    _write(root / "tiny-clip" / "open_clip_config.json", config)
    (root / "whisper-tiny-none").mkdir()
    (root / "whisper-tiny-none" / "README").write_text("no sound is encoded in these tests")
    return root


def _write(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value))
    return path


@pytest.fixture
def tiny(tiny_weights, monkeypatch, tmp_path):
    """A preset `tiny` over those folders, and an empty home."""
    return tiny_preset(tiny_weights, monkeypatch, tmp_path / "home")


def tiny_preset(folder, monkeypatch, home):
    """Make the preset `tiny` for as long as the monkeypatch lasts."""
    monkeypatch.setenv("MMLLM_WEIGHTS", str(folder))
    monkeypatch.setenv("MMLLM_HOME", str(home))
    names = {"text": "tiny-text", "clip": "tiny-clip", "whisper": "whisper-tiny-none", "lm": "tiny-lm"}
    for role, name in names.items():
        monkeypatch.setitem(backbones.BACKBONES, name, backbones.Backbone(name, role, "none", ("hub:nobody/nothing@main",)))
    preset = Preset(
        "tiny", names["text"], names["clip"], names["whisper"], names["lm"], soft_tokens=2, candidates=10, text_candidates=6
    )
    monkeypatch.setitem(settings.PRESETS, "tiny", preset)
    return preset


KINDS = {
    "fruit": ("yellow banana", "red apple", "green pear", "blue plum"),
    "tool": ("red hammer", "grey wrench", "blue saw", "black drill"),
    "animal": ("brown dog", "black cat", "white goose", "grey wolf"),
}


@pytest.fixture
def shop(tmp_path):
    return make_shop(tmp_path / "shop")


def make_shop(folder):
    """12 items with pictures, a colour, a kind, a price; one has names in Chinese; the last lacks its picture."""
    (folder / "media").mkdir(parents=True)
    items = []
    for kind, titles in KINDS.items():
        for n, title in enumerate(titles):
            colour, noun = title.split()
            image = Image.new("RGB", (48, 40), colour)
            ImageDraw.Draw(image).rectangle((4 + n, 4, 20, 20), fill="white")
            image.save(folder / "media" / f"{noun}.png")
            attributes: dict = {"kind": kind, "colour": (colour,), "price": 10 * (n + 1)}
            if noun == "cat":
                attributes["names"] = ("一只猫", "un chat")
            items.append(Item(noun, f"A {title}", f"A {title}. One {kind}.", attributes, f"media/{noun}.png"))
    items[-1] = Item(items[-1].id, items[-1].title, items[-1].text, items[-1].attributes)
    catalog.write(items, folder)
    return folder


@pytest.fixture
def shop_index(tiny, shop, tmp_path):
    from mmllm.build import build_index

    out = tmp_path / "index"
    build_index(shop, out, preset="tiny")
    return out


@pytest.fixture
def recommender(shop_index):
    from mmllm import Recommender

    opened = Recommender.load(shop_index, weight=0.3)
    yield opened
    opened.close()


def films_index(folder, preset):
    """An index of the invented films."""
    from mmllm.build import build_index

    (folder / "films").mkdir()
    shutil.copyfile(FILMS_FILE, folder / "films" / "catalog.jsonl")
    build_index(folder / "films", folder / "index", preset=preset)
    return folder / "index"


@pytest.fixture(scope="module")
def films(tiny_weights, tmp_path_factory):
    from mmllm import Recommender

    folder = tmp_path_factory.mktemp("films")
    with pytest.MonkeyPatch.context() as patch:
        tiny_preset(tiny_weights, patch, folder / "home")
        opened = Recommender.load(films_index(folder, "tiny"), weight=0.0)
        # Loaded while the tiny weights are in force, which end here: other tests of a module want the real ones.
        opened.encoders.text, opened.encoders.clip  # noqa: B018
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def stamps_index():
    """The stamps index of `make stamps`, for tests marked `real`."""
    if not (BUILT / "manifest.json").is_file():
        pytest.skip("no stamps index: run `make stamps` (the Makefile's test and check do)")
    return BUILT


@pytest.fixture(scope="session")
def stamps(stamps_index):
    from mmllm import Recommender

    opened = Recommender.load(stamps_index)
    yield opened
    opened.close()


@pytest.fixture
def copied(shop_index, tmp_path):
    """A second copy of the index, to be damaged."""
    target = tmp_path / "copy"
    shutil.copytree(shop_index, target)
    return target

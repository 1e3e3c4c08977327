"""clip-mini: an open_clip model made of two frozen towers from packages and two heads trained here.

Image: timm `tf_efficientnet_lite0` at 176 px -> 1,280 -> D. Text: MiniLM, mean pooled, 384 -> D. The heads are linear, so that
open_clip's own TimmModel and HFTextEncoder hold them; the text head starts as the identity, which keeps MiniLM's sense of words.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from mmllm.errors import WeightsError
from mmllm.projection import Heads

WIDTH = 384
IMAGE_SIZE = 176
CONTEXT = 128
HEADS = ("visual.head.proj.weight", "text.proj.weight", "logit_scale")


def model_config(text_config: Path) -> dict[str, object]:
    """open_clip's JSON; `text_config` is the folder that holds the text tower's config.json and tokenizer."""
    return {
        "model_cfg": {
            "embed_dim": WIDTH,
            "vision_cfg": {
                "timm_model_name": "tf_efficientnet_lite0",
                "timm_model_pretrained": False,
                "timm_pool": "avg",
                "timm_proj": "linear",
                "image_size": IMAGE_SIZE,
            },
            "text_cfg": {
                "hf_model_name": str(text_config),
                "hf_tokenizer_name": str(text_config),
                "hf_model_pretrained": False,
                "hf_proj_type": "linear",
                "hf_pooler_type": "mean_pooler",
                "context_length": CONTEXT,
            },
        },
        "preprocess_cfg": {
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "interpolation": "bicubic",
            "resize_mode": "longest",
            "fill_color": 255,
        },
    }


def untrained_heads(seed: int = 0) -> Heads:
    """Text projection = identity [D, 384]; image projection random [D, 1280]; the state before any training."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(WIDTH, 1280, generator=generator) / 1280**0.5
    return Heads(image, torch.eye(WIDTH), torch.tensor(2.659))


def save_heads(heads: Heads, folder: Path) -> None:
    """Write `heads.safetensors` under open_clip's names of the tensors."""
    tensors = heads.tensors()
    save_file(dict(zip(HEADS, (tensors["image"], tensors["text"], tensors["scale"]), strict=True)), folder / "heads.safetensors")


def compose(image_tower: Path, text_tower: Path, heads: Path, out: Path, target: Path) -> None:
    """Write an open_clip folder (`local-dir:` form) into `out`, which will be renamed to `target`."""
    state = load_file(heads / "heads.safetensors")
    if set(state) != set(HEADS):
        raise WeightsError(f"{heads}/heads.safetensors holds {sorted(state)}", expected=", ".join(HEADS))
    full = {f"visual.trunk.{k}": v for k, v in load_file(image_tower / "model.safetensors").items() if "classifier" not in k}
    text = load_file(text_tower / "model.safetensors")
    full |= {f"text.transformer.{k}": v for k, v in text.items() if not k.startswith("pooler") and "position_ids" not in k}
    full |= state
    save_file(full, out / "open_clip_model.safetensors")
    for file in ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy2(text_tower / file, out / file)
    (out / "open_clip_config.json").write_text(json.dumps(model_config(target), indent=1))

"""Captions written by an image-to-text model of transformers, for the presets that have one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from mmllm import weights
from mmllm.types import Caption


class ModelCaptioner:
    """An image-to-text model of transformers (BLIP and its kin) from a local folder; confidence = exp(mean log-probability)."""

    def __init__(self, folder: Path, *, name: str, max_new_tokens: int = 30, least: float = 0.2) -> None:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        self.name, self.fingerprint = f"model:{name}", weights.fingerprint(folder)
        self.processor = AutoProcessor.from_pretrained(folder)
        self.model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
        self.max_new_tokens, self.least = max_new_tokens, least

    def caption(self, images: Sequence[Image.Image], *, batch: int = 8) -> list[Caption]:
        """One sentence a picture, greedily; one below the least confidence is left empty."""
        out: list[Caption] = []
        for start in range(0, len(images), batch):
            inputs = self.processor(images=list(images[start : start + batch]), return_tensors="pt")
            with torch.inference_mode():
                made = self.model.generate(
                    **inputs,
                    max_new_tokens=self.max_new_tokens,
                    do_sample=False,
                    output_scores=True,
                    return_dict_in_generate=True,
                )
                steps = torch.stack([s.log_softmax(-1) for s in made.scores], dim=1)  # [B, T, V]
            tokens = made.sequences[:, -steps.shape[1] :]
            chosen = steps.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
            pad = self.model.generation_config.pad_token_id
            real = tokens != pad if pad is not None else torch.ones_like(tokens, dtype=torch.bool)
            mean = (chosen.masked_fill(~real, 0).sum(1) / real.sum(1).clamp(min=1)).exp()
            texts = self.processor.batch_decode(made.sequences, skip_special_tokens=True)
            for text, confidence in zip(texts, mean.tolist(), strict=True):
                sure = text.strip() and confidence >= self.least
                out.append(Caption((text.strip(),), self.name, round(confidence, 4)) if sure else Caption())
        return out

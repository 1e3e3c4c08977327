"""`make bench-encode`: pictures per second from JPEG at the model's size, against a plain open_clip loop with batches of 32.

Plain: open_clip.create_model_and_transforms, then for each 32 files Image.open, preprocess, stack, encode_image, normalise. Ours: what
an index build does (load_image, ClipEncoder.encode_images). Interleaved A B A B; medians.

    python -m eval.bench_encode CATALOG [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image

from eval.machine import machine, pressure
from mmllm import catalog, settings, weights
from mmllm.clip_mini import IMAGE_SIZE
from mmllm.encoders import ClipEncoder
from mmllm.media import load_image

PICTURES, ROUNDS, BATCH = 640, 3, 32


def main(arguments: Sequence[str] | None = None) -> int:
    """Print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("catalog", type=Path)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(settings.threads())
    folder = weights.path("clip-mini")
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}", require_pretrained=True)
    model.eval()
    ours_model = ClipEncoder(folder, name="clip-mini")
    with tempfile.TemporaryDirectory() as scratch:
        files: list[Path] = []
        for item in [i for i in catalog.read(chosen.catalog).items if i.image][:PICTURES]:
            image = load_image(chosen.catalog / str(item.image))
            image.thumbnail((IMAGE_SIZE, IMAGE_SIZE))
            files.append(Path(scratch) / f"{len(files)}.jpg")
            image.save(files[-1], quality=90)

        def plain() -> np.ndarray:
            rows = []
            with torch.inference_mode():
                for start in range(0, len(files), BATCH):
                    batch = [preprocess(Image.open(f).convert("RGB")) for f in files[start : start + BATCH]]
                    rows.append(model.encode_image(torch.stack(batch), normalize=True).numpy())
            return np.concatenate(rows)

        def ours() -> np.ndarray:
            rows = []
            for start in range(0, len(files), 64):  # the chunk of an index build
                with ThreadPoolExecutor(settings.threads()) as pool:
                    pictures = list(pool.map(load_image, files[start : start + 64]))
                rows.append(ours_model.encode_images(pictures))
            return np.concatenate(rows)

        before = pressure()
        cosine = float((plain() * ours()).sum(axis=1).min())  # also warms both up
        times: dict[str, list[float]] = {"plain": [], "ours": []}
        for _ in range(ROUNDS):
            for name, run in (("plain", plain), ("ours", ours)):
                started = time.perf_counter()
                run()
                times[name].append(time.perf_counter() - started)
    speed = {name: round(len(files) / statistics.median(t), 1) for name, t in times.items()}
    result = machine(("torch", "open_clip_torch", "timm", "pillow"), ("clip-mini",)) | {
        "pictures": len(files),
        "size": IMAGE_SIZE,
        "images_per_second": speed,
        "ratio": round(speed["ours"] / speed["plain"], 2),
        "least_cosine": round(cosine, 7),
        "seconds": {n: [round(s, 2) for s in t] for n, t in times.items()},
        "cpu_pressure": {"before": before, "after": pressure()},
    }
    sys.stdout.write(json.dumps(result, indent=1) + "\n")
    if chosen.out:
        chosen.out.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Training in two processes: they join their gradients, so that they learn what one process learns from batches twice as large."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import torch
from safetensors.torch import load_file

from mmllm.train import run
from tests.test_train import liked, recipe  # noqa: F401 - liked is a fixture

LAUNCHED = """
import sys
from mmllm import backbones, settings
from mmllm.settings import Preset
names = {"text": "tiny-text", "clip": "tiny-clip", "whisper": "whisper-tiny-none", "lm": "tiny-lm"}
for role, name in names.items():
    backbones.BACKBONES[name] = backbones.Backbone(name, role, "none", ("hub:nobody/nothing@main",))
settings.PRESETS["tiny"] = Preset("tiny", *names.values(), soft_tokens=2, candidates=10, text_candidates=6)
from mmllm.train import main
main(sys.argv[1:])
"""


def test_two_processes_are_one_with_a_batch_twice_as_large(liked, shop_index, tmp_path):  # noqa: F811
    """Without dropout and the match beside, which are drawn anew in every process."""
    more = "modality_dropout = 0.0\nweight_decay = 0.0"
    one = recipe(tmp_path, more, "one.toml")
    one.write_text(one.read_text().replace("batch = 2", "batch = 4"))
    two = recipe(tmp_path, more, "two.toml")
    run(one, tmp_path / "one")
    script = tmp_path / "launched.py"
    script.write_text(LAUNCHED)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # accelerate's own launcher starts several CPU processes through MPI only; torch's sets the same variables.
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(port), str(script)]
    ran = subprocess.run(
        [*launch, str(two), str(tmp_path / "two")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    for name in ("fusion/model.safetensors", "adapter/adapter_model.safetensors"):
        alone, joined = load_file(tmp_path / "one" / name), load_file(tmp_path / "two" / name)
        assert all(torch.allclose(alone[k], joined[k], atol=1e-4) for k in alone), name
    assert len((tmp_path / "two" / "metrics.jsonl").read_text().splitlines()) == 2

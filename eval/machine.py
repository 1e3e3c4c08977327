"""Where and with what a figure was measured: goes into every result."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmllm import settings, weights


def pressure() -> str:
    """The kernel's figure of how busy the processors are, where it tells."""
    file = Path("/proc/pressure/cpu")
    return file.read_text().splitlines()[0] if file.is_file() else "unknown"


def machine(packages: Sequence[str], backbones: Sequence[str] = ()) -> dict[str, Any]:
    """Commit, date, versions, threads and weights."""
    git = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return {
        "commit": git.stdout.strip(),
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        "versions": {p: importlib.metadata.version(p) for p in packages},
        "threads": settings.threads(),
        "weights": {name: weights.fingerprint(weights.path(name)) for name in backbones},
    }

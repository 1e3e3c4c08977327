"""The chat page, as hosting conventions want it: `python app.py [INDEX]`."""

from __future__ import annotations

import sys
from pathlib import Path

from mmllm import settings
from mmllm.errors import MmllmError

if __name__ == "__main__":
    settings.quiet_libraries()
    from mmllm.ui import serve

    try:
        serve(Path(sys.argv[1] if len(sys.argv) > 1 else "index/stamps/built"))
    except MmllmError as error:
        sys.exit(f"error: {error}")

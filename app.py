"""The chat page, as hosting conventions want it: `python app.py [INDEX]`."""

from __future__ import annotations

import sys
from pathlib import Path

from mmllm import settings

if __name__ == "__main__":
    settings.quiet_libraries()
    from mmllm.ui import serve

    serve(Path(sys.argv[1] if len(sys.argv) > 1 else "index/stamps/built"))

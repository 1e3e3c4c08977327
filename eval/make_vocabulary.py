"""Write `mmllm/vocabulary.txt`, the names of things for captions: ImageNet's class names and Unicode CLDR's names of emoji.

python -m eval.make_vocabulary
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from timm.data import ImageNetInfo

from mmllm.caption import VOCABULARY
from mmllm.importers import emoji, fetch

GROUPS = (3, 4, 5, 6, 7)
"""Animals and nature, food and drink, travel and places, activities, objects."""
NO_THING = ("thirty", "face", "button", "keycap")
HEADER = """# Names of things, for captions: first names of ImageNet's classes (WordNet, by timm.data.ImageNetInfo) and Unicode CLDR names of
# animals, food, places, activities and objects (emojibase-data {version}, MIT), in lower case; clock faces and faces left out.
# Written by `python -m eval.make_vocabulary`.
"""


def main() -> None:
    """Fetch and write."""
    info = ImageNetInfo()
    names = {str(info.index_to_description(n)).split(",")[0].lower() for n in range(1000)}
    with tempfile.TemporaryDirectory() as scratch:
        package = fetch.npm(*emoji.NAMES, Path(scratch))
        rows = json.loads((package / "en" / "data.json").read_text())
    names |= {row["label"].lower() for row in rows if row.get("group") in GROUPS}
    kept = sorted(n for n in names if n.isascii() and not any(word in n for word in NO_THING))
    VOCABULARY.write_text(HEADER.format(version=emoji.NAMES[1]) + "\n".join(kept) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

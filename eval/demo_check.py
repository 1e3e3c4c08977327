"""`make demo CHECK=1`: three scripted turns over the stamps index, printed as JSON; exits with 1 if one of them fails."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from mmllm import Query, Recommender, settings


def main(index: Path) -> int:
    settings.quiet_libraries()
    recommender = Recommender.load(index)
    media = Path(recommender.store.manifest.catalog) / "media"
    turns = {
        "text": (Query(text="a vehicle with wings"), "plane"),
        "picture": (Query(image=media / "animals-marsupials-koala.png"), "koala"),
        "voice": (Query(audio=media / "animals-marsupials-wombat_voice.ogg"), "wombat"),
    }
    answers, failed = {}, []
    for name, (query, wanted) in turns.items():
        response = recommender.recommend(query, k=5, lm_explanations=1)
        answers[name] = response.to_dict()
        if not any(wanted in r.title.casefold() for r in response.recommendations):
            failed.append(f"{name}: no {wanted!r} among {[r.title for r in response.recommendations]}")
    sys.stdout.write(json.dumps(answers, ensure_ascii=False, indent=1) + "\n")
    sys.stderr.write("".join(f"{line}\n" for line in failed))
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))

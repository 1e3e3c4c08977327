"""`make bench-page`: a warm turn on the page, in Chromium, from the Enter key to the first cards, the first words and the last one.

The clock is the browser's: a time is taken at the first frame that shows the change. Medians over distinct requests of one visitor, after
turns that warm up. Needs playwright and Chromium (`pip install playwright`, `apt-get install chromium`).
"""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import statistics
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from eval.bench_turn import REQUESTS
from eval.machine import machine, pressure
from mmllm import Recommender, settings
from mmllm.ui import open_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WARM = 2
WATCH = """
() => {
  const cards = () => [...document.querySelectorAll(".card h3")].filter((e) => e.offsetParent).map((e) => e.textContent).join();
  const replies = () => [...document.querySelectorAll("[data-testid=bot]")].map((e) => e.innerText.trim());
  const before = { cards: cards(), replies: replies().length };
  const turn = (window.turn = { said: "" });
  const at = (name) => requestAnimationFrame((now) => { turn[name] = now - turn.sent; });
  document.addEventListener("keydown", (e) => { if (e.key === "Enter") turn.sent ??= performance.now(); }, { capture: true });
  new MutationObserver(() => {
    if (turn.sent === undefined) return;
    if (!turn.listed && cards() && cards() !== before.cards) { turn.listed = true; at("cards"); }
    const said = replies().length > before.replies ? replies().at(-1) : "";
    if (said === "" || said === "…" || said === turn.said) return;
    if (turn.said === "") at("words");
    turn.said = said;
    at("end");
  }).observe(document.body, { childList: true, subtree: true, characterData: true });
}
"""
ENDED = "() => turn.cards && turn.end && !document.querySelector('.generating')"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("index", type=Path)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--weight", type=float, help="the LM's weight; by default the index's own")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if not 0 < options.turns <= len(REQUESTS) - WARM:
        parser.error(f"--turns is {options.turns}: there are {len(REQUESTS) - WARM} distinct requests")
    from playwright.sync_api import sync_playwright  # an extra of this bench alone

    settings.quiet_libraries()
    recommender = Recommender.load(options.index, weight=options.weight)
    before = pressure()
    with served(recommender) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(address)
        page.locator("h1 + p").wait_for()
        turns = measure(page, REQUESTS[: WARM + options.turns])[WARM:]
        browser.close()
    times = {name: [t[name] for t in turns] for name in ("cards", "words", "end")}
    times["words_after_cards"] = [t["words"] - t["cards"] for t in turns]
    result = {
        "median_ms": {name: round(statistics.median(values)) for name, values in times.items()},
        "ms": {name: [round(v) for v in values] for name, values in times.items()},
        "lm_weight": recommender.reranker.weight,
        "cpu_pressure_before": before,
        "machine": machine(("gradio", "playwright", "torch")),
    }
    recommender.close()
    text = json.dumps(result, indent=1) + "\n"
    sys.stdout.write(text)
    if options.out:
        options.out.write_text(text)
    return 0


@contextmanager
def served(recommender: Recommender) -> Iterator[str]:
    """The page's address on a free port, for as long as it is needed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with redirect_stdout(sys.stderr):  # Gradio tells the address; stdout is for the result
        app, address, _ = open_page(recommender, port=port, block=False)
    try:
        yield address
    finally:
        with redirect_stdout(sys.stderr):
            app.get_blocks().close()


def measure(page: Any, requests: Iterable[str]) -> list[dict[str, Any]]:
    """Each request typed and sent on the open page -> milliseconds from the Enter key to `cards`, `words` and `end`, and what was `said`."""
    turns = []
    for request in requests:
        page.locator("textarea").first.fill(request)
        page.evaluate(WATCH)
        page.locator("textarea").first.press("Enter")
        page.wait_for_function(ENDED, timeout=120_000, polling=250)  # at every frame it would be a load of its own
        turns.append(page.evaluate("turn"))
    return turns


if __name__ == "__main__":
    raise SystemExit(main())

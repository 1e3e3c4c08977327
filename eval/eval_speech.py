"""`python -m eval.eval_speech`: Whisper in both engines against faster-whisper's defaults; same weights, threads and arrays.

Word error rates on recordings of people (a folder with manifest.jsonl: file, text, lang), character error rates for Chinese,
languages, times of short turns, sounds without speech, white noise. Writes counts and rates, never a transcript.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import time
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
from whisper.normalizers import EnglishTextNormalizer

from eval.machine import machine, pressure
from mmllm import settings, weights
from mmllm.media import denoise, load_audio
from mmllm.speech import open_transcriber

WEIGHTS, TURN_SECONDS, ROUNDS, SNR_DB = "whisper-base", 6.0, 3, 10.0
WITHOUT_SPEECH = ("animals-", "vehicles-", "hobbies-music-")
PACKAGES = ("faster-whisper", "ctranslate2", "openai-whisper", "torch", "numpy", "jiwer", "noisereduce", "soundfile", "soxr")
NOTES = (
    "No recording was held out: the window, the beams and the voice thresholds were chosen on these clips and these stamps.",
    "A few references are cut off or wrong (the same for every side), so the rates are higher than Whisper's own.",
    "Times of faster-whisper defaults: WhisperModel.transcribe(array), int8, same threads; segments are consumed.",
)
english = EnglishTextNormalizer()


def chinese(text: str) -> str:
    """Letters and digits only, in their compatibility form (NFKC): no punctuation, no blanks, script left as it is."""
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())


def traditional_only(text: str) -> int:
    """Characters that Big5 has and GB 2312 has not."""

    def has(c: str, code: str) -> bool:
        try:
            return bool(c.encode(code))
        except UnicodeEncodeError:
            return False

    return sum(has(c, "big5") and not has(c, "gb2312") for c in text)


def with_noise(audio: np.ndarray, seed: int) -> np.ndarray:
    """White noise added at SNR_DB over the whole clip."""
    noise = np.random.default_rng(seed).normal(0, 1, len(audio))
    noise *= np.sqrt(np.square(audio).mean() / 10 ** (SNR_DB / 10))
    return (audio + noise).astype(np.float32)


def error_rate(clips: Sequence[dict[str, Any]], said: Sequence[str]) -> float:
    """Word error rate in per cent over all clips together."""
    return round(100 * jiwer.wer([english(c["text"]) for c in clips], [english(s) for s in said]), 2)


class Sides:
    """What is compared: ours in two engines, and the library's own front door with its default arguments."""

    def __init__(self) -> None:
        from faster_whisper import WhisperModel

        self.ours = {engine: open_transcriber(WEIGHTS, engine=engine) for engine in settings.WHISPER_ENGINES}
        folder = str(weights.path(WEIGHTS))
        self.default = WhisperModel(
            folder, device="cpu", compute_type="int8", cpu_threads=settings.threads(), local_files_only=True
        )

    def hear(self, side: str, audio: np.ndarray, language: str | None = None) -> tuple[str, str | None]:
        """(text, language)."""
        if side == "faster-whisper defaults":
            segments, info = self.default.transcribe(audio)
            return " ".join(s.text.strip() for s in segments), info.language
        transcript = self.ours[side].hear(audio, language=language).transcript
        return transcript.text, transcript.language

    @property
    def names(self) -> list[str]:
        """Ours first."""
        return [*self.ours, "faster-whisper defaults"]


def accuracy(sides: Sides, clips: list[dict[str, Any]], say: Callable[[str], None]) -> dict[str, Any]:
    """Error rates and languages, per side."""
    en, zh = ([c for c in clips if c["lang"] == lang] for lang in ("en", "zh"))
    other = [c for c in clips if c["lang"] != "en"]
    result: dict[str, Any] = {
        "english_clips": len(en),
        "english_words": sum(len(english(c["text"]).split()) for c in en),
        "english_normaliser": "whisper.normalizers.EnglishTextNormalizer; rate over all words together (jiwer)",
        "chinese_clips": len(zh),
        "chinese_normaliser": "NFKC, letters and digits only; rate over all characters together",
    }
    short = [c for c in en if c["seconds"] <= TURN_SECONDS]
    for side in sides.names:
        heard = {c["file"]: sides.hear(side, c["audio"]) for c in clips}
        result[side] = {
            "wer_percent": error_rate(en, [heard[c["file"]][0] for c in en]),
            "wer_percent_turns": error_rate(short, [heard[c["file"]][0] for c in short]),
            "cer_percent_chinese": round(
                100 * jiwer.cer([chinese(c["text"]) for c in zh], [chinese(heard[c["file"]][0]) for c in zh]), 2
            ),
            "traditional_characters": sum(traditional_only(heard[c["file"]][0]) for c in zh),
            "languages_right_english": f"{sum(heard[c['file']][1] == 'en' for c in en)}/{len(en)}",
            "languages_right_other": f"{sum(heard[c['file']][1] == c['lang'] for c in other)}/{len(other)}",
        }
        say(f"{side}: {result[side]}")
    states = [[w.hear(c["audio"]).state for w in sides.ours.values()] for c in short]
    result["cosine_of_the_engines_states_min"] = round(float(min(a @ b for a, b in states)), 5)
    return result


def turns(sides: Sides, clips: list[dict[str, Any]], folder: Path) -> dict[str, Any]:
    """Seconds of short turns, sides in turn per clip; medians over rounds, then over clips. No language is given to anyone."""
    short = [c for c in clips if c["seconds"] <= TURN_SECONDS]
    ours, default = settings.WHISPER_ENGINES[0], "faster-whisper defaults"
    times: dict[str, dict[str, list[float]]] = {n: {c["file"]: [] for c in short} for n in (ours, "file to text", default)}
    for c in short[:2]:
        for side in sides.names:
            sides.hear(side, c["audio"])
    before = pressure()
    for _ in range(ROUNDS):
        for c in short:
            for name in times:
                began = time.perf_counter()
                if name == "file to text":
                    sides.hear(ours, load_audio(folder / c["file"]))
                else:
                    sides.hear(name, c["audio"])
                times[name][c["file"]].append(time.perf_counter() - began)
    medians = {n: {f: statistics.median(t) for f, t in by.items()} for n, by in times.items()}
    slow = [time_of(sides, settings.WHISPER_ENGINES[1], c["audio"]) for c in short[:8]]
    return {
        "turns": len(short),
        "rounds": ROUNDS,
        "median_s": {n: round(statistics.median(m.values()), 3) for n, m in medians.items()},
        "largest_s": {n: round(max(m.values()), 3) for n, m in medians.items()},
        "times_faster_median_of_ratios": round(
            statistics.median(medians[default][f] / medians[ours][f] for f in medians[ours]), 2
        ),
        "times_faster_least": round(min(medians[default][f] / medians[ours][f] for f in medians[ours]), 2),
        "openai_whisper_median_s_of_8": round(statistics.median(slow), 3),
        "cpu_pressure": {"before": before, "after": pressure()},
    }


def time_of(sides: Sides, side: str, audio: np.ndarray) -> float:
    """Seconds for one recording."""
    began = time.perf_counter()
    sides.hear(side, audio)
    return time.perf_counter() - began


def stamps(sides: Sides, catalog: Path) -> dict[str, Any]:
    """Sounds without speech give no text; spoken names are heard."""
    items = [json.loads(line) for line in (catalog / "catalog.jsonl").read_text(encoding="utf-8").splitlines()]
    voices, effects = list[tuple[str, str]](), list[str]()
    for item in items:
        audio = item.get("audio") or []
        for file in [audio] if isinstance(audio, str) else audio:
            if file.endswith("_voice.ogg"):
                voices.append((file, item["title"]))
            else:
                effects.append(file)
    engine = settings.WHISPER_ENGINES[0]
    mute = sorted(f for f in effects if Path(f).name.startswith(WITHOUT_SPEECH))
    ten = [mute[i * len(mute) // 10] for i in range(10)]
    free = {f: sides.hear(engine, load_audio(catalog / f))[0] for f in effects}
    given = {f: sides.hear(engine, load_audio(catalog / f), "en")[0] for f in effects}
    named = sum(title_in(title, sides.hear(engine, load_audio(catalog / f), "en")[0]) for f, title in voices)
    other = settings.WHISPER_ENGINES[1]
    return {
        "rule_of_the_ten": "effects named animals-, vehicles- or hobbies-music-, by name; of the n, number floor(i n / 10), i = 0..9",
        "the_ten": [Path(f).name for f in ten],
        "the_ten_with_text": sum(bool(free[f]) for f in ten),
        "the_ten_with_text_openai_whisper": sum(bool(sides.hear(other, load_audio(catalog / f))[0]) for f in ten),
        "without_speech": len(mute),
        "without_speech_with_text": sorted(Path(f).name for f in mute if free[f]),
        "without_speech_with_text_language_given": sorted(Path(f).name for f in mute if given[f]),
        "effects": len(effects),
        "effects_with_text": sum(map(bool, free.values())),
        "effects_with_text_language_given": sum(map(bool, given.values())),
        "effects_with_text_outside_the_rule": sorted(Path(f).name for f in effects if free[f] and f not in mute),
        "voices": len(voices),
        "voices_with_their_title_language_given": named,
    }


def title_in(title: str, text: str) -> bool:
    """Whether the words of a title, without its article and what stands in brackets, are heard in their order."""
    bare = re.sub(r"\(.*?\)", "", title).strip()
    bare = re.sub(r"^(an?|the|some)\s+", "", bare, flags=re.IGNORECASE)
    words = [re.sub(r"[^\w]+", " ", s.casefold()).strip() for s in (bare, text)]
    return bool(words[0]) and words[0] in words[1]


def noisy(sides: Sides, clips: list[dict[str, Any]]) -> dict[str, Any]:
    """Whether the denoise option helps: word error rates with white noise, without and with it."""
    en = [c for c in clips if c["lang"] == "en"]
    engine = settings.WHISPER_ENGINES[0]
    dirty = [with_noise(c["audio"], n) for n, c in enumerate(en)]

    def rate(arrays: Sequence[np.ndarray]) -> float:
        return error_rate(en, [sides.hear(engine, a)[0] for a in arrays])

    return {
        "snr_db": SNR_DB,
        "wer_percent_noisy": rate(dirty),
        "wer_percent_noisy_denoised": rate([denoise(a) for a in dirty]),
        "wer_percent_clean_denoised": rate([denoise(c["audio"]) for c in en]),
        "wer_percent_noisy_defaults": error_rate(en, [sides.hear("faster-whisper defaults", a)[0] for a in dirty]),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run everything and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speech", type=Path, default=Path("../shared/data/speech"))
    parser.add_argument("--stamps", type=Path, default=Path("catalogs/stamps"))
    parser.add_argument("--out", type=Path, default=Path("eval/results/encoders_speech.json"))
    chosen = parser.parse_args(arguments)
    settings.quiet_libraries()
    result = machine(PACKAGES, (WEIGHTS,)) | {"notes": NOTES}

    def say(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    clips = [json.loads(line) for line in (chosen.speech / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    clips = [c | {"audio": load_audio(chosen.speech / c["file"])} for c in clips if c["text"]]
    sides = Sides()
    result["turns"] = turns(sides, clips, chosen.speech)
    say(f"turns: {result['turns']}")
    result["accuracy"] = accuracy(sides, clips, say)
    result["stamps"] = stamps(sides, chosen.stamps)
    say(f"stamps: {result['stamps']}")
    result["noise"] = noisy(sides, clips)
    say(f"noise: {result['noise']}")
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

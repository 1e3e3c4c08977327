"""Decode pictures and sounds safely: allow-lists, size limits, no network, no external program.

SVG is refused (it is a program); WebP, PNG, JPEG, GIF and BMP are decoded by Pillow, WAV, FLAC, Ogg and MP3 by libsndfile.
"""

from __future__ import annotations

import io
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from mmllm import settings
from mmllm.errors import MediaError, MediaTooLongError, MissingExtraError

IMAGE_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
AUDIO_FORMATS = ("WAV", "WAVEX", "FLAC", "OGG", "MP3")
_opening = threading.Lock()
LOUDNESS, QUIET, MAX_GAIN = -20.0, -50.0, 20.0
"""dBFS RMS that speech is brought to; dBFS RMS below which a block is silence; dB of gain at most."""


def _bytes_of(source: Any, limit: int, what: str) -> tuple[bytes, str]:
    """The bytes of a path or a bytes object, and the name to call it by in errors."""
    if isinstance(source, (bytes, bytearray)):
        data, name = bytes(source), f"{what} of {len(source)} bytes"
    else:
        path = Path(source)
        name = str(source)
        if not path.is_file():
            raise MediaError(f"{name} is not a file", expected=f"a readable {what} file")
        if path.stat().st_size > limit:
            raise MediaError(f"{name} has {path.stat().st_size:,} bytes", expected=f"at most {limit:,}", do="make it smaller")
        data = path.read_bytes()
    if not data:
        raise MediaError(f"{name} is empty", expected=f"a readable {what} file")
    if len(data) > limit:
        raise MediaError(f"{name} has {len(data):,} bytes", expected=f"at most {limit:,}", do="make it smaller")
    return data, name


def load_image(source: Any) -> Image.Image:
    """A path, bytes or PIL picture -> RGB: turned by EXIF, colour-managed to sRGB, transparency laid on white."""
    if isinstance(source, Image.Image):
        return to_rgb(source)
    data, name = _bytes_of(source, settings.MAX_IMAGE_BYTES, "image")
    if data.lstrip()[:5].lower() in (b"<svg ", b"<?xml"):
        raise MediaError(f"{name} is an SVG or XML file", expected="PNG, JPEG, WebP, GIF or BMP", do="convert it to PNG")
    try:
        # Pictures are decoded in several threads, but the filter of warnings is one for the process: it is set under a lock, for
        # the header alone. The slow part, the pixels, is decoded outside.
        with _opening, warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=IMAGE_FORMATS)
        if image.width * image.height > settings.MAX_IMAGE_PIXELS:
            raise MediaError(f"{name} is {image.width}x{image.height}", expected=f"at most {settings.MAX_IMAGE_PIXELS:,} pixels")
        image.load()
        return to_rgb(image)
    except UnidentifiedImageError:
        raise MediaError(f"{name} is not a picture", expected="PNG, JPEG, WebP, GIF or BMP") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise MediaError(f"{name} cannot be decoded ({error})", expected="an undamaged picture") from None


def to_rgb(image: Image.Image) -> Image.Image:
    """EXIF turn, ICC profile to sRGB, alpha over white."""
    profile = image.info.get("icc_profile")
    turned = ImageOps.exif_transpose(image) or image
    if profile and turned.mode in ("RGB", "RGBA", "CMYK"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            mode = "RGBA" if turned.mode == "RGBA" else "RGB"
            converted = ImageCms.profileToProfile(turned, source, ImageCms.createProfile("sRGB"), outputMode=mode)
            turned = converted or turned
        except ImageCms.PyCMSError:
            # A broken profile says nothing about the pixels; they are read as sRGB, as browsers do.
            pass
    if turned.mode in ("RGBA", "LA", "PA") or "transparency" in turned.info:
        rgba = turned.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return turned.convert("RGB")


def load_audio(source: Any) -> np.ndarray:
    """A path, bytes, or (sample rate, samples) -> mono float32 [n] at 16 kHz, peak at most 1.

    Samples may be [n] or [n, channels], integer (scaled by their type) or float in [-1, 1].
    """
    if isinstance(source, tuple):
        rate, samples = source
        samples = np.asarray(samples)
        if np.issubdtype(samples.dtype, np.integer):
            samples = samples.astype(np.float32) / float(np.iinfo(samples.dtype).max)
        name = "the recording"
    else:
        rate, samples, name = decode_audio(source)
    samples = np.asarray(samples, dtype=np.float32)
    if samples.ndim == 2:
        samples = samples.mean(axis=1)
    if samples.ndim != 1 or samples.size == 0:
        raise MediaError(f"{name} has samples of shape {samples.shape}", expected="[n] or [n, channels], not empty")
    if not np.isfinite(samples).all():
        raise MediaError(f"{name} has samples that are not numbers", expected="finite samples")
    if int(rate) != settings.SAMPLE_RATE:
        import soxr

        samples = soxr.resample(samples, int(rate), settings.SAMPLE_RATE).astype(np.float32)
    if samples.size > settings.MAX_AUDIO_SECONDS * settings.SAMPLE_RATE:
        raise MediaTooLongError(f"{name} is too long", expected=f"at most {settings.MAX_AUDIO_SECONDS:.0f} s")
    peak = float(np.abs(samples).max())
    return samples / peak if peak > 1.0 else samples


def decode_audio(source: Any) -> tuple[int, np.ndarray, str]:
    """A path or bytes -> sample rate in Hz, float32 [n] or [n, channels] as the file holds them, and its name for errors.

    WebM and M4A come as mono at 16 kHz.
    """
    import soundfile  # heavy native library, only where sound is read

    data, name = _bytes_of(source, settings.MAX_AUDIO_BYTES, "audio")
    if data[:4] == b"\x1a\x45\xdf\xa3" or data[4:8] == b"ftyp":
        return (*_browser_audio(data, name), name)
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if file.format not in AUDIO_FORMATS:
                raise MediaError(f"{name} is {file.format}", expected="WAV, FLAC, Ogg or MP3", do="convert it to WAV")
            rate = file.samplerate
            if file.frames > settings.MAX_AUDIO_SECONDS * rate:
                raise MediaTooLongError(
                    f"{name} lasts {file.frames / rate:.0f} s", expected=f"at most {settings.MAX_AUDIO_SECONDS:.0f} s"
                )
            return rate, file.read(dtype="float32", always_2d=False), name
    except soundfile.LibsndfileError as error:
        raise MediaError(f"{name} is not a sound ({error})", expected="WAV, FLAC, Ogg, MP3, WebM or M4A") from None


def normalise_loudness(audio: np.ndarray) -> np.ndarray:
    """Mono float32 [n] -> the same, its louder parts at LOUDNESS dBFS RMS; never clipped, silence untouched.

    Whisper's spectrogram keeps the absolute level, so a quiet microphone is another input to it than a loud one. The level is
    the mean power of 100 ms blocks gated as in ITU-R BS.1770: blocks below QUIET are silence, and of the rest those 10 dB
    below their mean are pauses. The gain is at most MAX_GAIN dB either way, so that noise does not become a shout.

    >>> float(np.abs(normalise_loudness(np.zeros(16000, np.float32))).max())
    0.0
    """
    size = settings.SAMPLE_RATE // 10
    blocks = np.pad(audio, (0, -len(audio) % size)).reshape(-1, size)
    power = np.square(blocks, dtype=np.float64).mean(axis=1)
    power = power[power > 10 ** (QUIET / 10)]
    if not power.size:
        return audio
    level = 10 * np.log10(power[power >= power.mean() / 10].mean())
    gain = 10 ** (float(np.clip(LOUDNESS - level, -MAX_GAIN, MAX_GAIN)) / 20)
    return (audio * min(gain, 1.0 / float(np.abs(audio).max()))).astype(np.float32)


def denoise(audio: np.ndarray) -> np.ndarray:
    """Mono float32 [n] at 16 kHz with its steady noise gated away (noisereduce, spectral gating; extra `denoise`)."""
    try:
        import noisereduce
    except ImportError:
        raise MissingExtraError("noisereduce", "denoise") from None
    if not np.any(audio):
        return audio
    return noisereduce.reduce_noise(y=audio, sr=settings.SAMPLE_RATE, stationary=True).astype(np.float32)


def _browser_audio(data: bytes, name: str) -> tuple[int, np.ndarray]:
    """WebM and M4A, which browsers record, by PyAV (it comes with faster-whisper): mono float32 at 16 kHz."""
    import av

    rate, limit = settings.SAMPLE_RATE, int(settings.MAX_AUDIO_SECONDS * settings.SAMPLE_RATE)
    parts: list[np.ndarray] = []
    try:
        with av.open(io.BytesIO(data), "r", options={"protocol_whitelist": "file"}) as container:
            resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
            for frame in container.decode(audio=0):
                parts += [f.to_ndarray()[0] for f in resampler.resample(frame)]
                if sum(map(len, parts)) > limit:
                    raise MediaTooLongError(f"{name} is too long", expected=f"at most {settings.MAX_AUDIO_SECONDS:.0f} s")
            parts += [f.to_ndarray()[0] for f in resampler.resample(None)]
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise MediaError(f"{name} is not a sound ({error})", expected="WAV, FLAC, Ogg, MP3, WebM or M4A") from None
    return rate, np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)

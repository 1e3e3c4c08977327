from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from PIL import Image

from mmllm import settings
from mmllm.errors import MediaError
from mmllm.media import load_audio, load_image


def png(image: Image.Image, **kwargs) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", **kwargs)
    return out.getvalue()


def test_alpha_is_laid_on_white_and_exif_is_turned():
    assert load_image(png(Image.new("RGBA", (4, 4), (0, 0, 0, 0)))).getpixel((0, 0)) == (255, 255, 255)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    assert load_image(png(Image.new("RGB", (8, 4)), exif=exif)).size == (4, 8)


@pytest.mark.parametrize(
    "data", [b"", b"not a picture", b"<svg xmlns='x'/>", b"<?xml version='1.0'?><svg/>", b"GIF89a" + b"\0" * 9]
)
def test_bad_pictures_are_refused(data):
    with pytest.raises(MediaError):
        load_image(data)


def test_cut_off_picture_and_too_many_pixels(monkeypatch):
    whole = png(Image.effect_noise((64, 64), 50).convert("RGB"))
    with pytest.raises(MediaError):
        load_image(whole[: len(whole) // 2])
    monkeypatch.setattr(settings, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(MediaError, match="pixels"):
        load_image(whole)


def test_audio_becomes_mono_16k(tmp_path):
    tone = np.sin(np.arange(44100) * 0.05).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", np.stack([tone, tone], 1), 44100)
    got = load_audio(tmp_path / "a.wav")
    assert got.dtype == np.float32 and got.ndim == 1 and abs(len(got) - 16000) <= 2
    whole = load_audio((16000, (tone[:1600] * 32767).astype(np.int16)))
    assert np.allclose(whole, tone[:1600], atol=1e-3)


@pytest.mark.parametrize(("name", "codec", "form"), [("a.webm", "libopus", "s16"), ("a.m4a", "aac", "fltp")])
def test_browser_audio(tmp_path, name, codec, form):
    import av

    with av.open(str(tmp_path / name), "w", format="webm" if name.endswith("webm") else "mp4") as out:
        stream = out.add_stream(codec, rate=48000, layout="mono")
        samples = (np.sin(np.arange(48000) * 0.05) * (10000 if form == "s16" else 0.3))[None]
        frame = av.AudioFrame.from_ndarray(samples.astype(np.int16 if form == "s16" else np.float32), format=form, layout="mono")
        frame.sample_rate = 48000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            out.mux(packet)
    got = load_audio(tmp_path / name)
    assert 15500 <= len(got) <= 16800 and np.abs(got).max() > 0.1


@pytest.mark.parametrize("data", [b"", b"RIFFnonsense", b"\x1a\x45\xdf\xa3broken"])
def test_bad_sounds_are_refused(data):
    with pytest.raises(MediaError):
        load_audio(data)


def test_too_long_and_not_finite(monkeypatch):
    monkeypatch.setattr(settings, "MAX_AUDIO_SECONDS", 0.5)
    with pytest.raises(MediaError, match="too long"):
        load_audio((16000, np.zeros(16000, np.float32)))
    with pytest.raises(MediaError, match="finite"):
        load_audio((16000, np.full(100, np.nan, np.float32)))

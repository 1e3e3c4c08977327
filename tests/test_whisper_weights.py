"""CTranslate2's file format -> openai-whisper's names, on a tiny Whisper written here, plain and quantised."""

from __future__ import annotations

import re
import struct

import numpy as np
import pytest

from mmllm.errors import WeightsError
from mmllm.whisper_weights import dequantised, openai_folder, openai_layout, read_ctranslate2

KINDS = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}


def write_model(file, arrays, aliases=(), *, version=6, spec="WhisperSpec"):
    """The layout of ctranslate2/specs/model_spec.py, `ModelSpec._serialize`."""

    def string(text):
        return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"

    out = struct.pack("<I", version) + string(spec) + struct.pack("<II", 3, len(arrays))
    for name, a in arrays.items():
        out += string(name) + struct.pack(f"<B{a.ndim}IBI", a.ndim, *a.shape, KINDS[str(a.dtype)], a.nbytes) + a.tobytes()
    out += struct.pack("<I", len(aliases)) + b"".join(string(a) + string(b) for a, b in aliases)
    file.write_bytes(out)
    return file


def tiny_whisper(width=8, layers=2, vocabulary=20, mels=4, audio=6, text=5, dtype=np.float16):
    """CTranslate2's variables of a Whisper with random numbers; keys have no bias."""
    rng = np.random.default_rng(0)
    arrays = {}

    def put(name, *shape, zero=None):
        arrays[name] = rng.normal(size=shape).astype(dtype)
        if zero is not None:
            arrays[name][zero] = 0

    def norm(name):
        put(f"{name}/gamma", width)
        put(f"{name}/beta", width)

    def linear(name, rows, columns, zero=None):
        put(f"{name}/weight", rows, columns)
        put(f"{name}/bias", rows, zero=zero)

    for side in ("encoder", "decoder"):
        for n in range(layers):
            at = f"{side}/layer_{n}"
            norm(f"{at}/self_attention/layer_norm")
            linear(f"{at}/self_attention/linear_0", 3 * width, width, slice(width, 2 * width))
            linear(f"{at}/self_attention/linear_1", width, width)
            if side == "decoder":
                norm(f"{at}/attention/layer_norm")
                linear(f"{at}/attention/linear_0", width, width)
                linear(f"{at}/attention/linear_1", 2 * width, width, slice(0, width))
                linear(f"{at}/attention/linear_2", width, width)
            norm(f"{at}/ffn/layer_norm")
            linear(f"{at}/ffn/linear_0", 4 * width, width)
            linear(f"{at}/ffn/linear_1", width, 4 * width)
        norm(f"{side}/layer_norm")
        arrays[f"{side}/num_heads"] = np.array(2, dtype=np.int16)
    put("encoder/conv1/weight", width, mels, 3)
    put("encoder/conv1/bias", width)
    put("encoder/conv2/weight", width, width, 3)
    put("encoder/conv2/bias", width)
    put("encoder/position_encodings/encodings", audio, width)
    put("decoder/position_encodings/encodings", text, width)
    put("decoder/embeddings/weight", vocabulary, width)
    return arrays


ALIASES = [("decoder/projection/weight", "decoder/embeddings/weight")]


def test_what_is_written_is_read(tmp_path):
    arrays = tiny_whisper()
    spec, got = read_ctranslate2(write_model(tmp_path / "model.bin", arrays, ALIASES))
    assert spec == "WhisperSpec" and set(got) == {*arrays, ALIASES[0][0]}
    assert all(np.array_equal(got[n], a) and got[n].dtype == a.dtype for n, a in arrays.items())
    assert np.array_equal(got["decoder/projection/weight"], arrays["decoder/embeddings/weight"])


def test_ctranslate2s_own_writer_agrees(tmp_path):
    from ctranslate2.specs import whisper_spec

    spec = whisper_spec.WhisperSpec(2, 2, 2, 2)
    arrays = tiny_whisper(dtype=np.float32)
    for name, array in arrays.items():
        if not name.endswith("num_heads"):
            *path, last = name.split("/")
            at = spec
            for part in path:
                many = re.fullmatch(r"(\w+)_(\d+)", part)
                at = getattr(at, part) if hasattr(at, part) or not many else getattr(at, many[1])[int(many[2])]
            setattr(at, last, array.copy())  # quantising scales in place
    spec.decoder.projection.weight = spec.decoder.embeddings.weight
    spec.register_vocabulary([str(n) for n in range(20)])
    spec.validate()
    spec.optimize(quantization="int8")
    spec._serialize(str(tmp_path / "model.bin"))
    _, got = read_ctranslate2(tmp_path / "model.bin")
    state, _ = openai_layout(got)
    right, _ = openai_layout(arrays)
    assert set(state) == set(right) and got["encoder/layer_0/ffn/linear_0/weight"].dtype == np.int8
    for name, array in right.items():
        assert np.abs(state[name] - array).max() <= np.abs(array).max() / 127, name


def test_every_key_of_openai_whisper_is_there_and_no_other():
    pytest.importorskip("whisper")
    from whisper.model import ModelDimensions, Whisper

    state, dims = openai_layout(tiny_whisper())
    model = Whisper(ModelDimensions(**dims))
    assert {n: tuple(t.shape) for n, t in model.state_dict().items()} == {n: a.shape for n, a in state.items()}


def test_stacked_projections_are_taken_apart_in_their_order():
    arrays = tiny_whisper()
    state, dims = openai_layout(arrays)
    stacked = arrays["encoder/layer_1/self_attention/linear_0/weight"]
    parts = [state[f"encoder.blocks.1.attn.{p}.weight"] for p in ("query", "key", "value")]
    assert np.array_equal(np.concatenate(parts), stacked)
    cross = arrays["decoder/layer_0/attention/linear_1/weight"]
    parts = [state[f"decoder.blocks.0.cross_attn.{p}.weight"] for p in ("key", "value")]
    assert np.array_equal(np.concatenate(parts), cross)
    assert dims["n_audio_head"] == 2 and dims["n_text_layer"] == 2 and dims["n_vocab"] == 20 and dims["n_mels"] == 4


def test_quantised_weights_are_scaled_back():
    weight = np.random.default_rng(0).normal(size=(4, 3, 2)).astype(np.float32)
    scale = 127 / np.abs(weight).reshape(4, -1).max(1)
    int8 = {"w": np.rint(weight * scale[:, None, None]).astype(np.int8), "w_scale": scale}
    assert np.allclose(dequantised(int8, "w"), weight, atol=0.02)
    one = np.float32(1024 / np.abs(weight).max())
    int16 = {"w": np.rint(weight * one).astype(np.int16), "w_scale": np.array(one)}
    assert np.allclose(dequantised(int16, "w"), weight, atol=0.002)
    with pytest.raises(WeightsError, match="without a scale"):
        dequantised({"w": int8["w"]}, "w")


def test_bfloat16_is_read_as_float32(tmp_path):
    file = tmp_path / "model.bin"
    write_model(file, {"x": np.array([0x3F80, -0x4000], dtype=np.int16)})  # the bits of 1.0 and -2.0
    data = bytearray(file.read_bytes())
    at = data.index(struct.pack("<BI", KINDS["int16"], 4))
    data[at] = 5
    file.write_bytes(data)
    assert read_ctranslate2(file)[1]["x"].tolist() == [1.0, -2.0]


def test_damaged_files_are_refused_by_name(tmp_path):
    arrays = tiny_whisper()
    whole = write_model(tmp_path / "model.bin", arrays, ALIASES).read_bytes()
    for cut in (0, 3, 20, len(whole) // 2, len(whole) - 3):
        (tmp_path / "cut.bin").write_bytes(whole[:cut])
        with pytest.raises(WeightsError, match="cut.bin"):
            read_ctranslate2(tmp_path / "cut.bin")
    with pytest.raises(WeightsError, match="version 3"):
        read_ctranslate2(write_model(tmp_path / "old.bin", {}, version=3))
    with pytest.raises(WeightsError, match="not there"):
        read_ctranslate2(write_model(tmp_path / "alias.bin", {}, [("a", "b")]))


def test_nothing_is_lost_or_made_up():
    arrays = tiny_whisper()
    with pytest.raises(WeightsError, match="no place in openai-whisper, e.g. encoder/extra"):
        openai_layout(arrays | {"encoder/extra": np.ones(3, np.float32)})
    arrays["encoder/layer_0/self_attention/linear_0/bias"][8:16] = 1
    with pytest.raises(WeightsError, match="bias on its keys"):
        openai_layout(arrays)
    arrays = tiny_whisper()
    del arrays["decoder/layer_1/ffn/linear_1/bias"]
    with pytest.raises(WeightsError, match="no variable 'decoder/layer_1/ffn/linear_1/bias'"):
        openai_layout(arrays)


def test_converted_once_into_the_cache(tmp_path, monkeypatch):
    from safetensors.numpy import load_file

    from mmllm import weights

    monkeypatch.setenv("MMLLM_HOME", str(tmp_path / "home"))
    source = tmp_path / "whisper-test"
    source.mkdir()
    write_model(source / "model.bin", tiny_whisper(), ALIASES)
    made = openai_folder(source)
    assert str(made).startswith(str(tmp_path / "home")) and (made / weights.RECORD).is_file()
    stamp = (made / "model.safetensors").stat().st_mtime_ns
    assert openai_folder(source) == made and (made / "model.safetensors").stat().st_mtime_ns == stamp
    assert load_file(made / "model.safetensors")["decoder.token_embedding.weight"].dtype == np.float16
    write_model(source / "model.bin", tiny_whisper(vocabulary=30), ALIASES)
    assert openai_folder(source) != made

"""One Whisper, two layouts: reads CTranslate2's `model.bin` and writes the same tensors under openai-whisper's names.

`model.bin` is a plain list of named tensors, without pickle or code; the layout is that of `ModelSpec._serialize` in
ctranslate2/specs/model_spec.py: version, spec name, revision, variables (name, shape, type, bytes), aliases. Integers are
little-endian. The result is kept in the cache as safetensors, beside the folder it came from.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mmllm import weights
from mmllm.errors import WeightsError

# In the order of CTranslate2's DataType enumeration; numpy has no bfloat16, so its bytes are read as uint16.
TYPES = ("<f4", "i1", "<i2", "<i4", "<f2", "<u2")
BFLOAT16 = 5
OLDEST_VERSION = 4  # from here on a variable tells its type and its number of bytes


def read_ctranslate2(file: Path) -> tuple[str, dict[str, np.ndarray]]:
    """(name of the spec, every variable by name); arrays are views of the file, which stays mapped, not read.

    bfloat16 comes back as float32. Aliases (tied weights) appear under both names. WeightsError where the file is not whole.
    """
    if not file.is_file() or file.stat().st_size < 8:
        raise WeightsError(f"{file} is no CTranslate2 model", expected="a model.bin", do="pull the weights again")
    data = np.memmap(file, dtype=np.uint8, mode="r")
    at = 0

    def take(count: int) -> np.ndarray:
        nonlocal at
        if count > len(data) - at:
            raise WeightsError(f"{file} ends at byte {len(data)} in the middle of a tensor", do="pull the weights again")
        at += count
        return data[at - count : at]

    def number(form: str) -> int:
        return struct.unpack(form, take(struct.calcsize(form)).tobytes())[0]

    def string() -> str:
        raw = take(number("<H")).tobytes()
        try:
            return raw.removesuffix(b"\0").decode()
        except UnicodeDecodeError:
            raise WeightsError(f"{file} has a name that is not text near byte {at}", expected="a CTranslate2 model.bin") from None

    version = number("<I")
    if not OLDEST_VERSION <= version <= 6:
        raise WeightsError(
            f"{file} has format version {version}", expected=f"a CTranslate2 model of version {OLDEST_VERSION} to 6"
        )
    spec = string()
    number("<I")  # the revision of the spec
    arrays: dict[str, np.ndarray] = {}
    for _ in range(number("<I")):
        name = string()
        shape = tuple(number("<I") for _ in range(number("B")))
        kind = number("B")
        if kind >= len(TYPES):
            raise WeightsError(f"{file}: {name} has type {kind}", expected=f"a type from 0 to {len(TYPES) - 1}")
        raw = take(number("<I"))
        if raw.nbytes != int(np.prod(shape, dtype=np.int64)) * np.dtype(TYPES[kind]).itemsize:
            raise WeightsError(f"{file}: {name} has {raw.nbytes} bytes for the shape {shape}", do="pull the weights again")
        array = raw.view(TYPES[kind]).reshape(shape)
        arrays[name] = (array.astype(np.uint32) << 16).view(np.float32) if kind == BFLOAT16 else array
    for _ in range(number("<I")):
        alias, name = string(), string()
        if name not in arrays:
            raise WeightsError(f"{file}: {alias} stands for {name}, which is not there")
        arrays[alias] = arrays[name]
    return spec, arrays


def dequantised(arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """One weight as floats. int8 has a scale per row, int16 one scale; both were multiplied by it, so it is divided out."""
    if name not in arrays:
        raise WeightsError(f"the model has no variable {name!r}", expected="a CTranslate2 Whisper")
    array = arrays[name]
    if array.dtype.kind != "i":
        return array
    if f"{name}_scale" not in arrays:
        raise WeightsError(f"{name} is {array.dtype} without a scale", expected=f"{name}_scale beside it")
    scale = np.asarray(arrays[f"{name}_scale"], dtype=np.float32)
    return array.astype(np.float32) / scale.reshape(-1, *[1] * (array.ndim - 1) if scale.ndim else [1] * array.ndim)


def openai_layout(arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """(openai-whisper's state dict as arrays, its `ModelDimensions`). A tensor that is left over is an error, not lost."""
    state: dict[str, np.ndarray] = {}
    used: set[str] = set()

    def get(name: str) -> np.ndarray:
        used.update((name, f"{name}_scale"))
        return dequantised(arrays, name)

    def linear(source: str, target: str) -> None:
        state[f"{target}.weight"], state[f"{target}.bias"] = get(f"{source}/weight"), get(f"{source}/bias")

    def norm(source: str, target: str) -> None:
        state[f"{target}.weight"], state[f"{target}.bias"] = get(f"{source}/gamma"), get(f"{source}/beta")

    def stacked(source: str, target: str, parts: tuple[str, ...]) -> None:
        """Projections that CTranslate2 keeps in one matrix. Whisper's keys have no bias: there it holds zeros."""
        weight, bias = np.split(get(f"{source}/weight"), len(parts)), np.split(get(f"{source}/bias"), len(parts))
        for part, w, b in zip(parts, weight, bias, strict=True):
            state[f"{target}.{part}.weight"] = w
            if part != "key":
                state[f"{target}.{part}.bias"] = b
            elif np.any(b):
                raise WeightsError(f"{source} has a bias on its keys", expected="none, as in Whisper")

    def block(source: str, target: str, *, cross: bool) -> None:
        norm(f"{source}/self_attention/layer_norm", f"{target}.attn_ln")
        stacked(f"{source}/self_attention/linear_0", f"{target}.attn", ("query", "key", "value"))
        linear(f"{source}/self_attention/linear_1", f"{target}.attn.out")
        if cross:
            norm(f"{source}/attention/layer_norm", f"{target}.cross_attn_ln")
            linear(f"{source}/attention/linear_0", f"{target}.cross_attn.query")
            stacked(f"{source}/attention/linear_1", f"{target}.cross_attn", ("key", "value"))
            linear(f"{source}/attention/linear_2", f"{target}.cross_attn.out")
        norm(f"{source}/ffn/layer_norm", f"{target}.mlp_ln")
        linear(f"{source}/ffn/linear_0", f"{target}.mlp.0")
        linear(f"{source}/ffn/linear_1", f"{target}.mlp.2")

    layers = {side: _layers(arrays, side) for side in ("encoder", "decoder")}
    for side, count in layers.items():
        for n in range(count):
            block(f"{side}/layer_{n}", f"{side}.blocks.{n}", cross=side == "decoder")
    linear("encoder/conv1", "encoder.conv1")
    linear("encoder/conv2", "encoder.conv2")
    norm("encoder/layer_norm", "encoder.ln_post")
    norm("decoder/layer_norm", "decoder.ln")
    state["encoder.positional_embedding"] = get("encoder/position_encodings/encodings")
    state["decoder.positional_embedding"] = get("decoder/position_encodings/encodings")
    state["decoder.token_embedding.weight"] = get("decoder/embeddings/weight")
    left = {n for n, a in arrays.items() if a.ndim and n not in used and n != "decoder/projection/weight"}
    if left:
        raise WeightsError(f"{len(left)} tensors have no place in openai-whisper, e.g. {min(left)}", expected="a Whisper model")
    vocabulary, width = state["decoder.token_embedding.weight"].shape
    audio_context, audio_width = state["encoder.positional_embedding"].shape
    return state, {
        "n_mels": state["encoder.conv1.weight"].shape[1],
        "n_audio_ctx": audio_context,
        "n_audio_state": audio_width,
        "n_audio_head": int(arrays["encoder/num_heads"]),
        "n_audio_layer": layers["encoder"],
        "n_vocab": vocabulary,
        "n_text_ctx": state["decoder.positional_embedding"].shape[0],
        "n_text_state": width,
        "n_text_head": int(arrays["decoder/num_heads"]),
        "n_text_layer": layers["decoder"],
    }


def _layers(arrays: Mapping[str, np.ndarray], side: str) -> int:
    return len({m[1] for n in arrays if (m := re.match(rf"{side}/layer_(\d+)/", n))})


def openai_folder(folder: Path) -> Path:
    """A CTranslate2 Whisper folder -> one with `model.safetensors` and `dims.json` for openai-whisper, made once and cached."""
    return weights.derived(folder, "openai", _convert)


def _convert(folder: Path, stage: Path) -> None:
    from safetensors.numpy import save_file

    spec, arrays = read_ctranslate2(folder / "model.bin")
    if spec != "WhisperSpec":
        raise WeightsError(f"{folder} holds a {spec}", expected="a WhisperSpec")
    state, dims = openai_layout(arrays)
    # float16 stays float16, which loses nothing and halves the file.
    save_file({k: np.ascontiguousarray(v) for k, v in state.items()}, stage / "model.safetensors")
    (stage / "dims.json").write_text(json.dumps(dims, indent=1))

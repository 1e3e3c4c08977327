"""A Hugging Face dataset, an imagefolder or an audiofolder -> catalog, through `datasets`.

Audio columns are cast with decode=False: they stay paths or bytes, and no decoder is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmllm import catalog
from mmllm.errors import CatalogError, MissingExtraError
from mmllm.importers.folder import SOUNDS
from mmllm.types import Item

BUILDERS = ("csv", "json", "parquet", "text", "imagefolder")
"""Names of `datasets` that read a folder; without one they would read the folder this runs in."""


def import_hf(
    name: str,
    out: Path,
    *,
    split: str = "train",
    data_dir: str | None = None,
    id: str | None = None,
    title: str | None = None,
    text: Sequence[str] = (),
    image: str | None = None,
    audio: str | None = None,
    attributes: Sequence[str] = (),
) -> int:
    """`name` is a dataset's name, `imagefolder`, `audiofolder`, or a CSV/JSON/Parquet builder with `data_dir`."""
    try:
        import datasets
    except ImportError:
        raise MissingExtraError("datasets", "hf") from None
    if name == "audiofolder":
        loaded, audio = _audiofolder(Path(data_dir or ".")), "audio"
        attributes = [*attributes, *({"label"} & set(loaded.column_names))]
    elif name in BUILDERS and data_dir is None:
        raise CatalogError(f"{name} without a folder", expected="the folder of the files", do="pass --data-dir DIR")
    else:
        try:
            loaded = datasets.load_dataset(name, data_dir=data_dir, split=split)
        except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
            reason = f"{error}; {error.__cause__}" if error.__cause__ else str(error)
            files = f"files that {name} reads in {data_dir}" if data_dir else "the name of a dataset, and a connection to its hub"
            raise CatalogError(f"{name} cannot be loaded ({reason})", expected=files) from None
    for column, feature in loaded.features.items():
        if isinstance(feature, datasets.Audio):
            audio = audio or column
            loaded = loaded.cast_column(column, datasets.Audio(decode=False))
        elif isinstance(feature, datasets.Image):
            image = image or column
            loaded = loaded.cast_column(column, datasets.Image(decode=False))
    missing = [c for c in (id, title, *text, image, audio, *attributes) if c and c not in loaded.column_names]
    if missing:
        raise CatalogError(f"{name} has no column {missing[0]!r}", expected=f"one of {', '.join(loaded.column_names)}")
    labels = {c: f for c, f in loaded.features.items() if isinstance(f, datasets.ClassLabel)}

    def items() -> Iterator[Item]:
        for number, row in enumerate(loaded):
            key = str(row[id]) if id else f"{number:06d}"
            picture = _stored(row.get(image or ""), out, f"{key}-image")
            sound = _stored(row.get(audio or ""), out, f"{key}-audio")
            values = {c: f.int2str(row[c]) if row[c] is not None and row[c] >= 0 else "" for c, f in labels.items()}
            values |= {c: row[c] for c in attributes if c not in labels and row[c] is not None}
            fallback = next((Path(m).stem for m in (_path(row.get(image or "")), _path(row.get(audio or ""))) if m), key)
            yield Item(
                id=key,
                title=str(row[title]) if title else fallback.replace("_", " "),
                text="\n".join(str(row[c]) for c in text if row[c]),
                attributes={k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if v != ""},
                image=picture,
                audio=(sound,) if sound else (),
            )

    return catalog.write(items(), out)


def _audiofolder(root: Path) -> Any:
    """The audiofolder layout with a string column: `datasets` 5 wants torchcodec even to store the path of an Audio column.

    Rows come from metadata.csv or metadata.jsonl (column `file_name`), else one a file, labelled by its folder.
    """
    import datasets

    for file, builder in ((root / "metadata.csv", "csv"), (root / "metadata.jsonl", "json")):
        if file.is_file():
            table = datasets.load_dataset(builder, data_files=str(file), split="train")
            if "file_name" not in table.column_names:
                raise CatalogError(f"{file} has no column 'file_name'", expected="one that names each sound")
            return table.map(lambda row: {"audio": str(root / row["file_name"])})
    files = [f for f in sorted(root.rglob("*")) if f.suffix.lower() in SOUNDS]
    if not files:
        raise CatalogError(f"no sounds in {root}", expected=" ".join(sorted(SOUNDS)))
    labels = {f: str(f.parent.relative_to(root)) for f in files}
    rows = [{"audio": str(f), **({"label": labels[f]} if labels[f] != "." else {})} for f in files]
    return datasets.Dataset.from_list(rows)


def _path(value: Any) -> str | None:
    return value.get("path") if isinstance(value, dict) else value if isinstance(value, str) else None


def _stored(value: Any, out: Path, name: str) -> str | None:
    """A path, or {"path", "bytes"}, copied into the catalog's media folder."""
    if value is None:
        return None
    path = _path(value)
    data = value.get("bytes") if isinstance(value, dict) else None
    if data is None and path:
        if not Path(path).is_file():
            raise CatalogError(f"{path} does not exist", expected="a media file")
        data = Path(path).read_bytes()
    if not data:
        return None
    suffix = Path(path).suffix if path else ".png" if name.endswith("-image") else ".wav"
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
    target = out / "media" / f"{safe}{suffix}"
    catalog.make_folder(target.parent)
    target.write_bytes(data)
    return f"media/{target.name}"

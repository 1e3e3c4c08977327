from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
from PIL import Image

from mmllm import catalog
from mmllm.errors import CatalogError
from mmllm.importers.csv_file import import_csv
from mmllm.importers.folder import import_folder
from mmllm.importers.hf import import_hf
from mmllm.importers.movielens import import_movielens
from mmllm.importers.stamps import dominant_colours, import_stamps


@pytest.fixture
def pictures(tmp_path):
    root = tmp_path / "pictures"
    for label in ("cats", "dogs"):
        (root / label).mkdir(parents=True)
        for n in range(2):
            Image.new("RGB", (8, 8), (n * 50, 0, 0)).save(root / label / f"{label}_{n}.png")
    soundfile.write(root / "cats" / "cats_0.wav", np.zeros(800), 16000)
    (root / "cats" / "cats_0.txt").write_text("A sleepy one.")
    return root


def test_folder(pictures, tmp_path):
    assert import_folder(pictures, tmp_path / "out") == 4
    first = catalog.read(tmp_path / "out").items[0]
    assert (first.title, first.text, first.attributes["category"]) == ("cats 0", "A sleepy one.", "cats")
    assert first.image and len(first.audio) == 1
    with pytest.raises(CatalogError):
        import_folder(tmp_path / "nowhere", tmp_path / "out2")


def test_csv(tmp_path, pictures):
    file = tmp_path / "items.csv"
    file.write_text("sku,name,about,pic,price,tags,code\n1,Cat,Soft,cats/cats_0.png,4.5,a|b,007\n2,Dog,,,12,,\n")
    kwargs = {"id": "sku", "title": "name", "text": ("about",), "image": "pic", "attributes": ("price", "tags", "code")}
    (tmp_path / "i.csv").write_text("user,item,rating,timestamp\nu,1,5,100\n")
    got = import_csv(file, tmp_path / "out", media_root=pictures, interactions=tmp_path / "i.csv", **kwargs)
    assert (got.items, got.interactions, got.left_out, got.strangers) == (2, 1, (), 0)
    cat = catalog.read(tmp_path / "out")
    assert cat.items[0].attributes == {"price": 4.5, "tags": ("a", "b"), "code": "007"}
    assert cat.items[1].attributes == {"price": 12}
    with pytest.raises(CatalogError, match="no column 'title'"):
        import_csv(file, tmp_path / "out", id="sku", title="title")
    file.write_text("sku,name,pic\n1,Cat,../secret.png\n")
    with pytest.raises(CatalogError, match="leaves"):
        import_csv(file, tmp_path / "out", id="sku", title="name", image="pic")


@pytest.mark.parametrize("layout", ["ours", "latest", "ml1m", "ml100k", "recbole"])
def test_movielens_layouts(tmp_path, layout):
    src = tmp_path / layout
    src.mkdir()
    if layout == "ours":
        head = "item,title,year,genres,description,keywords,tags,imdb_id,tmdb_id,image\n"
        (src / "items.csv").write_text(head + '7,"Matrix, The (1999)",1999,Action|Sci-Fi,Red pill.,hacker|pill,cult,,,\n')
        (src / "interactions.csv").write_text("user,item,rating,timestamp\n1,7,4.5,900\n")
    elif layout == "latest":
        (src / "movies.csv").write_text('movieId,title,genres\n7,"Matrix, The (1999)",Action|Sci-Fi\n')
        (src / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,7,4.5,900\n")
    elif layout == "ml1m":
        (src / "movies.dat").write_text("7::Matrix, The (1999)::Action|Sci-Fi\n", encoding="latin-1")
        (src / "ratings.dat").write_text("1::7::4.5::900\n")
    elif layout == "ml100k":
        flags = "|".join("1" if n in (1, 15) else "0" for n in range(19))
        (src / "u.item").write_text(f"7|Matrix, The (1999)|01-Jan-1999||http://x|{flags}\n", encoding="latin-1")
        (src / "u.data").write_text("1\t7\t4.5\t900\n")
    else:
        (src / "ml-100k.item").write_text("item_id:token\tt\tr\tc\n7\tMatrix, The\t1999\tAction Sci-Fi\n")
        (src / "ml-100k.inter").write_text("user_id:token\ti\tr\tt\n1\t7\t4.5\t900\n")
    assert import_movielens(src, tmp_path / "out") == (1, 1)
    item = catalog.read(tmp_path / "out").items[0]
    assert (item.id, item.title, item.attributes["year"]) == ("7", "The Matrix", 1999)
    assert item.attributes["genre"] == ("Action", "Sci-Fi")
    assert (tmp_path / "out" / "interactions.csv").read_text().splitlines()[1] == "1,7,4.5,900"
    with pytest.raises(CatalogError):
        import_movielens(tmp_path, tmp_path / "out2")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"movies.csv": "movieId,title,genres\n"}, "no ratings.csv in"),
        ({"movies.csv": "id,title,genres\n7,A,B\n", "ratings.csv": ""}, "no column 'movieId'"),
        ({"movies.csv": "movieId,title,genres\n7,A,B\n", "ratings.csv": "userId,movieId,rating\n"}, "no column 'timestamp'"),
        (
            {"movies.csv": "movieId,title,genres\n7,A,B\n", "ratings.csv": "userId,movieId,rating,timestamp\n1,7,good,9\n"},
            "ratings.csv line 2, field 'rating'",
        ),
        ({"movies.dat": "7::A\n", "ratings.dat": ""}, "movies.dat line 1: 2 cells; expected 3"),
        ({"u.item": "\n".join(["7|A"]), "u.data": ""}, "u.item line 1: 2 cells"),
    ],
)
def test_movielens_with_other_files_says_which(tmp_path, files, words):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(CatalogError, match=words):
        import_movielens(tmp_path, tmp_path / "out")
    assert not list(tmp_path.rglob("*.part"))


SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="10pt" height="10pt"><rect width="10" height="10" fill="red"/></svg>'


def test_stamps_layout(tmp_path):
    src = tmp_path / "stamps" / "animals" / "marsupials"
    src.mkdir(parents=True)
    Image.new("RGBA", (20, 20), (200, 180, 20, 255)).save(src / "wombat.png")
    (src / "wombat.txt").write_text("A wombat.\nfr.utf8=Un wombat.\nzh_CN.utf8=一只袋熊。\n", encoding="utf-8")
    soundfile.write(src / "wombat_desc.ogg", np.zeros(1600), 16000)
    (src / "badge.svg").write_text(SVG)
    (src / "badge.txt").write_text("A badge.\n")
    (src / "orphan.txt").write_text("No picture.\n")
    assert import_stamps(tmp_path / "out", source=tmp_path / "stamps") == 2
    badge, wombat = catalog.read(tmp_path / "out").items
    assert wombat.title == "A wombat" and "pouch" in wombat.text
    assert wombat.attributes["names"] == ("一只袋熊", "Un wombat") and wombat.attributes["category"] == "animals"
    assert badge.attributes["colour"] == ("red",) and len(wombat.audio) == 1
    with pytest.raises(CatalogError):
        import_stamps(tmp_path / "out2", source=tmp_path / "out" / "media")


def test_stamps_without_apt_say_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CatalogError, match="mmllm index build CATALOG"):
        import_stamps(tmp_path / "out")


def test_colours_of_a_two_coloured_picture():
    image = Image.new("RGB", (40, 40), "yellow")
    image.paste((0, 0, 200), (0, 0, 40, 15))
    assert dominant_colours(image) == ("yellow", "blue")
    assert dominant_colours(Image.new("RGB", (40, 40), "white")) == ()


def test_hf_imagefolder_and_audiofolder(pictures, tmp_path):
    pytest.importorskip("datasets")
    (pictures / "cats" / "cats_0.wav").unlink()
    (pictures / "cats" / "cats_0.txt").unlink()
    assert import_hf("imagefolder", tmp_path / "out", data_dir=str(pictures)) == 4
    items = catalog.read(tmp_path / "out").items
    assert {i.attributes["label"] for i in items} == {"cats", "dogs"} and all(i.image for i in items)
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    for n in range(2):
        soundfile.write(sounds / f"s{n}.wav", np.zeros(800), 16000)
    (sounds / "metadata.csv").write_text("file_name,title\ns0.wav,First\ns1.wav,Second\n")
    assert import_hf("audiofolder", tmp_path / "out2", data_dir=str(sounds), title="title") == 2
    assert [i.title for i in catalog.read(tmp_path / "out2").items] == ["First", "Second"]
    (tmp_path / "table").mkdir()
    table = tmp_path / "table" / "t.jsonl"
    table.write_text(json.dumps({"name": "Cat", "sound": str(sounds / "s0.wav")}) + "\n")
    assert import_hf("json", tmp_path / "out3", data_dir=str(table.parent), title="name", audio="sound") == 1
    assert len(catalog.read(tmp_path / "out3").items[0].audio) == 1


@pytest.mark.parametrize(
    ("name", "folder", "words"),
    [
        ("csv", "none", "csv cannot be loaded .*expected files that csv reads"),
        ("imagefolder", None, "pass --data-dir DIR"),
        ("nobody/nothing", None, "nobody/nothing cannot be loaded .*the name of a dataset"),
    ],
)
def test_a_dataset_that_cannot_be_had(tmp_path, name, folder, words):
    pytest.importorskip("datasets")
    with pytest.raises(CatalogError, match=words):
        import_hf(name, tmp_path / "out", data_dir=str(tmp_path / folder) if folder else None)


def test_no_importer_writes_where_a_file_is(pictures, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CatalogError, match="expected a folder to write to"):
        import_folder(pictures, tmp_path / "file")


def test_openclipart_words():
    from mmllm.importers.openclipart import describe

    svg = "<dc:title>Clipart by A. Person - red_apple_02</dc:title><rdf:li>hash(0x8a0)</rdf:li><rdf:li>signs_and_symbols</rdf:li>"
    assert describe(svg) == ("red apple", ["signs and symbols"])
    assert describe("<dc:title>07</dc:title>")[0] == "" and describe("<svg/>") == ("", [])


def npm_package(folder, name, files):
    """What `npm pack` would have left in the cache."""
    import io
    import tarfile

    with tarfile.open(folder / name, "w:gz") as tar:
        for path, data in files.items():
            info = tarfile.TarInfo(f"package/{path}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.fixture
def emoji_packages(tmp_path, monkeypatch):
    import shutil

    keep = tmp_path / "keep"
    keep.mkdir()
    rows = [
        {"label": "red apple", "hexcode": "1F34E", "tags": ["fruit", "red apple"], "emoji": "x", "group": 4, "subgroup": 42},
        {"label": "flag: Chile", "hexcode": "1F1E8", "emoji": "y", "group": 9, "subgroup": 42},
        {"label": "pear", "hexcode": "1F350", "tags": [], "emoji": "z", "group": 4, "subgroup": 42},
    ]
    groups = [{"key": "food-drink", "message": "food & drink", "order": 4}, {"key": "flags", "message": "flags", "order": 9}]
    files = {"en/messages.json": json.dumps({"groups": groups, "subgroups": [{"order": 42, "message": "fruit"}]}).encode()}
    for language in ("en", "zh", "fr", "de", "es"):
        own = rows if language == "en" else [r | {"label": f"{language} {r['label']}"} for r in rows]
        files[f"{language}/data.json"] = json.dumps(own).encode()
    npm_package(keep, "emojibase-data-17.0.0.tgz", files)
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><circle cx="4" cy="4" r="4" fill="red"/></svg>'
    npm_package(keep, "openmoji-17.0.0.tgz", {"color/svg/1F34E.svg": svg, "color/svg/1F1E8.svg": svg})
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/true")  # npm itself is not asked: the packages are there
    return keep


def test_emoji(emoji_packages, tmp_path):
    from mmllm.importers.emoji import import_emoji

    assert import_emoji(tmp_path / "out", styles=("openmoji",), cache=emoji_packages) == 1, "no flag, nothing without a picture"
    (item,) = catalog.read(tmp_path / "out").items
    assert (item.id, item.title, item.text) == ("openmoji-1f34e", "Red apple", "fruit")
    assert item.attributes["names"] == ("zh red apple", "fr red apple", "de red apple", "es red apple")
    assert Image.open(tmp_path / "out" / str(item.image)).getpixel((78, 78)) == (255, 0, 0)
    with pytest.raises(CatalogError, match="unknown emoji style"):
        import_emoji(tmp_path / "out2", styles=("crayon",))


def test_packages_that_cannot_be_had(tmp_path, monkeypatch):
    import shutil

    from mmllm.importers import fetch

    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(CatalogError, match="npm is not on this machine"):
        fetch.npm("x", "1", tmp_path)
    with pytest.raises(CatalogError, match="apt-get is not on this machine"):
        fetch.debian("x", tmp_path)


def test_a_damaged_package_is_named(emoji_packages, tmp_path):
    from mmllm.importers.emoji import import_emoji

    (emoji_packages / "openmoji-17.0.0.tgz").write_bytes(b"half of it")
    with pytest.raises(CatalogError, match="openmoji-17.0.0.tgz cannot be unpacked"):
        import_emoji(tmp_path / "out", styles=("openmoji",), cache=emoji_packages)

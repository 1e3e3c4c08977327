"""A shop's CSV export: as it was saved, as its prices are written, and what is said of one that cannot be used."""

from __future__ import annotations

import pytest

from mmllm import catalog
from mmllm.errors import CatalogError
from mmllm.importers.csv_file import import_csv, value_of


def imported(tmp_path, content, **options):
    """A shop's export -> (what was done, the items)."""
    file = tmp_path / "shop.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    done = import_csv(file, tmp_path / "out", id="sku", title="name", **options)
    return done, catalog.read(tmp_path / "out").items


@pytest.mark.parametrize(
    ("encoding", "delimiter"), [("utf-8", ","), ("utf-8-sig", ";"), ("latin-1", ";"), ("cp1252", "tab"), ("utf-16", "\\t")]
)
def test_csv_as_it_was_saved(tmp_path, encoding, delimiter):
    separator = {"tab": "\t", "\\t": "\t"}.get(delimiter, delimiter)
    text = separator.join(["sku", " name", "price"]) + "\r\n" + separator.join(["1", "Größe", "5"]) + "\r\n"
    given = "utf-8" if encoding == "utf-8-sig" else encoding
    _, items = imported(tmp_path, text.encode(encoding), attributes=["price"], encoding=given, delimiter=delimiter)
    assert [(i.title, i.attributes) for i in items] == [("Größe", {"price": 5})]


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("", {}, "has no header"),
        ("sku,name\n", {}, "no row that makes an item"),
        ("sku;name;price\n1;Cat;5\n", {}, "no column 'sku'; expected one of sku;name;price; pass --delimiter ';'"),
        ("sku,name\n1,Größe\n".encode("latin-1"), {}, "not utf-8 text; .*--encoding cp1252"),
        ("sku,name\n1,Größe\n".encode("utf-16"), {}, "not utf-8 text; pass --encoding utf-16"),
        ("sku,name\n1,Cat\n", {"encoding": "utf-16"}, "not utf-16 text"),
        ("sku,name\n1,Cat\n", {"encoding": "klingon"}, "unknown encoding 'klingon'"),
        ("sku,name\n1,Cat\n", {"encoding": "hex"}, "unknown encoding 'hex'"),
        ("sku,name\n1,Cat\n", {"delimiter": ";;"}, "one character"),
        ("sku,name\n1,Cat\n", {"decimal": "x"}, "--decimal 'x'"),
        ("sku,name,name\n1,Cat,Dog\n", {}, "2 columns 'name'"),
        ('sku,name\n1,"Cat" x"\n2,"', {"attributes": ["colour"]}, "no column 'colour'"),
        ("sku,name\n1,Cat\n1,Dog\n", {}, "line 3, field 'sku': '1' is already on line 2"),
        ("sku,name\n1,\n", {}, "line 2, field 'name': empty"),
        ("sku,name\n1,Red, large\n", {}, "line 2, field 'line': 3 cells, expected 2"),
        ("sku,name,pic\n1,Cat,none.png\n", {"image": "pic"}, "line 2, field 'pic': 'none.png' does not exist in .*--skip-bad"),
        ("sku,name,pic\n1,Cat,https://shop.example/a.jpg\n", {"image": "pic"}, "not fetched, download them first"),
        ("sku,name,price\n1,Cat,5 €\n2,Dog,$5\n", {"attributes": ["price"], "decimal": ","}, "line 3: 'price' is in [$] and €"),
    ],
)
def test_a_csv_that_is_refused_says_why_and_leaves_the_catalog(tmp_path, text, options, words):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / catalog.FILE).write_text("before")
    with pytest.raises(CatalogError, match=words):
        imported(tmp_path, text, **options)
    assert [f.name for f in (tmp_path / "out").iterdir()] == [catalog.FILE] and (
        tmp_path / "out" / catalog.FILE
    ).read_text() == "before"


def test_csv_with_places_that_are_wrong(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CatalogError, match="nofile.csv is not a file"):
        imported(tmp_path, "sku,name\n1,Cat\n", interactions=tmp_path / "nofile.csv")
    with pytest.raises(CatalogError, match="expected a folder to write to"):
        import_csv(tmp_path / "shop.csv", tmp_path / "file", id="sku", title="name")


def test_a_cell_may_be_long(tmp_path):
    _, items = imported(tmp_path, "sku,name,about\n1,Cat," + "soft " * 40_000 + "\n", text=["about"])
    assert len(items[0].text) == 199_999


def test_bad_rows_are_left_out_and_named(tmp_path):
    (tmp_path / "i.csv").write_text("user,item,rating,timestamp\nu,1,5,100\nu,9,5,100\nu,1,good,100\n")
    text = "sku,name,pic\n1,Cat,\n1,Cat again,\n2,,\n3,Dog,none.png\n"
    with pytest.raises(CatalogError, match="i.csv line 4, field 'rating'"):
        imported(tmp_path, text, image="pic", interactions=tmp_path / "i.csv")
    done, items = imported(tmp_path, text, image="pic", interactions=tmp_path / "i.csv", skip_bad=True)
    assert [i.id for i in items] == ["1"] and (done.items, done.interactions, done.strangers) == (1, 2, 1)
    assert [p.split(":")[0] for p in done.left_out] == [
        "i.csv line 4, field 'rating'",
        "shop.csv line 3, field 'sku'",
        "shop.csv line 4, field 'name'",
        "shop.csv line 5, field 'pic'",
    ]


def test_what_is_missing_is_absent_only_where_all_else_are_numbers(tmp_path):
    text = "sku,name,price,land\n1,Cat,5,NA\n2,Dog,N/A,DE\n3,Cow,-,\n"
    _, items = imported(tmp_path, text, attributes=["price", "land"])
    assert [dict(i.attributes) for i in items] == [{"price": 5, "land": "NA"}, {"land": "DE"}, {}]


@pytest.mark.parametrize(
    ("cell", "decimal", "value"),
    [
        ("19,90 €", ",", 19.9),
        ("€ 1.234,50", ",", 1234.5),
        ("1 234,50", ",", 1234.5),
        ("-0,5", ",", -0.5),
        ("1,234.50 USD", ".", 1234.5),
        ("-$5", ".", -5),
        ("$0.99|$1", ".", (0.99, 1)),
        ("1.234", ",", 1234),
        ("4.5", ",", "4.5"),
        ("12.34.56", ",", "12.34.56"),
        ("007", ",", "007"),
        ("true", ",", True),
        ("5 kg", ",", "5 kg"),
        ("19,90 €", "", "19,90 €"),
        ("9" * 400, "", "9" * 400),
        ("1e999", "", "1e999"),
    ],
)
def test_prices_as_shops_write_them(cell, decimal, value):
    assert value_of(cell, decimal) == value

from __future__ import annotations

import json

import pytest

from mmllm import catalog
from mmllm.catalog_row import item_row
from mmllm.errors import CatalogError, QueryError
from mmllm.types import Filter, Item


def test_round_trip(shop):
    items = catalog.read(shop).items
    assert len(items) == 12
    before = catalog.catalog_hash(items)
    catalog.write(items, shop)
    assert catalog.catalog_hash(catalog.read(shop).items) == before


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("{not json", "line"),
        ("[1]", "line"),
        ('{"title": "x"}', "id"),
        ('{"id": "x", "title": ""}', "title"),
        ('{"id": "banana", "title": "again"}', "id"),
        ('{"id": "x", "title": "x", "image": "media/none.png"}', "image"),
        ('{"id": "x", "title": "x", "image": "../../etc/passwd"}', "image"),
        ('{"id": "x", "title": "x", "attributes": {"a": {"b": 1}}}', "attributes.a"),
        ('{"id": "x", "title": "x", "colour": "red"}', "colour"),
        ('{"id": "x", "title": "x", "image": "https://shop.example/a.jpg"}', "image"),
        ('{"id": "x", "title": "x", "attributes": {"a": Infinity}}', "attributes.a"),
        ('{"id": "x", "title": "x", "attributes": {"a": [1e999]}}', "attributes.a"),
        ('{"id": "x", "title": "x", "attributes": {"a": 1%s}}' % ("0" * 400), "attributes.a"),
        ('{"id": "x", "title": "x", "attributes": {"a": 1%s}}' % ("0" * 5000), "line"),
        ('{"id": null, "title": "x"}', "id"),
    ],
)
def test_bad_lines_name_line_and_field(shop, line, field):
    with (shop / catalog.FILE).open("a") as file:
        file.write(line + "\n")
    problems = catalog.validate(shop).problems
    assert [(p.line, p.field) for p in problems] == [(13, field)]
    with pytest.raises(CatalogError, match="line 13"):
        catalog.read(shop)
    assert len(catalog.read(shop, skip_bad=True).items) == 12


def test_not_utf8_and_missing_folder(shop, tmp_path):
    with (shop / catalog.FILE).open("ab") as file:
        file.write(b'{"id": "\xff"}\n')
    assert "UTF-8" in catalog.validate(shop).problems[0].message
    with pytest.raises(CatalogError, match=r"catalog\.jsonl"):
        catalog.read(tmp_path / "nowhere")


def test_null_nan_and_a_byte_order_mark_are_no_problem(shop):
    line = '{"id": "x", "title": "X", "text": null, "attributes": {"price": null, "size": NaN, "tags": ["a", null]}, "audio": [null]}'
    (shop / catalog.FILE).write_text("\ufeff" + line + '\n{"id": "y", "title": "Y", "attributes": null, "image": null}\n')
    x, y = catalog.read(shop).items
    assert (x.text, x.attributes, x.audio) == ("", {"tags": ("a",)}, ()) and (y.attributes, y.image) == ({}, None)


def test_an_error_while_writing_leaves_what_was_there(shop):
    before = (shop / catalog.FILE).read_bytes()

    def broken():
        yield Item("1", "one")
        raise CatalogError("no second")

    with pytest.raises(CatalogError, match="no second"):
        catalog.write(broken(), shop)
    assert (shop / catalog.FILE).read_bytes() == before and not list(shop.glob("*.part"))
    with pytest.raises(CatalogError, match="expected a folder to write to"):
        catalog.write([], shop / catalog.FILE)


def test_filters():
    items = [
        Item("1", "a", attributes={"year": 1999, "genre": ("Comedy", "War"), "names": ("eins",)}),
        Item("2", "b", attributes={"year": 2005}),
    ]
    ok = catalog.resolve_filters({"year": {">=": 1990, "<": 2000}, "genre": "comedy"}, items)
    assert [catalog.matches(i, ok) for i in items] == [True, False]
    assert catalog.matches(items[1], [Filter("genre", "!=", "War")])
    for where, word in (
        ({"colour": "red"}, "unknown attribute 'colour'"),
        ({"names": "eins"}, "unknown attribute 'names'"),
        ({"year": "old"}, "a number"),
        ({"genre": {">": "A"}}, "text"),
        ({"genre": "Opera"}, "no item has"),
        ({"year": {"~": 1}}, "operator"),
        ({"genre": []}, "at least one value"),
        ({"genre": {}}, "no condition on 'genre'"),
        ({"year": {">=": [1990, 2000]}}, "one value"),
        ({"year": float("nan")}, "a number"),
        ({"year": None}, "a number"),
        ({"year": 10**400}, "a number"),
        ("year=1999", "attribute -> condition"),
    ):
        with pytest.raises(QueryError, match=word):
            catalog.resolve_filters(where, items)


def test_document_says_each_value_once(shop):
    item = next(i for i in catalog.read(shop).items if i.id == "cat")
    text = catalog.document(item)
    assert text.count("black") == 1 and "猫" not in text and "price: 20" in text
    assert json.dumps(item_row(item))

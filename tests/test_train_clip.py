from __future__ import annotations

import pytest

from mmllm.errors import CatalogError, MmllmError
from mmllm.train_clip import ClipRecipe, catalog_of, split, title_key
from mmllm.types import Item


def test_recipes_survive_the_disk_and_refuse_unknown_keys(tmp_path):
    recipe = ClipRecipe(data=("stamps",), holdout={"stamps": 7}, views=2)
    recipe.write(tmp_path / "recipe.toml")
    assert ClipRecipe.read(tmp_path / "recipe.toml") == recipe
    (tmp_path / "recipe.toml").write_text("wings = 2\n")
    with pytest.raises(MmllmError, match="wings"):
        ClipRecipe.read(tmp_path / "recipe.toml")
    with pytest.raises(MmllmError, match="no recipe"):
        ClipRecipe.read(tmp_path / "none.toml")
    with pytest.raises(CatalogError, match="unknown data"):
        catalog_of("paintings", tmp_path)


def test_the_shipped_recipe_is_readable():
    from mmllm import settings

    assert ClipRecipe.read(settings.data_folder("adapters") / "clip-mini" / "recipe.toml").holdout == {
        "stamps": 300,
        "emoji": 300,
    }


def test_no_title_stands_on_both_sides():
    stamps = [Item(f"s{n}", f"A thing {n // 2}") for n in range(200)]
    train, test = split(stamps, 60)
    assert len(test) == 60 and not {title_key(stamps[r].title) for r in train} & {title_key(stamps[r].title) for r in test}
    assert split(stamps[::-1], 60)[1] != test and {stamps[::-1][r].id for r in split(stamps[::-1], 60)[1]} == {
        stamps[r].id for r in test
    }, "the order of the catalog does not matter"


def test_of_emoji_one_style_is_tested_and_none_trained_on():
    people = ("Man", "Woman", "Person")
    emoji = [
        Item(f"{style}-{n}", f"{people[n % 3]} doing {n // 3}", attributes={"style": style})
        for n in range(90)
        for style in ("noto", "openmoji")
    ]
    train, test = split(emoji, 10)
    keys = [title_key(emoji[r].title) for r in test]
    assert len(set(keys)) == 10 and all(emoji[r].id.startswith("noto-") for r in test)
    assert not set(keys) & {title_key(emoji[r].title) for r in train}
    assert len(train) == 180 - 10 * 6, "every person and style of a tested title is left out"

"""Profiles: kept by name, exported, forgotten; without a name or with --no-memory nothing is written."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from mmllm import Conversation, settings
from mmllm.cli import app
from mmllm.errors import ProfileError
from mmllm.profile import FILE, Profiles

run = CliRunner().invoke


def marked(profile):
    return profile.marks()["liked"], profile.marks()["disliked"], profile.marks()["known"]


def test_marks_are_exactly_what_was_kept_last(tmp_path):
    profiles = Profiles(tmp_path / "p.sqlite")
    ana = profiles.open("Ana", "shop")
    ana.keep(liked=("dog", "cat"), disliked=("saw",), known=())
    ana.keep(liked=("cat",), disliked=("saw", "dog"), known=("pear",))
    assert marked(profiles.open("Ana", "shop")) == (("cat",), ("saw", "dog"), ("pear",))
    assert marked(profiles.open("Ana", "films")) == ((), (), ()) and marked(profiles.open("Bo", "shop")) == ((), (), ())
    known = profiles.export("Ana")
    marks = {(m["item"], m["kind"]) for m in known["marks"]}
    assert marks == {("cat", "liked"), ("saw", "disliked"), ("dog", "disliked"), ("pear", "known")}
    assert [s["turns"] for s in known["sessions"]] == [2, 0, 0]
    assert profiles.file.stat().st_mode & 0o077 == 0


def test_forgetting_leaves_nothing_in_the_file(tmp_path):
    profiles = Profiles(tmp_path / "p.sqlite")
    ana, bo = profiles.open("Ana-of-the-secret", "shop"), profiles.open("Bo", "shop")
    ana.keep(liked=("a-very-private-item",), disliked=(), known=())
    bo.keep(liked=("dog",), disliked=(), known=())
    profiles.forget("Ana-of-the-secret")
    ana.keep(liked=("a-very-private-item",), disliked=(), known=())  # a talk that still runs writes nothing either
    data = profiles.file.read_bytes()
    assert b"private" not in data and b"secret" not in data
    assert profiles.names() == ["Bo"] and marked(bo)[0] == ("dog",)
    with pytest.raises(ProfileError, match="no user 'Ana-of-the-secret'; expected Bo"):
        profiles.export("Ana-of-the-secret")
    with pytest.raises(ProfileError, match="no user"):
        profiles.forget("Ana-of-the-secret")


def test_bad_names_and_bad_files_are_refused(tmp_path):
    with pytest.raises(ProfileError, match="1 to 100 characters"):
        Profiles(tmp_path / "p.sqlite").open("  ", "shop")
    (tmp_path / "bad.sqlite").write_bytes(b"no database at all, but long enough to be read as one" * 20)
    with pytest.raises(ProfileError, match=r"bad\.sqlite"):
        Profiles(tmp_path / "bad.sqlite").names()


def test_a_talk_keeps_what_it_hears_and_undo_takes_it_back(recommender, tmp_path):
    profiles = Profiles(tmp_path / "p.sqlite")
    talk = Conversation(recommender, k=3, reword=False, profile=profiles.open("Ana", "shop"))
    first = talk.turn("an animal").recommendations[0].id
    talk.turn("I like the first")
    again = Conversation(recommender, k=3, reword=False, profile=profiles.open("Ana", "shop"))
    assert again.state.liked == (first,) and first not in [r.id for r in again.turn("an animal").recommendations]
    assert "kept under your name" in talk.turn("start over").notes[0] and talk.state.liked == (first,) and not talk.state.filters
    talk.turn("undo")
    talk.turn("undo")
    assert Conversation(recommender, profile=profiles.open("Ana", "shop")).state.liked == ()


def test_users_commands_and_no_memory(shop_index):
    words = "an animal\n/like 1\n/quit\n"
    assert run(app, ["chat", str(shop_index)], input=words).exit_code == 0
    assert run(app, ["chat", str(shop_index), "--user", "Ana", "--no-memory"], input=words).exit_code == 0
    assert run(app, ["users", "list"]).stdout == "" and not (settings.home() / FILE).exists()
    assert run(app, ["chat", str(shop_index), "--user", "Ana"], input=words).exit_code == 0
    assert run(app, ["users", "list"]).stdout.split() == ["Ana"]
    known = json.loads(run(app, ["users", "export", "Ana"]).stdout)
    assert [m["kind"] for m in known["marks"]] == ["liked"]
    assert known["marks"][0]["item"] in run(app, ["users", "show", "Ana"]).stdout
    assert "forgotten" in run(app, ["users", "forget", "Ana"]).stdout and run(app, ["users", "list"]).stdout == ""
    gone = run(app, ["users", "show", "Ana"])
    assert gone.exit_code == 1 and "no user 'Ana'" in gone.stderr

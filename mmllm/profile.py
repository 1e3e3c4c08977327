"""Who liked what: profiles in one SQLite file, with export and forget. A visitor without a name has none.

A profile holds item ids by catalog (liked, disliked, known) and when each session began and ended. No text, picture or sound is kept.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmllm import settings
from mmllm.errors import ProfileError

FILE = "profiles.sqlite"
KINDS = ("liked", "disliked", "known")
SCHEMA = """
CREATE TABLE IF NOT EXISTS users (name TEXT PRIMARY KEY, since INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS marks (
  name TEXT NOT NULL REFERENCES users ON DELETE CASCADE, catalog TEXT NOT NULL, item TEXT NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('liked', 'disliked', 'known')), at INTEGER NOT NULL, PRIMARY KEY (name, catalog, item, kind)
);
CREATE TABLE IF NOT EXISTS sessions (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL REFERENCES users ON DELETE CASCADE, catalog TEXT NOT NULL, began INTEGER NOT NULL,
  ended INTEGER NOT NULL, turns INTEGER NOT NULL
);
"""


class Profiles:
    """All profiles of one file, by default `profiles.sqlite` under `settings.home()`. The file is made when the first one is."""

    def __init__(self, file: Path | None = None) -> None:
        self.file = file or settings.home() / FILE

    def open(self, name: str, catalog: str) -> Profile:
        """The profile of a visitor for one catalog, made if need be."""
        if not name.strip() or len(name) > 100:
            raise ProfileError(f"a user named {name!r}", expected="a name of 1 to 100 characters")
        with self._connect() as db:
            db.execute("INSERT OR IGNORE INTO users VALUES (?, ?)", (name, int(time.time())))
            session = db.execute(
                "INSERT INTO sessions (name, catalog, began, ended, turns) VALUES (?, ?, ?, ?, 0)",
                (name, catalog, int(time.time()), int(time.time())),
            ).lastrowid
        assert session is not None
        return Profile(self, name, catalog, session)

    def names(self) -> list[str]:
        """All names, in order."""
        with self._connect(write=False) as db:
            return [row[0] for row in db.execute("SELECT name FROM users ORDER BY name")]

    def export(self, name: str) -> dict[str, Any]:
        """All that is known of a visitor, as plain JSON values; times in unix seconds."""
        with self._connect(write=False) as db:
            found = db.execute("SELECT since FROM users WHERE name = ?", (name,)).fetchone()
            if found is None:
                raise self._unknown(name)
            marks = db.execute("SELECT catalog, item, kind, at FROM marks WHERE name = ? ORDER BY catalog, at, item", (name,))
            rows = [dict(zip(("catalog", "item", "kind", "at"), row, strict=True)) for row in marks]
            sessions = db.execute("SELECT catalog, began, ended, turns FROM sessions WHERE name = ? ORDER BY id", (name,))
            talks = [dict(zip(("catalog", "began", "ended", "turns"), row, strict=True)) for row in sessions]
        return {"name": name, "since": found[0], "marks": rows, "sessions": talks}

    def forget(self, name: str) -> None:
        """Delete a visitor and everything about them."""
        with self._connect() as db:
            if db.execute("DELETE FROM users WHERE name = ?", (name,)).rowcount == 0:
                raise self._unknown(name)
        with self._connect() as db:
            db.execute("VACUUM")  # deleted rows would otherwise stay in the file's free pages

    def _unknown(self, name: str) -> ProfileError:
        return ProfileError(f"no user {name!r}", expected=" or ".join(self.names()[:8]) or "none is kept yet")

    @contextmanager
    def _connect(self, *, write: bool = True) -> Iterator[sqlite3.Connection]:
        if not write and not self.file.is_file():
            # Nothing is kept yet: reading must not make the file.
            db = sqlite3.connect(":memory:", isolation_level=None)
        else:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            if not self.file.exists():
                self.file.touch(mode=0o600)  # tastes are nobody else's business
            db = sqlite3.connect(self.file, timeout=10, isolation_level=None)
        try:
            db.execute("PRAGMA foreign_keys = ON")
            db.executescript(SCHEMA)
            yield db
        except sqlite3.DatabaseError as error:
            raise ProfileError(f"{self.file}: {error}", expected="a file of profiles", do="move it away") from error
        finally:
            db.close()


class Profile:
    """One visitor's marks in one catalog."""

    def __init__(self, profiles: Profiles, name: str, catalog: str, session: int) -> None:
        self.profiles, self.name, self.catalog, self.session = profiles, name, catalog, session

    def marks(self) -> dict[str, tuple[str, ...]]:
        """{"liked": ids, "disliked": ids, "known": ids}, oldest first."""
        with self.profiles._connect() as db:
            rows = db.execute(
                "SELECT kind, item FROM marks WHERE name = ? AND catalog = ? ORDER BY at, rowid", (self.name, self.catalog)
            ).fetchall()
        return {kind: tuple(item for k, item in rows if k == kind) for kind in KINDS}

    def keep(self, *, liked: Sequence[str], disliked: Sequence[str], known: Sequence[str]) -> None:
        """Make the marks of this catalog exactly these, so that what was undone is gone; and count the turn."""
        now = int(time.time())
        wanted = {(i, kind) for kind, ids in zip(KINDS, (liked, disliked, known), strict=True) for i in ids}
        with self.profiles._connect() as db:
            db.execute("BEGIN IMMEDIATE")
            if db.execute("SELECT 1 FROM users WHERE name = ?", (self.name,)).fetchone() is None:
                db.execute("ROLLBACK")
                return  # forgotten by another process meanwhile: nothing is written again
            here = set(db.execute("SELECT item, kind FROM marks WHERE name = ? AND catalog = ?", (self.name, self.catalog)))
            for item, kind in here - wanted:
                db.execute(
                    "DELETE FROM marks WHERE name = ? AND catalog = ? AND item = ? AND kind = ?",
                    (self.name, self.catalog, item, kind),
                )
            for item, kind in sorted(wanted - here):
                db.execute("INSERT INTO marks VALUES (?, ?, ?, ?, ?)", (self.name, self.catalog, item, kind, now))
            db.execute("UPDATE sessions SET ended = ?, turns = turns + 1 WHERE id = ?", (now, self.session))
            db.execute("COMMIT")

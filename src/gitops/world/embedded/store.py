"""Objects in one SQLite file: several processes may use it at once, and it survives their death."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import orjson

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (resource, namespace, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID;
"""
_BUSY_SECONDS = 30.0


class Key(NamedTuple):
    """Where an object is kept. `resource` is `deployments.apps/v1`; `namespace` may be empty."""

    resource: str
    namespace: str
    name: str


class Store:
    """Keeps objects as JSON. Every call belongs into a `transaction`."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._depth = 0
        self._connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self) -> None:
        # With a write-ahead log readers do not wait for a writer, and a killed process leaves the last whole
        # transaction. Not syncing each one risks only what a power cut takes.
        self._switch_to_wal()
        self._connection.execute("PRAGMA synchronous = NORMAL")
        with self.transaction():
            for statement in _SCHEMA.split(";"):
                self._connection.execute(statement)

    def _switch_to_wal(self) -> None:
        """Of two processes that make the same file at once one is told that it is locked, without any waiting."""
        deadline = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self, *, write: bool = True) -> Iterator[None]:
        """All or nothing, one at a time for writers of all processes. A nested one joins the outer."""
        with self._lock:
            if self._depth:
                yield
                return
            self._connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            self._depth = 1
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk has ended it already
                    self._connection.execute("ROLLBACK")
                raise
            finally:
                self._depth = 0

    def get(self, key: Key) -> dict[str, Any] | None:
        """The object, or None."""
        row = self._connection.execute(
            "SELECT body FROM objects WHERE resource = ? AND namespace = ? AND name = ?", key
        ).fetchone()
        found: dict[str, Any] | None = orjson.loads(row[0]) if row else None
        return found

    def put(self, key: Key, manifest: dict[str, Any]) -> None:
        """Keep the object, in place of what was there."""
        self._connection.execute("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?)", (*key, orjson.dumps(manifest)))

    def remove(self, key: Key) -> None:
        """Forget the object."""
        self._connection.execute("DELETE FROM objects WHERE resource = ? AND namespace = ? AND name = ?", key)

    def remove_namespace(self, namespace: str) -> None:
        """Forget everything in a namespace."""
        self._connection.execute("DELETE FROM objects WHERE namespace = ?", (namespace,))

    def scan(
        self,
        resource: str,
        namespace: str = "",
        after: tuple[str, str] = ("", ""),
        until: tuple[str, str] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """The objects of a resource (in one namespace, if given) ordered by namespace and name, after that one."""
        query = "SELECT body FROM objects WHERE resource = ? AND (namespace, name) > (?, ?)"
        values = [resource, *after]
        if until:
            query, values = f"{query} AND (namespace, name) < (?, ?)", [*values, *until]
        if namespace:
            query, values = f"{query} AND namespace = ?", [*values, namespace]
        for (body,) in self._connection.execute(f"{query} ORDER BY namespace, name", values):
            yield orjson.loads(body)

    def count(self, name: str) -> int:
        """The next value of a counter, from 1."""
        value = int(self.number(name)) + 1
        self.set_number(name, value)
        return value

    def number(self, name: str) -> float:
        """A number that was set, or 0."""
        row = self._connection.execute("SELECT value FROM counters WHERE name = ?", (name,)).fetchone()
        return float(row[0]) if row else 0.0

    def set_number(self, name: str, value: float) -> None:
        """Remember a number."""
        self._connection.execute("INSERT OR REPLACE INTO counters VALUES (?, ?)", (name, value))

"""Knowledge: entries in a SQLite file with a full-text index. It survives being killed at any time.

Every import is one transaction: after a crash the file holds the entries from before it or those
from after. Only what changed, by its content, is written. It must not know models or prompts.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import RLock

from onesec.apps.support import Entry
from onesec.core.closing import Closing
from onesec.core.errors import KnowledgeError
from onesec.core.paths import path_of

from .index import VERSION, index_text, match_query, query_terms
from .readers import Found, files_of, read_bytes, read_entries, read_table

APPLICATION_ID = 0x1_5EC  # in the header of every store
_FORMAT = 1
_TITLE_WEIGHT = 3.0  # of a word in the title, beside one in the text
_MOST_POSTINGS = 3000  # of a search; 5,000 took 4 ms
_MOST_COUNTS = 20_000
_WAIT_S = 10.0  # for another process that writes

_SCHEMA = """
CREATE TABLE file (
  source TEXT, name TEXT, hash BLOB NOT NULL, PRIMARY KEY (source, name)
) WITHOUT ROWID;
CREATE TABLE entry (
  number INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, source TEXT NOT NULL, file TEXT NOT NULL,
  title TEXT NOT NULL, text TEXT NOT NULL
);
CREATE INDEX entry_of_source ON entry (source, file);
CREATE VIRTUAL TABLE term USING fts5 (title, text, tokenize = 'unicode61 remove_diacritics 2');
"""


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What an import did, in entries. `files` were read anew; the others had not changed."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0
    files: int = 0


class Knowledge(Closing):
    """Entries that are found by what a question speaks of. Calls from several threads take turns;
    several processes may have the same file open.

    path  the store's file, made where there is none (":memory:" keeps nothing)

    Raises KnowledgeError for a file that is no store, or a damaged one, InvalidRequest for what is
    no path.

    >>> knowledge = Knowledge()
    >>> knowledge.put([Entry("fee", "Delivery costs $5."), Entry("退货", "七天内可以退货。")])
    LoadReport(added=2, changed=0, removed=0, unchanged=0, files=0)
    >>> [entry.id for entry in knowledge.search("怎么退货？")]
    ['退货']
    """

    def __init__(self, path: str | Path = ":memory:") -> None:
        self.path = str(path_of(path))
        if self.path != ":memory:":
            _check_place(Path(self.path))
        self._turn = RLock()
        self._closed = False
        with self._errors():
            self._db = sqlite3.connect(
                self.path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False
            )
            try:
                self._open()
            except BaseException:
                self._db.close()
                raise

    def _open(self) -> None:
        db = self._db
        # In this order: another process may be making the store, which marks what it fills.
        empty = not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        marks = [db.execute(f"PRAGMA {name}").fetchone()[0] for name in _MARKS]
        if not empty and marks[0] != APPLICATION_ID:
            raise KnowledgeError(
                self.path,
                "it is a database, but not a store of entries",
                hint="Choose another file for the store; a table is loaded into it with "
                "Knowledge.load(path, table=...) or --table.",
            )
        if not empty and marks[1] != _FORMAT * 1000 + VERSION:
            raise KnowledgeError(
                self.path,
                "it was made by another version of onesec",
                hint="Delete it and load the entries again.",
            )
        # How many entries hold a term, as last seen: it only decides which terms are worth reading.
        self._counts: dict[str, int] = {}
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        if empty:
            with self._transaction():
                # Another process may have been first.
                if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    for statement in _SCHEMA.strip().split(";\n"):
                        db.execute(statement)
                    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                    db.execute(f"PRAGMA user_version = {_FORMAT * 1000 + VERSION}")
        db.execute("CREATE VIRTUAL TABLE temp.vocabulary USING fts5vocab (main, term, row)")

    # -- reading ---------------------------------------------------------------------------------

    def search(self, question: str, limit: int = 8) -> list[Entry]:
        """The entries that share a term with the question, best first (BM25). Whatever the question
        holds is plain text, never query syntax."""
        wanted = query_terms(question)
        if not wanted:
            return []
        with self._errors():
            query = match_query(self._rarest(wanted))
            rows = self._db.execute(
                "SELECT id, entry.text, entry.title FROM entry JOIN "
                "(SELECT rowid AS found, bm25(term, ?, 1.0) AS score FROM term WHERE term MATCH ?"
                " ORDER BY score LIMIT ?) ON number = found ORDER BY score",
                (_TITLE_WEIGHT, query, limit),
            ).fetchall()
        return [Entry(*row) for row in rows]

    def _rarest(self, wanted: Sequence[str]) -> Sequence[str]:
        """The rarest terms, as many as are read quickly: a term that thousands of entries hold says
        next to nothing beside a rarer one, and costs the most."""
        counts = []
        for term in wanted:
            count = self._counts.get(term)
            if count is None:
                row = self._db.execute("SELECT doc FROM vocabulary WHERE term = ?", (term,))
                count = self._counts[term] = (row.fetchone() or (0,))[0]
            counts.append((count, term))
        if len(self._counts) > _MOST_COUNTS:
            self._counts.clear()
        left, chosen = _MOST_POSTINGS, list[str]()
        for count, term in sorted(counts):
            left -= count
            if left < 0 and chosen:
                break
            chosen.append(term)
        return chosen

    def get(self, identity: str) -> Entry | None:
        """The entry of that id."""
        with self._errors():
            row = self._db.execute(
                "SELECT id, text, title FROM entry WHERE id = ?", (identity,)
            ).fetchone()
        return None if row is None else Entry(*row)

    def __iter__(self) -> Iterator[Entry]:
        with self._errors():
            rows = self._db.execute("SELECT id, text, title FROM entry ORDER BY number").fetchall()
        return (Entry(*row) for row in rows)

    def __len__(self) -> int:
        with self._errors():
            count: int = self._db.execute("SELECT count(*) FROM entry").fetchone()[0]
        return count

    # -- writing ---------------------------------------------------------------------------------

    def load(
        self,
        path: str | Path,
        *,
        table: str | None = None,
        columns: Mapping[str, str] | None = None,
    ) -> LoadReport:
        """Take in a folder or a file (.md, .txt, .csv, .jsonl), or a table of a SQLite database.

        Loading the same path again brings the store up to date: entries that are gone there go here
        too. Raises KnowledgeError, which names file and line, and InvalidRequest for what is no
        path; then nothing is changed.
        """
        path = path_of(path)
        source = f"{path.resolve()}" + (f":{table}" if table is not None else "")
        if table is not None:
            found = read_table(path, table, columns)
            return self._write(source, {table: (path, found)}, keep=(), files=1)
        with self._errors():
            rows = self._db.execute("SELECT name, hash FROM file WHERE source = ?", (source,))
            known = dict(rows.fetchall())
        fresh: dict[str, tuple[Path, list[Found]]] = {}
        hashes: dict[str, bytes] = {}
        keep = []
        for name, file in files_of(path):
            data = read_bytes(file)
            content = _digest(data)
            if known.get(name) == content:
                keep.append(name)
            else:
                hashes[name] = content
                fresh[name] = (file, read_entries(name, file, data))
        return self._write(source, fresh, keep=keep, files=len(fresh), hashes=hashes)

    def put(self, entries: Iterable[Entry], *, source: str = "") -> LoadReport:
        """Take in entries from the program itself; they replace those of the same `source`."""
        found = [Found(entry, number) for number, entry in enumerate(entries, 1)]
        return self._write(f"put:{source}", {"": (Path(source or "put"), found)}, keep=())

    def _write(
        self,
        source: str,
        fresh: Mapping[str, tuple[Path, list[Found]]],
        *,
        keep: Iterable[str],
        files: int = 0,
        hashes: Mapping[str, bytes] | None = None,
    ) -> LoadReport:
        """Make the store hold `fresh` and the files of `keep` for this source, and nothing else."""
        added = changed = unchanged = 0
        db = self._db
        with self._errors(), self._transaction():
            held = {
                row[1]: row
                for row in db.execute(
                    "SELECT number, id, file, title, text FROM entry WHERE source = ?", (source,)
                )
            }
            kept = set(keep)
            wanted = {identity for identity, row in held.items() if row[2] in kept}
            unchanged += len(wanted)
            for name, (path, found) in fresh.items():
                for entry, line in found:
                    if entry.id in wanted:
                        raise KnowledgeError(path, f"the id {entry.id!r} occurs twice", line=line)
                    wanted.add(entry.id)
                    row = held.get(entry.id)
                    if row is not None and row[2:] == (name, entry.title, entry.text):
                        unchanged += 1
                        continue
                    if row is None:
                        self._refuse_foreign(entry.id, path, line)
                        added += 1
                    else:
                        self._delete(row[0])
                        changed += 1
                    self._insert(source, name, entry)
            gone = [row[0] for identity, row in held.items() if identity not in wanted]
            for number in gone:
                self._delete(number)
            known = db.execute("SELECT name FROM file WHERE source = ?", (source,)).fetchall()
            db.executemany(
                "DELETE FROM file WHERE source = ? AND name = ?",
                [(source, name) for (name,) in known if name not in kept],
            )
            db.executemany(
                "INSERT INTO file VALUES (?, ?, ?)",
                [(source, name, content) for name, content in (hashes or {}).items()],
            )
        return LoadReport(added, changed, len(gone), unchanged, files)

    def _refuse_foreign(self, identity: str, path: Path, line: int) -> None:
        """Raise KnowledgeError where another source has the id, unless its file has changed since
        it was read: the entry may have moved, and that file is read anew when its turn comes."""
        row = self._db.execute(
            "SELECT number, source, file FROM entry WHERE id = ?", (identity,)
        ).fetchone()
        if row is None:
            return
        number, source, name = row
        if not self._outdated(source, name):
            raise KnowledgeError(
                path,
                f"the id {identity!r} is taken by an entry from {source}",
                line=line,
                hint="Rename one of them: ids begin with the name of the file.",
            )
        self._delete(number)
        self._db.execute(
            "UPDATE file SET hash = ? WHERE source = ? AND name = ?", (_OUTDATED, source, name)
        )

    def _outdated(self, source: str, name: str) -> bool:
        """Whether a file of a source is no longer what was read of it."""
        row = self._db.execute(
            "SELECT hash FROM file WHERE source = ? AND name = ?", (source, name)
        ).fetchone()
        if row is None or row[0] == _OUTDATED:
            return row is not None  # tables, and what a program put in, have no file
        place = Path(source) if Path(source).is_file() else Path(source, name)
        return not place.is_file() or _digest(read_bytes(place)) != row[0]

    def _insert(self, source: str, file: str, entry: Entry) -> None:
        number = self._db.execute(
            "INSERT INTO entry (id, source, file, title, text) VALUES (?, ?, ?, ?, ?)",
            (entry.id, source, file, entry.title, entry.text),
        ).lastrowid
        self._db.execute(
            "INSERT INTO term (rowid, title, text) VALUES (?, ?, ?)",
            (number, index_text(entry.title), index_text(entry.text)),
        )

    def _delete(self, number: int) -> None:
        self._db.execute("DELETE FROM term WHERE rowid = ?", (number,))
        self._db.execute("DELETE FROM entry WHERE number = ?", (number,))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # a full disk has rolled it back already
                self._db.execute("ROLLBACK")
            raise
        self._counts.clear()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """The database for this thread, with its errors in our words."""
        with self._turn:
            if self._closed:
                raise KnowledgeError(self.path, "the store is closed", hint="Open it again.")
            with self._told():
                yield

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except UnicodeEncodeError as error:
            raise KnowledgeError(
                self.path,
                f"{error.object[:80]!a} is not UTF-8",
                hint="Rename the file, or correct the text.",
            ) from None
        except (sqlite3.Error, UnicodeDecodeError) as error:  # a message may quote what is damaged
            ours = "not a database" not in str(error)  # else it may be somebody's only copy
            raise KnowledgeError(
                self.path,
                f"SQLite says: {error}",
                hint="If the store is damaged, remove it and load the entries again."
                if ours
                else "Choose another file for the store.",
            ) from None

    def close(self) -> None:
        """Close the file. Harmless when called again."""
        with self._turn:
            self._closed = True
            self._db.close()


def _check_place(path: Path) -> None:
    """Raise KnowledgeError where SQLite would only say that it cannot open the file."""
    if path.is_dir():
        raise KnowledgeError(path, "it is a folder", hint="Name a file for the store.")
    if not path.parent.is_dir():
        raise KnowledgeError(path, f"there is no folder {path.parent}", hint="Make it first.")


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


_MARKS = ("application_id", "user_version")
_OUTDATED = b""  # the hash of no file

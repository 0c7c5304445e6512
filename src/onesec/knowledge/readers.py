"""Readers: entries out of Markdown, CSV, JSON lines and SQLite tables, with the line they stand on.

A file is read whole or not at all: what is malformed is a KnowledgeError that names file and line.
It must not know where entries are kept.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from onesec.apps.headings import headings
from onesec.apps.support import Entry
from onesec.apps.text import sentences
from onesec.core.errors import KnowledgeError

MAX_FILE_BYTES = 256 << 20
PART_CHARS = 600  # longer sections are cut at sentence ends, so that each part fits a prompt
# Front matter: keys, their lists and comments; it says nothing that a reader of the page sees.
_FRONT = re.compile(
    r"---[^\S\n]*\n[^\W\d][\w-]*:.*\n(?:[^\W\d][\w-]*:.*\n|[ \t\r#-].*\n|\n)*?"
    r"(?:---|\.\.\.)[^\S\n]*(?:\n|\Z)"
)
_SLUG = re.compile(r"[^\w]+")
_SLUG_CHARS = 80  # of a title that become part of an id
_ROW_BYTES = 200  # what an entry takes beside its text
_MOST_STEPS = 1_000_000_000  # of SQLite's machine for a table; a view may never end by itself
_STEPS_PER_LOOK = 1_000_000
_NAMES: Mapping[str, tuple[str, ...]] = {  # of columns and keys, in small letters
    "id": ("id", "key", "编号"),
    "title": ("title", "question", "q", "name", "标题", "问题", "名称"),
    "text": ("text", "answer", "a", "content", "body", "内容", "答案", "回答"),
}


class Found(NamedTuple):
    """An entry and the line (from 1) on which it begins."""

    entry: Entry
    line: int


def files_of(path: Path) -> list[tuple[str, Path]]:
    """The files that are read for a path, with the names that ids begin with: the file itself, or
    all files of a folder that have a reader, in the order of their names. Raises KnowledgeError."""
    try:
        if path.is_file():
            _reader_of(path)
            return [(path.name, path)]
        if not path.is_dir():
            raise KnowledgeError(path, "there is no such file or folder", hint="Check the path.")
        files = sorted(
            file for file in path.rglob("*") if file.suffix.lower() in _READERS and file.is_file()
        )
    except OSError as error:
        raise KnowledgeError(path, f"it cannot be read ({error.strerror})") from None
    if not files:
        raise KnowledgeError(
            path, "the folder has no entries", hint=f"It may hold {', '.join(_READERS)} files."
        )
    return [(file.relative_to(path).as_posix(), file) for file in files]


def read_bytes(path: Path) -> bytes:
    """The bytes of a file. Raises KnowledgeError where it is too large or cannot be read."""
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise KnowledgeError(path, f"it has {size} bytes; at most {MAX_FILE_BYTES} are read")
        return path.read_bytes()
    except OSError as error:
        raise KnowledgeError(path, f"it cannot be read ({error.strerror})") from None


def read_entries(name: str, path: Path, data: bytes) -> list[Found]:
    """The entries of one file's bytes; ids begin with `name`. Raises KnowledgeError."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise KnowledgeError(
            path,
            f"byte {error.start} is not UTF-8",
            line=data.count(b"\n", 0, error.start) + 1,
            hint="Save the file as UTF-8, for example: iconv -f GB18030 -t UTF-8.",
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise KnowledgeError(path, "it holds a NUL character", line=line)
    return list(_reader_of(path)(name, path, text))


def read_table(path: Path, table: str, columns: Mapping[str, str] | None = None) -> list[Found]:
    """The entries of a table of a SQLite database, which is opened for reading only; "line" is the
    row. `columns` names the columns for "id", "title" and "text" where they have other names than
    usual. Raises KnowledgeError.
    """
    if not path.is_file():
        what = "it is a folder, no database" if path.is_dir() else "there is no such file"
        raise KnowledgeError(path, what, hint="Check the path.")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            _bound(database)
            known = [row[0] for row in database.execute(_TABLES)]
            if table not in known:
                tables = ", ".join(sorted(known)[:20]) or "none"
                raise KnowledgeError(path, f"there is no table {table!r}; it has {tables}")
            rows = database.execute(f'SELECT * FROM "{_quoted(table)}"')
            header = [column[0] for column in rows.description]
            place = _columns(path, header, columns or {})
            found, left = list[Found](), MAX_FILE_BYTES
            for n, row in enumerate(rows, 1):
                values = dict(zip(header, row, strict=True))
                one = _entry(path, f"{path.name}:{table}", n, values, place)
                if one is None:
                    continue
                found.append(one)
                left -= _ROW_BYTES + len(one.entry.title) + len(one.entry.text)
                if left < 0:
                    raise KnowledgeError(
                        path, f"table {table!r} has more than {MAX_FILE_BYTES} bytes", line=n
                    )
            return found
    except (sqlite3.Error, UnicodeDecodeError) as error:  # damaged names: its message is no UTF-8
        raise KnowledgeError(path, f"SQLite says: {error}") from None


_TABLES = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND typeof(name) = 'text'"


def _bound(database: sqlite3.Connection) -> None:
    """Let a database take bounded time and no value be larger than a file may be."""
    looks = iter(range(_MOST_STEPS // _STEPS_PER_LOOK))
    database.set_progress_handler(lambda: next(looks, None) is None, _STEPS_PER_LOOK)
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_FILE_BYTES)


def _quoted(name: str) -> str:
    return name.replace('"', '""')


# -- one reader a kind ---------------------------------------------------------------------------


def _read_markdown(name: str, path: Path, text: str) -> Iterator[Found]:
    """A section is an entry: its heading is the title, what stands below it the text."""
    taken: set[str] = set()
    counts: dict[str, int] = {}
    for title, body, line in _sections(path.stem, text):
        slug = _SLUG.sub("-", title[:_SLUG_CHARS].lower()).strip("-") or "section"
        anchor = slug
        while anchor in taken:  # a heading may also be called "step 2"
            counts[slug] = counts.get(slug, 1) + 1
            anchor = f"{slug}-{counts[slug]}"
        taken.add(anchor)
        for number, part in enumerate(_parts(body), 1):
            suffix = f"~{number}" if number > 1 else ""
            yield Found(Entry(f"{name}#{anchor}{suffix}", part, title), line)


def _sections(stem: str, text: str) -> Iterator[tuple[str, str, int]]:
    front = _FRONT.match(text)
    begin, first = (front.end(), 1 + front[0].count("\n")) if front else (0, 1)
    rest = "\n".join(text[begin:].splitlines())
    title, at, end = stem, 0, 0
    for heading in headings(rest):
        if body := rest[end : heading.start].strip():
            yield title, body, first
        first += rest.count("\n", at, heading.start)
        title, at, end = heading.title or stem, heading.start, heading.end
    if body := rest[end:].strip():
        yield title, body, first


def _parts(text: str) -> Iterator[str]:
    start = end = 0
    for sentence in sentences(text, longest=PART_CHARS):
        if end > start and sentence.end - start > PART_CHARS:
            yield text[start:end]
            start = sentence.start
        end = sentence.end
    yield text[start:end]


def _read_csv(name: str, path: Path, text: str) -> Iterator[Found]:
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(rows, None)
        if header is None:
            raise KnowledgeError(path, "the file is empty", line=1)
        place = _columns(path, header, {})
        line = rows.line_num + 1
        for row in rows:
            if row:
                if len(row) != len(header):
                    raise KnowledgeError(
                        path, f"a row of {len(row)} fields; the header has {len(header)}", line=line
                    )
                values = dict(zip(header, row, strict=True))
                if found := _entry(path, name, line, values, place):
                    yield found
            line = rows.line_num + 1
    except csv.Error as error:
        raise KnowledgeError(path, f"not CSV: {error}", line=max(1, rows.line_num)) from None


def _read_jsonl(name: str, path: Path, text: str) -> Iterator[Found]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise KnowledgeError(path, f"not JSON: {error}", line=number) from None
        except RecursionError:
            raise KnowledgeError(path, "not JSON: nested too deeply", line=number) from None
        if not isinstance(value, dict):
            raise KnowledgeError(path, "a line must be a JSON object", line=number)
        place = _columns(path, list(value), {}, line=number)
        if found := _entry(path, name, number, value, place):
            yield found


_READERS: Mapping[str, Callable[[str, Path, str], Iterator[Found]]] = {
    ".md": _read_markdown,
    ".txt": _read_markdown,
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
}


def _reader_of(path: Path) -> Callable[[str, Path, str], Iterator[Found]]:
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise KnowledgeError(
            path,
            f"{path.suffix or 'no ending'} is no kind of file that holds entries",
            hint=f"Known are {', '.join(_READERS)}, and tables of SQLite databases.",
        )
    return reader


# -- columns to entries --------------------------------------------------------------------------


def _columns(
    path: Path, header: Sequence[str], given: Mapping[str, str], *, line: int = 1
) -> dict[str, str]:
    """The column of each kind; "text" must be there."""
    lower = {name.strip().lower(): name for name in reversed(header)}
    place = {}
    for kind, names in _NAMES.items():
        for name in (given[kind],) if kind in given else names:
            if name.lower() in lower:
                place[kind] = lower[name.lower()]
                break
        if kind in given and kind not in place:
            raise KnowledgeError(
                path,
                f"no column {given[kind]!r} for the {kind} among {', '.join(header[:12])}",
                line=line,
            )
    if "text" not in place:
        hint = f"Call it {', '.join(_NAMES['text'][:-1])} or {_NAMES['text'][-1]}."
        if len(header) == 1 and re.search(r"[;\t]", header[0]):
            hint = "Separate the columns with commas."
        raise KnowledgeError(
            path,
            f"no column for the text among {', '.join(header[:12]) or 'none'}",
            line=line,
            hint=hint,
        )
    return place


def _entry(
    path: Path, name: str, line: int, values: Mapping[str, Any], place: Mapping[str, str]
) -> Found | None:
    """The entry of a row; None where all its fields are empty."""
    texts = {kind: _text(path, line, key, values[key]) for kind, key in place.items()}
    if not any(texts.values()):
        return None
    if not texts["text"]:
        raise KnowledgeError(path, f"{place['text']} is empty", line=line)
    identity = texts.get("id") or f"{name}:{line}"
    return Found(Entry(identity, texts["text"], texts.get("title", "")), line)


def _text(path: Path, line: int, key: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise KnowledgeError(path, f"{key} must be text, not {type(value).__name__}", line=line)
    text = str(value).strip()
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise KnowledgeError(path, f"{key} holds half a character (a surrogate)", line=line)
    return text

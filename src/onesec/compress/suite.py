"""Suite: files of questions with keys, read as what nobody vouches for.

A suite is JSON lines, one `Item` of `onesec.apps.judge` a line, plain or compressed (.gz). It must
not know models, or what a reply is worth.
"""

from __future__ import annotations

import gzip
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from onesec.apps.judge import Item
from onesec.core.errors import InvalidRequest

MAX_BYTES = 64 << 20  # of a file, uncompressed
MAX_ITEMS = 100_000
MAX_MESSAGES = 256  # of an item
MAX_TEXT = 1 << 18  # characters of one text
MAX_VALUES = 256  # required, forbidden or exact values of an item
ROLES = ("system", "user", "assistant")
SHIPPED = Path(__file__).parents[1] / "assets" / "suites"
_DECODER = msgspec.json.Decoder(Item)


def find_suite(name: str) -> Path:
    """The file that `name` means: a shipped suite ("mini"), or else a path.

    Raises InvalidRequest where there is neither.
    """
    shipped = {path.name.split(".")[0]: path for path in sorted(SHIPPED.glob("*.jsonl.gz"))}
    path = shipped.get(name, Path(name))
    if not path.is_file():
        raise InvalidRequest(
            f"There is no suite {name}.",
            hint=f"Give a file of JSON lines, or one that is shipped: {', '.join(shipped)}.",
        )
    return path


def read_suite(path: Path) -> list[Item]:
    """The items of a file, each of them checked.

    Raises InvalidRequest with file and line: not JSON, a key missing or of another type, a text or
    a list that is too long, an id twice; and where the file is too large or holds nothing.

    >>> len(read_suite(find_suite("mini")))  # doctest: +SKIP
    2400
    """
    items: list[Item] = []
    seen: set[str] = set()
    for number, line in enumerate(_read(path).split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            item = _DECODER.decode(line)
            _check(item)
            if item["id"] in seen:
                raise ValueError(f"the id {item['id'][:80]!r} stands in an earlier line too")
        except (ValueError, RecursionError) as error:
            raise InvalidRequest(
                f"{path}, line {number}: {error}.", hint="Each line is one item of the suite."
            ) from None
        if len(items) == MAX_ITEMS:
            raise InvalidRequest(f"{path} has more than {MAX_ITEMS} items.", hint="Split it.")
        seen.add(item["id"])
        items.append(item)
    if not items:
        raise InvalidRequest(f"{path} holds no items.")
    return items


def chosen(items: Sequence[Item], *, limit: int | None, skills: Iterable[str] = ()) -> list[Item]:
    """The items of `skills` (none named: of all), at most `limit` of each skill and language.

    Raises InvalidRequest for a skill that no item has.
    """
    known, wanted = dict.fromkeys(item["skill"] for item in items), set(skills)
    if missing := sorted(wanted - known.keys()):
        raise InvalidRequest(
            f"The suite has no skill {', '.join(missing)}; it has {', '.join(known)}.",
            hint="Choose one of these.",
        )
    taken: Counter[tuple[str, str]] = Counter()
    found = []
    for item in items:
        if wanted and item["skill"] not in wanted:
            continue
        cell = item["skill"], item["language"]
        taken[cell] += 1
        if limit is None or taken[cell] <= limit:
            found.append(item)
    return found


def _read(path: Path) -> bytes:
    """All bytes of the file; no more than the limit is ever unpacked."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InvalidRequest(f"{path} is not a whole gzip file: {error}.") from None
    if len(raw) > MAX_BYTES:
        raise InvalidRequest(f"{path} has more than {MAX_BYTES} bytes.", hint="Split it.")
    return raw


def _check(item: Item) -> None:
    """What the types do not say. Raises ValueError."""
    messages = item["messages"]
    if not 1 <= len(messages) <= MAX_MESSAGES:
        raise ValueError(f"{len(messages)} messages; 1 to {MAX_MESSAGES} are read")
    if messages[-1]["role"] != "user":
        raise ValueError(f"the last message is of {messages[-1]['role'][:80]!r}, not of 'user'")
    if strange := next((m["role"] for m in messages if m["role"] not in ROLES), None):
        raise ValueError(f"the role {strange[:80]!r} is none of {', '.join(ROLES)}")
    lists = (item["required"], item["forbidden"], item["exact"])
    if (most := max(map(len, lists))) > MAX_VALUES:
        raise ValueError(f"a list of {most} values; at most {MAX_VALUES} are read")
    for name in ("id", "skill", "language", "wording", "answer"):
        if not item[name]:
            raise ValueError(f"{name!r} is empty")
    spellings = [part for value in item["required"] for part in value.split("|")]
    if not all((*spellings, *item["forbidden"], *item["exact"])):
        raise ValueError("an empty text among the values of its key, which every reply holds")
    texts = [message["content"] for message in messages]
    texts += [item["id"], item["skill"], item["language"], item["wording"], item["answer"]]
    if (longest := max(map(len, (*texts, *(v for values in lists for v in values))))) > MAX_TEXT:
        raise ValueError(f"a text of {longest} characters; at most {MAX_TEXT} are read")

"""Regular expressions: which ones can explode, and one that finds any of many texts.

It must not know tokenizers; standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_UNBOUNDED = re.compile(r"[*+]|\{\d*,\}")
_BOUNDED = re.compile(r"\?|\{\d+(?:,\d+)?\}")


def explodes(pattern: str) -> bool:
    """Whether a back-tracking matcher may need exponential time: an unbounded repetition of a group
    that itself holds an unbounded repetition, such as (a+)+. Errs on the side of yes.

    >>> explodes("(a+)+$"), explodes(" ?[^\\\\s]+|\\\\s+(?!\\\\S)")
    (True, False)
    """
    groups: list[bool] = [False]  # for each open group: has it seen an unbounded repetition?
    closed: bool = False  # did a group with one inside close just before this place?
    at = 0
    while at < len(pattern):
        char = pattern[at]
        if repeat := _UNBOUNDED.match(pattern, at):
            if closed:
                return True
            groups[-1] = True
            at = repeat.end()
            continue
        if bound := _BOUNDED.match(pattern, at):
            at = bound.end()  # (a+)? may still be followed by nothing that repeats it
            continue
        closed = False
        if char == "\\":
            at = _skip_escape(pattern, at)
        elif char == "[":
            at = _skip_class(pattern, at)
        elif char == "(":
            groups.append(False)
            at += 1
        elif char == ")" and len(groups) > 1:
            closed = groups.pop()
            groups[-1] = groups[-1] or closed
            at += 1
        else:
            at += 1
    return False


def _skip_escape(pattern: str, at: int) -> int:
    if pattern[at + 1 : at + 2] in ("p", "P", "x") and pattern[at + 2 : at + 3] == "{":
        end = pattern.find("}", at)
        return len(pattern) if end < 0 else end + 1
    return at + 2


def _skip_class(pattern: str, at: int) -> int:
    depth = 0  # classes nest in Oniguruma: [\p{L}&&[^\p{Han}]]
    while at < len(pattern):
        char = pattern[at]
        if char == "\\":
            at += 2
            continue
        depth += (char == "[") - (char == "]")
        at += 1
        if depth == 0:
            break
    return at


def any_of(texts: Iterable[str]) -> re.Pattern[str]:
    """A pattern that matches (without width) wherever one of the texts begins.

    Built as a prefix tree, so the time at a place does not grow with the number of texts.

    >>> [m.start() for m in any_of(["<s>", "</s>"]).finditer("a<s></s>")]
    [1, 4]
    """
    tree: dict[str, dict] = {}  # type: ignore[type-arg]
    for text in texts:
        node = tree
        for char in text:
            node = node.setdefault(char, {})
        node[""] = {}  # a text ends here: what follows does not matter
    return re.compile(f"(?={_spell(tree)})" if tree else r"(?!)")


def _spell(node: dict[str, dict]) -> str:  # type: ignore[type-arg]
    prefix = ""
    while "" not in node and len(node) == 1:  # a loop, so that long texts do not nest
        ((char, node),) = node.items()
        prefix += re.escape(char)
    if "" in node:
        return prefix
    return f"{prefix}(?:{'|'.join(re.escape(c) + _spell(child) for c, child in node.items())})"

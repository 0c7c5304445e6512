"""JsonScan: reads a JSON text as it grows, and knows at every character how to close it.

It must not know what the values mean, schemas, tokens or time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .enders import sentence_ends

_SPACE = " \t\n\r"
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_UNFINISHED = re.compile(r"-?(?:(?:0|[1-9]\d*)(?:\.\d*)?(?:[eE][+-]?\d*)?)?")
_NUMBER_CHARS = frozenset("0123456789+-.eE")
_LITERALS = {"t": "true", "f": "false", "n": "null"}
_ESCAPES = frozenset('"\\/bfnrt')
_HEX = frozenset("0123456789abcdefABCDEF")
_HIGH = re.compile(r"(?:\\\\|[^\\]|\\[^\\])*?\\u[dD][89abAB][0-9a-fA-F]{2}\Z", re.DOTALL)
_LOW = "\\udc00"  # completes it
_LINE = re.compile(r"\\[nrt]")
_CLOSER = {"{": "}", "[": "]"}


@dataclass(frozen=True, slots=True)
class End:
    """Where an answer ends: `keep` characters of what was written, and `closing` behind them."""

    keep: int
    closing: str = ""


class JsonScan:
    """One JSON value, fed piece by piece.

    ok      whether what was fed is the beginning of a JSON text (white space around it is allowed)
    done    whether the value is complete
    stable  length of the longest prefix to which nothing but brackets must be added

    >>> scan = JsonScan()
    >>> scan.push('{"a": [1, 2], "b')
    >>> scan.end(), scan.end(floor=16)
    (End(keep=12, closing='}'), End(keep=16, closing='":null}'))
    """

    def __init__(self) -> None:
        self.text = ""
        self.ok = True
        self.stable = 0
        # What may come next: value, first (value or ]), key, first_key (key or }), colon, more
        # (a comma or the closing bracket), end. Inside a token: string, number, literal.
        self._state = "value"
        self._stack: list[str] = []
        self._keys: list[set[str]] = []  # as written, of the objects that are open
        self._begin = 0  # of the token that is not complete
        self._is_key = False
        self._escape = ""  # "\\", or "\\u" and digits so far

    @property
    def done(self) -> bool:
        """Whether the value is complete. A bare number never is: another digit may come."""
        return self.ok and self._state == "end"

    @property
    def in_string(self) -> bool:
        """Whether the text ends inside a string that is a value."""
        return self.ok and self._state == "string" and not self._is_key

    def push(self, piece: str) -> None:
        """Take in more text."""
        at = len(self.text)
        self.text += piece
        while self.ok and at < len(self.text):
            at = self._string(at) if self._state == "string" else self._char(at)

    def _fail(self, at: int) -> int:
        self.ok = False
        return at + 1

    def _string(self, at: int) -> int:
        if not self._escape:
            match = _PLAIN.match(self.text, at)
            at = match.end() if match else at
            if at == len(self.text):
                return at
        char = self.text[at]
        if self._escape == "\\":
            if char not in _ESCAPES and char != "u":
                return self._fail(at)
            self._escape = "\\u" if char == "u" else ""
        elif self._escape:
            if char not in _HEX:
                return self._fail(at)
            self._escape = self._escape + char if len(self._escape) < 5 else ""
        elif char == "\\":
            self._escape = "\\"
        elif char == '"':
            if self._is_key:
                self._keys[-1].add(self.text[self._begin + 1 : at])
                self._state = "colon"
            else:
                self._value(at + 1)
        else:
            return self._fail(at)  # a control character
        return at + 1

    def _value(self, end: int) -> None:
        """A value ended there."""
        self.stable = end
        self._state = "more" if self._stack else "end"

    def _char(self, at: int) -> int:
        char, state = self.text[at], self._state
        if state == "number":
            if char in _NUMBER_CHARS:
                fits = _UNFINISHED.fullmatch(self.text, self._begin, at + 1)
                return at + 1 if fits else self._fail(at)
            if not _NUMBER.fullmatch(self.text, self._begin, at):
                return self._fail(at)
            self._value(at)
            return at
        if state == "literal":
            word = _LITERALS[self.text[self._begin]]
            count = at + 1 - self._begin
            if not word.startswith(self.text[self._begin : at + 1]):
                return self._fail(at)
            if count == len(word):
                self._value(at + 1)
            return at + 1
        if char in _SPACE:
            return at + 1
        if state in ("value", "first") and self._begins(char, at):
            return at + 1
        if char == "]" and state in ("first", "more") and self._stack[-1:] == ["["]:
            return self._pop(at)
        if char == "}" and state in ("first_key", "more") and self._stack[-1:] == ["{"]:
            return self._pop(at)
        if char == '"' and state in ("key", "first_key"):
            self._state, self._is_key, self._begin = "string", True, at
        elif char == ":" and state == "colon":
            self._state = "value"
        elif char == "," and state == "more":
            self._state = "key" if self._stack[-1] == "{" else "value"
        else:
            return self._fail(at)
        return at + 1

    def _begins(self, char: str, at: int) -> bool:
        """Whether a value begins with that character; then it has begun."""
        if char == '"':
            self._state, self._is_key = "string", False
        elif char in _CLOSER:
            self._stack.append(char)
            self._keys.append(set())
            self._state = "first_key" if char == "{" else "first"
            self.stable = at + 1
        elif char == "-" or "0" <= char <= "9":
            self._state = "number"
        elif char in _LITERALS:
            self._state = "literal"
        else:
            return False
        self._begin = at
        return True

    def _pop(self, at: int) -> int:
        self._stack.pop()
        self._keys.pop()
        self._value(at + 1)
        return at + 1

    # -- closing ---------------------------------------------------------------------------------

    def end(self, floor: int = 0) -> End | None:
        """How to end with at least `floor` characters kept: the shortest closing of what is worth
        keeping. Strings are closed (at a sentence's or a word's end, where the floor allows),
        literals completed; an incomplete key, number or member is left out where the floor allows,
        else completed. None before the first character of a value, or where the text is no JSON.
        """
        if not self.ok or not self.text.strip(_SPACE):
            return None
        brackets = "".join(_CLOSER[opener] for opener in reversed(self._stack))
        if self._state == "string" and not self._is_key:
            return self._end_string(floor, brackets)
        if self._state == "literal":
            rest = _LITERALS[self.text[self._begin]][len(self.text) - self._begin :]
            return End(len(self.text), rest + brackets)
        if self.stable >= floor and self.stable > 0:
            return End(self.stable, brackets)
        return End(len(self.text), self._rest() + brackets)

    def settled(self) -> End | None:
        """The End right here, where nothing is unfinished but brackets: after a member or an
        element, or a sentence of a string. Else None."""
        end = self.end(len(self.text))
        if end is None:
            return None
        if self.in_string:
            done = max(_sentence_ends(self.text, self._begin + 1), default=0)
            return end if done >= len(self.text.rstrip()) and not self._escape else None
        return end if self._state in ("more", "end") else None

    def _end_string(self, floor: int, brackets: str) -> End:
        begin, whole = self._begin + 1, self._whole_string()
        ends = [end for end in _sentence_ends(self.text, begin) if floor <= end <= whole]
        if ends:
            return End(ends[-1], '"' + brackets)
        space = self.text.rfind(" ", begin, whole)
        if space > begin and space >= floor and self.text[whole - 1 : whole].isalnum():
            return End(space, '"' + brackets)
        if whole >= floor:
            return End(whole, '"' + brackets)
        return End(len(self.text), self._string_rest() + '"' + brackets)

    def _whole_string(self) -> int:
        """Length of the text without an open escape, and without half of a pair before it."""
        whole = len(self.text) - len(self._escape)
        return whole - 6 if _HIGH.match(self.text, self._begin + 1, whole) else whole

    def _string_rest(self) -> str:
        """What completes an open escape and half of a pair."""
        escape = self._escape
        if self._whole_string() < len(self.text) - len(escape):
            return _LOW[len(escape) :]
        if escape == "\\":
            return "\\"
        if not escape:
            return ""
        rest = "0000"[len(escape) - 2 :]
        return rest + _LOW if re.match("[dD][89abAB]", escape[2:] + rest) else rest

    def _rest(self) -> str:
        """What completes the member, element or token that the text breaks off in."""
        state = self._state
        if state == "string":  # a key
            rest = self._string_rest()
            key = self.text[self._begin + 1 :] + rest
            while key in self._keys[-1]:
                key, rest = key + "_", rest + "_"
            return rest + '":null'
        if state == "number":
            number = self.text[self._begin :]
            return "" if _NUMBER.fullmatch(number) else "0"
        if state == "key":
            key = ""
            while key in self._keys[-1]:
                key += "_"
            return f'"{key}":null'
        return {"colon": ":null", "value": "null"}.get(state, "")


def _sentence_ends(text: str, begin: int) -> list[int]:
    """Sentence ends inside a string that begins there: escaped line ends count as white space."""
    plain = _LINE.sub("  ", text[begin:])
    return [begin + end for end in sentence_ends(plain)]

"""Text as it was meant: broken characters out, line ends unified, edges trimmed.

Pure functions on strings. It must not know tokens, templates or models.
"""

from __future__ import annotations

import re
import unicodedata

# Line ends as they occur: CR LF, CR, vertical tab, form feed, NEL, line and paragraph separator.
_LINE_END = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
# The four ASCII separators stand between things, so they leave a space.
_SEPARATOR = re.compile("[\x1c-\x1f]")
# Other control characters, the byte-order mark, and the noncharacters of every plane.
_NOISE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ufeff\ufdd0-\ufdef"
    + "".join(
        f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000)
    )
    + "]"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
# Accents follow a letter by twos or threes; the longest run that Unicode expects (UAX 15, Stream-
# Safe Text) has 30, and NFC takes time with the square of a run's length.
_MOST_MARKS = 30
# Where there may be so many: no letters, and none of the blocks of signs and pictures.
_MARKS = re.compile(
    "[^\\w\\s\x00-\u02ff\u2010-\u20cf\u2100-\u2bff\u3001-\u3029\ue000-\uf8ff\uff00-\uffef"
    f"\U0001f000-\U0001faff]{{{_MOST_MARKS // 3},}}"
)
_LEADING_BLANK_LINES = re.compile(r"\A(?:[^\S\n]*\n)+")


def clean(text: str, *, nfc: bool = True, strip: bool = True) -> str:
    """The same text without what nobody meant to write, in time linear in its length. Idempotent.

    nfc     compose characters (NFC; never NFKC, which would turn ² into 2), of more than 30 accents
            on one letter the first 30
    strip   remove blank lines in front and white space at the end; a text of one line loses its
            leading white space too, a longer one keeps it (it may be indented code)

    Joiners and direction marks stay: emoji, Persian and Hebrew need them.

    >>> clean("  cafe\\u0301\\x00\\r\\n")
    'café'
    """
    if _SURROGATE.search(text):
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")
    text = _NOISE.sub("", _SEPARATOR.sub(" ", _LINE_END.sub("\n", text)))
    if nfc:
        # And again, as there are letters that NFC takes an accent off.
        text = _MARKS.sub(_bounded, unicodedata.normalize("NFC", _MARKS.sub(_bounded, text)))
    if strip:
        text = _LEADING_BLANK_LINES.sub("", text.rstrip())
        if "\n" not in text:
            text = text.lstrip()
    return text


def _bounded(match: re.Match[str]) -> str:
    """The characters without accents (as many as they decompose into) beyond the first 30 in a
    row."""
    kept, count = [], 0
    for character in match[0]:
        if unicodedata.category(character)[0] != "M":
            count = 0
        elif count <= _MOST_MARKS:
            count += len(unicodedata.normalize("NFD", character))
        if count <= _MOST_MARKS:
            kept.append(character)
    return "".join(kept)

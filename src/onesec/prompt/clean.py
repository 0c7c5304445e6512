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
_LEADING_BLANK_LINES = re.compile(r"\A(?:[^\S\n]*\n)+")


def clean(text: str, *, nfc: bool = True, strip: bool = True) -> str:
    """The same text without what nobody meant to write. Idempotent.

    nfc     compose characters (NFC; never NFKC, which would turn ² into 2)
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
        text = unicodedata.normalize("NFC", text)
    if strip:
        text = _LEADING_BLANK_LINES.sub("", text.rstrip())
        if "\n" not in text:
            text = text.lstrip()
    return text

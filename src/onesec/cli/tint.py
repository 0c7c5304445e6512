"""Tint: an answer in the terminal with the tokens marked that the model was not sure of.

It must not know how sure a model is or what is asked: it marks text by numbers.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from .output import is_terminal, note, shown

if TYPE_CHECKING:
    from onesec.output import Output

confidence_option = click.option(
    "--confidence", is_flag=True, help="Mark what the model was not sure of. 标出不确定处"
)
_FAIR, _UNSURE, _UNDERLINE, _PLAIN = "\x1b[33m", "\x1b[4;31m", "\x1b[4m", "\x1b[0m"


def tinted(pieces: Sequence[str], confidence: Sequence[float], *, color: bool) -> str:
    """The text of the pieces, the fairly sure ones yellow, the unsure ones red and underlined;
    without `color` the unsure ones are underlined only. What the text holds commands nothing.

    >>> tinted(["It is", " 34"], [0.97, 0.3], color=False)
    'It is\\x1b[4m 34\\x1b[0m'
    """
    from onesec.explain.words import SURE, UNSURE

    parts = []
    for piece, sure in zip(pieces, confidence, strict=True):
        text = shown(piece)
        mark = ""
        if sure < UNSURE:
            mark = _UNSURE if color else _UNDERLINE
        elif sure < SURE and color:
            mark = _FAIR
        parts.append(f"{mark}{text}{_PLAIN}" if mark and text else text)
    return "".join(parts)


def print_tinted(output: Output) -> None:
    """Print an answer: marked where somebody looks, as it is elsewhere; and say what the marks
    mean, and whether the model's word is all that they rest on."""
    if not is_terminal(sys.stdout):
        print(output.text)
        return
    from onesec.explain.words import SURE, UNSURE

    color = "NO_COLOR" not in os.environ  # https://no-color.org
    closing = output.text[sum(map(len, output.pieces)) :]  # no token's
    print(tinted(output.pieces, output.confidence, color=color) + shown(closing))
    marks = f"yellow: below {SURE}, red: below {UNSURE}" if color else f"underlined: below {UNSURE}"
    word = "" if output.calibrated else "; not calibrated: see onesec confidence"
    note(f"[{marks}{word}]")

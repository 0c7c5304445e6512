"""Cues: what is known of a request beforehand that tells how long its answer will be.

Plain values, found where text is known. It must not know text, models, or what they are used for.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cues:
    """What an answer's length goes with; every field may be left at "not known".

    app            the application's name
    task           "translation", "summary", "question", or "" for anything else
    script         of the text that is asked about: "han", "mixed", "latin", or ""
    target_words   words (字 in Chinese) that the answer shall have, as the prompt says; 0: unsaid
    source_tokens  of the last user message, about; 0: not known
    """

    app: str = ""
    task: str = ""
    script: str = ""
    target_words: int = 0
    source_tokens: int = 0

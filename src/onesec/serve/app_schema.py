"""App schema: the requests that the application routes understand, as typed structs.

It must not know what is done with them; see schema.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from onesec.prompt.template import MAX_MESSAGES

from .schema import DeadlineMs, MinGear, OnlyGear, Policy, StreamOptions

MAX_ENTRIES = 1000  # of knowledge, and records, that come with a request; more belong into a store
MAX_TERMS = 4096  # of a glossary, all of which each sentence is searched for
Glossary = Annotated[dict[str, str], msgspec.Meta(max_length=MAX_TERMS)]


class Common(msgspec.Struct, kw_only=True):
    """What every application takes. None: the application's own, or the server's. `logprobs`: with
    `include_onesec` the tokens tell how sure they are."""

    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logprobs: bool | None = None
    deadline_ms: DeadlineMs | None = None
    gear: OnlyGear | None = None
    min_gear: MinGear | None = None
    policy: Policy = "balanced"


class Note(msgspec.Struct):
    """A piece of knowledge."""

    text: str
    title: str = ""
    id: str = ""


class Past(msgspec.Struct):
    """An earlier turn."""

    question: str
    answer: str


class SupportRequest(Common, kw_only=True):
    """POST /v1/apps/support."""

    question: str
    knowledge: Annotated[list[Note], msgspec.Meta(max_length=MAX_ENTRIES)] = []
    records: Annotated[list[str | dict[str, Any]], msgspec.Meta(max_length=MAX_ENTRIES)] = []
    turns: Annotated[list[Past], msgspec.Meta(max_length=MAX_MESSAGES)] = []


class TranslateRequest(Common, kw_only=True):
    """POST /v1/apps/translate. `to`: the target (None: the language that the text is not in)."""

    text: str
    to: Literal["en", "zh"] | None = None
    glossary: Glossary = {}


class AnswerRequest(Common, kw_only=True):
    """POST /v1/apps/answer."""

    question: str
    text: str


class SummarizeRequest(Common, kw_only=True):
    """POST /v1/apps/summarize. `length` in a person's words: "two sentences", "30 words"."""

    text: str
    length: str = "one sentence"


class LiveStart(Common, kw_only=True, tag="start"):
    """How to translate; the first message, where it is sent at all. See TranslateRequest."""

    to: Literal["en", "zh"] | None = None
    glossary: Glossary = {}


class LiveText(msgspec.Struct, tag="text"):
    """More of what is said."""

    text: str


class LiveEnd(msgspec.Struct, tag="end"):
    """Nothing more will be said: what is left is a sentence."""

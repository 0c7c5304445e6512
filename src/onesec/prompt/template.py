"""Chat templates: messages to the text that a model was trained on.

Templates are untrusted code from model files; they run in the cage of `sandbox`. Requests never
bring templates, and only the variables listed here.
It must not know tokens, files or models: sources and special tokens come in as plain text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from jinja2 import TemplateError
from jinja2.exceptions import SecurityError

from onesec.core.errors import CorruptFile, EmptyPrompt, InvalidRequest, UnsupportedModel

from .sandbox import Cage, TemplateRefusal, render

ROLES = ("system", "user", "assistant", "tool")
MAX_MESSAGES = 4096
MAX_PARTS = 4096  # of one message
MAX_TEMPLATES = 16
MAX_DEPTH = 32  # of tools, tool calls and documents
BASE_WORK = 100_000  # steps; one more for each character that comes in. About 0.1 s at most.
END_MARK = "\ufdd1"  # a noncharacter: where the answer to be continued ends
# Variables that a request may set, and their types.
VARIABLES: Mapping[str, type] = {
    "enable_thinking": bool,
    "thinking": bool,
    "reasoning_effort": str,
    "date_string": str,
    "documents": list,
}
# Where a template asks whether a message's content is none, that is how it knows a call of tools;
# any other takes content for text, writes "None" or fails: it gets an empty text.
_ASKS_FOR_NONE = re.compile(r"""content['")\]]*\s*(?:is\s+(?:not\s+)?|[=!]=\s*)none\b""", re.I)
_TEXT_KEYS = ("name", "tool_call_id", "reasoning_content")

Message = Mapping[str, Any]


class ChatTemplate:
    """A model's chat templates, compiled once; `render` is a pure function of its arguments (and of
    `now`, for templates that write the date). Thread-safe.

    sources         one template, or several by name: "tool_use" is taken where tools are given,
                    "default" otherwise
    special_tokens  texts that templates may ask for: {"bos_token": "<s>", ...}
    max_chars       the longest text that may be rendered

    Raises InvalidRequest without any source, CorruptFile for templates that do not compile or
    exceed 64 Ki characters or a nesting of 100.

    >>> t = ChatTemplate("{% for m in messages %}{{ m.role }}: {{ m.content }}\\n{% endfor %}")
    >>> t.render([{"role": "user", "content": "hi"}])
    'user: hi\\n'
    """

    def __init__(
        self,
        sources: str | Mapping[str, str],
        *,
        special_tokens: Mapping[str, str] | None = None,
        max_chars: int = 4 << 20,
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        named = {"default": sources} if isinstance(sources, str) else dict(sources)
        if not named:
            raise InvalidRequest(
                "This model has no chat template.",
                hint="Use generate with a plain prompt.",
            )
        if len(named) > MAX_TEMPLATES:
            raise CorruptFile("chat template", f"{len(named)} templates; {MAX_TEMPLATES} are read")
        cage = Cage(now=now)
        self._templates = {name: _compile(cage, source) for name, source in named.items()}
        self._none = {name for name, source in named.items() if _ASKS_FOR_NONE.search(source)}
        self._special_tokens = dict(special_tokens or {})
        self._max_chars = max_chars

    def render(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
        protect: Callable[[str], str] = str,
        **variables: Any,
    ) -> str:
        """The prompt for these messages.

        messages                 {"role": system | user | assistant | tool, "content": text or text
                                 parts (None beside tool_calls), and optionally name, tool_calls,
                                 tool_call_id, reasoning_content}
        add_generation_prompt    end with the words that open the assistant's turn
        continue_final_message   end inside the last message, so that the model goes on with it
        tools                    JSON schemas of callable functions
        protect                  applied to every text of the messages (Tokenizer.protect)
        variables                those of VARIABLES

        Raises InvalidRequest for malformed messages or where the template refuses them, EmptyPrompt
        without messages, UnsupportedModel where the template leaves the sandbox or its limits.
        """
        if continue_final_message and add_generation_prompt:
            raise InvalidRequest(
                "add_generation_prompt and continue_final_message exclude each other.",
                hint="Pass add_generation_prompt=False to continue the last message.",
            )
        plain = [_message(index, message, protect) for index, message in enumerate(messages)]
        if not plain:
            raise EmptyPrompt("There is no message.", hint="Send at least one.")
        if len(plain) > MAX_MESSAGES:
            raise InvalidRequest(f"{len(plain)} messages; at most {MAX_MESSAGES} are taken.")
        if continue_final_message:
            plain[-1]["content"] = (plain[-1]["content"] or "") + END_MARK
        name = self._name_for(tools)
        if name not in self._none:
            for message in plain:
                message["content"] = message["content"] or ""
        schemas = None if tools is None else [_plain(tool, "tools", protect) for tool in tools]
        values = {
            **self._special_tokens,
            **_checked(variables, protect),
            "messages": plain,
            "tools": schemas,
            "add_generation_prompt": add_generation_prompt,
        }
        text = self._run(name, values)
        if not continue_final_message:
            return text
        head, mark, _ = text.rpartition(END_MARK)
        if not mark:
            raise InvalidRequest("The chat template does not write the message to be continued.")
        return head

    def _name_for(self, tools: Sequence[Mapping[str, Any]] | None) -> str:
        """The template that is taken: the one for these tools, the default one, or any."""
        names = ("tool_use", "default") if tools else ("default",)
        return next((n for n in names if n in self._templates), next(iter(self._templates)))

    def _run(self, name: str, values: Mapping[str, Any]) -> str:
        max_work = BASE_WORK + _size(values)
        try:
            return render(
                self._templates[name], values, max_work=max_work, max_chars=self._max_chars
            )
        except TemplateRefusal as caught:
            raise InvalidRequest(f"The chat template refuses these messages: {caught}") from None
        except (SecurityError, RecursionError) as caught:
            chars = _chars(values["messages"]) + _chars(values["tools"])
            if chars > self._max_chars:  # whatever the template does
                raise InvalidRequest(
                    f"The messages and tools have {chars} characters; at most {self._max_chars} "
                    "are rendered.",
                    hint="Shorten them.",
                ) from None
            raise UnsupportedModel(
                f"The chat template was stopped: {caught}.",
                hint="Use generate with a plain prompt (--raw), or another model.",
            ) from None
        except Exception as caught:  # whatever a stranger's code raises is about these messages
            raise InvalidRequest(
                f"The chat template failed at these messages ({type(caught).__name__}).",
                hint="Compare them with those that the model's card shows.",
            ) from caught


def _compile(cage: Cage, source: str) -> Any:
    try:
        return cage.compile_source(source)
    except (TemplateError, SyntaxError, RecursionError, MemoryError, ValueError) as caught:
        raise CorruptFile(
            "chat template",
            f"it does not compile: {str(caught)[:200]}",
            hint="Correct the template beside the model, or remove it and use plain prompts.",
        ) from None


def _message(index: int, message: Message, protect: Callable[[str], str]) -> dict[str, Any]:
    where = f"messages[{index}]"
    if not isinstance(message, Mapping):
        raise InvalidRequest(f"{where} must be an object, not a {type(message).__name__}.")
    role = message.get("role")
    if role not in ROLES:
        raise InvalidRequest(f"{where}.role is {role!r}; it must be one of {', '.join(ROLES)}.")
    made: dict[str, Any] = {"role": role, "content": _content(where, message, protect)}
    for key, value in message.items():
        if key in ("role", "content"):
            continue
        if key in _TEXT_KEYS:
            if value is not None and not isinstance(value, str):
                raise InvalidRequest(f"{where}.{key} must be text, not a {type(value).__name__}.")
            if value is not None:
                made[key] = protect(value)
            if key == "reasoning_content" and value is not None:
                made["thinking"] = made[key]  # as some templates call it
        elif key == "tool_calls":
            if value is not None:
                made[key] = _tool_calls(where, value, protect)
        else:
            raise InvalidRequest(f"{where} has an unknown key {str(key)[:40]!r}.")
    return made


def _content(where: str, message: Message, protect: Callable[[str], str]) -> str | None:
    content = message.get("content")
    if isinstance(content, str):
        return protect(content)
    if content is None and message["role"] == "assistant" and message.get("tool_calls"):
        return None
    if not isinstance(content, (list, tuple)):
        raise InvalidRequest(f"{where}.content must be text, not a {type(content).__name__}.")
    if len(content) > MAX_PARTS:
        raise InvalidRequest(
            f"{where}.content has {len(content)} parts; at most {MAX_PARTS} are taken."
        )
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind != "text" or not isinstance(part.get("text"), str):
            raise InvalidRequest(
                f"{where}.content has a part of type {str(kind)[:40]!r}; only text is understood."
            )
        texts.append(part["text"])
    return protect("\n".join(texts))


def _tool_calls(where: str, calls: Any, protect: Callable[[str], str]) -> list[Any]:
    if not isinstance(calls, (list, tuple)) or not all(isinstance(c, Mapping) for c in calls):
        raise InvalidRequest(f"{where}.tool_calls must be a list of objects.")
    made = []
    for call in calls:
        plain = _plain(call, f"{where}.tool_calls", protect)
        function = plain.get("function")
        if isinstance(function, dict) and isinstance(function.get("arguments"), str):
            # On the wire arguments are JSON in a string; templates expect the object.
            try:
                function["arguments"] = json.loads(function["arguments"])
            except (ValueError, RecursionError):
                pass
            else:
                # JSON can spell a special token with escapes, which only now are characters.
                function["arguments"] = _plain(function["arguments"], where, protect)
        made.append(plain)
    return made


def _checked(variables: Mapping[str, Any], protect: Callable[[str], str]) -> dict[str, Any]:
    for name, value in variables.items():
        if name not in VARIABLES:
            raise InvalidRequest(
                f"There is no template variable {name[:40]!r}.",
                hint=f"Known are {', '.join(VARIABLES)}.",
            )
        if not isinstance(value, VARIABLES[name]):
            raise InvalidRequest(f"{name} must be a {VARIABLES[name].__name__}.")
    return {name: _plain(value, name, protect) for name, value in variables.items()}


def _plain(value: Any, where: str, protect: Callable[[str], str], depth: int = 0) -> Any:
    """A copy made of plain dicts, lists, text and numbers; nothing else passes."""
    if isinstance(value, str):
        return protect(value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if depth >= MAX_DEPTH:
        raise InvalidRequest(f"{where} nests more than {MAX_DEPTH} deep.")
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {protect(k): _plain(v, where, protect, depth + 1) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, where, protect, depth + 1) for item in value]
    raise InvalidRequest(f"{where} holds a {type(value).__name__}; only JSON values are taken.")


def _chars(value: Any) -> int:
    """Characters of the texts in a value, but for the names of members."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(_chars, value.values()))
    return sum(map(_chars, value)) if isinstance(value, list) else 0


def _size(value: Any) -> int:
    if isinstance(value, str):
        return 16 + len(value)
    if isinstance(value, Mapping):
        return sum(16 + len(key) + _size(part) for key, part in value.items())
    if isinstance(value, list):
        return sum(16 + _size(part) for part in value)
    return 16

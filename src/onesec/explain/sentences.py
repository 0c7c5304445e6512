"""Sentences: what a trace says, in a few lines for a person, English or Chinese.

Every number comes from the trace; a cause is given only where its numbers bear it out. It must not
know files or terminals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from onesec.core.trace import Event, Trace

from .record import number
from .words import LANGUAGES, UNSURE, milliseconds, used

STALL = 3.0  # a step that took so many times the usual one is called a stall,
STALL_MS = 1.0  # if it took so much longer too
_LEAST_APART = 0.1  # of what was expected: what is closer is "as planned"
Values = Mapping[str, Any]

_WORDS: dict[str, tuple[str, str]] = {
    "budget": ("The budget was {0} ms.", "时延预算为 {0} 毫秒。"),
    "ttft": ("The first token came after {0} ms of {1}.", "首个词元用时 {0} 毫秒，预算 {1} 毫秒。"),
    "tpot": (
        "Each further token took {0} ms of {1} on average.",
        "其后每个词元平均 {0} 毫秒，预算 {1} 毫秒。",
    ),
    "policy": ("The policy was {0}.", "策略为 {0}。"),
    "no budget": ("There was no budget.", "没有时延预算。"),
    "fit": (
        "The prompt was shortened from {0} tokens to {1} so that it fits: {2} turns dropped, {3} "
        "characters taken out, in {4} ms.",
        "为按时完成，提示由 {0} 个词元缩短到 {1} 个：去掉 {2} 轮对话、{3} 个字符，用时 {4} 毫秒。",
    ),
    "plan": (
        "Planned at {0} ms: gear {1}, room for {2} tokens, done by {3} ms.",
        "{0} 毫秒时计划：档位 {1}，可容纳 {2} 个词元，至迟 {3} 毫秒完成。",
    ),
    "better": (
        "The next better gear needed {0} ms, with what is kept in hand; the last token was due at "
        "{1}.",
        "更好一档连同余量需 {0} 毫秒；最后一个词元应在 {1} 毫秒前给出。",
    ),
    "crowded": (
        "{0} % of the time to spare was left to other requests.",
        "富余时间的 {0}% 留给了其他请求。",
    ),
    "better tpot": (
        "The next better gear needed {0} ms a token; the budget was {1}.",
        "更好一档每个词元需 {0} 毫秒，预算为 {1}。",
    ),
    "first": ("The first token came at {0} ms.", "首个词元在 {0} 毫秒给出。"),
    "band": (
        "From then on expected: done at {0} ms in the median, by {1} ms at p95.",
        "此后预期：中位 {0} 毫秒完成，p95 为 {1} 毫秒。",
    ),
    "prefill": (
        "Prefill of {0} tokens in gear {1} took {2} ms, {3}.",
        "以档位 {1} 预填充 {0} 个词元，用时 {2} 毫秒，{3}。",
    ),
    "cached": ("{0} prompt tokens came from the cache.", "{0} 个提示词元来自缓存。"),
    "preempted": (
        "More urgent requests took its room {0} times; each time it was computed anew.",
        "更紧急的请求 {0} 次占用了它的位置；每次都重新计算。",
    ),
    "decode": (
        "Up to {0} ms, {1} tokens in gear {2} took {3} ms, {4}.",
        "到 {0} 毫秒为止，档位 {2} 生成 {1} 个词元，用时 {3} 毫秒，{4}。",
    ),
    "stall": (
        "At token {0} something else took the machine: {1} ms for one step.",
        "第 {0} 个词元处机器被占用：单步用时 {1} 毫秒。",
    ),
    "hung": (
        "At {0} ms token {1} was not done yet, after {2} ms instead of {3}: the answer was handed "
        "over without it.",
        "{0} 毫秒时，第 {1} 个词元仍未完成，已用 {2} 毫秒（通常 {3} 毫秒）：不再等待，先行作答。",
    ),
    "for others": (
        "At token {0} ({1} ms) shifted down from {2} to {3} for other requests: the {4} tokens "
        "still wanted needed {5} ms; {6} were its own.",
        "第 {0} 个词元（{1} 毫秒）由 {2} 降到 {3}，让时间给其他请求：还要 {4} 个词元，需 {5} 毫秒，"
        "自己可用 {6} 毫秒。",
    ),
    "down": (
        "At token {0} ({1} ms) shifted down from {2} to {3}: the {4} tokens still wanted needed "
        "{5} ms of {6} left.",
        "第 {0} 个词元（{1} 毫秒）由 {2} 降到 {3}：还要 {4} 个词元，需 {5} 毫秒，只剩 {6} 毫秒。",
    ),
    "up": (
        "At token {0} ({1} ms) shifted up from {2} to {3}: the {4} tokens still wanted need {5} ms "
        "there of {6} left.",
        "第 {0} 个词元（{1} 毫秒）由 {2} 升到 {3}：还要 {4} 个词元，需 {5} 毫秒，尚有 {6} 毫秒。",
    ),
    "shift": (
        "At token {0} ({1} ms) shifted from {2} to {3}.",
        "第 {0} 个词元（{1} 毫秒）由 {2} 换到 {3}。",
    ),
    "land": (
        "Began landing at {0} ms, after token {1}: {2} more fitted; landing begins at {3}.",
        "{0} 毫秒、第 {1} 个词元后开始收尾：还容得下 {2} 个，不超过 {3} 个即收尾。",
    ),
    "no_time": (
        "At {0} ms, after token {1}, the next step needed {2} ms of {3} left.",
        "{0} 毫秒、第 {1} 个词元后，下一步需 {2} 毫秒，只剩 {3} 毫秒。",
    ),
    "sure": (
        "Sure of its tokens to {0} on average, least of token {1} ({2}); below {3}: {4} of {5}.",
        "词元平均置信度 {0}，最低为第 {1} 个（{2}）；低于 {3} 的有 {4} 个，共 {5} 个。",
    ),
    "close_thinking": (
        "Ended the thinking at {0} ms, after token {1}: {2} more fitted; closing and "
        "the answer want {3}.",
        "{0} 毫秒、第 {1} 个词元后结束思考：还容得下 {2} 个，结束思考并作答要 {3} 个。",
    ),
    "natural": ("Ended by itself at {0} ms.", "{0} 毫秒时自然结束。"),
    "landed": ("Landed at {0} ms, where the text ends well.", "{0} 毫秒时在合适处收尾。"),
    "closed": ("Landed at {0} ms, closed with {1!r}.", "{0} 毫秒时收尾，补上 {1!r}。"),
    "cut": ("Cut off at {0} ms ({1}).", "{0} 毫秒时被截断（{1}）。"),
    "met": ("That was in time, {0} ms before the deadline.", "按时完成，早于截止时间 {0} 毫秒。"),
    "late": ("That was not in time.", "未能按时完成。"),
    "dropped": ("{0} further events were not kept.", "另有 {0} 个事件未保留。"),
    "as planned": ("as expected", "与预期相符"),
    "under": ("{0} less than expected", "比预期少 {0}"),
    "over": ("{0} more than expected", "比预期多 {0}"),
}


def explain(trace: Trace, language: str = "en") -> list[str]:
    """The story of one request, a sentence a line, in the order in which things happened.

    >>> explain(Trace("r1", ending="natural", elapsed_ms=12.0))[1]
    'Ended by itself at 12 ms.'
    """

    def say(key: str, *values: object) -> str:
        return _WORDS[key][LANGUAGES.index(language)].format(*values)

    whole = trace.budget_ms is not None
    lines = [say("budget", milliseconds(trace.budget_ms)) if whole else say("no budget")]
    if not whole and (trace.budget_ttft_ms, trace.budget_tpot_ms) != (None, None):
        lines = []  # these are told with how they were kept
    if trace.policy != "balanced":
        lines.append(say("policy", trace.policy))
    if trace.cached_tokens:
        lines.append(say("cached", trace.cached_tokens))
    if trace.preemptions:
        lines.append(say("preempted", trace.preemptions))
    first_ms = trace.ttft_ms
    for event in trace.events:
        lines += _plan(event, trace, say) if event.kind == "plan" else _lines(event, say)
        if event.kind == "prefill" and first_ms is not None:
            lines.append(say("first", milliseconds(first_ms)))
            first_ms = None
    lines.append(_ending(trace, say))
    if trace.budget_ttft_ms is not None and trace.ttft_ms is not None:
        lines.append(say("ttft", milliseconds(trace.ttft_ms), milliseconds(trace.budget_ttft_ms)))
    if trace.budget_tpot_ms is not None and trace.tpot_ms is not None:
        lines.append(say("tpot", milliseconds(trace.tpot_ms), milliseconds(trace.budget_tpot_ms)))
    if trace.met is not None:
        early_ms = (trace.budget_ms or 0.0) - trace.elapsed_ms
        last = trace.events[-1].detail if trace.events else {}
        if trace.met and trace.budget_ms is not None:
            lines.append(say("met", milliseconds(early_ms)))
        elif not trace.met and last.get("finish_reason") != "error":
            lines.append(say("late"))
    lines += _sure(trace, say)
    if trace.dropped_events:
        lines.append(say("dropped", trace.dropped_events))
    resources = used(trace, language)
    return lines if resources is None else [*lines, resources]


def _plan(event: Event, trace: Trace, say: Callable[..., str]) -> list[str]:
    """A plan, and why the next better gear was not taken, where the numbers bear it out."""
    detail = event.detail
    gear, prompt_gear = detail.get("gear", "?"), detail.get("prefill_gear", "?")
    gears = gear if gear == prompt_gear else f"{prompt_gear}→{gear}"
    room, done = detail.get("max_tokens", "?"), milliseconds(detail.get("predicted_ms"))
    lines = [say("plan", milliseconds(event.at_ms), gears, room, done)]
    for key, name, limit in (
        ("better", "better_ms", number(detail, "end_ms")),
        ("better tpot", "better_tpot_ms", trace.budget_tpot_ms),
    ):
        better = number(detail, name)
        if better is not None and limit is not None and better > limit:
            lines.append(say(key, milliseconds(better), milliseconds(limit)))
    if crowding := number(detail, "crowding"):
        lines.append(say("crowded", round(100 * crowding)))
    return lines


def _lines(event: Event, say: Callable[..., str]) -> list[str]:
    detail, at = event.detail, milliseconds(event.at_ms)
    if event.kind == "fit":
        names = ("tokens_before", "tokens_after", "dropped_turns", "removed_chars")
        counts = (detail.get(name, "?") for name in names)
        return [say("fit", *counts, milliseconds(detail.get("ms")))]
    if event.kind == "prefill":
        took = say(
            "prefill", detail.get("tokens", "?"), detail.get("gear", "?"), *_took(detail, say)
        )
        return [took]
    if event.kind == "decode":
        took = say(
            "decode", at, detail.get("tokens", "?"), detail.get("gear", "?"), *_took(detail, say)
        )
        return [took, *_stall(detail, say)]
    if event.kind == "shift":
        return [_shift(detail, at, say), *_band(event, say)]
    token = detail.get("token", "?")
    if event.kind in ("land", "close_thinking"):
        room, zone = detail.get("room_tokens", "?"), detail.get("zone_tokens", "?")
        return [say(event.kind, at, token, room, zone)]
    if event.kind == "no_time":
        need, left = (milliseconds(detail.get(name)) for name in ("need_ms", "left_ms"))
        return [say("no_time", at, token, need, left)]
    if event.kind == "stall":
        ms, expected = (milliseconds(detail.get(name)) for name in ("ms", "expected_ms"))
        return [say("hung", at, token, ms, expected)]
    return []


def _band(event: Event, say: Callable[..., str]) -> list[str]:
    """When the answer was expected to be done, after that event."""
    likely, by = number(event.detail, "likely_ms"), number(event.detail, "by_ms")
    if likely is None or by is None:
        return []
    return [say("band", milliseconds(event.at_ms + likely), milliseconds(event.at_ms + by))]


def _sure(trace: Trace, say: Callable[..., str]) -> list[str]:
    """How sure the model was of its tokens, where that was asked for."""
    values = trace.confidence
    if not values:
        return []
    low = min(values)
    unsure = sum(value < UNSURE for value in values)
    mean = f"{sum(values) / len(values):.2f}"
    lowest = values.index(low) + 1
    return [say("sure", mean, lowest, f"{low:.2f}", UNSURE, unsure, len(values))]


def _took(detail: Values, say: Callable[..., str]) -> tuple[str, str]:
    """What it took, and how far from what was expected."""
    ms, expected = number(detail, "ms"), number(detail, "expected_ms")
    if expected is None or ms is None or abs(ms - expected) <= _LEAST_APART * expected:
        return milliseconds(ms), say("as planned")
    return milliseconds(ms), say(
        "under" if ms < expected else "over", milliseconds(abs(ms - expected))
    )


def _stall(detail: Values, say: Callable[..., str]) -> list[str]:
    """The slowest step, where it stands out from the others of its segment."""
    slowest, ms, tokens = (number(detail, name) for name in ("slowest_ms", "ms", "tokens"))
    if slowest is None or ms is None or tokens is None or tokens < 2:
        return []
    usual = (ms - slowest) / (tokens - 1)
    if slowest < STALL * usual or slowest - usual < STALL_MS:
        return []
    return [say("stall", detail.get("slowest_token", "?"), milliseconds(slowest))]


def _shift(detail: Values, at: str, say: Callable[..., str]) -> str:
    """A shift with its cause, where the trace's numbers bear it out."""
    where = (detail.get("token", "?"), at, detail.get("was", "?"), detail.get("gear", "?"))
    want, left = detail.get("want_tokens", "?"), number(detail, "left_ms")
    need, there = number(detail, "need_ms"), number(detail, "need_there_ms")
    others = number(detail, "for_others_ms") or 0.0
    if left is not None and need is not None and left - others < need <= left:
        return say("for others", *where, want, milliseconds(need), milliseconds(left - others))
    if left is not None and need is not None and need > left:
        return say("down", *where, want, milliseconds(need), milliseconds(left))
    if left is not None and there is not None and there <= left:
        return say("up", *where, want, milliseconds(there), milliseconds(left))
    return say("shift", *where)


def _ending(trace: Trace, say: Callable[..., str]) -> str:
    at = milliseconds(trace.elapsed_ms)
    last = trace.events[-1].detail if trace.events else {}
    if trace.ending == "landed" and last.get("closing"):
        return say("closed", at, last["closing"])
    if trace.ending in ("natural", "landed"):
        return say(trace.ending, at)
    return say("cut", at, last.get("stop_reason") or last.get("finish_reason") or "?")

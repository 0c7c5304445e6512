"""Words: how numbers and resources of a trace are said, in English and Chinese.

It must not know sentences or pictures, which share them.
"""

from __future__ import annotations

from onesec.core.trace import Trace

LANGUAGES = ("en", "zh")
SURE, UNSURE = (
    0.8,
    0.5,
)  # confidences from which a token counts as sure, and below which it does not
_USED = (
    "Used: {0} CPU-ms, {1} MB of weights and cache read, {2} kB of cache at most.",
    "用量：{0} CPU 毫秒，读取权重与缓存 {1} MB，缓存最多 {2} kB。",
)
_GUESSED = (" Of {0} tokens guessed ahead {1} were right.", "提前猜测的 {0} 个词元中，{1} 个正确。")


def milliseconds(value: object) -> str:
    """Milliseconds with as many digits as tell something; "?" for what is no finite number.

    >>> milliseconds(941.3), milliseconds(0.41234), milliseconds(None)
    ('941', '0.412', '?')
    """
    if not isinstance(value, int | float) or not abs(value) < 1e300:
        return "?"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def used(trace: Trace, language: str = "en") -> str | None:
    """What an answer used, in a line; None where nothing was counted.

    >>> used(Trace("r1", cpu_ms=2.0, bytes_read=5_000_000, peak_kv_bytes=64_000))
    'Used: 2 CPU-ms, 5.0 MB of weights and cache read, 64 kB of cache at most.'
    """
    if not trace.bytes_read:
        return None
    i = LANGUAGES.index(language)
    line = _USED[i].format(
        milliseconds(trace.cpu_ms),
        f"{trace.bytes_read / 1e6:.1f}",
        f"{trace.peak_kv_bytes / 1e3:.0f}",
    )
    if trace.drafted_tokens:
        line += _GUESSED[i].format(trace.drafted_tokens, trace.accepted_tokens)
    return line

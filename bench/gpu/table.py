"""The measured part of docs/gpu.md and docs/zh/gpu.md, from results of `bench.gpu.check`.

    PYTHONPATH=src python -m bench.gpu.table bench/results/*-h200-*.json

writes it between the documents' marks; of a figure that several results have, the last one's.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DOCUMENTS = {"en": ROOT / "docs" / "gpu.md", "zh": ROOT / "docs" / "zh" / "gpu.md"}
BEGIN, END = "<!-- measured -->\n", "<!-- /measured -->"
_WORDS = {
    "en": {
        "about": "{device}, torch {torch}, {date}; random weights, one token after 256, greedy, by "
        "graph replay. A copy moves {copy:.0f} GB/s; the floor is a step's weight bytes over that.",
        "head": "| shape | bits | step, ms | tokens/s | share of the floor | 8 rows | 8 checked | "
        "first token after 16, 100, 512, 1,024, ms |",
        "hits": "Deadlines (`{model}`, one user after another for {seconds:.0f} s, budgets of 0.3 "
        "to 2 times what an answer takes in the best gear): {asked} requests, {accepted} accepted, "
        "{met} of them in time.",
        "peer": "transformers on the same shape (`{name}`; {settings}): {step:.2f} ms a step, "
        "{ratio:.1f} times as long as the 16-bit width here.",
        "host": " The host's work between two steps is in that figure, and not in those above.",
        "jitter": "Over {steps} steps p99 is {p99:.3f} and p99.9 {p999:.3f} times the median; the "
        "first step after a rest of two seconds took {idle:.1f} ms.",
    },
    "zh": {
        "about": "{device}，torch {torch}，{date}；随机权重，256 个词元之后的一个，贪心，图重放。"
        "复制的速度是 {copy:.0f} GB/s；下限是一步的权重字节数除以它。",
        "head": "| 形状 | 位 | 一步，毫秒 | 词元/秒 | 下限占比 | 8 行 | 8 个验证 | "
        "16、100、512、1,024 个词元之后的第一个，毫秒 |",
        "hits": "截止时间（`{model}`，一个用户接着一个，{seconds:.0f} 秒，"
        "预算是最好档位用时的 0.3 到 2 倍）：{asked} 个请求，"
        "接受 {accepted} 个，其中 {met} 个按时。",
        "peer": "transformers 在同样的形状上（`{name}`；{settings}）：一步 {step:.2f} 毫秒，"
        "是这里 16 位宽度的 {ratio:.1f} 倍。",
        "host": "这个数字包含主机在两步之间的工作，上面的数字不包含。",
        "jitter": "{steps} 步里 p99 是中位数的 {p99:.3f} 倍，p99.9 是 {p999:.3f} 倍；"
        "空闲两秒后的第一步用了 {idle:.1f} 毫秒。",
    },
}


def measured(report: dict[str, Any], language: str) -> str:
    """The part in one language ("en", "zh"), with a line's end."""
    words = _WORDS[language]
    floors = report["floors"]["bandwidth_gb_s"]
    lines = [
        words["about"].format(**report, copy=floors["copy"]),
        "",
        words["head"],
        "|---" * 8 + "|",
    ]
    more = []
    for key, found in report.items():
        if " at " not in key:
            continue
        name, _, rest = key.partition(" at ")
        prompts = ", ".join(f"{ms:.1f}" for ms in found.get("prompts_ms", {}).values()) or "–"
        lines.append(
            f"| {name} | {rest.split()[0]} | {found['step_ms']:.2f} | {found['tok_s']:.0f} | "
            f"{found['share_of_copy']:.0%} | {found['batch8']:.2f}× | {found['verify8']:.2f}× | "
            f"{prompts} |"
        )
        if jitter := found.get("jitter"):
            more.append(
                words["jitter"].format(
                    steps=jitter["steps"],
                    p99=jitter["p99_over_p50"],
                    p999=jitter["p999_over_p50"],
                    idle=found["after_idle_ms"],
                )
            )
    if hits := report.get("deadlines"):
        more.append(words["hits"].format(**hits))
    for name, peer in report.get("peers", {}).items():
        ratio = peer["step_ms"] / report[f"{name} at 16 bits"]["step_ms"]
        more.append(
            words["peer"].format(
                name=name, settings=peer["settings"], step=peer["step_ms"], ratio=ratio
            )
            + ("" if peer.get("queued") else words["host"])
        )
    return "\n".join([*lines, "", "\n\n".join(more)]) + "\n"


def together(paths: Sequence[str]) -> dict[str, Any]:
    """The results of several files as one: of what two have, the later file's."""
    report: dict[str, Any] = {}
    for path in paths:
        for key, value in json.loads(Path(path).read_text()).items():
            nested = isinstance(value, dict) and " at " in key
            report[key] = {**report.get(key, {}), **value} if nested else value
    return report


def main() -> None:
    """Write the part into both documents."""
    report = together(sys.argv[1:])
    for language, path in DOCUMENTS.items():
        text = path.read_text(encoding="utf-8")
        before, _, rest = text.partition(BEGIN)
        after = rest.partition(END)[2]
        path.write_text(before + BEGIN + measured(report, language) + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()

"""Report: a compression's record as report.json and as report.html, one page without network.

It must not measure anything: every number comes from the record.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

from onesec.model.partfolder import written_bytes
from onesec.page import page as html_page
from onesec.page import pairs, svg

from .target import Target, held_to_size

Record = Mapping[str, Any]


def write_reports(folder: Path, record: Record) -> None:
    """Write report.json and report.html. Raises OSError where the disk refuses."""
    text = json.dumps(record, indent=1, ensure_ascii=False)
    (folder / "report.json").write_text(text + "\n", encoding="utf-8")
    (folder / "report.html").write_text(page(record), encoding="utf-8")


def write_judged_reports(
    folder: Path, record: dict[str, Any], target: Target, size_bytes: int | None
) -> Target:
    """Write the reports beside all other files of an artifact; the target, which the record holds
    too, says whether they keep the size asked for, the reports among them. Raises OSError."""
    judged = target
    while True:
        record["target"] = asdict(judged)
        write_reports(folder, record)
        # What says that they are too large makes the files larger, so this comes to an end.
        again = held_to_size(target, size_bytes, written_bytes(folder))
        if again == judged:
            return judged
        judged = again


def page(record: Record) -> str:
    """The whole page.

    >>> page(json.loads(Path("smol.onesec/report.json").read_text()))  # doctest: +SKIP
    """
    target, machine = record["target"], record["machine"]
    name = Path(os.path.abspath(str(record["model"]))).name  # that of "." too
    body = f"""<h1>{escape(name)}</h1>
<p>{_verdict(target, record["recipe"])}</p>
<h2>Gears 档位</h2>
<div class="scroll">{_gear_table(record["gears"], target["gear"])}</div>
<p class="soft">Divergence, same first token and perplexity beside the 16-bit weights, on
{record["gears"][0]["tokens"]} tokens of {escape(str(record["text"]))} text that the search did not
see; ± one standard error. Predicted: what adding up single measurements said.</p>
{_calibration(record["calibration"])}
<h2>Loss against time 损失与时间</h2>
<figure>{_pareto(record["gears"], _target_step(record))}
<figcaption>Mean divergence (nats a token, logarithmic) against milliseconds a step. Warm: uniform
widths.</figcaption></figure>
<h2>What each matrix loses at 4 bits 各矩阵的敏感度</h2>
<figure>{_heat(record["losses"]["at_4"])}
<figcaption>Added divergence with this matrix alone at 4 bits, the others at 8; darker is more.
Layers from left to right.</figcaption></figure>
<h2>What finer activations would gain 激活精度的收益</h2>
<figure>{_heat(record["losses"]["fine"])}
<figcaption>Divergence that goes away with 16 bits instead of 8 of what this matrix reads, at 8 bits
of weights ({record["losses"]["all_8"]:.2e} with none of them).</figcaption></figure>
<h2>Where a step goes 时间分布</h2>
{_costs(record)}
<h2>Recipe and machine 配方与机器</h2>
<dl>{pairs(record["recipe"])}{pairs(machine)}
<dt>parameters</dt><dd>{record["parameters"]:,}</dd>
<dt>both planes</dt><dd>{record["plane_bytes"] / 1e6:.1f} MB</dd>
<dt>OneSec</dt><dd>{escape(str(record["onesec"]))}</dd></dl>
"""
    return html_page(f"{name}: gears", body)


def _verdict(target: Record, recipe: Record) -> str:
    gear = f"gear <b>{escape(str(target['gear']))}</b>"
    if not target["met"]:
        return f"Not met: {escape(str(target['why']))}. The best that was found is {gear}."
    if target["asked_ms"] is None:
        if "max_kld" in recipe or "keep_top1" in recipe:
            return f"The quickest gear within what was asked is {gear}."
        return f"The most accurate gear is {gear}; no time and no accuracy was asked for."
    asked, predicted = target["asked_ms"], target["predicted_ms"]
    return f"Within {asked:.4g} ms, the best is {gear}: {predicted:.4g} ms predicted."


def _gear_table(gears: Sequence[Record], chosen: str) -> str:
    heads = [
        *("gear", "ms a step", "predicted", "MB a token", "divergence", "predicted"),
        *("same first token", "perplexity ratio"),
    ]
    rows = []
    for gear in gears:
        cells = (
            escape(str(gear["name"])),
            f"{gear['step_ms']:.3f}",
            _maybe(gear["predicted_ms"], ".3f"),
            f"{gear['bytes_per_token'] / 1e6:.1f}",
            f"{gear['kld_mean']:.4f} ± {gear['kld_mean_se']:.4f}",
            _maybe(gear["predicted_kld"], ".4f"),
            f"{gear['same_top']:.2%} ± {gear['same_top_se']:.2%}",
            f"{gear['perplexity_ratio']:.4f} ± {gear['perplexity_ratio_se']:.4f}",
        )
        mark = ' class="chosen"' if gear["name"] == chosen else ""
        rows.append(f"<tr{mark}>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    head = "".join(f"<th>{word}</th>" for word in heads)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _calibration(found: Record | None) -> str:
    if found is None:
        return ""
    fate = "" if found["kept"] else " The planes before were better and were kept."
    return (
        f"<p>Calibrated on {found['tokens']:,} tokens: at 4 bits the divergence was "
        f"{found['kld_before']:.4f} ± {found['kld_before_se']:.4f} nats a token before, and "
        f"{found['kld_after']:.4f} ± {found['kld_after_se']:.4f} after, on other text.{fate}</p>"
    )


def _maybe(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _target_step(record: Record) -> float | None:
    """The time of a step that was asked for, where one was."""
    value: float | None = record["recipe"].get("tpot_ms")
    return value


def _pareto(gears: Sequence[Record], target_ms: float | None) -> str:
    """Divergence against time as SVG; gears in the order of time."""
    points = [(float(g["step_ms"]), max(float(g["kld_mean"]), 1e-9), str(g["name"])) for g in gears]
    times = [ms for ms, _, _ in points] + ([target_ms] if target_ms else [])
    logs = [math.log10(kld) for _, kld, _ in points]
    low, high = min(times), max(times)
    bottom, top = min(logs) - 0.1, max(logs) + 0.1
    width, height, left, base = 640, 300, 60, 260

    def x(ms: float) -> float:
        return left + (ms - low) / max(high - low, 1e-9) * (width - left - 40)

    def y(log: float) -> float:
        return base - (log - bottom) / (top - bottom) * (base - 20)

    parts = [f'<path class="axis" d="M{left} 10V{base}H{width - 10}"/>']
    line = " ".join(f"{x(ms):.1f},{y(math.log10(kld)):.1f}" for ms, kld, _ in points)
    parts.append(f'<polyline class="path" points="{line}"/>')
    for ms, kld, name in points:
        kind = "uniform" if name.isdecimal() else "dot"
        at_x, at_y = x(ms), y(math.log10(kld))
        parts.append(f'<circle class="{kind}" cx="{at_x:.1f}" cy="{at_y:.1f}" r="4"/>')
        parts.append(f'<text x="{at_x + 6:.1f}" y="{at_y - 6:.1f}">{escape(name)}</text>')
    if target_ms:
        parts.append(f'<path class="target" d="M{x(target_ms):.1f} 10V{base}"/>')
    for log in (min(logs), max(logs)):
        parts.append(f'<text x="4" y="{y(log) + 4:.1f}">{10**log:.2g}</text>')
    for ms in (low, high):
        parts.append(f'<text x="{x(ms) - 14:.1f}" y="{base + 18}">{ms:.3g} ms</text>')
    return svg(width, height, "Divergence against time of every gear", parts)


def _heat(values: Mapping[str, float]) -> str:
    """A row a kind of matrix, a cell a layer."""
    kinds: dict[str, list[tuple[str, float]]] = {}
    for name, value in values.items():
        kinds.setdefault(name.rpartition(".")[2], []).append((name, value))
    most = max(max(values.values(), default=0.0), 1e-12)
    columns = max(len(cells) for cells in kinds.values())
    size = max(8, min(40, 540 // columns))
    parts = []
    for row, (kind, cells) in enumerate(kinds.items()):
        parts.append(f'<text x="0" y="{row * 30 + 19}">{escape(kind)}</text>')
        for column, (name, value) in enumerate(cells):
            share = math.sqrt(value / most)
            parts.append(
                f'<rect x="{80 + column * size}" y="{row * 30 + 2}" width="{size - 1}" height="26" '
                f'fill="#c4480b" fill-opacity="{share:.3f}"><title>{escape(name)}: {value:.2e} nats'
                "</title></rect>"
            )
    return svg(80 + columns * size, len(kinds) * 30 + 4, "Sensitivity of every matrix", parts)


def _costs(record: Record) -> str:
    costs = record["costs"]
    counts: dict[str, int] = {}
    for name in record["losses"]["at_4"]:
        kind = name.rpartition(".")[2]
        counts[kind] = counts.get(kind, 0) + 1
    rows = [("all at 4 bits", f"{costs['base_ms']:.3f}")]
    for kind, ms in costs["second_plane_ms"].items():
        rows.append((f"second plane of {counts[kind]} × {kind}", f"+ {ms * counts[kind]:.3f}"))
    for kind, ms in costs["fine_ms"].items():
        rows.append((f"fine activations of {counts[kind]} × {kind}", f"+ {ms * counts[kind]:.3f}"))
    for kind, ms in costs["skip_saves_ms"].items():
        word = "attention" if kind == "qkv" else "FFN"
        rows.append((f"skipping one {word} sublayer", f"− {ms:.3f}"))
    body = "".join(f"<tr><td>{escape(name)}</td><td>{ms}</td></tr>" for name, ms in rows)
    head = "<tr><th>part</th><th>ms a step</th></tr>"
    return f'<div class="scroll"><table><thead>{head}</thead><tbody>{body}</tbody></table></div>'

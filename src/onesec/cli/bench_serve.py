"""`onesec bench serve`: what a server gives its users, at loads around its capacity and beyond."""

from __future__ import annotations

import asyncio
import os
from dataclasses import asdict, replace
from math import inf, isfinite
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import click

from .options import json_option
from .output import emit_json, note, progress, table

if TYPE_CHECKING:
    from onesec.bench.serve_bench import Course, Target
    from onesec.bench.serve_load import Prompt

_SLOS = ("chat", "rag", "agent", "complete")
_LOADS = "0.5,0.8,1,2,5,10"
_SECONDS, _QUICK_SECONDS = 10.0, 3.0
_PROMPTS = 1000  # of a trace; more requests begin again
_USUAL_CONTEXT = 2048  # tokens, of a server that does not say


def _finite(ctx: click.Context, option: click.Parameter, value: Any) -> Any:
    """A number without end would be requests, or seconds, without end."""
    if not all(map(isfinite, value if isinstance(value, tuple) else (value or 0.0,))):
        raise click.BadParameter("it must be finite.", ctx, option)
    return value


@click.command("serve")
@click.argument("url")
@click.option("--deadline", metavar="TIME", help="Of every answer (default: 1s). 预算")
@click.option("--slo", type=click.Choice(_SLOS), help="What users want instead: chat, rag, ...")
@click.option("--load", "loads", default=_LOADS, show_default=True, help="Of the capacity. 负载")
@click.option(
    "--rate",
    "rates",
    type=click.FloatRange(min=0.0, min_open=True),
    multiple=True,
    callback=_finite,
    help="Requests a second, instead.",
)
@click.option(
    "--users", type=click.IntRange(min=1), help="So many users at once, instead of loads. 并发用户"
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.1),
    callback=_finite,
    help="Of each load (default: 10).",
)
@click.option("--burst", type=click.IntRange(min=2), help="So many at the same instant. 突发")
@click.option(
    "--traffic",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV with real requests: their lengths, and their gaps scaled to each load.",
)
@click.option(
    "--suite", default="mini", show_default=True, help="Questions: a shipped suite, a file."
)
@click.option("--untold", is_flag=True, help="Clients with a time-out; the server is told nothing.")
@click.option("--quick", is_flag=True, help="Three seconds a load. 快速")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), help="A folder.")
@json_option
def command(
    url: str,
    deadline: str | None,
    slo: str | None,
    loads: str,
    rates: tuple[float, ...],
    users: int | None,
    seconds: float | None,
    burst: int | None,
    traffic: Path | None,
    suite: str,
    untold: bool,
    quick: bool,
    seed: int,
    output: Path | None,
    as_json: bool,
) -> None:
    """Load the server at URL, and measure what its users get. 服务负载

    Any OpenAI-compatible server: ours is told the deadline, another is left when it is over. A key
    comes from ONESEC_API_KEY. Writes serve.json and serve.html into --output.
    """
    from onesec.bench.arrivals import instants
    from onesec.bench.serve_bench import Course
    from onesec.bench.serve_load import SLOS, Slo
    from onesec.bench.serve_report import GOODS_HEADS, TIMES_HEADS, goods, times, write_report
    from onesec.core.deadline import parse_duration_ms
    from onesec.model.partfile import disk_errors

    if deadline is not None and slo is not None:
        raise click.UsageError("--deadline and --slo exclude each other.")
    if traffic is not None and burst is not None:
        raise click.UsageError("--traffic and --burst exclude each other.")
    if users is not None and (rates or traffic is not None or burst is not None):
        raise click.UsageError("--users asks as answers come: no --rate, --traffic or --burst.")
    course = Course(
        slo=SLOS[slo] if slo else Slo(total_ms=parse_duration_ms(deadline or "1s")),
        loads=() if rates or users else _numbers(loads),
        rates=rates,
        users=users or 0,
        seconds=seconds or (_QUICK_SECONDS if quick else _SECONDS),
        trace=() if traffic is None else instants(traffic),
        burst=burst or 0,
        seed=seed,
    )
    if output is not None:  # a folder that cannot be is told before anything is waited for
        with disk_errors(output):
            output.mkdir(parents=True, exist_ok=True)
    record = asyncio.run(_measure(url, course, suite, traffic, untold))
    if output is not None:
        write_report(output, record)
        note(f"written: {output / 'serve.html'}")
    if as_json:
        emit_json(record)
        return
    capacity = record["capacity_per_s"]
    known = f", capacity {capacity:.1f}/s with {record['users']} users" if capacity else ""
    table(f"{record['model']} under load{known}", GOODS_HEADS, goods(record))
    table("Times in ms, and busy cores", TIMES_HEADS, times(record))


async def _measure(
    url: str, course: Course, suite: str, traffic: Path | None, untold: bool
) -> dict[str, Any]:
    from onesec import __version__
    from onesec.bench.serve_bench import client_of, meet, run
    from onesec.core.clock import MonotonicClock
    from onesec.core.slices import run_soon
    from onesec.machine import describe

    run_soon()  # as a client elsewhere would: the server may be on this machine
    clock = MonotonicClock()
    client = client_of(url, clock, os.environ.get("ONESEC_API_KEY", ""))
    try:
        target = await meet(client, clock)
        if untold:
            target = replace(target, tells=False)
        prompts = _prompts(target, suite, traffic, Random(course.seed))
        with progress("load") as advance:
            found = await run(
                client,
                clock,
                target,
                prompts,
                course,
                lambda name, share: advance(share) if advance else None,
            )
    finally:
        client.close()
    return {
        "model": target.model,
        "url": url,
        "tells": target.tells,
        "onesec": __version__,
        "machine": describe(),
        "seed": course.seed,
        "seconds": course.seconds,
        "slo": asdict(course.slo),
        "arrivals": "traffic" if course.trace else "bursts" if course.burst else "poisson",
        **found,
    }


def _prompts(target: Target, suite: str, traffic: Path | None, rng: Random) -> list[Prompt]:
    from onesec.bench.serve_prompts import of_items, of_lengths
    from onesec.compress.suite import find_suite, read_suite

    if traffic is None:
        return of_items(read_suite(find_suite(suite)), target.model, rng)
    longest = target.context or _USUAL_CONTEXT
    return of_lengths(traffic, target.model, longest=longest, count=_PROMPTS, rng=rng)


def _numbers(text: str) -> tuple[float, ...]:
    try:
        found = tuple(float(word) for word in text.split(","))
    except ValueError:
        found = ()
    if not found or not all(0.0 < load < inf for load in found):
        raise click.UsageError(f"--load takes numbers like {_LOADS}, not {text!r}.")
    return found

"""Baselines: what others would have done with the same model, machine and time.

One full-length run in each gear, with the instant of every token, gives the outcome at any budget
of everything that does not look at the clock on its way. It must not know engines.
"""

from __future__ import annotations

from onesec.budget.latency import P50, LatencyModel
from onesec.budget.length import LengthModel

from .drive import FullRun, Outcome

Runs = dict[str, FullRun]  # by gear, from the cheapest to the best


def static(run: FullRun, budget_ms: float) -> Outcome:
    """One gear for everything; the client gives up at the deadline: a late answer is lost."""
    in_time = run.elapsed_ms <= budget_ms
    return Outcome(
        question=run.question,
        budget_ms=budget_ms,
        reply=run.reply,
        tokens=len(run.token_ms),
        elapsed_ms=run.elapsed_ms,
        ending="natural" if run.natural and in_time else "cut",
        gears={run.gear: len(run.token_ms)},
        ttft_ms=run.token_ms[0] if run.token_ms else None,
        value=run.value if in_time and run.natural else 0.0,
    )


def capped(run: FullRun, budget_ms: float, latency: LatencyModel) -> Outcome:
    """max_tokens = (T - TTFT) / TPOT, with medians: what a careful client computes beforehand."""
    prompt = len(run.question.prompt_tokens)
    ttft_ms = latency.prefill_ms(run.gear, prompt, quantile=P50)
    tokens = 1 + int(max(0.0, budget_ms - ttft_ms) / latency.step_ms(run.gear, prompt))
    if len(run.token_ms) <= tokens:
        return static(run, budget_ms)
    return Outcome(
        question=run.question,
        budget_ms=budget_ms,
        tokens=tokens,
        elapsed_ms=run.token_ms[tokens - 1],
        ending="cut",
        gears={run.gear: tokens},
        ttft_ms=run.token_ms[0],
    )


def one_shot(
    runs: Runs, budget_ms: float, latency: LatencyModel, length: LengthModel, pessimism: float
) -> Outcome:
    """The best gear whose time for `pessimism` times the predicted length fits, chosen once, and a
    late answer is lost (arXiv 2512.21859, with gears in place of cache eviction)."""
    best = next(reversed(runs.values()))
    question = best.question
    prompt = len(question.prompt_tokens)
    tokens = round(pessimism * length.quantile(0.5, cues=question.cues))
    if question.params.max_tokens is not None:
        tokens = min(tokens, question.params.max_tokens)
    for gear in reversed(runs):
        need_ms = latency.prefill_ms(gear, prompt, quantile=P50)
        need_ms += latency.decode_ms(gear, prompt, tokens - 1, quantile=P50)
        if need_ms <= budget_ms:
            return static(runs[gear], budget_ms)
    return static(next(iter(runs.values())), budget_ms)


def oracle(runs: Runs, budget_ms: float) -> Outcome:
    """The best gear whose answer ends in time, known beforehand: what no planner can pass."""
    in_time = [run for run in runs.values() if run.natural and run.elapsed_ms <= budget_ms]
    run = in_time[-1] if in_time else next(iter(runs.values()))
    return static(run, budget_ms)

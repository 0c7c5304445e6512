"""`onesec verify`: does this model work here? Loads it, checks what can be checked, and says so.

Each gear is measured against the 16-bit width on a short built-in text, where that is at hand.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

import click

from .evaluate import REFERENCE_GEAR, draw_quality, measure_gears
from .options import engine_options, engine_values, json_option, model_argument
from .output import emit_json, note, progress, shown, table
from .profile import draw_latency, latency_record

if TYPE_CHECKING:
    from onesec.llm import LLM
    from onesec.loading import LoadedModel

PROMPT = "Once upon a time"
QUESTION = "Hello! How are you?"
ANSWER_TOKENS = 48
# Plain English, which nearly every model knows something of.
TEXT = """The harbour was quiet in the early morning. Two fishermen mended their nets on the stones,
and a grey cat watched them with half-closed eyes. "The wind will turn before noon," said the older
one. "Then we should go now," answered the other, "or stay at home and repair the roof." They looked
at the sky for a while. In the end they pushed the boat into the water, because the roof could wait
and the fish could not. When they came back, the cat was still there. It had not moved, but it knew
exactly what was in the basket.
"""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    passed: bool
    detail: str


def _round_trip(loaded: LoadedModel) -> Check:
    """Text to tokens and back; a vocabulary without some characters may lose them."""
    sample = TEXT.splitlines()[0]
    ids = loaded.tokenizer.encode(sample)
    text = loaded.tokenizer.decode(ids)
    passed = text.strip() == sample
    detail = f"{len(ids)} tokens" if passed else f"came back as {text[:60]!r}"
    return Check("tokenizer", passed, detail)


def _template(loaded: LoadedModel) -> Check:
    """The rendered question holds the question and ends where the assistant speaks."""
    if loaded.template is None:
        return Check("chat template", True, "none: a text completion model")
    text = loaded.tokenizer.decode(
        loaded.render([{"role": "user", "content": QUESTION}]), skip_special=False
    )
    return Check("chat template", QUESTION in text, f"ends with {text[-24:]!r}")


def _answer(llm: LLM, gear: str) -> tuple[str, Check]:
    """Greedy, twice: the same words must come."""
    from onesec.core.request import SamplingParams

    greedy = SamplingParams(max_tokens=ANSWER_TOKENS)
    texts = []
    for _ in range(2):
        if llm.has_chat_template:
            output = llm.chat([{"role": "user", "content": QUESTION}], params=greedy, gear=gear)
        else:
            output = llm.generate(PROMPT, params=greedy, gear=gear)
        texts.append(output.text)
    passed = texts[0] == texts[1] and bool(texts[0].strip())
    detail = "repeatable" if passed else f"{texts[0][:40]!r} and {texts[1][:40]!r}"
    return texts[0], Check(f"answer in gear {gear}", passed, detail)


def _sound(records: list[dict[str, Any]], reference: dict[str, Any] | None) -> Check:
    """Perplexities are finite, and 8 bit is as good as 16 within measurement."""
    if not all(isfinite(record["perplexity"]) for record in records):
        return Check("accuracy", False, "perplexity is not finite")
    best = records[-1]
    if reference is None:
        return Check("accuracy", True, "no 16-bit width at hand to compare with")
    passed = bool(best["kld_mean"] < 0.05 and best["same_top"] > 0.9)
    return Check(
        "accuracy",
        passed,
        f"gear {best['gear']}: KL divergence {best['kld_mean']:.2g} nats, "
        f"same likeliest token {best['same_top']:.1%}",
    )


@click.command("verify")
@model_argument
@engine_options
@json_option
def command(model: str, as_json: bool, **options: Any) -> None:
    """Check that MODEL works here: load, tokens, template, gears, an answer. 自检

    Ends with exit code 1 when a check fails.
    """
    from onesec.core.clock import MonotonicClock
    from onesec.llm import LLM
    from onesec.loading import count_gears, find_model, load_model
    from onesec.model.artifact import is_artifact

    from .measure import finest

    engine = engine_values(options)
    clock = MonotonicClock()
    begin_ns = clock.now_ns()
    with progress(f"loading {model}") as advance:
        loaded = load_model(
            model,
            sequences=count_gears(find_model(model)) + 2,  # the reference, and one beyond
            **engine,
            reference=not is_artifact(find_model(model)),
            progress=advance,
        )
    load_ms = (clock.now_ns() - begin_ns) / 1e6
    with loaded:
        gears = [gear.name for gear in loaded.backend.gears if gear.name != REFERENCE_GEAR]
        base = loaded if len(gears) < len(loaded.backend.gears) else None
        # On a CPU also what 8 bits can do at best, which `compress` may make a gear of.
        best = finest(loaded.backend.gears) if engine["device"] == "cpu" else ()
        quality, reference = measure_gears(
            loaded,
            gears + [gear.name for gear in best],
            TEXT,
            window=loaded.context_length,
            reference=base,
            label="measuring",
        )
        latency = loaded.measure_latency(clock, "fresh")
        speed = [latency_record(latency, name) for name in gears]
        checks = [Check("load", True, f"{load_ms:.0f} ms"), _round_trip(loaded), _template(loaded)]
        checks.append(_sound(quality[: len(gears)], reference))
        with LLM.over(loaded) as llm:
            answers = {}
            for gear in gears:
                answers[gear], check = _answer(llm, gear)
                checks.append(check)
    passed = all(check.passed for check in checks)
    if as_json:
        emit_json(
            {
                "model": model,
                "passed": passed,
                "checks": [asdict(check) for check in checks],
                "quality": quality,
                "reference": reference,
                "latency": speed,
                "answers": answers,
            }
        )
    else:
        rows = [(check.name, "ok" if check.passed else "FAILED", check.detail) for check in checks]
        table("", ("check", "", "what"), rows, numbers=False, folded=("what",))
        draw_quality("accuracy on a short text", [*quality, *filter(None, [reference])])
        draw_latency("time in ms, median / p95", speed)
        question = QUESTION if loaded.template else PROMPT
        print(shown(f"{question} → {answers[gears[-1]].strip()}"))
        note(f"{model} works here. 可用" if passed else f"{model}: a check failed. 未通过")
    if not passed:
        raise click.exceptions.Exit(1)

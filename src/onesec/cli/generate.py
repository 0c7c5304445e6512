"""`onesec generate`: one prompt, one answer, within a deadline."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from onesec.core.errors import EmptyPrompt, OneSecError

from .attribution import draw_attribution
from .explain import keep_last
from .options import (
    best_effort_option,
    budget_options,
    budget_value,
    engine_options,
    engine_values,
    fit_option,
    gear_option,
    json_option,
    min_gear_option,
    model_argument,
    policy_option,
    sampling_options,
    sampling_values,
)
from .output import emit_json, for_stdout, note, progress
from .tint import confidence_option, print_tinted

if TYPE_CHECKING:
    from onesec.core.fitted import Fitting
    from onesec.llm import LLM
    from onesec.output import Output, Stream

DEFAULT_MAX_TOKENS = 512  # without a deadline nothing else ends a model that does not stop


def summary(output: Output) -> str:
    """One line on how an answer came about: time, gears, ending."""
    trace = output.trace
    gears = "+".join(f"{name}:{count}" for name, count in trace.gears.items())
    parts = [
        f"{output.elapsed_ms:.0f}{_of(trace.budget_ms, 0)} ms",
        f"{len(output.tokens)} tokens",
        f"gear {gears or '-'}",
        output.ending,
    ]
    if trace.budget_ttft_ms is not None and trace.ttft_ms is not None:
        parts.append(f"first after {trace.ttft_ms:.1f}{_of(trace.budget_ttft_ms, 1)} ms")
    if trace.budget_tpot_ms is not None and trace.tpot_ms is not None:
        parts.append(f"{trace.tpot_ms:.2f}{_of(trace.budget_tpot_ms, 2)} ms a token")
    if output.fitted is not None:
        parts.append(f"prompt {output.fitted.tokens_before}→{output.fitted.tokens_after} tokens")
    chosen = {key: value for key, value in trace.sampling.items() if key != "max_tokens"}
    if chosen:
        parts.append(" ".join(f"{key}={value}" for key, value in chosen.items()))
    if output.met is not None:
        parts.append("in time" if output.met else "LATE")
    return "[" + " · ".join(parts) + "]"


def _of(budget_ms: float | None, digits: int) -> str:
    return "" if budget_ms is None else f" of {budget_ms:.{digits}f}"


@click.command("generate")
@model_argument
@click.argument("prompt")
@budget_options
@gear_option
@min_gear_option
@policy_option
@best_effort_option
@fit_option
@sampling_options
@click.option("--system", metavar="TEXT", help="System message. 系统提示")
@click.option("--raw", is_flag=True, help="Continue the text as it is, without a chat template.")
@click.option(
    "--stream/--no-stream", default=None, help="Print while generating (default on a terminal)."
)
@click.option("--show", is_flag=True, help="Add a line with time, gears and ending. 显示用时")
@confidence_option
@click.option(
    "--attribute",
    metavar="[TIME]",
    is_flag=False,
    flag_value="5s",
    help="Then tell within TIME (5s) which sentences carried the answer. 归因",
)
@click.option("--prompt-logprobs", is_flag=True, help="With --json: of each prompt token.")
@engine_options
@json_option
def command(
    model: str,
    prompt: str,
    gear: str | None,
    min_gear: str | None,
    policy: str,
    best_effort: bool,
    fit: Fitting,
    system: str | None,
    raw: bool,
    stream: bool | None,
    show: bool,
    confidence: bool,
    attribute: str | None,
    prompt_logprobs: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Answer PROMPT ("-" reads stdin) with MODEL. 回答一个提示

    The budget runs from the moment the model is loaded and the prompt is handed over. Sampling
    options left out are the model's own, from its generation_config.json.
    """
    from onesec.core.deadline import parse_duration_ms
    from onesec.core.request import SamplingParams

    from .application import read_text

    budget, values, engine = budget_value(options), sampling_values(options), engine_values(options)
    if attribute is not None:
        parse_duration_ms(attribute)  # refuse nonsense before a model is loaded
    SamplingParams(**values)
    if prompt_logprobs and not as_json:
        raise click.UsageError("--prompt-logprobs needs --json.")
    if raw and system is not None:
        raise click.UsageError("--system needs the chat template, which --raw leaves out.")
    text = read_text("-") if prompt == "-" else prompt
    if not (text if raw else text.strip()):
        raise EmptyPrompt("The prompt is empty. 提示是空的。", hint="Write something.")
    values |= {"prompt_logprobs": True} if prompt_logprobs else {}
    values |= {"logprobs": 0} if confidence else {}
    values |= {"deadline": budget, "gear": gear, "min_gear": min_gear}
    values |= {"policy": policy, "best_effort": best_effort, "fit": fit}
    hurry = budget.limited or attribute is not None
    with load_llm(model, engine, needs_16=gear == "16", hurry=hurry) as llm:
        asked = _asked(llm, text, system, raw)
        with _start(llm, asked, **bounded(llm, values)) as run:
            if stream is None:
                stream = sys.stdout.isatty()
            live = stream and not as_json and not confidence  # marks need the whole answer's gears
            for piece in run:
                if live:
                    print(for_stdout(piece), end="", flush=True)
            output = run.output
        keep_last(output.trace.to_dict())
        if not as_json:
            _print(output, live=live, confidence=confidence)
            if show:
                note(summary(output))
        found = None
        if attribute is not None and output.tokens:
            try:
                found = llm.attribute(asked, output, deadline=attribute)
            except OneSecError:
                if as_json:  # the answer is there
                    emit_json(output.to_dict())
                raise
    if as_json:
        more = {} if found is None else {"attribution": found.to_dict()}
        emit_json(output.to_dict() | more)
    elif found is not None:
        draw_attribution(found)


def _print(output: Output, *, live: bool, confidence: bool) -> None:
    """The answer, or, where it was printed as it came, its end."""
    if confidence:
        print_tinted(output)
    else:
        print("" if live else for_stdout(output.text))


def load_llm(model: str, engine: dict[str, Any], *, needs_16: bool, hurry: bool = True) -> LLM:
    """The model, with a bar on the terminal while it loads; `engine`: see engine_values. The
    process is the command's own, and so is its garbage collector. Where no answer has a deadline
    (`hurry` False), the kept latency model need not be checked: it starts sooner."""
    from onesec.llm import LLM

    with progress(f"loading {model}") as advance:
        return LLM(
            model,
            reference=needs_16,
            profile="checked" if hurry else "kept",
            quiet_gc=hurry,
            progress=advance,
            **engine,
        )


def bounded(llm: LLM, options: dict[str, Any]) -> dict[str, Any]:
    """`options` of an answer with an end: where neither they nor the model set one, a longest
    answer is added."""
    if options["deadline"].total_ms is None and llm.default_params.max_tokens is None:
        return {"max_tokens": DEFAULT_MAX_TOKENS, **options}
    return options


def _asked(llm: LLM, text: str, system: str | None, raw: bool) -> str | list[dict[str, str]]:
    """A chat turn where the model has a template, else the text as it is. Raises InvalidRequest
    where there is a system message and no template for it."""
    if raw or not llm.has_chat_template:
        if system is not None:
            from onesec.core.errors import InvalidRequest

            raise InvalidRequest(
                "This model has no chat template, which --system needs.",
                hint="Put what it says into the prompt.",
            )
        return text
    messages = [{"role": "user", "content": text}]
    return messages if system is None else [{"role": "system", "content": system}, *messages]


def _start(llm: LLM, asked: str | list[dict[str, str]], **options: Any) -> Stream:
    if isinstance(asked, str):
        return llm.stream(asked, **options)
    return llm.chat(asked, stream=True, **options)

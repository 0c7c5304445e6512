"""Options and values that several verbs share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from onesec.core.request import POLICY_NAMES

if TYPE_CHECKING:
    from onesec.core.deadline import Budget

Command = TypeVar("Command", bound=Callable[..., Any])

model_argument = click.argument("model")
model_option = click.option(
    "--model", default="onesec-mini", show_default=True, help="Model to use. 模型"
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
threads_option = click.option(
    "--threads", type=click.IntRange(min=1), help="CPU threads (default: all allowed). 线程数"
)
context_option = click.option(
    "--context", type=click.IntRange(min=16), help="Tokens the cache holds. 上下文长度"
)
kv_option = click.option(
    "--kv-dtype",
    type=click.Choice(["f16", "i8", "f32"]),
    default="f16",
    show_default=True,
    help="Cache element type; i8 halves its memory. 缓存类型",
)
device_option = click.option(
    "--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N (onesec[gpu]). 设备"
)
deadline_option = click.option(
    "--deadline",
    metavar="TIME",
    help='Whole answer within TIME: "800ms", "1.5s"; a number alone is seconds; '
    "at most 10min. 时延预算",
)

fit_option = click.option(
    "--fit",
    type=click.Choice(["none", "drop_oldest", "extract"]),
    default="none",
    show_default=True,
    help="Shorten a prompt that has no time: drop old turns, or keep what is asked. 缩短提示",
)


gear_option = click.option("--gear", help="Keep to this gear (default: the planner chooses). 档位")
min_gear_option = click.option("--min-gear", help="Never below this gear. 最低档位")
best_effort_option = click.option(
    "--best-effort",
    is_flag=True,
    help="Refuse nothing; answer with what is there by then. 尽力而为",
)
policy_option = click.option(
    "--policy",
    type=click.Choice(POLICY_NAMES),
    default="balanced",
    show_default=True,
    help="What the time is for: the best gear that fits, or to be done soon. 策略",
)


def budget_options(command: Command) -> Command:
    """--deadline, --ttft and --tpot: see budget_value."""
    options = (
        deadline_option,
        click.option("--ttft", metavar="TIME", help="First token within TIME. 首词元时延"),
        click.option("--tpot", metavar="TIME", help="Mean TIME of each further token. 每词元时延"),
    )
    for option in reversed(options):
        command = option(command)
    return command


def budget_value(options: dict[str, Any]) -> Budget:
    """Take the budget options out of `options`. Raises InvalidRequest."""
    from onesec.core.deadline import Budget, parse_duration_ms

    names = {"deadline": "total_ms", "ttft": "ttft_ms", "tpot": "tpot_ms"}
    given = {field: options.pop(name) for name, field in names.items()}
    return Budget(**{field: parse_duration_ms(v) for field, v in given.items() if v is not None})


def output_option(what: str) -> Callable[[Command], Command]:
    """-o, --output: the path that a verb writes; `what` says what that is."""
    path = click.Path(path_type=Path)
    return click.option("-o", "--output", required=True, type=path, help=what)


def need_place(option: str, path: Path) -> None:
    """Raise UsageError where a file cannot be made: better now than after minutes of measuring."""
    if path.is_dir():
        raise click.UsageError(f"{option}: {path} is a folder. 这是文件夹。")
    if not path.parent.is_dir():
        raise click.UsageError(f"{option}: there is no folder {path.parent}. 没有这个文件夹。")


def engine_options(command: Command) -> Command:
    """--device, --threads, --context and --kv-dtype: see engine_values."""
    for option in (kv_option, context_option, threads_option, device_option):
        command = option(command)
    return command


def engine_values(options: dict[str, Any]) -> dict[str, Any]:
    """Take the engine options out of `options`, as load_model's names."""
    return {name: options.pop(name) for name in ("device", "threads", "context", "kv_dtype")}


def app_options(command: Command) -> Command:
    """What the applications share: model, deadline, gears, engine, --show and --json."""
    options = (
        model_option,
        click.option(
            "--deadline",
            metavar="TIME",
            help='Whole answer within TIME: "800ms", "1.5s"; a number alone is seconds; '
            "at most 10min (default: 1s). 时延预算",
        ),
        gear_option,
        min_gear_option,
        policy_option,
        engine_options,
        click.option("--show", is_flag=True, help="Add a line with time and ending. 显示用时"),
        json_option,
    )
    for option in reversed(options):
        command = option(command)
    return command


def sampling_options(command: Command) -> Command:
    """The values of SamplingParams that a person sets on a command line."""
    options = (
        click.option("--max-tokens", type=click.IntRange(min=1), help="Longest answer. 最长回答"),
        click.option("--temperature", type=float, help="0 is greedy. 温度"),
        click.option("--top-p", type=float, help="Nucleus share of the probability."),
        click.option("--top-k", type=int, help="Best k tokens only; 0 = all."),
        click.option("--min-p", type=float, help="Least share of the best token's probability."),
        click.option("--repetition-penalty", type=float, help="1 = none. 重复惩罚"),
        click.option("--seed", type=click.IntRange(min=0), help="Repeatable sampling. 随机种子"),
        click.option("--stop", multiple=True, help="Text that ends the answer; repeatable. 停止词"),
    )
    for option in reversed(options):
        command = option(command)
    return command


def sampling_values(options: dict[str, Any]) -> dict[str, Any]:
    """Take the sampling options that were given out of `options`, as SamplingParams' names."""
    names = (
        "max_tokens",
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "repetition_penalty",
        "seed",
        "stop",
    )
    taken = {name: options.pop(name) for name in names}
    return {name: value for name, value in taken.items() if value not in (None, ())}

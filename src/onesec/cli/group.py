"""The command group: the list of verbs with their one-line help, each imported only when called."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module

import click

from onesec import __version__

VERBS = {
    "demo": "Show the four applications, each within a deadline. 演示",
    "generate": "Answer one prompt, within a deadline. 回答一个提示",
    "chat": "Talk with a model, streaming. 对话",
    "serve": "Serve a model to OpenAI clients, with deadlines. 服务",
    "support": "Answer customers from your own FAQ. 智能客服",
    "translate": "Translate English and Chinese, sentence by sentence. 翻译",
    "answer": "Answer a question from a text of any length. 文档问答",
    "summarize": "Summarize a text in the length you say. 摘要",
    "evaluate": "Measure what a gear costs: on a text, or on questions. 测量精度",
    "confidence": "Are tokens right as often as the model is sure? 置信度校准",
    "explain": "Tell the story of one answer. 解释一次回答",
    "verify": "Check that a model loads, speaks and how its gears do. 自检",
    "profile": "Fit and show the latency model of this machine. 时延模型",
    "compress": "Find the gears that lose least for their time. 压缩",
    "show": "Tell what an artifact holds: gears, losses, recipe. 查看",
    "export": "Write a model for other engines: GGUF, compressed-tensors. 导出",
    "pack": "Save a model as an artifact that loads at once. 打包",
    "bench": "Measure speed, deadlines kept, a server under load. 测量",
    "models": "List the models at hand. 可用模型",
    "doctor": "Look at this machine: CPU, memory, threads. 体检",
}


class LazyGroup(click.Group):
    """A group whose commands are the modules of this package, `command` in each. `verbs` are their
    names with their one-line help; a module's name begins with `prefix`."""

    verbs: Mapping[str, str] = VERBS
    prefix = ""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.verbs:
            return None
        module = import_module(f"{__package__}.{self.prefix}{cmd_name}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            close = get_close_matches(args[0], self.verbs, 1)
            meant = f" Did you mean {close[0]}?" if close else ""
            ctx.fail(f"There is no command {args[0]!r}.{meant}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(self.verbs.items()))


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="MODEL is a folder, a .gguf file, a Hugging Face name, or onesec-mini.",
)
@click.version_option(__version__, "-V", "--version", message="onesec %(version)s")
def group() -> None:
    """OneSec 秒级推理: LLM inference that keeps its deadline."""

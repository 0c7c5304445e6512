"""`onesec bench`: what is measured: speed, deadlines, and records of step times.

`onesec bench MODEL` measures speed: the verb that is meant most often needs no name.
"""

from __future__ import annotations

from importlib import import_module

import click

KINDS = {
    "speed": "Speed of MODEL or a shape, against the memory bandwidth. 测速",
    "deadlines": "Are deadlines kept, and what are answers worth then? 时延基准",
    "record": "Record step times of a shape, to be replayed by deadlines. 录制",
}


class _Bench(click.Group):
    """Its commands are the modules `bench_*`, each imported only when called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(KINDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in KINDS:
            return None
        command: click.Command = import_module(f"{__package__}.bench_{cmd_name}").command
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*KINDS, *ctx.help_option_names):
            args = ["speed", *args]
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(KINDS.items()))


@click.group("bench", cls=_Bench)
def command() -> None:
    """Measure. 测量

    `onesec bench MODEL` is `onesec bench speed MODEL`.
    """

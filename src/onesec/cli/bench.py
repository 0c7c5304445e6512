"""`onesec bench`: what is measured: speed, deadlines, a server under load, records of step times.

`onesec bench MODEL` measures speed: the verb that is meant most often needs no name.
"""

from __future__ import annotations

import click

from .group import LazyGroup

KINDS = {
    "speed": "Speed of MODEL or a shape, against the memory bandwidth. 测速",
    "deadlines": "Are deadlines kept, and what are answers worth then? 时延基准",
    "serve": "What a server does for its users under load. 服务负载",
    "record": "Record step times of a shape, to be replayed by deadlines. 录制",
}


class _Bench(LazyGroup):
    """Its commands are the modules `bench_*`."""

    verbs = KINDS
    prefix = "bench_"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*KINDS, *ctx.help_option_names):
            args = ["speed", *args]
        return super().parse_args(ctx, args)


@click.group("bench", cls=_Bench)
def command() -> None:
    """Measure. 测量

    `onesec bench MODEL` is `onesec bench speed MODEL`.
    """

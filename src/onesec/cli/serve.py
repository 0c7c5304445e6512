"""`onesec serve`: a model for OpenAI clients over HTTP, every request within its deadline."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

import click

from .options import engine_options, engine_values, model_argument
from .output import note

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
# First token and whole answer: what users of such applications wait for without noticing.
_SLO_MS = {"chat": 5000.0, "rag": 3000.0, "agent": 5000.0, "complete": 2000.0}


@click.command("serve")
@model_argument
@click.option(
    "--budget", metavar="TIME", help='Where a request names none: "1s", "800ms". 默认预算'
)
@click.option(
    "--slo", type=click.Choice(list(_SLO_MS)), help="Usual: chat, agent 5s, rag 3s, complete 2s."
)
@click.option("--max-budget", metavar="TIME", default="10min", show_default=True, help="The cap.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on. 地址")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: any. 端口"
)
@click.option(
    "--api-key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with one key a line; else ONESEC_API_KEY. 密钥文件",
)
@click.option("--allowed-host", multiple=True, metavar="NAME", help="More names for this server.")
@click.option("--insecure", is_flag=True, help="Other addresses than loopback, without a key.")
@click.option(
    "--max-tokens", type=click.IntRange(min=1), default=1024, show_default=True,
    help="Of an answer, where a request names no limit. 默认最长回答",
)  # fmt: skip
@click.option("--max-rows", type=click.IntRange(1, 64), default=8, show_default=True,
    help="Requests that compute at once. 并发",
)  # fmt: skip
@click.option(
    "--max-waiting", type=click.IntRange(0, 4096), default=64, show_default=True,
    help="Requests that may wait; more are refused. 队列上限",
)  # fmt: skip
@click.option(
    "--sequences",
    type=click.IntRange(1, 64),
    help="Whole contexts that the cache holds, for all requests together (default: what an eighth "
    "of the free memory holds, at most 256 MiB). 缓存",
)
@click.option("--page/--no-page", default=True, help="Whether there is a page at /. 网页")
@click.option(
    "--drain-delay", metavar="TIME", help="Keep taking requests for so long after SIGTERM."
)
@engine_options
def command(
    model: str,
    budget: str | None,
    slo: str | None,
    max_budget: str,
    host: str,
    port: int,
    api_key_file: Path | None,
    allowed_host: tuple[str, ...],
    insecure: bool,
    max_tokens: int,
    max_rows: int,
    max_waiting: int,
    sequences: int | None,
    page: bool,
    drain_delay: str | None,
    **options: Any,
) -> int:
    """Serve MODEL to OpenAI clients, every answer within its deadline. 服务

    A client changes its base URL to http://HOST:PORT/v1 and adds the field deadline_ms.
    """
    from onesec.core.deadline import parse_duration_ms
    from onesec.core.errors import InvalidRequest

    try:
        from onesec.serve import wire
        from onesec.serve.door import Terms
        from onesec.serve.limits import Bounds
        from onesec.serve.server import Place, run
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("onesec"):
            raise
        raise InvalidRequest(
            f"{error.name} is not installed, and a server needs it. 缺少依赖。",
            hint='Install it: pip install "onesec[serve]" (in a checkout: ".[serve]").',
        ) from None
    if budget is not None and slo is not None:
        raise click.UsageError("--budget and --slo exclude each other.")
    default_ms = parse_duration_ms(budget) if budget else _SLO_MS.get(slo or "")
    keys = _keys(api_key_file)
    if host not in _LOOPBACK and not keys and not insecure:
        raise InvalidRequest(
            f"{host} can be reached from elsewhere, and no API key is set.",
            hint="Give --api-key-file, or --insecure if everybody may ask.",
        )
    engine = engine_values(options)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # which names peers and paths
    return run(
        wire.Start(
            model=model,
            sequences=sequences,
            max_rows=max_rows,
            max_waiting=max_waiting,
            **engine,
        ),
        terms=Terms(
            default_ms=default_ms,
            cap_ms=parse_duration_ms(max_budget),
            max_tokens=max_tokens,
            max_open=max_rows + max_waiting,
            page=page,
        ),
        bounds=Bounds(keys=keys, hosts=_hosts(host, allowed_host)),
        place=Place(
            host="127.0.0.1" if host == "localhost" else host,
            port=port,
            drain_delay_s=parse_duration_ms(drain_delay) / 1e3 if drain_delay else 0.0,
        ),
        say=note,
    )


def _keys(file: Path | None) -> tuple[bytes, ...]:
    """Digests of the keys. They come from a file or the environment: a command line is public."""
    from onesec.core.errors import InvalidRequest
    from onesec.serve.limits import key_digest

    given = os.environ.get("ONESEC_API_KEY", "")
    text = given if file is None else file.read_text("utf-8", "replace")
    keys = [line.strip() for line in text.splitlines() if line.strip()]
    if file is not None and not keys:
        raise InvalidRequest(f"{file} holds no key.", hint="Write one key a line.")
    if not all(key.isascii() for key in keys):  # a byte order mark is none either
        raise InvalidRequest("A key has letters that no header carries.", hint="Write ASCII.")
    return tuple(key_digest(key) for key in keys)


def _hosts(host: str, more: tuple[str, ...]) -> frozenset[str]:
    """Names that a Host header may have. Where the whole world may ask, nobody's page is kept out
    by its name; on loopback a page that claims another name is (DNS rebinding)."""
    if host not in _LOOPBACK and not more:
        return frozenset()
    return frozenset({*_LOOPBACK, *(name.lower() for name in (host, *more))})

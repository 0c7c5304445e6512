"""The workload every peer runs, its timing rules and its output: shared by the run_*.py scripts.

One process is one repeat of everything; it prints one JSON line. The numbers:

    decode      tokens/s of one sequence: 128-token prompt, 128 new tokens, greedy, over the 127
                intervals between the first and the last new token
    prefill512  prompt tokens/s of 512 fresh tokens (in-process peers: 512 / ttft512_s)
    ttft512_s   warm engine, 512 fresh tokens -> first new token; the better of two requests
    cold_s      process start -> first new token of a 128-token prompt: imports, load, repacking or
                compilation included; the files may be in the page cache
    seqs8       tokens/s summed over 8 sequences of 128 + 128 tokens run at once, decode phase only
    rss_mb      peak resident memory, mapped weights included, before the 8 sequences
    mb_token    MB (1e6) of weights that one decode step reads: the tensors of the file (embedding
                and output matrix are tied, so the whole file counts once)

Prompts are random token ids, different for every request, so that no prefix cache helps.
"""

import argparse
import json
import os
import random
import time
from pathlib import Path
from typing import Any

PROMPT, NEW, LONG, SEQS = 128, 128, 512, 8
METRICS = ("decode", "prefill512", "cold", "seqs8")

# Start of the process as seen by the one that started it, seconds since 1970.
STARTED = float(os.environ.get("PEER_T0") or time.time())
_random = random.Random(os.getpid())


def prompt(n: int) -> list[int]:
    """`n` random token ids."""
    return [_random.randrange(300, 20000) for _ in range(n)]


def arguments(about: str | None, model_help: str) -> argparse.ArgumentParser:
    """The options all run_*.py scripts share."""
    ap = argparse.ArgumentParser(description=about, formatter_class=argparse.RawTextHelpFormatter)
    ap.add_argument("model", type=Path, help=model_help)
    ap.add_argument("--label", default="", help="engine/shape/precision of the printed line")
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--metrics", default=",".join(METRICS), help="comma between")
    return ap


def peak_mb(pid: int | str = "self") -> float:
    """Peak resident set of a process, MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return round(int(line.split()[1]) * 1024 / 1e6)
    return 0.0


def rate(stamps: list[float], width: int = 1) -> float:
    """Tokens per second between the first and the last time stamp, `width` tokens a step."""
    return width * (len(stamps) - 1) / (stamps[-1] - stamps[0])


def report(label: str, **numbers: float) -> None:
    """Print the line of this repeat."""
    line: dict[str, Any] = {"label": label}
    line.update({k: float(f"{v:.5g}") for k, v in numbers.items()})
    print(json.dumps(line), flush=True)

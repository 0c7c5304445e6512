#!/usr/bin/env python3
"""llama.cpp through its own programs, at its best settings: repacking and flash attention as they
default, as many threads as CPUs.

llama-bench gives prefill and decode, llama-batched-bench the 8 sequences, llama-server (loopback)
cold start, time to the first token and memory.

    python run_llamacpp.py WORK/gguf/qwen0.5b-Q4_0.gguf --bin BIN [-- further llama.cpp options]
"""

import http.client
import json
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from workload import LONG, NEW, PROMPT, SEQS, arguments, peak_mb, prompt, report


def run(command: list[str]) -> str:
    """A program's standard output."""
    return subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, text=True
    ).stdout


def llama_bench(base: list[str], test: list[str]) -> tuple[float, int]:
    """Tokens per second of one llama-bench test, bytes of the model's tensors."""
    row: dict[str, Any] = json.loads(run([*base, "-r", "1", "-o", "json", *test]))[-1]
    return row["samples_ts"][0], row["model_size"]


def batched_bench(base: list[str]) -> float:
    """Decode tokens per second of all sequences together."""
    sizes = ["-npp", str(PROMPT), "-ntg", str(NEW), "-npl", str(SEQS)]
    for line in run([*base, "-c", str(2 * SEQS * (PROMPT + NEW)), *sizes]).splitlines():
        cells = [c.strip() for c in line.split("|")]
        if len(cells) > 8 and cells[1:4] == [str(PROMPT), str(NEW), str(SEQS)]:
            return float(cells[8])  # S_TG t/s
    raise SystemExit("llama-batched-bench printed no row")


def first_token(port: int, ids: list[int]) -> tuple[float, float]:
    """Times of a request's start and of its first token."""
    body = {
        "prompt": ids,
        "n_predict": 2,
        "stream": True,
        "cache_prompt": False,
        "temperature": 0,
        "ignore_eos": True,
    }
    http_ = http.client.HTTPConnection("127.0.0.1", port)
    start = time.time()
    http_.request("POST", "/completion", json.dumps(body), {"Content-Type": "application/json"})
    answer = http_.getresponse()
    if answer.status != 200:  # 503 while the model loads
        raise ConnectionRefusedError
    while not answer.readline().startswith(b"data:"):
        pass
    end = time.time()
    answer.read()
    http_.close()
    return start, end


def free_port() -> int:
    """A port of this machine on which nobody listens."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def server(command: list[str], threads: int) -> dict[str, float]:
    """Cold start, time to first token and memory of llama-server."""
    port = free_port()
    command = [*command, "-tb", str(threads), "-c", "1024", "-np", "1", "--no-warmup", "--offline"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    start = time.time()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                cold = first_token(port, prompt(PROMPT))[1] - start
                break
            except (ConnectionRefusedError, ConnectionResetError):
                if process.poll() is not None:
                    raise SystemExit("llama-server ended early") from None
                time.sleep(0.01)
        waits = [end - begin for begin, end in (first_token(port, prompt(LONG)) for _ in range(3))]
        return {"cold_s": cold, "ttft512_s": min(waits[1:]), "rss_mb": peak_mb(process.pid)}
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    ap = arguments(__doc__, "GGUF file")
    ap.add_argument("--bin", type=Path, required=True, help="folder of llama.cpp's programs")
    ap.add_argument("extra", nargs="*", help="options for every llama.cpp program, after --")
    args = ap.parse_args()
    wanted = set(args.metrics.split(","))

    def program(name: str) -> list[str]:
        return [str(args.bin / name), "-m", str(args.model), "-t", str(args.threads), *args.extra]

    out: dict[str, float] = {}
    if "prefill512" in wanted:
        test = ["-p", str(LONG), "-n", "0"]
        out["prefill512"], size = llama_bench(program("llama-bench"), test)
        out["mb_token"] = size / 1e6
    if "decode" in wanted:
        test = ["-p", "0", "-n", str(NEW), "-d", str(PROMPT)]
        out["decode"], size = llama_bench(program("llama-bench"), test)
        out["mb_token"] = size / 1e6
    if "seqs8" in wanted:
        out["seqs8"] = batched_bench(program("llama-batched-bench"))
    if "cold" in wanted:
        out.update(server(program("llama-server"), args.threads))
    report(args.label, **out)


if __name__ == "__main__":
    main()

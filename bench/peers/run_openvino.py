#!/usr/bin/env python3
"""OpenVINO GenAI on the CPU: LLMPipeline, and ContinuousBatchingPipeline for the 8 sequences.

    python run_openvino.py WORK/ov/qwen0.5b-int4 [PROPERTY=VALUE ...]

for example INFERENCE_PRECISION_HINT=f32 DYNAMIC_QUANTIZATION_GROUP_SIZE=32: slower prefill and, for
4-bit weights on machines whose bf16 decode is slow, faster decode.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import openvino_genai as genai
from workload import LONG, NEW, PROMPT, SEQS, STARTED, arguments, peak_mb, prompt, rate, report


class Stamps(genai.StreamerBase):
    """Keeps the time of every token."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def write(self, token: int | list[int]) -> genai.StreamingStatus:
        count = len(token) if isinstance(token, list) else 1
        self.times += [time.time()] * count
        return genai.StreamingStatus.RUNNING

    def end(self) -> None:
        pass


def greedy(new: int) -> genai.GenerationConfig:
    """Exactly `new` tokens, no sampling."""
    config = genai.GenerationConfig()
    config.max_new_tokens = config.min_new_tokens = new
    config.ignore_eos = True
    config.do_sample = False
    return config


def generate(pipe: genai.LLMPipeline, ids: list[int], new: int) -> list[float]:
    """Times of the new tokens."""
    tokens = np.array([ids], dtype=np.int64)
    stamps = Stamps()
    inputs = genai.TokenizedInputs(ov.Tensor(tokens), ov.Tensor(np.ones_like(tokens)))
    pipe.generate(inputs, greedy(new), stamps)
    return stamps.times


def eight(model: Path, properties: dict[str, Any]) -> float:
    """Decode tokens per second of all sequences together; the second of two rounds."""
    scheduler = genai.SchedulerConfig()
    scheduler.cache_size = 1
    scheduler.max_num_seqs = SEQS
    scheduler.max_num_batched_tokens = 2048
    scheduler.enable_prefix_caching = False
    pipe = genai.ContinuousBatchingPipeline(str(model), scheduler, "CPU", properties)
    steps: list[float] = []
    for first in (0, SEQS):
        steps = []
        handles = [
            pipe.add_request(
                first + i, ov.Tensor(np.array([prompt(PROMPT)], dtype=np.int64)), greedy(NEW)
            )
            for i in range(SEQS)
        ]
        while pipe.has_non_finished_requests():
            pipe.step()
            steps.append(time.time())
        del handles
    # All prompts fit in the first step; every later one decodes a token of each sequence.
    return rate(steps, SEQS)


def main() -> None:
    ap = arguments(__doc__, "folder of optimum-cli export openvino")
    ap.add_argument("properties", nargs="*", metavar="PROPERTY=VALUE")
    args = ap.parse_intermixed_args()
    wanted = set(args.metrics.split(","))
    properties: dict[str, Any] = {"INFERENCE_NUM_THREADS": args.threads}
    for item in args.properties:
        key, _, value = item.partition("=")
        properties[key] = int(value) if value.isdigit() else value
    pipe = genai.LLMPipeline(str(args.model), "CPU", **properties)
    out = {"cold_s": generate(pipe, prompt(PROMPT), 1)[0] - STARTED}
    generate(pipe, prompt(PROMPT), 8)
    if "prefill512" in wanted:
        waits = []
        for _ in range(2):
            start = time.time()
            waits.append(generate(pipe, prompt(LONG), 1)[0] - start)
        out["ttft512_s"] = min(waits)
        out["prefill512"] = LONG / min(waits)
    if "decode" in wanted:
        times = generate(pipe, prompt(PROMPT), NEW)
        if len(times) != NEW:
            raise SystemExit(f"{len(times)} tokens instead of {NEW}")
        out["decode"] = rate(times)
    out["rss_mb"] = peak_mb()
    out["mb_token"] = (args.model / "openvino_model.bin").stat().st_size / 1e6
    del pipe
    if "seqs8" in wanted:
        out["seqs8"] = eight(args.model, properties)
    report(args.label, **out)


if __name__ == "__main__":
    main()

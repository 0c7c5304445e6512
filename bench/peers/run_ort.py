#!/usr/bin/env python3
"""onnxruntime-genai on the CPU.

python run_ort.py WORK/ort/qwen0.5b-int4
"""

import json
import time

import numpy as np
import onnxruntime_genai as genai
from workload import LONG, NEW, PROMPT, SEQS, STARTED, arguments, peak_mb, prompt, rate, report


def generate(model: genai.Model, batch: list[list[int]], new: int) -> list[float]:
    """Times of the decoding steps."""
    length = len(batch[0]) + new
    params = genai.GeneratorParams(model)
    params.set_search_options(
        do_sample=False, max_length=length, min_length=length, batch_size=len(batch)
    )
    generator = genai.Generator(model, params)
    generator.append_tokens(np.array(batch if len(batch) > 1 else batch[0], dtype=np.int32))
    times = []
    for _ in range(new):
        generator.generate_next_token()
        times.append(time.time())
    return times


def main() -> None:
    args = arguments(__doc__, "folder of onnxruntime_genai.models.builder").parse_args()
    wanted = set(args.metrics.split(","))
    config = genai.Config(str(args.model))
    options = {"session_options": {"intra_op_num_threads": args.threads}}
    config.overlay(json.dumps({"model": {"decoder": options}}))
    model = genai.Model(config)
    out = {"cold_s": generate(model, [prompt(PROMPT)], 1)[0] - STARTED}
    generate(model, [prompt(PROMPT)], 8)
    if "prefill512" in wanted:
        waits = []
        for _ in range(2):
            start = time.time()
            waits.append(generate(model, [prompt(LONG)], 1)[0] - start)
        out["ttft512_s"] = min(waits)
        out["prefill512"] = LONG / min(waits)
    if "decode" in wanted:
        out["decode"] = rate(generate(model, [prompt(PROMPT)], NEW))
    out["rss_mb"] = peak_mb()
    out["mb_token"] = (args.model / "model.onnx.data").stat().st_size / 1e6
    if "seqs8" in wanted:
        out["seqs8"] = rate(generate(model, [prompt(PROMPT) for _ in range(SEQS)], NEW), SEQS)
    report(args.label, **out)


if __name__ == "__main__":
    main()

"""Everything that only a GPU can show, in one run: correctness first, then speed. JSON and a table.

    python -m bench.gpu.check [--only tests,floors,speed,deadlines,peers] [--models NAME,...]

Results are written into the folder $ONESEC_GPU_RESULTS (bench/results where it is not set).
"""

from __future__ import annotations

import argparse
import datetime
import gc
import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from . import deadlines, floors, peers, speed

PARTS = ("tests", "floors", "speed", "deadlines", "peers")
MODELS = ("qwen2.5-0.5b", "llama-3.2-1b", "llama-3.1-8b")
ROOT = Path(__file__).parents[2]


def _tests() -> dict[str, Any]:
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "tests/gpu", "-q", "-rf", "--tb=short"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    print(done.stdout[-6000:], done.stderr[-2000:], flush=True)
    lines = done.stdout.strip().splitlines()
    return {"exit_code": done.returncode, "summary": lines[-1] if lines else ""}


def _floors() -> dict[str, Any]:
    floors.warm_up(2.0)
    return {
        "bandwidth_gb_s": floors.bandwidth_gb_s(),
        "graph_node_us": floors.node_us(),
        "matmul_tflops": floors.matmul_tflops(),
    }


def _speed(models: list[str], copy: float, save: Callable[[str, Any], None]) -> None:
    for name in models:
        backend = speed.open_shape(name, reference=True)
        floors.warm_up()
        for gear in reversed(backend.gears):
            jitter = 10_000 if (name, gear.name) == ("llama-3.2-1b", "8") else 0
            begin = time.perf_counter()
            found = speed.measure(backend, gear, copy, jitter=jitter)
            save(f"{name} at {gear.name} bits", found)
            print(f"{name:14} {gear.name:>2} bits: {_line(found)}", flush=True)
            print(f"    ({time.perf_counter() - begin:.1f} s)", flush=True)
        backend.close()
        del backend
        gc.collect()
        torch.cuda.empty_cache()


def _line(found: dict[str, Any]) -> str:
    jitter = found.get("jitter")
    prompts = ", ".join(f"{n}: {ms:.1f}" for n, ms in found["prompts_ms"].items())
    more = f"  p99/p50 {jitter['p99_over_p50']:.3f}" if jitter else ""
    return (
        f"step {found['step_ms']:.3f} ms ({found['share_of_copy']:.0%} of copy)  "
        f"batch 8 {found['batch8']:.2f}x  verify 8 {found['verify8']:.2f}x  "
        f"host {found['host_us']:.0f} us  prompts {prompts} ms{more}"
    )


def main() -> int:
    """Run the parts; 1 where one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--models", default=",".join(MODELS))
    args = parser.parse_args()
    parts, models = args.only.split(","), args.models.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"--only {', '.join(sorted(unknown))}: the parts are {', '.join(PARTS)}")
    if not torch.cuda.is_available():
        print("There is no CUDA device here: nothing was measured.")
        return 1
    folder = Path(os.environ.get("ONESEC_GPU_RESULTS") or ROOT / "bench" / "results")
    folder.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "date": datetime.date.today().isoformat(),
    }
    failed = []

    def save(name: str, value: Any) -> None:
        report[name] = value
        (folder / "gpu.json").write_text(json.dumps(report, indent=1) + "\n")

    def part(name: str, run: Callable[[], Any]) -> Any:
        if name not in parts:
            return None
        begin = time.perf_counter()
        try:
            value = run()
        except Exception:
            failed.append(name)
            print(traceback.format_exc(), flush=True)
            return None
        if value is not None:
            save(name, value)
            print(f"{name}: {json.dumps(value)}", flush=True)
        print(f"{name}: {time.perf_counter() - begin:.1f} s", flush=True)
        return value

    tests = part("tests", _tests)
    if tests is not None and tests["exit_code"]:
        failed.append("tests")
    measured = part("floors", _floors)

    def copy() -> float:
        bandwidth = measured["bandwidth_gb_s"] if measured else floors.bandwidth_gb_s()
        return float(bandwidth["copy"])

    part("speed", lambda: _speed(models, copy(), save))
    part("deadlines", lambda: _deadlines())
    part("peers", lambda: {"llama-3.2-1b": peers.transformers_step_ms("llama-3.2-1b")})
    print("failed: " + ", ".join(failed) if failed else "all parts ran")
    return 1 if failed else 0


def _deadlines() -> dict[str, Any]:
    model = "llama-3.2-1b"
    backend = speed.open_shape(model, reference=False)
    try:
        backend.warm()
        return {"model": model, **deadlines.hit_rate(backend, requests=3000, seconds=30.0)}
    finally:
        backend.close()


if __name__ == "__main__":
    sys.exit(main())

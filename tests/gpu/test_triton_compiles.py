"""Every kernel that a model's step launches compiles for a Hopper GPU into code that keeps to the
registers and reads weights 16 bytes at a time; no GPU is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("triton", reason="triton is not installed")

pytestmark = [pytest.mark.triton, pytest.mark.filterwarnings("default")]

PRODUCTS = ("plane_product", "dense_product")
# Instructions a weight that a lane can spend at 4.3 TB/s: 128 a clock on each of 132 processors at
# 1.98 GHz, and how far above them each width may lie with one token.
BUDGETS = {4: (3.9, 1.25), 8: (7.8, 1.0), 16: (15.6, 1.0)}


@pytest.fixture(scope="module")
def kernels() -> list[dict[str, Any]]:
    """What the machine code tells of each; compiled in a process without the interpreter."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    gate = Path(__file__).with_name("compile_gate.py")
    done = subprocess.run(
        [sys.executable, str(gate)], env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_kernels_compile(kernels: list[dict[str, Any]]) -> None:
    names = {kernel["kernel"] for kernel in kernels}
    assert names >= {
        *PRODUCTS, "attend_split", "join_splits", "turn_and_store", "embed_planes", "embed_dense",
        "pick_parts", "pick_whole", "dequantize_planes", "norm_rows", "activate_rows", "turn_rows",
        "attend_prompt",
    }  # fmt: skip


def test_nothing_is_spilled(kernels: list[dict[str, Any]]) -> None:
    assert {k["kernel"]: k["stack"] for k in kernels if k["stack"]} == {}


def test_weights_are_read_wide_and_without_barriers(kernels: list[dict[str, Any]]) -> None:
    for kernel in kernels:
        if kernel["kernel"] in PRODUCTS:
            assert kernel["wide_loads"] >= 4, kernel
            assert kernel["loop_barriers"] == 0, kernel
        elif kernel["kernel"] == "attend_split":
            assert kernel["wide_loads"] >= 2, kernel


def test_prompts_read_wide_and_multiply_by_tensor_cores(kernels: list[dict[str, Any]]) -> None:
    between = {"norm_rows": 2, "activate_rows": 2, "turn_rows": 4, "attend_prompt": 4}
    found = [kernel for kernel in kernels if kernel["kernel"] in between]
    assert all(kernel["wide_loads"] >= between[kernel["kernel"]] for kernel in found)
    attention = [k for k in found if k["kernel"] == "attend_prompt"]
    assert {k["constants"]["BLOCK"] for k in attention} == {64, 128, 256}
    for kernel in attention:
        halves = kernel["constants"]["HALVES"]
        assert (kernel["tensor_products"] > 0) == halves, kernel
        assert (kernel["copies_ahead"] > 0) == halves, kernel


def test_instructions_a_weight(kernels: list[dict[str, Any]]) -> None:
    for kernel in kernels:
        if kernel["kernel"] in PRODUCTS and kernel["constants"]["N"] == 1:
            if max(kernel["constants"].get("T", 2), kernel["constants"].get("R", 0)) == 1:
                continue  # small matrices: programs count for more than instructions
            budget, factor = BUDGETS[kernel["constants"].get("WIDTH", 16)]
            assert kernel["instructions_a_weight"] <= budget * factor, kernel


def test_dependent_launches_wait(kernels: list[dict[str, Any]]) -> None:
    dependent = [k for k in kernels if k["constants"].get("USE_PDL")]
    assert dependent
    assert all(k["waits"] == 1 for k in dependent)
    assert all(k["waits"] == 0 for k in kernels if not k["constants"].get("USE_PDL"))

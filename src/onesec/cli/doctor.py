"""`onesec doctor`: what this machine offers an engine, and what would make it faster.

Each check is a function that looks at one thing and returns a Finding; it must change nothing.
"""

from __future__ import annotations

import importlib.util
import os
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import click

from onesec import __version__
from onesec.machine import (
    allowed_cpus,
    cache_folder,
    cgroup_memory_limit,
    cgroup_quota,
    cpu_name,
    free_memory_bytes,
    is_writable,
    memory_bytes,
    transparent_huge_pages,
)

from .options import json_option
from .output import emit_json, megabytes, table

OK, WARN, BAD = "ok", "warn", "bad"
_LEAST_MEMORY = 1_000_000_000  # a 0.5B model in planes, its cache and the interpreter


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, what it is, how good that is, and what to do about it."""

    name: str
    value: str
    status: str = OK
    advice: str = ""


def _python() -> Finding:
    return Finding("onesec", f"{__version__}, Python {platform.python_version()}")


def _cpu() -> Finding:
    return Finding("cpu", f"{cpu_name()} ({platform.machine()})")


def _isa() -> Finding:
    try:
        from onesec.backend.cpu import cpu_features
    except ImportError as error:
        return Finding(
            "native engine",
            f"missing ({error})",
            BAD,
            "The compiled part is not installed: reinstall onesec from a wheel.",
        )
    features = cpu_features()
    isas, amx = cast("list[str]", features["isas"]), cast("str", features["amx"])
    value = f"{isas[-1]} (of {', '.join(isas)})"
    if amx.startswith("refused"):
        value += f"; AMX {amx}"
        return Finding("native engine", value, WARN, "Prompts run without AMX tiles: slower.")
    if isas[-1] == "scalar":
        return Finding("native engine", value, WARN, "No SIMD unit that it knows: slow.")
    return Finding("native engine", value)


def _threads() -> Finding:
    cpus, quota = allowed_cpus(), cgroup_quota()
    value = f"{cpus} by affinity"
    if quota is None:
        return Finding("threads", f"{value}, no cgroup quota")
    value += f", cgroup quota {quota:.2g}"
    if quota < 1.0:
        return Finding(
            "threads", value, WARN, "Below one CPU the process is paused often: raise the quota."
        )
    if quota < cpus and quota != int(quota):
        return Finding(
            "threads", value, WARN, f"A quota in whole CPUs wastes less; {int(quota)} will be used."
        )
    return Finding("threads", value)


def _load() -> Finding:
    busy = os.getloadavg()[0]
    value = f"{busy:.1f} runnable on average (1 min)"
    if busy > 0.5 * allowed_cpus():
        return Finding(
            "load", value, WARN, "Other programs use the CPUs: deadlines will be planned longer."
        )
    return Finding("load", value)


def _memory() -> Finding:
    total, free = memory_bytes()
    limit = cgroup_memory_limit()
    value = f"{megabytes(free)} free of {megabytes(total)}"
    if limit is not None:
        value += f", cgroup limit {megabytes(limit)}"
    if free_memory_bytes() < _LEAST_MEMORY:
        return Finding("memory", value, WARN, "Only small models fit; free some memory.")
    return Finding("memory", value)


def _huge_pages() -> Finding:
    mode = transparent_huge_pages()
    if mode is None:
        return Finding("huge pages", "unknown")
    if mode == "never":
        return Finding(
            "huge pages",
            mode,
            WARN,
            "Decoding is 12-30 % slower on 4 KiB pages: "
            "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
        )
    return Finding("huge pages", mode)


def _cache() -> Finding:
    folder = cache_folder()
    if is_writable(folder):
        return Finding("cache", str(folder))
    return Finding(
        "cache",
        f"{folder} (not writable)",
        WARN,
        "Set XDG_CACHE_HOME to the absolute path of a folder you may write.",
    )


def _offline() -> Finding:
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE)
    state = "offline" if constants.HF_HUB_OFFLINE else "online"
    return Finding("models", f"{state}, cache {folder}" + ("" if folder.exists() else " (empty)"))


def _gpu() -> Finding:
    if importlib.util.find_spec("torch") is None:
        return Finding("gpu", "not looked for: torch is not installed (onesec[gpu])")
    from onesec.backend.gpu.device import device_name, open_device
    from onesec.core.errors import InvalidRequest

    try:
        device = open_device("cuda")
    except InvalidRequest as error:
        return Finding("gpu", f"none: {error.message}")
    from onesec.backend.gpu.cuda_library import find_nvcc
    from onesec.backend.gpu.kernels import runs_cuda_kernels

    name = device_name(device)
    if not runs_cuda_kernels(device):
        return Finding("gpu", f"{name}; Triton's kernels")
    nvcc = find_nvcc()
    if nvcc is None:
        return Finding(
            "gpu",
            f"{name}; no nvcc",
            WARN,
            "Triton's kernels are used. With the CUDA toolkit's nvcc steps are faster: put it in "
            "PATH, or set CUDA_HOME.",
        )
    return Finding("gpu", f"{name}; nvcc at {nvcc}")


_CHECKS: tuple[Callable[[], Finding], ...] = (
    _python,
    _cpu,
    _isa,
    _threads,
    _load,
    _memory,
    _huge_pages,
    _gpu,
    _cache,
    _offline,
)


@click.command("doctor")
@json_option
def command(as_json: bool) -> None:
    """Look at this machine: CPU, threads, memory, caches. 体检"""
    findings = [check() for check in _CHECKS]
    if as_json:
        emit_json({"findings": [asdict(finding) for finding in findings]})
    else:
        rows = [(f.name, f.status, f.value) for f in findings]
        table("", ("", "status", "what"), rows, numbers=False, folded=("what",))
        for finding in findings:
            if finding.advice:
                print(f"{finding.name}: {finding.advice}")
    if any(finding.status == BAD for finding in findings):
        raise click.exceptions.Exit(1)

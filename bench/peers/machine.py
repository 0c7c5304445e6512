"""What machine this is, and how much of it others used while a command ran."""

import contextlib
import datetime
import os
import platform
import resource
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FLAGS = frozenset(
    [
        "avx2",
        "fma",
        "f16c",
        "avx_vnni",
        "avx_vnni_int8",
        "avx512f",
        "avx512bw",
        "avx512vl",
        "avx512vbmi",
        "avx512_vnni",
        "avx512_bf16",
        "avx512_fp16",
        "amx_tile",
        "amx_int8",
        "amx_bf16",
        "amx_fp16",
        "asimddp",
        "i8mm",
        "sve2",
    ]
)
CPUS = os.cpu_count() or 1


def _cpuinfo() -> dict[str, str]:
    """The first processor of /proc/cpuinfo."""
    first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _caches() -> dict[str, str]:
    """Sizes of the first processor's caches."""
    out = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = (
            (index / name).read_text().strip() for name in ("level", "type", "size")
        )
        out[f"L{level} {kind.lower()}"] = size
    return out


def describe() -> dict[str, Any]:
    """CPU, flags that matter to kernels, memory, kernel, date; nothing that names the host."""
    cpu = _cpuinfo()
    flags = set(cpu.get("flags", cpu.get("Features", "")).split())
    pages = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return {
        "cpu": cpu.get("model name", platform.machine()),
        "vendor": cpu.get("vendor_id", ""),
        "family_model_stepping": [cpu.get(k) for k in ("cpu family", "model", "stepping")],
        "cpus": CPUS,
        "flags": sorted(FLAGS & flags),
        "caches": _caches(),
        "virtual": "hypervisor" in flags,
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "huge_pages": pages.read_text().strip() if pages.exists() else "",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes"),
        "load_average": os.getloadavg(),
    }


def _ticks() -> tuple[float, float]:
    """Seconds of CPU time all processes have used, and seconds stolen by other guests."""
    fields = [int(x) for x in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    hertz = os.sysconf("SC_CLK_TCK")
    user, nice, system, _idle, _wait, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq) / hertz, steal / hertz


def _children() -> float:
    """Seconds of CPU time of ended child processes."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@dataclass(frozen=True)
class Finished:
    """A command that ended, and how disturbed it was (shares of the whole machine)."""

    code: int
    out: str
    err: str
    others: float
    stolen: float


def run(command: list[str], env: dict[str, str], limit: float, nice: int) -> Finished:
    """Run a command with $PEER_T0 = now; a command over its limit gets exit code 124."""
    busy0, steal0 = _ticks()
    child0, start = _children(), time.time()
    code, out, err = _communicate(
        command, {**os.environ, **env, "PEER_T0": repr(start)}, limit, nice
    )
    whole = (time.time() - start) * CPUS
    busy1, steal1 = _ticks()
    others = (busy1 - busy0) - (_children() - child0)
    shares = (min(1.0, max(0.0, x / whole)) for x in (others, steal1 - steal0))
    return Finished(code, out, err, *shares)


def _group_nice(pid: int, nice: int) -> None:
    """Where the scheduler groups sessions, niceness only counts within one: set the group's too."""
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(nice))


def _communicate(
    command: list[str], env: dict[str, str], limit: float, nice: int
) -> tuple[int, str, str]:
    """Exit code, output and errors; the whole process group ends with the limit."""
    if nice:
        command = ["nice", "-n", str(nice), *command]
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(
            command, env=env, stdout=pipe, stderr=pipe, text=True, start_new_session=True
        )
    except OSError as error:
        return 127, "", str(error)
    if nice:
        _group_nice(process.pid, nice)
    try:
        out, err = process.communicate(timeout=limit)
        return process.returncode, out, err
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return 124, "", f"over {limit:.0f} s"

"""The machine as files under /proc and /sys tell it: CPU, affinity, cgroup limits, memory, pages.

It must not know what an engine makes of them: standard library only. What the system does not say
is None.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

_CGROUP = Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 60  # cgroup v1 writes "no limit" as a number near 2**63


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _field(path: str, name: str) -> str | None:
    """Value of the first "name : value" line of a /proc file."""
    for line in (_read(Path(path)) or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None


def cpu_name() -> str:
    """The CPU as it names itself."""
    return _field("/proc/cpuinfo", "model name") or platform.processor() or "unknown CPU"


def allowed_cpus() -> int:
    """CPUs that this process may run on."""
    return len(os.sched_getaffinity(0))


def cgroup_quota(root: Path = _CGROUP) -> float | None:
    """CPUs that the cgroup grants (quota / period), version 2 or 1; None = unlimited."""
    both = (_read(root / "cpu.max") or "").split()
    if not both:
        both = [
            _read(root / "cpu" / name) or "" for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        ]
    try:
        quota, period = (float(part) for part in both)
    except ValueError:  # "max 100000", or no such files
        return None
    return quota / period if quota > 0 and period > 0 else None


def cgroup_memory_limit(root: Path = _CGROUP) -> int | None:
    """Bytes that the cgroup may hold; None = unlimited."""
    text = _read(root / "memory.max") or _read(root / "memory" / "memory.limit_in_bytes") or "max"
    limit = int(text) if text.isdigit() else _UNLIMITED
    return limit if limit < _UNLIMITED else None


def memory_bytes() -> tuple[int, int]:
    """Memory of the machine and how much of it a new process could take, in bytes."""
    kib = [
        int((_field("/proc/meminfo", name) or "0 kB").split()[0])
        for name in ("MemTotal", "MemAvailable")
    ]
    return kib[0] * 1024, kib[1] * 1024


def free_memory_bytes(root: Path = _CGROUP) -> int:
    """Bytes this process may still take: what the machine has, and what the cgroup leaves."""
    free, limit = memory_bytes()[1], cgroup_memory_limit(root)
    used = _read(root / "memory.current") or _read(root / "memory" / "memory.usage_in_bytes") or ""
    if limit is None or not used.isdigit():
        return free
    # Pages of files that were read count as used, and are given back when someone needs them.
    return min(free, limit - max(0, int(used) - _reclaimable_bytes(root)))


def _reclaimable_bytes(root: Path) -> int:
    """Bytes of files that the cgroup holds in memory; 0 where it does not say. Version 1 tells of a
    group with those below it as `total_...`."""
    text = _read(root / "memory.stat") or _read(root / "memory" / "memory.stat") or ""
    told = dict(line.split(maxsplit=1) for line in text.splitlines() if " " in line)
    names = ("inactive_file", "active_file")
    found = (told.get(f"total_{name}", told.get(name, "0")) for name in names)
    return sum(int(each) for each in found if each.isdigit())


def peak_resident_bytes() -> int:
    """Most memory that this process held at once, mapped files included."""
    return int((_field("/proc/self/status", "VmHWM") or "0 kB").split()[0]) * 1024


def transparent_huge_pages() -> str | None:
    """One of "always", "madvise", "never"."""
    text = _read(Path("/sys/kernel/mm/transparent_hugepage/enabled"))
    return text.partition("[")[2].partition("]")[0] if text else None


def cache_folder() -> Path:
    """Where what was measured or compiled here is kept: $XDG_CACHE_HOME/onesec, else (also where
    that is relative, which the XDG specification calls invalid) ~/.cache/onesec. A user without a
    home has that of nobody, where nothing can be kept."""
    root = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if root.is_absolute():
        return root / "onesec"
    try:
        home = Path.home()
    except RuntimeError:  # no $HOME, and a number that no user has
        home = Path("/nonexistent")
    return home / ".cache" / "onesec"


def is_writable(folder: Path) -> bool:
    """Whether files can be put into a folder, which need not be there yet."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    return place.is_dir() and os.access(place, os.W_OK | os.X_OK)


def without_folders(asked: str) -> str:
    """What a caller named, for others to read: of a file or folder of this machine its own name
    alone, which "." has too.

    >>> without_folders("org/model-that-is-no-folder-here")
    'org/model-that-is-no-folder-here'
    """
    return Path(os.path.abspath(asked)).name if Path(asked).exists() else asked


def describe() -> dict[str, Any]:
    """The machine in one JSON object, for reports."""
    total, free = memory_bytes()
    return {
        "cpu": cpu_name(),
        "architecture": platform.machine(),
        "cpus_allowed": allowed_cpus(),
        "cgroup_quota": cgroup_quota(),
        "memory_bytes": total,
        "memory_free_bytes": free,
        "memory_limit_bytes": cgroup_memory_limit(),
        "huge_pages": transparent_huge_pages(),
        "load_1min": os.getloadavg()[0],
        "kernel": platform.release(),
    }

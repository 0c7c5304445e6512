"""Process CPU: seconds that whatever listens at a port of this machine has computed, by /proc.

It must not know what it computes. A server's children count with it. None where that cannot be
known: another machine, another system, another user's process.
"""

from __future__ import annotations

import os
from pathlib import Path

_PROC = Path("/proc")
_LISTENS = "0A"  # the state of a listening socket in /proc/net/tcp


def listener(port: int, proc: Path = _PROC) -> int | None:
    """The process that listens at a TCP port of this machine."""
    inodes = {
        inode for table in ("tcp", "tcp6") for inode in _listening(proc / "net" / table, port)
    }
    if not inodes:
        return None
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for folder in proc.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if any(os.readlink(each) in wanted for each in (folder / "fd").iterdir()):
                return int(folder.name)
        except OSError:  # it is another user's, or over
            continue
    return None


def cpu_seconds(pid: int, proc: Path = _PROC) -> float | None:
    """What a process and its descendants have computed so far; None once it is over."""
    children: dict[int, list[int]] = {}
    spent: dict[int, float] = {}
    for folder in proc.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(folder.name))
        spent[int(folder.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    if pid not in spent:
        return None
    total, open_ = 0.0, [pid]
    while open_:
        one = open_.pop()
        total += spent.get(one, 0.0)
        open_ += children.get(one, [])
    return total


def _listening(table: Path, port: int) -> list[str]:
    """Inodes of the sockets that listen there."""
    try:
        rows = [line.split() for line in table.read_text().splitlines()[1:]]
    except OSError:
        return []
    return [row[9] for row in rows if row[3] == _LISTENS and int(row[1].split(":")[1], 16) == port]

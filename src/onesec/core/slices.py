"""Slices: threads that answer somebody ask the kernel to be run soon, beside threads that compute.

A door needs a few tenths of a millisecond at a time, and while the engine computes on every core it
would wait for the end of a slice (1.4 to 4 ms) each time that it wakes. A thread that asks for
shorter slices comes sooner; its share of the time stays the same, so nobody has to be nice. It must
not know who its caller is.
"""

from __future__ import annotations

import ctypes
import platform
import struct

_CALLS = {"x86_64": (314, 315), "aarch64": (274, 275)}  # sched_setattr, sched_getattr: no wrappers
_ATTR = struct.Struct("IIQiIQQQII")  # struct sched_attr: size, policy, flags, nice, priority, ...
_POLICY, _RUNTIME = 1, 5  # places in it; policy 0: the usual one
_SLICE_NS = 100_000  # the kernel's least


def run_soon() -> bool:
    """Ask for the shortest slices, for the calling thread and those that it starts from now on.

    Returns whether the kernel took it. Linux does so from 6.12 on (EEVDF); older ones, other
    systems and threads under another policy than the usual one stay as they are.

    >>> run_soon() in (True, False)
    True
    """
    numbers = _CALLS.get(platform.machine())
    if platform.system() != "Linux" or numbers is None:
        return False
    set_attr, get_attr = numbers
    call = ctypes.CDLL(None).syscall
    kept = ctypes.create_string_buffer(_ATTR.size)
    if call(get_attr, 0, kept, _ATTR.size, 0) != 0:
        return False
    values = list(_ATTR.unpack(kept.raw))
    if values[_POLICY] != 0:
        return False
    values[_RUNTIME] = _SLICE_NS
    return int(call(set_attr, 0, _ATTR.pack(*values), 0)) == 0

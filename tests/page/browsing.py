"""What the browser tests need: where the browser, axe-core and the screenshots are, and a real
server before the shipped model."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = os.environ.get("ONESEC_CHROMIUM") or shutil.which("chromium")
SHOTS = Path(__file__).parents[2] / "build" / "page"
AXE = Path(os.environ.get("ONESEC_AXE", SHOTS.parent / "axe" / "axe.min.js"))
Open = Callable[..., Any]


@contextmanager
def serving(*options: str, **environment: str) -> Iterator[str]:
    """`onesec serve onesec-mini` on a free port; the address of its page."""
    command = [sys.executable, "-m", "onesec.cli.main", "serve", "onesec-mini", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--threads", "2", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            found = re.match(r"(http://\S+/) is its page", line)
            if found:
                break
        else:
            raise AssertionError("".join(said))
        yield found[1]
    finally:
        process.terminate()
        process.communicate(timeout=30)

"""Schemathesis on the OpenAPI document: requests that fit it and requests that do not; no answer is
a 500, and each is one that the document names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from serving import Served

pytest.importorskip("schemathesis")

pytestmark = pytest.mark.clients

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_schema_conformance"
)
EXAMPLES = 12  # an operation and phase


@pytest.mark.parametrize(
    ("mode", "more"),
    [("positive", ""), ("negative", ",negative_data_rejection")],
)
def test_no_request_breaks_it(server: Served, mode: str, more: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run"),
            f"{server.url}/openapi.json",
            *("--checks", CHECKS + more),
            *("--mode", mode),
            *("--max-examples", str(EXAMPLES)),
            *("--phases", "examples,coverage,fuzzing"),
            *("--seed", "1"),
            *("--request-timeout", "60"),
            "--generation-deterministic",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]

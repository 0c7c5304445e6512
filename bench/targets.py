"""Does a compressed model take the time that was asked for?

    python bench/targets.py MODEL MODEL MODEL --out targets.json

For each checkpoint, times a token between its 4-bit and its 8-bit gear are asked of `compress`
(with little text: this is about time, not loss); the artifact is loaded anew, and the chosen gear's
steps are timed. Told for each: what was asked, what the chosen gear took when compress measured
it, what it took afterwards, and how far both lie above or below what was asked. Between the two
lies the machine: where its memory changes its pace, so does what a second plane costs, and what was
asked for may be beyond every gear.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from onesec.compress import Recipe, compress
from onesec.compress.timing import step_times
from onesec.core.gear import UNIFORM
from onesec.loading import load_model
from onesec.machine import describe

SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)  # of the way from all-4-bit to all-8-bit
EFFORT = {"calibration_tokens": 0, "search_tokens": 64, "check_tokens": 64}
ROUNDS = 24


def timed(model: str, names: list[str]) -> list[float]:
    """Milliseconds of a step in the gears of these names."""
    with load_model(model, context=1024, sequences=1) as loaded:
        known = {gear.name: gear for gear in loaded.backend.gears}
        return step_times(loaded.backend, [known[name] for name in names], rounds=ROUNDS)


def asked_and_measured(model: str, share: float) -> dict[str, Any]:
    """One target: a time a token, and what came of it."""
    low, high = timed(model, [UNIFORM[4].name, UNIFORM[8].name])
    asked_ms = low + share * (high - low)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "model.onesec"
        found = compress(model, output, Recipe(tpot_ms=asked_ms, **EFFORT))
        (afterwards_ms,) = timed(str(output), [found.target.gear])
    took_ms = found.target.predicted_ms
    assert took_ms is not None
    row = {
        "model": Path(model).name,
        "share": share,
        "asked_ms": asked_ms,
        "took_ms": took_ms,
        "afterwards_ms": afterwards_ms,
        "error": took_ms / asked_ms - 1.0,
        "error_afterwards": afterwards_ms / asked_ms - 1.0,
        "gear": found.target.gear,
        "met": found.target.met,
        "within_reach": found.rungs[0].step_ms <= asked_ms <= found.rungs[-1].step_ms,
    }
    print(
        f"{row['model']:<12} asked {asked_ms:7.3f} ms  {row['gear']:<3} took {took_ms:7.3f} "
        f"({row['error']:+.1%})  afterwards {afterwards_ms:7.3f} ({row['error_afterwards']:+.1%})",
        flush=True,
    )
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    rows = [asked_and_measured(model, share) for share in SHARES for model in asked.models]
    reached = [row for row in rows if row["within_reach"]]
    print(f"{len(reached)} of {len(rows)} lay between the quickest and the slowest gear then")
    for some, what in ((reached, "of those"), (rows, "of all")):
        if errors := sorted(abs(row["error"]) for row in some):
            print(f"median error {what} {statistics.median(errors):.1%}, largest {errors[-1]:.1%}")
    if asked.out:
        record = {"machine": describe(), "rounds": ROUNDS, "rows": rows}
        asked.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

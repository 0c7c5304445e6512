"""How verbs show an attribution: the sentences that carried an answer, and what was left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .output import note, table

if TYPE_CHECKING:
    from onesec.explain.attribution import Attribution

_MOST = 5  # parts shown
_LONGEST = 200  # characters of a part shown
_METHODS = {"leave-one-out log-likelihood": "留一法对数似然"}


def draw_attribution(found: Attribution) -> None:
    """The parts that carried most, as a table; then how it was found, and what was left."""
    rows = []
    for part in found.leading()[:_MOST]:
        text = " ".join(part.text.split())
        text = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
        rows.append((f"{part.share or 0.0:.0%}", f"{part.score or 0.0:.2f}", text))
    if rows:
        table(
            "What carried it 依据",
            ("share", "nats", "sentence"),
            rows,
            numbers=False,
            folded=("sentence",),
        )
    method = f"{found.method} {_METHODS.get(found.method, '')}".rstrip()
    note(
        f"[{method} · {found.examined} of {found.sentences} sentences · {found.elapsed_ms:.0f} ms]"
    )
    if not found.complete:
        note("[Not every sentence was examined: give it more time. 未逐句检查完]")

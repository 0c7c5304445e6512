"""What is exported: a checkpoint's own values, or those of an artifact's gear."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from export_models import MINI, prepared

from onesec.cli.main import main
from onesec.core.errors import InvalidRequest, UnknownGear
from onesec.export import open_outgoing
from onesec.model.artifact import open_artifact
from onesec.model.checkpoints import open_checkpoint

pytest.importorskip("onesec._native")


@pytest.fixture
def packed(tmp_path: Path) -> tuple[Path, Path]:
    """A checkpoint and its artifact; rows of its segments are no multiples of 16."""
    folder = prepared("gemma3", tmp_path / "model")
    assert main(["pack", str(folder), "-o", str(tmp_path / "packed")]) == 0
    return folder, tmp_path / "packed"


@pytest.mark.parametrize(("gear", "steps"), [("8", 15 * 16), (None, 15 * 16), ("4", 15)])
def test_an_artifact_s_weights_are_near_its_checkpoint_s(
    gear: str | None, steps: int, packed: tuple[Path, Path]
) -> None:
    folder, artifact = packed
    with open_checkpoint(folder) as before, open_outgoing(artifact, gear) as after:
        assert after.matrix_names() == before.matrix_names()
        for name in before.matrix_names():
            for a, b in zip(before.matrix(name), after.matrix(name), strict=True):
                assert a.shape == b.shape
                values = a.float32()
                span = values.max() - min(float(values.min()), 0.0)
                assert np.abs(values - b.float32()).max() < 1.1 * span / steps
            after.release(name)
        for name, vector in after.vectors():
            np.testing.assert_array_equal(vector, before.vector(name))


def test_learned_positions_come_from_the_artifact(tmp_path: Path) -> None:
    folder = prepared("gpt2", tmp_path / "model")
    assert main(["pack", str(folder), "-o", str(tmp_path / "packed")]) == 0
    with open_outgoing(folder) as before, open_outgoing(tmp_path / "packed") as after:
        (a,), (b,) = before.matrix("pos_embed"), after.matrix("pos_embed")
        np.testing.assert_array_equal(a.float32(), b.data)
        after.release("pos_embed")


def test_mixed_gears_take_each_matrix_at_its_width(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(MINI, tmp_path / "mini"))
    with open_artifact(folder) as artifact:
        names = artifact.matrix_names()
    skipped = {"layers.1.qkv": 0, "layers.1.o": 0}
    gears = [
        {"name": "g1", "width": 4, "widths": {"layers.0.o": 8}},
        {"name": "g2", "width": 8, "widths": skipped},
    ]
    (folder / "gears.json").write_text(json.dumps({"gears": gears}))
    with (
        open_outgoing(folder, "g1") as mixed,
        open_outgoing(folder, "4") as four,
        open_outgoing(folder, "8") as eight,
    ):
        for name in names:
            same = eight if name == "layers.0.o" else four
            np.testing.assert_array_equal(mixed.matrix(name)[0].data, same.matrix(name)[0].data)
        assert (eight.matrix("embed")[0].data != four.matrix("embed")[0].data).any()
    with (
        pytest.raises(InvalidRequest, match="Gear g2 skips sublayers"),
        open_outgoing(folder, "g2"),
    ):
        pass
    with pytest.raises(UnknownGear, match="no gear 'g9'"), open_outgoing(folder, "g9"):
        pass


def test_checkpoints_have_no_gears(tmp_path: Path) -> None:
    folder = prepared("llama2", tmp_path / "model")
    with pytest.raises(InvalidRequest, match="exported as it is"), open_outgoing(folder, "8"):
        pass

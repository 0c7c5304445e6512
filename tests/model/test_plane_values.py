"""Planes back to floats, against the format of native/planes.h written out number by number."""

from __future__ import annotations

import numpy as np
import pytest

from onesec.model.plane_values import plane_values
from onesec.model.planes import PackedMatrix, plane_bytes


def _random(rows: int, cols: int) -> PackedMatrix:
    rng = np.random.default_rng(rows * cols)
    hi, lo = (rng.integers(0, 256, size, dtype=np.uint8) for size in plane_bytes(rows, cols))
    return PackedMatrix(
        hi=hi,
        lo=lo,
        row_scale=rng.uniform(0.001, 0.1, rows).astype(np.float32),
        rows=rows,
        cols=cols,
    )


def _value(matrix: PackedMatrix, row: int, col: int, width: int) -> float:
    blocks = -(-matrix.cols // 64)
    tile, r = divmod(row, 16)
    block, column = divmod(col, 64)
    hi = matrix.hi[(tile * blocks + block) * 576 :]
    lo = matrix.lo[(tile * blocks + block) * 512 :]
    at = column // 8 * 64 + 4 * r + column % 4
    shift = 4 * (column % 8 >= 4)
    group = column // 32
    scale, minimum = float(hi[512 + 16 * group + r]), float(hi[544 + 16 * group + r])
    high, low = int(hi[at]) >> shift & 15, int(lo[at]) >> shift & 15
    code = high if width == 4 else (16 * high + low - 8) / 16
    return float(matrix.row_scale[row]) * (scale * code - 8 * minimum)


@pytest.mark.parametrize(("rows", "cols"), [(16, 64), (32, 192), (48, 40), (16, 100)])
@pytest.mark.parametrize("width", [4, 8])
def test_every_value_is_that_of_the_format(rows: int, cols: int, width: int) -> None:
    matrix = _random(rows, cols)
    expected = [[_value(matrix, r, c, width) for c in range(cols)] for r in range(rows)]
    values = plane_values(matrix, width)
    assert values.shape == (rows, cols)
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-4)


def test_tall_matrices_are_decoded_in_parts() -> None:
    matrix = _random(16 * 130, 64)
    values = plane_values(matrix, 8)
    for row in (0, 1023, 1024, 2079):
        assert values[row, 5] == pytest.approx(_value(matrix, row, 5, 8), rel=1e-5, abs=1e-4)

"""Data: digits drawn by rule: a 5 × 7 pattern, doubled, somewhere on a grey field, under noise.

It must not know classifiers.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
SIDE, CLASSES = 20, 10
_PATTERNS = """
.###. ..#.. .###. ####. #..#. ##### .###. ##### .###. .###.
#...# .##.. #...# ....# #..#. #.... #.... ....# #...# #...#
#...# ..#.. ....# ....# #..#. #.... #.... ...#. #...# #...#
#...# ..#.. ..##. .###. ##### ####. ####. ..#.. .###. .####
#...# ..#.. .#... ....# ...#. ....# #...# ..#.. #...# ....#
#...# ..#.. #.... ....# ...#. #...# #...# ..#.. #...# ....#
.###. .###. ##### ####. ...#. .###. .###. ..#.. .###. .###.
"""


def digits(rows: int, seed: int, *, noise: float = 0.6) -> tuple[Float32, Labels]:
    """Images [rows, SIDE²], ink about 1 and paper about 0, and their digits [rows].

    A digit lies up to a pixel off the middle, its ink is 0.6 to 1.2, and the noise on every
    pixel is normal with a standard deviation of its own, up to `noise`: some inputs are hard.
    """
    rng = np.random.default_rng(seed)
    patterns = _patterns()
    labels = rng.integers(0, CLASSES, rows)
    images = rng.normal(size=(rows, SIDE, SIDE)) * rng.uniform(0.0, noise, (rows, 1, 1))
    ink = rng.uniform(0.6, 1.2, rows)
    for image, label, top, left, strength in zip(
        images, labels, rng.integers(2, 5, rows), rng.integers(4, 7, rows), ink, strict=True
    ):
        image[top : top + 14, left : left + 10] += strength * patterns[label]
    return images.reshape(rows, -1).astype(np.float32), labels


def _patterns() -> Float32:
    """[CLASSES, 14, 10], of zeros and ones."""
    lines = [line.split() for line in _PATTERNS.split("\n") if line]
    drawn = [[[c == "#" for c in line[digit]] for line in lines] for digit in range(CLASSES)]
    return np.array(drawn, np.float32).repeat(2, axis=1).repeat(2, axis=2)

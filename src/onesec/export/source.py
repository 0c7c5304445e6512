"""Outgoing: the weights to be exported, from a checkpoint or from an artifact in one of its gears.

It must not know the formats that are written.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from onesec.core.errors import InvalidRequest, UnknownGear, UnsupportedModel
from onesec.core.gear import UNIFORM, Gear, name_in_gears
from onesec.loading import open_source
from onesec.model.artifact import Artifact
from onesec.model.config import ModelConfig
from onesec.model.names import matrix_names, matrix_shape, segment_rows
from onesec.model.plane_values import plane_values
from onesec.model.planes import GROUP_ROWS
from onesec.model.tensor import Tensor
from onesec.model.weights import Checkpoint

Float32 = npt.NDArray[np.float32]
DEFAULT_GEAR = "8"
_LARGEST = 65504.0  # of float16, in which every format here stores steps or weights


class Outgoing:
    """Matrices by canonical name as Tensors of float32 (or the checkpoint's own f16, bf16), and
    vectors as float32. `gear` None: the values of a checkpoint."""

    def __init__(self, source: Checkpoint | Artifact, gear: Gear | None) -> None:
        self.config: ModelConfig = source.config
        self.path = source.source
        self.gear = gear
        self._source = source

    def matrix_names(self) -> list[str]:
        """In the order of use; pos_embed among them."""
        return matrix_names(self.config)

    def matrix(self, name: str) -> list[Tensor]:
        """The segments (q, k, v; gate, up) of a matrix, [out, in].

        Raises CorruptFile for values that are not finite, UnsupportedModel for values too large.
        """
        if isinstance(self._source, Checkpoint):
            tensors = self._source.matrix(name)
            self._source.check_finite(name, tensors)
        elif name == "pos_embed":
            values = self._source.vector(name).reshape(matrix_shape(self.config, name))
            tensors = [Tensor(name, "f32", values.shape, values)]
        else:
            tensors = self._unpacked(self._source, name)
        for tensor in tensors:
            plain = tensor.float32()
            largest = max(float(plain.max()), -float(plain.min()))
            if largest > _LARGEST:
                raise UnsupportedModel(
                    f"{self.path}: {name} has a weight of {largest:g}; at most {_LARGEST:g} can be "
                    "written.",
                    hint="Use the model as it is.",
                )
        return tensors

    def _unpacked(self, artifact: Artifact, name: str) -> list[Tensor]:
        gear = self.gear or UNIFORM[8]
        width = gear.width_of(name_in_gears(name, tied=self.config.tie_embeddings))
        values = plane_values(artifact.packed(name), width)
        tensors, at = [], 0
        for rows in segment_rows(self.config, name.rpartition(".")[2]):
            part = values[at : at + rows]
            tensors.append(Tensor(name, "f32", part.shape, part))
            at += -(-rows // GROUP_ROWS) * GROUP_ROWS  # every segment begins at a tile
        return tensors

    def vectors(self) -> Iterator[tuple[str, Float32]]:
        """Norms and biases by canonical name."""
        for name in self._source.vector_names():
            if name not in ("pos_embed", "head_residual"):
                yield name, self._source.vector(name)

    def release(self, name: str) -> None:
        """Drop the resident pages of a matrix that was written."""
        if name != "pos_embed" or isinstance(self._source, Checkpoint):
            self._source.release(name)


def _weight_bits(artifact: Artifact, gear: Gear) -> int:
    """Bits of all codes that the gear reads."""
    config = artifact.config
    return sum(
        gear.width_of(name_in_gears(name, tied=config.tie_embeddings))
        * math.prod(matrix_shape(config, name))
        for name in artifact.matrix_names()
    )


@contextmanager
def open_outgoing(path: Path, gear: str | None = None) -> Iterator[Outgoing]:
    """The model at a path, open for export. `gear` is a gear's name, of artifacts alone (None: 8,
    or where there is no 8 the one with the most bits of weights).

    Raises UnknownGear, InvalidRequest (a gear that skips layers, or a gear of a checkpoint),
    ModelError.

    >>> with open_outgoing(Path("smol.onesec"), "8") as outgoing:  # doctest: +SKIP
    ...     outgoing.matrix("layers.0.o")[0].shape
    (576, 576)
    """
    with open_source(path) as source:
        if isinstance(source, Checkpoint):
            if gear is not None:
                raise InvalidRequest(
                    f"{path} is a checkpoint: it is exported as it is, not in gear {gear!r}.",
                    hint="Leave --gear out, or name an artifact.",
                )
            yield Outgoing(source, None)
            return
        uniform = (UNIFORM[4],) if source.narrow else (UNIFORM[4], UNIFORM[8])
        gears = {g.name: g for g in (*uniform, *source.ladder)}
        whole = [name for name, g in gears.items() if 0 not in g.widths.values()]
        most = max(whole, key=lambda name: _weight_bits(source, gears[name]))
        best = DEFAULT_GEAR if DEFAULT_GEAR in gears else most
        chosen = gears.get(gear or best)
        if chosen is None:
            raise UnknownGear(str(gear), tuple(gears))
        if 0 in chosen.widths.values():
            raise InvalidRequest(
                f"Gear {chosen.name} skips sublayers, which no format but OneSec's own can say.",
                hint="Choose a gear that skips none: 4 or 8.",
            )
        yield Outgoing(source, chosen)

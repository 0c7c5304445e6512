"""The native engine, as backend/cpu.py sees it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

BLOCK_TOKENS: int

def allowed_cpus() -> int: ...
def amx_state() -> str: ...
def available_isas() -> list[str]: ...
def read_bandwidth(bytes: int, threads: int, seconds: float) -> float: ...

class Sampler:
    def __init__(
        self,
        *,
        temperature: float,
        top_k: int,
        top_p: float,
        min_p: float,
        repetition_penalty: float,
        presence_penalty: float,
        frequency_penalty: float,
        logit_bias: Sequence[tuple[int, float]],
        seed: int,
        min_tokens: int,
        end_ids: Sequence[int],
    ) -> None: ...
    def observe(self, tokens: Sequence[int]) -> None: ...

class Linear:
    def __init__(
        self,
        weight: npt.NDArray[np.float32],
        half: npt.NDArray[np.float16],
        bias: npt.NDArray[np.float32],
        isa: str,
    ) -> None: ...
    def bytes(self, width: int) -> int: ...
    def product(self, x: npt.NDArray[np.float32], width: int) -> npt.NDArray[np.float32]: ...
    def unpack(self, width: int) -> npt.NDArray[np.float32]: ...

Segments = Sequence[tuple[npt.NDArray[Any], str]]
Widths = npt.NDArray[np.uint8]
RowResult = tuple[
    list[int],
    list[float],
    list[float],
    list[float],
    list[list[tuple[int, float]]],
    list[float],
]

class Transformer:
    def __init__(self, config: Mapping[str, object], threads: int, isa: str) -> None: ...
    @property
    def isa(self) -> str: ...
    @property
    def threads(self) -> int: ...
    @property
    def matrix_names(self) -> list[str]: ...
    @property
    def num_blocks(self) -> int: ...
    def block_bytes(self, dtype: str) -> int: ...
    def set_vector(self, name: str, values: npt.NDArray[np.float32]) -> None: ...
    def reserve_planes(self) -> None: ...
    def pack(self, name: str, segments: Segments) -> bool: ...
    def set_source(self, name: str, segments: Segments) -> None: ...
    def fill_random(self, name: str, seed: int, deviation: float) -> None: ...
    def set_planes(
        self,
        name: str,
        hi: npt.NDArray[np.uint8],
        lo: npt.NDArray[np.uint8],
        row_scale: npt.NDArray[np.float32],
        copy: bool,
    ) -> None: ...
    def planes(
        self, name: str
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.float32]]: ...
    def matrix_shape(self, name: str) -> tuple[int, int]: ...
    def finish(self) -> None: ...
    @property
    def head_residual(self) -> npt.NDArray[np.float32]: ...
    def allocate_cache(self, num_blocks: int, dtype: str) -> None: ...
    def weight_bytes(self, widths: Widths) -> int: ...
    def step(
        self,
        rows: Sequence[tuple[object, ...]],
        widths: Widths,
        max_steps: int,
        until_ns: int,
        exact: bool,
    ) -> tuple[list[RowResult], list[float], float, int]: ...
    def logits(
        self, rows: Sequence[tuple[object, ...]], widths: Widths, exact: bool
    ) -> npt.NDArray[np.float32]: ...

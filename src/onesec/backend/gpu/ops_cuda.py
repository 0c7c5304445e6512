"""CudaOps: a decode step's products and attention as hand-written kernels, the rest in Triton.

Five launches a layer: norm and qkv; heads turned, cached and attended; o and the residual; norm and
the feed-forward's first matrix with its activation; the second one and the residual. Each leaves
its results as the next one's activations, normed but for the RMS norm's factor, which belongs to a
whole row: what reads them multiplies by it at its end. Where that cannot be (the first product of a
step, layer norms, norms behind a product), a launch before the product prepares them.
Nothing here waits for the device, so a step can be captured in a graph. It must not know models,
gears or batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .cuda_library import Attention, CudaLibrary, Product
from .ops import Heads, LayerCache, Matrix, Norm, Reader, Steps, Turn, floats
from .ops_triton import TritonOps, power

MAX_ROWS = 16  # of a step
_GROUP = 32
_BF16, _HALF = 16, 17  # forms of a dense matrix; the planes' are their widths
_FORMS = {torch.bfloat16: _BF16, torch.float16: _HALF}
_ACTIVATIONS = {"silu": 0, "gelu_tanh": 1, "gelu": 2, "relu": 3}
_RMS, _LAYER = 1, 2
_ALIGNMENT = 16  # bytes, of the weights
_OWN = 8  # columns of a thread: rows have a multiple of them
_QUANTIZED_BYTES = _GROUP + 8 + 4  # of a group: the values, scale and offset, the sum's start
_ROUNDED_BYTES = 2 * _GROUP
_COUNTERS = 8192  # of blocks that finish something together: zeros between launches
_LARGEST_HEAD = 256


@dataclass(frozen=True, slots=True)
class Prepared:
    """float32 values [n, size], and as the products of `form`'s kind (the planes', or that of one
    dense type) read them. With `squares` [n, groups] these are the residual stream's, times a
    norm's weights: its factor follows from the squares."""

    values: Tensor
    prepared: Tensor
    form: int
    squares: Tensor | None = None


class CudaOps(TritonOps):
    """Ops for steps of up to 16 rows on one CUDA device. TritonOps does the other steps, and the
    products that no kernel takes: more rows, float32 weights, columns that are no multiple of 8.

    dependent: each kernel may begin while the one before it ends (compute capability 9.0).
    per_multiprocessor: blocks of a product on one multiprocessor, at most.
    """

    def __init__(
        self,
        library: CudaLibrary,
        *,
        dependent: bool = False,
        per_multiprocessor: int = 4,
    ) -> None:
        super().__init__(pdl=dependent)
        self._library = library
        self._dependent = dependent
        self._per_multiprocessor = per_multiprocessor
        self._counters: dict[torch.device, Tensor] = {}

    def norm_matmul(
        self,
        h: Tensor,
        norm: Norm,
        matrix: Matrix,
        width: int,
        *,
        first_row: int = 0,
        ready: Prepared | None = None,
    ) -> Tensor:
        """See Ops."""
        form = _form(matrix, width, len(h))
        if form is None:
            return super().norm_matmul(h, norm, matrix, width, first_row=first_row)
        y = floats(len(h), matrix.rows - first_row, device=h.device)
        p = _weights(matrix, form, len(h), first_row)
        _result(p, y)
        self._multiply(p, form, ready or h.contiguous(), norm)
        return y

    def attend(
        self,
        qkv: Tensor,
        heads: Heads,
        turn: Turn,
        cache: LayerCache,
        steps: Steps,
        *,
        window: int,
        reader: Reader | None = None,
    ) -> Tensor | Prepared:
        """See Ops. Positions and tables are read before the kernels of this step have ended: none
        but its last may write them."""
        n = len(qkv)
        half = 0 if turn.rotary is None else turn.rotary.shape[1] // 2
        norms = [norm for norm in (turn.q_norm, turn.k_norm) if norm is not None]
        fits = (
            cache.keys.dtype == torch.float16
            and qkv.dtype == torch.float32
            and qkv.stride(0) % 4 == 0
            and heads.head_dim % _OWN == 0
            and heads.head_dim <= _LARGEST_HEAD
            and half % _OWN == 0
            and not any(norm.layer for norm in norms)
            and n <= MAX_ROWS
        )
        if not fits:
            return super().attend(qkv, heads, turn, cache, steps, window=window)
        a = Attention(rows=n, qkv_stride=qkv.stride(0), table_stride=steps.tables.stride(0))
        a.kv_heads, a.group = heads.num_kv_heads, heads.num_heads // heads.num_kv_heads
        a.head_dim, a.k_offset, a.v_offset = heads.head_dim, heads.k_offset, heads.v_offset
        a.window, a.scale, a.softcap, a.half = window, heads.scale, heads.softcap, half
        a.qkv, a.keys, a.values = qkv.data_ptr(), cache.keys.data_ptr(), cache.values.data_ptr()
        a.positions, a.tables = steps.positions.data_ptr(), steps.tables.data_ptr()
        if turn.rotary is not None:
            a.rotary = turn.rotary.data_ptr()
        if turn.q_norm is not None:
            a.q_norm, a.q_eps = turn.q_norm.weight.data_ptr(), turn.q_norm.eps
        if turn.k_norm is not None:
            a.k_norm, a.k_eps = turn.k_norm.weight.data_ptr(), turn.k_norm.eps
        out = floats(n, heads.num_heads * heads.head_dim, device=qkv.device)
        a.out = out.data_ptr()
        form = None if reader is None else _form(reader.matrix, reader.width, n)
        whole = heads.head_dim % _GROUP == 0 and out.shape[1] % (2 * _GROUP) == 0
        prepared: Prepared | None = None
        if form is not None and whole:
            prepared = Prepared(out, _room(form, n, out.shape[1], out.device), form)
            a.feed, a.feed_form = prepared.prepared.data_ptr(), form
        self._library.attention(a, self._dependent, _stream(qkv))
        return prepared or out

    def matmul_add(
        self,
        x: Any,
        matrix: Matrix,
        width: int,
        h: Tensor,
        post_norm: Norm | None = None,
        reader: Reader | None = None,
    ) -> Prepared | None:
        """See Ops."""
        form = _form(matrix, width, len(h))
        if form is None or h.stride(1) != 1:
            values = x.values if isinstance(x, Prepared) else x
            super().matmul_add(values, matrix, width, h, post_norm)
            return None
        p = _weights(matrix, form, len(h))
        y = h if post_norm is None else torch.empty_like(h)
        _result(p, y)
        p.add = post_norm is None
        if isinstance(x, Prepared) and _kind(x.form) != _kind(form):
            x = x.values
        ready = None if post_norm is not None else _left(p, form, h, reader)
        self._multiply(p, form, x if isinstance(x, Prepared) else x.contiguous(), None)
        if post_norm is not None:
            self.norm(y, post_norm, h, add=True)
        return ready

    def norm_feed(
        self,
        h: Tensor,
        norm: Norm,
        matrix: Matrix,
        width: int,
        activation: str,
        size: int,
        ready: Prepared | None = None,
    ) -> Any:
        """See Ops."""
        form = _form(matrix, width, len(h))
        if form is None or _groups(form, size) > _COUNTERS:
            return super().norm_feed(h, norm, matrix, width, activation, size)
        values = floats(len(h), size, device=h.device)
        p = _weights(matrix, form, len(h))
        _result(p, values)
        p.gated = matrix.rows >= 2 * size
        p.part_tiles = matrix.rows // 16 // (2 if p.gated else 1)
        p.units = _groups(form, size)
        p.size = size
        p.activation = _ACTIVATIONS[activation]
        prepared = _room(form, len(h), size, h.device)
        p.feed = prepared.data_ptr()
        sums = floats(self._library.shared_floats(p, form), device=h.device)
        p.shared, p.arrived = sums.data_ptr(), self._zeros(h.device).data_ptr()
        self._multiply(p, form, ready or h.contiguous(), norm)
        return Prepared(values, prepared, form)

    def _zeros(self, device: torch.device) -> Tensor:
        found = self._counters.get(device)
        if found is None:
            found = torch.zeros(_COUNTERS, dtype=torch.int32, device=device)
            self._counters[device] = found
        return found

    def _multiply(self, p: Product, form: int, x: Tensor | Prepared, norm: Norm | None) -> None:
        """Launch the product, and before it what prepares its activations where nobody has."""
        stream = _stream(x.values if isinstance(x, Prepared) else x)
        if isinstance(x, Prepared):
            prepared = x.prepared
            if x.squares is not None:
                assert norm is not None
                p.squares, p.eps = x.squares.data_ptr(), norm.eps
        else:
            prepared = _room(form, p.rows, p.cols, x.device)
            before = Product(rows=p.rows, cols=p.cols, superblocks=p.superblocks)
            before.feed = prepared.data_ptr()
            _activations(before, x, norm)
            self._library.prepare(before, form, self._dependent, stream)
        p.prepared = prepared.data_ptr()
        self._library.product(p, form, self._per_multiprocessor, self._dependent, stream)


def open_planes(library: CudaLibrary, matrix: Matrix, width: int, dtype: torch.dtype) -> Tensor:
    """[rows, cols] in bfloat16 or float16: what the planes stand for at width 4 or 8."""
    assert matrix.hi is not None
    assert matrix.lo is not None
    assert matrix.row_scale is not None
    out = torch.empty(matrix.rows, matrix.cols, dtype=dtype, device=matrix.hi.device)
    p = Product(cols=matrix.cols, units=matrix.rows // 16, superblocks=matrix.hi.shape[1])
    p.hi, p.lo = matrix.hi.data_ptr(), matrix.lo.data_ptr()
    p.row_scale, p.feed = matrix.row_scale.data_ptr(), out.data_ptr()
    library.open_planes(p, width, _FORMS[dtype], _stream(out))
    return out


def _form(matrix: Matrix, width: int, rows: int) -> int | None:
    """Which kernel multiplies by this matrix at this width; None: none does."""
    if width == 16:
        form = _FORMS.get(matrix.dense.dtype) if matrix.dense is not None else None
        weights = [matrix.dense]
    else:
        form = width
        weights = [matrix.hi] if width == 4 else [matrix.hi, matrix.lo]
    there = all(w is not None and w.data_ptr() % _ALIGNMENT == 0 for w in weights)
    return form if there and matrix.cols % _OWN == 0 and 1 <= rows <= MAX_ROWS else None


def _kind(form: int) -> int:
    """What activations of a form look like: alike for both widths of the planes."""
    return form if form in (_BF16, _HALF) else 0


def _groups(form: int, cols: int) -> int:
    """Groups of 32 columns; the planes have them in pairs."""
    return -(-cols // _GROUP) if _kind(form) else -(-cols // (2 * _GROUP)) * 2


def _room(form: int, rows: int, cols: int, device: torch.device) -> Tensor:
    """Memory for prepared activations, see arguments.h."""
    group = _ROUNDED_BYTES if _kind(form) else _QUANTIZED_BYTES
    size = _groups(form, cols) * power(rows) * group
    return torch.empty(size, dtype=torch.uint8, device=device)


def _stream(tensor: Tensor) -> int:
    return int(torch.cuda.current_stream(tensor.device).cuda_stream)


def _weights(matrix: Matrix, form: int, rows: int, first_row: int = 0) -> Product:
    p = Product(rows=rows, cols=matrix.cols)
    tile = first_row // 16
    if _kind(form):
        assert matrix.dense is not None
        p.dense = matrix.dense[first_row:].data_ptr()
        p.superblocks = _groups(form, matrix.cols)
    else:
        assert matrix.hi is not None
        assert matrix.row_scale is not None
        p.hi = matrix.hi[tile:].data_ptr()
        if form == 8:
            assert matrix.lo is not None
            p.lo = matrix.lo[tile:].data_ptr()
        p.row_scale = matrix.row_scale[first_row:].data_ptr()
        p.superblocks = matrix.hi.shape[1]
    if matrix.bias is not None:
        p.bias = matrix.bias[first_row:].data_ptr()
    p.units = p.part_tiles = matrix.rows // 16 - tile
    return p


def _result(p: Product, y: Tensor) -> None:
    p.y, p.ld_y, p.outputs = y.data_ptr(), y.stride(0), y.shape[1]


def _left(p: Product, form: int, h: Tensor, reader: Reader | None) -> Prepared | None:
    """Have a product that adds to the residual stream prepare it for its reader, where it can."""
    if reader is None or reader.norm is None or reader.norm.layer:
        return None
    other = _form(reader.matrix, reader.width, len(h))
    if other is None or _kind(other) != _kind(form) or form == _HALF:
        return None  # without the factor, values may be beyond float16's
    prepared = _room(form, len(h), h.shape[1], h.device)
    p.paired, p.units = True, _groups(form, h.shape[1])
    squares = floats(len(h), p.units, device=h.device)
    p.feed, p.feed_squares = prepared.data_ptr(), squares.data_ptr()
    p.feed_weight = reader.norm.weight.data_ptr()
    return Prepared(h, prepared, form, squares)


def _activations(p: Product, x: Tensor, norm: Norm | None) -> None:
    p.x = x.data_ptr()
    if norm is not None:
        p.norm, p.eps = (_LAYER if norm.layer else _RMS), norm.eps
        p.norm_weight = norm.weight.data_ptr()
        if norm.bias is not None:
            p.norm_bias = norm.bias.data_ptr()

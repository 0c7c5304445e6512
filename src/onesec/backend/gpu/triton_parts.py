"""Parts that Triton's product kernels share: activations on their way in, sums on their way out.

It must not know torch tensors, layers or models.
"""

import triton
import triton.language as tl

STORE = tl.constexpr(0)  # what happens to the sums: written,
ADD = tl.constexpr(1)  # added to what is there,
ACTIVATE = tl.constexpr(2)  # through the activation,
GATE = tl.constexpr(3)  # or activation(first half of the rows) * second half

SILU = tl.constexpr(0)
GELU_TANH = tl.constexpr(1)
GELU = tl.constexpr(2)
RELU = tl.constexpr(3)


@triton.jit
def quarters(x, A: tl.constexpr, W: tl.constexpr):
    """[32 lanes, W, A, 4] -> the four [A, W, 32] of its last axis."""
    x = tl.permute(x, (2, 1, 0, 3))
    even, odd = tl.split(tl.reshape(x, (A, W, 32, 2, 2)))
    x0, x2 = tl.split(even)
    x1, x3 = tl.split(odd)
    return x0, x1, x2, x3


@triton.jit
def eighths(x, A: tl.constexpr, W: tl.constexpr, L: tl.constexpr):
    """[L lanes, W, A, 8] -> the eight [A, W, L] of its last axis."""
    x = tl.permute(x, (2, 1, 0, 3))
    even, odd = tl.split(tl.reshape(x, (A, W, L, 4, 2)))
    x04, x26 = tl.split(tl.reshape(even, (A, W, L, 2, 2)))
    x15, x37 = tl.split(tl.reshape(odd, (A, W, L, 2, 2)))
    x0, x4 = tl.split(x04)
    x2, x6 = tl.split(x26)
    x1, x5 = tl.split(x15)
    x3, x7 = tl.split(x37)
    return x0, x1, x2, x3, x4, x5, x6, x7


@triton.jit
def together(x0, x1, x2, x3, x4, x5, x6, x7):
    """The eight as the last three axes (of two each) of one tensor: what eighths takes apart."""
    even = tl.join(tl.join(x0, x4), tl.join(x2, x6))
    odd = tl.join(tl.join(x1, x5), tl.join(x3, x7))
    return tl.join(even, odd)


@triton.jit
def activations(
    x_ptr, gain_ptr, token, n, col, cols, squares,
    RMS: tl.constexpr, EVEN: tl.constexpr, N: tl.constexpr, W: tl.constexpr,
):  # fmt: skip
    """Columns col..col+3 of N tokens, each [N, W, 32], and the squares summed so far.

    token is [1, 1, N, 1], col [32, W, 1, 4]: a load's last axis is a lane's own, its first the
    lanes, which is how Triton lays out a load, so that nothing passes through shared memory.
    EVEN, here and below: nothing is outside, so nothing is masked.
    """
    if EVEN:
        x = tl.load(x_ptr + token * cols + col)
    else:
        x = tl.load(x_ptr + token * cols + col, mask=(token < n) & (col < cols), other=0.0)
    x0, x1, x2, x3 = quarters(x, N, W)
    if RMS:
        squares = tl.fma(x0, x0, squares)
        squares = tl.fma(x1, x1, squares)
        squares = tl.fma(x2, x2, squares)
        squares = tl.fma(x3, x3, squares)
        if EVEN:
            gain = tl.load(gain_ptr + col)
        else:
            gain = tl.load(gain_ptr + col, mask=col < cols, other=0.0)
        g0, g1, g2, g3 = quarters(gain, 1, W)
        x0 *= g0
        x1 *= g1
        x2 *= g2
        x3 *= g3
    return x0, x1, x2, x3, squares


@triton.jit
def weights(at, inside, EVEN: tl.constexpr):
    """Weights, which are read once."""
    if EVEN:
        found = tl.load(at, eviction_policy="evict_first")
    else:
        found = tl.load(at, mask=inside, other=0, eviction_policy="evict_first")
    return found


@triton.jit
def activated(v, ACTIVATION: tl.constexpr):
    if ACTIVATION == SILU:
        v = v * tl.sigmoid(v)
    elif ACTIVATION == GELU_TANH:
        v = v * tl.sigmoid(1.5957691216057308 * (v + 0.044715 * v * v * v))
    elif ACTIVATION == GELU:
        v = 0.5 * v * (1.0 + tl.erf(v * 0.7071067811865476))
    else:
        v = tl.where(v < 0.0, 0.0, v)  # a maximum would drop what is not a number
    return v


@triton.jit
def finish(
    y, row, out_row, token, n, rows, bias_ptr, out_ptr, out_cols,
    EPILOGUE: tl.constexpr, ACTIVATION: tl.constexpr, HAS_BIAS: tl.constexpr,
):  # fmt: skip
    """y, token, row and out_row are [tokens, rows in some order]; in GATE the last axis is
    (gate, up), out_row that of the gate."""
    if HAS_BIAS:
        y += tl.load(bias_ptr + row, mask=row < rows, other=0.0)
    if EPILOGUE == GATE:
        gate, up = tl.split(y)
        y = activated(gate, ACTIVATION) * up
        out_row, _ = tl.split(out_row)
        token, _ = tl.split(token)
    if EPILOGUE == ACTIVATE:
        y = activated(y, ACTIVATION)
    inside = (token < n) & (out_row < out_cols)
    out = out_ptr + token * out_cols + out_row
    if EPILOGUE == ADD:
        y += tl.load(out, mask=inside, other=0.0)
    tl.store(out, y, mask=inside)

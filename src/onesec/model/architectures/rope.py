"""Rotary frequencies from a config's numbers: default, linear, llama3, YaRN, LongRoPE.

It must not know weights. float32 throughout, as transformers computes them, so that positions far
out turn by the same angle. Papers: RoPE 2104.09864, YaRN 2309.00071, LongRoPE 2402.13753.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from onesec.core.errors import UnsupportedModel
from onesec.model.config import Rope
from onesec.model.jsonfile import Fields

from .base import MAX_CONTEXT

MIN_FACTOR, MAX_FACTOR = 1e-3, 1e6
MAX_THETA = 1e15
MIN_FREQUENCY = 0.5 / (MAX_FACTOR * MAX_THETA)  # radians a position; half: float32 rounds
_ORIGINAL = "original_max_position_embeddings"
Float32 = npt.NDArray[np.float32]


def _wavelengths(theta: float, rotary_dim: int) -> Float32:
    """float32 [rotary_dim / 2]: theta ** (2 j / rotary_dim), positions a radian; rounded once."""
    exponent = np.arange(0, rotary_dim, 2, dtype=np.float32) / np.float32(rotary_dim)
    return np.power(theta, exponent.astype(np.float64)).astype(np.float32)


def inverse_frequencies(theta: float, rotary_dim: int) -> Float32:
    """float32 [rotary_dim / 2]: theta ** -(2 j / rotary_dim), radians a position."""
    frequencies: Float32 = np.float32(1.0) / _wavelengths(theta, rotary_dim)
    return frequencies


def plain(theta: float, rotary_dim: int, *, factor: float = 1.0) -> Rope:
    """Unscaled frequencies, or positions divided by `factor` (linear scaling)."""
    return _rope(inverse_frequencies(theta, rotary_dim) / np.float32(factor))


def divided(theta: float, rotary_dim: int, factors: Sequence[float], attention: float) -> Rope:
    """Each frequency divided by its own factor (LongRoPE, and GGUF's rope_freqs)."""
    scale = np.asarray(factors, dtype=np.float32) * _wavelengths(theta, rotary_dim)
    return _rope(np.float32(1.0) / scale, attention)


def longrope_attention(stretch: float, original: int) -> float:
    """LongRoPE's factor on cos and sin for a context of `stretch` times the `original` one."""
    return 1.0 if stretch <= 1.0 else math.sqrt(1.0 + math.log(stretch) / math.log(original))


def llama3(
    theta: float, rotary_dim: int, *, factor: float, low: float, high: float, original: int
) -> Rope:
    """Llama 3.1: waves longer than original/low are stretched `factor` times, those shorter than
    original/high are kept, those between are blended."""
    kept = inverse_frequencies(theta, rotary_dim)
    wavelength = np.float32(2 * math.pi) / kept
    blend = (np.float32(original) / wavelength - np.float32(low)) / np.float32(high - low)
    stretched = kept / np.float32(factor)
    blended = (1 - blend) * stretched + blend * kept
    long, short = wavelength > original / low, wavelength < original / high
    return _rope(np.where(long, stretched, np.where(short, kept, blended)))


def yarn(
    theta: float,
    rotary_dim: int,
    *,
    factor: float,
    original: int,
    beta_fast: float = 32.0,
    beta_slow: float = 1.0,
    attention: float | None = None,
) -> Rope:
    """YaRN: dimensions that turn more than `beta_fast` times in the original context are kept,
    fewer than `beta_slow` stretched `factor` times, those between ramped."""

    def dimension(turns: float) -> float:
        return rotary_dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low = max(math.floor(dimension(beta_fast)), 0)
    high = min(math.ceil(dimension(beta_slow)), rotary_dim - 1)
    kept = inverse_frequencies(theta, rotary_dim)
    span = high - low if high != low else 0.001
    ramp = np.clip((np.arange(rotary_dim // 2, dtype=np.float32) - low) / span, 0.0, 1.0)
    scaled = kept / np.float32(factor) * ramp + kept * (1 - ramp)
    if attention is None:
        attention = 1.0 if factor <= 1.0 else 0.1 * math.log(factor) + 1.0
    return _rope(scaled, attention)


def _rope(inv_freq: npt.NDArray[np.floating], attention: float = 1.0) -> Rope:
    return Rope(tuple(float(value) for value in inv_freq.astype(np.float32)), attention)


def from_fields(
    params: Fields | None, outer: Fields, *, theta: float, head_dim: int, positions: int
) -> Rope:
    """The Rope that a config.json asks for (all but LongRoPE, which needs the context in use).

    `params`: rope_parameters or rope_scaling; `outer`: the config around it; `theta`: the default.
    """
    params = params or Fields(outer.path, {})
    theta = rope_theta(params, outer, theta)
    dim = rotary_dim(params, outer, head_dim)
    kind = rope_kind(params)
    if kind in ("default", "dynamic"):  # dynamic NTK changes nothing within `positions`
        return plain(theta, dim)
    factor = params.number("factor", low=1.0, high=MAX_FACTOR)
    if kind == "linear":
        return plain(theta, dim, factor=factor)
    original = original_positions(params, outer, positions)
    if kind == "llama3":
        low = params.number("low_freq_factor", low=1e-3, high=MAX_FACTOR)
        high = params.number("high_freq_factor", low=1e-3, high=MAX_FACTOR)
        if high <= low:
            params.fail("high_freq_factor", f"is {high:g}, not more than low_freq_factor ({low:g})")
        return llama3(theta, dim, factor=factor, low=low, high=high, original=original)
    if kind == "yarn":
        refused = {key: params.has(key) for key in ("mscale", "mscale_all_dim")}
        refused["truncate = false"] = not params.flag("truncate", True)
        for key, there in refused.items():
            if there:
                raise UnsupportedModel(
                    f"{outer.path}: YaRN with {key} is not supported.",
                    hint="Use a checkpoint without rope scaling.",
                )
        return yarn(
            theta,
            dim,
            factor=factor,
            original=original,
            beta_fast=params.number("beta_fast", 32.0, low=1e-3, high=MAX_FACTOR),
            beta_slow=params.number("beta_slow", 1.0, low=1e-3, high=MAX_FACTOR),
            attention=(
                params.number("attention_factor", low=1e-3, high=1e3)
                if params.has("attention_factor")
                else None
            ),
        )
    raise UnsupportedModel(
        f"{outer.path}: rope scaling of the type {kind[:40]!r} is not supported.",
        hint="Supported: default, linear, dynamic, llama3, yarn, and longrope for phi3.",
    )


def rope_kind(params: Fields) -> str:
    """The type of rope scaling under its new or its old key."""
    return params.text("rope_type", params.text("type", "default"))


def rope_theta(params: Fields, outer: Fields, default: float) -> float:
    """theta from the rope parameters, else from the config around them."""
    outside = outer.number("rope_theta", default, low=1.0 + 1e-6, high=MAX_THETA)
    return params.number("rope_theta", outside, low=1.0 + 1e-6, high=MAX_THETA)


def rotary_dim(params: Fields, outer: Fields, head_dim: int) -> int:
    """How many of a head's dimensions are turned; CorruptFile if that is odd or none."""
    outside = outer.number("partial_rotary_factor", 1.0, low=0.0, high=1.0)
    dim = int(head_dim * params.number("partial_rotary_factor", outside, low=0.0, high=1.0))
    if dim < 2 or dim % 2:
        outer.fail("head_dim", f"leaves {dim} rotary dimensions; an even number is needed")
    return dim


def original_positions(params: Fields, outer: Fields, positions: int) -> int:
    """Positions that the model had before its context was stretched."""
    outside = outer.integer(_ORIGINAL, positions, low=2, high=MAX_CONTEXT)
    return params.integer(_ORIGINAL, outside, low=2, high=MAX_CONTEXT)


def stretched_positions(params: Fields | None, outer: Fields, positions: int) -> int:
    """The context that YaRN leaves of a config's `positions`: where the file says what it had
    before, that times the factor; model cards add the scaling and leave the positions as they are.
    """
    stated = params is not None and (params.has(_ORIGINAL) or outer.has(_ORIGINAL))
    if params is None or not stated or rope_kind(params) != "yarn":
        return positions
    factor = params.number("factor", low=1.0, high=MAX_FACTOR)
    stretched = round(factor * original_positions(params, outer, positions))
    return min(max(positions, stretched), MAX_CONTEXT)


def plain_of(rope: Rope) -> tuple[float, float] | None:
    """theta and linear factor with which `plain` gives these frequencies; None where none does.

    >>> plain_of(plain(10000.0, 8, factor=4.0))
    (10000.0, 4.0)
    """
    frequencies = np.asarray(rope.inv_freq)
    count, factor = len(frequencies), float(1.0 / frequencies[0])
    theta = 10000.0
    if count > 1:  # frequencies fall by theta ** (1 / count) each
        theta = float((frequencies[0] / frequencies[-1]) ** (count / (count - 1)))
    theta, factor = (
        float(round(value)) if abs(round(value) - value) < 1e-4 * value else value
        for value in (theta, factor)
    )
    if not 1.0 < theta < MAX_THETA or rope.attention_factor != 1.0:
        return None
    again = plain(theta, 2 * count, factor=factor).inv_freq
    return (theta, factor) if np.allclose(again, frequencies, rtol=1e-6, atol=0.0) else None


def factors_of(rope: Rope, theta: float) -> Float32:
    """float32 [rotary_dim / 2]: the factors with which `divided` gives these frequencies."""
    wavelengths = _wavelengths(theta, 2 * len(rope.inv_freq)).astype(np.float64)
    return (1.0 / (np.asarray(rope.inv_freq) * wavelengths)).astype(np.float32)

"""Hostile model files, made in code: truncated, lying, overlapping, huge, deep, twice, not finite.

Each entry is (name, suffix, bytes). The well-formed seeds that they spoil are here too.
"""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 4,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 8,
    "max_position_embeddings": 16,
    "tie_word_embeddings": True,
}
SHAPES = {
    "model.embed_tokens.weight": (4, 8),
    "model.layers.0.self_attn.q_proj.weight": (8, 8),
    "model.layers.0.self_attn.k_proj.weight": (4, 8),
    "model.layers.0.self_attn.v_proj.weight": (4, 8),
    "model.layers.0.self_attn.o_proj.weight": (8, 8),
    "model.layers.0.mlp.gate_proj.weight": (8, 8),
    "model.layers.0.mlp.up_proj.weight": (8, 8),
    "model.layers.0.mlp.down_proj.weight": (8, 8),
    "model.layers.0.input_layernorm.weight": (8,),
    "model.layers.0.post_attention_layernorm.weight": (8,),
    "model.norm.weight": (8,),
}

# safetensors


def entry(begin: int, end: int, *, dtype: Any = "F32", shape: Any = None) -> dict[str, Any]:
    """One tensor's header entry; a 1-d float32 of the right size unless told."""
    shape = [(end - begin) // 4] if shape is None else shape
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def safetensors_file(header: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    """A file of that header (JSON value, or bytes as they are) and data."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def valid_safetensors() -> bytes:
    """The tiny llama's weights."""
    header, at = {}, 0
    for name, shape in SHAPES.items():
        size = 4 * int(np.prod(shape))
        header[name] = entry(at, at + size, shape=list(shape))
        at += size
    return safetensors_file(header, np.ones(at // 4, np.float32).tobytes())


def hostile_safetensors() -> list[tuple[str, bytes]]:
    """Each must be refused by the reader of the file alone."""
    good = valid_safetensors()
    a = entry(0, 8)
    cases: list[tuple[str, Any]] = [
        ("empty", b""),
        ("seven-bytes", b"\0" * 7),
        ("length-zero", struct.pack("<Q", 0)),
        ("length-beyond-file", struct.pack("<Q", 100) + b"{}"),
        ("length-max", struct.pack("<Q", 2**64 - 1) + b"{}"),
        ("length-63-bits", struct.pack("<Q", 2**63) + b"{}"),
        ("length-over-cap", struct.pack("<Q", (16 << 20) + 1) + b" " * 64),
        ("length-overflows-when-8-is-added", struct.pack("<Q", 2**64 - 8) + b"{}"),
        ("not-json", safetensors_file(b"{not json}")),
        ("starts-with-space", safetensors_file(b" {}")),
        ("array", safetensors_file([])),
        ("cut-json", safetensors_file(b'{"a": {"dtype": "F3')),
        ("two-values", safetensors_file(b"{} {}")),
        ("not-utf8", safetensors_file(b'{"\xff": 1}')),
        ("utf16", safetensors_file("{}".encode("utf-16-le"))),
        ("nul-after", safetensors_file(b"{}\0")),
        ("deep-arrays", safetensors_file(b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}")),
        ("deep-objects", safetensors_file(b'{"a":' * 5000 + b"1" + b"}" * 5000)),
        ("deep-unclosed", safetensors_file(b"{" + b"[" * 1_000_000)),
        ("five-levels", safetensors_file({"a": {"dtype": [[[1]]]}})),
        ("many-values", safetensors_file(b'{"a":[' + b"0," * 140_000 + b"0]}")),
        ("many-keys", safetensors_file({f"t{i}": 0 for i in range(9_000)})),
        (
            "twice",
            safetensors_file(b'{"a": %s, "a": %s}' % ((json.dumps(a).encode(),) * 2), b"x" * 8),
        ),
        (
            "dtype-twice",
            safetensors_file(
                b'{"a":{"dtype":"F32","dtype":"F16","shape":[0],"data_offsets":[0,0]}}'
            ),
        ),
        ("nan", safetensors_file(b'{"a": NaN}')),
        (
            "infinity",
            safetensors_file(b'{"a":{"dtype":"F32","shape":[Infinity],"data_offsets":[0,0]}}'),
        ),
        (
            "huge-integer",
            safetensors_file(
                b'{"a":{"dtype":"F32","shape":[' + b"9" * 9000 + b'],"data_offsets":[0,0]}}'
            ),
        ),
        ("metadata-numbers", safetensors_file({"__metadata__": {"a": 1}})),
        ("metadata-list", safetensors_file({"__metadata__": []})),
        ("entry-is-null", safetensors_file({"a": None})),
        ("entry-is-list", safetensors_file({"a": []})),
        ("entry-without-shape", safetensors_file({"a": {"dtype": "F32", "data_offsets": [0, 0]}})),
        ("entry-with-more", safetensors_file({"a": {**entry(0, 8), "device": 0}}, b"x" * 8)),
        ("name-empty", safetensors_file({"": a}, b"x" * 8)),
        ("name-long", safetensors_file({"n" * 513: a}, b"x" * 8)),
        ("dtype-unknown", safetensors_file({"a": entry(0, 8, dtype="F128")}, b"x" * 8)),
        ("dtype-number", safetensors_file({"a": entry(0, 8, dtype=32)}, b"x" * 8)),
        ("dtype-list", safetensors_file({"a": entry(0, 8, dtype=["F32"])}, b"x" * 8)),
        ("dtype-lower", safetensors_file({"a": entry(0, 8, dtype="f32")}, b"x" * 8)),
        (
            "dtype-half-bytes",
            safetensors_file({"a": entry(0, 8, dtype="F4", shape=[16])}, b"x" * 8),
        ),
        ("dtype-wrong-size", safetensors_file({"a": entry(0, 8, dtype="F16")}, b"x" * 8)),
        ("shape-negative", safetensors_file({"a": entry(0, 8, shape=[-2])}, b"x" * 8)),
        ("shape-two-negatives", safetensors_file({"a": entry(0, 8, shape=[-1, -2])}, b"x" * 8)),
        ("shape-float", safetensors_file({"a": entry(0, 8, shape=[2.0])}, b"x" * 8)),
        ("shape-bool", safetensors_file({"a": entry(0, 4, shape=[True])}, b"x" * 4)),
        ("shape-string", safetensors_file({"a": entry(0, 8, shape="2")}, b"x" * 8)),
        ("shape-null", safetensors_file({"a": {**a, "shape": None}}, b"x" * 8)),
        (
            "shape-wraps-64-bits",
            safetensors_file({"a": entry(0, 8, shape=[2**33, 2**31 + 2])}, b"x" * 8),
        ),
        ("shape-wraps-to-zero", safetensors_file({"a": entry(0, 0, shape=[2**32, 2**32])})),
        ("shape-beyond-63-bits", safetensors_file({"a": entry(0, 0, shape=[2**63, 0])})),
        ("shape-nine-dims", safetensors_file({"a": entry(0, 4, shape=[1] * 9)}, b"x" * 4)),
        ("shape-too-large", safetensors_file({"a": entry(0, 8, shape=[3])}, b"x" * 8)),
        ("shape-scalar-of-8", safetensors_file({"a": entry(0, 8, shape=[])}, b"x" * 8)),
        ("offsets-reversed", safetensors_file({"a": entry(8, 0, shape=[2])}, b"x" * 8)),
        ("offsets-negative", safetensors_file({"a": entry(-8, 0, shape=[2])}, b"x" * 8)),
        ("offsets-beyond", safetensors_file({"a": entry(0, 16)}, b"x" * 8)),
        ("offsets-huge", safetensors_file({"a": entry(2**62, 2**62 + 8, shape=[2])}, b"x" * 8)),
        ("offsets-wrap", safetensors_file({"a": entry(2**64 - 8, 8, shape=[4])}, b"x" * 8)),
        ("offsets-three", safetensors_file({"a": {**a, "data_offsets": [0, 4, 8]}}, b"x" * 8)),
        ("offsets-one", safetensors_file({"a": {**a, "data_offsets": [8]}}, b"x" * 8)),
        ("offsets-float", safetensors_file({"a": {**a, "data_offsets": [0, 8.0]}}, b"x" * 8)),
        ("offsets-null", safetensors_file({"a": {**a, "data_offsets": None}}, b"x" * 8)),
        ("overlap", safetensors_file({"a": entry(0, 8), "b": entry(4, 12)}, b"x" * 12)),
        ("same-place", safetensors_file({"a": entry(0, 8), "b": entry(0, 8)}, b"x" * 8)),
        ("inside", safetensors_file({"a": entry(0, 16), "b": entry(4, 8)}, b"x" * 16)),
        ("gap", safetensors_file({"a": entry(0, 8), "b": entry(12, 20)}, b"x" * 20)),
        ("gap-at-start", safetensors_file({"a": entry(4, 12)}, b"x" * 12)),
        ("data-after", safetensors_file({"a": entry(0, 8)}, b"x" * 9)),
        ("data-without-tensors", safetensors_file({}, b"x")),
        ("data-missing", safetensors_file({"a": entry(0, 8)}, b"x" * 7)),
        (
            "empty-tensor-out-of-place",
            safetensors_file({"a": entry(0, 8), "b": entry(4, 4, shape=[0])}, b"x" * 8),
        ),
        ("pickle", b"\x80\x04\x95\x0c\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94."),
        ("many-escapes", safetensors_file(b'{"' + b"\\u0041" * 70_000 + b'": 1}')),
        ("zip", b"PK\x03\x04" + b"\0" * 60),
        ("zeros", b"\0" * 4096),
        ("ones", b"\xff" * 4096),
    ]
    cases += [(f"cut-at-{at}", good[:at]) for at in (1, 8, 9, 50, len(good) // 2, len(good) - 1)]
    cases += [("one-byte-more", good + b"\0"), ("twice-the-file", good + good)]
    return [(f"safetensors-{name}", raw) for name, raw in cases]


# GGUF

STRING, ARRAY, U32, U64, BOOL = 8, 9, 4, 10, 7


def text(value: str | bytes, *, length: int | None = None) -> bytes:
    """A GGUF string."""
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw) if length is None else length) + raw


def pair(key: str, kind: int, value: bytes) -> bytes:
    """A key-value pair of raw value bytes."""
    return text(key) + struct.pack("<I", kind) + value


def info(
    name: str | bytes,
    shape: tuple[int, ...],
    *,
    kind: int = 0,
    offset: int = 0,
    dims: int | None = None,
) -> bytes:
    """A tensor info; `shape` outermost first."""
    count = len(shape) if dims is None else dims
    raw = text(name) + struct.pack("<I", count)
    return (
        raw + b"".join(struct.pack("<Q", d) for d in shape[::-1]) + struct.pack("<IQ", kind, offset)
    )


def gguf_file(
    pairs: list[bytes],
    infos: list[bytes],
    data: bytes = b"",
    *,
    version: int = 3,
    counts: tuple[int, int] | None = None,
    alignment: int = 32,
) -> bytes:
    """A file of those parts; `counts` (tensors, keys) lie if given."""
    tensors, keys = counts or (len(infos), len(pairs))
    head = b"GGUF" + struct.pack("<IQQ", version, tensors, keys) + b"".join(pairs + infos)
    return head + b"\0" * (-len(head) % alignment) + data


def _u32(value: int) -> bytes:
    return struct.pack("<I", value)


# ggml's type id -> weights and bytes of a block
BLOCKS = {
    2: (32, 18),
    3: (32, 20),
    6: (32, 22),
    7: (32, 24),
    8: (32, 34),
    10: (256, 84),
    11: (256, 110),
    12: (256, 144),
    13: (256, 176),
    14: (256, 210),
    20: (32, 18),
    23: (256, 136),
}


def valid_gguf(kind: int = 0) -> bytes:
    """The tiny llama; its matrices in blocks of a type, 256 columns wide, where one is given."""
    wide = 256 if kind else 8
    weights, size = BLOCKS.get(kind, (1, 4))
    pairs = [pair("general.architecture", STRING, text("llama"))]
    for key, value in (
        ("context_length", 16),
        ("block_count", 1),
        ("embedding_length", wide),
        ("feed_forward_length", wide),
        ("attention.head_count", 2),
        ("attention.head_count_kv", 1),
    ):
        pairs.append(pair(f"llama.{key}", U32, _u32(value)))
    pairs.append(
        pair("tokenizer.ggml.tokens", ARRAY, struct.pack("<IQ", STRING, 2) + text("a") + text("b"))
    )
    pairs.append(pair("tokenizer.ggml.scores", ARRAY, struct.pack("<IQff", 6, 2, 0.5, 1.5)))
    shapes: dict[str, tuple[int, ...]] = {"token_embd": (4, wide), "output_norm": (wide,)}
    shapes |= {f"blk.0.{n}": (wide,) for n in ("attn_norm", "ffn_norm")}
    shapes |= {f"blk.0.attn_{n}": (wide // 2, wide) for n in "kv"}
    shapes |= {
        f"blk.0.{n}": (wide, wide)
        for n in ("attn_q", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    }
    infos, data = [], b""
    for name, shape in shapes.items():
        matrix, count = len(shape) == 2 and kind, int(np.prod(shape))
        infos.append(info(f"{name}.weight", shape, kind=kind if matrix else 0, offset=len(data)))
        one = bytes(count // weights * size) if matrix else np.ones(count, np.float32).tobytes()
        data += one + bytes(-len(one) % 32)
    return gguf_file(pairs, infos, data)


def hostile_gguf() -> list[tuple[str, bytes]]:
    """Each must be refused by the reader of the file alone."""
    good = valid_gguf()
    one = [info("a", (8,))]
    data = b"x" * 32

    def array(kind: int, count: int, values: bytes = b"") -> bytes:
        return pair("k", ARRAY, struct.pack("<IQ", kind, count) + values)

    nested = struct.pack("<IQ", ARRAY, 1) * 50 + struct.pack("<IQ", U32, 0)
    cases = [
        ("empty", b""),
        ("magic-only", b"GGUF"),
        ("wrong-magic", b"GGML" + good[4:]),
        ("version-0", gguf_file([], [], version=0)),
        ("version-1", gguf_file([], [], version=1)),
        ("version-4", gguf_file([], [], version=4)),
        ("big-endian", gguf_file([], [], version=3 << 24)),
        ("counts-max", gguf_file([], [], counts=(2**64 - 1, 2**64 - 1))),
        ("tensors-max", gguf_file([], [], counts=(2**63, 0))),
        ("keys-max", gguf_file([], [], counts=(0, 2**63))),
        ("keys-missing", gguf_file([], [], counts=(0, 1))),
        ("tensors-missing", gguf_file([], [], counts=(1, 0))),
        ("key-length-max", gguf_file([text("k", length=2**64 - 1)], [])),
        ("key-length-64k", gguf_file([text("k" * 65536) + _u32(U32) + _u32(1)], [])),
        ("key-not-utf8", gguf_file([text(b"\xff\xfe") + _u32(U32) + _u32(1)], [])),
        ("key-twice", gguf_file([pair("k", U32, _u32(1))] * 2, [])),
        ("value-type-13", gguf_file([pair("k", 13, _u32(1))], [])),
        ("value-type-max", gguf_file([pair("k", 2**32 - 1, _u32(1))], [])),
        ("value-cut", gguf_file([pair("k", U64, b"")], [], alignment=1)),
        ("bool-2", gguf_file([pair("k", BOOL, b"\2")], [])),
        ("string-length-max", gguf_file([pair("k", STRING, text("", length=2**64 - 1))], [])),
        ("string-beyond", gguf_file([pair("k", STRING, text("a", length=9999))], [])),
        ("string-over-cap", gguf_file([pair("k", STRING, text("", length=1 << 25))], [])),
        ("string-not-utf8", gguf_file([pair("k", STRING, text(b"\x80"))], [])),
        ("array-count-max", gguf_file([array(U32, 2**64 - 1)], [])),
        ("array-count-wraps", gguf_file([array(U32, 2**62)], [])),
        ("array-over-cap", gguf_file([array(U32, (1 << 22) + 1)], [])),
        ("array-beyond", gguf_file([array(U32, 1000, b"1234")], [])),
        ("array-of-strings-beyond", gguf_file([array(STRING, 1000, text("a"))], [])),
        ("array-of-strings-lie", gguf_file([array(STRING, 1, text("a", length=2**64 - 1))], [])),
        ("array-of-strings-cut", gguf_file([array(STRING, 2, text("abcdefghi"))], [], alignment=1)),
        ("array-of-strings-not-utf8", gguf_file([array(STRING, 1, text(b"\xff"))], [])),
        ("array-of-unknown", gguf_file([array(99, 1, b"1234")], [])),
        ("array-nests-50", gguf_file([pair("k", ARRAY, nested)], [])),
        ("array-of-bool-3", gguf_file([array(BOOL, 1, b"\3")], [])),
        ("alignment-0", gguf_file([pair("general.alignment", U32, _u32(0))], one, data)),
        ("alignment-3", gguf_file([pair("general.alignment", U32, _u32(3))], one, data)),
        ("alignment-huge", gguf_file([pair("general.alignment", U32, _u32(1 << 31))], one, data)),
        ("alignment-text", gguf_file([pair("general.alignment", STRING, text("32"))], one, data)),
        ("alignment-bool", gguf_file([pair("general.alignment", BOOL, b"\1")], one, data)),
        ("name-empty", gguf_file([], [info("", (8,))], data)),
        ("name-long", gguf_file([], [info("n" * 65, (8,))], data)),
        ("name-not-utf8", gguf_file([], [info(b"\xc0", (8,))], data)),
        ("name-twice", gguf_file([], [info("a", (8,)), info("a", (8,), offset=32)], data * 2)),
        ("dims-0", gguf_file([], [info("a", ())], data)),
        ("dims-5", gguf_file([], [info("a", (1,) * 5)], data)),
        ("dims-max", gguf_file([], [info("a", (8,), dims=2**32 - 1)], data)),
        ("dim-zero", gguf_file([], [info("a", (0, 8))], data)),
        ("dims-wrap-64-bits", gguf_file([], [info("a", (2**32, 2**32 + 1))], data)),
        ("dims-wrap-to-8", gguf_file([], [info("a", (2**61 + 1, 8))], data)),
        ("dims-max-each", gguf_file([], [info("a", (2**64 - 1,) * 4)], data)),
        ("type-retired", gguf_file([], [info("a", (8,), kind=4)], data)),
        ("type-iq2-xxs", gguf_file([], [info("a", (256,), kind=16)], data * 9)),
        ("q2k-data-cut", gguf_file([], [info("a", (256,), kind=10)], data)),
        ("q3k-part-of-block", gguf_file([], [info("a", (32,), kind=11)], data * 4)),
        ("iq4nl-data-missing", gguf_file([], [info("a", (32,), kind=20)])),
        ("type-max", gguf_file([], [info("a", (8,), kind=2**32 - 1)], data)),
        ("q8-part-of-block", gguf_file([], [info("a", (8,), kind=8)], data)),
        ("q4k-part-of-block", gguf_file([], [info("a", (128,), kind=12)], data * 4)),
        ("offset-unaligned", gguf_file([], [info("a", (8,), offset=4)], data * 2)),
        ("offset-gap", gguf_file([], [info("a", (8,), offset=32)], data * 2)),
        ("offset-max", gguf_file([], [info("a", (8,), offset=2**64 - 32)], data)),
        ("offset-beyond", gguf_file([], [info("a", (8,), offset=1 << 40)], data)),
        ("overlap", gguf_file([], [info("a", (16,)), info("b", (8,), offset=32)], data * 2)),
        ("same-place", gguf_file([], [info("a", (8,)), info("b", (8,))], data)),
        ("data-cut", gguf_file([], [info("a", (8,))], data[:31])),
        ("data-missing", gguf_file([], [info("a", (8,))])),
        ("zeros", b"\0" * 4096),
        ("ones", b"GGUF" + b"\xff" * 4096),
    ]
    cases += [(f"cut-at-{at}", good[:at]) for at in (3, 23, 24, 60, 300, 700, len(good) - 1)]
    for kind, (weights, size) in BLOCKS.items():
        blocks = bytes(-(-size // 32) * 32)
        part = info("a", (2, weights // 2), kind=kind)
        ragged = info("a", (weights + 1,), kind=kind)
        three = info("a", (3, weights), kind=kind)
        cases += [
            (f"type-{kind}-half-a-block", gguf_file([], [part], blocks)),
            (f"type-{kind}-a-block-and-one", gguf_file([], [ragged], blocks * 2)),
            (f"type-{kind}-data-cut", gguf_file([], [three], bytes(3 * size - 1))),
        ]
    return [(f"gguf-{name}", raw) for name, raw in cases]


# config.json


def hostile_configs() -> list[tuple[str, bytes]]:
    """Each must be refused beside the tiny llama's good weights."""

    def changed(**values: Any) -> bytes:
        return json.dumps({**LLAMA, **values}).encode()

    cases = [
        ("empty", b""),
        ("null", b"null"),
        ("list", b"[]"),
        ("cut", changed()[:-5]),
        ("over-cap", changed(pad="x" * (1 << 20))),
        ("deep", b'{"a":' * 2000 + b"1" + b"}" * 2000),
        ("deep-unclosed", b'{"a":' + b"[" * 500_000),
        ("twice", b'{"model_type": "llama", "model_type": "gpt2"}'),
        ("nan", changed()[:-1] + b', "rope_theta": NaN}'),
        ("number-overflows", changed()[:-1] + b', "rope_theta": 1e999}'),
        ("number-that-nobody-reads-overflows", changed()[:-1] + b', "x": [-1e999]}'),
        (
            "size-overflows",
            changed()[:-1].replace(b'"hidden_size": 8', b'"hidden_size": 1e400') + b"}",
        ),
        ("no-type", json.dumps({k: v for k, v in LLAMA.items() if k != "model_type"}).encode()),
        ("type-list", changed(model_type=["llama"])),
        ("type-unknown", changed(model_type="../../etc/passwd")),
        ("type-long", changed(model_type="x" * 1000)),
        ("layers-huge", changed(num_hidden_layers=2**62)),
        ("layers-negative", changed(num_hidden_layers=-1)),
        ("layers-more", changed(num_hidden_layers=1024)),
        ("hidden-other", changed(hidden_size=16)),
        ("vocab-other", changed(vocab_size=5)),
        ("heads-other", changed(num_attention_heads=4)),
        ("kv-heads-zero", changed(num_key_value_heads=0)),
        ("head-dim-odd", changed(head_dim=3)),
        ("untied-without-head", changed(tie_word_embeddings=False)),
        ("digits", b'{"model_type": "llama", "vocab_size": ' + b"9" * 5000 + b"}"),
        ("quantised", changed(quantization_config={"bits": 4})),
    ]
    return [(f"config-{name}", raw) for name, raw in cases]

"""Chunks: how a long prompt is cut.

It must not know what a chunk takes: how long one may be is told.
"""

from __future__ import annotations

_REST = 4  # a rest of at most this part of a chunk goes along with the last one


def next_chunk(left: int, limit: int) -> int:
    """Tokens of the next chunk, where `left` are left and about `limit` may run at once: a short
    rest is not worth another pass over the weights.

    >>> next_chunk(128, 121), next_chunk(200, 121)
    (128, 121)
    """
    return left if left <= limit + limit // _REST else limit


def count_chunks(tokens: int, limit: int) -> int:
    """How many chunks `next_chunk` makes of a prompt.

    >>> count_chunks(128, 121), count_chunks(200, 121), count_chunks(0, 121)
    (1, 2, 0)
    """
    return -(-tokens // limit) if tokens <= limit else -(-(tokens - limit // _REST) // limit)

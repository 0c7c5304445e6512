"""Lays the circuits of looking things up into a fresh model, for training to refine.

A reply's values are found in the context by one mechanism: attend to the place whose previous
tokens are the latest ones, and say what stands there. Gradient descent finds it late. Here the
first layer begins with heads that look one and two tokens back, the second with heads that
match those against the latest tokens and pass on what follows. It must not know any text.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .model import LanguageModel

LOCAL = 10  # rotary pairs, the fastest ones, that tell near positions apart
SLOW = 16  # rotary pairs from here on turn so slowly that they can carry content


def orthonormal(rows: int, columns: int) -> Tensor:
    """Random orthonormal rows."""
    return torch.linalg.qr(torch.randn(columns, rows))[0].T.contiguous()


@torch.no_grad()
def lay(model: LanguageModel) -> None:
    """Overwrite the attention of the first two layers and the scale of the embedding."""
    config = model.config
    size, head, half = config.hidden_size, config.head_dim, config.head_dim // 2
    groups = config.num_attention_heads // config.num_key_value_heads
    embedding = model.model.embed_tokens.weight
    constant = torch.nn.functional.normalize(torch.randn(size), dim=0)
    embedding.normal_(std=0.04)
    embedding.sub_((embedding @ constant)[:, None] * constant)
    embedding.add_(constant * 0.04 * size**0.5)

    basis = orthonormal(3 * head, size)
    basis = torch.linalg.qr((basis - (basis @ constant)[:, None] * constant).T)[0].T
    content, back = basis[:head], (basis[head : 2 * head], basis[2 * head :])

    first = model.model.layers[0].self_attn
    angles = config.rope_theta ** (-torch.arange(LOCAL) / half)
    for kv in range(min(2, config.num_key_value_heads)):
        key, offset = torch.zeros(head), kv + 1
        key[:LOCAL] = 1.0
        query = torch.zeros(head)
        query[:LOCAL] = torch.cos(angles * offset)
        query[half : half + LOCAL] = -torch.sin(angles * offset)
        first.k_proj.weight[kv * head : (kv + 1) * head] = torch.outer(key, constant)
        first.v_proj.weight[kv * head : (kv + 1) * head] = content
        q = kv * groups  # one query head of the group; the others stay random
        first.q_proj.weight[q * head : (q + 1) * head] = torch.outer(query, constant)
        first.o_proj.weight[:, q * head : (q + 1) * head] = back[kv].T * 0.1
    first.q_norm.weight.fill_(2.0)
    first.k_norm.weight.fill_(1.5)

    second = model.model.layers[1].self_attn
    slow = torch.cat([torch.arange(SLOW, half), torch.arange(SLOW, half) + half])
    near, far = slow[: len(slow) // 2], slow[len(slow) // 2 :]
    for kv in range(min(2, config.num_key_value_heads)):
        key, query = torch.zeros(head, size), torch.zeros(head, size)
        key[near], query[near] = back[0][: len(near)], content[: len(near)]
        if kv == 0:
            key[far] = back[1][len(near) : len(slow)]
            query[far] = back[0][len(near) : len(slow)]
        else:
            key[far], query[far] = back[0][len(near) : len(slow)], content[len(near) : len(slow)]
        passing = orthonormal(head, size)
        second.k_proj.weight[kv * head : (kv + 1) * head] = key
        second.v_proj.weight[kv * head : (kv + 1) * head] = passing
        q = kv * groups
        second.q_proj.weight[q * head : (q + 1) * head] = query
        second.o_proj.weight[:, q * head : (q + 1) * head] = passing.T * 0.15
    second.q_norm.weight.fill_(2.0)
    second.k_norm.weight.fill_(1.5)

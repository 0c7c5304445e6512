"""transformers with a static cache and a compiled forward: the peer, with its best settings."""

from __future__ import annotations

import statistics
from typing import Any

import torch

from onesec.model.shapes import shape

from .floors import gaps_ms


def transformers_step_ms(name: str, context: int = 256) -> dict[str, Any]:
    """Median device milliseconds of one decode step of a Llama shape in bfloat16, batch 1, measured
    as speed.steps measures ours. `queued`: the host's work between steps is not in them."""
    from transformers import LlamaConfig, LlamaForCausalLM, StaticCache

    sizes = shape(name)
    config = LlamaConfig(
        vocab_size=sizes.vocab_size,
        hidden_size=sizes.hidden_size,
        intermediate_size=sizes.intermediate_size,
        num_hidden_layers=sizes.num_layers,
        num_attention_heads=sizes.num_heads,
        num_key_value_heads=sizes.num_kv_heads,
        head_dim=sizes.head_dim,
        tie_word_embeddings=sizes.tie_embeddings,
        max_position_embeddings=4096,
        dtype="bfloat16",
    )
    with torch.device("cuda"):
        model = LlamaForCausalLM(config).to(torch.bfloat16).eval()
    cache = StaticCache(config=config, max_cache_len=512)
    token = torch.ones(1, 1, dtype=torch.long, device="cuda")
    with torch.inference_mode():
        model(torch.ones(1, context, dtype=torch.long, device="cuda"), past_key_values=cache)
        compiled = torch.compile(model.forward, mode="reduce-overhead", fullgraph=True)
        position = torch.tensor([context], device="cuda")

        def step() -> None:
            torch.compiler.cudagraph_mark_step_begin()
            compiled(token, past_key_values=cache, cache_position=position)

        for _ in range(8):
            step()
        times = [ms for _ in range(3) for ms in gaps_ms(step, 30)]
    return {
        "step_ms": statistics.median(times),
        "queued": True,
        "settings": "bf16, static cache, reduce-overhead",
    }

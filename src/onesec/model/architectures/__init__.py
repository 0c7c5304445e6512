"""The families of models that OneSec runs, by the name that config.json and GGUF files give them.

It must not know files. One file a family; one row here.
"""

from __future__ import annotations

from types import MappingProxyType

from .base import Architecture, GGUFHeader, Layout, Sources
from .gemma import GEMMA2, GEMMA3
from .gpt2 import GPT2
from .gpt_neo import GPT_NEO
from .llama import LLAMA, MISTRAL
from .phi3 import PHI3
from .qwen import QWEN2, QWEN3

HF_ARCHITECTURES = MappingProxyType(
    {
        "llama": LLAMA,
        "mistral": MISTRAL,
        "qwen2": QWEN2,
        "qwen3": QWEN3,
        "gpt2": GPT2,
        "gpt_neo": GPT_NEO,
        "gemma2": GEMMA2,
        "gemma3_text": GEMMA3,
        "gemma3": GEMMA3,
        "phi3": PHI3,
    }
)
GGUF_ARCHITECTURES = MappingProxyType(
    {
        architecture.name: architecture
        for architecture in HF_ARCHITECTURES.values()
        if architecture.from_gguf is not None
    }
)

__all__ = [
    "GGUF_ARCHITECTURES",
    "HF_ARCHITECTURES",
    "Architecture",
    "GGUFHeader",
    "Layout",
    "Sources",
]

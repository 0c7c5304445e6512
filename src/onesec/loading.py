"""Loading: from a MODEL word to what runs it: backend, tokenizer, chat template.

It must not know requests or deadlines; `llm.py` and the command line build on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from onesec.backend.base import Backend
from onesec.backend.cpu import CpuBackend
from onesec.core.errors import InvalidRequest
from onesec.model.artifact import Artifact, is_artifact, open_artifact
from onesec.model.checkpoints import open_checkpoint
from onesec.model.gguf import GGUFFile
from onesec.model.tokenizer import Tokenizer
from onesec.model.weights import Checkpoint

if TYPE_CHECKING:
    from onesec.prompt.template import ChatTemplate

KvDtype = Literal["f16", "i8", "f32"]
DEFAULT_CONTEXT_TOKENS = 8192  # unless the model's own context is shorter
_BLOCKS = 64  # tokens, a multiple of every backend's block size


@dataclass(slots=True, kw_only=True)
class LoadedModel:
    """What runs a model. It owns the backend; `template` is None where the model has none."""

    name: str
    path: Path
    backend: Backend
    tokenizer: Tokenizer
    template: ChatTemplate | None
    eos_ids: tuple[int, ...]
    context_length: int  # tokens of one sequence
    closed: bool = False

    def close(self) -> None:
        """Free the backend's memory and threads. Harmless when called again."""
        if not self.closed:
            self.closed = True
            self.backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def find_model(model: str | Path) -> Path:
    """Where a MODEL lies: a path as it is, else what the hub's cache or the package has.

    Raises ModelNotFound.
    """
    path = Path(model).expanduser()
    if path.exists():
        return path
    from onesec.model.hub import resolve_model

    return resolve_model(str(model))


def open_source(path: Path) -> Checkpoint | Artifact:
    """The model at a path, mapped. Raises ModelError."""
    return open_artifact(path) if is_artifact(path) else open_checkpoint(path)


def open_tokenizer(path: Path, *, context_length: int | None = None) -> Tokenizer:
    """The tokenizer of the model at a path: in a GGUF file, or beside the weights.

    `context_length` bounds the texts that it takes: a few bytes for each token that would fit.
    """
    ggufs = [path] if path.is_file() else sorted(path.glob("*.gguf"))
    if ggufs and not (path / "tokenizer.json").is_file():
        with GGUFFile(ggufs[0]) as file:
            return Tokenizer.from_gguf(file.metadata, context_length=context_length)
    return Tokenizer.from_folder(path, context_length=context_length)


def load_model(
    model: str | Path,
    *,
    context: int | None = None,
    sequences: int = 1,
    threads: int | None = None,
    kv_dtype: KvDtype = "f16",
    planes: bool = True,
    reference: bool = False,
    progress: Callable[[float], None] | None = None,
) -> LoadedModel:
    """Find, open and load a model.

    context    tokens of one sequence (None: the model's own, at most 8192); `sequences` of them fit
               the cache at once
    planes     load the 4- and 8-bit widths; `reference` the 16-bit one (needs a checkpoint)

    Raises ModelError, OutOfMemory, InvalidRequest.

    >>> with load_model("models/SmolLM2-135M") as loaded:  # doctest: +SKIP
    ...     loaded.backend.gears
    """
    path = find_model(model)
    source = open_source(path)
    try:
        limit = source.config.context_length
        if context is not None and not 1 <= context <= limit:
            raise InvalidRequest(
                f"A context of {context} tokens was asked for; {model} has {limit}.",
                hint=f"Choose 1 to {limit}.",
            )
        length = context or min(limit, DEFAULT_CONTEXT_TOKENS)
        tokenizer = open_tokenizer(path, context_length=limit)
        backend = CpuBackend.load(
            source,
            # Each sequence fills blocks of its own, the last of them in part.
            context_tokens=sequences * -(-length // _BLOCKS) * _BLOCKS,
            threads=threads,
            kv_dtype=kv_dtype,
            planes=planes,
            reference=reference,
            progress=progress,
        )
    except BaseException:
        source.close()
        raise
    defaults: Mapping[str, Any] = source.generation_defaults
    return LoadedModel(
        name=str(model),
        path=path,
        backend=backend,
        tokenizer=tokenizer,
        template=_template(tokenizer),
        eos_ids=tuple(dict.fromkeys((*tokenizer.eos_ids, *defaults.get("eos_ids", ())))),
        context_length=length,
    )



def _template(tokenizer: Tokenizer) -> ChatTemplate | None:
    if not tokenizer.chat_templates:
        return None
    from onesec.prompt.template import ChatTemplate

    return ChatTemplate(tokenizer)

"""Loading: from a MODEL word to what runs it: backend, tokenizer, chat template.

It must not know requests or deadlines; `llm.py` and the command line build on it. What only some
models need (readers of checkpoints, chat templates) is imported where one of those is met: a start
from an artifact does not wait for it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from os import SEEK_END
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Literal, get_args

from onesec import __version__
from onesec.backend.base import Backend
from onesec.backend.devices import loader
from onesec.budget.latency import LatencyModel
from onesec.core.clock import Clock
from onesec.core.closing import Closing
from onesec.core.errors import CorruptFile, InvalidRequest
from onesec.core.request import SamplingParams
from onesec.core.thinking import ThinkingMarks
from onesec.engine.lengths import LengthStore
from onesec.engine.profile import cached_profile, holds, profile, reach
from onesec.engine.structure import Vocabulary
from onesec.explain.confidence import Confidence, read_confidence
from onesec.machine import cache_folder, free_memory_bytes
from onesec.model.artifact import Artifact, is_artifact, open_artifact
from onesec.model.hub import resolve_model
from onesec.model.thinking import thinking_marks
from onesec.model.tokenizer import Tokenizer
from onesec.wording import Message, Wording

if TYPE_CHECKING:
    from onesec.backend.cpu import CpuBackend
    from onesec.backend.gpu.backend import GpuBackend
    from onesec.engine.engine import Engine
    from onesec.model.config import ModelConfig
    from onesec.model.weights import Checkpoint
    from onesec.prompt.template import ChatTemplate

KvDtype = Literal["f16", "i8", "f32"]
ProfileUse = Literal["checked", "kept", "fresh"]  # see latency_model
PROFILE_USES: tuple[ProfileUse, ...] = get_args(ProfileUse)
# What is known of an artifact's planes, beside its weights.
_MEASURED = ("gears.json", "recipe.json", "confidence.json", "report.json", "report.html")
DEFAULT_CONTEXT_TOKENS = 8192  # unless the model's own context is shorter
_SAMPLE_BYTES = 1 << 16  # of either end of a file, which tell it from others
_CACHE_SHARE, _CACHE_BYTES = 8, 256 << 20  # of the free memory, for a cache of no set size
_LEAST_SEQUENCES, _MOST_SEQUENCES = 2, 64
_VALUE_BYTES: dict[KvDtype, int] = {"f16": 2, "i8": 1, "f32": 4}
_BLOCKS = 64  # tokens, a multiple of every backend's block size


@dataclass(slots=True, kw_only=True)
class LoadedModel(Closing):
    """What runs a model. It owns the backend; `template` is None where the model has none."""

    name: str
    path: Path
    backend: Backend
    tokenizer: Tokenizer
    template: ChatTemplate | None
    eos_ids: tuple[int, ...]
    context_length: int  # tokens of one sequence
    measure_latency: Callable[[Clock, ProfileUse], LatencyModel]
    lengths: Callable[[], LengthStore] | None = None  # where those of its answers are kept
    default_params: SamplingParams = field(default_factory=SamplingParams)  # its makers' advice
    confidence: Confidence = field(default_factory=Confidence)
    thinking: ThinkingMarks | None = None  # where it thinks aloud
    machine: str = ""  # what of this machine decides how fast it is, in words
    closed: bool = False

    @property
    def wording(self) -> Wording:
        """Its tokenizer and chat template."""
        return Wording(self.name, self.tokenizer, self.template)

    def render(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of a conversation: see `Wording.render`."""
        return self.wording.render(messages)

    def fit_messages(
        self, messages: Sequence[Message], *, max_tokens: int
    ) -> tuple[list[Message], int]:
        """The messages that fit: see `Wording.fit_messages`."""
        return self.wording.fit_messages(messages, max_tokens=max_tokens)

    def vocabulary(self) -> Vocabulary:
        """The model's tokens, as response formats are compiled to them."""
        tokenizer = self.tokenizer
        return Vocabulary(
            size=self.backend.vocab_size,
            token_bytes=tokenizer.token_bytes,
            eos_ids=self.eos_ids,
            special_ids=tokenizer.special_ids | set(tokenizer.added_tokens.values()),
            encode=tokenizer.encode,
        )

    def save(
        self,
        path: str | Path,
        *,
        gears: Mapping[str, Any] | None = None,
        recipe: Mapping[str, Any] | None = None,
        narrow: Collection[str] = (),
        beside: Callable[[Path], None] | None = None,
    ) -> None:
        """Write an artifact, which needs nothing else: packed weights, and the tokenizer's files
        beside them (copied from a folder, written anew from a GGUF file).

        `gears` and `recipe` are the values of the files of these names; the `narrow` matrices go
        without their second plane; `beside` may write more files into the folder that it is given.
        Without `gears` and `narrow` planes stay what they are, and an artifact's own gears, recipe,
        confidence and reports come along.

        Raises InvalidRequest where there is nothing to save, ModelError where the disk refuses.
        """
        from onesec.backend.cpu import CpuBackend
        from onesec.model.artifact_writer import copy_companions

        if not isinstance(self.backend, CpuBackend):
            raise InvalidRequest(f"{self.name} does not run on the CPU engine.")

        def companions(folder: Path) -> None:
            self.write_companions(folder)
            if gears is None and not narrow and is_artifact(self.path):
                copy_companions(self.path, folder, _MEASURED)
            if beside is not None:
                beside(folder)

        self.backend.save(path, companions, narrow=narrow, gears=gears, recipe=recipe)

    def write_companions(self, folder: Path) -> None:
        """Write the files of an artifact that are no weights: the tokenizer, the chat template,
        the licence. Raises CorruptFile, OSError where the disk refuses."""
        from onesec.model.artifact_writer import copy_companions

        if self.path.is_file():  # GGUF: the tokenizer is among the metadata
            self.tokenizer.save(folder)
        else:
            copy_companions(self.path, folder)

    def companion_bytes(self) -> int:
        """Bytes of what `write_companions` writes. Raises CorruptFile, OSError."""
        from onesec.model.artifact_writer import companion_bytes
        from onesec.model.tokenizer_folder import tokenizer_contents

        if self.path.is_file():
            files = self.tokenizer.files(self.path)
            return sum(map(len, tokenizer_contents(files).values()))
        return companion_bytes(self.path)

    def engine(
        self,
        clock: Clock,
        latency: LatencyModel,
        lengths: LengthStore | None = None,
        **options: Any,
    ) -> Engine:
        """An engine over this model; `lengths` is where those of answers are kept, `options` are
        further ones of Engine."""
        from onesec.engine.engine import Engine
        from onesec.engine.structure import Structures

        return Engine(
            self.backend,
            clock,
            latency=latency,
            eos_ids=self.eos_ids,
            decode_text=self.tokenizer.decode,
            length=None if lengths is None else lengths.load(),
            context_length=self.context_length,
            thinking=self.thinking,
            structures=Structures(self.vocabulary),
            **options,
        )

    def close(self) -> None:
        """Free the backend's memory and threads. Harmless when called again."""
        if not self.closed:
            self.closed = True
            self.backend.close()


def find_model(model: str | Path) -> Path:
    """The folder or .gguf file that a MODEL word means. Raises ModelNotFound, UnsupportedModel."""
    return resolve_model(str(model), assets=Path(__file__).parent / "assets")


def open_source(path: Path) -> Checkpoint | Artifact:
    """The model at a path, mapped. Raises ModelError."""
    if is_artifact(path):
        return open_artifact(path)
    from onesec.model.checkpoints import open_checkpoint

    return open_checkpoint(path)


def count_gears(path: Path) -> int:
    """How many gears the model at a path has in planes: 4, 8 (where no matrix is narrow) and an
    artifact's mixed ones."""
    if not is_artifact(path):
        return 2
    with open_artifact(path) as artifact:
        return (1 if artifact.narrow else 2) + len(artifact.ladder)


def open_tokenizer(path: Path, *, context_length: int | None = None) -> Tokenizer:
    """The tokenizer of the model at a path: in a GGUF file, or beside the weights.

    `context_length` bounds the texts that it takes: a few bytes for each token that would fit.
    What had to be guessed is told as a UserWarning.
    """
    if path.is_file():
        from onesec.model.gguf import GGUFFile

        with GGUFFile(path) as file:
            tokenizer = Tokenizer.from_gguf(file.metadata, context_length=context_length)
        for guess in tokenizer.warnings:
            warnings.warn(f"{path}: {guess}", stacklevel=2)
        return tokenizer
    return Tokenizer.from_folder(path, context_length=context_length)


def open_wording(model: str | Path) -> Wording:
    """A MODEL's tokenizer and chat template, without its weights. Raises ModelError."""
    path = find_model(model)
    source = open_source(path)
    try:
        limit = source.config.max_context
    finally:
        source.close()
    return Wording.of(str(model), open_tokenizer(path, context_length=limit))


def _check_vocabulary(path: Path, tokenizer: Tokenizer, rows: int) -> None:
    """Refuse another model's tokenizer: `rows` are the embedding's. Tables are padded, but not to
    twice their size; tokens added afterwards (a padding token) may have no row."""
    if tokenizer.base_size > rows or 2 * tokenizer.vocab_size < rows:
        raise CorruptFile(
            path,
            f"its tokenizer has {tokenizer.vocab_size} tokens, its embedding {rows} rows",
            hint="The tokenizer is of another model: fetch both again.",
        )


def load_model(
    model: str | Path,
    *,
    device: str = "cpu",
    context: int | None = None,
    sequences: int | None = 1,
    threads: int | None = None,
    kv_dtype: KvDtype = "f16",
    planes: bool = True,
    reference: bool = False,
    progress: Callable[[float], None] | None = None,
) -> LoadedModel:
    """Find, open and load a model.

    device     "cpu", or "cuda" ("cuda:1", ...), for which `threads` means nothing
    context    tokens of one sequence (None: the model's own, at most 8192); `sequences` of them fit
               the cache at once (None: as many as an eighth of the free memory holds, 256 MiB at
               most, but two: what has been read stays at hand for who begins alike). Where a model
               has other rotary frequencies for long contexts (Phi-3), a context beyond the original
               one chooses those
    planes     load the 4- and 8-bit widths; `reference` the 16-bit one (needs a checkpoint)

    Raises ModelError, OutOfMemory, InvalidRequest.

    >>> with load_model("models/SmolLM2-135M") as loaded:  # doctest: +SKIP
    ...     loaded.backend.gears
    """
    load = loader(device, threads)
    path = find_model(model)
    source = open_source(path)
    try:
        limit = source.config.max_context
        if context is not None and not (type(context) is int and 1 <= context <= limit):
            raise InvalidRequest(
                f"A context of {context!r} tokens was asked for; {model} has {limit}.",
                hint=f"Choose 1 to {limit}.",
            )
        length = context or min(source.config.context_length, DEFAULT_CONTEXT_TOKENS)
        with _touching(source):
            tokenizer = open_tokenizer(path, context_length=limit)
            _check_vocabulary(path, tokenizer, source.config.vocab_size)
            template = Wording.of(str(model), tokenizer).template
            confidence = read_confidence(path) if isinstance(source, Artifact) else Confidence()
        if sequences is None:
            sequences = _sequences_at_hand(source.config, length, kv_dtype)
        backend = load(
            source,
            # Each sequence fills blocks of its own, the last of them in part.
            context_tokens=sequences * -(-length // _BLOCKS) * _BLOCKS,
            sequence_tokens=length,
            kv_dtype=kv_dtype,
            planes=planes,
            reference=reference,
            progress=progress,
        )
    except BaseException:
        source.close()
        raise
    defaults = dict(source.generation_defaults)
    more_ends = defaults.pop("eos_ids", ())
    return LoadedModel(
        name=str(model),
        path=path,
        backend=backend,
        tokenizer=tokenizer,
        template=template,
        eos_ids=tuple(dict.fromkeys((*tokenizer.eos_ids, *more_ends))),
        context_length=length,
        measure_latency=lambda clock, use: latency_model(backend, clock, use),
        lengths=lambda: length_store(path),
        default_params=SamplingParams(**defaults),
        confidence=confidence,
        thinking=thinking_marks(tokenizer),
        machine=backend.machine,
    )


def _sequences_at_hand(config: ModelConfig, tokens: int, kv_dtype: KvDtype) -> int:
    """How many sequences of so many tokens a server's cache holds where nobody said."""
    values = 2 * tokens * config.num_layers * config.num_kv_heads * config.head_dim
    room = min(free_memory_bytes() // _CACHE_SHARE, _CACHE_BYTES)
    bytes_each = values * _VALUE_BYTES.get(kv_dtype, 4)  # of another type: the backend refuses it
    return max(_LEAST_SEQUENCES, min(_MOST_SEQUENCES, room // bytes_each))


@contextmanager
def _touching(source: Checkpoint | Artifact) -> Iterator[None]:
    """Map an artifact's pages beside the work of this block, where memory has room for all of them.

    A checkpoint is read in its own time, while it is packed.
    """
    if not isinstance(source, Artifact) or source.nbytes > free_memory_bytes():
        yield
        return
    thread = Thread(target=source.touch, name="onesec-touch")
    thread.start()
    try:
        yield
    finally:
        thread.join()


def latency_model(
    backend: CpuBackend | GpuBackend, clock: Clock, use: ProfileUse = "checked"
) -> LatencyModel:
    """The latency model of this backend on this machine. "checked": the one that was kept, where it
    still holds; "kept": the one that was kept, as it is; "fresh": a new one. What is measured is
    kept. Call it before an engine runs.
    """
    names = {gear.name for gear in backend.gears}
    machine = f"{__version__} {backend.machine}"
    gears = [(gear.name, backend.bytes_per_token(gear)) for gear in backend.gears]
    model = f"{backend.config} {gears} {backend.kv_dtype} {reach(backend)}"
    return cached_profile(
        machine,
        model,
        cache_folder(),
        lambda: profile(backend, clock),
        still_holds=lambda kept: (
            names <= set(kept.gears) if use == "kept" else holds(backend, kept)
        ),
        fresh=use == "fresh",
    )


def length_store(path: Path) -> LengthStore:
    """Where the lengths of this model's answers are kept: in the user's cache, by what the model's
    files are, whatever they are called and on whatever machine."""
    files = [path] if path.is_file() else sorted(each for each in path.iterdir() if each.is_file())
    known = blake2b(digest_size=32)
    for file in files:
        # One that cannot be read, or is gone by now, is none of the model's.
        with suppress(OSError), open(file, "rb") as opened:
            size = opened.seek(0, SEEK_END)
            opened.seek(0)
            known.update(f"{size} ".encode() + opened.read(_SAMPLE_BYTES))
            opened.seek(max(0, size - _SAMPLE_BYTES))
            known.update(opened.read(_SAMPLE_BYTES))
    return LengthStore(cache_folder(), known.hexdigest())

"""CudaLibrary: the kernels of backend/gpu/cuda, compiled once by nvcc, and their doors.

The compiled library is kept in a folder under a name made of the sources, the compiler's version
and the GPU's architecture, so that a change of any of them compiles anew. The doors take addresses
of device memory and a stream; they know no torch. It must not know what is computed.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from onesec.core.errors import KernelBuildFailed

SOURCES = Path(__file__).parent / "cuda"
_FLAGS = (
    *("-O3", "-std=c++20", "-shared", "-Xcompiler", "-fPIC", "--expt-relaxed-constexpr"),
    "-fmad=false",  # fused only where the source says fma, as on the CPU
)
_MOST_SECONDS = 300  # of nvcc
OLDEST = (9, 0)  # the first with the kernels' bulk copies and clusters
SHARED_BYTES = 160 << 10  # of shared memory that a GPU must let a block have


class Product(ctypes.Structure):
    """arguments.h's struct of the same name, field by field; 0 and None are its nulls."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("hi", "lo", "dense", "row_scale", "bias")),
        *((name, ctypes.c_void_p) for name in ("prepared", "x", "norm_weight", "norm_bias")),
        *((name, ctypes.c_void_p) for name in ("squares", "y", "feed", "feed_weight")),
        *((name, ctypes.c_void_p) for name in ("feed_squares", "shared", "arrived")),
        *((name, ctypes.c_int32) for name in ("cols", "rows", "superblocks", "units")),
        *(
            (name, ctypes.c_int32)
            for name in ("first_shared", "slots", "part_tiles", "ld_y", "outputs", "size")
        ),
        *((name, ctypes.c_int32) for name in ("gated", "add", "paired", "norm", "activation")),
        ("eps", ctypes.c_float),
    )


class Attention(ctypes.Structure):
    """arguments.h's struct of the same name, field by field."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("qkv", "keys", "values", "rotary")),
        *((name, ctypes.c_void_p) for name in ("q_norm", "k_norm", "positions", "tables")),
        *((name, ctypes.c_void_p) for name in ("out", "feed")),
        *((name, ctypes.c_int32) for name in ("rows", "qkv_stride", "k_offset", "v_offset")),
        *((name, ctypes.c_int32) for name in ("table_stride", "kv_heads", "group", "head_dim")),
        *((name, ctypes.c_int32) for name in ("half", "window", "feed_form")),
        *((name, ctypes.c_float) for name in ("scale", "softcap", "q_eps", "k_eps")),
    )


class CudaLibrary:
    """The doors of one compiled library; each raises RuntimeError with CUDA's words. To open it
    raises KernelBuildFailed where it does not run on the current device.

    stream: the address that torch calls `cuda_stream`. dependent: the kernel may start while the
    one before it on the stream still runs (compute capability 9.0).
    """

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))
        self._library.onesec_error.restype = ctypes.c_char_p
        self._library.onesec_shared_floats.restype = ctypes.c_int64
        for struct, told in (
            (Product, self._library.onesec_product_bytes()),
            (Attention, self._library.onesec_attention_bytes()),
        ):
            if told != ctypes.sizeof(struct):
                raise KernelBuildFailed(
                    f"{struct.__name__} has {told} bytes in {path}, {ctypes.sizeof(struct)} here"
                )
        try:
            self._check(self._library.onesec_ready())
        except RuntimeError as error:
            raise KernelBuildFailed(f"the library does not run here: {error}") from None

    def product(
        self, p: Product, form: int, per_multiprocessor: int, dependent: bool, stream: int
    ) -> None:
        """A product by the kernel of a form: 4, 8 (planes), 16 (bf16) or 17 (half)."""
        self._check(
            self._library.onesec_product(
                ctypes.byref(p), form, per_multiprocessor, dependent, ctypes.c_void_p(stream)
            )
        )

    def shared_floats(self, p: Product, form: int) -> int:
        """How many floats `shared` has to hold."""
        return int(self._library.onesec_shared_floats(ctypes.byref(p), form))

    def prepare(self, p: Product, form: int, dependent: bool, stream: int) -> None:
        """The rows of x, normed, as products of that form read them, into `feed`."""
        self._check(
            self._library.onesec_prepare(ctypes.byref(p), form, dependent, ctypes.c_void_p(stream))
        )

    def attention(self, a: Attention, dependent: bool, stream: int) -> None:
        """Each row's heads turned, and attending over its sequence's cache, into `out`."""
        self._check(
            self._library.onesec_attention(ctypes.byref(a), dependent, ctypes.c_void_p(stream))
        )

    def open_planes(self, p: Product, width: int, form: int, stream: int) -> None:
        """The planes at a width as dense values of a form, 16 or 17, into `feed`."""
        self._check(
            self._library.onesec_open(ctypes.byref(p), width, form, ctypes.c_void_p(stream))
        )

    def _check(self, code: int) -> None:
        if code != 0:
            raise RuntimeError(f"CUDA error {code}: {self._library.onesec_error(code).decode()}")


def find_nvcc() -> str | None:
    """The CUDA compiler: of CUDA_HOME, else of PATH, else of /usr/local/cuda."""
    home = os.environ.get("CUDA_HOME", "")
    there = [Path(home) / "bin" / "nvcc"] if home else []
    found = next((str(path) for path in there if path.is_file()), None) or shutil.which("nvcc")
    usual = Path("/usr/local/cuda/bin/nvcc")
    return found or (str(usual) if usual.is_file() else None)


def compile_library(capability: tuple[int, int], folder: Path) -> Path:
    """The library for GPUs of a compute capability, compiled into `folder` unless it is there.

    Takes some twenty seconds once. Raises KernelBuildFailed where there is no nvcc, the GPU is
    older than 9.0, nvcc refuses or cannot be run, or the folder cannot be written.
    """
    if capability < OLDEST:
        needed, there = ("{}.{}".format(*each) for each in (OLDEST, capability))
        raise KernelBuildFailed(
            f"the kernels need compute capability {needed}; this GPU has {there}"
        )
    nvcc = find_nvcc()
    if nvcc is None:
        raise KernelBuildFailed("there is no nvcc in CUDA_HOME, PATH or /usr/local/cuda")
    arch = "{}{}a".format(*capability)
    try:
        path = folder / f"cuda-sm{arch}-{_key(nvcc)}.so"
    except OSError as error:
        raise KernelBuildFailed(f"{nvcc} cannot be run: {error}") from None
    if path.is_file():
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:  # renamed when complete
            made = Path(scratch) / path.name
            run = _run(compile_command(nvcc, arch, made))
            if run.returncode != 0 or not made.is_file():
                raise KernelBuildFailed(f"{nvcc} ended with {run.returncode}", output=run.stdout)
            made.replace(path)
    except OSError as error:
        raise KernelBuildFailed(f"the library cannot be kept in {folder}: {error}") from None
    return path


def open_library(capability: tuple[int, int], folder: Path) -> CudaLibrary:
    """The doors of the library that compile_library gives. A file that is none (cut off by a full
    disk) is compiled anew, once. Raises KernelBuildFailed."""
    path = compile_library(capability, folder)
    try:
        return CudaLibrary(path)
    except (OSError, AttributeError):
        with contextlib.suppress(OSError):
            path.unlink()
    path = compile_library(capability, folder)
    try:
        return CudaLibrary(path)
    except (OSError, AttributeError) as error:
        raise KernelBuildFailed(f"the library cannot be opened: {error}") from None


def compile_command(nvcc: str, arch: str, made: Path) -> list[str]:
    """What compiles the library for an architecture ("90a") into the file `made`."""
    target = f"-gencode=arch=compute_{arch},code=sm_{arch}"
    return [nvcc, *_FLAGS, target, "-o", str(made), str(SOURCES / "launch.cu")]


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Raises KernelBuildFailed where it takes too long, OSError where it cannot be run. A compiler
    that is left takes the programs along that it has started."""
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            told, _ = process.communicate(timeout=_MOST_SECONDS)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            late = f"{command[0]} has not ended after {_MOST_SECONDS} s"
            raise KernelBuildFailed(late) from None
    return subprocess.CompletedProcess(command, process.returncode, told)


@functools.cache
def _key(nvcc: str) -> str:
    digest = hashlib.sha256(" ".join(_FLAGS).encode())
    digest.update(_run([nvcc, "--version"]).stdout.encode())
    for source in sorted(SOURCES.iterdir()):
        if source.suffix in (".h", ".cu"):
            digest.update(source.name.encode() + source.read_bytes())
    return digest.hexdigest()[:16]

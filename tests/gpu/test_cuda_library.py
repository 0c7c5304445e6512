"""The GPU's kernels compile for Hopper into what they were written for, without a GPU; and their
library is kept, or its failure told."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import select
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from onesec.backend.gpu import cuda_library
from onesec.backend.gpu.cuda_library import (
    SOURCES,
    Attention,
    CudaLibrary,
    Product,
    compile_command,
    compile_library,
    open_library,
)
from onesec.core.errors import KernelBuildFailed

HOPPER = "90a"
nvcc = cuda_library.find_nvcc()
needs_nvcc = pytest.mark.skipif(nvcc is None, reason="no nvcc")


def test_python_fills_in_the_struct_that_the_kernels_read() -> None:
    text = (SOURCES / "arguments.h").read_text()
    sizes = dict.fromkeys(("int32_t", "float", "Format", "NormKind", "Activation"), 4)
    for struct in (Product, Attention):
        body = re.sub(r"//.*", "", text.split(f"struct {struct.__name__} {{")[1].split("};")[0])
        fields = re.findall(r"(?:const )?(\w+)(\*?) (\w+);", body)
        declared = [(name, 8 if star else sizes[kind]) for kind, star, name in fields]
        assert declared == [(name, ctypes.sizeof(kind)) for name, kind in struct._fields_]
    for name in ("Format", "NormKind", "Activation"):
        assert re.search(rf"enum class {name} : int32_t", text)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The library for Hopper, and what the assembler says of every kernel."""
    assert nvcc is not None
    made = tmp_path_factory.mktemp("cuda") / "library.so"
    command = [*compile_command(nvcc, HOPPER, made), "-Xptxas", "-v"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return made, run.stdout + run.stderr


@needs_nvcc
def test_no_kernel_spills_registers(compiled: tuple[Path, str]) -> None:
    told = re.findall(
        r"entry function '(\S+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, "
        r"(\d+) bytes spill loads.*?Used (\d+) registers",
        compiled[1],
        re.DOTALL,
    )
    assert len(told) >= 18
    for name, stack, stores, loads, registers in told:
        assert stack == stores == loads == "0", name
        if re.search(r"planes_productILi[48]ELi1E", name):
            assert int(registers) <= 72, name  # three blocks on a multiprocessor
        if "dense_product" in name:
            assert int(registers) <= 96, name  # two blocks, as shared memory allows


def disassembler() -> str | None:
    """cuobjdump, of PATH or of triton's wheel."""
    spec = importlib.util.find_spec("triton")
    places = spec.submodule_search_locations if spec is not None else None
    found = [Path(place) / "backends/nvidia/bin/cuobjdump" for place in places or ()]
    return shutil.which("cuobjdump") or next((str(p) for p in found if p.is_file()), None)


@needs_nvcc
@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="there is a driver")
def test_a_library_without_its_driver_is_told(compiled: tuple[Path, str]) -> None:
    """When it is opened, so that Triton's kernels can take its place."""
    with pytest.raises(KernelBuildFailed, match="does not run here: CUDA error"):
        CudaLibrary(compiled[0])


@needs_nvcc
@pytest.mark.skipif(disassembler() is None, reason="no cuobjdump")
def test_the_instructions_are_the_intended_ones(compiled: tuple[Path, str]) -> None:
    told = subprocess.run(
        [str(disassembler()), "-sass", str(compiled[0])], capture_output=True, text=True, check=True
    ).stdout
    kernels = dict(re.findall(r"Function : (\S+)(.*?)(?=Function : |\Z)", told, re.DOTALL))
    products = {name: body for name, body in kernels.items() if "_product" in name}
    assert len(products) == 16
    for name, body in products.items():
        assert "UBLKCP" in body, name  # weights come by bulk copies
        assert "ACQBULK" in body, name  # waits for the kernel before
        assert "PREEXIT" in body, name  # lets the next one begin
        assert not re.search(r"\b(LDL|STL)\b", body), name  # nothing in local memory
        if "planes" in name:
            assert "IMMA.16832.U8.S8" in body, name
            assert "LDS.64" in body, name
        else:
            assert "HMMA.16816.F32" in body, name
            assert "LDS.128" in body, name
    attention = [body for name, body in kernels.items() if "attend" in name]
    assert len(attention) == 6
    for body in attention:
        assert "UBLKCP" in body  # keys and values come by bulk copies
        assert "STAS" in body  # what a block has found is sent, and
        assert "MEMBAR" not in body  # nobody waits until all of memory has seen it


def fake_nvcc(folder: Path, body: str) -> Path:
    path = folder / "bin" / "nvcc"
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def ended(process: int) -> bool:
    """Whether a process ends that was told to."""
    try:
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], 30)[0])
    finally:
        os.close(descriptor)


@pytest.fixture(autouse=True)
def forget_keys() -> None:
    cuda_library._key.cache_clear()


def test_a_library_is_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    fake_nvcc(
        tmp_path,
        f'echo "$@" >> {log}\n[ "$1" = --version ] && exit 0\n'
        'while [ "$1" != -o ]; do shift; done\necho library > "$2"',
    )
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    folder = tmp_path / "kept"
    first = compile_library((9, 0), folder)
    assert first.read_text() == "library\n"
    assert compile_library((9, 0), folder) == first
    assert compile_library((10, 0), folder) != first
    runs = [line for line in log.read_text().splitlines() if "--version" not in line]
    assert len(runs) == 2
    assert "code=sm_90a" in runs[0]
    assert "code=sm_100a" in runs[1]
    assert sorted(p.suffix for p in folder.iterdir()) == [".so", ".so"]  # nothing half-made


def test_what_nvcc_says_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_nvcc(tmp_path, 'echo "launch.cu(1): error: no such thing"; exit 2')
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    with pytest.raises(KernelBuildFailed, match="ended with 2") as caught:
        compile_library((9, 0), tmp_path / "kept")
    assert "no such thing" in str(caught.value)
    assert list((tmp_path / "kept").iterdir()) == []


@pytest.mark.parametrize("body", ["broken", "endless"])
def test_a_compiler_that_does_not_run_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    child = tmp_path / "child"
    path = fake_nvcc(tmp_path, f"sleep 100 & echo $! > {child}; wait")
    if body == "broken":
        path.write_text("")
    monkeypatch.setattr(cuda_library, "_MOST_SECONDS", 0.5)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    with pytest.raises(KernelBuildFailed, match=r"cannot be run|has not ended"):
        compile_library((9, 0), tmp_path / "kept")
    if body == "endless":
        assert ended(int(child.read_text()))  # what it had started is gone too


def test_a_library_that_was_cut_off_is_compiled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    fake_nvcc(
        tmp_path,
        f"printf '\\377'\n[ \"$1\" = --version ] && exit 0\necho run >> {log}\n"
        'while [ "$1" != -o ]; do shift; done\necho library > "$2"',
    )
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    folder = tmp_path / "kept"
    with pytest.raises(KernelBuildFailed, match="cannot be opened"):
        open_library((9, 0), folder)  # no compiler made this one
    assert log.read_text().splitlines() == ["run", "run"]

    def opened(path: Path) -> str:
        if not path.read_text():
            raise OSError("file too short")
        return path.read_text()

    monkeypatch.setattr(cuda_library, "CudaLibrary", opened)
    next(folder.iterdir()).write_text("")
    assert open_library((9, 0), folder) == "library\n"


def test_an_old_gpu_and_a_missing_compiler_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KernelBuildFailed, match=r"9\.0; this GPU has 8\.9"):
        compile_library((8, 9), tmp_path)
    monkeypatch.setattr(cuda_library, "find_nvcc", lambda: None)
    with pytest.raises(KernelBuildFailed, match="no nvcc"):
        compile_library((9, 0), tmp_path)

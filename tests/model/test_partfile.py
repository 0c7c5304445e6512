"""A file that is whole or not there, whoever is killed or comes in between."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from onesec.model import partfile
from onesec.model.partfile import PartFile, lock

WRITER = """
import sys
from pathlib import Path
from onesec.model.partfile import PartFile
part = PartFile(Path(sys.argv[1]))
part.file.write(b"half")
part.file.flush()
print("there", flush=True)
sys.stdin.read()
"""


def write(path: Path, text: bytes) -> None:
    with PartFile(path) as part:
        part.file.write(text)


def test_what_a_killed_process_left_is_cleared_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"old")
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"there\n"
        write(path, b"mine")  # the other one still writes: it is left alone
        assert len(list(tmp_path.iterdir())) == 2
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert len(list(tmp_path.iterdir())) == 2
    write(path, b"next")
    assert [one.name for one in tmp_path.iterdir()] == ["m.gguf"]
    assert path.read_bytes() == b"next"


def test_neighbours_whose_names_begin_alike_are_left_alone(tmp_path: Path) -> None:
    for name in (".m.gguf.old.abcd.part", ".m.gguf.abcd.party", "m.gguf.abcd.part"):
        (tmp_path / name).write_bytes(b"another's")
    (tmp_path / ".m.gguf.abcd.part").mkdir()
    write(tmp_path / "m.gguf", b"whole")
    assert len(list(tmp_path.iterdir())) == 5


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_new_file_that_another_writer_cleared_is_made_again(
    when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before this one has locked it the other may take it for an abandoned one."""
    cleared: list[str] = []

    def racing(handle: int, **how: bool) -> bool:
        if cleared:
            return lock(handle)
        cleared.append(os.readlink(f"/proc/self/fd/{handle}"))
        os.unlink(cleared[0])
        return lock(handle) if when == "before" else False

    monkeypatch.setattr(partfile, "lock", racing)
    write(tmp_path / "m.gguf", b"whole")
    assert cleared
    assert [one.name for one in tmp_path.iterdir()] == ["m.gguf"]

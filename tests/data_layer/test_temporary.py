"""Temporary folders: gone with their block or their process, and those of killed processes with the next."""

import subprocess
import sys
from pathlib import Path

import pytest

from copick_tools.data.replace import HOST
from copick_tools.data.temporary import lasting_folder, temporary_folder

KILLED = """
import os, signal
from copick_tools.data.temporary import temporary_folder
with temporary_folder() as folder:
    (folder / "best.ckpt").write_bytes(bytes(100))
    print(folder, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def room(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    yield tmp_path
    monkeypatch.undo()


def test_a_block_leaves_nothing(room):
    def failing():
        with temporary_folder() as folder:
            (folder / "file").touch()
            assert room in folder.parents
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert not list(room.iterdir())


def test_what_a_killed_process_left_goes_with_the_next(room):
    done = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True)
    left = Path(done.stdout.strip())
    assert done.returncode < 0
    assert (left / "best.ckpt").exists()
    others = [room / "popsicle-of-somebody", room / "popsicle-another-1-x", room / f"popsicle-{HOST}-notes"]
    for other in others:
        other.mkdir()
    with temporary_folder() as one, temporary_folder() as two:
        assert not left.exists()
        assert one.exists()
        assert two.exists()
    assert sorted(room.iterdir()) == sorted(others)


def test_what_another_process_uses_stays(room):
    code = KILLED.replace("os.kill(os.getpid(), signal.SIGKILL)", "input()")
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        used = Path(other.stdout.readline().strip())
        with temporary_folder():
            assert (used / "best.ckpt").exists()
        other.communicate("\n")
    assert not list(room.iterdir())


def test_a_process_leaves_nothing(room):
    code = "from copick_tools.data.temporary import lasting_folder; print(lasting_folder().exists())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
    assert not list(room.iterdir())


def test_two_that_last_are_two():
    assert lasting_folder() != lasting_folder()

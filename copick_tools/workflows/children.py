"""Commands of ours in processes of their own, which end with this one."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from copick_tools.data.locking import Busy, locked

PATIENCE = 30.0  # seconds that a command has to end when it is told to
LOOK = 1.0  # seconds between two looks at a command


class Interrupted(Exception):
    """Everything is to end; what was begun goes on when it is started again."""


def on_each(devices: Sequence[str], work: Callable[[str], None], stop: threading.Event) -> None:
    """Call ``work`` with every device, all at once. Where one fails, or on Ctrl-C, the others are told by ``stop``."""
    with ThreadPoolExecutor(len(devices)) as pool:
        futures = [pool.submit(work, device) for device in devices]
        try:
            for future in as_completed(futures):
                with suppress(Interrupted):
                    future.result()
        finally:
            stop.set()


def require_devices(names: Sequence[str]) -> None:
    """Raise UsageError for a device that isn't here: before any command is started on it."""
    from copick_tools.inference.device import pick_device

    for name in dict.fromkeys(names):
        pick_device(name)


def wait_for_former(folder: Path, stop: threading.Event) -> None:
    """Wait while a training that outlived the process that began it ends in a folder; no longer than it may take."""
    over = time.monotonic() + PATIENCE
    while time.monotonic() < over and not stop.is_set():
        try:
            with locked(folder / ".lock", wait=False, make=False):
                return
        except FileNotFoundError:
            return
        except Busy:
            stop.wait(0.5)


def _safe() -> list[str]:
    """The option without which Python would import what lies in the current folder, where this process doesn't either."""
    return [] if {"", os.getcwd()} & set(sys.path) else ["-P"]


@dataclass
class Child:
    """A command at work. Its stdout goes to ``result``, what it says to ``log``."""

    process: subprocess.Popen[bytes]
    result: Path
    log: Path

    @classmethod
    def start(cls, command: Sequence[str], result: Path, log: Path) -> Child:
        """Start ``popsicle`` with these arguments."""
        result.parent.mkdir(parents=True, exist_ok=True)
        with result.open("wb") as out, log.open("wb") as err:
            process = subprocess.Popen(
                [sys.executable, *_safe(), "-m", "copick_tools.workflows.leash", *command],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
            )
        return cls(process, result, log)

    def wait(self, seconds: float) -> int | None:
        """Its exit code; None where it is still at work after so long."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        self._let_go()
        return code

    def follow(self, stop: threading.Event, enough: Callable[[], bool] = lambda: False) -> int | None:
        """Its exit code once it has ended; None where ``enough``, asked now and then, said so: then it is told to end.

        Raises Interrupted when ``stop`` is set.
        """
        try:
            while (code := self.wait(LOOK)) is None:
                if stop.is_set():
                    raise Interrupted
                if enough():
                    return None
        finally:
            self.end()
        if code and stop.is_set():
            raise Interrupted
        return code

    def end(self) -> None:
        """Tell it to end, wait until it has."""
        self._let_go()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _let_go(self) -> None:
        if self.process.stdin is not None and not self.process.stdin.closed:
            self.process.stdin.close()

    def why(self) -> str:
        """What went wrong, in a line: its last error, else what ended it."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        errors = [line.removeprefix("Error: ") for line in lines if line.startswith("Error: ")]
        code = self.process.returncode
        if code < 0:
            return f"killed by signal {-code}" + (", out of memory?" if code == -9 else "")
        errors = errors or [line for line in lines if line.startswith("run ") and " failed: " in line][:1]
        said = errors or [line.strip() for line in lines if line.strip()] or [f"exit code {code}"]
        return said[-1]

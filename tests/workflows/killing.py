"""A command that is killed in the middle."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path


def killed_and_twice_again(command: Sequence[str], reached: Path) -> list[bytes]:
    """What a command says when it is run twice more, after it was killed as soon as a file was there."""
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while not reached.exists() and first.poll() is None:
        time.sleep(0.1)
    assert first.poll() is None, "it ended before it could be killed"
    first.send_signal(signal.SIGKILL)
    first.wait()
    time.sleep(1)
    return [subprocess.run(command, check=True, capture_output=True).stdout for _ in range(2)]

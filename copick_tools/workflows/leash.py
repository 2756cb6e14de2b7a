"""``python -m copick_tools.workflows.leash VERB …``: the command ``popsicle VERB …``, which ends when its stdin does.

A parent that holds the other end of that pipe takes the command with it, however it ends itself.
"""

from __future__ import annotations

import os
import runpy
import signal
import threading
import time

PATIENCE = 5.0  # seconds between the request to end and the end


def main() -> None:
    """Run the command of sys.argv."""
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    runpy.run_module("copick_tools.cli", run_name="__main__", alter_sys=True)


def _end_with_stdin() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(PATIENCE)
    os._exit(1)


if __name__ == "__main__":
    main()

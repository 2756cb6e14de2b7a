"""What every benchmark measures and writes with: time, memory, Markdown tables, ratios, the line of versions and machine.

A script's stdout is the Markdown of its block in docs/benchmarks.md; progress and words go to stderr. Standard library
only: the environments of peers import this, too. Memory is read from /proc (Linux).
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
COSTS = "CPU", "CPU / ours", "memory"
NOTHING = "-"  # a cell that could not be measured
COUNTS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
FEATURES = {"avx512f": "AVX-512", "avx512_bf16": "bfloat16", "amx_bf16": "bfloat16", "bf16": "bfloat16"}
LOAD = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0  # of other work, before ours begins


# ---- measuring ------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Spent:
    """wall, cpu: seconds. memory: MiB, in `spent` what the peak grew by, in `timed` the largest process."""

    wall: float
    cpu: float
    memory: float


def spent(work: Callable[[], Any], repeats: int = 1) -> tuple[Spent, Any]:
    """What ``work`` takes in this process, best of some calls, and what the last of them gave."""
    before, times, found = restart_peak(), [], None
    for _ in range(repeats):
        start, cpu = time.perf_counter(), time.process_time()
        found = work()
        times.append((time.perf_counter() - start, time.process_time() - cpu))
    grown = status("VmHWM") - before
    return Spent(min(t[0] for t in times), min(t[1] for t in times), grown), found


def timed(command: Sequence[str], variables: Mapping[str, str] | None = None) -> Spent:
    """What a whole command takes, start and imports included. Raises SystemExit where it fails."""
    start = time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            command, env=environment(variables), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors
        )
        _, code, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(code)
        wall = time.perf_counter() - start
        if child.returncode:
            errors.seek(0)
            raise SystemExit(f"{' '.join(command)} failed:\n{errors.read().decode()[-2000:]}")
    return Spent(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def child(script: str, arguments: Sequence[str], interpreter: str = sys.executable) -> Any:
    """The JSON that a script prints last, run in a process of its own; None, and the reason on stderr, where it fails."""
    command = [interpreter, "-W", "ignore", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment())
    if done.returncode:
        say(f"{' '.join(arguments)} failed:\n{done.stderr[-2000:]}")
        return None
    return json.loads(done.stdout.splitlines()[-1])


def environment(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's, with one thread that doesn't spin, unless it says otherwise."""
    return {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", **os.environ, **(variables or {})}


def status(key: str) -> float:
    """MiB of this process; getrusage's peak would begin with that of the parent."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))


def restart_peak() -> float:
    """Let the peak of memory begin anew; MiB in use now."""
    Path("/proc/self/clear_refs").write_text("5")
    return status("VmRSS")


# ---- writing --------------------------------------------------------------------------------------------------------
def say(words: str) -> None:
    """Progress, and what went wrong."""
    print(words, file=sys.stderr, flush=True)


def write(*paragraphs: str) -> None:
    """The block: paragraphs and tables, those that aren't empty."""
    print("\n\n".join(part for part in paragraphs if part), flush=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first column holds what is measured, and has no title."""
    head = f"| | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}"
    body = [f"| {' | '.join(cell or ' ' for cell in row)} |".replace("|   |", "| |") for row in rows]
    return "\n".join([head, *body])


def costs(rows: Mapping[str, Sequence[float] | None], ours: float) -> list[list[str]]:
    """Rows of a table with the columns `COSTS`. rows: title -> CPU seconds, MiB (and more), None where not measured."""
    cells = []
    for title, row in rows.items():
        cpu, memory = (row[0], row[1]) if row else (None, None)
        cells.append([title, seconds(cpu), ratio(cpu, ours), mib(memory)])
    return cells


def ratio(value: float | None, base: float | None) -> str:
    """value / base, to three digits at most; ``1`` of itself."""
    if value is None or not base:
        return NOTHING
    found = value / base
    return f"{found:.0f}" if found >= 100 or found == 1 else f"{found:.1f}" if found >= 10 else f"{found:.2f}"


def seconds(value: float | None) -> str:
    """To three digits or so."""
    return NOTHING if value is None else f"{value:.2f} s" if value < 10 else f"{value:.1f} s"


def mib(value: float | None) -> str:
    """Memory; the noise of a few pages is none."""
    return NOTHING if value is None else f"{max(value, 0):.0f} MiB"


def missing(names: Iterable[str], how: Mapping[str, str]) -> str:
    """One line for each peer that isn't installed. how: peer -> the command that installs it."""
    return "\n".join(f"{name} isn't installed here: `{how[name]}`." for name in names)


def provenance(packages: Iterable[str], *more: str, gpu: str | None = None) -> str:
    """The line under the tables: date, machine, versions, and what else is to be known. packages: distributions."""
    where = machine() + (f", {gpu}" if gpu else "")
    names = [f"{name} {version(name)}" for name in packages] + [f"python {platform.python_version()}"]
    return "; ".join([f"Measured {datetime.now(UTC):%Y-%m-%d}", where, ", ".join(names), *filter(None, more)]) + "."


def machine() -> str:
    """In words: 'two cores, AMD EPYC with AVX-512', and how busy it was with other work."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    path = Path("/proc/cpuinfo")
    name, flags = processor(path.read_text() if path.is_file() else "")
    able = list(dict.fromkeys(word for flag, word in FEATURES.items() if flag in flags))
    number = COUNTS[count] if count < len(COUNTS) else str(count)
    words = f"{number} core{'s' if count > 1 else ''}, {name}" + (f" with {' and '.join(able)}" if able else "")
    return words + (f", load {LOAD:.1f} at the start" if LOAD >= 0.1 else "")


def processor(text: str) -> tuple[str, set[str]]:
    """Name and abilities in the words of /proc/cpuinfo, without marks, frequency and number of cores."""
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}
    name = fields.get("model name") or platform.machine() or "an unnamed processor"
    name = re.sub(r"\((R|TM)\)|\bCPU\b|\bProcessor\b|\b\d+-Core\b|@.*", " ", name, flags=re.IGNORECASE)
    return " ".join(name.split()), set((fields.get("flags") or fields.get("Features") or "").split())

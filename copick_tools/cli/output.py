"""The one place that writes: results to the real stdout, words and progress to stderr."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from copick_tools.types import RunResult

TALKATIVE = (
    "botocore",
    "boto3",
    "urllib3",
    "gql",
    "s3fs",
    "fsspec",
    "httpx2",
    "cryoet-data-portal",
    "absl",
    "matplotlib",
)
_stdout: TextIO | None = None
_quiet = False


@contextlib.contextmanager
def only_results() -> Iterator[None]:
    """Keep the real stdout for results; whatever else prints meanwhile (copick, nnU-Net, …) goes to stderr."""
    global _stdout
    before = _stdout
    if before is None:
        _stdout, sys.stdout = sys.stdout, sys.stderr
    try:
        yield
    finally:
        if before is None and _stdout is not None:
            sys.stdout, _stdout = _stdout, None


def configure(*, quiet: bool, debug: bool) -> None:
    """Our own logger on stderr: words, unless ``quiet``."""
    global _quiet
    _quiet = quiet
    log = logging.getLogger("copick_tools")
    log.propagate = False
    log.handlers = [_Handler(logging.ERROR if quiet else logging.DEBUG)]
    log.setLevel(logging.DEBUG if debug else logging.INFO)
    for name in TALKATIVE:  # copick lets everything through that says INFO
        logging.getLogger(name).setLevel(logging.INFO if debug else logging.WARNING)


def hush() -> None:
    """From here on only warnings and failures: this process is one of several, and another speaks for them."""
    global _quiet
    _quiet = True
    for handler in logging.getLogger("copick_tools").handlers:
        handler.setLevel(max(handler.level, logging.WARNING))


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        prefix = f"{record.levelname.capitalize()}: " if record.levelno >= logging.WARNING else ""
        words(prefix + self.format(record))


def result(text: str) -> None:
    """A result, on stdout."""
    stream = _stdout or sys.stdout
    try:
        stream.write(text + "\n")
    except UnicodeEncodeError:  # a terminal that knows less than UTF-8
        known = stream.encoding or "ascii"
        stream.write(text.encode(known, "backslashreplace").decode(known) + "\n")
    stream.flush()


def document(content: Any) -> None:
    """One JSON document, on stdout. content: a pydantic model or plain data."""
    if hasattr(content, "model_dump_json"):
        result(content.model_dump_json(indent=2, by_alias=True))
    else:
        result(json.dumps(content, indent=2, allow_nan=False))


def words(text: str) -> None:
    """Words for a person, on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def note(text: str) -> None:
    """Words that ``-q`` silences."""
    if not _quiet:
        words(text)


def failure(message: str, hint: str | None) -> None:
    """An error and what to do about it."""
    words(f"Error: {message}")
    if hint:
        words(f"Hint: {hint}")


def table(rows: Iterable[Iterable[object]], header: Iterable[str]) -> None:
    """A table with aligned columns, on stdout; numbers to the right."""
    grid = [[str(cell) for cell in header], *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in grid) for column in range(len(grid[0]))]
    for row in grid:
        cells = [cell.rjust(width) if _numeric(cell) else cell.ljust(width) for cell, width in zip(row, widths)]
        result("  ".join(cells).rstrip())


def _numeric(cell: str) -> bool:
    return cell.replace(".", "", 1).replace("-", "", 1).isdigit()


@contextlib.contextmanager
def progress(label: str, *, in_bytes: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, moved by calls of (done, total); none if stderr is no terminal, or with ``-q``.

    in_bytes: what is counted are bytes: shown in kB, MB, …, with the rate.
    """
    if _quiet or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    counts: tuple[ProgressColumn, ...] = (
        (DownloadColumn(), TransferSpeedColumn()) if in_bytes else (MofNCompleteColumn(),)
    )
    columns = (TextColumn("{task.description}"), BarColumn(), *counts, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def follow(label: str, results: Iterable[RunResult], total: int, *, bar: bool = True) -> list[RunResult]:
    """Walk through the runs, saying what failed as it happens and what was skipped at the end.

    bar: a progress bar over the runs, for workflows that don't move one by themselves.
    """
    seen: list[RunResult] = []
    with progress(label) if bar else contextlib.nullcontext(lambda done, total: None) as move:
        move(0, total)
        for outcome in results:
            seen.append(outcome)
            move(len(seen), total)
            if outcome.status == "failed":
                words(f"run {outcome.run} failed: {outcome.error}" + (f" ({outcome.hint})" if outcome.hint else ""))
    counts = {status: sum(r.status == status for r in seen) for status in ("done", "skipped", "failed")}
    extra = " (finished already; --overwrite makes them again)" if counts["skipped"] else ""
    note(f"{label}: {counts['done']} done, {counts['skipped']} skipped{extra}, {counts['failed']} failed")
    return seen

"""Errors that a user can act on: what happened, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PopsicleError(Exception):
    """An expected failure. The command line prints it as ``Error: message`` and ``Hint: hint`` and exits with ``code``."""

    code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[type[PopsicleError], tuple[str, str | None]]:
        return type(self), (self.message, self.hint)  # both survive the way back from a worker process


class UsageError(PopsicleError):
    """The command was typed wrongly: options that exclude each other, a value outside its range."""

    code = 2


class NotFoundError(PopsicleError):
    """A name (object, run, URI, task, family, key) that matches nothing."""


class FormatError(PopsicleError):
    """A file that isn't what its name says: truncated, not 3D, foreign, damaged."""


def nearest(name: str, choices: Iterable[object], limit: int = 8) -> str:
    """One hint line for an unknown name: the close matches, else the choices themselves.

    >>> nearest("ribosom", ["ribosome", "apo-ferritin"])
    'did you mean ribosome?'
    >>> nearest("x", ["ribosome", "apo-ferritin"])
    'choices: apo-ferritin, ribosome'
    >>> nearest("x", [])
    'there are none'
    """
    names = sorted({str(choice) for choice in choices})
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if close:
        return f"did you mean {' or '.join(close)}?"
    if not names:
        return "there are none"
    more = f" … ({len(names)} in all)" if len(names) > limit else ""
    return f"choices: {', '.join(names[:limit])}{more}"

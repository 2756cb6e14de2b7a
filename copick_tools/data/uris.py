"""Strict copick URIs: what copick's own parser would silently ignore is an error here.

    picks          object:user/session              ribosome:unet/1, *:unet/1, :unet/1 (outputs: one set per object)
    tomogram       tomo_type@voxel_spacing          wbp@10.012, denoised
    segmentation   name:user/session@voxel_spacing  cells:unet/1@10.012?multilabel=true, membrane:u/1@10.012

`*`, `?` in brackets and `[abc]` are wildcards in inputs. A voxel spacing matches within 0.05 angstrom.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, cast

from copick_tools.errors import UsageError, nearest

SPACING_TOLERANCE = 0.05  # angstrom
Kind = Literal["binary", "multilabel", "instance", "panoptic"]
KINDS: tuple[Kind, ...] = ("multilabel", "instance", "panoptic")
_NAME = re.compile(r"[A-Za-z0-9.+-]+")
_PATTERN = re.compile(r"[A-Za-z0-9.+*?\[\]!-]*")


@dataclass(frozen=True)
class PicksUri:
    """object:user/session, each a name or a pattern."""

    object: str
    user: str
    session: str

    def matches(self, name: str, user: str, session: str) -> bool:
        """Whether picks of these ids are meant."""
        return self.names(name) and fnmatchcase(user, self.user) and fnmatchcase(session, self.session)

    def names(self, name: str) -> bool:
        """Whether picks of this object are meant."""
        return fnmatchcase(name, self.object)

    def __str__(self) -> str:
        return f"{self.object}:{self.user}/{self.session}"


@dataclass(frozen=True)
class TomogramUri:
    """tomo_type@voxel_spacing; no spacing: any."""

    tomo_type: str
    voxel_spacing: float | None

    def matches(self, tomo_type: str, voxel_spacing: float) -> bool:
        """Whether a tomogram of this type and spacing (angstrom) is meant."""
        return fnmatchcase(tomo_type, self.tomo_type) and same_spacing(self.voxel_spacing, voxel_spacing)

    def __str__(self) -> str:
        return self.tomo_type + ("" if self.voxel_spacing is None else f"@{self.voxel_spacing:g}")


@dataclass(frozen=True)
class SegmentationUri:
    """name:user/session@voxel_spacing?kind=true; no kind: binary or multilabel, whichever there is, but not both."""

    name: str
    user: str
    session: str
    voxel_spacing: float | None
    kind: Kind | None

    def matches(self, name: str, user: str, session: str, voxel_spacing: float, kind: Kind) -> bool:
        """Whether a segmentation of these ids, this spacing (angstrom) and kind is meant."""
        return (
            fnmatchcase(name, self.name)
            and fnmatchcase(user, self.user)
            and fnmatchcase(session, self.session)
            and same_spacing(self.voxel_spacing, voxel_spacing)
            and (kind == self.kind if self.kind else kind in ("binary", "multilabel"))
        )

    def __str__(self) -> str:
        spacing = "" if self.voxel_spacing is None else f"@{self.voxel_spacing:g}"
        kind = "" if self.kind is None else "?multilabel=false" if self.kind == "binary" else f"?{self.kind}=true"
        return f"{self.name}:{self.user}/{self.session}{spacing}{kind}"


def names_segmentation(text: str) -> bool:
    """Whether a URI is of a segmentation: it has a voxel spacing or a kind, which picks have not."""
    return "@" in text or "=" in text


def names_instances(text: str) -> bool:
    """Whether a URI is of objects told apart: an instance or a panoptic segmentation."""
    return any(key in ("instance", "panoptic") and value == "true" for key, value in _split_query(text)[1])


def same_spacing(asked: float | None, stored: float) -> bool:
    """Whether a stored voxel spacing (angstrom) is the asked one; None asks for any."""
    return asked is None or abs(asked - stored) <= SPACING_TOLERANCE


def picks_uri(text: str, *, output: bool = False) -> PicksUri:
    """Parse ``object:user/session``. An output names user and session in full; its object may be empty (or ``*``): all.

    Raises UsageError.
    """
    form = "object:user/session, for example ribosome:unet/1"
    main, query = _split_query(text)
    if query or "@" in main:
        raise UsageError(f"'{text}' is no URI of picks", f"expected {form}")
    name, user, session = _split_ids(main, text, form, output)
    if output:
        name = "*" if name in ("", "*") else name
        _check_output_names(text, ([] if name == "*" else [name]) + [user, session])
    return PicksUri(name or "*", user or "*", session or "*")


def tomogram_uri(text: str) -> TomogramUri:
    """Parse ``tomo_type@voxel_spacing``. Raises UsageError."""
    form = "tomo_type@voxel_spacing, for example wbp@10.012"
    main, query = _split_query(text)
    tomo_type, spacing = _split_spacing(main, text)
    if query or ":" in tomo_type or not tomo_type:
        raise UsageError(f"'{text}' is no URI of a tomogram", f"expected {form}")
    _check_pattern(text, tomo_type)
    return TomogramUri(tomo_type, spacing)


def segmentation_uri(text: str, *, output: bool = False, each: bool = False) -> SegmentationUri:
    """Parse ``name:user/session@voxel_spacing?kind=true``. An output names everything but, perhaps, the spacing.

    each: one of instances may leave the name empty (or ``*``): a segmentation for each object. Raises UsageError.
    """
    form = "name:user/session@voxel_spacing?multilabel=true, for example cells:unet/1@10.012?multilabel=true"
    main, query = _split_query(text)
    body, spacing = _split_spacing(main, text)
    name, user, session = _split_ids(body, text, form, output)
    kind = _kind(query, text, output)
    if output:
        open_name = each and kind == "instance" and name in ("", "*")
        _check_output_names(text, [user, session] if open_name else [name, user, session])
    return SegmentationUri(name or "*", user or "*", session or "*", spacing, kind)


def plain_uri(text: str) -> str:
    """The URI of picks or of a segmentation, spelled as we spell it. Raises UsageError.

    >>> plain_uri("cells:u/1@10?multilabel=true"), plain_uri("ribosome:u/1")
    ('cells:u/1@10?multilabel=true', 'ribosome:u/1')
    """
    return str(segmentation_uri(text) if names_segmentation(text) else picks_uri(text))


def _split_query(text: str) -> tuple[str, list[tuple[str, str]]]:
    """`a?b=c&d=e` -> a, [(b, c), (d, e)]. A `?` counts as a query only if a `=` follows (else it is a wildcard)."""
    if text != text.strip() or not text:
        raise UsageError(f"'{text}' is no URI", "it is empty or has spaces around it")
    position = re.search(r"\?(?=[^?]*=)", text)
    if position is None:
        return text, []
    pairs = [part.partition("=") for part in text[position.end() :].split("&")]
    return text[: position.start()], [(key, value) for key, _, value in pairs]


def _split_spacing(text: str, uri: str) -> tuple[str, float | None]:
    main, at, spacing = text.partition("@")
    if not at or spacing == "*":
        return main, None
    try:
        value = float(spacing)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise UsageError(f"'{uri}': '{spacing}' is no voxel spacing", "a positive number of angstrom follows the @")
    return main, value


def _split_ids(body: str, uri: str, form: str, output: bool) -> tuple[str, str, str]:
    name, colon, ids = body.partition(":")
    user, slash, session = ids.partition("/")
    if output and not (colon and slash and user and session):
        raise UsageError(f"'{uri}' doesn't say where to write", f"expected {form}")
    for part in (name, user, session):
        _check_pattern(uri, part)
    return name, user, session


def _check_pattern(uri: str, part: str) -> None:
    if not _PATTERN.fullmatch(part):
        hint = (
            "names are kebab-case: copick turns `_` into `-`"
            if "_" in part
            else "allowed: letters, digits, - . + and wildcards"
        )
        raise UsageError(f"'{uri}': '{part}' is no name", hint)


def _check_output_names(uri: str, names: list[str]) -> None:
    for name in names:
        if not _NAME.fullmatch(name):
            raise UsageError(f"'{uri}': an output needs a full name, not '{name}'", "write names without wildcards")


def _kind(query: list[tuple[str, str]], uri: str, output: bool) -> Kind | None:
    for key, value in query:
        if key not in KINDS:
            raise UsageError(f"'{uri}': unknown key '{key}'", nearest(key, KINDS))
        if value not in ("true", "false"):
            raise UsageError(f"'{uri}': {key} is true or false, not '{value}'")
    chosen = [key for key, value in query if value == "true"]
    if len(chosen) > 1:
        raise UsageError(f"'{uri}': a segmentation is {' or '.join(chosen)}, not both")
    if chosen:
        return cast(Kind, chosen[0])
    return "binary" if output or ("multilabel", "false") in query else None

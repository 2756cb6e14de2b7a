"""What portal runs, objects and tomograms are called in a project. Names from elsewhere never become paths as they are."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

LONGEST = 100  # characters of a name: file systems end at 255 bytes, and copick adds to it


def run_names(runs: Iterable[tuple[int, int, str]], known: Mapping[int, str] | None = None) -> dict[int, str]:
    """Portal run id -> name in the project, of (run id, dataset id, portal run name).

    The portal's own name; where two datasets share one, ``DATASET-NAME``; where that is taken as well, ``NAME-ID``.
    File systems may not tell upper from lower case, so neither does this. known: names that runs have already.

    >>> run_names([(1, 10000, "TS_1"), (2, 10001, "TS_1"), (3, 10001, "../TS 2")])
    {1: '10000-TS_1', 2: '10001-TS_1', 3: 'TS-2'}
    """
    known = known or {}
    rows = sorted(runs)
    plain = {run: safe(name) for run, _, name in rows}
    shared = {name for name, count in Counter(name.casefold() for name in plain.values()).items() if count > 1}
    taken = {name.casefold() for name in known.values()}
    names: dict[int, str] = {}
    for run, dataset, _ in rows:
        name = known.get(run)
        if name is None:
            name = f"{dataset}-{plain[run]}" if plain[run].casefold() in shared else plain[run]
            if name.casefold() in taken:
                name = f"{plain[run]}-{run}"
            taken.add(name.casefold())
        names[run] = name
    return names


def safe(name: str) -> str:
    """A name that is one step of a path on any file system: letters, digits, ``_ . -``; never hidden, never empty.

    >>> safe("TS_5_4"), safe("/etc/passwd"), safe(".."), safe("a b:c")
    ('TS_5_4', 'etc-passwd', 'run-5ec1f7e7', 'a-b-c')
    """
    cleaned = re.sub(r"-{2,}", "-", re.sub(r"[^A-Za-z0-9_.-]", "-", name)) if name.isascii() else ""
    cleaned = cleaned.strip(".-") if cleaned != name else name.lstrip(".-")
    if not cleaned.strip("._-") or len(cleaned) > LONGEST:
        cleaned = f"{cleaned.strip('._-')[: LONGEST - 20] or 'run'}-{_digest(name)}"
    return cleaned


def object_name(portal_name: str) -> str:
    """kebab-case of a portal object's name, as copick wants it.

    >>> object_name("cytosolic ribosome"), object_name("Beta-amylase"), object_name("bacterial-type flagellum motor")
    ('cytosolic-ribosome', 'beta-amylase', 'bacterial-type-flagellum-motor')
    >>> object_name("α-tubulin") == object_name("β-tubulin")
    False
    """
    kebab = re.sub(r"[^a-z0-9.+]+", "-", portal_name.casefold()).strip("-.+")
    if kebab and portal_name.isascii() and len(kebab) <= LONGEST:
        return kebab
    return f"{kebab[: LONGEST - 20] or 'object'}-{_digest(portal_name)}"


def tomo_type(tomogram: Any) -> str:
    """copick's name for a portal tomogram: method-processing[-software][-ctfdeconv], such as wbp-denoised-denoiset."""
    parts = [tomogram.reconstruction_method, tomogram.processing, tomogram.processing_software]
    words = [word for part in parts if part and (word := _camel(part))]
    return "-".join([*words, *(["ctfdeconv"] if tomogram.ctf_corrected else [])]) or "unknown"


def _camel(text: str) -> str:
    """copick's camel case: each word begins with a capital but the first, which has none."""
    joined = re.sub(r"[^A-Za-z0-9.+]", "", re.sub(r"[_-]+", " ", text).title())
    return joined[:1].lower() + joined[1:]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def natural(name: str) -> Sequence[tuple[int, int | str]]:
    """A key that sorts TS_2 before TS_10.

    >>> sorted(["TS_10", "TS_2"], key=natural)
    ['TS_2', 'TS_10']
    """
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", name) if part]

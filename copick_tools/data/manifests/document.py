"""The JSON-LD of a manifest: copick's document, hardened."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from copick_tools.data.manifests import tables as t
from copick_tools.data.manifests.retyping import guarded, integers
from copick_tools.errors import UsageError, nearest

CONFORMS_TO = ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"]
NAMESPACE = "urn:x-popsicle:"
TASK = "popsicle:task"
CONTEXT: dict[str, Any] = {
    # what Croissant 1.1 has and copick leaves out
    "arrayShape": "cr:arrayShape",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "isArray": "cr:isArray",
    "name": {"@container": "@language"},
    # ours
    "popsicle": NAMESPACE,
    t.MARK: {"@id": t.MARK, "@type": "@json"},
    TASK: {"@id": TASK, "@type": "@json"},
}
CC0 = "https://creativecommons.org/publicdomain/zero/1.0/"
LICENSES = {
    "CC0-1.0": CC0,
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
    "CC-BY-SA-4.0": "https://creativecommons.org/licenses/by-sa/4.0/",
    "CC-BY-NC-4.0": "https://creativecommons.org/licenses/by-nc/4.0/",
}
RAI_KEYS = {
    "annotationsPerItem": False,
    "annotatorDemographics": True,
    "dataAnnotationAnalysis": True,
    "dataAnnotationPlatform": True,
    "dataAnnotationProtocol": True,
    "dataBiases": True,
    "dataCollection": False,
    "dataCollectionMissingData": False,
    "dataCollectionRawData": False,
    "dataCollectionType": True,
    "dataImputationProtocol": False,
    "dataLimitations": True,
    "dataPreprocessingProtocol": True,
    "dataReleaseMaintenancePlan": False,
    "dataSocialImpact": False,
    "dataUseCases": True,
    "machineAnnotationTools": True,
    "personalSensitiveInformation": True,
}
"""The properties of the RAI vocabulary that mlcroissant 1.1 reads, and whether they may be repeated."""

Rai = dict[str, list[str]]

OTHER_LICENSES = ("Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC-BY-NC-SA-4.0", "CC-BY-ND-4.0", "CC-BY-3.0", "GPL-3.0-only", "MIT", "ODbL-1.0", "ODC-By-1.0", "PDDL-1.0")  # fmt: skip


@dataclass(frozen=True)
class About:
    """What a manifest says of itself. license: URL, None where nobody has stated one. data: where they are, seen from the manifest.

    base_url: where the project is published, None for a manifest whose addresses are relative. source_task: the task that
    the data were fetched for; task: the one that this is the manifest of.
    """

    name: str
    description: str
    license: str | None
    date: str
    data: str  # beside, elsewhere, none
    cite_as: str | None = None
    creators: tuple[str, ...] = ()
    rai: Rai = field(default_factory=dict)
    base_url: str | None = None
    part: bool = False
    grouped_by: tuple[str, ...] = ()
    source_task: str | None = None
    task: Mapping[str, Any] | None = None


def license_url(text: str) -> str:
    """A licence as URL: given as URL or as SPDX id. Raises UsageError."""
    if text in LICENSES:
        return LICENSES[text]
    if text.startswith(("https://", "http://")) and urlsplit(text).netloc:
        return text
    if text not in OTHER_LICENSES:
        raise UsageError(
            f"'{text}' is no licence that is known here",
            f"{nearest(text, [*LICENSES, *OTHER_LICENSES])} for any other give its URL",
        )
    return f"https://spdx.org/licenses/{text}.html"


def license_id(url: str) -> str:
    """The SPDX id of a licence, where the URL is one of ours; else the URL."""
    ids = {known: spdx for spdx, known in LICENSES.items()}
    return ids.get(url) or url.removeprefix("https://spdx.org/licenses/").removesuffix(".html")


def check_base_url(url: str) -> str:
    """A base URL without the slash at its end. Raises UsageError."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.netloc or parts.query or parts.fragment or parts.username:
        raise UsageError(f"'{url}' is no base URL", "the https address of the project's folder, without a query")
    return url.rstrip("/")


def merge_rai(known: Rai, given: Mapping[str, list[str]]) -> Rai:
    """Our texts, each replaced where one was given. Raises UsageError (unknown key, two texts where one is allowed)."""
    merged = {key: list(texts) for key, texts in known.items() if texts}
    for key, texts in given.items():
        name = key.removeprefix("rai:")
        if name not in RAI_KEYS:
            raise UsageError(f"no RAI property '{key}'", nearest(name, RAI_KEYS, limit=20))
        if len(texts) > 1 and not RAI_KEYS[name]:
            raise UsageError(f"--rai {name} may be given once")
        merged[name] = list(texts)
    return merged


def harden(document: Mapping[str, Any], found: t.Tables, about: About) -> dict[str, bytes]:
    """The files of a manifest by name, from copick's document and all tables. Equal input, equal bytes."""
    guards = {name: guarded(name, rows) if name in t.OURS else set() for name, rows in found.items()}
    files = {t.csv_name(name): t.to_bytes(name, rows, guards[name]) for name, rows in found.items()}
    prefix = f"{about.base_url}/Croissant/" if about.base_url else ""
    ours = [name for name in found if name in t.OURS]
    by_id = {entry["@id"]: entry for entry in document["distribution"]}
    distribution = []
    for name in found:
        entry = t.file_object(name, files[t.csv_name(name)], prefix + t.csv_name(name))
        distribution.append({**by_id.get(entry["@id"], {}), **entry})
    config = {key: value for key, value in document["copick:config"].items() if key not in ("user_id", "session_id")}
    hardened: dict[str, Any] = {
        "@context": {**document["@context"], **CONTEXT},
        "@type": "sc:Dataset",
        "name": about.name,
        "description": about.description,
        "conformsTo": CONFORMS_TO,
        "version": document["version"],
        **({"license": about.license} if about.license else {}),
        **({"citeAs": about.cite_as} if about.cite_as else {}),
        **({"creator": [{"@type": "sc:Person", "name": name} for name in about.creators]} if about.creators else {}),
        "datePublished": about.date,
        **({"url": about.base_url, "copick:baseUrl": about.base_url} if about.base_url else {}),
        **{f"rai:{key}": texts if RAI_KEYS[key] else texts[0] for key, texts in sorted(about.rai.items())},
        t.MARK: {
            "format": 1,
            "data": about.data,
            "part": about.part,
            "grouped_by": list(about.grouped_by),
            **({"source_task": about.source_task} if about.source_task else {}),
        },
        **({TASK: dict(about.task)} if about.task else {}),
        "copick:config": {**config, "name": about.name, "description": about.description},
        "distribution": distribution,
        "recordSet": [
            *(_typed(entry, found.get(entry["@id"], [])) for entry in document["recordSet"]),
            *(t.record_set(name, guards[name]) for name in ours),
        ],
    }
    text = json.dumps(hardened, indent=2, ensure_ascii=False)
    return {**files, "metadata.json": (text + "\n").encode("utf-8")}


def _typed(record_set: Mapping[str, Any], rows: Sequence[t.Row]) -> dict[str, Any]:
    """copick's record set, its columns of ids declared as the integers that they are read as where some are empty."""
    whole = integers(record_set["@id"], rows) if "field" in record_set else set()
    if not whole:
        return dict(record_set)
    ids = {f"{record_set['@id']}/{column}" for column in whole}
    fields = [{**f, "dataType": t.INTEGER} if f["@id"] in ids else f for f in record_set["field"]]
    return {**record_set, "field": fields}

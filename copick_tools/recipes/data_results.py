"""The JSON documents of the commands that fetch, divide and publish data; the others are in results.py."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from copick_tools.recipes.base import Strict


class SplitObject(Strict):
    """One object in one split. amount: picks, or voxels of a segmentation. share: of all of them; null where none is."""

    amount: int
    runs: int = Field(description="that have it")
    share: float | None


class SplitPart(Strict):
    """One split. groups: null where nobody said what ties runs. empty: runs without any object; null without reference."""

    runs: list[str]
    groups: int | None
    empty: int | None
    objects: dict[str, SplitObject]
    species: dict[str, int] = Field({}, description="runs of each; those of unknown species are left out")


class SplitResult(Strict):
    """`split --json`."""

    config: str
    status: Literal["written", "kept", "planned"]
    way: Literal["fractions", "counts", "folds", "list", "task"] | None = Field(description="null: kept as they were")
    seed: int | None = Field(description="null where nothing was drawn")
    group_by: list[str] | None = Field(description="what ties runs; empty: nothing; null: nobody said")
    groups: dict[str, str] = Field(description="run -> group")
    reference: list[str] = Field(description="what was counted; empty: nothing")
    unit: Literal["picks", "voxels"] | None
    splits: dict[str, SplitPart]
    unassigned: list[str] = Field(description="runs in no split")
    notes: list[str]
    warnings: list[str]


class ManifestFinding(Strict):
    """One thing that a check found. where: a file, a record set or a run."""

    level: Literal["error", "warning", "note"]
    check: Literal["structure", "tables", "records", "files", "splits", "objects", "leaks", "copick"]
    where: str
    message: str


class ManifestCheck(Strict):
    """What `manifest check` says of one manifest. files, bytes: read and compared. unread: files that weren't."""

    manifest: str
    ok: bool
    record_sets: int
    runs: int
    files: int
    bytes: int
    stores: int
    unread: int
    findings: list[ManifestFinding]


class ManifestChecks(Strict):
    """`manifest check --json`."""

    ok: bool
    manifests: list[ManifestCheck]


class ManifestBuild(Strict):
    """`manifest build --json`. splits: number of runs."""

    manifest: str
    status: Literal["built", "unchanged", "replaced"]
    data: Literal["beside", "elsewhere", "none"]
    runs: int
    splits: dict[str, int]
    files: int
    bytes: int
    stores: int
    license: str | None
    warnings: list[str]


class PlannedRun(Strict):
    """A run that would be fetched. bytes: null where the portal doesn't state all sizes; error: why it can't be."""

    run: str
    split: str | None = None
    dataset_id: int | None = None
    portal_run_id: int | None = None
    tomogram: str | None = None
    picks: int = 0
    masks: int = 0
    bytes: int | None = None
    complete: bool = Field(False, description="it is there already")
    notes: list[str] = []
    error: str | None = None
    hint: str | None = None

    def note(self) -> str:
        """A word on it."""
        return self.error or ("there already" if self.complete else "; ".join(self.notes))


class FetchEstimate(Strict):
    """What `popsicle fetch --dry-run` prints. items: tomograms, masks and files of picks; a volume is many files."""

    kind: Literal["fetch-estimate"] = "fetch-estimate"
    output: str
    runs: list[PlannedRun]
    items: int
    bytes: int
    missing_bytes: int
    free_bytes: int

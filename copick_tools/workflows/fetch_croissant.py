"""What `popsicle fetch --croissant` will bring without the portal: the data that a copick Croissant lists."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace

from copick_tools.data.groups import Groups
from copick_tools.data.lists import Listed
from copick_tools.data.manifests.files import tree_hash
from copick_tools.data.manifests.reading import Manifest
from copick_tools.data.manifests.recorded import Recorded, read_datasets, read_depositions, read_recorded
from copick_tools.data.manifests.tables import Row
from copick_tools.data.plan import PointsFile, RunPlan, Store, segmentation_path, tomogram_path
from copick_tools.data.portal.naming import natural, run_names
from copick_tools.data.project import ProjectObject
from copick_tools.data.remote.address import is_remote, join
from copick_tools.data.uris import (
    Kind,
    SegmentationUri,
    TomogramUri,
    picks_uri,
    plain_uri,
    same_spacing,
    segmentation_uri,
    tomogram_uri,
)
from copick_tools.errors import FormatError, NotFoundError, PopsicleError, nearest
from copick_tools.recipes.provenance import FetchedAnnotation, FetchedTomogram, RunRecord, Source
from copick_tools.types import RunResult
from copick_tools.workflows.fetch import FetchPlan
from copick_tools.workflows.fetch_portal import Request

SEGMENTATIONS: Mapping[str, Kind | None] = {  # table -> kind; None: the row says
    "segmentations": None,
    "instance_segmentations": "instance",
    "panoptic_segmentations": "panoptic",
}


def plan_croissant(request: Request, manifest: Manifest) -> FetchPlan:
    """The runs of a manifest. Raises NotFoundError, FormatError."""
    objects = manifest_objects(manifest)
    if request.objects:
        known = [entry.name for entry in objects]
        for name in request.objects:
            if name not in known:
                raise NotFoundError(f"no object '{name}' in {manifest.address}", nearest(name, known))
    listed = _chosen(request, manifest)
    names = run_names((number, 0, entry.name) for number, entry in enumerate(manifest.listed()))
    called = {entry.name: names[number] for number, entry in enumerate(manifest.listed())}
    known = {entry.name for entry in objects}
    planner = _Planner(request, manifest, known, _by_run(manifest), _hashes(manifest), read_recorded(manifest))
    plans, refused = [], []
    for entry in listed:
        try:
            plans.append(planner.plan(entry, called[entry.name]))
        except PopsicleError as error:
            refused.append(RunResult(called[entry.name], "failed", error.message, error.hint))
    document = manifest.document
    return FetchPlan(
        name=str(document.get("name") or "croissant"),
        description=str(document.get("description") or f"fetched from {manifest.address}"),
        source=Source(
            kind="croissant",
            task=request.task.name if request.task else _text(manifest.mark.get("source_task")),
            url=manifest.address if is_remote(manifest.address) else None,
            datasets=read_datasets(manifest),
            depositions=read_depositions(manifest),
            license=_text(document.get("license")),
            cite_as=_text(document.get("citeAs")),
        ),
        objects=tuple(objects),
        runs=tuple(plans),
        refused=tuple(refused),
        groups=_groups(manifest, called),
    )


def _groups(manifest: Manifest, called: Mapping[str, str]) -> Groups | None:
    """Which runs belong together, by their names in the project; None where the manifest doesn't say."""
    by = manifest.mark.get("grouped_by")
    rows = [row for row in manifest.rows("groups") if row.get("run") in called]
    if not rows or not isinstance(by, list) or not all(isinstance(key, str) for key in by):
        return None
    return Groups(by=tuple(by), groups={called[row["run"]]: row.get("group", "") for row in rows})


def manifest_objects(manifest: Manifest) -> list[ProjectObject]:
    """The objects of a manifest, labels, colors and radii as there. Raises FormatError."""
    objects = []
    for entry in manifest.objects:
        try:
            picks_uri(f"{entry['name']}:a/b", output=True)
            radius = entry.get("radius")
            objects.append(
                ProjectObject(
                    str(entry["name"]),
                    int(entry["label"]),
                    None if radius is None else float(radius),
                    bool(entry.get("is_particle", True)),
                    tuple(int(channel) for channel in entry.get("color") or (128, 128, 128, 255)),
                    entry.get("identifier") or entry.get("go_id"),
                )
            )
        except (KeyError, TypeError, ValueError, PopsicleError) as error:
            raise FormatError(f"{manifest.address}: object {entry.get('name')!r} can't be read: {error}") from error
    if not objects:
        raise FormatError(f"{manifest.address} has no objects", "is it a copick Croissant?")
    return objects


def _chosen(request: Request, manifest: Manifest) -> list[Listed]:
    listed = list(manifest.listed())
    splits = list(dict.fromkeys(entry.split for entry in listed if entry.split))
    if request.split is not None:
        if request.split not in splits:
            raise NotFoundError(f"no split '{request.split}' in {manifest.address}", nearest(request.split, splits))
        listed = [entry for entry in listed if entry.split == request.split]
    for name in request.runs:
        if name not in {entry.name for entry in listed}:
            raise NotFoundError(f"no run '{name}' to fetch", nearest(name, [entry.name for entry in listed]))
    if request.runs:
        listed = [entry for entry in listed if entry.name in request.runs]
    order = {split: number for number, split in enumerate(splits)}
    listed.sort(key=lambda entry: (order.get(entry.split or "", len(order)), natural(entry.name)))
    return listed[: request.limit]


def _by_run(manifest: Manifest) -> dict[tuple[str, str], list[Row]]:
    """Rows by table and run."""
    found: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for table in ("tomograms", "picks", *SEGMENTATIONS):
        for row in manifest.rows(table):
            found[table, row.get("run", "")].append(row)
    return found


def _hashes(manifest: Manifest) -> dict[str, list[tuple[str, int, str | None]]]:
    """Store -> path inside, size, sha256 of its files, where the manifest lists them. Raises FormatError."""
    found: dict[str, list[tuple[str, int, str | None]]] = defaultdict(list)
    seen: set[str] = set()
    for row in manifest.rows("files"):
        path, size = row.get("path", ""), row.get("size", "")
        if not (size.isascii() and size.isdecimal() and len(size) < 19):
            raise FormatError(f"{manifest.address}: files.csv has no size of {path!r}")
        if path in seen:
            raise FormatError(f"{manifest.address}: files.csv lists {path!r} twice")
        seen.add(path)
        store, dot, inside = path.partition(".zarr/")
        found[f"{store}.zarr" if dot else path].append((inside, int(size), row.get("sha256") or None))
    for row in manifest.rows("stores"):
        url = row.get("url", "")
        files = [(f"{url}/{path}", sha256 or "") for path, _, sha256 in found.get(url, ())]
        if row.get("files") != str(len(files)) or row.get("tree_sha256") != tree_hash(url, files):
            raise FormatError(f"{manifest.address}: files.csv doesn't list what stores.csv states of {url!r}")
    return found


@dataclass(frozen=True)
class _Planner:
    """Makes plans of the rows of a run. recorded: what is known of its origin."""

    request: Request
    manifest: Manifest
    objects: set[str]
    rows: Mapping[tuple[str, str], list[Row]]
    hashes: Mapping[str, list[tuple[str, int, str | None]]]
    recorded: Recorded

    def plan(self, entry: Listed, name: str) -> RunPlan:
        """The plan of a run. Raises PopsicleError."""
        stores, tomogram = self._tomograms(entry.name, name)
        masks, annotations = self._segmentations(entry.name, name)
        points, others = self._all_points(entry.name)
        annotations += others
        told = {a.uri for a in annotations}
        known = [a for a in self.recorded.annotations.get(entry.name, ()) if plain_uri(a.uri) in told]
        uris = {plain_uri(a.uri) for a in known}
        record = RunRecord(
            run=name,
            portal_run_id=entry.portal_run_id,
            portal_run_name=self.recorded.portal_name(entry.name) or entry.name,
            dataset_id=self.recorded.dataset_id(entry.name),
            split=entry.split,
            tomogram=tomogram,
            annotations=(*known, *(a for a in annotations if a.uri not in uris)),
            notes=self.recorded.notes(entry.name),
        )
        return RunPlan(record, (*stores, *masks), points)

    def _tomograms(self, run: str, name: str) -> tuple[list[Store], FetchedTomogram | None]:
        rows = [row for row in self.rows.get(("tomograms", run), ()) if self._asked(row)]
        if not rows and self.rows.get(("tomograms", run)):
            has = ", ".join(f"{r.get('tomo_type')}@{r.get('voxel_size')}" for r in self.rows["tomograms", run])
            raise NotFoundError("no tomogram of that type and voxel spacing", f"it has {has}")
        uris = [TomogramUri(_plain(row.get("tomo_type")), _spacing(row)) for row in rows]
        stores = [
            self._store(row, f"tomogram-{i}", tomogram_path(name, uri)) for i, (row, uri) in enumerate(zip(rows, uris))
        ]
        stated = self.recorded.tomogram(run)
        if stated is not None and str(tomogram_uri(stated.uri)) in {str(uri) for uri in uris}:
            return stores, stated
        if not rows or (stated is None and run in self.recorded.fetched):
            return stores, None
        first = FetchedTomogram(uri=str(uris[0]), id=_id(rows[0], "portal_tomogram_id"), chosen_by="the manifest")
        return stores, first

    def _segmentations(self, run: str, name: str) -> tuple[list[Store], list[FetchedAnnotation]]:
        stores, annotations = [], []
        for table, stated in SEGMENTATIONS.items():
            for row in self.rows.get((table, run), ()):
                multilabel = row.get("is_multilabel", "").casefold() == "true"
                kind: Kind = stated or ("multilabel" if multilabel else "binary")
                if kind != "multilabel" and not self._wanted(row, "name"):
                    continue
                ids = f"{row.get('name')}:{row.get('user_id')}/{row.get('session_id')}"
                parsed = segmentation_uri(
                    f"{ids}?{kind}=true" if kind != "binary" else f"{ids}?multilabel=false", output=True
                )
                uri = SegmentationUri(parsed.name, parsed.user, parsed.session, _spacing(row), kind)
                store = self._store(row, f"segmentation-{len(stores)}", segmentation_path(name, uri))
                stores.append(store)
                annotations.append(self._annotation(row, str(uri), store.address, f"{kind} segmentation"))
        return stores, annotations

    def _store(self, row: Row, key: str, path: str) -> Store:
        url = row.get("url", "").rstrip("/")
        files = self.hashes.get(url)
        size = sum(size for _, size, _ in files) if files else None
        return Store(join(self.manifest.base, url), size, key, path, files=tuple(files) if files else None)

    def _all_points(self, run: str) -> tuple[tuple[PointsFile, ...], list[FetchedAnnotation]]:
        points, annotations = [], []
        for row in self.rows.get(("picks", run), ()):
            if self._wanted(row):
                file = self._points(row)
                known = [a for a in self.recorded.annotations.get(run, ()) if plain_uri(a.uri) == str(file.uri)]
                annotation = self._annotation(row, str(file.uri), file.address, "Point")
                # the count and hash of a file that several became aren't those of any
                url = file.address if len(known) > 1 else known[0].url if known else annotation.url
                points.append(replace(file, annotation=url))
                annotations.append(annotation)
        return tuple(points), annotations

    def _points(self, row: Row) -> PointsFile:
        uri = picks_uri(f"{row.get('object_name')}:{row.get('user_id')}/{row.get('session_id')}", output=True)
        url = row.get("url", "")
        files = self.hashes.get(url) or [("", None, None)]
        if len(files) > 1 or files[0][0]:
            raise FormatError(f"picks at {url!r}, which is a folder")
        in_voxels = url.endswith(".ndjson")
        return PointsFile(
            address=join(self.manifest.base, url),
            size=files[0][1],
            key=f"{uri.user}_{uri.session}_{uri.object}.{'ndjson' if in_voxels else 'json'}",
            uri=uri,
            spacing=_spacing(row) if in_voxels else None,
            oriented=None,
            annotation=url,
            sha256=row.get("sha256") or files[0][2],
        )

    def _annotation(self, row: Row, uri: str, address: str, shape: str) -> FetchedAnnotation:
        """Of what the manifest says no more: without any records at all, it counts as a reference."""
        return FetchedAnnotation(
            uri=uri,
            object=row.get("object_name") or row.get("name") or "",
            id=_id(row, "portal_annotation_id"),
            file_id=_id(row, "portal_annotation_file_id"),
            url=address if is_remote(address) else row.get("url", ""),
            portal_object_name=row.get("portal_object_name") or None,
            shape_type=shape,
            reference=not self.recorded.complete,
        )

    def _wanted(self, row: Row, column: str = "object_name") -> bool:
        name = row.get(column, "")
        if name not in self.objects:
            raise FormatError(f"annotations of '{name}', which is no object of the manifest")
        return not self.request.objects or name in self.request.objects

    def _asked(self, row: Row) -> bool:
        kind, spacing = self.request.tomo_type, self.request.voxel_spacing
        return (kind is None or row.get("tomo_type") == kind) and same_spacing(spacing, _spacing(row))


def _plain(name: str | None) -> str:
    """A tomogram type that can be a file's name. Raises FormatError."""
    if not name or "/" in name or "\\" in name or name.startswith(".") or not name.isprintable():
        raise FormatError(f"{name!r} is no kind of tomogram")
    return name


def _spacing(row: Row) -> float:
    try:
        spacing = round(float(row.get("voxel_size", "")), 3)
    except ValueError:
        spacing = -1.0
    if not 0 < spacing < float("inf"):
        raise FormatError(f"'{row.get('voxel_size', '')}' is no voxel spacing")
    return spacing


def _id(row: Row, column: str) -> int | None:
    value = row.get(column, "")
    return int(value) if value.isdecimal() else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None

"""Data sets for `local_portal.LocalPortal`: small stores as the real portal serves them, and rows that tell of them.

`Scene` is the builder; `phantom`, `bacterial`, `yeast`, `motorbench` and `many_chunks` fill a portal after the tasks of
configs/tasks, and return their scene, which knows the truth. Ids and numbers are the same in every run of the tests.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

if TYPE_CHECKING:
    from local_portal import LocalPortal

Row = dict[str, Any]
TASKS = Path(__file__).parents[1] / "configs" / "tasks"
DATES = {"depositionDate": "2024-10-01T00:00:00", "releaseDate": "2024-11-01T00:00:00"}
DATES["lastModifiedDate"] = "2024-12-01T00:00:00"
FIRST_IDS = {"Run": 16463, "Tomogram": 30000, "Annotation": 40000, "AnnotationFile": 70000, "Alignment": 20000}
MEMBRANE = ("membrane", "GO:0016020")


@dataclass
class Annotated:
    """The rows of one annotation with one shape; `files` by format, `file` the first of them."""

    annotation: Row
    shape: Row
    files: dict[str, Row]

    @property
    def file(self) -> Row:
        """The one that fetch wants: ndjson or zarr."""
        return next(iter(self.files.values()))


class Scene:
    """Builds data sets and remembers what is in them.

    truth: run name -> object -> (N, 3) xyz in angstrom, or a (z, y, x) bool array; reference annotations only. Objects go
    by the task's name where the scene has a task, else by the portal's. angstrom, masks, volumes: the same and all else
    by the id of its AnnotationFile or Tomogram.
    """

    def __init__(self, portal: LocalPortal, task: str | None = None) -> None:
        self.portal = portal
        self.task = yaml.safe_load((TASKS / f"{task}.yaml").read_text()) if task else {"objects": []}
        self.names = {entry["portal_object_id"]: entry["name"] for entry in self.task["objects"]}
        self.rng = np.random.default_rng(0)
        self.ids: dict[str, itertools.count] = {}
        self.local: Counter[str] = Counter()
        self.runs: dict[str, Row] = {}
        self.truth: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
        self.angstrom: dict[int, np.ndarray] = {}
        self.masks: dict[int, np.ndarray] = {}
        self.volumes: dict[int, np.ndarray] = {}

    def add(self, table: str, **columns: Any) -> Row:
        """A row with the next id of its table."""
        first = FIRST_IDS.get(table, 1000)
        columns.setdefault("id", next(self.ids.setdefault(table, itertools.count(first))))
        return self.portal.add(table, **columns)

    def row(self, table: str, **columns: Any) -> Row | None:
        """The first row with these columns."""
        rows = self.portal.rows[table]
        return next((row for row in rows if all(row.get(name) == value for name, value in columns.items())), None)

    def deposition(self, number: int, title: str = "") -> Row:
        """A deposition; made once."""
        title = title or f"Deposition {number}"
        return self.row("Deposition", id=number) or self.add("Deposition", id=number, title=title, **DATES)

    def dataset(self, number: int, deposition: int, title: str = "", organism: str | None = None) -> Row:
        """A data set without runs."""
        self.deposition(deposition)
        return self.add(
            "Dataset",
            id=number,
            depositionId=deposition,
            title=title or f"Dataset {number}",
            description="made for tests",
            organismName=organism,
            fileSize=1.0,
            **self.places("s3Prefix", "httpsPrefix", f"{number}/"),
            **DATES,
        )

    def places(self, s3: str, https: str, key: str) -> Row:
        """The two columns that say where a key is."""
        return {s3: self.portal.s3(key), https: self.portal.https(key)}

    def run(self, dataset: Row, name: str) -> Row:
        """A run with one alignment and nothing else."""
        key = f"{dataset['id']}/{name}/"
        row = self.add("Run", datasetId=dataset["id"], name=name, **self.places("s3Prefix", "httpsPrefix", key))
        self.runs[name] = row
        self.truth[name] = {}
        self.alignment(row, dataset["depositionId"])
        return row

    def alignment(self, run: Row, deposition: int) -> Row:
        """One more alignment of a run; the first is what everything else takes if not told otherwise."""
        return self.add("Alignment", runId=run["id"], depositionId=deposition, alignmentType="GLOBAL")

    def deposition_of(self, run: Row) -> int:
        """The deposition of a run's data set."""
        return self.row("Dataset", id=run["datasetId"])["depositionId"]

    def spacing(self, run: Row, voxel_spacing: float) -> tuple[Row, str]:
        """The voxel spacing's row, made once for each run, and its key."""
        key = f"{run['datasetId']}/{run['name']}/Reconstructions/VoxelSpacing{voxel_spacing:.3f}"
        columns = {"runId": run["id"], "voxelSpacing": voxel_spacing}
        row = self.row("TomogramVoxelSpacing", **columns)
        if row is None:
            places = self.places("s3Prefix", "httpsPrefix", f"{key}/")
            row = self.add("TomogramVoxelSpacing", **columns, **places)
        return row, key

    def tomogram(
        self,
        run: Row,
        voxel_spacing: float = 10.012,
        shape: tuple[int, int, int] = (24, 64, 64),
        *,
        volume: np.ndarray | None = None,
        method: str = "WBP",
        processing: str = "raw",
        processing_software: str | None = None,
        ctf_corrected: bool = False,
        deposition: int | None = None,
        alignment: Row | None = None,
        is_visualization_default: bool = True,
        chunks: tuple[int, int, int] = (256, 256, 256),
        levels: int = 3,
        mrc: bool = False,
    ) -> Row:
        """A reconstruction; noise unless `volume` (z, y, x) is given."""
        spacing, key = self.spacing(run, voxel_spacing)
        stem = f"{key}/Tomograms/{self.next_local(key + '/Tomograms')}/{run['name']}"
        volume = self.rng.standard_normal(shape, np.float32) if volume is None else volume
        write_store(self.portal.path(f"{stem}.zarr"), volume, voxel_spacing, chunks, levels)
        if mrc:
            write_mrc(self.portal.path(f"{stem}.mrc"), volume, voxel_spacing)
        deposition = deposition or self.deposition_of(run)
        self.deposition(deposition)
        row = self.add(
            "Tomogram",
            runId=run["id"],
            alignmentId=(alignment or self.row("Alignment", runId=run["id"]))["id"],
            depositionId=deposition,
            tomogramVoxelSpacingId=spacing["id"],
            name=run["name"],
            voxelSpacing=voxel_spacing,
            **dict(zip(("sizeZ", "sizeY", "sizeX"), volume.shape)),
            reconstructionMethod=method,
            processing=processing,
            processingSoftware=processing_software,
            ctfCorrected=ctf_corrected,
            fiducialAlignmentStatus="NON_FIDUCIAL",
            isVisualizationDefault=is_visualization_default,
            isAuthorSubmitted=True,
            fileSizeOmezarr=self.size(f"{stem}.zarr"),
            **self.places("s3OmezarrDir", "httpsOmezarrDir", f"{stem}.zarr"),
            **(self.places("s3MrcFile", "httpsMrcFile", f"{stem}.mrc") if mrc else {}),
            **({"fileSizeMrc": self.size(f"{stem}.mrc")} if mrc else {}),
            **DATES,
        )
        self.add("TomogramAuthor", tomogramId=row["id"], name="Jane Doe", authorListOrder=1)
        self.volumes[row["id"]] = volume
        return row

    def next_local(self, key: str) -> int:
        """The portal numbers things within a folder from 100 on, so the names of files come again in every run."""
        self.local[key] += 1
        return 99 + self.local[key]

    def size(self, key: str) -> float:
        """Bytes of a file or of all below a folder."""
        path = self.portal.path(key)
        return float(sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file()))

    def points(
        self,
        run: Row,
        object_name: str,
        object_id: str,
        xyz_voxels: Any,
        voxel_spacing: float = 10.012,
        rotations: np.ndarray | None = None,
        truth: bool | None = None,
        **columns: Any,
    ) -> Annotated:
        """Picks, (N, 3) xyz in voxels of `voxel_spacing`; with (N, 3, 3) rotations in the xyz basis they're oriented."""
        xyz = np.asarray(xyz_voxels, float).reshape(-1, 3)
        lines = [{"type": "point", "location": dict(zip("xyz", point.tolist()))} for point in xyz]
        for line, rotation in zip(lines, [] if rotations is None else rotations):
            line.update(type="orientedPoint", xyz_rotation_matrix=rotation.tolist())
        kind = "Point" if rotations is None else "OrientedPoint"
        made = self.annotation(run, object_name, object_id, kind, voxel_spacing, len(xyz), **columns)
        text = "".join(json.dumps(line) + "\n" for line in lines)
        self.file(made, run, "ndjson", voxel_spacing, text, columns.get("alignment"))
        self.remember(made, run, xyz * voxel_spacing, truth)
        self.angstrom[made.file["id"]] = xyz * voxel_spacing
        return made

    def mask(
        self,
        run: Row,
        object_name: str,
        object_id: str,
        array: np.ndarray,
        voxel_spacing: float = 10.012,
        mrc: bool = False,
        truth: bool | None = None,
        **columns: Any,
    ) -> Annotated:
        """A mask, (z, y, x), stored as int8 0 and 1."""
        array = np.asarray(array) > 0
        made = self.annotation(run, object_name, object_id, "SegmentationMask", voxel_spacing, 1, **columns)
        for format_ in ("zarr", "mrc") if mrc else ("zarr",):
            self.file(made, run, format_, voxel_spacing, array, columns.get("alignment"))
        self.remember(made, run, array, truth)
        self.masks[made.file["id"]] = array
        return made

    def remember(self, made: Annotated, run: Row, what: np.ndarray, truth: bool | None) -> None:
        """Note what a reference annotation says."""
        annotation = made.annotation
        if annotation["groundTruthStatus"] if truth is None else truth:
            name = self.names.get(annotation["objectId"], annotation["objectName"])
            self.truth[run["name"]][name] = what

    def annotation(
        self,
        run: Row,
        object_name: str,
        object_id: str,
        shape_type: str,
        voxel_spacing: float,
        count: int,
        *,
        deposition: int | None = None,
        ground_truth: bool = True,
        curator_recommended: bool | None = None,
        method_type: str = "hybrid",
        alignment: Row | None = None,
        authors: tuple[str, ...] = ("Jane Doe",),
    ) -> Annotated:
        """An annotation that has no file yet."""
        deposition = deposition or self.deposition_of(run)
        self.deposition(deposition)
        _, key = self.spacing(run, voxel_spacing)
        stem = f"{key}/Annotations/{self.next_local(key + '/Annotations')}/{object_name.lower().replace(' ', '_')}-1.0"
        annotated = {"annotation_object": {"name": object_name, "id": object_id}, "deposition_id": deposition}
        self.portal.path(f"{stem}.json").write_text(json.dumps(annotated))
        annotation = self.add(
            "Annotation",
            runId=run["id"],
            depositionId=deposition,
            objectName=object_name,
            objectId=object_id,
            objectCount=count,
            groundTruthStatus=ground_truth,
            isCuratorRecommended=ground_truth if curator_recommended is None else curator_recommended,
            methodType=method_type,
            annotationMethod=method_type,
            **self.places("s3MetadataPath", "httpsMetadataPath", f"{stem}.json"),
            **DATES,
        )
        for order, author in enumerate(authors, 1):
            self.add("AnnotationAuthor", annotationId=annotation["id"], name=author, authorListOrder=order)
        shape = self.add("AnnotationShape", annotationId=annotation["id"], shapeType=shape_type)
        return Annotated(annotation, shape, {})

    def file(
        self, made: Annotated, run: Row, format_: str, voxel_spacing: float, content: Any, alignment: Row | None
    ) -> Row:
        """Write a file of an annotation, and its row."""
        stem = made.annotation["s3MetadataPath"].removeprefix(self.portal.s3("")).removesuffix(".json")
        key = f"{stem}_{made.shape['shapeType'].lower()}.{format_}"
        path = self.portal.path(key)
        if format_ == "ndjson":
            path.write_text(content)
        elif format_ == "mrc":
            write_mrc(path, content.astype(np.int8), voxel_spacing)
        else:
            write_store(path, content.astype(np.int8), voxel_spacing)
        made.files[format_] = self.add(
            "AnnotationFile",
            annotationShapeId=made.shape["id"],
            tomogramVoxelSpacingId=self.spacing(run, voxel_spacing)[0]["id"],
            alignmentId=(alignment or self.row("Alignment", runId=run["id"]))["id"],
            format=format_,
            fileSize=self.size(key),
            source="dataset_author" if made.annotation["groundTruthStatus"] else "community",
            isVisualizationDefault=True,
            **self.places("s3Path", "httpsPath", key),
        )
        return made.files[format_]


def write_store(
    path: Path,
    volume: np.ndarray,
    voxel_spacing: float,
    chunks: tuple[int, int, int] = (256, 256, 256),
    levels: int = 3,
) -> None:
    """A (z, y, x) array as OME-Zarr 0.4, Zarr v2, Blosc: as the portal has them. Masks are thinned, others averaged."""
    import zarr
    from numcodecs import Blosc

    group = zarr.open_group(str(path), mode="w")
    datasets = []
    for level in range(levels):
        level_chunks = tuple(min(size, chunk) for size, chunk in zip(volume.shape, chunks))
        compressor = Blosc(cname="lz4", clevel=5, shuffle=Blosc.SHUFFLE)
        kept = {"chunks": level_chunks, "compressor": compressor, "dimension_separator": "/"}
        group.create_dataset(str(level), data=volume, write_empty_chunks=True, **kept)
        scale = {"type": "scale", "scale": [voxel_spacing * 2**level] * 3}
        datasets.append({"path": str(level), "coordinateTransformations": [scale]})
        volume = halved(volume)
    axes = [{"name": axis, "type": "space", "unit": "angstrom"} for axis in "zyx"]
    group.attrs["multiscales"] = [{"version": "0.4", "name": "/", "axes": axes, "datasets": datasets}]


def halved(volume: np.ndarray) -> np.ndarray:
    """Every second voxel of integers, means of 2 x 2 x 2 of floats; an odd last plane is dropped."""
    if volume.dtype.kind != "f":
        return volume[::2, ::2, ::2]
    even = volume[tuple(slice(0, max(2, size // 2 * 2)) for size in volume.shape)]
    z, y, x = (size // 2 for size in even.shape)
    return even.reshape(z, 2, y, 2, x, 2).mean(axis=(1, 3, 5), dtype=np.float32)


def write_mrc(path: Path, volume: np.ndarray, voxel_spacing: float) -> None:
    """The same as .mrc."""
    import mrcfile

    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(volume)
        file.voxel_size = voxel_spacing


def turns(count: int) -> np.ndarray:
    """Rotations about z, (N, 3, 3)."""
    angles = np.linspace(0, 5, count)
    cos, sin, zero = np.cos(angles), np.sin(angles), np.zeros(count)
    return np.stack([cos, -sin, zero, sin, cos, zero, zero, zero, zero + 1], 1).reshape(-1, 3, 3)


# ---- scenes ---------------------------------------------------------------------------------------------------------
PHANTOM_RUNS = {
    10440: ["TS_5_4", "TS_69_2", "TS_6_6", "TS_73_6", "TS_86_3", "TS_99_9", "TS_6_4"],
    10445: [f"TS_{100 + number}_{number % 9 + 1}" for number in range(121)],
    10446: [f"TS_{300 + number}_{number % 9 + 1}" for number in range(364)],
}
ORIENTED = {"beta-galactosidase", "ribosome", "thyroglobulin"}


def phantom(
    portal: LocalPortal, runs: tuple[int, ...] = (3, 2, 2), shape: tuple[int, int, int] = (24, 64, 64)
) -> Scene:
    """Task phantom: `runs` of data sets 10440, 10445, 10446. Picks are on 10.012 A in the first, on 4.990 A in the others.

    The very first run also has a membrane mask that an algorithm made (deposition 10301), and someone else's ribosomes
    (deposition 10314).
    """
    scene = Scene(portal, "phantom")
    for (number, names), count in zip(PHANTOM_RUNS.items(), runs):
        dataset = scene.dataset(number, 10310, f"phantom {number}")
        for name in names[:count]:
            run = scene.run(dataset, name)
            phantom_tomograms(scene, run, shape)
            phantom_picks(scene, run, shape, 10.012 if number == 10440 else 4.990)
    first = next(iter(scene.runs.values()))
    band = np.zeros(shape, bool)
    band[:, 30:33] = True
    scene.mask(first, *MEMBRANE, band, 10.012, deposition=10301, ground_truth=False, method_type="automated")
    others = {"deposition": 10314, "ground_truth": False, "method_type": "automated", "authors": ("John Roe",)}
    ribosome = next(entry for entry in scene.task["objects"] if entry["name"] == "ribosome")
    xyz = scene.rng.uniform(2, 20, (4, 3))
    scene.points(first, ribosome["portal_object_name"], ribosome["portal_object_id"], xyz, 10.012, **others)
    return scene


def phantom_tomograms(scene: Scene, run: Row, shape: tuple[int, int, int]) -> None:
    """The two types that the task names."""
    volume = scene.rng.standard_normal(shape, np.float32)
    kept = {"volume": volume, "ctf_corrected": True}
    scene.tomogram(run, 10.012, processing="denoised", processing_software="DenoisET", **kept)
    scene.tomogram(run, 10.012, processing="filtered", is_visualization_default=False, **kept)


def phantom_picks(scene: Scene, run: Row, shape: tuple[int, int, int], voxel_spacing: float, most: int = 7) -> None:
    """Two to `most` of each of the six objects."""
    for entry in scene.task["objects"]:
        count = int(scene.rng.integers(2, most + 1))
        xyz = scene.rng.uniform(2, np.array(shape[::-1]) - 2, (count, 3)) * (10.012 / voxel_spacing)
        rotations = turns(count) if entry["name"] in ORIENTED else None
        named = entry["portal_object_name"], entry["portal_object_id"]
        scene.points(run, *named, xyz.round(3), voxel_spacing, rotations, deposition=10310)


def bacterial(portal: LocalPortal, runs: tuple[int, ...] = (1, 3, 3)) -> Scene:
    """Task bacterial: `runs` of its first data sets; five masks for each run at 20 A, the second run has no flagellum.

    Each has a tomogram at 20 A of deposition 10350 and one at 10 A of the data set's own (the portal's default), on
    which an algorithm's membrane (deposition 10301) lies.
    """
    scene = Scene(portal, "bacterial")
    fill_compartments(scene, runs, 20.0, 10350, "flagellum")
    for run in list(scene.runs.values()):
        scene.tomogram(run, 10.0, (24, 64, 48), method="SIRT")
        band = np.zeros((24, 64, 48), bool)
        band[:, 20:24] = True
        scene.mask(run, *MEMBRANE, band, 10.0, deposition=10301, ground_truth=False, method_type="automated")
    return scene


def yeast(portal: LocalPortal, runs: tuple[int, ...] = (3, 2)) -> Scene:
    """Task yeast: `runs` of data sets 10000 and 10001; six masks for each run at 13.48 A, the second has no vesicle."""
    scene = Scene(portal, "yeast")
    fill_compartments(scene, runs, 13.48, 10351, "vesicle")
    return scene


def fill_compartments(scene: Scene, runs: tuple[int, ...], spacing: float, deposition: int, missing: str) -> None:
    """Runs of a task with portal_runs: one tomogram of the deposition and one mask for each object, none overlapping."""
    shape = (12, 32, 24)
    for (number, names), count in zip(scene.task["portal_runs"].items(), runs):
        dataset = scene.dataset(number, 10004, f"cells {number}")
        for name in names[:count]:
            run = scene.run(dataset, name)
            scene.tomogram(run, spacing, shape, deposition=deposition, is_visualization_default=False)
            labels = bands(shape, len(scene.task["objects"]))
            for entry in scene.task["objects"]:
                if len(scene.runs) == 2 and entry["name"] == missing:
                    continue
                named = entry["portal_object_name"], entry["portal_object_id"]
                array = labels == entry["label"]
                scene.mask(run, *named, array, spacing, deposition=deposition, method_type="manual")


def bands(shape: tuple[int, int, int], count: int) -> np.ndarray:
    """Labels 1 to `count` in bands along y, with background beside them along x."""
    labels = np.zeros(shape, np.uint8)
    labels[:, :, 4:] = (np.arange(shape[1]) * (count + 1) // shape[1])[None, :, None]
    return labels


MOTORS = (  # data set, its deposition, that of the annotations, run, voxel spacing, method, processing, motors
    (10331, 10332, 10332, "mba2011-02-16-106", 15.6, "WBP", "raw", 1),
    (10331, 10332, 10332, "mba2011-02-16-108", 15.6, "WBP", "raw", 2),
    (10331, 10332, 10332, "mba2011-02-16-11", 15.6, "WBP", "raw", 0),
    (10331, 10332, 10332, "mba2011-02-16-12", 15.6, "WBP", "raw", None),
    (10160, 10056, 10332, "ycw2012-09-23-5", 19.7, "SIRT", "raw", 1),
    (10348, 10347, 10347, "aba2013-04-06-7", 13.1, "WBP", "denoised", 1),
    (10348, 10347, 10347, "aba2013-04-06-9", 13.1, "WBP", "filtered", 0),
    (10348, 10347, 10347, "aba2013-04-06-10", 16.2, "WBP", "raw", None),
)


def motorbench(portal: LocalPortal) -> Scene:
    """Task motorbench: runs with one motor, with two, with an annotation of none, and without any annotation."""
    scene = Scene(portal, "motorbench")
    entry = scene.task["objects"][0]
    for number, own, deposition, name, spacing, method, processing, motors in MOTORS:
        dataset = scene.row("Dataset", id=number) or scene.dataset(number, own, f"cells {number}")
        run = scene.run(dataset, name)
        scene.tomogram(run, spacing, (16, 40, 48), method=method, processing=processing, deposition=deposition)
        if motors is not None:
            xyz = scene.rng.uniform(2, 14, (motors, 3))
            named = entry["portal_object_name"], entry["portal_object_id"]
            scene.points(run, *named, xyz.round(3), spacing, deposition=deposition, method_type="manual")
    return scene


def many_chunks(portal: LocalPortal, chunks: int = 300, runs: tuple[int, ...] = (1,)) -> Scene:
    """Data set 10440 with one run (or more): a tomogram of about `chunks` objects of 128 kB, and six files of picks."""
    scene = Scene(portal, "phantom")
    side = max(2, round((chunks / 4.6) ** 0.5))
    shape = (128, 32 * side, 32 * side)
    dataset = scene.dataset(10440, 10310, "many small chunks")
    for name in PHANTOM_RUNS[10440][: runs[0]]:
        run = scene.run(dataset, name)
        kept = {"processing": "denoised", "processing_software": "DenoisET", "ctf_corrected": True}
        scene.tomogram(run, 10.012, shape, chunks=(32, 32, 32), **kept)
        phantom_picks(scene, run, shape, 10.012, most=60)
    return scene


SCENES = {
    "phantom": phantom,
    "bacterial": bacterial,
    "yeast": yeast,
    "motorbench": motorbench,
    "many_chunks": many_chunks,
}

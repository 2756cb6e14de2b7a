"""Which tomogram and which annotations of a portal run are taken: by the real client, against scenes."""

import functools
import itertools
from dataclasses import replace
from types import SimpleNamespace

import cryoet_data_portal as cdp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from local_portal import LocalPortal
from portal_scenes import MEMBRANE, Scene, bacterial, phantom, phantom_picks

from copick_tools.data.portal.choose import Wanted, choose_annotations, choose_tomogram
from copick_tools.data.portal.client import Portal
from copick_tools.data.portal.naming import natural, object_name, run_names, safe, tomo_type
from copick_tools.data.portal.planning import Target, plan_run
from copick_tools.data.portal.points import read_ndjson
from copick_tools.data.portal.records import describe_runs
from copick_tools.errors import NotFoundError, PopsicleError
from copick_tools.recipes.load import load_task

DEPOSITIONS = (10310,)
TASK = load_task("phantom")
WANTED = Wanted(TASK.objects, (), None, 10.012, TASK.tomo_types, DEPOSITIONS, "points")
ANY = Wanted(depositions=DEPOSITIONS)
TARGET = Target(WANTED, labels={entry.name: entry.label for entry in TASK.objects})
RIBOSOME = ("cytosolic ribosome", "GO:0022626")
XYZ = [[1.0, 2, 3], [4, 5, 6]]
SMALL = (8, 16, 16)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with LocalPortal(tmp_path_factory.mktemp("portal")) as portal:
        yield portal
    assert not portal.errors


@pytest.fixture
def scene(server):
    """An empty one, with one data set and one run."""
    server.rows.clear()
    scene = Scene(server, "phantom")
    scene.run(scene.dataset(10440, 10310), "TS_1")
    return scene


@pytest.fixture
def run(scene):
    return scene.runs["TS_1"]


client = functools.cache(Portal)


def rows_of(scene, *names):
    """What the portal says of runs."""
    portal = client(f"{scene.portal.url}/graphql")
    ids = [scene.runs[name]["id"] for name in names or scene.runs]
    return describe_runs(portal, portal.find_by(cdp.Run, ids, lambda batch: [cdp.Run.id._in(batch)]))


def choose(scene, wanted=ANY, depositions=DEPOSITIONS):
    """Tomogram id, rule, chosen annotations, notes."""
    (rows,) = rows_of(scene)
    tomogram, rule = choose_tomogram(rows, wanted, depositions)
    chosen, notes = choose_annotations(rows, tomogram, wanted, depositions)
    return tomogram.id, rule, chosen, notes


def file_ids(chosen):
    return {entry.source.file.id for entry in chosen}


# ---- tomograms
def test_the_only_tomogram(scene, run):
    tomogram = scene.tomogram(run, shape=SMALL, is_visualization_default=False)
    assert choose(scene)[:2] == (tomogram["id"], "the only one")


def test_none_is_an_error(scene):
    with pytest.raises(NotFoundError, match="no tomogram of any kind"):
        choose(scene)


def test_a_tomogram_without_a_zarr_store_is_none(scene, run):
    scene.tomogram(run, shape=SMALL)["s3OmezarrDir"] = None
    with pytest.raises(NotFoundError):
        choose(scene)


def test_the_visualization_default_of_two_of_one_type(scene, run):
    scene.tomogram(run, shape=SMALL, is_visualization_default=False)
    default = scene.tomogram(run, shape=SMALL)
    scene.tomogram(run, shape=SMALL, is_visualization_default=False)
    assert choose(scene)[:2] == (default["id"], "visualization default")


@pytest.mark.parametrize("default", [True, False])
def test_still_several_is_an_error_with_the_list(scene, run, default):
    made = [scene.tomogram(run, shape=SMALL, is_visualization_default=default) for _ in range(2)]
    with pytest.raises(PopsicleError, match="2 tomograms are possible") as error:
        choose(scene)
    for tomogram in made:
        assert f"wbp-raw@10.012 (tomogram {tomogram['id']}" in error.value.hint


def test_the_type_that_is_asked_for(scene, run):
    scene.tomogram(run, shape=SMALL)
    sirt = scene.tomogram(run, shape=SMALL, method="SIRT", is_visualization_default=False)
    assert choose(scene, replace(ANY, tomo_type="sirt-raw"))[:2] == (sirt["id"], "type sirt-raw")
    with pytest.raises(NotFoundError, match="no tomogram of type sart-raw") as error:
        choose(scene, replace(ANY, tomo_type="sart-raw"))
    assert "sirt-raw@10.012" in error.value.hint


def test_the_spacing_that_is_asked_for(scene, run):
    scene.tomogram(run, 10.012, SMALL)
    fine = scene.tomogram(run, 4.99, SMALL, is_visualization_default=False)
    assert choose(scene, replace(ANY, voxel_spacing=4.99))[0] == fine["id"]
    assert choose(scene, replace(ANY, voxel_spacing=5.0))[0] == fine["id"]  # within 0.05 A
    with pytest.raises(NotFoundError, match="voxel spacing 7"):
        choose(scene, replace(ANY, voxel_spacing=7))


def test_the_first_of_the_tasks_types_that_is_there(scene, run):
    scene.tomogram(run, shape=SMALL)
    second = scene.tomogram(run, shape=SMALL, processing="filtered", ctf_corrected=True)
    assert choose(scene, WANTED)[0] == second["id"]
    best = {"processing": "denoised", "processing_software": "DenoisET", "ctf_corrected": True}
    first = scene.tomogram(run, shape=SMALL, is_visualization_default=False, **best)
    assert choose(scene, WANTED)[:2] == (
        first["id"],
        "voxel spacing 10.012, type wbp-denoised-denoiset-ctfdeconv",
    )


# ---- alignments
@pytest.fixture
def aligned(scene, run):
    """Two alignments, each with a tomogram and ribosomes; the references lie on the second."""
    other = scene.alignment(run, 10999)
    first = scene.tomogram(run, shape=SMALL)
    second = scene.tomogram(run, shape=SMALL, alignment=other, is_visualization_default=False)
    elsewhere = scene.points(run, *RIBOSOME, XYZ, deposition=10999)
    here = scene.points(run, *RIBOSOME, XYZ, alignment=other)
    return first, second, elsewhere, here


def test_the_tomogram_of_the_references_alignment(scene, aligned):
    _, second, _, here = aligned
    number, rule, chosen, _ = choose(scene)
    assert (number, rule) == (second["id"], "the reference's alignment")
    assert file_ids(chosen) == {here.file["id"]}
    assert [entry.reference for entry in chosen] == [True]


def test_points_of_another_alignment_do_not_come(scene, run, aligned):
    first, _, elsewhere, _ = aligned
    scene.row("Tomogram", id=first["id"])["reconstructionMethod"] = "SIRT"
    number, _, chosen, notes = choose(scene, replace(ANY, tomo_type="sirt-raw"))
    assert number == first["id"]
    assert file_ids(chosen) == {elsewhere.file["id"]}
    assert not any(entry.reference for entry in chosen)
    assert "the reference points of cytosolic-ribosome lie on alignment" in notes[0]


def test_a_task_takes_no_tomogram_that_its_reference_does_not_lie_on(scene, aligned):
    first, *_ = aligned
    scene.row("Tomogram", id=first["id"])["reconstructionMethod"] = "SIRT"
    with pytest.raises(PopsicleError, match="the reference points of ribosome lie on alignment"):
        choose(scene, replace(WANTED, tomo_type="sirt-raw"))


def test_an_annotation_without_alignment_belongs_to_the_only_one(scene, run):
    made = scene.points(run, *RIBOSOME, XYZ)
    made.file["alignmentId"] = None
    scene.tomogram(run, shape=SMALL)
    assert file_ids(choose(scene)[2]) == {made.file["id"]}
    scene.tomogram(run, shape=SMALL, alignment=scene.alignment(run, 10999), is_visualization_default=False)
    assert choose(scene)[2] == []


# ---- spacings
def test_points_at_another_spacing_are_in_angstrom(server):
    server.rows.clear()
    scene = phantom(server, (1, 1, 1), (8, 16, 16))
    for rows in rows_of(scene):
        plan = plan_run(rows, rows.run.name, None, TARGET, 10310)
        truth = scene.truth[rows.run.name]
        references = [entry for entry in plan.points if entry.uri.user == "data-portal"]
        assert {entry.uri.object for entry in references} == set(truth)
        assert plan.record.tomogram.uri == "wbp-denoised-denoiset-ctfdeconv@10.012"
        for entry in references:
            path = server.folder / entry.address.removeprefix(f"{server.url}/files/")
            points = read_ndjson(path, entry.spacing, entry.oriented)
            np.testing.assert_allclose(points.positions, truth[entry.uri.object], rtol=0, atol=1e-6)
            assert points.trust_orientation == (entry.uri.object in {"beta-galactosidase", "ribosome", "thyroglobulin"})


def test_masks_go_by_spacing_too(scene, run):
    scene.tomogram(run, 10.012, SMALL)
    at_ten = scene.mask(run, *MEMBRANE, np.ones(SMALL), 10.012, ground_truth=False)
    scene.mask(run, *MEMBRANE, np.ones(SMALL), 4.99, ground_truth=False)
    assert file_ids(choose(scene)[2]) == {at_ten.file["id"]}


def test_a_reference_mask_at_another_spacing_only_is_an_error_for_a_task(scene, run):
    scene.tomogram(run, 10.012, SMALL)
    scene.points(run, *RIBOSOME, XYZ)
    scene.mask(run, *RIBOSOME, np.ones(SMALL), 4.99)
    assert "the reference masks of ribosome" in choose(scene, WANTED)[3][0]
    with pytest.raises(PopsicleError, match="at 4.99 A"):
        choose(scene, replace(WANTED, kind="masks"))


def test_a_mask_is_merged_whatever_other_shapes_its_annotation_has(scene, run):
    scene.tomogram(run, 10.012, SMALL)
    mask = scene.mask(run, *RIBOSOME, np.ones(SMALL), 10.012)
    other = scene.mask(run, *RIBOSOME, np.ones(SMALL), 10.012)
    other.shape["shapeType"] = "InstanceSegmentationMask"
    scene.points(run, *RIBOSOME, XYZ)
    target = replace(TARGET, wanted=replace(WANTED, kind="masks"), merged="all")
    plan = plan_run(rows_of(scene)[0], "TS_1", None, target, 10310)
    assert [store.key for store in plan.merge.masks] == [f"{mask.file['id']}.zarr"]
    assert [entry.uri.object for entry in plan.points] == ["ribosome"]
    assert {a.uri for a in plan.record.annotations if a.file_id == other.file["id"]} == {
        "ribosome:data-portal/0@10.012?instance=true"
    }


def test_states_of_an_object_come_together(scene, run):
    scene.tomogram(run, 10.012, SMALL)
    for state in ("open", "closed"):
        scene.points(run, *RIBOSOME, XYZ).annotation["objectState"] = state
    plan = plan_run(rows_of(scene)[0], "TS_1", None, TARGET, 10310)
    assert [str(entry.uri) for entry in plan.points] == ["ribosome:data-portal/0"] * 2


def test_compartments_lie_on_the_tomogram_of_their_deposition(server):
    server.rows.clear()
    scene, task = bacterial(server, (1, 1)), load_task("bacterial")
    wanted = Wanted(task.objects, (), None, None, ("wbp-raw", "sirt-raw"), (10350,))
    for rows in rows_of(scene):
        tomogram, _ = choose_tomogram(rows, wanted, (10350,))
        chosen, _ = choose_annotations(rows, tomogram, wanted, (10350,))
        assert tomogram.voxel_spacing == 20
        assert {entry.object for entry in chosen if entry.reference} == set(scene.truth[rows.run.name])


# ---- objects
@pytest.mark.parametrize(
    ("name", "number", "note"),
    [
        ("ribosome, 80S", "GO:0022626", "is called 'ribosome, 80S' on the portal, not 'cytosolic ribosome'"),
        ("cytosolic ribosome", "GO:0005840", "has the id GO:0005840 on the portal, not GO:0022626"),
        ("Cytosolic  Ribosome", "GO:0022626", None),
    ],
)
def test_a_renamed_object_is_known_by_what_is_left(scene, run, name, number, note):
    scene.tomogram(run, shape=SMALL)
    scene.points(run, name, number, XYZ)
    _, _, chosen, notes = choose(scene, WANTED)
    assert [(entry.object, entry.reference) for entry in chosen] == [("ribosome", True)]
    assert notes == ([] if note is None else [f"ribosome {note}"])


def test_ids_count_more_than_names(scene, run):
    scene.tomogram(run, shape=SMALL)
    scene.points(run, "Beta-amylase", "GO:0022626", XYZ)
    assert [entry.object for entry in choose(scene, WANTED)[2]] == ["ribosome"]


def test_objects_that_are_not_of_the_task_stay_there(scene, run):
    scene.tomogram(run, shape=SMALL)
    scene.mask(run, *MEMBRANE, np.ones(SMALL), 10.012)
    assert choose(scene, WANTED)[2] == []
    assert [entry.object for entry in choose(scene)[2]] == ["membrane"]
    assert choose(scene, replace(ANY, only=("cytosolic-ribosome",)))[2] == []


# ---- whose annotations
def planned(scene, target=TARGET):
    (rows,) = rows_of(scene)
    return plan_run(rows, rows.run.name, "train", target, 10310)


def uris(plan):
    return sorted(str(entry.uri) for entry in plan.points)


def test_what_is_no_ground_truth_has_its_own_user_id(scene, run):
    scene.tomogram(run, shape=SMALL)
    scene.points(run, *RIBOSOME, XYZ)
    other = scene.points(run, *RIBOSOME, XYZ, ground_truth=False, method_type="automated")
    plan = planned(scene)
    assert uris(plan) == ["ribosome:data-portal/0", f"ribosome:portal-10310/{other.file['id']}"]
    kept = {a.uri: (a.reference, a.ground_truth_status, a.method_type) for a in plan.record.annotations}
    assert list(kept.values()) == [(True, True, "hybrid"), (False, False, "automated")]


def test_ground_truth_of_another_deposition_has_its_own_user_id(scene, run):
    scene.tomogram(run, shape=SMALL)
    other = scene.points(run, *RIBOSOME, XYZ, deposition=10314)
    assert uris(planned(scene)) == [f"ribosome:portal-10314/{other.file['id']}"]


def test_without_a_task_the_reference_is_that_of_the_datasets_deposition(scene, run):
    scene.tomogram(run, shape=SMALL)
    scene.points(run, *RIBOSOME, XYZ)
    other = scene.points(run, *RIBOSOME, XYZ, deposition=10314)
    assert uris(planned(scene, Target(Wanted()))) == [
        "cytosolic-ribosome:data-portal/0",
        f"cytosolic-ribosome:portal-10314/{other.file['id']}",
    ]


@pytest.mark.parametrize("recommended", [0, 1])
def test_of_two_references_the_curators_choice_then_the_newer_counts(scene, run, recommended):
    scene.tomogram(run, shape=SMALL)
    made = [scene.points(run, *RIBOSOME, XYZ, curator_recommended=number == recommended) for number in range(2)]
    plan = planned(scene)
    left = made[1 - recommended]
    assert uris(plan) == ["ribosome:data-portal/0", f"ribosome:portal-10310/{left.file['id']}"]
    (reference,) = [a for a in plan.record.annotations if a.reference]
    assert reference.file_id == made[recommended].file["id"]
    assert plan.record.notes[0].startswith("2 references of ribosome")


def test_points_and_a_mask_of_one_object_are_both_references(scene, run):
    scene.tomogram(run, shape=SMALL)
    scene.points(run, *RIBOSOME, XYZ)
    scene.mask(run, *RIBOSOME, np.ones(SMALL), 10.012)
    plan = planned(scene)
    assert uris(plan) == ["ribosome:data-portal/0"]
    assert [store.path for store in plan.stores[1:]] == [
        "ExperimentRuns/TS_1/Segmentations/10.012_data-portal_0_ribosome.zarr"
    ]


def test_many_runs_come_in_the_order_that_was_asked(server):
    server.rows.clear()
    scene = phantom(server, (3, 2, 2), SMALL)
    assert [rows.run.name for rows in rows_of(scene)] == list(scene.runs)
    assert all(len(rows.tomograms) == 2 and len(rows.annotations) >= 6 for rows in rows_of(scene))


def test_picks_of_a_scene_are_all_planned(scene, run):
    scene.tomogram(run, shape=SMALL)
    phantom_picks(scene, run, SMALL, 10.012)
    assert uris(planned(scene)) == sorted(f"{entry.name}:data-portal/0" for entry in TASK.objects)


# ---- names of tomograms
METHODS = ["WBP", "SIRT", "Fourier Space", "SART", "MLEM", "weighted back-projection"]
PROCESSINGS = ["raw", "denoised", "filtered", "ctf_deconvolved", "two words"]
SOFTWARES = [None, "", "DenoisET", "cryoCARE", "IsoNet", "Warp 1.0.9", "a_b-c d", "novaCTF", "TOMO3D", "3D CTF"]


@pytest.mark.parametrize(("method", "processing"), list(itertools.product(METHODS, PROCESSINGS)))
@pytest.mark.parametrize("ctf", [True, False])
def test_types_are_called_as_copick_calls_them(method, processing, ctf):
    from copick.impl.cryoet_data_portal import camel

    for software in SOFTWARES:
        kept = {"reconstruction_method": method, "processing": processing, "processing_software": software}
        theirs = "-".join([camel(method), camel(processing), *([camel(software)] if software else [])])
        theirs += "-ctfdeconv" if ctf else ""
        assert tomo_type(SimpleNamespace(**kept, ctf_corrected=ctf)) == theirs


def test_types_are_called_as_copicks_own_portal_backend_calls_them(scene, run):
    from copick.impl.cryoet_data_portal import CopickTomogramMetaCDP

    for software, ctf in itertools.product(("", "DenoisET", "cryoCARE", "Warp 1.0.9"), (True, False)):
        scene.tomogram(run, shape=SMALL, method="SIRT", processing_software=software, ctf_corrected=ctf, levels=1)
    (rows,) = rows_of(scene)
    for tomogram in rows.tomograms:
        assert CopickTomogramMetaCDP.from_portal(tomogram, ["x"]).tomo_type == tomo_type(tomogram)


# ---- names of runs
def test_names_that_clash_get_the_dataset_before_them():
    assert run_names([(1, 10, "TS_1"), (2, 11, "TS_1"), (3, 11, "TS_2")]) == {1: "10-TS_1", 2: "11-TS_1", 3: "TS_2"}
    assert run_names([(1, 10, "ts_1"), (2, 11, "TS_1")]) == {1: "10-ts_1", 2: "11-TS_1"}
    assert len({name.casefold() for name in run_names([(n, 10, "x") for n in range(5)]).values()}) == 5


def test_runs_keep_the_name_that_they_have():
    assert run_names([(1, 10, "TS_1"), (2, 11, "TS_1")], {1: "TS_1"}) == {1: "TS_1", 2: "11-TS_1"}
    assert run_names([(2, 11, "TS_1")], {1: "TS_1"}) == {2: "TS_1-2"}


HOSTILE = st.text(st.sampled_from(list("aAbB1_.-/\\: \0\n~ä\u202e\ud800")), max_size=12)
LONG = st.integers(0, 400).map(lambda count: "x" * count)
RUNS = st.lists(st.tuples(st.integers(10, 12), HOSTILE | LONG | st.text(max_size=6)), max_size=8)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(RUNS, st.integers(0, 8))
def test_names_of_runs_are_safe_unique_and_stable(rows, first):
    runs = [(number, dataset, name) for number, (dataset, name) in enumerate(rows)]
    names = run_names(runs)
    assert set(names) == set(range(len(rows)))
    assert len({name.casefold() for name in names.values()}) == len(names)
    for name in names.values():
        assert name not in (".", "..")
        assert name.isascii()
        assert not set(name) & set('/\\:\0\n ~?*"<>|')
        assert name[0] not in ".-"
        assert 0 < len(name) <= 130
    known = run_names(runs[:first])
    again = run_names(runs, known)
    assert {number: again[number] for number in known} == known
    assert len({name.casefold() for name in again.values()}) == len(again)
    assert run_names(runs[::-1]) == names


@given(HOSTILE | LONG)
@settings(deadline=None, derandomize=True)
def test_plain_names_stay_and_all_are_steps_of_a_path(name):
    assert safe(safe(name)) == safe(name)
    assert "/" not in object_name(name)
    assert object_name(name)
    assert natural(name) == natural(name)


@pytest.mark.parametrize("name", ["TS_5_4", "mba2011-02-16-106", "a.b", "_x", "26aug23a_Position_12"])
def test_names_that_are_fine_stay_as_they_are(name):
    assert safe(name) == name

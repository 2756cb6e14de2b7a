import json
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import starfile
from scipy.spatial.transform import Rotation

from copick_tools.data.tables import Frame, read_picks_table, write_picks_table
from copick_tools.errors import FormatError, NotFoundError, UsageError
from copick_tools.types import Points

DATA = Path(__file__).parents[1] / "data"
FRAMES = {
    "TS_1": Frame(10.012, (184, 630, 620)),
    "0123": Frame(13.48, (100, 300, 200), tomogram="tomo 12"),
}


def some(count, seed=0, turned=False):
    random = np.random.default_rng(seed)
    rotations = Rotation.random(count, rng=random).as_matrix() if turned else None
    return Points.at(random.random((count, 3)) * 2000, random.random(count), rotations)


PICKS = {
    ("TS_1", "ribosome"): some(7, 1, turned=True),
    ("0123", "ribosome"): some(5, 2, turned=True),
    ("TS_1", "apo-ferritin"): replace(some(4, 3), instance_ids=np.array([3, 0, 1, 2])),
    ("0123", "NA"): some(1, 4),
}


def assert_same(found, expected):
    np.testing.assert_allclose(found.positions, expected.positions, atol=1e-3)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
    np.testing.assert_allclose(found.rotations, expected.rotations, atol=1e-4)
    assert found.trust_orientation == expected.trust_orientation
    if expected.instance_ids is not None:
        np.testing.assert_array_equal(found.instance_ids, expected.instance_ids)


@pytest.mark.parametrize("suffix", [".star", ".csv", ".json", ".STAR"])
def test_written_picks_read_back_equal(tmp_path, suffix):
    path = tmp_path / f"new/picks{suffix}"
    write_picks_table(path, PICKS, FRAMES)
    found = read_picks_table(path, frames=FRAMES)
    assert set(found) == set(PICKS)
    for key, points in PICKS.items():
        assert_same(found[key], points)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".star", ".csv", ".json"])
def test_no_orientation_no_columns_of_it(tmp_path, suffix):
    path = tmp_path / f"picks{suffix}"
    key = ("TS_1", "apo-ferritin")
    turned = Rotation.random(4, rng=1).as_matrix()
    write_picks_table(path, {key: replace(PICKS[key], rotations=turned)}, FRAMES)  # turned, but nobody trusts it
    assert not any(word in path.read_text() for word in ("Angle", "transform", "rotations"))
    assert_same(read_picks_table(path, frames=FRAMES)[key], PICKS[key])


def test_a_trusted_identity_stays_trusted(tmp_path):
    points = Points.at([[1, 2, 3]], None, [np.eye(3)])
    for suffix in (".star", ".csv", ".json"):
        write_picks_table(tmp_path / f"a{suffix}", {("TS_1", "x"): points}, FRAMES)
        assert read_picks_table(tmp_path / f"a{suffix}", frames=FRAMES)["TS_1", "x"].trust_orientation


@pytest.mark.parametrize("picks", [{}, {("TS_1", "x"): Points.at([])}])
def test_no_picks(tmp_path, picks):
    for suffix in (".star", ".csv", ".json"):
        write_picks_table(tmp_path / f"a{suffix}", picks, FRAMES)
        found = read_picks_table(tmp_path / f"a{suffix}", frames=FRAMES)
        assert set(found) == (set(picks) if suffix == ".json" else set())  # a table has no row for nothing


def test_star_is_what_relion_5_reads(tmp_path):
    write_picks_table(tmp_path / "a.star", PICKS, FRAMES)
    table = starfile.read(tmp_path / "a.star", always_dict=True)["particles"]
    assert table.rlnTomoName.tolist() == ["TS_1"] * 11 + ["tomo 12"] * 6
    center = np.array([620, 630, 184]) / 2 * 10.012
    columns = [f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ"]
    np.testing.assert_allclose(table[columns][:7] + center, PICKS["TS_1", "ribosome"].positions, atol=1e-5)
    np.testing.assert_allclose(table.rlnAutopickFigureOfMerit[:7], PICKS["TS_1", "ribosome"].scores, atol=1e-5)
    assert table.copickObjectName[:11].tolist() == ["ribosome"] * 7 + ["apo-ferritin"] * 4
    assert "rlnCoordinateX" not in table


def relion_matrix(rot, tilt, psi):
    """RELION's Euler_angles2matrix, written out: what takes the reference to the particle in a tomogram."""
    (ca, cb, cg), (sa, sb, sg) = np.cos(np.radians([rot, tilt, psi])), np.sin(np.radians([rot, tilt, psi]))
    return np.array(
        [
            [cg * cb * ca - sg * sa, cg * cb * sa + sg * ca, -cg * sb],
            [-sg * cb * ca - cg * sa, -sg * cb * sa + cg * ca, sg * sb],
            [sb * ca, sb * sa, cb],
        ]
    )


def star(path, columns, *rows, before=""):
    lines = [f"_{name} #{number}" for number, name in enumerate(columns.split(), start=1)]
    path.write_text("\n".join([before, "data_particles", "", "loop_", *lines, *rows, "", ""]))
    return path


CENTERED = "rlnTomoName rlnCenteredCoordinateXAngst rlnCenteredCoordinateYAngst rlnCenteredCoordinateZAngst "
VOXELS = "rlnTomoName rlnCoordinateX rlnCoordinateY rlnCoordinateZ "
ANGLES = "rlnAngleRot rlnAngleTilt rlnAnglePsi "
SHIFTS = "rlnOriginXAngst rlnOriginYAngst rlnOriginZAngst "


@pytest.mark.parametrize("angles", [(30, 40, 50), (0, 90, 0), (25, 0, 0), (-170, 179, 12)])
def test_relion_angles_both_ways(tmp_path, angles):
    path = star(tmp_path / "a.star", CENTERED + ANGLES, f"TS_1 0 0 0 {' '.join(map(str, angles))}")
    found = read_picks_table(path, object_name="x", frames=FRAMES)
    np.testing.assert_allclose(found["TS_1", "x"].rotations[0], relion_matrix(*angles), atol=1e-9)
    write_picks_table(path, found, FRAMES)
    row = starfile.read(path).iloc[0]
    written = relion_matrix(row.rlnAngleRot, row.rlnAngleTilt, row.rlnAnglePsi)
    np.testing.assert_allclose(written, relion_matrix(*angles), atol=1e-6)


def test_rot_spins_about_the_particles_own_axis(tmp_path):
    path = star(tmp_path / "a.star", CENTERED + ANGLES, "TS_1 0 0 0 0 90 0", "TS_1 0 0 0 77 90 0")
    rotations = read_picks_table(path, object_name="x", frames=FRAMES)["TS_1", "x"].rotations
    np.testing.assert_allclose(rotations[:, :, 2], [[-1, 0, 0]] * 2, atol=1e-9)  # where the reference's z points


def test_relion_5_shifts_are_subtracted_in_the_subtomograms_frame(tmp_path):
    subtomogram = "rlnTomoSubtomogramRot rlnTomoSubtomogramTilt rlnTomoSubtomogramPsi "
    path = star(tmp_path / "a.star", CENTERED + SHIFTS + ANGLES + subtomogram, "TS_1 100 200 -50 1 2 3 10 20 30 0 0 90")
    points = read_picks_table(path, object_name="x", frames=FRAMES)["TS_1", "x"]
    center = np.array([620, 630, 184]) / 2 * 10.012
    turn = relion_matrix(0, 0, 90)  # x to -y, y to x
    np.testing.assert_allclose(points.positions[0], center + [100, 200, -50] - np.array([2, -1, 3]), atol=1e-9)
    np.testing.assert_allclose(points.rotations[0], turn @ relion_matrix(10, 20, 30), atol=1e-9)
    assert points.trust_orientation


def test_relion_4_voxels_of_the_tilt_series(tmp_path):
    optics = "data_optics\n\nloop_\n_rlnOpticsGroup #1\n_rlnTomoTiltSeriesPixelSize #2\n1 1.5\n2 2.0\n\n\n"
    path = star(
        tmp_path / "a.star",
        VOXELS + SHIFTS + "rlnOpticsGroup",
        "TS_1 100 200 300 1 2 3 1",
        "TS_9 100 200 300 0 0 0 2",
        before=optics,
    )
    found = read_picks_table(path, object_name="x", frames=FRAMES)
    np.testing.assert_allclose(found["TS_1", "x"].positions, [[149, 298, 447]])
    np.testing.assert_allclose(found["TS_9", "x"].positions, [[200, 400, 600]])
    assert not found["TS_1", "x"].trust_orientation
    np.testing.assert_array_equal(found["TS_1", "x"].scores, 1)
    found = read_picks_table(path, object_name="x", pixel_size=1.0)
    np.testing.assert_allclose(found["TS_1", "x"].positions, [[99, 198, 297]])


def test_one_optics_group_that_is_no_loop(tmp_path):
    path = star(tmp_path / "a.star", VOXELS, "TS_1 1 2 3", before="data_optics\n\n_rlnTomoTiltSeriesPixelSize 1.5\n\n")
    np.testing.assert_allclose(read_picks_table(path, object_name="x")["TS_1", "x"].positions, [[1.5, 3, 4.5]])


def test_relion_3_paths_magnification_and_voxel_shifts(tmp_path):
    path = star(
        tmp_path / "a.star",
        "rlnMicrographName rlnCoordinateX rlnCoordinateY rlnCoordinateZ rlnOriginX rlnOriginY rlnOriginZ "
        "rlnMagnification rlnDetectorPixelSize",
        "Tomograms/TS_7/TS_7.mrc 100 200 300 1 -2 3 10000 4.0",
        "Tomograms/old.rec 100 200 300 0 0 0 10000 4.0",
    )
    found = read_picks_table(path, object_name="x", frames={"new": Frame(9.9, tomogram="old")})
    np.testing.assert_allclose(found["TS_7", "x"].positions, [[396, 808, 1188]])
    np.testing.assert_allclose(found["new", "x"].positions, [[400, 800, 1200]])


def test_voxels_of_the_tomogram_itself(tmp_path):
    path = star(tmp_path / "a.star", VOXELS, "TS_1 1 2 3")
    assert_same(
        read_picks_table(path, object_name="x", frames=FRAMES)["TS_1", "x"], Points.at([[10.012, 20.024, 30.036]])
    )
    with pytest.raises(FormatError, match="'TS_1' are voxels, and nothing says how large"):
        read_picks_table(path, object_name="x")


def test_pytom_match_pick(tmp_path):
    path = tmp_path / "a.star"
    columns = "rlnCoordinateX rlnCoordinateY rlnCoordinateZ rlnLCCmax rlnCutOff rlnDetectorPixelSize rlnMicrographName"
    star(path, columns, "10 20 30 0.4 0.1 13.79 tomo200528_107").write_text(
        path.read_text().replace("data_particles", "data_")
    )
    points = read_picks_table(path, object_name="x")["tomo200528_107", "x"]
    assert_same(points, Points.at([[137.9, 275.8, 413.7]], [0.4]))


def test_both_kinds_of_coordinates(tmp_path):
    both = VOXELS + CENTERED.removeprefix("rlnTomoName ")
    path = star(tmp_path / "a.star", both, "TS_1 1 2 3 0 0 0", "TS_9 1 2 3 0 0 0")
    found = read_picks_table(path, object_name="x", frames=FRAMES, pixel_size=2.0)
    np.testing.assert_allclose(found["TS_1", "x"].positions, [np.array([620, 630, 184]) / 2 * 10.012])
    np.testing.assert_allclose(found["TS_9", "x"].positions, [[2, 4, 6]])  # its size isn't known


def test_defaults_for_what_a_star_leaves_out(tmp_path):
    path = star(tmp_path / "a.star", VOXELS.removeprefix("rlnTomoName "), "1 2 3")
    assert set(read_picks_table(path, run="007", object_name="x", pixel_size=1)) == {("007", "x")}
    with pytest.raises(FormatError, match="which run"):
        read_picks_table(path, object_name="x", pixel_size=1)
    with pytest.raises(FormatError, match="which object"):
        read_picks_table(path, run="007", pixel_size=1)


def test_a_tomogram_of_unknown_size(tmp_path):
    path = star(tmp_path / "a.star", CENTERED, "TS_2 1 2 3")
    with pytest.raises(NotFoundError, match="'TS_2' has no known size") as caught:
        read_picks_table(path, object_name="x", frames=FRAMES)
    assert "did you mean TS_1?" in caught.value.hint
    with pytest.raises(NotFoundError, match="'TS_2' has no known size") as caught:
        write_picks_table(path, {("TS_2", "x"): some(2)}, {"TS_2": Frame(10.0), **FRAMES})
    assert ".csv" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no table of particles"),
        ("nothing", "no table of particles"),
        ("data_\n", "not a STAR file"),
        ("data_\nloop_\n_rlnTomoName #1\n_rlnTomoSizeX #2\nTS_1 4\n", "columns: rlnTomoName, rlnTomoSizeX"),
        ("data_\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n1 2\n", "neither"),
        ("data_\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n_rlnCoordinateZ #3\n1 2 3 4\n", "not a STAR file"),
        (
            "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n1 1 2 3\n",
            "column rlnCoordinateX is there twice",
        ),
        (
            "data_\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n_rlnCoordinateZ #3\n1 2 3\n1 two 3\n",
            "row 2, column rlnCoordinateY: 'two'",
        ),
        (
            "data_\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n_rlnCoordinateZ #3\n1 2 3\n1 2 inf\n",
            "row 2, column rlnCoordinateZ",
        ),
        (
            "data_\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n_rlnCoordinateZ #3\n1 2 3\n1 2\n",
            "row 2, column rlnCoordinateZ",
        ),
    ],
)
def test_broken_stars(tmp_path, text, words):
    path = tmp_path / "a.star"
    path.write_text(text)
    with pytest.raises(FormatError, match=words) as caught:
        read_picks_table(path, run="a", object_name="x", pixel_size=1)
    assert str(path) in caught.value.message
    star(path, VOXELS, "TS_1 1 2 3")  # a corrected file is read afresh
    assert read_picks_table(path, object_name="x", pixel_size=1)["TS_1", "x"].positions.tolist() == [[1, 2, 3]]


@pytest.mark.parametrize("size", ["0", "-1", "nan"])
def test_pixel_sizes_that_are_none(tmp_path, size):
    path = star(tmp_path / "a.star", VOXELS + "rlnMagnification rlnDetectorPixelSize", f"TS_1 1 2 3 {size} 4")
    with pytest.raises(FormatError, match="pixel size|rlnMagnification"):
        read_picks_table(path, object_name="x")
    with pytest.raises(UsageError):
        read_picks_table(path, object_name="x", pixel_size=float(size))


@pytest.mark.parametrize("name", ["TS#1", "TS'1", 'TS"1', "TS\t1"])
def test_names_that_a_star_can_not_hold(tmp_path, name):
    frame = Frame(10.0, (9, 9, 9))
    with pytest.raises(UsageError, match="can't hold"):
        write_picks_table(tmp_path / "a.star", {("r", "x"): some(1)}, {"r": replace(frame, tomogram=name)})
    with pytest.raises(UsageError, match="can't hold"):
        write_picks_table(tmp_path / "a.star", {("r", name): some(1)}, {"r": frame})
    assert not list(tmp_path.iterdir())


def test_two_runs_in_one_tomogram(tmp_path):
    frames = {run: Frame(10.0, (9, 9, 9), tomogram="same") for run in "ab"}
    with pytest.raises(UsageError, match="share"):
        write_picks_table(tmp_path / "a.star", {("a", "x"): some(1), ("b", "x"): some(1)}, frames)


def test_copick_reads_our_csv_and_we_its(tmp_path):
    from copick.util.formats import read_copick_csv_grouped, write_picks_csv_grouped

    mine = {key: points for key, points in PICKS.items() if key[0] == "TS_1"}
    write_picks_table(tmp_path / "a.csv", mine)
    positions, transforms, scores = read_copick_csv_grouped(tmp_path / "a.csv")["TS_1"]
    np.testing.assert_allclose(positions, np.concatenate([points.positions for points in mine.values()]), atol=1e-3)
    np.testing.assert_allclose(transforms[:7, :3, :3], PICKS["TS_1", "ribosome"].rotations, atol=1e-6)
    np.testing.assert_allclose(scores[:7], PICKS["TS_1", "ribosome"].scores, atol=1e-5)

    transforms[:, :3, 3] = [1, 2, 3]  # the center is location plus translation
    flat = np.tile(np.eye(4), (len(positions), 1, 1))
    write_picks_csv_grouped(
        tmp_path / "b.csv", {"TS_1": (positions, transforms, scores), "TS_2": (positions, flat, None)}
    )
    found = read_picks_table(tmp_path / "b.csv", object_name="x")
    np.testing.assert_allclose(found["TS_1", "x"].positions, positions + [1, 2, 3])
    assert found["TS_1", "x"].trust_orientation
    assert not found["TS_2", "x"].trust_orientation  # the identity throughout says nothing


@pytest.mark.parametrize("run", ["run", "run_name", "tomogram", "Experiment", "micrograph"])
@pytest.mark.parametrize("name", ["object", "particle_type"])
@pytest.mark.parametrize("score", ["score", "Confidence"])
def test_columns_by_any_name(tmp_path, run, name, score):
    (tmp_path / "a.csv").write_text(
        f"\ufeffid, {run},{name},x,y,z,{score}\n0,007,1e5,1,2,3,0.5\n\n1,NA,y,4,5,6,1\n", "utf-8"
    )
    found = read_picks_table(tmp_path / "a.csv")
    assert_same(found["007", "1e5"], Points.at([[1, 2, 3]], [0.5]))
    assert_same(found["NA", "y"], Points.at([[4, 5, 6]], [1.0]))


def test_bare_csv(tmp_path):
    (tmp_path / "a.csv").write_text("z,y,x\n3,2,1\n")
    assert_same(read_picks_table(tmp_path / "a.csv", run="r", object_name="o")["r", "o"], Points.at([[1, 2, 3]]))
    voxels = read_picks_table(tmp_path / "a.csv", run="r", object_name="o", pixel_size=10.0)
    assert_same(voxels["r", "o"], Points.at([[10, 20, 30]]))
    with pytest.raises(FormatError, match="which run"):
        read_picks_table(tmp_path / "a.csv", object_name="o")
    with pytest.raises(FormatError, match="which object"):
        read_picks_table(tmp_path / "a.csv", run="r")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no column x, y, z; columns: none"),
        ("1,2,3\n4,5,6\n", "no column x, y, z; columns: 1, 2, 3"),
        ("run,object,x,y\nr,o,1,2\n", "no column z; columns: run, object, x, y"),
        ("run,object,x,y,z\nr,o,1,2,3\nr,o,1,b,3\n", "row 2, column y: 'b'"),
        ("run,object,x,y,z\nr,o,1,,3\n", "row 1, column y: ''"),
        ("run,object,x,y,z\nr,o,1,nan,3\n", "row 1, column y: 'nan'"),
        ("run,object,x,y,z,score\nr,o,1,2,3,inf\n", "row 1, column score"),
        ("run,object,x,y,z\nr,o,1,2\n", "row 1 has 4 cells, not 5"),
        ("run,object,x,y,z\nr,o,1,2,3,4\n", "row 1 has 6 cells, not 5"),
        ("run,object,x,y,z\nr,o,1,2,3\n,o,1,2,3\n", "row 2, column run: empty"),
        ("run,object,x,y,z,trust_orientation\nr,o,1,2,3,maybe\n", "row 1, column trust_orientation: 'maybe'"),
        ("run,object,x,y,z,transform_00\nr,o,1,2,3,1\n", "no column transform_01"),
        ("run,object,x,y,z,X\nr,o,1,2,3,4\n", "column x is there twice"),
        ('run,object,x,y,z\nr,"o,1,2,3\n', "not a CSV file"),
    ],
)
def test_broken_csvs(tmp_path, text, words):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(FormatError, match=words) as caught:
        read_picks_table(tmp_path / "a.csv")
    assert "a.csv" in caught.value.message
    assert caught.value.hint


def test_matrices_that_are_no_rotations(tmp_path):
    write_picks_table(tmp_path / "a.csv", {("r", "o"): Points.at(np.zeros((2, 3)), None, [np.eye(3), -np.eye(3)])})
    write_picks_table(tmp_path / "a.json", {("r", "o"): Points.at(np.zeros((1, 3)), None, [np.eye(3) * 2])})
    for name, row in (("a.csv", 2), ("a.json", 1)):
        with pytest.raises(FormatError, match=f"row {row}: the matrix isn't a rotation"):
            read_picks_table(tmp_path / name)


def test_latin_1(tmp_path):
    for suffix in (".csv", ".json", ".star"):
        (tmp_path / f"a{suffix}").write_bytes(b"x,y,z\n\xe9,2,3\n")
        with pytest.raises(FormatError):
            read_picks_table(tmp_path / f"a{suffix}", run="r", object_name="o")


def test_json_states_its_unit(tmp_path):
    write_picks_table(tmp_path / "a.json", PICKS)
    document = json.loads((tmp_path / "a.json").read_text())
    assert (document["kind"], document["unit"], document["axes"]) == ("picks", "angstrom", "x y z")
    assert len(document["picks"]) == len(PICKS)


def test_real_copick_picks(tmp_path):
    path = DATA / "TS_5_4_beta-amylase.json"
    (key, points), *rest = read_picks_table(path).items()
    assert key == ("TS_5_4", "beta-amylase")
    assert not rest
    np.testing.assert_allclose(points.positions[0], [5417.091, 1120.574, 567.527])
    assert len(points) == 10
    assert not points.trust_orientation

    content = json.loads(path.read_text())
    content["run_name"] = None
    content["points"][0] |= {"transformation_": [[0, -1, 0, 5], [1, 0, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1]], "score": 0.5}
    (tmp_path / "a.json").write_text(json.dumps(content))
    points = read_picks_table(tmp_path / "a.json", run="r")["r", "beta-amylase"]
    np.testing.assert_allclose(points.positions[0], [5422.091, 1126.574, 574.527])
    assert points.trust_orientation
    assert points.scores.tolist() == [0.5] + [1.0] * 9
    with pytest.raises(FormatError, match="doesn't say its run"):
        read_picks_table(tmp_path / "a.json")
    (tmp_path / "a.json").write_text(json.dumps(content | {"trust_orientation": False}))
    assert not read_picks_table(tmp_path / "a.json", run="r")["r", "beta-amylase"].trust_orientation
    (tmp_path / "a.json").write_text(json.dumps(content | {"points": []}))
    assert len(read_picks_table(tmp_path / "a.json", run="r")["r", "beta-amylase"]) == 0


POINT = {"location": {"x": 1, "y": 2, "z": 3}}
COPICK = {"pickable_object_name": "o", "user_id": "u", "session_id": "s", "run_name": "r", "points": [POINT]}
OURS = {"kind": "picks", "unit": "angstrom", "axes": "x y z"}
SET = {"run": "r", "object": "o", "positions": [[1, 2, 3]], "scores": [1]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ([1], "document"),
        ({}, "picks: Field required"),
        ({"picks": [SET], "unit": "nm"}, "unit"),
        (OURS | {"picks": [SET, SET]}, "two sets"),
        (OURS | {"picks": [SET | {"scores": []}]}, "0 scores for 1 positions"),
        (OURS | {"picks": [SET | {"positions": [[1, 2]]}]}, "picks 1 positions 1 3"),
        (OURS | {"picks": [SET | {"positions": [[1, 2, "a"]]}]}, "picks 1 positions 1 3: .*number"),
        (OURS | {"picks": [SET | {"positions": [[1, math.nan, 3]]}]}, "picks 1 positions 1 2: .*finite"),
        (OURS | {"picks": [SET | {"postions": []}]}, "picks 1 postions"),
        (COPICK | {"unit": "nm"}, "unit 'nm'"),
        (COPICK | {"points": [POINT, {"location": {"x": 1, "y": 2}}]}, "points 2 location z: Field required"),
        (COPICK | {"points": [POINT, {"location": {"x": 1, "y": 2, "z": math.inf}}]}, "row 2, column z"),
        (COPICK | {"points": [POINT | {"score": math.nan}]}, "row 1, column score"),
        (COPICK | {"points": [POINT | {"transformation_": [[1]]}]}, "points 1 transformation_"),
        (COPICK | {"points": [POINT | {"transformation_": np.diag([2, 1, 1, 1]).tolist()}]}, "isn't a rotation"),
    ],
)
def test_broken_jsons(tmp_path, content, words):
    (tmp_path / "a.json").write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(FormatError, match=words) as caught:
        read_picks_table(tmp_path / "a.json")
    assert "a.json" in caught.value.message
    assert caught.value.hint


def test_paths_that_are_no_picks(tmp_path):
    with pytest.raises(NotFoundError, match=r"nowhere\.star"):
        read_picks_table(tmp_path / "nowhere.star")
    (tmp_path / "a.txt").write_text("")
    (tmp_path / "b.star").mkdir()
    for name in ("a.txt", "b.star"):
        with pytest.raises(FormatError, match="not a picks file"):
            read_picks_table(tmp_path / name)
    with pytest.raises(UsageError, match="txt"):
        write_picks_table(tmp_path / "a.txt", PICKS, FRAMES)


@pytest.mark.parametrize("suffix", [".star", ".csv", ".json"])
def test_picks_that_are_not_finite_are_not_written(tmp_path, suffix):
    for points in (Points.at([[1, math.nan, 3]]), Points.at([[1, 2, 3]], [math.inf])):
        with pytest.raises(FormatError, match="o in TS_1"):
            write_picks_table(tmp_path / f"a{suffix}", {("TS_1", "o"): points}, FRAMES)


@pytest.mark.parametrize("suffix", [".star", ".csv", ".json"])
def test_a_failed_write_leaves_what_was_there(tmp_path, suffix, monkeypatch):
    path = tmp_path / f"a{suffix}"
    path.write_text("before")

    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="disk full"):
        write_picks_table(path, PICKS, FRAMES)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "before"

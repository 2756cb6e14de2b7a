"""The benchmarks' own parts: made volumes, counting, and what peers are installed with. Nothing is timed or installed."""

import importlib
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import cdist

FOLDER = Path(__file__).parents[1] / "benchmarks"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the benchmarks aren't part of this copy")


@pytest.fixture
def module(monkeypatch):
    """Import one of the benchmarks by name."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


@pytest.fixture
def volumes(module):
    return module("label_volumes")


@pytest.fixture
def peers(module):
    return module("peers")


@pytest.fixture
def localize(module):
    return module("localize")


@pytest.mark.parametrize("kind", ["n150", "n700", "pairs400", "crowd80", "crowd65"])
def test_volumes_hold_what_they_say(volumes, kind):
    labels, centers, label = volumes.make(kind, scale=0.4)
    again = volumes.make(kind, scale=0.4)
    how = volumes.KINDS[kind]
    assert labels.dtype == np.uint8
    assert labels.shape == (184, round(how.shape[1] * 0.4), round(how.shape[2] * 0.4))
    assert len(centers) == len(label) == round(how.particles * 0.16)
    assert all((one == other).all() for one, other in zip((labels, centers, label), again))
    assert (labels[tuple(np.rint(centers).astype(int).T)] == label).all()
    painted = volumes.PAINTED * volumes.radii(label)
    apart = cdist(centers, centers) / (painted[:, None] + painted)
    np.fill_diagonal(apart, np.inf)
    paired = apart < how.nearest - 1e-9
    if how.pairs:
        assert apart[paired] == pytest.approx(how.pairs)
        assert (paired.sum(axis=0) <= 1).all()
        assert paired.sum() == len(centers) // 2 * 2
    else:
        assert not paired.any()


def test_seeds_differ(volumes):
    one, other = (volumes.make("crowd80", seed, scale=0.3)[0] for seed in (0, 1))
    assert (one != other).any()


def test_specks_are_small_and_clear_of_particles(volumes):
    from scipy.ndimage import find_objects, label

    labels, centers, _ = volumes.make("n700", scale=0.3)
    ids, count = label(labels > 0, np.ones((3, 3, 3)))
    holding = set(ids[tuple(np.rint(centers).astype(int).T)])
    sizes = np.bincount(ids.ravel())
    specks = [index for index in range(1, count + 1) if index not in holding]
    assert len(specks) >= 180
    assert sizes[specks].max() <= 30
    boxes = find_objects(ids)
    assert all(len(np.unique(labels[boxes[s - 1]][ids[boxes[s - 1]] == s])) == 1 for s in specks)


def test_full_kinds_are_those_of_the_notes(volumes):
    assert {kind: how.particles for kind, how in volumes.KINDS.items()} == {
        "n150": 150, "n700": 700, "pairs400": 383, "crowd80": 260, "crowd65": 260,
    }  # fmt: skip
    assert volumes.KINDS["n700"].shape == (184, 630, 630)


def test_probabilities_agree_with_their_labels(volumes, tmp_path):
    labels, _, _ = volumes.make("crowd65", scale=0.3)
    stored = volumes.probabilities(labels, tmp_path / "p.zarr")
    assert stored.shape == (7, *labels.shape)
    assert stored.dtype == np.float16
    values = stored[:]
    assert np.isfinite(values).all()
    assert values.min() >= 0
    assert np.abs(values.sum(axis=0, dtype=np.float32) - 1).max() < 0.01
    assert (values.argmax(axis=0) != labels).mean() < 0.03
    assert (volumes.probabilities(labels, tmp_path / "again.zarr")[:] == values).all()


def test_counts_are_one_to_one_within_half_a_radius(localize):
    truth = {str(k): np.empty((0, 3)) for k in range(1, 7)}
    picks = dict(truth)
    truth["1"] = np.array([[10.0, 10, 10], [40, 40, 40], [80, 80, 80]])
    picks["1"] = np.array([[10.0, 10, 13], [10, 10, 11], [40, 40, 43.1]])
    picks["2"] = np.array([[80.0, 80, 80]])
    assert localize.counts(truth, picks) == (1, 3, 2)


@pytest.mark.parametrize("side", ["ours", "cc3d", "skimage", "scipy"])
def test_every_side_finds_particles_that_lie_apart(localize, volumes, side):
    labels, centers, label = volumes.make("n150", scale=0.2)
    truth = {str(k): centers[label == k] for k in range(1, 7)}
    picks = {str(k): found for k, found in localize.SIDES[side].work(labels)}
    assert localize.counts(truth, picks) == (len(centers), 0, 0)


def test_every_side_takes_an_empty_volume(localize):
    for side in ("ours", "cc3d", "skimage", "scipy"):
        picks = localize.SIDES[side].work(np.zeros((20, 30, 40), np.uint8))
        assert [label for label, _ in picks] == [1, 2, 3, 4, 5, 6]
        assert all(np.shape(found) == (0, 3) for _, found in picks)


def test_a_peer_that_is_not_there_is_named_and_left_out(peers, localize, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(peers, "HOME", tmp_path)
    peers.python.cache_clear()
    try:
        sides = localize.interpreters(list(localize.SIDES))
    finally:
        peers.python.cache_clear()
    assert not any(localize.SIDES[name].peer for name in sides)
    assert next(iter(sides)) == "ours"
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "copick-utils: not installed (python benchmarks/peers.py copick-utils)",
        "octopi: not installed (python benchmarks/peers.py octopi)",
    ]
    rows = {name: localize.Row(1.0, 2.0, (3, 0, 0)) for name in sides}
    text = "\n".join(localize.tables(list(localize.SIDES), {"n700": rows}) + localize.notes(list(localize.SIDES), 1))
    assert "| octopi 1.7.0, com | - |" in text
    assert "octopi isn't installed here: `python benchmarks/peers.py octopi`." in text
    assert list(tmp_path.iterdir()) == []


def test_a_peer_made_for_other_versions_is_left_out(peers, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(peers, "HOME", tmp_path)
    (tmp_path / "octopi").mkdir()
    (tmp_path / "octopi" / ".installed").write_text("octopi==1.6.0")
    peers.python.cache_clear()
    assert peers.python("octopi") is None
    assert "other versions" in capsys.readouterr().err
    (tmp_path / "octopi" / ".installed").write_text(peers._wish(peers.PEERS["octopi"]))
    peers.python.cache_clear()
    assert peers.python("octopi") == tmp_path / "octopi" / "bin" / "python"
    peers.python.cache_clear()


@pytest.mark.parametrize(("name", "asked"), [("octopi", "octopi==1.7.0"), ("copick-utils", "copick-utils==1.10.2")])
def test_what_pip_is_told(peers, name, asked):
    told = peers.commands(peers.PEERS[name])
    assert told[-1][-1] == asked
    for command in told:
        assert command[:3] == ["install", "-q", "-c"]
        assert Path(command[3]).is_file()
        assert not any("index" in word or "://" in word for word in command)


def test_constraints_pin_everything_and_name_no_machine(peers):
    pins = {}
    for name, peer in peers.PEERS.items():
        lines = peer.constraints.read_text().splitlines()
        assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line) for line in lines), name
        pins[name] = {line.split("==")[0].lower().replace("_", "-"): line.split("==")[1] for line in lines}
    assert pins["octopi"]["octopi"] == "1.7.0"
    assert pins["octopi"]["torch"] == pins["copick-utils"]["torch"] == "2.13.0"
    assert "nnunetv2" in pins["copick-utils"]  # ours; the benchmark of inference has it for a peer


def test_a_failed_installation_says_why_in_one_line(peers, monkeypatch, tmp_path, capsys):
    def fail(command):
        raise subprocess.CalledProcessError(
            1, command, "Collecting octopi\n", "ERROR: No matching distribution\nnote: x\n"
        )

    monkeypatch.setattr(peers, "HOME", tmp_path)
    monkeypatch.setattr(peers.venv, "create", lambda folder, with_pip: folder.mkdir(parents=True))
    monkeypatch.setattr(peers, "_run", fail)
    assert peers.install("octopi") is None
    assert capsys.readouterr().err == "octopi: can't be installed: ERROR: No matching distribution\n"
    assert not (tmp_path / "octopi").exists()


def test_an_unknown_peer_is_wrong_usage(peers, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["peers.py", "octopy"])
    with pytest.raises(SystemExit) as stopped:
        peers.main()
    assert stopped.value.code == 2
    assert "no peer 'octopy'; there are octopi, copick-utils" in capsys.readouterr().err

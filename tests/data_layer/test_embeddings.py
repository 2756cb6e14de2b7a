"""Embeddings in a folder: bit by bit what was put there, and refused where they are of something else."""

import json
import shutil

import numpy as np
import pytest

from copick_tools.data import embeddings as module
from copick_tools.data.embeddings import open_embeddings, voxels_hash
from copick_tools.errors import FormatError, PopsicleError

SIGNATURE = {"model": "sam-1", "image": "a1", "normalization": [0.5, 1e-9], "tiling": [[[0, 8], [0, 9]]]}
SHAPE = (3, 2)


def made(seed):
    """An embedding with values that are lost easily."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(4, 5, 6)).astype(np.float32) * 10.0 ** rng.integers(-40, 38, (4, 5, 6))
    features[0, 0, :4] = [-0.0, np.float32(1e-45), np.inf, 0]
    return {
        "features": features.astype(np.float32),
        "half": rng.normal(size=(2, 3)).astype(np.float16),
        "zeros": np.zeros((2, 2), np.int32),
        "shape": np.array([8, 9], np.int32),
    }


def same(found, wanted):
    return set(found) == set(wanted) and all(
        found[name].dtype == values.dtype and found[name].tobytes() == values.tobytes()
        for name, values in wanted.items()
    )


@pytest.fixture
def filled(tmp_path):
    """The path of a store with two of six tiles."""
    path = tmp_path / "run" / "wbp.zarr"
    store = open_embeddings(path, SIGNATURE, SHAPE)
    for seed, place in enumerate([(0, 1), (2, 0)]):
        store.put(*place, made(seed))
    return path


def test_what_was_put_there_comes_back_bit_by_bit(filled):
    for store in (open_embeddings(filled, SIGNATURE, SHAPE), open_embeddings(filled, dict(SIGNATURE), SHAPE)):
        assert same(store.get(0, 1), made(0))
        assert same(store.get(2, 0), made(1))
        assert not same(store.get(2, 0), made(0))
        assert [store.has(z, tile) for z in range(3) for tile in range(2)] == [False, True, False, False, True, False]
        assert store.get(1, 1) is None


def test_a_store_goes_on_where_it_was(filled):
    open_embeddings(filled, SIGNATURE, SHAPE).put(1, 1, made(2))
    store = open_embeddings(filled, SIGNATURE, SHAPE)
    assert same(store.get(1, 1), made(2))
    assert same(store.get(0, 1), made(0))


def test_embeddings_of_other_arrays_are_put_over_old_ones(filled):
    store = open_embeddings(filled, SIGNATURE, SHAPE)
    store.put(0, 1, made(5))
    assert same(open_embeddings(filled, SIGNATURE, SHAPE).get(0, 1), made(5))


@pytest.mark.parametrize(("before", "after"), [(np.float16, np.float32), (np.float32, np.float16)])
def test_a_store_goes_on_in_the_precision_that_it_began_in(tmp_path, before, after):
    """Begun on a GPU, say, in half precision, and filled on a CPU."""
    values = np.linspace(-3, 3, 24).reshape(2, 3, 4)
    open_embeddings(tmp_path / "a.zarr", SIGNATURE, SHAPE).put(0, 0, {"features": values.astype(before)})
    open_embeddings(tmp_path / "a.zarr", SIGNATURE, SHAPE).put(1, 0, {"features": values.astype(after)})
    store = open_embeddings(tmp_path / "a.zarr", SIGNATURE, SHAPE)
    found = [store.get(z, 0)["features"] for z in (0, 1)]
    assert [part.dtype for part in found] == [before, before]
    np.testing.assert_array_equal(found[0], values.astype(before))
    np.testing.assert_allclose(found[1], values, atol=2e-3)


def test_arrays_of_other_shapes_are_refused(filled):
    for other in (np.zeros((3, 3), np.float16), np.zeros((2, 3), np.int32)):
        with pytest.raises(FormatError, match="is damaged"):
            open_embeddings(filled, SIGNATURE, SHAPE).put(1, 1, {**made(0), "half": other})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": "sam-2"}, "another model$"),
        ({"image": "b"}, "another image$"),
        ({"normalization": [0.5, 2e-9]}, "another normalization$"),
        ({"tiling": [[[0, 8], [0, 8]]]}, "another tiling$"),
        ({"model": "x", "image": "y", "tiling": []}, "another image, model and tiling$"),
        ({"dose": 3}, "another dose$"),
    ],
)
def test_embeddings_of_something_else_are_refused(filled, change, words):
    with pytest.raises(PopsicleError, match=words) as raised:
        open_embeddings(filled, {**SIGNATURE, **change}, SHAPE)
    assert "--overwrite" in raised.value.hint
    assert str(filled) in str(raised.value)
    assert same(open_embeddings(filled, SIGNATURE, SHAPE).get(0, 1), made(0))  # nothing happened to them
    store = open_embeddings(filled, {**SIGNATURE, **change}, SHAPE, overwrite=True)
    assert not store.done.any()
    assert store.get(0, 1) is None
    with pytest.raises(PopsicleError):
        open_embeddings(filled, SIGNATURE, SHAPE)


def test_a_writer_that_was_killed_is_not_trusted(filled, monkeypatch):
    """It had written the arrays, or some, and not that they are there."""
    store = open_embeddings(filled, SIGNATURE, SHAPE)

    class Killed(BaseException):
        pass

    opened = module.zarr.Group.__getitem__

    def dying(group, name):
        if name == module.DONE:
            raise Killed
        return opened(group, name)

    with monkeypatch.context() as patch:
        patch.setattr(module.zarr.Group, "__getitem__", dying)  # ``done`` is to be written
        with pytest.raises(Killed):
            store.put(1, 0, made(3))
    assert "1.0.0.0.0" in {path.name for path in (filled / "features").iterdir()}
    again = open_embeddings(filled, SIGNATURE, SHAPE)
    assert (again.has(1, 0), again.get(1, 0)) == (False, None)
    again.put(1, 0, made(4))
    assert same(open_embeddings(filled, SIGNATURE, SHAPE).get(1, 0), made(4))


def test_a_store_without_its_signature_is_not_trusted(tmp_path, monkeypatch):
    """It is written when all else of a new store is."""
    path = tmp_path / "wbp.zarr"
    open_embeddings(path, SIGNATURE, SHAPE)
    (path / ".zattrs").unlink()
    with pytest.raises(FormatError, match="no store of embeddings"):
        open_embeddings(path, SIGNATURE, SHAPE)
    assert not open_embeddings(path, SIGNATURE, SHAPE, overwrite=True).done.any()


@pytest.mark.parametrize("harm", ["missing", "cut", "flipped", "empty", "gone", "one gone", "other"])
def test_a_damaged_tile_is_said(filled, harm):
    """A chunk that a copy left out would be read as zeros."""
    chunk = filled / "features" / "0.1.0.0.0"
    if harm == "missing":
        chunk.unlink()
    elif harm.endswith("gone"):
        for name in ("features", "half", "zeros", "shape")[: 1 if harm == "one gone" else 4]:
            shutil.rmtree(filled / name)
    else:
        held = chunk.read_bytes()
        flipped = held[:-1] + bytes([held[-1] ^ 1])
        chunk.write_bytes({"cut": held[:-9], "flipped": flipped, "empty": b""}.get(harm, b"nothing of this kind"))
    with pytest.raises(FormatError, match="is damaged") as raised:
        open_embeddings(filled, SIGNATURE, SHAPE).get(0, 1)
    assert str(filled) in str(raised.value)
    assert "made again" in raised.value.hint


@pytest.mark.parametrize("harm", ["group", "done", "chunk", "attributes", "list", "file", "folder"])
def test_what_is_no_store_is_said(filled, harm):
    if harm == "group":
        (filled / ".zgroup").write_text("{")
    elif harm == "done":
        shutil.rmtree(filled / "done")
    elif harm == "chunk":
        next(path for path in (filled / "done").iterdir() if path.name[0] != ".").write_bytes(b"?")
    elif harm == "attributes":
        (filled / ".zattrs").write_text("nothing")
    elif harm == "list":
        (filled / ".zattrs").write_text(json.dumps({"signature": ["model"]}))
    else:
        shutil.rmtree(filled)
        filled.write_text("words") if harm == "file" else filled.mkdir()
    with pytest.raises(FormatError, match="no store of embeddings"):
        open_embeddings(filled, SIGNATURE, SHAPE)


def test_another_number_of_tiles(filled):
    with pytest.raises(FormatError, match="it has \\(3, 2\\) tiles, not \\(3, 4\\)"):
        open_embeddings(filled, SIGNATURE, (3, 4))


def test_a_full_disk_is_said(filled, monkeypatch):
    store = open_embeddings(filled, SIGNATURE, SHAPE)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.zarr.Group, "require_dataset", full)
    with pytest.raises(PopsicleError, match="No space left") as raised:
        store.put(1, 1, made(0))
    assert "disk" in raised.value.hint
    assert not store.has(1, 1)


def test_a_folder_that_can_not_be_made_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PopsicleError, match=r"can't write .*one\.zarr") as said:
        open_embeddings(tmp_path / "file" / "one.zarr", {"model": "a"}, (1, 1))
    assert said.value.hint


def test_voxels_and_their_shape_make_the_hash():
    volume = np.random.default_rng(0).normal(size=(70, 4, 6)).astype(np.float32)
    name = voxels_hash(volume)
    assert voxels_hash(volume.copy()) == voxels_hash(np.asfortranarray(volume)) == name
    assert voxels_hash(volume.astype(np.float64)) == name  # what is encoded is float32
    other = volume.copy()
    other[69, 3, 5] = np.nextafter(other[69, 3, 5], np.float32(9))
    assert len({name, voxels_hash(other), voxels_hash(volume.reshape(70, 6, 4)), voxels_hash(volume[:69])}) == 4


def test_who_was_quicker_stays(tmp_path, monkeypatch):
    """Another process makes the same store between looking and making."""
    rename, quick = module.os.rename, []

    def second(source, target):
        if not quick:
            quick.append(True)
            open_embeddings(tmp_path / "s.zarr", {"model": "m"}, (2, 1)).put(1, 0, {"a": np.ones(3, np.float32)})
        rename(source, target)

    monkeypatch.setattr(module.os, "rename", second)
    late = open_embeddings(tmp_path / "s.zarr", {"model": "m"}, (2, 1))
    np.testing.assert_array_equal(late.get(1, 0)["a"], np.ones(3))
    assert [path.name for path in tmp_path.iterdir()] == ["s.zarr"]


def test_a_store_appears_whole(tmp_path, monkeypatch):
    """Killed while it is made, there is none."""

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module.os, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        open_embeddings(tmp_path / "s.zarr", {"model": "m"}, (2, 1))
    assert not (tmp_path / "s.zarr").exists()
    monkeypatch.undo()
    assert not open_embeddings(tmp_path / "s.zarr", {"model": "m"}, (2, 1)).has(0, 0)

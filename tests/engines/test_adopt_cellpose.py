"""A file of Cellpose-SAM, whatever it is called, segments as Cellpose would have its network do."""

import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from foreign import Malicious
from training.cells import annotated, cells

pytest.importorskip("transformers")

from engines.test_cellpose_sam import cpsam, sam

from copick_tools.data.read import read_segmentation, read_tomogram
from copick_tools.data.uris import segmentation_uri, tomogram_uri
from copick_tools.engines import registry
from copick_tools.engines.adopt.adopt import adopt, kind_of, outputs
from copick_tools.engines.vit.names import renamed_back
from copick_tools.errors import FormatError, NotFoundError, UsageError
from copick_tools.inference.mapped import predict_maps
from copick_tools.inference.views import Views
from copick_tools.recipes.decoding import decoding
from copick_tools.training.checkpoint import read
from copick_tools.volumes.decoding import FULL, UNIT, decode
from copick_tools.workflows.adopt import opened, stated


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("cellpose") / "cpsam"
    return path, cpsam(path)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return cells(tmp_path_factory.mktemp("cells"))


def said(project, name="vesicle", spacing=10.0):
    return replace(stated(None, project), likely=spacing, named=name)


def test_known_by_what_is_in_it(file, tmp_path):
    path, _ = file
    for name in ("cpsam", "cpsam_v2", "mine.pth", "best.ckpt", "x.pt"):
        (tmp_path / name).write_bytes(path.read_bytes())
        assert kind_of(tmp_path / name) == "cellpose"
        assert outputs(tmp_path / name, tmp_path / "out.ckpt") == (tmp_path / "out.ckpt",)
    torch.save(renamed_back(sam().state_dict()), tmp_path / "sam.pth")
    assert kind_of(tmp_path / "sam.pth") != "cellpose"
    assert kind_of(tmp_path / "none") is None


def test_card(file, project, tmp_path):
    (out,) = adopt(file[0], tmp_path / "best.ckpt", said(project, "mito", 20.0))
    card, tensors = read(out)
    assert list(tensors) == ["format", "network"]
    assert (card.objects, card.channels, card.origin) == ({"mito": 2}, ("mito",), "Cellpose-SAM")
    assert (card.voxel_spacing, card.patch, card.recipe.scaling) == (20.0, (1, 32, 32), "percentiles")
    assert (card.recipe.inference.overlap, card.recipe.instances.flow_error) == (0.1, 0.4)
    assert card.recipe.instances.min_volume == 15 * 8  # 15 voxels of 8 nm3
    assert card.recipe.model["weights"] is None
    (again,) = adopt(file[0], tmp_path / "again.ckpt", said(project, "mito", 20.0))
    assert out.read_bytes() == again.read_bytes()


def test_maps_of_an_image(file, project, tmp_path):
    """Scaled by its own percentiles; flows are a fifth, the probability a sigmoid."""
    path, theirs = file
    (out,) = adopt(path, tmp_path / "best.ckpt", said(project))
    predictor = registry.load(out, "cpu")
    assert type(predictor) is Views
    image = np.random.default_rng(0).normal(500, 40, (1, 32, 32)).astype(np.float32)
    low, high = np.percentile(image, [1, 99])
    with torch.no_grad():
        scaled = torch.from_numpy((image - low) / (high - low))[None].float()
        tokens = theirs.encoder(scaled).last_hidden_state
        y, x, cell = torch.nn.functional.pixel_shuffle(theirs.readout(tokens), 8)[0].numpy()
    found = predict_maps(predictor, image, 10.0, "here").maps
    probability = 1 / (1 + np.exp(-cell.astype(float)))
    np.testing.assert_allclose(found.foreground[0], probability * FULL, atol=0.8)
    kept = found.foreground[0] > 0
    for number, flow in ((1, y), (2, x)):
        np.testing.assert_allclose(found.geometry[number, 0][kept], np.clip(flow / 5, -1, 1)[kept] * UNIT, atol=0.8)
    assert (np.unique(found.labels) == [0, 1]).all()
    assert np.ptp(found.foreground) > 20


def test_moves_between_patch_and_pixels_that_are_not_the_identity(file, project, tmp_path):
    """What W2 does is part of the weights that are written."""
    path, _ = file
    found = torch.load(path)
    order = torch.randperm(192, generator=torch.Generator().manual_seed(0))
    mixed = {**found, "out.weight": found["out.weight"][order], "out.bias": found["out.bias"][order]}
    torch.save({**mixed, "W2": found["W2"][order]}, tmp_path / "mixed")
    outs = [adopt(p, tmp_path / f"{n}.ckpt", said(project))[0] for n, p in enumerate((path, tmp_path / "mixed"))]
    one, other = (read(out)[1]["network"] for out in outs)
    assert all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize(
    ("name", "spacing", "error", "words"),
    [
        (None, 10.0, UsageError, ["one kind of object", "vesicle, mito, er", "?instance=true", "--object"]),
        ("vesikle", 10.0, NotFoundError, ["no object 'vesikle'", "vesicle"]),
        ("vesicle", None, UsageError, ["voxel spacings", "-i wbp@20"]),
    ],
)
def test_what_the_caller_has_to_say(file, project, tmp_path, name, spacing, error, words):
    with pytest.raises(error) as failed:
        adopt(file[0], tmp_path / "best.ckpt", said(project, name, spacing))
    text = f"{failed.value.message} {failed.value.hint}"
    assert all(word in text for word in words)


def test_files_that_are_not_run(file, project, tmp_path):
    found = torch.load(file[0])
    bad = tmp_path / "bad"
    torch.save({**found, "more": Malicious(tmp_path / "victim")}, bad)
    assert kind_of(bad) == "cellpose"
    with pytest.raises(FormatError, match="pickled code|mkdir"):
        adopt(bad, tmp_path / "best.ckpt", said(project))
    assert not (tmp_path / "victim").exists()
    del found["encoder.neck.2.weight"]
    torch.save(found, bad)
    with pytest.raises(FormatError, match="neck.conv2.weight"):
        adopt(bad, tmp_path / "best.ckpt", said(project))
    torch.save({"diam_mean": torch.zeros(1), "diam_labels": torch.zeros(1), "downsample": torch.zeros(1)}, bad)
    with pytest.raises(FormatError, match="Cellpose 3"):
        adopt(bad, tmp_path / "best.ckpt", said(project))


def test_without_transformers(file, project, tmp_path, monkeypatch):
    def fail(name):
        raise ModuleNotFoundError("No module named 'transformers'", name="transformers")

    monkeypatch.setattr(registry.importlib, "import_module", fail)
    with pytest.raises(registry.MissingExtra) as failed:
        adopt(file[0], tmp_path / "best.ckpt", said(project))
    assert failed.value.hint == 'pip install "copick-tools[sam]"'


def test_opened_for_as_long_as_it_is_used(file, project):
    with opened([file[0]], None, project, 10.0, "vesicle") as (checkpoint,):
        assert read(checkpoint)[0].objects == {"vesicle": 1}
    assert not checkpoint.exists()


@pytest.mark.slow
def test_segment_a_project(file, tmp_path, popsicle):
    project = cells(tmp_path, **{run: annotated(n)[:, :6, :16, :20] for n, run in enumerate("AB")})
    common = ("-c", project.config, "-i", "wbp@10")
    refused = popsicle("segment", file[0], *common, "-o", "cells:cpsam/1?panoptic=true", code=2).stderr
    assert "finds one kind of object and doesn't say which" in refused
    assert "?instance=true" in refused
    wrong = popsicle("segment", file[0], *common, "-o", "vesikle:c/1?instance=true", code=1).stderr
    assert "no object 'vesikle'" in wrong
    popsicle(
        "segment", file[0], *common, "-o", "vesicle:cpsam/1?instance=true", "-r", "A", "-s", "instances.flow_error=null"
    )
    found = read_segmentation(project, "A", segmentation_uri("vesicle:cpsam/1?instance=true")).numpy()
    with opened([file[0]], None, project, 10.0, "vesicle") as (checkpoint,):
        card = read(checkpoint)[0]
        any_flows = card.recipe.instances.model_copy(update={"flow_error": None})  # the network's are random
        volume = read_tomogram(project, "A", tomogram_uri("wbp@10"))
        maps = predict_maps(registry.load(checkpoint, "cpu"), volume, 10.0, "here").maps
    wanted = decode(maps, decoding(card.recipe.model_copy(update={"instances": any_flows}), card.task, 10.0)).ids
    assert wanted.max() > 0
    np.testing.assert_array_equal(found, wanted)
    labels = popsicle(
        "segment", file[0], *common, "-o", "vesicle:cpsam/1", "-r", "A", "-s", "instances.views=stitched", code=2
    )
    assert "--set is about instances" in labels.stderr
    popsicle("segment", file[0], *common, "-o", "vesicle:cpsam/1", "-r", "A")
    popsicle("segment", file[0], *common, "-o", "mito:c/1?instance=true", "-s", "instances.views=stitched", "-r", "B")


def test_convert(file, project, tmp_path, popsicle):
    out = tmp_path / "best.ckpt"
    more = ("-c", project.config, "--object", "mito", "--voxel-spacing", 40, "--out", out)
    made = popsicle.json("models", "convert", file[0], *more)
    assert (made["origin"], made["family"], made["objects"]) == ("Cellpose-SAM", "cellpose-sam", {"mito": 2})
    assert (made["voxel_spacing"], made["patch"]) == (40.0, [1, 32, 32])
    refused = popsicle("models", "convert", file[0], "-c", project.config, "--out", tmp_path / "x.ckpt", code=2).stderr
    assert "--object NAME" in refused


@pytest.mark.slow
def test_agrees_with_cellpose_itself(tmp_path, monkeypatch):
    folder = Path(__file__).parents[2] / "benchmarks"
    if not folder.is_dir():
        pytest.skip("the benchmarks aren't part of this copy")
    monkeypatch.syspath_prepend(str(folder))
    peers, benchmark = (importlib.import_module(name) for name in ("peers", "cellpose_sam"))
    theirs = peers.HOME / "cellpose" / "bin" / "python"
    if not theirs.is_file():
        pytest.skip(f"cellpose isn't installed here: {peers.how('cellpose')}")
    found = benchmark.measured(theirs, tmp_path)
    assert (
        max(found["embedding"], found["prompted"], found["scores"]) < 1e-4
    )  # segment_anything's weights by other names
    assert found["tiles"] < 1e-4
    assert found["image"] < 1e-4
    assert found["volume"] < 1e-3  # sums of three planes are of half precision
    assert found["same"] > 0.98
    assert found["apart"]["cosine"] > 0.999
    assert found["touching"]["away"] > 0.999
    assert found["touching"]["across"] > 0.995  # its diffusion stops before it comes to rest
    assert found["apart"]["ours"] == found["apart"]["theirs"] == 1
    assert found["touching"]["each other"] > 0.99

"""Models of other tools in place of checkpoints, and our checkpoints without this package."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from foreign import OCTOPI, PLAIN, nnunet_document, octopi_folder, probabilities, results_folder, shaken
from monai.networks.nets import UNet

from copick_tools.data.hashing import file_hash
from copick_tools.data.read import read_picks
from copick_tools.data.replace import HOST
from copick_tools.data.uris import picks_uri, tomogram_uri
from copick_tools.engines import registry
from copick_tools.errors import PopsicleError, UsageError
from copick_tools.recipes.results import ConvertResult
from copick_tools.training.checkpoint import read, read_card
from copick_tools.workflows import adopt
from copick_tools.workflows.localize import Localizing, localize

DOCS = Path(__file__).parents[2] / "docs/checkpoints.md"
SNIPPETS = re.findall(r"```python\n(.*?)```", DOCS.read_text(), flags=re.DOTALL)


@pytest.fixture
def octopi(checkpoint, tmp_path):
    """What was trained here, as Octopi would have written it."""
    network = UNet(3, 1, 3, channels=[8, 16], strides=[2], num_res_units=1, dropout=0.1)
    network.load_state_dict(read(checkpoint)[1]["network"])
    return octopi_folder(tmp_path / "results", network, {**OCTOPI, "dim_in": 24})


@pytest.fixture(scope="module")
def nnunet(tmp_path_factory):
    """Two folds of nnU-Net."""
    from copick_tools.engines.bridge.networks import unet

    networks = {fold: shaken(unet(PLAIN, 3, True), fold) for fold in (0, 1)}
    documents = {fold: nnunet_document(network, fold=fold) for fold, network in networks.items()}
    return results_folder(tmp_path_factory.mktemp("nnunet"), documents)


def test_own_checkpoints_pass(checkpoint, tmp_path):
    with adopt.opened([checkpoint, checkpoint.parent, tmp_path / "nowhere.ckpt"]) as found:
        assert found == (checkpoint, checkpoint, tmp_path / "nowhere.ckpt")
    assert adopt.own_checkpoints([checkpoint.parent, checkpoint]) == (checkpoint, checkpoint)


def test_task_says_nothing_of_own_checkpoints(checkpoint, octopi, recipe_path, project, popsicle, tmp_path):
    task = str(recipe_path.with_name("toy.yaml"))
    with (
        pytest.raises(UsageError, match="--task says whose objects"),
        adopt.opened([checkpoint, checkpoint.parent], task),
    ):
        pass
    with adopt.opened([checkpoint, octopi], task) as found:
        assert len(found) == 2
    given = ("-c", project.config, "-i", "wbp", "--task", task)
    assert "--task" in popsicle("localize", checkpoint, *given, "-o", ":x/1", code=2).stderr
    assert "--task" in popsicle("segment", checkpoint, *given, "-o", "x:x/1?multilabel=true", code=2).stderr
    assert "no checkpoint" in popsicle("localize", tmp_path / "x.ckpt", *given, "-o", ":x/1", code=1).stderr


def test_opened_for_a_while(checkpoint, octopi, nnunet, shared_project):
    with adopt.opened([octopi, checkpoint, nnunet], None, shared_project) as found:
        assert [path.name for path in found] == ["best.ckpt", "best.ckpt", "best-fold_0.ckpt", "best-fold_1.ckpt"]
        assert found[1] == checkpoint
        assert [read_card(path).recipe.family for path in found] == ["octopi", "octopi", "nnunet", "nnunet"]
        hashes = [file_hash(path) for path in found]
    assert [path.exists() for path in found] == [False, True, False, False]
    assert not found[0].parent.exists()
    with adopt.opened([octopi, checkpoint, nnunet], None, shared_project) as again:
        assert [file_hash(path) for path in again] == hashes
        assert len(set(hashes)) == 4


def test_nothing_stays_after_a_failure(octopi, tmp_path, shared_project, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/model_config.yaml").write_text("model: {}")
    for other in (tmp_path / "empty", octopi):
        with pytest.raises((PopsicleError, KeyError)), adopt.opened([octopi, other], None, shared_project):
            raise KeyError("while it is used")
    assert not list((tmp_path / "temporary").iterdir())


def test_needs_objects(octopi, recipe_path):
    with pytest.raises(UsageError, match="aren't in another tool's files") as caught, adopt.opened([octopi]):
        pass
    assert "--task" in caught.value.hint
    with adopt.opened([octopi], str(recipe_path.with_name("toy.yaml"))) as (path,):
        assert read_card(path).task.name == "toy"
    with pytest.raises(UsageError, match="is a model of another tool") as caught:
        adopt.own_checkpoints([octopi])
    assert "popsicle models convert" in caught.value.hint


def test_localizes(octopi, nnunet, checkpoint, project):
    """The trained weights find the same picks by way of Octopi's files, but for clipping and windows."""
    with adopt.opened([octopi, nnunet / "fold_0"], None, project) as (one, other):
        for path, name in ((one, ":octopi/1"), (other, ":nnunet/1"), (checkpoint, ":ours/1")):
            task = Localizing(path, project, tomogram_uri("wbp"), picks_uri(name, output=True))
            assert [result.status for result in localize(task, ["TS_1"], ("cpu",))] == ["done"]
    uris = [picks_uri("*:octopi/1"), picks_uri("*:ours/1"), picks_uri("*:nnunet/1")]
    found = [read_picks(project, "TS_1", [uri]) for uri in uris]
    assert {name for picks in found for name in picks} == {"ribosome", "apo-ferritin"}
    theirs, ours = (np.concatenate([points.positions for points in picks.values()]) for picks in found[:2])
    assert len(theirs)
    near = np.linalg.norm(theirs[:, None] - ours[None], axis=-1).min(axis=1)
    assert np.median(near) < 30


def test_command_converts(octopi, shared_project, tmp_path, popsicle):
    out = tmp_path / "out/best.ckpt"
    found = popsicle.json("models", "convert", octopi, "-c", shared_project.config, "--out", out)
    assert ConvertResult.model_validate(found).converted
    assert found["checkpoints"] == [str(out)]
    assert (found["origin"], found["family"], found["voxel_spacing"], found["patch"]) == (
        "Octopi",
        "octopi",
        10.0,
        [24] * 3,
    )
    assert found["objects"] == {"ribosome": 1, "apo-ferritin": 2}
    before = out.stat().st_mtime_ns
    again = popsicle("models", "convert", octopi, "-c", shared_project.config, "--out", out)
    assert again.stdout == f"{out}\n"
    assert "was there already; --overwrite" in again.stderr
    assert out.stat().st_mtime_ns == before
    popsicle("models", "convert", octopi, "-c", shared_project.config, "--out", out, "--overwrite")
    assert out.stat().st_mtime_ns > before


@pytest.mark.parametrize("named", ["as a file", "as a folder", "with another suffix"])
def test_ours_are_converted_already(checkpoint, shared_project, tmp_path, popsicle, named):
    path = {"as a file": checkpoint, "as a folder": checkpoint.parent}.get(named, tmp_path / "best.pth")
    if not path.exists():
        shutil.copy(checkpoint, path)
    said = popsicle("models", "convert", path, "-c", shared_project.config, "--out", tmp_path / "x.ckpt", code=1).stderr
    assert "is a checkpoint of popsicle already" in said


def test_command_with_folds(nnunet, recipe_path, tmp_path, popsicle):
    task, out = recipe_path.with_name("toy.yaml"), tmp_path / "best.ckpt"
    found = popsicle.json("models", "convert", nnunet, "--task", task, "--out", out)
    assert [Path(path).name for path in found["checkpoints"]] == ["best-fold_0.ckpt", "best-fold_1.ckpt"]
    first, second = tmp_path / "best-fold_0.ckpt", tmp_path / "best-fold_1.ckpt"
    second.unlink()
    before = first.stat().st_mtime_ns
    assert popsicle.json("models", "convert", nnunet, "--task", task, "--out", out)["converted"]
    assert second.exists()
    assert first.stat().st_mtime_ns == before


def test_command_takes_care_of_files(octopi, shared_project, tmp_path, popsicle):
    def convert(out, code=0):
        return popsicle("models", "convert", octopi, "-c", shared_project.config, "--out", out, code=code).stderr

    (tmp_path / "there").mkdir()
    assert "is a folder" in convert(tmp_path / "there", code=2)
    assert str(tmp_path / "there/best.ckpt") in convert(tmp_path / "there", code=2)
    weights = (octopi / "best_model.pth").read_bytes()
    assert "doesn't end in .ckpt" in convert(octopi / "best_model.pth", code=2)
    assert (octopi / "best_model.pth").read_bytes() == weights
    out = tmp_path / "new/folder/best.ckpt"
    out.parent.mkdir(parents=True)
    killed = out.with_name(f".best~{HOST}-{2**22 + 1}-0123abcd.ckpt")  # of a process that there can't be
    killed.write_text("half")
    convert(out)
    assert [path.name for path in out.parent.iterdir()] == ["best.ckpt"]
    convert(tmp_path / "another/folder/best.ckpt")
    (tmp_path / "file").write_text("")
    assert "Error" in convert(tmp_path / "file/best.ckpt", code=1)


def test_show_tells_families_from_paths(octopi, checkpoint, tmp_path, popsicle, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nnunet").mkdir()
    (tmp_path / "nnunet/best.ckpt").write_bytes(checkpoint.read_bytes())
    assert popsicle.json("models", "show", "nnunet")["checkpoint"] is None
    assert popsicle.json("models", "show", "./nnunet")["checkpoint"] == "nnunet/best.ckpt"
    assert "no checkpoint wrong.ckpt" in popsicle("models", "show", "wrong.ckpt", code=1).stderr
    assert "no checkpoint none" in popsicle("models", "show", "./none", code=1).stderr
    (tmp_path / "empty").mkdir()
    assert "no checkpoint in empty" in popsicle("models", "show", "./empty", code=1).stderr
    assert "popsicle models convert" in popsicle("models", "show", octopi, code=2).stderr


def test_command_says_what_is_wrong(octopi, shared_project, tmp_path, popsicle, monkeypatch):
    monkeypatch.delenv("COPICK_CONFIG", raising=False)
    out = tmp_path / "best.ckpt"
    assert "--task NAME or -c CONFIG" in popsicle("models", "convert", octopi, "--out", out, code=2).stderr
    config = ("-c", shared_project.config, "--out", out)
    assert "no model of Octopi, nnU-Net" in popsicle("models", "convert", tmp_path, *config, code=1).stderr
    assert "results" in popsicle("models", "convert", tmp_path, *config, code=1).stderr
    assert "no file or folder" in popsicle("models", "convert", tmp_path / "x", *config, code=1).stderr
    assert "positive" in popsicle("models", "convert", octopi, *config, "--voxel-spacing", "-1", code=2).stderr
    assert not out.exists()


def test_commands_take_a_folder(octopi, project, popsicle):
    given = ("-c", project.config, "-i", "wbp@10.0", "--split", "test", "--device", "cpu")
    done = popsicle.json("localize", octopi, *given, "-o", ":octopi/1")
    assert [run["status"] for run in done["runs"]] == ["done"]
    again = popsicle.json("localize", octopi, *given, "-o", ":octopi/1")
    assert [run["status"] for run in again["runs"]] == ["skipped"]
    done = popsicle.json("segment", octopi, *given, "-o", "all:octopi/1?multilabel=true")
    assert [run["status"] for run in done["runs"]] == ["done"]


def test_docs_snippets(checkpoint, shared_project, tmp_path, monkeypatch):
    """Ours without this package, and as Octopi's two files, which come back as they were."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "best.ckpt").write_bytes(checkpoint.read_bytes())
    names: dict = {}
    for snippet in SNIPPETS:
        exec(compile(snippet, str(DOCS), "exec"), names)
    volume = np.random.default_rng(0).normal(3, 2, (16, 24, 24)).astype(np.float32)
    found = probabilities(registry.load(checkpoint, "cpu"), volume)
    low, high = np.percentile(volume.astype(float), [names["card"]["normalize"], 100 - names["card"]["normalize"]])
    clipped = np.clip(volume, low, high, dtype=np.float32)
    with torch.inference_mode():
        logits = names["network"](torch.from_numpy((clipped - clipped.mean()) / clipped.std())[None, None])
    np.testing.assert_allclose(found, torch.softmax(logits, 1)[0].numpy(), atol=2e-3)
    with adopt.opened([tmp_path / "best_model.pth"], None, shared_project) as (path,):
        card, tensors = read(path)
    assert card.channels == ("ribosome", "apo-ferritin")
    for name, tensor in read(checkpoint)[1]["network"].items():
        assert torch.equal(tensors["network"][name], tensor)

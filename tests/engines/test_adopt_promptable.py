"""Folders of transformers wherever a checkpoint is expected."""

import json
import os
import shutil

import numpy as np
import pytest
import torch
from engines.prompting import TINY, asked, network
from training.cells import cells

from copick_tools.data.project import open_project
from copick_tools.data.read import read_segmentation
from copick_tools.data.uris import segmentation_uri
from copick_tools.engines import registry, sam2
from copick_tools.engines.adopt.adopt import kind_of
from copick_tools.engines.promptable import stored
from copick_tools.errors import FormatError
from copick_tools.training.checkpoint import read_card

IMAGE = np.random.default_rng(0).normal(size=(28, 32)).astype(np.float32)
BOX = np.array([[4, 4, 20, 20]])
EASY = ("pred_iou=0", "stability=0", "points_per_side=3", "min_size=4")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return cells(tmp_path_factory.mktemp("cells"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """By kind, as transformers writes them."""
    root = tmp_path_factory.mktemp("published")
    for kind in ("sam", "sam2", "sam2_video", "sam3_tracker_video"):
        network(kind, seed=3).save_pretrained(root / kind)
    return root


def test_kinds(folders, tmp_path):
    assert kind_of(folders / "sam") == kind_of(folders / "sam3_tracker_video") == "transformers"
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    assert kind_of(tmp_path) is None
    (tmp_path / "config.json").write_text("[")
    assert kind_of(tmp_path) is None
    (tmp_path / "config.json").write_text(json.dumps({"model_type": ["sam"]}))
    assert kind_of(tmp_path) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_hidden_layers": 1}, "aren't those of its config.json: they have vision_encoder.layers.1."),
        ({"mlp_dim": 64}, "aren't those of its config.json: .* has another shape"),
        ({"num_hidden_layers": 3}, "lacks .* weights"),
        ({"image_size": "large"}, "config.json makes no Sam: "),
        (None, "config.json makes no Sam: "),
    ],
)
def test_weights_are_of_the_configuration_beside_them(folders, tmp_path, change, words):
    folder = shutil.copytree(folders / "sam", tmp_path / "sam")
    document = json.loads((folder / "config.json").read_text())
    document["vision_config"] = "none" if change is None else document["vision_config"] | change
    (folder / "config.json").write_text(json.dumps(document))
    with pytest.raises(FormatError, match=words):
        stored.weights_of(folder, stored.config_of(folder))


def test_code_in_a_folder_is_not_run_and_no_way_to_run_it_is_named(folders, tmp_path):
    folder = shutil.copytree(folders / "sam", tmp_path / "sam")
    (folder / "model.safetensors").unlink()
    torch.save({"a": WithCode()}, folder / "pytorch_model.bin")
    with pytest.raises(FormatError, match="no plain tensors") as said:
        stored.weights_of(folder, stored.config_of(folder))
    assert "weights_only" not in f"{said.value} {said.value.hint}"
    assert not os.path.exists("ran")


class WithCode:
    """What pickle would run."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.mark.parametrize(
    "kind", [*("sam", "sam2_video"), *(pytest.param(k, marks=pytest.mark.slow) for k in ("sam2", "sam3_tracker_video"))]
)
def test_a_converted_folder_is_the_same_model(popsicle, project, folders, tmp_path, kind):
    out = tmp_path / "best.ckpt"
    done = popsicle.json(
        *("models", "convert", folders / kind, "--out", out, "-c", project.config, "--object", "vesicle"),
        *("--voxel-spacing", "10"),
    )
    assert (done["origin"], done["family"]) == ("transformers", "sam" if kind == "sam" else "sam2")
    assert done["objects"] == {"vesicle": 1}
    card = read_card(out)
    assert (card.recipe.prompting.mode, card.recipe.target.kind) == ("amg", "instances")
    predictor, own = registry.load(out, "cpu"), asked(kind)
    own = type(own)(network(kind, seed=3), own.device, predictor.promptable.mixed)
    assert (predictor.follower is not None) == kind.endswith("video")
    found = predictor.promptable.predict(predictor.promptable.encode(IMAGE), boxes=BOX)
    np.testing.assert_allclose(found.masks, own.predict(own.encode(IMAGE), boxes=BOX).masks, atol=1e-5)
    assert predictor.promptable.identity == own.identity


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sam", "sam2_video"])
def test_segment_with_a_folder(popsicle, project, folders, kind):
    settings = [part for setting in EASY for part in ("-s", f"prompting.amg.{setting}")]
    output = f"mito:{kind.replace('_', '-')}/1?instance=true"
    found = popsicle.json(
        *("segment", folders / kind, "-c", project.config, "-i", "wbp@10.0", "-r", "B", "-o", output, *settings)
    )
    assert [run["status"] for run in found["runs"]] == ["done"]
    ids = read_segmentation(open_project(project.config), "B", segmentation_uri(output)).numpy()
    assert ids.max() == found["runs"][0]["counts"]["mito"]


@pytest.mark.slow
def test_embeddings_by_command(popsicle, project, folders, tmp_path):
    """Stored once, and used: the instances are those without. A changed tomogram is refused."""
    shutil.copytree(project.folder, tmp_path / "copy")
    config, kept = tmp_path / "copy/copick.json", tmp_path / "kept"
    one = ("-c", config, "-i", "wbp@10.0", "-r", "B")
    made = popsicle.json("embed", folders / "sam", *one, "--out", kept, "-s", "prompting.tile=16")
    depth = open_project(config).root.get_run("B").get_voxel_spacing(10.0).get_tomograms("wbp")[0].numpy().shape[0]
    assert made["runs"][0]["counts"]["encoded"] % depth == 0
    again = popsicle.json("embed", folders / "sam", *one, "--out", kept, "-s", "prompting.tile=16")
    assert again["runs"][0]["counts"] == {"encoded": 0, "kept": made["runs"][0]["counts"]["encoded"]}
    settings = [part for setting in EASY for part in ("-s", f"prompting.amg.{setting}")]
    outputs = ("mito:fresh/1?instance=true", "mito:kept/1?instance=true")
    for output, more in zip(outputs, ((), ("--embeddings", kept))):
        popsicle("segment", folders / "sam", *one, "-o", output, *settings, "-s", "prompting.tile=16", *more)
    fresh, cached = (read_segmentation(open_project(config), "B", segmentation_uri(uri)).numpy() for uri in outputs)
    assert fresh.max() > 0
    np.testing.assert_array_equal(fresh, cached)
    tomogram = open_project(config).root.get_run("B").get_voxel_spacing(10.0).get_tomograms("wbp")[0]
    tomogram.from_numpy(tomogram.numpy() + np.random.default_rng(1).normal(size=fresh.shape).astype(np.float32))
    refused = popsicle("embed", folders / "sam", *one, "--out", kept, "-s", "prompting.tile=16", code=1).stderr
    assert "another image" in refused


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (("-s", "instances.foreground=0.3"), 2, "only keys of prompting can be set here"),
        (("-s", "prompting.tiles=3"), 1, "did you mean tile"),
        (("--promptable", "oracle:cells:truth/1?panoptic=true"), 2, "an oracle doesn't look at images"),
        (("-i", "wbp@7"), 1, "wbp@7"),
    ],
)
def test_what_embeds_nothing(popsicle, project, folders, tmp_path, more, code, words):
    command = ("embed", folders / "sam", "-c", project.config, "-i", "wbp@10.0", "--out", tmp_path / "kept", *more)
    assert words in popsicle(*command, code=code).stderr
    assert not (tmp_path / "kept").exists()


def test_calibrate_asks_for_a_reference(popsicle, project, folders, tmp_path):
    model = ("models", "convert", folders / "sam", "--out", tmp_path / "best.ckpt", "--object", "vesicle")
    popsicle(*model, "-c", project.config, "--voxel-spacing", "10")
    said = popsicle("calibrate", tmp_path / "best.ckpt", "-c", project.config, "-i", "wbp@10", "-r", "A", code=2).stderr
    assert "names no instances" in said
    assert "--reference" in said


def test_which_object_is_asked(popsicle, project, folders):
    said = popsicle(
        *("segment", folders / "sam", "-c", project.config, "-i", "wbp@10.0", "-o", ":sam/1?instance=true"), code=2
    ).stderr
    assert "finds one kind of object" in said
    assert "vesicle, mito, er" in said


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*token_id.*")
def test_of_sam3_as_it_is_published_the_tracker_is_taken(tmp_path):
    """A detector and a tracker, which share the backbone."""
    from transformers import Sam3VideoConfig, Sam3VideoModel

    tiny = TINY["sam3_tracker_video"]
    backbone = {"model_type": "sam3_vit_model", **tiny["vision_config"]["backbone_config"]}
    vision = {**tiny["vision_config"], "model_type": "sam3_vision_model", "backbone_config": backbone}
    small = {"hidden_size": 128, "num_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    text = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    detector = {
        "model_type": "sam3",
        "vision_config": vision,
        "text_config": {**text, "model_type": "clip_text_model", "vocab_size": 100, "max_position_embeddings": 8},
        **dict.fromkeys(("geometry_encoder_config", "detr_encoder_config", "detr_decoder_config"), small),
        "mask_decoder_config": {"hidden_size": 128, "num_attention_heads": 2},
    }
    tracker = {**tiny, "model_type": "sam3_tracker_video", "vision_config": vision}
    whole = Sam3VideoModel(Sam3VideoConfig(detector_config=detector, tracker_config=tracker))
    whole.save_pretrained(tmp_path)
    assert kind_of(tmp_path) == "transformers"
    model = sam2.completed(sam2.Model(weights=str(tmp_path)))
    assert model.config["model_type"] == "sam3_tracker_video"
    found = stored.weights_of(tmp_path, model.full)
    for prefix, part in (
        ("", whole.tracker_model),
        ("vision_encoder.neck.", whole.tracker_neck),
        ("vision_encoder.backbone.", whole.detector_model.vision_encoder.backbone),
    ):
        for name, value in part.state_dict().items():
            np.testing.assert_array_equal(found[prefix + name].numpy(), value.numpy())

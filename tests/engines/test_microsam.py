"""micro-SAM's files and predictor. micro-SAM itself needn't be here: what it does is stood in for, and compared where it is."""

import importlib
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from copick_tools.data.project import ProjectObject
from copick_tools.engines import microsam, microsam_files, registry
from copick_tools.engines.adopt import adopt as adoption
from copick_tools.engines.adopt import microsam as adopted
from copick_tools.engines.adopt.objects import Stated
from copick_tools.engines.microsam_predictor import SURE, MicroSam, Slicewise
from copick_tools.engines.vit.names import renamed_back
from copick_tools.errors import FormatError, PopsicleError, UsageError
from copick_tools.inference.promptable import BACKGROUND, OBJECT
from copick_tools.recipes.prompting import Prompting
from copick_tools.training.checkpoint import read
from copick_tools.workflows import doctor

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
THING = ProjectObject("vesicle", 3, None, False, (0, 0, 0, 255))
STATED = Stated({"vesicle": THING}, "here", likely=20.0)
lacking = pytest.mark.skipif(find_spec("micro_sam") is not None, reason="micro-SAM is installed here")


def sam(width=32, patch=16):
    """The weights that sizes are told by, of an encoder of two blocks for images of 256 pixels, and one of the decoder's."""
    return {
        "image_encoder.pos_embed": torch.zeros(1, 16, 16, width),
        "image_encoder.patch_embed.proj.weight": torch.zeros(width, 3, patch, patch),
        "image_encoder.blocks.0.attn.rel_pos_h": torch.zeros(27, 16),
        "image_encoder.blocks.1.attn.rel_pos_h": torch.zeros(31, 16),
        "mask_decoder.iou_token.weight": torch.ones(1, 256),
    }


def written(folder, name="vit_b.pt", decoder=True, prefix=""):
    """As micro-SAM exports."""
    state = {f"{prefix}{key}": value for key, value in sam().items()}
    more = {"decoder_state": {"out_conv.weight": torch.ones(3, 64, 1, 1)}} if decoder else {}
    torch.save({"model_state": state, **more}, folder / name)
    return folder / name


def converted(path, folder):
    (out,) = adoption.adopt(path, folder / "best.ckpt", STATED)
    return out


@pytest.mark.parametrize("prefix", ["", "sam."])
def test_an_export_becomes_a_checkpoint(tmp_path, prefix):
    path = written(tmp_path, prefix=prefix)
    assert adoption.kind_of(path) == "microsam"
    out = converted(path, tmp_path)
    assert adoption.kind_of(out) is None  # though it has the same names inside
    card, found = read(out)
    assert card.recipe.model == {"family": "microsam", "width": 32, "depth": 2, "heads": 2, "wide": [1], "image": 256}
    assert card.recipe.target.kind == "distances"
    assert (card.recipe.planar, card.recipe.instances.views, card.recipe.instances.smoothing) == (True, "stitched", 1.6)
    assert card.objects == {"vesicle": 3}
    assert card.voxel_spacing == 20.0
    assert card.patch == (1, 256, 256)
    assert set(found["network"]) == {f"sam.{name}" for name in sam()} | {"decoder.out_conv.weight"}
    before = out.read_bytes()
    assert converted(path, tmp_path).read_bytes() == before


def test_the_decoder_may_be_in_a_file_beside(tmp_path):
    torch.save(sam(), tmp_path / "vit_b.pt")
    torch.save({"out_conv.weight": torch.ones(3, 64, 1, 1)}, tmp_path / "vit_b_decoder.pt")
    _, found = read(converted(tmp_path / "vit_b.pt", tmp_path))
    assert "decoder.out_conv.weight" in found["network"]


def test_without_a_decoder_it_is_segment_anything(tmp_path):
    pytest.importorskip("transformers")
    family = registry.engine("sam")
    network = family.build(family.Model(preset="tiny"))
    weights = {name.removeprefix("sam."): v for name, v in network.state_dict().items() if name.startswith("sam.")}
    torch.save(renamed_back(weights), tmp_path / "vit_b.pt")
    out = converted(tmp_path / "vit_b.pt", tmp_path)
    card, _ = read(out)
    assert (card.recipe.family, card.recipe.prompting.mode) == ("sam", "amg")
    assert hasattr(registry.load(out, "cpu"), "promptable")


def test_other_encoders_are_refused(tmp_path):
    odd = {"image_encoder.patch_embed.seq.0.c.weight": torch.zeros(1), "mask_decoder.iou_token.weight": torch.ones(1)}
    torch.save({"model_state": odd, "decoder_state": {"a": torch.ones(1)}}, tmp_path / "vit_t.pt")
    with pytest.raises(FormatError, match="another image encoder") as caught:
        converted(tmp_path / "vit_t.pt", tmp_path)
    assert "MobileSAM" in caught.value.hint
    torch.save({"model_state": sam(patch=8), "decoder_state": {"a": torch.ones(1)}}, tmp_path / "vit_b.pt")
    with pytest.raises(FormatError, match="patches of 8"):
        converted(tmp_path / "vit_b.pt", tmp_path)


class Logger:
    """Something that a trainer pickles along."""


def test_code_in_a_file_is_never_run(tmp_path):
    torch.save({"model_state": sam(), "decoder_state": {}, "init": Logger()}, tmp_path / "best.pt")
    with pytest.raises(FormatError, match="Logger") as caught:
        converted(tmp_path / "best.pt", tmp_path)
    assert "export_custom_sam_model" in caught.value.hint


def test_its_object_has_to_be_named(tmp_path):
    two = Stated({"vesicle": THING, "er": THING}, "here", likely=20.0)
    with pytest.raises(UsageError, match="finds one kind of object"):
        adoption.adopt(written(tmp_path), tmp_path / "best.ckpt", two)


@lacking
def test_without_micro_sam_it_is_said_what_to_install(tmp_path, project, popsicle):
    given = ("-c", project.config, "-i", "wbp@10", "-o", "ribosome:microsam/1?instance=true")
    for model in (written(tmp_path), "vit_b_em_organelles"):
        said = popsicle("segment", model, *given, code=1).stderr
        assert 'pip install "copick-tools[microsam]", in an environment without cellpose' in said
    assert "copick-tools[microsam]" in popsicle("models", "show", "microsam").stdout


def test_it_isn_t_trained_here(project, recipe_path, popsicle):
    failed = popsicle("train", recipe_path, "-c", project.config, "-s", "model={family: microsam}", code=2).stderr
    assert "this family only predicts" in failed
    assert "model.family=sam" in failed


def test_two_owners_of_one_module_are_named(monkeypatch):
    versions = {"segment-anything-py": "1.0.1", "segment-anything": "1.0"}

    def found(name):
        if name not in versions:
            raise microsam.PackageNotFoundError(name)
        return SimpleNamespace(version=versions[name])

    monkeypatch.setattr(microsam, "distribution", found)
    assert "segment-anything-py 1.0.1 and segment-anything 1.0 are both installed" in microsam.conflict()
    (check,) = doctor._segment_anything()
    assert check.status == "broken"
    del versions["segment-anything"]
    assert microsam.conflict() is None
    assert list(doctor._segment_anything()) == []


def test_nothing_is_downloaded(tmp_path, monkeypatch):
    known = SimpleNamespace(path=str(tmp_path), registry={"vit_b_em_organelles": "", "vit_b_em_organelles_decoder": ""})
    parts = SimpleNamespace(util=SimpleNamespace(models=lambda: known))
    monkeypatch.setattr(microsam, "library", lambda: parts)
    with pytest.raises(PopsicleError, match="isn't in its cache") as caught:
        microsam.cached("vit_b_em_organelles")
    assert "bioimage.io" in caught.value.hint
    with pytest.raises(PopsicleError, match="no model of that name") as caught:
        microsam.cached("vit_b_em_organelle")
    assert "did you mean vit_b_em_organelles" in caught.value.hint
    written(tmp_path, "vit_b_em_organelles", decoder=False)
    assert microsam.cached("vit_b_em_organelles") == (tmp_path / "vit_b_em_organelles", None)
    torch.save({"out_conv.weight": torch.ones(3, 64, 1, 1)}, tmp_path / "vit_b_em_organelles_decoder")
    ((_, _, found),) = [(a.name, a.card, a.network) for a in adopted.read(Path("vit_b_em_organelles"), STATED)]
    assert "decoder.out_conv.weight" in found


def test_checkpoints_go_back_to_micro_sam(tmp_path, monkeypatch):
    monkeypatch.setattr(microsam_files, "MODELS", {32: "vit_b"})
    with microsam_files.sam_files(str(converted(written(tmp_path), tmp_path))) as files:
        there = torch.load(files.weights, weights_only=True)
        assert files.model == "vit_b"
    assert set(there["model_state"]) == set(sam())
    assert set(there["decoder_state"]) == {"out_conv.weight"}
    assert not files.weights.exists()
    monkeypatch.setattr(microsam_files, "MODELS", {768: "vit_b"})
    with pytest.raises(UsageError, match="32 wide"), microsam_files.sam_files(str(tmp_path / "vit_b.pt")):
        pass


# ---- the predictor ------------------------------------------------------------------------------------------------------
class Stand:
    """What micro-SAM does for us: an image is its own embedding. Remembers what it was asked."""

    device = torch.device("cpu")

    def __init__(self, *_):
        self.encoded, self.original_size, self.input_size = 0, None, None
        self.transform = SimpleNamespace(apply_coords=lambda xy, size: xy * (256 / max(size)))

    def precompute_image_embeddings(self, predictor, image, ndim, verbose):
        self.encoded += 1
        scaled = tuple(round(side * 256 / max(image.shape)) for side in image.shape)
        return {"features": image[None, None], "original_size": image.shape, "input_size": scaled}

    def set_precomputed(self, predictor, embedding):
        self.original_size, self.input_size = embedding["original_size"], embedding["input_size"]

    def predict_torch(self, **asked):
        self.asked = asked
        count = next(len(v) for v in asked.values() if isinstance(v, torch.Tensor))
        several = 3 if asked["multimask_output"] else 1
        return torch.ones(count, several, *self.original_size), torch.ones(count, several), None


def model():
    stand = Stand()
    parts = SimpleNamespace(util=stand, predictor=lambda sam: stand)
    return MicroSam(SimpleNamespace(image_encoder=SimpleNamespace(img_size=256)), parts, "stand"), stand


def decoder(features, input_size, original_size):
    """Says of each pixel what the pixel says."""
    assert features.shape[2:] == original_size
    value = features[:, 0].sigmoid()
    return torch.stack([value, 1 - value, value**2], dim=1)


def slicewise(**prompting):
    return Slicewise(model()[0], decoder, {"vesicle": 3}, 20.0, 0.0, Prompting(**prompting))


def test_prompts_are_x_before_y_and_scaled():
    promptable, stand = model()
    embedding = promptable.encode(np.zeros((64, 128), np.float32))
    points, labels = np.array([[[10.0, 20.0], [3, 4]]], np.float32), np.array([[OBJECT, BACKGROUND]])
    answer = promptable.predict(embedding, points, labels, np.array([[1.0, 2.0, 30.0, 40.0]], np.float32), several=True)
    assert stand.asked["point_coords"].tolist() == [[[40, 20], [8, 6]]]
    assert stand.asked["point_labels"].tolist() == [[1, 0]]
    assert stand.asked["boxes"].tolist() == [[4, 2, 80, 60]]
    assert stand.asked["mask_input"] is None
    assert answer.masks.shape == (1, 3, 64, 128)
    assert promptable.predict(embedding, points, labels).masks.shape == (1, 1, 64, 128)


def test_masks_are_shrunk_and_padded():
    promptable, stand = model()
    embedding = promptable.encode(np.zeros((64, 128), np.float32))
    masks = np.zeros((2, 64, 128), bool)
    masks[0, :32, 64:] = True
    promptable.predict(embedding, masks=masks)
    low = stand.asked["mask_input"][:, 0]
    assert low.shape == (2, 64, 64)  # a quarter of what SAM sees, 256 x 128
    wanted = np.full((2, 64, 64), -SURE, np.float32)
    wanted[0, :16, 32:] = SURE
    np.testing.assert_allclose(low.numpy(), wanted, rtol=1e-5)
    promptable.predict(embedding, masks=np.full((1, 64, 128), 2.5, np.float32))
    assert stand.asked["mask_input"][0, 0, :32].allclose(torch.tensor(2.5))


def test_maps_and_prompts_are_made_of_one_embedding():
    predictor = slicewise(tile=20, halo=4)
    volume = np.random.default_rng(0).normal(100, 5, (2, 30, 40)).astype(np.float32)
    list(predictor.maps(volume))
    stand = predictor.promptable.util
    assert stand.encoded == 2 * 4
    from copick_tools.inference.encoded import Encoded
    from copick_tools.volumes.normalize import intensity

    encoded = Encoded(predictor.promptable, volume, intensity(volume, 0.0), predictor.prompting)
    for z, tile in encoded.every():
        encoded.embedding(z, tile)
    assert stand.encoded == 2 * 4


@pytest.mark.parametrize("prompting", [{}, {"tile": 16, "halo": 3}, {"tile": 40}])
def test_maps_are_those_of_the_decoder_in_bytes(prompting):
    volume = np.random.default_rng(0).normal(100, 5, (3, 30, 40)).astype(np.float32)
    value = 1 / (1 + np.exp(-(volume - volume.mean()) / volume.std()))
    found = list(slicewise(**prompting).maps(volume))
    assert [z for z, *_ in found] == [0, 1, 2]
    foreground, labels, geometry = (np.concatenate([part[k] for part in found], axis=-3) for k in (1, 2, 3))
    np.testing.assert_allclose(foreground / 255, value, atol=0.003)
    np.testing.assert_allclose(geometry / 255, [1 - value, value**2], atol=0.003)
    assert (labels == 3).all()
    assert {part.dtype for part in (foreground, labels, geometry)} == {np.dtype(np.uint8)}
    slabs = np.concatenate([slab for _, slab in slicewise(**prompting).slabs(volume)], axis=1)
    np.testing.assert_allclose(slabs.astype(float).sum(axis=0), 1, atol=2e-3)
    np.testing.assert_allclose(slabs[1], value, atol=2e-3)


def test_outside_of_the_sample_there_is_nothing(monkeypatch):
    inside = np.zeros((3, 30, 40), bool)
    inside[1, :10] = True
    known = lambda sample, shape: SimpleNamespace(mask=lambda first, last: inside[first:last])  # noqa: E731
    monkeypatch.setattr("copick_tools.engines.microsam_predictor.Inside", known)
    predictor = slicewise()
    volume = np.random.default_rng(0).normal(100, 5, inside.shape).astype(np.float32)
    for z, foreground, labels, geometry in predictor.maps(volume, object()):
        assert (labels[0] == 3 * inside[z]).all()
        assert not foreground[0][~inside[z]].any()
        assert (geometry[:, 0, ~inside[z]] == 255).all()
    assert predictor.promptable.util.encoded == 1


def test_damaged_weights_are_said():
    predictor = slicewise()
    predictor.decoder = lambda features, *sizes: torch.full((1, 3, *sizes[1]), torch.nan)
    with pytest.raises(ValueError, match="isn't finite"):
        list(predictor.maps(np.random.default_rng(0).normal(size=(1, 8, 9)).astype(np.float32)))


# ---- micro-SAM itself -----------------------------------------------------------------------------------------------------
@pytest.mark.slow
@pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="the benchmarks aren't part of this copy")
def test_it_says_what_micro_sam_says(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    benchmark, peers = (importlib.import_module(name) for name in ("microsam", "peers"))
    if reason := peers.lacking("microsam"):
        pytest.skip(f"micro-SAM: {reason} ({peers.how('microsam')})")
    found = benchmark.measured(peers.python("microsam"))
    assert found["network"]["maps"] < 1e-5
    assert found["network"]["bytes"] < 0.51
    assert found["network"]["pixels"] == 0
    assert found["network"]["iou"] < 1e-5
    prompts = found["prompts"]
    assert prompts["unpaired"] == 0
    assert prompts["as deep inside"] == prompts["inside"] > 1000
    assert prompts["same inside"] > 0.95 * prompts["inside"]
    assert found["suppression"]["kept"] > 500
    assert found["suppression"]["at the limit"] > 100
    assert found["suppression"]["differently"] == 0
    assert found["instances"]["each other"] > 0.99

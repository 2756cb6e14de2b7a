"""Instances by prompts, by command: an oracle, cached embeddings, and what can't be done is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from inference.asking import Right, Silent
from training.cells import NAMES, SHAPE, annotated, cells, recipe
from volumes.blobs import accuracy

from copick_tools.data.project import Project, open_project
from copick_tools.data.read import read_segmentation, read_tomogram
from copick_tools.data.uris import TomogramUri, segmentation_uri
from copick_tools.data.write import write_segmentation, write_tomogram
from copick_tools.errors import PopsicleError, UsageError
from copick_tools.inference.prompted import Prompted
from copick_tools.inference.tiler import Tiled
from copick_tools.recipes.prompting import Prompting
from copick_tools.training.checkpoint import read_card
from copick_tools.workflows.prompting import Asked, encode, keeper, require_promptable
from copick_tools.workflows.segment_instances import Telling

ORACLE = "oracle:cells:truth/0?panoptic=true"
GRID = ("-s", "prompting.amg.points_per_side=28", "-s", "prompting.amg.min_size=0")
COARSE = ("-s", "prompting.amg.points_per_side=6")
ANYWHERE = ("-s", "instances.foreground=0")


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    return cells(tmp_path_factory.mktemp("prompted"))


@pytest.fixture(scope="module")
def learned(project, tmp_path_factory):
    """Makes a checkpoint of two steps with these settings, once."""
    from copick_tools.workflows.train import plan_training, train

    folder, made = tmp_path_factory.mktemp("recipes"), {}

    def make(*settings: str) -> Path:
        if settings not in made:
            plan = plan_training(project, recipe(folder), settings, folder / str(len(made)), device="cpu")
            made[settings] = train(project, plan, lambda done, total: None, device="cpu")[0]
        return made[settings]

    return make


@pytest.fixture
def right(monkeypatch):
    """Lets the networks of patches say what the reference says of whatever they are shown."""

    def maps(predictor, volume, sample=None):
        seen = np.asarray(volume[:, :, :])
        truth = min(map(annotated, (0, 1)), key=lambda made: np.corrcoef(seen.ravel(), made[0].ravel())[0, 1])
        known = Right(truth[0] * 1000 + truth[1])
        known.said = replace(known.said, labels=truth[0].astype(np.uint8))
        return known.maps(volume, sample)

    monkeypatch.setattr(Tiled, "maps", maps)


def stored(project: Project, run: str, uri: str) -> np.ndarray:
    """A segmentation; (2, z, y, x) of a panoptic one."""
    found = read_segmentation(open_project(project.config), run, segmentation_uri(uri))
    if found.entry.segmentation_type != "panoptic":
        return found.numpy()
    return np.stack([found.of_channel(channel).numpy() for channel in ("label", "instance")])


def segment(popsicle, project, checkpoint, output, *more, **how):
    return popsicle.json("segment", checkpoint, "-c", project.config, "-i", "wbp@10.0", "-o", output, *more, **how)


def apart(truth):
    """(z, y, x) ids of a panoptic segmentation, for all of its objects; the network's left out."""
    return np.where((truth[0] > 0) & (truth[0] != NAMES["er"]), truth[0] * 1000 + truth[1], 0)


@pytest.mark.parametrize("tiling", [(), ("-s", "prompting.tile=16", "-s", "prompting.halo=20")])
def test_apg_with_an_oracle(project, learned, popsicle, right, tiling, request):
    output = f"cells:apg/{len(tiling)}?panoptic=true"
    done = segment(popsicle, project, learned("target.kind=distances"), output, "--promptable", ORACLE, *tiling)
    assert [run["status"] for run in done["runs"]] == ["done", "done"]
    for seed, (run, counted) in enumerate(zip("AB", done["runs"])):
        truth, found = annotated(seed), stored(project, run, output)
        assert accuracy(apart(truth), apart(found)) == 1.0
        np.testing.assert_array_equal(found[0] == NAMES["er"], truth[0] == NAMES["er"])
        assert counted["counts"]["vesicle"] == len(np.unique(truth[1][truth[0] == 1]))


def test_each_object_and_one_of_them(project, learned, popsicle, right):
    """A reference of one object knows the others not."""
    truth = annotated(0)
    whole = ("--promptable", ORACLE, "-r", "A")
    checkpoint = learned("target.kind=distances")
    segment(popsicle, project, checkpoint, ":each/1?instance=true", *whole)
    segment(popsicle, project, checkpoint, "mito:one/1?instance=true", *whole)
    for name in ("vesicle", "mito"):
        own = stored(project, "A", f"{name}:each/1?instance=true")
        assert accuracy(np.where(truth[0] == NAMES[name], truth[1], 0), own) == 1.0
    np.testing.assert_array_equal(
        stored(project, "A", "mito:one/1?instance=true"), stored(project, "A", "mito:each/1?instance=true")
    )
    one = segment(
        *(popsicle, project, checkpoint, "cells:known/1?panoptic=true", "-r", "A"),
        *("--promptable", "oracle:*:each/1?instance=true", "-s", "instances.whole=[er]"),
    )
    assert one["runs"][0]["counts"]["vesicle"] == stored(project, "A", "vesicle:each/1?instance=true").max()


@pytest.mark.parametrize("space", ["volume", "slices"])
def test_amg_with_an_oracle(project, learned, popsicle, right, space):
    output = f"cells:amg-{space}/1?panoptic=true"
    more = ("--promptable", ORACLE, "-s", "prompting.mode=amg", "-s", f"prompting.space={space}", *GRID)
    segment(popsicle, project, learned("target.kind=distances"), output, *more, "-r", "A")
    found = accuracy(apart(annotated(0)), apart(stored(project, "A", output)))
    assert found == 1.0 if space == "volume" else found > 0.5


@pytest.mark.parametrize("kind", ["flows", "boundary"])
def test_amg_takes_labels_of_any_network(project, learned, popsicle, kind):
    more = ("--promptable", ORACLE, "-s", "prompting.mode=amg", *COARSE, *ANYWHERE, "-r", "A")
    done = segment(popsicle, project, learned(f"target.kind={kind}"), f"cells:{kind}/1?panoptic=true", *more)
    assert done["runs"][0]["status"] == "done"


def test_the_sample_restricts_prompts(project, learned, popsicle, right):
    inside = np.zeros(SHAPE, np.uint8)
    inside[:, :16] = 1
    write_segmentation(project, "A", segmentation_uri("vesicle:hand/0@10.0"), inside)
    more = ("--promptable", ORACLE, "--sample", "vesicle:hand/0@10.0", "-r", "A")
    segment(popsicle, project, learned("target.kind=distances"), "cells:sampled/1?panoptic=true", *more)
    found, truth = stored(project, "A", "cells:sampled/1?panoptic=true"), annotated(0)
    seen = np.unique(apart(truth)[:, :16])
    assert set(np.unique(apart(truth)[(found[1] > 0) & (found[0] != NAMES["er"])])) <= set(seen)
    assert 0 < len(np.unique(apart(found))) - 1 < len(np.unique(apart(truth))) - 1


def test_another_voxel_spacing(tmp_path, popsicle, learned, right):
    """The oracle knows what the network sees: its reference is brought to the same grid."""
    other = cells(tmp_path, A=annotated(0))
    coarse = annotated(0)[:, ::2, ::2, ::2]
    write_tomogram(other, "A", TomogramUri("bin2", 20.0), -coarse[0].astype(np.float32), levels=1)
    uri = segmentation_uri("cells:coarse/0@20.0?panoptic=true")
    write_segmentation(other, "A", uri, coarse.astype(np.uint16))
    done = popsicle.json(
        *("segment", learned("target.kind=distances"), "-c", other.config, "-i", "bin2@20.0"),
        *("-o", "cells:far/1?panoptic=true", "--promptable", "oracle:cells:coarse/0@20.0?panoptic=true"),
    )
    assert done["runs"][0]["status"] == "done"
    found = stored(other, "A", "cells:far/1@20.0?panoptic=true")
    assert found[0].shape == coarse[0].shape
    assert accuracy(apart(coarse), apart(found)) > 0.5


@pytest.mark.parametrize(
    ("kind", "output", "more", "code", "words"),
    [
        ("distances", "panoptic", ("--promptable", "oracle:cells:truth/0?multilabel=true"), 2, "?instance=true or"),
        ("distances", "multilabel", ("--promptable", ORACLE), 2, "the output has none"),
        ("distances", "multilabel", ("--embeddings", "FOLDER"), 2, "the output has none"),
        ("distances", "multilabel", ("-s", "prompting.mode=amg"), 2, "the output has none"),
        ("distances", "panoptic", ("--promptable", "CHECKPOINT"), 2, "answers no prompts"),
        ("distances", "panoptic", ("-s", "prompting.mode=apg"), 2, "answers no prompts"),
        ("distances", "panoptic", ("--promptable", ORACLE, "--embeddings", "FOLDER"), 2, "leave --embeddings out"),
        ("distances", "panoptic", ("--embeddings", "FOLDER"), 2, "prompting.mode=apg"),
        ("distances", "panoptic", ("--promptable", ORACLE, "-s", "prompting.halo=4"), 1, "halo needs a tile"),
        ("distances", "panoptic", ("-s", "prompting.tiel=64"), 1, "did you mean tile"),
        ("distances", "panoptic", ("-s", "prompting.amg.points=64"), 1, "unknown key 'amg.points'"),
        ("distances", "panoptic", ("-s", "prompting.mode=ampg"), 1, "prompting: mode"),
        ("distances", "panoptic", ("-s", "prompting.tile=8"), 1, "prompting: tile"),
        ("distances", "panoptic", ("--promptable", "oracle:cells:nobody/0?panoptic=true"), 1, "nobody"),
        ("distances", "panoptic", ("--promptable", "nowhere.ckpt"), 1, "nowhere.ckpt"),
        ("distances", "panoptic", ("--promptable", ORACLE, "-s", "prompting.follow=memory"), 2, "has no memory"),
        ("flows", "panoptic", ("--promptable", ORACLE), 2, "the network learned flows"),
    ],
)
def test_mistakes(project, learned, popsicle, tmp_path, kind, output, more, code, words):
    checkpoint = learned(f"target.kind={kind}")
    given = [str(part).replace("CHECKPOINT", str(checkpoint)).replace("FOLDER", str(tmp_path)) for part in more]
    failed = popsicle(
        *("segment", checkpoint, "-c", project.config, "-i", "wbp@10.0", "-o", f"cells:wrong/1?{output}=true"),
        *given,
        code=code,
    )
    assert words in failed.stderr
    assert "Traceback" not in failed.stderr


class Looking:
    """A model whose embeddings are made of what it sees. kind: its weights, as it were."""

    def __init__(self, kind="one"):
        self.identity, self.encoded = f"looking-{kind}", 0

    def encode(self, image, place=None):
        self.encoded += 1
        found = np.fft.rfft2(image, (16, 16)).astype(np.complex64)
        return {
            "features": found.view(np.float32),
            "half": found.real.astype(np.float16),
            "side": np.array(image.shape),
        }


def looking(model, folder, project, run="A", overwrite=False, scaling=(0.5, "deviations"), **prompting):
    """A predictor that keeps what its model encodes in a folder, and the tomogram's voxels."""
    entry = read_tomogram(project, run, TomogramUri("wbp", 10.0))
    keeping = keeper(Asked("looking.ckpt", folder, overwrite), entry)
    return Prompted(Silent(), model, Prompting(**prompting), label=1, store=keeping, scaling=scaling), entry.numpy()


def everything(prompted, volume):
    """All embeddings, in bytes."""
    encoded = prompted.encoded(volume)
    return [{k: (v.dtype, v.tobytes()) for k, v in encoded.embedding(*at).items()} for at in encoded.every()]


def test_cached_embeddings_are_the_fresh_ones(project, tmp_path):
    first, again, fresh = Looking(), Looking(), Looking()
    tiling = {"tile": 16, "halo": 4}
    count = SHAPE[0] * 4
    assert encode(*looking(first, tmp_path, project, **tiling)) == (count, 0)
    cached = everything(*looking(again, tmp_path, project, **tiling))
    assert (first.encoded, again.encoded) == (count, 0)
    prompted, volume = looking(fresh, tmp_path, project, **tiling)
    assert everything(replace(prompted, store=None), volume) == cached
    assert fresh.encoded == count
    assert len({str(part) for part in cached}) == count
    assert encode(*looking(again, tmp_path, project, **tiling)) == (0, count)
    assert [path.name for path in tmp_path.iterdir()] == ["A"]


def test_what_changed_is_said(project, tmp_path):
    encode(*looking(Looking(), tmp_path, project))
    prompted, volume = looking(Looking(), tmp_path, project)
    brighter = volume.copy()
    brighter[3, 4, 5] += 0.01
    changes = {
        "another model": (looking(Looking("other"), tmp_path, project)[0], volume),
        "another tiling": (looking(Looking(), tmp_path, project, tile=28)[0], volume),
        "another normalization": (looking(Looking(), tmp_path, project, scaling=(1.0, "deviations"))[0], volume),
        "another image": (prompted, brighter),
    }
    for words, (changed, seen) in changes.items():
        with pytest.raises(PopsicleError, match=words) as raised:
            encode(changed, seen)
        assert "--overwrite" in raised.value.hint
    assert encode(prompted, volume) == (0, SHAPE[0])
    anew = looking(Looking("other"), tmp_path, project, overwrite=True)
    assert encode(*anew) == (SHAPE[0], 0)


def test_an_encoder_that_was_killed_goes_on(project, tmp_path):
    class Killed(BaseException):
        pass

    class Dying(Looking):
        def encode(self, image, place=None):
            if self.encoded == 5:
                raise Killed
            return super().encode(image, place)

    with pytest.raises(Killed):
        encode(*looking(Dying(), tmp_path, project))
    assert encode(*looking(Looking(), tmp_path, project)) == (SHAPE[0] - 5, 5)
    cached = everything(*looking(Looking(), tmp_path, project))
    prompted, volume = looking(Looking(), tmp_path, project)
    assert cached == everything(replace(prompted, store=None), volume)


def test_other_models_answer_no_prompts():
    with pytest.raises(UsageError, match="this model answers no prompts"):
        require_promptable(object())
    with pytest.raises(UsageError, match="unet.ckpt answers no prompts"):
        require_promptable(object(), Path("unet.ckpt"))


def test_a_network_of_masks_without_labels_of_voxels_needs_a_name(project, learned):
    """It tells instances apart by itself, and says nothing of the labels of what another model finds."""
    card = read_card(learned("target.kind=distances"))
    settings = card.recipe.model_copy(update={"prompting": Prompting(mode="amg")})
    network = SimpleNamespace(objects=card.objects, instances=None, voxel_spacing=10.0, normalize=0.5)

    def asked(uri):
        telling = Telling.of(network, card.task, settings, segmentation_uri(uri, output=True, each=True))
        return telling.prompted(Asked(ORACLE), project, "cpu").answering.label

    assert asked("mito:x/1?instance=true") == NAMES["mito"]
    for uri in ("cells:x/1?panoptic=true", ":x/1?instance=true"):
        with pytest.raises(UsageError, match="has to name one object"):
            asked(uri)


def test_an_oracle_tells_ids_of_all_objects_apart(project):
    """Ids count within an object, so the same number of two objects is two instances."""
    assert Asked(ORACLE).oracle.kind == "panoptic"
    assert Asked("oracle:*:a/1?instance=true").oracle.name == "*"
    assert (Asked().oracle, Asked("model.ckpt").oracle, Asked(Path("oracle:x")).oracle) == (None, None, None)

"""Scores on tomograms that are made worse."""

from __future__ import annotations

import json

import pytest
from training.cells import cells, recipe

from copick_tools.recipes.robustness_results import RobustnessResult


@pytest.fixture
def ask(project, checkpoint, popsicle):
    """The command on all runs of the project, with more arguments."""

    def run(*more, code=0):
        return popsicle.json("robustness", checkpoint, "-c", project.config, "-i", "wbp@10.0", *more, code=code)

    return run


def test_the_identity_has_the_score_of_localize_and_evaluate(ask, project, checkpoint, popsicle):
    found = RobustnessResult.model_validate(ask("--degradation", "blur=1,4", "--degradation", "invert"))
    popsicle("localize", checkpoint, "-c", project.config, "-i", "wbp@10.0", "-o", ":plain/1")
    task = found.command and checkpoint.parent / "recipe.yaml"
    assert task.exists()
    toy = next(line.split(": ")[1] for line in task.read_text().splitlines() if line.startswith("task:"))
    plain = popsicle.json("evaluate", "-c", project.config, "-i", "*:plain/1", "--task", toy)
    assert found.identity.score == plain["score"]
    assert found.identity.objects == {name: entry["fbeta"] for name, entry in plain["objects"].items()}
    assert [(level.kind, level.level) for level in found.levels] == [("blur", 1.0), ("blur", 4.0), ("invert", None)]
    for level in found.levels:
        assert level.difference is not None
        assert level.difference.difference == pytest.approx(level.score - found.identity.score)
    assert found.levels[1].score < found.identity.score


def test_a_second_start_predicts_nothing_again(ask, project, monkeypatch):
    first = ask("--degradation", "poisson=5")
    from copick_tools.workflows import predict

    monkeypatch.setattr(predict.Model, "predict", lambda *_, **__: pytest.fail("predicted again"))
    assert ask("--degradation", "poisson=5") == first


def test_noise_is_drawn_from_the_seed(ask):
    scores = [ask("--degradation", "poisson=2", "--seed", seed)["levels"][0]["output"] for seed in (0, 1)]
    assert scores[0] != scores[1]


@pytest.mark.slow
def test_instances(tmp_path, popsicle):
    project = cells(tmp_path)
    popsicle("train", recipe(tmp_path), "-c", project.config, "--out", tmp_path / "run", "--device", "cpu")
    found = popsicle.json(
        *("robustness", tmp_path / "run" / "best.ckpt", "-c", project.config, "-i", "wbp@10.0"),
        *("--degradation", "wedge=60", "-s", "instances.foreground=0", "-s", "instances.flow_error=null"),
    )
    assert found["metric"] == "mean segmentation accuracy"
    assert set(found["identity"]["objects"]) == {"vesicle", "mito", "er"}
    assert "panoptic" in found["levels"][0]["output"]


def test_a_level_that_fails_leaves_the_others(ask, monkeypatch):
    from copick_tools.workflows import robustness

    def failing(volume, how, seed):
        if how.kind == "blur":
            raise ValueError("no contrast left")
        return volume

    monkeypatch.setattr(robustness, "degraded", failing)
    found = ask("--degradation", "blur=2", "--degradation", "invert", code=1)
    assert "no contrast left" in found["failures"]["blur-2"]
    assert [level["kind"] for level in found["levels"]] == ["invert"]


def test_the_report_has_curves(ask, popsicle, tmp_path):
    folder = tmp_path / "robust"
    ask("--degradation", "blur=1,2", "--degradation", "invert", "--out", folder)
    document = json.loads((folder / "robustness.json").read_text())
    assert RobustnessResult.model_validate(document).failures == {}
    popsicle("report", folder, "--out", tmp_path / "report.html", "--csv", tmp_path / "numbers.csv")
    page = (tmp_path / "report.html").read_text()
    assert page.count('role="img"') >= 2
    assert "sigma of a gaussian" in page
    assert "popsicle robustness" in page
    assert "blur 1" in (tmp_path / "numbers.csv").read_text()


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (("--degradation", "blurr"), 2, "blur"),
        (("--degradation", "blur=x"), 2, "expected blur=LEVEL"),
        (("--degradation", "downsample=0.2"), 2, "from 1 to 100"),
        (("-r", "TS_9"), 1, "TS_9"),
        (("--reference", "*:nobody/0"), 1, "nobody"),
    ],
)
def test_mistakes(project, checkpoint, popsicle, more, code, words):
    failed = popsicle("robustness", checkpoint, "-c", project.config, "-i", "wbp@10.0", *more, code=code)
    assert words in failed.stderr

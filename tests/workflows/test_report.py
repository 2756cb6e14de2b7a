"""From folders to one file: pictures of a real project, and what happens where things are missing, moved or damaged."""

import json
import shutil

import numpy as np
import pytest
from reports.samples import full_result, instances_result, points_result, semantic_result, write
from reports.studies import bench_result, search_record, search_result

from copick_tools.data import read
from copick_tools.data.uris import SegmentationUri
from copick_tools.data.write import write_segmentation
from copick_tools.errors import FormatError, NotFoundError, PopsicleError, UsageError
from copick_tools.workflows import report_pictures
from copick_tools.workflows.report import distinct, report

HEADER = "run,object,x,y,z,score,outcome,partner,distance\n"
MATCHES = HEADER + "".join(
    f"{run},{name},{200 + 10 * i},240,{100 + 10 * i},{score},{outcome},,{'4.2' if outcome == 'tp' else ''}\n"
    for run in ("TS_1", "TS_2", "TS_3")
    for name in ("ribosome", "apo-ferritin")
    for i, (outcome, score) in enumerate((("tp", 0.9), ("tp", 0.4), ("fp", 0.8), ("fn", "")))
)


def page(folders, tmp_path, **more):
    out = tmp_path / "report.html"
    report(folders, out, **more)
    text = out.read_text(encoding="utf-8")
    assert out.stat().st_size < 5_000_000
    assert "http" not in text
    return text


@pytest.fixture
def evaluation(shared_project, tmp_path):
    folder = write(tmp_path / "evaluation", full_result(config=str(shared_project.config)))
    (folder / "matches.csv").write_text(MATCHES)
    return folder


class TestPictures:
    def test_slices_and_crops(self, evaluation, tmp_path):
        text = page([evaluation], tmp_path)
        assert text.count("data:image/jpeg") == 3 + 2 * (3 + 3 + 5)  # slices; fp, fn, tp (5 at most) of two objects
        assert text.count('class="fp"') > 0
        assert "score\N{NO-BREAK SPACE}0.8" in text
        assert "4\N{NO-BREAK SPACE}Å\N{NO-BREAK SPACE}off" in text
        assert text == page([evaluation], tmp_path)

    def test_few_runs_are_read(self, evaluation, tmp_path, monkeypatch):
        names = [f"TS_{i}" for i in range(364)]
        result = full_result(364, config=json.loads((evaluation / "scores.json").read_text())["config"])
        write(evaluation, result)
        opened = []
        monkeypatch.setattr(report_pictures, "_tomogram", lambda project, run, *_: opened.append(run) or _missing(run))
        text = page([evaluation], tmp_path)
        assert len(opened) == report_pictures.SHOWN
        assert len(names) == 364
        assert "No picture of" in text

    def test_no_room(self, evaluation, tmp_path, monkeypatch):
        limit = len(page([evaluation], tmp_path).encode()) - 20_000
        monkeypatch.setattr("copick_tools.workflows.report.LIMIT", limit)
        text = page([evaluation], tmp_path)
        assert "pictures are left out" in text
        assert 3 < text.count("data:image/jpeg") < 25
        assert len(text.encode()) <= limit + 5_000  # the words around them

    def test_semantic(self, project, tmp_path):
        truth = SegmentationUri("truth", "truth", "0", 10.0, "multilabel")
        for run in ("TS_1", "TS_2"):
            labels = read.read_segmentation(project, run, truth).numpy()
            uri = SegmentationUri("truth", "net", "1", 10.0, "multilabel")
            write_segmentation(project, run, uri, np.roll(labels, 2, axis=2))
        text = page([write(tmp_path / "s", semantic_result(config=str(project.config)))], tmp_path)
        assert text.count("data:image/jpeg") == 3
        assert text.count('class="reference o0"') == 3
        assert 1 <= text.count('class="prediction o0"') <= 2

    @pytest.mark.parametrize("kind", ["panoptic", "instance"])
    def test_instances(self, project, tmp_path, kind):
        truth = SegmentationUri("truth", "truth", "0", 10.0, "multilabel")
        name = "all" if kind == "panoptic" else "ribosome"
        for run in ("TS_1", "TS_2"):
            labels = read.read_segmentation(project, run, truth).numpy()
            halves = np.where(labels > 0, 1 + (np.arange(48) > 24), 0)  # all outlines are cut in two where these touch
            for user in ("truth/0", "net/1"):
                uri = SegmentationUri(name, *user.split("/"), 10.0, kind)
                write_segmentation(project, run, uri, np.stack([labels, halves]) if name == "all" else halves)
        uris = [f"{name}:{user}@10?{kind}=true" for user in ("net/1", "truth/0")]
        result = instances_result(config=str(project.config), input=uris[:1], reference=uris[1:])
        text = page([write(tmp_path / "i", result)], tmp_path, numbers=tmp_path / "n.csv")
        assert text.count("data:image/jpeg") == 3
        assert text.count('class="reference o0"') == text.count('class="prediction o0"') == 2
        assert "Accuracy by threshold" in text
        assert f"popsicle evaluate -c {project.config}" in text
        assert "i,,ribosome,pooled.ap50,0.75,0.7,0.8" in (tmp_path / "n.csv").read_text()

    def test_instances_of_a_shipped_task_stand_alone(self, tmp_path):
        text = page([write(tmp_path / "i", instances_result(task="yeast"))], tmp_path)
        assert "Beside the paper" not in text

    @pytest.mark.parametrize("config", [None, "/gone/copick.json"])
    def test_no_project(self, config, tmp_path):
        text = page([write(tmp_path / "e", full_result(config=config))], tmp_path)
        assert "No pictures: " in text
        assert "data:image/jpeg" not in text
        assert ("chimerax" in text) == (config is not None)

    def test_no_matches(self, shared_project, tmp_path):
        text = page([write(tmp_path / "e", points_result(config=str(shared_project.config)))], tmp_path)
        assert "matches.csv; run popsicle evaluate --out again" in text

    def test_runs_that_are_gone(self, evaluation, tmp_path):
        result = full_result(3, config=json.loads((evaluation / "scores.json").read_text())["config"])
        rows = dict(zip(("TS_1", "TS_8", "TS_9"), result.by_run.values()))
        write(evaluation, result.model_copy(update={"by_run": rows}))
        text = page([evaluation], tmp_path)
        assert "No picture of TS_8: no run &#39;TS_8&#39;" in text
        assert "data:image/jpeg" in text


def _missing(run):
    raise NotFoundError(f"run {run} has no tomogram")


class TestExperiment:
    def test_recipe_training_versions_board(self, tmp_path):
        folder = write(tmp_path / "e", full_result(task="phantom"))
        (folder / "recipe.yaml").write_text("task: phantom # <here>\n")
        (folder / "versions.json").write_text('{"torch": "2.8", "copick-tools": "1.0"}')
        (folder / "metrics.csv").write_text("step,epoch,lr,loss,score\n60,1,0.1,2.0,\n120,2,0.1,nan,0.6\n")
        text = page([folder], tmp_path)
        assert "task: phantom # &lt;here&gt;" in text
        assert "2.8" in text
        assert "9.9" in text  # of the evaluation, later than that of the training
        assert "best 0.600" in text
        assert "Beside the paper" in text

    def test_a_task_of_ones_own(self, tmp_path):
        text = page([write(tmp_path / "e", full_result(task="mine"))], tmp_path)
        assert "Beside the paper" not in text

    def test_simulated(self, tmp_path):
        text = page([write(tmp_path / "e", full_result(task="phantom-sim"))], tmp_path)
        assert "say nothing about real tomograms" in text

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("scores.json", b"\xff\xfe\x00", "is no JSON"),
            ("scores.json", b"[1]", "holds no scores"),
            ("scores.json", b'{"kind": "other"}', "holds no scores"),
            ("scores.json", b'{"kind": "instances"}', "task: Field required"),
            ("scores.json", b'{"kind": "points"}', "task"),
            ("scores.json", b"[" * 100_000, "is no JSON"),
            ("metrics.csv", b"a,b\n1,2\n", "isn't the log of a training"),
            ("metrics.csv", b"step,loss,score\n1,\xff,\n", "isn't the log of a training"),
            ("versions.json", b"{", "is no JSON"),
            ("versions.json", b"[]", "holds no versions"),
            ("matches.csv", b"run,object\nTS_1,ribosome\n", "isn't what evaluate writes"),
            ("matches.csv", HEADER.encode() + b"TS_1,ribosome,nan,1,1,,fp,,\n", "isn't what evaluate writes"),
            ("matches.csv", HEADER.encode() + b"TS_1,ribosome,1,1,1,,what,,\n", "isn't what evaluate writes"),
        ],
    )
    def test_damaged_files(self, evaluation, tmp_path, name, content, message):
        (evaluation / name).write_bytes(content)
        with pytest.raises(FormatError, match=message):
            report([evaluation], tmp_path / "r.html")
        assert not (tmp_path / "r.html").exists()

    def test_no_evaluation(self, tmp_path):
        with pytest.raises(
            NotFoundError, match=r"scores\.json, result\.json, bench\.json, robustness\.json or learning-curve\.json"
        ) as caught:
            report([tmp_path], tmp_path / "r.html")
        assert "popsicle search" in caught.value.hint


@pytest.fixture
def search(tmp_path):
    folder = tmp_path / "search"
    folder.mkdir()
    (folder / "result.json").write_text(search_result().model_dump_json())
    (folder / "search.json").write_text(search_record().model_dump_json())
    (folder / "best.yaml").write_text("task: phantom # <best>\n")
    return folder


@pytest.fixture
def bench(tmp_path):
    folder = tmp_path / "bench"
    folder.mkdir()
    (folder / "bench.json").write_text(bench_result().model_dump_json())
    return folder


class TestStudies:
    def test_search(self, search, tmp_path):
        text = page([search], tmp_path)
        assert "<h1>Search</h1>" in text
        assert "task: phantom # &lt;best&gt;" in text
        assert f"popsicle train {search}/best.yaml" in text
        assert "popsicle search phantom/octopi" in text
        assert "--trials 61" in text
        assert "data/phantom/copick.json" in text

    def test_search_that_has_only_a_result(self, search, tmp_path):
        for name in ("search.json", "best.yaml"):
            (search / name).unlink()
        text = page([search], tmp_path)
        assert "popsicle train" not in text
        assert "popsicle search phantom/octopi" in text

    def test_mixed(self, evaluation, search, bench, tmp_path):
        text = page([bench, evaluation, search], tmp_path, numbers=tmp_path / "n.csv")
        assert "<h1>1 evaluation, 1 search, 1 benchmark</h1>" in text
        assert "All evaluations" in text
        assert text.index('id="s1-table"') < text.index('id="s2-objects"') < text.index('id="s3-trials"')
        assert text.count("data:image/jpeg") > 20
        found = {
            tuple(line.split(",")[:4]): line.split(",")[4:] for line in (tmp_path / "n.csv").read_text().splitlines()
        }
        assert found["evaluation", "", "", "score"] == ["0.6754", "0.51", "0.79"]
        assert found["bench: octopi", "", "", "score"][0] == "0.717"
        assert found["bench: octopi", "", "ribosome", "mean.seed 0"][0] == "0.825"
        assert found["bench: nnunet", "", "", "score"] == ["", "", ""]
        assert found["search", "", "", "importance.optimizer.lr"][0] == "0.52"
        assert ("search", "", "", "trial 3.train.patch") not in found
        assert len(found) == len((tmp_path / "n.csv").read_text().splitlines())

    def test_several_documents_in_one_folder(self, search, tmp_path):
        write(search, points_result())
        text = page([search], tmp_path, numbers=tmp_path / "n.csv")
        assert "search (evaluation)" in text
        assert "search (search)" in text
        (search / "result.json").write_text('{"kind": "of another tool"}')
        assert "<h1>Evaluation</h1>" in page([search], tmp_path)

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("result.json", "{", r"result\.json is no JSON"),
            ("result.json", "[]", r"result\.json holds no search"),
            ("result.json", '{"kind": "other"}', "kind is 'other'"),
            ("result.json", '{"kind": "search", "trials": []}', r"result\.json: task"),
            ("result.json", '{"kind": "search", "trials": [{"number": "x"}]}', r"trials\.0\.number"),
            ("search.json", "3", r"search\.json holds no search"),
            ("search.json", '{"recipe": {}}', r"search\.json: space"),
        ],
    )
    def test_damaged_search(self, search, tmp_path, name, content, message):
        if '"trials": [{' in content:
            document = json.loads((search / name).read_text())
            content = json.dumps({**document, "trials": [{**document["trials"][0], "number": "x"}]})
        (search / name).write_text(content)
        with pytest.raises(FormatError, match=message):
            report([search], tmp_path / "r.html")
        assert not (tmp_path / "r.html").exists()

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"task": None}, r"bench\.json: task"),
            ({"rowz": []}, "unknown key 'rowz'"),
            ({"paper": {"a": {"score": float("nan")}}}, r"paper\.a\.score"),
        ],
    )
    def test_damaged_bench(self, bench, tmp_path, change, message):
        document = json.loads((bench / "bench.json").read_text())
        (bench / "bench.json").write_text(json.dumps({**document, **change}))
        with pytest.raises(FormatError, match=message):
            report([bench], tmp_path / "r.html")

    @pytest.mark.parametrize("name", ["result.json", "best.yaml", "journal.log", "trials/0003.yaml", "lock"])
    def test_a_search_is_never_replaced(self, search, tmp_path, name):
        with pytest.raises(UsageError, match="is what is reported on"):
            report([search], search / name)
        with pytest.raises(UsageError, match="is what is reported on"):
            report([search], tmp_path / "r.html", numbers=search / name)

    @pytest.mark.parametrize("name", ["bench.json", "table.html", "table.csv", "octopi/seed-0/metrics.csv"])
    def test_a_bench_is_never_replaced(self, bench, name):
        with pytest.raises(UsageError, match="is what is reported on"):
            report([bench], bench / name)
        report([bench], bench / "report.html")
        report([bench], bench / "report.html")


class TestManyFolders:
    def test_names(self, tmp_path):
        folders = [tmp_path / part for part in ("a/x/e", "b/x/e", "c", "c")]
        assert distinct(folders) == ["a/x/e", "b/x/e", "c", "c (2)"]
        assert distinct([tmp_path / "a/b", tmp_path / "b"]) == ["a/b", f"{tmp_path.name}/b"]

    def test_the_same_name_twice(self, tmp_path):
        folders = [write(tmp_path / parent / "e", points_result()) for parent in ("a", "b")]
        report(folders, tmp_path / "r.html", tmp_path / "n.csv")
        text = (tmp_path / "r.html").read_text()
        assert ">a/e</a>" in text
        assert ">b/e</a>" in text
        assert {line.split(",")[0] for line in (tmp_path / "n.csv").read_text().splitlines()} == {
            "evaluation",
            "a/e",
            "b/e",
        }

    def test_three_hundred_runs(self, tmp_path):
        report(
            [write(tmp_path / "e", full_result(300)), write(tmp_path / "s", semantic_result(300))], tmp_path / "r.html"
        )
        assert (tmp_path / "r.html").stat().st_size < 500_000

    def test_too_many(self, tmp_path, monkeypatch):
        monkeypatch.setattr("copick_tools.workflows.report.LIMIT", 10_000)
        with pytest.raises(PopsicleError, match="too much for one file"):
            report([write(tmp_path / "e", points_result())], tmp_path / "r.html")

    def test_one_path_for_both(self, tmp_path):
        with pytest.raises(UsageError):
            report([write(tmp_path / "e", points_result())], tmp_path / "r", tmp_path / "r")


def test_command(popsicle, evaluation, tmp_path):
    result = popsicle("report", evaluation, "--out", tmp_path / "r.html", "--csv", tmp_path / "n.csv")
    assert result.stdout.split() == [str(tmp_path / "r.html"), str(tmp_path / "n.csv")]
    shutil.rmtree(evaluation)
    failed = popsicle("report", evaluation, "--out", tmp_path / "r.html", code=1)
    assert failed.stderr.startswith("Error: no ")


def test_it_never_replaces_what_it_reports_on(evaluation, tmp_path):
    before = (evaluation / "scores.json").read_text()
    for out, numbers in ((evaluation / "scores.json", None), (tmp_path / "r.html", evaluation / "matches.csv")):
        with pytest.raises(UsageError, match="is what is reported on"):
            report([evaluation], out, numbers=numbers)
    with pytest.raises(UsageError, match="given twice"):
        report([evaluation, evaluation], tmp_path / "r.html")
    assert (evaluation / "scores.json").read_text() == before
    assert not (tmp_path / "r.html").exists()

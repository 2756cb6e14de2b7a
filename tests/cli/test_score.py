"""`popsicle score`: the challenges' scores to the last digit, and one clear line for whatever isn't a submission."""

import csv
import gzip
import json
import math
import random
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from metrics import oracle

from copick_tools.recipes.load import load_task
from copick_tools.recipes.results import PointsResult

DATA = Path(__file__).parents[1] / "data"
CZII, BYU = (json.loads((DATA / f"{name}_cases.json").read_text())["cases"] for name in ("czii", "byu"))
WEIGHTS = {o.name: o.weight for o in load_task("phantom").targets}
COLUMNS = ["experiment", "particle_type", "x", "y", "z"]
HEAD = ",".join(COLUMNS) + "\n"
MOTOR_HEAD = "tomo_id,Motor axis 0,Motor axis 1,Motor axis 2"
FINITE = "isn't a finite number"
DESIGN = {  # section 4
    "kind", "task", "rule", "beta", "score", "objects", "other_rule", "ci95", "by_run", "runs", "run_names",
    "config", "input", "reference", "warnings",
}  # fmt: skip
DESIGN_OBJECT = {"tp", "fp", "fn", "precision", "recall", "fbeta", "weight", "distance", "ci95"}


def write(path, header, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def strict_json(text):
    """JSON as the standard has it: no NaN, no Infinity."""

    def refuse(constant):
        raise AssertionError(f"{constant} in JSON")

    return json.loads(text, parse_constant=refuse)


def scored(popsicle, *arguments):
    """The document, checked against its model and the design."""
    document = strict_json(popsicle("score", *arguments, "--json").stdout)
    assert document.keys() >= DESIGN
    assert all(o.keys() >= DESIGN_OBJECT for o in document["objects"].values())
    result = PointsResult.model_validate(document)
    assert result.config is None
    assert result.runs == len(result.run_names) == len(result.by_run)
    for name, total in result.objects.items():
        for key in ("tp", "fp", "fn"):
            assert getattr(total, key) == sum(getattr(run.objects[name], key) for run in result.by_run.values())
    return result


def refused(*arguments, code=1):
    """What is said where it can't be scored: one Error, no traceback, nothing on stdout."""
    from copick_tools.cli.main import popsicle as command

    result = CliRunner().invoke(command, ["score", *map(str, arguments)])
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    lines = result.stderr.splitlines()
    assert [line.startswith("Error: ") for line in lines].count(True) == 1, result.stderr
    assert len(lines) <= 4
    return result.stderr


def close(value):
    return pytest.approx(value, abs=1e-9, rel=0)


class TestVectors:
    def case_files(self, case, folder):
        return (
            write(folder / "submission.csv", case["submission_columns"], case["submission"]),
            write(folder / "reference.csv", case.get("solution_columns", COLUMNS), case["solution"]),
        )

    @pytest.mark.parametrize("case", CZII, ids=[case["name"] for case in CZII])
    def test_czii(self, popsicle, tmp_path, case):
        files = self.case_files(case, tmp_path)
        base = (*files, "--task", "phantom", "--lenient", "--beta", case["beta"])
        base += ("--distance-multiplier", case["distance_multiplier"])
        expected = case["expected"]
        bad = any(value in ("nan", "inf", "-inf") for row in case["submission"] for value in row)
        if expected.get("error") or bad:
            assert "submission.csv" in refused(*base)
            return
        result = scored(popsicle, *base)
        exact = expected["one_to_one_max_cardinality"]
        assert (result.rule, result.other_rule.rule) == ("kaggle", "one-to-one")
        assert result.score == close(expected["score"])
        assert result.other_rule.score == close(exact["score"])
        for name, counts in expected["counts"].items():
            assert result.objects[name].model_dump(include={"tp", "fp", "fn"}) == counts
            assert result.objects[name].fbeta == close(expected["per_class_fbeta"][name])
        inflated = {name for name, counts in exact["counts"].items() if expected["counts"][name]["tp"] > counts["tp"]}
        assert {w.split(":")[0] for w in result.warnings if "inflate the official score" in w} == inflated
        negative = any(run.objects[name].fp < 0 for run in result.by_run.values() for name in result.objects)
        assert negative == any("fp is negative" in warning for warning in result.warnings)
        other = scored(popsicle, *base, "--rule", "one-to-one")
        assert (other.rule, other.other_rule.rule) == ("one-to-one", "kaggle")
        assert (other.score, other.other_rule.score) == (close(exact["score"]), close(expected["score"]))
        for name, counts in exact["counts"].items():
            assert other.objects[name].model_dump(include={"tp", "fp", "fn"}) == counts

    @pytest.mark.parametrize("case", BYU, ids=[case["name"] for case in BYU])
    def test_byu(self, popsicle, tmp_path, case):
        files = self.case_files(case, tmp_path)
        base = (*files, "--task", "motorbench", "--beta", case["beta"], "--distance", case["min_radius"])
        expected = case["expected"]
        if expected.get("error") or any(v in ("nan", "inf", "-inf") for row in case["submission"] for v in row):
            assert "submission.csv" in refused(*base)
            return
        result = scored(popsicle, *base)
        counts = {key: expected[key] for key in ("tp", "fp", "fn")}
        exact = expected["one_to_one"]
        assert result.score == close(expected["score"])
        assert result.other_rule.score == close(exact["score"])
        assert result.objects["flagellar-motor"].model_dump(include={"tp", "fp", "fn"}) == counts
        other = scored(popsicle, *base, "--rule", "one-to-one")
        assert other.score == close(exact["score"])
        counts = {key: exact[key] for key in ("tp", "fp", "fn")}
        assert other.objects["flagellar-motor"].model_dump(include={"tp", "fp", "fn"}) == counts

    def test_a_printed_table_follows_from_its_counts(self):
        """What a notebook prints is F-beta and the weighted mean of its tp, fp and fn."""
        import numpy as np

        from copick_tools.metrics.fbeta import aggregate, fbeta

        for case in CZII:
            expected = case["expected"]
            if expected.get("error"):
                continue
            counts = np.array([list(expected["counts"].get(n, dict.fromkeys("abc", 0)).values()) for n in WEIGHTS])
            values = fbeta(counts, case["beta"])
            for name, value in zip(WEIGHTS, values):
                assert np.nan_to_num(value) == close(expected["per_class_fbeta"].get(name, 0))
            weights = np.array(list(WEIGHTS.values()))
            assert aggregate(values, weights, present_only=False) == close(expected["score"])

    def test_random_files_as_the_oracle(self, popsicle, tmp_path):
        """Dense enough that the rules differ, with experiments that only one side has."""
        rng = random.Random(3)
        names = list(WEIGHTS)

        def rows(runs, count):
            return [
                [rng.choice(runs), rng.choice(names), *(rng.randrange(0, 500) for _ in "xyz")] for _ in range(count)
            ]

        reference = list({(row[0], *row[2:]): row for row in rows(["a", "b", "c"], 260)}.values())
        submission = rows(["a", "b", "z"], 300)
        base = (
            write(tmp_path / "s.csv", COLUMNS, submission),
            write(tmp_path / "r.csv", COLUMNS, reference),
            "--task",
            "phantom",
            "--lenient",
        )
        task = load_task("phantom")
        distances = {name: task.distance(name) for name in names}
        picks = [[(run, name, tuple(xyz)) for run, name, *xyz in side] for side in (reference, submission)]
        for rule, name in (("kaggle", "czii"), ("one-to-one", "one-to-one")):
            result = scored(popsicle, *base, "--rule", rule)
            by_cell = oracle.counts(*picks, name, distances, ["a", "b", "c"])
            assert result.score == close(oracle.aggregate(oracle.totals(by_cell), WEIGHTS, 4))
            for (run, key), counts in by_cell.items():
                assert tuple(result.by_run[run].objects[key].model_dump().values()) == counts
        assert any("rows dropped: the reference has no experiment z" in w for w in result.warnings)
        assert any("1 experiments have no row" in w and w.endswith(": c") for w in result.warnings)


REFERENCE = HEAD + "TS_1,ribosome,0,0,0\nTS_1,ribosome,1000,0,0\nTS_1,apo-ferritin,5,5,5\nTS_2,thyroglobulin,1,2,3\n"
GOOD = "TS_1,ribosome,0,0,0\n"
MANY = HEAD + GOOD * 4000  # more than what is looked at for the column names
JUNK = random.Random(0)
BAD = {
    "empty": (b"", "is empty"),
    "blank": (b" \n\r\n", "is empty"),
    "decimal-commas": (b"experiment;particle_type;x;y;z\nTS_1;ribosome;1,5;0;0\n", "row 1, column x: '1,5' is no"),
    "quoted-decimal-commas": (HEAD + 'TS_1,ribosome,0,"1,5",0\n', "row 1, column y: '1,5' is no number"),
    "junk": (JUNK.randbytes(5000), "not a CSV file"),
    "high-junk": (bytes(JUNK.randrange(128, 256) for _ in range(5000)), "not a CSV file"),
    "gzip": (gzip.compress(REFERENCE.encode()), "not a CSV file"),
    "utf-16": (REFERENCE.encode("utf-16"), "UTF-8"),
    "latin-1": ((HEAD + "TS_é,ribosome,0,0,0\n").encode("latin-1"), "UTF-8"),
    "latin-1-late": ((MANY + "TS_é,ribosome,0,0,0\n").encode("latin-1"), "UTF-8"),
    "nul": (HEAD + "TS_1,ribo\0some,0,0,0\n", "zero bytes"),
    "html": ("<html>\n<body>403 Forbidden, sorry</body></html>", "no column experiment"),
    "json": ('{"experiment": "TS_1"}', "no column experiment"),
    "no-header": (GOOD * 3, "no column experiment"),
    "missing-column": ("experiment,x,y,z\nTS_1,0,0,0\n", "no column particle_type"),
    "column-twice": ("experiment,particle_type,x,y,z,x\nTS_1,ribosome,0,0,0,0\n", "column x is there twice"),
    "misspelt-column": ("experiment,partcle_type,x,y,z\nTS_1,ribosome,0,0,0\n", "did you mean partcle_type?"),
    "capital-column": ("Experiment,particle_type,x,y,z\nTS_1,ribosome,0,0,0\n", "did you mean Experiment?"),
    "short-row": (HEAD + GOOD + "TS_1,ribosome,0,0\n", "row 2, column z"),
    "shorter-row": (HEAD + GOOD + "TS_1\n", "row 2, column"),
    "long-row": (HEAD + GOOD + "TS_1,ribosome,0,0,0,9\n", "line 3"),
    "long-rows": (HEAD + "TS_1,ribosome,0,0,0,9\n" * 2, "more cells than"),
    "unclosed-quote": (HEAD + '"TS_1,ribosome,0,0,0\n' + GOOD, "inside string"),
    "comment": (HEAD + GOOD + "# the end\n", "row 2, column"),
    "nan": (HEAD + GOOD + "TS_1,ribosome,nan,0,0\n", f"row 2, column x: nan {FINITE}"),
    "inf": (HEAD + "TS_1,ribosome,0,inf,0\n", f"row 1, column y: inf {FINITE}"),
    "-inf": (HEAD + "TS_1,ribosome,0,-Infinity,0\n", f"row 1, column y: -inf {FINITE}"),
    "overflow": (HEAD + "TS_1,ribosome,0,0,1e400\n", f"row 1, column z: inf {FINITE}"),
    "na": (HEAD + "TS_1,ribosome,0,NA,0\n", "row 1, column y: 'NA' is no number"),
    "empty-cell": (HEAD + GOOD + "TS_1,ribosome,0,,0\n", "row 2, column y: '' is no number"),
    "word": (HEAD + "TS_1,ribosome,0,0,far\n", "row 1, column z: 'far' is no number"),
    "late-word": (MANY + "TS_1,ribosome,0,0,far\n", "row 4001, column z: 'far' is no number"),
    "underscore": (HEAD + "TS_1,ribosome,1_000,0,0\n", "row 1, column x: '1_000' is no number"),
    "hexadecimal": (HEAD + "TS_1,ribosome,0x10,0,0\n", "row 1, column x: '0x10' is no number"),
    "full-width": (HEAD + "TS_1,ribosome,\uff11,0,0\n", "row 1, column x: '\uff11' is no number"),
    "all-bool": (HEAD + "TS_1,ribosome,True,0,0\nTS_1,ribosome,False,500,3\n", "row 1, column x: 'True' is no number"),
    "one-bool": (HEAD + GOOD + "TS_1,ribosome,True,0,0\n", "row 2, column x: 'True' is no number"),
    "no-experiment": (HEAD + ",ribosome,0,0,0\n", "row 1, column experiment: empty"),
    "no-object": (HEAD + GOOD + "TS_1,,0,0,0\n", "row 2, column particle_type: empty"),
    "unknown-object": (HEAD + "TS_1,ribosom,0,0,0\n", "row 1, column particle_type: no object 'ribosom'"),
    "capital-object": (HEAD + "TS_1,Ribosome,0,0,0\n", "did you mean ribosome?"),
    "space-in-object": (HEAD + "TS_1,ribosome ,0,0,0\n", "no object 'ribosome '"),
    "unknown-experiment": (HEAD + GOOD + "TS_11,ribosome,0,0,0\n", "row 2, column experiment: no experiment 'TS_11'"),
}
SAME = {
    "byte-order-mark": "\ufeff" + REFERENCE,
    "windows": REFERENCE.replace("\n", "\r\n"),
    "old-mac": REFERENCE.replace("\n", "\r"),
    "semicolons": REFERENCE.replace(",", ";"),
    "tabs": REFERENCE.replace(",", "\t"),
    "all-of-them": "\ufeff" + REFERENCE.replace(",", ";").replace("\n", "\r\n"),
    "no-last-line-end": REFERENCE.strip(),
    "blank-lines": "\n" + REFERENCE.replace("\n", "\n\n"),
    "spaces-around-numbers": REFERENCE.replace(",0", ", 0 "),
    "spaces-in-header": REFERENCE.replace(HEAD, HEAD.replace(",", ", ")),
    "exponents-and-signs": REFERENCE.replace("1000", "+1.0e3").replace("5", "5."),
    "quotes": REFERENCE.replace("TS_1", '"TS_1"').replace("ribosome", '"ribosome"').replace("1000", '"1000"'),
    "more-columns": "\n".join(f"{k},{line},x y" for k, line in enumerate(REFERENCE.split("\n")[:-1])),
    "odd-column-twice": "\n".join(f"a,{line},a" for line in REFERENCE.split("\n")[:-1]),
    "shuffled-columns": "\n".join(",".join(line.split(",")[::-1]) for line in REFERENCE.split("\n")[:-1]),
}


@pytest.fixture
def reference(tmp_path):
    (tmp_path / "reference.csv").write_text(REFERENCE)
    return tmp_path / "reference.csv"


def put(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


class TestFiles:
    @pytest.mark.parametrize("name", BAD)
    def test_one_line_says_what_is_wrong_where(self, tmp_path, reference, name):
        content, reason = BAD[name]
        path = put(tmp_path / "my submission.csv", content)
        said = refused(path, reference, "--task", "phantom")
        assert reason in said
        assert str(path) in said.splitlines()[0]
        if name not in ("unknown-experiment",):  # and the same of the other file
            assert str(path) in refused(reference, path, "--task", "phantom")

    @pytest.mark.parametrize("name", SAME)
    def test_other_ways_to_write_the_same(self, popsicle, tmp_path, reference, name):
        path = put(tmp_path / "s.csv", SAME[name])
        for pair in ((path, reference), (reference, path)):
            result = scored(popsicle, *pair, "--task", "phantom")
            assert sum(o.tp for o in result.objects.values()) == 4
            assert all(o.fp == o.fn == 0 for o in result.objects.values())

    def test_numbers_are_read_exactly(self, popsicle, tmp_path):
        """Ties at the matching distance stand and fall with the last digit."""
        truth = put(tmp_path / "r.csv", HEAD + "a,beta-amylase,0.1,0,0\nb,beta-amylase,0.3,0,0\n")
        near = put(tmp_path / "s.csv", HEAD + "a,beta-amylase,32.6,0,0\nb,beta-amylase,32.80000000000001,0,0\n")
        result = scored(popsicle, near, truth, "--task", "phantom")
        wanted = {"a": (32.6 - 0.1) ** 2 <= 32.5**2, "b": (32.80000000000001 - 0.3) ** 2 <= 32.5**2}
        assert {run: s.objects["beta-amylase"].tp == 1 for run, s in result.by_run.items()} == wanted

    @pytest.mark.parametrize("names", [("NA", "null"), ("001", "1"), ("nan", "None"), ("1.0", "1"), ("True", "#N/A")])
    def test_names_stay_names(self, popsicle, tmp_path, names):
        rows = [[name, "ribosome", k, 0, 0] for k, name in enumerate(names)]
        path = write(tmp_path / "r.csv", COLUMNS, rows)
        result = scored(popsicle, path, path, "--task", "phantom")
        assert set(result.run_names) == set(names)
        assert result.objects["ribosome"].tp == 2

    def test_names_with_commas_quotes_and_letters_of_all_kinds(self, popsicle, tmp_path):
        names = ["a,b", 'say "a"', "übung", "実験", "a b"]
        path = write(tmp_path / "r.csv", COLUMNS, [[name, "ribosome", 0, 0, 0] for name in names])
        assert set(scored(popsicle, path, path, "--task", "phantom").run_names) == set(names)

    @pytest.mark.parametrize("content", [HEAD, HEAD.strip()])
    def test_a_header_alone_finds_nothing(self, popsicle, tmp_path, reference, content):
        result = scored(popsicle, put(tmp_path / "s.csv", content), reference, "--task", "phantom")
        assert result.score == 0
        assert sum(o.fn for o in result.objects.values()) == 4
        assert any("2 experiments have no row" in w for w in result.warnings)

    def test_a_reference_without_rows(self, popsicle, tmp_path, reference):
        empty = put(tmp_path / "r.csv", HEAD)
        assert "no experiment 'TS_1' in the reference" in refused(reference, empty, "--task", "phantom")
        result = scored(popsicle, reference, empty, "--task", "phantom", "--lenient")
        assert (result.score, result.runs) == (0, 0)
        assert any("holds no rows" in w for w in result.warnings)

    def test_what_is_no_file(self, tmp_path, reference):
        missing = tmp_path / "none.csv"
        for odd, said in ((missing, "no file"), (tmp_path, "is a folder, not a CSV file")):
            for pair in ((odd, reference), (reference, odd)):
                assert said in refused(*pair, "--task", "phantom")

    @pytest.mark.parametrize("other", ["ribosome", "thyroglobulin"])
    def test_duplicates_in_the_reference(self, tmp_path, reference, other):
        """The official code gives up at the same place twice, be it of two objects."""
        twice = put(tmp_path / "r.csv", REFERENCE + f"TS_1,{other},1000,0,-0.0\n")
        said = refused(reference, twice, "--task", "phantom")
        assert "rows 2 and 5 hold the same position in the same experiment" in said

    def test_the_same_position_in_two_experiments_and_twice_in_a_submission(self, popsicle, tmp_path):
        truth = put(tmp_path / "r.csv", HEAD + "a,ribosome,1,1,1\nb,ribosome,1,1,1\n")
        twice = put(tmp_path / "s.csv", HEAD + "a,ribosome,1,1,1\na,ribosome,1,1,1\nb,ribosome,1,1,1\n")
        found = scored(popsicle, twice, truth, "--task", "phantom").objects["ribosome"]
        assert (found.tp, found.fp, found.fn) == (2, 1, 0)


class TestExperiments:
    def test_unknown_ones(self, popsicle, tmp_path, reference):
        rows = REFERENCE + "TS_3,ribosome,0,0,0\nTS_3,martian,0,0,0\nTS_4,ribosome,nan,0,0\n"
        path = put(tmp_path / "s.csv", rows)
        said = refused(path, reference, "--task", "phantom")
        assert "row 5, column experiment: no experiment 'TS_3'" in said
        assert "--lenient" in said
        assert said == refused(path, reference, "--task", "phantom", "--strict")
        dropped = scored(popsicle, path, reference, "--task", "phantom", "--lenient")
        assert dropped.score == scored(popsicle, reference, reference, "--task", "phantom").score
        assert any("3 rows dropped: the reference has no experiment TS_3, TS_4" in w for w in dropped.warnings)

    def test_missing_ones(self, popsicle, tmp_path, reference):
        path = put(tmp_path / "s.csv", HEAD + GOOD)
        result = scored(popsicle, path, reference, "--task", "phantom")
        assert result.objects["thyroglobulin"].fn == 1
        assert any("1 experiments have no row" in w and "TS_2" in w for w in result.warnings)


class TestWarnings:
    def test_negative_false_positives(self, popsicle, tmp_path):
        truth = put(tmp_path / "r.csv", HEAD + "a,ribosome,0,0,0\na,ribosome,100,0,0\n")
        guess = put(tmp_path / "s.csv", HEAD + "a,ribosome,50,0,0\n")
        result = scored(popsicle, guess, truth, "--task", "phantom")
        assert result.objects["ribosome"].fp == -1
        assert result.objects["ribosome"].fbeta == close(34 / 33)
        said = [w for w in result.warnings if w.startswith("ribosome:")]
        assert len(said) == 1
        assert "inflate the official score: 2 true positives, one-to-one 1; fp is negative in 1 runs" in said[0]
        fair = scored(popsicle, guess, truth, "--task", "phantom", "--rule", "one-to-one")
        assert not any("negative" in w or "inflate" in w for w in fair.warnings)

    def test_free_false_positives_and_objects_that_are_nowhere(self, popsicle, tmp_path):
        truth = put(tmp_path / "r.csv", HEAD + "a,ribosome,0,0,0\nb,thyroglobulin,9,9,9\n")
        guess = put(tmp_path / "s.csv", HEAD + "a,ribosome,0,0,0\n" + "a,apo-ferritin,1,2,3\n" * 7)
        result = scored(popsicle, guess, truth, "--task", "phantom")
        assert result.objects["apo-ferritin"].fp == 7
        assert any(
            w.startswith("apo-ferritin is nowhere in the reference") and "7 predictions are free" in w
            for w in result.warnings
        )
        assert "beta-galactosidase is nowhere in the reference" in result.warnings
        assert not any(w.startswith(("ribosome", "thyroglobulin")) for w in result.warnings)

    @pytest.mark.parametrize(
        ("runs", "interval", "said"), [(4, False, "no intervals"), (5, True, "rest on 5"), (20, True, "")]
    )
    def test_few_runs(self, popsicle, tmp_path, runs, interval, said):
        rows = [[f"r{k}", "ribosome", 0, 0, 0] for k in range(runs)]
        path = write(tmp_path / "r.csv", COLUMNS, rows)
        result = scored(popsicle, path, path, "--task", "phantom")
        assert (result.ci95 is not None) == interval
        assert (result.other_rule.ci95 is not None) == interval
        assert bool(result.objects["ribosome"].ci95) == interval
        about = [w for w in result.warnings if "interval" in w]
        assert said in about[0] if said else not about

    def test_words_go_to_stderr(self, popsicle, reference):
        result = popsicle("score", reference, reference, "--task", "phantom")
        assert "Warning: no intervals from 2 runs" in result.stderr
        assert "Warning" not in result.stdout
        assert "score 0.5714 (F4, rule kaggle, 2 runs)" in result.stdout
        assert "rule one-to-one: 0.5714" in result.stdout
        row = next(line.split() for line in result.stdout.splitlines() if line.startswith("ribosome"))
        assert row[:7] == ["ribosome", "2", "0", "0", "1.0000", "1.0000", "1.0000"]


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            (("--distance", "10", "--distance-multiplier", "0.5"), "not both"),
            (("--distance", "0"), "--distance is 0"),
            (("--distance", "-5"), "positive number"),
            (("--distance", "nan"), "positive number"),
            (("--distance", "inf"), "positive number"),
            (("--distance-multiplier", "0"), "--distance-multiplier is 0"),
            (("--distance-multiplier", "-1"), "positive number"),
            (("--distance-multiplier", "nan"), "positive number"),
            (("--beta", "-1"), "--beta is -1"),
            (("--beta", "nan"), "--beta is nan"),
            (("--beta", "inf"), "--beta is inf"),
            (("--rule", "hungarian"), "no rule 'hungarian'"),
            (("--rule", "czii"), "no rule 'czii'"),
        ],
    )
    def test_wrong_usage(self, reference, options, reason):
        assert reason in refused(reference, reference, "--task", "phantom", *options, code=2)

    def test_tasks(self, tmp_path, reference):
        for task in ("bacterial", "yeast"):
            assert f"task {task} has no challenge" in refused(reference, reference, "--task", task, code=2)
        assert "did you mean phantom" in refused(reference, reference, "--task", "fantom")
        assert "Missing option '--task'" in refused(reference, reference, code=2)

    def test_overrides(self, popsicle, tmp_path):
        truth = put(tmp_path / "r.csv", HEAD + "a,ribosome,0,0,0\na,ribosome,900,0,0\na,apo-ferritin,500,0,0\n")
        guess = put(tmp_path / "s.csv", HEAD + "a,ribosome,100,0,0\na,ribosome,900,0,0\na,apo-ferritin,500,40,0\n")
        base = (guess, truth, "--task", "phantom")

        def found(*options):
            result = scored(popsicle, *base, *options)
            return [(o.tp, o.fp, o.fn, o.distance) for n, o in result.objects.items() if n in ("ribosome",)] + [
                result.objects["apo-ferritin"].tp
            ]

        assert found() == [(1, 1, 1, 75), 0]
        assert found("--distance-multiplier", "0.7") == [(2, 0, 0, 105), 1]
        assert found("--distance", "100") == [(2, 0, 0, 100), 1]
        assert found("--distance", "99.99") == [(1, 1, 1, 99.99), 1]
        assert found("--distance-multiplier", "0.5") == found()
        for beta in (0, 0.5, 1, 2):
            result = scored(popsicle, *base, "--beta", beta)
            assert result.beta == beta
            assert result.objects["ribosome"].fbeta == close(oracle.fbeta(1, 1, 1, beta))

    def test_your_own_task_with_a_challenges_code(self, popsicle, tmp_path, recipe_path):
        toy = recipe_path.parent / "toy.yaml"
        path = put(tmp_path / "r.csv", HEAD + "a,ribosome,0,0,0\na,apo-ferritin,1,1,1\n")
        result = scored(popsicle, path, path, "--task", toy)
        assert (result.task, result.score) == ("toy", 1)
        path.write_text(HEAD + "a,thyroglobulin,0,0,0\n")
        assert "no object 'thyroglobulin' in the task" in refused(path, path, "--task", toy)

    def test_out(self, popsicle, tmp_path, reference):
        out = tmp_path / "scores"
        popsicle("score", reference, reference, "--task", "phantom", "--out", out)
        written = PointsResult.model_validate(strict_json((out / "scores.json").read_text()))
        assert written == scored(popsicle, reference, reference, "--task", "phantom")
        assert written.input == written.reference == [str(reference)]

    def test_baseline(self, popsicle, tmp_path, reference):
        half = put(tmp_path / "half.csv", HEAD + GOOD)
        base = (reference, reference, "--task", "phantom", "--baseline")
        result = scored(popsicle, *base, half)
        assert result.baseline.score == close(scored(popsicle, half, reference, "--task", "phantom").score)
        assert result.baseline.difference.difference == close(result.score - result.baseline.score)
        assert result.baseline.difference.ci95 is None
        assert result.baseline.difference.p is None
        assert result.baseline.objects["thyroglobulin"].difference == close(1)
        assert result.baseline.objects["beta-amylase"].difference is None
        assert any(w.startswith("baseline: 1 experiments") for w in result.warnings)
        assert f"baseline {half}: 0.0736, difference +" in popsicle("score", *base, half).stdout
        same = scored(popsicle, *base, reference).baseline
        assert same.difference.difference == 0
        bad = put(tmp_path / "bad.csv", "nothing")
        assert str(bad) in refused(*base, bad)

    def test_baseline_over_enough_runs(self, popsicle, tmp_path):
        rows = [[f"r{k}", "ribosome", 500 * i, 0, 0] for k in range(6) for i in range(4)]
        truth = write(tmp_path / "r.csv", COLUMNS, rows)
        worse = write(tmp_path / "w.csv", COLUMNS, [row for k, row in enumerate(rows) if k % 4 or k < 4])
        result = scored(popsicle, truth, truth, "--task", "phantom", "--baseline", worse)
        low, high = result.baseline.difference.ci95
        assert low <= result.baseline.difference.difference <= high
        assert 0 < result.baseline.difference.p <= 1
        assert result.baseline.objects["ribosome"].p == pytest.approx(result.baseline.difference.p)


def motors(*rows, extra="Voxel spacing,Has motor"):
    return "\n".join([MOTOR_HEAD + ("," + extra if extra else ""), *rows]) + "\n"


class TestMotors:
    TRUTH = motors("a,10,20,30,10,1", "b,-1,-1,-1,20,0", "c,5,5,5,10,1")

    def files(self, tmp_path, submission, truth=TRUTH):
        return put(tmp_path / "s.csv", submission), put(tmp_path / "r.csv", truth), "--task", "motorbench"

    def outcome(self, popsicle, tmp_path, row, truth="a,10,20,30,10,1", *options):
        files = self.files(tmp_path, motors(row, extra=""), motors(truth))
        result = scored(popsicle, *files, *options).objects["flagellar-motor"]
        return result.tp, result.fp, result.fn

    @pytest.mark.parametrize(
        ("row", "kaggle", "exact"),
        [
            ("a,10,20,30", (1, 0, 0), (1, 0, 0)),
            ("a,110,20,30", (1, 0, 0), (1, 0, 0)),  # exactly 1000 angstrom
            ("a,110.001,20,30", (0, 0, 1), (0, 1, 1)),
            ("a,70,20,110", (1, 0, 0), (1, 0, 0)),  # 3-4-5
            ("a,-1,-1,-1", (0, 0, 1), (0, 0, 1)),
            ("a,10,-1,30", (0, 0, 1), (0, 0, 1)),  # any axis
            ("a,10,20,-1.0", (0, 0, 1), (0, 0, 1)),
            ("a,-2,20,30", (1, 0, 0), (1, 0, 0)),  # a place like others
            ("a,-0.999,20,30", (1, 0, 0), (1, 0, 0)),
            ("a,0,0,0", (1, 0, 0), (1, 0, 0)),
            ("a,30,20,10", (1, 0, 0), (1, 0, 0)),
        ],
    )
    def test_one_tomogram(self, popsicle, tmp_path, row, kaggle, exact):
        assert self.outcome(popsicle, tmp_path, row) == kaggle
        assert self.outcome(popsicle, tmp_path, row, "a,10,20,30,10,1", "--rule", "one-to-one") == exact

    def test_none_and_spacing(self, popsicle, tmp_path):
        assert self.outcome(popsicle, tmp_path, "a,0,0,0", "a,-1,-1,-1,10,0") == (0, 1, 0)
        assert self.outcome(popsicle, tmp_path, "a,-1,-1,-1", "a,-1,-1,-1,10,0") == (0, 0, 0)
        assert self.outcome(popsicle, tmp_path, "a,60,20,30", "a,10,20,30,20,1") == (1, 0, 0)
        assert self.outcome(popsicle, tmp_path, "a,61,20,30", "a,10,20,30,20,1") == (0, 0, 1)
        assert self.outcome(popsicle, tmp_path, "a,60,20,30", "a,10,20,30,10,1", "--distance", "499") == (0, 0, 1)
        assert self.outcome(popsicle, tmp_path, "a,60,20,30", "a,10,20,30,10,1", "--distance-multiplier", "2") == (
            0,
            0,
            1,
        )

    def test_axes_are_z_y_x(self, popsicle, tmp_path):
        files = self.files(tmp_path, motors("a,12,20,30", "b,-1,-1,-1", "c,5,5,5", extra=""))
        error = scored(popsicle, *files).localization["flagellar-motor"]
        assert error.axes["z"].bias == close(10)
        assert error.axes["x"].p90 == error.axes["y"].p90 == 0

    def test_nothing_anywhere_scores_nothing(self, popsicle, tmp_path):
        none = motors("a,-1,-1,-1,10,0", "b,-1,-1,-1,10,0")
        result = scored(popsicle, *self.files(tmp_path, motors("a,-1,-1,-1", "b,-1,-1,-1", extra=""), none))
        assert result.score == 0

    @pytest.mark.parametrize("options", [(), ("--lenient",)])
    @pytest.mark.parametrize(
        ("rows", "reason"),
        [
            (("a,1,1,1", "c,1,1,1"), "1 tomograms of the reference have no row: b"),
            (("a,1,1,1", "b,1,1,1", "c,1,1,1", "d,1,1,1"), "row 4, column tomo_id: no tomogram 'd'"),
            (("a,1,1,1", "b,1,1,1", "b,2,2,2", "c,1,1,1"), "row 3, column tomo_id: 'b' is there twice"),
            (("a,1,1,1", "b,1,1,1", "C,1,1,1"), "no tomogram 'C'"),
            (("a,1,1,1", "b,nan,1,1", "c,1,1,1"), f"row 2, column Motor axis 0: nan {FINITE}"),
            (("a,1,1,1", "b,-1,inf,1", "c,1,1,1"), f"row 2, column Motor axis 1: inf {FINITE}"),
            (("a,1,1,1", "b,-1,,-1", "c,1,1,1"), "row 2, column Motor axis 1: '' is no number"),
            ((), "3 tomograms of the reference have no row: a, b, c"),
        ],
    )
    def test_a_submission_is_one_row_for_each_tomogram(self, tmp_path, rows, reason, options):
        said = refused(*self.files(tmp_path, motors(*rows, extra="")), *options)
        assert reason in said
        assert "s.csv" in said.splitlines()[0]

    def test_many_missing_rows_are_not_all_listed(self, tmp_path):
        truth = motors(*(f"t{k:03},-1,-1,-1,10,0" for k in range(100)))
        said = refused(*self.files(tmp_path, motors(extra=""), truth))
        assert "100 tomograms" in said
        assert "and 95 more" in said

    @pytest.mark.parametrize(
        ("truth", "reason"),
        [
            (motors("a,1,1,1,10,2"), "row 1, column Has motor: 2 isn't 0 or 1"),
            (motors("a,1,1,1,10,-1"), "column Has motor: -1 isn't 0 or 1"),
            (motors("a,1,1,1,10,0.5"), "column Has motor: 0.5 isn't 0 or 1"),
            (motors("a,1,1,1,10,nan"), f"column Has motor: nan {FINITE}"),
            (motors("a,1,1,1,0,1"), "row 1, column Voxel spacing: 0 isn't a voxel spacing"),
            (motors("a,1,1,1,-10,1"), "column Voxel spacing: -10 isn't a voxel spacing"),
            (motors("a,1,1,1,inf,1"), f"column Voxel spacing: inf {FINITE}"),
            (motors("a,1,1,1,10,1", "a,2,2,2,11,1"), "column Voxel spacing: another row of this tomogram"),
            (motors("a,1,nan,1,10,1"), f"column Motor axis 1: nan {FINITE}"),
            (motors("a,1,1,1,10,1", "a,1,1,1,10,1"), "rows 1 and 2 hold the same position in the same tomogram"),
            (motors("a,-1,-1,-1,10,0", "a,-1,-1,-1,10,0"), "rows 1 and 2"),
            (motors("a,1,1,1,10", extra="Voxel spacing"), "no column Has motor"),
            (motors("a,1,1,1,1", extra="Has motor"), "no column Voxel spacing"),
            (motors("a,1,1,1,10,-3", extra="Voxel spacing,Number of motors"), "-3 isn't a number of motors"),
        ],
    )
    def test_a_reference_that_cannot_be(self, tmp_path, truth, reason):
        said = refused(*self.files(tmp_path, motors("a,1,1,1", extra=""), truth))
        assert reason in said
        assert "r.csv" in said.splitlines()[0]

    def test_axes_that_contradict_has_motor(self, popsicle, tmp_path):
        files = self.files(tmp_path, motors("a,1,1,1", extra=""), motors("a,1,1,1,10,0"))
        result = scored(popsicle, *files)
        assert result.objects["flagellar-motor"].fp == 1
        assert any("disagree in 1 rows, for example a: Has motor counts" in w for w in result.warnings)

    def test_training_labels(self, popsicle, tmp_path):
        """Several rows for a tomogram: no official score, but one-to-one."""
        head = "row_id,tomo_id,Motor axis 0,Motor axis 1,Motor axis 2,Array shape (axis 0),Voxel spacing,Number of motors\n"
        labels = (
            head + "0,a,10,10,10,300,10,1\n1,b,-1,-1,-1,300,15.6,0\n2,c,50,50,50,300,10,2\n3,c,250,50,50,300,10,2\n"
        )
        guess = motors("a,10,10,12", "b,-1,-1,-1", "c,250,50,50", extra="")
        result = scored(popsicle, *self.files(tmp_path, guess, labels))
        assert result.score is None
        assert result.objects["flagellar-motor"].fbeta is None
        assert result.ci95 is None
        assert all(run.score is None for run in result.by_run.values())
        assert any("run c holds 2 flagellar-motor" in w and "one or none" in w for w in result.warnings)
        assert (result.other_rule.rule, result.other_rule.score) == ("one-to-one", close(oracle.fbeta(2, 0, 1, 2)))
        exact = scored(popsicle, *self.files(tmp_path, guess, labels), "--rule", "one-to-one")
        assert exact.score == close(oracle.fbeta(2, 0, 1, 2))
        assert exact.other_rule.score is None
        compared = scored(popsicle, *self.files(tmp_path, guess, labels), "--baseline", tmp_path / "s.csv")
        assert compared.baseline.difference.difference is None
        assert "score - (F2, rule kaggle" in popsicle("score", *self.files(tmp_path, guess, labels)).stdout
        single = labels.splitlines(keepends=True)[:3]
        plain = scored(popsicle, *self.files(tmp_path, motors("a,10,10,12", "b,-1,-1,-1", extra=""), "".join(single)))
        assert plain.score == 1

    def test_the_wrong_task(self, tmp_path, reference):
        said = refused(reference, reference, "--task", "motorbench")
        assert "no column tomo_id" in said
        path = put(tmp_path / "m.csv", self.TRUTH)
        assert "no column experiment" in refused(path, path, "--task", "phantom")

    @pytest.mark.parametrize("name", ["byte-order-mark", "semicolons", "windows"])
    def test_other_ways_to_write_the_same(self, popsicle, tmp_path, name):
        change = {"byte-order-mark": ("", ""), "semicolons": (",", ";"), "windows": ("\n", "\r\n")}[name]
        text = self.TRUTH.replace(*change) if change[0] else "\ufeff" + self.TRUTH
        path = put(tmp_path / "both.csv", text)
        result = scored(popsicle, path, path, "--task", "motorbench")
        assert (result.score, result.runs) == (1, 3)


def test_a_repeated_score_is_the_same_to_the_bit(popsicle, tmp_path, reference):
    one = popsicle("score", reference, reference, "--task", "phantom", "--json").stdout
    other = shutil.copy(reference, tmp_path / "copy.csv")
    two = popsicle("score", other, other, "--task", "phantom", "--json").stdout
    assert one.replace("reference.csv", "copy.csv") == two
    assert not math.isnan(json.loads(one)["score"])

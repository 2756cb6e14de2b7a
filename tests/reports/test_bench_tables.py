"""The table of a benchmark run, as Markdown, CSV and HTML."""

import csv
import io
import re

import pytest
from reports.studies import OBJECTS, bench_result, bench_row, spread
from reports.test_html import Checker

from copick_tools.recipes.study_results import Usage
from copick_tools.reports.bench import bench_table, unique
from copick_tools.reports.study import bench_csv, bench_html, bench_markdown, plain

HOSTILE = 'a|b <script>alert("x")</script> *c* [d](e) `f` \x00 \u202e &amp; g\nh'


def cells(text):
    """Lines of the Markdown table as lists of cells."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def said(result):
    return " ".join(" ".join(Checker(bench_html(result)).words).split())


class TestMarkdown:
    def test_table(self):
        text = bench_markdown(bench_result())
        table = cells(text)
        assert text.startswith("**Benchmark.** task phantom; F4, rule kaggle; split test; 121 runs.\n\n|")
        assert table[0][:4] == ["recipe", "seeds", "score", "rank"]
        assert table[0][4:] == [
            *OBJECTS,
            "parameters (M)",
            "training (min)",
            "GPU memory (GiB)",
            "per tomogram (s)",
            "energy (kJ)",
        ]
        assert table[2][:5] == ["octopi", "3", "0.717 ± 0.012 [0.667, 0.757]", "1", "0.897 ± 0.012"]
        assert table[2][-5:] == ["3.26", "90.0", "21.0", "4.27", "1620"]
        assert table[5] == ["nnunet", "0", *["-"] * 13]
        assert table[6][0] == "*paper*"
        assert table[7][:5] == ["Octopi", "paper", "0.717", "", "0.896"]
        assert len({len(line) for line in table}) == 1
        assert "- nnunet: seed 0, train: out of memory" in text
        assert "Versions: copick-tools 1.0, torch 2.8.0." in text
        assert "Trained on NVIDIA H100" in text

    def test_columns_are_aligned(self):
        lines = [line for line in bench_markdown(bench_result()).splitlines() if line.startswith("|")]
        assert len({len(line) for line in lines}) == 1
        assert re.fullmatch(r"\| :-+ (\| -+: )+\|", lines[1])

    def test_simulated_data(self):
        text = bench_markdown(bench_result(simulated=True, runs=None))
        assert text.splitlines()[0].endswith("split test; simulated data.")
        assert "*paper: other data*" in text
        assert "other data, not comparable with the simulated ones here" in text

    def test_no_ranking_below_three_seeds(self):
        text = bench_markdown(bench_result([bench_row("a", 0.5, 2), bench_row("b", 0.6, 1)]))
        assert "rank" not in cells(text)[0]
        assert "Fewer than 3 seeds claim no ranking." in text
        both = bench_markdown(bench_result([bench_row("a", 0.5), bench_row("b", 0.6, 1)]))
        assert "Fewer than 3 seeds claim no ranking." in both
        assert "Rank: " in both
        assert [line[3] for line in cells(both)[2:4]] == ["1", "-"]
        assert "Fewer" not in bench_markdown(bench_result([bench_row("a", 0.5)]))

    def test_markup_is_shown(self):
        row = bench_row(HOSTILE, 0.5, errors=[HOSTILE], objects={HOSTILE: spread(0.5)})
        result = bench_result([row], notes=[HOSTILE], paper={HOSTILE: {"score": 0.5}}, versions={HOSTILE: HOSTILE})
        text = bench_markdown(result)
        assert "<" not in text
        assert "\x00" not in text
        assert "\u202e" not in text
        assert len({len(line) for line in cells(text)}) == 1
        assert cells(text)[2][0].startswith("a\\|b &lt;script>")

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("snake_case", "snake_case"),
            ("_x_", r"\_x\_"),
            ("a\n b", "a b"),
            ("[0.1, 0.2]", "[0.1, 0.2]"),
            ("[x](y)", r"\[x\](y)"),
            ("a\\|b", r"a\\\|b"),
            ("&lt;", "&amp;lt;"),
        ],
    )
    def test_plain(self, text, shown):
        assert plain(text) == shown


class TestColumns:
    def header(self, *changed):
        return bench_table(bench_result([bench_row(f"r{i}", 0.5, **more) for i, more in enumerate(changed)])).header

    def test_without_a_gpu(self):
        used = Usage(seconds=100, memory=2**31, device="CPU")
        header = self.header({"train": used})
        assert "memory (GiB)" in header
        assert "GPU memory (GiB)" not in header
        assert "energy (kJ)" not in header
        assert "training (s)" in header

    def test_nothing_measured(self):
        header = self.header({"train": None, "parameters": None, "seconds_per_run": None})
        assert header == ("recipe", "seeds", "score", "rank", *OBJECTS)

    def test_several_devices(self):
        one, other = (Usage(seconds=20_000, device=name) for name in ("A100", "H100"))
        assert self.header({"train": one}, {"train": other})[-1] == "device"
        assert "training (h)" in self.header({"train": one}, {"train": other})
        text = bench_markdown(bench_result([bench_row("a", 0.5, train=one), bench_row("b", 0.5, train=other)]))
        assert "compare only on the same one" in text
        assert len({len(line) for line in cells(text)}) == 1

    def test_other_columns_of_the_paper(self):
        paper = {"1st place": {"score": 0.8, "precision": 0.7, "recall": 0.9}}
        result = bench_result([bench_row("a", 0.5, objects={"motor": spread(0.5, 0.6)})], paper=paper)
        assert bench_table(result).header[4:7] == ("motor", "precision", "recall")
        assert cells(bench_markdown(result))[-1][:7] == ["1st place", "paper", "0.800", "", "-", "0.700", "0.900"]


class TestCsv:
    def test_all_numbers_in_full(self):
        result = bench_result()
        found = {row["recipe"]: row for row in rows(bench_csv(result))}
        octopi = found["octopi"]
        assert float(octopi["score.sd"]) == result.rows[0].score.sd
        assert float(octopi["score.seed 2"]) == result.rows[0].score.values[2]
        assert float(octopi["object.ribosome"]) == result.rows[0].objects["ribosome"].mean
        assert octopi["seeds"] == "0 1 2"
        assert octopi["parameters"] == "3259333"
        assert octopi["train.gpu_memory"] == str(21 * 2**30)
        assert octopi["train.energy"] == "1620000.0"
        assert found["nnunet"]["score"] == ""
        assert found["nnunet"]["errors"] == "seed 0, train: out of memory"

    def test_rows_of_the_paper_are_marked(self):
        found = rows(bench_csv(bench_result()))
        assert [row["source"] for row in found] == ["bench"] * 4 + ["paper"] * 2
        assert found[-1]["object.ribosome"] == "0.803"
        assert found[-1]["seeds"] == ""

    def test_hostile_text_stays_a_cell(self):
        [row] = rows(bench_csv(bench_result([bench_row(HOSTILE, 0.5)], paper={})))
        assert row["recipe"].startswith("a|b <script>")
        assert row["score"] == "0.5"


class TestPage:
    def test_content(self):
        words = said(bench_result())
        for text in (
            "Benchmark of phantom",
            "0.717 ± 0.012",
            "[0.667, 0.757]",
            "GPU memory (GiB)",
            "paper",
            "single seeds",
        ):
            assert text in words
        for text in ("Simulated data", "Fewer than 3 seeds"):
            assert text not in words
        assert "nnunet : seed 0, train: out of memory" in words
        page = bench_html(bench_result())
        assert page.count('class="hollow" cx') == 9 + 1  # and the key
        assert "octopi, seed 2: 0.729" in page
        assert "http" not in page
        assert len(page) < 40_000

    def test_simulated(self):
        words = said(bench_result(simulated=True))
        assert "Simulated data: these scores say nothing about real tomograms." in words
        assert "paper: other data" in words

    def test_markup_is_shown(self):
        row = bench_row(HOSTILE, 0.5, errors=[HOSTILE], objects={HOSTILE: spread(None)})
        page = bench_html(
            bench_result([row, row], notes=[HOSTILE], task=HOSTILE, metric=HOSTILE, versions={"a": HOSTILE})
        )
        assert "<script>alert" not in page
        assert "\x00" not in page
        Checker(page)


@pytest.mark.parametrize("write", [bench_markdown, bench_csv, bench_html])
@pytest.mark.parametrize(
    "result",
    [
        bench_result(),
        bench_result([]),
        bench_result([bench_row("a", None, 2)], paper={}),
        bench_result([bench_row("a", 0.5, 1, objects={"x": spread(None)}, ci95=None)]),
        bench_result([bench_row("a", None, 0, objects={}, ci95=None, train=None, errors=["x"] * 3)], runs=None),
        bench_result([bench_row("a", 0.5).model_copy(update={"score": spread(0.5, None, 0.7)})]),
        bench_result([bench_row("a", 0.0), bench_row("a", 1.0)], notes=[], versions={}),
    ],
    ids=["usual", "empty", "undefined", "object undefined", "errors", "seed undefined", "same name"],
)
def test_odd_ones(write, result):
    text = write(result)
    assert text == write(result)
    assert not re.search(r"\bnan\b|None", text)


def test_names_that_can_be_told_apart():
    assert unique(["a", "a", "a (2)", "b"]) == ["a", "a (2)", "a (2) (2)", "b"]
    assert unique([]) == []

"""docs/benchmarks.md and what writes it: blocks are replaced, prose stays, every block has its command. Nothing is timed."""

import importlib
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDER, DOCUMENT = ROOT / "benchmarks", ROOT / "docs" / "benchmarks.md"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the benchmarks aren't part of this copy")
TEXT = """# Benchmarks

Before.

<!-- one.py -->
| old | 1 |
<!-- end -->

Between.
<!-- two.py --fast -->
<!-- end -->
"""
HEAVY = {"torch", "copick", "monai", "scipy", "pandas", "zarr", "cc3d", "copick_tools", "click"}


@pytest.fixture
def module(monkeypatch):
    """Import one of the benchmarks by name."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


@pytest.fixture
def document(module):
    return module("document")


@pytest.fixture
def common(module):
    return module("common")


@pytest.fixture
def page(tmp_path, document, monkeypatch):
    """A document beside scripts that print, and one that fails after it printed."""
    (tmp_path / "one.py").write_text("print('| new | 2 |')")
    (tmp_path / "two.py").write_text("import sys; print('half a table'); sys.exit('no luck')")
    (tmp_path / "page.md").write_text(TEXT)
    monkeypatch.setattr(document, "ROOT", tmp_path)
    blocks = (document.Block("one.py"), document.Block("two.py --fast"))
    monkeypatch.setattr(document, "BLOCKS", blocks)
    return tmp_path / "page.md"


def call(document, monkeypatch, *arguments):
    """The exit code of document.py, or what it says."""
    monkeypatch.setattr("sys.argv", ["document.py", *map(str, arguments)])
    try:
        return document.main()
    except SystemExit as stopped:
        return stopped.code


# ---- replacing ------------------------------------------------------------------------------------------------------
def test_a_block_is_replaced_and_all_else_stays(document):
    found = document.replaced(TEXT, "one.py", "\n| new | 2 |\n| newer | 3 |\n\n")
    assert found == TEXT.replace("| old | 1 |", "| new | 2 |\n| newer | 3 |")
    assert document.replaced(found, "one.py", "| old | 1 |") == TEXT


def test_an_empty_block_is_filled(document):
    assert document.replaced(TEXT, "two.py --fast", "x").endswith("<!-- two.py --fast -->\nx\n<!-- end -->\n")


@pytest.mark.parametrize(
    ("text", "marker", "words"),
    [
        (TEXT, "two.py", "no line '<!-- two.py -->'"),
        (TEXT + TEXT, "one.py", "more than one line '<!-- one.py -->'"),
        (TEXT.replace("<!-- end -->", "", 1), "one.py", "no line '<!-- end -->' after '<!-- one.py -->'"),
        ("<!-- one.py -->\n", "one.py", "no line '<!-- end -->' after '<!-- one.py -->'"),
    ],
)
def test_what_is_wrong_with_a_marker_is_said(document, text, marker, words):
    with pytest.raises(document.MarkerError, match=f"^{re.escape(words)}$"):
        document.replaced(text, marker, "x")


def test_a_missing_marker_stops_before_anything_runs(document, page, monkeypatch):
    monkeypatch.setattr(document, "BLOCKS", (*document.BLOCKS, document.Block("three.py")))
    monkeypatch.setattr(document, "run", lambda block: pytest.fail("ran"))
    assert call(document, monkeypatch, "--document", page) == f"{page}: no line '<!-- three.py -->'"
    assert page.read_text() == TEXT


def test_a_failed_script_keeps_its_old_block_and_the_others_go_on(document, page, monkeypatch, capfd):
    monkeypatch.setattr(document, "BLOCKS", document.BLOCKS[::-1])
    old = page.read_text().replace("--fast -->\n", "--fast -->\nas it was\n")
    page.write_text(old)
    assert call(document, monkeypatch, "--document", page) == 1
    assert page.read_text() == old.replace("| old | 1 |", "| new | 2 |")
    words = capfd.readouterr().err
    assert "no luck" in words
    assert "two.py --fast: failed (exit 1), its old block stays" in words
    assert words.endswith("failed: two.py --fast\n")
    assert sorted(path.name for path in page.parent.iterdir()) == ["one.py", "page.md", "two.py"]


def test_a_script_that_says_nothing_has_failed(document, page, monkeypatch, capfd):
    (page.parent / "one.py").write_text("print()")
    assert call(document, monkeypatch, "--document", page, "one") == 1
    assert page.read_text() == TEXT
    assert "it printed nothing" in capfd.readouterr().err


def test_some_are_asked_for_by_name(document, page, monkeypatch):
    assert call(document, monkeypatch, "--document", page, "one") == 0
    assert "| new | 2 |" in page.read_text()
    assert "half a table" not in page.read_text()


def test_an_unknown_name_is_wrong_usage(document, page, monkeypatch, capsys):
    assert call(document, monkeypatch, "--document", page, "won") == 2
    assert "no benchmark 'won'; there are one, " in capsys.readouterr().err


def test_what_this_machine_lacks_is_skipped_and_named(document, page, module, monkeypatch, capsys):
    monkeypatch.setattr(module("peers"), "HOME", page.parent / "peers")
    monkeypatch.setattr(document, "has_cuda", lambda: False)
    block = document.Block("one.py", peers=("octopi",), files=("best.ckpt",), gpu=True)
    monkeypatch.setattr(document, "BLOCKS", (block,))
    assert call(document, monkeypatch, "--document", page) == 0
    assert page.read_text() == TEXT
    assert capsys.readouterr().err == (
        "one.py: skipped, octopi is not installed (python benchmarks/peers.py octopi); "
        "no best.ckpt (made by python benchmarks/calibration.py); no CUDA device\n"
    )
    monkeypatch.setattr(document, "BLOCKS", (document.Block("one.py", peers=("octopi",)),))
    assert call(document, monkeypatch, "--document", page, "--without-peers") == 0
    assert "| new | 2 |" in page.read_text()


def test_a_block_may_have_a_name_and_run_popsicle(document):
    block = document.Block("popsicle bench a.yaml", name="families")
    assert block.marker == "families"
    assert Path(block.arguments()[0]).name == "popsicle"
    assert block.arguments()[1:] == ["bench", "a.yaml"]


# ---- the document ---------------------------------------------------------------------------------------------------
def test_every_block_of_the_document_has_its_script_and_its_command_above(document):
    text = DOCUMENT.read_text(encoding="utf-8")
    above = dict(re.findall(r"```\n(?:\w+=\S+ )*(?:python )?([^\n]+)\n```\n\n<!-- ([^\n]+) -->\n", text))
    assert {marker: command for command, marker in above.items()} == {b.marker: b.command for b in document.BLOCKS}
    assert len(above) == len(re.findall(r"^<!-- (?!end)", text, re.MULTILINE)) == len(document.BLOCKS)
    for block in document.BLOCKS:
        assert document.replaced(text, block.marker, "x") != text
        first = shlex.split(block.command)[0]
        assert first == "popsicle" or (ROOT / first).is_file()


def test_every_script_has_a_block(document):
    parts = {"common.py", "document.py", "label_volumes.py", "peers.py"}
    scripts = {path.name for path in FOLDER.glob("*.py")} - parts
    assert scripts == {Path(shlex.split(block.command)[0]).name for block in document.BLOCKS} - {"popsicle"}


def test_blocks_say_when_and_where():
    text = DOCUMENT.read_text(encoding="utf-8")
    for marker, body in re.findall(r"<!-- (?!end)([^\n]+) -->\n(.*?)<!-- end -->", text, re.DOTALL):
        assert re.search(r"^Measured 20\d\d-\d\d-\d\d[;, ]|^Not measured", body, re.MULTILINE), marker


def test_help_needs_no_heavy_imports():
    """All scripts in one process, one after another."""
    code = f"""
import contextlib, io, json, runpy, sys
sys.path.insert(0, {str(FOLDER)!r})
said = {{}}
for path in {[str(path) for path in sorted(FOLDER.glob("*.py")) if path.name != "common.py"]!r}:
    sys.argv = [path, "--help"]
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            runpy.run_path(path, run_name="__main__")
    except SystemExit as stopped:
        said[path] = [stopped.code, out.getvalue()[:6]]
print(json.dumps([said, sorted({HEAVY!r} & set(sys.modules))]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said, loaded = json.loads(done.stdout)
    assert set(map(tuple, said.values())) == {(0, "usage:")}
    assert len(said) == len(list(FOLDER.glob("*.py"))) - 1
    assert loaded == []


# ---- what scripts write with ----------------------------------------------------------------------------------------
def test_a_table_and_its_ratios(common):
    rows = common.costs({"ours": (0.5, 10.4, "more"), "a peer": [12.3, -0.2], "not installed": None}, 0.5)
    assert common.table(common.COSTS, rows).splitlines() == [
        "| | CPU | CPU / ours | memory |",
        "|---|---|---|---|",
        "| ours | 0.50 s | 1 | 10 MiB |",
        "| a peer | 12.3 s | 24.6 | 0 MiB |",
        "| not installed | - | - | - |",
    ]
    assert [common.ratio(value, 2) for value in (400, 25, 3, 2, 1, None)] == ["200", "12.5", "1.50", "1", "0.50", "-"]
    assert common.ratio(1, 0) == common.ratio(1, None) == "-"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("model name : AMD EPYC 7R13 48-Core Processor\nflags : fpu avx512f\n", "AMD EPYC 7R13"),
        ("model name\t: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz\n", "Intel Xeon Platinum 8481C"),
    ],
)
def test_a_processor_in_words(common, text, name):
    assert common.processor(text)[0] == name
    assert ("avx512f" in common.processor(text)[1]) == ("avx512f" in text)
    assert common.processor("")[0]


def test_the_line_under_the_tables_names_no_host(common):
    line = common.provenance(["numpy"], "", "one call", gpu="NVIDIA H100")
    assert re.fullmatch(
        r"Measured 20\d\d-\d\d-\d\d; .+ cores?, .+, NVIDIA H100; numpy \S+, python \S+; one call\.", line
    )
    assert common.platform.node() not in line


def test_what_is_not_installed_has_the_command_that_installs_it(common, module):
    how = {"octopi": module("peers").how("octopi")}
    assert common.missing(how, how) == "octopi isn't installed here: `python benchmarks/peers.py octopi`."


def test_only_peers_installs():
    for path in FOLDER.glob("*.py"):
        assert path.name == "peers.py" or not re.search(r'"(-m )?pip"|venv\.create', path.read_text()), path.name

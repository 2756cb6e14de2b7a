"""Paths that can't be meant."""

import pytest


@pytest.mark.parametrize(
    "arguments",
    [
        ("simulate", "phantom", "--out", ""),
        ("train", "phantom-sim/tiny", "-c", "", "--out", "x"),
        ("localize", "", "tomogram.mrc", "--out", "picks.star"),
        ("report", "folder", "--out="),
    ],
)
def test_an_empty_word_is_no_path(popsicle, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    assert "a path can't be empty" in popsicle(*arguments, code=2).stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "command", [("simulate", "phantom"), ("learning-curve", "phantom-sim/tiny", "-c", "p", "--dry-run")]
)
def test_a_file_where_a_folder_belongs(popsicle, tmp_path, command):
    (tmp_path / "file").write_text("of somebody")
    assert "is a file" in popsicle(*command, "--out", tmp_path / "file", code=2).stderr
    assert (tmp_path / "file").read_text() == "of somebody"

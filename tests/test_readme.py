"""The README's commands parse, its links lead somewhere, and what it shows is what there is."""

import re
import shlex
from pathlib import Path

import click
import pytest

from copick_tools.cli.main import COMMANDS, popsicle
from copick_tools.engines.registry import FAMILIES

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands():
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        blocks = "\n".join(re.findall(r"```\w*\n(.*?)```", text, re.DOTALL))
        lines = [line.split(" #")[0].strip() for line in blocks.splitlines()]
        lines += re.findall(r"`(popsicle [^`]+)`", text.replace("\n", " "))
        yield from (part.strip() for line in lines for part in line.split("&&") if part.strip().startswith("popsicle "))


@pytest.mark.parametrize("line", sorted(set(commands())))
def test_commands_parse(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COPICK_CONFIG", "copick.json")
    arguments = shlex.split(line)[1:]
    if "FILE|DIR" in line or not arguments:
        return
    context = click.Context(popsicle)
    command = popsicle.get_command(context, arguments[0])
    assert command is not None, line
    rest = arguments[1:]
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        name, rest = rest[0], rest[1:]
        command = command.get_command(context, name)
        assert command is not None, line
    assert command.make_context("popsicle", rest)


def test_every_command_is_named():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"popsicle {name}" not in text and f"make {name}" not in text] == []


@pytest.mark.parametrize("document", ["README.md", "docs/families.md"])
def test_every_family_has_a_row(document):
    rows = re.findall(r"^\| `([\w-]+)` \|", (ROOT / document).read_text(encoding="utf-8"), re.MULTILINE)
    assert [name for name in FAMILIES if name not in rows] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links(document):
    for target in re.findall(r"\]\(([^)#]+)", document.read_text(encoding="utf-8")):
        assert target.startswith("http") or (document.parent / target).exists(), target

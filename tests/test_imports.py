"""Start-up stays light: what a command doesn't need, it doesn't import."""

import subprocess
import sys

import pytest

from copick_tools.cli.main import COMMANDS

HEAVY = ("torch", "monai", "copick", "numpy", "zarr", "pandas", "pydantic", "scipy")


TORCH_FREE = (
    *("evaluate", "evaluate_segmentations", "evaluate_instances", "consensus", "score", "submit"),
    *("pick", "targets", "report", "simulate", "simulate_organelles", "importing"),
    *("manifest", "split", "semantic_instances", "review", "annotate"),
)


def loaded(code, *modules):
    check = f"import sys; {code}; print(*[m for m in {modules!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", check], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_the_command_itself_is_light():
    assert loaded("import copick_tools.cli.main", *HEAVY) == []


def test_help_imports_nothing_heavy():
    code = "from copick_tools.cli.main import popsicle; popsicle(['--help'], standalone_mode=False)"
    assert (
        loaded(f"import io, contextlib\nwith contextlib.redirect_stdout(io.StringIO()): exec({code!r})", *HEAVY) == []
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_module_is_light(name):
    module = COMMANDS[name][1].partition(":")[0]
    assert loaded(f"import {module}", *HEAVY) == []


def test_torch_free_verbs():
    modules = [f"copick_tools.workflows.{verb}" for verb in TORCH_FREE]
    assert loaded(f"import {', '.join(modules)}", "torch", "monai", "accelerate") == [], "import them one by one"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_one_line_of_help_is_the_commands_own(name):
    from importlib import import_module

    module, _, attribute = COMMANDS[name][1].partition(":")
    command = getattr(import_module(module), attribute)
    assert command.help
    assert COMMANDS[name][2].endswith(".")


def test_plugins_of_copick_are_real_commands():
    from importlib.metadata import entry_points

    import click

    found = {
        point.name: point.load()
        for group in ("download", "training", "inference", "evaluation")
        for point in entry_points(group=f"copick.{group}.commands")
        if point.name.startswith("popsicle-")
    }
    assert set(found) == {
        "popsicle-fetch",
        "popsicle-train",
        "popsicle-segment",
        "popsicle-localize",
        "popsicle-embed",
        "popsicle-pick",
        "popsicle-calibrate",
        "popsicle-evaluate",
        "popsicle-score",
        "popsicle-submit",
        "popsicle-search",
        "popsicle-robustness",
        "popsicle-learning-curve",
        "popsicle-instances",
        "popsicle-review",
        "popsicle-annotate",
        "popsicle-consensus",
        "popsicle-bench",
    }
    assert all(isinstance(command, click.Command) for command in found.values())

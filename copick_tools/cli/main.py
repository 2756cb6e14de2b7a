"""The command ``popsicle``."""

from __future__ import annotations

import click

from copick_tools import __version__
from copick_tools.cli.base import CONTEXT, LazyGroup

COMMANDS = {
    "tasks": ("Look", "copick_tools.cli.tasks:tasks", "Benchmark tasks: splits, objects, how they are scored."),
    "models": ("Look", "copick_tools.cli.models:models", "Model families: sizes, licenses, what to install."),
    "doctor": ("Look", "copick_tools.cli.doctor:doctor", "Versions, devices, extras, and what to install next."),
    "fetch": ("Prepare", "copick_tools.cli.fetch:fetch", "Bring data from the CryoET Data Portal or a Croissant here."),
    "simulate": ("Prepare", "copick_tools.cli.simulate:simulate", "Make a project of simulated tomograms."),
    "import": ("Prepare", "copick_tools.cli.importing:import_", "Make a project from tomogram files and picks."),
    "targets": ("Prepare", "copick_tools.cli.targets:targets", "Paint dense targets from picks."),
    "split": ("Prepare", "copick_tools.cli.split:split", "Train, val and test, or folds, without leaks."),
    "train": ("Model", "copick_tools.cli.train:train", "Train a model from a recipe."),
    "search": ("Model", "copick_tools.cli.search:search", "Search for a better recipe, by Bayesian optimization."),
    "segment": ("Predict", "copick_tools.cli.segment:segment", "Tomograms to segmentations."),
    "embed": ("Predict", "copick_tools.cli.embed:embed", "Slices encoded once, for models that are prompted."),
    "calibrate": (
        "Predict",
        "copick_tools.cli.calibrate:calibrate",
        "Learn thresholds on validation runs, calibrate scores.",
    ),
    "localize": ("Predict", "copick_tools.cli.localize:localize", "Tomograms straight to picks."),
    "pick": ("Predict", "copick_tools.cli.pick:pick", "Segmentations to picks."),
    "instances": (
        "Predict",
        "copick_tools.cli.instances:instances",
        "Semantic segmentations to instances: components, watershed, networks.",
    ),
    "annotate": (
        "Predict",
        "copick_tools.cli.annotate:annotate",
        "Instances by hand, in napari or in micro-SAM's annotator.",
    ),
    "review": (
        "Predict",
        "copick_tools.cli.review:review",
        "Instances to look at first, ranked, as picks; statistics.",
    ),
    "evaluate": ("Score", "copick_tools.cli.evaluate:evaluate", "Score picks or segmentations against a reference."),
    "score": ("Score", "copick_tools.cli.score:score", "Score a challenge's submission exactly as the challenge does."),
    "consensus": ("Score", "copick_tools.cli.consensus:consensus", "How far two annotators agree, and on what."),
    "submit": ("Score", "copick_tools.cli.submit:submit", "Picks to a challenge's submission file."),
    "robustness": (
        "Score",
        "copick_tools.cli.robustness:robustness",
        "What a model still finds in tomograms that are made worse.",
    ),
    "learning-curve": (
        "Score",
        "copick_tools.cli.learning_curve:learning_curve",
        "How a score grows with the number of annotated objects.",
    ),
    "bench": ("Score", "copick_tools.cli.bench:bench", "Recipes from training to one table; no step twice."),
    "report": ("Score", "copick_tools.cli.report:report", "One HTML file from evaluations."),
    "manifest": (
        "Share",
        "copick_tools.cli.manifest:manifest",
        "Croissant manifests: hashes, splits, licenses; and checking them.",
    ),
    "demo": ("Share", "copick_tools.cli.demo:demo", "The whole path on simulated data, in minutes."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="popsicle")
def popsicle() -> None:
    """CryoET machine learning on copick: where are the particles, what is which compartment.

    Commands that work on a project take it by -c/--config or the variable COPICK_CONFIG.
    """


def main() -> None:
    """Entry point."""
    popsicle(prog_name="popsicle")

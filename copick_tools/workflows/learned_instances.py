"""The thresholds of instances that `calibrate` learned, where `segment` looks for them, and whether they fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from copick_tools.errors import NotFoundError, PopsicleError, UsageError
from copick_tools.recipes.instance_thresholds import InstanceThresholds, mode_of
from copick_tools.recipes.load import parse, read_yaml
from copick_tools.recipes.recipe import Recipe
from copick_tools.workflows.predict import NONE, Options, identity
from copick_tools.workflows.prompting import Asked
from copick_tools.workflows.segment_instances import set_parts

INSTANCE_THRESHOLDS = "instance-thresholds.yaml"


@dataclass(frozen=True)
class Learned:
    """settings: as ``-s`` takes them, to be put before those that were typed. words: for a person, None for nothing to say."""

    settings: tuple[str, ...] = ()
    words: str | None = None


def read_thresholds(path: Path) -> InstanceThresholds:
    """A file that `calibrate` wrote. Raises FormatError, NotFoundError."""
    return parse(InstanceThresholds, read_yaml(path), where=str(path))


def learned_instances(checkpoint: Path, recipe: Recipe, options: Options, asked: Asked) -> Learned:
    """What is used with a checkpoint: a file's, or what lies beside it and was learned with the same way of prompting.

    Raises NotFoundError, FormatError, PopsicleError (learned with another checkpoint), UsageError (a given file that doesn't fit).
    """
    given = options.instance_thresholds
    if given == "":
        raise UsageError("--thresholds is empty", "a file, or none")
    path = checkpoint.with_name(INSTANCE_THRESHOLDS) if given is None else Path(given)
    if given == NONE or options.others or (given is None and not path.is_file()):
        return Learned()
    if not path.is_file():
        raise NotFoundError(f"no file {path}", "popsicle calibrate makes thresholds; --thresholds none does without")
    found = read_thresholds(path)
    if found.checkpoint != identity(checkpoint, options):
        raise PopsicleError(
            f"{path} was learned with another checkpoint than {checkpoint}",
            "run popsicle calibrate again; --thresholds none uses the recipe's",
        )
    reason = _other(found, recipe, options.instances, asked)
    if reason is None:
        return Learned(found.told, _words(path, found.told, options.instances))
    if given is None:
        return Learned(words=f"{path} isn't used: {reason}")
    raise UsageError(f"{path} doesn't fit: {reason}", "popsicle calibrate with the same options, or --thresholds none")


def promptable_of(asked: Asked) -> str | None:
    """What answers prompts, so that it is known again: the hash of its weights, or an oracle's name; None for the checkpoint itself."""
    if asked.model is None or asked.oracle is not None:
        return None if asked.model is None else str(asked.model)
    from copick_tools.training.checkpoint import weights_hash

    return weights_hash(Path(asked.model))


def _other(found: InstanceThresholds, recipe: Recipe, settings: Sequence[str], asked: Asked) -> str | None:
    """What was different in learning; None where all is as it was."""
    promptable = promptable_of(asked)
    mode = mode_of(set_parts(recipe, settings)[1], promptable)
    if mode != found.mode:
        return f"it was learned with {_by(found.mode)}, and this is {_by(mode)}"
    if mode is not None and promptable != found.promptable:
        return "it was learned with another model to answer prompts"
    return None


def _by(mode: str | None) -> str:
    return "no prompts" if mode is None else f"prompting.mode={mode}"


def _words(path: Path, told: Sequence[str], settings: Sequence[str]) -> str:
    """Which of the settings are used, and which others were typed instead."""
    typed = {setting.partition("=")[0] for setting in settings}
    used = [setting for setting in told if setting in settings or setting.partition("=")[0] not in typed]
    replaced = [setting.partition("=")[0] for setting in told if setting not in {*used, *settings}]
    more = f"; -s replaces {', '.join(replaced)}" if replaced else ""
    return f"instances as learned ({path}): {', '.join(used) or 'nothing of it'}{more}"

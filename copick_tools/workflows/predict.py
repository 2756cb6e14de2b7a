"""What `segment`, `localize` and `calibrate` share: a checkpoint, opened on a device and applied to one tomogram."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from copick_tools import __version__
from copick_tools.data.hashing import file_hash, text_hash
from copick_tools.engines import registry
from copick_tools.errors import FormatError, NotFoundError, PopsicleError, UsageError
from copick_tools.recipes import picking
from copick_tools.recipes.load import parse, read_yaml
from copick_tools.recipes.recipe import WAY, Pick
from copick_tools.recipes.rules import particles
from copick_tools.recipes.thresholds import Setting, Thresholds
from copick_tools.volumes.extraction import Found, Particle, from_probabilities
from copick_tools.volumes.instances import instances
from copick_tools.volumes.normalize import Volume

if TYPE_CHECKING:
    from copick_tools.inference.extract import MakeSample, Prediction, Wanted
    from copick_tools.training.checkpoint import Card

THRESHOLDS = "thresholds.yaml"
NONE = "none"  # instead of a file of thresholds: the recipe's
FRACTIONS = ("threshold", "min_score", "merge")


@dataclass(frozen=True)
class Options:
    """What the caller says instead of the recipe; None leaves it. Pickles, for several devices open the same checkpoint.

    pick: fields of `Pick`. tiling: overlap, tta, batch_size, compile. others: checkpoints whose probabilities are averaged
    with those of the first, which says how to pick. beta: of the learned thresholds; None: the task's.
    instances: ``instances.KEY=VALUE`` of the recipe. plain: the tomograms are files, for which beta 1 is used unless given. thresholds: a file, ``none`` for the recipe's own,
    None for thresholds.yaml beside the checkpoint where it is there, and for several checkpoints for the recipe's own.
    instance_thresholds: likewise, of instances, for instance-thresholds.yaml.
    """

    pick: Mapping[str, Any] = field(default_factory=dict)
    tiling: Mapping[str, Any] = field(default_factory=dict)
    beta: float | None = None
    thresholds: str | None = None
    plain: bool = False
    others: tuple[Path, ...] = ()
    instances: tuple[str, ...] = ()
    instance_thresholds: str | None = None

    @property
    def given(self) -> dict[str, Any]:
        """Fields of `Pick` that were given."""
        return {key: value for key, value in self.pick.items() if value is not None}


@dataclass(frozen=True)
class Model:
    """A checkpoint, ready: its predictor, its card, and how each object is picked.

    learned: the thresholds that it is picked with, None for the recipe's. paths: of all its checkpoints. identity: see
    `identity`.
    """

    predictor: Any
    card: Card
    pick: Pick
    settings: Mapping[str, Pick]
    paths: tuple[Path, ...]
    identity: str
    learned: Setting | None = None

    @classmethod
    def open(cls, checkpoint: Path, device: str = "auto", options: Options = Options()) -> Model:
        """Raises NotFoundError, FormatError, UsageError; PopsicleError for thresholds of another checkpoint."""
        from copick_tools.training.checkpoint import read_card

        card = read_card(checkpoint)
        pick = changed(card.recipe.pick, options.given)
        learned = learned_setting(checkpoint, card, options)
        names = [particle.name for particle in particles(card.task, card.recipe.target)]
        settings: dict[str, Pick] = dict.fromkeys(names, pick)
        if learned is not None:
            if lacking := sorted(set(names) - set(learned.objects)):
                raise FormatError(f"the thresholds lack {', '.join(lacking)}", "make them again: popsicle calibrate")
            settings = {name: changed(learned.objects[name], options.given) for name in names}
        paths = (checkpoint, *options.others)
        members = [_tiling(registry.load(path, device), options.tiling) for path in paths]
        return cls(_together(members), card, pick, settings, paths, identity(checkpoint, options), learned)

    @property
    def several(self) -> bool:
        """Whether it is an ensemble."""
        return len(self.paths) > 1

    @property
    def particles(self) -> list[Particle]:
        """What it picks. Raises UsageError for a model of compartments."""
        found = particles(self.card.task, self.card.recipe.target)
        if not found:
            raise UsageError(f"the model of task {self.card.task.name} segments compartments: use popsicle segment")
        return found

    def predict(
        self, volume: Volume, voxel_spacing: float, where: str, *, wanted: Wanted, sample: MakeSample | None = None
    ) -> Prediction:
        """See `inference.extract.predict`."""
        from copick_tools.inference.extract import predict

        return predict(self.predictor, volume, voxel_spacing, wanted, where, sample)

    @property
    def for_labels(self) -> Wanted:
        """What a label volume needs."""
        from copick_tools.inference.extract import Wanted

        return Wanted(self.pick.threshold)

    @property
    def for_picks(self) -> Wanted:
        """What `candidates` needs."""
        from copick_tools.inference.extract import Wanted

        return Wanted.for_picks(self.settings, self.particles)

    def candidates(self, prediction: Prediction) -> dict[str, Found]:
        """The picks of every particle that the model knows, zyx in voxels of the prediction, best first."""
        how = picking.extractions(self.settings)
        found = from_probabilities(prediction.probabilities, self.particles, prediction.voxel_spacing, how)
        return picking.chosen(found, self.particles, self.settings, prediction.voxel_spacing)

    def instances(self, prediction: Prediction, found: Mapping[str, Found]) -> Volume:
        """Which voxels are of which pick; see `volumes.instances`. found: picks of some of the particles."""
        shown, how = [p for p in self.particles if p.name in found], picking.extractions(self.settings)
        return instances(prediction.probabilities, found, shown, prediction.voxel_spacing, how)


def changed(pick: Pick, given: Mapping[str, Any]) -> Pick:
    """With some fields replaced. Raises UsageError for values out of range."""
    for key, value in given.items():
        if key in FRACTIONS and not 0 <= value <= 1:
            raise UsageError(f"--{key.replace('_', '-')} {value:g} isn't between 0 and 1")
        least = given.get("min_volume")
        if key == "max_volume" and least is not None and value < least:
            raise UsageError(f"--max-volume {value:g} is below --min-volume {least:g}")
    values = {**pick.model_dump(), **given}
    for key, other in (("min_volume", "max_volume"), ("max_volume", "min_volume")):
        if key in given and other not in given and _crossed(values):
            values[other] = None if other == "max_volume" else 0.0  # the one that was asked for counts
    try:
        return parse(type(pick), values, where="--")
    except FormatError as error:
        raise UsageError(error.message.replace("--: ", "--").replace("_", "-"), error.hint) from error


def _crossed(values: Mapping[str, Any]) -> bool:
    return values["max_volume"] is not None and values["max_volume"] < values["min_volume"]


def learned_setting(checkpoint: Path, card: Card, options: Options) -> Setting | None:
    """The thresholds that picks are made by, None for the recipe's. Says what doesn't fit them.

    Raises NotFoundError, FormatError, UsageError, PopsicleError as `learned_thresholds`.
    """
    replaced = [f"--{key.replace('_', '-')}" for key in WAY if key in options.given]
    if replaced and options.thresholds not in (None, NONE):
        raise UsageError(f"--thresholds doesn't go with {replaced[0]}", f"{replaced[0]} replaces all that was learned")
    learned = None if replaced else learned_thresholds(checkpoint, options)
    if learned is None:
        if options.beta is not None:
            why = f"{replaced[0]} replaces them" if replaced else "there are none"
            raise UsageError(f"--beta chooses among learned thresholds, and {why}", "popsicle calibrate learns them")
        return None
    usual = 1.0 if options.plain else card.task.metric.beta
    return learned.setting(usual if options.beta is None else options.beta)


def scored_by(checkpoint: Path, options: Options) -> tuple[str, str]:
    """What scores are, ``calibrated`` or ``probability``, and a line for a person. Raises as `learned_setting`."""
    from copick_tools.training.checkpoint import read_card

    setting = learned_setting(checkpoint, read_card(checkpoint), options)
    if setting is None:
        return "probability", "thresholds are the recipe's; scores are mean probabilities, not calibrated"
    learned = f"thresholds were learned for F{setting.beta:g}"
    raw = [name for name, each in setting.objects.items() if each.calibration is None]
    if len(raw) == len(setting.objects):
        return "probability", f"{learned}; scores are mean probabilities, not calibrated"
    but = f", but of {', '.join(raw)} they are mean probabilities" if raw else ""
    return "calibrated", f"{learned}, scores are calibrated{but}"


def basis(checkpoint: Path, options: Options) -> Any:
    """What all picks of a checkpoint depend on, as JSON."""
    replaced = any(key in options.given for key in WAY)
    learned = None if replaced else learned_thresholds(checkpoint, options)
    return {
        "version": __version__,
        "checkpoint": identity(checkpoint, options),
        "options": [options.given, dict(options.tiling), options.beta, options.plain, options.thresholds],
        "thresholds": None if learned is None else learned.model_dump(mode="json"),
    }


def identity(checkpoint: Path, options: Options) -> str:
    """sha256 of a checkpoint's file; of several checkpoints: of theirs, in any order."""
    hashes = sorted(file_hash(path) for path in (checkpoint, *options.others))
    return hashes[0] if len(hashes) == 1 else text_hash("\n".join(hashes))


def learned_thresholds(checkpoint: Path, options: Options) -> Thresholds | None:
    """The thresholds to use with a checkpoint: a file's, or those beside it; None for none.

    Raises NotFoundError, FormatError, PopsicleError (those of another checkpoint).
    """
    chosen = NONE if options.thresholds is None and options.others else options.thresholds
    if chosen == "":
        raise UsageError("--thresholds is empty", "a file, or none")
    path = checkpoint.with_name(THRESHOLDS) if chosen is None else Path(chosen)
    if chosen == NONE or (chosen is None and not path.is_file()):
        return None
    if not path.is_file():
        raise NotFoundError(f"no file {path}", "popsicle calibrate makes thresholds; --thresholds none does without")
    found = parse(Thresholds, read_yaml(path), where=str(path))
    if found.checkpoint != identity(checkpoint, options):
        raise PopsicleError(
            f"{path} was learned with another checkpoint than {checkpoint}",
            "run popsicle calibrate again; --thresholds none uses the recipe's",
        )
    return found


def _together(members: list[Any]) -> Any:
    """One predictor of all. Raises UsageError where they can't be averaged."""
    from copick_tools.inference.ensemble import Ensemble

    return members[0] if len(members) == 1 else Ensemble.of(members)


def _tiling(predictor: Any, tiling: Mapping[str, Any]) -> Any:
    """The predictor, tiling as the caller says. Raises UsageError where that can't be said."""
    given = {key: value for key, value in tiling.items() if value is not None}
    if not given:
        return predictor
    if not 0 <= given.get("overlap", 0) < 1:
        raise UsageError(f"--overlap is {given['overlap']:g}, but has to be in [0, 1)")
    from copick_tools.inference.tiler import Tiled

    if not isinstance(predictor, Tiled):
        raise UsageError(f"this model family tiles by itself: {', '.join(sorted(given))} can't be set")
    try:
        return dataclasses.replace(predictor, **given)
    except ValueError as error:  # quarter turns of windows that aren't square
        raise UsageError(f"--tta {given.get('tta')}: {error}") from error

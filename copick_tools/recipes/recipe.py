"""One training: data, model, target, optimization, and how its output becomes picks."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from copick_tools.recipes.base import Strict
from copick_tools.recipes.prompting import Prompting

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
IGNORED = 255  # label of voxels that nobody annotated
Patch = tuple[Positive, Positive, Positive]
Tta = Literal[1, 2, 4, 8, 16, "turns"]


class Target(Strict):
    """What the network learns to predict."""

    kind: Literal["spheres", "gaussian", "segmentation", "distances", "flows", "boundary", "instances"] = Field(
        "spheres",
        description="spheres and gaussian: around picks; segmentation: stored labels; distances, flows, boundary: labels, and "
        "what tells instances apart; instances: the instances themselves, for families that predict masks",
    )
    radius_fraction: float = Field(0.5, gt=0, le=2, description="spheres: of the object's radius")
    sigma_fraction: float = Field(0.25, gt=0, le=1, description="gaussian: sigma, of the object's radius")
    uri: str | None = Field(None, description="of segmentations: copick URI; null: the task's reference")
    ignore_label: int | None = Field(
        IGNORED, ge=1, le=255, description="of segmentations: voxels left out of loss and score"
    )
    weight: float = Field(1.0, gt=0, description="distances, flows, boundary: of their loss beside that of the labels")
    across: bool = Field(
        False,
        description="flows: beside another object its heat counts as well, as in Cellpose's code; for weights that learned it",
    )
    region: str | None = Field(None, description="URI of a binary segmentation; outside nothing is annotated")


OWN = {  # keys of `instances` that mean something for some targets alone
    "center": ("distances",),
    "boundary": ("distances", "boundary"),
    "smoothing": ("distances", "flows"),
    "sink_distance": ("flows",),
    "flow_error": ("flows",),
}
INSTANCED = ("distances", "flows", "boundary", "instances")  # targets that tell instances apart


class Loss(Strict):
    """Loss on class probabilities, background included."""

    name: Literal["dice-ce", "tversky", "focal", "focal-tversky", "tversky-focal"] = "dice-ce"
    alpha: Fraction = Field(0.3, description="Tversky: weight of false positives; false negatives weigh 1 - alpha")
    gamma: float = Field(2.0, gt=0, description="focal: exponent; focal-tversky: loss^(1/gamma) per class")
    weight: Fraction = Field(0.5, description="tversky-focal: of Tversky; focal weighs 1 - weight")
    balanced: bool = Field(
        False,
        description="dice-ce: cross-entropy weighs each class by the inverse of how frequent it is in the batch, as Cellpose-SAM",
    )

    @model_validator(mode="after")
    def _has_entropy(self) -> Loss:
        if self.balanced and self.name != "dice-ce":
            raise ValueError(f"balanced is about the cross-entropy of dice-ce, and {self.name} has none")
        return self


class Optimizer(Strict):
    """Gradient descent."""

    name: Literal["adamw", "sgd"] = "adamw"
    lr: float = Field(1e-3, gt=0, description="peak learning rate")
    weight_decay: float = Field(1e-4, ge=0)
    momentum: float = Field(0.99, ge=0, lt=1, description="sgd: Nesterov momentum")
    clip: float | None = Field(12.0, gt=0, description="largest gradient norm; null: no clipping")
    schedule: Literal["cosine", "poly", "constant"] = "cosine"
    warmup: int = Field(0, ge=0, description="steps of linear warm-up")


class Augment(Strict):
    """Probabilities and sizes of the augmentations; all turns are about z, the beam axis."""

    flip_z: Fraction = Field(0.5, description="flips change the hand: 0 where orientation matters")
    flip_yx: Fraction = Field(0.5, description="of each in-plane axis")
    quarter_turn: Fraction = Field(0.5, description="90, 180 or 270 degrees")
    turn: Fraction = Field(0.0, description="any angle")
    contrast: float = Field(
        0.15, ge=0, lt=1, description="largest relative change of scale, and of offset in deviations"
    )
    noise: float = Field(0.2, ge=0, description="largest deviation of added noise")
    intensity: Fraction = Field(0.5, description="probability of contrast, and of noise")


class Train(Strict):
    """The optimization itself."""

    patch: Patch | None = Field(
        (64, 64, 64), description="zyx in voxels; inference uses the same. null: the family's planner chooses"
    )
    batch_size: Positive = Field(8, description="patches of a step, of all processes together")
    epochs: Positive = 100
    steps_per_epoch: Positive = 100
    background: Fraction = Field(0.1, description="share of patches placed anywhere; the rest is balanced over objects")
    seed: int = Field(0, ge=0)
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 where the hardware has it")
    ema: float = Field(0.99, ge=0, lt=1, description="decay of the averaged weights that are validated and kept")
    validate_every: Positive = Field(10, description="epochs")
    checkpoint_every: Positive = Field(100, description="steps between two writes of last.ckpt")
    cache: bool = Field(True, description="hold whole tomograms in memory; false: read each patch from disk")
    workers: int = Field(0, ge=0, description="processes that prepare patches")
    threads: int | None = Field(None, ge=1, description="torch threads; null: torch's choice")


class Inference(Strict):
    """Sliding-window prediction."""

    overlap: float = Field(0.25, ge=0, lt=1, description="of neighboring windows, as a fraction")
    batch_size: Positive = 4
    tta: Tta = Field(
        1,
        description="orientations that are averaged: 2 half turn about z, 4 in-plane flips, 8 all flips, 16 all flips "
        "and quarter turns about z; turns: the four quarter turns, which keep the hand",
    )


WAY = (
    "method",
    "threshold",
    "smoothing",
    "merge",
    "bandwidth",
)  # fields of Pick that make candidates; scores depend on them


class Pick(Strict):
    """How probabilities become picks; `popsicle calibrate` finds better values for each object."""

    method: Literal["components", "mean-pool", "mean-shift", "peaks", "watershed"] = "components"
    threshold: Fraction = Field(
        0.5,
        description="components, mean-shift, watershed: a voxel belongs to its likeliest object if 1 - P(background) "
        "reaches this; mean-pool, peaks: least probability of the object itself",
    )
    smoothing: float = Field(0.25, gt=0, le=1, description="peaks: sigma, of the radius of the ball that is looked for")
    bandwidth: float | None = Field(
        None,
        gt=0,
        le=100_000,
        description="mean-shift: angstrom, within which voxels attract each other, whatever their object; null: the "
        "radius of the largest ball that is looked for",
    )
    min_score: Fraction = Field(0.0, description="least score of a pick")
    min_volume: float = Field(0.1, ge=0, description="least volume, as a fraction of a whole particle's")
    max_volume: float | None = Field(10.0, gt=0, description="largest volume, likewise; null: none")
    merge: Fraction = Field(0.5, description="picks of an object nearer than this fraction of its radius are one")

    @model_validator(mode="after")
    def _volumes(self) -> Pick:
        if self.max_volume is not None and self.max_volume < self.min_volume:
            raise ValueError(f"max_volume {self.max_volume:g} is below min_volume {self.min_volume:g}")
        return self


class Instances(Strict):
    """How a network's output becomes instances, where its target tells them apart. Volumes in cubic nanometers."""

    foreground: Fraction = Field(0.5, description="least probability of not being background")
    center: Fraction = Field(
        0.5, description="distances: seeds are nearer to a center than this part of the largest distance"
    )
    boundary: Fraction = Field(
        0.5,
        description="distances: seeds are farther from the boundary, as 1 - this part of the largest distance; boundary: "
        "from this probability on a voxel is a boundary",
    )
    smoothing: float = Field(0.0, ge=0, le=20, description="distances, flows: sigma, in voxels, before they are used")
    sink_distance: float = Field(3.0, ge=0, description="flows: voxels; of places nearer than this one is a center")
    flow_error: float | None = Field(
        0.4, gt=0, description="flows: largest mean squared difference from the flows of an instance's shape; null: any"
    )
    min_volume: float = Field(0.0, ge=0, description="nm3; smaller instances are left out")
    max_volume: float | None = Field(None, gt=0, description="nm3; larger ones are left out; null: none is")
    max_size_fraction: float = Field(
        1.0, gt=0, le=1, description="of the tomogram, the most that one instance may fill"
    )
    whole: tuple[str, ...] = Field(
        (),
        description="objects that are never cut, as those that the task calls networks: what hangs together is one; for what "
        "is much larger than a patch",
    )
    join: float = Field(0.0, ge=0, le=1e6, description="networks, whole: nm; fragments that near hang together")
    views: Literal["averaged", "stitched"] = Field(
        "averaged",
        description="family slices: flows in XY, XZ and YZ are averaged, or instances of XY slices are stitched together",
    )
    stitch: Fraction = Field(0.25, description="stitched: least IoU of instances in neighboring slices that are one")

    @model_validator(mode="after")
    def _volumes(self) -> Instances:
        if self.max_volume is not None and self.max_volume < self.min_volume:
            raise ValueError(f"max_volume {self.max_volume:g} is below min_volume {self.min_volume:g}")
        return self


class Recipe(Strict):
    """One YAML of configs/recipes."""

    task: str = Field(description="a shipped task or the path of a YAML")
    input: str = Field(description="copick URI of the tomograms")
    reference: str | None = Field(None, description="copick URI; null: the task's")
    voxel_spacing: float | None = Field(
        None, gt=0, description="angstrom, what tomograms are resampled to; null: as they are"
    )
    scaling: Literal["deviations", "percentiles"] = Field(
        "deviations",
        description="of intensities: mean 0 and deviation 1, extremes clipped; or by the 1st and 99th percentile, as Cellpose",
    )
    train_split: str = "train"
    train_runs: tuple[str, ...] | None = Field(None, min_length=1, description="only these of its runs; null: all")
    validation_split: str | None = Field("val", description="null: no validation, the last weights are kept")
    model: dict[str, Any] = Field(description="`family`, and that family's own settings")
    target: Target = Target()
    loss: Loss = Loss()
    optimizer: Optimizer = Optimizer()
    augment: Augment = Augment()
    train: Train = Train()
    inference: Inference = Inference()
    pick: Pick = Pick()
    instances: Instances = Instances()
    prompting: Prompting = Prompting()
    notes: tuple[str, ...] = Field((), description="what the sources leave open and was chosen here")

    @model_validator(mode="after")
    def _has_family(self) -> Recipe:
        if not isinstance(self.model.get("family"), str):
            raise ValueError("model needs a `family`")
        if self.misplaced:
            raise ValueError(self.misplaced)
        return self

    @property
    def misplaced(self) -> str | None:
        """What is wrong with keys of `instances` that have no meaning for this target; None for nothing."""
        for key, kinds in OWN.items():
            given = getattr(self.instances, key) != Instances.model_fields[key].default
            if given and self.instanced and self.target.kind not in kinds:
                return f"instances.{key} goes with target.kind {' or '.join(kinds)}, not {self.target.kind}"
        return None

    @property
    def planar(self) -> bool:
        """Whether the network sees single slices."""
        return self.train.patch is not None and self.train.patch[0] == 1

    @property
    def instanced(self) -> bool:
        """Whether the network tells instances apart."""
        return self.target.kind in INSTANCED

    @property
    def family(self) -> str:
        """The model family."""
        return str(self.model["family"])

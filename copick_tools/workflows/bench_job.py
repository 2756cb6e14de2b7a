"""One recipe with one seed of a benchmark run: train, calibrate, localize or segment, evaluate, each step once."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from copick_tools import __version__
from copick_tools.data import uris
from copick_tools.data.documents import read_document
from copick_tools.data.hashing import file_hash, text_hash
from copick_tools.data.locking import Busy, locked
from copick_tools.data.project import Project, open_project, write_text
from copick_tools.data.read import read_picks
from copick_tools.data.write import has_picks, has_segmentation
from copick_tools.engines.describe import describe_checkpoint
from copick_tools.errors import PopsicleError
from copick_tools.recipes.load import dump_yaml
from copick_tools.recipes.results import Evaluation, RunsResult
from copick_tools.recipes.rules import particles
from copick_tools.recipes.study_results import JobRecord, StepOutcome
from copick_tools.recipes.task import Task
from copick_tools.workflows.bench_scored import RESULTS, score
from copick_tools.workflows.children import Child, Interrupted, wait_for_former
from copick_tools.workflows.learned_instances import INSTANCE_THRESHOLDS
from copick_tools.workflows.predict import THRESHOLDS
from copick_tools.workflows.train import Plan, is_finished


@dataclass(frozen=True, eq=False)
class Job:
    """training: what to train, and where. runs: to score, those of ``split``. given: recipe and settings as typed."""

    name: str
    seed: int
    training: Plan
    project: Project
    task: Task
    split: str
    runs: tuple[str, ...]
    given: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Of the experiment."""
        return self.training.folder

    @property
    def checkpoint(self) -> Path:
        """Of the best weights."""
        return self.folder / "best.ckpt"

    @property
    def points(self) -> bool:
        """Whether picks are scored, or segmentations."""
        return self.task.metric.name == "fbeta"

    @property
    def calibrates(self) -> bool:
        """Whether thresholds can be learned."""
        return self.points and bool(self.training.data.validation)

    @property
    def of_instances(self) -> bool:
        """Whether instances are scored."""
        return self.task.metric.name == "instances"

    @property
    def predicts(self) -> list[str]:
        """The commands that predict: classes become instances by one of their own."""
        if self.points:
            return ["localize"]
        return ["segment"] if self.training.recipe.instanced or not self.of_instances else ["segment", "instances"]

    @property
    def steps(self) -> list[str]:
        """In order."""
        return ["train", *(["calibrate"] if self.calibrates else []), *self.predicts, "evaluate"]

    # What the steps are made of -------------------------------------------------------------------------------------

    @cached_property
    def weights(self) -> str:
        """Hash of the checkpoint; ask once it is trained."""
        return file_hash(self.checkpoint)

    @property
    def calibration_key(self) -> str:
        """What thresholds are made of."""
        return f"{self.weights} {self.training.recipe.input} {' '.join(self.training.data.validation)} {__version__}"

    @property
    def output(self) -> str:
        """Where predictions go: a session of this checkpoint, these thresholds and this version alone, never stale."""
        user = slug(self.name)
        if self.points:
            return f":{user}/{self._session}"
        return f"{slug(self.task.name)}:{user}/{self._session}?{'panoptic' if self.of_instances else 'multilabel'}=true"

    @property
    def _labels(self) -> str:
        """Where a network's classes go that become instances."""
        return self.output.replace("?panoptic", "?multilabel")

    @property
    def _uses_learned(self) -> bool:
        """Whether what `calibrate` learns is used."""
        return self.calibrates or (self.of_instances and self.training.recipe.instanced)

    def _written(self, step: str) -> str:
        """What a step that predicts writes."""
        return self._labels if len(self.predicts) > 1 and step == "segment" else self.output

    @property
    def _session(self) -> str:
        if not self.checkpoint.exists():
            return "SESSION"  # not known yet
        learned = self.folder / (INSTANCE_THRESHOLDS if self.of_instances else THRESHOLDS)
        thresholds = file_hash(learned) if self._uses_learned and learned.exists() else ""
        return text_hash(f"{self.weights} {thresholds} {__version__}")[:12]

    @property
    def evaluation_key(self) -> str:
        """What the scores are made of."""
        asked = text_hash(f"{self.task.model_dump_json()} {self.reference} {' '.join(self.runs)}")
        return f"{self.output} {asked} {self._truth} {__version__}"

    @property
    def reference(self) -> str:
        """What is scored against."""
        return self.training.recipe.reference or self.task.reference

    @cached_property
    def _truth(self) -> str:
        """Hash of the reference picks; of reference segmentations only the name counts."""
        if not self.points:
            return self.reference
        uri = uris.picks_uri(self.reference)
        found = {run: read_picks(self.project, run, [uri]) for run in self.runs}
        return text_hash(
            repr([(run, name, p.positions.tolist()) for run in found for name, p in sorted(found[run].items())])
        )

    # What is finished -----------------------------------------------------------------------------------------------

    def record(self) -> JobRecord:
        """What is known of the steps. Raises FormatError."""
        return read_document(self.folder / "steps.json", JobRecord, "remove it") or JobRecord()

    @property
    def parameters(self) -> int | None:
        """Of the network; None where it doesn't tell."""
        return self.record().parameters or describe_checkpoint(self.checkpoint).parameters

    @property
    def seen(self) -> list[str]:
        """Runs that are scored though the network was trained or chosen on them."""
        known = {*self.training.data.train, *self.training.data.validation}
        return [run for run in self.runs if run in known]

    def note(self, **changes: object) -> None:
        """Remember something of the steps."""
        record = self.record().model_copy(update=changes)
        write_text(self.folder / "steps.json", record.model_dump_json(indent=2) + "\n")

    def finished(self, step: str) -> bool:
        """Whether a step is done, those before it being so."""
        if step == "train":
            return is_finished(self.training)
        if step == "calibrate":
            return (self.folder / THRESHOLDS).exists() and self.record().calibrate == self.calibration_key
        if step == "evaluate":
            return (self.folder / "scores.json").exists() and self.record().evaluate == self.evaluation_key
        return self._is_predicted(self._as_it_is, step)

    @property
    def _as_it_is(self) -> Project:
        """The project with what other processes wrote into it."""
        return open_project(self.project.config)

    def _is_predicted(self, project: Project, step: str) -> bool:
        if not self.points:
            labels = uris.segmentation_uri(self._written(step), output=True)
            return all(has_segmentation(project, run, labels) for run in self.runs)
        uri = uris.picks_uri(self.output, output=True)
        names = [particle.name for particle in particles(self.task, self.training.recipe.target)]
        sets = [uris.PicksUri(name, uri.user, uri.session) for name in names]
        return all(has_picks(project, run, picks) for run in self.runs for picks in sets)

    # How they are done ----------------------------------------------------------------------------------------------

    def command(self, step: str, device: str) -> list[str]:
        """As it is typed, after ``popsicle``."""
        config, tomogram = ["-c", str(self.project.config)], self.training.recipe.input
        where = ["--device", device, "--json"]
        if step == "train":
            source = str(self.folder.with_suffix(".yaml"))
            return [step, source, *config, "--out", str(self.folder), "--resume", *where]
        if step == "calibrate":
            return [step, str(self.checkpoint), *config, "-i", tomogram, "--overwrite", *where]
        if step == "evaluate":
            scored = ["-i", self.scored, "--task", self.training.recipe.task, "--split", self.split]
            return [step, *config, *scored, "--out", str(self.folder)]
        written = ["-o", self._written(step), "--split", self.split]
        if step == "instances":
            least = str(self.training.recipe.instances.min_volume)
            return [step, *config, "-i", self._labels, *written, "--min-volume", least, "--json"]
        return [step, str(self.checkpoint), *config, "-i", tomogram, *written, *where]

    def typed(self, step: str, device: str) -> list[str]:
        """The same for somebody who has none of the files that a benchmark run writes."""
        command = self.command(step, device)
        return [step, *self.given, *command[2:]] if step == "train" else command

    @property
    def scored(self) -> str:
        """The predictions as `evaluate` takes them."""
        return f"*{self.output}" if self.points else self.output

    @property
    def _lock(self) -> Path:
        return self.folder / ".bench"

    def work(self, device: str, stop: threading.Event) -> Iterator[StepOutcome]:
        """Do what isn't done; ends with the first step that fails. Raises Interrupted when ``stop`` is set."""
        try:
            with locked(self._lock, wait=False):
                try:
                    for step in self.steps:
                        outcome = self._step(step, device, stop)
                        yield outcome
                        if outcome.status == "failed":
                            return
                finally:
                    self._lock.unlink(missing_ok=True)
        except Busy:
            yield self._outcome("all", "skipped", "another process is at work on it")
        except OSError as error:
            yield self._outcome("all", "failed", f"{type(error).__name__}: {error}")

    def _step(self, step: str, device: str, stop: threading.Event) -> StepOutcome:
        if stop.is_set():
            raise Interrupted
        try:
            if self.finished(step):
                return self._outcome(step, "skipped")
            self._do(step, device, stop)
        except PopsicleError as error:
            return self._outcome(step, "failed", error.message + (f" ({error.hint})" if error.hint else ""))
        except (OSError, ValueError, MemoryError) as error:
            return self._outcome(step, "failed", f"{type(error).__name__}: {error}")
        return self._outcome(step, "done")

    def _outcome(self, step: str, status: str, error: str | None = None) -> StepOutcome:
        return StepOutcome(name=self.name, seed=self.seed, step=step, status=status, error=error)  # type: ignore[arg-type]

    def _do(self, step: str, device: str, stop: threading.Event) -> None:
        """Raises PopsicleError, Interrupted."""
        if step == "train":
            write_text(self.folder.with_suffix(".yaml"), dump_yaml(self.training.recipe))
            wait_for_former(self.folder, stop)
            self._run(step, device, stop)
            self.__dict__.pop("weights", None)
            self.note(parameters=describe_checkpoint(self.checkpoint).parameters)
        elif step == "calibrate":
            self._run(step, device, stop)
            self.note(calibrate=self.calibration_key)
        elif step == "evaluate":
            score(self._as_it_is, self.runs, (self.scored, self.reference), self.task, self.split, self.folder)
            self.note(evaluate=self.evaluation_key)
        elif step == "instances":
            self._run(step, device, stop)
        else:
            key, before = self.output, self.record()
            known = before.predicted if before.predict == key else {}
            try:
                self._run(step, device, stop)
            finally:
                self.note(predict=key, predicted={**known, **self._timed(step)})

    def _run(self, step: str, device: str, stop: threading.Event) -> None:
        logs = self.folder.parent / "logs"
        stem = f"{self.folder.name}-{step}"
        child = Child.start(self.command(step, device), logs / f"{stem}.json", logs / f"{stem}.log")
        if child.follow(stop):
            raise PopsicleError(child.why(), f"see {child.log}")

    def _timed(self, step: str) -> dict[str, float]:
        """Seconds of the runs that the last command did."""
        path = self.folder.parent / "logs" / f"{self.folder.name}-{step}.json"
        if not path.exists() or not path.stat().st_size:
            return {}
        with suppress(ValueError):  # a killed one wrote half of it
            result = RunsResult.model_validate_json(path.read_bytes())
            return {run.run: run.seconds for run in result.runs if run.status == "done" and run.seconds is not None}
        return {}


def slug(name: str) -> str:
    """A name as copick takes it for a user.

    >>> slug("phantom-sim/tiny nnunet")
    'phantom-sim-tiny-nnunet'
    """
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")


def read_scores(job: Job) -> Evaluation | None:
    """scores.json of a job; None where not all steps are done. Raises FormatError."""
    if not is_finished(job.training) or not job.finished("evaluate"):
        return None
    return read_document(job.folder / "scores.json", RESULTS[job.task.metric.name], "remove it, and start again")

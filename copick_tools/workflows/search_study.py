"""The memory of a search: Optuna's study in a journal that many processes share, and who is at work on which trial."""

from __future__ import annotations

import json
import os
import platform
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from copick_tools.data.documents import read_document
from copick_tools.data.locking import Busy, locked
from copick_tools.engines.registry import MissingExtra
from copick_tools.errors import FormatError, PopsicleError
from copick_tools.recipes.space import Choice, Number, Parameter, Parameters, Values, word
from copick_tools.recipes.study_results import TrialResult, TrialState, Usage

if TYPE_CHECKING:
    import optuna

NAME = "popsicle"
BEAT = 10.0  # seconds between two signs of life
STALE = 90.0  # seconds without one, after which a trial of another machine is up for taking
STARTUP, CANDIDATES = 10, 24  # of TPE and the median pruner, as Octopi has them
DEATHS = 3  # of processes at work on a trial, without a checkpoint between them; then the trial has failed
IMPORTANT = 5  # complete trials, below which importances would be noise


def require_optuna() -> None:
    """Raise MissingExtra where Optuna isn't installed."""
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise MissingExtra("a search needs Optuna", 'pip install "copick-tools[search]"') from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass
class Study:
    """A search's trials. folder: of the journal and of the trials. warm_up: epochs before a trial may be pruned."""

    folder: Path
    parameters: Parameters
    seed: int
    warm_up: int
    _mine: set[int] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def open(self, start: Values) -> None:
        """Open the journal. start: values of the first trial, for a new one. Raises FormatError."""
        path = self.folder.absolute() / "journal.log"  # a lock that was left is told by what it links to
        with locked(self.folder / "lock"):
            _mend(path)
            try:
                self.study = self._study(path)
            except (ValueError, KeyError) as error:
                raise FormatError(
                    f"{path} is damaged: {error}", "remove what is no JSON, or choose another --out"
                ) from error
            if not self.study.get_trials(deepcopy=False):
                known = {name: value for name, value in start.items() if name in self.parameters}
                kept = {name: value for name, value in known.items() if self.parameters[name].holds(value)}
                self.study.enqueue_trial({name: _simple(self.parameters[name], v) for name, v in kept.items()})

    def _study(self, path: Path) -> optuna.Study:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        return optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(path))),
            study_name=NAME,
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(STARTUP, self.warm_up),
        )

    def next(self, most: int, mine: ExitStack) -> optuna.Trial | None:
        """A trial to work on: one that somebody died over, else a new one; None where there are ``most`` already.

        mine: holds the claim until it is closed.
        """
        import optuna

        with self._lock, locked(self.folder / "lock"):
            running = self.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,))
            for number in (frozen.number for frozen in running if frozen.number not in self._mine):
                with ExitStack() as taken:
                    if not self._claim(number, taken) or not self._running(number):
                        continue  # somebody is at it, or has ended it since
                    trial = self._trial(number)
                    deaths = self._died(trial)
                    if deaths < DEATHS:
                        mine.enter_context(taken.pop_all())
                        return trial
                    self.fail(number, f"the process at work on it died {deaths} times")
            asked = [t for t in self.study.get_trials(deepcopy=False) if t.state != optuna.trial.TrialState.WAITING]
            if len(asked) >= most:
                return None
            self.study.sampler = optuna.samplers.TPESampler(
                multivariate=True,
                constant_liar=True,
                n_startup_trials=STARTUP,
                n_ei_candidates=CANDIDATES,
                seed=(self.seed + len(asked)) % 2**32,
            )
            trial = self.study.ask({name: _distribution(p) for name, p in self.parameters.items()})
            self._claim(trial.number, mine)
            return trial

    def _died(self, trial: optuna.Trial) -> int:
        """How often the process at work on it died, this time included, since it last got on."""
        checkpoint = self.folder / "trials" / f"{trial.number:04d}" / "last.ckpt"
        reached = checkpoint.stat().st_mtime if checkpoint.exists() else 0.0
        known = trial.user_attrs
        left = known.get("left", False)
        deaths = (known.get("deaths", 0) if known.get("reached") == reached else 0) + (not left)
        for name, value in {"deaths": deaths, "reached": reached, "left": False}.items():
            trial.set_user_attr(name, value)
        return deaths

    def leave(self, number: int) -> None:
        """A trial is interrupted: that it is left isn't its fault."""
        self._trial(number).set_user_attr("left", True)

    def promising(self) -> bool:
        """Whether some trial has a score, and hasn't failed."""
        trials = self.study.get_trials(deepcopy=False)
        return any(t.state.name != "FAIL" and (t.value is not None or t.intermediate_values) for t in trials)

    def _trial(self, number: int) -> optuna.Trial:
        import optuna

        return optuna.trial.Trial(self.study, self.study.get_trials(deepcopy=False)[number]._trial_id)

    def _running(self, number: int) -> bool:
        return self.study.get_trials(deepcopy=False)[number].state.name == "RUNNING"

    def values(self, trial: optuna.Trial | optuna.trial.FrozenTrial) -> dict[str, Any]:
        """What a trial tries, by name."""
        choices = {name for name, parameter in self.parameters.items() if isinstance(parameter, Choice)}
        return {name: json.loads(value) if name in choices else value for name, value in trial.params.items()}

    def complete(self, number: int, score: float, *, pruned: bool = False) -> None:
        """A trial has ended. Of a pruned one the last score that it reported stays."""
        import optuna

        if pruned:
            self.study.tell(number, state=optuna.trial.TrialState.PRUNED)
        else:
            self.study.tell(number, score)

    def fail(self, number: int, why: str) -> None:
        """A trial can't be trained."""
        import optuna

        self._trial(number).set_user_attr("error", why)
        self.study.tell(number, state=optuna.trial.TrialState.FAIL)

    def results(self) -> list[TrialResult]:
        """All trials that were begun, in order."""
        states: dict[str, TrialState] = {
            "RUNNING": "running",
            "COMPLETE": "complete",
            "PRUNED": "pruned",
            "FAIL": "failed",
        }
        return [
            TrialResult(
                number=trial.number,
                state=states[trial.state.name],
                score=trial.value,
                seconds=self._seconds(trial),
                values=self.values(trial),
                error=trial.user_attrs.get("error"),
            )
            for trial in self.study.get_trials()
            if trial.state.name in states
        ]

    def _seconds(self, trial: optuna.trial.FrozenTrial) -> float | None:
        """At work, as the training wrote down; else from begin to end."""
        if trial.duration is None:
            return None
        with suppress(PopsicleError):
            path = self.folder / "trials" / f"{trial.number:04d}" / "usage.json"
            if used := read_document(path, Usage, "remove it"):
                return used.seconds
        return trial.duration.total_seconds()

    def importances(self) -> dict[str, float] | None:
        """How much of the spread of the scores comes from each name (fANOVA, Hutter et al. 2014); None for too few trials."""
        import optuna

        scores = [t.value for t in self.study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))]
        if len(scores) < IMPORTANT or len(set(scores)) < 2:
            return None
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=self.seed)
        return optuna.importance.get_param_importances(self.study, evaluator=evaluator)

    def _claim(self, number: int, mine: ExitStack) -> bool:
        """Hold a trial, and give signs of life meanwhile; False where somebody else does."""
        path = self.folder / "trials" / f"{number:04d}.claim"
        with ExitStack() as taken:
            try:
                taken.enter_context(locked(path, wait=False))
            except Busy:
                return False
            if not _abandoned(path):
                return False
            path.write_text(platform.node())
            taken.enter_context(_beating(path))
            self._mine.add(number)
            taken.callback(self._mine.discard, number)
            mine.enter_context(taken.pop_all())
        return True


def _abandoned(path: Path) -> bool:
    """Whether nobody works there, the lock being ours: locks of other machines aren't seen on every file system."""
    if path.read_text() in ("", platform.node()):
        return True
    probe = path.with_suffix(f".{os.getpid()}.now")
    probe.touch()  # the file system's clock, which is the one that counts
    try:
        return probe.stat().st_mtime - path.stat().st_mtime > STALE
    finally:
        probe.unlink()


@contextmanager
def _beating(path: Path) -> Iterator[None]:
    """Touch a file now and then; remove it at the end."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(BEAT):
            with suppress(OSError):
                os.utime(path)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        path.unlink(missing_ok=True)


def _mend(path: Path) -> None:
    """Cut the half of a line that a full disk or a power cut left at the end of a journal, which Optuna would stumble over."""
    from optuna.storages.journal import JournalFileSymlinkLock

    if not path.exists():
        return
    lock = JournalFileSymlinkLock(str(path))
    lock.acquire()
    try:
        with path.open("r+b") as file:
            content = file.read()
            file.truncate(content.rfind(b"\n") + 1)
    finally:
        lock.release()


def _distribution(parameter: Parameter) -> Any:
    import optuna.distributions as kinds

    if isinstance(parameter, Choice):
        return kinds.CategoricalDistribution(parameter.words)
    if parameter.whole:
        return kinds.IntDistribution(int(parameter.low), int(parameter.high), parameter.log, int(parameter.step or 1))
    return kinds.FloatDistribution(parameter.low, parameter.high, parameter.log, parameter.step)


def _simple(parameter: Parameter, value: Any) -> Any:
    return value if isinstance(parameter, Number) else word(value)

"""What several processes do together, played by one: who does what, and how all of them end."""

import pytest
import torch

from copick_tools.errors import PopsicleError, UsageError
from copick_tools.recipes.load import load_recipe
from copick_tools.recipes.recipe import Train
from copick_tools.training import team, validation
from copick_tools.training.batches import batches, per_process
from copick_tools.training.data import TrainingData
from copick_tools.training.harness import load
from copick_tools.training.memory import smaller


class Numbers(torch.utils.data.Dataset):
    """Sample number n is n."""

    def __getitem__(self, number):
        return number


@pytest.fixture
def play(monkeypatch):
    """Makes this process one of several; gathered: what the others hand over."""
    monkeypatch.setattr(team, "LAST_WORDS", 0)

    def as_one_of(size, rank=0, gathered=None):
        monkeypatch.setattr(team, "size", lambda: size)
        monkeypatch.setattr(team, "rank", lambda: rank)
        monkeypatch.setattr(team, "gather", gathered or (lambda value: [value] * size))

    return as_one_of


def test_one_process_is_a_team(monkeypatch):
    monkeypatch.setattr(torch.distributed, "all_gather_object", lambda *_, **__: pytest.fail("talks to itself"))
    assert (team.size(), team.rank(), team.is_main()) == (1, 0, True)
    assert team.share([1, 2, 3]) == team.merged([1, 2, 3]) == [1, 2, 3]
    assert team.by_main(lambda: 5) == team.everywhere(lambda: 5) == 5
    with team.joined("cpu"):
        assert team.local_device("cpu") == torch.device("cpu")
    with pytest.raises(PopsicleError, match="^no more$"), team.joined("cpu"):
        raise PopsicleError("no more")


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("first", [0, 3])
def test_processes_share_each_batch(play, size, first):
    train, parts = Train(batch_size=6, epochs=2, steps_per_epoch=2), []
    for rank in range(size):
        play(size, rank)
        parts.append(torch.stack(list(batches(Numbers(), train, first, torch.device("cpu")))))
    assert torch.cat(parts, dim=1).tolist() == [list(range(6 * step, 6 * step + 6)) for step in range(first, 4)]


def test_batches_may_end_early():
    remaining = batches(Numbers(), Train(batch_size=2), 0, torch.device("cpu"))
    assert next(remaining).tolist() == [0, 1]
    remaining.close()
    assert list(remaining) == []


@pytest.mark.parametrize(
    ("batch", "processes", "hint"),
    [
        (8, 3, "start 1 or 2 of them, or -s train.batch_size=6 or 9"),
        (2, 4, "start 1 or 2 of them, or -s train.batch_size=4"),
        (1, 2, "start 1 of them, or -s train.batch_size=2"),
    ],
)
def test_batches_that_can_not_be_shared(batch, processes, hint):
    with pytest.raises(UsageError, match=f"train.batch_size={batch} evenly") as caught:
        per_process(Train(batch_size=batch), processes)
    assert caught.value.hint == hint


def test_less_memory_is_shared_evenly_too(play):
    recipe = load_recipe("phantom/octopi", ("train.batch_size=12",))
    play(4)
    assert smaller(recipe, (32, 32, 32), False) == ["-s train.batch_size=4"]
    play(12)
    assert smaller(recipe, (32, 32, 32), False) == ["a smaller model"]


def test_the_first_that_fails_says_why(play):
    def fail():
        raise UsageError("no more")

    codes = iter([[None, 2, 1], [None, 2, 1], [None, 2, 1]])
    play(3, 1, gathered=lambda _: next(codes))
    with pytest.raises(UsageError, match="no more"):
        team.everywhere(fail)
    play(3, 2, gathered=lambda _: next(codes))
    with pytest.raises(SystemExit) as left:
        team.everywhere(fail)
    assert left.value.code == 2
    play(3, 0, gathered=lambda _: next(codes))
    with pytest.raises(SystemExit):
        team.everywhere(lambda: None)


def test_what_all_know_is_said_once(play):
    play(2, 0)
    with pytest.raises(PopsicleError, match="no more"):
        team.fail(PopsicleError("no more"))
    play(2, 1)
    with pytest.raises(SystemExit) as left:
        team.fail(PopsicleError("no more"))
    assert left.value.code == 1


def test_another_rank_says_which_it_is(play):
    play(4, 2)
    with pytest.raises(UsageError, match="^rank 2 of 4: no more$"), team.joined("cpu"):
        raise UsageError("no more")
    lost = RuntimeError("[/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1")
    with pytest.raises(PopsicleError, match="^rank 2 of 4: another process"), team.joined("cpu"):
        raise lost
    with pytest.raises(RuntimeError, match="size mismatch"), team.joined("cpu"):
        raise RuntimeError("size mismatch")


def test_one_device_is_not_enough(play, monkeypatch):
    play(2)
    assert team.local_device("cpu") == team.local_device("auto") == torch.device("cpu")
    monkeypatch.setattr(team, "pick_device", torch.device)
    for name in ("cuda:1", "mps"):
        with pytest.raises(UsageError, match=f"--device {name} is one device, and there are 2 processes"):
            team.local_device(name)


def test_resume_needs_one_folder(play, shared_project, recipe_path, checkpoint, tmp_path):
    from copick_tools.engines import octopi
    from copick_tools.training import checkpoint as files
    from copick_tools.training import loop

    card, _ = files.read(checkpoint)
    play(2, gathered=lambda value: [value, 7] if value == 0 else [value] * 2)
    network = octopi.build(octopi.Model(preset="tiny"), 3)
    with pytest.raises(PopsicleError, match="not all processes see the same"):
        loop.start(network, card, tmp_path)


def test_validation_is_shared(play, shared_project, checkpoint, monkeypatch):
    """Each has its runs; put together, as if one had them all."""
    predictor = load(lambda recipe, outputs: octopi_of(recipe, outputs), checkpoint, "cpu")
    recipe = load_recipe(str(checkpoint.parent / "recipe.yaml"), ("validation_split=null",))
    data = TrainingData.resolve(shared_project, recipe)
    runs = [data.validation_run(run) for run in ("TS_1", "TS_2", "TS_3")]
    alone = validation.validation_score(predictor, runs, recipe, data.task)
    parts, merged = [], team.merged
    monkeypatch.setattr(team, "merged", lambda mine: parts.append(mine) or mine)
    for rank in (0, 1):
        play(2, rank)
        validation.validation_score(predictor, team.share(runs), recipe, data.task)
    monkeypatch.setattr(team, "merged", merged)
    play(2, 1, gathered=lambda value: parts if isinstance(value, list) else [value] * 2)
    assert validation.validation_score(predictor, team.share(runs), recipe, data.task) == alone > 0


def octopi_of(recipe, outputs):
    from copick_tools.engines import octopi
    from copick_tools.engines.registry import settings

    return octopi.build(settings(octopi.Model, recipe), outputs)

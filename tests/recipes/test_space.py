"""Search spaces: what they hold, what they refuse, and that around the paper's recipe they are Octopi's."""

import itertools

import pytest

pytest.importorskip("torch")

from copick_tools.engines import registry
from copick_tools.errors import FormatError
from copick_tools.recipes.load import load_recipe
from copick_tools.recipes.space import NEVER, Choice, Number, common, read_space, require_known, require_valid, varied


def test_around_the_papers_recipe_it_is_octopis():
    found = common(load_recipe("phantom/octopi", ("train.patch=[96,96,96]",)))
    assert (found["optimizer.lr"].low, found["optimizer.lr"].high, found["optimizer.lr"].log) == (1e-4, 1e-3, True)
    assert (found["train.batch_size"].low, found["train.batch_size"].high) == (4, 48)
    assert found["train.batch_size"].whole
    assert [patch[0] for patch in found["train.patch"].choices] == [96, 64, 96, 128, 160]
    assert set(found["loss.name"].words) == {'"focal"', '"focal-tversky"', '"tversky-focal"'}


@pytest.mark.parametrize(("layers", "hidden", "base"), list(itertools.product((3, 4), (1, 2), (8, 16, 32))))
def test_octopis_words_come_back(layers, hidden, base):
    space = registry.space("octopi")
    words = {"num_layers": layers, "hidden_layers": hidden, "base_channel": base}
    tiny = load_recipe("phantom-sim/tiny")
    recipe = registry.resolved(varied(tiny, space.expanded(words, tiny)))
    assert space.words(recipe) == words
    found = space.expanded({"model.dropout": 0.1, **words}, recipe)
    assert set(found) == {"model.dropout", "model.channels", "model.strides"}


def test_words_that_the_space_lacks_come_from_the_recipe():
    space, paper = registry.space("octopi"), registry.resolved(load_recipe("phantom/octopi"))
    assert space.expanded({"num_layers": 4}, paper)["model.channels"] == (32, 64, 128, 256, 256, 256)
    tiny = registry.resolved(load_recipe("phantom-sim/tiny"))  # of no such words
    with pytest.raises(FormatError, match="num_layers without hidden_layers, base_channel"):
        space.expanded({"num_layers": 4}, tiny)
    with pytest.raises(FormatError, match="no settings of the family"):
        space.expanded({"base_channel": 8.5}, paper)


def test_the_papers_network_is_in_octopis_words():
    recipe = registry.resolved(load_recipe("phantom/octopi"))
    assert registry.space("octopi").words(recipe) == {"num_layers": 3, "hidden_layers": 2, "base_channel": 32}
    tiny = registry.resolved(load_recipe("phantom-sim/tiny"))
    assert registry.space("octopi").words(tiny) == {}


@pytest.mark.parametrize(
    ("parameter", "inside", "outside"),
    [
        (Number(low=1, high=3), [1, 3], [0, 4, 1.5, "1", None]),
        (Number(low=0.0, high=1), [0, 0.5, 1.0], [-0.1, 1.1]),
        (Number(low=4, high=48, step=4), [4, 48], [5, 6, 52]),
        (Choice(choices=([64, 64], "a", None)), [[64, 64], "a", None], [[64, 32], "b", 0]),
    ],
)
def test_what_it_holds(parameter, inside, outside):
    assert all(parameter.holds(value) for value in inside)
    assert not any(parameter.holds(value) for value in outside)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "nothing to search"),
        ("optimizer.lr: 0.1", "expected {low, high}"),
        ("optimizer.lr: {low: 2, high: 1}", "low 2 is above high 1"),
        ("optimizer.lr: {low: 0.0, high: 1, log: true}", "log needs numbers above 0"),
        ("optimizer.lr: {low: 0.0, high: 1, hihg: 1}", "unknown key 'hihg'"),
        ("loss.name: {choices: []}", "choices"),
        ("optimizer.lr: {choices: [.nan]}", "nan is no value of a recipe"),
        ("loss.name: {choices: [2020-01-01]}", "is no value of a recipe"),
    ],
)
def test_bad_spaces_are_refused(tmp_path, text, said):
    path = tmp_path / "space.yaml"
    path.write_text(text)
    with pytest.raises(FormatError, match=said):
        read_space(path)


def test_a_name_that_no_recipe_has():
    recipe = load_recipe("phantom-sim/tiny")
    with pytest.raises(FormatError, match=r"optimizer\.lrr") as error:
        require_known({"optimizer.lrr": None}, recipe, registry.space("octopi"))
    assert "optimizer.lr" in str(error.value.hint)


@pytest.mark.parametrize(
    ("name", "parameter", "said"),
    [
        ("optimizer.lr", Number(low=-1.0, high=1.0), r"optimizer\.lr"),
        ("train.batch_size", Number(low=2.0, high=8.0), "valid integer"),
        ("loss.name", Choice(choices=("focal", "fokal")), "fokal"),
        ("num_layers", Number(low=3, high=4), "without hidden_layers"),
    ],
)
def test_values_that_no_recipe_has(name, parameter, said):
    recipe, family = registry.resolved(load_recipe("phantom-sim/tiny")), registry.space("octopi")
    with pytest.raises(FormatError, match=said):
        require_valid({name: parameter}, recipe, family)


@pytest.mark.parametrize("name", NEVER)
def test_what_would_make_trials_incomparable(name):
    with pytest.raises(FormatError, match="can't be compared"):
        require_known({name: None}, load_recipe("phantom-sim/tiny"), registry.space("octopi"))


def test_values_reach_the_recipe():
    recipe = varied(load_recipe("phantom-sim/tiny"), {"optimizer.lr": 0.5, "train.patch": [8, 8, 8]})
    assert (recipe.optimizer.lr, recipe.train.patch) == (0.5, (8, 8, 8))
    with pytest.raises(FormatError, match="the search"):
        varied(recipe, {"optimizer.lr": -1})

"""The YAML of methods: its defaults, its units, and one line for each mistake."""

import math
from itertools import product

import pytest
import yaml

from copick_tools.cli.instances import METHOD, instances
from copick_tools.errors import FormatError, UsageError
from copick_tools.recipes.instancing import OWN, Method, Methods
from copick_tools.recipes.load import dump_yaml, parse

TEXT = """
objects:
  mitochondrion: {method: watershed, min_volume: 1000, neck: 0.6, seed_distance: 40}
  er: {method: network, join: 20, connectivity: 6}
  vesicle: {method: bounded, boundary: "membrane:unet/1@10", clearance: 4}
others: {min_volume: 50}
"""


def methods(text):
    return parse(Methods, yaml.safe_load(text), where="methods.yaml")


def test_each_object_has_its_own():
    found = methods(TEXT)
    assert found.class_aware
    assert found.of("mitochondrion").neck == 0.6
    assert found.of("er").join == 20
    assert found.of("golgi") == Method(min_volume=50)
    assert methods("objects: {er: {}}").of("golgi") is None
    assert methods(dump_yaml(found)) == found  # what is printed is valid input again


def test_nanometers_become_voxels():
    way = methods(TEXT).of("mitochondrion").way(20.0)
    assert way.limits == (125, math.inf)
    assert way.distance == 20
    assert way.depth == 1
    assert Method(method="watershed", seed_depth=3.0).way(10.0).depth == 3
    assert Method(max_volume=8).way(20.0).limits == (0, 1)
    assert methods(TEXT).of("vesicle").way(10.0).clearance == 4
    with pytest.raises(UsageError, match="64 voxels|80 voxels"):
        Method(method="bounded", boundary="a:b/c", clearance=80).way(10.0)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{}", "no object has a method"),
        ("objects: {er: {metod: network}}", "unknown key 'objects.er.metod'"),
        ("objects: {er: {method: networks}}", "objects.er.method"),
        ("objects: {er: {connectivity: 4}}", "objects.er.connectivity"),
        ("objects: {er: {min_volume: -1}}", "objects.er.min_volume"),
        ("objects: {er: {min_volume: .nan}}", "objects.er.min_volume"),
        ("objects: {er: {min_volume: 9, max_volume: 3}}", "below min_volume"),
        ("objects: {er: {neck: 1.5}}", "objects.er.neck"),
        ("objects: {er: {method: network, join: 1.e+300}}", "objects.er.join"),
        ("objects: {er: {method: watershed, seed_distance: 1.e+30}}", "objects.er.seed_distance"),
        ("objects: {er: {method: watershed, seed_depth: .inf}}", "objects.er.seed_depth"),
        ("objects: {er: {join: 3}}", "join goes with method network, not components"),
        ("objects: {er: {method: network, neck: 0.5}}", "neck goes with method watershed"),
        ("objects: {er: {method: bounded}}", "needs a boundary"),
        ("objects: [er]", "objects"),
        ("object: {er: {}}", "unknown key 'object'"),
        ("class_aware: false\nothers: {method: watershed}", "class_aware: false goes with method components"),
        ("class_aware: false\nobjects: {er: {connectivity: 6}}\nothers: {}", "in the same way"),
    ],
)
def test_mistakes(text, reason):
    with pytest.raises(FormatError) as caught:
        methods(text)
    assert reason in caught.value.message
    assert caught.value.message.startswith("methods.yaml: ")


def test_a_typo_names_the_nearest_key():
    with pytest.raises(FormatError) as caught:
        methods("objects: {er: {seed_distanc: 3}}")
    assert "seed_distance" in caught.value.hint


def test_each_key_belongs_to_one_method_or_all():
    shared = {"method", "connectivity", "min_volume", "max_volume"}
    assert shared | {key for keys in OWN.values() for key in keys} == set(Method.model_fields)
    assert all(not set(one) & set(other) for one, other in product(OWN.values(), repeat=2) if one != other)


def test_options_are_the_keys_and_say_their_defaults():
    options = {parameter.name: parameter for parameter in instances.params}
    given = instances.make_context("instances", ["-c", "x", "-i", "a", "-o", "b"]).params
    assert set(METHOD) == set(Method.model_fields)
    for name, field in Method.model_fields.items():
        assert given[name] is None
        said = options[name].help.partition("[default: ")[2].rstrip("]")
        if field.default not in (None, 0.0):
            assert said == f"{field.default:g}" if isinstance(field.default, float) else str(field.default)

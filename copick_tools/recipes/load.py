"""The only reader of YAML and the only finder of configs/."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from copick_tools.errors import FormatError, NotFoundError, UsageError, nearest
from copick_tools.recipes.recipe import Recipe
from copick_tools.recipes.task import Task

Model = TypeVar("Model", bound=BaseModel)


class Once(yaml.SafeLoader):
    """Takes no key of a mapping twice: YAML would keep the last one without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """As every loader. Raises ConstructorError."""
        seen = set()
        for key, _ in node.value:
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else key
            if name in seen and key.value != "<<":
                raise yaml.constructor.ConstructorError(None, None, f"key '{key.value}' stands twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


def configs() -> Path:
    """The folder of shipped tasks and recipes: inside an installed package, else the checkout's."""
    package = Path(__file__).resolve().parents[1]
    packaged = package / "configs"
    return packaged if packaged.is_dir() else package.parent / "configs"


def task_names() -> list[str]:
    """Names of the shipped tasks."""
    return sorted(path.stem for path in (configs() / "tasks").glob("*.yaml"))


def recipe_names() -> list[str]:
    """Names of the shipped recipes, as TASK/FAMILY."""
    root = configs() / "recipes"
    return sorted(path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.yaml"))


def load_task(name: str | Path) -> Task:
    """A shipped task by name, or any task by the path of its YAML.

    Raises NotFoundError (no such task), FormatError (not a valid task).
    """
    path = _find(name, "tasks", task_names())
    task = parse(Task, read_yaml(path), where=str(name))
    return task if path.parent == configs() / "tasks" else task.read_from(str(path.absolute()))


def load_recipe(name: str | Path, settings: tuple[str, ...] = ()) -> Recipe:
    """A shipped recipe by name (TASK/FAMILY) or any recipe by path, with ``KEY=VALUE`` settings applied on top.

    Raises NotFoundError (no such recipe), FormatError (not a valid recipe), UsageError (a setting that isn't KEY=VALUE).
    """
    document = read_yaml(_find(name, "recipes", recipe_names()))
    for setting in settings:
        _set(document, setting)
    return parse(Recipe, document, where=str(name))


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping. Raises FormatError when the file holds anything else."""
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Once)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FormatError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    except OSError as error:
        raise NotFoundError(f"can't read {path}: {error.strerror}") from error
    if not isinstance(document, dict):
        raise FormatError(f"{path} holds no mapping of keys to values")
    return document


def dump_yaml(document: BaseModel) -> str:
    """A model as YAML that is valid input again."""
    return yaml.safe_dump(document.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100)


def flat(document: dict[str, Any], before: str = "") -> dict[str, Any]:
    """The values of a nested mapping, by keys as ``--set`` takes them.

    >>> flat({"train": {"epochs": 2}, "task": "phantom"})
    {'train.epochs': 2, 'task': 'phantom'}
    """
    found: dict[str, Any] = {}
    for key, value in document.items():
        found |= flat(value, f"{before}{key}.") if isinstance(value, dict) else {f"{before}{key}": value}
    return found


def told(part: Model, settings: Sequence[str], name: str) -> Model:
    """A part of a recipe with some of its keys set by ``name.key=VALUE``. Raises FormatError for keys and values that it doesn't
    take, UsageError for settings of other parts or without a value.
    """
    document = {name: part.model_dump(mode="json")}
    for setting in settings:
        if not setting.startswith(f"{name}."):
            raise UsageError(
                f"--set {setting}: only keys of {name} can be set here", f"for example -s {name}.{_first(part)}"
            )
        _set(document, setting)
    return parse(type(part), document[name], where=f"--set {name}")


def _first(part: BaseModel) -> str:
    key, value = next(iter(part.model_dump(mode="json").items()))
    return f"{key}={value}"


def parse(model: type[Model], document: dict[str, Any], where: str) -> Model:
    """Validate ``document``. Raises FormatError that names the key, the reason and, for an unknown key, the nearest one."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise FormatError(
                f"{where}: unknown key '{key}'", nearest(str(first["loc"][-1]), _known(model, first["loc"]))
            ) from error
        reason = first["msg"].removeprefix("Value error, ")
        about = f"{key}: {reason} (got {_short(first.get('input'))})" if key else reason  # of all keys together
        raise FormatError(f"{where}: {about}") from error


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _known(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The keys that are legal where ``location`` went wrong."""
    current: type[BaseModel] | None = model
    for part in location[:-1]:
        if current is None or part not in current.model_fields:
            continue
        annotation = current.model_fields[str(part)].annotation
        inner = [annotation, *getattr(annotation, "__args__", ())]
        current = next((t for t in inner if isinstance(t, type) and issubclass(t, BaseModel)), None)
    return sorted(current.model_fields) if current else []


def _find(name: str | Path, kind: str, shipped: list[str]) -> Path:
    """The path of a YAML given by path or by shipped name."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if path.is_file():
            return path
        raise NotFoundError(f"no file {name}", f"shipped {kind}: {', '.join(shipped)}")
    if str(name) not in shipped:
        raise NotFoundError(f"no {kind.removesuffix('s')} '{name}'", nearest(str(name), shipped, limit=20))
    return configs() / kind / f"{name}.yaml"


def _set(document: dict[str, Any], setting: str) -> None:
    """Apply one ``a.b.c=VALUE`` (VALUE is YAML) to a nested mapping, in place. Raises UsageError."""
    key, equals, text = setting.partition("=")
    if not equals or not key:
        raise UsageError(f"--set {setting}: expected KEY=VALUE", "for example -s train.epochs=20")
    *parents, last = key.split(".")
    for parent in parents:
        document = document.setdefault(parent, {})
        if not isinstance(document, dict):
            raise UsageError(f"--set {setting}: '{parent}' holds a value, no keys")
    try:
        document[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        hint = f"quote it: -s '{key}=\"{text}\"'" if text[:1] in "*&!%@`{[" else None
        raise UsageError(f"--set {setting}: the value is no YAML", hint) from error

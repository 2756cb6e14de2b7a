"""Sizes and papers of the model families, counted on the meta device: nothing is allocated, nothing is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from copick_tools.engines.registry import Family, MissingExtra, engine, family, load, require
from copick_tools.recipes.load import recipe_names
from copick_tools.recipes.results import ModelCard

OUTPUTS = 7  # six objects and background, as on Phantom


def describe(name: str) -> ModelCard:
    """What a family is, with its default settings; its size is unknown where its extra isn't installed.

    Raises NotFoundError.
    """
    import torch

    row = family(name)
    try:
        module = engine(name)
        require(row)
    except MissingExtra as error:
        return _card(row, None, OUTPUTS, settings={}, fields={}, missing=error.hint)
    settings = module.Model()
    network = None
    if hasattr(module, "build"):
        with torch.device("meta"):
            network = module.build(settings, OUTPUTS)
    fields: dict[str, Any] = {key: field.description or "" for key, field in module.Model.model_fields.items()}
    if presets := getattr(module.Model, "presets", None):
        fields["preset"] = f"{', '.join(['paper', *presets])}: values for several of them"
    patch = getattr(module, "REFERENCE_PATCH", None)
    return _card(row, network, OUTPUTS, settings=settings.model_dump(mode="json"), fields=fields, patch=patch)


def describe_checkpoint(path: Path) -> ModelCard:
    """What is in a checkpoint: its own plan, its own size. Raises NotFoundError, FormatError."""
    from copick_tools.training.checkpoint import read_card

    card = read_card(path)
    settings = {key: value for key, value in card.recipe.model.items() if key != "family"}
    network = getattr(load(path, "cpu"), "network", None)
    return _card(
        family(card.recipe.family),
        network,
        len(card.objects) + 1,
        settings=settings,
        fields={},
        patch=card.patch,
        checkpoint=str(path),
    )


def _card(row: Family, network: Any, outputs: int, **more: Any) -> ModelCard:
    return ModelCard(
        family=row.name,
        title=row.title,
        parameters=sum(p.numel() for p in network.parameters()) if network else None,
        state_dict_elements=sum(v.numel() for v in network.state_dict().values()) if network else None,
        outputs=outputs,
        license=row.license,
        extra=row.extra,
        paper=row.paper,
        recipes=[recipe for recipe in recipe_names() if recipe.rpartition("/")[2] == row.name],
        **more,
    )

"""Sizes and papers of the model families, counted on the meta device: nothing is allocated, nothing is stored."""

from __future__ import annotations

from typing import Any

from copick_tools.engines.registry import engine, family
from copick_tools.recipes.load import recipe_names
from copick_tools.recipes.results import ModelCard

OUTPUTS = 7  # six objects and background, as on Phantom


def describe(name: str) -> ModelCard:
    """What a family is, with its default settings. Raises NotFoundError."""
    import torch

    row = family(name)
    module = engine(name)
    settings = module.Model()
    network = None
    if hasattr(module, "build"):
        with torch.device("meta"):
            network = module.build(settings, OUTPUTS)
    fields: dict[str, Any] = {key: field.description for key, field in module.Model.model_fields.items()}
    return ModelCard(
        family=row.name,
        title=row.title,
        parameters=sum(p.numel() for p in network.parameters()) if network else None,
        state_dict_elements=sum(v.numel() for v in network.state_dict().values()) if network else None,
        outputs=OUTPUTS,
        license=row.license,
        extra=row.extra,
        paper=row.paper,
        settings=settings.model_dump(mode="json"),
        fields={key: text or "" for key, text in fields.items()},
        recipes=[recipe for recipe in recipe_names() if recipe.rpartition("/")[2] == row.name],
    )

"""Checkpoints with another card, as other versions wrote them."""

import json

import torch


def recast(checkpoint, out, change):
    """Copy a checkpoint. change: gets its card, a dict, and alters it."""
    document = torch.load(checkpoint, map_location="cpu", weights_only=True)
    card = json.loads(document["card"])
    change(card)
    torch.save({**document, "card": json.dumps(card)}, out)
    return out

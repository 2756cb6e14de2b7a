"""Cellpose-SAM here and in Cellpose itself: the same file, the same images. No weights are downloaded.

Cellpose writes a small network of its own kind with random weights. First block: its maps of the same images, from Cellpose and from
the file converted to a checkpoint of ours: tiles, an image by its `eval`, slices of a volume in three planes. Second: flow
targets of the same masks, and the masks that both make of the same perfect maps.

    python benchmarks/cellpose_sam.py
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import common
import peers

SIDE, SMALL = 256, 64  # voxels of Cellpose's tiles, and of those of the network for a volume
SPACING = 20.0  # angstrom; nothing here depends on it
WIDTH, DEPTH, HEADS, FEATURES = 48, 3, 2, 32
PROMPTED, POINT = 128, [[40.0, 70.0]]  # side of an image for SAM, and a point in it, xy
FLOW = 5.0


# ---- what is looked at: numpy alone, for both environments make it ---------------------------------------------------
def image(shape: tuple[int, ...], seed: int) -> Any:
    """Noise, smooth over a few voxels, of some scale that nobody knows."""
    import numpy as np
    from scipy import ndimage

    values = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 2.0)
    return (1000 + 300 * values / values.std()).astype(np.float32)


def masks(touching: bool, seed: int = 0) -> Any:
    """(512, 512) ids of ellipses, that touch or lie apart."""
    import numpy as np

    rng, centers = np.random.default_rng(seed), []
    apart, count, halves = (16, 200, (8, 20)) if touching else (44, 60, (8, 18))
    while len(centers) < count:
        center = rng.uniform(20, 492, 2)
        if all(((center - other) ** 2).sum() > apart**2 for other in centers):
            centers.append(center)
    ids, nearest = np.zeros((512, 512), np.int32), np.ones((512, 512))
    y, x = np.ogrid[:512, :512]
    for number, (center, half) in enumerate(zip(centers, rng.uniform(*halves, (count, 2))), start=1):
        away = ((y - center[0]) / half[0]) ** 2 + ((x - center[1]) / half[1]) ** 2
        ids[away < nearest] = number
        nearest = np.minimum(nearest, away)
    return np.unique(ids, return_inverse=True)[1].reshape(ids.shape).astype(np.int32)


# ---- Cellpose, in its own environment --------------------------------------------------------------------------------
def small_network(side: int) -> Any:
    """Cellpose's network, small, with random weights, for tiles of ``side`` voxels. It imports torchvision for what isn't used here."""
    for name in ("", ".transforms", ".transforms.functional", ".ops", ".ops.boxes"):
        sys.modules.setdefault(f"torchvision{name}", MagicMock())
    import torch
    from cellpose import vit
    from segment_anything.modeling import ImageEncoderViT

    torch.set_num_threads(1)
    layer_norm = functools.partial(torch.nn.LayerNorm, eps=1e-6)  # as SAM is built
    sizes = {"depth": DEPTH, "embed_dim": WIDTH, "num_heads": HEADS, "out_chans": FEATURES}

    def small(_: None) -> SimpleNamespace:
        windows = {"window_size": 14, "global_attn_indexes": (1,)}
        encoder = ImageEncoderViT(**sizes, **windows, use_rel_pos=True, norm_layer=layer_norm)
        return SimpleNamespace(image_encoder=encoder)

    vit.sam_model_registry = {"vit_l": small}
    return shaken(vit.CPSAM(bsize=side), ("encoder.", "out."))


def shaken(network: Any, parts: tuple[str, ...] = ("",)) -> Any:
    """With random weights where a name begins so."""
    import torch

    generator = torch.Generator().manual_seed(0)
    for name, weights in network.named_parameters():
        if name.startswith(parts):
            fan = weights[0].numel() if weights.dim() > 1 else 16
            weights.data = torch.randn(weights.shape, generator=generator) / max(1, fan) ** 0.5
    return network.eval()


def small_sam() -> Any:
    """segment_anything's whole network, small, with random weights, for images of `PROMPTED` voxels."""
    import torch
    from segment_anything import modeling

    layer_norm = functools.partial(torch.nn.LayerNorm, eps=1e-6)
    encoder = modeling.ImageEncoderViT(
        **{"img_size": PROMPTED, "depth": DEPTH, "embed_dim": WIDTH, "num_heads": HEADS, "out_chans": FEATURES},
        **{"use_rel_pos": True, "window_size": 3, "global_attn_indexes": (1,), "norm_layer": layer_norm},
    )
    grid = (PROMPTED // 16,) * 2
    prompts = modeling.PromptEncoder(FEATURES, grid, (PROMPTED,) * 2, mask_in_chans=16)
    transformer = modeling.TwoWayTransformer(depth=2, embedding_dim=FEATURES, num_heads=HEADS, mlp_dim=WIDTH)
    decoder = modeling.MaskDecoder(transformer_dim=FEATURES, transformer=transformer, iou_head_hidden_dim=WIDTH)
    return shaken(modeling.Sam(encoder, prompts, decoder))


def prompted(network: Any) -> dict[str, Any]:
    """What segment_anything makes of an image and one point: embedding, masks, scores."""
    import torch

    with torch.no_grad():
        embedding = network.image_encoder(torch.from_numpy(colors()))
        point = (torch.tensor([POINT], dtype=torch.float), torch.ones(1, 1, dtype=torch.int))
        sparse, dense = network.prompt_encoder(points=point, boxes=None, masks=None)
        where = network.prompt_encoder.get_dense_pe()
        shown, scores = network.mask_decoder(embedding, where, sparse, dense, multimask_output=True)
    return {"embedding": embedding.numpy(), "prompted": shown.numpy(), "scores": scores.numpy()}


def colors() -> Any:
    """(1, 3, y, x), scaled as SAM scales."""
    import numpy as np

    return np.random.default_rng(4).normal(size=(1, 3, PROMPTED, PROMPTED)).astype(np.float32)


def theirs(work: Path) -> None:
    """Write Cellpose's files, maps, flows and masks."""
    import numpy as np
    import torch

    network, other = small_network(SIDE), small_network(SMALL)
    from cellpose import core, dynamics, models, transforms

    transforms.get_pad_yx = lambda *_, **__: (
        0,
        0,
        0,
        0,
    )  # the margin of zeros around an image, which makes four tiles of one
    network.save_model(work / "cpsam")
    other.save_model(work / "cpsam-64")
    sam = small_sam()
    torch.save(sam.state_dict(), work / "sam.pth")
    found = prompted(sam)
    with torch.no_grad():
        found["tiles"] = network(torch.from_numpy(tiles())[:, None])[0].numpy()
    model = models.CellposeModel(pretrained_model=str(work / "cpsam"), use_bfloat16=False)
    _, (_, flows, logits), _ = model.eval(image((SIDE, SIDE), 1), compute_masks=False)
    found["image"] = np.concatenate([flows, logits[None]])
    volume = transforms.normalize_img(image((SMALL,) * 3, 2)[..., None])
    found["volume"] = core.run_3D(other, volume, bsize=SMALL)[0].transpose(3, 0, 1, 2)
    for kind in ("apart", "touching"):
        ids = masks(kind == "touching")
        flows = dynamics.masks_to_flows_gpu(ids)[0]
        made = dynamics.compute_masks(FLOW * flows, np.where(ids > 0, 10.0, -10.0), niter=200, flow_threshold=0.4)
        found[kind], found[f"{kind} masks"] = flows, made[0] if isinstance(made, tuple) else made
    np.savez(work / "theirs.npz", **found)
    print(json.dumps("done"))


def tiles() -> Any:
    """(2, y, x), scaled as Cellpose scales."""
    import numpy as np

    return np.random.default_rng(3).uniform(-0.2, 1.2, (2, SIDE, SIDE)).astype(np.float32)


# ---- ours --------------------------------------------------------------------------------------------------------------
def predictor(file: Path, work: Path) -> Any:
    """The file, converted."""
    from copick_tools.data.project import ProjectObject
    from copick_tools.engines import registry
    from copick_tools.engines.adopt.adopt import adopt
    from copick_tools.engines.adopt.objects import Stated

    thing = ProjectObject("vesicle", 1, None, False, (0, 0, 0, 255))
    (out,) = adopt(file, work / f"{file.name}.ckpt", Stated({"vesicle": thing}, "here", likely=SPACING))
    return registry.load(out, "cpu")


def compared(work: Path) -> dict[str, Any]:
    """How far apart both are: largest difference of maps; cosine of flows; accuracy of masks. Our environment."""
    import numpy as np
    import torch

    from copick_tools.volumes.normalize import SPREAD

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    other = np.load(work / "theirs.npz")
    found: dict[str, Any] = renamed_sam(work / "sam.pth", other)
    ours = predictor(work / "cpsam", work)
    windows = torch.from_numpy((tiles() - 0.5) * 2 * SPREAD)[:, None, None]
    found["tiles"] = apart(
        raw(ours.network.eval()(windows)[:, :, 0].numpy().swapaxes(0, 1)), other["tiles"].swapaxes(0, 1)
    )
    ours.bf16, ours.sums = False, "float32"
    found["image"] = apart(*shown(ours, image((SIDE, SIDE), 1)[None], other["image"]))
    volume = image((SMALL,) * 3, 2)
    ours = predictor(work / "cpsam-64", work)
    ours.bf16 = False
    slabs = [slab.numpy().copy() for _, slab in ours.stitched(volume)]
    maps = np.concatenate(slabs, axis=1)
    flows, logits = np.clip(other["volume"][:3] / FLOW / 2, -1, 1), other["volume"][3]
    found["volume"] = float(np.abs(maps[2:] - flows).max())  # where neither plane's flows are longer than 1
    found["same"] = float(((maps[1] >= 0.5) == (logits >= 0)).mean())
    return found | {kind: targets(kind == "touching", other) for kind in ("apart", "touching")}


def renamed_sam(file: Path, other: Any) -> dict[str, float]:
    """How far transformers' SAM with renamed weights is from segment_anything."""
    import torch
    from transformers import SamConfig, SamModel

    from copick_tools.engines.vit.names import renamed

    vision = {
        "hidden_size": WIDTH,
        "num_hidden_layers": DEPTH,
        "num_attention_heads": HEADS,
        "output_channels": FEATURES,
    }
    vision |= {"image_size": PROMPTED, "num_pos_feats": FEATURES // 2, "window_size": 3, "global_attn_indexes": [1]}
    prompts = {"hidden_size": FEATURES, "image_size": PROMPTED}
    decoder = {"hidden_size": FEATURES, "mlp_dim": WIDTH, "num_attention_heads": HEADS, "iou_head_hidden_dim": WIDTH}
    network = SamModel(SamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder))
    weights = torch.load(file, weights_only=True)
    network.load_state_dict(renamed(weights))
    network.eval()
    embedding = network.get_image_embeddings(torch.from_numpy(colors()))
    made = network(
        image_embeddings=embedding,
        input_points=torch.tensor([[POINT]]),
        input_labels=torch.ones(1, 1, 1, dtype=torch.int),
    )
    return {
        "embedding": apart(embedding.numpy(), other["embedding"]),
        "prompted": apart(made.pred_masks[0].numpy(), other["prompted"]),
        "scores": apart(made.iou_scores[0].numpy(), other["scores"]),
    }


def raw(output: Any) -> Any:
    """Our four maps as Cellpose's three."""
    import numpy as np

    return np.stack([FLOW * output[2], FLOW * output[3], output[1] - output[0]])


def shown(ours: Any, volume: Any, other: Any) -> tuple[Any, Any]:
    """Maps of an image as they come out of the tiler, and Cellpose's made alike."""
    import numpy as np

    found = np.concatenate([slab.numpy().copy() for _, slab in ours.stitched(volume)], axis=1)[1:, 0]
    flows, logits = np.clip(other[:2] / FLOW, -1, 1), other[2:]
    return found, np.concatenate([1 / (1 + np.exp(-logits)), flows])


def apart(one: Any, other: Any) -> float:
    """The largest difference."""
    import numpy as np

    return float(np.abs(one - other).max())


def targets(touching: bool, other: Any) -> dict[str, float]:
    """Both flow targets of the same masks, and both masks of the same perfect maps."""
    import numpy as np
    from learned_instances import accuracy

    from copick_tools.volumes.decoding import FULL, UNIT, Decoding, Maps, decode
    from copick_tools.volumes.flow_fields import flow_fields

    ids = masks(touching)
    name = "touching" if touching else "apart"
    flows, theirs = flow_fields(ids[None])[1:, 0], other[name]
    inside = ids > 0
    cosine = (flows * theirs).sum(axis=0)
    across = (flow_fields(ids[None], across=True)[1:, 0] * theirs).sum(axis=0)
    rim = inside & at_another(ids)
    given = np.concatenate([np.zeros((1, 1, *ids.shape)), theirs[:, None]])
    maps = Maps(
        "flows",
        np.where(inside, FULL, 0).astype(np.uint8)[None],
        inside.astype(np.uint8)[None],
        np.round(given * UNIT).astype(np.int8),
    )
    made = decode(maps, Decoding(limits=(15, np.inf))).ids
    return {
        "objects": int(ids.max()),
        "cosine": float(cosine[inside].mean()),
        "away": float(cosine[inside & ~rim].mean()),
        "across": float(across[inside].mean()),
        "rim": float(rim.sum() / inside.sum()),
        "ours": accuracy(ids[None], made),
        "theirs": accuracy(ids[None], other[f"{name} masks"][None].astype(np.int64)),
        "each other": accuracy(made, other[f"{name} masks"][None].astype(np.int64)),
    }


def at_another(ids: Any) -> Any:
    """Where a voxel beside is of another object."""
    import numpy as np

    padded, found = np.pad(ids, 1), np.zeros(ids.shape, bool)
    for y, x in ((0, 1), (2, 1), (1, 0), (1, 2)):
        beside = padded[y : y + ids.shape[0], x : x + ids.shape[1]]
        found |= (beside > 0) & (beside != ids)
    return found


def child(side: str, work: Path) -> None:
    """Do one side's part."""
    if side == "theirs":
        theirs(work)
    else:
        print(json.dumps(compared(work)))


def measured(python: Path, work: Path) -> dict[str, Any]:
    """See `compared`. Raises SystemExit where one of both fails."""
    for side, interpreter in (("theirs", str(python)), ("ours", sys.executable)):
        found = common.child(__file__, ["--work", str(work), "--side", side], interpreter)
        if found is None:
            raise SystemExit(1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.side:
        child(asked.side, asked.work)
        return
    python = peers.python("cellpose")
    if python is None:
        raise SystemExit(1)
    with tempfile.TemporaryDirectory() as work:
        found = measured(python, Path(work))
    kinds = [(kind, found[kind]) for kind in ("apart", "touching")]
    common.write(
        f"A small network of Cellpose's own kind with random weights, written by {peers.version('cellpose')} and run by both:",
        common.table(
            ["largest difference"],
            [
                ["segment_anything's weights, renamed: embedding of an image", f"{found['embedding']:.1e}"],
                ["the same: masks and scores of a point", f"{max(found['prompted'], found['scores']):.1e}"],
                ["raw maps of 2 tiles of 256 x 256", f"{found['tiles']:.1e}"],
                ["an image of 256 x 256 by `eval`: probability and flows", f"{found['image']:.1e}"],
                ["a volume of 64 x 64 x 64, three planes: flows", f"{found['volume']:.1e}"],
            ],
        ),
        f"In 3D, voxels that both call object or background alike: {found['same']:.2%}.",
        common.table(
            [
                "cosine of flows",
                "away from other objects",
                "by `target.across`",
                "masks: ours",
                "masks: Cellpose",
                "masks: of each other",
            ],
            [
                [
                    f"{row['objects']} {kind}",
                    *(f"{row[k]:.4f}" for k in ("cosine", "away", "across", "ours", "theirs", "each other")),
                ]
                for kind, row in kinds
            ],
        ),
        f"Beside another object lie {found['touching']['rim']:.1%} of the touching ones' voxels.",
        common.provenance(("copick-tools", "numpy", "torch", "transformers"), "nothing is trained"),
    )


if __name__ == "__main__":
    sys.exit(main())

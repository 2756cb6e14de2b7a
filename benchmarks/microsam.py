"""micro-SAM's steps here and in micro-SAM itself, in one process of its environment. No weights are downloaded.

First block: a network of its kind, small, with random weights, in a file as micro-SAM exports it: its maps of a slice by its own
`InstanceSegmentationWithDecoder` and by ours, and its masks of the same points. Second: prompts of the same maps, and what suppression
keeps of the same masks. Third: instances of the same perfect maps.

    python benchmarks/microsam.py
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import common
import peers

SPACING = 20.0  # angstrom; nothing here depends on it
WIDTH, DEPTH, HEADS, SIDE = 32, 2, 2, 1024  # micro-SAM's code needs images of 1024 for its prompts
SHAPE = (190, 260)
MASKS, SMALLEST, OVERLAP = 120, 25, 0.9
SEEDS = range(20)


# ---- micro-SAM, which imports torchvision for little ------------------------------------------------------------------
def without_torchvision() -> None:
    """Stand in for a torchvision that may be built for another torch: resizing is Pillow's, the rest isn't used here."""
    from PIL import Image

    for name in ("", ".ops", ".ops.boxes", ".transforms", ".transforms.functional", ".utils"):
        module = MagicMock(__spec__=ModuleSpec(f"torchvision{name}", None), __path__=[], __version__="0")
        sys.modules[f"torchvision{name}"] = module
    functional = sys.modules["torchvision.transforms.functional"]
    functional.to_pil_image = Image.fromarray
    functional.resize = lambda image, size: image.resize(size[::-1], Image.Resampling.BILINEAR)


def write_network(file: Path) -> None:
    """Random weights of SAM and of a decoder, as `export_custom_sam_model` writes them."""
    import torch
    from micro_sam.instance_segmentation import get_unetr
    from micro_sam.models.build_sam import _build_sam

    torch.manual_seed(0)
    sam = _build_sam(WIDTH, DEPTH, HEADS, [1], image_size=SIDE)
    decoder = get_unetr(sam.image_encoder, None, "cpu").state_dict()
    state = {name: value for name, value in decoder.items() if not name.startswith("encoder")}
    torch.save({"model_state": sam.state_dict(), "decoder_state": state}, file)


def image() -> Any:
    """(y, x), smooth noise of some scale."""
    import numpy as np
    from scipy import ndimage

    values = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(SHAPE), 3.0)
    return (500 + 80 * values / values.std()).astype(np.float32)


# ---- both ---------------------------------------------------------------------------------------------------------------
def network(work: Path) -> dict[str, Any]:
    """Maps and masks of the same network: the largest differences."""
    import numpy as np
    from micro_sam.inference import batched_inference
    from micro_sam.instance_segmentation import InstanceSegmentationWithDecoder

    from copick_tools.volumes.decoding import FULL

    ours = predictor(work / "small.pt", work)
    own = InstanceSegmentationWithDecoder(ours.promptable.predictor, ours.decoder)
    own.initialize(image())
    theirs = np.stack([own._foreground, own._center_distances, own._boundary_distances])
    direct = ours.decoded(ours.promptable.encode(image()))
    ((_, foreground, _, geometry),) = ours.maps(image()[None])
    stored = np.concatenate([foreground, geometry[:, 0]]) / FULL
    places = np.array([[30, 40], [100, 200], [150, 20], [5, 250]])
    embedding = ours.promptable.encode(image())
    ours.promptable._set(embedding)
    points = places[:, None, ::-1]
    found = batched_inference(
        ours.promptable.predictor,
        None,
        4,
        points=points,
        point_labels=np.ones((4, 1)),
        return_instance_segmentation=False,
    )
    answer = ours.promptable.predict(embedding, places[:, None].astype(np.float32), np.ones((4, 1), int))
    masks = np.stack([np.asarray(one["segmentation"]) for one in found])
    return {
        "maps": float(np.abs(direct - theirs).max()),
        "bytes": float(np.abs(stored - theirs).max() * FULL),
        "pixels": int((masks != (answer.masks[:, 0] > 0)).sum()),
        "of": int(masks.size),
        "iou": float(np.abs(answer.iou[:, 0] - [one["predicted_iou"] for one in found]).max()),
    }


def predictor(file: Path, work: Path) -> Any:
    """The file, converted."""
    from copick_tools.data.project import ProjectObject
    from copick_tools.engines import registry
    from copick_tools.engines.adopt.adopt import adopt
    from copick_tools.engines.adopt.objects import Stated

    thing = ProjectObject("mitochondrion", 1, None, False, (0, 0, 0, 255))
    (out,) = adopt(file, work / f"{file.stem}.ckpt", Stated({"mitochondrion": thing}, "here", likely=SPACING))
    return registry.load(out, "cpu")


def maps(seed: int) -> tuple[Any, Any, Any]:
    """foreground, distance to center, distance to boundary: smooth noise, each (y, x) in [0, 1]."""
    import numpy as np
    from scipy import ndimage

    values = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((3, *SHAPE)), (0, 4, 4))
    return tuple(1 / (1 + np.exp(-2 * one / one.std() - shift)) for one, shift in zip(values, (1, -0.3, -0.3)))


def prompts() -> dict[str, int]:
    """Point prompts of the same maps, of components that end before the image does, and of those that don't."""
    import numpy as np
    from edt import edt
    from micro_sam.instance_segmentation import _derive_point_prompts
    from scipy import ndimage

    from copick_tools.volumes.prompts import component_prompts

    names = ("inside", "same inside", "as deep inside", "at the border", "same at the border", "as deep at the border")
    counts = dict.fromkeys((*names, "unpaired"), 0)
    for seed in SEEDS:
        given = maps(seed)
        theirs = _derive_point_prompts(*(one.copy() for one in given))["points"][:, 0, ::-1]
        ours = component_prompts(*given)
        seeds = (given[0] >= 0.5) & (given[1] < 0.5) & (given[2] < 0.5)
        parts, _ = ndimage.label(seeds)
        depth = edt(parts.astype(np.uint32), black_border=True)
        border = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
        there = {int(parts[y, x]): (int(y), int(x)) for y, x in theirs}
        counts["unpaired"] += abs(len(theirs) - len(ours)) + abs(len(there) - len(theirs))
        for y, x in ours.tolist():
            part = int(parts[y, x])
            where = "at the border" if part in border else "inside"
            counts[where] += 1
            counts[f"same {where}"] += there[part] == (y, x)
            counts[f"as deep {where}"] += bool(depth[there[part]] == depth[y, x])
    return counts


def suppression() -> dict[str, int]:
    """Masks that both keep of the same ones, which overlap, some nearly equal, some as small as the limit."""
    import numpy as np
    import torch
    from micro_sam import util

    from copick_tools.volumes.cuts import Cuts, suppressed

    counts = dict.fromkeys(("masks", "kept", "differently", "at the limit"), 0)
    for seed in SEEDS:
        masks, iou, stability = overlapping(seed)
        kept: list[Any] = []
        painted, util.mask_data_to_segmentation = util.mask_data_to_segmentation, keeping(kept)
        try:
            util.apply_nms(
                [
                    {
                        "segmentation": torch.from_numpy(mask),
                        "predicted_iou": one,
                        "stability_score": other,
                        "bbox": box(mask),
                    }
                    for mask, one, other in zip(masks, iou, stability)
                ],
                min_size=SMALLEST,
                nms_thresh=OVERLAP,
            )
        finally:
            util.mask_data_to_segmentation = painted
        theirs = {np.asarray(one["segmentation"]).tobytes() for one in kept}
        cuts = Cuts.of(masks, (1, *SHAPE), said=(iou, stability))
        large = np.flatnonzero(cuts.sizes > SMALLEST)
        cuts = cuts.take(large)
        rows = suppressed(cuts, cuts.iou * cuts.stability, OVERLAP)
        ours = {masks[large[row]].tobytes() for row in rows}
        counts["masks"] += len(masks)
        counts["kept"] += len(ours)
        counts["differently"] += len(ours ^ theirs)
        counts["at the limit"] += int((masks.sum(axis=(1, 2)) == SMALLEST).sum())
    return counts


def keeping(kept: list[Any]) -> Any:
    """Instead of painting what is left: put it into a list."""
    return lambda masks, **_: kept.extend(masks)


def overlapping(seed: int) -> tuple[Any, Any, Any]:
    """(N, y, x) masks, and two scores of each: discs, most of them several times, a little moved; some squares of 5 x 5."""
    import numpy as np

    rng = np.random.default_rng(seed)
    y, x = np.ogrid[: SHAPE[0], : SHAPE[1]]
    masks = []
    while len(masks) < MASKS:
        center, radius = rng.uniform(20, [SHAPE[0] - 20, SHAPE[1] - 20]), rng.uniform(4, 18)
        for _ in range(rng.integers(1, 5)):
            moved, size = center + rng.normal(0, 0.4, 2), radius * rng.normal(1, 0.02)
            masks.append((y - moved[0]) ** 2 + (x - moved[1]) ** 2 < size**2)
        corner = rng.integers(0, [SHAPE[0] - 5, SHAPE[1] - 5])
        masks.append((y >= corner[0]) & (y < corner[0] + 5) & (x >= corner[1]) & (x < corner[1] + 5))
    found = np.unique(np.stack(masks), axis=0)
    rng.shuffle(found)
    return found, rng.uniform(0.5, 1, len(found)), rng.uniform(0.5, 1, len(found))


def box(mask: Any) -> list[int]:
    """x, y, width, height, as SAM's records have it: its corners are the first and the last pixel."""
    import numpy as np

    y, x = np.nonzero(mask)
    return [int(x.min()), int(y.min()), int(x.max() - x.min()), int(y.max() - y.min())]


def instances() -> dict[str, float]:
    """Instances of the perfect maps of touching ellipses: objects, and mean segmentation accuracy of both."""
    import numpy as np
    from cellpose_sam import masks
    from learned_instances import accuracy
    from torch_em.util.segmentation import watershed_from_center_and_boundary_distances as theirs

    from copick_tools.volumes.decoding import FULL, Decoding, Maps, decode
    from copick_tools.volumes.object_maps import distance_maps

    ids = masks(touching=True)
    center, boundary = distance_maps(ids[None])[:, 0]
    inside = (ids > 0).astype(np.float32)
    made = theirs(center, boundary, inside, 0.5, 0.5, 0.5, 0.0, 0)
    packed = [np.round(one * FULL).astype(np.uint8)[None] for one in (inside, center, boundary)]
    ours = decode(Maps("distances", packed[0], (ids > 0).astype(np.uint8)[None], np.stack(packed[1:])), Decoding()).ids
    return {
        "objects": int(ids.max()),
        "ours": accuracy(ids[None], ours),
        "theirs": accuracy(ids[None], made[None].astype(np.int64)),
        "each other": accuracy(ours, made[None].astype(np.int64)),
    }


def compared(work: Path) -> dict[str, Any]:
    """All of it, in micro-SAM's environment."""
    without_torchvision()
    import torch

    torch.set_num_threads(1)
    write_network(work / "small.pt")
    return {"network": network(work), "prompts": prompts(), "suppression": suppression(), "instances": instances()}


def measured(python: Path) -> dict[str, Any]:
    """See `compared`. Raises SystemExit where it fails."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryDirectory() as folder:
        found = common.child(__file__, ["--work", folder], str(python))
    if found is None:
        raise SystemExit(1)
    return dict(found)


def rows(found: dict[str, Any]) -> list[list[str]]:
    """What was compared, and how it came out."""
    net, prompt, kept, made = (found[name] for name in ("network", "prompts", "suppression", "instances"))
    return [
        ["largest difference of the decoder's maps", f"{net['maps']:.1g}"],
        ["the same as they are held, in bytes, of 255", f"{net['bytes']:.2f}"],
        ["masks of points: pixels that differ", f"{net['pixels']} of {net['of']}"],
        ["masks of points: largest difference of the IoU that is expected", f"{net['iou']:.1g}"],
        ["components of seeds that only one has", f"{prompt['unpaired']}"],
        *(
            [
                f"prompts of components {where}: the same; another as far from the component's end",
                f"{prompt[f'same {where}']}; {prompt[f'as deep {where}'] - prompt[f'same {where}']} of {prompt[where]}",
            ]
            for where in ("inside", "at the border")
        ),
        [f"masks kept of {kept['masks']}; by one alone", f"{kept['kept']}; {kept['differently']}"],
        [
            f"mean segmentation accuracy from perfect maps of {made['objects']} touching objects: ours; micro-SAM's; of each other",
            f"{made['ours']:.4f}; {made['theirs']:.4f}; {made['each other']:.4f}",
        ],
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        print(json.dumps(compared(arguments.work)))
        return
    python = peers.python("microsam")
    if python is None:
        raise SystemExit(1)
    common.write(
        f"The same network with random weights, maps and masks in {peers.version('microsam')} and here:",
        common.table(["micro-SAM and ours"], rows(measured(python))),
        "At the border of an image micro-SAM keeps prompts a pixel farther inside.",
        common.provenance(("copick-tools", "numpy", "torch"), "nothing is trained"),
    )


if __name__ == "__main__":
    sys.exit(main())

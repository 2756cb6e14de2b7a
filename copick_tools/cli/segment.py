"""popsicle segment"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from copick_tools.cli import options, output, predicting
from copick_tools.cli.base import Command
from copick_tools.cli.paths import FilePath
from copick_tools.cli.walking import walk


@click.command(cls=Command, sections=predicting.SECTIONS)
@click.argument("checkpoints", nargs=-1, required=True, metavar="CHECKPOINT...", type=FilePath())
@options.config
@click.option("-i", "--input", "tomogram", metavar="TOMOGRAM", required=True, help="For example wbp@10.012.")
@click.option(
    "-o",
    "--output",
    "segmentation",
    metavar="SEGMENTATION",
    required=True,
    help="For example cells:unet/1?multilabel=true; ends in ?instance=true or ?panoptic=true where instances were learned.",
)
@click.option(
    "--threshold", type=float, help="Least probability of not being background, for labels. [default: the recipe's]"
)
@click.option(
    "-s",
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="How instances are made, for example instances.foreground=0.4 or prompting.mode=apg; keys as in a recipe. "
    "[default: the recipe's]",
)
@click.option(
    "--thresholds",
    "learned",
    metavar="FILE|none",
    help="How instances are made, as calibrate learned it; -s counts more. [default: instance-thresholds.yaml beside "
    "CHECKPOINT, if it is there]",
)
@predicting.prompting
@predicting.sampling
@predicting.tiling
@predicting.task
@options.run_names
@options.split
@options.devices
@options.overwrite
@options.as_json
def segment(
    checkpoints: tuple[Path, ...],
    config: Path,
    tomogram: str,
    segmentation: str,
    threshold: float | None,
    settings: tuple[str, ...],
    learned: str | None,
    run_names: tuple[str, ...],
    split: str | None,
    device: str,
    overwrite: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Label the voxels of a project's tomograms with CHECKPOINT; of several the probabilities are averaged.

    \b
    popsicle segment best.ckpt -c sim/copick.json -i wbp@10.012 -o "unet:unet/1?multilabel=true" --split test
    popsicle segment best.ckpt -c cells/copick.json -i wbp@20 -o "cells:ais/1?panoptic=true"
    popsicle segment best.ckpt -c cells/copick.json -i wbp@20 -o ":ais/1?instance=true"   (one for each object)
    popsicle segment sam-vit-b/ -c cells/copick.json -i wbp@20 -o "vesicle:amg/1?instance=true" --embeddings cache
    popsicle segment ais.ckpt -c cells/copick.json -i wbp@20 -o "cells:apg/1?panoptic=true" --promptable sam-vit-b/
    popsicle segment cpsam -c cells/copick.json -i wbp@20 -o "vesicle:cpsam/1?instance=true"
    A training folder of Octopi or nnU-Net, or a file of Cellpose-SAM, will do in place of a checkpoint.
    See also: popsicle instances, popsicle calibrate, popsicle pick, popsicle localize
    """
    from copick_tools.data import splits, uris
    from copick_tools.data.project import open_project

    source, target = uris.tomogram_uri(tomogram), uris.segmentation_uri(segmentation, output=True, each=True)
    project = open_project(config)
    runs = splits.runs(project, split, run_names)
    from copick_tools.workflows.adopt import opened as adopted
    from copick_tools.workflows.predict import NONE
    from copick_tools.workflows.segment import Segmenting
    from copick_tools.workflows.segment import segment as run_segment

    chosen = replace(predicting.take_options({**given, "threshold": threshold}), thresholds=NONE)
    one = target.name if target.kind in ("instance", "binary") and target.name != "*" else None
    with ExitStack() as stack:
        found = adopted(checkpoints, given["task"], project, source.voxel_spacing, one)
        checkpoint, *others = stack.enter_context(found)
        asked = predicting.take_asked(stack, project, source.voxel_spacing, given)
        chosen = replace(chosen, others=tuple(others), instances=settings, instance_thresholds=learned)
        task = Segmenting(checkpoint, project, source, target, chosen, overwrite, predicting.take_where(given), asked)
        task.check()
        if task.learned.words:
            output.note(task.learned.words)
        walk(run_segment(task, runs, options.device_names(device)), runs, segmentation, as_json)

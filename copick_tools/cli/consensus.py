"""popsicle consensus"""

from __future__ import annotations

from pathlib import Path

import click

from copick_tools.cli import options, output
from copick_tools.cli.base import Command


@click.command(cls=Command)
@options.config
@click.option("-i", "--input", "other", required=True, metavar="URI", help="Of one annotator, by user id.")
@click.option("--reference", required=True, metavar="URI", help="Of the other annotator.")
@click.option("-o", "--output", "written", metavar="SEG", help="What both agree on, of the same kind.")
@click.option("--resample", is_flag=True, help="Bring the input onto the reference's grid.")
@options.run_names
@options.split
@options.overwrite
@options.as_json
def consensus(
    config: Path,
    other: str,
    reference: str,
    written: str | None,
    resample: bool,
    run_names: tuple[str, ...],
    split: str | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """How far two annotators agree on instances, the bound that follows for a model, and what both agree on.

    \b
    The inter-annotator error rate, (FN + FP) / mean number of objects at IoU 0.5, and its half: an estimate of how far either
    is from what many annotators would agree on, which a model may reach.
    popsicle consensus -c project -i "mitochondrion:eva/1?instance=true" --reference "mitochondrion:tom/1?instance=true" \\
      -o "mitochondrion:consensus/1?instance=true"
    See also: popsicle evaluate
    """
    from copick_tools.cli.scores import show_consensus
    from copick_tools.data import splits, uris
    from copick_tools.data.project import open_project
    from copick_tools.workflows.consensus import ConsensusQuestion
    from copick_tools.workflows.consensus import consensus as compare

    question = ConsensusQuestion(
        uris.segmentation_uri(other),
        uris.segmentation_uri(reference),
        uris.segmentation_uri(written, output=True) if written else None,
        resample,
        None if run_names else split,
    )
    project = open_project(config)
    with output.progress("consensus") as move:
        result = compare(project, splits.runs(project, split, run_names), question, overwrite, move)
    failed = [outcome for outcome in result.outcomes if outcome.status == "failed"]
    for outcome in failed:
        output.words(f"run {outcome.run} failed: {outcome.error}" + (f" ({outcome.hint})" if outcome.hint else ""))
    if written:
        skipped = sum(outcome.status == "skipped" for outcome in result.outcomes)
        extra = " (finished already; --overwrite makes them again)" if skipped else ""
        done = len(result.outcomes) - skipped - len(failed)
        output.note(f"consensus: {done} written, {skipped} skipped{extra}, {len(failed)} failed")
    if as_json:
        output.document(result)
    else:
        show_consensus(result)
    if failed:
        click.get_current_context().exit(1)

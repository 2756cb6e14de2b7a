"""Metrics on arrays: no paths, no projects, no logging. The usual ones by name; the modules hold the rest.

Points are (N, 3) xyz in angstrom, volumes are zyx.
"""

from copick_tools.metrics.bootstrap import PairedDifference, interval, paired
from copick_tools.metrics.byu import byu
from copick_tools.metrics.confusion import confusion
from copick_tools.metrics.contingency import Contingency, contingency, panoptic_contingency
from copick_tools.metrics.curves import (
    ScoredPicks,
    average_precision,
    calibration_error,
    precision_recall_curve,
    reliability,
    scored_picks,
)
from copick_tools.metrics.dice import dice, iou, overlap_counts
from copick_tools.metrics.fbeta import aggregate, fbeta, precision_recall
from copick_tools.metrics.instances import InstanceMatch, instance_numbers, match_instances
from copick_tools.metrics.localization import localization
from copick_tools.metrics.match import match
from copick_tools.metrics.outcomes import outcomes
from copick_tools.metrics.partition import partition_numbers
from copick_tools.metrics.points import PointScores, score_points
from copick_tools.metrics.surface import surface_counts, surface_dice
from copick_tools.metrics.table import PointRule, PointTable

__all__ = [
    "Contingency",
    "InstanceMatch",
    "PairedDifference",
    "PointRule",
    "PointScores",
    "PointTable",
    "ScoredPicks",
    "aggregate",
    "average_precision",
    "byu",
    "calibration_error",
    "confusion",
    "contingency",
    "dice",
    "fbeta",
    "instance_numbers",
    "interval",
    "iou",
    "localization",
    "match",
    "match_instances",
    "outcomes",
    "overlap_counts",
    "paired",
    "panoptic_contingency",
    "partition_numbers",
    "precision_recall",
    "precision_recall_curve",
    "reliability",
    "score_points",
    "scored_picks",
    "surface_counts",
    "surface_dice",
]

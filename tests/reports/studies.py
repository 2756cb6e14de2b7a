"""Searches and benchmark runs to make reports of, in whatever shape a test wants."""

from __future__ import annotations

import math

from copick_tools.recipes.learning_curve_results import AnnotatedSubset, LearningCurveResult, LearningPoint
from copick_tools.recipes.study_results import (
    BenchResult,
    BenchRow,
    SearchRecord,
    SearchResult,
    Spread,
    TrialResult,
    Usage,
)

OBJECTS = ("apo-ferritin", "ribosome", "virus-like-particle", "beta-galactosidase", "thyroglobulin", "beta-amylase")
PATCHES = ([64, 64, 64], [96, 96, 96], [64, 96, 96], [128, 128, 128])
LOSSES = ("tversky", "focal", "focal-tversky", "tversky-focal")
CHANNELS = ([16, 32, 64], [32, 64, 128, 128], [32, 96, 96, 96, 112], [48, 64, 80, 80])
GPU = "NVIDIA H100 80GB HBM3"


def trial(number: int, **changes) -> TrialResult:
    """A trial that does better the nearer its learning rate is to 5e-4; every fifth is pruned, every eleventh failed."""
    chance = [(number * prime * 0.6180339887) % 1 for prime in (2, 3, 5, 7, 11)]
    values = {
        "optimizer.lr": 10 ** (-4.2 + 1.8 * chance[0]),
        "optimizer.weight_decay": 10 ** (-4 + 2 * chance[1]),
        "loss.name": LOSSES[int(4 * chance[2])],
        "loss.alpha": 0.1 + 0.4 * chance[3],
        "train.batch_size": 4 * (1 + int(12 * chance[4])),
        "train.patch": PATCHES[int(4 * chance[1])],
        "octopi.channels": CHANNELS[int(4 * chance[3])],
        "model.attention": chance[0] < 0.3,
    }
    score = 0.78 - 0.25 * abs(math.log10(values["optimizer.lr"] / 5e-4)) - 0.05 * chance[4] - 0.04 * chance[2]
    state = "failed" if number % 11 == 10 else "pruned" if number % 5 == 4 else "complete"
    document = {
        "number": number,
        "state": state,
        "score": None if state == "failed" else score - 0.1 * (state == "pruned"),
        "seconds": 1500.0 + 40 * number,
        "values": values,
        "error": "out of memory: batch_size 48 x 128^3 doesn't fit" if state == "failed" else None,
    }
    return TrialResult(**{**document, **changes})


def search_result(count: int = 40, /, **changes) -> SearchResult:
    """A search of so many trials; the last one is still running where there are many."""
    found = [trial(number) for number in range(count)]
    if count > 8:
        found.append(trial(count, state="running", score=None, seconds=None, error=None))
    best = max((t for t in found if t.state == "complete"), key=lambda t: t.score, default=None)
    names = ["optimizer.lr", "octopi.channels", "loss.name", "train.patch", "train.batch_size", "loss.alpha"]
    shares = dict(zip(names, (0.52, 0.17, 0.12, 0.09, 0.05, 0.03)))
    document = {
        "task": "phantom",
        "family": "octopi",
        "metric": "F4 by rule kaggle on split val",
        "trials": found,
        "best": best.number if best else None,
        "score": best.score if best else None,
        "recipe": "searches/phantom/octopi/best.yaml" if best else None,
        "checkpoint": f"searches/phantom/octopi/trials/{best.number:04d}/best.ckpt" if best else None,
        "command": ["phantom/octopi", "-c", "data/phantom/copick.json", "--out", "searches/phantom/octopi"],
        "importances": {**shares, "optimizer.weight_decay": 0.015, "model.attention": 0.005} if count > 8 else None,
    }
    return SearchResult(**{**document, **changes})


def search_record(**changes) -> SearchRecord:
    """What that search searches."""
    document = {
        "recipe": {"task": "phantom"},
        "space": {
            "optimizer.lr": {"low": 1e-4, "high": 1e-3, "log": True, "step": None},
            "train.batch_size": {"low": 4, "high": 48, "log": False, "step": 4},
            "train.patch": {"choices": [list(patch) for patch in PATCHES]},
        },
        "project": "data/phantom/copick.json",
        "metric": "F4 by rule kaggle on split val",
        "seed": 0,
    }
    return SearchRecord(**{**document, **changes})


def spread(*values: float | None) -> Spread:
    """Of numbers by seed."""
    known = [value for value in values if value is not None]
    mean = sum(known) / len(known) if known else None
    sd = math.sqrt(sum((v - mean) ** 2 for v in known) / (len(known) - 1)) if len(known) > 1 else None
    return Spread(mean=mean, sd=sd, values=list(values))


def bench_row(name: str, score: float | None, seeds: int = 3, **changes) -> BenchRow:
    """A recipe with so many seeds, each a little apart."""
    scores = [None if score is None else score + 0.012 * (seed - 1) for seed in range(seeds)]
    objects = {
        obj: spread(*(None if s is None else min(1.0, s + 0.06 * (3 - i)) for s in scores))
        for i, obj in enumerate(OBJECTS)
    }
    document = {
        "name": name,
        "family": name,
        "seeds": list(range(seeds)),
        "score": spread(*scores),
        "ci95": None if score is None else (score - 0.05, score + 0.04),
        "rank": 1 if seeds >= 3 else None,
        "objects": objects,
        "parameters": 3_259_333,
        "train": Usage(seconds=5400.0, memory=5 * 2**30, gpu_memory=21 * 2**30, energy=1.62e6, device=GPU, starts=1),
        "seconds_per_run": 4.27,
        "budget": "40000 steps of 16 x 96x96x96 voxels",
    }
    return BenchRow(**{**document, **changes})


def bench_result(rows: list[BenchRow] | None = None, **changes) -> BenchResult:
    """Three recipes and one that failed, beside two rows of the paper."""
    usual = [
        bench_row("octopi", 0.717),
        bench_row("swinunetr", 0.702, parameters=62_186_953, rank=1),
        bench_row("deepetpicker", 0.551, rank=3, parameters=None, seconds_per_run=0.083),
        bench_row("nnunet", None, seeds=0, train=None, parameters=None, ci95=None, seconds_per_run=None).model_copy(
            update={"rank": None, "errors": ["seed 0, train: out of memory"], "objects": {}}
        ),
    ]
    document = {
        "task": "phantom",
        "metric": "F4, rule kaggle",
        "split": "test",
        "runs": 121,
        "simulated": False,
        "rows": usual if rows is None else rows,
        "paper": {
            "Octopi": {"score": 0.717, **dict(zip(OBJECTS, (0.896, 0.879, 0.922, 0.59, 0.571, 0.459)))},
            "nnU-Net": {"score": 0.648, **dict(zip(OBJECTS, (0.706, 0.803, 0.94, 0.561, 0.482, 0.285)))},
        },
        "notes": ["Each training: 40000 steps of 16 x 96x96x96 voxels."],
        "versions": {"copick-tools": "1.0", "torch": "2.8.0"},
    }
    return BenchResult(**{**document, **changes})


def curve_result(**changes) -> LearningCurveResult:
    """A learning curve of two objects, from 1 to 19 picks, three trainings each."""
    points = []
    for index, objects in enumerate((1, 2, 4, 8, 16, 19)):
        mean = (0.21, 0.35, 0.52, 0.64, 0.71, 0.73)[index]
        values = [mean - 0.03, mean, mean + 0.03]
        half = objects // 2
        subsets = [
            AnnotatedSubset(
                seed=seed,
                objects=objects,
                by_object={"ribosome": objects - half, "apo-ferritin": half},
                runs=[f"TS_{number}" for number in range(1 + objects // 8)],
                share=objects / 19 * (0.9 + 0.05 * seed) if objects < 19 else 1.0,
                region=None if objects == 19 else f"annotated:learning-curve/{objects}?multilabel=true",
            )
            for seed in range(3)
        ]
        points.append(
            LearningPoint(
                objects=objects,
                subsets=subsets,
                repeats=[0, 1, 2],
                score=Spread(mean=mean, sd=0.03, values=values),
                ci95=(mean - 0.08, mean + 0.06),
                scores_by_object={
                    "ribosome": Spread(mean=mean + 0.05, sd=0.03, values=values),
                    "apo-ferritin": Spread(mean=mean - 0.2 if half else None, values=values),
                },
                train=Usage(seconds=600.0, memory=2**30),
            )
        )
    document = {
        "task": "phantom-sim",
        "metric": "F4, rule kaggle",
        "simulated": True,
        "recipe": "phantom-sim/tiny",
        "family": "octopi",
        "unit": "picks",
        "total": {"ribosome": 10, "apo-ferritin": 9},
        "train_runs": ["TS_0", "TS_1", "TS_2"],
        "split": "test",
        "runs": 7,
        "run_names": [f"TS_{number}" for number in range(3, 10)],
        "config": "/data/sim/copick.json",
        "seed": 0,
        "budget": "20 steps of 2 x 16x24x24 voxels",
        "command": ["learning-curve", "phantom-sim/tiny", "-c", "/data/sim/copick.json", "--out", "curve"],
        "points": points,
    }
    return LearningCurveResult(**{**document, **changes})

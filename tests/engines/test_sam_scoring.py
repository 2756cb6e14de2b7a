"""Validation by simulated prompts, of models that know the answer, half of it, or nothing."""

import numpy as np
import pytest
from training.cells import annotated

from copick_tools.engines.promptable.scoring import Asking, dices, scores
from copick_tools.inference.encoded import Encoded
from copick_tools.inference.oracle import Oracle
from copick_tools.inference.promptable import Answer
from copick_tools.training.instance_targets import Annotated
from copick_tools.volumes.cuts import Cuts
from copick_tools.volumes.normalize import Intensity

LABELS, IDS = annotated(0)
ONE_BY_ONE = LABELS * 1000 + IDS
STATISTICS = Intensity(-10, 10, 0, 1)


class Everything:
    """Answers with all that it sees."""

    identity, side = "everything", 0

    def encode(self, image, place=None):
        return {"image": image}

    def predict(self, embedding, points=None, labels=None, boxes=None, masks=None, *, several=False):
        count = len(points if points is not None else boxes)
        return Answer(np.ones((count, 1, *embedding["image"].shape), np.float32), np.ones((count, 1)))


TRUTH = Annotated(LABELS, IDS)


def found(model, annotated=TRUTH, **how):
    encoded = Encoded(model, np.zeros(LABELS.shape, np.float32), STATISTICS)
    return scores(encoded, annotated, 1.0, Asking(smallest=4, **how))


def test_who_knows_scores_one():
    numbered = np.unique(ONE_BY_ONE * (LABELS > 0), return_inverse=True)[1].reshape(LABELS.shape)
    said = found(Oracle(numbered), slices=3)
    assert len(said) >= 6
    assert np.mean(said) > 0.9  # what one object shows in a slice may be two pieces


def test_who_says_everything_scores_little():
    assert 0 < np.mean(found(Everything(), slices=3)) < 0.6


def test_networks_and_what_is_ignored_are_not_asked_for():
    every = found(Everything())
    assert len(found(Everything(), uncut=(5,))) < len(every)
    changed = LABELS.copy()
    changed[LABELS == 2] = 255
    assert len(found(Everything(), Annotated(changed, IDS))) < len(every)


def test_nothing_annotated_no_scores():
    assert found(Everything(), Annotated(LABELS * 0, IDS * 0)) == []


def test_a_region_alone_is_judged():
    region = np.zeros(LABELS.shape, bool)
    region[:, :, :16] = True
    inside, everywhere = found(Everything(), Annotated(LABELS, IDS, region)), found(Everything())
    assert 0 < len(inside) < len(everywhere)
    assert min(inside) > 0


def test_dice_by_hand():
    wanted = np.zeros((2, 4, 4), bool)
    wanted[0, :2] = wanted[1, 2:] = True
    half = np.zeros((2, 4, 4), bool)
    half[0, 0] = half[1] = True
    known = np.ones((4, 4), bool)
    assert dices(wanted, Cuts.of(half, (1, 4, 4)), known).tolist() == pytest.approx([2 / 3, 2 / 3])
    known[:2] = False
    assert dices(wanted, Cuts.of(half, (1, 4, 4)), known).tolist() == [0, 1]

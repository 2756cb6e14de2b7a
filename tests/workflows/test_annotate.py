"""Annotating without a window: what is kept, what is stored, and what is refused."""

import numpy as np
import pytest

from copick_tools.cli import annotate as command
from copick_tools.data import drafts, read
from copick_tools.data.uris import SegmentationUri, segmentation_uri, tomogram_uri
from copick_tools.data.write import has_segmentation, write_segmentation
from copick_tools.errors import FormatError, NotFoundError, PopsicleError, UsageError
from copick_tools.workflows import annotate as workflow

SHAPE, RUN = (24, 48, 48), "TS_1"
OUTPUT = "ribosome:alice/1?instance=true"


def balls(*ids):
    """A cube for each id, one after another."""
    found = np.zeros(SHAPE, np.uint32)
    for place, number in enumerate(ids):
        found[2:6, 2:6, 6 * place : 6 * place + 4] = number
    return found


class Scripted:
    """A window in which a person does what a list says: arrays are committed, ``undo`` is asked for, an error is a crash."""

    def __init__(self, *steps):
        self.steps = steps
        self.seen = []

    def __call__(self, scene):
        self.scene, self.shown = scene, scene.ids
        return self

    def ids(self):
        return self.shown

    def show(self, ids):
        self.shown = ids

    def run(self, every, save, undo):
        self.every = every
        for step in self.steps:
            if isinstance(step, Exception):
                raise step
            if isinstance(step, str):
                {"undo": undo, "save": save}[step]()
            else:
                self.shown[...] = step  # as micro-SAM does it: in place, and nothing is told
            self.seen.append(self.shown.copy())


def asked(project, **more):
    return workflow.Annotating(project, RUN, tomogram_uri("wbp@10"), segmentation_uri(OUTPUT, output=True), **more)


def stored(project, uri=OUTPUT):
    return read.read_segmentation(project, RUN, segmentation_uri(uri)).numpy()


def draft_of(project):
    return drafts.Draft.of(project, RUN, segmentation_uri(OUTPUT, output=True))


def test_no_two_outputs_share_a_draft(project):
    texts = ["ribosome:alice/b-1?instance=true", "ribosome:alice-b/1?instance=true"]
    one, other = (drafts.Draft.of(project, RUN, segmentation_uri(text, output=True)).folder for text in texts)
    assert one != other


def put(project, ids, uri):
    found = segmentation_uri(uri, output=True)
    write_segmentation(project, RUN, SegmentationUri(found.name, found.user, found.session, 10.0, found.kind), ids)


def test_what_is_committed_is_stored(project):
    window = Scripted(balls(3), "save", balls(3, 70_000))
    result = workflow.annotate(asked(project), window, every=5.0)
    assert (result.written, result.objects, result.added, result.removed) == (True, 2, 2, 0)
    assert result.output == "ribosome:alice/1@10?instance=true"
    np.testing.assert_array_equal(stored(project), balls(3, 70_000))
    assert window.scene.image.shape == SHAPE
    assert window.scene.image.dtype == np.float32
    assert window.scene.ids.dtype == np.uint32
    assert window.every == 5.0
    assert not draft_of(project).folder.exists()


def test_it_begins_with_what_is_asked_for_and_leaves_that_alone(project):
    put(project, balls(1, 2, 9).astype(np.uint16), "ribosome:ais/1?instance=true")
    initial = segmentation_uri("ribosome:ais/1?instance=true")
    window = Scripted(balls(1, 0, 9, 4))
    result = workflow.annotate(asked(project, initial=initial), window)
    np.testing.assert_array_equal(stored(project), balls(1, 0, 9, 4))
    np.testing.assert_array_equal(stored(project, "ribosome:ais/1?instance=true"), balls(1, 2, 9))
    assert (result.objects, result.added, result.removed, result.changed) == (3, 1, 1, 0)


def test_of_a_panoptic_segmentation_the_object_counts(project):
    labels = (balls(1, 1, 1) > 0) * np.uint16(2)
    labels[balls(0, 5) > 0] = 1  # the ribosome
    put(project, np.stack([labels, balls(1, 5, 2).astype(np.uint16)]), "cells:m2f/1?panoptic=true")
    window = Scripted()
    workflow.annotate(asked(project, initial=segmentation_uri("cells:m2f/1?panoptic=true")), window)
    np.testing.assert_array_equal(stored(project), balls(0, 5))


def test_an_annotation_isn_t_replaced_unasked(project):
    workflow.annotate(asked(project), Scripted(balls(1)))
    window = Scripted(balls(2))
    with pytest.raises(PopsicleError, match="is there already") as caught:
        workflow.annotate(asked(project), window)
    assert "--overwrite goes on with it" in caught.value.hint
    assert not hasattr(window, "scene")  # said before anybody works for hours
    again = Scripted(balls(1, 2))
    result = workflow.annotate(asked(project, overwrite=True), again)
    assert (result.added, result.changed) == (1, 0)
    np.testing.assert_array_equal(stored(project), balls(1, 2))


def test_what_somebody_else_stored_meanwhile_stays(project):
    class Late(Scripted):
        def run(self, *how):
            super().run(*how)
            put(project, balls(8), OUTPUT)

    with pytest.raises(PopsicleError, match="written meanwhile"):
        workflow.annotate(asked(project), Late(balls(1)))
    np.testing.assert_array_equal(stored(project), balls(8))
    np.testing.assert_array_equal(draft_of(project).latest(), balls(1))


def test_nothing_is_written_where_nothing_is_there(project):
    result = workflow.annotate(asked(project), Scripted())
    assert (result.written, result.objects) == (False, 0)
    assert not has_segmentation(project, RUN, segmentation_uri(OUTPUT))
    assert not draft_of(project).folder.exists()
    assert workflow.annotate(asked(project, write_empty=True), Scripted()).written
    assert not stored(project).any()


def test_removing_all_is_kept_until_it_is_said_to_be_meant(project):
    workflow.annotate(asked(project), Scripted(balls(1)))
    result = workflow.annotate(asked(project, overwrite=True), Scripted(balls()))
    assert (result.written, result.removed) == (False, 1)
    np.testing.assert_array_equal(stored(project), balls(1))
    workflow.annotate(asked(project, overwrite=True, write_empty=True), Scripted())
    assert not stored(project).any()


def test_a_crash_loses_nothing_that_was_saved(project, caplog):
    with pytest.raises(RuntimeError, match="the window died"):
        workflow.annotate(
            asked(project), Scripted(balls(1), "save", balls(1, 2), "save", RuntimeError("the window died"))
        )
    assert not has_segmentation(project, RUN, segmentation_uri(OUTPUT))
    window = Scripted()
    caplog.set_level("INFO", "copick_tools")
    workflow.annotate(asked(project), window)
    assert "taking up the draft" in caplog.text
    np.testing.assert_array_equal(stored(project), balls(1, 2))
    assert not draft_of(project).folder.exists()


def test_a_draft_is_dropped_or_gone_back_in_if_that_is_said(project):
    crash = RuntimeError("x")
    with pytest.raises(RuntimeError):
        workflow.annotate(asked(project), Scripted(balls(1), "save", balls(1, 2), "save", crash))
    window = Scripted(crash)
    with pytest.raises(RuntimeError):
        workflow.annotate(asked(project, draft="undo"), window)
    np.testing.assert_array_equal(window.scene.ids, balls(1))
    with pytest.raises(RuntimeError):
        workflow.annotate(asked(project, draft="discard"), window)
    assert not window.scene.ids.any()
    draft_of(project).discard()
    with pytest.raises(UsageError, match="no draft"):
        workflow.annotate(asked(project, draft="undo"), window)


def test_a_draft_and_something_else_to_begin_with_is_a_question(project):
    put(project, balls(7), "ribosome:ais/1?instance=true")
    with pytest.raises(RuntimeError):
        workflow.annotate(asked(project), Scripted(balls(1), "save", RuntimeError("x")))
    initial = segmentation_uri("ribosome:ais/1?instance=true")
    with pytest.raises(UsageError, match="left a draft") as caught:
        workflow.annotate(asked(project, initial=initial), Scripted())
    assert "--draft use" in caught.value.hint
    workflow.annotate(asked(project, initial=initial, draft="use"), Scripted())
    np.testing.assert_array_equal(stored(project), balls(1))


def test_commits_are_taken_back_one_by_one(project):
    window = Scripted(
        balls(1), "save", balls(1, 2), "save", balls(1, 2, 3), "undo", "undo", "undo", "undo", balls(0, 0, 4)
    )
    workflow.annotate(asked(project), window)
    back = [set(np.unique(ids)) - {0} for ids in window.seen[5:9]]
    assert back == [
        {1, 2},
        {1},
        set(),
        set(),
    ]  # what wasn't saved yet is a state, too; before the first there is nothing
    np.testing.assert_array_equal(stored(project), balls(0, 0, 4))


def test_equal_states_are_one_and_old_ones_go(project, monkeypatch):
    monkeypatch.setattr(drafts, "KEPT", 3)
    draft = draft_of(project)
    assert draft.keep(balls(1))
    assert not draft.keep(balls(1))
    assert all(draft.keep(balls(*range(1, number))) for number in range(3, 8))
    assert len(draft.states) == 3
    np.testing.assert_array_equal(draft.latest(), balls(1, 2, 3, 4, 5, 6))
    assert draft.latest().dtype == np.uint32


def test_a_full_disk_is_no_reason_to_end(project, monkeypatch, caplog):
    def full(self, ids):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(drafts.Draft, "keep", full)
    workflow.annotate(asked(project), Scripted(balls(1), "save"))
    assert "no draft can be kept" in caplog.text
    np.testing.assert_array_equal(stored(project), balls(1))


def test_what_can_t_be_stored_stays_a_draft(project, monkeypatch):
    def full(*how):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(workflow, "write_segmentation_volume", full)
    with pytest.raises(PopsicleError, match="No space left") as caught:
        workflow.annotate(asked(project), Scripted(balls(1)))
    assert "draft" in caught.value.hint
    np.testing.assert_array_equal(draft_of(project).latest(), balls(1))


def test_a_damaged_draft_is_said(project):
    with pytest.raises(RuntimeError):
        workflow.annotate(asked(project), Scripted(balls(1), "save", RuntimeError("x")))
    draft_of(project).states[-1].write_bytes(b"no zip")
    assert draft_of(project).keep(balls(1))  # and is no reason to keep nothing more
    draft_of(project).states[-1].unlink()
    with pytest.raises(FormatError, match="damaged"):
        workflow.annotate(asked(project), Scripted())


def test_two_windows_of_one_object_are_refused(project):
    class Second(Scripted):
        def run(self, *how):
            with pytest.raises(PopsicleError, match="another window"):
                workflow.annotate(asked(project), Scripted())
            super().run(*how)

    workflow.annotate(asked(project), Second(balls(1)))


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (np.zeros((3, 3, 3), np.uint32), "shape"),
        (np.full(SHAPE, -1), "whole numbers"),
        (np.full(SHAPE, 1.5), "whole numbers"),
        (np.full(SHAPE, np.nan), "whole numbers"),
        (np.full(SHAPE, 2**32), "whole numbers"),
    ],
)
def test_what_is_no_id_is_refused(ids, said):
    with pytest.raises(FormatError, match=said):
        workflow.checked(ids, SHAPE)


def test_ids_up_to_the_last_are_kept():
    for kind in (np.int64, np.float64, np.uint32):
        found = workflow.checked(np.full(SHAPE, 2**32 - 1, kind), SHAPE)
        assert found.dtype == np.uint32
        assert (found == 2**32 - 1).all()


def test_what_is_asked_wrongly(project):
    multilabel = segmentation_uri("ribosome:alice/1?multilabel=true", output=True)
    with pytest.raises(UsageError, match="no instances of one object"):
        workflow.Annotating(project, RUN, tomogram_uri("wbp"), multilabel).check()
    with pytest.raises(UsageError, match="holds no instances"):
        asked(project, initial=segmentation_uri("truth:truth/0?multilabel=true")).check()
    unknown = segmentation_uri("ribosom:alice/1?instance=true", output=True)
    with pytest.raises(NotFoundError, match="no object 'ribosom'") as caught:
        workflow.Annotating(project, RUN, tomogram_uri("wbp"), unknown).check()
    assert "ribosome" in caught.value.hint
    other = segmentation_uri("ribosome:alice/1@20?instance=true", output=True)
    with pytest.raises(UsageError, match="another voxel spacing"):
        workflow.annotate(workflow.Annotating(project, RUN, tomogram_uri("wbp"), other), Scripted())


def test_the_command_says_what_it_stored(project, popsicle, monkeypatch):
    window = Scripted(balls(1, 2))
    monkeypatch.setattr(command, "_window", lambda *how: window)
    given = ("-c", project.config, "-i", "wbp@10", "-r", RUN, "-o", OUTPUT)
    found = popsicle.json("annotate", *given)
    assert found["kind"] == "annotate"
    assert (found["objects"], found["written"]) == (2, True)
    assert popsicle("annotate", *given, code=1).stderr.startswith(
        "Error: ribosome:alice/1@10?instance=true of run TS_1"
    )
    done = popsicle("annotate", *given, "--overwrite")
    assert "0 new, 0 removed, 0 changed" in done.stdout


def test_one_run_at_a_time(project, popsicle):
    given = ("-c", project.config, "-i", "wbp@10", "-o", OUTPUT)
    assert "one run" in popsicle("annotate", *given, code=2).stderr
    assert "one run" in popsicle("annotate", *given, "-r", "TS_1", "-r", "TS_2", code=2).stderr
    assert "TS_1" in popsicle("annotate", *given, "-r", "TS_l", code=1).stderr


def test_embeddings_are_micro_sams(project, popsicle, tmp_path):
    given = ("-c", project.config, "-i", "wbp@10", "-o", OUTPUT, "-r", RUN, "--embeddings", tmp_path)
    assert "--microsam" in popsicle("annotate", *given, code=2).stderr

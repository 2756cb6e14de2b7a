"""thresholds.yaml: what it accepts, what it means, and which tomograms a selection chooses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copick_tools.errors import FormatError, NotFoundError
from copick_tools.recipes.load import dump_yaml, parse, read_yaml
from copick_tools.recipes.thresholds import Isotonic, ObjectSetting, Selection, Setting, Temperature, Thresholds

BEST = {"TS_1": 0.2, "TS_2": 0.9, "TS_3": 0.5, "TS_4": 0.5}  # of six tomograms: two have no candidate


def document(**changes):
    objects = {
        "ribosome": ObjectSetting(method="peaks", threshold=0.1, calibration=Temperature(temperature=0.7, bias=-1.25)),
        "apo-ferritin": ObjectSetting(
            max_volume=None, calibration=Isotonic(scores=(0, 1 / 3, 1), probabilities=(0, 0.1, 0.95))
        ),
    }
    values = {
        "task": "toy",
        "checkpoint": "0" * 64,
        "config": "copick.json",
        "tomogram": "wbp@10",
        "reference": ["*:truth/0"],
        "runs": ["TS_1"],
        "folds": 1,
        "settings": [
            Setting(
                beta=beta,
                rule=rule,
                score=None,
                fitted=0.9,
                objects=objects,
                selections=[Selection(by="quantile", value=share)],
            )
            for beta, rule, share in ((4.0, "kaggle", 1 / 3), (1.0, "one-to-one", 1 / 7))
        ],
    }
    return Thresholds(**{**values, **changes})


class TestDocument:
    def test_it_comes_back_as_it_was_written(self, tmp_path):
        written = document()
        (tmp_path / "thresholds.yaml").write_text(dump_yaml(written))
        found = parse(Thresholds, read_yaml(tmp_path / "thresholds.yaml"), where="it")
        assert found == written
        scores = np.linspace(0, 1, 101)
        for name, setting in written.setting(4).objects.items():
            again = found.setting(4).objects[name].calibration.apply(scores)
            np.testing.assert_array_equal(again, setting.calibration.apply(scores))

    def test_settings_go_by_beta(self):
        found = document()
        assert found.setting(1).rule == "one-to-one"
        assert found.setting(4).rule == "kaggle"
        assert [found.setting(beta).selections[0].value for beta in (1, 4)] == [1 / 7, 1 / 3]
        with pytest.raises(NotFoundError, match="no thresholds for beta 2") as caught:
            found.setting(2)
        assert "4, 1" in caught.value.hint
        assert "--beta 2" in caught.value.hint

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"format": "popsicle-thresholds-0"}, "format"),
            ({"checkpoint": "abc"}, "checkpoint"),
            ({"settings": []}, "settings"),
            ({"minimum": 3}, "unknown key 'minimum'"),
            ({"selections": [{"by": "quantile", "value": 1}]}, "unknown key 'selections'"),
        ],
    )
    def test_what_it_refuses(self, change, reason):
        with pytest.raises(FormatError, match=reason):
            parse(Thresholds, document().model_dump(mode="json") | change, where="it")

    @pytest.mark.parametrize(
        ("selection", "reason"),
        [
            ({"by": "best", "value": 1}, "settings.1.selections.0.by"),
            ({"by": "quantile", "value": 1.5}, "a quantile lies in"),
            ({"by": "quantile", "value": 0.5, "one_per_tomogram": True}, "unknown key '.*one_per_tomogram'"),
        ],
    )
    def test_selections_that_it_refuses(self, selection, reason):
        written = document().model_dump(mode="json")
        written["settings"][1]["selections"] = [selection]
        with pytest.raises(FormatError, match=reason):
            parse(Thresholds, written, where="it")

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"min_volume": 2.0, "max_volume": 1.0}, "max_volume 1 is below min_volume 2"),
            ({"min_score": 1.2}, "min_score"),
            ({"method": "com"}, "method"),
            ({"calibration": {"kind": "temperature", "temperature": 0, "bias": 0}}, "temperature"),
            (
                {"calibration": {"kind": "isotonic", "scores": [0, 1], "probabilities": [0, 0.5, 1]}},
                "2 scores, but 3 prob",
            ),
            ({"calibration": {"kind": "isotonic", "scores": [0, 1], "probabilities": [0.5, 0.4]}}, "have to rise"),
            ({"calibration": {"kind": "isotonic", "scores": [0, 1.5], "probabilities": [0, 1]}}, "scores"),
            ({"calibration": {"kind": "platt", "bias": 0}}, "calibration"),
        ],
    )
    def test_settings_of_an_object_out_of_range(self, change, reason):
        with pytest.raises(FormatError, match=reason):
            parse(ObjectSetting, change, where="it")


class TestCalibration:
    @settings(deadline=None, derandomize=True, max_examples=60)
    @given(
        values=st.lists(st.floats(0, 1), min_size=2, max_size=8),
        temperature=st.floats(0.02, 50),
        bias=st.floats(-12, 12),
        scores=st.lists(st.floats(0, 1), max_size=20),
    )
    def test_order_and_range_are_kept(self, values, temperature, bias, scores):
        knots = tuple(sorted(values))
        scores = np.sort(scores)
        for calibration in (
            Isotonic(scores=(0.0, *knots, 1.0), probabilities=(0.0, *knots, 1.0)),
            Temperature(temperature=temperature, bias=bias),
        ):
            found = calibration.apply(scores)
            assert found.shape == scores.shape
            assert (np.diff(found) >= 0).all()
            assert ((found >= 0) & (found <= 1)).all()

    def test_values_known_by_hand(self):
        half = Isotonic(scores=(0.0, 0.5, 1.0), probabilities=(0.0, 0.2, 1.0))
        np.testing.assert_allclose(half.apply(np.array([0.25, 0.5, 0.75])), [0.1, 0.2, 0.6])
        two = Temperature(temperature=2.0, bias=0.0)  # odds of 0.8 are 4, their root is 2
        tilted = [0.5, 0.999 * 2 / 3 + 0.001 * 0.8]
        np.testing.assert_allclose(two.apply(np.array([0.5, 0.8])), tilted, rtol=1e-12)

    @pytest.mark.parametrize(("temperature", "bias"), [(0.02, -12.0), (0.02, 12.0), (50.0, 0.0)])
    def test_scores_that_are_as_good_as_equal_keep_their_order(self, temperature, bias):
        scores = np.array([0.0, 1e-4, 2e-4, 0.5, 0.9995, 0.9999, 1.0])
        found = Temperature(temperature=temperature, bias=bias).apply(scores)
        assert (np.diff(found) > 0).all()
        assert ((found >= 0) & (found <= 1)).all()


class TestSelection:
    @pytest.mark.parametrize(
        ("by", "value", "chosen"),
        [
            ("threshold", 0.5, {"TS_2", "TS_3", "TS_4"}),
            ("threshold", 0.51, {"TS_2"}),
            ("threshold", 0.0, set(BEST)),
            ("threshold", 1.0, set()),
            ("top-k", 0, set()),
            ("top-k", 1, {"TS_2"}),
            ("top-k", 2, {"TS_2", "TS_3"}),  # of equals, by name
            ("top-k", 99, set(BEST)),
            ("quantile", 0.0, set()),
            ("quantile", 0.5, {"TS_2", "TS_3", "TS_4"}),  # of six, those without candidates included
            ("quantile", 1.0, set(BEST)),
        ],
    )
    def test_choose(self, by, value, chosen):
        selection = Selection(by=by, value=value)
        assert selection.choose(BEST, 6) == chosen
        assert selection.choose(dict(reversed(BEST.items())), 6) == chosen
        assert selection.choose({}, 6) == set()

    @pytest.mark.parametrize(
        ("by", "value"), [("threshold", 1.1), ("quantile", 2), ("top-k", 1.5), ("threshold", -0.1), ("top-k", -1)]
    )
    def test_out_of_range(self, by, value):
        with pytest.raises(ValueError, match="value|lies in|counts"):
            Selection(by=by, value=value)

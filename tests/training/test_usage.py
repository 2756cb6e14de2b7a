"""What a training takes: added up over its starts, kept while it runs."""

import time

import pytest
import torch

from copick_tools.errors import FormatError
from copick_tools.recipes.study_results import Usage
from copick_tools.training import usage
from copick_tools.training.usage import energy, measured, peak_memory

CPU = torch.device("cpu")


def read(path):
    return Usage.model_validate_json(path.read_bytes())


def test_starts_add_up(tmp_path):
    path = tmp_path / "usage.json"
    for start in (1, 2):
        with measured(path, CPU):
            time.sleep(0.05)
        found = read(path)
        assert found.starts == start
        assert found.seconds >= 0.05 * start
    assert found.memory >= 2**24
    assert (found.gpu_memory, found.energy) == (None, None)
    assert found.device == f"cpu, {torch.get_num_threads()} threads"


def test_it_is_kept_meanwhile(tmp_path, monkeypatch):
    monkeypatch.setattr(usage, "BEAT", 0.01)
    path = tmp_path / "usage.json"
    with measured(path, CPU):
        while not path.exists():
            time.sleep(0.01)
        before = read(path).seconds
        time.sleep(0.1)
        assert read(path).seconds > before


def test_it_is_kept_after_a_failure(tmp_path):
    path = tmp_path / "usage.json"

    def fail():
        with measured(path, CPU):
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert read(path).starts == 1


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "usage.json").write_text("{")
    with pytest.raises(FormatError, match="usage.json"), measured(tmp_path / "usage.json", CPU):
        pass


def test_a_peak_is_in_bytes():
    assert 2**24 < peak_memory() < 2**42


def test_a_cpu_tells_no_energy():
    assert energy(CPU) is None

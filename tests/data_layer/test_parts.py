"""Parts of a result survive until it is whole, and are never taken for those of another question."""

import pytest

from copick_tools.data.parts import Parts


def test_a_part_is_there_again_for_the_same_question(tmp_path):
    out = tmp_path / "picks.star"
    Parts(out, {"checkpoint": "a"}).write("TS_1", [1, 2], of=17)
    again = Parts(out, {"checkpoint": "a"})
    assert again.read("TS_1", of=17) == [1, 2]
    assert again.read("TS_2", of=17) is None
    assert again.read("TS_1", of=18) is None, "its own file has changed"
    assert Parts(out, {"checkpoint": "b"}).read("TS_1", of=17) is None
    assert not out.exists()
    again.clear()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"fingerprint": 1, "document": 2}'])
def test_a_damaged_part_is_made_again(tmp_path, damage):
    parts = Parts(tmp_path / "out.csv", 1)
    parts.write("TS_1", {"x": 1.5})
    (path,) = parts.folder.iterdir()
    path.write_text(damage)
    assert parts.read("TS_1") is None
    parts.write("TS_1", {"x": 2.5})
    assert parts.read("TS_1") == {"x": 2.5}


def test_names_are_any_text(tmp_path):
    parts = Parts(tmp_path / "out.csv", 1)
    for name in ("a/b", "..", "ä" * 300, ""):
        parts.write(name, name)
        assert parts.read(name) == name
    assert all(path.parent == parts.folder for path in parts.folder.iterdir())

"""Progress: right answers reach the file and nothing else does; a broken file is kept; the next step follows the prerequisites."""

import json
from pathlib import Path

import pytest
from matplotlib.figure import Figure

import ebmlearn.checks.lesson00 as q
from ebmlearn.checks import base
from ebmlearn.checks.base import Problem
from ebmlearn.course import map as course_map_module
from ebmlearn.course import progress as p
from ebmlearn.course.lessons import Lesson, all_lessons, read_lesson
from ebmlearn.course.map import arrows, columns, course_map, words, write_map


def lesson(number, *needs, exercises=("a", "b")):
    return Lesson(number, f"Title {number}", 60, tuple(needs), tuple(exercises), Path(f"{number}_x.ipynb"))


COURSE = {n.number: n for n in (lesson("00"), lesson("01", "00"), lesson("02", "00", "01"), lesson("05", "01", "03"))}


@pytest.fixture
def recording(tmp_path, monkeypatch):
    """A file, a recorder, and a clock that the test turns."""
    path = tmp_path / "deep" / "progress.json"
    clock = [1000.0]
    monkeypatch.setenv("EBMLEARN_PROGRESS", str(path))
    monkeypatch.setattr(p, "switched_off", lambda: False)
    monkeypatch.setattr(p.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(base, "LISTENERS", listeners := [])
    monkeypatch.setattr(p, "LISTENERS", listeners)
    p.listen()
    return path, clock


def test_a_right_answer_is_written_once_with_its_time(recording):
    path, clock = recording
    assert not q.bowl.check(lambda x: x) and not q.bowl.check(None)
    assert not path.exists(), "only right answers are written"
    clock[0] += 600
    assert q.bowl.check(q.bowl.reference)
    first = p.load(path).lessons["00"]
    assert list(first.passed) == ["bowl"] and first.seconds == 600
    clock[0] += 10 * p.PAUSE  # a night's sleep is not work
    assert q.bowl.check(q.bowl.reference) and q.descend.check(q.descend.reference)
    again = p.load(path).lessons["00"]
    assert again.passed["bowl"] == first.passed["bowl"] and set(again.passed) == {"bowl", "descend"}
    assert again.seconds == 600 + p.PAUSE
    assert [f.name for f in path.parent.iterdir()] == ["progress.json"]


def test_set_up_twice_is_one_recorder(recording):
    p.listen()
    p.listen()
    assert len(p.LISTENERS) == 1


def test_problems_from_elsewhere_are_not_recorded(recording):
    own = Problem(1.0, statement="s", hints=["h"], name="own")
    own.property(lambda x: None)
    assert own.check(1.0) and not recording[0].exists()
    assert p.lesson_of(q.bowl) == "00" and p.lesson_of(own) is None


@pytest.mark.parametrize(
    "broken", ["", "{", "[]", '{"version": 9}', '{"version": 1, "lessons": {"00": 3}, "recording": true}', b"\xff"]
)
def test_a_broken_file_is_kept_and_told(recording, capsys, broken):
    path, _ = recording
    path.parent.mkdir(parents=True)
    path.write_bytes(broken if isinstance(broken, bytes) else broken.encode())
    assert q.bowl.check(q.bowl.reference)
    assert "is kept as progress.json.broken-" in capsys.readouterr().out
    (backup,) = path.parent.glob("*.broken-*")
    assert backup.read_bytes() == (broken if isinstance(broken, bytes) else broken.encode())
    assert list(p.load(path).lessons["00"].passed) == ["bowl"]


def test_a_file_that_cannot_be_written_never_fails_a_check(recording, capsys, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EBMLEARN_PROGRESS", str(tmp_path / "file" / "below" / "progress.json"))
    for _ in range(3):
        assert q.bowl.check(q.bowl.reference)
    assert capsys.readouterr().out.count("progress is not recorded") == 1


def test_an_interrupted_write_leaves_the_old_file(recording, monkeypatch):
    path, _ = recording
    assert q.bowl.check(q.bowl.reference)
    before = path.read_bytes()

    def power_cut(*args):
        raise OSError("power cut")

    monkeypatch.setattr(p.os, "replace", power_cut)
    assert q.descend.check(q.descend.reference)
    assert path.read_bytes() == before and len(list(path.parent.iterdir())) == 1


@pytest.mark.parametrize(
    "name, value",
    [("EBMLEARN_PROGRESS", "off"), ("PYTEST_CURRENT_TEST", "x"), ("JPY_SESSION_NAME", "/home/a/lessons/solutions/00.ipynb")],
)
def test_off(monkeypatch, name, value):
    for other in ("EBMLEARN_PROGRESS", "PYTEST_CURRENT_TEST", "JPY_SESSION_NAME"):
        monkeypatch.delenv(other, raising=False)
    assert not p.switched_off()
    monkeypatch.setenv(name, value)
    assert p.switched_off()


def test_the_tests_themselves_do_not_record():
    assert p.switched_off()


def test_build_and_nbval_do_not_record(monkeypatch, tmp_path):
    from nbformat.v4 import new_notebook

    from tools import build_lessons
    from tools.run_nbval import ENVIRONMENT

    seen = {}

    class Client:
        def __init__(self, nb, **kwargs):
            pass

        def execute(self, env):
            seen.update(env)

    monkeypatch.setattr(build_lessons, "NotebookClient", Client)
    monkeypatch.setenv("EBMLEARN_SMOKE", "1")
    build_lessons.execute(new_notebook(metadata={"ebmlearn": {"lesson": "98_x", "kind": "student"}}), tmp_path)
    assert seen["EBMLEARN_PROGRESS"] == ENVIRONMENT["EBMLEARN_PROGRESS"] == "off" and "EBMLEARN_SMOKE" not in seen


def progress_of(**passed):
    return p.Progress({n[1:]: p.Done(dict.fromkeys(names, "2026-01-01")) for n, names in passed.items()})


@pytest.mark.parametrize(
    "passed, following",
    [
        ({}, "00"),
        ({"n00": ["a"]}, "00"),
        ({"n00": "ab"}, "01"),
        ({"n00": "ab", "n02": "a"}, "02"),  # begun goes first
        ({"n00": "ab", "n01": "ab"}, "02"),
        ({"n00": "ab", "n01": "ab", "n02": "ab"}, "05"),  # 03 is not in the course: it stops nobody
        ({"n02": "ab"}, "00"),
        ({"n00": "ab", "n01": "ab", "n02": "ab", "n05": "ab"}, None),
    ],
)
def test_next_lesson(passed, following):
    found = p.next_lesson(COURSE, progress_of(**passed))
    assert (found.number if found else None) == following


def test_report():
    text = p.report(COURSE, progress_of(n00="ab", n02="a"))
    assert "00  Title 00" in text and "2 of 2     0 min  done" in text and "1 of 2     0 min  begun" in text
    assert "Next: 02_x.ipynb, exercise b (q.b.check)." in text and "builds on 01, not finished" in text
    assert "Every checked exercise" in p.report(COURSE, progress_of(n00="ab", n01="ab", n02="ab", n05="ab"))


def test_the_lessons_of_this_course():
    course = all_lessons()
    assert len(course) >= 10 and course["02"].title == "Spirals: F(x, y)" and course["07"].needs == ("01", "02", "04")
    for number, item in course.items():
        assert item.minutes and len(item.exercises) >= 3, number
        assert item.needs or number == "00", f"lesson {number} says what it needs"
        assert all(need < number for need in item.needs), f"lesson {number} needs a later one"
        module = __import__(f"ebmlearn.checks.lesson{number}", fromlist=["x"])
        assert set(item.exercises) <= set(vars(module)), number


def test_a_notebook_without_a_header_is_told(tmp_path):
    path = tmp_path / "90_x.ipynb"
    path.write_text(json.dumps({"cells": [{"cell_type": "markdown", "source": ["# Title\n"], "metadata": {}}]}))
    with pytest.raises(ValueError, match="to begin with '# NN · title'"):
        read_lesson(path)


def test_map_leaves_out_what_follows():
    assert arrows(COURSE) == [("00", "01"), ("01", "02"), ("01", "05")]
    assert columns(COURSE) == [["00"], ["01"], ["02", "05"]]
    with pytest.raises(ValueError, match="without a circle"):
        arrows({n.number: n for n in (lesson("00", "01"), lesson("01", "00"))})


def test_map_says_what_is_done_without_colour():
    ax = course_map(COURSE, Figure().subplots(), done={"00"}, following="01")
    boxes = {t.get_text()[:2]: t for t in ax.texts if t.get_text()}
    assert set(boxes) == set(COURSE) and "✓" in boxes["00"].get_text() and "✓" not in boxes["01"].get_text()
    assert boxes["01"].get_bbox_patch().get_linewidth() > 2 > boxes["02"].get_bbox_patch().get_linewidth()
    assert words(COURSE).startswith("00 Title 00, the beginning. 01 Title 01, after 00.")


def test_map_file_carries_its_words(tmp_path):
    from PIL import Image

    write_map(tmp_path / "map.png", COURSE)
    with Image.open(tmp_path / "map.png") as picture:
        assert picture.info["Description"] == words(COURSE)
    assert course_map_module.map_size(COURSE)[0] > 3


def test_command(tmp_path, monkeypatch, capsys):
    from ebmlearn.cli import main

    monkeypatch.setenv("EBMLEARN_PROGRESS", str(tmp_path / "p.json"))
    assert main(["progress"]) == 0
    out = capsys.readouterr().out
    assert "0 of 3" in out and "exercise bowl" in out and str(tmp_path / "p.json") in out and not (tmp_path / "p.json").exists()
    assert main(["progress", "--off"]) == 0 and json.loads((tmp_path / "p.json").read_text())["recording"] is False
    assert main(["progress", "--map", str(tmp_path / "map.png")]) == 0 and (tmp_path / "map.png").exists()
    assert "Recording is off" in capsys.readouterr().out
    assert main(["progress", "--on"]) == 0 and main(["progress", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.partition("\n")[2])["recording"] is True
    assert main(["progress", "--on", "--off"]) == 2


def test_off_in_the_file_stops_the_recorder(recording):
    path, _ = recording
    p.save(p.Progress(recording=False), path)
    assert q.bowl.check(q.bowl.reference) and p.load(path).lessons == {}

"""A new author's first ten minutes: begin from the template, build, lint, test the checkers; in a copy of the repository."""

import os
import shutil
import subprocess
import sys

import pytest

from ebmlearn.course.lessons import read_lesson
from tools.accessibility import notebook_problems
from tools.new_lesson import ROOT, main, new_lesson


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """What an author needs of the repository, without lessons and data."""
    root = tmp_path_factory.mktemp("checkout")
    skip = shutil.ignore_patterns("__pycache__", "_resources")
    for folder in ("ebmlearn", "tools", "tests/checks_cases", "docs"):
        shutil.copytree(ROOT / folder, root / folder, ignore=skip)
    for file in ("tests/checks_harness.py", "tests/test_checks.py", "tests/conftest.py", "tests/nbval.cfg", "pyproject.toml"):
        shutil.copyfile(ROOT / file, root / file)
    return root


@pytest.fixture
def run(checkout):
    env = {**os.environ, "PYTHONPATH": str(checkout)}

    def run(*words):
        done = subprocess.run([sys.executable, "-m", *words], cwd=checkout, env=env, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.mark.slow
def test_the_template_builds_and_passes(checkout, run):
    code, said = run("tools.new_lesson", "97", "springs", "Springs")
    assert code == 0 and "lessons/source/97_springs.py" in said
    code, said = run("tools.build_lessons", "97")
    assert code == 0, said
    assert run("tools.build_lessons", "--check")[0] == 0
    student = checkout / "lessons" / "97_springs.ipynb"
    lesson = read_lesson(student)
    assert (lesson.title, lesson.needs, lesson.exercises) == ("Springs", ("00", "01"), ("spring", "force", "variance"))
    code, said = run("tools.course_map")  # the page that the lesson links
    assert code == 0 and notebook_problems(student) == notebook_problems(checkout / "lessons" / "solutions" / student.name) == []
    code, said = run("pytest", "-q", "-p", "no:xdist", "tests/test_checks.py", "-k", "lesson97")
    assert code == 0 and "failed" not in said, said
    code, said = run("tools.new_lesson", "97", "other", "Other")
    assert code == 2 and "lesson 97 exists" in said


@pytest.mark.parametrize("words", [("1", "a", "T"), ("17", "A b", "T"), ("17", "a", " ")])
def test_bad_names(words, tmp_path):
    with pytest.raises(ValueError, match="two digits"):
        new_lesson(*words, root=tmp_path)
    assert not list(tmp_path.rglob("*.py"))


def test_usage(capsys):
    assert main([]) == 2 and "python -m tools.new_lesson" in capsys.readouterr().out
    assert main(["00", "setup", "Again"]) == 2 and "lesson 00 exists" in capsys.readouterr().err

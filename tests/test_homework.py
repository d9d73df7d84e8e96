"""Homework: every checker with right and wrong answers, stubs and solutions of the notebooks, points, nbgrader's metadata."""

import importlib
import re
import shutil
import subprocess
from pathlib import Path

import nbformat
import pytest

from ebmlearn.checks.homework import HOMEWORKS, homework
from ebmlearn.course.grading import code_of
from tests.checks_harness import assert_checker
from tools.build_lessons import targets
from tools.homework_format import convert_homework, nbgrader, split_answer, split_hidden
from tools.lesson_format import FormatError

ROOT = Path(__file__).resolve().parents[1]
LESSONS = ROOT / "lessons"
NAMES = [name for name in HOMEWORKS if (LESSONS / "source" / "homework" / f"{name}.py").exists()]


def source(name):
    return LESSONS / "source" / "homework" / f"{name}.py"


def cases_of(name):
    return importlib.import_module(f"tests.checks_cases.{name}").CASES


def problems():
    return [pytest.param(name, p, id=f"{name}.{p}") for name in NAMES for p in homework(name).problems]


@pytest.fixture(scope="module")
def answers():
    """The functions of the student and of the solution notebooks, each run once."""
    kept = {}

    def get(name, kind):
        if (name, kind) not in kept:
            namespace = {}
            cells, named = code_of(targets(source(name), LESSONS)[kind])
            assert named == name
            for cell in cells:
                exec(compile(cell, f"<{name}>", "exec"), namespace)
            kept[name, kind] = namespace
        return kept[name, kind]

    return get


def test_all_homeworks_are_there_with_twenty_to_thirty_points():
    assert set(HOMEWORKS) == set(NAMES)
    for name in NAMES:
        work = homework(name)
        assert 4 <= len(work.problems) <= 6 and 20 <= work.points + sum(work.manual.values()) <= 30
        assert set(cases_of(name)) == set(work.problems)
    with pytest.raises(ValueError, match="unknown homework 'x'; there are homework_a"):
        homework("x")


@pytest.mark.parametrize("name, problem", problems())
def test_checker(name, problem, answers):
    case = cases_of(name)[problem]
    p = homework(name).problems[problem]
    assert len(case.right) >= 2, "with the solution three right implementations"
    assert_checker(p, case)
    for kind, said in (("solution", "right"), ("student", "not attempted")):
        functions = tuple(answers(name, kind)[f] for f in (problem, *p.beside))
        assert repr(p.check(functions if p.beside else functions[0])) == f"{problem}: {said}"
    assert "instructor" in p.solution() and "q." not in p.solution()
    if not p.beside:
        assert p.check(lambda *a, **k: (_ for _ in ()).throw(NotImplementedError)).status == "not attempted"  # nbgrader's stub
    else:
        assert p.check((..., ...)).status == "not attempted"
        with pytest.raises(ValueError, match=rf"expected q.{problem}.check\(\({problem}, "):
            p.check(lambda: 1)


@pytest.mark.parametrize("name", NAMES)
def test_the_student_notebook_gives_nothing_away(name):
    text = nbformat.writes(nbformat.read(targets(source(name), LESSONS)["student"], as_version=4))
    assert "SOLUTION" not in text and "HIDDEN" not in text
    secret = re.findall(r"### BEGIN SOLUTION\n(.*?)### END SOLUTION", source(name).read_text(), re.S)
    lines = {line.strip(" #") for span in secret for line in span.splitlines()}
    told = [line for line in lines if len(line) > 15 and line in text.replace('\\"', '"')]
    assert secret and told == []


@pytest.mark.parametrize("name", NAMES)
def test_points_in_the_text_and_in_the_metadata_are_those_of_the_checks(name):
    work = homework(name)
    for kind, path in targets(source(name), LESSONS).items():
        nb = nbformat.read(path, as_version=4)
        marks = {
            c.metadata.nbgrader.grade_id: c.metadata.nbgrader.points
            for c in nb.cells
            if c.metadata.get("nbgrader", {}).get("grade")
        }
        assert marks == {f"{p.name}-test": p.points for p in work.problems.values()} | dict(work.manual)
        text = "\n".join(c.source for c in nb.cells if c.cell_type == "markdown")
        assert f"**Points** {work.points + sum(work.manual.values())}" in text
        stated = [int(n) for n in re.findall(r"^## (?:Problem|Question) \d+ \((\d+) points\)", text, re.M)]
        assert sorted(stated) == sorted(marks.values()), kind


SCHEMA = {  # nbgrader's documented metadata, version 3: cell type, and what each key may be
    "schema_version": int,
    "grade": bool,
    "solution": bool,
    "locked": bool,
    "task": bool,
    "grade_id": str,
}


@pytest.mark.parametrize("name", NAMES)
def test_the_metadata_are_nbgraders(name):
    for kind, path in targets(source(name), LESSONS).items():
        nb = nbformat.read(path, as_version=4)
        nbformat.validate(nb)
        marked = [c for c in nb.cells if "nbgrader" in c.metadata]
        ids = [c.metadata.nbgrader.grade_id for c in marked]
        assert len(ids) == len(set(ids)) and all(re.fullmatch(r"[a-zA-Z0-9_\-]+", i) for i in ids)
        for c in marked:
            m = dict(c.metadata.nbgrader)
            assert {k: type(m[k]) for k in SCHEMA} == SCHEMA and m["schema_version"] == 3 and not m["task"]
            assert set(m) - set(SCHEMA) == ({"points"} if m["grade"] else set())
            assert not m["grade"] or m["points"] > 0
            assert m["grade"] or m["solution"], "an answer or a test"
            assert c.cell_type == "code" or (m["grade"] and m["solution"]), "Markdown is marked by a person"
            assert m["locked"] == (m["grade"] and not m["solution"])
            if kind == "instructor" and m["solution"]:
                assert c.source.count("### BEGIN SOLUTION") == c.source.count("### END SOLUTION") >= 1
            if kind == "instructor" and m["grade"] and c.cell_type == "code":
                assert re.search(r"### BEGIN HIDDEN TESTS\n(.*\n)*.*assert .*\n### END HIDDEN TESTS", c.source)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nbgrader") is None, reason="nbgrader is not installed")
def test_nbgrader_releases_and_marks(tmp_path):
    """Its own commands: the release holds no solutions; a right submission gets the points, an untouched one none."""
    course = tmp_path / "course"
    (course / "source" / "homework_b").mkdir(parents=True)
    paths = targets(source("homework_b"), LESSONS)
    shutil.copy(paths["instructor"], course / "source" / "homework_b" / "homework_b.ipynb")

    def run(*words):
        done = subprocess.run(["nbgrader", *words], cwd=course, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]

    run("generate_assignment", "homework_b")
    released = course / "release" / "homework_b" / "homework_b.ipynb"
    text = released.read_text()
    assert "NotImplementedError" in text and "SOLUTION" not in text and "HIDDEN" not in text and "seed in (" not in text
    for student, path in {"ann": paths["solution"], "bob": released}.items():
        (course / "submitted" / student / "homework_b").mkdir(parents=True)
        shutil.copy(path, course / "submitted" / student / "homework_b" / "homework_b.ipynb")
    run("autograde", "homework_b")
    run("export")
    rows = [line.split(",") for line in (course / "grades.csv").read_text().splitlines()]
    column = {name: rows[0].index(name) for name in ("student_id", "raw_score", "max_score")}
    scores = {r[column["student_id"]]: (float(r[column["raw_score"]]), float(r[column["max_score"]])) for r in rows[1:]}
    assert scores == {"ann": (30.0, 30.0), "bob": (0.0, 30.0)}


TINY = """# %% [markdown]
# # Tiny

# %% tags=["exercise"]
def boltzmann(e, t):
    ### BEGIN SOLUTION
    return e
    ### END SOLUTION


# %% tags=["check"]
print(q.boltzmann.check(boltzmann))
### BEGIN HIDDEN TESTS
assert q.boltzmann.check(boltzmann, seed=1)
### END HIDDEN TESTS
"""


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("", "", "in this order; got answers"),
        ('tags=["check"]', 'tags=["cheque"]', "unknown tags"),
        ("print(q.boltzmann.check(boltzmann))", "q.boltzmann.check(boltzmann)", r"expected print\(q.NAME"),
        ("print(q.boltzmann.check(boltzmann))", "print(q.other.check(other))", r"expected print\(q.NAME"),
        ("### BEGIN HIDDEN TESTS\n", "", "a check ends with"),
        ("assert q", "q", "a check ends with"),
        ("def boltzmann", "def boltzman", "defines one function that a check asks for"),
        ("### BEGIN SOLUTION", "### begin solution", "misspelt"),
        ("return e", "return (", "not Python"),
        ("# %% [markdown]", '# %% [markdown] tags=["manual"] name="essay"', "none of the open questions"),
    ],
)
def test_format_rules(tmp_path, old, new, message):
    path = tmp_path / "homework_a.py"
    assert old in TINY
    path.write_text(TINY.replace(old, new, 1))
    with pytest.raises(FormatError, match=message):
        convert_homework(path)


def test_splits():
    assert split_hidden("a\n### BEGIN HIDDEN TESTS\nassert b\n### END HIDDEN TESTS\n", "here")[0] == "a"
    stub, full = split_answer("Q\n\n### BEGIN SOLUTION\nyes\n### END SOLUTION\n", "here")
    assert "yes" not in stub and "Your answer" in stub and "yes" in full and "SOLUTION" not in full
    with pytest.raises(FormatError, match="one '### BEGIN SOLUTION'"):
        split_answer("Q", "here")
    assert nbgrader("a", points=3) == nbgrader("a") | {"grade": True, "locked": True, "points": 3}
    assert nbgrader("a", points=3, solution=True)["locked"] is False

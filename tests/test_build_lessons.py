"""The lesson build: format rules, stubs, quizzes; one small lesson built, compared, broken; the committed lessons in step."""

import re
import shutil
from pathlib import Path

import nbformat
import pytest

from ebmlearn.widgets.quiz import questions_of
from tools.build_lessons import (
    ANSWER_HERE,
    BuildError,
    build,
    inspect_outputs,
    main,
    out_of_step,
    repository,
    restyle,
    strays,
    targets,
    tidy,
)
from tools.lesson_format import FormatError, colab_cell, convert, hole, links, render_quiz, silence, split_solution

ROOT = Path(__file__).resolve().parents[1]
QUIZ = "\n".join(f"# {n}. Is it {n}?\n#    - [x] yes :: It is.\n#    - [ ] no :: Tempting." for n in range(1, 6))
LESSON = f"""# %% [markdown]
# # 98 Small

# %%
from ebmlearn.checks import lesson00 as q
from ebmlearn.course import show
import matplotlib.pyplot as plt
from ipywidgets import IntSlider, interactive

# %% tags=["exercise"]
def bowl(x):
    ### BEGIN SOLUTION
    return 0.5 * (x**2).sum(-1)
    ### END SOLUTION

# %% tags=["check"]
q.bowl.check(bowl)

# %% tags=["exercise"]
### BEGIN SOLUTION
bowl_score = lambda x: -x
### END SOLUTION

# %% tags=["check"]
q.bowl_score.check(bowl_score)

# %% tags=["exercise"]
def descend(x, eta):
    ### BEGIN SOLUTION
    return x - eta * x
    ### END SOLUTION

# %% tags=["check"]
q.descend.check(descend)

# %% tags=["nbval-check-output"]
show("one", 1.0)

# %% tags=["figure"] alt="A rising line."
def picture(k):
    plt.plot([0, k])
picture(1)
plt.title("title")

# %% tags=["widget"]
interactive(picture, k=IntSlider(1))

# %% [markdown] tags=["quiz"]
{QUIZ}

# %% [markdown] tags=["solution"]
# For solutions only.
"""


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source" / "98_small.py"
    path.parent.mkdir()
    path.write_text(LESSON)
    return path


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """One small lesson, built once for all tests."""
    lessons = tmp_path_factory.mktemp("lessons")
    path = lessons / "source" / "98_small.py"
    path.parent.mkdir()
    path.write_text(LESSON)
    seconds = build(path, lessons)
    assert set(seconds) == {"student", "solution"} and min(seconds.values()) > 0
    return lessons, path


def text_of(nb, cell):
    return "".join(out.get("text", "") + out.get("data", {}).get("text/plain", "") for out in cell.outputs)


def test_committed_lessons_are_in_step():
    sources = sorted((ROOT / "lessons" / "source").glob("[0-9][0-9]_*.py"))
    assert len(sources) >= 2
    problems = [line for s in sources for line in out_of_step(s, ROOT / "lessons")] + strays(ROOT / "lessons")
    assert not problems, "\n".join(problems) + "\nrun: make build-lessons"


def test_committed_lessons_take_less_than_a_minute():
    for path in (ROOT / "lessons").glob("[0-9][0-9]_*.ipynb"):
        measured = nbformat.read(path, as_version=4).metadata["ebmlearn"]
        assert min(measured["seconds"], measured.get("cpu_seconds", 1e9)) < 60, path  # wall time grows with the machine's load


def test_the_example_in_the_readme_is_a_lesson(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "tools" / "README.md").read_text(encoding="utf-8"), re.S)
    (example,) = [b for b in blocks if b.startswith("# %%")]
    path = tmp_path / "99_example.py"
    path.write_text(example)
    student, solution = (convert(path, complete=False)[kind] for kind in ("student", "solution"))
    assert any("return ...  # your code" in c.source for c in student.cells)
    assert not any("..." in c.source.splitlines()[-1] for c in solution.cells if "exercise" in c.metadata.get("tags", []))
    for block in blocks:
        compile(block, "README", "exec")


@pytest.mark.parametrize(
    "span, expected",
    [
        ("    return x + 1", "return ...  # your code"),
        ("y = 2\nz = y", "z = ...  # your code"),
        ("y = 2\nprint(y)", "# your code"),
        ("    y = 2\n    print(y)", "...  # your code"),
        ("    x = 1\n    return (\n        x\n    )", "return ...  # your code"),
    ],
)
def test_hole(span, expected):
    assert hole(span) == expected


def test_split_solution_keeps_what_is_outside():
    stub, full = split_solution(
        "def f(x):\n    a = 1\n    ### BEGIN SOLUTION\n    return a + x\n    ### END SOLUTION\ng = 2", "here"
    )
    assert stub == "def f(x):\n    a = 1\n    return ...  # your code\ng = 2"
    assert full == "def f(x):\n    a = 1\n    return a + x\ng = 2"


@pytest.mark.parametrize(
    "source, message",
    [
        ("### BEGIN SOLUTION\nx = 1", "without '### END SOLUTION'"),
        ("x = 1\n### END SOLUTION", "without a solution before it"),
        ("### BEGIN SOLUTION\n### BEGIN SOLUTION\nx = 1\n### END SOLUTION", "inside a solution"),
        ("### BEGIN SOLUTIONS\nx = 1\n### END SOLUTION", "misspelt"),
        ("### begin solution\nx = 1\n### END SOLUTION", "misspelt"),
    ],
)
def test_marks_out_of_place(source, message):
    with pytest.raises(FormatError, match=message):
        split_solution(source, "here")


def test_silence():
    assert silence("a = 1\nf(a)") == "a = 1\nf(a);"
    assert silence("f('é')  # word") == "f('é');  # word"
    assert silence("f(1);") == "f(1);" and silence("a = f(1)") == "a = f(1)"


def test_quiz_reads_without_a_kernel():
    text = render_quiz(QUIZ.replace("# ", "").replace("#", ""), "here")
    assert text.count("<details>") == text.count("</details>") == 5
    assert "**A is right.** It is." in text and "*Not B:* Tempting." in text


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("1. Is it 1?", "Is it 1?", "expected '1. question'|a choice before"),
        ("5. Is it 5?\n", "", "one right choice|5 questions"),
        ("yes :: It is.", "yes", "why"),
        ("- [ ] no", "- [x] no", "one right choice"),
    ],
)
def test_quiz_rules(old, new, message):
    text = "\n".join(line.lstrip("# ") for line in QUIZ.splitlines())
    assert old in text
    with pytest.raises(FormatError, match=message):
        render_quiz(text.replace(old, new, 1), "here")


@pytest.mark.parametrize(
    "old, new, message",
    [
        ('tags=["check"]', 'tags=["cheque"]', "unknown tags"),
        ('# %% tags=["exercise"]\ndef bowl', "# %%\ndef bowl", "belong together"),
        ('alt="A rising line."', "", "what is seen"),
        ('show("one", 1.0)', 'show("one", descend(1.0, 1.0))', "uses 'descend'"),
        ('show("one", 1.0)', "bowl = 1", "defines 'bowl' again"),
        ('show("one", 1.0)', "show(", "not Python"),
        ('# %% tags=["widget"]', "# %%", "at least 1 .* 'widget'"),
        ('# %% [markdown] tags=["quiz"]', "# %% [markdown]", "at least 1 .* 'quiz'"),
        ("# 5. Is it 5?", "# Is it 5?", "5 questions|one right choice"),
    ],
)
def test_format_rules(source, old, new, message):
    assert old in LESSON
    source.write_text(LESSON.replace(old, new, 1))
    with pytest.raises(FormatError, match=message):
        convert(source)


def test_student_and_solution_share_ids_and_ids_are_stable(source):
    first, again = convert(source), convert(source)
    ids = {kind: [c.id for c in first[kind].cells] for kind in first}
    assert ids == {kind: [c.id for c in again[kind].cells] for kind in again}
    assert set(ids["student"]) < set(ids["solution"]) and len(set(ids["solution"])) == len(ids["solution"])
    source.write_text(LESSON.replace('show("one", 1.0)', 'show("one", 2.0)'))
    changed = [a != b for a, b in zip(ids["student"], [c.id for c in convert(source)["student"].cells])]
    assert sum(changed) == 1, "an edit of one cell changes the id of that cell only"


def test_no_solution_reaches_the_student(source):
    text = nbformat.writes(convert(source)["student"])
    for secret in ("(x**2).sum(-1)", "lambda x: -x", "x - eta * x", "For solutions only", "SOLUTION"):
        assert secret not in text, secret


def test_built_notebooks(built):
    lessons, path = built
    for kind, word in (("student", "not attempted"), ("solution", "right")):
        nb = nbformat.read(targets(path, lessons)[kind], as_version=4)
        nbformat.validate(nb)
        code = [c for c in nb.cells if c.cell_type == "code"]
        assert [c.execution_count for c in code] == list(range(1, len(code) + 1))
        said = [text_of(nb, c) for c in code if "check" in c.metadata.get("tags", [])]
        assert said == [f"{name}: {word}" for name in ("bowl", "bowl_score", "descend")]
        figure = _cell(nb, "figure")
        assert [o.output_type for o in figure.outputs] == ["display_data"]
        assert figure.outputs[0].metadata["image/png"]["alt"] == "A rising line."
        assert any(c.source == "*What is seen:* A rising line." for c in nb.cells)
        assert text_of(nb, _cell(nb, "quiz-widget")) == ANSWER_HERE and _cell(nb, "quiz-widget").source.endswith('quiz("98")')
        assert nb.cells[1].source == links("98_small", kind, repository())
        assert "widgets" not in nb.metadata and "widget-view" not in nbformat.writes(nb)
        assert nb.metadata["ebmlearn"]["seconds"] > 0 and "version" not in nb.metadata["language_info"]
    assert out_of_step(path, lessons) == []


def test_words_of_an_exercise_s_picture_are_in_the_solutions_only(source):
    source.write_text(
        LESSON.replace('# %% tags=["exercise"]\ndef descend', '# %% tags=["exercise"] alt="A path down."\ndef descend')
    )
    made = convert(source)
    assert "A path down" not in nbformat.writes(made["student"])
    assert nbformat.writes(made["solution"]).count("A path down.") == 2  # the picture's metadata and the line below it


def test_restyle_changes_words_and_keeps_outputs(built, tmp_path):
    lessons, path = tmp_path / "lessons", tmp_path / "lessons" / "source" / "98_small.py"
    shutil.copytree(built[0], lessons)
    before = {kind: nbformat.read(place, as_version=4) for kind, place in targets(path, lessons).items()}
    changed = LESSON.replace("Small", "Smaller").replace("A rising line.", "A line that rises.").replace(":: It is.", ":: Yes.")
    path.write_text(changed)
    assert out_of_step(path, lessons) and main(["--lessons", str(lessons), "--restyle"]) == 0
    assert out_of_step(path, lessons) == []
    for kind, place in targets(path, lessons).items():
        nb = nbformat.read(place, as_version=4)
        assert "Smaller" in nb.cells[0].source and "**A is right.** Yes." in _cell(nb, "quiz").source
        figure, old = _cell(nb, "figure").outputs[0], _cell(before[kind], "figure").outputs[0]
        assert figure.data == old.data and figure.metadata["image/png"]["alt"] == "A line that rises."
        assert nb.metadata["ebmlearn"]["cpu_seconds"] == before[kind].metadata["ebmlearn"]["cpu_seconds"]
        assert nb.metadata["ebmlearn"]["source_sha256"] != before[kind].metadata["ebmlearn"]["source_sha256"]


def test_restyle_adds_the_made_cells_to_an_older_notebook(built, tmp_path):
    lessons, path = tmp_path / "lessons", tmp_path / "lessons" / "source" / "98_small.py"
    shutil.copytree(built[0], lessons)
    wanted = {kind: place.read_text() for kind, place in targets(path, lessons).items()}
    for place in targets(path, lessons).values():
        nb = nbformat.read(place, as_version=4)
        nb.cells = [c for c in nb.cells if not {"links", "quiz-widget"} & set(c.metadata.get("tags", []))]
        nbformat.write(nb, place)
    assert out_of_step(path, lessons)
    restyle(path, lessons)
    assert {kind: place.read_text() for kind, place in targets(path, lessons).items()} == wanted


def test_restyle_takes_a_comment_and_another_layout(built, tmp_path):
    lessons, path = tmp_path / "lessons", tmp_path / "lessons" / "source" / "98_small.py"
    shutil.copytree(built[0], lessons)
    path.write_text(LESSON.replace('show("one", 1.0)', '# Error: none\nshow(\n    "one",\n    1.0,\n)'))
    restyle(path, lessons)
    assert out_of_step(path, lessons) == []
    cells = [c for c in nbformat.read(targets(path, lessons)["student"], as_version=4).cells if "# Error: none" in c.source]
    assert len(cells) == 1 and cells[0].outputs[0].text == "one = 1.000\n"


def test_restyle_refuses_other_code(built, tmp_path):
    lessons, path = tmp_path / "lessons", tmp_path / "lessons" / "source" / "98_small.py"
    shutil.copytree(built[0], lessons)
    before = targets(path, lessons)["student"].read_bytes()
    path.write_text(LESSON.replace('show("one", 1.0)', 'show("one", 2.0)'))
    with pytest.raises(BuildError, match='code changed, so it must be built: show."one", 2.0.'):
        restyle(path, lessons)
    assert targets(path, lessons)["student"].read_bytes() == before
    targets(path, lessons)["student"].unlink()
    with pytest.raises(BuildError, match="never built"):
        restyle(path, lessons)


def test_colab_badge_and_cell_where_the_repository_is_known(source, tmp_path):
    plain, known = (convert(source, repository=r)["student"] for r in (None, "https://github.com/someone/course/"))
    assert "colab" not in nbformat.writes(plain)
    assert "colab.research.google.com/github/someone/course/blob/main/lessons/98_small.ipynb" in known.cells[1].source
    assert known.cells[2].source == colab_cell("https://github.com/someone/course/")
    compile(known.cells[2].source, "cell", "exec")
    assert "'ebmlearn @ git+https://github.com/someone/course'" in known.cells[2].source
    pyproject = tmp_path / "pyproject.toml"
    pyproject.write_text('[project]\nname = "a"\n')
    assert repository(tmp_path) is None
    pyproject.write_text('[project]\nname = "a"\n[project.urls]\nRepository = "https://github.com/someone/course"\n')
    assert repository(tmp_path) == "https://github.com/someone/course"


def test_the_folded_quiz_and_the_widget_are_the_same_text():
    text = render_quiz("\n".join(line.lstrip("# ") for line in QUIZ.splitlines()), "here")
    questions = questions_of(text)
    assert [q.text for q in questions] == [f"Is it {n}?" for n in range(1, 6)]
    assert [(c.text, c.right, c.why) for c in questions[0].choices] == [("yes", True, "It is."), ("no", False, "Tempting.")]


def test_an_edit_is_seen_and_only_that_lesson_is_rebuilt(built, tmp_path, capsys, monkeypatch):
    lessons, path = built
    assert main(["--lessons", str(lessons), "--check"]) == 0
    executed = []
    monkeypatch.setattr(
        "tools.build_lessons.build", lambda s, lessons: executed.append(s.stem) or {"student": 1.0, "solution": 1.0}
    )
    assert main(["--lessons", str(lessons)]) == 0 and executed == []
    other = path.with_name("97_other.py")
    other.write_text(LESSON)
    try:
        assert main(["--lessons", str(lessons)]) == 0 and executed == ["97_other"]
        assert main(["--lessons", str(lessons), "--check"]) == 1
        assert "97_other.ipynb is missing" in capsys.readouterr().out
    finally:
        other.unlink()
    path.write_text(LESSON.replace("Small", "Smaller"))
    try:
        assert main(["--lessons", str(lessons), "--check"]) == 1
        assert "+# 98 Smaller" in capsys.readouterr().out
    finally:
        path.write_text(LESSON)
    path.rename(path.with_suffix(".bak"))
    try:
        assert all("has no source" in line for line in strays(lessons)) and len(strays(lessons)) == 2
        assert main(["--lessons", str(lessons), "--check"]) == 2
    finally:
        path.with_suffix(".bak").rename(path)
    assert main(["98", "--lessons", str(lessons), "--check"]) == 0
    assert main(["11", "--lessons", str(lessons)]) == 2 and "no lesson 11" in capsys.readouterr().err


def _cell(nb, tag):
    return next(c for c in nb.cells if tag in c.metadata.get("tags", []))


def _stderr(nb):
    _cell(nb, "figure").outputs.append(nbformat.v4.new_output("stream", name="stderr", text="a warning"))


def _error(nb):
    _cell(nb, "figure").outputs.append(nbformat.v4.new_output("error", ename="E", evalue="v", traceback=[]))


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda nb: _cell(nb, "check").outputs.clear(), "has no stored output"),
        (lambda nb: _cell(nb, "check").update(execution_count=None), "is not executed"),
        (lambda nb: _cell(nb, "check").outputs[0].data.update({"text/plain": "bowl: wrong"}), "should say 'right'"),
        (lambda nb: _cell(nb, "figure").outputs.clear(), "shows no picture"),
        (lambda nb: _cell(nb, "figure").outputs[0].data.update({"text/plain": "<A at 0x7f>"}), "address of an object"),
        (lambda nb: _cell(nb, "figure").metadata.tags.clear(), "draws, and has no words"),
        (_stderr, "wrote to stderr: a warning"),
        (_error, "raised E: v"),
    ],
)
def test_bad_outputs_are_seen(built, spoil, message):
    lessons, path = built
    nb = nbformat.read(targets(path, lessons)["solution"], as_version=4)
    assert inspect_outputs(nb, "here") == []
    spoil(nb)
    assert any(message in line for line in inspect_outputs(nb, "here"))


def test_a_lesson_that_raises_is_not_written(source):
    lessons = source.parents[1]
    source.write_text(LESSON.replace('show("one", 1.0)', "1 / 0"))
    with pytest.raises(BuildError, match="ZeroDivisionError"):
        build(source, lessons)
    assert not list(lessons.rglob("*.ipynb")) and not list(lessons.rglob("*.part"))


def test_tidy_removes_widget_state(built):
    lessons, path = built
    nb = nbformat.read(targets(path, lessons)["student"], as_version=4)
    nb.metadata["widgets"] = {"state": {}}
    cell = _cell(nb, "widget")
    cell.outputs = [nbformat.v4.new_output("display_data", {"application/vnd.jupyter.widget-view+json": {"model_id": "a"}})]
    assert any("stores the view" in line for line in inspect_outputs(nb, "here"))
    tidy(nb)
    assert "widgets" not in nb.metadata and inspect_outputs(nb, "here") == []

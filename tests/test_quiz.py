"""The quiz widget: from the same text as the folded quiz, one word a choice, nothing stored, every lesson's quiz whole."""

import json

import ipywidgets
import pytest

from ebmlearn.course import quiz
from ebmlearn.course.lessons import all_lessons, sources, tags
from ebmlearn.widgets.quiz import Choice, Question, Quiz, inline, questions_of

LESSONS = all_lessons()
TWO = [
    Question("First?", (Choice("a", True, "Yes."), Choice("b", False, "Tempting."))),
    Question("Second, $x < 1$?", (Choice("*c*", False, "No."), Choice("d", False, "Nor."), Choice("`e`", True, "Right."))),
]


def buttons(widget):
    found = []
    for child in getattr(widget, "children", ()):
        found += [child] if isinstance(child, ipywidgets.Button) else buttons(child)
    return found


def test_only_the_first_choice_counts():
    q = Quiz(TWO)
    assert q.score == (0, 0)
    assert q.choose(0, 1) == "Not B: Tempting." and q.choose(0, 0) == "A is right: Yes." and q.score == (0, 1)
    assert q.choose(1, 2) == "C is right: Right." and q.choose(1, 0).startswith("Not A") and q.score == (1, 2)
    assert "1 right at the first choice, 2 of 2 answered" in q._total.value
    q.reset()
    assert q.score == (0, 0) and not any(f.value for f in q._feedback)


def test_buttons_are_named_marked_by_a_sign_and_work():
    q = Quiz(TWO)
    found = buttons(q)
    assert [b.description for b in found] == ["A", "B", "A", "B", "C", "Start again"]
    assert found[3].tooltip == "question 2, answer B"
    found[1].click()
    found[4].click()
    assert found[1].description == "B ✗" and found[4].description == "C ✓" and q.score == (1, 2)
    assert 'role="status"' in q._feedback[0].value and "Tempting." in q._feedback[0].value
    found[-1].click()
    assert [b.description for b in found][:2] == ["A", "B"]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("**b** and *i* `x*y*z` $a*b*c$", "<strong>b</strong> and <em>i</em> <code>x*y*z</code> $a*b*c$"),
        ("<b> & $E<0$", "&lt;b&gt; &amp; $E&lt;0$"),
        ("plain", "plain"),
    ],
)
def test_inline(text, expected):
    assert inline(text) == expected


def test_bad_questions():
    with pytest.raises(ValueError, match="one of them right"):
        Question("q", (Choice("a", True, "y"), Choice("b", True, "y")))
    with pytest.raises(ValueError, match="at least one question"):
        Quiz([])
    with pytest.raises(ValueError, match="no question"):
        questions_of("# Something else")
    with pytest.raises(ValueError, match="a word on every choice"):
        questions_of("### Question 1\n\nq\n\n- **A.** a\n- **B.** b\n\n<details>\n\n**A is right.** y\n\n</details>")


@pytest.mark.parametrize("number", LESSONS)
def test_every_lesson_has_a_whole_quiz(number):
    cells = json.loads(LESSONS[number].path.read_text())["cells"]
    (text,) = [sources(c) for c in cells if "quiz" in tags(c)]
    questions = quiz(number).questions
    assert list(questions) == questions_of(text) and len(questions) == 5
    for question in questions:
        assert question.text and all(c.text and len(c.why) > 10 for c in question.choices), question.text
        for part in (question.text, *(t for c in question.choices for t in (c.text, c.why))):
            assert part.count("$") % 2 == 0, f"a formula that does not end: {part}"
            assert "**" not in inline(part), f"markdown that the widget does not render: {part}"
    right = [next(i for i, c in enumerate(q.choices) if c.right) for q in questions]
    assert len(set(right)) > 1, "the right answer has always the same letter"


def test_quiz_is_found_where_the_build_says_and_beside_the_kernel(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="expected a lesson '77'"):
        quiz("77")
    source = LESSONS["01"].path.read_text()
    (tmp_path / "77_x.ipynb").write_text(source)
    monkeypatch.chdir(tmp_path)
    assert quiz("77").questions == quiz("01").questions
    other = tmp_path / "made"
    other.mkdir()
    (other / "77_x.ipynb").write_text(source.replace("### Question 1\\n", '### Question 1\\n",\n    "NEW ', 1))
    monkeypatch.setenv("EBMLEARN_LESSONS", str(other))
    assert quiz("77").questions[0].text.startswith("NEW")


def test_the_package_offers_it_without_loading_widgets():
    import subprocess
    import sys

    code = "import sys, ebmlearn.course; print('ipywidgets' in sys.modules); from ebmlearn.course import quiz; quiz('00'); from ebmlearn.course import quiz; print(callable(quiz))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]

"""Every checker of every lesson is tested with right and wrong answers; the framework itself too."""

import importlib

import pytest
import torch

from ebmlearn.checks.base import Outcome, Problem, Text, problem, problems_of, require, require_close, require_tensor
from tests.checks_cases.more_right import MORE
from tests.checks_harness import LESSONS, RIGHT, Case, assert_checker, cases_of, right_answers, score, table


def every_problem():
    for lesson in LESSONS:
        for name, p in problems_of(importlib.import_module(f"ebmlearn.checks.{lesson}")).items():
            yield pytest.param(lesson, name, p, id=f"{lesson}.{name}")


def test_there_are_lessons():
    assert {"lesson00", "lesson01"} <= set(LESSONS)


@pytest.mark.parametrize("lesson", LESSONS)
def test_every_problem_has_a_case(lesson):
    module = importlib.import_module(f"ebmlearn.checks.{lesson}")
    problems = problems_of(module)
    assert len(problems) >= 3, "a lesson has three checked exercises"
    assert set(problems) == set(cases_of(lesson)), "tests/checks_cases must name every problem and nothing else"
    assert all(name == p.name for name, p in problems.items())


@pytest.mark.parametrize("lesson, name, p", list(every_problem()))
def test_checker(lesson, name, p):
    assert_checker(p, cases_of(lesson)[name])


@pytest.mark.parametrize("lesson", LESSONS)
def test_mutation_score(lesson, capsys):
    problems = problems_of(importlib.import_module(f"ebmlearn.checks.{lesson}"))
    scores = [score(lesson, p) for p in problems.values()]
    with capsys.disabled():
        print(f"\n{table(scores)}")
    assert all(s.told == s.wrong >= 3 and s.accepted == s.right for s in scores), table(scores)
    for s, p in zip(scores, problems.values()):
        answers = right_answers(lesson, p)
        assert s.right >= RIGHT, f"{s.problem}: {s.right} right variants, give {RIGHT - s.right} more"
        assert len({getattr(a, "__code__", a) for a in answers}) == len(answers), f"{s.problem}: the same right answer twice"


def test_every_further_right_answer_belongs_to_a_problem():
    known = {f"{lesson}.{name}" for lesson in LESSONS for name in cases_of(lesson)}
    assert set(MORE) <= known


@problem("Double it.", hints=["x + x", "2 x"])
def double(x):
    return 2 * x


@double.property
def _doubles(f):
    require_close(f(3.0), 6.0, "f(3) is not twice 3")


GOOD = {"square": lambda x: x**2, "minus": lambda x: -2 * x, "half": lambda x: x / 2}


def test_three_outcomes():
    assert repr(double.check(lambda x: x + x)) == "double: right"
    assert repr(double.check(lambda x: ...)) == repr(double.check(None)) == "double: not attempted"
    outcome = double.check(lambda x: x)
    assert (outcome.status, bool(outcome), repr(outcome)) == ("wrong", False, "double: wrong. Symptom: f(3) is not twice 3")
    assert repr(double.check(lambda: 1)).startswith("double: wrong. Symptom: it raised TypeError")
    assert "expected ()" in repr(double.check(lambda x: "six")) or "str" in repr(double.check(lambda x: "six"))


def test_hints_are_a_ladder_and_the_solution_is_its_top():
    @problem("Double it.", hints=["x + x", "2 x"])
    def double(x):
        return 2 * x

    said = [repr(double.hint()) for _ in range(4)]
    assert said[0] == "hint 1 of 2: x + x (q.double.hint() says more)"
    assert said[1] == "hint 2 of 2: 2 x (then there is q.double.solution())"
    assert said[2] == said[3] == "that were all 2 hints; q.double.solution() shows one right answer"
    assert repr(double.hint(1)) == said[0] and repr(double.hint()) == said[1], "a chosen rung is where the next call goes on"
    assert repr(double.solution()) == "def double(x):\n    return 2 * x"
    with pytest.raises(ValueError, match="from 1 to 2; got 3"):
        double.hint(3)
    assert isinstance(double.solution(), Text)
    assert repr(Problem(2.0, statement="s", hints=["h"], name="v").solution()) == "2.0"


@pytest.mark.parametrize("lesson, name, p", list(every_problem()))
def test_every_ladder_has_rungs(lesson, name, p):
    assert len(p.hints) >= 2, "a nudge, then more, then the solution"
    assert len(set(p.hints)) == len(p.hints) and all(hint.strip() for hint in p.hints)


def test_listeners_hear_every_outcome_and_cannot_fail_a_check(monkeypatch):
    heard = []

    def deaf(p, outcome):
        raise OSError("disk full")

    monkeypatch.setattr("ebmlearn.checks.base.LISTENERS", [deaf, lambda p, outcome: heard.append((p.name, outcome.status))])
    assert double.check(lambda x: x + x) and not double.check(lambda x: x) and not double.check(None)
    assert heard == [("double", "right"), ("double", "wrong"), ("double", "not attempted")]


def test_a_problem_needs_properties_statement_and_hints():
    with pytest.raises(ValueError, match="no properties"):
        problem("s", hints=["h"])(lambda x: x).check(lambda x: x)
    with pytest.raises(ValueError, match="at least one hint"):
        problem("s", hints=[])(lambda x: x)


def test_require_tensor_says_what_came():
    with pytest.raises(Exception, match=r"your result has shape \(2,\); expected \(3,\)"):
        require_tensor([1, 2], (3,))
    with pytest.raises(Exception, match="not finite"):
        require_tensor(torch.tensor(float("nan")), ())
    with pytest.raises(Exception, match="is a str"):
        require_tensor("a", ())


def test_a_check_is_seeded_and_leaves_the_seed():
    seen = []

    @problem("Any.", hints=["h"])
    def draw(x):
        return x

    @draw.property
    def remember(f):
        seen.append(torch.randn(1).item())

    before = torch.get_rng_state()
    draw.check(lambda x: x), draw.check(lambda x: x)
    assert seen[0] == seen[1] and torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    "case, message",
    [
        (Case(wrong={"square": GOOD["square"]}), "at least three"),
        (Case(wrong={**GOOD, "is right": lambda x: x + x}), "was judged double: right"),
        (Case(wrong=GOOD, right=[lambda x: 3 * x]), "right answer 1 was judged"),
        (Case(wrong={**GOOD, "only breaks": lambda: 1}), "only raised"),
    ],
)
def test_the_harness_can_fail(case, message):
    assert_checker(double, Case(wrong=GOOD))
    with pytest.raises(AssertionError, match=message):
        assert_checker(double, case)


def test_the_harness_sees_a_symptom_that_gives_the_solution_away():
    @problem("Triple.", hints=["h"])
    def triple(x):
        return x + x + x + 0

    @triple.property
    def tells(f):
        require(f(2.0) == 6.0, "write return x + x + x + 0")

    with pytest.raises(AssertionError, match="quotes the solution"):
        assert_checker(triple, Case(wrong=GOOD))


def test_outcomes_compare():
    assert Outcome("a", "right") == Outcome("a", "right") != Outcome("a", "wrong", "b")

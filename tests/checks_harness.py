"""Mutation test of a checker: right answers must pass, plausible wrong ones must fail with a symptom that gives nothing away.

`python -m tests.checks_harness` prints the score of all checkers.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

import ebmlearn.checks
from ebmlearn.checks.base import Problem, problems_of

LESSONS = [m.name for m in pkgutil.iter_modules(ebmlearn.checks.__path__) if m.name.startswith("lesson")]
RIGHT = 3  # different right implementations that every checker must have accepted, its own reference counted


@dataclass(frozen=True, kw_only=True)
class Case:
    """Answers to one problem.

    Args:
        wrong: at least three plausible wrong answers, by the name of the mistake.
        right: other right answers than the problem's own reference.
        takes_function: False where the answer is a value; then there is no stub function to try.
    """

    wrong: Mapping[str, Any]
    right: Sequence[Any] = field(default=())
    takes_function: bool = True


class Score(NamedTuple):
    """How a checker did; "told" is the number of wrong answers that were rejected with a symptom."""

    problem: str
    wrong: int
    told: int
    right: int
    accepted: int


def cases_of(lesson: str) -> dict[str, Case]:
    """The planted answers to the problems of a lesson."""
    return importlib.import_module(f"tests.checks_cases.{lesson}").CASES


def right_answers(lesson: str, problem: Problem) -> list[Any]:
    """The reference and all other right answers to a problem."""
    more = importlib.import_module("tests.checks_cases.more_right").MORE
    return [problem.reference, *cases_of(lesson)[problem.name].right, *more.get(f"{lesson}.{problem.name}", [])]


def score(lesson: str, problem: Problem) -> Score:
    """Count what a checker says to the planted answers."""
    wrong = [problem.check(answer) for answer in cases_of(lesson)[problem.name].wrong.values()]
    right = [problem.check(answer) for answer in right_answers(lesson, problem)]
    told = sum(outcome.status == "wrong" and bool(outcome.message) for outcome in wrong)
    return Score(f"{lesson}.{problem.name}", len(wrong), told, len(right), sum(map(bool, right)))


def table(scores: Iterable[Score]) -> str:
    """The scores as lines, one problem each."""
    lines = [f"{'problem':34s} wrong: planted  rejected with a symptom   right: variants  accepted"]
    lines += [f"{s.problem:34s} {s.wrong:14d} {s.told:24d} {s.right:17d} {s.accepted:9d}" for s in scores]
    return "\n".join(lines)


def assert_checker(problem: Problem, case: Case) -> None:
    """Fail unless the checker tells right, wrong and not attempted apart."""
    assert len(case.wrong) >= 3, f"{problem.name}: give at least three plausible wrong answers, got {list(case.wrong)}"
    for i, answer in enumerate([*([problem.reference] if problem.shows else []), *case.right]):
        outcome = problem.check(answer)
        assert outcome.status == "right" and bool(outcome), f"{problem.name}: right answer {i} was judged {outcome!r}"
    code = [line.strip() for line in problem.solution().splitlines()] if problem.shows else []
    telling = [line for line in code if len(line) > 12 and not line.startswith(("def ", "class ", "#", '"""', "@"))]
    for mistake, answer in case.wrong.items():
        before = torch.get_rng_state()
        outcome = problem.check(answer)
        assert outcome.status == "wrong" and not outcome, f"{problem.name}: the mistake {mistake!r} was judged {outcome!r}"
        assert torch.equal(before, torch.get_rng_state()), f"{problem.name}: the check moved the global generator"
        assert outcome.message, f"{problem.name}: the mistake {mistake!r} gets no symptom"
        assert "it raised" not in outcome.message or "raise" in mistake, f"{problem.name}: {mistake!r} only raised: {outcome!r}"
        given_away = [line for line in telling if line.removeprefix("return ") in outcome.message]
        assert not given_away, f"{problem.name}: the symptom of {mistake!r} quotes the solution: {given_away}"
        assert repr(problem.check(answer)) == repr(outcome), f"{problem.name}: {mistake!r} is judged differently a second time"
    for stub in (None, ...):
        assert problem.check(stub).status == "not attempted", problem.name
    if case.takes_function:

        def broken(*args: Any, **kwargs: Any) -> Any:
            raise ZeroDivisionError("learner's mistake")

        assert problem.check(lambda *a, **k: None).status == "not attempted", problem.name
        assert problem.check(lambda *a, **k: ...).status == "not attempted", problem.name
        outcome = problem.check(broken)
        assert outcome.status == "wrong" and "ZeroDivisionError: learner's mistake" in repr(outcome), problem.name
    assert problem.hints and all(problem.hint(n + 1) for n in range(len(problem.hints)))
    assert problem.solution() and problem.name in repr(problem)


if __name__ == "__main__":
    everything = [
        score(lesson, p) for lesson in LESSONS for p in problems_of(importlib.import_module(f"ebmlearn.checks.{lesson}")).values()
    ]
    print(table(everything))
    print(
        f"{sum(s.told for s in everything)} of {sum(s.wrong for s in everything)} wrong answers rejected with a symptom,", end=" "
    )
    print(f"{sum(s.accepted for s in everything)} of {sum(s.right for s in everything)} right variants accepted")

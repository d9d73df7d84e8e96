"""Mutation test of a checker: right answers must pass, plausible wrong ones must fail with a symptom that gives nothing away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ebmlearn.checks.base import Problem


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


def assert_checker(problem: Problem, case: Case) -> None:
    """Fail unless the checker tells right, wrong and not attempted apart."""
    assert len(case.wrong) >= 3, f"{problem.name}: give at least three plausible wrong answers, got {list(case.wrong)}"
    for i, answer in enumerate([problem.reference, *case.right]):
        outcome = problem.check(answer)
        assert outcome.status == "right" and bool(outcome), f"{problem.name}: right answer {i} was judged {outcome!r}"
    code = [line.strip() for line in problem.solution().splitlines()]
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

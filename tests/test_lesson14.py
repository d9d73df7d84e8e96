"""Lesson 14 answers the ten questions about the method, each in the section that it names, and its numbers come from stored tables."""

import re
from pathlib import Path

import pytest

from ebmlearn.resources import resource
from ebmlearn.widgets.lesson14 import GameExplorer, data_histogram, play

SOURCE = Path(__file__).parent.parent / "lessons" / "source" / "14_gcd.py"
# question -> section, and words without which it is not answered
ANSWERS = {
    1: (1, ["denoising|predict noise", "five", "trains the whole chain"]),  # diffusion models at few steps
    2: (2, ["equilibrium", "maximum likelihood", "q = p"]),  # equilibrium and why it is wanted
    3: (2, ["integral probability metric", "entropy", "Wasserstein"]),  # IPM, and what entropy adds
    4: (3, ["reward", "policy", "demonstrations", "maximum-entropy"]),  # inverse reinforcement learning
    5: (4, ["baseline", "backward kernel", "learning rate"]),  # algorithm details
    6: (5, ["floor", "sigma_5", "chooses"]),  # why fine-tuning helps at small T
    7: (3, ["Limits", "identified"]),  # limits of the analogy
    8: (3, ["fixed", "SFT-PG", "critic"]),  # choice of the reward
    9: (3, ["trust regions", "off-policy", "dynamic programming"]),  # what carries over
    10: (7, ["network calls", "variance", "memory|activations", "learning rates"]),  # scaling up
}


def sections():
    text = SOURCE.read_text()
    parts = re.split(r"^# ## (\d+) · ", text, flags=re.M)
    return {int(n): body for n, body in zip(parts[1::2], parts[2::2])}


@pytest.mark.parametrize("number", ANSWERS)
def test_every_question_is_answered_where_the_lesson_says(number):
    section, words = ANSWERS[number]
    body = sections()[section]
    start = body.index(f"**Question {number}:")
    rest = body[start:]
    following = re.search(rf"\*\*Question (?!{number}:)\d+:|\n# %% (?!\[markdown\])", rest[5:])
    answer = rest[: following.start() + 5] if following else rest
    for word in words:
        assert re.search(word, answer, re.IGNORECASE), f"question {number}: no {word!r} in its answer"
    assert len(answer) > 300


def test_the_lesson_lists_its_answers():
    text = SOURCE.read_text()
    line = text[text.index("**Where the ten questions are answered:**") :].splitlines()[0]
    for section, numbers in re.findall(r"([\d, and]+?) in section (\d)", line):
        for n in re.findall(r"\d+", section):
            assert ANSWERS[int(n)][0] == int(numbers)
    assert {int(n) for part in re.findall(r"([\d, and]+?) in section", line) for n in re.findall(r"\d+", part)} == set(ANSWERS)


@pytest.mark.parametrize("name", ["gcd_2d", "gcd_ablation", "gcd_digits"])
def test_stored_tables_name_their_command(name):
    assert "python -m experiments." in resource(f"data/results/{name}.md").read_text()


def test_the_histogram_game():
    """With entropy the game ends at pi = p and E = -tau log p + c; without, it circles, though the average of its rounds converges."""
    p = data_histogram()
    calm = play(p, tau=0.3, rounds=400)
    assert calm.distance[-1] < 1e-3
    off = calm.energy[-1] + 0.3 * p.log()
    assert (p * (off - (p * off).sum()).abs()).sum() < 0.01
    circling = play(p, tau=0.0, rounds=1000)
    assert circling.distance[-200:].min() > 0.5
    assert 0.5 * (circling.sampler.mean(0) - p).abs().sum() < 0.05
    hasty = play(p, tau=0.3, rounds=400, rate=10.0)
    assert hasty.distance[-100:].min() > 0.1


def test_the_explorer_says_what_it_shows():
    explorer = GameExplorer()
    assert "has settled" in explorer.text
    explorer.controls["tau"].value = 0.0
    assert "still moves" in explorer.text and "tau = 0," in explorer.text

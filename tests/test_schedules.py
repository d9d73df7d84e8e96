import math

import pytest

from ebmlearn.schedules import constant, cosine, geometric, linear


@pytest.mark.parametrize("make", [linear, cosine, geometric])
@pytest.mark.parametrize("start,end", [(1.0, 10.0), (10.0, 0.5)])
def test_ends_and_monotone(make, start, end):
    s = make(start, end, steps=11)
    values = [s(t) for t in range(14)]
    assert values[0] == pytest.approx(start) and values[10] == pytest.approx(end)
    assert values[11:] == [values[10]] * 3  # constant afterwards
    rises = [b - a for a, b in zip(values[:10], values[1:11])]
    assert all((r > 0) == (end > start) for r in rises)


def test_values():
    assert linear(0.0, 1.0, steps=5)(1) == 0.25
    assert geometric(1.0, 16.0, steps=5)(2) == pytest.approx(4.0)
    assert cosine(1.0, 0.0, steps=3)(1) == pytest.approx(0.5)
    assert cosine(1.0, 0.0, steps=5)(1) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))
    assert constant(3.0)(99) == 3.0


def test_one_step_and_negative_steps_stay_at_the_start():
    assert linear(2.0, 5.0, steps=1)(0) == 2.0
    assert linear(2.0, 5.0, steps=4)(-3) == 2.0


@pytest.mark.parametrize("make", [linear, cosine, geometric])
def test_zero_steps_raise(make):
    with pytest.raises(ValueError, match="steps >= 1"):
        make(1.0, 2.0, steps=0)


@pytest.mark.parametrize("ends", [(0.0, 1.0), (1.0, -1.0)])
def test_geometric_needs_positive_ends(ends):
    with pytest.raises(ValueError, match="positive"):
        geometric(*ends, steps=3)

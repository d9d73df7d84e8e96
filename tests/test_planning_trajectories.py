"""Energies of trajectories against sums written out, planners on bowls with known answers, and the composition that has to work."""

import math

import pytest
import torch

from ebmlearn.functional import value_and_grad
from ebmlearn.planning import PointRobot, disc_world, empty_world
from ebmlearn.planning.trajectories import (
    ClearanceEnergy,
    FollowEnergy,
    GoalEnergy,
    LengthEnergy,
    ObstacleEnergy,
    SmoothnessEnergy,
    SquaredLengthEnergy,
    descend,
    execute,
    mppi,
    of_moves,
    states_of,
    straight,
)
from ebmlearn.planning.transitions import DisplacementNoise, TransitionEnergy
from ebmlearn.samplers import Langevin, sample

DOUBLE = torch.float64


def gen(seed):
    return torch.Generator().manual_seed(seed)


def pair(s, t):
    return (s[:, 0] - 2 * t[:, 1]) ** 2 + t.sum(-1)


X = torch.rand(3, 4, 6, 2, generator=gen(0), dtype=DOUBLE)
GOAL = torch.rand(4, 2, generator=gen(1), dtype=DOUBLE)
CENTRE = torch.tensor([0.5, 0.5], dtype=DOUBLE)
ENERGIES = {
    "follow": (FollowEnergy(pair), lambda x, k: sum(pair(x[t][None], x[t + 1][None])[0] for t in range(5))),
    "goal": (GoalEnergy(GOAL), lambda x, k: ((x[5] - GOAL[k]) ** 2).sum()),
    "length": (LengthEnergy(smooth=1e-9), lambda x, k: sum(math.dist(x[t], x[t + 1]) for t in range(5))),
    "squared length": (SquaredLengthEnergy(), lambda x, k: 5 * sum(math.dist(x[t], x[t + 1]) ** 2 for t in range(5))),
    "smoothness": (SmoothnessEnergy(), lambda x, k: sum(((x[t + 1] - 2 * x[t] + x[t - 1]) ** 2).sum() for t in range(1, 5))),
    "obstacle": (
        ObstacleEnergy(CENTRE, radius=0.3, margin=0.05, between=0),
        lambda x, k: sum(max(0.0, 0.35 - math.dist(x[t], CENTRE)) ** 2 for t in range(6)),
    ),
    "clearance": (
        ClearanceEnergy(disc_world(radius=0.2).to(DOUBLE), margin=0.3),
        lambda x, k: sum(
            max(0.0, 0.3 - min(math.dist(x[t], CENTRE) - 0.2, x[t].min().item(), 1 - x[t].max().item())) ** 2 for t in range(6)
        ),
    ),
}


@pytest.mark.parametrize("name", ENERGIES)
def test_each_term_is_the_sum_written_out(name):
    energy, by_hand = ENERGIES[name]
    e = energy(X)
    assert e.shape == (3, 4)
    expected = torch.tensor([[float(by_hand(X[i, k], k)) for k in range(4)] for i in range(3)], dtype=DOUBLE)
    torch.testing.assert_close(e, expected)
    moved = of_moves(energy, X[0, :, 0])
    torch.testing.assert_close(moved(X[0].diff(dim=-2)), e[0])
    _, grad = value_and_grad(energy, X[0])
    v, h = torch.randn(4, 6, 2, generator=gen(2), dtype=DOUBLE), 1e-6
    slope = (energy(X[0] + h * v) - energy(X[0] - h * v)) / (2 * h)
    torch.testing.assert_close((grad * v).sum((-2, -1)), slope, atol=1e-6, rtol=1e-6)


def test_terms_add_up_and_weigh():
    parts = [e for e, _ in ENERGIES.values()]
    whole = parts[0] + 50 * parts[1] + parts[5]
    torch.testing.assert_close(whole(X), parts[0](X) + 50 * parts[1](X) + parts[5](X))
    assert whole.event_ndim == 2


def test_a_move_cannot_jump_over_the_obstacle():
    over = torch.tensor([[0.1, 0.5], [0.9, 0.5]], dtype=DOUBLE)
    blind, sees = (ObstacleEnergy(CENTRE, radius=0.2, between=k) for k in (0, 3))
    assert blind(over) == 0
    by_hand = (0.2**2) + 0.0  # at a half of the way; the quarters lie .2 from the centre
    assert sees(over).item() == pytest.approx(by_hand)


def test_squared_length_bounds_the_length():
    length, squared = LengthEnergy(smooth=1e-9)(X), SquaredLengthEnergy()(X)
    assert (squared >= length**2 - 1e-9).all()
    even = states_of(
        torch.zeros(1, 2, dtype=DOUBLE), straight(torch.zeros(1, 2, dtype=DOUBLE), torch.ones(1, 2, dtype=DOUBLE), 7)
    )
    assert SquaredLengthEnergy()(even).item() == pytest.approx(LengthEnergy(smooth=1e-9)(even).item() ** 2) == pytest.approx(2.0)
    assert LengthEnergy()(torch.zeros(2, 5, 2)).tolist() == [0.0, 0.0]


def bowl(x):
    return 0.5 * (x - 1).square().sum((-2, -1))


def test_planners_find_the_bottom_of_a_bowl():
    energy = of_moves(GoalEnergy(GOAL.float()) + 0.1 * SmoothnessEnergy(), torch.zeros(4, 2))
    start = torch.zeros(4, 5, 2)
    for moves in (
        descend(energy, start, 400, learning_rate=0.02),
        mppi(energy, start, 200, noise=0.05, temperature=0.01, generator=gen(3)),
        sample(energy, Langevin(step_size=0.02, noise=0.0), start, 400),
    ):
        assert ((states_of(torch.zeros(4, 2), moves)[:, -1] - GOAL).norm(dim=-1) < 0.05).all()


def test_mppi_at_a_high_temperature_averages_noise_and_at_a_low_one_takes_the_best():
    x = torch.zeros(200, 1, 1)
    e = lambda x: 0.5 * (x - 1).square().sum((-2, -1))
    hot = mppi(e, x, 1, noise=0.5, temperature=1e9, samples=64, generator=gen(4))
    assert abs(hot.mean()) < 5 * 0.5 / math.sqrt(63 * 200)
    cold = mppi(e, x, 1, noise=0.5, temperature=1e-6, samples=64, generator=gen(4))
    xi = torch.randn((64, 200, 1, 1), generator=gen(4))
    xi[0] = 0
    best = (0.5 * xi).gather(0, e(0.5 * xi).argmin(0)[None, :, None, None])[0]
    torch.testing.assert_close(cold, best, atol=1e-4, rtol=1e-4)
    assert torch.equal(cold, mppi(e, x, 1, noise=lambda step: 0.5, temperature=1e-6, samples=64, generator=gen(4)))


def exact_pair(s, t):
    """Moves of at most .1 cost nothing, longer ones much: what a learned energy of the empty square should say."""
    return 300 * ((t - s).norm(dim=-1) - 0.095).clamp_min(0)


def test_only_the_whole_sum_bends_around_a_disc_that_no_term_was_trained_on():
    world, robot = disc_world(radius=0.2), PointRobot(max_step=0.1)
    angle = torch.arange(8) * math.pi / 4 + 0.1
    at = lambda a: 0.5 + 0.42 * torch.stack([a.cos(), a.sin()], -1)
    start, goal = at(angle), at(angle + math.pi)
    line = straight(start, goal, 20)
    first = line + 0.002 * torch.randn(line.shape, generator=gen(5))
    follow, to_goal, away = (
        FollowEnergy(exact_pair),
        500 * GoalEnergy(goal),
        3000 * ObstacleEnergy(torch.tensor([0.5, 0.5]), radius=0.2, margin=0.03),
    )
    success = {}
    for name, energy in {
        "no obstacle": follow + to_goal + 20 * LengthEnergy(),
        "no goal": follow + away,
        "all": follow + to_goal + away + 20 * LengthEnergy(),
    }.items():
        moves = sample(of_moves(energy, start), Langevin(step_size=1e-5, noise=0.0), first, 300)
        out = execute(states_of(start, moves), goal, world, robot)
        success[name] = out.success.double().mean().item()
        if name == "all":
            assert (out.length / world.geodesic(start, goal) < 1.3).all()
    assert success == {"no obstacle": 0.0, "no goal": 0.0, "all": 1.0}
    straight_on = execute(states_of(start, line), goal, world, robot)
    assert straight_on.blocked.all() and not straight_on.success.any()


def test_execution_by_hand():
    robot, world = PointRobot(max_step=0.1), empty_world()
    plan = torch.tensor([[[0.1, 0.1], [0.2, 0.1], [0.3, 0.1]], [[0.1, 0.1], [0.15, 0.1], [0.4, 0.1]]])
    out = execute(plan, torch.tensor([[0.3, 0.12], [0.4, 0.1]]), world, robot)
    assert out.success.tolist() == [True, False] and not out.blocked.any()
    torch.testing.assert_close(out.length, torch.tensor([0.2, 0.3]))
    torch.testing.assert_close(out.longest, torch.tensor([0.1, 0.25]))
    torch.testing.assert_close(out.states[-1], torch.tensor([[0.3, 0.1], [0.25, 0.1]]))  # the second falls behind


def test_noise_density_is_a_density_and_samples_have_it():
    q = DisplacementNoise([0.5, 1.5])
    grid = torch.cartesian_prod(*[torch.linspace(-9, 9, 241, dtype=DOUBLE)] * 2)
    mass = q.log_prob(torch.zeros_like(grid), grid).exp().sum() * (18 / 240) ** 2
    assert mass.item() == pytest.approx(1, abs=1e-6)
    s = torch.full((40_000, 2), 3.0)
    d2 = (q.sample(s, generator=gen(6)) - s).square().sum(-1)
    expected = 0.5**2 + 1.5**2  # mean of 2 sigma² over the two scales
    assert abs(d2.mean() - expected) < 5 * d2.std() / 200


def test_bad_input_is_refused_with_the_fix():
    with pytest.raises(ValueError, match="radius"):
        ObstacleEnergy(CENTRE, radius=0.0)
    with pytest.raises(ValueError, match="smooth"):
        LengthEnergy(smooth=0.0)
    with pytest.raises(ValueError, match="margin"):
        ClearanceEnergy(disc_world(), margin=0.0)
    with pytest.raises(ValueError, match="samples"):
        mppi(bowl, torch.zeros(1, 2, 2), 1, noise=0.1, temperature=0.0)
    with pytest.raises(ValueError, match=r"\[64, \*batch\]"):
        mppi(lambda x: x.sum((0, -1, -2)), torch.zeros(3, 2, 2), 1, noise=0.1, temperature=1.0)
    with pytest.raises(FloatingPointError, match="step 0"):
        mppi(lambda x: bowl(x) * math.nan, torch.zeros(3, 2, 2), 1, noise=0.1, temperature=1.0)
    with pytest.raises(FloatingPointError, match="step 0"):
        descend(lambda x: bowl(x) * math.nan, torch.zeros(3, 2, 2), 1)
    with pytest.raises(ValueError, match="steps"):
        straight(torch.zeros(1, 2), torch.ones(1, 2), 0)
    with pytest.raises(ValueError, match="scale"):
        TransitionEnergy(scale=0.0)
    with pytest.raises(ValueError, match="states"):
        TransitionEnergy(scale=1.0)(torch.zeros(5, 3), torch.zeros(5, 3))
    with pytest.raises(ValueError, match="scale"):
        DisplacementNoise([])

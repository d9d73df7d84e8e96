"""The tabular decision process: its maximum-entropy policy is the Boltzmann distribution over trajectories."""

import math

import pytest
import torch

from ebmlearn.energies.tabular import TabularMDP, grid_world

DOUBLE = torch.float64


def problem(generator):
    mdp = grid_world(3, 2, horizon=4, start=1)
    cost = torch.rand(6, 5, dtype=DOUBLE, generator=generator)
    end = 2 * torch.rand(6, dtype=DOUBLE, generator=generator)
    return mdp, cost, end


@pytest.mark.parametrize("tau", [0.2, 1.0, 5.0])
def test_policy_is_boltzmann_over_trajectories(tau, generator):
    """log pi(trajectory) = -E/tau - log Z for every one of the 625 trajectories, to 1e-10; log Z = -V_0(start)."""
    mdp, cost, end = problem(generator)
    policy = mdp.solve(cost, end=end, temperature=tau)
    actions, states = mdp.trajectories()
    e = mdp.energy(actions, cost, end=end)
    log_z = torch.logsumexp(-e / tau, 0)
    assert len(actions) == 5**4 and states.shape == (625, 5)
    assert torch.allclose(mdp.log_prob(actions, policy), -e / tau - log_z, atol=1e-10)
    assert -policy.value[0, mdp.start].item() == pytest.approx(log_z.item(), abs=1e-10)
    assert torch.allclose(policy.log_prob.exp().sum(-1), torch.ones(4, 6, dtype=DOUBLE))


def test_it_minimises_cost_minus_entropy(generator):
    """E_pi[E] - tau H(pi) = -tau log Z at the policy, and more at any other."""
    mdp, cost, end = problem(generator)
    tau = 0.7
    policy = mdp.solve(cost, end=end, temperature=tau)
    actions, _ = mdp.trajectories()
    e = mdp.energy(actions, cost, end=end)

    def objective(log_p):
        p = log_p.exp()
        return (p * e).sum() + tau * (p * log_p).sum()

    best = objective(mdp.log_prob(actions, policy))
    assert best.item() == pytest.approx(tau * policy.value[0, mdp.start].item(), abs=1e-10)
    for _ in range(5):
        other = mdp.solve(torch.rand(6, 5, dtype=DOUBLE, generator=generator), end=end, temperature=tau)
        assert objective(mdp.log_prob(actions, other)) > best + 1e-6


def test_visits_by_enumeration(generator):
    mdp, cost, end = problem(generator)
    policy = mdp.solve(cost, end=end)
    actions, states = mdp.trajectories()
    p = mdp.log_prob(actions, policy).exp()
    used, last = torch.zeros(6, 5, dtype=DOUBLE), torch.zeros(6, dtype=DOUBLE)
    for i in range(len(actions)):
        for s, a in zip(states[i], actions[i]):
            used[s, a] += p[i]
        last[states[i, -1]] += p[i]
    got = mdp.visits(policy)
    assert torch.allclose(got[0], used, atol=1e-12) and torch.allclose(got[1], last, atol=1e-12)


def test_inverse_problem(generator):
    """d(-log-likelihood)/d cost = demonstrated minus expected visits (over tau); descending it matches the trajectory law."""
    mdp, cost, end = problem(generator)
    expert = mdp.visits(mdp.solve(cost, end=end))
    actions, _ = mdp.trajectories()
    p = mdp.log_prob(actions, mdp.solve(cost, end=end)).exp()
    guess_cost = torch.zeros(6, 5, dtype=DOUBLE, requires_grad=True)
    guess_end = torch.zeros(6, dtype=DOUBLE, requires_grad=True)
    policy = mdp.solve(guess_cost, end=guess_end)
    loss = -(p * mdp.log_prob(actions, policy)).sum()
    grads = torch.autograd.grad(loss, (guess_cost, guess_end))
    mine = mdp.visits(mdp.solve(guess_cost.detach(), end=guess_end.detach()))
    for got, e, m in zip(grads, expert, mine):
        assert torch.allclose(got, e - m, atol=1e-10)
    c, d = torch.zeros(6, 5, dtype=DOUBLE), torch.zeros(6, dtype=DOUBLE)
    for _ in range(1500):
        u, law = mdp.visits(mdp.solve(c, end=d))
        c, d = c - 0.4 * (expert[0] - u), d - 0.4 * (expert[1] - law)
    kl = (p * (p.log() - mdp.log_prob(actions, mdp.solve(c, end=d)))).sum().item()
    assert 0 <= kl + 1e-12 < 1e-4


def test_samples(generator):
    mdp, cost, end = problem(generator)
    policy = mdp.solve(cost, end=end, temperature=0.5)
    n = 20_000
    last = torch.bincount(mdp.states(mdp.sample(n, policy, generator=generator))[:, -1], minlength=6).double() / n
    p = mdp.visits(policy)[1]
    assert ((last - p).abs() < 5 * (p * (1 - p) / n).sqrt() + 1e-9).all()
    assert math.isclose(p.sum().item(), 1.0)


def test_errors():
    mdp = grid_world(2, 2, horizon=2)
    with pytest.raises(ValueError, match="temperature > 0"):
        mdp.solve(torch.zeros(4, 5), end=torch.zeros(4), temperature=0.0)
    with pytest.raises(ValueError, match="expected cost"):
        mdp.solve(torch.zeros(4), end=torch.zeros(4))
    with pytest.raises(ValueError, match="state numbers"):
        TabularMDP(move=torch.tensor([[5]]), horizon=1)
    with pytest.raises(ValueError, match="horizon"):
        TabularMDP(move=torch.tensor([[0]]), horizon=0)
    with pytest.raises(ValueError, match="trajectories"):
        grid_world(2, 2, horizon=12).trajectories()

# %% [markdown]
# # Homework A · Energies and sampling
#
# **After** lesson 05. **Points** 30, all marked by a program. **Time** about three hours.
#
# Six functions. Each has a check that you may run as often as you like: it says *right*, *not attempted*, or *wrong* with a symptom.
# `q.boltzmann.hint()` and `q.boltzmann.hint(2)` open up hints. The marks come from the same checks, with other inputs, in
# another process: `ebmlearn grade homework_a.ipynb` shows what you would get.
#
# Rules. Keep the names and arguments of the functions. They get and return plain numbers, tensors (often float64, with any
# number of batch axes where the statement says `*batch`), tuples of these, and energies of `ebmlearn.energies`. Add cells and helper functions as you
# like. You may use everything in `ebmlearn` and PyTorch. Notation is that of the course: $p(x) \propto e^{-E(x)/T}$, Langevin steps
# $x \leftarrow x - \eta \nabla E(x) + \sqrt{2\eta}\,\xi$.

# %% tags=["setup"]
import matplotlib.pyplot as plt
import torch

from ebmlearn import value_and_grad
from ebmlearn.checks import homework_a as q
from ebmlearn.course import setup
from ebmlearn.energies import DoubleWell, Gaussian
from ebmlearn.samplers import MALA, ParallelTempering, sample
from ebmlearn.viz import energy_map, points

setup(seed=0)

# %% [markdown]
# ## Problem 1 (4 points): Boltzmann's distribution
#
# From energies `[*batch, K]` of $K$ states, the probabilities `[*batch, K]` at temperature $T > 0$. Energies may be large.


# %% tags=["exercise"]
def boltzmann(energies, temperature):
    """exp(-E/T), normalised over the last axis."""
    ### BEGIN SOLUTION
    return torch.softmax(-energies / temperature, dim=-1)
    ### END SOLUTION


# %% tags=["check"]
print(q.boltzmann.check(boltzmann))
### BEGIN HIDDEN TESTS
for seed in (101, 102, 103):
    assert q.boltzmann.check(boltzmann, seed=seed), seed
### END HIDDEN TESTS

# %% [markdown]
# ## Problem 2 (4 points): energy and heat capacity
#
# The mean energy $U = \langle E \rangle$ at temperature $T$ and the heat capacity $C = dU/dT$, for finitely many states. Find the formula that
# needs no derivative: it says that $C$ measures how much the energy fluctuates.


# %% tags=["exercise"]
def thermal(energies, temperature):
    """(U, C) of K states, two numbers."""
    ### BEGIN SOLUTION
    p = torch.softmax(-energies / temperature, dim=-1)
    mean = (p * energies).sum()
    return mean, (p * (energies - mean) ** 2).sum() / temperature**2
    ### END SOLUTION


# %% tags=["check"]
print(q.thermal.check(thermal))
### BEGIN HIDDEN TESTS
for seed in (201, 202, 203):
    assert q.thermal.check(thermal, seed=seed), seed
### END HIDDEN TESTS

# %% [markdown]
# ## Problem 3 (5 points): the matrix of Metropolis and Hastings
#
# A chain on $K$ states proposes $j$ from $i$ with probability $q_{ij}$, which is *not* symmetric. Return the transition matrix
# $M_{ij} = P(i \to j)$ that accepts as much as it can and leaves $p_i \propto e^{-E_i}$ as it is.


# %% tags=["exercise"]
def metropolis_hastings(energies, proposal):
    """M[i, j], [K, K]; rows sum to 1."""
    ### BEGIN SOLUTION
    offered = torch.softmax(-energies, dim=-1)[:, None] * proposal  # p_i q_ij
    move = proposal * (offered.T / offered).clamp(max=1)
    move = move - torch.diag(move.diagonal())
    return move + torch.diag(1 - move.sum(1))
    ### END SOLUTION


# %% tags=["check"]
print(q.metropolis_hastings.check(metropolis_hastings))
### BEGIN HIDDEN TESTS
for seed in (301, 302, 303):
    assert q.metropolis_hastings.check(metropolis_hastings, seed=seed), seed
### END HIDDEN TESTS

# %% [markdown]
# ## Problem 4 (5 points): the law of an unadjusted chain
#
# The energy is a bowl, $E(x) = \sum_d k_d (x_d - m_d)^2/2$, and the chain starts at one point $x_0$. All its laws are Gaussian. Return the mean
# and the variance of each coordinate after $n$ unadjusted Langevin steps. Look at $n \to \infty$: is it $1/k$?


# %% tags=["exercise"]
def ula_law(k, m, eta, x0, n):
    """(mean [D], variance [D]) after n steps of size eta from x0 [D]."""
    ### BEGIN SOLUTION
    a = 1 - eta * k
    variance = torch.zeros_like(k)
    for _ in range(n):
        variance = a**2 * variance + 2 * eta
    return m + a**n * (x0 - m), variance
    ### END SOLUTION


# %% tags=["check"]
print(q.ula_law.check(ula_law))
### BEGIN HIDDEN TESTS
for seed in (401, 402, 403):
    assert q.ula_law.check(ula_law, seed=seed), seed
### END HIDDEN TESTS

# %% [markdown]
# ## Problem 5 (6 points): leapfrog
#
# $n$ leapfrog steps of size $\epsilon$ for $H(x, v) = E(x) + |v|^2/2$. The energy is one of `ebmlearn.energies`. The check looks at what makes a
# leapfrog a leapfrog: it can be run backwards, and its error in $H$ falls as $\epsilon^2$.


# %% tags=["exercise"]
def leapfrog(energy, x, v, eps, n):
    """(x', v') after n steps; x and v have the shape [*batch, D]."""
    ### BEGIN SOLUTION
    for _ in range(n):
        v = v - eps / 2 * value_and_grad(energy, x)[1]
        x = x + eps * v
        v = v - eps / 2 * value_and_grad(energy, x)[1]
    return x, v
    ### END SOLUTION


# %% tags=["check"]
print(q.leapfrog.check(leapfrog))
### BEGIN HIDDEN TESTS
for seed in (501, 502, 503):
    assert q.leapfrog.check(leapfrog, seed=seed), seed
### END HIDDEN TESTS

# %% [markdown]
# ## Problem 6 (6 points): four wells
#
# Draw $n$ independent points from an energy with four deep wells of unequal weight, like the one below. Any method is right that gives each well its share;
# the check compares shares and energies with a grid, to five standard errors. The same `seed` must give the same draws. The picture shows what
# does *not* work: of 200 `MALA` chains that start in one corner nearly all are still there after 500 steps.


# %% tags=["figure"] alt="Four dark wells of low energy at the corners of a square; nearly all orange dots, the ends of 200 chains, lie in the upper right well, where they began."
def stuck():
    centre = torch.tensor([0.4, -0.4])
    wells = DoubleWell(2, height=7.0) + Gaussian(centre, 1.5)
    start = torch.ones(200, 2)
    ends = sample(
        wells, MALA(step_size=0.01), start, 500, generator=torch.Generator().manual_seed(0)
    )
    fig, ax = plt.subplots(figsize=(4, 4))
    energy_map(wells, ax, extent=(-1.8, 1.8, -1.8, 1.8))
    points(ends, ax)
    return fig


fig = stuck()


# %% tags=["exercise"]
def draw(energy, n, seed):
    """n independent points [n, 2] of exp(-E)/Z."""
    ### BEGIN SOLUTION
    generator = torch.Generator().manual_seed(seed)
    ladder = ParallelTempering(kernel=MALA(step_size=0.02), temperatures=(1.0, 2.0, 4.0, 8.0))
    start = 2 * torch.rand(n, 2, dtype=torch.float64, generator=generator) - 1
    return sample(energy, ladder, start, 300, generator=generator)
    ### END SOLUTION


# %% tags=["check"]
print(q.draw.check(draw))
### BEGIN HIDDEN TESTS
for seed in (601, 602):
    assert q.draw.check(draw, seed=seed), seed
### END HIDDEN TESTS

# %% [markdown]
# ## Hand in
#
# *Kernel → Restart and run all*, save, run `ebmlearn grade homework_a.ipynb`, and hand in the notebook.

# %% [markdown]
# # Homework B · Learning, latent variables, free energy
#
# **After** lesson 09. **Points** 30, all marked by a program. **Time** about three hours.
#
# Six functions with a check each: `print(q.fit.check(fit))` says *right*, *not attempted*, or *wrong* with a symptom, and
# `q.fit.hint()` helps. Keep names and arguments; return plain numbers, tensors or tuples. Everything in `ebmlearn` and PyTorch may be
# used. `ebmlearn grade homework_b.ipynb` shows what you would get.
#
# The first three problems live where everything can be summed: $K$ states $s$ with statistics $T(s) \in \mathbb R^D$ and
# $E_\theta(s) = -\theta \cdot T(s)$. Data are a distribution $p_\text{data}$ over the states.

# %% tags=["setup"]
import torch

from ebmlearn.checks import homework_b as q
from ebmlearn.course import setup
from ebmlearn.energies import Gaussian
from ebmlearn.metrics import importance_sampling

setup(seed=0)

# %% [markdown]
# ## Problem 1 (4 points): the gradient
#
# The gradient in $\theta$ of the mean negative log-likelihood, $-\sum_s p_\text{data}(s) \log p_\theta(s)$.


# %% tags=["exercise"]
def nll_gradient(theta, statistics, p_data):
    """theta [D], statistics [K, D], p_data [K] -> [D]."""
    ### BEGIN SOLUTION
    p_model = torch.softmax(statistics @ theta, dim=0)
    return (p_model - p_data) @ statistics
    ### END SOLUTION


# %% tags=["check"]
print(q.nll_gradient.check(nll_gradient))
### BEGIN HIDDEN TESTS
for seed in (101, 102, 103):
    assert q.nll_gradient.check(nll_gradient, seed=seed), seed
### END HIDDEN TESTS

# %% [markdown]
# ## Problem 2 (5 points): what CD-k descends
#
# Contrastive divergence starts a chain at the data, takes $k$ steps and uses where it ends in place of the model. On $K$ states, with
# the transition matrix $M$, its *mean* is a finite sum. Compute it. (Then look, on paper or in a cell of your own: is it the gradient of anything?)


# %% tags=["exercise"]
def cd_direction(theta, statistics, p_data, M, k):
    """The mean of the CD-k update that a step descends, [D]."""
    ### BEGIN SOLUTION
    p = p_data
    for _ in range(k):
        p = p @ M
    return (p - p_data) @ statistics
    ### END SOLUTION


# %% tags=["check"]
print(q.cd_direction.check(cd_direction))
### BEGIN HIDDEN TESTS
for seed in (201, 202, 203):
    assert q.cd_direction.check(cd_direction, seed=seed), seed
### END HIDDEN TESTS

# %% [markdown]
# ## Problem 3 (5 points): learn
#
# Maximum likelihood: the $\theta$ at which the model's mean statistics are those of the data, to three decimals.


# %% tags=["exercise"]
def fit(statistics, p_data):
    """statistics [K, D], p_data [K] -> theta [D]."""
    ### BEGIN SOLUTION
    theta = torch.zeros(statistics.shape[1], dtype=statistics.dtype)
    for _ in range(3000):
        p = torch.softmax(statistics @ theta, dim=0)
        mean = p @ statistics
        covariance = (statistics - mean).T @ (p[:, None] * (statistics - mean))
        step = torch.linalg.solve(
            covariance + 1e-9 * torch.eye(len(theta), dtype=theta.dtype), p_data @ statistics - mean
        )
        theta = theta + step / max(1.0, float(step.norm()))
        if step.norm() < 1e-10:
            break
    return theta
    ### END SOLUTION


# %% tags=["check"]
print(q.fit.check(fit))
### BEGIN HIDDEN TESTS
for seed in (301, 302, 303):
    assert q.fit.check(fit, seed=seed), seed
### END HIDDEN TESTS

# %% [markdown]
# ## Problem 4 (5 points): the score of blurred data
#
# Denoising score matching at noise $\sigma$ learns, if the network can, the score of the data blurred by $\mathcal N(0, \sigma^2 I)$. For finitely many data
# points that is a formula. Write it so that it works far away from all data, too.


# %% tags=["exercise"]
def blurred_score(x, data, sigma):
    """x [*batch, D], data [N, D] -> [*batch, D]."""
    ### BEGIN SOLUTION
    difference = data - x[..., None, :]  # [*batch, N, D]
    weight = torch.softmax(-difference.square().sum(-1) / (2 * sigma**2), dim=-1)
    return (weight[..., None] * difference).sum(-2) / sigma**2
    ### END SOLUTION


# %% tags=["check"]
print(q.blurred_score.check(blurred_score))
### BEGIN HIDDEN TESTS
for seed in (401, 402, 403):
    assert q.blurred_score.check(blurred_score, seed=seed), seed
### END HIDDEN TESTS

# %% [markdown]
# ## Problem 5 (5 points): the gradient of a free energy
#
# With a latent $z$ that takes $K$ values, $F_\beta(x) = -\frac1\beta \log \sum_k e^{-\beta E(x, z_k)}$. To descend in it, or to run Langevin on it, you need
# $\nabla_x F_\beta$ from the energies and gradients at every $z_k$.


# %% tags=["exercise"]
def free_energy_gradient(energies, gradients, beta):
    """energies [*batch, K], gradients [*batch, K, D] -> [*batch, D]."""
    ### BEGIN SOLUTION
    posterior = torch.softmax(-beta * energies, dim=-1)
    return (posterior[..., None] * gradients).sum(-2)
    ### END SOLUTION


# %% tags=["check"]
print(q.free_energy_gradient.check(free_energy_gradient))
### BEGIN HIDDEN TESTS
for seed in (501, 502, 503):
    assert q.free_energy_gradient.check(free_energy_gradient, seed=seed), seed
### END HIDDEN TESTS

# %% [markdown]
# ## Problem 6 (6 points): the partition function, and how sure you are
#
# For an energy in the plane, $\log Z$ and its standard error, by any method. The check compares with a grid: the value must be within five of *your*
# standard errors, and these must be small. The energies are Gaussians with a mean a few units from 0, and four wells near the corners of a square of side 2.


# %% tags=["exercise"]
def log_partition(energy, seed):
    """(log Z, standard error), two numbers."""
    ### BEGIN SOLUTION
    base = Gaussian(torch.zeros(2, dtype=torch.float64), 6.0)
    generator = torch.Generator().manual_seed(seed)
    found = importance_sampling(energy, base, 100_000, generator=generator)
    return found.log_partition, found.standard_error
    ### END SOLUTION


# %% tags=["check"]
print(q.log_partition.check(log_partition))
### BEGIN HIDDEN TESTS
for seed in (601, 602, 603):
    assert q.log_partition.check(log_partition, seed=seed), seed
### END HIDDEN TESTS

# %% [markdown]
# ## Hand in
#
# *Kernel → Restart and run all*, save, run `ebmlearn grade homework_b.ipynb`, and hand in the notebook.

# %% [markdown]
# # Homework C · Restricted Boltzmann machines
#
# **After** lesson 11. **Points** 30, all marked by a program. **Time** about three hours.
#
# Six functions with a check each: `print(q.conditionals.check(conditionals))` says *right*, *not attempted*, or *wrong* with a symptom, and
# `q.conditionals.hint()` helps. Keep names and arguments; return plain numbers, tensors or tuples. Everything in `ebmlearn` and PyTorch may be
# used. `ebmlearn grade homework_c.ipynb` shows what you would get.
#
# The binary machine has visible units $x \in \{0, 1\}^D$, hidden units $z \in \{0, 1\}^H$ and the energy $E(x, z) = -a \cdot x - b \cdot z - x^\top W z$.

# %% tags=["setup"]
import itertools

import torch

from ebmlearn.checks import homework_c as q
from ebmlearn.course import setup
from ebmlearn.energies import GaussianBernoulliRBM

setup(seed=0)

# %% [markdown]
# ## Problem 1 (4 points): both conditionals
#
# The probability of each hidden unit to be on, given $x$, and of each visible unit, given $z$; any batch axes.


# %% tags=["exercise"]
def conditionals(x, z, W, a, b):
    """(p(z = 1 | x) [*batch, H], p(x = 1 | z) [*batch, D])."""
    ### BEGIN SOLUTION
    return torch.sigmoid(x @ W + b), torch.sigmoid(z @ W.T + a)
    ### END SOLUTION


# %% tags=["check"]
print(q.conditionals.check(conditionals))
### BEGIN HIDDEN TESTS
for seed in (101, 102, 103):
    assert q.conditionals.check(conditionals, seed=seed), seed
### END HIDDEN TESTS

# %% [markdown]
# ## Problem 2 (5 points): the free energy of spins
#
# The same energy, but with hidden units that are $-1$ or $+1$. Physicists prefer them. $F(x) = -\log \sum_z e^{-E(x, z)}$ in closed form, without overflow.


# %% tags=["exercise"]
def spin_free_energy(x, W, a, b):
    """F(x), [*batch], for x [*batch, D] and hidden units of -1 and +1."""
    ### BEGIN SOLUTION
    field = x @ W + b
    return -(x @ a) - torch.logaddexp(field, -field).sum(-1)
    ### END SOLUTION


# %% tags=["check"]
print(q.spin_free_energy.check(spin_free_energy))
### BEGIN HIDDEN TESTS
for seed in (201, 202, 203):
    assert q.spin_free_energy.check(spin_free_energy, seed=seed), seed
### END HIDDEN TESTS

# %% [markdown]
# ## Problem 3 (6 points): exact log Z
#
# Of the machine with zeros and ones. One side may have 200 units, so $2^{209}$ states; the smaller side never has more than 12.


# %% tags=["exercise"]
def log_partition(W, a, b):
    """log sum over all x and z of exp(-E), a number."""
    ### BEGIN SOLUTION
    if len(a) > len(b):
        W, a, b = W.T, b, a
    few = torch.tensor(list(itertools.product([0.0, 1.0], repeat=len(a))), dtype=W.dtype)
    return torch.logsumexp(few @ a + torch.nn.functional.softplus(few @ W + b).sum(1), dim=0)
    ### END SOLUTION


# %% tags=["check"]
print(q.log_partition.check(log_partition))
### BEGIN HIDDEN TESTS
for seed in (301, 302, 303):
    assert q.log_partition.check(log_partition, seed=seed), seed
### END HIDDEN TESTS

# %% [markdown]
# ## Problem 4 (5 points): the gradient that CD and PCD use
#
# From data $x$ and samples $y$ of the model (however they were made): the gradient of the mean negative log-likelihood in $W$, $a$ and $b$. Sum the hidden
# units out; do not sample them.


# %% tags=["exercise"]
def gradients(x, y, W, a, b):
    """(dW [D, H], da [D], db [H]); x [N, D] are data, y [M, D] samples."""

    ### BEGIN SOLUTION
    def mean(points):
        p = torch.sigmoid(points @ W + b)
        return -points.T @ p / len(points), -points.mean(0), -p.mean(0)

    return tuple(of_data - of_model for of_data, of_model in zip(mean(x), mean(y)))
    ### END SOLUTION


# %% tags=["check"]
print(q.gradients.check(gradients))
### BEGIN HIDDEN TESTS
for seed in (401, 402, 403):
    assert q.gradients.check(gradients, seed=seed), seed
### END HIDDEN TESTS

# %% [markdown]
# ## Problem 5 (5 points): Gibbs as a matrix
#
# For small machines one step of block Gibbs, $x \to z \to x'$, is a matrix of $2^D \times 2^D$ probabilities. Its second largest eigenvalue says how fast
# the chain forgets: look at it, in a cell of your own, as the weights grow.


# %% tags=["exercise"]
def gibbs_matrix(W, a, b):
    """M[i, j] = P(x_i -> x_j); states in the order of itertools.product([0, 1], repeat=D)."""

    ### BEGIN SOLUTION
    def states(n):
        return torch.tensor(list(itertools.product([0.0, 1.0], repeat=n)), dtype=W.dtype)

    x, z = states(len(a)), states(len(b))
    log_joint = (x @ a)[:, None] + z @ b + x @ W @ z.T
    return torch.softmax(log_joint, dim=1) @ torch.softmax(log_joint, dim=0).T
    ### END SOLUTION


# %% tags=["check"]
print(q.gibbs_matrix.check(gibbs_matrix))
### BEGIN HIDDEN TESTS
for seed in (501, 502, 503):
    assert q.gibbs_matrix.check(gibbs_matrix, seed=seed), seed
### END HIDDEN TESTS

# %% [markdown]
# ## Problem 6 (5 points): draws from a Gaussian-Bernoulli machine
#
# $n$ independent points $x$ from $E(x, z) = \sum_i \frac{(x_i - \mu_i)^2}{2 s_i^2} - (x/s^2)^\top W z - b \cdot z$ with $s^2 = e^{\mathtt{log\_var}}$ and at most 8 hidden units. A long
# Gibbs chain is *one* way, and some of the machines mix badly. What is $p(x)$, as a function of $x$?


# %% tags=["exercise"]
def grbm_draw(W, b, mu, log_var, n, seed):
    """n independent points [n, D]; W [D, H]."""
    ### BEGIN SOLUTION
    generator = torch.Generator().manual_seed(seed)
    rbm = GaussianBernoulliRBM(*W.shape).to(W.dtype)
    with torch.no_grad():
        for parameter, value in zip((rbm.W, rbm.b, rbm.mu, rbm.log_var), (W, b, mu, log_var)):
            parameter.copy_(value)
        log_weights, means = rbm.components()
        chosen = torch.multinomial(log_weights.exp(), n, replacement=True, generator=generator)
        noise = torch.randn(n, len(mu), dtype=W.dtype, generator=generator)
        return means[chosen] + rbm.variance.sqrt() * noise
    ### END SOLUTION


# %% tags=["check"]
print(q.grbm_draw.check(grbm_draw))
### BEGIN HIDDEN TESTS
for seed in (601, 602, 603):
    assert q.grbm_draw.check(grbm_draw, seed=seed), seed
### END HIDDEN TESTS

# %% [markdown]
# ## Hand in
#
# *Kernel → Restart and run all*, save, run `ebmlearn grade homework_c.ipynb`, and hand in the notebook.

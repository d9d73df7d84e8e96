# %% [markdown]
# # Capstone · An energy of your own
#
# **After** lesson 16. **Points** 30: 24 marked by a program, 6 by a person. **Time** a day or two.
#
# You are given samples. You build an energy, and then you *use* it: its partition function, draws from it, a composition, a decision. What you do with the
# same energy on other data, or with planning, is the open part. The checks judge what you made against itself (your $\log Z$ against a grid over
# *your* energy, your draws against *your* density), and only the first one against the data. `ebmlearn grade capstone.ipynb` shows what you would get.
#
# Rules. The data are `q.the_data().sample(n)`: two moons, as many points as you like. They come with a density, which you may *not* use, nor anything else
# than samples; whoever reads your notebook will see. Any model, any loss, any sampler of the course. The whole notebook must run within a minute on one CPU core;
# longer training is welcome in the report. Functions return plain numbers or tensors.

# %% tags=["setup"]
import math

import matplotlib.pyplot as plt
import torch

from ebmlearn.checks import capstone as q
from ebmlearn.course import setup
from ebmlearn.energies import MLPEnergy
from ebmlearn.metrics import quadrature
from ebmlearn.samplers import MALA, sample
from ebmlearn.viz import points

setup(seed=0)
train = q.the_data().sample(4000, generator=torch.Generator().manual_seed(1))
held_out = q.the_data().sample(4000, generator=torch.Generator().manual_seed(2))


# %% tags=["figure"] alt="Orange dots form two interleaved crescents with blurred edges, one open to the top and one open to the bottom."
def data_picture():
    fig, ax = plt.subplots(figsize=(5, 3.2))
    points(train[:1500], ax, size=3)
    ax.set(xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
    return fig


fig = data_picture()

# %% [markdown]
# ## Problem 1 (7 points): the energy
#
# Within 0.15 nats of the data, KL(data ‖ model) on a grid. All but 2 % of the mass must lie in the square from $-4$ to $4$. Train in this cell or in cells of your
# own above it; the function only evaluates.


# %% tags=["exercise"]
### BEGIN SOLUTION
def train_by_likelihood(steps=500):
    torch.manual_seed(0)
    net = MLPEnergy(2, hidden_features=(64, 64, 64), confinement=0.1)
    line = torch.linspace(-3.5, 3.5, 70)
    cells = torch.cartesian_prod(line, line)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=steps)
    for _ in range(steps):
        batch = train[torch.randint(len(train), (512,))]
        loss = net(batch).mean() + torch.logsumexp(-net(cells), dim=0)  # + a constant: log Z
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        rate.step()
    return net.requires_grad_(False)


model = train_by_likelihood()
### END SOLUTION


def energy(x):
    """E of points [*batch, 2], [*batch]."""
    ### BEGIN SOLUTION
    return model(x)
    ### END SOLUTION


# %% tags=["check"]
print(q.energy.check(energy))
### BEGIN HIDDEN TESTS
for seed in (101, 102):
    assert q.energy.check(energy, seed=seed), seed
### END HIDDEN TESTS

# %% [markdown]
# ## Problem 2 (4 points): its partition function
#
# $\log Z$ of your own energy over the whole plane, within 0.05.


# %% tags=["exercise"]
def log_partition():
    """log of the integral of exp(-E)."""
    ### BEGIN SOLUTION
    return quadrature(energy, low=-8, high=8, cells=320).log_partition
    ### END SOLUTION


# %% tags=["check"]
print(q.log_partition.check((log_partition, energy)))
### BEGIN HIDDEN TESTS
assert q.log_partition.check((log_partition, energy), seed=201)
### END HIDDEN TESTS

# %% [markdown]
# ## Problem 3 (5 points): draws
#
# Independent draws from *your* density at temperature 1, mistakes of your model included. The same seed gives the same draws.


# %% tags=["exercise"]
def draw(n, seed):
    """n independent points [n, 2]."""
    ### BEGIN SOLUTION
    generator = torch.Generator().manual_seed(seed)
    start = train[torch.randint(len(train), (n,), generator=generator)]  # both moons, right away
    start = start + 0.3 * torch.randn(n, 2, generator=generator)
    return sample(model, MALA(step_size=0.03), start, 400, generator=generator)
    ### END SOLUTION


# %% tags=["check"]
print(q.draw.check((draw, energy)))
### BEGIN HIDDEN TESTS
for seed in (301, 302):
    assert q.draw.check((draw, energy), seed=seed), seed
### END HIDDEN TESTS

# %% [markdown]
# ## Problem 4 (4 points): OR
#
# An even mixture of your model and a Gaussian $\mathcal N(c, v I)$, as a *normalised* energy $-\log(\tfrac12 p_\text{model} + \tfrac12 p_\text{Gauss})$.


# %% tags=["exercise"]
def either(x, centre, variance):
    """-log of the mixture's density at x [*batch, 2], [*batch]."""
    ### BEGIN SOLUTION
    log_model = -energy(x) - log_partition()
    log_gauss = -(x - centre).square().sum(-1) / (2 * variance) - math.log(2 * math.pi * variance)
    return math.log(2) - torch.logaddexp(log_model, log_gauss)
    ### END SOLUTION


# %% tags=["check"]
print(q.either.check((either, energy)))
### BEGIN HIDDEN TESTS
for seed in (401, 402):
    assert q.either.check((either, energy), seed=seed), seed
### END HIDDEN TESTS

# %% [markdown]
# ## Problem 5 (4 points): outliers
#
# Say of each point whether it is an outlier. About one in twenty new data points may be called so (2 to 9 % pass), and at least 80 % of uniform noise must be.


# %% tags=["exercise"]
def outlier(x):
    """Booleans [N] for points [N, 2]."""
    ### BEGIN SOLUTION
    return energy(x) > torch.quantile(energy(held_out), 0.95)
    ### END SOLUTION


# %% tags=["check"]
print(q.outlier.check(outlier))
### BEGIN HIDDEN TESTS
for seed in (501, 502):
    assert q.outlier.check(outlier, seed=seed), seed
### END HIDDEN TESTS

# %% [markdown]
# ## Question 6 (6 points): report
#
# A person reads this one. At most a page and two figures, for a reader who took the course.
#
# 1. How was the energy trained, what did you try that failed, and how did you *see* that it failed? Loss curves alone do not count.
# 2. One extension, with a number and what you compare it with. For instance: the same code on the 8×8 digits (draws, and a distance to held-out digits beside the
#    distance between two halves of the data); a condition or a negation composed with your energy; out-of-distribution detection where the data's energy is
#    *higher*; planning on an energy of transitions.
# 3. What your numbers do not show.

# %% [markdown] tags=["manual"] name="report"
# ### Report
#
# ### BEGIN SOLUTION
# *How it is marked.* Two points each.
# **(1)** Names the loss and the data used; shows at least one failure by something other than a loss: a picture of the density on a grid, energies of held-out data, $\hat R$ of
# chains, mass outside of the data's region. One point if a failure is told without evidence.
# **(2)** A number with an uncertainty (seeds or a standard error) and a baseline that could have won: held-out data, one Gaussian, noise. One point without a baseline.
# **(3)** Says something true and specific: the KL is on a grid in two dimensions and cannot be had for images; draws were judged against the model and not against the
# data; thresholds were chosen on data of one kind of noise.
#
# *A model answer, in short.* Maximum likelihood with $\log Z$ summed on 70 × 70 cells. Without confinement the mass outside of the square grew although the loss fell,
# since nothing outside of the grid is pushed up: seen on a grid three times as wide. With two hidden layers the bridge between the moons stayed.
# ### END SOLUTION

# %% [markdown]
# ## Hand in
#
# *Kernel → Restart and run all*, save, run `ebmlearn grade capstone.ipynb`, and hand in the notebook.

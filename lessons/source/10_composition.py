# %% [markdown]
# # 10 · Conditional and compositional energies
#
# **You will**
#
# - build AND, OR and NOT of densities from their energies, and check each against a grid or a closed form;
# - say which of them needs $\log Z$, which has a domain, and why an average of energies is none of them;
# - put an energy on top of the outputs of other energies;
# - sample a product of diffused densities, and see why adding scores is not enough;
# - design by descending in an energy, and judge the design by the true simulator.
#
# **Time** 75 minutes. **Needs** lessons 01 and 04; Gaussians; what a diffusion's noise levels are.

# %% tags=["setup"]
import math

import matplotlib.pyplot as plt
import torch

from ebmlearn import budget, value_and_grad
from ebmlearn.checks import lesson10 as q
from ebmlearn.course import setup, show
from ebmlearn.energies import (
    EnumeratedJoint,
    FromFunction,
    Gaussian,
    GaussianMixture,
    Mixture,
    Ring,
    product_of_gaussians,
)
from ebmlearn.metrics import quadrature, total_variation_on_grid
from ebmlearn.networks import MLP
from ebmlearn.resources import resource
from ebmlearn.samplers import HMC, MALA, Langevin, sample
from ebmlearn.samplers.annealed_product import annealed_product, cosine_levels, noised
from ebmlearn.training.ablate import Table
from ebmlearn.viz import BLUE, GREEN, ORANGE, RED, energy_map, points
from ebmlearn.widgets import Explorer, slider

setup(seed=0)
torch.set_default_dtype(torch.float64)  # the checks of this lesson are exact to many digits
SEEDS = budget(5, smoke=2)
N = budget(500, smoke=250)  # points of the product sampler
CALLS = 160  # score calls that each sampler may spend
ARMS = budget(300, smoke=60)


def seed(n):
    return torch.Generator().manual_seed(n)


# %% [markdown]
# ## 1 · Conditional energies: one energy, many densities
#
# A **conditional** energy $E(x \mid c)$ takes a condition: a class, a text, a question. For every $c$ it is an energy of $x$,
# $p(x \mid c) = e^{-E(x \mid c)}/Z(c)$, and $Z$ depends on $c$. As long as $c$ is fixed nobody needs $Z(c)$. As soon as two conditions are
# *compared*, it decides. Take discs of three sizes, $E(x \mid c) = |x|^2/2c^2$ with $c \in \{\tfrac12, 1, 2\}$, and a point at the
# centre. All three energies are 0 there. Read as a joint energy of $(x, c)$ they say "no idea which". But the small disc puts far more
# density at its centre. With equal priors Bayes' rule has $p(c \mid x) \propto e^{-E(x \mid c)}/Z(c)$, here $Z(c) = 2\pi c^2$.

# %% tags=["nbval-check-output"]
sizes = torch.tensor([[0.5], [1.0], [2.0]])
discs = EnumeratedJoint(lambda x, c: (x**2).sum(-1) / (2 * c[..., 0] ** 2), sizes)
centre = torch.zeros(1, 2)
log_zs = torch.stack([quadrature(discs.given(c), low=-16, high=16).log_partition for c in sizes])
torch.testing.assert_close(log_zs, (2 * math.pi * sizes[:, 0] ** 2).log())
show("log Z(c) on a grid", log_zs)
show("p(c | centre) without Z(c)", discs.posterior(centre)[0])
show("p(c | centre), Bayes", torch.softmax(-discs.energies(centre)[0] - log_zs, 0))

# %% [markdown]
# `joint.given(c)` is the energy of $x$ at that $c$. Everything below combines such energies, whether each is a concept of one network or
# they come from different people.
#
# ## 2 · AND is a sum
#
# Both must hold, each an independent vote: $p \propto p_1 p_2$, so $E = E_1 + E_2$, a **product of experts**. Level and $Z$ of the
# experts do not matter. For Gaussians *precisions* add: from scratch, and with `ebmlearn`, where `+` builds the sum and
# `product_of_gaussians` gives its closed form. Two experts of variance 1 at $\mp 1.5$:

# %% tags=["nbval-check-output"]
x = torch.linspace(-12, 12, 4801)
dx = 24 / 4800
p1, p2 = (torch.exp(-0.5 * (x - m) ** 2) / math.sqrt(2 * math.pi) for m in (-1.5, 1.5))
overlap = (p1 * p2).sum() * dx
both = p1 * p2 / overlap
by_hand = [(both * x).sum() * dx, (both * x**2).sum() * dx, overlap]

left, right = Gaussian([-1.5]), Gaussian([1.5])
closed, offset = product_of_gaussians(left + right)
log_z = closed.log_partition() - offset
with_ebmlearn = [
    closed.mean.item(),
    closed.covariance.item(),
    (log_z - left.log_partition() - right.log_partition()).exp(),
]
torch.testing.assert_close(torch.tensor(by_hand), torch.tensor(with_ebmlearn), atol=1e-10, rtol=0)
show(
    "AND from scratch: mean, variance, agreement", torch.tensor(by_hand).round(decimals=8), digits=4
)
show("AND with ebmlearn", with_ebmlearn, digits=4)

# %% [markdown]
# The third number, $\int p_1 p_2$, is the **agreement** of the normalised experts. It is small when they contradict each other. The
# product does not show that: it is a confident, narrow bump at 0, where *neither* expert has much mass. A product always answers.
#
# In the plane there is nothing to derive. A ring AND a bar, truth from a grid:

# %% tags=["nbval-check-output"]
box = {"low": -10.0, "high": 10.0, "cells": 400}
ring = Ring(radius=1.5, width=0.15)
bar = Gaussian([0.0, 0.0], [0.04, 4.0])
on_grid = {"ring": quadrature(ring, **box), "bar": quadrature(bar, **box)}
for name, energy in (("ring", ring), ("bar", bar)):
    assert abs(on_grid[name].log_partition - energy.log_partition()) < 1e-5
multiplied = on_grid["ring"].log_density + on_grid["bar"].log_density
summed = quadrature(ring + bar, **box)
assert total_variation_on_grid(multiplied, summed.log_density) < 1e-12
show("product of densities and sum of energies agree", True)
ends = summed.x[..., 1].abs() > 1.2
show(
    "mass of the AND at the two crossings",
    (summed.log_density + summed.log_volume).exp()[ends].sum(),
    digits=2,
)

# %% [markdown]
# ## 3 · OR is a log-sum, and needs log Z
#
# At least one may hold: a mixture, $p = w\,p_1 + (1-w)\,p_2$, in energies
#
# $$E = -\log\left(w\, e^{-E_1 - \log Z_1} + (1-w)\, e^{-E_2 - \log Z_2}\right).$$
#
# The tempting short form $-\log(e^{-E_1} + e^{-E_2})$ has the shares $Z_1 : Z_2$, and an energy has no level, so those may be anything.
# Two unit bumps at $\mp 1.5$ again, but the second energy happens to be given as $E_2 + 5$, the same density:

# %% tags=["nbval-check-output"]
# Error: OR without log Z
lifted = FromFunction(lambda x: right(x) + 5.0)
naive = Mixture([left, lifted])
mended = Mixture([left, lifted], logits=torch.tensor([0.0, 5.0]))


def mass_right(energy):
    p = torch.softmax(-energy(x[:, None]), 0)
    return p[x > 1e-9].sum() + 0.5 * p[x.abs() < 1e-9].sum()


weight = 1 / (1 + math.exp(5))
by_formula = (1 - weight) * 0.5 * math.erfc(1.5 / math.sqrt(2)) + weight * 0.5 * math.erfc(
    -1.5 / math.sqrt(2)
)
assert abs(mass_right(naive) - by_formula) < 1e-5
show("share of the second bump without log Z", weight, digits=4)
show("mass right of 0 without log Z", mass_right(naive), digits=4)
show("mass right of 0 with log Z", mass_right(mended), digits=4)
assert abs(mass_right(mended) - 0.5) < 1e-3

# %% [markdown]
# Where $Z_i$ is unknown, the offset has to be estimated (lesson 06) or learned (lesson 08: noise-contrastive estimation learns it). This is also why *scores* are
# not enough for OR: $\nabla E$ does not change when $E$ gains a constant.
#
# **The average is neither.** $\tfrac12(E_1 + E_2)$ looks like a compromise between the two bumps; it is a geometric mean of densities,
# $p \propto \sqrt{p_1 p_2}$: AND at twice the temperature. Three variances, three different models:

# %% tags=["nbval-check-output"]
# Error: the average of energies is neither AND nor OR
mixture, average = Mixture([left, right]), 0.5 * left + 0.5 * right


def variance(energy):
    p = torch.softmax(-energy(x[:, None]), 0)
    return (p * x**2).sum() - (p * x).sum() ** 2


found = [variance(e) for e in (left + right, average, mixture)]
torch.testing.assert_close(torch.stack(found), torch.tensor([0.5, 1.0, 1 + 1.5**2]))
show("variance of AND, average, OR", found, digits=4)

# %% tags=["figure"] alt="Left: two dotted bumps at minus and plus 1.5 with three combinations. AND is one narrow bump at 0, the average one bump at 0 as wide as each expert, OR has both bumps at half height. Right three panels, ring and upright bar in the plane: AND is two short arcs where they cross, OR without log Z and OR with log Z show both shapes, the bar brighter in the second."
fig, axes = plt.subplots(1, 4, figsize=(14.0, 3.3), width_ratios=(1.5, 1, 1, 1))
for p in (p1, p2):
    axes[0].plot(x, p, ":", color="grey")
cases = {"AND": (left + right, "-"), "average": (average, "--"), "OR": (mixture, "-.")}
for (name, (energy, style)), color in zip(cases.items(), (BLUE, GREEN, ORANGE)):
    axes[0].plot(
        x, torch.softmax(-energy(x[:, None]), 0) / dx, style, color=color, label=name, lw=2
    )
axes[0].set(xlim=(-5, 5), xlabel="$x$", ylabel="density", ylim=(0, 0.62))
axes[0].legend()
either_shape = Mixture(
    [ring, bar], logits=-torch.stack([ring.log_partition(), bar.log_partition()])
)
panels = {
    "ring AND bar": ring + bar,
    "OR, no log Z": Mixture([ring, bar]),
    "OR, equal shares": either_shape,
}
for ax, (title, energy) in zip(axes[1:], panels.items()):
    energy_map(
        energy, ax, show="density", colorbar=False, contours=0, extent=(-2.6, 2.6, -2.6, 2.6)
    )
    ax.set(title=title, ylabel="")

# %% [markdown]
# ### Exercise 1: a mixture with given shares
# From energies `e1[*batch]`, `e2[*batch]` and their $\log Z$, return the energy of the mixture in which the first holds `share` of the
# mass. It must survive energies in the thousands. Stuck? `q.either.hint()`.


# %% tags=["exercise"]
def either(e1, e2, log_z1, log_z2, share):
    """Energy [*batch] of share p1 + (1 - share) p2."""
    ### BEGIN SOLUTION
    first = math.log(share) - log_z1 - e1
    second = math.log(1 - share) - log_z2 - e2
    return -torch.logaddexp(first, second)
    ### END SOLUTION


# %% tags=["check"]
q.either.check(either)

# %% [markdown]
# ## 4 · NOT has a domain
#
# "$E_1$ but not $E_2$" is often written $E_1 - a E_2$, that is $p_1/p_2^a$. For centred Gaussians with standard deviations $s_1, s_2$ the precision
# is $1/s_1^2 - a/s_2^2$. If that is not positive, the energy falls for ever and **there is no density**: high energy under $E_2$ is worth ever more, and
# the sampler runs away to where both experts know nothing. `product_of_gaussians` refuses. On a growing interval $\log Z$ tells too:

# %% tags=["nbval-check-output"]
# Error: NOT by subtraction may have no density
for s1, s2, a in ((1.0, 2.0, 0.5), (1.0, 0.6, 0.5), (1.0, 1.0, 1.0)):
    e = Gaussian([0.0], s1**2) - a * Gaussian([0.0], s2**2)
    try:
        verdict = f"log Z {product_of_gaussians(e).gaussian.log_partition().item():.3f}"
    except ValueError:
        verdict = "no finite Z"
    grids = [quadrature(e, low=-L, high=L, cells=20_000, dim=1).log_partition for L in (5, 10, 20)]
    precision = 1 / s1**2 - a / s2**2
    show(f"sd {s1}, {s2}, a = {a}: precision {precision:.3f}, {verdict}; grids", grids, digits=2)

# %% [markdown]
# Three ways out: keep $a$ small enough (if you know the tails), add an energy that confines, or **bound the negative term**. Bounded
# means: stay away from where $p_2$ is *high*, and be indifferent elsewhere, e.g. $E = E_1 + k\,e^{-E_2}$. The penalty lies in $[0, k]$, so
# $Z_1 e^{-k} \le Z \le Z_1$ whatever $E_2$ is. Ring but not bar:

# %% tags=["nbval-check-output"]
k = 6.0
ring_not_bar = FromFunction(lambda x: ring(x) + k * torch.exp(-bar(x)))
bounded = quadrature(ring_not_bar, **box)
log_z_ring = ring.log_partition()
assert log_z_ring - k <= bounded.log_partition <= log_z_ring
near_bar = bounded.x[..., 0].abs() < 0.2
show("log Z of the ring, of ring NOT bar", [log_z_ring, bounded.log_partition])
for name, grid in (("ring", on_grid["ring"]), ("ring NOT bar", bounded)):
    show(
        f"mass within 0.2 of the bar, {name}",
        (grid.log_density + grid.log_volume).exp()[near_bar].sum(),
    )

# %% [markdown]
# ### Exercise 2: the domain of NOT
# For $E_i(x) = x^2/2v_i$ return $\log Z$ of $E_1 - aE_2$ on the line, and `math.inf` where it is infinite.


# %% tags=["exercise"]
def log_z_of_not(v1, v2, a):
    """log of the integral of exp(-(x²/2v1 - a x²/2v2))."""
    ### BEGIN SOLUTION
    precision = 1 / v1 - a / v2
    return 0.5 * math.log(2 * math.pi / precision) if precision > 0 else math.inf
    ### END SOLUTION


# %% tags=["check"]
q.log_z_of_not.check(log_z_of_not)

# %% [markdown]
# ## 5 · Weights of the terms
#
# $E = \sum_i w_i E_i$ is a whole space of models: $w = 0$ drops a concept, $w = 2$ insists on it (as *guidance* does in diffusion models), $w < 0$ avoids it.
# All three terms are quadratic far out, so the sum has a finite $Z$ exactly when the weighted curvatures, $44\,w_1 + 25\,w_2 + 6.25\,w_3$ across the bar
# and $44\,w_1 + 0.25\,w_2 + 6.25\,w_3$ along it, are positive.

# %%
spot = Gaussian([1.0, 0.8], 0.16)


def weighted(ax, ring_weight=1.0, bar_weight=1.0, spot_weight=0.0):
    energy = ring_weight * ring + bar_weight * bar + spot_weight * spot
    energy_map(
        energy, ax, show="density", colorbar=False, contours=0, extent=(-2.6, 2.6, -2.6, 2.6)
    )
    curvature = [ring_weight / 0.15**2 + bar_weight / v + spot_weight / 0.16 for v in (0.04, 4.0)]
    if min(curvature) <= 0:
        ax.set_title("no density: only this box", color=RED)
        return f"The energy falls for ever (curvature {min(curvature):.1f} <= 0): Z is infinite, the picture shows the box only."
    found = quadrature(energy, low=-12.0, high=12.0, cells=480)
    p = (found.log_density + found.log_volume).exp()
    right = p[found.x[..., 0] > 0.2].sum().item()
    return f"log Z {found.log_partition.item():.2f}; mass right of the bar (first coordinate above 0.2) {right:.2f}."


# %% tags=["figure"] alt="Four densities of weighted sums of ring, upright bar and spot at upper right. Weights 1, 1, 0: two spots where ring and bar cross. Weights 1, 0, 1: one arc of the ring at the spot. Weights 1, minus 0.3, 0: the left and right sides of the ring, pushed outwards. Weights 0.3, minus 1, 0: red title, the box is dark and all mass sits on its edge."
fig, axes = plt.subplots(1, 4, figsize=(13.0, 3.5), sharey=True)
for ax, w in zip(axes, ((1, 1, 0), (1, 0, 1), (1, -0.3, 0), (0.3, -1, 0))):
    weighted(ax, *w)
    ax.set_xlabel(f"weights {w[0]}, {w[1]}, {w[2]}")
    if ax is not axes[0]:
        ax.set_ylabel("")

# %% [markdown]
# Move one slider at a time. Find the bar weight at which the density is lost while the ring weight is 1; compute it first.

# %% tags=["widget"]
Explorer(
    weighted,
    {
        "ring_weight": slider(1.0, 0.0, 2.0, label="weight of the ring", step=0.1),
        "bar_weight": slider(1.0, -2.0, 2.0, label="weight of the bar", step=0.1),
        "spot_weight": slider(0.0, -2.0, 2.0, label="weight of the spot", step=0.1),
    },
    figsize=(4.6, 4.2),
)

# %% [markdown]
# ## 6 · Hierarchy: an energy over the outputs of energies
#
# The outputs of energies are numbers, so another energy can read them: $E(x) = H(E_1(x), \ldots, E_m(x))$. AND and OR are two choices of $H$;
# nest them and you have a logic. "At least two of three discs" is an OR of three ANDs. Each disc is a soft set, $E_i \approx 0$
# inside and steep outside. As the walls get steeper, $Z$ must become an area, and here is the surprise:


# %%
centres = torch.tensor([[0.0, 0.7], [-0.6, -0.35], [0.6, -0.35]])


def disc_energies(x, steep):
    """E_i [*batch, 3]: 0 inside disc i of radius 1, a wall outside."""
    return torch.nn.functional.softplus(steep * ((x[..., None, :] - centres).square().sum(-1) - 1))


def or_of_ands(e):
    pairs = torch.stack([e[..., 0] + e[..., 1], e[..., 0] + e[..., 2], e[..., 1] + e[..., 2]], -1)
    return -torch.logsumexp(-pairs, -1)


def second_lowest(e):
    return e.sort(-1).values[..., 1]


plane = {"low": -2.5, "high": 2.5, "cells": 500}
cells = quadrature(ring, **plane).x
inside = ((cells[..., None, :] - centres).square().sum(-1) < 1).sum(-1)
area = (5 / 500) ** 2
two, three = (inside == 2).sum().item() * area, (inside == 3).sum().item() * area
for steep in (10, 100, 1000):
    z = [
        quadrature(lambda x, H=H, s=steep: H(disc_energies(x, s)), **plane).log_partition.exp()
        for H in (or_of_ands, second_lowest)
    ]
    show(f"steepness {steep}: Z of OR of ANDs, of the second lowest", z, digits=3)
show("area in two or more", two + three, digits=3)
show("area in exactly two + 3 x area in all three", two + 3 * three, digits=3)
assert abs(z[0] - two - 3 * three) < 0.02 and abs(z[1] - two - three) < 0.02

# %% [markdown]
# The OR counts every way in which a point qualifies. Where all three discs meet, all three pairs say yes, and that region is three times as
# dense. As a *mixture* that is right; as a *set* it is not. Taking the second lowest energy instead gives the set. Logic on energies is soft, and which softness
# you chose shows in the density.
#
# **The upper level can be learned.** Take $H(e) = w \cdot e$ with unknown $w$. Maximum likelihood is then matching
# moments, $\mathbb E_{\text{data}}[e] = \mathbb E_w[e]$ (lesson 07), a convex problem with exact sums on the grid. Data come from $w = (1, 0.5)$:

# %%
u = summed.x.reshape(-1, 2)
e_grid = torch.stack([ring(u), bar(u)], -1)
true_w = torch.tensor([1.0, 0.5])
data = torch.multinomial(torch.softmax(-e_grid @ true_w, 0), 4000, True, generator=seed(1))
observed = e_grid[data].mean(0)
w = torch.tensor([0.3, 0.3])
for _ in range(20):  # Newton's method
    p = torch.softmax(-e_grid @ w, 0)
    expected = p @ e_grid
    fisher = (e_grid - expected).T @ (p[:, None] * (e_grid - expected))
    w = (w + torch.linalg.solve(fisher, expected - observed)).clamp(min=0.05)
standard_error = (torch.linalg.inv(fisher) / len(data)).diagonal().sqrt()
show("learned weights", w)
show("standard errors", standard_error)
assert ((w - true_w).abs() < 5 * standard_error).all()

# %% tags=["figure"] alt="Left: three overlapping discs as outlines; the density of the OR of ANDs fills the three pairwise overlaps and is three times as bright in the middle. Middle: the second lowest energy fills the same region evenly. Right: the density with learned weights, two wide spots at the top and bottom of the ring, with data points on them."
fig, axes = plt.subplots(1, 3, figsize=(11.0, 3.6))
view = (-2.0, 2.0, -2.0, 2.0)
for ax, H, title in (
    (axes[0], or_of_ands, "OR of ANDs"),
    (axes[1], second_lowest, "second lowest"),
):
    energy_map(
        lambda x, H=H: H(disc_energies(x.double(), 40)),
        ax,
        show="density",
        contours=0,
        colorbar=False,
        extent=view,
    )
    for c in centres:
        ax.add_patch(plt.Circle(c.tolist(), 1.0, fill=False, color="white", ls=":"))
    ax.set_title(title)
energy_map(
    w[0].item() * ring + w[1].item() * bar,
    axes[2],
    show="density",
    contours=0,
    colorbar=False,
    extent=view,
)
points(u[data[:300]], axes[2], size=4)
axes[2].set_title("learned weights, and data")

# %% [markdown]
# ## 7 · Noise and products do not commute
#
# A diffusion model knows the **scores** of *noised* densities. To sample $p_1 p_2$, people add the scores of two models at each noise level. But the
# sum is the score of (noised $p_1$)·(noised $p_2$), and what reverse diffusion needs is the noised ($p_1 p_2$). For two standard normals and noise of
# variance $s^2$:
#
# $$\text{product of the noised: } \frac{1 + s^2}{2} \qquad\qquad \text{noised product: } \frac12 + s^2 .$$

# %% tags=["nbval-check-output"]
# Error: noised scores do not add up to the noised product
for s in (0.1, 1.0, 5.0):
    noisy = Gaussian([0.0], 1 + s**2)
    used = product_of_gaussians(noisy + noisy).gaussian.covariance.item()
    needed = (
        product_of_gaussians(Gaussian([0.0]) + Gaussian([0.0])).gaussian.covariance.item() + s**2
    )
    assert abs(used - (1 + s**2) / 2) < 1e-9 and abs(needed - (0.5 + s**2)) < 1e-9
    show(f"s = {s}: variance used, variance needed", [used, needed])

# %% [markdown]
# They agree at $s = 0$ only. So the end of the sequence is right, and the way to it is not that of any diffusion.
#
# ### Exercise 3: noise, then product, or product, then noise
# Two centred Gaussians with variances `v1`, `v2`, noise of variance `s2`. Return the pair (variance of the product of the noised two,
# variance of the noised product).


# %% tags=["exercise"]
def noise_and_product(v1, v2, s2):
    """(used by summed scores, needed by reverse diffusion)."""
    ### BEGIN SOLUTION
    return 1 / (1 / (v1 + s2) + 1 / (v2 + s2)), 1 / (1 / v1 + 1 / v2) + s2
    ### END SOLUTION


# %% tags=["check"]
q.noise_and_product.check(noise_and_product)

# %% [markdown]
# ## 8 · Sampling a product of diffused densities
#
# Diffusion models keep the scale: $x_{\bar\alpha} = \sqrt{\bar\alpha}\,x + \sqrt{1 - \bar\alpha}\,\xi$, with a **share of signal** $\bar\alpha$ that goes from 1 (data) to nearly 0 (noise).
# `noised(energy, abar)` is the energy of $x_{\bar\alpha}$. Now a ring of eight spots AND a bar. Both are Gaussian mixtures, so noised energies are exact and every error is the sampler's. The product of two mixtures
# is the mixture of all pairs, so the truth is known, too.

# %%
angle = torch.arange(8) * (math.pi / 4)
spots = GaussianMixture(0.5 * torch.stack([angle.cos(), angle.sin()], -1), 0.06**2)
column = GaussianMixture(torch.stack([torch.zeros(21), torch.linspace(-1, 1, 21)], -1), 0.12**2)


def product_of_mixtures(a, b):
    """All pairs of components, weighted by how far they agree; covariances are multiples of I."""
    va, vb = 1 / a.precisions[:, 0, 0, None], 1 / b.precisions[None, :, 0, 0]
    ma, mb = a.means[:, None], b.means[None]
    variance = va * vb / (va + vb)
    mean = variance[..., None] * (ma / va[..., None] + mb / vb[..., None])
    apart = (ma - mb).square().sum(-1)
    log_w = a.log_weights[:, None] + b.log_weights - apart / (2 * (va + vb)) - (va + vb).log()
    weights = torch.softmax(log_w.flatten(), 0)
    keep = weights > 1e-12  # pairs far apart
    return GaussianMixture(
        mean.flatten(0, 1)[keep], variance.flatten()[keep], weights=weights[keep]
    )


target = product_of_mixtures(spots, column)
square = {"low": -1.2, "high": 1.2, "cells": 120}
exact = quadrature(target, **square)
assert (
    total_variation_on_grid(exact.log_density, quadrature(spots + column, **square).log_density)
    < 1e-9
)

# %% tags=["figure"] alt="Left: density of ring of eight spots AND bar, two bright spots at top and bottom and four faint ones. Middle two panels at 95 per cent of the signal: two blobs, top and bottom, in both, but those of the noised product are rounder and wider. Right: total variation between the two against the share of signal, rising steeply from near 0 at share 1 and then slowly to about one quarter."
abars = (0.999, 0.99, 0.95, 0.9, 0.8, 0.65, 0.4, 0.1)
wide = {"low": -3.0, "high": 3.0, "cells": 100}
gaps = []
for abar in abars:
    used = quadrature(noised(spots, abar) + noised(column, abar), **wide).log_density
    needed = quadrature(noised(target, abar), **wide).log_density
    gaps.append(total_variation_on_grid(used, needed).item())
fig, axes = plt.subplots(1, 4, figsize=(13.5, 3.3))
used, needed = noised(spots, 0.95) + noised(column, 0.95), noised(target, 0.95)
panels = (
    ("ring AND bar", target, 0.9),
    ("sum of the noised", used, 1.3),
    ("noised product", needed, 1.3),
)
for ax, (title, energy, side) in zip(axes, panels):
    extent = (-side, side, -side, side)
    energy_map(energy, ax, show="density", contours=0, colorbar=False, extent=extent, resolution=80)
    ax.set(title=title, ylabel="")
axes[3].plot(abars, gaps, "o-", color=BLUE)
axes[3].set(xlabel=r"share of signal $\bar\alpha$", ylabel="total variation", ylim=(0, None))
axes[3].invert_xaxis()

# %% [markdown]
# **The cure** (Du et al., 2023): the sum at each level is *some* density, the sequence ends at the right one, and MCMC needs no more than that. At each level
# take one reverse step, then a few MCMC steps on this level's summed energy. The reverse step from level $\bar\alpha$ to $\bar\alpha' = \bar\alpha/\alpha$ is that of Ho et al. (2020): the mean
# $\big(x - (1 - \alpha)\nabla E(x)\big)/\sqrt\alpha$ plus noise of variance $(1 - \alpha)(1 - \bar\alpha')/(1 - \bar\alpha)$. From scratch with ULA, beside `annealed_product`; one seed, one result:


# %%
def step_size(abar):
    """A Langevin step in proportion to the narrowest variance of the level."""
    return 0.1 * (0.8 * abar * 0.06**2 + 1 - abar)


def annealed_ula(levels, x, steps, scale, g):
    down = [1.0, *levels]
    for there, here in reversed(list(zip(down, down[1:]))):
        alpha = here / there
        grad = value_and_grad(noised(spots, here) + noised(column, here), x)[1]
        x = (x - (1 - alpha) * grad) / alpha**0.5
        if there < 1:
            x = x + math.sqrt((1 - alpha) * (1 - there) / (1 - here)) * torch.randn(
                x.shape, generator=g
            )
        eta = scale * step_size(there)
        for _ in range(steps):
            grad = value_and_grad(noised(spots, there) + noised(column, there), x)[1]
            x = x - eta * grad + math.sqrt(2 * eta) * torch.randn(x.shape, generator=g)
    return x


levels = cosine_levels(12)
noise = torch.randn(50, 2, generator=seed(2))
by_hand = annealed_ula(levels, noise, 3, 1.0, seed(3))
with_ebmlearn = annealed_product(
    lambda a: noised(spots, a) + noised(column, a),
    levels,
    noise,
    kernel_at=lambda a: Langevin(step_size=step_size(a)),
    steps=3,
    generator=seed(3),
)
torch.testing.assert_close(by_hand, with_ebmlearn, rtol=1e-6, atol=1e-6)
show("from scratch and ebmlearn agree", True)

# %% [markdown]
# **A fair race** counts score calls, each the price of a network evaluation. Reverse diffusion alone spends its budget on more levels. The
# others have eight calls a level: one reverse step, one to start the kernel, six for moves (six of ULA or MALA, two of HMC with three leapfrog steps). The
# step sizes were chosen on other seeds. Judged by total variation on $16 \times 16$ cells; exact samples have a total variation above 0, too, because they are few.


# %%
class Counted:
    """The summed energy of a level, with its gradient in closed form; counts its calls."""

    event_ndim, calls = 1, 0

    def __init__(self, abar):
        self.parts = [noised(spots, abar), noised(column, abar)]

    def __call__(self, x):
        return self.parts[0](x) + self.parts[1](x)

    def value_and_grad(self, x):
        Counted.calls += 1
        (ea, ga), (eb, gb) = (part.value_and_grad(x) for part in self.parts)
        return ea + eb, ga + gb


def leapfrog(eta, adjusted):
    return HMC(step_size=1.5 * math.sqrt(2 * eta), n_leapfrog=3, adjusted=adjusted)


methods = {  # kernel for a Langevin step eta, moves a level, scale of eta
    "reverse diffusion alone": (None, 0, 1.0),
    "+ ULA": (lambda eta: Langevin(step_size=eta), 6, 2.0),
    "+ MALA": (lambda eta: MALA(step_size=eta), 6, 8.0),
    "+ U-HMC": (lambda eta: leapfrog(eta, False), 2, 1.0),
    "+ HMC": (lambda eta: leapfrog(eta, True), 2, 4.0),
}


def race(name, n, calls, number):
    kernel, moves, scale = methods[name]
    g, before = seed(number), Counted.calls
    x = annealed_product(
        Counted,
        cosine_levels(calls if kernel is None else calls // 8),
        torch.randn(n, 2, generator=g),
        kernel_at=None if kernel is None else lambda a: kernel(scale * step_size(a)),
        steps=moves,
        generator=g,
    )
    assert Counted.calls - before == calls
    return x


EDGES = torch.linspace(-0.9, 0.9, 17)
coarse = quadrature(target, low=-0.9, high=0.9, cells=128)
mass = (coarse.log_density + coarse.log_volume).exp().reshape(16, 8, 16, 8).sum((1, 3))


def tv(x):
    share = torch.histogramdd(x, bins=[EDGES, EDGES]).hist / len(x)
    return (0.5 * ((share - mass).abs().sum() + 1 - share.sum())).item()


def mean_and_error(values):
    v = torch.tensor(values)
    return v.mean().item(), (v.std() / math.sqrt(len(v))).item()


clouds = {name: [race(name, N, CALLS, 10 + i) for i in range(SEEDS)] for name in methods}
clouds["exact samples"] = [target.sample(N, generator=seed(50 + i)) for i in range(SEEDS)]
results = {name: mean_and_error([tv(x) for x in xs]) for name, xs in clouds.items()}
for name, (mean, error) in results.items():
    print(f"{name:24s} total variation {mean:.3f} ± {error:.3f}")
for name in list(methods)[1:]:
    assert results[name][0] < results["reverse diffusion alone"][0]

# %% tags=["figure"] alt="Six clouds of points. All have two dense spots at top and bottom. Reverse diffusion alone has far too many points in the four side spots and some at the far left and right; with ULA there are fewer, and with HMC the cloud looks most like the exact samples, which have only a few points off the two spots."
fig, axes = plt.subplots(1, 6, figsize=(15.0, 2.9), sharey=True)
for ax, (name, xs) in zip(axes, clouds.items()):
    points(xs[0], ax, size=2)
    ax.set(xlim=(-0.8, 0.8), ylim=(-0.8, 0.8), aspect="equal", xlabel="$x_1$")
    ax.set_title(f"{name}\nTV {results[name][0]:.2f}", fontsize=10)
axes[0].set_ylabel("$x_2$")

# %% [markdown]
# The full table, with 1,500 points, $24 \times 24$ cells, six seeds and three budgets (`python experiments/product_sampling.py`):

# %% tags=["nbval-check-output"]
table = Table.read(
    resource("data/results/product_sampling.csv"), command="python experiments/product_sampling.py"
)
for calls in (240, 480, 960):
    for name in methods:
        mean, error = table.mean_and_error(f"{calls} calls, {name}", "total variation")
        print(f"{calls} calls, {name:24s} {mean:.3f} ± {error:.3f}")
mean, error = table.mean_and_error("exact samples", "total variation")
print(f"exact samples {'':21s} {mean:.3f} ± {error:.3f}")

# %% [markdown]
# Reverse diffusion alone stays where it is, however many levels it is given: its error is one of principle. All four corrections beat it at equal numbers of calls, and
# they improve with the budget. Those that accept or reject (MALA, HMC) are ahead of their unadjusted siblings at every budget, and their best steps were larger;
# at 960 calls MALA and HMC are level. None has reached exact samples yet. Accepting needs *energies*: a network that outputs only a score leaves you ULA and U-HMC.

# %% [markdown]
# ## 9 · Inverse design: descend in the answer
#
# A design problem has a simulator $f$ and a wish $t$: find $y$ with $f(y) = t$. As an energy, $E(y) = |f(y) - t|^2/2\sigma^2$, plus one term for each
# constraint. Here $f$ is a **two-link arm**, angles $y$ to the place of the hand. Nearly every target has *two* answers, elbow up and elbow down, known in
# closed form.
#
# Two answers break regression. The best prediction of the angles under squared error is their mean, and by symmetry that is the stretched arm,
# pointing at the target: it misses by $1.8$ minus the target's distance, exactly. An energy keeps both answers, and keeps them equally likely
# (the arm mirrored in the line to the target has the same hand).

# %%
A, B = 1.0, 0.8  # lengths of the links


def hand(y):
    first, second = y[..., 0], y[..., 0] + y[..., 1]
    return torch.stack([A * first.cos() + B * second.cos(), A * first.sin() + B * second.sin()], -1)


def elbows(t):
    """Both exact answers, [*batch, 2 answers, 2 angles]."""
    r2 = t.square().sum(-1)
    bend = ((r2 - A**2 - B**2) / (2 * A * B)).clamp(-1, 1).acos()
    bends = torch.stack([bend, -bend], -1)
    aim = torch.atan2(t[..., 1], t[..., 0])[..., None]
    return torch.stack([aim - torch.atan2(B * bends.sin(), A + B * bends.cos()), bends], -1)


def reach(t, sigma=0.05):
    return FromFunction(lambda y: (hand(y) - t).square().sum(-1) / (2 * sigma**2))


t = torch.tensor([0.2, 1.2])
answers = elbows(t)
torch.testing.assert_close(hand(answers), t.expand(2, 2))
miss = (hand(answers.mean(0)) - t).norm().item()
assert abs(miss - (1.8 - t.norm().item())) < 1e-9
show("the mean of the two answers misses by", miss)
turns = 2 * math.pi * torch.rand(2 * ARMS, 2, generator=seed(4)) - math.pi
settled = sample(reach(t), Langevin(step_size=3e-4), turns, 600, generator=seed(5))
settled = sample(reach(t), MALA(step_size=2e-4), settled, 150, generator=seed(5))
up = (settled[:, 1].sin() < 0).double().mean().item()
off = (hand(settled) - t).norm(dim=-1)
show("share of elbow up (exact: 0.5)", up, digits=2)
near = (off < 0.1).double().mean().item()
show("within 0.1 of the target (exact: 1 - exp(-2) = 0.865)", near, digits=2)
assert abs(up - 0.5) < 5 * 0.5 / math.sqrt(len(settled))
assert abs(near - 0.865) < 5 * math.sqrt(0.865 * 0.135 / len(settled))

# %% [markdown]
# (The second number: at temperature 1 the hand is $\mathcal N(t, \sigma^2 I)$, so its distance exceeds $2\sigma$ with probability $e^{-2}$. A sampler
# *should* miss that often. If you want the best design, cool it or take the noise off at the end.)
#
# **A new constraint is a new term.** An obstacle appears. Nothing is retrained: $E = E_{\text{reach}} + E_{\text{obstacle}}$, where the second is positive
# when a point of the arm is too near. One of the two elbows is now out of the question.

# %%
DISC, RADIUS = torch.tensor([0.55, 0.55]), 0.3


def body(y, n):
    """n points along each link, [*batch, 2n, 2]."""
    s = torch.linspace(0, 1, n)[:, None]
    joint = A * torch.stack([y[..., 0].cos(), y[..., 0].sin()], -1)[..., None, :]
    return torch.cat([s * joint, joint + s * (hand(y)[..., None, :] - joint)], -2)


def obstacle(y):
    gap = (body(y, 8) - DISC).norm(dim=-1) - RADIUS
    return 300 * torch.relu(0.05 - gap).square().mean(-1)


avoid = FromFunction(obstacle)


def success(y, t):
    """The judge: the true simulator, with a finer arm than the energy has. It never sees an energy."""
    clear = ((body(y, 100) - DISC).norm(dim=-1) > RADIUS).all(-1)
    return (hand(y) - t).norm(dim=-1).lt(0.1) & clear


exact_ok = success(answers, t)
found = sample(reach(t) + avoid, Langevin(step_size=3e-4), turns, 600, generator=seed(6))
arrived = found[success(found, t)]
show("the exact answers: elbow down, elbow up are clear", exact_ok.tolist())
show("share of successes with the elbow up", (arrived[:, 1].sin() < 0).double().mean(), digits=2)
assert exact_ok.tolist() == [False, True]

# %% tags=["figure"] alt="Left: the energy of the two joint angles, with two dark wells and the sampled angles in both. Middle: the arms of the samples, half of them elbow up and half elbow down, all hands at the target, and the stretched arm of the mean answer, which overshoots. Right: with a grey disc in the way only the arms with the elbow on the far side are left."
fig, axes = plt.subplots(1, 3, figsize=(12.0, 3.9))
wrapped = torch.remainder(settled + math.pi, 2 * math.pi) - math.pi
energy_map(
    lambda y: reach(t)(y.double()), axes[0], extent=(-3.14, 3.14, -3.14, 3.14), limits=(0, 200)
)
points(wrapped[:200], axes[0], size=8)
axes[0].set(xlabel="shoulder angle", ylabel="elbow angle", title="energy of the angles")


def draw_arm(ax, y, color, **line):
    path = torch.stack([torch.zeros(2), body(y, 2)[1], hand(y)])
    ax.plot(path[:, 0], path[:, 1], color=color, **line)


for ax, arms in ((axes[1], settled), (axes[2], found[success(found, t)])):
    for y in arms[:40]:
        color, style = (BLUE, "-") if y[1].sin() < 0 else (GREEN, ":")
        draw_arm(ax, y, color, lw=0.7, ls=style, alpha=0.7)
    ax.plot(*t, "*", color="black", markersize=14, zorder=5)
    ax.set(aspect="equal", xlim=(-1.5, 1.9), ylim=(-0.7, 2.0))
draw_arm(axes[1], answers.mean(0), RED, lw=3, ls="--")
axes[1].set_title("no obstacle (dashed: mean answer)")
axes[2].add_patch(plt.Circle(DISC.tolist(), RADIUS, color="grey"))
axes[2].set_title("obstacle, successes")

# %% [markdown]
# **More steps or more landscapes?** Iterative reasoning methods descend through a sequence of landscapes, smooth first, sharp last (IRED: Du et al., 2024).
# Does that help here? Random targets that have an answer, random starts, equal numbers of steps: descent on the sharp energy ($\sigma = 0.05$), or through ten
# landscapes from $\sigma = 0.8$ to $0.05$. Success is judged by the simulator.


# %%
def problems(n, number):
    """Targets that a collision-free arm reaches, and random starts."""
    g = seed(number)
    y = 2 * math.pi * torch.rand(6 * n, 2, generator=g) - math.pi
    free = y[((body(y, 100) - DISC).norm(dim=-1) > RADIUS + 0.05).all(-1)][:n]
    return hand(free), 2 * math.pi * torch.rand(n, 2, generator=g) - math.pi


def stable(sigma):
    """A step below what the curvatures of both terms allow."""
    return 0.9 / (4.6 / sigma**2 + 900)


def descend(t, y, steps, landscapes):
    widths = [0.05 * 16 ** (k / 9) for k in range(9, -1, -1)] if landscapes == 10 else [0.05]
    for sigma in widths:
        kernel = Langevin(step_size=stable(sigma), noise=0.0)
        y = sample(reach(t, sigma) + avoid, kernel, y, steps // len(widths))
    return success(y, t).double().reshape(SEEDS, ARMS).mean(1).tolist()


several = [problems(ARMS, 30 + i) for i in range(SEEDS)]  # all seeds in one batch
targets, starts = (torch.cat(parts) for parts in zip(*several))
STEPS = (10, 40, 160, 640)[: budget(4, smoke=3)]
rates = {landscapes: [] for landscapes in (1, 10)}
for steps in STEPS:
    for landscapes, row in rates.items():
        row.append(mean_and_error(descend(targets, starts, steps, landscapes)))
    one, ten = (f"{m:.3f} ± {e:.3f}" for m, e in (row[-1] for row in rates.values()))
    print(f"{steps:4d} steps: sharp landscape {one}, ten landscapes {ten}")
assert all(row[0][0] + 0.2 < row[-1][0] for row in rates.values())

# %% [markdown]
# The number of steps matters a great deal. The ten landscapes bring nothing here: they are behind at every number of steps, and far behind with few, since most of those steps are spent
# on landscapes that hardly know the target. That is a result about *this* small problem, where the sharp energy has few bad minima, and about an energy that we wrote
# down. It does not contradict the paper, whose landscapes are learned. But it is a reason to run the plain baseline at equal cost.
#
# ## 10 · What goes wrong, and how you see it
#
# **The designer exploits the model.** The simulator is often replaced by a learned one, $\hat f$. Below, a network that has seen arms with the shoulder in front and the elbow
# bent one way only, and descent from random starts. Then ask two judges.

# %%
LOW, HIGH = torch.tensor([-0.8, 0.5]), torch.tensor([0.8, 2.0])
torch.manual_seed(0)
learned = MLP(2, 2, hidden_features=(48, 48), activation=torch.nn.Tanh)
optimizer = torch.optim.Adam(learned.parameters(), lr=5e-3)
seen = LOW + (HIGH - LOW) * torch.rand(600, 2, generator=seed(7))
FITS = budget(1500, smoke=500)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, FITS)
for _ in range(FITS):
    loss = (learned(seen) - hand(seen)).square().sum(-1).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()
fresh = LOW + (HIGH - LOW) * torch.rand(500, 2, generator=seed(8))
fit = (learned(fresh) - hand(fresh)).norm(dim=-1).median().item()
print(f"median error of the learned simulator on fresh arms of the same kind: {fit:.4f}")

wishes = hand(fresh[:200])
starts = 2 * math.pi * torch.rand(len(wishes), 2, generator=seed(9)) - math.pi
claimed = FromFunction(lambda y: (learned(y) - wishes).square().sum(-1) / (2 * 0.05**2))
domain = FromFunction(lambda y: 100 * (torch.relu(LOW - y) + torch.relu(y - HIGH)).square().sum(-1))
verdicts = {}
for name, energy in (("learned E", claimed), ("learned E + domain", claimed + domain)):
    y = sample(energy, Langevin(step_size=3e-4, noise=0.0), starts, budget(800, smoke=400))
    says = (learned(y) - wishes).norm(dim=-1).lt(0.1).double().mean().item()
    truth = (hand(y) - wishes).norm(dim=-1).lt(0.1).double().mean().item()
    verdicts[name] = (says, truth)
    print(f"{name:20s} success by E {says:.2f}, by the true simulator {truth:.2f}")
assert verdicts["learned E"][0] > verdicts["learned E"][1] + 0.3
assert verdicts["learned E + domain"][1] > verdicts["learned E"][1] + 0.3

# %% [markdown]
# By its own energy the first row is a success. Minimising an energy looks for its mistakes, and outside the data it is all mistakes. **Never judge a design by the
# energy that made it.** The second row adds one more term, an energy for "like the arms that we have seen". Composition is also the cure.
#
# **Too large a step for the product.** A sum of energies is steeper than its terms, so a step that was fine for each expert can be too large for both. On
# Gaussians ULA needs $\eta < 2/\text{precision}$, and precisions add. Ten experts $\mathcal N(0, 1)$, the step $0.3$, fine for one:

# %% tags=["nbval-check-output"]
expert = Gaussian([0.0])
start = torch.ones(100, 1)
for count in (1, 5, 10):
    many = count * expert
    drift = sample(many, Langevin(step_size=0.3, noise=0.0), start, 20).abs().mean().item()
    show(f"{count} experts: distance from the mode after 20 steps without noise", f"{drift:.1e}")

# %% [markdown]
# **A NOT without a domain** shows as energies that fall for ever, and as samples at ever larger $|x|$; no step size cures it (section 4).
#
# ## 11 · Open exercise: exactly one
#
# Write the energy of "in ring or spot, but not in both" with the tools of this lesson. Which form do you choose for "not both", so that $Z$ is finite? Check with
# `quadrature` that the mass where both densities are high falls. There is no single right answer.


# %% tags=["exercise"]
def exactly_one(x):
    """Energy [*batch] of ring XOR spot."""
    ### BEGIN SOLUTION
    one = Mixture([ring, spot], logits=-torch.stack([ring.log_partition(), spot.log_partition()]))
    return one(x) + 6.0 * torch.exp(-(ring(x) + spot(x)))
    ### END SOLUTION


# energy_map(exactly_one, plt.subplots()[1], show="density")

# %% [markdown] tags=["solution"]
# **One answer.** The OR with equal shares, plus a bounded penalty $6\,e^{-(E_1 + E_2)}$ that is high only where *both* energies are low. It lies between 0 and 6, so $Z$
# stays within a factor $e^6$ of the mixture's. The form (E1 and not E2) or (E2 and not E1) with $E_1 - aE_2$ needs $a$ inside the domain of both; with ring curvature 44 and spot
# curvature 6.25, "spot and not ring" allows only $a < 0.14$.

# %% [markdown]
# ## 12 · What people do with composed energies, and what you have seen of it
#
# | application | where |
# |---|---|
# | product, mixture, negation, hierarchy | shown here, exact |
# | inverse design; constraint satisfaction | shown here, on a two-link arm with its true simulator |
# | image generation | lesson 07 (digits); composing *concepts* of images (Du, Li, Mordatch, 2020; Liu et al., 2022) is only pointed at |
# | learning representations of images | lesson 12 |
# | planning: an energy over a whole path, learned steps plus unseen obstacles (Du, Lin, Mordatch, 2019) | the same sum of terms as for the arm; here only pointed at |
# | scene understanding; vision and language; hierarchical planning with large models | only pointed at: they need models of a size that we cannot train here |
# | protein synthesis | no small honest version is known to us, so nothing is shown or claimed |

# %% [markdown] tags=["quiz"]
# 1. You want samples that are blue *and* round, from $E_{\text{blue}}$ and $E_{\text{round}}$ of unknown $Z$. What do you need?
#    - [x] The sum of the energies :: Levels cancel in a product; its own $Z$ is not needed for sampling.
#    - [ ] Both $\log Z$, or one concept dominates :: That is OR. A constant in either term changes nothing in a sum.
#    - [ ] The average, so that the scale stays right :: The average is the sum at twice the temperature: a washed-out AND.
# 2. $-\log(e^{-E_1} + e^{-E_2})$ gives one concept only. The likeliest cause?
#    - [ ] The sampler has not mixed :: Possible, but look at the shares first: they are $Z_1 : Z_2$, whatever the sampler does.
#    - [x] The energies have different levels :: An offset of 5 makes the share 0.0067. Subtract $\log Z_i$, or learn the offset.
#    - [ ] The concepts contradict each other :: Contradiction hurts AND. An OR of contradictory concepts is fine.
# 3. For $\mathcal N(0, 1)$ and $\mathcal N(0, 0.6^2)$ the energy $E_1 - \tfrac12 E_2$ has
#    - [ ] a density that is low near 0 and high around it :: True of its beginning; but then it rises for ever.
#    - [ ] the variance $1 - 0.18$ :: Variances do not subtract. Precisions do: $1 - 0.5/0.36 < 0$.
#    - [x] no density :: The precision is $-0.39$, $Z$ is infinite.
# 4. Two diffusion models, exact scores; you add the scores and run reverse diffusion with ever more levels. You get
#    - [ ] the product, in the limit of many levels :: The last level is right, but reverse diffusion needs *every* level to be the noised product.
#    - [x] a density near the product, but not the product :: The error stays. Moves of MCMC at each level remove it, because they need only the level's own density.
#    - [ ] the mixture :: Adding scores multiplies densities.
# 5. Your designs have very low energy under the learned model. What do you conclude?
#    - [ ] They are good designs :: Descent finds where the model is wrong just as happily.
#    - [ ] The model is overfitted :: Perhaps not: on data like its own it may be excellent. The search left the data.
#    - [x] Nothing, until the true simulator has judged them :: Success by the energy's own opinion and true success differ.

# %% [markdown]
# ## Summary
#
# - Conditional energy: one density for each condition, each with its own $Z(c)$; compare conditions with $\log Z(c)$ or not at all.
# - AND is a sum, needs no $Z$, and always answers; its agreement $\int p_1 p_2$ says whether to believe it.
# - OR is a log-sum and needs relative $\log Z$. The average is AND at temperature 2.
# - NOT by subtraction has a domain; a bounded penalty always works.
# - An energy can sit on top of energies; how you soften the logic decides what overlaps weigh.
# - Sums of noised scores are not the scores of the noised product: correct with MCMC at each level, at equal cost.
# - Design by descent, new constraint = new term, judge by the true simulator.
#
# **Next:** 11 builds a machine whose energy is a sum of very many simple experts.
#
# ## References
#
# - G. E. Hinton, *Training products of experts by minimizing contrastive divergence* (2002).
# - Y. Du, S. Li, I. Mordatch, *Compositional visual generation with energy based models* (2020).
# - Y. Du, T. Lin, I. Mordatch, *Model-based planning with energy-based models* (2019).
# - N. Liu, S. Li, Y. Du, A. Torralba, J. B. Tenenbaum, *Compositional visual generation with composable diffusion models* (2022).
# - J. Ho, A. Jain, P. Abbeel, *Denoising diffusion probabilistic models* (2020).
# - Y. Du, C. Durkan, R. Strudel, J. B. Tenenbaum, S. Dieleman, R. Fergus, J. Sohl-Dickstein, A. Doucet, W. Grathwohl, *Reduce, reuse, recycle: compositional
#   generation with energy-based diffusion models and MCMC* (2023).
# - Y. Du, S. Li, J. B. Tenenbaum, I. Mordatch, *Learning iterative reasoning through energy minimization* (2022).
# - Y. Du, J. Mao, J. B. Tenenbaum, *Learning iterative reasoning through energy diffusion* (2024).

# %% [markdown]
# # 09 · Latent variables and free energy
#
# **You will**
#
# - use an energy $E(x, z)$ with a latent $z$ that nobody observes, and tell the energy $F_\infty = \min_z E$ from the latent $\arg\min_z E$;
# - remove $z$ at any temperature by the free energy $F_\beta$, and check $F_\beta = \min_q\, \mathbb E_q[E] - H(q)/\beta$ to ten digits;
# - say which free energy lies above $\min_z E$, which below, and which of them falls when you cool;
# - predict *sets* of answers, and infer $z$ by search, by a posterior, or by an encoder;
# - explain why a latent that can do everything makes the energy flat, and what limits it.
#
# **Time** 70 minutes. **Needs** lessons 00, 01 and 02; entropy and the Kullback-Leibler divergence.

# %% tags=["setup"]
import math

import matplotlib.pyplot as plt
import torch
from torch import nn

from ebmlearn import budget
from ebmlearn.checks import lesson09 as q
from ebmlearn.course import setup, show
from ebmlearn.energies import FromFunction
from ebmlearn.energies.base import EnumeratedJoint
from ebmlearn.energies.joint import (
    AmortisedEnergy,
    QuadratureJoint,
    binary_support,
    infer_latent,
    variational_free_energy,
)
from ebmlearn.metrics.ood import auroc
from ebmlearn.networks import MLP
from ebmlearn.viz import BLUE, GREEN, ORANGE, PURPLE, energy_map
from ebmlearn.widgets import Explorer, choice, slider

setup(seed=0)
torch.set_default_dtype(torch.float64)  # the checks of this lesson are exact to many digits
TRAIN = budget(600, smoke=100)  # steps of an encoder
N = budget(2_000, smoke=500)  # points where it is judged
TURN = 2 * math.pi

# %% [markdown]
# ## 1 · An energy with something unseen in it
#
# Points $x$ lie near an ellipse with half-axes $a = 2$ and $b = 1$. *Where* on the ellipse a point belongs, nobody tells us. Call that
# place $z$, an angle, and write down how badly the place explains the point:
#
# $$E(x, z) = \left|\,x - (a\cos z,\; b\sin z)\,\right|^2 .$$
#
# $z$ is a **latent variable**: part of the energy, absent from the data. To have an energy of $x$ alone we must get rid of it. The simplest way
# takes the best explanation:
#
# $$F_\infty(x) = \min_z E(x, z), \qquad z^*(x) = \arg\min_z E(x, z).$$
#
# $F_\infty$ is the squared distance from $x$ to the ellipse. From scratch, over a grid of angles, and with `ebmlearn`:


# %% tags=["nbval-check-output"]
def energy(x, z, a=2.0, b=1.0):
    """x[..., 2], an angle z[..., 1] -> squared distance to that place on the ellipse."""
    place = torch.cat([a * torch.cos(z), b * torch.sin(z)], dim=-1)
    return (x - place).square().sum(-1)


def angles(k):
    """The middles of k equal pieces of the circle, [k, 1]."""
    return (TURN * (torch.arange(k) + 0.5) / k)[:, None]


fine = angles(4000)
outline = torch.linspace(0, TURN, 201)


def nearest(x):
    """F_inf and z* by looking at 4000 angles."""
    e = energy(x[..., None, :], fine)
    return e.amin(-1), fine[e.argmin(-1)]


ellipse = QuadratureJoint(energy, low=[0.0], high=[TURN], points=180)
x = 2 * torch.randn(50, 2)
by_hand = energy(x[:, None], angles(180))
torch.testing.assert_close(by_hand, ellipse.grid.energies(x))
show("from scratch and ebmlearn agree", True)

# %% [markdown]
# **Exact checks.** (1) Walk half a unit outwards from the place at angle 1, at a right angle to the ellipse: then $F_\infty = 1/4$ and $z^* = 1$.
# (2) On the long axis, set the derivative in $z$ to zero: $F_\infty(x_1, 0) = b^2\left(1 - \frac{x_1^2}{a^2 - b^2}\right)$ for
# $|x_1| \le \frac{a^2 - b^2}{a} = 1.5$, and $(|x_1| - a)^2$ beyond.

# %% tags=["nbval-check-output"]
place = torch.tensor([2 * math.cos(1.0), math.sin(1.0)])
normal = torch.tensor([math.cos(1.0) / 2, math.sin(1.0)])
lowest, z_star = nearest(place + 0.5 * normal / normal.norm())
assert abs(lowest - 0.25) < 1e-5 and abs(z_star.item() - 1) < 1e-3
show("half a unit off: F_inf, an energy", lowest, digits=3)
show("half a unit off: z*, an angle", z_star, digits=3)
u = torch.linspace(-3, 3, 121)
exact = torch.where(u.abs() <= 1.5, 1 - u**2 / 3, (u.abs() - 2) ** 2)
found = nearest(torch.stack([u, torch.zeros_like(u)], -1))[0]
assert (found - exact).abs().max() < 1e-5
show("on the long axis the grid has the exact F_inf to four digits", True)

# %% [markdown]
# **A slip to know.** One often reads "$F_\infty(x) = \arg\min_z E(x, z)$". It cannot be: above, the min is $0.25$ and the argmin is an
# angle, $1.0$. Add 7 to $E$: the first rises by 7, the second stays.


# %% tags=["figure"] alt="Left: map of the squared distance to the ellipse, dark along it; short lines join six points to their nearest places. Inside, the map has a ridge along the middle of the long axis. Right: energy against the angle z for three points. The outside point has one deep minimum, the point inside near the short axis has two unequal ones, the centre has two equal ones, at a quarter and three quarters of a turn."
def draw_nearest(axes):
    left, right = axes
    energy_map(
        FromFunction(lambda x: ellipse.grid.energies(x).amin(-1)),
        left,
        extent=(-3, 3, -2.2, 2.2),
        resolution=60,
    )
    left.plot(2 * outline.cos(), outline.sin(), color="white", linewidth=1.5)
    some = torch.tensor([[2.6, 1.2], [0.4, 0.25], [-0.4, -0.25], [-1.3, 1.9], [-2.6, 0.2], [1, -2]])
    z = nearest(some)[1]
    for a, b in zip(some, torch.cat([2 * z.cos(), z.sin()], -1)):
        left.plot([a[0], b[0]], [a[1], b[1]], "o-", color=ORANGE, markevery=[0])
    left.set(xlabel="$x_1$", ylabel="$x_2$", title="$F_\\infty(x) = \\min_z E(x, z)$")
    points = {"outside (2.6, 1.2)": (2.6, 1.2), "inside (0.4, 0.25)": (0.4, 0.25), "centre": (0, 0)}
    for (name, point), style in zip(points.items(), ("-", "--", ":")):
        e = energy(torch.tensor(point, dtype=torch.float64), fine)
        right.plot(fine[:, 0], e, style, label=name)
        best = e < e.min() + 1e-9  # two, where they tie
        right.plot(fine[best, 0], e[best], "ko", markersize=5)
    right.set(xlabel="latent $z$", ylabel="$E(x, z)$", ylim=(-0.5, 14), title="dots: $z^*$")
    right.legend(loc="upper center", bbox_to_anchor=(0.522, 1.0), fontsize=8.5, handlelength=1.5)


fig, axes = plt.subplots(1, 2, figsize=(10.5, 3.7))
draw_nearest(axes)

# %% [markdown]
# ### Exercise 1: zero temperature
# From energies `[*batch, K]` of $K$ latents and the latents `[K, d]`, return the pair $(F_\infty, z^*)$ with shapes `[*batch]` and
# `[*batch, d]`. Stuck? `q.zero_temperature.hint()`.


# %% tags=["exercise"]
def zero_temperature(energies, latents):
    """energies[*batch, K], latents[K, d] -> (F_inf[*batch], z_star[*batch, d])."""
    ### BEGIN SOLUTION
    lowest, index = energies.min(dim=-1)
    return lowest, latents[index]
    ### END SOLUTION


# %% tags=["check"]
q.zero_temperature.check(zero_temperature)

# %% [markdown]
# ## 2 · Free energy: let all explanations speak
#
# The best explanation is one choice. Probability makes another: sum the Boltzmann factors of *all* latents,
#
# $$F_\beta(x) = -\frac1\beta \log \sum_z e^{-\beta E(x, z)} .$$
#
# Then $e^{-\beta F_\beta(x)} = \sum_z e^{-\beta E(x,z)}$, so $F_\beta$ is the energy of the **marginal** of $x$. For any distribution $q(z)$,
# with the posterior $p(z \mid x) = e^{-\beta (E(x,z) - F_\beta(x))}$,
#
# $$\mathbb E_q[E] - \tfrac1\beta H(q) \;=\; F_\beta(x) + \tfrac1\beta\,\mathrm{KL}\big(q \,\|\, p(\cdot \mid x)\big), \qquad\text{so}\qquad
# \boxed{\;F_\beta(x) = \min_q\; \mathbb E_q[E] - \tfrac1\beta H(q)\;}$$
#
# Insert $\log p(z \mid x)$ into the divergence to see it. So $F_\beta$ trades a low mean energy against spreading out, and $\beta$ sets the price.
# An optimisation over $q$ has replaced a sum over $z$; variational inference and the ELBO of a VAE start here.
#
# **Exact check.** Six binary latents, $E(x, z) = \sum_i z_i\,(c_i - w_i \cdot x)$. They do not interact, so the sum over $2^6$ states
# factorises: $F_\beta(x) = -\frac1\beta\sum_i \log\big(1 + e^{\beta(w_i\cdot x - c_i)}\big)$. (With $-b \cdot x$ added this is an RBM, lesson 11.)

# %% tags=["nbval-check-output"]
weights, costs, beta = torch.randn(6, 2), torch.randn(6), 1.7
bits = EnumeratedJoint(
    lambda x, z: (z * (costs - x @ weights.T)).sum(-1), binary_support(6).double()
)
x = torch.randn(40, 2)
closed = -torch.log1p(torch.exp(beta * (x @ weights.T - costs))).sum(-1) / beta
summed = -torch.logsumexp(-beta * bits.energies(x), -1) / beta  # from scratch
torch.testing.assert_close(summed, closed, rtol=0, atol=1e-10)
torch.testing.assert_close(bits.marginalise(beta)(x), closed, rtol=0, atol=1e-10)
show("64 states summed, with ebmlearn and in closed form: equal to ten digits", True)

posterior = bits.posterior(x, beta)
touching = variational_free_energy(bits.energies(x), posterior, beta=beta)
assert (touching - closed).abs().max() < 1e-10
show("at q = p(z|x) the bound is F, to ten digits", True)

other = torch.softmax(torch.randn(40, 64), -1)
bound = variational_free_energy(bits.energies(x), other, beta=beta)
divergence = (other * (other / posterior).log()).sum(-1)
assert (bound - closed > 0).all() and (bound - closed - divergence / beta).abs().max() < 1e-10
show("at 40 other q it is higher by KL(q, p)/beta, to ten digits", True)

# %% [markdown]
# ### Exercise 2: the variational bound
# From energies `[*batch, K]` and probabilities `q[*batch, K]`, return $\mathbb E_q[E] - H(q)/\beta$. A $q$ may be sure of a latent: it then has zeros.


# %% tags=["exercise"]
def variational_bound(energies, q, beta):
    """energies[*batch, K], q[*batch, K] -> [*batch]."""
    ### BEGIN SOLUTION
    return (q * energies).sum(-1) + torch.xlogy(q, q).sum(-1) / beta
    ### END SOLUTION


# %% tags=["check"]
q.variational_bound.check(variational_bound)

# %% [markdown]
# ## 3 · Sum, integral or mean? Three free energies
#
# For a continuous latent the sum becomes an integral, and a choice appears that papers rarely name. On a box of volume $V$, with $p$ the Boltzmann distribution of $z$ at this $\beta$:
#
# | $-\frac1\beta \log$ of | against $\min_z E$ | on cooling ($\beta$ up) |
# |---|---|---|
# | $\sum_{k} e^{-\beta E(z_k)}$, $K$ latents | below, by at most $\log K/\beta$ | rises: $\frac{dF}{d\beta} = H(p)/\beta^2 \ge 0$ |
# | $\int e^{-\beta E}\,dz$ ("raw") | below or above | **neither**: $\frac{dF}{d\beta} = H(p)/\beta^2$, and a differential entropy has no sign |
# | $\frac1V\int e^{-\beta E}\,dz$ ("normalised") | above, and below the mean energy | falls: $\frac{dF}{d\beta} = -\mathrm{KL}(p \,\|\, \text{uniform})/\beta^2 \le 0$ |
#
# So the popular sentence "as $\beta$ grows $F_\beta$ falls to $\min_z E$" holds for the third. All three reach $\min_z E$ at last. Two wells,
# the left one lower, show it: $E(z) = (z^2 - 4)^2/8 + 0.3\,z$ on $[-6, 6]$.


# %% tags=["nbval-check-output"]
# Error: free energy can lie below the minimum
def wells(z):
    return (z**2 - 4) ** 2 / 8 + 0.3 * z


z = -6 + 12 * (torch.arange(4000) + 0.5) / 4000


def raw(beta):
    return (-(torch.logsumexp(-beta * wells(z), 0) + math.log(12 / 4000)) / beta).item()


def normalised(beta):
    return (-(torch.logsumexp(-beta * wells(z), 0) - math.log(4000)) / beta).item()


betas = (0.5, 1, 5, 20, 100, 1000)
for beta in betas:
    show(f"beta {beta}: raw, normalised", [raw(beta), normalised(beta)], digits=4)
lowest = wells(z).min().item()
show("min E", lowest, digits=3)
show("argmin E", z[wells(z).argmin()], digits=3)

assert raw(1) < lowest and raw(5) > lowest, "the raw one lies below min E, then above"
assert raw(1) < raw(5) > raw(20), "and it is not monotone"
assert all(normalised(a) > normalised(b) > lowest for a, b in zip(betas, betas[1:]))
assert all(abs(normalised(b) - raw(b) - math.log(12) / b) < 1e-12 for b in betas)
assert abs(normalised(1e-7) - wells(z).mean()) < 1e-4, "beta -> 0: the mean energy"

# %% [markdown]
# With `ebmlearn`: `marginalise(beta)` of a `QuadratureJoint` is the raw one, `average(beta)` the normalised one. An `EnumeratedJoint`
# sums. The derivatives of the table, by finite differences:

# %% tags=["nbval-check-output"]
two_wells = QuadratureJoint(lambda x, z: wells(z[..., 0]), low=[-6.0], high=[6.0], points=4000)
nothing = torch.zeros(1, 1)  # an x that the energy ignores
for beta in betas:
    assert abs(two_wells.marginalise(beta)(nothing).item() - raw(beta)) < 1e-10
    assert abs(two_wells.average(beta)(nothing).item() - normalised(beta)) < 1e-10
show("from scratch and ebmlearn agree to ten digits", True)
for beta in (1.0, 5.0, 20.0):
    p = torch.softmax(-beta * wells(z), 0)
    entropy = -torch.xlogy(p, p / (12 / 4000)).sum().item()  # of the density p / dz
    h = 1e-4 * beta
    slope = (raw(beta + h) - raw(beta - h)) / (2 * h)
    slope_n = (normalised(beta + h) - normalised(beta - h)) / (2 * h)
    assert abs(slope - entropy / beta**2) < 1e-6
    assert abs(slope_n + (math.log(12) - entropy) / beta**2) < 1e-6
    show(f"beta {beta:g}: entropy of p(z)", entropy, digits=2)

# %% tags=["figure"] alt="Free energies of the two wells against beta on a logarithmic axis. The normalised curve falls from the mean energy, 22.4, to the dashed line of the minimum at minus 0.61 and never crosses it. The sum over 25 latents rises from far below to the lowest of their energies, close to that line. The raw integral comes from below, crosses the line, peaks slightly above it near beta 4.5 and sinks back."
fig, (left, right) = plt.subplots(1, 2, figsize=(10.0, 3.4))
many = torch.logspace(-4, 3, 150).tolist()
coarse = torch.linspace(-6, 6, 25)
curves = {
    "normalised": ([normalised(b) for b in many], BLUE, "-"),
    "raw integral": ([raw(b) for b in many], ORANGE, "-."),
    "sum over 25": (
        [(-torch.logsumexp(-b * wells(coarse), 0) / b).item() for b in many],
        GREEN,
        ":",
    ),
}
for ax, limits in ((left, (-8, 24)), (right, (-1.3, 0.4))):
    for name, (values, color, dashes) in curves.items():
        ax.plot(many, values, dashes, color=color, label=name)
    ax.axhline(lowest, color="black", linestyle="--", linewidth=1, label="min $E$")
    ax.set(xscale="log", xlabel=r"$\beta$", ylabel=r"$F_\beta$", ylim=limits)
left.axhline(wells(z).mean(), color="black", linewidth=1, label="mean $E$")
left.legend()
right.set(title="near the minimum", xlim=(0.5, 1000))

# %% [markdown]
# **Does the choice matter?** Not for a model of $x$ at one $\beta$: the three differ by a constant, $\log(V)/\beta$ or so, and an energy has no level
# (lesson 01). It matters as soon as you compare values at two temperatures, for two latent spaces, or with $\min_z E$. The raw one
# even depends on the *unit* of $z$. The ellipse with angles in degrees:

# %% tags=["nbval-check-output"]
x = torch.tensor([[2.6, 1.2], [0.4, 0.25], [0.0, 0.0]])
in_degrees = QuadratureJoint(
    lambda x, z: energy(x, torch.deg2rad(z)), low=[0.0], high=[360.0], points=180
)
beta = 2.0
show("raw, radians", ellipse.marginalise(beta)(x), digits=3)
show("raw, degrees", in_degrees.marginalise(beta)(x), digits=3)
show("normalised, radians", ellipse.average(beta)(x), digits=3)
show("normalised, degrees", in_degrees.average(beta)(x), digits=3)
difference = ellipse.marginalise(beta)(x) - in_degrees.marginalise(beta)(x)
torch.testing.assert_close(difference, torch.full((3,), math.log(180 / math.pi) / beta))

# %% [markdown]
# ### Exercise 3: the normalised free energy
# From energies `[*batch, K]` return $-\frac1\beta \log \frac1K \sum_k e^{-\beta E_k}$. It must survive energies of ±5000 and any $\beta > 0$.


# %% tags=["exercise"]
def free_energy(energies, beta):
    """energies[*batch, K] -> [*batch]."""
    ### BEGIN SOLUTION
    return -(torch.logsumexp(-beta * energies, dim=-1) - math.log(energies.shape[-1])) / beta
    ### END SOLUTION


# %% tags=["check"]
q.free_energy.check(free_energy)

# %% [markdown]
# ## 4 · The slider: from the mean energy to the minimum
#
# At $\beta \to 0$ the normalised free energy of the ellipse is the mean over all angles, $|x|^2 + (a^2 + b^2)/2$: a round bowl. Its best
# point is the *centre*, which no angle explains. At $\beta \to \infty$ it is the squared distance. In between a hole must open. For a circle, $a = b = r$, there is a
# closed form with the Bessel function $I_0$,
#
# $$F_\beta(x) = |x|^2 + r^2 - \tfrac1\beta \log I_0(2\beta r |x|) = |x|^2\,(1 - \beta r^2) + r^2 + O(|x|^4),$$
#
# so the centre changes from valley to hill at $\beta = 1/r^2$ exactly. Hotter than that, the model does not know that its data have a hole.

# %% tags=["nbval-check-output"]
r = 1.5
circle = QuadratureJoint(lambda x, z: energy(x, z, r, r), low=[0.0], high=[TURN], points=180)
x = 1.5 * torch.randn(200, 2)
s = x.norm(dim=-1)
for beta in (0.05, 0.5, 5.0):
    closed = (s - r) ** 2 - torch.log(torch.special.i0e(2 * beta * r * s)) / beta
    assert (circle.average(beta)(x) - closed).abs().max() < 1e-10
show("quadrature and the Bessel function agree to ten digits", True)
assert (ellipse.average(1e-6)(x) - (s**2 + 2.5)).abs().max() < 1e-3
line = torch.tensor([[0.0, 0.0], [0.05, 0.0]])
for factor in (0.8, 1.25):
    e = circle.average(factor / r**2)(line)
    show(f"beta = {factor}/r²: is the centre a valley?", bool(e[0] < e[1]))


# %% tags=["figure"] alt="Two rows, beta 0.3 and beta 20, for the point (0.6, 0.3). Left the free energy over the plane: at 0.3 a bowl around the centre, at 20 a dark ring along the ellipse. Right the energy of the angles and the posterior: at 0.3 broad and nearly flat, at 20 a narrow peak at the better of the two minima and hardly anything at the other."
def draw_free_energy(axes, beta=5.0, x1=0.6, x2=0.3, convention="normalised"):
    left, right = axes
    free = ellipse.average(beta) if convention == "normalised" else ellipse.marginalise(beta)
    energy_map(free, left, extent=(-3, 3, -2.2, 2.2), resolution=45)
    left.plot(2 * outline.cos(), outline.sin(), color="white", linewidth=1)
    left.plot([x1], [x2], "o", color=ORANGE, markeredgecolor="white")
    left.set(
        xlabel="$x_1$", ylabel="$x_2$", title=rf"$F_\beta(x)$, {convention}, $\beta$ = {beta:.3g}"
    )
    x = torch.tensor([x1, x2], dtype=torch.float64)
    e, p = ellipse.grid.energies(x), ellipse.posterior(x, beta)
    grid = ellipse.grid.support[:, 0]
    right.plot(grid, e, color=BLUE)
    right.axhline(e.mean(), color="black", linewidth=1, linestyle=":")
    right.axhline(e.min(), color="black", linewidth=1, linestyle="--")
    right.axhline(free(x), color=ORANGE, linewidth=2)
    right.fill_between(
        grid, e.min(), e.min() + p / p.max() * (e.max() - e.min()) / 2, color=GREEN, alpha=0.3
    )
    right.set(xlabel="latent $z$", ylabel="$E(x, z)$")
    right.set_title("shaded: $p(z|x)$; dotted mean, dashed min, thick $F$", fontsize=10)
    return (
        f"At beta {beta:.3g} the point ({x1:.2f}, {x2:.2f}) has {convention} free energy "
        f"{free(x).item():.3f}; its mean energy is {e.mean():.3f}, its lowest {e.min():.3f}."
    )


fig, axes = plt.subplots(2, 2, figsize=(10.0, 6.4))
for row, beta in zip(axes, (0.3, 20.0)):
    print(draw_free_energy(row, beta=beta))

# %% [markdown]
# Try: (1) heat and cool: at which $\beta$ does the centre stop being a valley along $x_1$, and along $x_2$? (2) Put the point near $(0, 0.05)$ and cool: when does
# the posterior choose a side? (3) Switch to the raw integral. When is the thick line below the dashed one? Does the *map* change its shape?

# %% tags=["widget"]
Explorer(
    draw_free_energy,
    {
        "beta": slider(5.0, 0.01, 1000.0, label="beta", log=True),
        "x1": slider(0.6, -3.0, 3.0, label="point x1", step=0.05),
        "x2": slider(0.3, -2.0, 2.0, label="point x2", step=0.05),
        "convention": choice(["normalised", "raw"], label="free energy"),
    },
    figsize=(10.0, 3.4),
    panels=2,
)

# %% [markdown]
# ## 5 · One question, a ribbon of answers: E(x, y, z)
#
# With a question $x$ and an answer $y$ the latent holds what the question leaves open. A river forks at $x = 0$ and its two arms are
# $0.4$ wide. The latent has two parts: which arm, $s = \pm1$, and where across, $t \in [-1, 1]$:
#
# $$E(x, y, z) = \big(y - s\,c(x) - 0.2\,t\big)^2, \qquad c(x) = \sqrt{\max(x, 0)}, \qquad \hat y = \arg\min_y F(x, y).$$
#
# $F_\infty(x, y)$ is the squared distance to the nearer arm, $\max\big(0,\, \big||y| - c(x)\big| - 0.2\big)^2$ for $y$ outside both. The answer
# $\hat y$ is not one number, it is two ribbons.


# %% tags=["nbval-check-output"]
def river(pair, z):
    x, y = pair[..., 0], pair[..., 1]
    return (y - z[..., 0] * x.clamp(min=0).sqrt() - 0.2 * z[..., 1]) ** 2


support = torch.cartesian_prod(torch.tensor([-1.0, 1.0]), torch.linspace(-1, 1, 41))
fork = EnumeratedJoint(river, support)
ys = torch.linspace(-2, 2, 401)


def f_inf(x):
    """F_inf(x, y) at all candidates y, from scratch."""
    return fork.energies(torch.stack([torch.full_like(ys, x), ys], -1)).amin(-1)


for x in (-0.5, 0.5, 1.0, 1.5):
    e = f_inf(x)
    good = ys[e < 5e-5]
    upper = good[good > 0] if x > 0 else good
    exact = ((ys.abs() - math.sqrt(max(x, 0))).abs() - 0.2).clamp(min=0) ** 2
    assert (e - exact).abs().max() < 5e-5
    show(
        f"x = {x}: min_y F; argmin_y F, its ends",
        [round(e.min().item(), 3), upper.min(), upper.max()],
        digits=2,
    )

# %% [markdown]
# **The second slip.** "$\hat y = \min_y F(x, y)$" would predict $0.00$ for every $x$. The minimum is an energy, the same everywhere, and
# says only *how good* the best answer is; the argmin is the answer. The two slips are one: ask whether you want a height or a place.
# $F_\infty$ is a height, so min; $\hat y$ and $z^*$ are places, so argmin.
#
# **What a function does.** Least squares predicts the mean of the answers: the dry land between the arms. A polynomial of degree 7 stands in
# for any network. To *sample* answers, draw $z$ and minimise over $y$ (here: $y = s\,c + 0.2\,t$); the model stays an energy.

# %%
n = 1000
g = torch.Generator().manual_seed(0)
question = 3 * torch.rand(n, generator=g) - 1
arm = torch.sign(torch.rand(n, generator=g) - 0.5)
across = 2 * torch.rand(n, generator=g) - 1
answer = arm * question.clamp(min=0).sqrt() + 0.2 * across
powers = torch.stack([question**k for k in range(8)], -1)
coefficients = torch.linalg.lstsq(powers, answer[:, None]).solution
predicted = sum(c * 1.0**k for k, c in enumerate(coefficients[:, 0]))
show("least squares at x = 1", predicted, digits=2)
dry = ((predicted.abs() - 1).abs() - 0.2).clamp(min=0).item() ** 2
show("its F_inf(1, y); every right answer has 0", dry, digits=2)
assert abs(predicted) < 0.3 and dry > 0.2

# %% tags=["figure"] alt="Left: map of F_inf over question x and answer y, dark along one ribbon for x below 0 and along two ribbons that part from x = 0 on; sampled answers lie in the ribbons, the least-squares curve runs between them. Right: free energies along x = 1. At beta 0.3 one valley whose minimum lies at y = 0 between the arms; at beta 20 two valleys; F_inf is zero on two intervals, from 0.8 to 1.2 and from minus 1.2 to minus 0.8."
fig, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.7))
energy_map(
    FromFunction(lambda pair: fork.energies(pair).amin(-1)),
    left,
    extent=(-1, 2, -2, 2),
    resolution=80,
    contours=0,
    limits=(0, 1.0),
)
left.plot(question[:150], answer[:150], ".", color="white", markersize=4)
line = torch.linspace(-1, 2, 100)
left.plot(
    line,
    sum(c * line**k for k, c in enumerate(coefficients[:, 0])),
    "--",
    color=ORANGE,
    linewidth=2,
)
left.set(
    xlabel="question $x$", ylabel="answer $y$", title="$F_\\infty(x, y)$; dashed: least squares"
)
pairs = torch.stack([torch.ones_like(ys), ys], -1)
for beta, style, color in ((0.3, ":", GREEN), (20.0, "-.", ORANGE)):
    e = fork.marginalise(beta)(pairs) + math.log(len(support)) / beta  # normalised
    right.plot(ys, e, style, color=color, label=rf"$\beta$ = {beta:g}")
    if beta == 0.3:
        assert ys[e.argmin()].abs() < 0.02  # too hot: one answer, on dry land
right.plot(ys, f_inf(1.0), color=BLUE, label=r"$\beta = \infty$")
right.set(xlabel="answer $y$", ylabel="$F(1, y)$, normalised", ylim=(-0.1, 2.5))
right.legend()

# %% [markdown]
# At $\beta = 0.3$ the two arms have merged into one valley with its floor on dry land: marginalising too hot undoes what the latent was for.
# (Two points at $\pm c$ merge below $\beta = 1/2c^2$, a circle below $1/r^2$: can you derive both?)
#
# ## 6 · Inferring z: search or posterior
#
# **Zero temperature** returns one $z^*$. It is what you want for a code or an explanation, and it is brittle. On the ellipse at $(0, \pm0.02)$ two places, top and bottom,
# are almost equally good. **Probabilistic** inference keeps both, with weights $p(z \mid x) \propto e^{-\beta E(x, z)}$.

# %% tags=["nbval-check-output"]
beta = 10.0
for x2 in (0.02, -0.02):
    x = torch.tensor([0.0, x2])
    p = ellipse.posterior(x, beta)
    grid = ellipse.grid.support[:, 0]
    top = p[grid < math.pi].sum()
    show(f"x = (0, {x2}): z* in turns", nearest(x)[1] / TURN, digits=2)
    show(f"x = (0, {x2}): posterior mass of the upper half", top, digits=2)
mean_code = (p[:, None] * torch.stack([2 * grid.cos(), grid.sin()], -1)).sum(0)
show("the average place: its x2", mean_code[1], digits=2)
show("its F_inf; a place on the ellipse has 0", nearest(mean_code)[0], digits=2)

# %% [markdown]
# A move of $0.04$ turns $z^*$ by half a turn; the posterior keeps both places and only shifts weight, smoothly. But do not *average* it: the mean of
# good places is a bad place.
# Draw instead. Draws agree with the exact posterior mean of $\sin z$, within five standard errors:

# %%
index = torch.multinomial(p, 4000, replacement=True, generator=torch.Generator().manual_seed(1))
draws = grid[index].sin()
exact, standard_error = (p * grid.sin()).sum().item(), (draws.std() / len(draws) ** 0.5).item()
show("mean of sin z: draws, exact, standard error", [draws.mean(), exact, standard_error])
assert abs(draws.mean() - exact) < 5 * standard_error

# %% [markdown]
# **Search has local minima.** Where $z$ has no grid, $z^*$ is found by descent on $E(x, \cdot)$. The right panel of the first figure showed two valleys, and a descent
# ends in the one where it starts. Then it reports an energy *above* $F_\infty$. Several starts help:

# %%
g = torch.Generator().manual_seed(2)
turn = TURN * torch.rand(N, 1, generator=g)
test = torch.cat([2 * turn.cos(), turn.sin()], -1) + 0.3 * torch.randn(N, 2, generator=g)
true_f = nearest(test)[0]


def descend(x, z, steps):
    """From scratch, with the derivative of E by hand."""
    for _ in range(steps):
        c, s = z.cos(), z.sin()
        slope = 2 * (2 * s * (x[:, :1] - 2 * c) - c * (x[:, 1:] - s))
        z = z - 0.1 * slope
    return z


start = TURN * torch.rand(16, N, 1, generator=g)
by_hand = descend(test, start[0], 50)
torch.testing.assert_close(by_hand, infer_latent(ellipse, test, start[0], steps=50, step_size=0.1))
ends = torch.stack(
    [energy(test, infer_latent(ellipse, test, z, steps=50, step_size=0.1)) for z in start]
)
for k in (1, 4, 16):
    excess = (ends[:k].amin(0) - true_f).clamp(min=0)  # 0: rounding of the grid
    show(
        f"{k} starts: mean excess over F_inf; share wrong",
        [excess.mean(), (excess > 0.1).double().mean()],
    )
assert (ends[:1].amin(0) - true_f > 0.1).double().mean() > (excess > 0.1).double().mean()

# %% [markdown]
# ## 7 · Learning with a latent, without negatives
#
# Let the half-axes be unknown and learn them from 300 noisy points (standard deviation $0.1$) by lowering the free energy *of the data only*.
# The gradient goes through the posterior (differentiate $F_\beta$):
#
# $$\nabla_\theta F_\beta(x) = \mathbb E_{p(z\mid x)}\big[\nabla_\theta E(x, z)\big], \qquad \nabla_\theta F_\infty(x) = \nabla_\theta E(x, z^*).$$
#
# Lesson 02 said that lowering energy on data alone collapses. Why not here? Because each angle explains a fixed amount of the plane. For every $a$, $b$,
#
# $$\int e^{-\beta F_\beta(x)}\,dx = \frac1{2\pi}\int_0^{2\pi}\!\!\int e^{-\beta|x - \text{place}(z)|^2}\,dx\,dz = \frac{\pi}{\beta} \quad\text{(normalised } F_\beta).$$
#
# The partition function does not depend on what is learned, so lowering $F_\beta$ on the data *is* maximum likelihood, with $\beta = 1/2\sigma^2$. An architecture
# with a limited latent needs no negatives. Both claims, exactly:

# %% tags=["nbval-check-output"]
beta = 2.0
u = torch.linspace(-7, 7, 141)
plane = torch.cartesian_prod(u, u)
for a, b in ((2.0, 1.0), (0.3, 3.0), (0.0, 0.0)):
    joint = QuadratureJoint(
        lambda x, z, a=a, b=b: energy(x, z, a, b), low=[0.0], high=[TURN], points=90
    )
    total = torch.exp(-beta * joint.average(beta)(plane)).sum() * (u[1] - u[0]) ** 2
    assert abs(total - math.pi / beta) < 1e-8
    show(f"a = {a}, b = {b}: partition function", total, digits=6)
x = torch.randn(20, 2, requires_grad=True)
(slope,) = torch.autograd.grad(ellipse.average(beta)(x).sum(), x)
grid = ellipse.grid.support
places = torch.cat([2 * grid.cos(), grid.sin()], -1)
by_posterior = 2 * (x - ellipse.posterior(x, beta) @ places)
assert (slope - by_posterior).abs().max() < 1e-10
show("gradient of F = posterior mean of the gradients of E, to ten digits", True)

# %%
g = torch.Generator().manual_seed(3)
turn = TURN * torch.rand(300, 1, generator=g)
data = torch.cat([2 * turn.cos(), turn.sin()], -1) + 0.1 * torch.randn(300, 2, generator=g)


def fit(beta, steps=150):
    axes = torch.tensor([0.7, 1.3], requires_grad=True)
    optimizer = torch.optim.Adam([axes], lr=0.06)
    for step in range(steps):
        e = energy(data[:, None], angles(90), axes[0], axes[1])
        free = e.amin(-1) if beta == math.inf else -torch.logsumexp(-beta * e, -1) / beta
        optimizer.param_groups[0]["lr"] = 0.06 * (1 - step / steps)
        optimizer.zero_grad()
        free.mean().backward()
        optimizer.step()
    return axes.detach().abs()


fits = {beta: fit(beta) for beta in (math.inf, 50.0, 5.0, 0.5)}
for beta, axes in fits.items():
    show(f"beta {beta:g}: half-axes (true 2 and 1)", axes, digits=2)
assert (fits[50.0] - torch.tensor([2.0, 1.0])).abs().max() < 0.05
assert fits[0.5][0] < 1.7 and fits[0.5][1] < 0.1

# %% [markdown]
# $\beta = 50 = 1/2\sigma^2$ is the likelihood. At $\beta = 0.5$ the model believes in noise of standard deviation 1. That alone is more spread than
# the short axis has, so this axis *disappears*: the same $\beta b^2 < 1$ that closed the hole in section 4.
#
# ## 8 · Amortised inference: an encoder
#
# Search costs many steps for each $x$. An **encoder** $z = h(x)$ learns the answers once. Since $h(x)$ is some $z$,
#
# $$E(x, h(x)) \ge \min_z E(x, z) = F_\infty(x),$$
#
# and training lowers the left side. The difference is the **amortisation gap**. It can come from too small a network, or from *topology*:
# a continuous network whose one output is the angle cannot go once around the ellipse and come back to the same value. Somewhere it must rush back
# through all angles. With two outputs and `atan2` that problem is gone. (One jump remains on the ridge, where $z^*$ itself jumps.)


# %%
class Encoder(nn.Module):
    """x -> an angle; from one output, or as the direction of two."""

    def __init__(self, outputs):
        super().__init__()
        self.network = MLP(2, outputs, hidden_features=(32, 32))

    def forward(self, x):
        h = self.network(x)
        return h if h.shape[-1] == 1 else torch.atan2(h[..., 1:], h[..., :1])


def train(outputs, seed=0):
    torch.manual_seed(seed)
    encoder = Encoder(outputs)
    amortised = AmortisedEnergy(ellipse, encoder)
    optimizer = torch.optim.Adam(encoder.parameters(), lr=5e-3)
    for step in range(TRAIN):
        turn = TURN * torch.rand(128, 1)
        x = torch.cat([2 * turn.cos(), turn.sin()], -1) + 0.3 * torch.randn(128, 2)
        optimizer.param_groups[0]["lr"] = 5e-3 * (1 - step / TRAIN)
        optimizer.zero_grad()
        amortised(x).mean().backward()
        optimizer.step()
    return amortised


encoders = {"angle": train(1), "direction": train(2)}
gaps, refined = {}, {}
for name, amortised in encoders.items():
    with torch.no_grad():
        code = amortised.encoder(test)
        torch.testing.assert_close(amortised(test), energy(test, code))  # what it is, by hand
        gaps[name] = amortised(test) - true_f
    z = infer_latent(ellipse, test, code, steps=20, step_size=0.1)
    refined[name] = energy(test, z) - true_f
    assert gaps[name].min() > -1e-4  # never below F_inf; 1e-4: the grid of `nearest`
    show(
        f"{name}: mean gap; median; after 20 steps of descent",
        [gaps[name].mean(), gaps[name].median(), refined[name].mean()],
    )
assert gaps["direction"].mean() < gaps["angle"].mean()
assert all(refined[k].mean() < gaps[k].mean() for k in gaps)

# %% tags=["figure"] alt="Two maps of the amortisation gap over the plane, bright where it is large. For the encoder with one output the angle, a bright wedge runs from inside the ellipse upwards across it, where the network rushes through all angles; far from the data, at the top left, the gap is large too. For the encoder with two outputs and atan2 the gap is dark on the whole ellipse, with two spots inside, left and right of the centre."
fig, axes = plt.subplots(1, 2, figsize=(10.0, 3.5))
for ax, (name, amortised) in zip(axes, encoders.items()):
    gap = FromFunction(
        lambda x, f=amortised: (f(x) - ellipse.grid.energies(x).amin(-1)).clamp(min=0)
    )
    energy_map(
        gap, ax, extent=(-3, 3, -2.2, 2.2), resolution=60, contours=0, limits=(0, 4), colorbar=False
    )
    ax.plot(2 * outline.cos(), outline.sin(), color="white", linewidth=1.5)
    ax.set(xlabel="$x_1$", ylabel="$x_2$", title=f"encoder outputs the {name}")
fig.colorbar(axes[0].get_images()[0], ax=axes, label="$E(x, h(x)) - F_\\infty(x)$", extend="max")

# %% [markdown]
# Encoder *and* search: start at $h(x)$ and descend a little. That repairs what is imprecise, and leaves what is in the wrong valley.
#
# ## 9 · A latent that is too strong
#
# Replace the angle by a place anywhere in a square, $z \in [-s, s]^2$ with $E(x, z) = |x - z|^2$. Then $F_\infty$ is the squared distance to the square. A larger square never
# explains the data worse, and from some $s$ on *everything* has energy 0: the energy is **flat**, it has collapsed, although it fits the data perfectly.
#
# The normalised free energy notices. Spreading $z$ over an area $(2s)^2$ costs $\log\big((2s)^2\big)/\beta$. With $\Phi$ the distribution function of $\mathcal N(0, 1)$:
#
# $$F_\beta(x) = -\frac1\beta \sum_{i=1}^2 \log\left(\frac{1}{2s}\sqrt{\frac{\pi}{\beta}}\;\Big[\Phi\big(\sqrt{2\beta}\,(s - x_i)\big) - \Phi\big(\sqrt{2\beta}\,(-s - x_i)\big)\Big]\right).$$


# %%
def square_f_inf(x, s):
    return ((x.abs() - s).clamp(min=0) ** 2).sum(-1)


def square_free(x, s, beta):
    """In logarithms, and on the side where the difference of the two Phi keeps its digits."""
    k = math.sqrt(2 * beta)
    near, far = (
        torch.special.log_ndtr(k * (s - x.abs())),
        torch.special.log_ndtr(-k * (s + x.abs())),
    )
    inside = near + torch.log1p(-torch.exp(far - near))
    return -(inside + 0.5 * math.log(math.pi / beta) - math.log(2 * s)).sum(-1) / beta


square = QuadratureJoint(
    lambda x, z: (x - z).square().sum(-1), low=[-2.0, -2.0], high=[2.0, 2.0], points=100
)
assert (square.average(50.0)(data[:40]) - square_free(data[:40], 2.0, 50.0)).abs().max() < 1e-3
elsewhere = 6 * torch.rand(2000, 2, generator=torch.Generator().manual_seed(4)) - 3
for s in (0.5, 1.0, 2.0, 3.0, 5.0):
    f, f_else = square_f_inf(data, s), square_f_inf(elsewhere, s)
    show(
        f"square, s = {s}: F_inf of data; elsewhere; AUROC; F_50 of data",
        [f.mean(), f_else.mean(), auroc(-f, -f_else), square_free(data, s, 50.0).mean()],
    )
assert f.max() == 0 and f_else.max() == 0  # flat
f, f_else = nearest(data)[0], nearest(elsewhere)[0]
angle_auroc = auroc(-f, -f_else)
show(
    "ellipse, an angle: F_inf of data; elsewhere; AUROC; F_50 of data",
    [f.mean(), f_else.mean(), angle_auroc, ellipse.average(50.0)(data).mean()],
)
assert angle_auroc > 0.9 > auroc(-square_f_inf(data, 2.0), -square_f_inf(elsewhere, 2.0))

# %% tags=["figure"] alt="Against the half-width s of the square: the mean F_inf of the data falls to zero near 2 and stays there, so nothing stops s from growing. The mean normalised free energy at beta 50 falls, has its minimum near 2, marked by a dot, and rises again. A dashed line below it shows the ellipse with its single angle."
widths = torch.linspace(1.4, 5, 80)
zero = [square_f_inf(data, s).mean() for s in widths.tolist()]
free = torch.stack([square_free(data, s, 50.0).mean() for s in widths.tolist()])
fig, ax = plt.subplots(figsize=(7.5, 3.2))
ax.plot(widths, zero, "-.", color=ORANGE, label=r"square, $F_\infty$")
ax.plot(widths, free, color=BLUE, label=r"square, normalised $F_{50}$")
ax.plot(widths[free.argmin()], free.min(), "o", color=BLUE)
ax.axhline(
    ellipse.average(50.0)(data).mean(), linestyle="--", color=PURPLE, label="ellipse, $F_{50}$"
)
ax.set(
    xlabel="half-width $s$ of the square of latents", ylabel="mean over the data", ylim=(0, 0.25)
)
ax.legend()
assert 1.8 < widths[free.argmin()] < 2.3

# %% [markdown]
# So there are three ways to keep an energy from going flat when only data are pushed down:
#
# - **give the latent less room**: fewer dimensions (the angle; PCA), or finitely many values (k-means, open exercise);
# - **make room cost**: finite $\beta$ with a normalised base measure; a VAE's noise on $z$ does it too;
# - **regularise**: $F(x) = \min_z E(x, z) + \lambda R(z)$. With $R = |z|_1$ that is sparse coding (lesson 03).
#
# The last one in closed form, for $E = |x - z|^2$ with $z$ in the whole plane and $R = |z|^2$: $z^* = \frac{x}{1+\lambda}$ and
# $F(x) = \frac{\lambda}{1 + \lambda}|x|^2$. $\lambda = 0$ is flat; a bowl appears as $\lambda$ grows. Its shape is that of the regulariser, so a good $R$ carries the knowledge.

# %% tags=["nbval-check-output"]
x = torch.randn(30, 2)
for strength in (0.0, 0.1, 1.0):
    joint = EnumeratedJoint(
        lambda x, z, k=strength: (x - z).square().sum(-1) + k * z.square().sum(-1),
        torch.zeros(1, 2),  # not used: z is found by descent
    )
    z = infer_latent(joint, x, torch.zeros(30, 2), steps=200, step_size=0.2)
    torch.testing.assert_close(z, x / (1 + strength))
    torch.testing.assert_close(joint(x, z), strength / (1 + strength) * x.square().sum(-1))
    show(f"lambda {strength}: F at distance 2 from the origin", 4 * strength / (1 + strength))

# %% [markdown]
# ### Open exercise: how many latents are enough?
# Replace the angle by $K$ fixed places, $z \in \{$`angles(K)`$\}$. Predict first: how large is $F_\infty$ at the worst point *of the ellipse* for
# $K = 4, 16, 64$? How large must $K$ be before noise of standard deviation $0.1$ hides the gaps? What happens to the AUROC of section 9, and does it
# ever get worse with more latents? Compare with $K$ places that are free to move (k-means).

# %% tags=["exercise"]
### BEGIN SOLUTION
for count in (1, 4, 16, 64, 256):
    around = torch.cat([2 * fine.cos(), fine.sin()], -1)
    seen = [energy(at[:, None], angles(count)).amin(-1) for at in (around, data, elsewhere)]
    show(
        f"K = {count}: worst F_inf on the ellipse; AUROC",
        [seen[0].max(), auroc(-seen[1], -seen[2])],
    )
### END SOLUTION

# %% [markdown] tags=["solution"]
# **One answer.** The worst point lies about halfway between two places. Their distance is at most about $2 \cdot 2\pi/K$ (the ellipse moves at most 2 per radian), so
# $F_\infty \lesssim (2\pi/K)^2$: about $0.15$ at $K = 16$ and $0.01 = 0.1^2$ at $K = 64$, where the gaps drown in noise. From there the AUROC stays. More places *on the
# ellipse* never hurt; the harm of section 9 comes from latents that reach where no data are. Free places first do better than fixed ones. With as many places as data,
# each sits on a data point: $F_\infty = 0$ on the training set, and only new points tell how good that is.

# %% [markdown]
# ## 10 · What goes wrong, and how you see it
#
# **Underflow.** $e^{-\beta E}$ at large $\beta$ is zero for every latent; then $F_\beta = \infty$. The symptom is `inf` for points far from the data. The
# cure is `logsumexp`.
#
# **A grid that is coarser than the posterior.** $p(z\mid x)$ has a width of about $1/\sqrt{2\beta}$ divided by the speed of the ellipse. When the grid is coarser, the points *of
# the grid* become the model: $F_\beta$ along the ellipse goes up and down where it should be smooth. The symptom: refine the grid and the value moves. So
# compute it twice, as in lesson 01.

# %% tags=["nbval-check-output"]
x = torch.tensor([[4.0, 3.0]])
e = energy(x[:, None], angles(180))
show("naive F_100 at (4, 3)", -torch.log(torch.exp(-100 * e).mean(-1)) / 100, digits=3)
show("with logsumexp", -(torch.logsumexp(-100 * e, -1) - math.log(180)) / 100, digits=3)
ring = torch.cat([2 * fine.cos(), fine.sin()], -1)
for points in (12, 60, 180, 720):
    joint = QuadratureJoint(energy, low=[0.0], high=[TURN], points=points)
    e = joint.average(100.0)(ring)
    show(
        f"{points} angles: F_100 along the ellipse, lowest and highest",
        [e.min(), e.max()],
        digits=3,
    )

# %% [markdown] tags=["quiz"]
# 1. Which line is right?
#    - [ ] $F_\infty(x, y) = \arg\min_z E(x, y, z)$ and $\hat y = \min_y F(x, y)$ :: Both are found in print. The first would be a latent, the second an energy.
#    - [x] $F_\infty(x, y) = \min_z E(x, y, z)$ and $\hat y = \arg\min_y F(x, y)$ :: Heights take min, places take argmin.
#    - [ ] $F_\infty = \min_z E$ and $\hat y = \min_y F$ :: Half right. The minimum over $y$ is a height, the same for every well-answered question.
# 2. For a continuous latent, $F_\beta = -\frac1\beta\log\int e^{-\beta E}dz$ comes out *below* $\min_z E$. What happened?
#    - [ ] A bug: a soft minimum cannot lie below the minimum :: True for the normalised one. The raw integral has no such floor.
#    - [x] Nothing: the volume of good latents counts, and depends on the unit of $z$ :: $F$ moves by $\log(\text{unit})/\beta$. Divide by the volume and it stays above.
#    - [ ] The grid is too coarse :: That is a possible error of either sign, but the table of section 3 shows it with 4000 points.
# 3. A VAE-like bound reports $\mathbb E_q[E] - H(q)/\beta = 3.1$. What do you know about $F_\beta$?
#    - [ ] It is 3.1 :: Only if $q$ is the posterior.
#    - [ ] It is at least 3.1 :: The sign is tempting to lose: ELBOs bound $-\beta F$ from *below*, so $F$ from above.
#    - [x] It is at most 3.1, by $\mathrm{KL}(q\|p)/\beta$ less :: $F_\beta$ is the minimum over $q$.
# 4. You give your model a larger latent space and train on $F_\infty$ of the data. The loss goes to 0. What is the first suspicion?
#    - [ ] The model has learned the data very well :: That is how it looks. Ask for the energy of points that are *not* data.
#    - [x] The energy is flat: everything can be explained :: Like the square of section 9: loss 0, AUROC one half.
#    - [ ] The learning rate is too high :: The loss is at its minimum; optimisation did what it was told.
# 5. An encoder's $E(x, h(x))$ is far above $\min_z E$ in a narrow wedge of the plane and small elsewhere. Why?
#    - [ ] Too few training steps :: More steps make the wedge narrower, not absent.
#    - [ ] The joint energy is wrong there :: The search finds low energies there with the same $E$.
#    - [x] A continuous $h$ has to jump there and cannot :: Output a direction instead of an angle, or add a few steps of search from several starts.

# %% [markdown]
# ## Summary
#
# - A latent makes one energy out of many explanations. $F_\infty = \min_z E$ is an energy, $z^* = \arg\min_z E$ a latent, $\hat y = \arg\min_y F$ an answer.
# - $F_\beta = \min_q \mathbb E_q[E] - H(q)/\beta$; any other $q$ is worse by $\mathrm{KL}(q\|p)/\beta$.
# - Normalised, $F_\beta$ falls from the mean energy to $\min_z E$. The raw integral may lie below it and is not monotone; the sum rises.
# - Too hot, the hole in a circle closes ($\beta r^2 < 1$), two ribbons of answers become one, and a learned axis disappears.
# - Search finds local minima, a posterior keeps alternatives, an encoder is fast and pays a gap.
# - The latent must be limited (fewer values, a cost for volume, a regulariser), or the energy goes flat.
#
# **Next:** 10 combines energies: AND, OR, NOT, and what they need to know about $Z$.
#
# ## References
#
# - Y. LeCun, S. Chopra, R. Hadsell, M. Ranzato, F. Huang, *A tutorial on energy-based learning* (2006).
# - A. Dawid, Y. LeCun, *Introduction to latent variable energy-based models: a path towards autonomous machine intelligence* (2023).
# - R. M. Neal, G. E. Hinton, *A view of the EM algorithm that justifies incremental, sparse, and other variants* (1998): free energy as a minimum over $q$.
# - D. P. Kingma, M. Welling, *Auto-encoding variational Bayes* (2014).
# - C. Cremer, X. Li, D. Duvenaud, *Inference suboptimality in variational autoencoders* (2018): the amortisation gap.

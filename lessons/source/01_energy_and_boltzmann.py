# %% [markdown]
# # 01 · Energy functions and the Boltzmann distribution
#
# **You will**
#
# - turn any energy into a probability, and compute its partition function $Z$ on a grid;
# - say what a temperature does, and what it does to the mean energy;
# - know which changes of an energy change nothing, and which energies have no distribution at all;
# - explain why the most likely point is rarely a typical one, and why it moves when you change variables.
#
# **Time** 60 minutes. **Needs** lesson 00; integrals; a density and its mean.

# %% tags=["setup"]
import math

import matplotlib.pyplot as plt
import torch

from ebmlearn import budget
from ebmlearn.checks import lesson01 as q
from ebmlearn.course import setup, show
from ebmlearn.energies import DoubleWell, FromFunction, Gaussian
from ebmlearn.viz import BLUE, GREEN, ORANGE
from ebmlearn.widgets import Explorer, slider

setup(seed=0)
torch.set_default_dtype(torch.float64)  # the checks of this lesson are exact to many digits
N = budget(10_000, smoke=2_000)

# %% [markdown]
# ## 1 · From an energy to a probability
#
# Take a system that can be in states $x$ with energies $E(x)$. Its **Boltzmann distribution** at temperature $T$ is
#
# $$p_T(x) = \frac{e^{-E(x)/T}}{Z(T)}, \qquad Z(T) = \int e^{-E(x)/T}\,dx .$$
#
# $Z$ is the **partition function**. We also write $\beta = 1/T$. Where nothing is said, $T = 1$.
#
# Our example for the whole lesson is the **double well** $E(x) = h\,(x^2 - 1)^2$: two minima at $\pm 1$, a barrier of height $h$ between.
# In one dimension $Z$ is a sum over a grid:


# %%
def double_well(x, h=1.0):
    return h * (x**2 - 1) ** 2


x = torch.linspace(-3, 3, 601)
dx = x[1] - x[0]
weight = torch.exp(-double_well(x))
Z = weight.sum() * dx
p = weight / Z

# %% [markdown]
# The same with `ebmlearn`. `DoubleWell` knows its $\log Z$ in closed form,
# $Z = \tfrac{\pi}{2} e^{-h/2}\left(I_{1/4}(\tfrac h2) + I_{-1/4}(\tfrac h2)\right)$ with Bessel functions $I$. The two agree to ten digits.
# A plain sum is that good here because the integrand is smooth and vanishes at both ends.

# %% tags=["nbval-check-output"]
well = DoubleWell(height=1.0)
torch.testing.assert_close(well(x[:, None]), double_well(x))
exact = well.log_partition().item()
assert abs(Z.log().item() - exact) < 1e-10
show("log Z on the grid", Z.log(), digits=6)
show("log Z, closed form", exact, digits=6)
show("the probabilities add up to", (p * dx).sum(), digits=6)

# %% tags=["figure"] alt="Left: the double well's energy, two minima of energy 0 at minus 1 and plus 1 and a barrier of height 1 between. Right: its density at temperature 1, two humps over the minima and a dip, not a gap, at the barrier."
fig, (left, right) = plt.subplots(1, 2, figsize=(9.0, 3.0))
left.plot(x, double_well(x), color=BLUE)
left.set(xlim=(-2, 2), ylim=(-0.2, 4), xlabel="$x$", ylabel="energy $E(x)$")
right.plot(x, p, color=ORANGE)
right.set(xlim=(-2, 2), ylim=(0, None), xlabel="$x$", ylabel="density $e^{-E(x)}/Z$")

# %% [markdown]
# **How fine must the grid be?** Here are the errors of $\log Z$ for grids of 10 to 80 points on $[-3, 3]$. Each doubling does not halve the
# error, it squares it and more, until rounding ends the fun. In $d$ dimensions the same grid needs $n^d$ points: 40 points along each
# axis are 1600 in the plane and $10^{16}$ in ten dimensions. That is why the rest of the course avoids $Z$.

# %%
for n in (10, 20, 40, 80):
    u = torch.linspace(-3, 3, n)
    error = torch.logsumexp(-double_well(u), 0) + torch.log(u[1] - u[0]) - exact
    show(f"{n} points: error of log Z", abs(error.item()), digits=2)
assert abs(error) < 1e-12

# %% [markdown]
# ### Exercise 1: Boltzmann probabilities
# For states with given energies (no grid, no $dx$): `energies[*batch, K]` to probabilities over the last axis. It must survive energies
# of ±5000. Stuck? `q.boltzmann.hint()`.


# %% tags=["exercise"]
def boltzmann(energies, temperature):
    """energies[*batch, K] -> p[*batch, K], with p proportional to exp(-E / T)."""
    ### BEGIN SOLUTION
    return torch.softmax(-energies / temperature, dim=-1)
    ### END SOLUTION


# %% tags=["check"]
q.boltzmann.check(boltzmann)

# %% [markdown]
# ### Exercise 2: the partition function
# Return $\log Z$ for energies on a one-dimensional grid with spacing `dx`. It must survive an energy level of ±2000.


# %% tags=["exercise"]
def log_partition(energies, dx):
    """energies[K] on a grid of spacing dx -> log Z, a number."""
    ### BEGIN SOLUTION
    return torch.logsumexp(-energies, dim=-1) + math.log(dx)
    ### END SOLUTION


# %% tags=["check"]
q.log_partition.check(log_partition)

# %% [markdown]
# ## 2 · Temperature
#
# Dividing the energy by $T$ rescales all differences. As $T \to 0$ the distribution shrinks onto the lowest points; as $T \to \infty$ it
# flattens. Nothing else about the energy changes: minima stay where they are.
#
# One identity makes the temperature useful. Differentiate $\log Z(\beta) = \log \int e^{-\beta E}$:
#
# $$\frac{d \log Z}{d\beta} = -\,\mathbb{E}_{p_\beta}[E], \qquad \frac{d^2 \log Z}{d\beta^2} = \operatorname{Var}_{p_\beta}(E) \ge 0 .$$
#
# So the mean energy never rises when you cool. The same line with a parameter $\theta$ of the energy in the place of $\beta$ is the
# gradient of maximum likelihood (lesson 07). Exact check: finite differences of $\log Z$ against the mean energy.


# %%
def log_z(beta, u=x):
    return torch.logsumexp(-beta * double_well(u), 0) + torch.log(u[1] - u[0])


def mean_energy(beta, u=x):
    return (torch.softmax(-beta * double_well(u), 0) * double_well(u)).sum()


delta = 1e-4
for beta in (0.25, 1.0, 4.0):
    slope = (log_z(beta + delta) - log_z(beta - delta)) / (2 * delta)
    torch.testing.assert_close(-slope, mean_energy(beta), rtol=1e-6, atol=0)
    show(f"beta {beta}: mean energy and minus the slope", [mean_energy(beta), -slope], digits=5)

# %% [markdown]
# `ebmlearn` writes the temperature as a division: `well / T` is again an energy.

# %% tags=["figure"] alt="Left: densities of the double well at temperatures 0.1, 0.5, 1 and 4. At 0.1 two narrow separate peaks at minus 1 and plus 1, at 4 one broad hill with a shallow dip between the wells. Right: mean energy divided by temperature, against the temperature on a logarithmic scale. It starts at one half, bulges to 0.58 near 0.3, falls to 0.21 near 10 and creeps up towards one quarter."
wide = torch.linspace(-15, 15, 6001)
temperatures = torch.logspace(-2, 3, 60)
ratio = [mean_energy(1 / T, wide) / T for T in temperatures]
fig, (left, right) = plt.subplots(1, 2, figsize=(9.0, 3.2))
for T, style in {0.1: "-", 0.5: "--", 1.0: "-.", 4.0: ":"}.items():
    e = (well / T)(wide[:, None])
    left.plot(wide, torch.softmax(-e, 0) / (wide[1] - wide[0]), style, label=f"T = {T}")
left.set(xlim=(-2.5, 2.5), ylim=(0, None), xlabel="$x$", ylabel="density $p_T(x)$")
left.legend()
right.plot(temperatures, ratio, color=BLUE)
right.axhline(0.5, linestyle=":", color="grey", label="1/2: a parabola")
right.axhline(0.25, linestyle="--", color="grey", label="1/4: a fourth power")
right.set(xscale="log", xlabel="temperature $T$", ylabel="mean energy / $T$", ylim=(0, 0.7))
right.legend()
assert abs(ratio[0] - 0.5) < 0.01 and abs(ratio[-1] - 0.25) < 0.02

# %% [markdown]
# The two grey lines are no accident. If $E(x) \propto |x|^m$ in one dimension, then $Z \propto T^{1/m}$, and the identity gives a mean energy
# of $T/m$, whatever the factor. At low temperature each well is a parabola, $m = 2$. At high temperature $h x^4$ outgrows the rest, $m = 4$.
#
# ## 3 · What you may change for free
#
# **Adding a constant.** $E + c$ has the same density: $e^{-c}$ cancels against $Z$. Only $\log Z$ moves, by $-c$. An energy has no
# absolute level, so *the value of an energy says nothing*; differences do: $\log \frac{p(a)}{p(b)} = E(b) - E(a)$.

# %% tags=["nbval-check-output"]
c = 7.0
same = torch.softmax(-double_well(x), 0) - torch.softmax(-(double_well(x) + c), 0)
shift = torch.logsumexp(-(double_well(x) + c), 0) - torch.logsumexp(-double_well(x), 0)
assert same.abs().max() < 1e-12
show("log Z moved by", shift, digits=6)

# %% [markdown]
# **Scaling** is *not* free: $2E$ is the same system at half the temperature. **Squashing** by a monotone function keeps the minima and
# changes the density. Two energies with the same minima can be very different models.
#
# ## 4 · Energies without a distribution
#
# $Z$ must be finite. Take $E(x) = x/2$ on $[-L, L]$ and let the interval grow. There,
# $Z = \int_{-L}^{L} e^{-x/2}\,dx = 4 \sinh(L/2)$, which has no limit.
# With a weak wall, $E(x) = x/2 + x^2/20$, it has one: complete the square, $\log Z \to \tfrac12\log(20\pi) + \tfrac{5}{4}$.


# %% tags=["nbval-check-output"]
# Error: an energy without a wall has no Z
def log_z_on(energy, L):
    u = 0.01 * (torch.arange(200 * L) + 0.5) - L  # midpoints of 200 L cells
    return torch.logsumexp(-energy(u), 0) + math.log(0.01)


slope, wall = (lambda u: u / 2), (lambda u: u / 2 + u**2 / 20)
for L in (5, 10, 20, 40):
    show(
        f"L = {L}: log Z of the slope, with a wall",
        [log_z_on(slope, L), log_z_on(wall, L)],
        digits=2,
    )
    assert abs(log_z_on(slope, L) - math.log(4 * math.sinh(L / 2))) < 1e-4
limit = 0.5 * math.log(20 * math.pi) + 1.25
assert abs(log_z_on(wall, 40) - limit) < 1e-6
show("the limit with a wall", limit, digits=2)

# %% [markdown]
# On the slope each step of $L$ adds half of that step, for ever. A sampler on it never settles: it drifts down until numbers overflow. A neural network with a linear last layer
# can make such slopes far from the data, where no data hold them up. The cures of later lessons are walls: a small $|x|^2$ added to the
# energy, a bounded domain, a penalty on large energies.
#
# **The test to remember:** double the range. If $\log Z$ moves, either the range was too small or there is no $Z$.
#
# ## 5 · The mode is not typical
#
# Where are the samples of $\mathcal N(0, I_d)$, $E(x) = |x|^2/2$? The most likely point is $0$, with energy $0$. But each
# coordinate adds on average $1/2$ to the energy, so a sample has energy near $d/2$ and radius near $\sqrt d$. In high dimension *no*
# sample comes near the mode: density is highest there, but there is hardly any volume. Samples live in a thin shell, the
# **typical set**. The standard error of the mean of $n$ energies is $\sqrt{d/(2n)}$, as $\operatorname{Var}(E) = d/2$.

# %%
# Error: the mode is not typical
for d in (2, 100, 1000):
    e = Gaussian(torch.zeros(d))(torch.randn(N, d))
    standard_error = math.sqrt(d / (2 * N))
    assert abs(e.mean() - d / 2) < 5 * standard_error
    show(
        f"d = {d}: mean energy (expected {d / 2:g}), standard error",
        [e.mean(), standard_error],
        digits=2,
    )
    show(f"d = {d}: lowest energy of {N} samples (the mode has 0)", e.min(), digits=2)

# %% tags=["figure"] alt="Histograms of the distance from the mode for standard normal samples in 1, 10, 100 and 400 dimensions. In 1 dimension it is highest at 0; in 10, 100 and 400 it is a narrow hump of constant width near the square root of the dimension, 3.2, 10 and 20, and nothing lies near 0."
fig, ax = plt.subplots(figsize=(8.0, 3.0))
for d, hatch in {1: "", 10: "//", 100: "\\\\", 400: ".."}.items():
    r = torch.randn(N, d).norm(dim=-1)
    ax.hist(r, bins=40, density=True, alpha=0.6, hatch=hatch, edgecolor="white", label=f"d = {d}")
    ax.axvline(math.sqrt(d), color="black", linestyle=":", linewidth=1)
ax.set(xlabel="distance from the mode (dotted: $\\sqrt{d}$)", ylabel="density", xlim=(0, 23))
ax.legend(loc="upper center", bbox_to_anchor=(0.66, 1.0))

# %% [markdown]
# This matters each time someone minimises an energy and calls the result a sample. A minimum answers "which one is best?", a sample
# answers "what do they look like?".
#
# ## 6 · The mode moves when you change variables
#
# Let $x \sim \mathcal N(0, 1)$ and $y = e^x$. Mass is kept, $p_Y(y)\,dy = p_X(x)\,dx$, so the energy picks up the logarithm of the
# stretch:
#
# $$E_Y(y) = E_X(x) + \log\left|\frac{dy}{dx}\right| .$$
#
# Medians and other quantiles move along, $e^0 = 1$. The mode does not: $\tfrac12 (\log y)^2 + \log y$ is lowest at $\log y = -1$,
# so at $y = e^{-1} \approx 0.368$. "The most likely point" depends on the units you write it in; probabilities of sets do not.
#
# ### Exercise 3: change the variable
# Given the energy of $x$ as a function `energy: [N, 1] -> [N]`, return the energy of $y = e^x$ at the points `y[N, 1]`.


# %% tags=["exercise"]
def energy_of_exp(y, energy):
    """y[N, 1] > 0 -> energies [N] of y = exp(x)."""
    ### BEGIN SOLUTION
    return energy(y.log()) + y.log().squeeze(-1)
    ### END SOLUTION


# %% tags=["check"]
q.energy_of_exp.check(energy_of_exp)

# %% [markdown]
# Without your answer, by counting: draw $x$, take $e^x$, look where the histogram is highest.

# %% tags=["figure"] alt="Left: the standard normal density with mode and median both at 0. Right: the density of y = exp(x), a histogram of samples with the exact curve. Its mode is at 0.37, well to the left of its median at 1."
# Error: the mode moves with the variable
xs = torch.randn(N)
fig, (left, right) = plt.subplots(1, 2, figsize=(9.0, 3.0))
u = torch.linspace(-3.5, 3.5, 400)
left.plot(u, torch.exp(-0.5 * u**2) / math.sqrt(2 * math.pi), color=BLUE)
left.set(xlabel="$x$", ylabel="density", ylim=(0, None))
y = torch.linspace(0.01, 5, 1000)
density = torch.exp(-0.5 * y.log() ** 2 - y.log()) / math.sqrt(2 * math.pi)
ys = xs.exp()
right.hist(
    ys[ys < 5], bins=60, weights=torch.full((int((ys < 5).sum()),), 12 / N), color=ORANGE, alpha=0.5
)
right.plot(y, density, color=ORANGE)
right.set(xlabel="$y = e^x$", ylim=(0, None))
for ax, mode, median in ((left, 0.0, 0.0), (right, math.exp(-1), 1.0)):
    ax.axvline(mode, color="black", linestyle="-", linewidth=1, label=f"mode {mode:.2f}")
    ax.axvline(median, color="black", linestyle=":", linewidth=2, label=f"median {median:.2f}")
    ax.legend()
assert abs(y[density.argmax()] - math.exp(-1)) < 0.01
show(
    "mode of y on the grid, exp(-1), exp(mode of x)",
    [y[density.argmax()], math.exp(-1), math.exp(0)],
    digits=2,
)

# %% [markdown]
# ## 7 · Play: wells, barrier, tilt
#
# $E(x) = h\,(x^2 - 1)^2 + a x$. The function below draws energy and density for a temperature $T$, a barrier $h$ and a tilt $a$. First an
# ordinary figure, then the same function on sliders.


# %% tags=["figure"] alt="Two rows for a double well with tilt 0.3. Left the energy, the right well higher than the left by about 0.6; right the density. At temperature 1 the right well keeps 37 percent of the mass, at temperature 0.2 only 5 percent."
def draw_wells(axes, temperature=1.0, height=2.0, tilt=0.3):
    u = torch.linspace(-4, 4, 1601)
    energy = FromFunction(lambda v: double_well(v[..., 0], height) + tilt * v[..., 0])
    e = energy(u[:, None])
    mass = torch.softmax(-e / temperature, 0)
    left, right = axes
    left.plot(u, e, color=BLUE)
    left.fill_between(
        u, e, e.min() + temperature, where=e < e.min() + temperature, color=GREEN, alpha=0.4
    )
    left.set(xlim=(-2, 2), ylim=(e.min() - 0.5, e.min() + 6), xlabel="$x$", ylabel="energy $E(x)$")
    right.plot(u, mass / (u[1] - u[0]), color=ORANGE)
    right.set(xlim=(-2, 2), ylim=(0, None), xlabel="$x$", ylabel="density $p_T(x)$")
    share, mean = mass[u > 0].sum(), (mass * e).sum()
    left.set_title(f"T = {temperature:.3g}: shaded, within $T$ of the minimum", fontsize=10)
    right.set_title(f"right of 0: {share:.3f} of the mass", fontsize=10)
    return (
        f"At temperature {temperature:.3g} the right well holds {share:.3f} of the mass; "
        f"mean energy {mean:.3f}, lowest energy {e.min():.3f}."
    )


fig, axes = plt.subplots(2, 2, figsize=(9.0, 5.6))
for row, T in zip(axes, (1.0, 0.2)):
    print(draw_wells(row, temperature=T))

# %% [markdown]
# Try: (1) at $T = 1$ set the tilt to 0.2, then cool. How cold must it be until one well holds 99 %? (2) Set the tilt to 0 and change the
# barrier. Does the share of the right well move? (3) Heat to $T = 5$: is the barrier still visible in the density?

# %% tags=["widget"]
Explorer(
    draw_wells,
    {
        "temperature": slider(1.0, 0.05, 5.0, label="temperature T", log=True),
        "height": slider(2.0, 0.0, 5.0, label="barrier h", step=0.25),
        "tilt": slider(0.3, -1.0, 1.0, label="tilt a", step=0.05),
    },
    figsize=(9.0, 3.2),
    panels=2,
)

# %% [markdown]
# ### Open exercise: a 3 to 1 mixture, by energies
# Two wells have the same shape and one lies lower by $\Delta$. Which $\Delta$ makes the lower well three times as likely at $T = 1$? Predict
# the ratio at $T = 1/2$ and at $T = 2$ *before* you compute it on the grid. Then make one well twice as wide as the other
# at equal depth: which one wins as $T \to 0$, and by how much?

# %% tags=["exercise"]
### BEGIN SOLUTION
v = torch.linspace(-10, 10, 4001)
for T in (0.5, 1.0, 2.0):
    lower, upper = 20 * (v + 4) ** 2, 20 * (v - 4) ** 2 + math.log(3)
    share = torch.softmax(-torch.minimum(lower, upper) / T, 0)
    show(
        f"T = {T}: lower over upper, and 3^(1/T)",
        [share[v < 0].sum() / share[v > 0].sum(), 3 ** (1 / T)],
    )
for T in (0.1, 0.01):
    narrow, broad = 20 * (v + 4) ** 2, 5 * (v - 4) ** 2
    share = torch.softmax(-torch.minimum(narrow, broad) / T, 0)
    show(f"T = {T}: twice as wide over narrow", share[v > 0].sum() / share[v < 0].sum())
### END SOLUTION

# %% [markdown] tags=["solution"]
# **One answer.** Equal shapes have equal volumes, so the ratio is $e^{\Delta/T}$: $\Delta = \log 3$ gives 3 at $T = 1$, $9$ at $T = 1/2$ and
# $\sqrt3$ at $T = 2$. At equal depth the twice as wide well has twice the mass *at every temperature*, also as $T \to 0$: both shrink
# like $\sqrt T$, so their ratio stays 2. Depth decides only where depths differ; where they tie, width decides.

# %% [markdown]
# ## 8 · What goes wrong, and how you see it
#
# **Overflow.** $e^{-E}$ is a fragile number. In float32 it is infinite from $E = -89$ on and zero from $E = 104$ on. The symptom is `nan`,
# `inf` or `-inf`, often many lines later. The cure is to stay in logarithms: `logsumexp`, `softmax`.

# %% tags=["nbval-check-output"]
e = torch.tensor([-200.0, -199.0], dtype=torch.float32)
w = torch.exp(-e)
show("naive probabilities", w / w.sum())
show("softmax", torch.softmax(-e, 0))
show("naive log Z", w.sum().log())
show("logsumexp", torch.logsumexp(-e, 0))

# %% [markdown]
# **A grid that misses the mass.** A wrong grid gives no error, only a wrong $Z$. Below, a well of width 0.01 at 2.005 falls between the points of a coarse
# grid. The symptom: $\log Z$ moves when the grid is refined or widened. So always
# compute it twice.

# %% tags=["figure"] alt="log Z against the number of grid points, for a narrow well in a wide interval. Below about 200 points the estimate jumps up and down by many units, from about 500 points on it lies on the exact line."
sigma = 0.01
exact_narrow = math.log(sigma * math.sqrt(2 * math.pi))
counts = torch.unique(torch.logspace(1, 4, 120).round().int())
estimates = []
for n in counts:
    g = torch.linspace(-5, 5, int(n))
    estimates.append(torch.logsumexp(-0.5 * ((g - 2.005) / sigma) ** 2, 0) + torch.log(g[1] - g[0]))
fig, ax = plt.subplots(figsize=(8.0, 3.0))
ax.plot(counts, estimates, ".-", color=BLUE, linewidth=0.8, label="grid")
ax.axhline(exact_narrow, color="black", linestyle=":", label="exact")
ax.set(xscale="log", xlabel="grid points on [-5, 5]", ylabel="log Z", ylim=(-40, 5))
ax.legend()
assert abs(estimates[-1] - exact_narrow) < 1e-6

# %% [markdown] tags=["quiz"]
# 1. You add 100 to an energy everywhere. What happens to the model?
#    - [ ] All points become less likely, by the factor $e^{-100}$ :: True of $e^{-E}$, which is not the density. $Z$ shrinks by the same factor.
#    - [x] Nothing, only $\log Z$ falls by 100 :: The constant cancels in $e^{-E}/Z$.
#    - [ ] The temperature rises :: Temperature *scales* differences of energy. A constant leaves differences alone.
# 2. Two wells are equally deep; one is twice as wide. As $T \to 0$, the wide one holds
#    - [ ] all the mass :: Tempting, as cooling usually picks a winner. It picks the *lowest*; these two tie, and both shrink like $\sqrt T$.
#    - [ ] half of the mass, because the depths are equal :: Depth is not everything: mass is height times volume.
#    - [x] two thirds of the mass :: The ratio of widths, 2 to 1, survives every temperature.
# 3. $E(x) = -\log(1 + x^2)$ on the whole line. What is its distribution?
#    - [ ] A bump at the origin, like a Cauchy distribution :: That is $E = +\log(1 + x^2)$. The sign matters: here the origin is the *least* likely point.
#    - [x] It has none :: $e^{-E} = 1 + x^2$ grows without end, so $Z = \infty$.
#    - [ ] Two bumps :: $e^{-E}$ has no bumps at all, it grows for ever.
# 4. Samples of $\mathcal N(0, I_{1000})$ have energies near 500, the mode has 0. Does the sampler fail?
#    - [ ] Yes, it should find the low energies :: That is an optimiser's task. A sampler visits volumes, and there is hardly any volume near the mode.
#    - [x] No, 500 is where the mass is :: The mean energy is $d/2$ exactly; a sample of energy 10 would be the alarming one.
#    - [ ] Yes, $e^{-500}$ is zero in float32 :: The number underflows, but samplers use differences of energies and gradients only.
# 5. What does $\frac{d\log Z}{d\beta} = -\mathbb E[E]$ say?
#    - [ ] The mean energy rises when $\beta$ rises :: Its slope in $\beta$ is $-\operatorname{Var}(E) \le 0$: cooling lowers it.
#    - [x] The mean energies at all $\beta$ between two values give the change of $\log Z$ from one to the other :: Integrate both sides. That is thermodynamic integration, lesson 06.
#    - [ ] $Z$ can be had from one mean energy :: One value gives one slope of $\log Z$, not its level.

# %% [markdown]
# ## Summary
#
# - $p_T(x) = e^{-E(x)/T}/Z(T)$. On a grid $Z$ is a sum; in high dimension nobody can afford the grid.
# - $E + c$ is the same model; $2E$ is the same system at half the temperature.
# - $d\log Z/d\beta = -\mathbb E[E]$: derivatives of $\log Z$ are expectations.
# - An energy that does not rise far away has no $Z$. Double the range and see.
# - The mode is one point in certain units. Mass lies in the typical set: at $d$ dimensions energy $\approx d/2$ above the mode.
# - Stay in logarithms.
#
# **Next:** 02 uses energies of *pairs*, $F(x, y)$, for questions that have several answers.
#
# ## References
#
# - Y. LeCun, S. Chopra, R. Hadsell, M. Ranzato, F. Huang, *A tutorial on energy-based learning* (2006).
# - D. J. C. MacKay, *Information theory, inference, and learning algorithms* (2003): typical sets, Monte Carlo, Ising models.
# - M. Betancourt, *A conceptual introduction to Hamiltonian Monte Carlo* (2017): density, volume and the typical set.
# - L. N. Trefethen, J. A. C. Weideman, *The exponentially convergent trapezoidal rule* (2014): why the plain sum is so good.

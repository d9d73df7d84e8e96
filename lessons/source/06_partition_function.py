# %% [markdown]
# # 06 · The partition function
#
# **You will**
#
# - estimate $\log Z$ with a standard error by importance sampling, thermodynamic integration, annealed importance sampling and bridge sampling, each against a known answer;
# - show why every estimate of $\log Z$ by averaging weights is too low, and by how much;
# - enclose $\log Z$ between two estimates, one too low and one too high;
# - read the effective number of points, and know the case in which it lies;
# - see an energy without any $Z$, on a grid, before a sampler tells you.
#
# **Time** 70 minutes. **Needs** lessons 01, 04; from 05 the effective sample size and why far modes are hard.

# %% tags=["setup"]
import math

import matplotlib.pyplot as plt
import torch

from ebmlearn import budget
from ebmlearn.checks import lesson06 as q
from ebmlearn.course import setup, show
from ebmlearn.energies import DoubleWell, Gaussian, Himmelblau
from ebmlearn.metrics import annealed_importance_sampling, importance_sampling, quadrature
from ebmlearn.metrics.ratios import bridge_sampling, thermodynamic_integration
from ebmlearn.samplers import HMC, MALA, Langevin, RandomWalk, sample
from ebmlearn.viz import BLUE, GREEN, ORANGE, RED
from ebmlearn.widgets import Explorer, slider

setup(seed=0)
torch.set_default_dtype(torch.float64)
N = budget(2_000, smoke=500)  # points of an estimate
REPEATS = budget(20_000, smoke=4_000)  # where the mean of an estimate is measured
WALKS = budget(500, smoke=200)  # of annealed importance sampling


def seed(n):
    return torch.Generator().manual_seed(n)


# %% [markdown]
# ## 1 · What $\log Z$ is for, and where it is easy
#
# $p(x) = e^{-E(x)}/Z$ with $Z = \int e^{-E(x)}\,dx$. Sampling never needs $Z$. *Comparing* does: the log-likelihood of data is $-E(x) - \log Z$, so two models are
# compared by $\log Z$; shares of a mixture (lesson 10) and the probability of a class need it as well.
#
# In one to three dimensions a grid gives it: a sum times the volume of a cell. From scratch on the double well $E = 2\sum_i(x_i^2 - 1)^2$, whose $Z$ is known
# (Bessel functions), and with `quadrature`:

# %% tags=["nbval-check-output"]
well = DoubleWell(1, height=2.0)
x = torch.linspace(-4, 4, 801)[:, None]
by_hand = torch.logsumexp(-well(x), 0) + math.log(8 / 800)
with_ebmlearn = quadrature(well, dim=1).log_partition
torch.testing.assert_close(by_hand, well.log_partition())
torch.testing.assert_close(with_ebmlearn, well.log_partition())
show(
    "log Z: a sum by hand, quadrature, closed form",
    [by_hand, with_ebmlearn, well.log_partition()],
    digits=6,
)
for d in (1, 2, 3, 10):
    show(f"cells of a grid with 400 along each of {d} axes", f"{400.0**d:.0e}")

# %% [markdown]
# The last line ends this approach. What follows works in any dimension, and is tested here where the answer is known.
#
# ## 2 · Importance sampling
#
# Take a **base** $p_0 = e^{-E_0}/Z_0$ that can be sampled and whose $Z_0$ is known. Then
#
# $$Z = \int e^{-E}\,dx = \mathbb E_{p_0}\!\left[\,w\,\right], \qquad w(x) = Z_0\, e^{E_0(x) - E(x)}, \qquad \hat Z = \frac1n \sum_i w(x_i).$$
#
# $\hat Z$ is exactly right on average, for every $n$. Two numbers judge it. The **standard error** of $\log\hat Z$ is that of the mean of $w/\hat Z$ (the delta method). The **effective
# number of points** $(\sum w)^2/\sum w^2$ is $n$ for equal weights and 1 when one point carries all; below, the estimate is "worth" so many points.
#
# ### Exercise 1: from weights to $\log Z$
# From `log_w[n]` return the triple ($\log \hat Z$, its standard error, the effective number). Log weights may be $\pm 900$. Stuck? `q.log_z.hint()`.


# %% tags=["exercise"]
def my_log_z(log_w):
    """(log Z, standard error, effective number)."""
    ### BEGIN SOLUTION
    n = len(log_w)
    value = torch.logsumexp(log_w, 0) - math.log(n)
    v = (log_w - value).exp()
    return value, v.std() / math.sqrt(n), v.sum() ** 2 / (v**2).sum()
    ### END SOLUTION


# %% tags=["check"]
q.log_z.check(my_log_z)

# %% [markdown]
# From scratch and with `ebmlearn`, same seed, in two dimensions:

# %% tags=["nbval-check-output"]
target = DoubleWell(2, height=2.0)
base = Gaussian(torch.zeros(2), 1.5)
points_of_base = math.sqrt(1.5) * torch.randn(500, 2, generator=seed(1))
log_w = base(points_of_base) - target(points_of_base) + math.log(2 * math.pi * 1.5)
by_hand = torch.logsumexp(log_w, 0) - math.log(500)
estimate = importance_sampling(target, base, 500, generator=seed(1))
torch.testing.assert_close(by_hand, estimate.log_partition)
assert abs(estimate.log_partition - target.log_partition()) < 5 * estimate.standard_error
show("from scratch and ebmlearn agree, and the truth is within 5 standard errors", True)

# %%
for n in (100, 1_000, 10_000):
    z = importance_sampling(target, base, n, generator=seed(2))
    print(
        f"{n:6d} points: log Z {z.log_partition:.3f} ± {z.standard_error:.3f}, worth {z.ess:6.0f}; exact {target.log_partition():.3f}"
    )


# %% tags=["figure"] alt="Left: the density of a double well, two bumps, and the wide base below it. Right: log weights of 500 base points against their position; the weights are highest at the two bumps and fall steeply outside, so that many points count for nothing."
def importance(axes, spread=1.22, shift=0.0, n=500):
    """Base N(shift, spread²) for the double well in one dimension."""
    wide = Gaussian([shift], spread**2)
    z = importance_sampling(well, wide, n, generator=seed(3))
    u = torch.linspace(-3.5, 3.5, 300)[:, None]
    axes[0].plot(u, torch.exp(-well(u) - well.log_partition()), color="black", label="target")
    axes[0].plot(u, torch.exp(-wide(u) - wide.log_partition()), "--", color=BLUE, label="base")
    axes[0].set(xlabel="$x$", ylabel="density")
    axes[0].legend(loc="upper right")
    axes[1].plot(z.x[:, 0], z.log_weights, ".", color=BLUE, markersize=4)
    axes[1].axhline(well.log_partition(), color="black", linestyle=":", label="exact log Z")
    axes[1].set(xlabel="$x$", ylabel="log weight", xlim=(-3.5, 3.5), ylim=(-8, 4))
    axes[1].legend(loc="lower center")
    return (
        f"Base with mean {shift:g} and spread {spread:.2f}, {n} points: log Z {z.log_partition:.3f} ± {z.standard_error:.3f}, "
        f"worth {z.ess:.0f} points; exact {well.log_partition():.3f}."
    )


fig, axes = plt.subplots(1, 2, figsize=(10.0, 3.3))
print(importance(axes))

# %% [markdown]
# Move the base away, then make it narrow. Which of the two failures does the effective number notice?

# %% tags=["widget"]
Explorer(
    importance,
    {
        "spread": slider(1.22, 0.1, 4.0, label="spread of the base", step=0.05),
        "shift": slider(0.0, -3.0, 3.0, label="mean of the base", step=0.1),
        "n": slider(500, 20, 5_000, label="points", step=20),
    },
    figsize=(10.0, 3.3),
    panels=2,
)

# %% [markdown]
# ## 3 · The log of a mean is too low
#
# $\mathbb E[\hat Z] = Z$, but the logarithm is concave, so by Jensen $\mathbb E[\log \hat Z] < \log Z$. With many points the gap is about $\tfrac{1}{2n}\,\mathrm{Var}(w)/Z^2$, half
# the square of the standard error, and harmless. With few it is not. With a single point it is the whole **Kullback-Leibler divergence** between the two densities,
#
# $$\mathbb E_{p_0}[\log w] = \log Z - \mathrm{KL}(p_0 \,\|\, p), \qquad \mathrm{KL}(p_0 \,\|\, p) = \mathbb E_{p_0}[\log p_0 - \log p] \ge 0.$$
#
# The extreme case: points drawn uniformly on $[-20, 20]$ for $E = 3x^2/2$, whose mass lies within $\pm 2$. Most of the twenty points see nothing at all.

# %%
# Error: log Z by Monte Carlo is biased low
exact = 0.5 * math.log(2 * math.pi / 3)
bias = {}
for n in (5, 20, 100, 1_000):
    rows = max(REPEATS * 20 // n, 500)
    u = 40 * torch.rand(rows, n, generator=seed(4)) - 20
    log_w = math.log(40) - 1.5 * u**2
    log_zs = torch.logsumexp(log_w, 1) - math.log(n)
    bias[n] = log_zs.mean() - exact
    relative = (log_w.exp().var() / math.exp(2 * exact) / (2 * n)).item()
    print(
        f"{n:5d} points: mean of Z {log_zs.exp().mean():.3f} (exact {math.exp(exact):.3f}), mean of log Z {log_zs.mean():7.3f} ± "
        f"{log_zs.std() / math.sqrt(rows):.3f} (exact {exact:.3f}); gap {-bias[n]:7.4f}, Var(w)/2nZ² {relative:.4f}"
    )
    spread = log_zs.exp().std() / math.sqrt(rows)
    assert abs(log_zs.exp().mean() - math.exp(exact)) < 5 * spread
assert bias[20] < -1 and abs(bias[1_000]) < 0.05 and bias[5] < bias[20] < bias[100] < 0

# %% [markdown]
# The mean of $\hat Z$ is right in every row. The mean of $\log\hat Z$ with 20 points is wrong by two nats. Hardly a run says much too much; but in $0.95^{20} = 36\,\%$ of them no point comes within 1 of the peak, and those say far too little.
# An estimate of a *log-likelihood* from such a $\log\hat Z$ is then **too high**: $-E - \log\hat Z$ flatters the model.
#
# The identity with the divergence, exactly, for two Gaussians ($p = \mathcal N(0, 1)$, $p_0 = \mathcal N(1, 4)$):

# %% tags=["nbval-check-output"]
p, p0 = Gaussian([0.0]), Gaussian([1.0], 4.0)
grid = quadrature(p0, low=-25, high=27, cells=4000, dim=1)
mass = (grid.log_density + grid.log_volume).exp()
mean_log_w = (mass * (p0.log_partition() + p0(grid.x) - p(grid.x))).sum()
divergence = 0.5 * (4 + 1 - 1 - math.log(4))  # KL(N(1, 4) || N(0, 1))
assert abs(mean_log_w - (p.log_partition() - divergence)) < 1e-8
show("E[log w], log Z - KL", [mean_log_w, p.log_partition() - divergence], digits=5)

# %% [markdown]
# ## 4 · Thermodynamic integration
#
# If two densities are far apart, put others between them: $E_\beta = (1-\beta)E_0 + \beta E$, from the base at $\beta = 0$ to the target at 1 ($\beta$ is here a place on that path). The derivative of $\log Z$ along the path is a
# mean that samples can give:
#
# $$\frac{d \log Z_\beta}{d\beta} = \frac{1}{Z_\beta}\int -(E - E_0)\,e^{-E_\beta}dx = -\,\mathbb E_\beta[E - E_0]
# \quad\Longrightarrow\quad \log\frac{Z}{Z_0} = -\int_0^1 \mathbb E_\beta[E - E_0]\,d\beta .$$
#
# No weights, so no Jensen. (The same derivative with $\theta$ for $\beta$ is what lesson 07 learns with.) An exact check on a grid, the derivative of $\log Z_\beta$ by autograd against the mean:

# %% tags=["nbval-check-output"]
# Error: the derivative of log Z is a mean under the model, with a minus sign
wide = Gaussian([0.0], 1.5)
u = torch.linspace(-9, 9, 6001)[:, None]
e0, e1 = wide(u), well(u)


def mean_difference(beta):
    """E_beta[E - E_0] on the grid."""
    return (torch.softmax(-((1 - beta) * e0 + beta * e1), 0) * (e1 - e0)).sum()


for value in (0.1, 0.5, 1.0):
    beta = torch.tensor(value, requires_grad=True)
    torch.logsumexp(-((1 - beta) * e0 + beta * e1), 0).backward()
    assert abs(beta.grad + mean_difference(value)) < 1e-10
    show(
        f"beta {value}: derivative of log Z, minus the mean",
        [beta.grad, -mean_difference(value)],
        digits=6,
    )

# %% [markdown]
# Two errors are left: the integral is a sum over few $\beta$ (trapezium rule), and at each $\beta$ the mean is a Monte Carlo one. The first alone, with exact means. Near $\beta = 0$ the base visits places where $E$ is
# huge, so the integrand is steep there. Equal steps waste points; steps that grow like $\beta = (k/K)^3$ do not:

# %%
truth = (well.log_partition() - wide.log_partition()).item()


def even(K):
    return [k / K for k in range(K + 1)]


def cubic(K):
    return [(k / K) ** 3 for k in range(K + 1)]


errors = {}
for name, path in (("equal", even), ("cubic", cubic)):
    for K in (5, 10, 20, 40):
        betas = torch.tensor(path(K))
        values = torch.stack([-mean_difference(b) for b in betas])
        errors[name, K] = torch.trapezoid(values, betas).item() - truth
    print(
        f"{name} steps, K = 5, 10, 20, 40: error",
        [round(errors[name, K], 4) for K in (5, 10, 20, 40)],
    )
assert all(abs(errors["cubic", K]) < abs(errors["equal", K]) for K in (5, 10, 20, 40))
assert 3 < errors["cubic", 20] / errors["cubic", 40] < 5  # the rule is of second order

# %% tags=["figure"] alt="The integrand, minus the mean of E minus E_0, against beta. It rises steeply from minus 9 at beta 0, bends, and is nearly flat beyond beta 0.3. Circles at equal steps leave the bend to one trapezium; crosses at cubic steps are dense there."
fig, ax = plt.subplots(figsize=(7.5, 3.4))
fine = torch.linspace(0, 1, 400)
ax.plot(fine, torch.stack([-mean_difference(b) for b in fine]), color="black", linewidth=1)
for path, marker, color, name in (
    (even, "o--", ORANGE, "equal steps"),
    (cubic, "X-.", BLUE, "cubic steps"),
):
    ax.plot(
        path(8),
        [-mean_difference(b) for b in path(8)],
        marker,
        color=color,
        label=name,
        linewidth=0.8,
    )
ax.set(xlabel=r"$\beta$", ylabel=r"$-\mathbb{E}_\beta[E - E_0]$")
ax.legend(loc="lower right")

# %% [markdown]
# Now with chains: from scratch in a loop, then `thermodynamic_integration`, same seed, ten wells at once ($d = 10$). The standard error knows the Monte Carlo part; a chain that lags behind $\beta$ and the
# trapezium are not in it.

# %%
ten, base_ten = DoubleWell(10, height=2.0), Gaussian(torch.zeros(10), 1.5)
kernel = HMC(step_size=0.2, n_leapfrog=3)
betas = cubic(20)
g = seed(5)
x = base_ten.sample(WALKS, generator=g)
means = []
for beta in betas:
    if beta > 0:
        x = sample((1 - beta) * base_ten + beta * ten, kernel, x, 5, generator=g)
    means.append((base_ten(x) - ten(x)).mean())
by_hand = torch.trapezoid(torch.stack(means), torch.tensor(betas))
found = thermodynamic_integration(
    base_ten, ten, kernel, n=WALKS, betas=betas, steps=5, generator=seed(5)
)
assert abs(by_hand - found.log_ratio) < 0.02  # a tie broken by rounding may part a chain or two
exact_ten = ten.log_partition().item()
log_z_ti = found.log_ratio + base_ten.log_partition()
print(
    f"thermodynamic integration: log Z {log_z_ti:.3f} ± {found.standard_error:.3f}, exact {exact_ten:.3f}"
)
trapezium = 10 * abs(errors["cubic", 20])  # ten independent wells: ten times the error of one
assert abs(log_z_ti - exact_ten) < 5 * found.standard_error + trapezium

# %% [markdown]
# ## 5 · Annealed importance sampling
#
# Walk the same path, but *weigh*. Start at $x_0 \sim p_0$; when $\beta_{k-1}$ becomes $\beta_k$, multiply the weight by how much that point's $e^{-E_\beta}$ has changed, then move the point by a kernel that leaves
# $e^{-E_{\beta_k}}$ invariant:
#
# $$\log w = \log Z_0 + \sum_{k=1}^{K} (\beta_k - \beta_{k-1})\,\big(E_0 - E\big)(x_{k-1}).$$
#
# The wonder (Neal, 2001): $\mathbb E[w] = Z$ **exactly**, even if the moves hardly mix. A bad walk costs variance, never bias in $Z$. So $\mathbb E[\log \hat Z] \le \log Z$ again: AIS is a lower bound in expectation, and a better
# one with more steps.
#
# ### Exercise 2: the weights of AIS
# From the energies `e0[K, n]` and `e1[K, n]` of base and target at $x_0, \ldots, x_{K-1}$ of $n$ walks, from `betas` ($K + 1$ numbers) and $\log Z_0$, return $\log w$, `[n]`.


# %% tags=["exercise"]
def ais_log_weights(e0, e1, betas, log_z0):
    """[n]."""
    ### BEGIN SOLUTION
    step = torch.as_tensor(betas, dtype=e0.dtype).diff()
    return log_z0 + (step[:, None] * (e0 - e1)).sum(0)
    ### END SOLUTION


# %% tags=["check"]
q.ais_log_weights.check(ais_log_weights)

# %% [markdown]
# From scratch with random-walk Metropolis, and with `annealed_importance_sampling`, same seed:


# %% tags=["nbval-check-output"]
def ais(energy, base, betas, scale, n, generator):
    x = base.sample(n, generator=generator)
    log_w = base.log_partition().expand(n).clone()
    for before, beta in zip(betas, betas[1:]):
        log_w = log_w + (beta - before) * (base(x) - energy(x))
        y = x + scale * torch.randn(x.shape, generator=generator)
        change = (1 - beta) * (base(x) - base(y)) + beta * (energy(x) - energy(y))
        yes = torch.rand(n, generator=generator) < change.exp()
        x = torch.where(yes[:, None], y, x)
    return torch.logsumexp(log_w, 0) - math.log(n)


by_hand = ais(target, base, even(50), 0.5, 400, seed(6))
estimate = annealed_importance_sampling(
    target, base, kernel=RandomWalk(scale=0.5), betas=50, n=400, generator=seed(6)
)
assert abs(by_hand - estimate.log_partition) < 0.02
assert abs(estimate.log_partition - target.log_partition()) < 5 * estimate.standard_error
show("from scratch and ebmlearn agree, and the truth is within 5 standard errors", True)

# %% [markdown]
# **Lower in expectation, tighter with length.** Ten wells, many runs of 25 walks each. The mean weight stays right at every length; the mean of $\log\hat Z$ climbs to the truth. And the walk can be run *backwards*: from exact samples of
# the target down to the base the mean of the reversed $\log\hat Z$ is too *high*, for the same reason. The two **enclose** $\log Z$ (Grosse, Ghahramani, Adams, 2015). The catch: exact samples of the target, which we have here.

# %%
LENGTHS = (5, 20, 80)
WALK = HMC(step_size=0.2, n_leapfrog=2)
runs = 80
sandwich = {}
for K in LENGTHS:
    up = annealed_importance_sampling(
        ten, base_ten, kernel=WALK, betas=cubic(K), n=25 * runs, generator=seed(7)
    )
    lower = torch.logsumexp(up.log_weights.reshape(runs, 25), 1) - math.log(25)
    back = [1 - b for b in reversed(cubic(K))]
    down = annealed_importance_sampling(
        base_ten, ten, kernel=WALK, betas=back, n=25 * runs, generator=seed(8)
    )
    # an estimate of log Z_0 that starts from the target's log Z, which therefore drops out of the ratio
    low_z0 = torch.logsumexp(down.log_weights.reshape(runs, 25), 1) - math.log(25)
    upper = base_ten.log_partition() + ten.log_partition() - low_z0
    sandwich[K] = [(b.mean().item(), (b.std() / math.sqrt(runs)).item()) for b in (lower, upper)]
    (low, low_se), (high, high_se) = sandwich[K]
    print(
        f"K = {K:3d}: mean of log Z upwards {low:.3f} ± {low_se:.3f}, exact {exact_ten:.3f}, downwards {high:.3f} ± {high_se:.3f}; "
        f"all {25 * runs} walks at once {up.log_partition:.3f} ± {up.standard_error:.3f}, worth {up.ess:.0f}"
    )
    assert low < exact_ten + 5 * low_se and high > exact_ten - 5 * high_se
assert sandwich[5][0][0] < exact_ten - 5 * sandwich[5][0][1]  # visibly below
assert sandwich[5][1][0] > exact_ten + 5 * sandwich[5][1][1]  # visibly above
assert sandwich[80][1][0] - sandwich[80][0][0] < 0.5 * (sandwich[5][1][0] - sandwich[5][0][0])


# %% tags=["figure"] alt="Two histograms of log weights of annealed importance sampling on ten double wells, with three vertical lines: mean of log w, log of the mean weight, exact log Z. With 5 steps the histogram is broad and the mean of log w lies far left of the exact value; with 80 steps it is narrow and the three lines nearly coincide."
def weights(ax, steps=20, dim=10, walks=300):
    energy, start = DoubleWell(dim, height=2.0), Gaussian(torch.zeros(dim), 1.5)
    z = annealed_importance_sampling(
        energy, start, kernel=WALK, betas=cubic(steps), n=walks, generator=seed(9)
    )
    exact = energy.log_partition().item()
    ax.hist(
        (z.log_weights - exact).numpy(), bins=[k / 2 for k in range(-50, 17)], color=BLUE, alpha=0.5
    )
    lines = {
        "mean of log w": (z.log_weights.mean().item(), GREEN, ":"),
        "log of the mean": (z.log_partition.item(), RED, "--"),
        "exact": (exact, "black", "-"),
    }
    for name, (value, color, style) in lines.items():
        ax.axvline(value - exact, color=color, linestyle=style, label=name)
    ax.set(xlabel=r"$\log w$ minus the exact $\log Z$", ylabel="walks", xlim=(-25, 8))
    ax.legend(loc="upper left")
    return (
        f"{dim} wells, {steps} steps, {walks} walks: mean of log w {z.log_weights.mean() - exact:.2f}, log of the mean weight {z.log_partition - exact:.3f} "
        f"± {z.standard_error:.3f}, both relative to the exact value; worth {z.ess:.0f} walks."
    )


fig, axes = plt.subplots(1, 2, figsize=(11.0, 3.3))
for ax, steps in zip(axes, (5, 80)):
    weights(ax, steps=steps)
    ax.set_title(f"K = {steps}")

# %% [markdown]
# How many steps does it take to keep half of the walks when the dimension doubles?

# %% tags=["widget"]
Explorer(
    weights,
    {
        "steps": slider(20, 1, 200, label="steps K"),
        "dim": slider(10, 1, 60, label="dimension"),
        "walks": slider(300, 20, 2_000, label="walks", step=20),
    },
    figsize=(8.0, 3.4),
)

# %% [markdown]
# ## 6 · Bridge sampling
#
# With points of *both* densities one can do better than weigh one with the other. For any function $h$, $\mathbb E_a[h\,e^{-E_b}] / \mathbb E_b[h\,e^{-E_a}] = Z_b/Z_a$; the $h$ with the least variance gives, for equally many points of
# each, the equation of Bennett (1976): with $W = E_b - E_a$ and $r = \log(Z_b/Z_a)$,
#
# $$\sum_{x \sim p_a} \sigma\big(-(W(x) + r)\big) \;=\; \sum_{x \sim p_b} \sigma\big(W(x) + r\big), \qquad \sigma(t) = \frac1{1 + e^{-t}}.$$
#
# Read it as logistic regression: $r$ is the offset at which a classifier of "$a$ or $b$" errs equally often on both sides. (Lesson 08 trains energies with the same idea: noise contrast.)
#
# ### Exercise 3: solve the equation
# From `w_a[n]`, `w_b[n]`, $W$ at points of $p_a$ and of $p_b$, return $r$. $W$ may be $\pm 300$.


# %% tags=["exercise"]
def bridge(w_a, w_b):
    """log(Z_b / Z_a)."""
    ### BEGIN SOLUTION
    both = torch.cat([w_a, w_b])
    low, high = -both.max().item() - 50, -both.min().item() + 50
    for _ in range(100):
        r = (low + high) / 2
        if torch.sigmoid(-(w_a + r)).sum() > torch.sigmoid(w_b + r).sum():
            low = r
        else:
            high = r
    return r
    ### END SOLUTION


# %% tags=["check"]
q.bridge.check(bridge)

# %% [markdown]
# Another way to solve it is to iterate $r \leftarrow r + \log(\text{left}/\text{right})$. From scratch, and with `bridge_sampling`, which gives the standard error too. Then the exact check of that
# error: for $n$ points of each it should tend to $\sqrt{\tfrac2n\big(1/O - 1\big)}$ with the **overlap** $O = \int \frac{2\,p_a p_b}{p_a + p_b}\,dx$ (Meng, Wong, 1996), here on a grid. Two normals whose means part:

# %%
line = torch.linspace(-12, 18, 6001)
left_one, n = Gaussian([0.0]), N
stated = {}
for gap in (0.0, 1.0, 2.0, 4.0, 6.0):
    right_one = Gaussian([gap])
    densities = [torch.exp(-0.5 * (line - m) ** 2) / math.sqrt(2 * math.pi) for m in (0.0, gap)]
    top, bottom = 2 * densities[0] * densities[1], densities[0] + densities[1]
    overlap = (torch.where(bottom > 0, top / bottom, 0.0).sum() * 0.005).item()
    predicted = math.sqrt(2 / n * (1 / overlap - 1)) if overlap < 1 else 0.0
    x_a, x_b = left_one.sample(n, generator=seed(10)), right_one.sample(n, generator=seed(11))
    b = bridge_sampling(left_one, x_a, right_one, x_b)
    w_a, w_b = ((right_one(x) - left_one(x)) for x in (x_a, x_b))
    r = torch.zeros(())
    for _ in range(2_000):
        r = r + torch.log(torch.sigmoid(-(w_a + r)).sum() / torch.sigmoid(w_b + r).sum())
    assert abs(r - b.log_ratio) < 1e-4 * (1 + abs(r)) or gap > 4
    one_way = importance_sampling(right_one, left_one, n, generator=seed(12))
    stated[gap] = b.standard_error.item()
    print(
        f"means {gap:.0f} apart: overlap {overlap:.4f}; bridge {b.log_ratio:6.3f} ± {b.standard_error:.3f} (theory {predicted:.3f}), "
        f"importance {one_way.log_partition - right_one.log_partition():6.3f} ± {one_way.standard_error:.3f}; exact 0"
    )
    assert abs(b.log_ratio) < 5 * max(stated[gap], predicted) + 1e-6
    if gap in (1.0, 2.0):
        assert abs(stated[gap] / predicted - 1) < 0.2

# %% [markdown]
# Without overlap nothing helps: at a distance of 6 the error bars are larger than what one wants to know, and importance sampling's error bar is smaller than its error. Put densities between, and add the bridges:

# %%
stops = [Gaussian([m]) for m in (0.0, 1.5, 3.0, 4.5, 6.0)]
draws = [stop.sample(n, generator=seed(20 + i)) for i, stop in enumerate(stops)]
parts = [bridge_sampling(a, xa, b, xb) for a, xa, b, xb in zip(stops, draws, stops[1:], draws[1:])]
total = sum(part.log_ratio for part in parts).item()
# neighbouring bridges share points, so this sum of variances is an approximation
error = math.sqrt(sum(part.standard_error.item() ** 2 for part in parts))
print(f"four bridges from 0 to 6: {total:.3f} ± {error:.3f}; one bridge: ± {stated[6.0]:.3f}")
assert abs(total) < 5 * error and error < stated[6.0]

# %% [markdown]
# ## 7 · All of them, as the dimension grows
#
# Product of $d$ double wells, base $\mathcal N(0, 1.5\,I)$. Importance sampling and the bridge use as many points as AIS and integration spend gradients. The truth is known for every $d$.

# %%
DIMS = (1, 2, 5, 10, 20, 50)[: budget(6, smoke=5)]
steps = 40
table = {name: [] for name in ("importance", "integration", "AIS", "bridge")}
for d in DIMS:
    energy, start = DoubleWell(d, height=2.0), Gaussian(torch.zeros(d), 1.5)
    exact, n_walks = energy.log_partition().item(), WALKS // 2
    spent = n_walks * steps * 2
    z = importance_sampling(energy, start, spent, generator=seed(13))
    table["importance"].append(
        (z.log_partition.item() - exact, z.standard_error.item(), z.ess.item())
    )
    a = annealed_importance_sampling(
        energy, start, kernel=WALK, betas=cubic(steps), n=n_walks, generator=seed(14)
    )
    table["AIS"].append((a.log_partition.item() - exact, a.standard_error.item(), a.ess.item()))
    t = thermodynamic_integration(
        start, energy, WALK, n=n_walks, betas=cubic(steps), steps=1, generator=seed(15)
    )
    table["integration"].append(
        ((t.log_ratio + start.log_partition()).item() - exact, t.standard_error.item(), 0.0)
    )
    xs = start.sample(spent // 2, generator=seed(16)), energy.sample(spent // 2, generator=seed(17))
    b = bridge_sampling(start, xs[0], energy, xs[1])
    table["bridge"].append(
        ((b.log_ratio + start.log_partition()).item() - exact, b.standard_error.item(), 0.0)
    )
print("error ± stated standard error, by dimension", DIMS)
for name, row in table.items():
    print(f"{name:12s}", "  ".join(f"{e:7.3f} ± {s:.3f}" for e, s, _ in row))
print("effective number, importance:", [round(r[2]) for r in table["importance"]], "of", spent)
print("effective number, AIS:", [round(r[2]) for r in table["AIS"]], "of", n_walks)
at_ten = DIMS.index(10)
assert all(abs(table["AIS"][i][0]) < 5 * table["AIS"][i][1] for i in range(at_ten + 1))
assert all(abs(table["importance"][i][0]) < 5 * table["importance"][i][1] for i in range(3))

# %% tags=["figure"] alt="Error of log Z with its stated standard error against dimension on a logarithmic axis, for four methods side by side. In low dimension all sit at zero. From dimension 5 on integration lies below zero by many of its small bars. At dimension 50 the bridge is far below zero too, importance sampling is off the picture (an arrow says where), and annealed importance sampling is near zero with a wide bar."
fig, ax = plt.subplots(figsize=(8.5, 3.8))
marks = {
    "importance": ("o", ORANGE),
    "integration": ("s", GREEN),
    "AIS": ("X", BLUE),
    "bridge": ("D", RED),
}
for i, (name, row) in enumerate(table.items()):
    marker, color = marks[name]
    where = [d * (1 + 0.07 * (i - 1.5)) for d in DIMS]
    ax.errorbar(
        where,
        [r[0] for r in row],
        yerr=[2 * r[1] for r in row],
        fmt=marker,
        color=color,
        capsize=3,
        label=name,
    )
    for d, (off, _, _) in zip(where, row):
        if off < -8:
            arrow = {"arrowstyle": "->", "color": color}
            ax.annotate(f"{off:.1f}", (d, -8.4), (0.85 * d, -6.6), arrowprops=arrow, ha="right")
ax.axhline(0, color="black", linewidth=0.8)
ax.set(
    xscale="log",
    xlabel="dimension $d$",
    ylabel=r"$\log\hat Z$ minus $\log Z$ (bars: 2 s.e.)",
    ylim=(-8.5, 4),
)
ax.set_xticks(DIMS, [str(d) for d in DIMS])
ax.legend(loc="lower left")

# %% [markdown]
# Read the table against its error bars. AIS is right with an honest bar, as long as many walks count (at $d = 50$ it is two, and to be near zero is luck). Integration is off by many of its own bars, which at $d = 50$ are the smallest of all: with one move at each $\beta$ its
# chains lag behind the path, and no standard error knows that. (The weights of AIS account for the lag; that is what they are for.) Importance sampling and the bridge are the best in low dimension, where both densities overlap; at
# $d = 50$ a handful of points carry everything, and the stated bars have nothing to do with the errors.
#
# ## 8 · What goes wrong, and how you see it
#
# **There is no $Z$.** $E = x/2$ on the line falls for ever. Every *box* has a finite $\log Z$, and every sampler starts happily. A grid that grows tells:

# %% tags=["nbval-check-output"]
# Error: an unconfined energy has no partition function
for name, a in (("x/2", 0.0), ("x/2 + x²/20", 0.05)):
    tilted = [
        quadrature(
            lambda x, a=a: 0.5 * x[..., 0] + a * x[..., 0] ** 2, low=-L, high=L, cells=20_000, dim=1
        ).log_partition
        for L in (5, 10, 20, 40)
    ]
    show(f"E = {name}: log Z on [-L, L], L = 5, 10, 20, 40", tilted, digits=2)
confined = 0.5 * math.log(2 * math.pi / 0.1) + 0.25 / 0.2
show("E = x/2 + x²/20: log Z by completing the square", confined, digits=2)
assert abs(tilted[-1] - confined) < 1e-4

# %% [markdown]
# The first row grows like $L/2$ for ever. A trained network's energy is often of that kind far from the data; a weak quadratic term confines it (`ConfinedEnergy`).
#
# **A base with lighter tails than the target.** $p = \mathcal N(0, 1)$ from $p_0 = \mathcal N(0, s^2)$: the weights have a finite variance only if $s^2 > \tfrac12$. Below that the standard error estimates a number that is infinite. How often does
# the interval of two standard errors contain the truth (it should, 95 times in 100)?

# %%
coverage = {}
for variance in (2.0, 0.6, 0.2):
    u = math.sqrt(variance) * torch.randn(REPEATS // 10, 1_000, generator=seed(30))
    log_w = 0.5 * math.log(2 * math.pi * variance) + u**2 / (2 * variance) - u**2 / 2
    log_zs = torch.logsumexp(log_w, 1) - math.log(1_000)
    v = (log_w - log_zs[:, None]).exp()
    errors_stated = v.std(1) / math.sqrt(1_000)
    inside = (
        ((log_zs - 0.5 * math.log(2 * math.pi)).abs() < 2 * errors_stated).double().mean().item()
    )
    worth = (1_000 / v.square().mean(1)).median().item()
    coverage[variance] = inside
    print(
        f"variance of the base {variance:.1f}: truth inside ± 2 s.e. in {inside:.0%} of runs, median estimate off by {(log_zs.median() - 0.5 * math.log(2 * math.pi)):+.3f}, "
        f"median worth {worth:.0f} of 1000"
    )
assert coverage[2.0] > 0.92 and coverage[0.2] < 0.7

# %% [markdown]
# In the last row a typical run believes in a fair number of effective points and is wrong in the same direction each time. **The effective number sees only the points that were drawn**, as R-hat sees only the modes that were visited (lesson 05). Take the base
# *wider* than the target. A missed mode is the same error:

# %%
both_modes = DoubleWell(1, height=12.0)
one_sided = Gaussian([1.0], 0.05)  # fits the right well only
z = importance_sampling(both_modes, one_sided, N, generator=seed(31))
off = (z.log_partition - both_modes.log_partition()).item()
print(
    f"base on one of two wells: off by {off:.3f} (log 1/2 = {math.log(0.5):.3f}) ± {z.standard_error:.3f}, worth {z.ess:.0f} of {N}"
)
assert abs(off - math.log(0.5)) < 5 * z.standard_error and z.ess > N / 4

# %% [markdown]
# **A kernel that does not keep its target.** AIS is unbiased for kernels that leave each $e^{-E_\beta}$ *exactly* invariant. Unadjusted Langevin does not, and the error does not go away with more walks:

# %%
for name, walk in (("MALA", MALA(step_size=0.02)), ("Langevin", Langevin(step_size=0.02))):
    z = annealed_importance_sampling(
        ten, base_ten, kernel=walk, betas=cubic(200), n=2 * WALKS, generator=seed(32)
    )
    off = (z.log_partition - exact_ten).item()
    print(
        f"{name:9s} log Z off by {off:+.3f} ± {z.standard_error:.3f}, worth {z.ess:.0f} of {2 * WALKS}"
    )
    if name == "MALA":
        assert abs(off) < 5 * z.standard_error
    else:
        assert abs(off) > 5 * z.standard_error

# %% [markdown]
# **Models compared by flattered likelihoods.** Two models of the same ten-dimensional data, one of them the truth, one too narrow by 10 %. The truth wins by the exact $\log Z$. Give the *worse* model a short AIS, the better one a long one, and see:

# %%
data = base_ten.sample(N, generator=seed(33))
narrower = Gaussian(torch.zeros(10), 1.5 * 0.9**2)
broad = Gaussian(torch.zeros(10), 6.0)
STRONG = HMC(step_size=0.6, n_leapfrog=3)


def log_likelihood(model, log_z):
    return (-model(data)).mean().item() - float(log_z)


exactly = [log_likelihood(m, m.log_partition()) for m in (base_ten, narrower)]
estimated = []
for model, steps in ((base_ten, 60), (narrower, 2)):
    z = annealed_importance_sampling(
        model, broad, kernel=STRONG, betas=even(steps), n=40 * 20, generator=seed(34)
    )
    runs_of_20 = torch.logsumexp(z.log_weights.reshape(40, 20), 1) - math.log(20)
    estimated.append(log_likelihood(model, runs_of_20.mean()))
    print(
        f"AIS of {steps:2d} steps, 20 walks: log Z off by {runs_of_20.mean() - model.log_partition():+.3f} ± "
        f"{runs_of_20.std() / math.sqrt(40):.3f} (mean of 40 repetitions)"
    )
print(f"log-likelihood, exact:     truth {exactly[0]:.2f}, too narrow {exactly[1]:.2f}")
print(f"log-likelihood, estimated: truth {estimated[0]:.2f}, too narrow {estimated[1]:.2f}")
assert exactly[0] > exactly[1] and estimated[1] > estimated[0]

# %% [markdown]
# The order is reversed by the quality of the estimate alone. Report $\log Z$ with its error, the effective number, and two lengths of path.
#
# ## 9 · Open exercise: an energy without a closed form
#
# `Himmelblau(scale=0.1)` has four minima of equal depth and no closed form. Estimate its $\log Z$ by at least two methods and compare with `quadrature` on a box that is large enough. How do you know that the box is?


# %% tags=["exercise"]
def three_ways():
    """(grid, AIS, its standard error)."""
    ### BEGIN SOLUTION
    energy = Himmelblau(scale=0.1)
    exact = quadrature(energy, low=-9.0, high=9.0, cells=900).log_partition
    walk = HMC(step_size=0.15, n_leapfrog=3)
    z = annealed_importance_sampling(
        energy, Gaussian(torch.zeros(2), 9.0), kernel=walk, betas=200, n=500, generator=seed(0)
    )
    return exact, z.log_partition, z.standard_error
    ### END SOLUTION


# three_ways()

# %% [markdown] tags=["solution"]
# **One answer.** The grid on $[-9, 9]^2$ does not move any more when the box grows to 12 (the energy is of fourth order far out). AIS from $\mathcal N(0, 9I)$ agrees within its error. Importance sampling from the same base works too, in two dimensions:
# the effective number says so.

# %% [markdown] tags=["quiz"]
# 1. $\hat Z$ is unbiased. Then $\log \hat Z$ is
#    - [ ] unbiased too :: A function of an unbiased estimate is unbiased only if it is linear.
#    - [x] too low on average :: Jensen: the logarithm is concave. The gap is about half the squared standard error when that is small.
#    - [ ] too low in every run :: Single runs can be too high. It is the mean that is low.
# 2. A paper states the log-likelihood of a model by AIS with few steps. The number is likely
#    - [ ] too low, AIS being a lower bound :: A lower bound of $\log Z$. It is subtracted.
#    - [x] too high :: $-E - \log\hat Z$ with $\log\hat Z$ too low flatters the model.
#    - [ ] right, if many walks were averaged :: More walks help slowly when a few carry the weight; longer walks help faster.
# 3. The effective number is 900 of 1000. What follows?
#    - [ ] The base covers the target :: It cannot know about places where the base has no points: a missed mode leaves it high.
#    - [x] The weights that were seen are nearly equal :: No more than that; the base must be known to be wider than the target.
#    - [ ] The standard error is about 0.01, so the answer is right to 0.02 :: If the base covers the target, yes. If it does not, no error bar says so.
# 4. In AIS the kernel mixes badly. The estimate of $Z$
#    - [ ] is biased towards the base :: That is thermodynamic integration, whose chains lag behind.
#    - [x] is unbiased with a larger variance :: Every invariant kernel is allowed; the weights account for what the moves did not reach.
#    - [ ] is biased low :: Its *logarithm* is, by Jensen.
# 5. Two densities hardly overlap. Bridge sampling between them
#    - [ ] still works, being optimal :: Optimal among bridges with these points, and still useless: all points lie where one of the sigmoids is 0.
#    - [ ] needs more points :: Its error falls as $1/\sqrt{nO}$; with an overlap of $10^{-6}$ that is hopeless.
#    - [x] needs densities in between :: Each neighbouring pair then overlaps, and the log ratios add.

# %% [markdown]
# ## Summary
#
# - A grid gives $\log Z$ in up to three dimensions, and shows when there is none.
# - Importance sampling: $\hat Z$ unbiased, $\log\hat Z$ too low by about half the squared error; base wider than the target, or no error bar means anything.
# - Thermodynamic integration: no weights, but chains that lag and a sum for an integral; put steps where the integrand bends.
# - AIS: unbiased for $Z$ with any invariant kernel, low for $\log Z$; the reverse walk gives the other side.
# - Bridge: points of both sides, overlap decides; chain several.
# - State $\log Z$ with its error, the effective number and two path lengths.
#
# **Next:** 07 learns energies by maximum likelihood, where $\log Z$ is only differentiated.
#
# ## References
#
# - J. G. Kirkwood, *Statistical mechanics of fluid mixtures* (1935).
# - C. H. Bennett, *Efficient estimation of free energy differences from Monte Carlo data* (1976).
# - X.-L. Meng, W. H. Wong, *Simulating ratios of normalizing constants via a simple identity: a theoretical exploration* (1996).
# - A. Gelman, X.-L. Meng, *Simulating normalizing constants: from importance sampling to bridge sampling to path sampling* (1998).
# - R. M. Neal, *Annealed importance sampling* (2001).
# - R. Salakhutdinov, I. Murray, *On the quantitative analysis of deep belief networks* (2008).
# - R. B. Grosse, Z. Ghahramani, R. P. Adams, *Sandwiching the marginal likelihood using bidirectional Monte Carlo* (2015).

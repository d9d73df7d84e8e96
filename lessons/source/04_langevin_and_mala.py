# %% [markdown]
# # 04 · Langevin and MALA
#
# **You will**
#
# - write one step of Langevin dynamics and say exactly how wrong its samples are for a given step size;
# - make it exact with an accept-or-reject decision (MALA), and check detailed balance to ten digits;
# - read off the *temperature* at which a paper's pair of step and noise really samples, and measure it from samples alone;
# - tell a chain that has converged from a short run that only looks good;
# - recognise the common bugs by the number that each of them leaves behind.
#
# **Time** 60 minutes. **Needs** lessons 00 and 01: $p(x) = e^{-E(x)}/Z$, temperature, the score.

# %% tags=["setup"]
import math

import matplotlib.pyplot as plt
import torch

from ebmlearn import budget, implied_temperature, value_and_grad
from ebmlearn.checks import lesson04 as q
from ebmlearn.course import setup, show
from ebmlearn.energies import FromFunction, Gaussian, GaussianMixture, Ring
from ebmlearn.samplers import MALA, ClippedGradient, Clamped, Langevin, iterate, sample, trajectory
from ebmlearn.viz import BLUE, ORANGE, RED, chain_path, energy_map, histogram, points
from ebmlearn.widgets import Explorer, ParticleView, choice, slider, switch

setup(seed=0)
N = budget(20_000, smoke=4_000)  # chains where a variance is measured
LONG = budget(20_000, smoke=2_000)  # steps of the longest chain


def seed(n):
    return torch.Generator().manual_seed(n)


# %% [markdown]
# ## 1 · From a slope to a sampler
#
# Follow the slope and you end in a minimum. Add the right amount of noise at every step and you wander instead, spending time in every
# place in proportion to $e^{-E(x)}$. In continuous time this is exact; a computer takes steps of size $\eta$:
#
# $$x_{t+1} = x_t - \eta\,\nabla E(x_t) + \sqrt{2\eta}\;\xi_t, \qquad \xi_t \sim \mathcal N(0, I).$$
#
# This is the **unadjusted Langevin algorithm**, ULA. It needs the gradient of the energy and nothing else: no $Z$, no acceptance, no
# tuning but $\eta$. From scratch, on an energy with two wells:


# %%
def wells(x):
    """Two wells at x_1 = -1.3 and 1.3, the left one lower."""
    return (x[..., 0] ** 2 - 1.69) ** 2 / 1.5 + 0.4 * x[..., 0] + 0.5 * x[..., 1] ** 2


def langevin(energy, x, steps, eta, generator):
    for _ in range(steps):
        x = x.detach().requires_grad_(True)
        (grad,) = torch.autograd.grad(energy(x).sum(), x)
        x = x - eta * grad + math.sqrt(2 * eta) * torch.randn(x.shape, generator=generator)
    return x.detach()


start = torch.zeros(600, 2)
by_hand = langevin(wells, start, 300, 0.05, seed(1))

# %% [markdown]
# With `ebmlearn` the rule is a *kernel*, `Langevin(step_size=...)`, and `sample` runs it. The same seed gives the same points:

# %% tags=["nbval-check-output"]
with_ebmlearn = sample(wells, Langevin(step_size=0.05), start, 300, generator=seed(1))
torch.testing.assert_close(by_hand, with_ebmlearn, rtol=1e-3, atol=1e-3)
show("from scratch and ebmlearn agree", True)

# %% tags=["figure"] alt="Three panels over the same energy with two wells side by side. Left: without noise one path runs from its start, a square, down into the nearer right well and stops there, at a star, although the left well is lower. Middle: with noise a path from the same start wanders about both wells. Right: 600 chains after 300 steps fill both wells, the lower left one with more points."
fig, axes = plt.subplots(1, 3, figsize=(11.0, 3.4), sharey=True)
one = torch.tensor([[0.3, 2.0]])
descent = trajectory(wells, Langevin(step_size=0.05, noise=0.0), one, 60)
walk = trajectory(wells, Langevin(step_size=0.05), one, 250, generator=seed(4))
for ax in axes:
    energy_map(wells, ax, colorbar=ax is axes[2])
chain_path(torch.cat([one, descent.x[:, 0]]), axes[0])
chain_path(torch.cat([one, walk.x[:, 0]]), axes[1])
points(with_ebmlearn, axes[2])
for ax, title in zip(axes, ("no noise: descent", r"noise $\sqrt{2\eta}$", "600 chains, 300 steps")):
    ax.set_title(title)

# %% [markdown]
# ## 2 · How wrong is it? An exact answer
#
# Take the one energy where everything can be worked out, $E(x) = x^2/2$, so $\nabla E = x$ and the target is $\mathcal N(0, 1)$. One step is
#
# $$x' = (1 - \eta)\,x + \sqrt{2\eta}\,\xi .$$
#
# Once the chain has settled, $x$ and $x'$ have the same variance $v$, so $v = (1-\eta)^2 v + 2\eta$, and
#
# $$\boxed{\;v = \frac{1}{1 - \eta/2}\;}$$
#
# Too wide, by about $\eta/2$, for ever: more steps do not help, only a smaller $\eta$ does. At $\eta \ge 2$ nothing settles at all. Now
# the code has to show it. A variance of $n$ independent normal numbers has the standard error $v\sqrt{2/n}$; five of them is our band.

# %%
# Error: Langevin is biased however long it runs
normal = Gaussian(torch.zeros(1))
x0 = torch.randn(N, 1, generator=seed(1))
for eta in (0.05, 0.5, 1.0):
    x = sample(normal, Langevin(step_size=eta), x0, 200, generator=seed(2))
    found, exact = x.var().item(), 1 / (1 - eta / 2)
    standard_error = exact * math.sqrt(2 / N)
    assert abs(found - exact) < 5 * standard_error
    print(f"eta {eta:4.2f}: variance {found:.3f} ± {standard_error:.3f}, exact {exact:.3f}")

# %% [markdown]
# ## 3 · MALA: pay for exactness with rejections
#
# The cure is seventy years old (Metropolis et al. 1953; Hastings 1970 for proposals that are not symmetric, as here). Treat the Langevin step as a *proposal* $y$ drawn from
# $q(y \mid x) = \mathcal N(y;\, x - \eta\nabla E(x),\, 2\eta I)$ and accept it with probability $\min(1, e^{r})$,
#
# $$r = \underbrace{E(x) - E(y)}_{\log p(y)/p(x)} + \log q(x \mid y) - \log q(y \mid x), \qquad
# \log q(y \mid x) = -\frac{|y - x + \eta\nabla E(x)|^2}{4\eta} + \text{const};$$
#
# otherwise stay at $x$, and count $x$ once more. Then the flow of probability from $x$ to $y$ equals the flow back (**detailed balance**), and
# $e^{-E}/Z$ is exactly stationary at *every* step size. $Z$ cancels. On $\mathcal N(0,1)$ the whole expression collapses to
# $r = -\tfrac{\eta}{4}(y^2 - x^2)$, a formula worth doing by hand once.
#
# From scratch (`value_and_grad(energy, x)` gives the energies and their gradients), and with the kernel `MALA`; both draw first the proposal, then the decision, so one seed gives one chain:


# %% tags=["nbval-check-output"]
def log_q(to, start, grad, eta):
    return -((to - start + eta * grad) ** 2).sum(-1) / (4 * eta)


def mala(energy, x, steps, eta, generator):
    accepted = 0.0
    for _ in range(steps):
        e, g = value_and_grad(energy, x)
        y = x - eta * g + math.sqrt(2 * eta) * torch.randn(x.shape, generator=generator)
        ey, gy = value_and_grad(energy, y)
        r = e - ey + log_q(x, y, gy, eta) - log_q(y, x, g, eta)
        yes = torch.rand(r.shape, generator=generator) < r.exp()
        x = torch.where(yes[..., None], y, x)
        accepted += yes.float().mean().item() / steps
    return x, accepted


by_hand, acceptance = mala(wells, start, 50, 0.1, seed(1))
with_ebmlearn = sample(wells, MALA(step_size=0.1), start, 50, generator=seed(1))
same = (by_hand - with_ebmlearn).abs().amax(-1) < 1e-3
assert same.float().mean() > 0.99  # a tie broken by rounding may part a chain or two
show("from scratch and ebmlearn agree", True)

# %% [markdown]
# **Exact check: detailed balance.** $p(x)\,q(y|x)\min(1, e^{r(x,y)})$ must be symmetric in $x$ and $y$. In double precision, with
# `torch.distributions` as an independent judge of $q$:

# %% tags=["nbval-check-output"]
a, b = torch.randn(2, 500, 2, dtype=torch.float64, generator=seed(3))
eta = 0.2
(ea, ga), (eb, gb) = value_and_grad(wells, a), value_and_grad(wells, b)
r = ea - eb + log_q(a, b, gb, eta) - log_q(b, a, ga, eta)


def log_flow(e, start, grad, to, r):
    proposal = torch.distributions.Normal(start - eta * grad, math.sqrt(2 * eta))
    return -e + proposal.log_prob(to).sum(-1) + r.clamp(max=0)


difference = (log_flow(ea, a, ga, b, r) - log_flow(eb, b, gb, a, -r)).abs().max()
assert difference < 1e-10
show("flows there and back agree to ten digits", bool(difference < 1e-10))

# %% tags=["figure"] alt="Variance of the samples against the step size for a standard normal target. The dots of the unadjusted chain follow the curve 1/(1 - eta/2), which climbs from 1 to about 6.7 at step 1.7. The crosses of MALA stay on the line at 1 for all step sizes."
fig, ax = plt.subplots(figsize=(7.0, 3.6))
etas = (0.1, 0.3, 0.6, 1.0, 1.4, 1.7)
curve = torch.linspace(0.01, 1.75, 200)
ax.plot(curve, 1 / (1 - curve / 2), color=BLUE, label=r"exact: $1/(1-\eta/2)$")
ax.axhline(1, color="black", linestyle="--", linewidth=1, label="target: 1")
for kernel, color, marker in ((Langevin, BLUE, "o"), (MALA, ORANGE, "X")):
    wide = 2 * torch.randn(N // 2, 1, generator=seed(5))
    found = [
        sample(normal, kernel(step_size=eta), wide, 150, generator=seed(6)).var() for eta in etas
    ]
    ax.plot(
        etas, found, marker, color=color, markersize=8, label=f"{kernel.__name__}, {N // 2} chains"
    )
ax.set(xlabel=r"step size $\eta$", ylabel="variance of the samples")
ax.legend()

# %% [markdown]
# Exact does not mean good. With a tiny step MALA accepts everything and goes nowhere; with a huge one it proposes boldly and stays where it
# is. What counts is how far a chain really moves, the mean squared jump. In high dimension the best step is where a bit more than half
# of the proposals are accepted: 0.574 in the limit (Roberts, Rosenthal 1998). In 20 dimensions:

# %% tags=["figure"] alt="Two curves against the step size on a logarithmic axis, for MALA on a normal in 20 dimensions. Acceptance falls from 1 to near 0. The mean squared jump rises, peaks where acceptance is a little over one half, and falls again."
twenty = Gaussian(torch.zeros(20))
etas = torch.logspace(-1.5, 0.4, 14).tolist()
jumps, accepts = [], []
for eta in etas:
    x0 = torch.randn(N // 20, 20, generator=seed(7))
    run = trajectory(twenty, MALA(step_size=eta), x0, 25, generator=seed(8))
    jumps.append((run.x[1:] - run.x[:-1]).square().sum(-1).mean().item())
    accepts.append(run.accept_prob.mean().item())
best = max(range(len(etas)), key=jumps.__getitem__)
fig, ax = plt.subplots(figsize=(7.0, 3.4))
ax.plot(etas, accepts, "o-", color=BLUE)
ax.plot(etas, [j / max(jumps) for j in jumps], "s--", color=ORANGE)
ax.text(etas[0], 0.88, "acceptance")
ax.text(etas[0], 0.38, "mean squared jump\n(1 at its best)")
ax.axvline(etas[best], color="black", linewidth=0.8, linestyle=":")
ax.set(xscale="log", xlabel=r"step size $\eta$", ylim=(0, 1.05))
show("acceptance at the best step", accepts[best], digits=2)
assert 0.4 < accepts[best] < 0.8

# %% [markdown]
# ## 4 · Effective temperature
#
# What does a chain sample whose noise is not $\sqrt{2\eta}$ but some other $\sigma$? Write the step with $T = \sigma^2/2\eta$:
#
# $$x - \eta\nabla E + \sigma\xi \;=\; x - (\eta T)\,\nabla\!\left(\frac{E}{T}\right) + \sqrt{2\,(\eta T)}\;\xi .$$
#
# A plain Langevin step of size $\eta T$ on the energy $E/T$. So it samples, up to the bias of its step, $e^{-E/T}$, at the **effective temperature** $T = \sigma^2/2\eta$. Published
# settings:

# %% tags=["nbval-check-output"]
settings = {
    "Du, Mordatch 2019 (IGEBM)": (10.0, 0.005),
    "Grathwohl et al. 2020 (JEM)": (1.0, 0.01),
    "Du et al. 2021 (improved CD)": (100.0, 0.001),
    "Langevin, step 0.05": (0.05, math.sqrt(0.1)),
}
for paper, (step_size, noise) in settings.items():
    show(f"{paper}: temperature", f"{implied_temperature(step_size, noise):.3g}")

# %% [markdown]
# The first three are descent with a tremor: they find low-energy points, they do not sample $e^{-E}$. (IGEBM also
# clips gradients, section 8.) That may be what one wants, since the energy is then *trained* for that sampler. But $e^{-E}/Z$ is then not the model's
# distribution, and its log-likelihood says little about the samples.
#
# Two ways to cool to $\beta = 1/T = 4$ and one that does nothing, on $\mathcal N(0,1)$, where the answer should be a variance near $1/4$:

# %%
# Error: step and noise scaled together leave the temperature
eta, beta = 0.0125, 4.0
cold_noise = math.sqrt(2 * eta / beta)
x0 = torch.randn(N, 1, generator=seed(9))
ways = {
    "scale the energy by beta": (beta * normal, Langevin(step_size=eta)),
    "scale the noise by 1/sqrt(beta)": (normal, Langevin(step_size=eta, noise=cold_noise)),
    "scale step, noise² by 1/beta": (normal, Langevin(step_size=eta / beta, noise=cold_noise)),
}
exact = [1 / (beta * (1 - beta * eta / 2)), 1 / (beta * (1 - eta / 2)), 1 / (1 - eta / beta / 2)]
for (way, (energy, kernel)), variance in zip(ways.items(), exact):
    found = sample(energy, kernel, x0, 400, generator=seed(10)).var().item()
    assert abs(found - variance) < 5 * variance * math.sqrt(2 / N)
    print(f"{way:32s} variance {found:.3f}, exact {variance:.3f}")

# %% [markdown]
# ### A thermometer that needs no $Z$
#
# Integrate by parts: for any energy in $d$ dimensions with $e^{-E/T}$ vanishing far out,
#
# $$\mathbb E\big[\,x \cdot \nabla E(x)\,\big] = \frac{\int x\cdot\nabla E\; e^{-E/T}dx}{\int e^{-E/T}dx} = T\,d .$$
#
# So samples and gradients alone tell the temperature, whatever the landscape. (A wrong *share* of the wells it hardly notices: it is
# a thermometer, no proof of convergence.) Try it on the two wells:


# %%
def thermometer(energy, x):
    """Temperature of samples [N, d], and its standard error."""
    values = (x * value_and_grad(energy, x)[1]).sum(-1) / x.shape[-1]
    return values.mean().item(), (values.std() / len(x) ** 0.5).item()


for temperature in (0.25, 1.0, 3.0):
    kernel = Langevin.at_temperature(step_size=0.01, temperature=temperature)
    x = sample(wells, kernel, torch.randn(N // 5, 2, generator=seed(11)), 400, generator=seed(12))
    found, standard_error = thermometer(wells, x)
    print(f"set to {temperature:4.2f}: measured {found:.3f} ± {standard_error:.3f}")
    band = 5 * standard_error + 0.05 * temperature  # 5 %: the bias of a finite step
    assert abs(found - temperature) < band

# %% [markdown]
# ## 5 · See it
#
# A still picture first: what step and noise do to samples from two unequal bumps (weights 0.7 and 0.3). The function that draws it is the
# one that the sliders call.

# %%
bumps = GaussianMixture([[-2.0], [2.0]], weights=[0.7, 0.3])
CHAINS = budget(3_000, smoke=1_000)


def explore(ax, step_size=0.1, noise=1.0, steps=300, correct=False):
    """`noise` in units of sqrt(2 eta), so that its square is the temperature."""
    temperature = noise**2
    x0 = torch.randn(CHAINS, 1, generator=seed(13))
    energy, kernel = bumps, Langevin.at_temperature(step_size=step_size, temperature=temperature)
    if correct:  # the same proposal, accepted or rejected for the energy E / T
        energy, kernel = bumps / temperature, MALA(step_size=step_size * temperature)
    x = sample(energy, kernel, x0, steps, generator=seed(14))
    histogram(x, ax, energy=bumps, extent=(-7.0, 7.0), bins=70)
    if temperature != 1:
        u = torch.linspace(-7, 7, 500)
        p = torch.exp(-bumps(u[:, None]) / temperature)
        ax.plot(u, p / (p.sum() * (u[1] - u[0])), "--", color=RED, label="at temperature $T$")
    ax.set_ylim(0, 0.8)
    ax.legend(loc="upper right")
    left = (x < 0).float().mean().item()
    name = "MALA" if correct else "ULA"
    setting = f"{name}, step {step_size:.3g}, temperature {temperature:.2f}, {steps} steps"
    return f"{setting}: share of chains on the left {left:.2f}; at temperature 1 it is 0.69."


# %% tags=["figure"] alt="Four histograms of samples against the exact two-bump density. A good setting agrees with it. With step 1.5 the bumps are far too wide. With half the noise they are too narrow, and their shares are neither those of temperature 1 nor those of their own temperature. After 20 steps the right bump still has too many samples."
fig, axes = plt.subplots(1, 4, figsize=(13.0, 3.2), sharey=True)
cases = {
    "good": {"step_size": 0.1, "steps": 1_000},
    "step too large": {"step_size": 1.5},
    "noise halved": {"noise": 0.5},
    "only 20 steps": {"steps": 20},
}
for ax, (title, case) in zip(axes, cases.items()):
    explore(ax, **case)
    ax.set_title(title)
    if ax is not axes[0]:
        ax.set_ylabel("")
    if title in ("step too large", "only 20 steps"):
        ax.get_legend().remove()

# %% [markdown]
# Move one slider at a time with the arrow keys. Which of the three faults does the Metropolis correction repair? Which not?

# %% tags=["widget"]
Explorer(
    explore,
    {
        "step_size": slider(0.1, 0.01, 1.9, label="step size", log=True),
        "noise": slider(1.0, 0.2, 2.0, label="noise / sqrt(2 eta)", step=0.1),
        "steps": slider(300, 20, 1_000, label="steps", step=20),
        "correct": switch(False, label="accept or reject (MALA)"),
    },
    figsize=(7.5, 3.6),
)

# %% [markdown]
# The same in the plane: four stills, then live. Press *Start*, then switch the energy, raise the step until ULA leaves the picture, and try MALA at that step.

# %% tags=["figure"] alt="Four maps of the two-well energy with 300 chains after 1, 10, 50 and 400 steps: they start at the top, run down into both wells, and then spread in them, more of them in the lower left one."
above = torch.tensor([0.0, 2.5]) + 0.2 * torch.randn(300, 2, generator=seed(15))
fig, axes = plt.subplots(1, 4, figsize=(13.0, 3.3), sharey=True)
shown = iter(axes)
chain = iterate(wells, Langevin(step_size=0.03), above, generator=seed(16))
for step, (state, _) in zip(range(1, 401), chain):
    if step in (1, 10, 50, 400):
        ax = next(shown)
        energy_map(wells, ax, colorbar=False)
        points(state.x, ax)
        ax.set_title(f"step {step}")

# %% tags=["widget"]
ParticleView(
    {"two wells": wells, "ring": Ring(radius=2.0, width=0.3), "bowl": Gaussian(torch.zeros(2))},
    lambda method, step_size, noise: (
        MALA(step_size=step_size)
        if method == "MALA"
        else Langevin(step_size=step_size, noise=noise * math.sqrt(2 * step_size))
    ),
    above,
    controls={
        "method": choice(["ULA", "MALA"], label="method"),
        "step_size": slider(0.03, 0.001, 1.0, label="step size", log=True),
        "noise": slider(1.0, 0.0, 2.0, label="noise / sqrt(2 eta)", step=0.1, help="ULA only"),
    },
)

# %% [markdown]
# ## 6 · Short runs look better than they are
#
# Two bumps at $\pm 3$ with weights 0.8 and 0.2. All chains start from $\mathcal N(0, 1)$. Within twenty steps every chain sits in a bump and the
# picture looks finished. But the *shares* are those of the start: a chain falls to the side of the barrier on which it began. The truth
# needs chains to cross, and that takes a hundred times longer.

# %%
pair = GaussianMixture([[-3.0], [3.0]], weights=[0.8, 0.2])
chains = torch.randn(2_000, 1, generator=seed(17))
between = torch.linspace(-3, 3, 601)
top = between[pair(between[:, None]).argmax()]
show("top of the barrier", top, digits=2)
show("share of the starts left of it", (chains < top).float().mean())
looks = [t for t in (20, 200, 2_000, 20_000) if t <= LONG]
shares, steps_seen = [], []
chain = iterate(pair, Langevin(step_size=0.1), chains, generator=seed(18))
for step, (state, _) in zip(range(1, LONG + 1), chain):
    if step % 10 == 0:
        steps_seen.append(step)
        shares.append((state.x < 0).float().mean().item())
    if step in looks:
        print(f"after {step:6d} steps: left share {shares[-1]:.3f}")
exact_share = 0.8 * 0.99865 + 0.2 * 0.00135  # each bump has 0.135 % of its mass beyond 0
if LONG == 20_000:
    assert abs(shares[-1] - exact_share) < 5 * math.sqrt(0.8 * 0.2 / 2_000)
assert abs(shares[1] - exact_share) > 5 * math.sqrt(0.8 * 0.2 / 2_000)

# %% tags=["figure"] alt="Share of chains in the left bump against the number of steps on a logarithmic axis. It stands near 0.6 for the first hundred steps and reaches the exact 0.8 only between one and two thousand."
fig, ax = plt.subplots(figsize=(7.0, 3.2))
ax.plot(steps_seen, shares, color=BLUE, label="2,000 chains")
ax.axhline(exact_share, color="black", linestyle="--", linewidth=1, label="exact share")
ax.set(xscale="log", xlabel="step", ylabel="share of chains left of 0", ylim=(0.45, 0.9))
ax.legend(loc="lower right")

# %% [markdown]
# The gradient cannot help. It hardly knows the weights: inside a bump the score is that of this bump alone. In numbers:

# %% tags=["nbval-check-output"]
# Error: scores do not know the weights of modes
inside = torch.tensor([[-3.0]], dtype=torch.float64)
equal = GaussianMixture(torch.tensor([[-3.0], [3.0]], dtype=torch.float64), weights=[0.5, 0.5])
uneven = GaussianMixture(torch.tensor([[-3.0], [3.0]], dtype=torch.float64), weights=[0.8, 0.2])
change = value_and_grad(uneven, inside)[1] - value_and_grad(equal, inside)[1]
show("change of the gradient at -3, weights .5/.5 to .8/.2", f"{change.abs().item():.1e}")

# %% [markdown]
# So never judge a chain by one picture. Run chains from *different* starts and see whether they agree (R-hat, lesson 05), look at a quantity
# that needs crossings, and double the length until it stops moving.
#
# ## 7 · High dimension: the mode is not where the samples are
#
# Descent finds the most likely point. In many dimensions no sample ever looks like it: on $\mathcal N(0, I_d)$ the mode has energy 0, but $E = |x|^2/2$ is a sum of $d$
# terms, so samples have $E = d/2 \pm \sqrt{d/2}$. They live on a thin shell far from the mode, the **typical set**.

# %%
for d in (2, 100, 1_000):
    energy = Gaussian(torch.zeros(d))
    x = energy.sample(500, generator=seed(19))
    x = sample(energy, MALA(step_size=0.05), x, 20, generator=seed(20))
    accept = trajectory(energy, MALA(step_size=0.3), x, 10, generator=seed(21)).accept_prob.mean()
    e = energy(x)
    assert abs(e.mean() - d / 2) < 5 * math.sqrt(d / 2 / len(x))
    print(
        f"d {d:5d}: energy {e.mean():6.1f} ± {e.std():4.1f}, lowest of 500 {e.min():6.1f}, at the mode 0; "
        f"MALA with step 0.3 accepts {accept:.2f}"
    )

# %% [markdown]
# The last column is the price of dimension: at a fixed step acceptance falls, and the step of MALA must shrink as $d^{-1/3}$ (Roberts, Rosenthal 1998).
#
# ## 8 · What goes wrong, and how you see it
#
# **Noise of the wrong size.** A chain on $\mathcal N(0,1)$ that multiplies by $1 - a$ and adds noise $b$ has the variance $b^2/(a(2-a))$. Each
# bug has its own number; the right one is the first.

# %%
# Error: Langevin noise of the wrong size
eta = 0.05
bugs = {
    "sqrt(2 eta), right": (eta, math.sqrt(2 * eta)),
    "sqrt(eta)": (eta, math.sqrt(eta)),
    "eta": (eta, eta),
    "half step and sqrt(eta), also right": (eta / 2, math.sqrt(eta)),
}
for bug, (a, b) in bugs.items():
    x = torch.randn(N, generator=seed(22))
    noise = seed(23)
    for _ in range(400):
        x = (1 - a) * x + b * torch.randn(N, generator=noise)
    exact = b**2 / (a * (2 - a))
    assert abs(x.var().item() - exact) < 5 * exact * math.sqrt(2 / N)
    print(f"noise {bug:36s} variance {x.var().item():.4f}, exact {exact:.4f}")

# %% [markdown]
# The last line is a *convention*, $x - \tfrac{\eta}{2}\nabla E + \sqrt\eta\,\xi$, seen in many papers. It is right; mixing halves of two
# conventions is the bug.
#
# **A wrong acceptance ratio.** The residual of the proposal is divided by $4\eta$, twice the *variance* $2\eta$. Someone who takes $\eta$ for a standard
# deviation writes $2\eta^2$. On $\mathcal N(0,1)$ that makes the ratio $-(1 - 1/\eta)(y^2 - x^2)$: for $\eta < 1$ moves *outwards* are favoured. And someone who
# sums over the whole batch makes one decision for all chains.


# %%
def metropolis(log_ratio, eta, steps=400, n=2_000):
    x, g = torch.randn(n, generator=seed(24)), seed(25)
    accepted = 0.0
    for _ in range(steps):
        y = (1 - eta) * x + math.sqrt(2 * eta) * torch.randn(n, generator=g)
        yes = torch.rand(n, generator=g) < log_ratio(x, y, eta).exp()
        x = torch.where(yes, y, x)
        accepted += yes.float().mean().item() / steps
    return x.var().item(), accepted


ratios = {
    "right": lambda x, y, eta: -(eta / 4) * (y**2 - x**2),
    "residual over 2 eta²": lambda x, y, eta: -(1 - 1 / eta) * (y**2 - x**2),
    "no proposal density": lambda x, y, eta: -0.5 * (y**2 - x**2),
    "summed over the batch": lambda x, y, eta: (-(eta / 4) * (y**2 - x**2)).sum(),
}
seen = {name: metropolis(ratio, 0.5) for name, ratio in ratios.items()}
for name, (variance, accepted) in seen.items():
    print(f"{name:24s} variance {variance:6.2f}, accepted {accepted:.2f}")
assert abs(seen["right"][0] - 1) < 5 * math.sqrt(2 / 2_000)
assert seen["residual over 2 eta²"][0] > 5 and seen["summed over the batch"][1] < 0.05

# %% [markdown]
# The second explodes slowly (longer runs give larger numbers), the third is quietly too narrow, the fourth stands still: its variance is
# that of the start. **An acceptance rate near 0 is a bug report**, or a step far too large (near 1: too small); so is a variance
# that depends on the step size.
#
# **Clipped gradients.** Clipping the gradient to norm $c$ is gradient descent's seat belt. For ULA it changes the target: the clipped gradient
# of $x^2/2$ is that of the **Huber** function, quadratic inside $|x| < c$ and linear outside, so the samples have exponential tails (the step's own bias adds 2 % to Huber's variance). Inside MALA
# the clip is harmless, because it only changes the proposal, and the decision repairs whatever the proposal does.

# %%
# Error: clipping the gradient changes the target
c = 1.0
clipped = ClippedGradient(normal, max_norm=c)
u = torch.linspace(-40, 40, 400_001, dtype=torch.float64)
huber = torch.where(u.abs() < c, u**2 / 2, c * u.abs() - c**2 / 2)
huber_variance = ((u**2 * torch.exp(-huber)).sum() / torch.exp(-huber).sum()).item()
x0 = 1.5 * torch.randn(N, 1, generator=seed(26))
ula = sample(clipped, Langevin(step_size=0.05), x0, 500, generator=seed(27))
exact = sample(clipped, MALA(step_size=0.3), x0, 200, generator=seed(27))
print(f"clipped, ULA:  variance {ula.var():.3f}; Huber's {huber_variance:.3f}, the normal's 1")
print(f"clipped, MALA: variance {exact.var():.3f}")
band = 5 * (ula**2).std() / math.sqrt(N) + 0.06 * huber_variance  # 6 %: the step's bias
assert abs(ula.var() - huber_variance) < band and ula.var() > 1.5
assert abs(exact.var() - 1) < 5 * math.sqrt(2 / N)

# %% tags=["figure"] alt="Two histograms. Left: samples of unadjusted Langevin with gradients clipped at 1 follow the Huber density with its exponential tails and are wider than the standard normal. Right: samples of MALA with the same clipped gradients follow the standard normal."
p = torch.exp(-huber)
fig, axes = plt.subplots(1, 2, figsize=(9.5, 3.3), sharey=True)
for ax, x, title in ((axes[0], ula, "ULA, clipped"), (axes[1], exact, "MALA, clipped")):
    histogram(x, ax, energy=normal, extent=(-6.0, 6.0), bins=60)
    ax.plot(u, p / (p.sum() * (u[1] - u[0])), "--", color=RED, label="Huber")
    ax.set(title=title, xlim=(-6, 6))
axes[0].legend()

# %% [markdown]
# **Clamped pixels.** Images live in $[0, 1]$, and most code clamps them there after each step. Then the faces of the box collect probability
# that the target does not have:

# %%
box = Clamped(kernel=Langevin(step_size=0.05), low=-1.0, high=1.0)
x = sample(normal, box, torch.zeros(N, 1), 200, generator=seed(28))
on_a_face = (x.abs() == 1).float().mean().item()
show("share of samples exactly on a face of [-1, 1]; a density puts 0 there", on_a_face, digits=2)
assert on_a_face > 0.05

# %% [markdown]
# ## 9 · Exercises
#
# ### Exercise 1: one step of ULA
# Return $x - \eta\nabla E(x) + \sqrt{2\eta}\,\xi$ for *any* energy and points of any shape, e.g. `x[*batch, 2]`. Use autograd. The input stays
# as it is, and the result should carry no graph. Stuck? `q.ula_step.hint()`, then `q.ula_step.hint(2)`, then `q.ula_step.solution()`.


# %% tags=["exercise"]
def ula_step(energy, x, step_size):
    """Points after one unadjusted Langevin step."""
    ### BEGIN SOLUTION
    x = x.detach().requires_grad_(True)
    (grad,) = torch.autograd.grad(energy(x).sum(), x)
    return x.detach() - step_size * grad + math.sqrt(2 * step_size) * torch.randn_like(x)
    ### END SOLUTION


# %% tags=["check"]
q.ula_step.check(ula_step)

# %% [markdown]
# ### Exercise 2: MALA's log ratio
# Return $r$ of section 3 for moves $x \to y$, where both are `[*batch, d]`: one number for each chain. `value_and_grad(energy, x)` gives
# energies and gradients.


# %% tags=["exercise"]
def mala_log_ratio(energy, x, y, step_size):
    """log of the acceptance ratio, [*batch]."""
    ### BEGIN SOLUTION
    (ex, gx), (ey, gy) = value_and_grad(energy, x), value_and_grad(energy, y)
    there = -((y - x + step_size * gx) ** 2).sum(-1) / (4 * step_size)
    back = -((x - y + step_size * gy) ** 2).sum(-1) / (4 * step_size)
    return ex - ey + back - there
    ### END SOLUTION


# %% tags=["check"]
q.mala_log_ratio.check(mala_log_ratio)

# %% [markdown]
# ### Exercise 3: what a setting means
# Return the temperature at which the chain $x - \eta\nabla E + \sigma\xi$ samples.


# %% tags=["exercise"]
def temperature_of(step_size, noise):
    """The effective temperature of a pair of step and noise."""
    ### BEGIN SOLUTION
    return noise**2 / (2 * step_size)
    ### END SOLUTION


# %% tags=["check"]
q.temperature_of.check(temperature_of)

# %% [markdown]
# ### Open exercise: how long does a crossing take?
# Take `FromFunction(lambda x: h * (x[..., 0]**2 - 1)**2 + x[..., 1]**2 / 2)` with the barrier `h` from 1 to 6. Start 1,000 chains in the left well and
# count the steps until half of them have been in the right one. Plot the logarithm of that number against `h`. What line do you see, and
# what does halving the temperature do to it? There is no check: say what you expect first.


# %% tags=["exercise"]
def steps_to_cross(h, temperature=1.0, n=300, limit=20_000):
    """Steps until half of n chains, started at (-1, 0), have been right of 0.5."""
    ### BEGIN SOLUTION
    energy = FromFunction(lambda x: h * (x[..., 0] ** 2 - 1) ** 2 + x[..., 1] ** 2 / 2)
    kernel = Langevin.at_temperature(step_size=0.01, temperature=temperature)
    crossed = torch.zeros(n, dtype=torch.bool)
    x = torch.tensor([[-1.0, 0.0]]).expand(n, 2)
    for step, (state, _) in enumerate(iterate(energy, kernel, x, generator=seed(0)), 1):
        crossed |= state.x[:, 0] > 0.5
        if crossed.float().mean() >= 0.5 or step == limit:
            return step
    ### END SOLUTION


# [steps_to_cross(h) for h in (1, 2, 3)]

# %% [markdown] tags=["solution"]
# **One answer.** From $h = 3$ or so the points lie close to a straight line: the time grows like $e^{h/T}$ (Arrhenius, Kramers), times factors from the
# curvatures of well and barrier, which matter while the barrier is low. Halving the temperature about doubles the slope. That exponential
# is why short chains stay in the bump where they started, and why lesson 05 heats the landscape (tempering) instead of waiting.

# %% [markdown] tags=["quiz"]
# 1. ULA on $\mathcal N(0,1)$ with $\eta = 0.5$ gives the variance 1.33. You run ten times as many steps. What do you get?
#    - [ ] A variance nearer to 1 :: Tempting: more samples, less error. That shrinks the *statistical* error; the bias is a property of the chain's own stationary law.
#    - [x] 1.33 again, with a smaller error bar :: The chain converges, to the wrong place: $1/(1 - \eta/2)$.
#    - [ ] It diverges :: Only for $\eta \ge 2$ on this energy.
# 2. A paper uses step 1 and noise 0.01. At which temperature does it sample?
#    - [ ] 0.01, the noise :: The noise alone says nothing; the same noise with a smaller step is hotter.
#    - [x] $5 \cdot 10^{-5}$ :: $T = \sigma^2/2\eta = 10^{-4}/2$.
#    - [ ] 1, since it is called Langevin :: Only if $\sigma = \sqrt{2\eta} \approx 1.41$.
# 3. MALA rejects a proposal. What is the next state of the chain?
#    - [x] The old point, counted once more :: Repeats are how the chain gives likely points their weight.
#    - [ ] A fresh proposal, until one is accepted :: Tempting, it looks wasteful to stay. But then the stationary law is no longer $e^{-E}/Z$.
#    - [ ] Nothing is recorded for this step :: Dropping repeats thins exactly the points that deserve more weight.
# 4. After 50 steps your samples look sharp and are in all modes. What do you know?
#    - [ ] The chain has converged :: Being *in* every mode is easy if the starts are spread out. The shares still are those of the start.
#    - [ ] The energy has learned the data's distribution :: A short run can look right under an energy whose own $e^{-E}/Z$ is far from the data.
#    - [x] That 50 steps lead to low energy from these starts :: Shares need crossings, which take exponentially longer.
# 5. You clip gradients at norm 1 in ULA because training explodes. What do you sample now?
#    - [ ] $e^{-E}/Z$, only more slowly :: True for a smaller step, which shrinks force and noise together. A clip weakens the force alone, and only where it is large.
#    - [x] Another law, with heavier, exponential tails :: The clipped force belongs to another energy: Huber's, for a quadratic.
#    - [ ] The mode, since steps are smaller :: The noise is not clipped, so the chain spreads *more*.

# %% [markdown]
# ## Summary
#
# - ULA: $x - \eta\nabla E + \sqrt{2\eta}\,\xi$. On $\mathcal N(0,1)$ its variance is $1/(1-\eta/2)$: biased at any step, unstable from 2.
# - MALA accepts with $\min(1, e^r)$ and is exact at any step; the best step accepts a bit more than half.
# - Any step and noise sample at $T = \sigma^2/2\eta$; $\mathbb E[x\cdot\nabla E]/d$ measures it from samples.
# - Short chains show where low energy is, not how much of it. Gradients do not know the weights of modes.
# - In high dimension samples live on a shell; the mode is not one of them.
# - Clipping and clamping change what ULA samples; MALA repairs a clipped proposal.
#
# **Next:** 05 makes chains cross: momentum (HMC), tempering, and diagnostics that compare chains.
#
# ## References
#
# - N. Metropolis, A. Rosenbluth, M. Rosenbluth, A. Teller, E. Teller, *Equation of state calculations by fast computing machines* (1953).
# - W. K. Hastings, *Monte Carlo sampling methods using Markov chains and their applications* (1970).
# - G. O. Roberts, R. L. Tweedie, *Exponential convergence of Langevin distributions and their discrete approximations* (1996).
# - G. O. Roberts, J. S. Rosenthal, *Optimal scaling of discrete approximations to Langevin diffusions* (1998).
# - Y. Du, I. Mordatch, *Implicit generation and modeling with energy-based models* (2019).
# - W. Grathwohl et al., *Your classifier is secretly an energy based model and you should treat it like one* (2020).
# - E. Nijkamp, M. Hill, T. Han, S.-C. Zhu, Y. N. Wu, *On the anatomy of MCMC-based maximum likelihood learning of energy-based models* (2020).
# - Y. Du, S. Li, J. Tenenbaum, I. Mordatch, *Improved contrastive divergence training of energy-based models* (2021).

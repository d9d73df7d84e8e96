# %% [markdown]
# # 05 · Momentum, heat and diagnostics
#
# **You will**
#
# - write the leapfrog integrator and Hamiltonian Monte Carlo, and say what each is exact about;
# - compare samplers by effective sample size per gradient, and see one number that deceives;
# - catch chains that never mix with split R-hat, and see honestly what R-hat cannot catch;
# - cross between far modes by parallel tempering, where annealing freezes;
# - read the age of the chains in a replay buffer, and predict from it how wrong they are.
#
# **Time** 75 minutes. **Needs** lesson 04: Langevin, MALA, why short runs keep the shares of their start.

# %% tags=["setup"]
import math

import matplotlib.pyplot as plt
import torch

from ebmlearn import budget, value_and_grad
from ebmlearn.checks import lesson05 as q
from ebmlearn.course import setup, show
from ebmlearn.energies import DoubleWell, Gaussian, GaussianMixture
from ebmlearn.metrics import ess, split_rhat
from ebmlearn.samplers import (
    HMC,
    MALA,
    Langevin,
    ParallelTempering,
    ReplayBuffer,
    annealed,
    iterate,
    sample,
    trajectory,
)
from ebmlearn.schedules import geometric
from ebmlearn.viz import BLUE, GREEN, ORANGE, RED, chain_path, energy_map
from ebmlearn.widgets import Explorer, ParticleView, choice, slider, switch

setup(seed=0)
torch.set_default_dtype(torch.float64)  # the exact checks go to ten digits
N = budget(20_000, smoke=4_000)  # points where a mean is measured
GRADIENTS = budget(2_400, smoke=720)  # a chain, where samplers are compared
CHAINS = budget(1_000, smoke=300)  # where shares of modes are measured
COOLING = budget(3_200, smoke=800)  # steps of the slowest annealing
RESTARTS = (0.5, 0.1, 0.02)[: budget(3, smoke=2)]


def seed(n):
    return torch.Generator().manual_seed(n)


# %% [markdown]
# ## 1 · Momentum: the leapfrog
#
# A Langevin step forgets at once where it was going, so a chain needs $n^2$ steps to get as far as $n$ steps in one direction. Give each
# point a **momentum** $p$ of its own, and let it roll. Energy and motion together are
#
# $$H(x, p) = E(x) + \tfrac12 |p|^2, \qquad \dot x = p, \qquad \dot p = -\nabla E(x).$$
#
# The exact flow keeps $H$, keeps volume, and can be run backwards by turning $p$ round. A computer takes steps of size $\epsilon$. The
# **leapfrog** moves $p$ by half a step, $x$ by a whole one, $p$ by the other half:


# %%
def leapfrog(grad, x, p, eps, steps):
    p = p - 0.5 * eps * grad(x)
    for i in range(steps):
        x = x + eps * p
        p = p - (eps if i < steps - 1 else 0.5 * eps) * grad(x)
    return x, p


def euler(grad, x, p, eps, steps):
    """The obvious way, for comparison: both moved at once."""
    for _ in range(steps):
        x, p = x + eps * p, p - eps * grad(x)
    return x, p


# %% [markdown]
# **Exact checks.** Whatever the energy: going there and back ends where it began, and volume is kept (the Jacobian of $(x, p) \mapsto (x', p')$
# has determinant 1). Only $H$ is not kept exactly. On $E = x^2/2$ the leapfrog keeps another quantity to all digits,
# $p^2/2 + (1 - \epsilon^2/4)\,x^2/2$: an ellipse, for every $\epsilon < 2$. So the energy error does not grow; it swings.

# %% tags=["nbval-check-output"]
well = DoubleWell(1, height=0.5)


def slope(x):
    return value_and_grad(well, x)[1]


x0, p0 = torch.tensor([-0.3]), torch.tensor([0.8])
x1, p1 = leapfrog(slope, x0, p0, 0.2, 25)
x2, p2 = leapfrog(slope, x1, -p1, 0.2, 25)
assert (x2 - x0).abs() < 1e-10 and (p2 + p0).abs() < 1e-10
show("there and back ends at the start", True)


def slope_by_hand(x):
    return 2 * x * (x**2 - 1)  # of (x² - 1)²/2, so that autograd can differentiate the map


for name, move in (("leapfrog", leapfrog), ("Euler", euler)):
    jacobian = torch.autograd.functional.jacobian(
        lambda u, move=move: torch.cat(move(slope_by_hand, u[:1], u[1:], 0.2, 5)),
        torch.cat([x0, p0]),
    )
    show(f"{name}: determinant after 5 steps", jacobian.det(), digits=6)

eps, x, p = 0.9, torch.tensor([1.0]), torch.tensor([0.4])
kept = [0.5 * p**2 + (1 - eps**2 / 4) * 0.5 * x**2]
for _ in range(1000):
    x, p = leapfrog(lambda x: x, x, p, eps, 1)
    kept.append(0.5 * p**2 + (1 - eps**2 / 4) * 0.5 * x**2)
assert torch.stack(kept).std() < 1e-12
show("the ellipse is kept over 1000 steps of size 0.9", True)

# %% [markdown]
# **Energy error against step.** Over a fixed time the largest error of $H$ falls with the square of the step: halve $\epsilon$, quarter the error.


# %% tags=["nbval-check-output"]
def energy_error(move, eps, time=6.0):
    """Largest |H - H_0| along an orbit over the double well."""
    x, p = torch.tensor([-0.3]), torch.tensor([0.8])
    h0, worst = well(x) + 0.5 * (p**2).sum(), torch.zeros(())
    for _ in range(round(time / eps)):
        x, p = move(slope, x, p, eps, 1)
        worst = torch.maximum(worst, (well(x) + 0.5 * (p**2).sum() - h0).abs())
    return worst.item()


steps = [0.1, 0.05, 0.025, 0.0125]
errors = {move: [energy_error(move, eps) for eps in steps] for move in (leapfrog, euler)}
ratios = [a / b for a, b in zip(errors[leapfrog], errors[leapfrog][1:])]
assert all(3.5 < r < 4.5 for r in ratios[1:])
show("leapfrog: error at steps .1, .05, .025, .0125", errors[leapfrog], digits=5)
show("each divided by the next", ratios, digits=2)

# %% tags=["figure"] alt="Left: position against momentum on the double well. The orbit of the leapfrog with step 0.1 closes on itself along a contour of H; that of the Euler method starts at the same place and spirals outwards across the contours. Right, on two logarithmic axes: the largest energy error against the step. The line of the leapfrog has slope 2; that of Euler lies more than a hundred times higher."
fig, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.8))
xs, ps = torch.meshgrid(
    torch.linspace(-1.9, 1.9, 200), torch.linspace(-2.2, 2.2, 200), indexing="ij"
)
left.contour(xs, ps, well(xs[..., None]) + 0.5 * ps**2, levels=12, colors="lightgrey")
for move, color, style, name in ((euler, RED, "--", "Euler"), (leapfrog, BLUE, "-", "leapfrog")):
    x, p = torch.tensor([-0.3]), torch.tensor([0.8])
    orbit = [(x.item(), p.item())]
    for _ in range(75):
        x, p = move(slope, x, p, 0.1, 1)
        orbit.append((x.item(), p.item()))
    left.plot(*zip(*orbit), style, color=color, label=name)
    right.plot(steps, errors[move], style, marker="o", color=color, label=name)
left.plot(-0.3, 0.8, "s", color="black")
left.set(xlabel="$x$", ylabel="$p$", xlim=(-1.9, 1.9), ylim=(-2.2, 2.2))
right.set(xscale="log", yscale="log", xlabel=r"step $\epsilon$", ylabel="largest error of $H$")
left.legend(loc="upper right")
right.legend()

# %% [markdown]
# ### Exercise 1: the leapfrog
# `grad(x)` gives $\nabla E$ at `x[*batch, d]`. Return $(x, p)$ after `steps` leapfrog steps; it must spend at most `steps + 1` gradients. The inputs
# stay as they are. Stuck? `q.leapfrog.hint()`. (Cover the cell above, and write it from the text.)


# %% tags=["exercise"]
def my_leapfrog(grad, x, p, eps, steps):
    """(x, p) after `steps` leapfrog steps of size eps."""
    ### BEGIN SOLUTION
    g = grad(x)
    for _ in range(steps):
        p = p - 0.5 * eps * g
        x = x + eps * p
        g = grad(x)
        p = p - 0.5 * eps * g
    return x, p
    ### END SOLUTION


# %% tags=["check"]
q.leapfrog.check(my_leapfrog)

# %% [markdown]
# ## 2 · Hamiltonian Monte Carlo
#
# Sample $e^{-H(x,p)} = e^{-E(x)}\,e^{-|p|^2/2}$, and look at $x$ only. One step of **HMC**: draw $p \sim \mathcal N(0, I)$, which is exact for the second
# factor; run the leapfrog for $L$ steps; accept the end point with probability $\min(1, e^{H - H'})$. Because the leapfrog keeps volume and can be
# reversed, no proposal density appears in the ratio: only the error of $H$ decides. From scratch and with `ebmlearn`, same seed:


# %% tags=["nbval-check-output"]
def hmc(energy, x, steps, eps, n_leapfrog, generator):
    def grad(x):
        return value_and_grad(energy, x)[1]

    for _ in range(steps):
        p = torch.randn(x.shape, generator=generator)
        y, r = leapfrog(grad, x, p, eps, n_leapfrog)
        log_ratio = energy(x) + 0.5 * (p**2).sum(-1) - energy(y) - 0.5 * (r**2).sum(-1)
        yes = torch.rand(log_ratio.shape, generator=generator) < log_ratio.exp()
        x = torch.where(yes[..., None], y, x)
    return x


two_wells = DoubleWell(2, height=2.0)
start = torch.randn(500, 2, generator=seed(1))
by_hand = hmc(two_wells, start, 20, 0.2, 6, seed(2))
with_ebmlearn = sample(two_wells, HMC(step_size=0.2, n_leapfrog=6), start, 20, generator=seed(2))
assert ((by_hand - with_ebmlearn).abs().amax(-1) < 1e-6).double().mean() > 0.99
show("from scratch and ebmlearn agree", True)

# %% [markdown]
# **Exact check: MALA is HMC with one leapfrog step.** Put $L = 1$: $y = x - \tfrac{\epsilon^2}{2}\nabla E(x) + \epsilon p$. That is Langevin's step with
# $\eta = \epsilon^2/2$, and the energy error is MALA's log ratio. So the two kernels are one, number for number:

# %% tags=["nbval-check-output"]
eps = 0.3
one_step = sample(two_wells, HMC(step_size=eps, n_leapfrog=1), start, 50, generator=seed(3))
mala = sample(two_wells, MALA(step_size=eps**2 / 2), start, 50, generator=seed(3))
same = (one_step - mala).abs().amax(-1) < 1e-9
assert same.double().mean() > 0.99  # rounding may flip a tie
show("HMC with one leapfrog step is MALA with eta = eps²/2", True)

# %% [markdown]
# **Exact check: $\mathbb E[e^{-\Delta H}] = 1$** for points drawn from $e^{-H}$, at any step size: a change of variables, true for every map that keeps volume. By
# Jensen the mean error is then positive, $\mathbb E[\Delta H] \ge 0$, which is why something is always rejected. Euler's map fails the test:

# %%
x0 = two_wells.sample(N, generator=seed(4))
p0 = torch.randn(N, 2, generator=seed(5))
for move in (leapfrog, euler):
    x, p = move(lambda x: value_and_grad(two_wells, x)[1], x0, p0, 0.2, 3)
    lost = two_wells(x) + 0.5 * (p**2).sum(-1) - two_wells(x0) - 0.5 * (p0**2).sum(-1)
    weight = (-lost).exp()
    error = weight.std() / math.sqrt(N)
    print(
        f"{move.__name__:9s} mean of exp(-dH) {weight.mean():.4f} ± {error:.4f}, mean dH {lost.mean():.4f}, "
        f"accepted {weight.clamp(max=1).mean():.3f}"
    )
    if move is leapfrog:
        assert abs(weight.mean() - 1) < 5 * error and lost.mean() > 0
    else:
        assert abs(weight.mean() - 1) > 5 * error

# %% [markdown]
# ## 3 · What momentum buys: effective samples per gradient
#
# Neighbours in a chain resemble each other. With $\rho_t$ the correlation of $f(x_s)$ and $f(x_{s+t})$, a mean over $n$ steps has the variance of a
# mean over fewer independent draws,
#
# $$\mathrm{ESS} = \frac{n}{1 + 2\sum_{t \ge 1}\rho_t}\,.$$
#
# The known answer: a chain $x' = \varphi x + \sqrt{1-\varphi^2}\,\xi$ has $\rho_t = \varphi^t$, so $\mathrm{ESS} = n\,\frac{1-\varphi}{1+\varphi}$. That *is* ULA on a Gaussian,
# up to its bias. From scratch on such chains, cutting the sum where the noise takes over (a pair $\rho_{2k} + \rho_{2k+1} < 0$), and with `ebmlearn`:


# %% tags=["nbval-check-output"]
def autoregressive(phi, steps, chains, generator):
    x = [torch.randn(chains, generator=generator)]
    for _ in range(steps - 1):
        x.append(phi * x[-1] + math.sqrt(1 - phi**2) * torch.randn(chains, generator=generator))
    return torch.stack(x)


def ess_by_hand(x):
    """Of [steps, chains] around the known mean 0."""
    n = len(x)
    rho = torch.stack([(x[: n - t] * x[t:]).mean() for t in range(n // 4)])
    rho = rho / rho[0]
    pairs = rho[0::2] + rho[1::2]
    stop = next((i for i, pair in enumerate(pairs) if pair < 0), len(pairs))
    return x.numel() / (2 * pairs[:stop].sum() - 1)


for phi in (0.0, 0.5, 0.9):
    x = autoregressive(phi, 2_000, 8, seed(6))
    exact = (1 - phi) / (1 + phi)
    found = [(f(x) / x.numel()).item() for f in (ess_by_hand, ess)]
    assert all(abs(f / exact - 1) < 0.25 for f in found)
    show(f"phi {phi}: ESS a draw, exact; the two estimates are within a quarter", exact)

# %% [markdown]
# Now a fair race: a narrow Gaussian (standard deviations 1.41 along, 0.14 across), all chains started in equilibrium, each allowed the same number of
# *gradients*. The step must fit the narrow direction; the wide one then takes long.

# %%
narrow = Gaussian(torch.zeros(2), torch.tensor([[1.0, 0.98], [0.98, 1.0]]))
at_rest = narrow.sample(100, generator=seed(7))
LENGTHS = (1, 3, 5, 8, 12, 16, 20, 24, 28)


def race(kernel, length):
    """ESS for 1000 gradients of a chain: of the mean of x_1, and of the mean of x_1²; and the acceptance."""
    steps = GRADIENTS // length
    run = trajectory(narrow, kernel, at_rest, steps, generator=seed(8))
    each = len(at_rest) * steps * length / 1000
    x = run.x[..., 0]
    return [(ess(x) / each).item(), (ess(x**2) / each).item(), run.accept_prob.mean().item()]


tuned = max((race(MALA(step_size=eta), 1) for eta in (0.02, 0.04, 0.06)), key=lambda row: row[0])
lengths = {length: race(HMC(step_size=0.18, n_leapfrog=length), length) for length in LENGTHS}
print("ESS for 1000 gradients of x, of x²; accepted")
for name, row in {
    "MALA, best step": tuned,
    **{f"HMC, L = {k}": v for k, v in lengths.items()},
}.items():
    print(f"{name:16s} {row[0]:7.1f} {row[1]:7.1f}   {row[2]:.2f}")
assert lengths[8][1] > 4 * tuned[1] and lengths[8][0] > 4 * tuned[0]

# %% tags=["figure"] alt="Left and middle: the narrow diagonal Gaussian with one path of 24 gradients each. MALA's path stays near its start in a small tangle. HMC's two proposals of twelve leapfrog steps run along the ridge and half-way back. Right: effective samples for 1000 gradients against the number of leapfrog steps, on a logarithmic axis. The curve for x climbs and stays high up to 24 steps and beyond. The curve for x squared is alike up to 12 steps, then falls by a factor of about a hundred at 24 steps."
fig, axes = plt.subplots(1, 3, figsize=(12.5, 3.7), width_ratios=(1, 1, 1.5))
corner = torch.tensor([[-1.2, -1.2]])
walk = trajectory(narrow, MALA(step_size=0.02), corner, 24, generator=seed(10)).x[:, 0]
orbit, x, g = [], corner, seed(9)
for _ in range(2):  # two proposals, every point of their orbits
    p = torch.randn(x.shape, generator=g)
    for _ in range(12):
        x, p = leapfrog(lambda x: value_and_grad(narrow, x)[1], x, p, 0.18, 1)
        orbit.append(x)
for ax, path, title in (
    (axes[0], walk, "MALA, 24 gradients"),
    (axes[1], torch.cat(orbit), "HMC, 2 x 12 gradients"),
):
    energy_map(narrow, ax, colorbar=False, limits=(0, 12))
    chain_path(torch.cat([corner, path]), ax)
    ax.set_title(title)
for column, style, color, name in (
    (0, "o-", BLUE, "mean of $x$"),
    (1, "s--", ORANGE, "mean of $x^2$"),
):
    axes[2].plot(LENGTHS, [lengths[k][column] for k in LENGTHS], style, color=color, label=name)
axes[2].axhline(tuned[1], color="black", linestyle=":", label="MALA, $x^2$")
axes[2].set(yscale="log", xlabel="leapfrog steps $L$", ylabel="ESS for 1000 gradients")
axes[2].legend()

# %% [markdown]
# Ten leapfrog steps are worth far more than ten Langevin steps. Then something odd: near $L = 24$ the ESS of $x$ is splendid and that of $x^2$ is
# next to nothing, and the acceptance rate says nothing at all. The trajectory has come to half a period of the slow oscillation:
# $\pi \cdot 1.41 \approx 4.4 \approx 24 \cdot 0.18$. Every proposal lands near $-x$. The mean of $x$ comes out right with hardly any error, and $|x|$
# never changes. **An ESS is of a function.** Look at several: coordinates, their squares, the energy. The usual cure is a random length.
#
# ## 4 · R-hat: compare chains
#
# One chain knows nothing of where it has not been. Several chains from *different* starts can disagree, and **split R-hat** measures it. Cut each of $m$
# chains in two halves, so that a drift counts as disagreement too; with $n$ steps a half,
#
# $$W = \text{mean of the variances within halves}, \qquad B = \text{variance of the means of the halves}, \qquad
# \hat R = \sqrt{\frac{\tfrac{n-1}{n} W + B}{W}}\,.$$
#
# When all agree, $B \approx W/\mathrm{ESS}$ is small and $\hat R \approx 1$. Above 1.01 do not trust the chains yet (Vehtari et al., 2021). From scratch:


# %% tags=["nbval-check-output"]
def rhat_by_hand(x):
    """Of [steps, chains]."""
    n = len(x) // 2
    halves = torch.cat([x[:n], x[-n:]], 1)
    within, between = halves.var(0).mean(), halves.mean(0).var()
    return (((n - 1) / n * within + between) / within).sqrt()


x = autoregressive(0.9, 1_000, 4, seed(11)) + torch.tensor([0.0, 0.0, 0.5, 1.0])
torch.testing.assert_close(rhat_by_hand(x), split_rhat(x))
show("from scratch and ebmlearn agree", True)

# %% [markdown]
# ### Exercise 2: split R-hat
# For `x[steps, chains, d]`, an even number of steps, return $\hat R$ of each of the $d$ coordinates.


# %% tags=["exercise"]
def my_rhat(x):
    """Split R-hat [d] of x[steps, chains, d]."""
    ### BEGIN SOLUTION
    n = len(x) // 2
    halves = torch.cat([x[:n], x[n:]], 1)
    within = halves.var(0).mean(0)
    between = halves.mean(0).var(0)
    return ((within * (n - 1) / n + between) / within).sqrt()
    ### END SOLUTION


# %% tags=["check"]
q.rhat.check(my_rhat)

# %% [markdown]
# ### A lie, caught; and a lie that is not
#
# Two bumps at $\pm 5$ with weights 0.8 and 0.2. The barrier between them is about 12 high: no chain of ours will ever cross. Four chains of MALA, 2,000 steps, and
# three choices of their starts. First each chain is judged alone, then all together.

# %%
far = GaussianMixture([[-5.0], [5.0]], weights=[0.8, 0.2])
kernel = MALA(step_size=0.5)
starts = {
    "all on the right": [4.0, 5.0, 5.5, 6.0],
    "all on the left": [-6.0, -5.5, -5.0, -4.0],
    "both sides": [-5.0, -4.0, 4.0, 5.0],
}
verdicts, traces = {}, {}
for name, x0 in starts.items():
    run = trajectory(
        far, kernel, torch.tensor(x0)[:, None], budget(2_200, smoke=900), generator=seed(12)
    )
    x = traces[name] = run.x[200:, :, 0]
    alone = max(split_rhat(x[:, i : i + 1]).item() for i in range(4))
    error = x.std() / ess(x).sqrt()
    # the thermometer of lesson 04: the mean of x E'(x) should be 1
    heat = x * value_and_grad(far, x[..., None])[1][..., 0]
    heat_error = heat.std() / ess(heat).sqrt()
    verdicts[name] = (alone, split_rhat(x).item(), ess(x).item(), x.mean().item(), error.item())
    print(
        f"{name:17s} R-hat of a chain alone at most {alone:.3f}, of all {split_rhat(x):.3f}; ESS {ess(x):6.0f}; "
        f"mean {x.mean():6.3f} ± {error:.3f}, thermometer {heat.mean():.2f} ± {heat_error:.2f}"
    )
show("the exact mean", far.mean[0])
assert all(v[0] < 1.05 for v in verdicts.values())
assert verdicts["both sides"][1] > 3 and verdicts["both sides"][2] < 10
assert verdicts["all on the right"][1] < 1.02

# %% [markdown]
# - **Alone, every chain looks converged.** A diagnostic of one chain cannot see what that chain has not seen.
# - **Both sides**: the chains contradict each other, R-hat is above 5, the ESS (which counts disagreement as correlation) is about 4 draws from thousands. Caught.
# - **All on one side**: R-hat 1.00, thousands of effective samples, a small error bar, a temperature that fits, *and a mean that is wrong by hundreds of its
#   error bars*. Nothing computed from these chains can tell; the numbers are exactly those of a distribution with one bump, which would be right.
#
# So the rule has two parts: R-hat **and** starts wider than the target. If you do not know how wide that is, let heat find out.

# %% tags=["figure"] alt="Three panels with traces of four chains over 2000 steps. All on the right: four overlapping noisy lines at plus 5, title R-hat 1.00. All on the left: the same at minus 5, title R-hat 1.00. Both sides: two lines at minus 5 and two at plus 5 that never meet, title R-hat 5.55."
fig, axes = plt.subplots(1, 3, figsize=(12.0, 3.0), sharey=True)
for ax, (name, x) in zip(axes, traces.items()):
    for i, color in enumerate((BLUE, ORANGE, GREEN, RED)):
        ax.plot(x[::5, i], color=color, linewidth=0.6, label="_chains")
    ax.set(title=f"{name}: R-hat {verdicts[name][1]:.2f}", xlabel="every fifth step")
axes[0].set_ylabel("$x$")

# %% [markdown]
# ## 5 · Heat: annealing and parallel tempering
#
# At temperature $T$ the target is $e^{-E/T}$: a barrier of 12 is one of $12/T$. **Annealing** starts hot, where everything is crossed, and cools to
# $T = 1$ ($x$ then follows $E/T(t)$ with a falling $T(t)$). It is the standard way to find *low* energy. Does it find the right *shares*? When hot the bumps' shares are nearly equal,
# about $w^{1/T}$ each, normalised; as it cools, chains must cross to correct them, and crossing is what cold chains do not do.

# %%
cooling_steps = (50, 200, 800, 3_200)
looks = [s for s in cooling_steps if s <= COOLING]
frozen = {}
for steps in looks:
    path = annealed(far, geometric(25.0, 1.0, steps=steps))
    begin = 5 * torch.randn(CHAINS, 1, generator=seed(13))
    x = sample(path, kernel, begin, steps + 20, generator=seed(14))
    frozen[steps] = (x < 0).double().mean().item()
    # the temperature at which shares 0.8^(1/T) : 0.2^(1/T) are those that were found
    odds = math.log(frozen[steps] / (1 - frozen[steps])) / math.log(4)
    at = f"like T = {1 / odds:.1f}" if odds > 0.05 else "like T above 20"
    print(f"cooling over {steps:4d} steps: share on the left {frozen[steps]:.3f} ({at})")
assert all(share < 0.8 - 5 * 0.4 / math.sqrt(CHAINS) for share in frozen.values())

# %% [markdown]
# Cooling sixty times slower helps little: the shares **freeze** where crossing stops, far above $T = 1$.
#
# **Parallel tempering** never stops crossing. Run a chain at each of several temperatures $1 = T_1 < T_2 < \dots < T_R$, all the time, and now and then propose that
# neighbours swap *places*. Before, the pair has the density $e^{-E(x_r)/T_r - E(x_{r+1})/T_{r+1}}$, after it with the two exchanged, so Metropolis accepts with
# $\min(1, e^{s})$,
#
# $$s = \Big(\frac1{T_r} - \frac1{T_{r+1}}\Big)\big(E(x_r) - E(x_{r+1})\big).$$
#
# If the hotter chain has the lower energy, always. The product of all the $e^{-E/T_r}$ is stationary, so the cold chain samples $e^{-E}$ exactly. From scratch, a
# step of MALA for each replica (step $\eta T$, which fits the flatter landscape) and then the swaps, even and odd pairs by turns:


# %% tags=["nbval-check-output"]
LADDER = (1.0, 2.0, 4.0, 8.0, 16.0)


def tempering(energy, x, steps, eta, ladder, generator):
    t = torch.tensor(ladder)[:, None]  # [replicas, 1]: beside chains
    x = x.expand(len(ladder), *x.shape).clone()
    for step in range(steps):
        e, g = value_and_grad(energy, x)
        xi = torch.randn(x.shape, generator=generator)
        y = x - eta * g + (2 * eta * t[..., None]).sqrt() * xi  # step eta T on E/T
        ey, gy = value_and_grad(energy, y)
        back = ((x - y + eta * gy) ** 2).sum(-1) / (4 * eta * t)
        log_ratio = (e - ey) / t - back + 0.5 * (xi**2).sum(-1)
        yes = torch.rand(log_ratio.shape, generator=generator) < log_ratio.exp()
        x, e = torch.where(yes[..., None], y, x), torch.where(yes, ey, e)
        low = torch.arange(step % 2, len(ladder) - 1, 2)
        s = (1 / t[low] - 1 / t[low + 1]) * (e[low] - e[low + 1])
        swap = (torch.rand(s.shape, generator=generator) < s.exp())[..., None]
        x[low], x[low + 1] = (
            torch.where(swap, x[low + 1], x[low]),
            torch.where(swap, x[low], x[low + 1]),
        )
    return x[0]


right_side = 5 + torch.randn(300, 1, generator=seed(15))
heated = ParallelTempering(kernel=kernel, temperatures=LADDER)
by_hand = tempering(far, right_side, 40, 0.5, LADDER, seed(16))
with_ebmlearn = sample(far, heated, right_side, 40, generator=seed(16))
assert ((by_hand - with_ebmlearn).abs().amax(-1) < 1e-6).double().mean() > 0.98
show("from scratch and ebmlearn agree", True)

# %% [markdown]
# ### Exercise 3: a swap
# From the energies `e_cold[*batch]` and `e_hot[*batch]` of two replicas at temperatures `t_cold < t_hot`, return the *probability* that their swap is accepted.


# %% tags=["exercise"]
def swap_probability(e_cold, e_hot, t_cold, t_hot):
    """[*batch], in [0, 1]."""
    ### BEGIN SOLUTION
    s = (1 / t_cold - 1 / t_hot) * (e_cold - e_hot)
    return s.clamp(max=0).exp()
    ### END SOLUTION


# %% tags=["check"]
q.swap_probability.check(swap_probability)

# %% [markdown]
# Now the same budget for both, from the *worst* start: all chains in the bump on the right, whose true share is 0.2. Five replicas cost five gradients a step, so the plain
# chain gets five times as many steps.

# %%
begin = 5 + torch.randn(CHAINS, 1, generator=seed(17))
times, tempered_share = [], []
chain = iterate(far, heated, begin, generator=seed(18))
for step, (state, _) in zip(range(1, 301), chain):
    times.append(5 * step)
    tempered_share.append((state.x < 0).double().mean().item())
plain_share = []
for step, (plain, _) in zip(range(1, 1_501), iterate(far, kernel, begin, generator=seed(19))):
    if step % 5 == 0:
        plain_share.append((plain.x < 0).double().mean().item())
standard_error = 0.4 / math.sqrt(CHAINS)
print(
    f"after 1500 gradients: plain {plain_share[-1]:.3f}, tempered {tempered_share[-1]:.3f} ± {standard_error:.3f}, exact 0.800"
)
print(
    "swaps accepted between neighbours:",
    [round(v, 2) for v in state.aux.swap_prob.mean(1).tolist()],
)
assert abs(tempered_share[-1] - 0.8) < 5 * standard_error and plain_share[-1] < 0.05

# %% tags=["figure"] alt="Left: share of chains in the left bump against gradients spent. The plain chains stay at 0. The tempered chains climb within about 500 gradients to the dotted line at the exact 0.8. Right: four densities of the two-bump energy at temperatures 1, 2, 4 and 16. The gap between the bumps fills up and the bumps become equal as the temperature rises."
fig, (left, right) = plt.subplots(1, 2, figsize=(11.0, 3.5))
left.plot(times, tempered_share, color=BLUE, label="parallel tempering")
left.plot(times, plain_share, "--", color=RED, label="MALA")
left.axhline(0.8, color="black", linestyle=":", label="exact")
left.set(xlabel="gradients a chain", ylabel="share on the left", ylim=(-0.03, 1))
left.legend(loc="center right")
u = torch.linspace(-16, 16, 801)
for t, style in zip((1, 2, 4, 16), ("-", "--", "-.", ":")):
    p = torch.softmax(-far(u[:, None]) / t, 0) / (u[1] - u[0])
    right.plot(u, p, style, label=f"T = {t}")
right.set(xlabel="$x$", ylabel="density at $T$")
right.legend()

# %% [markdown]
# And the diagnostics agree with the truth now, from the start that fooled them before:

# %%
run = trajectory(
    far,
    heated,
    torch.tensor(starts["all on the right"])[:, None],
    budget(4_400, smoke=1_400),
    generator=seed(20),
)
x = run.x[400:, :, 0]
error = (x.std() / ess(x).sqrt()).item()
print(
    f"R-hat {split_rhat(x):.3f}, ESS {ess(x):.0f} of {x.numel()}, mean {x.mean():.3f} ± {error:.3f}, exact {far.mean.item():.3f}"
)
assert abs(x.mean() - far.mean) < 5 * error and split_rhat(x) < 1.1

# %% [markdown]
# ## 6 · See it
#
# Four chains, 1,000 steps. Drag the bumps apart, choose the starts, add the ladder. Find a setting in which R-hat is below 1.01 and the share is wrong; then one in
# which MALA is right without heat.

# %%
SPREAD = {"both sides": (-1.0, -0.8, 0.8, 1.0), "right only": (0.8, 0.9, 1.0, 1.1)}


def explore(axes, distance=5.0, begin="right only", hot=False):
    target = GaussianMixture([[-distance], [distance]], weights=[0.8, 0.2])
    x0 = distance * torch.tensor(SPREAD[begin])[:, None]
    run = trajectory(target, heated if hot else kernel, x0, 1_000, generator=seed(21))
    x = run.x[100:, :, 0]
    for i, color in enumerate((BLUE, ORANGE, GREEN, RED)):
        axes[0].plot(x[::3, i], color=color, linewidth=0.6, label="_chains")
    axes[0].set(xlabel="every third step", ylabel="$x$", ylim=(-distance - 4, distance + 4))
    u = torch.linspace(-distance - 4, distance + 4, 400)
    axes[1].hist(x.flatten().numpy(), bins=60, density=True, color=BLUE, alpha=0.5)
    axes[1].plot(u, torch.exp(-target(u[:, None])), color="black")
    axes[1].set(xlabel="$x$", ylabel="density")
    share, exact = (x < 0).double().mean(), 0.8 - 0.6 * 0.5 * math.erfc(distance / math.sqrt(2))
    return (
        f"Bumps at ±{distance:g}, starts: {begin}, {'tempered' if hot else 'MALA'}. R-hat {split_rhat(x):.2f}, ESS {ess(x):.0f}; "
        f"share on the left {share:.2f}, exact {exact:.2f}."
    )


# %% tags=["figure"] alt="Two pairs of a trace and a histogram. Above, plain MALA from the right: four chains stay at plus 5 and the histogram covers only the small right bump of the black density. Below, with tempering: the chains jump between minus 5 and plus 5 and the histogram has both bumps with about the right heights."
fig, axes = plt.subplots(2, 2, figsize=(10.5, 5.0))
for row, hot in zip(axes, (False, True)):
    said = explore(row, hot=hot)
    row[0].set_title(said.partition(". ")[2].partition(";")[0])

# %% tags=["widget"]
Explorer(
    explore,
    {
        "distance": slider(5.0, 1.0, 7.0, label="bumps at ± this", step=0.5),
        "begin": choice(list(SPREAD), label="starts", value="right only"),
        "hot": switch(False, label="parallel tempering"),
    },
    figsize=(10.0, 3.2),
    panels=2,
)

# %% [markdown]
# And live, in the plane: three bumps of weights 0.5, 0.3 and 0.2, all chains started in the smallest. Press *Start* with each method.

# %% tags=["figure"] alt="Three maps of an energy with three dark wells, 300 chains each after 300 steps from the well at the upper right. MALA and HMC: all chains are still in that well. Parallel tempering: chains are in all three wells."
three = GaussianMixture([[-2.0, -1.2], [1.9, -1.6], [0.6, 2.0]], 0.09, weights=[0.5, 0.3, 0.2])
METHODS = {
    "MALA": MALA(step_size=0.05),
    "HMC": HMC(step_size=0.25, n_leapfrog=5),
    "parallel tempering": ParallelTempering(
        kernel=MALA(step_size=0.05), temperatures=(1.0, 3.0, 9.0, 27.0)
    ),
}
home = torch.tensor([0.6, 2.0])
crowd = home + 0.2 * torch.randn(300, 2, generator=seed(22))


def gone(x):
    """Share of chains outside the well of the start."""
    return ((x - home).norm(dim=-1) > 1.5).double().mean().item()


fig, axes = plt.subplots(1, 3, figsize=(11.0, 3.7), sharey=True)
for ax, (name, method) in zip(axes, METHODS.items()):
    x = sample(three, method, crowd, 300, generator=seed(23))
    energy_map(three, ax, colorbar=False, limits=(0, 25))
    ax.plot(*x.T, ".", color=ORANGE, markersize=3)
    ax.set_title(name)
assert abs(gone(x) - 0.8) < 5 * 0.4 / math.sqrt(300)

# %% tags=["widget"]
ParticleView(
    three,
    lambda method: METHODS[method],
    crowd,
    controls={"method": choice(list(METHODS), label="method", value="parallel tempering")},
    statistic=lambda x: f"share in the well of the start {1 - gone(x):.2f}, exact 0.20",
)

# %% [markdown]
# ## 7 · The replay buffer and the age of its chains
#
# Training an energy (lesson 07) needs samples at every update and cannot wait for convergence each time. A **replay buffer** keeps chains alive between updates: draw some
# slots, move them $k$ steps, write them back. To keep the pool fresh, a drawn chain restarts from noise with probability $r$. So a chain's **age**, counted in visits, is
# geometric, $P(\text{age} = a) = r(1-r)^{a-1}$, with mean $1/r$: it has made $k/r$ steps on average. *That* number has to be compared with the time the energy needs.
#
# On a fixed energy everything can be predicted. Bumps at $\pm 3$, weights 0.8 and 0.2, starts from $\mathcal N(0,1)$. First the share on the left after $t$ steps of fresh
# chains; then its average over the geometric ages should be the share found in the buffer.

# %%
# Error: short run keeps the wrong mode weights
near = GaussianMixture([[-3.0], [3.0]], weights=[0.8, 0.2])
langevin = Langevin(step_size=0.1)
K = 20  # steps a visit
after = []  # share on the left after 20, 40, ... steps
fresh_chains = torch.randn(CHAINS, 1, generator=seed(24))
for step, (state, _) in zip(
    range(1, budget(3_000, smoke=1_000) + 1),
    iterate(near, langevin, fresh_chains, generator=seed(25)),
):
    if step % K == 0:
        after.append((state.x < 0).double().mean().item())
show("share on the left after 20, 200, 1000 steps of fresh chains", [after[0], after[9], after[49]])

pools = {}
for r in RESTARTS:
    g = seed(26)
    buffer = ReplayBuffer(torch.randn(CHAINS, 1, generator=g), restart_prob=r)
    for _ in range(round(10 / r)):
        index, x = buffer.draw(torch.randn(CHAINS // 2, 1, generator=g), generator=g)
        buffer.store(index, sample(near, langevin, x, K, generator=g))
    predicted = sum(r * (1 - r) ** (a - 1) * after[min(a, len(after)) - 1] for a in range(1, 2_000))
    found = (buffer.x < 0).double().mean().item()
    pools[r] = (buffer, found)
    print(
        f"restarts {r:4.2f}: mean age {buffer.age.double().mean():5.1f} visits (1/r = {1 / r:g}), share on the left {found:.3f}, "
        f"predicted {predicted:.3f}, exact 0.799"
    )
    # two binomial errors: the buffer's chains and those of the curve
    assert abs(found - predicted) < 5 * math.sqrt(2 * 0.25 / CHAINS)
assert pools[0.5][1] < 0.799 - 5 * 0.4 / math.sqrt(CHAINS)  # a young pool is wrong

# %% tags=["figure"] alt="Left: histogram of the ages of the buffer's chains with restart probability 0.1 and the falling geometric law on it; they agree. Right: share of chains on the left against their number of steps; it rises slowly from 0.6 towards the exact 0.8. Markers at the mean number of steps of three buffers lie near that curve, the oldest buffer's below it."
fig, (left, right) = plt.subplots(1, 2, figsize=(11.0, 3.4))
ages = pools[0.1][0].age
bins = torch.arange(0.5, 60.5, 3)
left.hist(ages.numpy(), bins=bins.numpy(), density=True, color=BLUE, alpha=0.5, label="found")
a = torch.arange(1, 60)
left.plot(a, 0.1 * 0.9 ** (a - 1), color="black", label="geometric")
left.set(xlabel="age in visits, r = 0.1", ylabel="probability")
left.legend()
right.plot(K * torch.arange(1, len(after) + 1), after, color=BLUE, label="fresh chains")
for (r, (_, found)), marker in zip(pools.items(), "osD"):
    right.plot(K / r, found, marker, color=ORANGE, markersize=8, label=f"buffer, r = {r}")
right.axhline(0.799, color="black", linestyle="--", linewidth=1, label="exact")
right.set(
    xscale="log", xlabel="steps (buffer: mean steps)", ylabel="share on the left", ylim=(0.5, 0.9)
)
right.legend(loc="lower right", fontsize=8)

# %% [markdown]
# A buffer does not make chains converge; it lets them be as old as $k/r$ steps. In training the energy also moves under them: that is a reason for restarts, and for
# watching the ages. `buffer.age` and `buffer.restarts` are there for this; `ebmlearn.viz.dashboard` draws the age beside the other signs of a run's health.
#
# ## 8 · What goes wrong, and how you see it
#
# **A trajectory that comes home.** On $\mathcal N(0, 1)$ the leapfrog turns the phase plane by the angle $\theta = L \arccos(1 - \epsilon^2/2)$. At $\theta = \pi$ every
# proposal is $-x$, at $2\pi$ it is $x$ itself. Unadjusted, position and next position have the correlation $\cos\theta$, exactly; acceptance is near 1 all the while.

# %%
bowl = Gaussian([0.0])
at_rest_1d = torch.randn(N // 20, 1, generator=seed(27))
for L in (5, 10, 15, 20):
    eps = 2 * math.sin(math.pi / 40)  # 20 steps are a half turn, 10 a quarter
    theta = L * math.acos(1 - eps**2 / 2)
    run = trajectory(
        bowl, HMC(step_size=eps, n_leapfrog=L, adjusted=False), at_rest_1d, 100, generator=seed(28)
    )
    x = run.x[..., 0]
    rho = (x[1:] * x[:-1]).mean() / (x**2).mean()
    assert abs(rho - math.cos(theta)) < 5 / math.sqrt(x.numel() / 2)
    share = [(ess(f) / f.numel()).item() for f in (x, x**2)]
    print(
        f"{theta / math.pi:4.2f} half turns: correlation {rho:6.3f} (exact {math.cos(theta):6.3f}), ESS a draw of x {share[0]:.2f}, of x² {share[1]:.3f}"
    )

# %% [markdown]
# (5.0 is the ceiling of the estimator, $\log_{10}$ of the number of draws.) At a quarter turn (0.50 half turns) each draw is independent; at a half turn the chain is useless for $x^2$ and *better than independent* for $x$. Never judge a sampler by the mean alone.
#
# **A drift, seen only by halves.** Chains that all start at 6 and all creep to 0 look alike, so the variance between whole chains is small. Halves disagree:

# %%
creep = trajectory(
    bowl, MALA(step_size=0.002), torch.full((16, 1), 6.0), 1_000, generator=seed(29)
).x[..., 0]
n = len(creep)
unsplit = (((n - 1) / n * creep.var(0).mean() + creep.mean(0).var()) / creep.var(0).mean()).sqrt()
show("R-hat without splitting", unsplit, digits=2)
show("split R-hat", split_rhat(creep), digits=2)
show("mean of the last half (exact: 0)", creep[n // 2 :].mean(), digits=2)
assert split_rhat(creep) > unsplit + 0.2

# %% [markdown]
# **Same mean, another width.** Three chains from $\mathcal N(0, 1)$ and one from $\mathcal N(0, 9)$: their means agree, and R-hat compares means. Fold the values at their median, and
# the means of the folded values are widths:

# %%
widths = torch.randn(1_000, 4, generator=seed(30)) * torch.tensor([1.0, 1.0, 1.0, 3.0])
folded = (widths - widths.median()).abs()
show("split R-hat of x", split_rhat(widths))
show("split R-hat of |x - median|", split_rhat(folded))
assert split_rhat(widths) < 1.02 and split_rhat(folded) > 1.1

# %% [markdown]
# **Acceptance without the kinetic energy.** Deciding by $E(x) - E(y)$ alone looks natural and is wrong: the start's momentum has been spent on climbing. On $\mathcal N(0,1)$:


# %%
def careless(x, eps, L, steps, g):
    for _ in range(steps):
        p = torch.randn(x.shape, generator=g)
        y, _ = leapfrog(lambda x: x, x, p, eps, L)
        yes = torch.rand(x.shape, generator=g) < torch.exp(0.5 * x**2 - 0.5 * y**2)
        x = torch.where(yes, y, x)
    return x


narrowed = careless(torch.randn(N, generator=seed(31)), 0.3, 5, 60, seed(32)).var().item()
right_way = (
    sample(
        bowl,
        HMC(step_size=0.3, n_leapfrog=5),
        torch.randn(N, 1, generator=seed(31)),
        60,
        generator=seed(32),
    )
    .var()
    .item()
)
show("variance with the energy alone; with H; exact 1", [narrowed, right_way], digits=2)
assert abs(right_way - 1) < 5 * math.sqrt(2 / N) and narrowed < 0.9

# %% [markdown]
# **A ladder with a missing rung.** Swaps need overlap of *energies*. In $d$ dimensions energies at temperature $T$ are $Td/2 \pm T\sqrt{d/2}$, so with growing $d$ the same two
# temperatures stop talking. On $\mathcal N(0, I_d)$, exact draws at $T = 1$ and $4$:

# %%
for d in (1, 10, 100):
    cold = torch.randn(N // 4, d, generator=seed(33)).square().sum(-1) / 2
    hot = 4 * torch.randn(N // 4, d, generator=seed(34)).square().sum(-1) / 2
    accepted = ((1 - 1 / 4) * (cold - hot)).clamp(max=0).exp().mean().item()
    print(
        f"d {d:4d}: swaps accepted between T = 1 and 4: {accepted:.1e}"
        if accepted < 1e-3
        else f"d {d:4d}: swaps accepted between T = 1 and 4: {accepted:.3f}"
    )
assert accepted < 1e-3

# %% [markdown]
# `state.aux.swap_prob` shows it: below 0.2 put a temperature between. The number of rungs grows like $\sqrt d$.
#
# ## 9 · Open exercise: the shortest ladder
#
# Bumps at $\pm 8$, weights 0.8 and 0.2, all chains on the right. Find temperatures for which 1,000 chains have the right share after as few *gradients* (replicas times
# steps) as you can. Is it better to have many rungs or few? Guess first.


# %% tags=["exercise"]
def gradients_needed(ladder, eta=0.5, limit=40_000, n=300):
    """Gradients a chain until the share on the left has been above 0.75 for the first time; None if never."""
    ### BEGIN SOLUTION
    target = GaussianMixture([[-8.0], [8.0]], weights=[0.8, 0.2])
    method = ParallelTempering(kernel=MALA(step_size=eta), temperatures=tuple(ladder))
    x = 8 + torch.randn(n, 1, generator=seed(0))
    for step, (state, _) in enumerate(iterate(target, method, x, generator=seed(1)), 1):
        if (state.x < 0).double().mean() > 0.75:
            return step * len(ladder)
        if step * len(ladder) >= limit:
            return None
    ### END SOLUTION


# gradients_needed((1.0, 6.0, 36.0))

# %% [markdown] tags=["solution"]
# **One answer.** In one dimension few rungs do: energies overlap widely, so (1, 6, 36) swaps often, and each extra rung costs a gradient a step. The hottest must be hot enough to cross in a few
# steps (the barrier is 32, so $T$ of about 30). In high dimension the answer turns round, because swaps between distant temperatures are refused (section 8).

# %% [markdown] tags=["quiz"]
# 1. Your HMC accepts 99 % of its proposals. Is it good?
#    - [ ] Yes, nothing is wasted :: A tiny step is always accepted, and so is a trajectory that returns to its start.
#    - [x] You cannot tell from this :: Acceptance measures the error of $H$, not how far the chain gets. Look at the ESS of several functions.
#    - [ ] No, it should be 57 % :: That is MALA's rule, for one step. Long trajectories pay for themselves at higher acceptance.
# 2. Four chains, R-hat 1.000, ESS in the thousands. What is proved?
#    - [ ] That the chains have converged to $e^{-E}/Z$ :: They have converged to *something they all agree on*; it may be one mode.
#    - [ ] That the error bar of the mean is right :: For the part of space that was visited. In section 4 the mean was wrong by hundreds of error bars.
#    - [x] That these chains agree with each other :: How much that means depends on how different their starts were.
# 3. Why must halves of chains be compared, not only whole chains?
#    - [x] Chains may all drift alike :: Then whole chains agree and are all wrong; first and second halves differ.
#    - [ ] To have more chains for the variance :: A welcome effect, not the reason.
#    - [ ] To throw the burn-in away :: Nothing is thrown away; the first half takes part.
# 4. You anneal from $T = 25$ to 1, ten times slower than before. The modes' shares
#    - [ ] become exact, since cooling was slow :: Only if it is slow compared with the crossing time *at every temperature*, which grows like $e^{\text{barrier}/T}$.
#    - [x] move a little towards the truth :: They freeze at the temperature where crossing stops, and that moves with the logarithm of the time.
#    - [ ] do not depend on the schedule :: They do, slowly.
# 5. A buffer with $k = 20$ steps a visit and 5 % restarts. Its chains have made, on average,
#    - [ ] 20 steps :: That is one visit.
#    - [x] 400 steps :: $k/r$, geometrically spread: many are much younger.
#    - [ ] as many steps as there were updates, times 20 :: Only without restarts, and if every slot is drawn at every update.

# %% [markdown]
# ## Summary
#
# - The leapfrog is reversible and keeps volume exactly, and $H$ up to $\epsilon^2$. One leapfrog step is MALA with $\eta = \epsilon^2/2$.
# - Momentum buys effective samples per gradient; an ESS belongs to a function, and near a half period it deceives.
# - Split R-hat catches chains that disagree or drift. It cannot see a mode that no chain has visited: start wide, or heat.
# - Annealing finds low energy and freezes the shares; parallel tempering has them exactly, if neighbours swap.
# - Chains in a replay buffer are $k/r$ steps old on average, and as wrong as chains of that age are.
#
# **Next:** 06 estimates $\log Z$, where the same overlap of neighbours decides.
#
# ## References
#
# - S. Duane, A. D. Kennedy, B. J. Pendleton, D. Roweth, *Hybrid Monte Carlo* (1987).
# - R. M. Neal, *MCMC using Hamiltonian dynamics* (2011).
# - S. Kirkpatrick, C. D. Gelatt, M. P. Vecchi, *Optimization by simulated annealing* (1983).
# - R. H. Swendsen, J.-S. Wang, *Replica Monte Carlo simulation of spin-glasses* (1986).
# - C. J. Geyer, *Markov chain Monte Carlo maximum likelihood* (1991); *Practical Markov chain Monte Carlo* (1992).
# - A. Gelman, D. B. Rubin, *Inference from iterative simulation using multiple sequences* (1992).
# - A. Vehtari, A. Gelman, D. Simpson, B. Carpenter, P.-C. Bürkner, *Rank-normalization, folding, and localization: an improved R-hat for assessing convergence of MCMC* (2021).
# - T. Tieleman, *Training restricted Boltzmann machines using approximations to the likelihood gradient* (2008).
# - Y. Du, I. Mordatch, *Implicit generation and modeling with energy-based models* (2019).

# %% [markdown]
# # 07 · Maximum likelihood
#
# **You will**
#
# - derive the gradient of the likelihood and check it to ten digits where $Z$ is known;
# - see why the training loss of an energy-based model says nothing, and what to watch instead;
# - measure the bias of contrastive divergence (CD-$k$) and how it falls with $k$;
# - train with persistent chains and a replay buffer, and compare regularisers of the landscape by numbers;
# - train on real handwritten digits and judge the samples without fooling yourself.
#
# **Time** 75 minutes. **Needs** lessons 01, 02, 04.

# %% tags=["setup"]
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown

from ebmlearn import budget
from ebmlearn.checks import lesson07 as q
from ebmlearn.course import setup, show
from ebmlearn.datasets import load, toy
from ebmlearn.energies import MLPEnergy
from ebmlearn.metrics.divergence import energy_distance, kl_on_grid
from ebmlearn.metrics.images import report
from ebmlearn.metrics.partition import quadrature
from ebmlearn.objectives import contrastive_divergence
from ebmlearn.pretrained import load_pretrained
from ebmlearn.resources import resource
from ebmlearn.samplers import Langevin, ReplayBuffer, sample
from ebmlearn.training.ablate import Table
from ebmlearn.training.cd import CDConfig, CDState, fresh_samples, run_cd, train_cd
from ebmlearn.training.state import BatchStream, RunOptions, ema_of, make_fabric
from ebmlearn.viz import energy_map, image_grid, points
from ebmlearn.widgets.lesson07 import (
    FEATURES,
    POINTS,
    THETA,
    CDExplorer,
    data_law,
    draw_cd,
    metropolis,
)

setup(seed=0)
STEPS = budget(250, smoke=25)  # updates of the live run in the plane
CHAIN = budget(1500, smoke=60)  # steps of a long chain
N_IMAGES = budget(500, smoke=100)  # digits that are sampled and judged

# %% [markdown]
# ## 1 · The gradient of the likelihood
#
# Fit $p_\theta(x) = e^{-E_\theta(x)} / Z_\theta$ to data by minimising $L(\theta) = \mathbb E_{\text{data}}[-\log p_\theta] = \mathbb E_{\text{data}}[E_\theta] + \log Z_\theta$. The trouble is
# $\log Z_\theta$. Its gradient is an expectation:
#
# $$\partial_\theta \log Z_\theta = \frac1{Z_\theta}\int -\partial_\theta E_\theta(x)\,e^{-E_\theta(x)}\,dx = -\,\mathbb E_{p_\theta}[\partial_\theta E_\theta],
# \qquad
# \partial_\theta L = \mathbb E_{\text{data}}[\partial_\theta E_\theta] - \mathbb E_{p_\theta}[\partial_\theta E_\theta].$$
#
# Push the energy down where the data are, up where the model's own samples are; stop where the two balance. The negatives of lesson 02 are no
# longer a choice: likelihood asks for samples of the model.
#
# **Check.** On a grid $Z$ is a sum, so autograd through $\log Z$ gives the left side and two weighted sums give the right one. First an energy with
# four parameters, $E_\theta(x) = \theta \cdot (x, x^2, x^4, \sin 2x)$, then a network with 321 parameters.

# %% tags=["nbval-check-output"]
data = data_law()  # two bumps on a grid of [-4, 4], shares 0.7 and 0.3


def gradient_both_ways(energy_on_grid, parameters):
    """Gradient of the exact negative log-likelihood by autograd, and E_data[dE] - E_model[dE]."""
    e = energy_on_grid()
    nll = (data * e).sum() + torch.logsumexp(-e, 0)
    by_autograd = torch.autograd.grad(nll, parameters, retain_graph=True)
    model = torch.softmax(-e, 0).detach()
    by_identity = torch.autograd.grad(((data - model) * e).sum(), parameters)
    return [torch.cat([g.flatten() for g in grads]) for grads in (by_autograd, by_identity)]


theta = THETA.clone().requires_grad_(True)
a, b = gradient_both_ways(lambda: theta @ FEATURES, [theta])
assert (a - b).abs().max() < 1e-10
show("gradient", a)

# confinement adds 0.1 |x|²: the wall of lesson 01, so that Z is finite
network = MLPEnergy(1, hidden_features=(16, 16), confinement=0.1).double()
a, b = gradient_both_ways(lambda: network(POINTS[:, None]), list(network.parameters()))
assert (a - b).norm() < 1e-10 * a.norm()
show("parameters of the network", len(a))
show("both sides agree to ten digits", True)

# %% [markdown]
# **The sign.** $\log Z$ *falls* where energies rise, so its gradient is *minus* a mean. For $E = kx^2/2$ it is $-1/2k$. With the sign lost both terms pull energies down, and the gradient does not vanish where it should, at
# data from $\mathcal N(0, 1)$ and $k = 1$:

# %% tags=["nbval-check-output"]
# Error: the gradient of log Z with the wrong sign
line = torch.linspace(-12, 12, 4801, dtype=torch.float64)
for value in (2.0, 1.0):
    k = torch.tensor(value, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(torch.logsumexp(-k * line**2 / 2, 0), k)
    mean = (torch.softmax(-k.detach() * line**2 / 2, 0) * line**2 / 2).sum()  # of dE/dk
    assert abs(slope + mean) < 1e-10 and abs(slope + 1 / (2 * value)) < 1e-10
    show(f"k = {value:g}: gradient of log Z, minus the mean of dE/dk", [slope, -mean])
    losses = torch.stack([0.5 - mean, 0.5 + mean]).round(decimals=9)
    show(f"k = {value:g}: gradient of the loss, with the wrong sign", losses)

# %% [markdown]
# **With ebmlearn.** On samples the expectations become means, and `contrastive_divergence(e_pos, e_neg)` is `e_pos.mean() - e_neg.mean()`. It
# is a **surrogate**: only its gradient means something. With exact samples of $p_\theta$ it must agree with the exact gradient within five standard
# errors.

# %%
N_EXACT = budget(20_000, smoke=2_000)
exact = FEATURES @ (data - torch.softmax(-THETA @ FEATURES, 0))
draw = lambda p: POINTS[torch.multinomial(p, N_EXACT, replacement=True)]
features = lambda x: torch.stack([x, x**2, x**4, torch.sin(2 * x)])
x_pos, x_neg = draw(data), draw(torch.softmax(-THETA @ FEATURES, 0))
loss = contrastive_divergence(theta @ features(x_pos), theta @ features(x_neg))
(estimate,) = torch.autograd.grad(loss, theta)
variance = features(x_pos).var(-1) + features(x_neg).var(-1)
z = (estimate - exact) / (variance / N_EXACT).sqrt()
assert z.abs().max() < 5
show("exact gradient", exact)
show("from samples", estimate)
show("standard error", (variance / N_EXACT).sqrt())

# %% [markdown]
# ### Exercise 1: the surrogate
# Given an energy, data `x_pos[P, D]` and samples `x_neg[N, D]`, return the loss with that gradient. The samples came out of a sampler and may still carry
# its graph: they are constants here.


# %% tags=["exercise"]
def surrogate(energy, x_pos, x_neg):
    """A number whose gradient in the parameters is that of the negative log-likelihood."""
    ### BEGIN SOLUTION
    return energy(x_pos).mean() - energy(x_neg.detach()).mean()
    ### END SOLUTION


# %% tags=["check"]
q.surrogate.check(surrogate)

# %% [markdown]
# ## 2 · Why a loss near zero says nothing
#
# Take $E = \theta x^2/2$ and data from $\mathcal N(0, 1)$. Everything is known: the model is $\mathcal N(0, 1/\theta)$, the surrogate's value is $(\theta-1)/2$, the true
# loss is $\theta/2 + \tfrac12\log(2\pi/\theta)$, and the gradients of both are $(1 - 1/\theta)/2$.

# %% tags=["nbval-check-output"]
# Error: the contrastive value is no likelihood
print("theta  surrogate   -log likelihood   gradient of both")
for value in (0.25, 1.0, 4.0):
    t = torch.tensor(value, dtype=torch.float64, requires_grad=True)
    in_data, in_model = 1.0, 1 / value  # mean x²
    loss = 0.5 * t * in_data - 0.5 * t * in_model
    nll = 0.5 * t + 0.5 * torch.log(2 * torch.pi / t)
    (grad,), (grad_nll,) = torch.autograd.grad(loss, t), torch.autograd.grad(nll, t)
    assert abs(grad.item() - 0.5 * (1 - 1 / value)) < 1e-12 and abs(grad - grad_nll) < 1e-12
    print(f"{value:5.2f}{loss.item():11.3f}{nll.item():18.3f}{grad.item():19.3f}")

# %% [markdown]
# The best model has surrogate 0 and so has every flat energy. Too wide a model has a *lower* surrogate (-0.375) than the perfect one. The value
# compares two groups of points under the *same* $\theta$; nothing compares one $\theta$ with another, since $\log Z$ is missing. Do not stop early on it, do not select models by
# it. Watch samples, distances between samples and data, and, where it can be had, $\log Z$ (lesson 06).
#
# ## 3 · Contrastive divergence and its bias
#
# Samples of $p_\theta$ cost a long chain at each update. **CD-$k$** (Hinton, 2002) starts the chain at the data and takes only $k$ steps. Its law after
# $k$ steps is not $p_\theta$, so the gradient is biased. On a grid the chain is a matrix $M$ and its law is a vector, so the bias can be seen without noise.
#
# ### Exercise 2: the law after k steps
# $M_{ij}$ is the probability to go from $i$ to $j$. Return the law of a chain that starts from `p` and takes `k` steps.


# %% tags=["exercise"]
def after_steps(M, p, k):
    """M[n, n] with rows that sum to 1, p[n] -> [n]."""
    ### BEGIN SOLUTION
    for _ in range(k):
        p = p @ M
    return p
    ### END SOLUTION


# %% tags=["check"]
q.after_steps.check(after_steps)

# %% [markdown]
# The chain is Metropolis with a Gaussian proposal, as a matrix (`metropolis` in `ebmlearn.widgets.lesson07`, five lines). Its second largest eigenvalue
# $\rho$ says how fast what remains of the start dies out, so for large $k$ the bias must fall like $\rho^k$: a sharp prediction.

# %%
energies = THETA @ FEATURES
model = torch.softmax(-energies, 0)
M = metropolis(energies, scale=0.3)
assert (M.sum(1) - 1).abs().max() < 1e-12 and (model @ M - model).abs().max() < 1e-14
rho = torch.linalg.eigvals(M).real.sort(descending=True).values[1].item()

ks = [1, 2, 5, 10, 20, 50, 100, 200, 300, 400, 500]
law, done, bias, cosine = data.clone(), 0, [], []
for k in ks:
    while done < k:
        law, done = law @ M, done + 1
    cd = FEATURES @ (data - law)
    bias.append(((cd - exact).norm() / exact.norm()).item())
    cosine.append(torch.cosine_similarity(cd, exact, dim=0).item())
predicted, seen = rho**100, bias[ks.index(500)] / bias[ks.index(400)]
assert abs(seen / predicted - 1) < 0.01
assert bias == sorted(bias, reverse=True)
show("relative bias at k = 1, 10, 100", [bias[ks.index(k)] for k in (1, 10, 100)])
show("cosine with the exact gradient at k = 1", cosine[0])
show("bias at 500 over bias at 400", seen)
show("rho to the power 100", predicted)

# %% tags=["figure"] alt="Left: data with two bumps, the model, and the law of the chain after 20 steps, which has the model's shape but still nearly the data's shares of the two bumps. Middle: the four components of the gradient; the three large ones of CD-20 have the likelihood's sign and are too small. Right: the bias against k on a logarithmic axis, first a fast fall, then a straight line with the slope of rho to the power k."
fig, axes = plt.subplots(1, 3, figsize=(12.0, 3.3))
draw_cd(axes[:2], 20, 0.3)
axes[2].plot(ks, bias, "o-", label="bias of CD-$k$, relative")
line = torch.arange(50, 501)
axes[2].plot(line, bias[-1] * rho ** (line - 500.0), "--", label=r"slope of $\rho^k$")
axes[2].set(yscale="log", xlabel="$k$")
axes[2].legend()

# %% [markdown]
# Two time scales. Within twenty steps the chain has learned the *shape* of each bump; how much mass each holds takes hundreds, because a chain
# must cross between them. So CD learns local shape well and shares between modes badly. Its direction is good from the first step on; it is mostly
# the size that is wrong. And if the model can equal the data, the bias vanishes at the solution for *every* $k$: data started at $p_\theta$ stay there.
#
# Move $k$, and the width of the proposal: is there a width for which ten steps are enough?

# %% tags=["widget"]
CDExplorer()

# %% [markdown]
# ## 4 · Persistent chains and the replay buffer
#
# Chains that start afresh at each update never get far. But $\theta$ changes little from one update to the next, so yesterday's samples are almost
# samples of today's model. **Persistent CD** (Tieleman, 2008) keeps the chains; with many more chains than a batch they live in a **replay
# buffer**: draw some, move them $k$ steps, write them back *to the slots they were read from*. Now and then one restarts.
#
# ### Exercise 3: one turn of the buffer
# `index, x = buffer.draw(fresh)` reads a batch: `index` says from which slots, `x` are the chains there, a few of them restarted from `fresh`.
# `move(x)` runs the sampler. `buffer.store(index, x)` writes. Put the three together and return the moved points.


# %% tags=["exercise"]
def persistent_step(buffer, fresh, move):
    """Draw chains, move them, store them; returns the moved points."""
    ### BEGIN SOLUTION
    index, x = buffer.draw(fresh)
    x = move(x)
    buffer.store(index, x)
    return x
    ### END SOLUTION


# %% tags=["check"]
q.persistent_step.check(persistent_step)

# %% [markdown]
# **From scratch**, one update of a network on eight Gaussians is a dozen lines. **With ebmlearn** the same is `train_cd`, a generator: your `for` loop is
# the callback. From the same start both take the same step.

# %%
ring = toy.eight_gaussians()
kernel = Langevin(step_size=0.01)


def new_run(seed=0):
    """Energy, optimizer, data batches, buffer, generator and an average of the weights: a state of `train_cd`."""
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    x = ring.sample(5000, generator=g).float()
    energy = MLPEnergy(2, hidden_features=(64, 64, 64), confinement=0.05)
    # no momentum (beta_1 = 0): the samples change with each update, old gradients mislead
    optimizer = torch.optim.Adam(energy.parameters(), lr=5e-3, betas=(0.0, 0.999))
    fresh = lambda n: 8 * torch.rand(n, 2, generator=g) - 4
    buffer = ReplayBuffer(fresh(1000), restart_prob=0.02)
    wrapped, optimizer = fabric.setup(energy, optimizer)
    batches = BatchStream(x, batch_size=128, seed=seed)
    state = CDState(
        energy=wrapped,
        optimizer=optimizer,
        ema=ema_of(energy, 0.99),
        generator=g,
        batches=batches,
        buffer=buffer,
    )
    return state, fresh


fabric = make_fabric()  # Lightning Fabric: the same loop runs on a CPU or a GPU
state, fresh = new_run()
by_hand = state.energy.module
(x_pos,) = state.batches.next()
index, x = state.buffer.draw(fresh(128), generator=state.generator)
for _ in range(20):
    x = x.detach().requires_grad_(True)
    (grad,) = torch.autograd.grad(by_hand(x).sum(), x)
    x = x - 0.01 * grad + 0.02**0.5 * torch.randn(x.shape, generator=state.generator)
x_neg = x.detach()
state.buffer.store(index, x_neg)
loss = by_hand(x_pos).mean() - by_hand(x_neg).mean()
state.optimizer.zero_grad()
loss.backward()
state.optimizer.step()

again, fresh = new_run()
next(train_cd(fabric, again, kernel=kernel, mcmc_steps=20, fresh=fresh))
for p_hand, p_ebmlearn in zip(by_hand.parameters(), again.energy.parameters()):
    torch.testing.assert_close(p_hand, p_ebmlearn, rtol=1e-4, atol=1e-5)

# %% [markdown]
# Now train on, and look at what the loss hides. In the plane $Z$ is a sum over a grid, so the exact **Kullback-Leibler divergence**
# $\mathrm{KL}(p_{\text{data}} \,\|\, p_\theta) = \mathbb E_{\text{data}}[\log p_{\text{data}} - \log p_\theta]$, 0 only where the two are equal, can be followed beside the loss.

# %%
box = dict(low=-6, high=6, cells=120)
true = quadrature(ring, **box).log_density
history = []
for metrics in train_cd(fabric, again, kernel=kernel, mcmc_steps=20, fresh=fresh):
    if again.step % (STEPS // 25) == 0:
        density = quadrature(again.energy.module, **box).log_density
        history.append(
            (again.step, metrics["loss"].item(), kl_on_grid(true, density.float()).item())
        )
    if again.step >= STEPS:
        break
steps, losses, kls = zip(*history)
assert min(kls) < kls[0]
show("KL at the first and the last look", [kls[0], kls[-1]], digits=2)
show("loss at the first and the last look", [losses[0], losses[-1]], digits=2)

# %% tags=["figure"] alt="Left: over the updates the KL divergence falls from nearly 3 to about 0.5, while the loss hovers near zero all the time. Right: the learned energy, a dark ring as wide as the circle of the eight Gaussians, with the chains of the buffer all along it."
fig, (left, right) = plt.subplots(1, 2, figsize=(10.0, 3.6))
left.plot(steps, kls, "o-", label="KL(data, model), exact")
left.plot(steps, losses, "s--", label="loss: mean $E(x^+)$ - mean $E(x^-)$")
left.axhline(0, color="black", linewidth=0.8)
left.set(xlabel="update")
left.legend()
energy_map(again.energy.module.requires_grad_(False), right, extent=(-4, 4, -4, 4))
points(again.buffer.x, right)

# %% [markdown]
# The loss is as near to zero at the start, where the model knows nothing, as at the end. The KL, and the picture, say what has been learned so far: the
# circle, not yet the eight Gaussians on it. How good would a perfect circle without modes be? Averaging the data's density over all rotations gives it:

# %%
cells = quadrature(ring, **box).x
turns = torch.arange(64) * (2 * torch.pi / 64)
rotate = torch.stack(
    [torch.stack([turns.cos(), -turns.sin()], -1), torch.stack([turns.sin(), turns.cos()], -1)], -2
)
averaged = torch.stack([-ring(cells @ r.T) for r in rotate]).logsumexp(0)
perfect_circle = kl_on_grid(true, averaged).item()
show("KL of a perfect circle without modes", perfect_circle, digits=2)

# %% [markdown]
# Where should chains start? The same network trained three ways, 600 updates of 20 steps, three seeds
# (`python experiments/lesson07_landscapes.py`; the numbers below and in the next section are its table, mean ± standard error over the seeds; slopes $|\nabla E|$ and heights are
# those over the square $[-4, 4]^2$):

# %%
table = Table.read(
    resource("data/results/lesson07_landscapes.csv"),
    command="python experiments/lesson07_landscapes.py",
)


def print_rows(*names):
    columns = ("KL", "median slope", "steepest slope", "highest - lowest")
    print(f"{'':<22}" + "".join(f"{c:>19}" for c in columns))
    for name in names:
        cells = (table.mean_and_error(name, c) for c in columns)
        print(f"{name:<22}" + "".join(f"{f'{m:.2f} ± {e:.2f}':>19}" for m, e in cells))


print_rows("chains from noise", "chains from data", "buffer")
show("KL with the buffer, seed by seed", table.values("buffer", "KL"), digits=2)

# %% [markdown]
# Chains **from noise** do not arrive in 20 steps, so the energy is bent until they do: steep, with a bad KL (section 7 shows what it is good
# for). Chains **from data** (CD-20) are as good as the buffer or better here: eight separate modes with equal shares are what starts at the data get
# for free. With the **buffer** two of three seeds stand at the perfect circle's KL after 600 updates; the modes take longer. Where CD fails is
# a well that the data never visit: no chain that starts at the data reaches it, so nothing fills it. Chains of a buffer live there.
#
# ## 5 · Regularisers that smooth the landscape
#
# Likelihood does not mind cliffs; samplers do. With step $\eta$, Langevin is stable only where the curvature stays below $2/\eta$ (lesson 04). Four
# ways, side by side, all with a buffer:
#
# - **none**, the row `buffer`;
# - **energy L2**: $\lambda\,\big(\mathbb E[E(x^+)^2] + \mathbb E[E(x^-)^2]\big)$, here $\lambda = 0.1$. Pins the level, limits the heights;
# - **gradient penalty**: $\lambda\,\mathbb E\,|\nabla_x E|^2$ at data and samples, here $\lambda = 0.1$. Limits slopes on average;
# - **spectral norm**: every layer's largest singular value is 1, so slopes are bounded everywhere by a constant, for ever.

# %%
print_rows("buffer", "energy L2 0.1", "gradient penalty 0.1", "spectral norm")

# %% tags=["figure"] alt="Four learned energies on eight Gaussians with one colour scale from the minimum up: without a regulariser a steep ring-shaped valley round a high hill, with energy L2 and the gradient penalty shallower ones, with spectral norm a nearly flat bowl. Below, the energies along a line through the centre: in the same order the hill gets lower, until with spectral norm there is none, and the outer walls less steep."
landscapes = load_pretrained("lesson07-landscapes")
NAMES = ("buffer", "energy-L2-0_1", "gradient-penalty-0_1", "spectral-norm")
TITLES = ("none", "energy L2", "gradient penalty", "spectral norm")
fig = plt.figure(figsize=(12.0, 5.4))
panels = fig.add_gridspec(2, 4, height_ratios=(1.3, 1))
below = fig.add_subplot(panels[1, :])
line = torch.stack([torch.linspace(-4, 4, 400), torch.zeros(400)], -1)
for i, (name, title, style) in enumerate(zip(NAMES, TITLES, ("-", "--", "-.", ":"))):
    ax = fig.add_subplot(panels[0, i])
    e = landscapes[name](line)
    bottom = e.min().item()
    energy_map(
        landscapes[name], ax, extent=(-4, 4, -4, 4), limits=(bottom, bottom + 10), colorbar=False
    )
    ax.set(title=title, xlabel="", ylabel="")
    below.plot(line[:, 0], e - bottom, style, linewidth=2, label=title)
below.set(xlabel="$x_1$ at $x_2 = 0$", ylabel="$E$ above its lowest", ylim=(-0.5, 16))
below.legend(ncols=4, loc="upper center")

# %% [markdown]
# A regulariser is a trade: slopes and heights fall, KL rises. Energy L2 halves the slopes at a price that three seeds hardly show. The gradient penalty
# goes further on both counts. A bound of 1 on every layer is too tight for these data: it cannot even dig the circle. On images, where steps are large and
# temperatures tiny, that price is paid gladly; in the plane, with an honest temperature, it need not be.
#
# ## 6 · The same trainer on handwritten digits
#
# 1297 images of 8 x 8 pixels to train on, 500 to test. `ebmlearn train cd --data digits` runs `train_cd` with a replay buffer, energy L2 and
# $E(x) = \tfrac12|f(x)|^2$, with $f$ a network; it takes a minute or two of one CPU core. Its weights come with the course. First a short live run of the command's own function:

# %%
LIVE = budget(60, smoke=4)
with tempfile.TemporaryDirectory() as folder:
    live = run_cd(CDConfig(data="digits", steps=LIVE), RunOptions(out=Path(folder)))
show("updates done", live.step)

# %% [markdown]
# Now samples of the finished energy, from fresh uniform noise: twenty rounds of 30 Langevin steps (60 in the last), with a small random shift, zoom and rotation
# between rounds that helps chains to mix, as in training. The step is 0.1 and the noise 0.01, a temperature of $0.01^2 / (2 \cdot 0.1) = 5 \cdot 10^{-4}$: not
# the Boltzmann distribution of $E$ but a cold one, which is part of the recipe and has to be said.

# %%
digits = load_pretrained("lesson07-digits")
config = CDConfig(data="digits")
show("temperature", Langevin(step_size=config.step_size, noise=config.noise).temperature, digits=4)
generator = torch.Generator().manual_seed(0)
from_energy = fresh_samples(digits, config, (1, 8, 8), N_IMAGES, generator=generator)

train = load("digits", split="train")
test = load("digits", split="test")
x_train, x_test = train.dequantised(generator=generator), test.dequantised(generator=generator)

flat = x_train.flatten(1)
gaussian = torch.distributions.MultivariateNormal(flat.mean(0), flat.T.cov() + 1e-6 * torch.eye(64))
blurred = gaussian.sample((N_IMAGES,)).reshape(-1, 1, 8, 8)
samples = {
    "energy, from fresh noise": from_energy,
    "one full Gaussian": blurred,
    "the same, clamped": blurred.clamp(0, 1),
    "uniform noise": torch.rand(N_IMAGES, 1, 8, 8),
}
outside = (blurred != blurred.clamp(0, 1)).float().mean()
show("share of the Gaussian's pixels outside [0, 1]", outside, digits=2)

# %% tags=["figure"] alt="Four rows of sixteen images. First row: digits from the test set. Second: samples of the energy, readable digits with rough strokes. Third: samples of one Gaussian, blurred blobs of which a few resemble digits. Fourth: noise."
rows = {"test data": x_test, **{k: v for k, v in samples.items() if k != "one full Gaussian"}}
fig, axes = plt.subplots(4, 1, figsize=(10.0, 3.6))
for ax, (name, images) in zip(axes, rows.items()):
    image_grid(images[:16].clamp(0, 1), ax, columns=16)
    ax.set_title(name.replace("the same", "one full Gaussian"), loc="left", fontsize=9)

# %% [markdown]
# How good are they? Two metrics, always with a floor, the value of 500 held-out digits:
#
# - **pixel energy distance**, a distance between two sets of vectors, 0 when they have one law (our estimate is unbiased, so it may then fall a little below 0);
# - **Frechet distance** between Gaussians fitted to the *features* of a digits classifier (99 % right on the test set), and from the same classifier the **class
#   entropy** (of the average prediction: $\log 10 = 2.30$ when all ten classes appear equally) and its mean confidence.

# %%
classifier = load_pretrained("digits-classifier")
judged = report(
    samples,
    train=x_train,
    test=x_test,
    features=classifier.features,
    logits=classifier,
    n=N_IMAGES,
)
print(
    f"{'':<26}{'pixel energy distance':>22}{'Frechet':>10}{'class entropy':>15}{'confidence':>12}"
)
pixel = {}
for row in judged.rows:
    images = samples.get(row.name, x_test)[:N_IMAGES]
    pixel[row.name] = energy_distance(images, x_train).item()
    print(
        f"{row.name:<26}{pixel[row.name]:>22.3f}{row.frechet:>10.1f}{row.entropy:>15.2f}{row.confidence:>12.2f}"
    )
ours = judged["energy, from fresh noise"]
assert ours.frechet < judged["the same, clamped"].frechet < judged["uniform noise"].frechet
assert ours.entropy > 2.0

# %% [markdown]
# **In pixels the Gaussian wins.** It has the data's means and covariances by construction, and in 64 dimensions the energy distance sees little else. Digits
# are what lies beyond covariances. **In features** of a network that knows digits the order turns round. Two cautions:
#
# - Unclamped, the Gaussian comes close even there. About a sixth of its pixels lie outside $[0, 1]$, so its samples are no images; clamped into images it falls far behind.
#   The Frechet distance fits Gaussians itself and is kind to them. Look at the pictures, and at more than one column.
# - The floor is not zero, since 500 images give a rough covariance: a perfect model would score the floor. One run is one draw, so do not
#   rank models by it. The next cell shows the table over training seeds and sampler seeds, with standard errors, precision and recall, and the buffer's chains.

# %%
Markdown(resource("data/results/digits_cd.md").read_text().split("\n", 1)[1])

# %% [markdown]
# ## 7 · What goes wrong, and how you see it
#
# **Good samples, wrong density.** Take the model of section 4 whose chains always started from noise and ran 20 steps. Sample it exactly so, and then for much longer.


# %%
def distance_after(energy, steps):
    g = torch.Generator().manual_seed(0)
    start = 8 * torch.rand(1000, 2, generator=g) - 4
    x = sample(energy, kernel, start, steps, generator=g)
    return x, energy_distance(x, ring.sample(2000, generator=g).float()).item()


found, distance = {}, {}
for name in ("chains-from-noise", "chains-from-data"):
    for n in (20, CHAIN):
        found[name, n], distance[name, n] = distance_after(landscapes[name], n)
        show(f"{name}, energy distance after {n} steps", distance[name, n], digits=3)
g = torch.Generator().manual_seed(1)
floor = energy_distance(ring.sample(1000, generator=g), ring.sample(2000, generator=g)).item()
show("floor: fresh data against data", floor, digits=3)

# %% tags=["figure"] alt="The energy of the model trained on chains from noise, twice, with the eight centres of the data as white crosses. Left, after 20 steps from noise, the points lie evenly in the eight modes. Right, after a long run, they have left the modes on the diagonals almost empty and crowd the others."
fig, axes = plt.subplots(1, 2, figsize=(9.0, 3.8), sharey=True)
for ax, n in zip(axes, (20, CHAIN)):
    energy_map(
        landscapes["chains-from-noise"], ax, extent=(-4, 4, -4, 4), contours=0, colorbar=False
    )
    points(found["chains-from-noise", n], ax, size=4)
    points(ring.means.float(), ax, color="white", marker="x", size=50)
    ax.set_title(f"chains from noise, after {n} steps")

# %% [markdown]
# After exactly as many steps as in training these samples are at the floor: one could not ask for better. The density behind them is wrong, as its KL in section 4
# says, and a long chain shows it (the model trained on chains from the data drifts about a tenth as far). The energy has learned to *steer* chains from noise to the data in 20 steps. That is a fine generator. It is no model of the
# density: do not read its energies as $-\log p$. The remedy is a look at long chains, started at the data too.
#
# **The sign.** The commonest bug of all: `e_neg.mean() - e_pos.mean()`. Data go up, samples go down, chains run after the samples. Look at the two
# mean energies, not at the loss.


# %%
def wrong_sign(updates=budget(60, smoke=10)):
    state, fresh = new_run()
    energy, gap = state.energy.module, []
    for _ in range(updates):
        (x_pos,) = state.batches.next()
        index, x = state.buffer.draw(fresh(128), generator=state.generator)
        try:
            x_neg = sample(energy, kernel, x, 20, generator=state.generator)
        except FloatingPointError as error:
            print(f"update {len(gap)}: {str(error)[:75]}")
            break
        state.buffer.store(index, x_neg)
        loss = energy(x_neg).mean() - energy(x_pos).mean()  # the wrong way round
        state.optimizer.zero_grad()
        loss.backward()
        state.optimizer.step()
        gap.append((energy(x_pos).mean() - energy(x_neg).mean()).item())
    return gap


gap = wrong_sign()
assert gap[-1] > gap[0]
show("mean E(data) - mean E(samples), first and last update", [gap[0], gap[-1]], digits=1)

# %% [markdown]
# A gap that grows steadily to one side is the sign of it; `ebmlearn train` stops when energies pass a bound, names the step and the last good
# checkpoint. The other usual signs: the gap oscillates ever wider (learning rate too high, or too few chain steps), the chains all look alike
# (buffer written to the wrong slots: exercise 3), samples are saturated blobs (temperature far too low).
#
# ### Open exercise: a better generator for less
# Change one thing in `CDConfig(data="digits", ...)` (`energy_l2`, `mcmc_steps`, `noise`, `restart_prob`), predict what will happen to the samples' Frechet
# distance and class entropy, then train from the command line (`ebmlearn train cd --help` lists the options) and measure with the cells of section 6.
# With `noise=0.0`? With `mcmc_steps=5`?


# %% tags=["exercise"]
def my_config():
    """A configuration of your own for `run_cd`."""
    ### BEGIN SOLUTION
    return CDConfig(data="digits", restart_prob=0.02, steps=2200)
    ### END SOLUTION


# run_cd(my_config(), RunOptions(out=Path("runs/mine")))

# %% [markdown] tags=["solution"]
# **What to expect.** More restarts put chains that are still noise into the pictures of the buffer: take more steps before you judge them. Fewer chain steps
# make shorter-sighted negatives. Without energy L2 nothing limits heights and slopes (section 5): watch the energies and the gradient norm.

# %% [markdown] tags=["quiz"]
# 1. The training loss of an energy-based model has been near 0 for an hour. What do you know?
#    - [ ] Training has converged :: A flat, untrained energy has loss 0 as well.
#    - [x] That data and samples have about equal mean energy, nothing more :: The value compares two sets of points under one $\theta$ and knows nothing of $\log Z$.
#    - [ ] The samples are good :: Equal mean energies do not make equal distributions.
# 2. Why must the samples be detached?
#    - [ ] To save memory only :: It does save memory, but a graph left in place changes the gradient.
#    - [x] The gradient formula holds the samples fixed :: $\mathbb E_{p_\theta}[\partial_\theta E_\theta(x)]$ differentiates $E_\theta$ at given points; the sampler's dependence on $\theta$ is not part of it.
#    - [ ] Otherwise the sampler's noise is differentiated :: The noise does not depend on $\theta$; the drift does.
# 3. In the exact experiment CD-20 is biased mostly because
#    - [x] chains started at the data keep the data's shares of the two bumps :: The slowest part of the chain, the one with eigenvalue $\rho$, is mass moving between wells.
#    - [ ] Metropolis rejects too much :: Rejections are part of the exact chain, which has the right stationary law.
#    - [ ] twenty steps do not move a chain at all :: Within each bump twenty steps are plenty.
# 4. You shrink all slopes with a strong gradient penalty. What do you pay?
#    - [ ] Nothing, smoother is better :: The table of section 5 says otherwise: KL rises.
#    - [ ] The chains become unstable :: The reverse: lower curvature makes larger steps stable.
#    - [x] Wells too shallow for the data's density :: $-\log p$ of the data has the slopes it has; a bound below them cannot fit it.
# 5. Generated digits have pixel energy distance 0.018 from the data, samples of a fitted Gaussian 0.004. The generated digits are therefore
#    - [ ] worse than the Gaussian's :: By this metric, which sees little beyond means and covariances in 64 dimensions, and the Gaussian is fitted to those.
#    - [x] to be judged in features that know digits, beside the floor, and by eye :: There the order turns round; no single number settles it.
#    - [ ] perfect, 0.018 is close to 0 :: Compare with the floor of held-out data, not with 0.

# %% [markdown]
# ## Summary
#
# - $\partial_\theta L = \mathbb E_{\text{data}}[\partial_\theta E] - \mathbb E_{p_\theta}[\partial_\theta E]$, exact to rounding where $Z$ is known.
# - The surrogate has this gradient and a meaningless value. Watch samples, gaps, distances with a floor, exact divergences where you can.
# - The bias of CD-$k$ falls like $\rho^k$, with $\rho$ the chain's second eigenvalue: shapes first, shares between modes last. Buffers carry chains on.
# - Penalties trade fit for smoothness; measure both.
# - Good short-run samples do not make a good density.
#
# **Next:** 08 trains without any sampling.
#
# ## References
#
# - G. E. Hinton, *Training products of experts by minimizing contrastive divergence* (2002).
# - T. Tieleman, *Training restricted Boltzmann machines using approximations to the likelihood gradient* (2008).
# - Y. Du, I. Mordatch, *Implicit generation and modeling with energy-based models* (2019).
# - E. Nijkamp, M. Hill, T. Han, S.-C. Zhu, Y. N. Wu, *On the anatomy of MCMC-based maximum likelihood learning of energy-based models* (2020).
# - T. Miyato, T. Kataoka, M. Koyama, Y. Yoshida, *Spectral normalization for generative adversarial networks* (2018).
# - M. Heusel, H. Ramsauer, T. Unterthiner, B. Nessler, S. Hochreiter, *GANs trained by a two time-scale update rule converge to a local Nash
#   equilibrium* (2017).

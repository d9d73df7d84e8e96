# %% [markdown]
# # 11 · From RBM to GRBM
#
# **You will**
#
# - write the energy, both conditionals and the free energy of a Gaussian-Bernoulli RBM, and check each against a sum over all hidden states;
# - see that such a machine *is* a mixture of $2^H$ Gaussians, and build one by hand;
# - collapse the inner loop of Gibbs-Langevin sampling into one draw, in four lines, and see that dividing by the batch size is a temperature;
# - train on a mixture whose log-likelihood is exact, so that learning is measured, not looked at;
# - train on handwritten digits and place the result between simpler models; and tell a density from a generator.
#
# **Time** 60 minutes. **Needs** lessons 01 (partition function), 04 (Langevin, temperature) and 07 (contrastive divergence).

# %% tags=["setup"]
import itertools
import math
import warnings
from dataclasses import replace

import matplotlib.pyplot as plt
import torch
from sklearn.mixture import GaussianMixture as Mixture

from ebmlearn import budget
from ebmlearn.checks import lesson11 as q
from ebmlearn.course import setup, show
from ebmlearn.energies import GaussianBernoulliRBM
from ebmlearn.metrics import quadrature
from ebmlearn.metrics.images import class_statistics, extract, frechet_distance
from ebmlearn.metrics.partition_rbm import path_from_data, rbm_ais
from ebmlearn.pretrained import load_pretrained
from ebmlearn.samplers import GibbsLangevin, LoopedGibbsLangevin, MemoryGibbs, sample
from ebmlearn.training.rbm import build, rbm_preset, samples_from_noise
from ebmlearn.training.rbm_ablation import official, train
from ebmlearn.training.rbm_data import flat_data, three_gaussians
from ebmlearn.training.rbm_report import gaussian_log_likelihood
from ebmlearn.training.state import Diverged, make_fabric
from ebmlearn.viz import energy_map, image_grid, points
from ebmlearn.widgets.lesson11 import SweepExplorer, draw_sweeps, three_units

setup(seed=0)
UPDATES = budget(1_000, smoke=60)  # on the mixture in the plane
DIGITS = budget(4_000, smoke=60)  # on the digits
CHAINS = budget(20_000, smoke=4_000)  # where moments are compared


def seed(n):
    return torch.Generator().manual_seed(n)


# %% [markdown]
# ## 1 · Two kinds of units
#
# A **restricted Boltzmann machine** has visible units $x$, hidden binary units $z$, and couplings only between the two sides:
# $E(x, z) = -a^\top x - b^\top z - x^\top W z$. Nothing couples hidden units to each other, so given $x$ they are independent, and so is $x$ given $z$. For
# real-valued $x$, replace the visible side by a parabola; that is the **Gaussian-Bernoulli RBM**:
#
# $$E(x, z) = \sum_i \frac{(x_i - \mu_i)^2}{2 s_i^2} \;-\; \sum_{ij} \frac{x_i}{s_i^2} W_{ij} z_j \;-\; \sum_j b_j z_j , \qquad z_j \in \{0, 1\}.$$
#
# Completing the square gives the two conditionals, and summing each $z_j$ by itself the free energy:
#
# $$p(z_j = 1 \mid x) = \sigma(a_j), \quad a = W^\top (x / s^2) + b, \qquad p(x \mid z) = \mathcal N(\mu + W z,\; s^2), \qquad
# F(x) = \sum_i \frac{(x_i - \mu_i)^2}{2 s_i^2} - \sum_j \log(1 + e^{a_j}).$$
#
# From scratch:

# %%
rbm = GaussianBernoulliRBM(2, 6).double()
with torch.no_grad():
    for p in rbm.parameters():
        p.copy_(0.6 * torch.randn(p.shape, dtype=torch.float64, generator=seed(1)))
W, b, mu, s2 = (p.detach() for p in (rbm.W, rbm.b, rbm.mu, rbm.variance))


def joint(x, z):
    quadratic = ((x - mu) ** 2 / (2 * s2)).sum(-1)
    return quadratic - ((x / s2) @ W * z).sum(-1) - z @ b


def free(x):
    a = (x / s2) @ W + b
    return ((x - mu) ** 2 / (2 * s2)).sum(-1) - torch.log1p(a.exp()).sum(-1)


# %% [markdown]
# With `ebmlearn` the machine is a joint energy: `rbm(x, z)`, `rbm.given(z)`, `rbm.marginalise()`. And the **exact check**: six hidden units have 64 states;
# sum them all. The same sum gives $\log Z$, and quadrature over the plane must agree.

# %% tags=["nbval-check-output"]
states = torch.tensor(list(itertools.product([0.0, 1.0], repeat=6)), dtype=torch.float64)
x = torch.randn(50, 2, dtype=torch.float64, generator=seed(2))
by_sum = -torch.logsumexp(-joint(x[:, None], states), 1)
torch.testing.assert_close(free(x), by_sum, rtol=0, atol=1e-10)
torch.testing.assert_close(rbm.marginalise()(x).detach(), by_sum, rtol=0, atol=1e-10)
torch.testing.assert_close(rbm(x, states[:50]).detach(), joint(x, states[:50]), rtol=0, atol=1e-10)
on_a_grid = quadrature(rbm.marginalise(), low=-12, high=12, cells=400).log_partition
assert abs(on_a_grid - rbm.log_partition()) < 1e-6
show("from scratch, ebmlearn and the sum over 64 states agree", True)
show("log Z by enumeration and by quadrature agree to six digits", True)

# %% [markdown]
# ## 2 · A mixture in disguise
#
# Sum the other way. Given $z$, $x$ is a Gaussian around $\mu + Wz$; so $p(x)$ is a **mixture of $2^H$ Gaussians** with one common covariance, whose centres and
# weights are tied together by a few parameters. The weight of state $z$ is proportional to $\exp(b^\top z + (|\mu + W z|^2 - |\mu|^2)/2s^2)$. For two units $i$ and
# $j$ that are on together it contains $e^{W_i \cdot W_j / s^2}$: units whose weights point apart **inhibit** each other.
#
# That is enough to build by hand a machine for three bumps, without training: put $\mu$ at the centroid, let $W_k$ point from it to bump $k$, and set $b_k$ so that the weights
# come out right.

# %% tags=["nbval-check-output"]
bumps = three_gaussians()
by_hand = three_units()
log_weights, means = by_hand.components()
for k in range(8):
    on = f"{k & 1}{k >> 1 & 1}{k >> 2 & 1}"
    show(f"state {on}: centre {means[k].round().tolist()}, weight", log_weights[k].exp())
show(
    "dot products W1·W2, W1·W3, W2·W3",
    [round(v, 1) for v in (by_hand.W.T @ by_hand.W).detach()[[0, 0, 1], [1, 2, 2]].tolist()],
)

# %%
test = bumps.sample(4_000, generator=seed(3))
truth = -bumps(test).mean()
hand = by_hand.log_likelihood(test).detach().mean()
print(f"mean log-likelihood of 4000 points: the truth {truth:.3f}, three units by hand {hand:.3f}")
assert abs(truth - hand) < 0.01

# %% [markdown]
# ## 3 · Gibbs, Langevin, Gibbs-Langevin
#
# **Gibbs** alternates the two exact draws. **Gibbs-Langevin** (Liao et al. 2022) replaces the draw of $x$ by $K$ Langevin steps at fixed $z$,
#
# $$x \leftarrow x - \frac{\eta_k}{T}\, \nabla_x E(x, z) + \sqrt{2 \eta_k}\; \xi, \qquad \nabla_x E = \frac{x - m}{s^2}, \quad m = \mu + W z ,$$
#
# and costs $K$ products with $W$ as it is usually written. But at fixed $z$ the energy is a parabola, so the loop collapses. Four lines (in them $a_k$ and $b$ are numbers of the sampler, not
# the hidden units' $a_j$ and biases $b_j$):
#
# 1. A step multiplies the deviation $x - m$ by $a_k = 1 - \eta_k / (T s^2)$ and adds noise of variance $2 \eta_k$.
# 2. So $K$ steps multiply it by $b = \prod_k a_k$;
# 3. the noise of step $k$ is multiplied by all later factors, and variances add: $n^2 = \sum_k 2 \eta_k \prod_{l > k} a_l^2$.
# 4. Hence $x_K = m + b\,(x_0 - m) + n\,\xi$: **one draw, at a cost that does not depend on $K$**.
#
# Read line 4: Gibbs-Langevin is Gibbs *with memory* $b$. "Number of steps" and "step size" are one knob, plus the noise level. Gibbs is $b = 0$, $n = s\sqrt T$.

# %% tags=["nbval-check-output"]
kernel = GibbsLangevin(step_size=0.3, n_inner=10)  # eta in units of s², annealed by a cosine
loop = LoopedGibbsLangevin(kernel=kernel)
memory, noise = kernel.coefficients(torch.ones(1, dtype=torch.float64))
deviation, variance = 1.0, 0.0
for k in range(10):
    eta = 0.3 * (1 + math.cos(math.pi * k / 10)) / 2
    deviation, variance = (1 - eta) * deviation, (1 - eta) ** 2 * variance + 2 * eta
assert abs(memory.item() - deviation) < 1e-12 and abs(noise.item() ** 2 - variance) < 1e-12
show("memory b", memory.item(), digits=4)
show("noise n, in units of s", noise.item(), digits=4)

# %% [markdown]
# And the whole chain, collapsed against looped: same law, so means and variances must agree within five standard errors.

# %%
x0 = torch.full((CHAINS, 2), 3.0, dtype=torch.float64)
one_draw = sample(rbm, kernel, x0, 10, generator=seed(4))
ten_steps = sample(rbm, loop, x0, 10, generator=seed(5))
for name, f in (("mean", lambda v: v), ("second moment", lambda v: v**2)):
    a, c = f(one_draw), f(ten_steps)
    error = ((a.var(0) + c.var(0)) / CHAINS).sqrt()
    z = ((a.mean(0) - c.mean(0)) / error).abs().max().item()
    print(f"{name}: at most {z:.1f} standard errors apart")
    assert z < 5

# %% [markdown]
# The $K$-step chain is slightly too wide: for fixed $z$ its variance is $n^2/(1 - b^2)$, not $s^2$, the ULA bias of lesson 04. Choose the noise yourself,
# $n^2 = T s^2 (1 - b^2)$, and the same memory is *exact*: `MemoryGibbs`. Nothing has to be rejected.

# %% tags=["nbval-check-output"]
show("Gibbs-Langevin, stationary variance / s²", noise.item() ** 2 / (1 - memory.item() ** 2))
exact_memory, exact_noise = MemoryGibbs(memory=0.5).coefficients(torch.ones(1))
show(
    "MemoryGibbs(0.5), stationary variance / s²",
    exact_noise.item() ** 2 / (1 - exact_memory.item() ** 2),
)

# %% tags=["figure"] alt="Left: the energy of the three-unit machine with 400 chains after 30 sweeps, most of them in three bumps, some in a shallow well between. Right: bars of the shares of the eight hidden states; in the exact law only the three states with one unit on have visible weight, about a third each, and the chains' shares are near; about a twelfth of the chains are still in the empty state 000."
fig, axes = plt.subplots(1, 2, figsize=(9.0, 4.0))
seen = draw_sweeps(axes, 30, 0.3, 10, 1.0, 1.0, 6.0)
print(seen)

# %% [markdown]
# Move the sliders. Start at 0 sweeps and go up. Then: which step makes the memory 0.9, and what does it do to the shares? Shrink the weights until two units are on
# at once. Raise the temperature.

# %% tags=["widget"]
SweepExplorer()

# %% [markdown]
# ## 4 · Dividing by the batch size is a temperature
#
# Code for images often averages over the batch before it takes a gradient. In a loss that is harmless. In a *sampler* it is not: the step becomes
# $x - \eta\,\nabla E / B + \sqrt{2\eta}\,\xi$, which lesson 04 reads at a glance: it samples $e^{-E/T}$ with $T = B$. With $s = 1$ and $K = 10$:

# %% tags=["nbval-check-output"]
for batch in (1, 100, 512):
    released = GibbsLangevin.released(batch_size=batch, step_size=20.0 if batch > 1 else 0.3)
    b_, n_ = released.coefficients(torch.ones(1, dtype=torch.float64))
    spread = n_.item() / math.sqrt(1 - b_.item() ** 2)
    show(
        f"batch {batch:3d}: memory, spread of x given z",
        f"{b_.item():.3f}, {spread:.2f} (true value 1)",
    )

# %% [markdown]
# A chain trained at batch 512 and drawn from at batch 100 is another chain. And if $z$ keeps temperature 1, as in that code, the two conditionals belong to no joint law
# at all: $e^{-F}$ is then *not* the density that is sampled, and its log-likelihood says nothing about the samples. In `ebmlearn` the temperature is an argument, 1 unless
# you say otherwise, and never the batch size.
#
# ## 5 · Learning, measured
#
# The gradient of the mean negative log-likelihood is $\langle \partial F/\partial\theta \rangle_\text{data} - \langle \partial F/\partial\theta \rangle_\text{model}$ (lesson 07), and here both
# sides are closed forms: $\partial F / \partial W = -(x/s^2)\,\sigma(a)^\top$. Only the *samples* of the model have to come from chains. Four ways to get them:
#
# | chains start at | name |
# |---|---|
# | the data | CD-$k$ |
# | where they ended | persistent CD |
# | noise | modified CD (Liao et al. 2022) |
# | noise, then along a path of distributions to the model, with importance weights | annealed CD: annealed importance sampling (Neal 2001) inside the update |
#
# In the plane $\log Z$ is a quadrature, so we know at every update how good the model really is.


# %%
def exact(state, data):
    """Mean log-likelihood of the test points in their own units; log Z on a grid."""
    free_energy = state.rbm.marginalise()
    with torch.no_grad():
        log_z = quadrature(free_energy, low=-6, high=6, cells=240).log_partition
        x = state.scale(data.test)
        return float((-free_energy(x) - log_z).mean() - state.scale.log_det)


def curve(config, looks=20):
    """Train, and measure on the way."""
    state, data, steps = build(config, make_fabric())
    found = []
    while state.step < config.steps:
        next(steps)
        if state.step % max(config.steps // looks, 1) == 0:
            found.append((state.step, exact(state, data)))
    return state, found


annealed = replace(rbm_preset("gmm2d"), steps=UPDATES, learning_rate=0.03)
settings = {
    "annealed CD-5": annealed,
    "annealed CD-5, weights off": replace(annealed, annealed_weights=False),
    "persistent CD-5": replace(annealed, negatives="pcd"),
    "big first variance, b = 0, SGD": official(annealed),
}
runs = {name: curve(config) for name, config in settings.items()}
plane = flat_data("gmm2d")
truth = -float(three_gaussians()(plane.test).mean())
one_gaussian = gaussian_log_likelihood(plane.train, plane.test, ridge=0.0)
print(f"the true mixture {truth:.3f}, one Gaussian {one_gaussian:.3f}")
for name, (_, found) in runs.items():
    print(f"{name:30s} {found[-1][1]:.3f}")
if UPDATES >= 1_000:
    assert runs["annealed CD-5"][1][-1][1] > -4.2
    assert runs["annealed CD-5, weights off"][1][-1][1] < -4.6
    assert runs["big first variance, b = 0, SGD"][1][-1][1] < -5.5

# %% tags=["figure"] alt="Left: exact log-likelihood against updates. Annealed CD with weights climbs smoothly from one Gaussian to just below the truth; persistent CD swings and ends a little lower; without its weights annealed CD swings and then falls far below one Gaussian; the run from a big first variance stays on the line of one Gaussian. Right: the trained energy, three deep wells where the data are and three shallow ones between them."
fig, (left, right) = plt.subplots(1, 2, figsize=(11.0, 4.0))
styles = ("-", "--", "-.", ":")
for (name, (_, found)), style in zip(runs.items(), styles):
    left.plot(*zip(*found), style, label=name)
left.axhline(truth, color="black", linewidth=1)
left.axhline(one_gaussian, color="black", linewidth=1, linestyle="--")
left.text(0, truth + 0.05, "the truth")
left.text(0, one_gaussian + 0.05, "one Gaussian")
left.set(
    xlabel="update", ylabel="exact log-likelihood, nats", ylim=(one_gaussian - 1.2, truth + 0.4)
)
left.legend(fontsize=8)
best = runs["annealed CD-5"][0]
model = best.rbm.marginalise()
energy_map(lambda v: model(v).detach(), right, extent=(-2, 2, -2, 2), colorbar=False)
points(best.scale(plane.train), right, size=3)
right.set_title("standardised units")

# %% [markdown]
# ### What goes wrong, and how you see it
#
# **The one-Gaussian trap.** Started with large variances and $b = 0$, half of the units are on whatever $x$ is. The variance grows to the data's own spread, the
# weights stay small, and the samples look like *something*. The exact log-likelihood says: one Gaussian. Cure: start with small variances and units nearly off.
#
# **Weights of modes.** Short chains know the bumps, not their shares (lesson 04, section 6). Annealed CD carries the shares in its importance weights; switch them off and the same
# chains teach the wrong masses. A density plot hides that; the number does not.
#
# **Variances that part company.** One step $\eta$ for all dimensions is stable only while $|1 - \eta/(T s_d^2)| < 1$ for *every* $d$. When one learned variance falls, chains explode and
# the parameters become NaN. `ebmlearn` refuses such a step and names the dimension; with one step per dimension it cannot happen.

# %% tags=["nbval-check-output"]
uneven = GaussianBernoulliRBM(3, 2)
with torch.no_grad():
    uneven.log_var.copy_(torch.tensor([0.0, -4.0, 0.0]))
try:
    sample(uneven, GibbsLangevin(step_size=0.2, n_inner=10, scale="mean"), torch.zeros(1, 3), 5)
except ValueError as error:
    show("refused", str(error).split(". Lower")[0])

# %% [markdown]
# ## 6 · Digits
#
# Real data: the 8 x 8 digits, 1297 to train on and 500 held out, with uniform noise over each grey level (without it a density on 17 grey values could be made as high as one likes) and standardised
# per pixel. 128 hidden units, persistent chains, SGD with the gradient clipped at norm 10.

# %%
config = replace(rbm_preset("digits"), steps=DIGITS)
state, digits, clipped = train(config)
rbm = state.rbm
train_x = state.scale(digits.points(digits.train, generator=seed(6)))
test_x = state.scale(digits.points(digits.test, generator=seed(7)))
print(f"the gradient was clipped in {clipped:.0%} of the updates")

# %% [markdown]
# $2^{128}$ states cannot be summed. **Annealed importance sampling** estimates $\log Z$ with an error bar. Trust, but check: on a machine with 12 units both are possible.

# %%
small, _, _ = train(replace(config, n_hidden=12, steps=min(DIGITS, 1_000)))
estimate = rbm_ais(
    small.rbm, path_from_data(small.rbm, train_x), sweeps=1_000, n=200, generator=seed(8)
)
exact_log_z = small.rbm.log_partition().item()
found, error = estimate.log_partition.item(), estimate.standard_error.item()
print(f"12 units: log Z by AIS {found:.3f} ± {error:.3f}, by enumeration {exact_log_z:.3f}")
assert abs(found - exact_log_z) < 5 * error + 0.02

# %%
estimate = rbm_ais(rbm, path_from_data(rbm, train_x), sweeps=2_000, n=300, generator=seed(9))
with torch.no_grad():
    held_out = rbm.log_likelihood(test_x, estimate.log_partition).mean().item()
table = {"one Gaussian": gaussian_log_likelihood(train_x, test_x)}
warnings.filterwarnings("ignore", module="sklearn")  # at the smoke size it has not converged
for k in (20, 60):
    mixture = Mixture(
        k, covariance_type="diag", reg_covar=1e-3, random_state=0, max_iter=budget(200, smoke=5)
    )
    mixture.fit(train_x.double().numpy())
    table[f"mixture of {k} diagonal Gaussians"] = mixture.score(test_x.double().numpy())
table["GRBM, 128 hidden units"] = held_out
for name, value in table.items():
    print(f"{name:36s} {value:7.1f} nats a digit, held out")
print(f"effective number of AIS chains: {estimate.ess:.0f} of 300")
if DIGITS >= 4_000:
    assert table["mixture of 20 diagonal Gaussians"] < held_out
    assert held_out < table["mixture of 60 diagonal Gaussians"]

# %% [markdown]
# Between the mixtures, say so: better than 20 diagonal Gaussians, not as good as 60. (The sixty have 7,700 numbers to set, the GRBM 8,400.) What it has learned is in the receptive
# fields: strokes, and their absence.

# %% tags=["figure"] alt="Left: 64 receptive fields, 8 by 8 pixels each: light and dark strokes in different places and directions. Middle: conditional means of persistent chains, which look like blurred handwritten digits. Right: the learned standard deviation of each pixel; small at the border."
fig, axes = plt.subplots(1, 3, figsize=(12.0, 4.2))
strongest = rbm.W.detach().norm(dim=0).argsort(descending=True)[:64]
fields = rbm.W.detach().T[strongest].reshape(-1, 8, 8)
image_grid(fields, axes[0], limits=(-0.6, 0.6), title="receptive fields")
chains = sample(rbm, MemoryGibbs(), state.chains, 500, generator=seed(10))
with torch.no_grad():
    persistent = state.scale.back(rbm.mean(rbm.sample_z(chains, generator=seed(11))))
image_grid(persistent[:64].reshape(-1, 8, 8), axes[1], title="E[x | z], chains after 500 sweeps")
picture = axes[2].imshow(
    (rbm.variance.detach().sqrt() * state.scale.std).reshape(8, 8), cmap="viridis"
)
axes[2].set_axis_off()
axes[2].set_title("learned s, grey in [0, 1]")
fig.colorbar(picture, ax=axes[2], shrink=0.8)

# %% [markdown]
# ### A density, or a generator?
#
# Persistent CD learns a density. Modified CD, whose chains start from noise and run 20 sweeps in training, learns something else: a **generator that needs 20 sweeps**.
# Judge both in the features of the course's digits classifier: the Frechet distance to held-out digits (its floor: the training digits' own distance), and how sure the
# classifier is. After the sweeps of training, and after many.

# %%
classifier = load_pretrained("digits-classifier")
noise_cd = replace(
    config,
    negatives="noise",
    sweeps=20,
    optimizer="adam",
    learning_rate=0.003,
    clip=0.0,
    steps=DIGITS * 3 // 8,
)
generator_state, _, _ = train(noise_cd)
real = extract(digits.test.reshape(-1, 1, 8, 8), classifier.features)


def judge(name, pixels):
    images = pixels.clamp(0, 1).reshape(-1, 1, 8, 8)[:500]
    distance = frechet_distance(extract(images, classifier.features), real)
    seen = class_statistics(classifier(images))
    print(f"{name:44s} Frechet {distance:6.1f}  confidence {seen.confidence:.2f}")


judge("training digits (the floor)", digits.train)
normal = torch.distributions.MultivariateNormal(
    train_x.mean(0), train_x.T.cov() + 1e-4 * torch.eye(64)
)
judge("one Gaussian", state.scale.back(normal.sample((500,))))
for name, s, c in (
    ("persistent CD-5", state, config),
    ("modified CD-20", generator_state, noise_cd),
):
    for sweeps in (c.sweeps, 500):
        _, mean = samples_from_noise(s.rbm, c, 500, sweeps, generator=seed(12))
        judge(f"{name}, from noise, {sweeps} sweeps", s.scale.back(mean.detach()))
z = rbm_ais(
    generator_state.rbm,
    path_from_data(generator_state.rbm, train_x),
    sweeps=1_000,
    n=200,
    generator=seed(13),
)
with torch.no_grad():
    ll = generator_state.rbm.log_likelihood(test_x, z.log_partition).mean().item()
print(f"held-out log-likelihood: persistent {held_out:.1f}, modified {ll:.1f}")

# %% [markdown]
# From noise the persistent machine needs its sweeps: it is worse than one Gaussian after 5 and better after 500. The modified one is best after the 20 sweeps that it was trained with;
# after 500 its distance has doubled. And as a density it is 8 nats a digit worse. (One training run of each; the confidence tells them apart hardly at all.)
#
# ### And without clipping?
#
# The gradient in $\log s^2$ contains $x^2/s^2$, which grows as $s$ falls. The same run without its clip:

# %%
try:
    train(replace(config, clip=0.0, steps=400))
    print("survived 400 updates")
except Diverged as error:
    print(error)

# %% [markdown]
# ## 7 · Exercises
#
# ### Exercise 1: the free energy
# Return $F(x)$ for `x[*batch, D]`, `W[D, H]`, `b[H]`, `mu[D]`, `log_var[D]` with $s^2 = e^{\text{log\_var}}$. It must not overflow far out. Stuck? `q.free_energy.hint()`, then
# `q.free_energy.solution()`.


# %% tags=["exercise"]
def free_energy(x, W, b, mu, log_var):
    """-log sum_z exp(-E(x, z)), [*batch]."""
    ### BEGIN SOLUTION
    s2 = log_var.exp()
    a = (x / s2) @ W + b
    return 0.5 * ((x - mu) ** 2 / s2).sum(-1) - torch.nn.functional.softplus(a).sum(-1)
    ### END SOLUTION


# %% tags=["check"]
q.free_energy.check(free_energy)

# %% [markdown]
# ### Exercise 2: collapse the loop
# $K$ steps of one size $\eta$ (no annealing) at temperature $T$. Return $b$ and $n$, `[D]` each.


# %% tags=["exercise"]
def memory_and_noise(eta, n_inner, variance, temperature):
    """b and n of x' = b x + (1 - b) m + n xi."""
    ### BEGIN SOLUTION
    a = 1 - eta / (temperature * variance)
    powers = torch.stack([a ** (2 * k) for k in range(n_inner)])
    return a**n_inner, (2 * eta * powers.sum(0)).sqrt()
    ### END SOLUTION


# %% tags=["check"]
q.memory_and_noise.check(memory_and_noise)

# %% [markdown]
# ### Exercise 3: the gradient in W
# From data `x_data[N, D]` and samples of the model `x_model[M, D]`, the gradient of the mean negative log-likelihood in $W$.


# %% tags=["exercise"]
def weight_gradient(x_data, x_model, W, b, log_var):
    """[D, H]; a step against it makes data more likely."""

    ### BEGIN SOLUTION
    def mean_of(x):
        y = x / log_var.exp()
        return -y.T @ torch.sigmoid(y @ W + b) / len(x)

    return mean_of(x_data) - mean_of(x_model)
    ### END SOLUTION


# %% tags=["check"]
q.weight_gradient.check(weight_gradient)

# %% [markdown]
# ### Open exercise: how much does memory cost?
# On the three-unit machine, start 2,000 chains in the lower left bump and measure the share of chains that are still there after 50, 200 and 1,000 sweeps, for
# `MemoryGibbs(memory=...)` at 0, 0.5 and 0.9, and at $-0.5$. All leave the same law invariant. Which mixes fastest? Say what you expect first. Then do the same at temperature 4.


# %% tags=["exercise"]
def still_there(memory, sweeps, temperature=1.0, n=2_000):
    """Share of chains in the lower left after so many sweeps."""
    ### BEGIN SOLUTION
    machine = three_units()
    start = torch.tensor([[-5.0, -5.0]]).expand(n, 2)
    kernel = MemoryGibbs(memory=memory, temperature=temperature)
    x = sample(machine, kernel, start, sweeps, generator=seed(0))
    return ((x[:, 0] < 0) & (x[:, 1] < 0)).float().mean().item()
    ### END SOLUTION


# [[still_there(m, k) for k in (50, 200)] for m in (-0.5, 0.0, 0.5, 0.9)]

# %% [markdown] tags=["solution"]
# **One answer.** At temperature 1 hardly any chain leaves, whatever the memory: the bumps are ten standard deviations apart, and a crossing needs a hidden unit to flip, which is rare because
# $\sigma(a)$ is near 0 or 1 everywhere in a bump. Memory changes how fast a chain moves *inside* a bump; slower with $b > 0$, and $b < 0$ (overrelaxation) does not make the flip more likely
# either. Temperature does: at $T = 4$ chains cross within tens of sweeps. That is why annealed CD walks a path of flatter distributions first.

# %% [markdown] tags=["quiz"]
# 1. A GRBM has 10 hidden units. What is $p(x)$?
#    - [ ] A Gaussian whose mean depends on ten weights :: That is $p(x \mid z)$ for one $z$; $p(x)$ sums over all of them.
#    - [x] A mixture of 1024 Gaussians with one common covariance :: One for each hidden state; means and weights are tied by $W$, $b$, $\mu$.
#    - [ ] A mixture of 10 Gaussians, one for each unit :: Tempting, and true of the machine built by hand, where units inhibit each other. In general units combine.
# 2. Gibbs-Langevin with $K = 100$ inner steps instead of 10, same $\eta$. What do you gain?
#    - [ ] Ten times better samples of $x$ for ten times the work :: The loop collapses: the work is that of one draw, and the memory $b$ is at most smaller.
#    - [x] A smaller memory $b$; the cost is the same once the loop is collapsed :: For enough steps $b \approx 0$: Gibbs, up to the bias in the noise.
#    - [ ] An exact sampler :: The stationary variance is $n^2/(1-b^2)$; that bias depends on $\eta$, and more steps do not remove it.
# 3. You train with a sampler that divides the gradient by the batch size of 512. What does the chain sample?
#    - [ ] The same law, with a smaller step :: Tempting: it looks like a step size. But the noise was not divided, and noise against drift is the temperature.
#    - [x] $x \mid z$ at temperature 512 :: Drift 512 times weaker at the same noise.
#    - [ ] Nothing, it diverges :: It is more stable than before: the factor $1 - \eta/(Ts^2)$ is nearer to 1.
# 4. The exact log-likelihood on the mixture stands at that of one Gaussian. Which change is most likely to help?
#    - [ ] More sweeps an update :: The samples are fine: from one Gaussian it is easy to sample. The *start* is the trouble.
#    - [ ] A larger learning rate :: The plateau is flat in the direction that counts; the sheet of one Gaussian is nearly stationary.
#    - [x] A smaller first variance, with units nearly off :: Then each unit can claim a region of its own.
# 5. AIS says $\log Z = 31.2 \pm 0.05$, with an effective number of chains of 3 out of 200. What do you report?
#    - [ ] 31.2 ± 0.05 :: The error bar is computed from the same few chains; it cannot know what none of them has found.
#    - [x] That the estimate is unreliable; run a longer path :: Three chains carry all the weight. $\log Z$ tends to be too small, so the log-likelihood too good.
#    - [ ] The mean over several seeds :: Averages of unlucky estimates remain too low.

# %% [markdown]
# ## Summary
#
# - $E(x, z)$ with a parabola in $x$ and binary $z$: independent conditionals both ways, $F(x)$ in closed form, $\log Z$ by enumeration for small $H$ and by AIS beyond.
# - $p(x)$ is a mixture of $2^H$ Gaussians; three units built by hand reach the truth on three bumps.
# - $K$ Langevin steps at fixed $z$ are one draw: Gibbs with memory $b$. Choose the noise and it is exact.
# - Dividing a sampler's gradient by the batch size sets the temperature to the batch size.
# - With exact log-likelihood, failures have numbers: one Gaussian, wrong shares, NaN.
# - Persistent CD learns a density, modified CD a $k$-step generator.
#
# **Next:** 12 gives an energy a latent that is learned by contrast. 13 asks how to judge samples and densities of images.
#
# ## References
#
# - P. Smolensky, *Information processing in dynamical systems: foundations of harmony theory* (1986).
# - R. M. Neal, *Annealed importance sampling* (2001).
# - G. E. Hinton, *Training products of experts by minimizing contrastive divergence* (2002).
# - T. Tieleman, *Training restricted Boltzmann machines using approximations to the likelihood gradient* (2008).
# - R. Salakhutdinov, I. Murray, *On the quantitative analysis of deep belief networks* (2008).
# - R. Liao, S. Kornblith, M. Ren, D. J. Fleet, G. Hinton, *Gaussian-Bernoulli RBMs without tears* (2022).

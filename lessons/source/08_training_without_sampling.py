# %% [markdown]
# # 08 · Training without sampling
#
# **You will**
#
# - fit an energy through its gradient, so that $Z$ drops out: score matching, explicit, sliced and denoising;
# - check each against a closed form in 1, 3 and 10 dimensions, and recognise a value that is wrong by a factor of the dimension;
# - learn $\log Z$ as a parameter by noise-contrastive estimation, and quote its standard error;
# - compare seven losses on one data set by exact quantities;
# - measure what a score cannot see, the weights of far modes, and what noise does about it;
# - tell when the noise of NCE is too far from the data.
#
# **Time** 75 minutes. **Needs** lessons 01, 04 and 07.

# %% tags=["setup"]
import math

import matplotlib.pyplot as plt
import torch
from torch import nn

from ebmlearn import budget, score
from ebmlearn.checks import lesson08 as q
from ebmlearn.course import setup, show
from ebmlearn.energies import GaussianMixture, MLPEnergy
from ebmlearn.metrics import quadrature
from ebmlearn.objectives import (
    denoising_score_matching,
    noise_contrastive,
    score_matching,
    sliced_score_matching,
)
from ebmlearn.resources import resource
from ebmlearn.training.ablate import Table
from ebmlearn.training.nce import NormalisedEnergy, fit_noise
from ebmlearn.viz import BLUE, GREEN, GREY, ORANGE, PURPLE, energy_map
from ebmlearn.widgets import Explorer, slider

setup(seed=0)
torch.set_default_dtype(torch.float64)  # closed forms to many digits
STEPS = budget(400, smoke=10)  # updates of each network
REPEATS = budget(300, smoke=100)  # repetitions of an estimate, for its standard error
N = budget(1000, smoke=400)  # points in each repetition


def gen(n):
    return torch.Generator().manual_seed(n)


# %% [markdown]
# ## 1 · Compare slopes, not densities
#
# Maximum likelihood needs $\log Z$ or samples of the model (lesson 07). The **score** $s(x) = \nabla_x \log p(x) = -\nabla_x E(x)$ needs neither: $\log Z$ does not depend on $x$. So fit the score. The natural
# distance is the **Fisher divergence** $\tfrac12 \mathbb E_{\text{data}} |s_\theta(x) - s_{\text{data}}(x)|^2$, and the unknown $s_{\text{data}}$ can be integrated by parts away (Hyvärinen, 2005):
#
# $$J(\theta) = \mathbb E_{\text{data}}\Big[ -\Delta E_\theta(x) + \tfrac12 |\nabla E_\theta(x)|^2 \Big] = \text{Fisher divergence} - \tfrac12 \mathbb E|s_{\text{data}}|^2 .$$
#
# In words: data should sit where the energy is *flat* (small gradient) and *curved upwards* (large Laplacian), at the bottom of wells.
#
# **The known answer.** $E = |x|^2/2s^2$ and data from $\mathcal N(0, vI)$ in $D$ dimensions: $\Delta E = D/s^2$, so
# $J = D\,\big(\tfrac{v}{2s^4} - \tfrac{1}{s^2}\big)$, smallest at $s^2 = v$. From scratch, and with `ebmlearn`, on data scaled so that their mean square is exactly $v$:

# %% tags=["nbval-check-output"]
V, S2 = 0.7, 1.3


def white(n, d, seed=0):
    """n points of variance V, with the mean of |x|² exactly D V."""
    x = torch.randn(n, d, generator=gen(seed))
    return x * (d * V / x.square().sum(-1).mean()).sqrt()


def isotropic(s2):
    return lambda x: x.square().sum(-1) / (2 * s2)


def j_from_scratch(energy, x):
    """Gradient and trace of the Hessian, one coordinate at a time."""
    x = x.clone().requires_grad_(True)
    (grad,) = torch.autograd.grad(energy(x).sum(), x, create_graph=True)
    trace = 0.0
    for i in range(x.shape[-1]):
        (row,) = torch.autograd.grad(grad[:, i].sum(), x, retain_graph=True)
        trace = trace + row[:, i]
    return (-trace + grad.square().sum(-1) / 2).mean()


print(" D   closed form   from scratch   explicit     sliced")
for d in (1, 3, 10):
    x = white(2000, d)
    closed = d * (V / (2 * S2**2) - 1 / S2)
    values = [
        closed,
        j_from_scratch(isotropic(S2), x).item(),
        score_matching(isotropic(S2), x).item(),
        sliced_score_matching(isotropic(S2), x, generator=gen(1)).item(),
    ]
    torch.testing.assert_close(torch.tensor(values), torch.full((4,), closed))
    print(f"{d:2d}{values[0]:>13.4f}{values[1]:>15.4f}{values[2]:>12.4f}{values[3]:>11.4f}")

# %% [markdown]
# **A factor of $D$.** The trace is a *sum* over coordinates. A mean in its place, one careless `.mean()` away, is right for $D = 1$ and wrong for every other. It is not
# a harmless scale: only one of the two terms changes, so the *minimum* moves, to $s^2 = Dv$.

# %% tags=["nbval-check-output"]
# Error: a trace divided by the dimension
candidates = torch.logspace(-1, 1.5, 2001)
for d in (1, 3, 10):
    right = d * V / (2 * candidates**2) - d / candidates
    wrong = d * V / (2 * candidates**2) - 1 / candidates  # mean over coordinates for the trace
    fits = [candidates[j.argmin()].item() for j in (right, wrong)]
    assert abs(fits[0] / V - 1) < 0.01 and abs(fits[1] / (d * V) - 1) < 0.01
    show(f"D = {d}: fitted variance with the sum, with the mean (truth {V})", fits, digits=2)

# %% [markdown]
# ## 2 · Sliced: one direction instead of all
#
# The explicit trace takes a backward pass for each coordinate: fine for 2, hopeless for an image. For a random $v$ with $\mathbb E[vv^T] = I$ we have $\mathbb E[v^T H v] = \operatorname{tr} H$, and $Hv$ is *one* more
# backward pass, through $\nabla E \cdot v$. With random signs the diagonal of $H$ enters exactly, and all noise comes from off it:
# $\operatorname{Var}(v^T H v) = 2\sum_{i \ne j} H_{ij}^2$. (So the table above had none.)

# %% tags=["nbval-check-output"]
D = 10
root = torch.randn(D, D, generator=gen(2)) / D**0.5
hessian = root @ root.T + 0.5 * torch.eye(D)
off = hessian - torch.diag(hessian.diagonal())
signs = torch.randint(0, 2, (200_000, D), generator=gen(3)) * 2.0 - 1
estimates = ((signs @ hessian) * signs).sum(-1)
exact_sd = (2 * off.square().sum()).sqrt()
error = estimates.std() / math.sqrt(len(signs))
assert (estimates.mean() - hessian.trace()).abs() < 5 * error
kurtosis = ((estimates - estimates.mean()) / estimates.std()).pow(4).mean()
sd_error = exact_sd * ((kurtosis - 1) / (4 * len(signs))).sqrt()
assert (estimates.std() - exact_sd).abs() < 5 * sd_error
show("mean and standard deviation of v.Hv as predicted, within 5 standard errors", True)
show("trace, standard deviation of one direction", [hessian.trace(), exact_sd], digits=2)

# %% [markdown]
# ### Exercise 1: sliced score matching
# Given an energy, `x[N, D]` and directions `v[N, D]`, return the mean of $-v^T H v + \tfrac12|\nabla E|^2$. The result must carry a graph to the energy's parameters: it is a loss. Stuck? `q.sliced.hint()`.


# %% tags=["exercise"]
def sliced(energy, x, v):
    """mean [-v·(H v) + |grad E|²/2] at x[N, D]."""
    ### BEGIN SOLUTION
    x = x.detach().requires_grad_(True)
    (grad,) = torch.autograd.grad(energy(x).sum(), x, create_graph=True)
    (hv,) = torch.autograd.grad((grad * v).sum(), x, create_graph=True)
    return (-(hv * v).sum(-1) + grad.square().sum(-1) / 2).mean()
    ### END SOLUTION


# %% tags=["check"]
q.sliced.check(sliced)

# %% [markdown]
# ## 3 · Denoising: no second derivative in x at all
#
# Add noise, $\tilde x = x + \sigma\xi$. The score of $\tilde x$ *given* $x$ is $-\xi/\sigma$, known. Vincent (2011): regress on it,
#
# $$J_\sigma(\theta) = \tfrac12\,\mathbb E\,\big|\nabla E_\theta(x + \sigma\xi) - \xi/\sigma\big|^2,$$
#
# and the minimiser is the score of the **blurred** data $p_\sigma = p * \mathcal N(0, \sigma^2 I)$, since a regression finds the conditional mean. The price is in that word: what is learned is the energy of noisy data. On
# Gaussians, $J_\sigma = \tfrac D2\big(\tfrac{v+\sigma^2}{s^4} - \tfrac{2}{s^2} + \tfrac1{\sigma^2}\big)$, smallest at $s^2 = v + \sigma^2$.

# %% tags=["nbval-check-output"]
for d in (1, 3, 10):
    x = white(2000, d).repeat(20, 1)
    for sigma in (0.5, 1.0):
        xi = torch.randn(x.shape, generator=gen(4))
        each = 0.5 * ((x + sigma * xi) / S2 - xi / sigma).square().sum(-1)  # from scratch
        with_ebmlearn = denoising_score_matching(isotropic(S2), x, sigma, generator=gen(4))
        torch.testing.assert_close(each.mean(), with_ebmlearn)
        closed = d / 2 * ((V + sigma**2) / S2**2 - 2 / S2 + 1 / sigma**2)
        assert abs(each.mean() - closed) < 5 * each.std() / math.sqrt(len(x))
        show(f"D = {d}, sigma {sigma}: closed form, smallest at", [closed, V + sigma**2], digits=2)

# %% [markdown]
# **Do not read the value.** At the perfect energy the loss is not 0 but $\tfrac D2\big(\tfrac1{\sigma^2} - \tfrac1{v + \sigma^2}\big)$: the variance of the target, which no energy can explain. It grows as $1/\sigma^2$, and so does the
# noise of its gradient. Compare losses of one $\sigma$ with each other, and nothing else.

# %% tags=["nbval-check-output"]
# Error: reading the value of a denoising loss
for sigma in (0.1, 0.3, 1.0):
    perfect = 10 / 2 * (1 / sigma**2 - 1 / (V + sigma**2))
    flat = 10 / 2 / sigma**2
    show(
        f"D = 10, sigma {sigma}: loss of the perfect energy, of a flat one",
        [perfect, flat],
        digits=1,
    )

# %% [markdown]
# ### Exercise 2: denoising score matching
# Given `x[N, D]`, the noise `xi[N, D]` and `sigma`, return $J_\sigma$ as a loss.


# %% tags=["exercise"]
def denoising(energy, x, sigma, xi):
    """mean |grad E(x + sigma xi) - xi/sigma|²/2."""
    ### BEGIN SOLUTION
    noisy = (x + sigma * xi).detach().requires_grad_(True)
    (grad,) = torch.autograd.grad(energy(noisy).sum(), noisy, create_graph=True)
    return 0.5 * (grad - xi / sigma).square().sum(-1).mean()
    ### END SOLUTION


# %% tags=["check"]
q.denoising.check(denoising)

# %% [markdown]
# ## 4 · Noise-contrastive estimation: log Z is a parameter
#
# Maximum likelihood cannot learn $\log Z$ as a free number $c$: it would send it to $-\infty$. A *classifier* can. Mix $n$ data points with $\nu n$ points of noise with known density $q$. The best classifier has the log-odds
# $\log p - \log q - \log\nu$, so train it in the form (here $\sigma$ is the logistic function, not a noise level)
#
# $$G(x) = -E_\theta(x) - c - \log q(x) - \log \nu, \qquad L = -\mathbb E_{\text{data}} \log \sigma(G) - \nu\,\mathbb E_q \log \sigma(-G).$$
#
# A wrong $c$ makes a bad classifier, so $c \to \log Z$. Take $E = 2x^2$, $\log Z = \tfrac12 \log \tfrac\pi2$, and noise $\mathcal N(0, 1)$. The estimate of $c$ has a known asymptotic variance (Gutmann and Hyvärinen, 2012),
#
# $$n \operatorname{Var}(\hat c) = \frac1I - \Big(1 + \frac1\nu\Big), \qquad I = \int \frac{p\,\nu q}{p + \nu q}\,dx .$$
#
# From scratch, by Newton's method, many repetitions at once; with `ebmlearn` on the first of them.

# %% tags=["nbval-check-output"]
LOG_Z = 0.5 * math.log(math.pi / 2)
LINE = torch.linspace(-12, 12, 12_001)
CELL = 24 / 12_000


def log_normal(x, mean=0.0, sd=1.0):
    return -0.5 * ((x - mean) / sd) ** 2 - math.log(sd * math.sqrt(2 * math.pi))


def nce_error(nu, n, mean=0.0, sd=1.0):
    """Standard error of NCE's log Z for data N(0, 1/4), noise N(mean, sd²), by a sum over the line."""
    log_p, log_q = log_normal(LINE, 0, 0.5), log_normal(LINE, mean, sd) + math.log(nu)
    information = (log_p + log_q - torch.logaddexp(log_p, log_q)).exp().sum() * CELL
    return math.sqrt(max(1 / information.item() - 1 - 1 / nu, 0.0) / n)


def nce_log_z(nu, n, repeats, mean=0.0, sd=1.0, seed=0):
    """The estimate of c in each repetition."""
    g = gen(seed)
    x_pos = 0.5 * torch.randn(repeats, n, generator=g)
    x_neg = mean + sd * torch.randn(repeats, nu * n, generator=g)
    ratio = lambda x: -2 * x**2 - log_normal(x, mean, sd) - math.log(nu)
    g_pos, g_neg = ratio(x_pos), ratio(x_neg)
    c = torch.zeros(repeats, 1)
    for _ in range(30):
        a, b = torch.sigmoid(c - g_pos), torch.sigmoid(g_neg - c)
        slope = a.mean(1, keepdim=True) - nu * b.mean(1, keepdim=True)
        curvature = (a * (1 - a)).mean(1, keepdim=True) + nu * (b * (1 - b)).mean(1, keepdim=True)
        c = c - (slope / curvature).clamp(-1, 1)
    return c[:, 0], x_pos, x_neg


found, x_pos, x_neg = nce_log_z(2, N, REPEATS)
predicted = nce_error(2, N)
z = (found - LOG_Z) / predicted
assert z.mean().abs() < 5 / math.sqrt(REPEATS) + 0.05  # bias is of order 1/n
assert abs(z.std() - 1) < 5 / math.sqrt(2 * REPEATS)
show("log Z, exact", LOG_Z)
show("the estimates scatter by the predicted standard error", True)

c = found[0].clone().requires_grad_(True)
q_of = lambda x: log_normal(x)
loss = noise_contrastive(2 * x_pos[0] ** 2, 2 * x_neg[0] ** 2, q_of(x_pos[0]), q_of(x_neg[0]), c)
assert torch.autograd.grad(loss, c)[0].abs() < 1e-10
show("noise_contrastive has its minimum at the same c", True)

# %%
show("log Z learned in the first repetition, its standard error", [found[0].item(), predicted])
for nu in (1, 2, 10, 100):
    show(f"nu = {nu}: standard error for n = 1000", nce_error(nu, 1000))

# %% [markdown]
# More noise helps, here without end: only $c$ is unknown, and with $\nu \to \infty$ noise points alone determine it, as importance sampling does. *Which* noise matters far more. Section 7 moves it away.
#
# ### Exercise 3: the loss of NCE
# From energies and noise log-densities at data (`e_pos[n]`, `log_q_pos[n]`) and at noise (`e_neg[m]`, `log_q_neg[m]`) and `log_z`, return $L$ with $\nu = m/n$. Energies may be in the thousands.


# %% tags=["exercise"]
def nce(e_pos, e_neg, log_q_pos, log_q_neg, log_z):
    """-mean log sigmoid(G(x+)) - nu mean log sigmoid(-G(x-))."""
    ### BEGIN SOLUTION
    nu = len(e_neg) / len(e_pos)
    g_pos = -e_pos - log_z - log_q_pos - math.log(nu)
    g_neg = -e_neg - log_z - log_q_neg - math.log(nu)
    log_sigmoid = nn.functional.logsigmoid
    return -log_sigmoid(g_pos).mean() - nu * log_sigmoid(-g_neg).mean()
    ### END SOLUTION


# %% tags=["check"]
q.nce.check(nce)

# %% [markdown]
# ## 5 · One density, seven losses
#
# Three Gaussians in the plane, two near each other and one apart that holds 0.3 of the mass. One network, the same number of updates, fresh points in each, and four judges that are sums over a grid: the divergence KL(data, model); the
# Fisher divergence; the mass of the far mode; and the log of the integral of $e^{-E-c}$, 0 for a model that knows its $\log Z$. Five of them, once, here:

# %%
DATA = GaussianMixture(
    [[-2.0, 0.8], [-2.0, -0.8], [2.0, 0.0]], [0.25, 0.25, 0.16], weights=[0.4, 0.3, 0.3]
)
BOX = {"low": -4.5, "high": 4.5}
torch.set_default_dtype(torch.float32)  # networks need no more
data32 = DATA.float()
coarse = quadrature(data32, cells=60, **BOX)
nodes = coarse.x.reshape(-1, 2)
noise = fit_noise(data32.sample(5000, generator=gen(0)), scale=1.2)
log_q = lambda x: -noise(x) - noise.log_partition()


def likelihood_loss(e, x):
    return e(x).mean() + torch.logsumexp(-e(nodes), 0) + coarse.log_volume


def nce_loss(e, x):
    n = noise.sample(4 * len(x))
    return noise_contrastive(e(x), e(n), log_q(x), log_q(n))


def train(loss_of, seed=0):
    torch.manual_seed(seed)
    energy = NormalisedEnergy(MLPEnergy(2, hidden_features=(64, 64), confinement=0.3))
    optimizer = torch.optim.Adam(energy.parameters(), lr=5e-3)
    anneal = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        loss = loss_of(energy, data32.sample(256)) + 0 * energy.log_z
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        anneal.step()
    return energy


models = {
    "likelihood, Z on a grid": train(likelihood_loss),
    "explicit": train(score_matching),
    "denoising, 0.1": train(lambda e, x: denoising_score_matching(e, x, 0.1)),
    "denoising, 1": train(lambda e, x: denoising_score_matching(e, x, 1.0)),
    "NCE": train(nce_loss),
}
far = {}
for name, energy in models.items():
    grid = quadrature(energy, cells=180, **BOX)
    p = (grid.log_density + grid.log_volume).exp()
    far[name] = p[grid.x[..., 0] > 0.4].sum().item()
    show(
        f"{name}: mass of the far mode (truth 0.30), log integral", [far[name], grid.log_partition]
    )

# %% tags=["figure"] alt="Six density maps with three bumps, two at the left and one at the right: the truth, then the models. Likelihood and NCE look like the truth. Explicit and denoising with noise 0.1 have the right shapes, with another share of brightness between left and right. Denoising with noise 1 is a broad blur of the two sides."
fig, axes = plt.subplots(1, 6, figsize=(15.0, 2.9), sharey=True)
for ax, (name, energy) in zip(axes, ({"truth": data32} | models).items()):
    energy_map(
        energy,
        ax,
        show="density",
        extent=(-4.0, 4.0, -3.0, 3.0),
        colorbar=False,
        contours=0,
        limits=(0.0, 0.45),
    )
    ax.set(title=f"{name}\n{far.get(name, 0.3):.2f} at the right", xlabel="", ylabel="")
    ax.title.set_fontsize(10)
torch.set_default_dtype(torch.float64)

# %% [markdown]
# All seven, four seeds each, mean ± standard error (`python -m experiments.lesson08_methods`):

# %%
table = Table.read(
    resource("data/results/lesson08_methods.csv"), command="python -m experiments.lesson08_methods"
)
METRICS = ("KL", "Fisher divergence", "mass of the far mode", "log integral")
print(f"{'':<26}{'KL':>16}{'Fisher':>17}{'far mode':>17}{'log integral':>17}")
for name in dict.fromkeys(setting for setting, _, _ in table.rows):
    cells = [table.mean_and_error(name, metric) for metric in METRICS]
    print(f"{name:<26}" + "  ".join(f"{m:>8.3f} ± {e:.3f}" for m, e in cells))

# %% [markdown]
# - **You get what you ask for.** Explicit and sliced score matching have by far the smallest *Fisher divergence*, better than likelihood. Their *KL* is more than ten times that of likelihood: the far mode holds
#   nearly half of the mass instead of 0.30, and another share with every seed.
# - **Noise mends the weights and blurs the shape.** From $\sigma$ = 0.1 to 1 the far mode goes from 0.45 to 0.29; the blurred truth itself has 0.29 there. KL is smallest in between.
# - **NCE is as good as the exact likelihood, without a grid**, and the only one that knows its $\log Z$: the others' log integral is wherever training left the level.
#
# In the plane, with noise fitted to the data, NCE has an easy life. Section 7 makes it hard.
#
# ## 6 · What a score cannot see
#
# Two bumps $\mathcal N(\mp m, 1)$ with weights $w$ and $1-w$. Between them the density is tiny, and the *only* place where the score depends on $w$ is there: near a bump it is that bump's own slope. How much does the score at
# $-3$ change when the weights go from 0.5, 0.5 to 0.8, 0.2?

# %% tags=["nbval-check-output"]
# Error: score blind to weights
at = torch.tensor([[-3.0]])
equal, unequal = (GaussianMixture([[-3.0], [3.0]], weights=[w, 1 - w]) for w in (0.5, 0.8))
change = (score(equal, at) - score(unequal, at)).abs().item()
exact = 6 * abs(1 / (1 + math.exp(18)) - 1 / (1 + 4 * math.exp(18)))  # (2m)(change of p(right | x))
assert abs(change - exact) < 1e-12
show("change of the score at -3", f"{change:.1e}")
x = torch.linspace(-12, 12, 4001)[:, None]
p = torch.softmax(-unequal(x), 0)
fisher = 0.5 * (p * (score(equal, x) - score(unequal, x)).square()[:, 0]).sum()
kl = (p * (equal(x) - unequal(x))).sum()
show("Fisher divergence between the two", f"{fisher.item():.1e}")
show("KL divergence between the two, nats", kl)

# %% [markdown]
# KL sees the difference without effort, a fifth of a nat a point. The Fisher divergence is a fiftieth of that, and all of it comes from the few points in the gap; it falls like $e^{-m^2/2}$. A network that is
# a little wrong in the gap gets the weights wrong at no cost. Noise helps: blurred by $\sigma$, the bumps meet, and the scores differ where there are data.


# %%
def two_scores(ax, m=3.0, sigma=0.0):
    """Density and scores of the mixtures .5/.5 and .8/.2, blurred by sigma."""
    x = torch.linspace(-8, 8, 1601)[:, None]
    variance = 1 + sigma**2
    a, b = (GaussianMixture([[-m], [m]], variance, weights=[w, 1 - w]) for w in (0.5, 0.8))
    density = (-b(x)).exp()
    ax.fill_between(
        x[:, 0], 10 * density, color=GREY, alpha=0.4, lw=0, label="10 × density, weights .8, .2"
    )
    ax.plot(x, score(a, x), color=BLUE, lw=3, label="score, .5, .5")
    ax.plot(x, score(b, x), "--", color=ORANGE, lw=2, label="score, .8, .2")
    ax.set(xlabel="$x$", ylim=(-4.5, 4.5), title=f"m = {m:g}, noise {sigma:g}")
    ax.legend(fontsize=8, loc="upper right")
    difference = 0.5 * (score(a, x) - score(b, x)).square()[:, 0]
    fisher = (density * difference).sum().item() * 0.01
    kl = (density * (a(x) - b(x))).sum().item() * 0.01
    return f"Fisher divergence {fisher:.1e}, KL {kl:.3f} nats."


# %% tags=["figure"] alt="Three panels with a grey density of two bumps and two score curves. Bumps at plus and minus 3, no noise: the curves coincide except in the gap, where there are no data. Bumps at plus and minus 1.2: the curves differ over the whole range. Bumps at 3 with noise 2: the grey bumps have run together, and the curves differ where there are data."
fig, axes = plt.subplots(1, 3, figsize=(12.0, 3.2), sharey=True)
for ax, (m, sigma) in zip(axes, ((3.0, 0.0), (1.2, 0.0), (3.0, 2.0))):
    two_scores(ax, m, sigma)

# %% tags=["widget"]
Explorer(
    two_scores,
    {
        "m": slider(3.0, 0.2, 5.0, label="bumps at -m and m", step=0.1),
        "sigma": slider(0.0, 0.0, 4.0, label="noise sigma", step=0.1),
    },
    figsize=(5.4, 3.8),
)

# %% [markdown]
# **In standard errors.** Let $w$ be the only unknown. Every loss here is a mean over points of some $\ell(x; w)$, so its estimate has the asymptotic variance $\operatorname{Var}(\ell')/(n\,(\mathbb E\,\ell'')^2)$, which on the line is a sum over a
# grid. Four losses, and how far apart the bumps are:


# %%
def two_derivatives(f, lam, shape):
    """f'' and f' in lam at every point of a grid of this shape."""
    lam = lam.expand(shape).clone().requires_grad_(True)
    (first,) = torch.autograd.grad(f(lam).sum(), lam, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), lam)
    return second, first.detach()


def mixture_log_p(x, lam, m, variance=1.0):
    left, right = log_normal(x, -m, variance**0.5), log_normal(x, m, variance**0.5)
    log_sigmoid = nn.functional.logsigmoid
    return torch.logaddexp(log_sigmoid(lam) + left, log_sigmoid(-lam) + right)


def mixture_score(x, lam, m, variance=1.0):
    """The score, and its derivative in x; lam is the logit of the left weight."""
    r = torch.sigmoid(lam - 2 * m * x / variance)
    return (m * (1 - 2 * r) - x) / variance, (4 * m**2 * r * (1 - r) / variance - 1) / variance


def explicit_j(x, lam, m):
    s, slope = mixture_score(x, lam, m)
    return slope + s**2 / 2


W = 0.8
LAM = torch.tensor(math.log(W / (1 - W)))


def weight_errors(m, n=1000, sigma=2.0, nu=4):
    """Asymptotic standard error of w from n points, by loss."""
    x = torch.linspace(-m - 9, m + 9, 1501)
    p = torch.softmax(mixture_log_p(x, LAM, m), 0)
    out = {}

    def put(name, curvature, variance):
        out[name] = W * (1 - W) * (variance / n).sqrt().item() / abs(curvature.item())

    for name, f in {
        "likelihood": lambda lam: -mixture_log_p(x, lam, m),
        "score matching": lambda lam: explicit_j(x, lam, m),
    }.items():
        second, first = two_derivatives(f, LAM, x.shape)
        put(name, (p * second).sum(), (p * first**2).sum())
    # denoising: a sum over points and noise
    xi = torch.linspace(-6, 6, 121)[:, None]
    joint = torch.softmax(-(xi**2) / 2, 0) * p
    target = lambda lam: (
        (mixture_score(x + sigma * xi, lam, m, 1 + sigma**2)[0] + xi / sigma) ** 2 / 2
    )
    second, first = two_derivatives(target, LAM, joint.shape)
    put(f"denoising, {sigma:g}", (joint * second).sum(), (joint * first**2).sum())
    # NCE with noise of the data's mean and variance, log Z known
    spread = math.sqrt(1 + m**2)
    log_noise = log_normal(x, 0.0, spread)
    g = lambda lam: mixture_log_p(x, lam, m) - log_noise - math.log(nu)
    q_x = torch.softmax(log_noise, 0)
    softplus = nn.functional.softplus
    data2, data1 = two_derivatives(lambda lam: softplus(-g(lam)), LAM, x.shape)
    noise2, noise1 = two_derivatives(lambda lam: softplus(g(lam)), LAM, x.shape)
    mean_p, mean_q = (p * data1).sum(), (q_x * noise1).sum()
    variance = (p * data1**2).sum() - mean_p**2 + nu * ((q_x * noise1**2).sum() - mean_q**2)
    put(f"NCE, {nu} noise points", (p * data2).sum() + nu * (q_x * noise2).sum(), variance)
    return out


# the formula against repetitions, for score matching at m = 1.5
truth = (torch.rand(REPEATS, N, generator=gen(5)) < W).double()
points = torch.randn(REPEATS, N, generator=gen(6)) + 1.5 * (1 - 2 * truth)
lam = LAM.expand(REPEATS, 1).clone()
for _ in range(20):
    second, first = two_derivatives(lambda v: explicit_j(points, v, 1.5), lam, points.shape)
    step = first.mean(1, keepdim=True) / second.mean(1, keepdim=True)
    lam = lam - step.clamp(-0.5, 0.5)
simulated = torch.sigmoid(lam).std().item()
formula = weight_errors(1.5, N)["score matching"]
assert abs(simulated / formula - 1) < 5 / math.sqrt(2 * REPEATS) + 0.1
show("m = 1.5: standard error simulated, by the formula", [simulated, formula])

# %% tags=["figure"] alt="Standard error of the weight against m, logarithmic axis. Likelihood and NCE fall to about 0.013 and stay there. Score matching rises steeply and passes a grey line at 0.5 between m = 3 and 4. Denoising with noise 2 lies above likelihood and rises far more slowly."
separations = torch.linspace(0.6, 5.0, 23).tolist()
curves = [weight_errors(m) for m in separations]
fig, ax = plt.subplots(figsize=(6.5, 3.6))
for name, color, style in zip(curves[0], (BLUE, ORANGE, GREEN, PURPLE), ("-", "--", "-.", ":")):
    ax.plot(separations, [c[name] for c in curves], style, color=color, lw=2.5, label=name)
ax.axhline(0.5, color=GREY, lw=1)  # half of [0, 1]: no information
ax.set(yscale="log", xlabel="bumps at $-m$ and $m$", ylabel="standard error of $w$, $n = 1000$")
ax.legend(fontsize=9)

# %%
for m in (1.0, 3.0, 4.0):
    show(f"m = {m:g}: " + ", ".join(curves[0]), list(weight_errors(m).values()))

# %% [markdown]
# At $m = 1$ score matching is nearly as good as likelihood. At $m = 4$ its error is above 0.5, the grey line, half of all that $w$ could be: it says nothing. Denoising at $\sigma = 2$ keeps it, at the price of learning the blurred
# density. *Many* noise levels at once, from large to small, get both: that is a diffusion model. NCE and likelihood compare densities and do not care how far apart the bumps are.

# %% [markdown]
# ## 7 · What goes wrong, and how you see it
#
# Three failures have been seen: a mean for a sum, the value of a denoising loss, weights that the score cannot see. Two more.
#
# **Noise too far.** NCE learns from points that could be either. If noise and data do not overlap, the classifier is perfect at once, for a wide range of energies and of $c$, and the gradient is gone. The sign is an accuracy near 1 and a loss
# near 0: good news for a classifier, bad news here. Data $\mathcal N(0, 1/4)$ again, $\nu = 1$, the noise moved to $\mu$:


# %%
def overlap(ax, shift=0.0, width=1.0, nu=1):
    """Data, noise, and the posterior of "data" between them."""
    x = torch.linspace(-4, 9, 1301)
    log_p, log_noise = log_normal(x, 0, 0.5), log_normal(x, shift, width)
    posterior = torch.sigmoid(log_p - log_noise - math.log(nu))
    ax.fill_between(x, log_p.exp(), color=BLUE, alpha=0.4, lw=0, label="data")
    ax.fill_between(x, log_noise.exp(), color=ORANGE, alpha=0.4, lw=0, hatch="//", label="noise")
    ax.plot(x, posterior, color="black", lw=1.5, label="P(data | x)")
    right = posterior > 0.5
    share = (log_p.exp() * right).sum() + nu * (log_noise.exp() * ~right).sum()
    accuracy = share.item() * 0.01 / (1 + nu)
    error = nce_error(nu, 1000, shift, width)
    ax.set(xlabel="$x$", ylim=(0, 1.05), title=f"noise at {shift:g}, width {width:g}")
    ax.legend(fontsize=8, loc="upper right")
    return f"Accuracy {accuracy:.3f}; standard error of log Z for n = 1000: {error:.3g}."


# %% tags=["figure"] alt="Three panels with a blue density at 0 and a hatched orange noise density: centred on the data and twice as wide; moved to 2, overlapping at the edge; moved to 5, apart. The black posterior goes from a soft bump to a step."
fig, axes = plt.subplots(1, 3, figsize=(12.0, 3.0), sharey=True)
for ax, shift in zip(axes, (0.0, 2.0, 5.0)):
    overlap(ax, shift)

# %% tags=["widget"]
Explorer(
    overlap,
    {
        "shift": slider(0.0, 0.0, 6.0, label="noise at", step=0.1),
        "width": slider(1.0, 0.1, 4.0, label="its width", step=0.1),
        "nu": slider(1, 1, 50, label="noise per data point"),
    },
    figsize=(5.4, 3.8),
)

# %% tags=["nbval-check-output"]
# Error: NCE noise too far from the data
for shift in (0.0, 2.0, 4.0, 6.0):
    show(
        f"noise at {shift:g}: standard error of log Z, n = 1000",
        nce_error(1, 1000, shift),
        digits=2,
    )
worse = nce_error(1, 1000, 6.0) / nce_error(1, 1000, 0.0)
assert worse > 100
estimates, _, _ = nce_log_z(1, N, REPEATS, mean=2.0, seed=7)
near = (estimates - LOG_Z) / nce_error(1, N, 2.0)
assert abs(near.std() - 1) < 0.1 + 5 / math.sqrt(2 * REPEATS)
show("noise at 2: the estimates scatter as predicted", True)

# %% [markdown]
# Only overlap counts: for $\nu = 1$ the formula does not change when data and noise change places, so a width of 0.2 costs exactly as much as 1.25 (move the slider), and noise equal to the data costs nothing. For the *shape* of $E$ rather too wide than too narrow: where noise never
# falls, nothing is learned. In many dimensions any fixed noise is far from the data; that is why NCE is at home in few dimensions, or with noise that is itself learned.
#
# **A network without curvature.** The Laplacian of a ReLU network is 0 almost everywhere. Explicit and sliced score matching then see $\tfrac12|\nabla E|^2$ alone, and the best energy is a flat one. (Denoising takes one derivative in $x$ and is not hit.) The remedy is a smooth activation; the sign is a
# loss that goes to 0 from above.

# %% tags=["nbval-check-output"]
# Error: explicit score matching with ReLU
torch.manual_seed(1)
x = torch.randn(500, 2, generator=gen(8))
for name, activation in (("ReLU", nn.ReLU), ("SiLU", nn.SiLU)):
    energy = MLPEnergy(2, hidden_features=(32, 32), activation=activation)
    flatness = 0.5 * score(energy, x).square().sum(-1).mean()
    laplacian = flatness - score_matching(energy, x)
    show(f"{name}: the mean Laplacian is zero", bool(laplacian.abs() < 1e-12))

# %% [markdown]
# ## 8 · Open exercise: two noise levels
#
# Train one energy of the data of section 5 with the sum of two denoising losses, $\sigma = 0.2$ and $\sigma = 1$. Can it have the far mode's mass of the second and the sharpness of the first? (One energy has one gradient; a diffusion model
# has one for *each* $\sigma$.) Use `train(my_loss)` and `quadrature` under `torch.set_default_dtype(torch.float32)`.


# %% tags=["exercise"]
def my_loss(energy, x):
    """A number to minimise."""
    ### BEGIN SOLUTION
    return 0.04 * denoising_score_matching(energy, x, 0.2) + denoising_score_matching(
        energy, x, 1.0
    )
    ### END SOLUTION


# %% [markdown] tags=["solution"]
# **One answer.** No: the two losses ask for two different gradients at the same point, and one energy can only compromise, somewhere between the sharp and the blurred density. With the weights $\sigma^2$ the larger noise wins: the far mode has 0.29 to 0.30, and KL is 0.70 after 600 updates, beside 0.74 for $\sigma = 1$ alone. With $\sigma$ as an input of the energy, $E(x, \sigma)$, both are answered, and the
# large $\sigma$ settle the weights on the way down.

# %% [markdown] tags=["quiz"]
# 1. Why does score matching not need $Z$?
#    - [ ] Because $Z$ is 1 after training :: Nothing normalises the energy; its level is free.
#    - [x] Because $\nabla_x \log Z = 0$ :: $Z$ does not depend on $x$, and the loss sees gradients in $x$ only.
#    - [ ] Because it is estimated from the noise :: That is NCE.
# 2. Your sliced loss on a 10-dimensional Gaussian is minimised at ten times the true variance. The cause?
#    - [x] The trace was averaged over coordinates instead of summed :: The minimum of $Dv/2s^4 - 1/s^2$ is at $s^2 = Dv$.
#    - [ ] Too few projections :: That is noise, not bias; and on an isotropic Gaussian random signs give none.
#    - [ ] The data are not whitened :: The minimum is at the true variance, whatever it is.
# 3. The denoising loss stands at 495 with $D = 10$, $\sigma = 0.1$. What do you conclude?
#    - [ ] Training has diverged :: A flat energy has 500.
#    - [ ] The learning rate is too small :: The value says nothing about it.
#    - [x] Nothing yet: the perfect energy has about this value :: Most of it is the variance of the target $\xi/\sigma$.
# 4. Samples from a score-matched energy have beautiful modes with wrong frequencies. What do you expect from more training?
#    - [ ] It will mend the frequencies in the end :: They enter the loss only where there are no data.
#    - [x] Little: use larger noise, or a loss that compares densities :: The standard error of the weight grows steeply with separation, for the exact optimum too.
#    - [ ] It will remove the modes :: Nothing pushes that way.
# 5. NCE reaches an accuracy of 0.999 after a few steps. You
#    - [x] move the noise closer to the data :: It is too easy; the standard error of $\log Z$ has exploded.
#    - [ ] stop, the energy is learned :: A classifier this good learns from almost no point.
#    - [ ] use more noise points of the same kind :: Few of them will ever fall near the data.

# %% [markdown]
# ## Summary
#
# - Score matching compares gradients: no $Z$, no samples, second derivatives. Sliced: one direction at a time. Denoising: none, but of blurred data.
# - Test any implementation on Gaussians in more than one dimension: $J = D(v/2s^4 - 1/s^2)$.
# - NCE compares densities and learns $\log Z$, with a standard error that you can compute; it stands and falls with the noise.
# - Scores are blind to the weights of far modes. Noise opens their eyes and blurs the picture.
#
# **Next:** 09 adds latent variables.
#
# ## References
#
# - A. Hyvärinen, *Estimation of non-normalized statistical models by score matching* (2005).
# - P. Vincent, *A connection between score matching and denoising autoencoders* (2011).
# - Y. Song, S. Garg, J. Shi, S. Ermon, *Sliced score matching: a scalable approach to density and score estimation* (2019).
# - M. Gutmann, A. Hyvärinen, *Noise-contrastive estimation of unnormalized statistical models, with applications to natural image statistics* (2012).
# - Y. Song, S. Ermon, *Generative modeling by estimating gradients of the data distribution* (2019): why scores miss weights, and many noise levels.
# - L. K. Wenliang, H. Kanagawa, *Blindness of score-based methods to isolated components and mixing proportions* (2020).

# %% [markdown]
# # 03 · Contrastive and architectural methods
#
# **You will**
#
# - see why a loss that only pulls energy down may end in a flat energy, and when the architecture forbids it;
# - read the table of losses of LeCun et al. (2006) with two questions: is a flat energy a minimum, is the level pinned;
# - train the same network with seven losses and find out, in numbers, which collapse and which drift;
# - bound what a contrast with $N$ negatives can tell: $\log(N+1)$ nats;
# - build energies that need no contrast, because their low region is small by construction: PCA, k-means, sparse coding, auto-encoders;
# - keep a joint embedding from collapse without negatives (VICReg).
#
# **Time** 75 minutes. **Needs** lessons 01 and 02.

# %% tags=["setup"]
import functools
import math

import matplotlib.pyplot as plt
import torch
from torch import nn

from ebmlearn import budget
from ebmlearn.checks import lesson03 as q
from ebmlearn.course import setup, show
from ebmlearn.datasets import toy
from ebmlearn.energies.architectural import (
    AutoencoderEnergy,
    KMeansEnergy,
    PCAEnergy,
    SparseCodingEnergy,
)
from ebmlearn.metrics import quadrature
from ebmlearn.networks import MLP
from ebmlearn.objectives import (
    energy_loss,
    hinge,
    info_nce,
    log_loss,
    negative_log_likelihood,
    perceptron,
    square_exponential,
    square_square,
    vicreg,
)
from ebmlearn.viz import BLUE, ORANGE, RED, energy_map, points
from ebmlearn.widgets import Explorer, choice, slider

setup(seed=0)
FULL = budget(
    1, smoke=0
)  # 0: too few steps for what training shows, so only exact facts are asserted
SEEDS = 5
STEPS = budget(1000, smoke=10)  # of each loss on the parabola
STEPS_AE = budget(800, smoke=20)  # of each auto-encoder
STEPS_VIEWS = budget(600, smoke=10)  # of each joint embedding
PAIRS = budget(1000, smoke=100)  # for the bound of InfoNCE


def gen(n):
    return torch.Generator().manual_seed(n)


# %% [markdown]
# ## 1 · Pulling down only
#
# Lesson 02 saw a network go flat when nothing was pushed up. Whether that can happen is a matter of the loss *and* of the architecture. Questions
# $x \in [-1, 1]$, right answers $y = x^2$, and two energies of a pair:
#
# $$F_1(x, y) = |G(x) - y|, \qquad F_2(x, y) = \|G_1(x) - G_2(y)\|_1 .$$
#
# The first is regression in the clothes of an energy, the second a **joint embedding**: both sides go through a network, and a good answer is one that lands
# nearby. The **energy loss** is $L = F(x, y)$ at the data: pull down, nothing else.
#
# $F_1$ has no way out. For any $G$ whatever, the answers with $F_1(x, \cdot) < \varepsilon$ are an interval of length $2\varepsilon$: making one answer cheap makes others
# dear. $F_2$ has: $G_1$ and $G_2$ constant and equal, so $F_2 = 0$ everywhere, the lowest loss there is, and every answer is right.

# %% tags=["nbval-check-output"]
# Error: a loss that only pulls energy down
ys = torch.linspace(-3, 3, 600_001, dtype=torch.float64)
for name, g in {"G(x) = x^2": 0.49, "G(x) = 0": 0.0, "G(x) = -1.3": -1.3}.items():
    low = ((g - ys).abs() < 0.1).double().mean() * 6
    show(f"one branch, {name}: length of the answers with F(0.7, y) < 0.1", low, digits=2)
constant = torch.full((7, 10), 0.3)  # G1(x) for 7 questions and G2(y) for 7 answers, all the same
everywhere = (constant[:, None] - constant[None]).abs().sum(-1)
show("two constant branches: energy loss", energy_loss(everywhere.diagonal()), digits=2)
show("lowest and highest energy of any pair", [everywhere.min(), everywhere.max()], digits=2)

# %% [markdown]
# So there are two ways to a useful energy. **Contrastive** methods change the loss: something is pushed up. **Architectural** (or *regularised*) methods
# change the energy: the region that can be low is limited by construction, and pulling is enough. The first half of this lesson is about the
# one, the second half about the other.
#
# ## 2 · The table of losses
#
# Write $E^+$ for the energy of the right answer and $\bar E$ for that of the **most offending incorrect answer**: the lowest energy among answers farther than
# $\delta$ from the right one. (Without $\delta$, where answers are continuous, the most offending wrong answer is the right answer's neighbour.)
#
# The last column says by how much the right answer must be lower before the loss is content; *any* means never, more is always better.
#
# | loss | of one example | a margin? |
# |---|---|---|
# | energy | $E^+$ | none |
# | perceptron | $E^+ - \min_y E(y)$ | 0 |
# | hinge | $\max(0, m + E^+ - \bar E)$ | $m$ |
# | log | $\log(1 + e^{E^+ - \bar E})$ | any |
# | square-square | $(E^+)^2 + \max(0, m - \bar E)^2$ | $m$ |
# | square-exponential | $(E^+)^2 + \gamma e^{-\bar E}$ | any |
# | negative log-likelihood | $E^+ + \frac1\beta \log \sum_y e^{-\beta E(y)}$ | any |
#
# From scratch, one line each (`p` is $E^+$, `n` is $\bar E$, `a` the energies of all answers; $m = \gamma = \beta = 1$), and the same with `ebmlearn.objectives`:

# %% tags=["nbval-check-output"]
from_scratch = {
    "energy": lambda p, n, a: p.mean(),
    "perceptron": lambda p, n, a: (p - a.min(-1).values).mean(),
    "hinge": lambda p, n, a: torch.relu(1 + p - n).mean(),
    "log": lambda p, n, a: torch.log(1 + torch.exp(p - n)).mean(),
    "square-square": lambda p, n, a: (p**2 + torch.relu(1 - n) ** 2).mean(),
    "square-exp": lambda p, n, a: (p**2 + torch.exp(-n)).mean(),
    "likelihood": lambda p, n, a: (p + torch.log(torch.exp(-a).sum(-1))).mean(),
}
LOSSES = {
    "energy": lambda p, n, a: energy_loss(p),
    "perceptron": lambda p, n, a: perceptron(p, a),
    "hinge": lambda p, n, a: hinge(p, n),
    "log": lambda p, n, a: log_loss(p, n),
    "square-square": lambda p, n, a: square_square(p, n),
    "square-exp": lambda p, n, a: square_exponential(p, n),
    "likelihood": lambda p, n, a: negative_log_likelihood(p, a),
}
p, n = torch.rand(2, 50, generator=gen(0), dtype=torch.float64) * 3
a = torch.cat([p[:, None], n[:, None], 3 + torch.rand(50, 8, dtype=torch.float64)], -1)
for name in LOSSES:
    torch.testing.assert_close(LOSSES[name](p, n, a), from_scratch[name](p, n, a))
show("losses that agree with ebmlearn.objectives", len(LOSSES))

# %% [markdown]
# Two questions sort the table, and neither needs training.
#
# **Is a nearly flat energy good enough?** Let the right answer be lower by 0.01 only. How hard does the loss push on the wrong one?
#
# **Is the level pinned?** Add the same number to *all* energies. If the loss does not change, the level is free. If it pulls down at every height, the level
# falls until something stops it. If it pushes up when low and pulls down when high, the level is pinned.

# %% tags=["nbval-check-output"]
print("loss            push on the wrong   pull on the level: at 0.1    at 3")
pull = {}
for name, loss in LOSSES.items():
    row = []
    for height in (0.1, 3.0):
        gap, level = (torch.full((1,), v, dtype=torch.float64) for v in (0.01, height))
        gap.requires_grad_(), level.requires_grad_()
        p, n = level, level + gap
        value = loss(p, n, torch.stack([p, n], -1))
        row.append(torch.autograd.grad(value, (gap, level), materialize_grads=True))
    push = row[0][0].item()
    pull[name] = [round(level.item(), 9) + 0.0 for _, level in row]
    print(f"{name:<15}{abs(push):>18.2f}{pull[name][0]:>27.2f}{pull[name][1]:>10.2f}")
free = [name for name, (low, high) in pull.items() if max(abs(low), abs(high)) < 1e-12]
pinned = [name for name, (low, high) in pull.items() if low < 0 < high]
show("level free", ", ".join(free))
show("level pinned", ", ".join(pinned))

# %% [markdown]
# The first column says which losses accept a flat energy: *energy* and *perceptron* do not push at all once the right answer is the lowest by any amount. (Square-square does push, until
# $\bar E = m$.) The other columns say something that the word "margin" hides. Hinge, log and likelihood see differences only: their level is free. Only the two losses with $(E^+)^2$ in them
# pin it. *Margin* and *level* are two properties, and section 3 shows that both matter.
#
# In the plane of $(E^+, \bar E)$, with both energies free and not negative, as distances are:


# %%
PLANE = {
    "energy": lambda p, n, m: energy_loss(p),
    "perceptron": lambda p, n, m: perceptron(p, torch.stack([p, n], -1)),
    "hinge": lambda p, n, m: hinge(p, n, margin=m),
    "log": lambda p, n, m: log_loss(p, n),
    "square-square": lambda p, n, m: square_square(p, n, margin=m),
    "square-exp": lambda p, n, m: square_exponential(p, n),
}
side = torch.linspace(0, 3, 61)
E_POS, E_NEG = torch.meshgrid(side, side, indexing="xy")


def plane(ax, loss="hinge", margin=1.0, height=1.5):
    """The loss over the plane, and gradient descent from nearly flat energies of three heights."""
    value = torch.func.vmap(lambda p, n: PLANE[loss](p, n, margin))
    ax.contourf(
        E_POS, E_NEG, value(E_POS.flatten(), E_NEG.flatten()).view(61, 61), 14, cmap="Greys"
    )
    ax.plot([0, 3], [0, 3], ":", color=BLUE, lw=2)
    e = torch.tensor([[0.3, 0.31], [height, height + 0.01], [2.6, 2.61]])
    path = [e]
    for _ in range(1200):
        e = e.requires_grad_(True)
        (g,) = torch.autograd.grad(value(e[:, 0], e[:, 1]).sum(), e)
        e = (e.detach() - 0.01 * g).clamp(0, 3)
        path.append(e)
    path = torch.stack(path).detach()
    ax.plot(path[..., 0], path[..., 1], color=ORANGE, lw=2)
    ax.plot(path[0, :, 0], path[0, :, 1], "o", color=ORANGE, label="start")
    ax.plot(path[-1, :, 0], path[-1, :, 1], "*", color=RED, ms=13, label="end")
    ax.set(xlabel="$E^+$", ylabel="$\\bar E$", title=loss, xlim=(-0.1, 3.1), ylim=(-0.1, 3.1))
    gap = (path[-1, 1, 1] - path[-1, 1, 0]).item()
    return f"{loss}: from height {height:.2f} descent ends at E+ = {path[-1, 1, 0].item():.2f}, wrong - right = {gap:.2f}."


# %% tags=["figure"] alt="Six grey maps of a loss over the right energy (horizontal) and the wrong energy (vertical), dark is high, with a dotted diagonal where the energy is flat. Descent paths run from three starts on the diagonal. Energy: straight left, wrong energies unmoved. Perceptron: no movement. Hinge: diagonally up-left until the gap is 1, at three different levels. Log: the same direction, further. Square-square and square-exp: to right energy 0, wrong energy at least 1."
fig, axes = plt.subplots(1, 6, figsize=(15.0, 3.1), sharey=True)
for ax, loss in zip(axes, PLANE):
    plane(ax, loss)
    if ax is not axes[0]:
        ax.set_ylabel("")
axes[1].legend(fontsize=8, loc="upper left")

# %% [markdown]
# (The picture ends at 3, and so do the paths.) Where do the paths of the hinge end? On a *line*, a gap of $m$ at any level. Those of square-square end on $E^+ = 0$. Change the margin (of hinge and square-square), and the height of the middle start.

# %% tags=["widget"]
Explorer(
    plane,
    {
        "loss": choice(list(PLANE), label="loss", value="hinge"),
        "margin": slider(1.0, 0.2, 2.5, label="margin m", step=0.1),
        "height": slider(1.5, 0.0, 2.8, label="middle start", step=0.1),
    },
    figsize=(4.6, 4.2),
)

# %% [markdown]
# ### Exercise 1: the most offending answer
# Given `energies[B, K]` of the candidate answers `answers[K]` and the right answers `y[B]`, return for each row the lowest energy among the candidates farther than `delta` from
# $y$, `[B]`. Stuck? `q.most_offending.hint()`.


# %% tags=["exercise"]
def most_offending(energies, answers, y, delta):
    """energies[B, K], answers[K], y[B] -> [B]."""
    ### BEGIN SOLUTION
    wrong = (answers - y[:, None]).abs() > delta
    return torch.where(wrong, energies, torch.inf).min(dim=-1).values
    ### END SOLUTION


# %% tags=["check"]
q.most_offending.check(most_offending)

# %% [markdown]
# ## 3 · Seven losses, two architectures, five seeds
#
# $y = x^2$, 71 candidate answers in $[-0.2, 1.2]$, $\delta = 0.25$, branches with 20 tanh units, 10 outputs each in the joint embedding, Adam at 0.01 falling to 0. All five seeds train
# at once: every weight has a leading axis of seeds. In the tables below, *error* is the mean of $|\arg\min_y F - x^2|$, *gap* of $\bar E - E^+$, *level* of $E^+$, and *spread* is the standard deviation of $F$
# over the answers to a question.
#
# An eighth row adds to the hinge the one thing that it lacks, a pin on the level, $0.1\,(E^+)^2$.

# %%
ANSWERS = torch.linspace(-0.2, 1.2, 71)
DELTA = 0.25


class Branches(nn.Module):
    """SEEDS copies of a network 1 - 20 - out, x[SEEDS, B, 1] -> [SEEDS, B, out], with PyTorch's usual initial weights."""

    def __init__(self, out):
        super().__init__()
        uniform = lambda *shape, fan_in: nn.Parameter((2 * torch.rand(shape) - 1) / fan_in**0.5)
        self.w1, self.b1 = uniform(SEEDS, 1, 20, fan_in=1), uniform(SEEDS, 1, 20, fan_in=1)
        self.w2, self.b2 = uniform(SEEDS, 20, out, fan_in=20), uniform(SEEDS, 1, out, fan_in=20)

    def forward(self, x):
        hidden = torch.tanh(torch.baddbmm(self.b1, x, self.w1))
        return torch.baddbmm(self.b2, hidden, self.w2)


class OneBranch(nn.Module):
    """|G(x) - y|; x[S, B, 1], y[S, K, 1] -> all pairs [S, B, K]."""

    def __init__(self):
        super().__init__()
        self.g = Branches(1)

    def forward(self, x, y):
        return (self.g(x) - y.mT).abs()


class TwoBranches(nn.Module):
    """|G1(x) - G2(y)|_1, all pairs."""

    def __init__(self):
        super().__init__()
        self.g1, self.g2 = Branches(10), Branches(10)

    def forward(self, x, y):
        return torch.cdist(self.g1(x), self.g2(y), p=1)


def energies_at(net, x):
    """E+ [S, B], the most offending [S, B], all [S, B, 71] at the questions x[S, B, 1]."""
    y = x**2
    everything = net(x, torch.cat([ANSWERS[:, None].expand(SEEDS, -1, -1), y], 1))
    e_pos = everything[..., 71:].diagonal(dim1=1, dim2=2)
    all_answers = everything[..., :71]
    wrong = (ANSWERS - y).abs() > DELTA
    return e_pos, torch.where(wrong, all_answers, torch.inf).min(-1).values, all_answers


def train(architecture, loss, steps=STEPS):
    torch.manual_seed(0)
    net = architecture()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    anneal = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        value = SEEDS * loss(*energies_at(net, 2 * torch.rand(SEEDS, 32, 1) - 1))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        anneal.step()
    return net


QUESTIONS = torch.linspace(-1, 1, 101)[:, None].expand(SEEDS, -1, -1)


@torch.no_grad()
def judge(net):
    """For each seed: mean error of argmin_y F, mean gap, mean level E+, spread of F over the answers."""
    e_pos, e_neg, everything = energies_at(net, QUESTIONS)
    error = (ANSWERS[everything.argmin(-1)] - QUESTIONS[..., 0] ** 2).abs().mean(1)
    return torch.stack(
        [error, (e_neg - e_pos).mean(1), e_pos.mean(1), everything.std(-1).mean(1)], -1
    )


def report(runs):
    print("loss             error (worst seed)     gap    level    spread")
    for name, r in runs.items():
        m = r.mean(0).tolist()
        print(
            f"{name:<15}{m[0]:>8.3f}  ({r[:, 0].max().item():.3f}){m[1]:>13.3f}{m[2]:>9.3f}{m[3]:>10.3f}"
        )


PIN = {"hinge + pin": lambda p, n, a: hinge(p, n) + 0.1 * p.square().mean()}
one = {name: judge(train(OneBranch, loss)) for name, loss in LOSSES.items()}
report(one)
if FULL:
    assert one["energy"][:, 0].max() < 0.05

# %% [markdown]
# **One branch.** The energy loss, the very one that "collapses", is as good as any: it is regression. Four losses have trouble here instead, in one seed (error 0.5, the worst) or in all. All four see differences
# only. Section 7 says what happens to them. (The squares are a little off: they trade a larger error at small $E^+$ for pushing the wrong answers.)

# %%
nets = {name: train(TwoBranches, loss) for name, loss in (LOSSES | PIN).items()}
two = {name: judge(net) for name, net in nets.items()}
report(two)


@torch.no_grad()
def both_signs(net):
    """Coordinates of G1(x) - G2(y) that are positive and negative, each in over 5 % of the pairs."""
    a, b = net.g1(QUESTIONS), net.g2(ANSWERS[:, None].expand(SEEDS, -1, -1))
    positive = (a[:, :, None] > b[:, None]).float().mean((1, 2))  # [SEEDS, 10]
    return ((positive > 0.05) & (positive < 0.95)).sum(-1).float().mean().item()


signs = {name: both_signs(nets[name]) for name in ("hinge", "log", "likelihood", "hinge + pin")}
for name, count in signs.items():
    show(f"{name}: coordinates with both signs, of 10", count, digits=1)
if FULL:
    assert signs["hinge"] < 6 < signs["likelihood"] and signs["hinge + pin"] > 9
    mean = {name: r.mean(0) for name, r in two.items()}
    for name in ("square-square", "square-exp", "likelihood", "hinge + pin"):
        assert mean[name][0] < 0.05 and mean[name][1] > 0.3
    assert mean["energy"][3] < 0.2 and mean["perceptron"][3] < 0.2  # spread: both are nearly flat
    assert mean["hinge"][2] > 20 * mean["hinge + pin"][2]  # the level drifts unless pinned

# %% tags=["figure"] alt="Eight maps of F over question and answer, each with its own scale, after training the joint embedding with one loss each; a white curve is the right answer. Square-square, square-exp, likelihood and hinge with pin have a dark valley along the parabola. The energy loss has one too, but its scale ends near 0.3. The perceptron's map has no valley along the parabola."
fig, axes = plt.subplots(2, 4, figsize=(13.0, 5.4), sharex=True, sharey=True)
for ax, (name, net) in zip(axes.flat, nets.items()):
    with torch.no_grad():
        f = energies_at(net, QUESTIONS)[2][0]
    mesh = ax.pcolormesh(QUESTIONS[0, :, 0], ANSWERS, f.T, cmap="viridis", rasterized=True)
    fig.colorbar(mesh, ax=ax)
    ax.plot(QUESTIONS[0, :, 0], QUESTIONS[0, :, 0] ** 2, "--", color="white", lw=2)
    ax.set_title(f"{name}: error {two[name][0, 0].item():.3f}")
for ax in axes[1]:
    ax.set_xlabel("question $x$")
for ax in axes[:, 0]:
    ax.set_ylabel("answer $y$")

# %% [markdown]
# **Two branches.** Read the last column first.
#
# - *Energy*: the spread is less than a tenth: the energy is going flat. Its argmin is still right, because
#   what is left of the landscape keeps its order. An argmin, like AUROC in lesson 02, is a bad alarm for collapse; the spread is a good one.
# - *Perceptron*: flat over the answers, and at a level that went up by itself. Nothing asked for that, nothing stops it.
# - *Hinge, log*: a gap as asked, but at a level of 17 and 26, and with three times (hinge) or nearly twice (log) the error of *hinge + pin*. Look at the lines below the table. A coordinate whose difference
#   $G_1(x)_j - G_2(y)_j$ always has the same sign adds a function of $x$ and a function of $y$ to the energy, so it prefers the same $y$ for *every* question. At the hinge's level six of ten coordinates are like that, at the log's half.
# - *Square-square, square-exp*: gap and level as asked, every seed good.
# - *Hinge + pin*: the same, and all 10 coordinates at work. One more term, nothing else changed: so the free level was the trouble.
# - *Likelihood*: its level is free too and drifts furthest, yet it is the most accurate: it pushes on all answers at once, with a force that does not end at a margin, and eight coordinates keep both signs.
#
# So "it has a margin, so it works" is half of the truth. The other half: the energy must still tie $y$ to $x$, and a level that drifts upwards loosens the tie.

# %% [markdown]
# ## 4 · How much can a contrast tell? At most log(N + 1)
#
# The likelihood sums over all answers. Where they are too many, sum over the right one and $N$ negatives drawn at random: **InfoNCE**,
#
# $$L = -\mathbb E \log \frac{e^{-F(x, y)}}{e^{-F(x, y)} + \sum_{j=1}^N e^{-F(x, y_j^-)}} .$$
#
# A flat energy has $L = \log(N+1)$, pure guessing. With the best energy possible, $F = -\log p(y|x)/p(y)$, the difference $\log(N+1) - L$ is a lower bound of the mutual information of
# $x$ and $y$, and as $L \ge 0$ it never exceeds $\log(N+1)$. Test it where everything is known: 8 pairs of correlated normals, $I = -\tfrac82 \log(1 - \rho^2) = 8$ nats, and the exact $F$.

# %% tags=["nbval-check-output"]
# Error: InfoNCE certifies at most log(N + 1) nats
INFORMATION = 8.0
rho = math.sqrt(1 - math.exp(-2 * INFORMATION / 8))


def exact_f(x, y):
    """-log p(y|x)/p(y) for 8 independent pairs of correlation rho."""
    v = 1 - rho**2
    return (0.5 * ((y - rho * x) ** 2 / v - y**2) + 0.5 * math.log(v)).sum(-1)


g = gen(1)
x = torch.randn(PAIRS, 8, generator=g)
y = rho * x + math.sqrt(1 - rho**2) * torch.randn(PAIRS, 8, generator=g)
certified, worst = {}, {}
for n in (1, 15, 255, 1023):
    negatives = torch.randn(PAIRS, n, 8, generator=g)
    loss = info_nce(exact_f(x, y), exact_f(x[:, None], negatives))
    certified[n], worst[n] = math.log(n + 1) - loss.item(), math.log(n + 1)
    assert 0 < certified[n] < worst[n] < INFORMATION
    guessing = info_nce(torch.zeros(5), torch.zeros(5, n)).item()
    show(f"N = {n}: loss of a flat energy, and the most it can certify", guessing, digits=2)
show("true information, nats", INFORMATION, digits=2)

# %%
for n in certified:
    show(f"N = {n}: certified with the exact energy, limit", [certified[n], worst[n]], digits=2)

# %% [markdown]
# The exact energy, 8 nats to be found, and 16 candidates show fewer than 3. A contrastive loss near zero does not say that all is learned; it says that these negatives are too easy.
# To certify $I$ nats takes about $e^I$ negatives, here 3000, for an image's worth of information more than there are. Hence hard negatives (02), negatives drawn from the model (07) and the
# second route.

# %% [markdown]
# ## 5 · Energies that are small by construction
#
# Now no negatives at all. An energy that reconstructs $x$ from a limited code, $E(x) = |x - \text{decoded}|^2$, *cannot* be low everywhere: what the code cannot say is reconstructed badly. **Capacity of the
# code replaces contrast.** To compare, measure two things over the square $[-3, 3]^2$. The **low region**: the share of it with lower energy than the 95 % quantile of the data's. It holds 95 % of the
# data by definition; the smaller, the better the energy *orders* points. And the **height**: the median energy over the square. Near 0, the energy is flat, however well it orders.
#
# **PCA.** The code is $k$ numbers, the decoder linear: $E(x) = |(I - WW^T)(x - m)|^2$ with the $k$ leading eigenvectors as columns of $W$. From scratch and with `ebmlearn`; the mean over the data is the
# sum of the *small* eigenvalues.

# %% tags=["nbval-check-output"]
spiral = toy.spiral(noise=0.05)
data = spiral.sample(1000, generator=gen(0)).double()
centred = data - data.mean(0)
values, vectors = torch.linalg.eigh(centred.T @ centred / len(data))
w = vectors[:, 1:]  # the leading direction
by_hand = (centred - centred @ w @ w.T).square().sum(-1)
pca = PCAEnergy.fit(data, 1)
torch.testing.assert_close(pca(data), by_hand)
torch.testing.assert_close(pca(data).mean(), values[0])
show("mean PCA energy of the data = the small eigenvalue", True)

# %% [markdown]
# ### Exercise 2: PCA as an energy
# From data `data[N, D]` and a number `k` of components return the energies of points `x[*batch, D]`. Any $D$, any batch.


# %% tags=["exercise"]
def pca_energy(x, data, k):
    """|(I - W W^T)(x - m)|², [*batch]."""
    ### BEGIN SOLUTION
    mean = data.mean(0)
    _, _, rows = torch.linalg.svd(data - mean, full_matrices=False)
    residual = (x - mean) - (x - mean) @ rows[:k].T @ rows[:k]
    return residual.square().sum(-1)
    ### END SOLUTION


# %% tags=["check"]
q.pca_energy.check(pca_energy)

# %% [markdown]
# **k-means.** The code is one of $K$ names: $E(x, z) = |x - c_z|^2$ and $E(x) = \min_z E(x, z)$. The latent is minimised over, the limit $\beta \to \infty$ of the free energy
# $F_\beta = -\tfrac1\beta \log \sum_z e^{-\beta E(x, z)}$, which for finite $\beta$ is, up to a constant, the energy of a mixture of Gaussians of variance $1/2\beta$. The two are never farther apart
# than $\log(K)/\beta$.

# %% tags=["nbval-check-output"]
kmeans = KMeansEnergy.fit(data, 16)
from_scratch_kmeans = torch.cdist(data, kmeans.centres).square().min(-1).values
torch.testing.assert_close(kmeans(data), from_scratch_kmeans)
for beta in (1.0, 10.0, 100.0):
    free_energy = -torch.logsumexp(-beta * kmeans.energies(data), -1) / beta
    gap = kmeans(data) - free_energy
    assert -1e-12 < gap.min() and gap.max() < math.log(16) / beta + 1e-12
    show(f"beta {beta:g}: min_z E - F_beta is at most log(16)/beta", math.log(16) / beta)

# %% [markdown]
# **Sparse coding.** Many atoms, few at a time: $E(x) = \min_z \tfrac12|x - zD|^2 + \lambda |z|_1$. The code is as long as one likes; what limits it is the price of using it. With one unit atom
# $z^* = \operatorname{sign}(x)\max(0, |x| - \lambda)$, and $E$ is the Huber function, $x^2/2$ near 0, $\lambda|x| - \lambda^2/2$ beyond $\lambda$:

# %% tags=["nbval-check-output"]
line = torch.linspace(-3, 3, 601, dtype=torch.float64)
price = 0.7
sparse = SparseCodingEnergy(torch.ones(1, 1, dtype=torch.float64), sparsity=price)
huber = torch.where(line.abs() <= price, line**2 / 2, price * line.abs() - price**2 / 2)
torch.testing.assert_close(sparse(line[:, None]), huber)
show("sparse coding with one atom is the Huber function", True)

# %% [markdown]
# **Auto-encoders.** Encoder and decoder are networks. What limits the code: few units; or noise. `denoising_loss` asks for $x$ back from $x + \sigma\xi$: a code of any width must then
# *forget* the noise, so points off the data are pulled to it and have high energy. Without either limit, nothing keeps the network from copying everything.


# %%
def train_autoencoder(code, sigma):
    torch.manual_seed(0)
    energy = AutoencoderEnergy(
        MLP(2, code, hidden_features=(64, 64)), MLP(code, 2, hidden_features=(64, 64))
    )
    optimizer = torch.optim.Adam(energy.parameters(), lr=5e-3)
    anneal = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS_AE)
    for _ in range(STEPS_AE):
        x = data[torch.randint(len(data), (128,))].float()
        loss = energy.denoising_loss(x, sigma) if sigma else energy(x).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        anneal.step()
    return energy


square = 6 * torch.rand(20_000, 2, generator=gen(2)) - 3


@torch.no_grad()
def region_and_height(energy):
    """Share of the square that is lower than 95 % of the data, and the median energy over the square."""
    e = energy(square)
    top = torch.quantile(energy(data.float()), 0.95)
    return (e <= top).float().mean().item(), e.median().item()


ARCHITECTURES = {
    "PCA, 1 of 2": PCAEnergy.fit(data.float(), 1),
    "k-means, 4": KMeansEnergy.fit(data.float(), 4),
    "k-means, 64": KMeansEnergy.fit(data.float(), 64),
    "auto-encoder, code 1": train_autoencoder(1, 0.0),
    "auto-encoder, code 16": train_autoencoder(16, 0.0),
    "denoising, code 16": train_autoencoder(16, 0.3),
}
judged = {name: region_and_height(energy) for name, energy in ARCHITECTURES.items()}
print("architecture            low region   height")
for name, (share, height) in judged.items():
    print(f"{name:<24}{share:>8.2f}{height:>12.4f}")
if FULL:
    assert 20 * judged["auto-encoder, code 16"][1] < judged["denoising, code 16"][1]
    assert judged["k-means, 64"][0] < 0.1 < judged["k-means, 4"][0]

# %% tags=["figure"] alt="Six maps of an energy, dark is low, with the spiral's data in orange. PCA: a dark straight band. k-means with 4 and 64 prototypes: 4 round wells, and a chain of small wells along the spiral. Auto-encoder with a code of 1: a dark curve that follows part of the spiral. Code of 16: dark along the spiral and around it. Denoising: a dark band along the spiral."
fig, axes = plt.subplots(1, 6, figsize=(14.0, 2.8), sharey=True)
for ax, (name, energy) in zip(axes, ARCHITECTURES.items()):
    with torch.no_grad():
        top = torch.quantile(energy(data.float()), 0.95).item()
    energy_map(energy, ax, limits=(0.0, max(4 * top, 1e-3)), contours=0, colorbar=False)
    points(data[:250].float(), ax, size=2.0)
    ax.set(title=f"{name}\n{judged[name][0]:.2f}, {judged[name][1]:.2g}", ylabel="", xlabel="")
    ax.title.set_fontsize(9)

# %% [markdown]
# (Above each map, low region and height; its scale ends at four times the data's 95 % quantile.)
#
# Prototypes win in the plane, where 64 of them can sit everywhere on the data; in many dimensions they cannot. Look at the two wide auto-encoders. By its low region the one without noise is *better*. But its
# height is a hundred times less: it copies almost everything almost perfectly, and what is left of its energy happens to be ordered. Order survives collapse, once more. Read as $p \propto e^{-E}$ it is
# nearly uniform over the square.
#
# How many prototypes does the spiral need? Move $K$; $\beta$ makes the minimum soft.


# %%
@functools.cache
def prototypes(k):
    return KMeansEnergy.fit(data.float(), k)


def soft_kmeans(ax, k=16, beta=100.0):
    energies = prototypes(k).energies
    soft = lambda x: -torch.logsumexp(-beta * energies(x), -1) / beta
    energy_map(soft, ax, contours=0, colorbar=False, limits=(float(soft(data.float()).min()), 1.0))
    points(data[:250].float(), ax, size=3.0)
    region, _ = region_and_height(soft)
    return f"{k} prototypes, beta {beta:.3g}: the low region is {region:.2f} of the square."


# %% tags=["figure"] alt="Four maps: 4 prototypes make four round wells far larger than the spiral's arms; 16 and 64 follow the arms ever closer; 64 prototypes with beta 2 make one broad basin again."
fig, axes = plt.subplots(1, 4, figsize=(12.0, 3.2), sharey=True)
for ax, (k, beta) in zip(axes, ((4, 100.0), (16, 100.0), (64, 100.0), (64, 2.0))):
    soft_kmeans(ax, k, beta)
    ax.set(title=f"K = {k}, $\\beta$ = {beta:g}", ylabel="", xlabel="")

# %% tags=["widget"]
Explorer(
    soft_kmeans,
    {
        "k": slider(16, 1, 64, label="prototypes"),
        "beta": slider(100.0, 0.5, 200.0, label="inverse temperature", log=True),
    },
    figsize=(4.6, 4.2),
)

# %% [markdown]
# ## 6 · A joint embedding without negatives: VICReg
#
# Back to $\|G_1 - G_2\|$, the architecture that can collapse. Contrast is one cure. Another is to forbid the collapse directly, in the loss of a *batch* of embeddings $z[n, d]$ of two
# views:
#
# - **invariance**: mean $(a - b)^2$, the energy of a pair, pulled down;
# - **variance**: every coordinate's standard deviation is kept at 1 or more, mean$_j \max(0, 1 - \sqrt{\operatorname{Var} z_j + \epsilon})$;
# - **covariance**: coordinates must not repeat each other, $\tfrac1d \sum_{i \ne j} C_{ij}^2$.
#
# ### Exercise 3: variance and covariance
# For `z[n, d]` return the pair (variance term, covariance term), with $\epsilon = 10^{-4}$, and $\operatorname{Var}$ and $C$ with $n - 1$ in the denominator.


# %% tags=["exercise"]
def spread_terms(z):
    """(mean_j relu(1 - std_j), sum_{i != j} C_ij² / d) of embeddings z[n, d]."""
    ### BEGIN SOLUTION
    centred = z - z.mean(0)
    c = centred.T @ centred / (len(z) - 1)
    variance = torch.relu(1 - (c.diagonal() + 1e-4).sqrt()).mean()
    covariance = (c.square().sum() - c.diagonal().square().sum()) / z.shape[1]
    return variance, covariance
    ### END SOLUTION


# %% tags=["check"]
q.spread_terms.check(spread_terms)

# %% [markdown]
# The data: what matters is $z \in \mathbb R^8$; each view sees it mixed with its own 16 numbers of nuisance, through a tanh into 32. Train an encoder to 16 coordinates with 1, 2 and all 3 terms, three seeds
# each, and measure on fresh data: the standard deviation; the **participation ratio** $(\sum_i \lambda_i)^2/\sum_i \lambda_i^2$ of the covariance's eigenvalues, an effective number of
# dimensions; and how much of $z$ a linear readout finds, $R^2$ on held-out points.


# %%
def participation(h):
    values = torch.linalg.eigvalsh(torch.cov(h.double().T)).clamp(min=0)
    return (values.sum() ** 2 / values.square().sum().clamp(min=1e-300)).item()


def readout(h, z):
    """R² of the best linear readout of z from h: fitted on the first half, measured on the second."""
    h, z = torch.cat([h, torch.ones(len(h), 1)], 1).double(), z.double()
    half = len(h) // 2
    w = torch.linalg.lstsq(h[:half], z[:half], driver="gelsd").solution
    return (
        1 - ((z[half:] - h[half:] @ w).square().mean(0) / z[half:].var(0, correction=0)).mean()
    ).item()


def train_views(weights, seed):
    torch.manual_seed(seed)
    w1, w2 = torch.randn(8, 32), torch.randn(16, 32)
    net = MLP(32, 16, hidden_features=(64, 64), activation=nn.ReLU)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

    def views(n):
        z = torch.randn(n, 8)
        return z, *(torch.tanh((z @ w1 + 0.8 * torch.randn(n, 16) @ w2) / 3) for _ in range(2))

    for _ in range(STEPS_VIEWS):
        _, a, b = views(256)
        loss = vicreg(net(a), net(b), **weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        z, a, _ = views(4000)
        h = net(a)
        return [h.std(0).mean().item(), participation(h), readout(h, z), readout(a, z)]


TERMS = {
    "invariance only": {"invariance": 25.0, "variance": 0.0, "covariance": 0.0},
    "+ variance": {"invariance": 25.0, "variance": 25.0, "covariance": 0.0},
    "+ covariance": {"invariance": 25.0, "variance": 25.0, "covariance": 1.0},
}
embedded = {
    name: torch.tensor([train_views(w, s) for s in range(3)]).mean(0).tolist()
    for name, w in TERMS.items()
}
print("terms              std    participation   R² of z   (R² from the view itself)")
for name, (std, rank, r2, raw) in embedded.items():
    print(f"{name:<16}{std:>7.3f}{rank:>14.1f}{r2:>13.2f}{raw:>16.2f}")
if FULL:
    assert embedded["invariance only"][0] < 0.01 and embedded["+ variance"][0] > 0.8
    assert embedded["+ variance"][1] < 1.5 and embedded["+ covariance"][1] > 4
    assert embedded["+ covariance"][2] > embedded["+ variance"][2] > 0.2

# %% [markdown]
# *Invariance only*: all embeddings are one point, the energy loss of section 1 again. (Its participation ratio means nothing: it is the ratio of rounding errors. Look at the scale before you look at the shape.)
# *+ variance*: every coordinate varies, as asked, but all 16 are the *same* coordinate: participation 1. *+ covariance*: between five and six
# dimensions. No pair was ever pushed apart: what is kept high is the information in the batch.
#
# The last column is sobering and belongs here: the view itself, 32 numbers, gives a better linear readout of $z$ than any of these encoders. VICReg has avoided collapse; that alone does not make a good
# representation. It keeps what two views share *and* what 16 decorrelated coordinates can hold.

# %% [markdown]
# ## 7 · What goes wrong, and how you see it
#
# **Answers outside the list.** Why did four losses fail with one branch? If $G(x)$ lies above every candidate, then $|G - y| - |G - y'| = y' - y$ whatever $G$ is: a loss of differences has gradient zero, and a
# seed that starts there stays there.

# %% tags=["nbval-check-output"]
# Error: a loss of differences beyond the candidates
for start in (0.913, 1.5):  # the first lies between two candidates, the second above them all
    dead = []
    for name, loss in LOSSES.items():
        g_of_x = torch.tensor([start], dtype=torch.float64, requires_grad=True)
        everything = (g_of_x[:, None] - ANSWERS.double()).abs()
        right = (g_of_x - 0.49).abs()
        wrong = torch.where((ANSWERS - 0.49).abs() > DELTA, everything, torch.inf).min(-1).values
        (slope,) = torch.autograd.grad(loss(right, wrong, everything), g_of_x)
        if slope.abs() < 1e-12:
            dead.append(name)
    show(f"G = {start}, answers end at 1.2: gradient is zero for", ", ".join(dead) or "none")

# %% [markdown]
# **The wrong temperature.** The likelihood failed with one branch in *all* seeds. Its energy has a fixed scale, $|G - y|$ in units of $y$, so $\beta$ is not free. The slope of the loss is, for $G < y$, minus twice the
# model's mass below $G$. With $\beta = 1$ the model is a Laplace density of width 1 on a list of length 1.4: nearly flat, so near the lower end of the list there is little mass below and little force. There $G$ slips out, and beyond the
# list the force is zero. The truth has the lower loss; training does not get there. Two branches can scale their energy themselves.

# %%
# Error: an energy of fixed scale at the wrong temperature
truth = (QUESTIONS[0] ** 2 - ANSWERS).abs()
for beta in (1.0, 10.0):
    at_beta = lambda p, n, a, beta=beta: negative_log_likelihood(p, a, beta=beta)
    net = train(OneBranch, at_beta)
    with torch.no_grad():
        reached = at_beta(*energies_at(net, QUESTIONS)).item()
    best = negative_log_likelihood(torch.zeros(101), truth, beta=beta).item()
    worst_seed = judge(net)[:, 0].max().item()
    show(
        f"beta {beta:g}: loss, loss of the truth, error of the worst seed",
        [reached, best, worst_seed],
    )
    if FULL:
        assert worst_seed < 0.05 if beta == 10 else worst_seed > 0.2 and reached > best + 0.1

# %% [markdown]
# **Low is not normalised.** A PCA energy is zero on a whole line. It ranks points, but $e^{-E}$ has no finite integral: double the box, and $\log Z$ gains $\log 2$. It is no density until something confines it.

# %% tags=["nbval-check-output"]
# Error: a subspace energy has no finite Z
strip = PCAEnergy(torch.zeros(2), torch.tensor([[1.0, 0.0]]))  # E = x2²
for half in (4.0, 8.0, 16.0):
    z = quadrature(strip, low=-half, high=half, cells=400).log_partition
    exact = math.log(2 * half * math.sqrt(math.pi))
    assert abs(z - exact) < 1e-3
    show(f"log Z on [-{half:g}, {half:g}]²", z, digits=2)

# %% [markdown]
# **Sparsity with a free decoder.** $\lambda|z|_1$ in an auto-encoder limits nothing as long as the decoder may grow: divide the code by 1000, let the decoder multiply by 1000. The reconstruction is the same, the penalty
# gone. Dictionaries have unit atoms for this reason.

# %% tags=["nbval-check-output"]
# Error: sparsity with a free decoder
encode, decode = nn.Linear(2, 16), nn.Linear(16, 2)
before = AutoencoderEnergy(encode, decode, sparsity=1.0)
x = torch.randn(500, 2, generator=gen(3))
with torch.no_grad():
    error = (x - decode(encode(x))).square().sum(-1)
    penalty = (before(x) - error).mean()
    for t in (encode.weight, encode.bias):
        t /= 1000
    decode.weight *= 1000
    torch.testing.assert_close(
        (x - decode(encode(x))).square().sum(-1), error, rtol=1e-3, atol=1e-3
    )
    left = (encode(x).abs().sum(-1)).mean()
show("penalty after / before, same reconstruction", left / penalty, digits=4)

# %% [markdown]
# ## 8 · Open exercise: pin the level
#
# The log loss drifted as the hinge did. Give it a level of its own in another way than $0.1(E^+)^2$ (weight decay? a bounded energy? a smaller step?) and compare with `report({"mine": judge(train(TwoBranches, my_loss))})`.


# %% tags=["exercise"]
def my_loss(p, n, a):
    """E+ [S, B], most offending [S, B], all [S, B, 71] -> a number."""
    ### BEGIN SOLUTION
    return log_loss(p, n) + 0.01 * a.square().mean()
    ### END SOLUTION


# report({"mine": judge(train(TwoBranches, my_loss))})

# %% [markdown] tags=["solution"]
# **One answer.** A small penalty on *all* energies pins the level as well, and also bounds the gap, which the log loss would widen for ever. A smaller step alone slows the drift down and does not stop it: the
# loss has no opinion about the level, so nothing brings it back.

# %% [markdown] tags=["quiz"]
# 1. The energy loss is used on $F = |G(x) - y|$. What happens?
#    - [ ] It collapses, since nothing is pushed up :: True of a joint embedding. Here the low answers of one question are an interval of fixed length, whatever $G$.
#    - [ ] It works only with a margin :: There is nothing to put a margin on, and no need.
#    - [x] It is regression and works :: The architecture does what contrast would do.
# 2. A joint embedding trained with the hinge has the gap it was asked for and bad answers. The energies are near 20. What do you try first?
#    - [ ] A larger margin :: The gap is there. A larger one does not bring the level down.
#    - [x] A term that pins the level, such as $0.1 (E^+)^2$ :: The hinge sees differences only; the level went up, and far from 0 an L1 distance is mostly a function of $x$ plus a function of $y$.
#    - [ ] More negatives :: They pin differences too.
# 3. InfoNCE with 15 negatives has reached a loss of 0.01. What is certified?
#    - [x] About $\log 16 = 2.8$ nats :: $\log(N+1) - L$, and it cannot be more.
#    - [ ] Nearly all the information that there is :: The loss is near its minimum for *these* negatives, whatever the information is.
#    - [ ] Nothing, because the energy may be flat :: A flat energy has $L = 2.77$.
# 4. An auto-encoder with a code wider than the data reconstructs everything. As an energy it is
#    - [ ] excellent, its energy on data is zero :: So it is everywhere else.
#    - [ ] useful if trained longer :: Longer training makes the copy better.
#    - [x] nearly flat, unless noise or a price limits the code :: Its height over the square was a hundredth of that of the one trained to denoise.
# 5. After VICReg with variance but without covariance, every coordinate has standard deviation 1. Is the embedding informative?
#    - [ ] Yes, it has not collapsed :: Not to a point.
#    - [x] Hardly: all coordinates may be the same one :: Participation was 1.0 of 16.
#    - [ ] One cannot know without labels :: The covariance shows it, no label needed.

# %% [markdown]
# ## Summary
#
# - Pull-only training is safe where the architecture limits what can be low, and collapses where it does not.
# - Of each loss ask: does it push on a nearly flat energy, and does it pin the level? *Energy* and *perceptron* fail both, *hinge*, *log* and *likelihood* the second; only the two with $(E^+)^2$ pass.
# - Spread is the alarm for collapse; order (argmin, AUROC) survives it.
# - $N$ negatives certify at most $\log(N+1)$ nats.
# - PCA, k-means, sparse coding, auto-encoders: a limited code keeps the low region small. Measure that region.
# - VICReg forbids collapse in the batch: variance against the point, covariance against the line.
#
# **Next:** 04 samples from an energy.
#
# ## References
#
# - Y. LeCun, S. Chopra, R. Hadsell, M. Ranzato, F. Huang, *A tutorial on energy-based learning* (2006).
# - M. Ranzato, Y.-L. Boureau, S. Chopra, Y. LeCun, *A unified energy-based framework for unsupervised learning* (2007).
# - P. Vincent, H. Larochelle, Y. Bengio, P.-A. Manzagol, *Extracting and composing robust features with denoising autoencoders* (2008).
# - A. van den Oord, Y. Li, O. Vinyals, *Representation learning with contrastive predictive coding* (2018).
# - B. Poole, S. Ozair, A. van den Oord, A. Alemi, G. Tucker, *On variational bounds of mutual information* (2019).
# - A. Bardes, J. Ponce, Y. LeCun, *VICReg: variance-invariance-covariance regularization for self-supervised learning* (2022).

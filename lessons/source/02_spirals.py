# %% [markdown]
# # 02 · Spirals: F(x, y)
#
# **You will**
#
# - write an energy of a *pair*, $F(x, y)$, and answer questions with it: $\hat y = \arg\min_y F(x, y)$;
# - see why one question may have several right answers, and what a feed-forward network does to them;
# - train $F$ by contrast, from scratch and with `ebmlearn`;
# - judge an energy by two metrics that disagree, and know which of them to believe for what;
# - choose negatives, and recognise a collapsed energy and a golf course.
#
# **Time** 60 minutes. **Needs** lessons 00 and 01.

# %% tags=["setup"]
import math

import matplotlib.pyplot as plt
import torch

from ebmlearn import budget
from ebmlearn.checks import lesson02 as q
from ebmlearn.course import setup, show
from ebmlearn.datasets import toy
from ebmlearn.energies import EnumeratedJoint, FromFunction, MLPEnergy, Mixture
from ebmlearn.metrics.ood import auroc
from ebmlearn.networks import MLP
from ebmlearn.objectives import hinge
from ebmlearn.resources import resource
from ebmlearn.samplers import Langevin, sample
from ebmlearn.training.ablate import Table
from ebmlearn.viz import energy_map, points
from ebmlearn.widgets.lesson02 import (
    WIDTHS,
    ResolutionExplorer,
    draw_resolution,
    reached,
)

setup(seed=0)
STEPS = budget(1000, smoke=30)  # training steps of the energies that are trained here
STEPS_NET = budget(800, smoke=250)  # of the feed-forward network
STARTS = budget(200, smoke=50)  # points that descend on the golf course
DESCENT = budget(300, smoke=50)  # steps that they take on the shipped energies

# %% [markdown]
# ## 1 · One question, several answers
#
# The data are points $(x, y)$ on a spiral. Take $x$ as the question and $y$ as the answer. At $x = 0$ a vertical line crosses the
# spiral three times, so three answers are right. No *function* of $x$ can say that: a function has one value.
#
# An **energy of the pair** can. $F(x, y)$ is low where $y$ is a good answer to $x$, high where it is not. The answer is found by
# **inference**, a search over $y$ with $x$ held fixed:
#
# $$\hat y = \arg\min_y F(x, y).$$
#
# Watch the letters. $\min_y F$ is an *energy*, a number that has no meaning of its own: $F + c$ describes the same answers. $\arg\min_y F$
# is an *answer*, in the units of $y$. One often meets "$\hat y = \min_y F$"; it is a slip. (Where an energy has a latent variable
# $z$, as in lesson 09, $F_\infty(x, y) = \min_z E(x, y, z)$ *is* a minimum: there an energy is wanted, and $\arg\min$ would be the slip.)
#
# This toy set has noise of standard deviation 0.1, so it has an exact density, and $F = -\log p(x, y)$ is an exact energy.

# %% tags=["nbval-check-output"]
spiral = toy.spiral(noise=0.1)
right_answers = spiral.answers(0.0)
show("right answers at x = 0", right_answers, digits=2)

# %% [markdown]
# **From scratch.** Many starts, gradient descent in $y$ only.


# %%
def infer_by_descent(energy, x, y, steps, eta):
    """Descend in y from each start y[n] with the question x held fixed."""
    for _ in range(steps):
        y = y.detach().requires_grad_(True)
        e = energy(torch.stack([torch.full_like(y, x), y], dim=-1))
        y = y - eta * torch.autograd.grad(e.sum(), y)[0]
    return y.detach()


starts = torch.linspace(-3, 3, 61)
by_hand = infer_by_descent(spiral, 0.0, starts, 100, 0.005)

# %% [markdown]
# **With ebmlearn.** A pair has two arguments, so it is a *joint energy*; `.given(x)` holds the question fixed and leaves an energy of
# $y$ alone. (`EnumeratedJoint` also wants the list of questions; these 40 are asked in section 2.) Descent is Langevin without noise.

# %%
questions = torch.linspace(-2.2, 1.6, 40)[:, None]
joint = EnumeratedJoint(lambda y, x: spiral(torch.cat([x, y], dim=-1)), questions)
descent = Langevin(step_size=0.005, noise=0.0)
found = sample(joint.given(torch.tensor([0.0])), descent, starts[:, None], 100)[:, 0]
torch.testing.assert_close(by_hand, found, rtol=1e-4, atol=1e-4)
assert all((found - y).abs().min() < 0.05 for y in right_answers)

# %% tags=["figure"] alt="Left: the exact energy of the spiral, dark along its arms, with a vertical line at x = 0. Right: the energy along that line, three wells; 61 starts have slid into them, next to the three right answers, which are marked by dashed lines."
fig, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.8))
energy_map(spiral, left, contours=0, colorbar=False)
left.axvline(0, color="white", linestyle="--")
left.set(
    xlabel="question $x$", ylabel="answer $y$", title="$F(x, y) = -\\log p(x, y)$, dark is low"
)
line = torch.linspace(-3, 3, 400)
right.plot(line, joint.given(torch.tensor([0.0]))(line[:, None]))
right.plot(found, joint.given(torch.tensor([0.0]))(found[:, None]), "o")
for y in right_answers:
    right.axvline(y, color="0.5", linestyle="--", linewidth=1)
right.set(
    xlabel="answer $y$", ylabel="$F(0, y)$", ylim=(0, 25), title="$x = 0$: where descent ends"
)

# %% [markdown]
# ### Exercise 1: inference over candidates
# Where $y$ comes from a short list, no descent is needed. Given `energy(points[*batch, 2])`, questions `x[B]` and candidates `[K]`, return
# for each question the candidate of lowest energy, `[B]`.


# %% tags=["exercise"]
def infer(energy, x, candidates):
    """x[B], candidates[K] -> y_hat[B]."""
    ### BEGIN SOLUTION
    pairs = torch.stack(torch.broadcast_tensors(x[:, None], candidates), dim=-1)
    return candidates[energy(pairs).argmin(dim=-1)]
    ### END SOLUTION


# %% tags=["check"]
q.infer.check(infer)

# %% [markdown]
# ## 2 · What a feed-forward network answers
#
# Train a network $f(x)$ to minimise $(f(x) - y)^2$ on the same pairs. The minimiser over all functions is the **conditional mean**
# $\mathbb E[y \mid x]$, whatever the network. With several right answers the mean lies *between* them, as a rule where no data are.
#
# For two equally likely answers $\pm a$, each with noise $\sigma$, everything is exact. The best answer under squared error is $0$. The energy is
#
# $$F(y) = -\log\tfrac12\big[\mathcal N(y; a, \sigma^2) + \mathcal N(y; -a, \sigma^2)\big],$$
#
# and its minima solve $y = a \tanh(a y / \sigma^2)$: two of them when $a > \sigma$, and then $0$ is a local *maximum* of $F$, the worst answer
# between the two. When $a \le \sigma$ they merge into one at $0$: two answers closer than the noise are one answer.

# %% tags=["nbval-check-output"]
a, sigma = 1.0, 0.5
wells = FromFunction(
    lambda y: (
        -torch.logsumexp(-((y - torch.tensor([a, -a]).to(y)) ** 2) / (2 * sigma**2), -1)
        + math.log(2 * sigma * math.sqrt(2 * math.pi))
    )
)
grid = torch.linspace(-3, 3, 600_001, dtype=torch.float64)[:, None]
y_hat = grid[wells(grid).argmin()].abs().item()
fixed_point = 1.0
for _ in range(200):
    fixed_point = a * math.tanh(a * fixed_point / sigma**2)
assert abs(y_hat - fixed_point) < 1e-4
show("argmin F, an answer", y_hat)
show("the fixed point a tanh(a y / sigma^2)", fixed_point)
show("min F, an energy", wells(grid).min())
show("F at the mean answer, 0", wells(torch.zeros(1, 1, dtype=torch.float64))[0])

# %% [markdown]
# Now the spiral. The exact conditional mean comes from the exact density on a grid: $\mathbb E[y|x] = \int y\,p(x,y)\,dy / \int p(x,y)\,dy$.

# %%
torch.manual_seed(0)
net = MLP(1, 1, hidden_features=(64, 64))
optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
anneal = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS_NET)
for _ in range(STEPS_NET):
    x, y = spiral.sample(512).float().split(1, dim=-1)
    loss = (net(x) - y).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    anneal.step()

ys = torch.linspace(-3, 3, 241)
plane = torch.stack(torch.meshgrid(questions[:, 0], ys, indexing="ij"), -1)
weight = torch.softmax(-spiral(plane), dim=-1)
mean_answer = (weight * ys).sum(-1)
with torch.no_grad():
    answer = net(questions)[:, 0]
assert (answer - mean_answer).abs().mean() < 0.2
show(
    "network against the exact conditional mean, mean distance",
    (answer - mean_answer).abs().mean(),
    digits=2,
)
gap = [(a - spiral.answers(float(x))).abs().min() for a, x in zip(answer, questions[:, 0])]
show(
    "network against the nearest right answer, median distance", torch.stack(gap).median(), digits=2
)

# %% tags=["figure"] alt="The spiral's data as dots. The feed-forward network's curve and the exact conditional mean run close together, except near x = -1, where the mean drops faster: on the upper arm at the left, by chance along the inner arm around x = 0, and through the empty space between the arms from x = 0.5 on. The answers found by descending the energy, crosses, lie on all arms; a few rings, where descent ended at high energy, lie off the arms."
y0 = torch.linspace(-2.6, 2.6, 27)[:, None, None].expand(27, 40, 1)
slices = joint.given(questions)
ends = sample(slices, descent, y0, 150)
high = slices(ends) > slices(ends).min(0).values + 6  # e^6 = 400 times less likely than the best
x_all = questions[:, 0].expand(27, 40)
fig, ax = plt.subplots(figsize=(7.5, 4.2))
points(spiral.sample(800).float(), ax, color="0.75", label="data")
ax.plot(x_all[~high], ends[~high], "x", markersize=4, label="energy: answers")
ax.plot(x_all[high], ends[high], "o", markersize=4, mfc="none", label="energy: ends of high energy")
ax.plot(questions, answer, "-", linewidth=3, label="feed-forward network")
ax.plot(questions, mean_answer, "--", color="black", label="exact conditional mean")
ax.set(xlabel="question $x$", ylabel="answer $y$", ylim=(-2.6, 4.8))
ax.legend(loc="upper center", ncols=2)

# %% [markdown]
# Descent from many starts finds every right answer, and some local minima that are none (rings): off the arms, where the energy is much
# higher. $\arg\min$ means the lowest, so compare the energies of what descent brings home. The network has no such choice: one $x$, one $y$.
# Where one arm holds nearly all the mass it follows that arm; around $x = 0$ the mean of three answers happens to lie on the middle one; from
# $x = 0.5$ on it answers with points that are never seen.

# %% [markdown]
# ## 3 · Learning F by contrast
#
# Now $F$ is a network with one output and the density is unknown. Pushing down on the data alone is not enough: a constant does that
# best. Something must be pushed up. **Contrastive** training draws **negatives** $(x^-, y^-)$ and asks that data lie a margin $m$ below them:
#
# $$L = \frac{1}{PN}\sum_{i,j} \max\big(0,\; m + F(x_i^+, y_i^+) - F(x_j^-, y_j^-)\big).$$
#
# Pairs whose gap is already $m$ cost nothing, so the loss has a finite optimum. Only *differences* of energies are pinned, never their level.
#
# ### Exercise 2: the loss
# Write $L$ for `e_pos[P]`, `e_neg[N]` and a margin: the mean over all $P \times N$ pairs.


# %% tags=["exercise"]
def hinge_all_pairs(e_pos, e_neg, margin):
    """The mean of max(0, margin + e_pos - e_neg) over all pairs."""
    ### BEGIN SOLUTION
    return (margin + e_pos[:, None] - e_neg[None]).clamp(min=0).mean()
    ### END SOLUTION


# %% tags=["check"]
q.hinge_all_pairs.check(hinge_all_pairs)

# %% [markdown]
# `ebmlearn.objectives.hinge` is this loss; axes that broadcast make all pairs. By hand on three numbers:

# %% tags=["nbval-check-output"]
e_pos, e_neg = torch.tensor([0.0, 2.0]), torch.tensor([0.5, 1.0, 5.0])
with_ebmlearn = hinge(e_pos[:, None], e_neg[None], margin=1.0)
loops = sum(max(0.0, 1.0 + p - n) for p in e_pos.tolist() for n in e_neg.tolist()) / 6
assert abs(with_ebmlearn.item() - loops) < 1e-6
show("hinge over all pairs", with_ebmlearn)


# %%
def square(n):
    """n uniform points of the square [-3, 3]²: the simplest negatives."""
    return 6 * torch.rand(n, 2) - 3


def train(negatives, width=32, steps=STEPS):
    """An energy of the spiral; negatives(energy, x_pos) -> points to push up."""
    torch.manual_seed(0)
    energy = MLPEnergy(2, hidden_features=(width,) * 3)
    optimizer = torch.optim.Adam(energy.parameters(), lr=5e-3)
    anneal = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        x_pos = spiral.sample(256).float()
        x_neg = negatives(energy, x_pos)
        loss = hinge(energy(x_pos)[:, None], energy(x_neg)[None])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        anneal.step()
    return energy, loss.item()


learned, last_loss = train(lambda energy, x_pos: square(256))
assert math.isfinite(last_loss)
ends = sample(learned, Langevin(step_size=0.01, noise=0.0), square(500), 300)
precision, coverage = reached(ends, spiral.curve(1000)[0].float())
show("500 points descend: share of them that end within 0.15 of the spiral", precision, digits=2)
show("share of the spiral that has such a point", coverage, digits=2)

# %% [markdown]
# ## 4 · Capacity and resolution, judged twice
#
# How fine a curve can $F$ follow? The course ships twelve energies, three hidden layers of width 4 to 128, trained by the loop above for 1500
# steps, once on the bare curve and once with noise of standard deviation 0.1 on the data. Two judges:
#
# - **AUROC**: the probability that a point of the curve has less energy than a point of the square. It sees only the *order* of energies.
# - **Descent**: 500 points start anywhere in the square and move 300 steps down (the maps below show 300 of such points). *Precision* is the share of them that end within 0.15 of the
#   curve, *coverage* the share of the curve that has such a point within 0.15. Neither means anything alone: points that
#   stay where they start cover everything, points that fall into one hole on the curve are all precise.

# %% tags=["figure"] alt="Twelve energy maps, two rows of six widths, with the end points of descent. With width the dark band turns from a blob into a spiral. In the upper row, trained without noise, the points of the wide networks sit in a few clumps; in the lower row, trained with noise, they lie along most of the spiral."
fig, axes = plt.subplots(2, 6, figsize=(12.5, 4.4), sharex=True, sharey=True)
for row, noise in zip(axes, (0.0, 0.1)):
    for ax, width in zip(row, WIDTHS):
        draw_resolution(ax, width, noise, DESCENT, 0.0)
        ax.set(xlabel="", ylabel="")
    row[0].set_ylabel(f"noise {noise:g} on the data")

# %% tags=["figure"] alt="Three panels against the width from 4 to 128. AUROC rises in both trainings and is higher without noise on the data. Precision reaches 1 with noise from width 32 on. Coverage falls below 0.2 without noise and stays above 0.6 with noise."
table = Table.read(
    resource("data/results/lesson02_capacity.csv"), command="experiments/lesson02_capacity.py"
)
fig, axes = plt.subplots(1, 3, figsize=(10.5, 3.2))
for ax, metric in zip(axes, ("AUROC", "precision, descent", "coverage, descent")):
    for noise, style in ((0, "o--"), (0.1, "s-")):
        means, errors = zip(
            *(table.mean_and_error(f"noise {noise:g}, width {w}", metric) for w in WIDTHS)
        )
        ax.errorbar(WIDTHS, means, errors, fmt=style, label=f"noise {noise:g}")
    ax.set(xscale="log", xlabel="width", title=metric)
    ax.set_xticks(WIDTHS, WIDTHS)
    ax.minorticks_off()
axes[0].legend()

# %% [markdown]
# (Means and standard errors over three seeds, `python experiments/lesson02_capacity.py`.)
#
# AUROC rises with the width and is *highest* where training saw the bare curve. Believe it and you choose the energies in the upper row. But
# descent on those ends in a few holes: a margin loss says nothing about the energy *along* the curve, and a wide network finds it cheap to dig
# holes there. Noise on the data fills them: each positive is spread over its neighbourhood, and a hole
# narrower than the noise no longer pays. AUROC goes down a little, because the valley is wider, and coverage goes up a lot.
#
# Use AUROC when you will *rank* (is this $y$ acceptable?). Use descent when you will *search* for answers or generate.
#
# Move the sliders: does a little temperature help the sharp energies? What do 0 steps "cover"?

# %% tags=["widget"]
ResolutionExplorer()

# %% [markdown]
# ## 5 · Choosing negatives
#
# In two dimensions uniform negatives are everywhere, so they are enough. In $d$ dimensions a uniform point is almost never near the data.
# **Hard negatives** are plausible but wrong. Two classic kinds:
#
# - **mismatched pairs** $(x_i, y_j)$: a right answer to another question;
# - **low-energy negatives**: of many candidates, those that the model itself finds good, drawn with probability $\propto e^{-F}$.
#
# ### Exercise 3: mismatched pairs
# Given a batch `x[B, 1]`, `y[B, 1]`, return `y_neg[B, 1]`: every row gets the $y$ of *another* row and every $y$ is used once.


# %% tags=["exercise"]
def mismatched(x, y):
    """A y of another row for each x."""
    ### BEGIN SOLUTION
    return y.roll(1, dims=0)
    ### END SOLUTION


# %% tags=["check"]
q.mismatched.check(mismatched)

# %% [markdown]
# Take a question $x \in [-1, 1]$ whose answer is a vector $y \in \mathbb R^{16}$, $y_k = \sin(\pi f_k x + \phi_k)$ plus a little noise. Train
# $F(x, y)$ with four kinds of negatives (the last two choose among 16 candidates, half uniform, half mismatched). Then ask how often $F$ ranks
# the right answer below a wrong one of three kinds: *uniform*, *mismatched*, and *near*, the right answer plus noise of 0.3.

# %%
DIM, STEPS_16 = 16, budget(400, smoke=15)
g = torch.Generator().manual_seed(0)
frequency, phase = torch.randint(1, 4, (DIM,), generator=g), 6.28 * torch.rand(DIM, generator=g)


def pairs_16(n):
    x = 2 * torch.rand(n, 1) - 1
    return x, torch.sin(frequency * math.pi * x + phase) + 0.05 * torch.randn(n, DIM)


def box(y):
    return 3 * torch.rand(y.shape) - 1.5


def among_candidates(energy, x, y, lowest):
    """One of 16 candidates for each x, half uniform, half mismatched."""
    c = torch.stack([box(y) if k < 8 else y.roll(k, 0) for k in range(16)])
    with torch.no_grad():
        e = energy(torch.cat([x.expand(16, -1, -1), c], -1))
    pick = e.argmin(0) if lowest else torch.distributions.Categorical(logits=-e.T).sample()
    return c[pick, torch.arange(len(x))]


NEGATIVES = {
    "uniform": lambda energy, x, y: box(y),
    "mismatched": lambda energy, x, y: y.roll(1, 0),
    "drawn by exp(-F)": lambda energy, x, y: among_candidates(energy, x, y, lowest=False),
    "always the lowest": lambda energy, x, y: among_candidates(energy, x, y, lowest=True),
}
ranked, losses_16 = {}, {}
for name, negatives in NEGATIVES.items():
    torch.manual_seed(0)
    energy = MLPEnergy(1 + DIM, hidden_features=(64, 64))
    optimizer = torch.optim.Adam(energy.parameters(), lr=3e-3)
    anneal = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS_16)
    for _ in range(STEPS_16):
        x, y = pairs_16(256)
        y_neg = negatives(energy, x, y)
        loss = hinge(energy(torch.cat([x, y], -1)), energy(torch.cat([x, y_neg], -1)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        anneal.step()
    losses_16[name] = loss.item()
    x, y = pairs_16(4000)
    wrong = {"uniform": box(y), "mismatched": y.roll(1, 0), "near": y + 0.3 * torch.randn_like(y)}
    with torch.no_grad():
        e = energy(torch.cat([x, y], -1))
        ranked[name] = [
            (e < energy(torch.cat([x, w], -1))).float().mean().item() for w in wrong.values()
        ]

# %% tags=["figure"] alt="Grouped bars: the share of right answers ranked below a wrong one, for four kinds of training negatives and three kinds of wrong answers. Uniform negatives are weakest on mismatched answers, mismatched negatives on near ones; negatives drawn by exp(-F) are good at all three."
fig, ax = plt.subplots(figsize=(9.0, 3.2))
for k, (kind, hatch) in enumerate(zip(("uniform", "mismatched", "near"), ("", "//", ".."))):
    height = [ranked[name][k] for name in NEGATIVES]
    bars = ax.bar(
        [i + 0.27 * (k - 1) for i in range(4)],
        height,
        0.25,
        hatch=hatch,
        label=f"wrong answers: {kind}",
    )
    ax.bar_label(bars, fmt="%.2f", fontsize=8)
ax.axhline(0.5, color="black", linestyle=":")
ax.set_xticks(
    range(4), [f"{name}\n(last loss {losses_16[name]:.2f})" for name in NEGATIVES], fontsize=9
)
ax.set(ylim=(0, 1.25), ylabel="ranked right", xlabel="negatives in training")
ax.legend(ncols=3, loc="upper center", fontsize=8)

# %% [markdown]
# *Uniform*: the loss is zero and training has stopped, yet $F$ has learned above all what answers look like; given an answer to another question
# it errs in about a quarter of the cases. *Mismatched*: it learns the question, and leaves everything off the data's curve untrained. *Drawn by $e^{-F}$*: good at all three;
# lesson 07 shows that negatives drawn from the model's own density are exactly what maximum likelihood asks for. *Always the lowest*: the loss
# stands at the margin 1, the cost of a flat energy. The order is still fair, the landscape is gone: the next section.

# %% [markdown]
# ## 6 · What goes wrong, and how you see it
#
# **Collapse.** Train the same network three ways: with uniform negatives; with no negatives, only $F(x^+, y^+)^2 \to 0$; and with only the 256
# lowest of 4096 uniform candidates. Look at the loss, at the AUROC, and at the **spread**, the standard deviation of $F$ over the square.


# %%
def lowest_of_many(energy, x_pos):
    candidates = square(16 * 256)
    with torch.no_grad():
        return candidates[energy(candidates).topk(256, largest=False).indices]


def train_without_contrast(steps):
    torch.manual_seed(0)
    energy = MLPEnergy(2, hidden_features=(32,) * 3)
    optimizer = torch.optim.Adam(energy.parameters(), lr=5e-3)
    for _ in range(steps):
        loss = energy(spiral.sample(256).float()).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return energy, loss.item()


STEPS_COLLAPSE = budget(300, smoke=20)
runs = {
    "uniform negatives": (learned, last_loss),
    "no negatives": train_without_contrast(STEPS_COLLAPSE),
    "only the lowest": train(lowest_of_many, steps=STEPS_COLLAPSE),
}
rows = ["training            loss    AUROC   spread of F over the square"]
spread = {}
for name, (energy, loss) in runs.items():
    torch.manual_seed(1)
    with torch.no_grad():
        outside, inside = energy(square(4000)), energy(spiral.sample(4000).float())
    spread[name] = outside.std().item()
    rows.append(f"{name:<18}{loss:>6.3f}{auroc(-inside, -outside):>9.3f}{spread[name]:>9.4f}")
print("\n".join(rows))
assert spread["no negatives"] < 0.2 * max(1.0, spread["uniform negatives"])

# %% [markdown]
# Two of the three energies are flat. The sure sign is the spread. The loss tells too, if you know how to read it: without negatives it is zero,
# the best it can be; with only the lowest it is the margin, exactly what a flat energy costs (exercise 2 asks for that). AUROC is a bad alarm:
# it sees the order, and a landscape with hills of a thousandth is still ordered.
#
# **The golf course.** Why a margin and not simply a density? Take the true density of the spiral with noise $s$ and let $s \to 0$. The noise-free
# curve has no density: $\mathbb E[-\log p] = \log s + \text{const} \to -\infty$. A model that is rewarded for likelihood alone digs without end. Add
# a little uniform ground, as any model of real data has, and what is left is a plain with a slot in it: no gradient tells a point outside where to go.

# %%
SAMPLES = budget(5000, smoke=500)
curves = toy.spiral().curves
entropy = {}
for s in (0.06, 0.03):
    narrow = toy.NoisyCurves(curves, noise=s, nodes=1000)
    e = narrow(narrow.sample(SAMPLES, generator=torch.Generator().manual_seed(0)))
    entropy[s] = e.mean().item()
drop = entropy[0.06] - entropy[0.03]
assert abs(drop - math.log(2)) < 0.02  # the same draws in both, so the difference has little noise
show("-log p of the data falls by", drop, digits=2)
show("log 2", math.log(2), digits=2)


# %%
def golf_course(s):
    """-log of 90 % spiral with noise s and 10 % uniform ground."""
    narrow = toy.NoisyCurves(curves, noise=s, nodes=700)
    ground = FromFunction(lambda x: x.new_full(x.shape[:-1], math.log(36.0)))
    return Mixture([narrow, ground], logits=torch.tensor([math.log(0.9), math.log(0.1)]))


landed = {}
first = square(STARTS)
for s in (0.4, 0.2, 0.1, 0.05):
    end = sample(golf_course(s), Langevin(step_size=0.5 * s**2, noise=0.0), first, 150)
    landed[s] = (spiral.distance(end) < 0.15).float().mean().item()
at_start = (spiral.distance(first) < 0.15).float().mean().item()
assert landed[0.05] < landed[0.2]
show("share that starts within 0.15 of the curve", at_start, digits=2)
for s, share in landed.items():
    show(f"noise {s:<4}: share that reaches it", share, digits=2)

# %% tags=["figure"] alt="The energy along the line x = 0 for noise 0.4, 0.1 and 0.05: with less noise the valleys become narrow slots in flat ground."
fig, ax = plt.subplots(figsize=(7.5, 3.0))
cut = torch.stack([torch.zeros(2000), torch.linspace(-3, 3, 2000)], -1)
for s, style in ((0.4, "-"), (0.1, "--"), (0.05, ":")):
    ax.plot(cut[:, 1], golf_course(s)(cut), style, linewidth=2, label=f"noise {s}")
ax.set(xlabel="$y$ at $x = 0$", ylabel="$F$")
ax.legend()

# %% [markdown]
# The cures are those of section 4 and of later lessons: noise on the data (lesson 08 makes it a training method), a margin, which stops digging once
# the gap is reached, a regulariser that limits slopes (07), and starts near the data.
#
# ### Open exercise: a better energy
# Train with `negatives` of your own (half uniform, half drawn by $e^{-F}$? data plus noise of 0.5?) and compare precision and coverage with `learned`:
# `reached(sample(energy, Langevin(step_size=0.01, noise=0.0), square(500), 300), spiral.curve(1000)[0])`.
# Then try `toy.two_spirals(noise=0.1)`.


# %% tags=["exercise"]
def my_negatives(energy, x_pos):
    """Points [256, 2] to push up."""
    ### BEGIN SOLUTION
    candidates = square(8 * 128)
    with torch.no_grad():
        p = torch.softmax(-energy(candidates), dim=0)
    return torch.cat([square(128), candidates[torch.multinomial(p, 128)]])
    ### END SOLUTION


# better, _ = train(my_negatives)

# %% [markdown] tags=["solution"]
# **One answer.** In the plane a mix of uniform and drawn negatives changes little: uniform points already fall everywhere. Take away the uniform half
# and look at the corners of the square: where no negative ever falls, nothing holds $F$ up, and descent leaves through there.

# %% [markdown] tags=["quiz"]
# 1. $\hat y = \arg\min_y F(x, y)$ and $F_\infty(x, y) = \min_z E(x, y, z)$. Why $\arg\min$ in one and $\min$ in the other?
#    - [ ] A convention; they are the same :: One is a value of $y$, the other a value of an energy. They do not even have the same units.
#    - [x] Inference wants an answer, eliminating $z$ wants an energy :: What comes after decides: $\hat y$ is used as a prediction, $F_\infty$ is minimised further.
#    - [ ] Because $z$ is discrete and $y$ continuous :: Either can be either. Both definitions hold for both.
# 2. Two answers $\pm 1$ are equally likely, noise 0.1. A network trained with squared error on unlimited data answers
#    - [ ] $+1$ or $-1$, depending on the seed :: Tempting, since both are right. Squared error has one minimiser, whatever the seed.
#    - [x] about $0$ :: The conditional mean, where almost no data are.
#    - [ ] $0$ at first and $\pm 1$ when it is made wider :: Capacity does not help: the mean *is* the optimum it is asked for.
# 3. Energy A has AUROC 0.995, energy B 0.984. You will generate points by descent. Which one?
#    - [ ] A, it separates data from non-data better :: It orders better. Descent cares about the shape of the valley, which AUROC does not see.
#    - [ ] B, because lower AUROC means more coverage :: There is no such law; an untrained energy has low AUROC too.
#    - [x] Measure precision and coverage of both, then decide :: In section 4 the better AUROC belongs to the energies on which descent ends in a few holes.
# 4. A hinge loss with margin 1 stays at 1.00. The likeliest reason?
#    - [ ] Training has converged to a good energy :: A good energy has gaps beyond the margin, and then the loss is near 0.
#    - [x] The energy is flat :: Equal energies cost exactly the margin. Look at the spread of $F$.
#    - [ ] The learning rate is too small, wait longer :: Then the energy is still flat, and the loss would fall, if slowly. One that *stays* at the margin has nothing to wait for.
# 5. Why are uniform negatives enough on the spiral and not in 16 dimensions?
#    - [ ] The network is too small for 16 dimensions :: The same network does well with other negatives.
#    - [ ] The data need more noise there :: Noise changes the width of the valley, not whether negatives ever fall near it.
#    - [x] A uniform point in 16 dimensions is almost never near the data :: The energy separates the two with ease and then learns no more: the loss is zero.

# %% [markdown]
# ## Summary
#
# - $F(x, y)$ scores pairs; inference is $\arg\min_y F$; one question may have many answers, and a mean of answers is not one.
# - Contrast pins differences of energies. No contrast, or only the hardest, and the energy is flat: look at its spread.
# - AUROC measures order, descent measures shape. Quote both.
# - Negatives decide what is learned: cover the space, and add plausible wrong answers.
#
# **Next:** 03 shapes $F$ by architecture instead of contrast; 04 replaces descent by honest sampling.
#
# ## References
#
# - Y. LeCun, S. Chopra, R. Hadsell, M. Ranzato, F. Huang, *A tutorial on energy-based learning* (2006).
# - Y. Du, I. Mordatch, *Implicit generation and modeling with energy-based models* (2019).
# - C. M. Bishop, *Mixture density networks* (1994): the same problem with several answers, solved by a density.

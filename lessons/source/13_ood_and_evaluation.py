# %% [markdown]
# # 13 · Out-of-distribution detection and evaluation
#
# **You will**
#
# - turn an energy into a detector, and report its AUROC with an error that means something;
# - show exactly why the likeliest points need not be like the data, and what a density's values depend on besides the data;
# - read a classifier as an energy, and see what training it as one changes;
# - know the bias of the Frechet distance to the first order, and use estimates that have none;
# - say for each number what it cannot see.
#
# **Time** 75 minutes. **Needs** lessons 01, 04, 07, 09 and 12; covariance matrices.

# %% tags=["setup"]
import csv
import math

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from IPython.display import Markdown
from scipy.special import betainc

from ebmlearn import budget
from ebmlearn.checks import lesson13 as q
from ebmlearn.course import setup, show
from ebmlearn.datasets import load
from ebmlearn.energies import Gaussian, GaussianMixture
from ebmlearn.energies.joint import ClassifierEnergy
from ebmlearn.metrics.divergence import mmd
from ebmlearn.metrics.images import extract, frechet_distance, gaussian_frechet, kernel_distance
from ebmlearn.metrics.images import report as compare
from ebmlearn.metrics.ood import auroc, detection, standard_sets
from ebmlearn.metrics.partition import quadrature
from ebmlearn.networks import MLP
from ebmlearn.objectives import joint_energy_model
from ebmlearn.pretrained import load_pretrained
from ebmlearn.resources import resource
from ebmlearn.samplers import Langevin, ReplayBuffer, sample
from ebmlearn.viz import BLUE, ORANGE, energy_map, image_grid, points
from ebmlearn.widgets.lesson13 import ScoreExplorer, binormal, draw_scores

setup(seed=0)
UPDATES = budget(600, smoke=80)  # of the classifiers in the plane
REPEATS = budget(200, smoke=40)  # fresh experiments behind a spread
N = 240  # images in each set of section 7


def seed(n):
    return torch.Generator().manual_seed(n)


# %% [markdown]
# ## 1 · A score, and how to judge it
#
# A **detector** gives every point a score, high for points like the data ("inside"), low for others ("outside"). With an energy the first try is $-E(x)$. A
# threshold on the score makes two errors: outside points that pass, inside points that do not. Lower the threshold from $\infty$ and plot the share of inside that
# passes against the share of outside that passes: the **ROC curve**. The area under it has a meaning of its own:
#
# $$\text{AUROC} = P(\text{score of an inside point} > \text{score of an outside point}), \qquad \text{a tie counts } \tfrac12 .$$
#
# No threshold, no $Z$, and no scale: only the order of the scores counts.
#
# ### Exercise 1: the area, as a share of pairs
# Stuck? `q.area_under_roc.hint()`, then `q.area_under_roc.solution()`.


# %% tags=["exercise"]
def area_under_roc(inside, outside):
    """inside[N], outside[M] -> a number."""
    ### BEGIN SOLUTION
    a, b = inside.unsqueeze(-1), outside
    return (a > b).double().mean() + 0.5 * (a == b).double().mean()
    ### END SOLUTION


# %% tags=["check"]
q.area_under_roc.check(area_under_roc)

# %% [markdown]
# `ebmlearn.metrics.ood.auroc` is the same by sorting. **A known answer:** scores $\mathcal N(\delta, 1)$ inside and $\mathcal N(0, s^2)$ outside. The difference of two is
# $\mathcal N(\delta, 1 + s^2)$, so $\text{AUROC} = \Phi\big(\delta/\sqrt{1 + s^2}\big)$.
#
# **And its error.** A test set is a sample, so the AUROC has a standard error. The **bootstrap** draws both sets anew from themselves, with replacement, and looks how far the
# result moves. From scratch, with `detection`, and against what it estimates, the spread over fresh experiments:

# %%
delta, s, n = 1.5, 1.0, 100
experiments = [
    (delta + torch.randn(n, generator=seed(i)), s * torch.randn(n, generator=seed(1000 + i)))
    for i in range(REPEATS)
]
inside, outside = experiments[0]
g, again = seed(5), []
for _ in range(200):
    i = inside[torch.randint(n, (n,), generator=g)]
    o = outside[torch.randint(n, (n,), generator=g)]
    again.append(auroc(i, o))
by_hand = torch.tensor(again).double().std().item()
found = detection(inside, outside, generator=seed(5))
assert abs(by_hand - found.auroc_error) < 1e-6

every = torch.tensor([auroc(a, b) for a, b in experiments])
exact = 0.5 * (1 + math.erf(delta / math.sqrt(2 * (1 + s**2))))
show("AUROC, exact", exact)
show(f"one experiment with {n} points each, bootstrap error", [found.auroc, found.auroc_error])
show(f"{REPEATS} experiments: mean, spread", [every.mean(), every.std()])
assert abs(every.mean() - exact) < 5 * every.std() / math.sqrt(REPEATS)
assert 0.5 < found.auroc_error / every.std() < 2

# %% [markdown]
# A difference of $0.02$ between two detectors tested on 100 images is no difference. And where *every* pair is ordered rightly the bootstrap says $1 \pm 0$: it
# cannot see pairs that it was never shown. Such a set is **saturated**; it compares nothing.
#
# **What the area hides.** Two detectors with one AUROC can behave differently at the threshold that is used in practice. **FPR95**: the share of outside that passes
# when 95 % of inside may.


# %% tags=["figure"] alt="Left: two bell curves of scores, inside to the right of outside, with a dotted threshold which 95 per cent of inside pass; the part of outside above it is hatched. Right: the ROC curve, well above the diagonal, with a dot at the threshold: AUROC 0.900, FPR95 0.43."
fig, axes = plt.subplots(1, 2, figsize=(9.0, 3.4))
print(draw_scores(axes))

# %% tags=["nbval-check-output"]
for spread in (0.5, 1.0, 3.0):
    gap = 1.2815516 * math.sqrt(1 + spread**2)  # AUROC 0.9
    d = binormal(gap, spread, outside_share=0.001, n=500)
    numbers = [d.auroc, d.fpr95, d.right_alarms]
    show(f"spread {spread}: AUROC, FPR95, right alarms at 1 outside in 1000", numbers)

# %% [markdown]
# The last number is Bayes' rule at the threshold of FPR95: when outside points are rare, nearly all alarms are false, at any AUROC that is seen in papers. It needs the **base rate**, which no
# benchmark knows. Move the sliders: for which spread is FPR95 worst at one AUROC? How large must the test be to tell 0.90 from 0.91?

# %% tags=["widget"]
ScoreExplorer()

# %% [markdown]
# ## 2 · Low energy is not "like the data"
#
# For $\mathcal N(0, I_d)$ energies of samples are $d/2 \pm \sqrt{d/2}$, and the mode has 0 (lesson 01). Now *use* that energy as a detector, against
# points from $\mathcal N(0, s^2 I_d)$. Energies are $\tfrac12\chi^2_d$ inside and $\tfrac{s^2}{2}\chi^2_d$ outside; their ratio follows an F distribution, and
#
# $$\text{AUROC of } {-E} \;=\; P\big(\chi^2_d < s^2 \chi'^2_d\big) \;=\; I_{s^2/(1+s^2)}\big(\tfrac d2, \tfrac d2\big),$$
#
# the regularised incomplete beta function. For $s < 1$ this is below one half: outside points lie nearer to the mode. One repair is the **typicality** score
# $-|E(x) - \mathbb E_{\text{data}} E|$: not "how low" but "how usual".

# %%
M = budget(2000, smoke=400)
typical_area = {}
for d in (2, 100):
    energy = Gaussian(torch.zeros(d))
    x = torch.randn(M, d, generator=seed(1))
    for s in (0.5, 0.8, 1.2):
        y = s * torch.randn(M, d, generator=seed(2))
        low = detection(-energy(x), -energy(y), resamples=50, generator=seed(3))
        exact = float(betainc(d / 2, d / 2, s**2 / (1 + s**2)))
        usual = auroc(-(energy(x) - d / 2).abs(), -(energy(y) - d / 2).abs())
        typical_area[d, s] = usual
        show(f"d = {d}, s = {s}: AUROC of -E, exact, typicality", [low.auroc, exact, usual])
        assert abs(low.auroc - exact) < 5 * low.auroc_error + 1e-3
assert typical_area[100, 0.8] > 0.9

# %% tags=["figure"] alt="AUROC against the spread s of the outside points. The score minus E goes through one half at s = 1: below it for smaller s, above it for larger; in 100 dimensions it is a steep step from 0 to 1. Typicality in 100 dimensions is near 1 on both sides and dips to one half only around s = 1; in 2 dimensions it is worse, and even below one half for s a little under 1."
fig, ax = plt.subplots(figsize=(7.5, 3.4))
spreads = torch.linspace(0.3, 1.7, 57)
for d, color in ((2, ORANGE), (100, BLUE)):
    exact = [float(betainc(d / 2, d / 2, float(s**2 / (1 + s**2)))) for s in spreads]
    ax.plot(spreads, exact, "-", color=color, label=f"$-E$, d = {d}")
    energy = Gaussian(torch.zeros(d))
    x, y = torch.randn(M, d, generator=seed(1)), torch.randn(M, d, generator=seed(2))
    usual = [
        auroc(-(energy(x) - d / 2).abs(), -(energy(s * y) - d / 2).abs()) for s in spreads[::4]
    ]
    ax.plot(spreads[::4], usual, "o--", color=color, label=f"typicality, d = {d}")
ax.axhline(0.5, color="grey", lw=0.8)
ax.set(xlabel="spread $s$ of the outside points", ylabel="AUROC", ylim=(-0.02, 1.02))
ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))

# %% [markdown]
# **Typicality is one number, too.** Take $d = 100$ and the point $(1, 1, \ldots, 1)$. Its energy is $d/2$ to the digit: the *most* usual point there is. No sample looks like it.
#
# **And a density depends on the units.** The same detector in another coordinate: let $u = \Phi(x)$, an invertible map. Inside points are uniform on $[0, 1]$, so in this coordinate
# $p = 1$ and the energy is 0 for every point, in or out. Nothing about the points was lost, and the perfect density model detects nothing. The order of $-E$ is a property of the model *and* of the
# coordinates it is written in (lesson 01 moved the mode the same way).

# %% tags=["nbval-check-output"]
d = 100
ones = torch.ones(1, d, dtype=torch.float64)
show("energy of (1, ..., 1), and d/2", [Gaussian(torch.zeros(d))(ones).item(), d / 2], digits=1)
show("its mean coordinate in standard errors of a sample's", ones.mean() * math.sqrt(d), digits=1)

x = torch.randn(2000, 1, generator=seed(4), dtype=torch.float64)
y = 3 * torch.randn(2000, 1, generator=seed(5), dtype=torch.float64)
energy_in_x = lambda v: 0.5 * v[:, 0] ** 2 + 0.5 * math.log(2 * math.pi)  # -log p(x)
log_stretch = lambda v: -0.5 * v[:, 0] ** 2 - 0.5 * math.log(2 * math.pi)  # log du/dx
energy_in_u = lambda v: (energy_in_x(v) + log_stretch(v)).round(decimals=9)  # -log p(u)
in_x, in_u = (auroc(-energy(x), -energy(y)) for energy in (energy_in_x, energy_in_u))
exact = float(betainc(0.5, 0.5, 0.9))
show("AUROC of -E in x, exact", exact)
show("AUROC of -E in u", in_u)
assert abs(in_x - exact) < 0.05 and in_u == 0.5

# %% [markdown]
# ## 3 · What image models prefer
#
# Four energies on the 8 x 8 digits. The first is an exact density: one Gaussian with the data's mean and covariance. The others were trained by contrastive divergence: the weights of lesson 07, and those of lesson 12 without and with the latent (CLEL).
# *Washed out*: halfway to the mean image; for a Gaussian $E - E_{\min}$ of such an image is exactly a quarter of what it was. *Patch* and *mirrored* are those of lesson 12,
# *interpolation* is the mean of two digits of different classes.

# %%
train, test = load("digits", split="train"), load("digits", split="test")
x_train, x_test = train.dequantised(generator=seed(0)), test.dequantised(generator=seed(1))
y_test = test.y
clel, plain = load_pretrained("clel-digits"), load_pretrained("clel-digits-plain")

flat = x_train.flatten(1).double()
one_gaussian = Gaussian(flat.mean(0), flat.T.cov())
models = {
    "one Gaussian": lambda x: one_gaussian(x.flatten(1).double()),
    "CD, lesson 07": load_pretrained("lesson07-digits"),
    "CD, lesson 12": plain.energy(),
    "CLEL": clel.energy(),
}
smooth = torch.tensor([1.0, 2.0, 1.0])
smooth = (smooth[:, None] * smooth / 16)[None, None]
sets = {
    "washed out": 0.5 * (x_test + x_train.mean(0)),
    "blurred": F.conv2d(F.pad(x_test, (1, 1, 1, 1), mode="replicate"), smooth),
    **standard_sets(x_test, y_test, generator=seed(2)),
}
own = plain.sample(len(x_test), generator=seed(3))
fitted, trained = "one Gaussian", "CD, lesson 12"
own_samples = {
    fitted: one_gaussian.sample(len(x_test), generator=seed(4)).reshape(x_test.shape),
    trained: own,
}
area = {}
print(f"{'AUROC of -E':16s}" + "".join(f"{name:>15s}" for name in models))
for name in (*sets, "own samples"):
    cells = []
    for model, energy in models.items():
        outside = sets.get(name, own_samples.get(model))
        if outside is None:
            cells.append("-")
            continue
        with torch.no_grad():
            area[name, model] = auroc(-energy(x_test), -energy(outside))
        cells.append(f"{area[name, model]:.3f}")
    print(f"{name:16s}" + "".join(f"{cell:>15s}" for cell in cells))
assert area["washed out", fitted] < 0.1 and area["interpolation", fitted] < 0.2
assert area["washed out", trained] > 0.9 and area["own samples", trained] < 0.2


# %% tags=["figure"] alt="One digit in seven versions: the image itself, washed out, blurred, mirrored, with a swapped centre, mixed with another digit, noise. Below, for each version the share of test images with higher energy, by two models. Under the Gaussian all test images have higher energy than the washed out image and the mixture. Under the model trained by contrastive divergence none has, except that the swapped centre hardly matters."
versions = {"image": x_test, **sets}
names = ("image", "washed out", "blurred", "mirrored", "patch", "interpolation", "noise")
shown = 3
fig = plt.figure(figsize=(10.0, 3.6))
panels = fig.add_gridspec(2, len(names), height_ratios=(1, 1.2))
for i, name in enumerate(names):
    image_grid(versions[name][shown : shown + 1], fig.add_subplot(panels[0, i]), title=name)
below = fig.add_subplot(panels[1, :])
with torch.no_grad():
    for shift, model, color, hatch in ((-0.2, fitted, BLUE, ""), (0.2, trained, ORANGE, "//")):
        e_test = models[model](x_test)
        share = [
            (e_test > models[model](versions[n][shown : shown + 1])).float().mean() for n in names
        ]
        place = [i + shift for i in range(len(names))]
        below.bar(place, share, 0.38, color=color, hatch=hatch, label=model)
below.set_xticks(range(len(names)), ["" for _ in names])
below.set(xlim=(-0.5, len(names) - 0.5), ylabel="test images with\nhigher energy", ylim=(0, 1.02))
below.legend(loc="upper center", bbox_to_anchor=(0.53, 1.05))

# %% [markdown]
# **The exact density prefers simpler images.** Washed out digits and mixtures of two digits are likelier under the Gaussian than almost any real digit: they are nearer to its mode. It is section 2 in 64 dimensions, and
# it is what was found for the likelihoods of large image models (Nalisnick et al., 2019), with real data sets in the place of washed out ones.
#
# **The trained energies do not**, and that is no merit of energy-based models as such. They are not $-\log p$: their chains ran at a temperature of $5\cdot10^{-4}$, with the data on one side
# and the chains' images on the other, which is training a *discriminator* against what the chains produce. The last row is the bill: the model's own samples have lower energies than the data. Which outside images get low energy
# depends on where the chains went, and no theorem promises anything about the rest.
#
# **Do not repair a bad AUROC by its sign.** The Gaussian's 0.06 on mixtures would become 0.94. On noise the repaired detector has 0. The sign must be chosen before the outside is seen.
#
# ## 4 · A classifier is an energy
#
# Logits $f(x)[y]$ define $p(y \mid x) = \text{softmax}$. Read the same numbers as $E(x, y) = -f(x)[y]$ and sum $y$ out (lesson 09):
#
# $$E(x) = -\log\sum_y e^{f(x)[y]}, \qquad \log p(x, y) = \log p(y \mid x) + \log p(x) .$$
#
# Cross-entropy trains the first term only. Add any function of $x$ to all logits and it does not change: the level of $E(x)$ is *left free*. The **joint energy
# model** (JEM: Grathwohl et al., 2020) trains both terms, the second by contrastive divergence:

# %% tags=["nbval-check-output"]
logits, y, e_neg = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2]), torch.randn(4)
log_p_y = torch.log_softmax(logits, -1)[torch.arange(6), y]
e_pos = -torch.logsumexp(logits, -1)
by_hand = -log_p_y.mean() + e_pos.mean() - e_neg.mean()
torch.testing.assert_close(by_hand, joint_energy_model(logits, y, e_neg))
moved = logits + 100 * torch.randn(6, 1)
torch.testing.assert_close(F.cross_entropy(moved, y), F.cross_entropy(logits, y), atol=1e-4, rtol=0)
show("from scratch and ebmlearn agree", True)
show("cross-entropy does not see a function of x added to all logits", True)

# %% [markdown]
# Three Gaussian classes in the plane, the same network twice. Outside points lie four standard deviations or more from all classes. The third contestant is the *true law*: the best classifier there can be.

# %%
WIDTH = 6.0
law = GaussianMixture([[-1.5, 0.0], [1.5, 0.0], [0.0, 1.8]], 0.45**2)
uniform = lambda n, g: WIDTH * (2 * torch.rand(n, 2, generator=g) - 1)


def labelled(n, g):
    y = torch.randint(3, (n,), generator=g)
    return law.means[y] + 0.45 * torch.randn(n, 2, generator=g), y


def train_classifier(joint):
    torch.manual_seed(0)
    g = seed(0)
    model = ClassifierEnergy(MLP(2, 3, hidden_features=(64, 64, 64)))
    energy = model.marginalise()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, UPDATES)
    buffer = ReplayBuffer(uniform(2000, g), restart_prob=0.05)
    for _ in range(UPDATES):
        x, y = labelled(128, g)
        logits = model.logits(x)
        if joint:
            index, chains = buffer.draw(uniform(128, g), generator=g)
            chains = sample(energy, Langevin(step_size=0.01), chains, 20, generator=g)
            buffer.store(index, chains)
            loss = joint_energy_model(logits, y, energy(chains))
        else:
            loss = F.cross_entropy(logits, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.requires_grad_(False)


distances = lambda x: (x.unsqueeze(-2) - law.means).square().sum(-1) / (2 * 0.45**2)
truth = ClassifierEnergy(lambda x: -distances(x) - math.log(3 * 2 * math.pi * 0.45**2))
contestants = {
    "true law": truth,
    "cross-entropy": train_classifier(False),
    "joint": train_classifier(True),
}
(x_in, y_in), far = labelled(2000, seed(11)), uniform(8000, seed(12))
far = far[torch.cdist(far, law.means).amin(-1) > 4 * 0.45][:2000]
confidence = lambda model, x: torch.softmax(model.logits(x), -1).amax(-1)
measured = {}
print(
    f"{'':15s}{'accuracy':>10s}{'AUROC, confidence':>19s}{'AUROC, -E':>11s}{'NLL on the box':>16s}"
)
for name, model in contestants.items():
    energy = model.marginalise()
    log_z = quadrature(energy, low=-WIDTH, high=WIDTH, cells=240).log_partition
    measured[name] = (
        (model.logits(x_in).argmax(-1) == y_in).float().mean().item(),
        auroc(confidence(model, x_in), confidence(model, far)),
        auroc(-energy(x_in), -energy(far)),
        (energy(x_in).mean() + log_z).item(),
    )
    a, c, e, nll = measured[name]
    print(f"{name:15s}{a:10.3f}{c:19.3f}{e:11.3f}{nll:16.3f}")
assert measured["true law"][1] < 0.5 < 0.999 < measured["true law"][2]
assert measured["cross-entropy"][2] < 0.5 and measured["joint"][2] > 0.9
assert measured["joint"][0] > 0.97

# %% tags=["figure"] alt="Two rows of three maps of the plane. Upper row, confidence: for the true law and for cross-entropy it is one everywhere, also far from the data, but along three narrow straight lines between classes; for the joint model these lines are bent, and two of them close around one class. Lower row, energy: for the true law three round wells at the classes, for cross-entropy a ridge along the lines between classes, from which the energy falls past the data towards the edges of the picture, for the joint model three wells again with high ground around them."
fig, axes = plt.subplots(2, 3, figsize=(10.5, 6.0))
view = (-6.0, 6.0, -6.0, 6.0)
for column, (name, model) in zip(axes.T, contestants.items()):
    energy = model.marginalise()
    look = lambda x, m=model: confidence(m, x)
    energy_map(look, column[0], extent=view, limits=(1 / 3, 1.0), contours=0, colorbar=False)
    fig.colorbar(column[0].get_images()[0], ax=column[0], label="confidence", shrink=0.85)
    e = energy(uniform(2000, seed(13)))
    lowest = e.min().item()
    limits = (lowest, e.max().item() if name == "cross-entropy" else lowest + 20)
    energy_map(energy, column[1], extent=view, limits=limits)
    for ax in column:
        points(x_in[:150], ax, size=3, color="black")
        ax.set(title=name, xlabel="", ylabel="")

# %% [markdown]
# Read the row of the true law first. Its $p(y \mid x)$ is *exactly right* and its confidence is worst inside: far out one class is always overwhelmingly nearer than the others. **Confidence answers "which class?",
# never "any class?"**; no better classifier will change that. Its energy $-\log p(x)$ separates perfectly.
#
# Cross-entropy alone leaves the energy where the logits happen to grow: outwards. Its AUROC is far *below* one half. The joint model has the same accuracy and an energy that means something. Over three seeds, with the gain of $\log Z$
# when the box is doubled (lesson 01: if it moves, there is no $Z$):

# %%
Markdown(resource("data/results/jem_2d.md").read_text().split("\n\n")[0])

# %% [markdown]
# (`python -m experiments.jem_2d`.) The joint model's NLL is a little above the true 2.32, and its confidence far out is still 0.95 or so: the energy is the score to use. In the plane the chains visit the region that the outside
# points come from. On images they do not, and such clean numbers are not to be expected.
#
# ## 5 · A joint score on digits, with errors and with a baseline
#
# Lesson 12 scored an image by $-\tfrac12\|f\|^2 + w\cos(g(f(x)), h(x))$: is it low in energy, and do two networks agree on what it is? Now with the errors, and with two detectors that need no energy: the confidence of a plain
# classifier, and the distance to the **nearest training image**.

# %%
judge = load_pretrained("digits-classifier")
scores = {
    "plain energy": lambda x: plain.ood_score(x, weight=0.0),
    "CLEL, marginal": lambda x: clel.ood_score(x, weight=0.0),
    "CLEL, joint w = 1": lambda x: clel.ood_score(x, weight=1.0),
    "classifier's confidence": lambda x: extract(x, judge).softmax(-1).amax(-1),
    "nearest training image": lambda x: -torch.cdist(x.flatten(1), x_train.flatten(1)).amin(-1),
}
kinds = ("patch", "mirrored", "interpolation", "inverted", "noise")
tested = {}
print(f"{'AUROC':26s}" + "".join(f"{kind:>16s}" for kind in kinds))
for name, score in scores.items():
    for kind in kinds:
        tested[name, kind] = detection(
            score(x_test), score(sets[kind]), resamples=100, generator=seed(20)
        )
    cells = [f"{d.auroc:.3f} ± {d.auroc_error:.3f}" for d in (tested[name, k] for k in kinds)]
    print(f"{name:26s}" + "".join(f"{cell:>16s}" for cell in cells))
marginal, joint = (tested[f"CLEL, {n}", "patch"].auroc for n in ("marginal", "joint w = 1"))
assert joint - marginal > 0.06
assert tested["nearest training image", "patch"].auroc > joint
assert all(tested[n, "noise"].auroc > 0.999 for n in scores if n != "classifier's confidence")

# %% [markdown]
# *Noise* and *inverted* are saturated: four of five detectors are at 1, with an error of 0 that nobody should believe. The other three sets, made of real pieces, separate the methods. On *patch* the joint score gains over
# its own marginal, by several errors. And then the last two rows. The simplest baseline beats every network on *patch* and *mirrored*: among 1297 aligned 8 x 8 images the nearest one says nearly everything, which would not survive larger images or
# shifts. Confidence, worthless far from the data in section 4, is the best score for what lies *between* classes. Without these rows the table would have told a success story.
#
# **Comparing two scores: in pairs.** Both were tested on the same images, so resample the images and look at the *difference*. **And which error?** The bootstrap knows the error of the test set. Another training seed is another error
# (the five seeds are lesson 12's table, `python -m experiments.ablate_clel --seeds 0 1 2 3 4`).

# %%
pairs = [
    (clel.ood_score(x_test, weight=w), clel.ood_score(sets["patch"], weight=w)) for w in (0.0, 1.0)
]
g, gains = seed(21), []
for _ in range(200):
    i, o = (torch.randint(len(x_test), (len(x_test),), generator=g) for _ in range(2))
    gains.append(auroc(pairs[1][0][i], pairs[1][1][o]) - auroc(pairs[0][0][i], pairs[0][1][o]))
gain_error = torch.tensor(gains).std().item()
apart = math.hypot(
    *(tested[f"CLEL, {n}", "patch"].auroc_error for n in ("marginal", "joint w = 1"))
)
show("gain of the joint score on patch, its error in pairs", [joint - marginal, gain_error])
show("the error if the two were independent", apart)
assert joint - marginal > 5 * gain_error and gain_error < apart

with open(resource("data/results/ablate_clel.csv"), newline="") as file:
    runs = list(csv.DictReader(file))
for setting in ("SimCLR", "random"):
    v = [
        float(r["auroc_patch_w1"]) - float(r["auroc_patch_w0"])
        for r in runs
        if r["setting"] == setting
    ]
    v = torch.tensor(v)
    show(f"gain over {len(v)} training seeds, encoder {setting}: mean, spread", [v.mean(), v.std()])

# %% [markdown]
# A claim about *these weights* needs the first error; a claim about *the method* needs the second as well. The control with a random encoder gains next to nothing, so it is the latent's content that helps.
#
# ## 6 · Distances between sets, and their bias
#
# To judge *samples*, compare two sets. The **Frechet distance** (FID when the features are a certain network's) fits a Gaussian to the features of each:
#
# $$d^2 = |m_1 - m_2|^2 + \operatorname{tr}\big(C_1 + C_2 - 2(C_1 C_2)^{1/2}\big).$$
#
# Estimated moments differ from the true ones, and a distance cannot be negative, so **the estimate is biased up, more for fewer points**. Expand to second order in the error of the covariance of $n$ points from a Gaussian with
# eigenvalues $\lambda_i$, against its exact moments:
#
# $$\mathbb E\,d^2 \approx \frac1n\Big[\sum_i \lambda_i + \tfrac12\sum_{i,j}\frac{\lambda_i\lambda_j\,(1 + \delta_{ij})}{\lambda_i + \lambda_j}\Big].$$
#
# The second term grows with the *square* of the number of features. Check, with the moments of the digits classifier's 64 features:

# %%
f_train, f_test = (extract(x, judge.features).double() for x in (x_train, x_test))
mean, cov = f_train.mean(0), f_train.T.cov()
values, vectors = torch.linalg.eigh(cov)
values = values.clamp(min=0)
root = vectors * values.sqrt()
ratio = values[:, None] * values / (values[:, None] + values).clamp(min=1e-12)
slope = (values.sum() + 0.5 * (ratio.sum() + ratio.diagonal().sum())).item()


def features(n, number):
    """n features from the Gaussian with exactly these moments."""
    return mean + torch.randn(n, len(mean), generator=seed(number)).double() @ root.T


sizes = [50, 100, 200, 400, 800, 1600, 3200][: budget(7, smoke=5)]
curve = []
for n in sizes:
    draws = [features(n, 100 * i + n) for i in range(budget(20, smoke=8))]
    v = torch.tensor([gaussian_frechet(f.mean(0), f.T.cov(), mean, cov) for f in draws])
    curve.append((v.mean().item(), (v.std() / math.sqrt(len(v))).item()))
    print(f"n = {n:5d}: Frechet {curve[-1][0]:6.2f} ± {curve[-1][1]:.2f}, formula {slope / n:6.2f}")
assert abs(curve[-1][0] - slope / sizes[-1]) < 5 * curve[-1][1] + 0.05 * slope / sizes[-1]
assert curve[0][0] > 3 * curve[2][0], "fewer points, a larger distance, for one and the same law"

# %% [markdown]
# All of these are the *same* law; the right answer is 0. With 50 points it is as far from itself as the 500 samples of a trained model are from the digits (the line in the figure below). So a distance is comparable only with distances **at the same $n$ and the same features**, and only with its floor beside it (held-out data, as in lesson 07).
#
# ### Exercise 2: a distance without bias
# The **maximum mean discrepancy** compares mean kernels, $\text{MMD}^2 = \mathbb E\,k(X, X') + \mathbb E\,k(Y, Y') - 2\,\mathbb E\,k(X, Y)$ with independent $X, X' \sim p$ and $Y, Y' \sim q$. From the three kernel matrices, estimate it without bias.


# %% tags=["exercise"]
def unbiased_mmd(kxx, kyy, kxy):
    """kxx[n, n], kyy[m, m], kxy[n, m] -> a number, on average MMD²."""
    ### BEGIN SOLUTION
    n, m = kxy.shape
    within = (kxx.sum() - kxx.trace()) / (n * (n - 1)) + (kyy.sum() - kyy.trace()) / (m * (m - 1))
    return within - 2 * kxy.mean()
    ### END SOLUTION


# %% tags=["check"]
q.unbiased_mmd.check(unbiased_mmd)

# %% [markdown]
# `mmd` has a Gaussian kernel; `kernel_distance` has the cubic one $(a\cdot b/L + 1)^3$ and is called **KID** on a certain network's features. Being unbiased they come out *negative* about half the time when the laws agree; do not cut that off. With
# all pairs counted, the diagonal too, a Gaussian kernel's estimate is too high by $\frac2n\big(1 - \mathbb E\,k(X, X')\big)$:

# %%
width = 25.0
kernels = {}
k = lambda u, v: torch.exp(torch.cdist(u, v).square() / (-2 * width**2))
for n in (50, 200):
    unbiased, biased, cubic, between = [], [], [], []
    for i in range(budget(60, smoke=20)):
        a, b = features(n, 7000 + i), features(n, 8000 + i)
        unbiased.append(mmd(a, b, bandwidth=width).item())
        biased.append((k(a, a).mean() + k(b, b).mean() - 2 * k(a, b).mean()).item())
        cubic.append(kernel_distance(a, b))
        between.append(k(a, b).mean().item())
    predicted = 2 / n * (1 - sum(between) / len(between))
    for name, v in (("unbiased", unbiased), ("all pairs", biased), ("KID", cubic)):
        v = torch.tensor(v).double()
        kernels[name, n] = (v.mean().item(), (v.std() / math.sqrt(len(v))).item())
    for name in ("unbiased", "all pairs", "KID"):
        m, e = kernels[name, n]
        print(f"n = {n:4d}, {name:10s} {m:9.4f} ± {e:.4f}")
    show(f"n = {n:4d}, predicted for all pairs", predicted, digits=4)
    assert all(abs(kernels[name, n][0]) < 5 * kernels[name, n][1] for name in ("unbiased", "KID"))
    assert abs(kernels["all pairs", n][0] - predicted) < 5 * kernels["all pairs", n][1]

# %% tags=["figure"] alt="Left, logarithmic axes: the Frechet distance of a law to itself falls from 80 at 50 points to about 1 at 3200 and lies on the dashed line of the formula; a horizontal line marks the distance of a model's 500 samples: the law itself is as far away from itself with 50 points. Right: the unbiased kernel estimate is 0 at 50 and 200 points within its errors, the one with all pairs is too high, most at 50."
fig, (left, right) = plt.subplots(1, 2, figsize=(10.0, 3.5))
left.errorbar(sizes, [m for m, _ in curve], [e for _, e in curve], fmt="o", color=BLUE)
left.plot(sizes, [slope / n for n in sizes], "--", color=BLUE, label="formula")
model_value = frechet_distance(extract(own, judge.features).double(), f_train)
left.axhline(model_value, color=ORANGE, ls="-.", label="a model's 500 samples")
left.set(xscale="log", yscale="log", xlabel="points $n$", ylabel="Frechet distance")
left.set_title("one law against itself", fontsize=10)
left.legend()
for name, marker, color in (("unbiased", "o", BLUE), ("all pairs", "s", ORANGE)):
    cells = [kernels[name, n] for n in (50, 200)]
    right.errorbar(
        [50, 200], [m for m, _ in cells], [e for _, e in cells], fmt=marker, color=color, label=name
    )
right.axhline(0, color="grey", lw=0.8)
right.set(xscale="log", xlabel="points $n$", ylabel="MMD²")
right.set_xticks([50, 200], ["50", "200"])
right.minorticks_off()
right.legend()
show("Frechet distance of a model's 500 samples", model_value, digits=1)

# %% [markdown]
# ### Exercise 3: the distance at infinite size
# The bias goes like $1/n$ (Chong, Forsyth, 2020). Given distances at several $n$, fit $a + b/n$ and return $a$.


# %% tags=["exercise"]
def at_infinity(ns, values):
    """sizes, distances -> the limit a of the fit a + b/n."""
    ### BEGIN SOLUTION
    inverse = 1 / torch.as_tensor(ns, dtype=torch.float64)
    columns = torch.stack([torch.ones_like(inverse), inverse], -1)
    y = torch.as_tensor(values, dtype=torch.float64)
    return torch.linalg.lstsq(columns, y.unsqueeze(-1)).solution[0, 0]
    ### END SOLUTION


# %% tags=["check"]
q.at_infinity.check(at_infinity)

# %%
fit = q.at_infinity.reference
cut = [100, 150, 200, 300, 500]
limits = {}
for name, f in (("real test digits", f_test), ("a model", extract(own, judge.features).double())):
    at = []
    for n in cut:
        rows = [torch.randperm(len(f), generator=seed(30 + i))[:n] for i in range(10)]
        at.append(sum(frechet_distance(f[r], f_train) for r in rows) / len(rows))
    limits[name] = fit(cut, at).item()
    show(f"{name}: Frechet at {cut}", at, digits=1)
    show(f"{name}: fitted limit", limits[name], digits=1)
assert abs(limits["real test digits"]) < 0.2 * limits["a model"]

# %% [markdown]
# The limit of the real digits is near 0, as it should be (the 1297 training images have an error of their own, and subsets of one set of 500 are not independent). The model's is not: that part of its distance is the model's.
#
# ## 7 · What one number cannot see
#
# Seven "models", all but one of them frauds or failures, under one report: Frechet and kernel distance; **precision**, the share of samples that lie within the neighbourhoods of training images; **recall**, the
# share of training images that lie within those of the samples (Kynkäänniemi et al., 2019); and, by the digits classifier as in lesson 07, the **class entropy** (at most $\log 10 = 2.30$) and the **confidence**.

# %%
few = N // 10  # 24
frauds = {
    "five classes only": x_test[y_test < 5],
    "blurred": sets["blurred"],
    "mixtures of two": sets["interpolation"],
    "24 images, ten times": x_test[:few].repeat(10, 1, 1, 1),
    "copies of training images": x_train,
    "samples of an energy": own,
    "noise": sets["noise"],
}
result = compare(frauds, train=x_train, test=x_test, features=judge.features, logits=judge, n=N)
Markdown(str(result))

# %%
by_name = {row.name: row for row in result.rows}
floor = by_name["held-out data (floor)"]
copies, repeated = by_name["copies of training images"], by_name["24 images, ten times"]
assert copies.frechet < floor.frechet and copies.precision == 1.0
assert repeated.recall < 0.1 < 0.8 < repeated.precision
assert by_name["five classes only"].precision > 0.8
assert by_name["five classes only"].recall < floor.recall - 0.2

gaussian_features = features(N, 77)
fake = compare(
    {"a Gaussian in feature space": gaussian_features},
    train=f_train,
    test=f_test,
    features=lambda f: f,
    n=N,
)
row = fake["a Gaussian in feature space"]
show("Gaussian features: Frechet, floor", [row.frechet, floor.frechet], digits=1)
show("Gaussian features: precision, floor", [row.precision, floor.precision], digits=2)
assert row.frechet < 1.5 * floor.frechet and row.precision < 0.3
near = lambda x: torch.cdist(x.flatten(1).double(), flat).amin(-1).mean()
show(
    "distance to the nearest training image: copies, samples, test",
    [near(x_train[:N]), near(own), near(x_test)],
)

# %% [markdown]
# - **Copies win.** They are as good as held-out data, or better, in every column. Only the distance to the nearest training image gives them away.
# - **24 images, ten times**: a Frechet distance not far from a trained model's, a *better* kernel distance, high precision; only recall sees it.
# - **Five classes only**: every sample is perfect. The distances see it, precision does not.
# - **Blurred**: recall falls more than precision; in feature space all its images crowd in a corner.
# - **A Gaussian in feature space** matches both moments, so the Frechet distance is at the floor, or below it. Hardly one of these "features" belongs to any image.
#
# | number | sees | is blind to | with few points |
# |---|---|---|---|
# | AUROC | order of scores, averaged over thresholds | the threshold in use, base rate, all other kinds of outside | error $\sim 1/\sqrt n$ |
# | Frechet distance | two moments of features | everything beyond, copies | biased up, $\sim 1/n$ |
# | KID, MMD | what the kernel sees | copies | unbiased, noisy |
# | precision / recall | where there are samples / data | shares, copies; depends on $k$ | both change with $n$ |
# | NLL (needs $Z$) | density, everywhere the test data are | how samples look; outside the data | error $\sim 1/\sqrt n$ |
#
# ## 8 · What goes wrong, and how you see it
#
# **A pool of easy and hard.** The AUROC against a union is the average of the AUROCs, weighted by size, exactly. Three parts noise turn a poor detector of patches into a good one:

# %%
inside = plain.ood_score(x_test, weight=0.0)
hard, easy = (plain.ood_score(sets[kind], weight=0.0) for kind in ("patch", "noise"))
pooled = auroc(inside, torch.cat([hard, easy, easy, easy]))
weighted = 0.25 * auroc(inside, hard) + 0.75 * auroc(inside, easy)
assert abs(pooled - weighted) < 1e-9
show("patch, noise, pool of one to three", [auroc(inside, hard), auroc(inside, easy), pooled])

# %% [markdown]
# **Choosing on the test.** Fifty scores that know nothing, tested on 30 inside and 30 outside points; keep the best. The spread of one is $\sqrt{(n + m + 1)/12nm} = 0.075$, and the best of fifty lies more than two of
# these up:

# %%
best, fresh = [], []
for trial in range(budget(100, smoke=20)):
    g = seed(400 + trial)
    tried = [auroc(torch.randn(30, generator=g), torch.randn(30, generator=g)) for _ in range(50)]
    best.append(max(tried))
    fresh.append(auroc(torch.randn(30, generator=g), torch.randn(30, generator=g)))
best, fresh = torch.tensor(best).double(), torch.tensor(fresh).double()
show("best of fifty, on the set it was chosen on, and on fresh points", [best.mean(), fresh.mean()])
assert best.mean() > 0.62
assert abs(fresh.mean() - 0.5) < 5 * 0.0751 / math.sqrt(len(fresh))

# %% [markdown]
# A weight $w$, a layer, a preprocessing that was picked looking at the outside sets is such a choice. Pick on some kinds of outside, report on others.
#
# **An energy with no level.** Comparing energies of *two* models on one image compares their unknown $\log Z$ (lesson 01). An AUROC is safe from that, and from nothing else: it does not say that $p(x)$ is low.
#
# ### Open exercise: a better detector, honestly reported
# Find a score that beats the nearest training image on *patch* **and** *mirrored* by more than its error, without looking at either while you choose. Say beforehand which sets you choose on, and how many scores you tried.


# %% tags=["exercise"]
def my_score(x):
    """Images [N, 1, 8, 8] -> scores [N], high for real digits."""
    ### BEGIN SOLUTION
    nearest = -torch.cdist(x.flatten(1), x_train.flatten(1)).amin(-1)
    sure = extract(x, judge).softmax(-1).amax(-1)
    return nearest + sure
    ### END SOLUTION


# for kind in ("interpolation", "shuffled"):  # choose on these
#     print(kind, detection(my_score(x_test), my_score(sets[kind]), generator=seed(0)))

# %% [markdown] tags=["solution"]
# **One answer.** The nearest training image and the classifier's confidence fail on different images, so their sum is a good candidate; it was written down before looking at *patch*. Whether it wins by more than the error is
# yours to run, in pairs as in section 5. If you tried ten sums, say ten.

# %% [markdown] tags=["quiz"]
# 1. An exact density model gives washed out images a higher likelihood than real ones. What is wrong with the model?
#    - [ ] It has not converged :: The Gaussian was fitted exactly; more training changes nothing.
#    - [x] Nothing: the likeliest points need not be typical :: Density is highest near the mode, where there is hardly any mass.
#    - [ ] Its capacity is too small :: The same was seen with very large models. In another coordinate the order would differ as well.
# 2. A classifier is replaced by the perfect one, $p(y \mid x)$ exactly. Its confidence as a detector
#    - [ ] becomes perfect :: Tempting, but it answers another question.
#    - [x] can be worse than guessing :: Far from all classes one of them still wins overwhelmingly.
#    - [ ] equals that of its energy :: The energy knows $p(x)$, the confidence only ratios between classes.
# 3. Two detectors have AUROC 0.95 ± 0.01 and 0.96 ± 0.01 on the same 500 images. Is the second better?
#    - [ ] No, the intervals overlap :: They overlap, but both were tested on the *same* images, so their errors are mostly common.
#    - [x] Resample the images and look at the difference :: In pairs the error of the difference can be far smaller, or not.
#    - [ ] Yes, 0.96 is larger than 0.95 :: By how many errors?
# 4. A paper reports Frechet distance 12 with 50 000 samples; you get 15 with 5 000 of yours. Your model is
#    - [ ] worse :: The same model gives a larger value with fewer samples.
#    - [ ] better :: That does not follow either.
#    - [x] not compared yet :: Same $n$, same features, the floor beside it; or extrapolate to $1/n = 0$.
# 5. Precision 1.0, recall 0.9, Frechet distance *below* the floor of held-out data. What do you suspect?
#    - [x] Copies of training images :: The other way below the floor, matching moments in feature space, had a precision of 0.02. Look at nearest training images.
#    - [ ] A very good model :: A perfect one is *at* the floor, not below.
#    - [ ] A bug in the covariance :: Possible; but look for copies first.

# %% [markdown]
# ## Summary
#
# - AUROC is a share of pairs. Report it with an error, per kind of outside, with FPR95, beside a trivial baseline, and leave saturated sets out.
# - Low energy is not typical, typical is not "like the data", and both depend on coordinates. Trained energies need not be $-\log p$ at all.
# - A classifier's confidence says which class. Its energy says whether any, if it was trained to.
# - The Frechet distance is biased up by $\sim 1/n$, to a known first order; KID and MMD are not. Compare at one $n$, with a floor, or extrapolate.
# - Copies beat every distance to the training set. Each number has its blind spot; look at pictures and at several numbers.
#
# **Next:** 14 trains a sampler and an energy together, and is judged by these numbers.
#
# ## References
#
# - J. A. Hanley, B. J. McNeil, *The meaning and use of the area under a receiver operating characteristic (ROC) curve* (1982).
# - B. Efron, R. J. Tibshirani, *An introduction to the bootstrap* (1993).
# - E. Nalisnick, A. Matsukawa, Y. W. Teh, D. Gorur, B. Lakshminarayanan, *Do deep generative models know what they don't know?* (2019).
# - E. Nalisnick, A. Matsukawa, Y. W. Teh, B. Lakshminarayanan, *Detecting out-of-distribution inputs to deep generative models using typicality* (2019).
# - C. Le Lan, L. Dinh, *Perfect density models cannot guarantee anomaly detection* (2021).
# - W. Grathwohl, K.-C. Wang, J.-H. Jacobsen, D. Duvenaud, M. Norouzi, K. Swersky, *Your classifier is secretly an energy based model and you should treat it like one* (2020).
# - H. Lee, J. Jeong, S. Park, J. Shin, *Guiding energy-based models via contrastive latent variables* (2023).
# - M. Heusel, H. Ramsauer, T. Unterthiner, B. Nessler, S. Hochreiter, *GANs trained by a two time-scale update rule converge to a local Nash equilibrium* (2017).
# - M. Bińkowski, D. J. Sutherland, M. Arbel, A. Gretton, *Demystifying MMD GANs* (2018).
# - A. Gretton, K. M. Borgwardt, M. J. Rasch, B. Schölkopf, A. Smola, *A kernel two-sample test* (2012).
# - M. J. Chong, D. Forsyth, *Effectively unbiased FID and inception score and where to find them* (2020).
# - T. Kynkäänniemi, T. Karras, S. Laine, J. Lehtinen, T. Aila, *Improved precision and recall metric for assessing generative models* (2019).

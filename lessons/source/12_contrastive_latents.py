# %% [markdown]
# # 12 · Contrastive latents: an energy that knows what an image is about
#
# **You will**
#
# - learn a representation without labels, with the NT-Xent loss, in the plane and on digits;
# - put that representation on a sphere beside the energy, $E(x, z)$, and integrate it out *exactly*;
# - train both together (CLEL), and compare honestly with the same energy without a latent;
# - use the latent: samples of a class, samples like *this* image, and "not that class", without training for any of it;
# - see what a joint score detects that the energy alone does not.
#
# **Time** 75 minutes. **Needs** lessons 07 (contrastive divergence, replay buffer) and 04 (Langevin); softmax, cosine similarity.

# %% tags=["setup"]
import csv
import math
from dataclasses import replace

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from ipywidgets import FloatLogSlider, interactive

from ebmlearn import budget
from ebmlearn.checks import lesson12 as q
from ebmlearn.contrastive import nt_xent
from ebmlearn.course import setup, show
from ebmlearn.datasets.augment import dequantise_bytes
from ebmlearn.datasets.toy import eight_gaussians
from ebmlearn.energies.spherical import SphericalJoint, log_sphere_integral
from ebmlearn.metrics.images import frechet_distance
from ebmlearn.networks import MLP
from ebmlearn.networks.resnet import projection
from ebmlearn.pretrained import load_pretrained
from ebmlearn.resources import resource
from ebmlearn.training.clel import build_state, train_clel
from ebmlearn.training.clel_model import clel_preset, load_bytes
from ebmlearn.training.clel_report import (
    classes_of,
    features_of,
    nearest_distance,
    report_detection,
)
from ebmlearn.training.state import make_fabric
from ebmlearn.viz import image_grid

setup(seed=0)
N = budget(250, smoke=60)  # samples behind a number; a multiple of 10
STEPS_2D = budget(300, smoke=150)  # updates of the encoder in the plane
UPDATES = budget(100, smoke=3)  # of the live run on digits
DIGITS = torch.arange(10)

# %% [markdown]
# ## 1 · A representation without labels
#
# An encoder $h$ maps an image to a vector. What should it keep? **SimCLR's** answer: whatever two random *views* of the same image (shifted, turned,
# darkened, partly erased) have in common. Take $B$ images, two views each, and ask of every view: which of the other $2B - 1$ is your partner?
#
# $$\ell_i = -\log\frac{e^{\cos(p_i, p_{i'})/\tau}}{\sum_{j\ne i} e^{\cos(p_i, p_j)/\tau}}, \qquad p = h(\text{view}),\quad i' \text{ the partner of } i .$$
#
# This is a classification among $2B-1$ choices whose labels cost nothing. It is called **NT-Xent**. It is also an energy-based model in small: the energy
# of a pair is $-\cos/\tau$, and the sum runs over the pairs of the batch.
#
# ### Exercise 1: NT-Xent
# Stuck? `q.contrast.hint()`, then `q.contrast.solution()`.


# %% tags=["exercise"]
def contrast(p1, p2, tau):
    """The mean of l_i over the 2B views; p1, p2 are [B, d]."""
    ### BEGIN SOLUTION
    b = len(p1)
    p = F.normalize(torch.cat([p1, p2]), dim=-1)
    logits = (p @ p.mT / tau).fill_diagonal_(float("-inf"))
    return F.cross_entropy(logits, torch.arange(2 * b).roll(b))
    ### END SOLUTION


# %% tags=["check"]
q.contrast.check(contrast)

# %% [markdown]
# `ebmlearn.contrastive.nt_xent` is the same function. When all views look alike, nothing can be told apart and the loss is the log of the number of choices:

# %% tags=["nbval-check-output"]
same = torch.ones(64, 8)
show("64 images, all views equal", nt_xent(same, same))
show("log 127", math.log(127))
show("with 64 extra negatives, log 191", nt_xent(same, same, negatives=same))

# %% [markdown]
# In the plane: eight clusters, a view is the point plus a little noise, and the encoder's output lives on a *circle*. No label is used.

# %%
clusters = eight_gaussians()
generator = torch.Generator().manual_seed(1)
encoder = MLP(2, 2, hidden_features=(64, 64))
optimizer = torch.optim.Adam(encoder.parameters(), lr=3e-3)
for step in range(STEPS_2D):
    x = clusters.sample(128, generator=generator)
    views = [x + 0.2 * torch.randn(x.shape, generator=generator) for _ in range(2)]
    loss = nt_xent(encoder(views[0]), encoder(views[1]), temperature=0.2)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
show("loss of a guess, and at the end", [math.log(255), loss.item()])

# %% tags=["figure"] alt="Left, eight clusters on a circle in the plane, each in a shade of its own. Right, the unit circle with the same points' embeddings: they gather in separate arcs, and each arc has the shade of one cluster."
with torch.no_grad():
    x = clusters.sample(600, generator=generator)
    z = F.normalize(encoder(x), dim=-1)
angle = torch.atan2(z[:, 1], z[:, 0])
fig, axes = plt.subplots(1, 2, figsize=(8.0, 3.8))
axes[0].scatter(*x.T, c=angle, cmap="twilight", s=6)
axes[0].set(title="data, shaded by the embedding's angle", aspect="equal")
axes[1].scatter(*(z * (1 + 0.05 * torch.randn(600, 1))).T, c=angle, cmap="twilight", s=6)
axes[1].set(title="embeddings on the circle (jittered)", aspect="equal")

# %%
cluster = (torch.atan2(x[:, 1], x[:, 0]) / (math.pi / 4)).round().long() % 8
cosine = z @ z.mT
together = cluster.unsqueeze(0) == cluster.unsqueeze(1)
show(
    "mean cosine within a cluster, between clusters",
    [cosine[together].mean(), cosine[~together].mean()],
)
assert cosine[together].mean() > cosine[~together].mean() + 0.5

# %% [markdown]
# Two forces are at work: partners attract (what a view changes is forgotten), all others repel (the circle is used up). Temperature sets whom the repulsion
# sees. The share of the push that goes to a negative at cosine $c$ is proportional to $e^{c/\tau}$:


# %% tags=["figure"] alt="Share of the repulsion against the cosine of the negative: for a small temperature almost all of it goes to negatives with cosine near one, for a large one it is nearly even."
def picture(tau=0.2):
    fig, ax = plt.subplots(figsize=(6.0, 3.0))
    c = torch.linspace(-1, 1, 200)
    for value, dash in ((tau, "-"), (0.05, ":"), (5.0, "--")):
        share = torch.softmax(c / value, 0) * 100
        ax.plot(c, share, dash, label=f"tau = {value:g}")
    ax.set(xlabel="cosine with the negative", ylabel="share of the push (a.u.)", yscale="log")
    ax.legend()
    return fig


fig = picture()
# %% tags=["widget"]
interactive(picture, tau=FloatLogSlider(0.2, min=-1.5, max=1, continuous_update=False))

# %% [markdown]
# ## 2 · A latent on the sphere, integrated out exactly
#
# CLEL gives the energy a second argument $z$ on the unit sphere of $\mathbb R^d$:
#
# $$E(x, z) = \tfrac12\|f(x)\|^2 - \beta\,\cos\!\big(g(f(x)),\, z\big).$$
#
# Here $f$ is a network from images to vectors, $g$ a small network from those to $\mathbb R^d$, and $\beta$ a weight. The *length* of $f(x)$ says how likely $x$ is, its *direction* what it is about.
# Now lose $z$. *Conditioning* fixes it and keeps the cosine. *Marginalising* (lesson 09) integrates $e^{\beta\,u\cdot z}$ over the sphere, for the unit vector $u = g(f)/\|g(f)\|$. By symmetry the result cannot depend on $u$. So
#
# $$F(x) = -\log\int e^{-E(x,z)}\,dz = \tfrac12\|f(x)\|^2 + \text{constant}, \qquad p(z|x) = \text{von Mises–Fisher}(u, \beta).$$
#
# No bound, no sampling of $z$: this is why the model is built on a sphere.
#
# ### Exercise 2: integrate
# For $d = 2$ the sphere is a circle. Compute $F = -\log\int e^{-(e - \beta u\cdot z)}dz$ by quadrature.


# %% tags=["exercise"]
def circle_free_energy(e, u, beta):
    """F for a number e, a unit vector u[2] and a number beta."""
    ### BEGIN SOLUTION
    t = torch.arange(2000, dtype=torch.float64) * (2 * math.pi / 2000)
    z = torch.stack([t.cos(), t.sin()], dim=-1)
    energies = e - beta * (z @ u.double())
    return -(torch.logsumexp(-energies, 0) + math.log(2 * math.pi / 2000))
    ### END SOLUTION


# %% tags=["check"]
q.circle_free_energy.check(circle_free_energy)

# %% [markdown]
# `ebmlearn` has the constant for every $d$. A random $f$ and $g$ with latents on the circle, $\beta = 2$, five points:

# %% tags=["nbval-check-output"]
joint = SphericalJoint(
    MLP(3, 4, hidden_features=(16,)).double(),
    projection(4, hidden_features=8, out_features=2).double(),
    beta=2.0,
    event_ndim=1,
)
x = torch.randn(5, 3, dtype=torch.float64)
t = torch.arange(2000, dtype=torch.float64) * (2 * math.pi / 2000)
ring = torch.stack([t.cos(), t.sin()], dim=-1)
with torch.no_grad():
    e = torch.stack([joint(x, z.expand(5, 2)) for z in ring], dim=-1)
    by_quadrature = -(torch.logsumexp(-e, -1) + math.log(2 * math.pi / 2000))
    exact = joint.marginalise(latent_dim=2)(x)
assert torch.allclose(by_quadrature, exact, atol=1e-9)
show("quadrature and closed form agree to 1e-9", True)
show("log of the sphere's integral, d = 2, beta = 2", log_sphere_integral(2.0, 2))

# %% [markdown]
# **A bias in $g$ breaks it.** $g$ must see the direction of $f$, not its length. With leaky ReLU and *no biases*, $g(cf) = c\,g(f)$ for $c > 0$ and the cosine cannot tell.
# Add biases, and the length leaks into the direction; nothing crashes, the model is just not the one you wrote down.

# %%
h, z = torch.randn(200, 6), torch.randn(200, 6)
without, with_bias = projection(6, hidden_features=16), MLP(6, 6, hidden_features=(16,))
for name, g in (("no bias", without), ("biases", with_bias)):
    with torch.no_grad():
        change = F.cosine_similarity(g(0.1 * h), z) - F.cosine_similarity(g(h), z)
    show(f"{name}: largest change of the cosine when f gets ten times shorter", change.abs().max())

# %% [markdown]
# **How strong is $\beta$?** The mean of $u\cdot z$ under $p(z|x)$ is the derivative of the log-integral. For the paper's $\beta = 0.01$ in 128 dimensions:

# %% tags=["nbval-check-output"]
for beta, d in ((0.01, 128), (0.1, 32), (50.0, 32)):
    slope = (log_sphere_integral(beta + 1e-3, d) - log_sphere_integral(beta - 1e-3, d)) / 2e-3
    show(f"beta {beta}, d {d}: mean cosine", slope, digits=5)

# %% [markdown]
# Practically uniform. So in training $\beta$ is a *loss weight*; as a concentration it says nothing. For conditional samples we choose another weight, below.
#
# ## 3 · Training both together
#
# Where does $z$ come from? From the encoder: $z = h(\text{view of } x)$, normalised. Each iteration, with $x^+$ data and $x^-$ chains from the replay buffer (a bar is the mean over the batch):
#
# - energy: $\;\overline{E(x^+)} - \overline{E(x^-)} + \alpha\,\overline{E^2} - \beta\,\overline{\cos(g(f(x^+)), z)}$, no gradient into $z$;
# - encoder: NT-Xent, where $g(f(x^-))$ serve as *extra negatives*: the chains' images are not data. No gradient into $f, g$.
#
# The two never share a gradient. `train_clel` is a generator; the body of the `for` is yours. Live, from scratch, for a moment:

# %%
config = replace(clel_preset("digits"), warm_up=20)
pixels, labels, levels = load_bytes("digits", "train")
fabric = make_fabric()
state = build_state(fabric, config, pixels, labels)
for metrics in train_clel(fabric, state, config, levels=levels):
    if state.step % max(1, UPDATES // 4) == 0:
        names = ("e_pos", "e_neg", "loss_encoder", "cosine")
        show(f"iteration {state.step}: {', '.join(names)}", [metrics[n] for n in names])
    if state.step >= UPDATES:
        break

# %% [markdown]
# The whole run takes a minute or two on one core: `ebmlearn train clel --data digits --out runs/clel`. Here are shipped weights, with the latent and without
# (same network, data, sampler, iterations), and an independent classifier that judges.

# %%
clel, plain = load_pretrained("clel-digits"), load_pretrained("clel-digits-plain")
judge = load_pretrained("digits-classifier")
train = dequantise_bytes(pixels, levels=levels, generator=torch.Generator().manual_seed(0))
held_pixels, held_labels, _ = load_bytes("digits", "test")
held = dequantise_bytes(held_pixels, levels=levels, generator=torch.Generator().manual_seed(1))
reference = features_of(judge, train)


def distance(images):
    """Frechet distance to the training set, in the judge's features."""
    return frechet_distance(features_of(judge, images), reference)


def draw(model, n, terms=(), seed=0, **options):
    """Fresh chains from noise."""
    return model.sample(n, terms=terms, generator=torch.Generator().manual_seed(seed), **options)


with_latent, without_latent = draw(clel, N), draw(plain, N)
for name, images in (
    ("with the latent", with_latent),
    ("without", without_latent),
    ("real test images (the floor)", held[:N]),
    ("uniform noise", torch.rand(N, 1, 8, 8)),
):
    show(f"Frechet distance, {name}", distance(images), digits=1)

# %% tags=["figure"] alt="Three grids of 8 by 8 digits. Left, real ones. Middle and right, samples of the model with and without the latent: both are recognisable strokes, some clear digits, some malformed; neither is visibly better."
fig, axes = plt.subplots(1, 3, figsize=(9.0, 3.2))
for ax, (title, images) in zip(
    axes, {"real": held, "with the latent": with_latent, "without": without_latent}.items()
):
    image_grid(images[:50], ax, columns=10, title=title)

# %% [markdown]
# **Honestly:** at this size the latent does not make unconditional samples better. One model sampled with another seed moves such a distance by about ten:

# %%
again = [distance(draw(clel, N, seed=s)) for s in range(1, 4)]
show("with the latent, three more sampler seeds", again, digits=1)

# %% [markdown]
# So compare over training seeds. `data/results/ablate_clel.csv` holds five of each setting (`python -m experiments.ablate_clel --seeds 0 1 2 3 4`): no latent, SimCLR without and with
# the extra negatives, BYOL and masked autoencoding in its place, and two controls, a supervised and a random encoder. Mean and standard error:

# %%
with open(resource("data/results/ablate_clel.csv"), newline="") as file:
    runs = list(csv.DictReader(file))


def over_seeds(setting, metric):
    """Mean and standard error of a column, or None where the setting has no such number."""
    v = [float(r[metric]) for r in runs if r["setting"] == setting and r[metric] != ""]
    if not v:
        return None
    v = torch.tensor(v)
    return v.mean().item(), (v.std() / math.sqrt(len(v))).item()


columns = {
    "fd_fresh": "distance, fresh",
    "class_accuracy_w1": "class as wanted",
    "instance_fd_w1": "distance, like an image",
    "auroc_patch_w1": "AUROC patch, joint",
}
print(f"{'':28s}" + "".join(f"{title:>26s}" for title in columns.values()))
for setting in dict.fromkeys(r["setting"] for r in runs):
    cells = [over_seeds(setting, metric) for metric in columns]
    texts = ["-" if c is None else f"{c[0]:.3g} ± {c[1]:.2g}" for c in cells]
    print(f"{setting:28s}" + "".join(f"{text:>26s}" for text in texts))
mean_with, error_with = over_seeds("SimCLR", "fd_fresh")
mean_without, error_without = over_seeds("no latent", "fd_fresh")
assert abs(mean_with - mean_without) < 2 * math.hypot(error_with, error_without)

# %% [markdown]
# The first column is one number up to its errors: **nothing in this table improves unconditional samples.** The others (sections 4 to 6 explain them) tell the latents apart. SimCLR's steers as well as a
# supervised encoder's; masked autoencoding is halfway; BYOL's latent, in this small encoder without normalisation layers, is as good as random. The paper reports a large gain of unconditional samples on CIFAR-10. Where it
# starts is a question of scale that digits cannot answer.
#
# ## 4 · Using the latent: samples of a class
#
# $E(x, z)$ was trained without labels. Yet $z$ can be *set*: the mean direction of $h$ over the images of a class (minus the grand mean) is a latent "a 7". Sample
#
# $$E(x\,|\,z) = \tfrac12\|f(x)\|^2 - w\,\cos(g(f(x)), z)$$
#
# with a weight $w$ of our choice. Several conditions add up; a negative weight means *not*.
#
# ### Exercise 3: the energy of a condition
# From $e_i = \tfrac12\|f(x_i)\|^2$, $u_i = g(f(x_i))$, latents $z_k$ and weights $w_k$.


# %% tags=["exercise"]
def steer(e, u, z, w):
    """e[N], u[N, d], z[K, d], w[K] -> energies [N]; u and z are not normalised."""
    ### BEGIN SOLUTION
    return e - F.normalize(u, dim=-1) @ F.normalize(z, dim=-1).mT @ w
    ### END SOLUTION


# %% tags=["check"]
q.steer.check(steer)

# %%
latents = clel.class_latents(train, labels, generator=torch.Generator().manual_seed(0))
wanted = DIGITS.repeat_interleave(N // 10)
weights = [0.0, 0.03, 0.1, 0.3, 1.0, 3.0]
samples, accuracy, distances = {}, [], []
for w in weights:
    samples[w] = draw(clel, len(wanted), [(latents[wanted], w)], rounds=4)
    accuracy.append(float((classes_of(judge, samples[w])[0] == wanted).float().mean()))
    distances.append(distance(samples[w]))
floor = distance(held[: len(wanted)])
show("weights", weights, digits=2)
show("class as wanted (chance 0.1)", accuracy, digits=2)
show("Frechet distance", distances, digits=0)
assert accuracy[weights.index(1.0)] > 0.7 > 0.3 > accuracy[0]
assert distances[weights.index(1.0)] < 0.7 * distances[0]

# %% tags=["figure"] alt="Left, the share of samples of the wanted class against the weight: from chance at weight zero it rises to nearly one at weight one. Right, the Frechet distance against the weight: it falls steeply up to weight 0.3 and then rises again; a dashed line marks the floor."
fig, axes = plt.subplots(1, 2, figsize=(9.0, 3.2))
position = range(len(weights))
axes[0].plot(position, accuracy, "o-")
axes[0].axhline(0.1, ls="--", color="0.5")
axes[0].set(title="class as wanted", ylim=(0, 1.02))
axes[1].plot(position, distances, "s-")
axes[1].axhline(floor, ls="--", color="0.5")
axes[1].set(title="Frechet distance (dashed: floor)", ylim=(0, None))
for ax in axes:
    ax.set_xticks(list(position), [f"{w:g}" for w in weights])
    ax.set_xlabel("weight w")

# %% tags=["figure"] alt="Ten columns of digits, one for each class from 0 to 9, at weight 0, 0.1 and 1. At weight 0 a column holds any digit; at weight 1 every column shows its own digit."
fig, axes = plt.subplots(3, 1, figsize=(7.0, 6.0))
columns = torch.arange(N // 10 * 10).reshape(10, -1)[:, :4].T.reshape(-1)
for ax, w in zip(axes, (0.0, 0.1, 1.0)):
    image_grid(samples[w][columns], ax, columns=10, title=f"w = {w:g}, columns: wanted 0 to 9")

# %% [markdown]
# (These chains have four rounds instead of the five of section 3, with and without a condition; so $w = 0$ does not repeat its distance.)
# Labels entered only when the ten means were taken. And the samples are not merely of the right class, they are *better*: the condition spares the chain the choice of a mode, which is the hardest part.
# Too large a weight over-sharpens: the class is still right, and the distance rises again. What matters is $w/T$, here with $T = \text{noise}^2/(2\,\text{step}) = 5\cdot10^{-4}$: at $w = 1$ an image
# that agrees fully is favoured over one at a right angle by 2000 nats.
#
# ## 5 · Samples like this image, and not that class
#
# The latent of *one* training image, no label anywhere. If the samples were copies, their nearest training image would be very near; compare with real test images:

# %%
rows = torch.randperm(len(train), generator=torch.Generator().manual_seed(3))[:N]
own = clel.latents(train[rows])
like = draw(clel, N, [(own, 1.0)], rounds=4)
match = (classes_of(judge, like)[0] == labels[rows]).float().mean()
show("same class as the image", match)
show("Frechet distance: like an image, unconditional", [distance(like), distances[0]], digits=1)
show("distance to the nearest training image: samples", nearest_distance(like, train))
show("distance to the nearest training image: real test images", nearest_distance(held[:N], train))
assert match > 0.6 and nearest_distance(like, train) > nearest_distance(held[:N], train)

# %% tags=["figure"] alt="Two rows of twenty digits. Above, training images; below, a sample drawn with each one's latent: usually the same digit in a similar slant and weight, never the same picture."
fig, ax = plt.subplots(figsize=(9.0, 1.6))
image_grid(
    torch.cat([train[rows[:20]], like[:20]]),
    ax,
    columns=20,
    title="an image, and a sample with its latent",
)

# %% [markdown]
# **Not.** Which class is the commonest without a condition? Push it away with a negative weight:

# %%
counts = torch.bincount(classes_of(judge, with_latent)[0], minlength=10)
common = int(counts.argmax())
shares, prices = [counts[common] / N], [distance(with_latent)]
pushes = [0.0, 0.02, 0.05, 0.3]
for w in pushes[1:]:
    pushed = draw(clel, N, [(latents[common], -w)])
    shares.append((classes_of(judge, pushed)[0] == common).float().mean())
    prices.append(distance(pushed))
show("negative weights", pushes, digits=2)
show(f"share of the digit {common}", shares, digits=2)
show("Frechet distance", prices, digits=0)
assert shares[2] < 0.6 * shares[0] and prices[3] > 2 * prices[0]

# %% [markdown]
# It works, and it has a price. $+w\cos$ divides the density by an expert: everything unlike the forbidden class is rewarded, digits or not. A small weight halves the share and costs little; a large one leaves the
# data altogether. "Class 7" says where to go; "not 7" only says where not to.
#
# "And" adds two terms. Digits offer no image that is both a 3 and a 7, so there is no truth to check against; `python -m experiments.sprites` does it with shapes and colours that can be read off
# without a network. There the condition on shape is followed, the one on colour hardly, and what comes out is seldom a clean sprite: an energy that is good at *telling* is not yet good at *drawing*.
#
# ## 6 · What the joint score detects
#
# Out-of-distribution detection asks whether $x$ is data. The marginal score is $-\tfrac12\|f\|^2$. The joint score, $-\tfrac12\|f\|^2 + w\cos(g(f(x)), h(x))$, also asks whether the two networks *agree* on what $x$ is.

# %%
found, baseline = report_detection(clel), report_detection(plain)
print("AUROC           plain   marginal   joint (w = 1)")
for name in ("patch", "mirrored", "interpolation", "noise", "inverted", "shuffled"):
    row = (baseline[f"auroc_{name}_w0"], found[f"auroc_{name}_w0"], found[f"auroc_{name}_w1"])
    print(f"{name:14s}" + "".join(f"{v:8.3f}" for v in row))
assert found["auroc_patch_w1"] > baseline["auroc_patch_w0"] + 0.04

# %% [markdown]
# *Patch*: the centre 4 x 4 pixels come from another digit. Each part is real, the whole is not, and the joint score sees it. On *interpolations* it loses. *Noise*, *inverted* and *shuffled*
# images are saturated: every score finds them, so they compare nothing, though they fill many tables. The weight 1 is a choice made looking at such sets; report several.
#
# ## 7 · What goes wrong
#
# - **A bias in $g$** (section 2): the marginal is no longer exact.
# - **A latent that carries nothing** steers nothing: the rows *random* and *BYOL* of the table in section 3. Always run that control.
# - **Reading $\beta$ as a concentration.** At the training value the conditional law is the unconditional one; the first point of the curve above.
# - **One number for quality.** The judge's features like clear digits; in pixels the conditional samples are over-sharpened at large $w$. Look at two distances.
# - **Chains that are not in equilibrium.** Samples lie *below* the data in energy:

# %%
with torch.no_grad():
    energy = clel.energy()
    show(
        "mean energy: training, test, samples",
        [energy(x).mean() for x in (train, held, with_latent)],
        digits=4,
    )

# %% [markdown]
# ### Open exercise: mixtures of latents
# Walk from the latent of a 3 to that of an 8 on the sphere (normalise $(1-t)z_3 + t z_8$), 20 samples each. Where does the judge change its mind? Is there anything *between*?

# %% tags=["exercise"]
# Your experiment.
### BEGIN SOLUTION
for t in (0.0, 0.25, 0.5, 0.75, 1.0):
    between = F.normalize((1 - t) * latents[3] + t * latents[8], dim=-1)
    got = classes_of(judge, draw(clel, 20, [(between, 1.0)], rounds=4))[0]
    show(
        f"t = {t}: threes, eights, others",
        [(got == 3).sum(), (got == 8).sum(), ((got != 3) & (got != 8)).sum()],
    )
### END SOLUTION

# %% [markdown] tags=["solution"]
# **One answer.** The share goes over from threes to eights around the middle, and there some samples are neither. The latent moves continuously; the energy's wells do not. What lies between two classes on the sphere need not be an image.

# %% [markdown] tags=["quiz"]
# 1. Why is the marginal of $E(x,z)$ over the sphere exact?
#    - [x] Because the integral of $e^{\beta u\cdot z}$ is the same for every unit $u$ :: Rotating $u$ rotates the sphere onto itself.
#    - [ ] Because $\beta$ is small :: A small $\beta$ would make an approximation good; no approximation is needed.
#    - [ ] Because $z$ is Gaussian :: It lives on the sphere; given $x$ it is von Mises–Fisher.
# 2. What would a bias in $g$ do?
#    - [ ] Nothing, biases are harmless :: The run looks the same, which makes it worse.
#    - [x] Let the direction of $g(f)$ depend on the length of $f$ :: Then $g(f)$ and $g(f/\|f\|)$ differ and the model is not the one on paper.
#    - [ ] Make the energy negative :: $\tfrac12\|f\|^2$ never is.
# 3. In NT-Xent the loss is $\log(2B-1)$. What has the encoder learned?
#    - [ ] Everything: this is its minimum :: The minimum is lower; this is the value of a guess.
#    - [ ] It has overfitted :: Overfitting would show as a *low* loss on the training views.
#    - [x] Nothing that tells images apart :: All choices are equally likely.
# 4. Conditional samples have a lower Frechet distance than unconditional ones. Why may that be?
#    - [ ] The labels were used in training :: They were not; ten means were taken afterwards.
#    - [x] The condition decides the mode, which short chains are bad at :: And all ten classes are asked for equally.
#    - [ ] They are copies of training images :: Their nearest training images are further away than those of real test images.
# 5. A detector reaches AUROC 0.999 on noise and on inverted images. What do you know?
#    - [x] Little: these sets are saturated :: Compare on sets that separate methods, such as swapped patches.
#    - [ ] That it is a good detector :: Nearly every detector reaches that here.
#    - [ ] That it will find swapped patches :: See the table.

# %% [markdown]
# ## Summary
#
# - NT-Xent: tell your partner from $2B - 1$ others. A representation without labels.
# - $E(x,z) = \tfrac12\|f\|^2 - \beta\cos(g(f), z)$: on the sphere the marginal is exact, and $g$ must have no bias.
# - Trained together, digits show no gain in unconditional samples; the gain comes from *using* $z$: classes, single images, "not", joint detection.
# - Choose $w$ in units of the temperature. Run the random encoder as a control. Distrust saturated sets.
#
# **Next:** 13 asks how to judge detectors and samples, and with what error.
#
# ## References
#
# - H. Lee, J. Jeong, S. Park, J. Shin, *Guiding energy-based models via contrastive latent variables* (2023).
# - T. Chen, S. Kornblith, M. Norouzi, G. Hinton, *A simple framework for contrastive learning of visual representations* (2020).
# - J.-B. Grill et al., *Bootstrap your own latent: a new approach to self-supervised learning* (2020).
# - K. He et al., *Masked autoencoders are scalable vision learners* (2022).
# - T. Wang, P. Isola, *Understanding contrastive representation learning through alignment and uniformity on the hypersphere* (2020).
# - Y. Du, S. Li, I. Mordatch, *Compositional visual generation with energy based models* (2020).

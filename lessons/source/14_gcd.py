# %% [markdown]
# # 14 · A learned sampler: generalized contrastive divergence
#
# **You will**
#
# - replace the Markov chain of lesson 07 by a short diffusion sampler that is trained against the energy;
# - play the minimax game on a histogram, where its equilibrium, the role of entropy and its failure can be computed;
# - read the game as inverse reinforcement learning, and check on a small grid world that the best policy is a Boltzmann distribution;
# - judge a trained sampler and a trained energy in the plane: samples, density, $\log Z$;
# - recognise the two failures: an energy that runs away, and good samples beside a useless energy.
#
# Ten questions that a reader of the papers asks are numbered on the way, as **Question 1** to **10**; the summary lists where each is answered.
#
# **Time** 90 minutes. **Needs** lessons 07 (contrastive divergence), 08 (denoising) and 09 (a bound on the free energy); Gaussians, KL divergence.

# %% tags=["setup"]
import csv
import math
from dataclasses import replace

import matplotlib.pyplot as plt
import torch

from ebmlearn import budget
from ebmlearn.checks import lesson14 as q
from ebmlearn.course import setup, show
from ebmlearn.datasets.toy import eight_gaussians
from ebmlearn.energies.tabular import grid_world
from ebmlearn.metrics.divergence import kl_on_grid
from ebmlearn.objectives import contrastive_divergence, gcd_energy, path_log_weight
from ebmlearn.pretrained import load_pretrained
from ebmlearn.resources import resource
from ebmlearn.samplers import Langevin, sample
from ebmlearn.training.game import build_state, gcd_preset
from ebmlearn.training.gcd import train_gcd
from ebmlearn.training.gcd_report import grid, report_points
from ebmlearn.training.state import make_fabric
from ebmlearn.viz import BLUE, GREEN, ORANGE, energy_map, points
from ebmlearn.widgets.lesson14 import GameExplorer, data_histogram, draw_game, play

setup(seed=0)
N = budget(10_000, smoke=4_000)
UPDATES = budget(150, smoke=4)

# %% [markdown]
# ## 1 · From contrastive divergence to a sampler that learns
#
# Lesson 07 trained an energy with $\mathbb E_p[\partial_\theta E] - \mathbb E_q[\partial_\theta E]$, where $q \propto e^{-E/\tau}$. The second mean needs samples of $q$,
# and CD-$k$ makes do with $k$ steps of a chain that starts at the data. What CD-$k$ follows (almost) is the gradient of
#
# $$\mathrm{KL}(p\,\|\,q) - \mathrm{KL}(\pi\,\|\,q),$$
#
# where $\pi$ is the law of the chain after $k$ steps. **Generalized contrastive divergence** (GCD) keeps this objective and lets $\pi$ be
# *any sampler with parameters*, trained at the same time:
#
# $$\min_q \max_\pi\; \mathrm{KL}(p\,\|\,q) - \mathrm{KL}(\pi\,\|\,q).$$
#
# No chain is run while training, and none while sampling. With $\pi$ a chain it is CD again, to the last bit:

# %% tags=["nbval-check-output"]
theta = torch.tensor(1.2, requires_grad=True)
energy = lambda x: 0.5 * theta * x.square().sum(-1)
x_pos = torch.randn(256, 1)
x_neg = sample(energy, Langevin(step_size=0.1), x_pos, 5).detach()
game = torch.autograd.grad(gcd_energy(energy(x_pos), energy(x_neg)), theta)[0]
cd = torch.autograd.grad(contrastive_divergence(energy(x_pos), energy(x_neg)), theta)[0]
assert torch.equal(game, cd)
show("the energy's gradient is that of CD-5", bool(game == cd))

# %% [markdown]
# **Question 1: what does this do for diffusion models?** A diffusion model is trained to predict noise, level by level; nothing in that
# loss looks at the samples. With a thousand steps it hardly matters. With five, each step is a crude Gaussian approximation, the errors
# add up, and the training never hears of them. GCD trains the whole chain of $T$ steps on what comes out of it, $\mathrm{KL}(\pi\|q)$ at the last
# step, and $q$ is itself pulled towards the data. So the steps may become whatever five steps should be.
#
# ## 2 · The game on a histogram
#
# On $K$ bins everything is a vector. Both divergences contain $\log q = -E/\tau - \log Z$, and $\log Z$ cancels:
#
# $$\mathrm{KL}(p\|q) - \mathrm{KL}(\pi\|q) = \tfrac1\tau\big(\mathbb E_p[E] - \mathbb E_\pi[E]\big) + H(\pi) - H(p).$$
#
# ### Exercise 1: the value of the game
# Compute it without $Z$. Stuck? `q.game_value.hint()`.


# %% tags=["exercise"]
def game_value(p, pi, energies, tau):
    """KL(p||q) - KL(pi||q) for q proportional to exp(-E/tau), three vectors [K] and a number."""
    ### BEGIN SOLUTION
    gap = ((p - pi) * energies).sum() / tau
    return gap - (pi * pi.log()).sum() + (p * p.log()).sum()
    ### END SOLUTION


# %% tags=["check"]
q.game_value.check(game_value)

# %% [markdown]
# **Question 2: the equilibrium.** Fix $E$. The sampler maximises $-\mathbb E_\pi[E]/\tau + H(\pi)$, and the maximum is $\pi = q$, where the second
# divergence is 0. So the outer player is left with $\min_q \mathrm{KL}(p\|q)$, maximum likelihood, whose answer is $q = p$. At the equilibrium
# $\pi = q = p$: both models are the data's distribution and neither can improve. Fix instead $\pi = p$: the value is 0 for *every* energy, so the energy has no
# reason to move. One wants an equilibrium because it is the only point where *both* products are right, the sampler and the density.
#
# From scratch, with a sampler that answers best in every round, the game is three lines.

# %% tags=["nbval-check-output"]
p = data_histogram()
tau, rate, e = 0.3, 2.0, torch.zeros(len(p))
for _ in range(400):
    pi = torch.softmax(-e / tau, 0)  # the sampler's best answer
    e = e - rate * (p - pi)  # the energy: low where the data are, high where the sampler is
played = play(p, tau=tau, rounds=400, rate=rate)
assert torch.allclose(played.energy[-1], e, atol=1e-5)
assert played.distance[-1] < 1e-3
off = e + tau * p.log()
assert (p * (off - (p * off).sum()).abs()).sum() < 0.01  # E = -tau log p + c where the data are
show("total variation of sampler and data below 0.001", bool(played.distance[-1] < 1e-3))

# %% tags=["figure"] alt="Two rows of three panels. With tau 0.3 the sampler's steps lie on the data's bars, the energy lies on minus tau log p, and the distance falls to zero within a hundred rounds. With tau 0 all of the sampler's mass stands on a single bin, the energy is a jagged line without the two wells, and the distance stays near 0.9."
fig, axes = plt.subplots(2, 3, figsize=(10.0, 6.0))
for row, weight in zip(axes, (0.3, 0.0)):
    print(draw_game(row, tau=weight, rounds=400, rate=2.0))

# %% [markdown]
# **Question 3: integral probability metrics, and why the entropy matters.** Drop the entropies and let $E$ range over a bounded class $\mathcal F$: what is left,
# $\max_{E \in \mathcal F} \mathbb E_\pi[E] - \mathbb E_p[E]$, is an *integral probability metric* (total variation when $|E| \le 1$, Wasserstein-1 when $E$ is 1-Lipschitz), the
# objective of Wasserstein GANs. GCD is that game with $\tau H(\pi)$ added. The lower row shows what the entropy was good for. Without it the sampler's best answer is
# a single point, the game circles, and the energy at its end is the noise of the last rounds around a flat line: a critic that has seen data and samples agree *on average*
# has nothing to say. With it the sampler has one best answer that varies smoothly with $E$, the game settles, and the final energy is $-\tau\log p + c$, a density.
#
# Two notes. Averages over the rounds of the circling game do converge (that is why training keeps a moving average of the sampler).
# And entropy does not rescue an impatient energy: at $\tau = 0.3$ the game settles at the rate 2 and no longer at the rate 5. Try it:

# %% tags=["widget"]
GameExplorer()

# %%
for weight in (0.3, 0.0):
    rounds = play(p, tau=weight, rounds=1000)
    average = 0.5 * (rounds.sampler.mean(0) - p).abs().sum()
    show(f"tau {weight}: last sampler, and the average of all", [rounds.distance[-1], average])
assert average < 0.05 < rounds.distance[-1]

# %% [markdown]
# ### Exercise 2: what a penalty on the energy does
# Image models add $\gamma\,(\mathbb E_p[E^2] + \mathbb E_\pi[E^2])$, $\gamma = 1$ in the follow-up paper's released settings, to keep the critic bounded. For a *fixed* sampler, which energies on a
# histogram minimise $\sum pE - \sum \pi E + \gamma\sum (p + \pi) E^2$?


# %% tags=["exercise"]
def critic(p, pi, gamma):
    """The minimising energies, [K]."""
    ### BEGIN SOLUTION
    return -(p - pi) / (2 * gamma * (p + pi))
    ### END SOLUTION


# %% tags=["check"]
q.critic.check(critic)

# %% [markdown]
# So with $\gamma > 0$ the energy is a least-squares critic in $[-\tfrac1{2\gamma}, \tfrac1{2\gamma}]$, and it tends to *zero* as $\pi \to p$. It is a good teacher for the sampler
# and no density. If the density is what you want, $\gamma$ must be 0 or small. (This is derived, not in the papers; it needs only the formula above.)
#
# ## 3 · The same game as inverse reinforcement learning
#
# **Question 4: the analogy.** A sampler of $T$ steps acts $T$ times: state $x_t$ with the step number, action $x_{t-1}$, policy $\pi(x_{t-1}|x_t)$. The reward is $-E(x_0)$,
# paid at the end. Training data are *demonstrations*: last states of an expert. Finding an energy under which the demonstrations are better than anything
# else the policy does is **inverse reinforcement learning**; the entropy makes it *maximum-entropy* inverse reinforcement learning. The reading is useful because
# it names the parts (reward, policy, baseline, value function) and brings forty years of methods for training the policy.
#
# On a grid world everything can be checked. A walker takes 6 steps on 4 x 3 cells; each step has a cost, the last cell has an energy. The energy of a
# trajectory is the sum.

# %% tags=["nbval-check-output"]
torch.set_default_dtype(torch.float64)
world = grid_world(4, 3, horizon=6, start=0)
end = torch.full((12,), 2.0)
end[[3, 8]] = torch.tensor([0.0, 0.5])  # two good last cells
cost = torch.full((12, 5), 0.1)
cost[:, 0] = 0.0  # standing still is free
cost[5] = 1.0  # one cell is hard to leave
policy = world.solve(cost, end=end, temperature=0.4)
actions, states = world.trajectories()
e = world.energy(actions, cost, end=end)
boltzmann = torch.log_softmax(-e / 0.4, 0)
assert torch.allclose(world.log_prob(actions, policy), boltzmann, atol=1e-10)
assert abs(-policy.value[0, 0] - torch.logsumexp(-e / 0.4, 0)) < 1e-10
show("trajectories", len(actions))
show("largest |log policy - log Boltzmann| below 1e-10", True)

# %% [markdown]
# The policy was found step by step, backwards in time, and never saw a whole trajectory. Yet it draws each of the 15 625 trajectories with probability
# $e^{-E/\tau}/Z$ exactly, and $\log Z$ is minus the value of the start. **The maximum-entropy policy is the Boltzmann distribution.**
#
# ### Exercise 3: one backup
# Write the backward step: $V_t$ from $V_{t+1}$, both in units of $\tau$.


# %% tags=["exercise"]
def soft_backup(cost, move, value_next, tau):
    """cost[S, A], move[S, A] (next states), value_next[S] -> value[S]."""
    ### BEGIN SOLUTION
    return -torch.logsumexp(-(cost / tau + value_next[move]), dim=-1)
    ### END SOLUTION


# %% tags=["check"]
q.soft_backup.check(soft_backup)

# %% [markdown]
# And backwards: from demonstrations to an energy. The gradient of the log-likelihood is *demonstrated visits minus expected visits*, which is
# $\mathbb E_p[\partial E] - \mathbb E_\pi[\partial E]$ once more. Here the learner sees only last cells.

# %% tags=["figure"] alt="Three 4 by 3 grids of numbers in cells. Left, the law of the last cell under the expert; middle, the same under the learned energy, equal to two digits; right, the learned energy, low at the two good cells."
shown = world.visits(policy)[1]
learned = torch.zeros(12)
for _ in range(budget(3000, smoke=300)):
    mine = world.visits(world.solve(cost, end=learned, temperature=0.4))[1]
    learned = learned - 1.0 * (shown - mine)
fig, axes = plt.subplots(1, 3, figsize=(10.0, 2.6))
panels = {
    "demonstrated last cells": shown,
    "learner's last cells": mine,
    "learned energy": learned - learned.min(),
}
for ax, (title, values) in zip(axes, panels.items()):
    ax.imshow(values.reshape(3, 4).numpy(), cmap="viridis")
    for cell, v in enumerate(values):
        ink = "black" if v > 0.6 * values.max() else "white"
        ax.text(cell % 4, cell // 4, f"{v:.2f}", ha="center", va="center", color=ink, fontsize=9)
    ax.set(title=title, xticks=[], yticks=[])
assert (mine - shown).abs().max() < (0.01 if UPDATES > 10 else 0.1)
torch.set_default_dtype(torch.float32)

# %% [markdown]
# **Question 7: how far does the analogy carry?** Promising: the reward is *learned from data* and so has no free parameter to be gamed for ever; stable policy methods apply
# unchanged. Limits: the environment here is empty (the next state *is* the action), so most of reinforcement learning's difficulty is absent and its tools are
# not tuned for what is left: actions with thousands of dimensions. The energy is only known where the sampler or the data have been. And a learned energy is identified up to what the policy
# can reach: cells that nobody can reach within 6 steps could have any energy at all.
#
# **Question 8: the choice of reward.** Fine-tuning with a *fixed* reward (an aesthetic score, a classifier) also trains a diffusion model by policy gradients. Then the optimum
# is the reward's, not the data's: the sampler leaves the data wherever the score is fooled, and only a leash to the old model holds it. An adversary that is
# trained to tell real from fake (SFT-PG, a GAN) follows the sampler, but ends with a flat critic, as in the lower row of section 2. GCD's reward is an energy under
# *entropy*: it too follows the sampler, and it ends as the log-density.
#
# **Question 9: what carries over from reinforcement learning?** Baselines and value functions (used below), trust regions and clipped ratios for larger steps, off-policy replay of old paths (with importance
# weights), dynamic programming instead of returns (the follow-up paper), soft actor-critic's automatic choice of $\tau$, and guidance by a value function at sampling time, which is one step of
# policy improvement: `sampler.sample(n, guidance=..., value=...)`.
#
# ## 4 · A diffusion sampler is a policy
#
# Five actions from noise to data: $x_5 \sim \mathcal N(0, I)$, then $x_{k-1} \sim \mathcal N(\mu_k(x_k), \sigma_k^2 I)$, all $\sigma_k$ learned. Every action is Gaussian, so
# the density of a *path* is known exactly, though that of its end point is not. From scratch, against `DiffusionSampler`:

# %%
model = load_pretrained("lesson14-8gaussians")
before, after, energy = model.before, model.sampler, model.energy
truth = eight_gaussians()
g = torch.Generator().manual_seed(0)

x = torch.randn(6, 2, generator=g)
path, log_pi = [x], -0.5 * x.square().sum(-1) - math.log(2 * math.pi)
for k in range(5, 0, -1):
    sigma = after.log_sigma[k - 1].exp()
    mu = after.mean(x, torch.tensor(k))
    x = mu + sigma * torch.randn(6, 2, generator=g)
    log_pi = log_pi - 0.5 * ((x - mu) / sigma).square().sum(-1) - 2 * sigma.log()
    log_pi = log_pi - math.log(2 * math.pi)
    path.append(x)
path = torch.stack(path[::-1])  # level 0, the data's, first
same = after.log_start(path[-1]) + after.log_policy(path).sum(0)
torch.testing.assert_close(log_pi, same, rtol=1e-4, atol=1e-3)
show("sigma_5 .. sigma_1 before", before.log_sigma.exp().flip(0), digits=2)
show("sigma_5 .. sigma_1 after GCD", after.log_sigma.exp().flip(0), digits=2)

# %% [markdown]
# The entropy $H(\pi(x_0))$ of the end point is an integral over all paths. It has a lower bound by *any* backward kernel $\tilde q(x_{1:T}|x_0)$,
#
# $$H(\pi(x_0)) \ge \mathbb E_\pi\big[\log \tilde q(x_{1:T}|x_0) - \log \pi(x_{0:T})\big],$$
#
# tight when $\tilde q$ is the path's true posterior. The papers use a bound of this kind with a fixed random walk; ours is *learned* by maximum likelihood on the sampler's own paths.
# With it, each path has a weight, $\log w = -E(x_0)/\tau + \log\tilde q - \log\pi$, and
#
# $$\mathbb E_\pi[w] = Z \quad\text{for any } \tilde q, \qquad \mathbb E_\pi[\log w] \le \log Z .$$
#
# So the sampler, trained to push $\mathbb E[\log w]$ up, hands us $\log Z$ as a by-product. Check it against the grid:

# %%
with torch.no_grad():
    many = after.path(2 * N, generator=g)
    log_w = path_log_weight(energy(many.x[0]), model.backward(many.x).sum(0), many.log_prob)
    cells, area = grid()
    log_z = torch.logsumexp(-energy(cells).flatten(), 0) + math.log(area)
by_paths = torch.logsumexp(log_w, 0) - math.log(len(log_w))
show("log Z on the grid, by path weights, and E[log w]", [log_z, by_paths, log_w.mean()])
assert abs(by_paths - log_z) < 0.15 and log_w.mean() < log_z

# %% [markdown]
# **Question 5: the algorithm.** Each update, on fresh paths of the sampler:
#
# 1. *Backward kernel*: one step of maximum likelihood on the paths.
# 2. *Sampler*: the cost of the actions from level $k$ on is $C_k = E(x_0)/\tau + \sum_{j\le k}[\log\pi(x_{j-1}|x_j) - \log\tilde q(x_j|x_{j-1})]$. The policy gradient is
#    $\sum_k (C_k - V(x_k, k))\,\nabla\log\pi(x_{k-1}|x_k)$, with the advantage centred over the batch (so that $E + c$ changes nothing) and a **baseline** $V$ regressed on $C_k$.
#    Alternatives, by one word of the configuration: back-propagation through the five steps (`bptt`), or dynamic programming through $V$ (`dp`, the follow-up paper's).
# 3. *Energy*: $\mathbb E_p[E] - \sum_i v_i E(x_0^i)$ with $v = 1/n$ (the papers') or $v = \mathrm{softmax}(\log w)$, which makes it the exact gradient of maximum likelihood (ours).
#
# Also: pretrain the sampler as an ordinary diffusion model; moving averages of everything; Fourier features in the energy; a learning rate of the energy that fits the
# negatives: 2e-3 with weights, 2e-4 without. What each is worth stands in `data/results/gcd_ablation.md`.
#
# A short live run from the pretrained sampler and an *untrained* energy:

# %%
config = replace(gcd_preset("8gaussians"), pretrain_steps=0, warm_up=50)
fabric = make_fabric()
state = build_state(config, fabric)
state.sampler.load_state_dict(before.state_dict())
with torch.no_grad():
    log_p = truth.log_prob(cells)
    start = kl_on_grid(log_p, -state.energy(cells)).item()
for metrics in train_gcd(fabric, state, config):
    if state.step % max(1, UPDATES // 5) == 0:
        show(f"update {state.step}: effective share of the weights", metrics["ess"])
    if state.step == UPDATES:
        break
with torch.no_grad():
    show("KL(p || q) before and after", [start, kl_on_grid(log_p, -state.energy(cells)).item()])

# %% [markdown]
# ## 5 · Eight Gaussians in five steps
#
# The full run of 1500 updates takes about a minute on one core:
# `ebmlearn train gcd --data 8gaussians --out runs/gcd`. Here are its shipped weights.

# %% tags=["figure"] alt="Three clouds of points in the plane. Left, the data: eight round clusters on a circle. Middle, the five-step diffusion sampler before GCD: neighbouring clusters are smeared into one another, nearly a ring. Right, after GCD: eight clean clusters, as in the data."
fig, axes = plt.subplots(1, 3, figsize=(10.0, 3.4), sharex=True, sharey=True)
clouds = {"data": truth.sample(2000, generator=g), "T = 5 before": before.sample(2000, generator=g)}
clouds["T = 5 after GCD"] = after.sample(2000, generator=g)
for ax, (title, cloud) in zip(axes, clouds.items()):
    points(cloud, ax, size=2)
    ax.set(title=title, xlim=(-5, 5), ylim=(-5, 5))

# %% tags=["figure"] alt="Two maps on the plane. Left, minus log of the true density: eight wells on a circle. Right, the energy learned by GCD: the same eight wells, equally deep and round, and around them an uneven plateau with shallow dents."
fig, axes = plt.subplots(1, 2, figsize=(8.6, 3.6))
for ax, (title, one) in zip(axes, {r"$-\log p$": truth, "energy of GCD": energy}.items()):
    energy_map(one, ax, extent=(-5, 5, -5, 5))
    ax.set(title=title)

# %%
report = report_points(truth, after, energy, model.backward, n=N, pairs=budget(5, smoke=2))
early = report_points(truth, before, energy, model.backward, n=N, pairs=budget(5, smoke=2))
show("sliced Wasserstein: before, after, floor", [early["sw"], report["sw"], report["floor"]])
show("AUC of data against uniform: energy, true density", [report["auc"], report["auc_true"]])
show("KL(p || exp(-E)/Z) on a grid", report["kl"])
show("held-out log-likelihood: energy, truth", [report["ll"], report["ll_true"]])
assert report["sw"] < 0.6 * early["sw"] and report["auc"] > 0.88 and report["kl"] < 0.12

# %% [markdown]
# **Question 6: why does fine-tuning help a five-step sampler?** Read the numbers. The *floor* is the distance between two fresh samples of the data; no sampler is better. Before GCD the points between the clusters
# are averages: from far out, the best *mean* prediction of $x_0$ lies between the modes, and five steps are too few to decide later. After GCD the first action has
# become noisier ($\sigma_5$ above): it *chooses* a mode, and the other four travel there. The denoising loss could not find this; it fixes each step's target in advance. And
# the energy's view of the end points is what told the sampler which points were wrong.
#
# ### Two kinds of negatives: a trade-off
# Means over seeds from `data/results/gcd_2d.csv` (`python -m experiments.ablate_gcd`). *Samples* are sliced Wasserstein distances to the data. The last two settings differ in the negatives alone:


# %%
def table(name):
    """The rows of a stored table, numbers as floats where they are."""
    with open(resource(f"data/results/{name}.csv"), newline="") as file:
        rows = list(csv.DictReader(file))
    return [{k: v if k == "setting" or v == "" else float(v) for k, v in r.items()} for r in rows]


def means(rows, setting, names):
    """Mean and standard error over seeds."""
    out = []
    for name in names:
        v = torch.tensor(
            [r[name] for r in rows if r["setting"] == setting and r.get(name, "") != ""],
            dtype=torch.float64,
        )
        error = v.std() / math.sqrt(len(v)) if len(v) > 1 else torch.tensor(math.nan)
        out += [v.mean().item(), error.item()]
    return out


plane = table("gcd_2d")
for setting in ("weighted", "weighted, wide bowl", "plain, wide bowl"):
    sw, sw_se, sir, sir_se, kl, kl_se = means(plane, setting, ("sw", "sir", "kl"))
    show(f"{setting}: samples, error", [sw, sw_se])
    show(f"{setting}: samples resampled by w, error", [sir, sir_se])
    show(f"{setting}: KL of the energy, error", [kl, kl_se])

# %% [markdown]
# With plain negatives the only equilibrium has $\pi = p$, so the samples are the best, and what the bound on the entropy misses goes into the *energy*. With weighted
# negatives the energy is fitted by maximum likelihood whatever the sampler does, so the density is right and the miss stays in the *sampler*; resampling by $w$ gives it back.
#
# A mean hides its seeds. The distance of the samples in units of the floor, run by run:

# %%
runs = [r for r in plane if r["setting"] == "weighted"]
show("weighted: samples / floor, by seed", [r["sw"] / r["floor"] for r in runs], digits=2)
show("weighted: KL of the energy, by seed", [r["kl"] for r in runs])

# %% [markdown]
# Four runs stay below twice the floor, one does not; the densities agree within 0.003. The sampler is the player that varies.
#
# ## 6 · What goes wrong, and how you see it
#
# **The energy runs away.** With plain negatives and an energy that learns five times too fast, the energy digs holes before the sampler can answer. The stored
# logs are of real runs (`python -m experiments.ablate_gcd --job "ablation|plain, energy rate 1e-3|0"`). The tell-tale is the same as in lesson 07: the gap.

# %% tags=["figure"] alt="The gap between the energies of samples and data against the update, for three runs, on an axis that is linear near zero and logarithmic beyond. Weighted negatives stay near zero, plain negatives at rate 2e-4 settle there after a first swing of ten; plain negatives at rate 1e-3 swing between plus and minus a hundred thousand until the run stops at update 750."
with open(resource("data/results/gcd_logs.csv"), newline="") as file:
    logs = list(csv.DictReader(file))
fig, ax = plt.subplots(figsize=(8.0, 3.2))
styles = {
    "weighted": ("-", GREEN),
    "plain": ("--", BLUE),
    "plain, energy rate 1e-3": ("-.", ORANGE),
}
for setting, (style, color) in styles.items():
    rows = [r for r in logs if r["setting"] == setting and float(r["log_z"]) != 0]
    gap = [float(r["e_neg"]) - float(r["e_pos"]) for r in rows]
    ax.plot([int(r["step"]) - 2500 for r in rows], gap, style, color=color, label=setting)
ax.set(xlabel="update of the game", ylabel="E(samples) - E(data)", yscale="symlog")
ax.legend()

# %% [markdown]
# **Good samples, useless energy.** Take the entropy away and bound the critic ($\gamma = 1$): a conventional integral-probability-metric critic at the same budget. Its samples
# beat the pretrained ones. Its energy is no density: where sampler and data agree it has, as in section 2, nothing left to say, and elsewhere nothing holds it (the right map below).
#
# **Wells where nobody looks.** The energy is known only where data or sampler have been. Outside, the network may do anything, and all that holds it is the bowl $c\,|x|^2$.
# With $c = 1/18$ in the place of $1/8$ everything looks right (AUC 0.903, good samples) until one looks at the whole plane:

# %% tags=["figure"] alt="Three maps on a square of half width 7. Left, the energy of GCD: eight deep wells, with shallow dents farther out. Middle, the same with a wider bowl: the dents outside are deeper, some almost as blue as the wells. Right, the critic trained without entropy: a flat disc with irregular ripples inside a rising rim; the eight clusters cannot be made out."
ipm, wide = load_pretrained("lesson14-ipm").energy, load_pretrained("lesson14-wide").energy
fig, axes = plt.subplots(1, 3, figsize=(11.0, 3.2))
maps = {"energy of GCD": energy, "with a wider bowl": wide, "critic without entropy": ipm}
for ax, (title, one) in zip(axes, maps.items()):
    energy_map(one, ax, extent=(-7, 7, -7, 7))
    ax.set(title=title)

# %%
plane_cells, _ = grid(9.0, 360)
outside = plane_cells.norm(dim=-1) > 4.5
with torch.no_grad():
    for title, one in {"true": truth, **maps}.items():
        mass = torch.softmax(-one(plane_cells).flatten(), 0).reshape(outside.shape)[outside].sum()
        show(f"{title}: mass farther out than 4.5", mass)

# %%
ablation = table("gcd_ablation")
critic_name = "IPM critic, no entropy, gamma = 1"
for setting in ("weighted", "plain", critic_name):
    sw, sw_se, auc, auc_se, kl, kl_se = means(ablation, setting, ("sw", "auc", "kl"))
    show(f"{setting}: samples, error", [sw, sw_se])
    show(f"{setting}: AUC of the energy (truth 0.903), error", [auc, auc_se])
    show(f"{setting}: KL of the energy, error", [kl, kl_se])

# %% [markdown]
# (All settings of this table have the wide bowl: its *weighted* and *plain* are *weighted, wide bowl* and *plain, wide bowl* of section 5.)
#
# **What each part buys.** Three seeds each, five for *weighted* (`data/results/gcd_ablation.md`); a run that stopped has no numbers, so count those first:

# %%
parts = (
    "weighted",
    "weighted, DP",
    "plain, DP",
    "plain, energy rate 1e-3",
    "weighted, not pretrained",
    "weighted, energy first, then frozen",
    "weighted, fixed noising kernel",
    "weighted, no Fourier features",
    "weighted, T = 3",
    "weighted, T = 10",
)
for setting in parts:
    rows = [r for r in ablation if r["setting"] == setting]
    stopped = sum(r["diverged"] == 1 for r in rows)
    sw, sw_se, kl, kl_se = means(ablation, setting, ("sw", "kl"))
    result = f"samples {sw:.3f}, KL {kl:.3f}" if stopped < len(rows) else "nothing to measure"
    show(setting, f"{stopped} of {len(rows)} stopped; {result}")

# %% [markdown]
# Dynamic programming works with weighted negatives and diverges with plain ones, in every seed. Without pretraining the game does not start. An energy that is trained
# first and then frozen leaves both players worse off: the game is what improves them. More actions are better, for samples and density alike. Judge each line by its spread in the table: three seeds are few.
#
# **Three smaller ones.** (1) *Sum or mean.* Costs as means over $d$ pixels and an energy that is a sum make the effective temperature $\tau/d$; quote which. (2) *The
# last step must be noisy.* With $\sigma_1 = 0$ the policy has no density and the entropy is $-\infty$. (3) *All the weight on few paths.* When the effective share of the weights (`ess`) falls to
# $1/n$, one path decides the energy's gradient. In the plane it starts low, as in the live run above, and ends near 0.3; on images it collapses, and plain negatives are the way.
#
# ## 7 · Larger
#
# **Question 10: what does it cost, and what is hard?** Per update: $T$ network calls to draw the paths, about $2T$ more to train the sampler on them, $T$ for the backward kernel, 2 for the energy; `benchmarks/gcd.py`
# prints the times for each way and $T$. Back-propagation *must* hold $T$ networks' activations; the policy gradient and dynamic programming could go step by step (ours takes all steps in one
# batch, for speed). The policy gradient's variance grows with the dimension of an action, so images use `bptt` or `dp`. Three learning rates must fit each other, and the ratio that works depends on the negatives and on $\gamma$; there is no likelihood to watch while tuning. On
# images the weights $w$ degenerate, so one is back at plain negatives, $\gamma > 0$, and an energy that is a critic.
#
# On the 8 x 8 digits, Frechet distances in the digits classifier's features (three seeds, `python -m experiments.gcd_digits`):

# %%
digits = table("gcd_digits")
for name in ("T = 5, before", "T = 5, DDIM", "T = 5, after (best)", "T = 10", "T = 100", "floor"):
    mean, error = means(digits, "preset", (name,))
    show(f"{name}, error", [mean, error], digits=1)

# %% [markdown]
# Five steps after the game are as good as ten without it. (DDIM takes the five steps without noise. The floor is the distance of the 500 test digits, the others are of 1297 samples: fewer
# points, a larger distance (lesson 13), so 100 steps may lie below the floor without being better than real digits.) At 28 x 28 (Fashion-MNIST, ten steps, 239 updates on a GPU) the gain so far is small: Frechet distance 0.749 before, 0.654 at the best of three looks,
# 0.731 at the end, floor 0.015 (`data/results/gcd_fashion.md`; `load_pretrained("gcd-fashion-mnist")`). Whether a longer game goes the way of the digits is open.
#
# ### Open exercise: guidance
# `after.sample(n, guidance=g, value=lambda x, k: energy(x))` moves every action by $-g\,\sigma_k \nabla E$. For which $g$ does the sliced Wasserstein distance of `before` get smaller,
# and where does it start to grow? Is guiding the pretrained sampler as good as training it?

# %% tags=["exercise"]
# Your experiment.
### BEGIN SOLUTION
from ebmlearn.metrics.divergence import sliced_wasserstein

for guidance in (0.0, 0.02, 0.05, 0.1, 0.2, 0.5):
    guided = before.sample(N, generator=g, guidance=guidance, value=lambda x, k: energy(x))
    distance = sliced_wasserstein(guided, truth.sample(N, generator=g), generator=g)
    show(f"guidance {guidance}", distance)
### END SOLUTION

# %% [markdown] tags=["solution"]
# **One answer.** A little guidance helps: points between the clusters roll into the nearest one. It cannot repair the *shares* of the clusters, and it shrinks them, because the gradient pulls without the noise that a
# Langevin step would add. So the distance has a minimum at a small $g$ and then grows. Guidance corrects the last steps; training changes the first one.

# %% [markdown] tags=["quiz"]
# 1. In the GCD objective, what happens to $\log Z$?
#    - [ ] It is estimated by the sampler in every step :: It can be, with the path weights, but the objective does not need it.
#    - [x] It cancels between the two divergences :: Both contain $+\log Z$ once, with opposite signs.
#    - [ ] It is zero at the equilibrium :: At the equilibrium $q = p$; $Z$ may be anything, the energy's level is free.
# 2. The sampler already equals the data, $\pi = p$. What is the plain gradient of the energy?
#    - [ ] Zero only if the energy is right too :: Tempting, but the gradient is $\mathbb E_p[\partial E] - \mathbb E_\pi[\partial E]$.
#    - [ ] That of maximum likelihood :: Only if $\pi = q$, or with importance weights.
#    - [x] Zero, whatever the energy :: Both means are the same. That is why the *path* to the equilibrium, and the entropy, decide what the energy becomes.
# 3. Training without entropy gave good samples. What do you know about the energy?
#    - [ ] It is a density up to $\tau$ :: With $\tau = 0$ there is no temperature at which the sampler would be its Boltzmann distribution.
#    - [x] Little: it is a critic of the *remaining* difference, flat where there is none :: It was informative earlier in training and forgot it.
#    - [ ] It is the total variation :: The *value* of the game is a distance; the function is a critic.
# 4. A backward kernel that is far from the path's posterior makes $\mathbb E_\pi[w]$
#    - [x] still $Z$, but with more variance :: The identity holds for any kernel; a bad one makes few paths carry all the weight.
#    - [ ] too small :: That is true of $\mathbb E[\log w]$, a lower bound of $\log Z$.
#    - [ ] wrong by the KL between kernel and posterior :: That KL is the gap of the bound, not of the mean weight.
# 5. Your energy runs away with plain negatives. Which change attacks the cause?
#    - [ ] A larger batch :: The trouble is a race, not noise.
#    - [ ] A larger $\tau$ :: With $\gamma = 0$, $\tau$ only rescales the energy; a larger one is the same race in other units.
#    - [x] A slower energy, or more sampler updates for each of the energy's :: The sampler must be able to answer before the holes are dug. Weighted negatives push back at once, too.

# %% [markdown]
# ## Summary
#
# - GCD: $\min_q\max_\pi \mathrm{KL}(p\|q) - \mathrm{KL}(\pi\|q)$; CD when $\pi$ is a short chain; equilibrium $\pi = q = p$.
# - It is maximum-entropy inverse reinforcement learning: reward $-E$, policy $\pi$, demonstrations $p$. The maximum-entropy policy is the Boltzmann distribution over trajectories.
# - Entropy is what turns a critic into a density. Without it: good samples, useless energy. With $\gamma > 0$: a bounded critic $-(p-\pi)/(2\gamma(p+\pi))$.
# - Path weights give $Z$, exact maximum-likelihood gradients and better samples, in low dimension.
# - The game is a race. Watch the gap.
#
# **Where the ten questions are answered:** 1 in section 1; 2 and 3 in section 2; 4, 7, 8, 9 in section 3; 5 in section 4; 6 in section 5; 10 in section 7.
#
# ## References
#
# - S. Yoon, D. Kwon, H. Hwang, Y.-K. Noh, F. C. Park, *Generalized contrastive divergence: joint training of energy-based model and diffusion model through inverse reinforcement learning* (2023).
# - S. Yoon, H. Hwang, D. Kwon, Y.-K. Noh, F. C. Park, *Maximum entropy inverse reinforcement learning of diffusion models with energy-based models* (2024).
# - Y. Fan, K. Lee, *Optimizing DDPM sampling with shortcut fine-tuning* (2023): SFT-PG.
# - J. Ho, A. Jain, P. Abbeel, *Denoising diffusion probabilistic models* (2020).
# - B. Ziebart, J. A. Bagnell, A. Dey, *Modeling interaction via the principle of maximum causal entropy* (2010).
# - R. J. Williams, *Simple statistical gradient-following algorithms for connectionist reinforcement learning* (1992).
# - G. Hinton, *Training products of experts by minimizing contrastive divergence* (2002).

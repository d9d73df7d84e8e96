# %% [markdown]
# # 00 · Set-up and tour
#
# **You will**
#
# - run a notebook of this course and know that your set-up is right;
# - see what an energy-based model is, in one picture and ten lines;
# - write your first energy, its score and a descent step, and let the checker judge them;
# - read the error messages that beginners meet first.
#
# **Time** 30 minutes. **Needs** Python, a little PyTorch (tensors, `sum`, broadcasting), gradients; a mean, a variance, the normal distribution.
#
# Run a cell with Shift+Enter. Each lesson runs from top to bottom in under a minute; cells marked *Exercise* wait for you, and
# nothing after them depends on your answer.

# %% tags=["setup"]
import textwrap

import matplotlib.pyplot as plt
import torch

from ebmlearn import budget, score
from ebmlearn.checks import lesson00 as q
from ebmlearn.course import setup, show
from ebmlearn.energies import DoubleWell, FromFunction, Gaussian, Ring
from ebmlearn.samplers import Langevin, iterate, sample, trajectory
from ebmlearn.viz import chain_path, energy_map, points
from ebmlearn.widgets import ParticleView, slider

setup(seed=0)
N_CHAINS = budget(20_000, smoke=2_000)
N_STEPS = budget(300, smoke=150)

# %% [markdown]
# ## 1 · Is my set-up right?
#
# The next cell prints three facts (the next section explains the words). If yours differ, or a cell above failed, run `ebmlearn doctor` in a terminal: it says what is missing
# and how to get it. Everything in the lessons runs on a CPU.

# %% tags=["nbval-check-output"]
x = torch.tensor([[3.0, 4.0]])
show("the energy of (3, 4) in the unit bowl", 0.5 * (x**2).sum(-1))
show("its score", score(lambda x: 0.5 * (x**2).sum(-1), x))
first, again = (torch.randn(5, generator=torch.Generator().manual_seed(1)) for _ in range(2))
show("same seed, same numbers", torch.equal(first, again))

# %% [markdown]
# ## 2 · The idea
#
# An **energy** is a function that gives every point one number, $E(x)$. Low energy means *likely*:
#
# $$p(x) = \frac{e^{-E(x)}}{Z}, \qquad Z = \int e^{-E(x)}\,dx .$$
#
# Any function will do, as long as $Z$ is finite. That freedom is the point: a neural network that outputs one number is an energy.
# The price is $Z$, which is almost never known. Most of this course is about working without it.
#
# One thing needs no $Z$ at all: the **score** $\nabla_x \log p(x) = -\nabla_x E(x)$, because $\log Z$ does not depend on $x$. It points
# where points get more likely.
#
# Here is an energy whose low ground is a ring of radius 2, written in one line.


# %%
def ring(x):
    """x[*batch, 2] -> energy[*batch]: low where |x| is near 2."""
    return (x.norm(dim=-1) - 2) ** 2 / (2 * 0.2**2)


# %% [markdown]
# ## 3 · A sampler from scratch
#
# **Langevin dynamics** walks downhill and adds noise at every step, so that it visits points in proportion to $e^{-E}$ instead of
# sitting in a minimum:
#
# $$x \leftarrow x - \eta\,\nabla E(x) + \sqrt{2\eta}\;\xi, \qquad \xi \sim \mathcal N(0, I).$$
#
# In the code, `energy(x).sum()` gives the gradients of all points in one call: the energy of a point does not depend on the other points.


# %%
def langevin(energy, x, steps, eta, generator):
    for _ in range(steps):
        x = x.detach().requires_grad_(True)
        (grad,) = torch.autograd.grad(energy(x).sum(), x)
        x = x - eta * grad + (2 * eta) ** 0.5 * torch.randn(x.shape, generator=generator)
    return x.detach()


x0 = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
by_hand = langevin(ring, x0, 200, 0.005, torch.Generator().manual_seed(1))

# %% [markdown]
# The same with `ebmlearn`: an energy is any callable, a **kernel** is one way to move, and `sample` runs it. Same seed, same numbers.

# %%
with_ebmlearn = sample(
    ring, Langevin(step_size=0.005), x0, 200, generator=torch.Generator().manual_seed(1)
)
torch.testing.assert_close(by_hand, with_ebmlearn, rtol=1e-4, atol=1e-4)

# %% [markdown]
# `sample` returns the last positions. `trajectory` keeps the whole run, `iterate` hands you one step at a time and lets your `for` loop
# do the rest. There are no callbacks to learn.

# %% tags=["figure"] alt="Two panels over the same ring-shaped energy of radius 2. Left: 500 points spread evenly around the ring. Right: the path of one chain, from a square, its start, inside the ring onto its low ground and then along it for a part of the way round, to a star, its end."
run = trajectory(
    ring, Langevin(step_size=0.005), x0[:1], 400, generator=torch.Generator().manual_seed(2)
)
fig, (left, right) = plt.subplots(1, 2, figsize=(9.0, 3.8))
energy_map(ring, left, colorbar=False)
points(with_ebmlearn, left)
left.set_title("500 chains, last positions")
energy_map(ring, right)
chain_path(torch.cat([x0[:1], run.x[:, 0]]), right)
right.set_title("one chain, 400 steps")
# %% [markdown]
# ## 4 · A check against a known answer
#
# Pictures convince too easily. In this course every sampler and every learner first meets a case whose answer is known exactly. Here: on
# the standard normal, $E(x) = x^2/2$, the Langevin chain with step $\eta$ settles at the variance
#
# $$\operatorname{Var}(x) = \frac{1}{1 - \eta/2},$$
#
# a little more than 1, and the excess is the price of a finite step (lesson 04 derives it). We run many chains and ask that the variance
# found lies within five **standard errors** of that; the standard error of an estimate is its own standard deviation. For $n$ independent normal numbers that of a variance is
# $\operatorname{Var}\sqrt{2/n}$.

# %%
eta = 0.1
x = sample(Gaussian(torch.zeros(1)), Langevin(step_size=eta), torch.randn(N_CHAINS, 1), N_STEPS)
found, expected = x.var().item(), 1 / (1 - eta / 2)
standard_error = expected * (2 / N_CHAINS) ** 0.5
assert abs(found - expected) < 5 * standard_error
show("found", found)
show("expected", expected)
show("standard error", standard_error)

# %% [markdown]
# ## 5 · Exercises, and how checks work
#
# A checker tests *properties* that every right answer has, so your code need not look like ours. It has three outcomes: `right`, `wrong`
# with a symptom, and `not attempted` while the function still returns `...`. Stuck? `q.bowl.hint()`, then `q.bowl.hint(2)`, then
# `q.bowl.solution()`.
#
# **Shapes.** Everywhere in `ebmlearn` a point is the *last* axis and all axes before it are the batch: `x[*batch, 2]` has energies
# `energy[*batch]`.
#
# ### Exercise 1: the bowl
# Return $E(x) = \tfrac12 |x|^2$ for every point of `x[*batch, 2]`.


# %% tags=["exercise"]
def bowl(x):
    """x[*batch, 2] -> energy[*batch]."""
    ### BEGIN SOLUTION
    return 0.5 * (x**2).sum(-1)
    ### END SOLUTION


# %% tags=["check"]
q.bowl.check(bowl)

# %% [markdown]
# ### Exercise 2: its score
# Return $\nabla_x \log p(x)$ for the same bowl. The shape is that of `x`. Use a formula or autograd.


# %% tags=["exercise"]
def bowl_score(x):
    """x[*batch, 2] -> score[*batch, 2]."""
    ### BEGIN SOLUTION
    return -x
    ### END SOLUTION


# %% tags=["check"]
q.bowl_score.check(bowl_score)

# %% [markdown]
# ### Exercise 3: one step of descent
# Return $x - \eta\,\nabla E(x)$ for the bowl. This is Langevin without its noise.


# %% tags=["exercise"]
def descend(x, eta):
    """Points after one step of gradient descent on the bowl's energy."""
    ### BEGIN SOLUTION
    return x - eta * x
    ### END SOLUTION


# %% tags=["check"]
q.descend.check(descend)

# %% [markdown]
# ### Open exercise: draw an energy
# Write an energy whose low ground has a shape that you like (two wells, a cross, your initial) and draw it:
# `fig, ax = plt.subplots(); energy_map(my_energy, ax);`. Sums of
# energies are *and*: try `ring(x) + something(x)`. There is no check; the picture is the check.


# %% tags=["exercise"] alt="Map of one solution: low ground along the right half of a ring, high ground left of zero."
def my_energy(x):
    """x[*batch, 2] -> energy[*batch], of your own."""
    ### BEGIN SOLUTION
    # the ring AND the right half plane: a steep wall left of zero
    return ring(x) + 10 * (-x[..., 0]).clamp(min=0) ** 2
    ### END SOLUTION


### BEGIN SOLUTION
canvas = plt.figure(figsize=(4.5, 3.8)).gca()
energy_map(my_energy, canvas)
plt.show()
### END SOLUTION

# %% [markdown] tags=["solution"]
# **One answer.** Adding a wall that is zero for $x_1 \ge 0$ and rises steeply for $x_1 < 0$ leaves the right half of the ring: where
# either term is high, the sum is high, so a point is likely only if *both* find it likely.

# %% [markdown]
# ## 6 · See it move
#
# First a still picture of what the widget below does: all chains start in the middle and spread.

# %% tags=["figure"] alt="Three panels over the ring-shaped energy: all 200 points in the middle at the start; after 5 steps a wreath of points half way out; after 100 steps spread all around the ring."
start = 0.1 * torch.randn(200, 2, generator=torch.Generator().manual_seed(3))
fig, axes = plt.subplots(1, 3, figsize=(10.0, 3.4), sharey=True)
moments = {0: start}
for step, (state, _) in enumerate(
    iterate(ring, Langevin(step_size=0.005), start, generator=torch.Generator().manual_seed(4)), 1
):
    if step in (5, 100):
        moments[step] = state.x
    if step == 100:
        break
for ax, (step, x) in zip(axes, moments.items()):
    energy_map(ring, ax, colorbar=False)
    points(x, ax, size=9, rim="black")
    ax.set_title(f"step {step}")

# %% [markdown]
# The **temperature** $T$ scales the noise, $\sqrt{2\eta T}$; the chain then samples $e^{-E/T}$ (lesson 01).
#
# Press *Start* (or the space bar); the orange point is one of the chains, with the path behind it. Try the double well: do chains cross? Then lower the temperature to 0.1, and raise it to 3.
# What happens to the spread?

# %% tags=["widget"]
wells = FromFunction(lambda x: DoubleWell(height=4.0)(x[..., :1] / 1.5) + 0.5 * x[..., 1] ** 2)
ParticleView(
    {"ring": ring, "double well": wells, "bowl": Gaussian(torch.zeros(2))},
    lambda step_size, temperature: Langevin.at_temperature(
        step_size=step_size, temperature=temperature
    ),
    start,
    controls={
        "step_size": slider(0.005, 0.0005, 0.02, label="step size", log=True),
        "temperature": slider(1.0, 0.01, 5.0, label="temperature", log=True),
    },
)

# %% [markdown]
# ## 7 · What goes wrong, and how you see it
#
# Four mistakes that everyone makes once. `ebmlearn` names each of them; the messages are worth reading once in peace.


# %%
def attempt(what, energy, x, step_size=0.1):
    try:
        sample(energy, Langevin(step_size=step_size), x, 200)
        print(f"{what}: no error\n")
    except (ValueError, FloatingPointError) as error:
        print(textwrap.fill(f"{what}: {type(error).__name__}: {error}", 100), end="\n\n")


attempt("summed over the batch too", lambda x: 0.5 * (x**2).sum(), torch.randn(5, 2))
attempt("integers as points", lambda x: 0.5 * (x**2).sum(-1), torch.tensor([[1, 2]]))
attempt(
    "the energy is cut off from x", lambda x: 0.5 * (x.detach() ** 2).sum(-1), torch.randn(5, 2)
)
attempt(
    "a step that is far too large",
    lambda x: 0.5 * (x**4).sum(-1),
    3 * torch.randn(5, 2),
    step_size=1.0,
)

# %% [markdown]
# The last one has a simple reason. Look at the bowl, where it can be computed: one step without noise
# multiplies $x$ by $1 - \eta$. That shrinks $x$ only while $0 < \eta < 2$; at $\eta = 2$ the point jumps from one side to the other for ever,
# beyond it the chain explodes. In general the limit is 2 divided by the curvature, and that of $x^4/2$, $6x^2$, grows without bound.

# %% tags=["figure"] alt="Distance from the minimum against the step number for four step sizes, on a logarithmic scale. For 0.1 and 1.5 it falls, 1.5 faster; for 2.0 it stays at 1; for 2.1 it grows tenfold in 25 steps."
fig, ax = plt.subplots(figsize=(7.0, 3.2))
t = torch.arange(26)
for step_size, style in {0.1: "-", 1.5: "--", 2.0: "-.", 2.1: ":"}.items():
    ax.plot(t, abs(1 - step_size) ** t, style, linewidth=2, label=f"$\\eta$ = {step_size}")
ax.set(yscale="log", xlabel="step", ylabel="distance from the minimum", ylim=(1e-8, 100))
ax.legend(ncols=2)
# %% [markdown]
# ## 8 · The package in one table
#
# | you want to | import from | lessons |
# |---|---|---|
# | write, combine, look up energies | `ebmlearn.energies` | 01, 02, 10 |
# | sample | `ebmlearn.samplers` | 04, 05 |
# | measure: chains, $\log Z$, distances between samples | `ebmlearn.metrics` | 02, 06, 07, 13 |
# | train | `ebmlearn.objectives`, `ebmlearn.training`, `ebmlearn train` on the command line | 07, 08, 11, 12, 14 |
# | load data | `ebmlearn.datasets` | all |
# | draw | `ebmlearn.viz`, `ebmlearn.widgets` | all |
#
# Energies are objects that combine. A sum of energies multiplies the densities; dividing by a number is a temperature:

# %% tags=["nbval-check-output"]
both = Ring(radius=2.0, width=0.2) + Gaussian(torch.tensor([2.0, 0.0]))
x = torch.tensor([[2.0, 0.0], [-2.0, 0.0]])
show("energy of the two points on the ring", both(x), digits=1)
show("at temperature 2", (both / 2.0)(x), digits=1)

# %% [markdown] tags=["quiz"]
# 1. $E(a) = 1$ and $E(b) = 3$. Which is more likely?
#    - [x] $a$, by the factor $e^{2}$ :: $p(a)/p(b) = e^{-1}/e^{-3} = e^2$; $Z$ cancels.
#    - [ ] $b$, it has more energy :: Tempting if you read energy as a grade. It is a cost: low is likely.
#    - [ ] One cannot say without $Z$ :: $Z$ is needed for $p(a)$ itself. In a ratio it cancels.
# 2. Why does the score not need $Z$?
#    - [ ] Because $Z = 1$ after training :: Nothing forces $Z$ to be 1, and training by maximum likelihood does not ask for it.
#    - [x] Because $\log Z$ does not depend on $x$ :: $\log p(x) = -E(x) - \log Z$, and the gradient in $x$ sees only the first term.
#    - [ ] Because the sampler estimates $Z$ on the way :: Langevin never forms $Z$. It uses gradients of the energy only.
# 3. A batch `x` has shape `(32, 10, 2)` and a point is a vector of length 2. What shape do its energies have?
#    - [ ] `(32,)` :: Tempting if the first axis is always *the* batch. Here all axes before the event are: 320 points.
#    - [ ] `(32, 10, 1)` :: The last axis is used up; a kept axis of 1 broadcasts wrongly later, so it is an error.
#    - [x] `(32, 10)` :: One number for each point, whatever the leading shape.
# 4. You drop the noise from Langevin. What does it do?
#    - [ ] It samples the same density, only with less variance between runs :: The noise is no nuisance: it *is* the spread of the samples.
#    - [x] It descends into a minimum and stays there :: What is left is gradient descent, the limit of temperature zero.
#    - [ ] It diverges :: Not for a small step. Descent is stable on a bowl while $0 < \eta < 2$.
# 5. A checker says `not attempted`. What does it mean?
#    - [ ] The answer is wrong :: A wrong answer is told so, with a symptom.
#    - [ ] The checker crashed :: An exception in your code is reported as `wrong`, with its message.
#    - [x] The function still returns `...` or nothing :: Often a forgotten `return`.

# %% [markdown]
# ## Summary
#
# - An energy gives each point a number; low is likely; $p(x) = e^{-E(x)}/Z$.
# - The score $-\nabla E$ needs no $Z$; Langevin follows it and adds noise $\sqrt{2\eta}$.
# - Points are last axes, batches are all axes before.
# - Trust a sampler after it has met a known answer, within five standard errors.
#
# **Next:** 01 takes $e^{-E}/Z$ apart: temperature, the partition function, and energies that have none.
#
# ## References
#
# - Y. LeCun, S. Chopra, R. Hadsell, M. Ranzato, F. Huang, *A tutorial on energy-based learning* (2006).
# - G. O. Roberts, R. L. Tweedie, *Exponential convergence of Langevin distributions and their discrete approximations* (1996).
# - Y. Song, D. P. Kingma, *How to train your energy-based models* (2021).

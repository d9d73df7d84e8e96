"""The replay buffer: chains live on, restarts are true restarts, and the buggy buffers in use elsewhere are caught."""

import copy
import io
import math

import pytest
import torch

from ebmlearn.samplers import ReplayBuffer
from tests.stats import assert_mean

N, BATCH = 1000, 100


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def ancestors_left(buffer, updates, sampler=lambda x: x, fresh=None):
    g = gen()
    fresh = torch.full((BATCH, 1), -1.0) if fresh is None else fresh
    for _ in range(updates):
        index, x = buffer.draw(fresh, generator=g)
        buffer.store(index, sampler(x))
    return len(buffer.x.unique())


def labelled(cls=ReplayBuffer, **kwargs):
    return cls(torch.arange(N, dtype=torch.float32)[:, None], **kwargs)


@pytest.mark.parametrize("updates", [10, 1000])
def test_all_ancestors_survive_an_identity_sampler(updates):
    buffer = labelled(restart_prob=0.0)
    assert ancestors_left(buffer, updates) == N
    assert torch.equal(buffer.x[:, 0], torch.arange(N, dtype=torch.float32))


class Fifo(ReplayBuffer):
    """Reads anywhere and writes to the next slots in line, as some public code does: chains are copied."""

    pointer = 0

    def store(self, index, x):
        super().store((torch.arange(len(index)) + self.pointer) % len(self), x)
        self.pointer = (self.pointer + len(index)) % len(self)


class WithReplacement(ReplayBuffer):
    """Draws slots with replacement: one of two copies is lost."""

    def draw(self, fresh, *, generator=None):
        index = torch.randint(len(self), (len(fresh),), generator=generator)
        return index, self.x[index]


def test_a_fifo_buffer_is_caught():
    left = ancestors_left(labelled(Fifo, restart_prob=0.0), 100)
    assert left < 150  # few ancestors are left of 1000


def test_every_chain_advances_by_its_own_steps():
    """With a sampler that adds 1, every slot has moved by exactly its age, and ages add up to all chain-updates."""
    buffer = ReplayBuffer(torch.zeros(N, 1), restart_prob=0.0)
    ancestors_left(buffer, 50, lambda x: x + 1)
    assert torch.equal(buffer.x[:, 0].long(), buffer.age)
    assert buffer.age.float().mean().item() == 50 * BATCH / N
    lossy = WithReplacement(torch.zeros(N, 1), restart_prob=0.0)
    ancestors_left(lossy, 50, lambda x: x + 1)
    assert lossy.x.mean().item() < 50 * BATCH / N  # work was lost


def test_slots_are_drawn_uniformly_and_distinct():
    buffer, g = ReplayBuffer(torch.zeros(50, 1), restart_prob=0.0), gen()
    counts = torch.zeros(50)
    for _ in range(400):
        index, _ = buffer.draw(torch.zeros(10, 1), generator=g)
        assert len(index.unique()) == 10
        counts[index] += 1
    error = math.sqrt(400 * 0.2 * 0.8)
    assert ((counts - 80).abs() < 5 * error).all()


@pytest.mark.parametrize("p", [0.0, 0.05, 0.5, 1.0])
def test_restart_fraction(p):
    buffer, g = ReplayBuffer(torch.zeros(N, 1), restart_prob=p), gen()
    restarted = 0
    for _ in range(50):
        index, x = buffer.draw(torch.ones(BATCH, 1), generator=g)
        restarted += int(x.sum())
        buffer.store(index, torch.zeros_like(x))
    assert buffer.restarts.item() == restarted
    assert abs(restarted / (50 * BATCH) - p) <= 5 * math.sqrt(p * (1 - p) / (50 * BATCH))


def test_restarts_come_from_the_start_distribution_and_their_age_is_zero():
    """Chains stand far away; what restarts must be a fresh draw, not the old chain with a little noise."""
    buffer, g = ReplayBuffer(torch.full((N, 2), 100.0), restart_prob=0.3), gen()
    for _ in range(10):
        index, x = buffer.draw(torch.full((BATCH, 2), 100.0), generator=g)
        buffer.store(index, x)
    index, x = buffer.draw(torch.randn(BATCH, 2, generator=g) - 3.0, generator=g)
    young = buffer.age[index] == 0
    restarted = x[:, 0] < 50
    assert restarted.sum() > 10 and (young | ~restarted).all() and (x[~restarted] == 100).all()
    assert_mean(x[restarted], -3.0)
    buffer.store(index, x)
    assert (buffer.age[index][restarted] == 1).all()


def test_stationary_age_with_restarts():
    """A chain drawn with probability q = batch/N and restarted with probability p lives on: mean age -> (1 - p)/p + 1 drawn updates."""
    p = 0.25
    buffer, g = ReplayBuffer(torch.zeros(400, 1), restart_prob=p), gen()
    total, rounds = 0.0, 300
    for t in range(rounds):
        index, x = buffer.draw(torch.zeros(200, 1), generator=g)
        buffer.store(index, x)
        if t >= 100:
            total += buffer.age.float().mean().item()
    assert total / (rounds - 100) == pytest.approx(1 / p, rel=0.05)


def test_checkpoints_are_exact():
    def advance(buffer, g, updates):
        for _ in range(updates):
            index, x = buffer.draw(torch.randn(10, 1, 4, 4, generator=g), generator=g)
            buffer.store(index, x + torch.randn(x.shape, generator=g))
        return buffer

    g = gen()
    buffer = advance(ReplayBuffer(torch.randn(40, 1, 4, 4, generator=g), restart_prob=0.1), g, 5)
    file = io.BytesIO()
    torch.save({"buffer": buffer.state_dict(), "generator": g.get_state()}, file)
    advance(buffer, g, 5)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    again, g2 = ReplayBuffer(torch.zeros(40, 1, 4, 4), restart_prob=0.1), gen(9)
    again.load_state_dict(saved["buffer"])
    g2.set_state(saved["generator"])
    advance(again, g2, 5)
    for name, value in buffer.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_the_buffer_owns_its_memory_and_carries_no_graph():
    x = torch.zeros(10, 1)
    buffer = ReplayBuffer(x, restart_prob=0.0)
    index, drawn = buffer.draw(torch.zeros(3, 1), generator=gen())
    drawn += 5
    assert buffer.x.sum() == 0
    stored = torch.ones(3, 1, requires_grad=True) * 2
    buffer.store(index, stored)
    assert x.sum() == 0 and not buffer.x.requires_grad and buffer.x.sum() == 6
    assert len(copy.deepcopy(buffer)) == len(buffer) == 10
    assert buffer.double().x.dtype == torch.float64 and buffer.age.dtype == torch.long


def test_same_seed_same_slots():
    a, b = (ReplayBuffer(torch.zeros(20, 1), restart_prob=0.5).draw(torch.ones(8, 1), generator=gen(4)) for _ in range(2))
    assert torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])


def test_errors():
    for make, match in (
        (lambda: ReplayBuffer(torch.zeros(0, 2)), "empty batch"),
        (lambda: ReplayBuffer(torch.zeros(5)), r"\[capacity, \*event\]"),
        (lambda: ReplayBuffer(torch.zeros(5, 2, dtype=torch.long)), "floating"),
        (lambda: ReplayBuffer(torch.zeros(5, 2), restart_prob=1.5), r"restart_prob in \[0, 1\]"),
    ):
        with pytest.raises(ValueError, match=match):
            make()
    buffer = ReplayBuffer(torch.zeros(5, 2))
    for fresh in (torch.zeros(6, 2), torch.zeros(0, 2), torch.zeros(3, 3)):
        with pytest.raises(ValueError, match=r"fresh of shape \[batch, 2\] with 1 <= batch <= 5"):
            buffer.draw(fresh)
    with pytest.raises(ValueError, match="one row for each slot"):
        buffer.store(torch.tensor([0, 1]), torch.zeros(3, 2))

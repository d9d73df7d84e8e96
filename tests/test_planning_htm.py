"""The networks of hallucinative topological memory: features, the bound against quadrature, shapes and errors; pictures against areas."""

import math

import pytest
import torch
from torch import nn

from ebmlearn.planning import wall_world
from ebmlearn.planning.htm import HTM, Hallucinator, PairEnergy, PictureContext, PointContext, SegmentEnergy, StateEnergy
from ebmlearn.planning.pictures import coverage, picture, random_decoys
from ebmlearn.planning.worlds import World, random_walls


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def contexts(kind, n=3):
    c = random_walls(n, generator=gen())
    if kind == "point":
        return PointContext(), c
    return PictureContext(size=16, width=4, n_summary=8), picture(wall_world(c), size=16)


KINDS = ["point", "picture"]


# Pictures


def test_coverage_is_the_area():
    world = wall_world(random_walls(5, generator=gen()))
    shown = coverage(world.boxes.double(), size=32).sum((-1, -2)) / 32**2
    inside = world.boxes.double().clamp(0, 1)
    area = (inside[..., 2] - inside[..., 0]) * (inside[..., 3] - inside[..., 1])
    assert torch.allclose(shown, area, atol=1e-12)


def test_a_picture_is_the_world_seen_through_pixels():
    """Each pixel against the share of a fine grid of points that the collision oracle calls a wall."""
    world, fine = wall_world(torch.tensor([0.37, 0.61])), 40
    shown = picture(world, size=16)[0]
    axis = (torch.arange(16 * fine) + 0.5) / (16 * fine)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    blocked = ~world.free(torch.stack([x, y], -1).reshape(-1, 2)).reshape(1, 1, 16 * fine, 16 * fine)
    assert torch.allclose(shown, nn.functional.avg_pool2d(blocked.float(), fine)[0, 0], atol=2 / fine)


def test_decoys_are_grey_behind_walls_and_far_from_them():
    c = random_walls(400, generator=gen())
    decoys = random_decoys(c, generator=gen(1))
    middle = decoys[:, 0, [0, 2]].mean(1)
    assert ((middle - c[:, 0]).abs() >= 0.1 - 1e-6).all() and ((middle > 0.1) & (middle < 0.9)).all()
    bare, shown = picture(wall_world(c)), picture(wall_world(c), decoys=decoys)
    extra = (shown - bare).sum((-1, -2, -3)) / 32**2
    assert torch.allclose(extra, torch.full_like(extra, 0.5 * 0.04), atol=1e-4)  # grey times the bar's area
    hidden = World(boxes=torch.tensor([[0.25, 0.0, 0.5, 1.0]]), discs=torch.zeros(0, 3))
    same = picture(hidden, size=8, decoys=hidden.boxes)
    assert torch.equal(same, picture(hidden, size=8))


# Features


def test_point_features_are_the_formula():
    p, c = torch.tensor([[[0.2, 0.9], [0.5, 0.5]]]), torch.tensor([[0.4, 0.6]])
    phi = PointContext(scales=(4.0, 16.0))(c, p)
    want = [2 * 0.2 - 1, 2 * 0.9 - 1, 2 * 0.4 - 1, 2 * 0.6 - 1]
    want += [math.tanh(k * d) for k in (4, 16) for d in (0.2 - 0.4, 0.9 - 0.6)]
    assert torch.allclose(phi[0, 0], torch.tensor(want), atol=1e-6) and phi.shape == (1, 2, 8)


def test_picture_features_read_the_pixel_under_the_state():
    context = PictureContext(size=8, width=1)
    code = torch.rand(2, 1, 8, 8, generator=gen())
    axis = (torch.arange(8) + 0.5) / 8
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    p = torch.stack([x, y], -1).reshape(1, 64, 2).expand(2, -1, -1)
    phi = context(code, p)
    assert torch.allclose(phi[..., 0], code.flatten(1), atol=1e-6)  # row i is y, column j is x
    assert torch.allclose(phi[..., 1:3], 2 * p - 1)
    assert torch.allclose(phi[..., 3:], torch.tensor([0.0, 0.0, -1.0, -1.0]).expand(2, 64, 4), atol=1e-5)  # middles of pixels
    between = context(code, p[:, :1] + torch.tensor([1 / 16, 0.0]))[..., 0]
    assert torch.allclose(between[:, 0], code[:, 0, 0, :2].mean(1), atol=1e-6)


# The generator


def linear_gaussian():
    """s = 1/2 + (W z + b)/2 + sigma xi with one latent: everything is Gaussian, and phi contains s linearly."""
    h = Hallucinator(PointContext(scales=()), latent_features=1, hidden_features=(), sigma=0.3).double()
    w, b = torch.tensor([0.8, -0.5], dtype=torch.float64), torch.tensor([0.1, 0.2], dtype=torch.float64)
    half = w / 2
    precision = 1 + half @ half / h.sigma**2
    with torch.no_grad():
        for layer in (h.encoder.layers[0], h.decoder.layers[0]):
            layer.weight.zero_()
            layer.bias.zero_()
        h.decoder.layers[0].weight[:, 0] = w
        h.decoder.layers[0].bias.copy_(b)
        h.encoder.layers[0].weight[0, :2] = half / (2 * h.sigma**2 * precision)  # of 2 s - 1
        h.encoder.layers[0].bias[0] = -(half @ b / 2) / (h.sigma**2 * precision)
        h.encoder.layers[0].bias[1] = -precision.log()
    return h


def evidence(h, s, c):
    """-log p(s | c) without the Gaussian's constant, by quadrature over the one latent."""
    z = torch.linspace(-9, 9, 4001, dtype=s.dtype)
    mean = h.decode(z.reshape(1, -1, 1), h.context.summary(c))[0]
    log_joint = -(s - mean).square().sum(-1) / (2 * h.sigma**2) - z.square() / 2 - 0.5 * math.log(2 * math.pi)
    return -(torch.logsumexp(log_joint, 0) + math.log(18 / 4000))


def test_the_bound_is_tight_for_the_exact_posterior_and_above_otherwise():
    h, n = linear_gaussian(), 20_000
    c = torch.tensor([[0.5, 0.4]], dtype=torch.float64)
    s = torch.tensor([0.3, 0.8], dtype=torch.float64)
    noise = torch.randn(1, n, 1, generator=gen(), dtype=torch.float64)
    with torch.no_grad():
        bound = h(s.expand(1, n, 2), c, noise)[0]
        exact = evidence(h, s, c)
        assert abs(bound.mean() - exact) < 5 * bound.std() / math.sqrt(n)
        for change, gap in ((0.0, 0.5), (1.0, 0.0)):  # another variance, then another mean as well
            h.encoder.layers[0].bias[1] = 0.0
            h.encoder.layers[0].bias[0] += change
            worse = h(s.expand(1, n, 2), c, noise)[0]
            assert worse.mean() - exact > gap + 5 * worse.std() / math.sqrt(n)


def test_hallucinations_are_reproducible_and_in_the_square():
    for kind in KINDS:
        context, c = contexts(kind)
        h = Hallucinator(context)
        a, b, other = (h.sample(c, 50, generator=gen(s)) for s in (0, 0, 1))
        assert a.shape == (3, 50, 2) and torch.equal(a, b) and not torch.equal(a, other)
        assert ((a >= 0) & (a <= 1)).all() and not a.requires_grad


# The energies


@pytest.mark.parametrize("kind", KINDS)
def test_energies_belong_to_their_own_state_and_context(kind):
    context, c = contexts(kind)
    s, t = (torch.rand(3, 5, 2, generator=gen(i)) for i in (1, 2))
    for energy, points in ((StateEnergy(context), (s,)), (PairEnergy(context), (s, t)), (SegmentEnergy(context), (s, t))):
        e = energy(*points, c)
        assert e.shape == (3, 5)
        one = energy(*(p[1:2, 3:4] for p in points), c[1:2])
        assert torch.allclose(e[1, 3], one[0, 0], atol=1e-5)


def test_the_pair_energy_sees_a_segment_and_not_only_its_ends():
    """A feature that is 1 at one place only, halfway: 3 points see it, 2 do not."""

    class Spot(PointContext):
        def forward(self, code, p):
            return ((p - 0.5).norm(dim=-1, keepdim=True) < 0.01).float().expand(*p.shape[:-1], self.n_features)

    s, t, c = torch.tensor([[[0.45, 0.5]]]), torch.tensor([[[0.55, 0.5]]]), torch.full((1, 2), 0.5)
    for kind, points, sees in (
        (PairEnergy, 3, True),
        (PairEnergy, 2, False),
        (SegmentEnergy, 3, True),
        (SegmentEnergy, 2, False),
    ):
        energy = kind(Spot(), points=points)
        elsewhere = energy(s + 0.2, t + 0.2, c)
        assert (energy(s, t, c) != elsewhere).item() == sees


def test_a_sum_of_local_energies_has_no_direction_and_grows_with_what_it_meets():
    context, c = contexts("point")
    energy = SegmentEnergy(context, points=5, strength=7.0)
    s, t = (torch.rand(3, 4, 2, generator=gen(i)) for i in (1, 2))
    assert torch.allclose(energy(s, t, c), energy(t, s, c), atol=1e-5)
    rest = energy(s, s, c) - energy.level  # a segment of one point
    local = nn.functional.softplus(energy.net(context(context.encode(c), s)).squeeze(-1) - 3)
    assert torch.allclose(rest, 7 * local, atol=1e-5)
    with pytest.raises(ValueError, match="points >= 2"):
        SegmentEnergy(context, points=1)


def model_of(kind="point"):
    context, c = contexts(kind)
    model = HTM(Hallucinator(context), StateEnergy(context), PairEnergy(context), radius=0.1)
    return model, c


def test_thresholds_choose_nodes_and_edges():
    model, c = model_of()
    raw = model.nodes(c[0], 300, prune=False, generator=gen())
    assert len(raw) == 300 and len(model.nodes(c[0], 300, generator=gen())) == 300  # infinite thresholds keep all
    e = model.state_energy(raw[None], c[:1])[0]
    model.state_threshold.copy_(e.quantile(0.4))
    kept = model.nodes(c[0], 300, generator=gen())
    assert torch.equal(kept, raw[e <= model.state_threshold]) and len(kept) == 120

    states = torch.rand(60, 2, generator=gen(3))
    everything = model.graph(c[0], states).edges()
    d = torch.cdist(states, states)
    assert len(everything) == int((d < 0.1).sum()) - 60
    energies = model.energy(states[everything[:, 0]], states[everything[:, 1]], c[0])
    model.pair_threshold.copy_(energies.median())
    edges = {tuple(e) for e in model.graph(c[0], states).edges().tolist()}
    assert edges == {tuple(e) for e, v in zip(everything.tolist(), energies) if v < model.pair_threshold}


def test_a_margin_asks_for_the_shifted_moves_as_well():
    model, c = model_of()
    s, t = torch.rand(40, 2, generator=gen(1)), torch.rand(40, 2, generator=gen(2))
    s[0] = torch.tensor([0.001, 0.999])  # shifted states stay in the square
    plain = model.energy(s, t, c[0])
    model.margin = 0.02
    by_hand = []
    for dx, dy in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        d = 0.02 * torch.tensor([float(dx), float(dy)])
        by_hand.append(model.pair_energy((s + d).clamp(0, 1)[None], (t + d).clamp(0, 1)[None], c[:1])[0])
    assert torch.allclose(model.energy(s, t, c[0]), torch.stack(by_hand).max(0).values, atol=1e-6)
    assert not torch.allclose(model.energy(s, t, c[0]), plain)
    with pytest.raises(ValueError, match="margin >= 0"):
        HTM(model.generator, model.state_energy, model.pair_energy, radius=0.1, margin=-0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_bad_input_says_what_was_expected(kind):
    model, c = model_of(kind)
    s = torch.rand(3, 4, 2)
    with pytest.raises(ValueError, match=r"expected contexts of shape .* A single context needs a leading axis"):
        model.state_energy(s, c[0])
    with pytest.raises(ValueError, match="expected contexts of shape"):
        model.nodes(c[0, ..., :1], 10)
    with pytest.raises(ValueError, match="expected contexts of shape"):
        model.nodes(c, 10)
    with pytest.raises(ValueError, match=r"expected states of shape \(3, 'n', 2\)"):
        model.state_energy(s[:2], c)
    with pytest.raises(ValueError, match="expected states of shape"):
        model.pair_energy(s, torch.rand(3, 4, 3), c)
    with pytest.raises(ValueError, match="finite"):
        model.nodes(c[0] * math.nan, 10)
    with pytest.raises(ValueError, match="finite"):
        model.energy(s[0], s[0] * math.nan, c[0])
    with pytest.raises(ValueError, match="points >= 2"):
        PairEnergy(PointContext(), points=1)
    with pytest.raises(ValueError, match="context with a summary"):
        Hallucinator(PictureContext(size=16))


def test_bad_pictures():
    for boxes, size in ((torch.zeros(2, 3), 8), (torch.zeros(2, 4), 0)):
        with pytest.raises(ValueError, match=r"expected boxes \[\*worlds, K, 4\]"):
            coverage(boxes, size=size)

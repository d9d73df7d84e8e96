"""The fast sweeps against the kernels they speed up, closed-form gradients, and each other."""

import math
import warnings

import pytest
import torch

from ebmlearn.energies import GaussianBernoulliRBM
from ebmlearn.samplers import GibbsLangevin, Langevin, MemoryGibbs, iterate, sample
from ebmlearn.samplers.sweeps import Fused, Sweeps, draw_hidden, draw_hidden_


def grbm(d=5, h=7, seed=0, scale=0.5, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    rbm = GaussianBernoulliRBM(d, h).to(dtype)
    with torch.no_grad():
        for p in rbm.parameters():
            p.copy_(scale * torch.randn(p.shape, generator=g, dtype=dtype))
    return rbm


KERNELS = [
    MemoryGibbs(),
    MemoryGibbs(memory=0.4, temperature=2.0),
    GibbsLangevin(step_size=0.3, n_inner=10),
    GibbsLangevin.released(batch_size=20, step_size=5.0),
]


@pytest.mark.parametrize("kernel", KERNELS, ids=["gibbs", "memory", "gibbs-langevin", "released"])
def test_the_chain_is_the_kernels_chain(kernel):
    rbm = grbm()
    x0 = torch.randn(50, 5, dtype=torch.float64)
    last, _ = Sweeps(rbm, kernel).run(x0, 6, generator=torch.Generator().manual_seed(1))
    expected = sample(rbm, kernel, x0, 6, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(last, expected, atol=1e-10, rtol=0)
    alone = Sweeps(rbm, kernel).positions(x0, 6, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(alone, expected, atol=1e-10, rtol=0)


def test_statistics_are_the_closed_form_gradients():
    rbm, x = grbm(), torch.randn(50, 5, dtype=torch.float64)
    got, expected = Sweeps(rbm, MemoryGibbs()).statistics(x), rbm.gradients(x)
    assert set(got) == set(expected)
    for name in got:
        torch.testing.assert_close(got[name], expected[name], atol=1e-12, rtol=0)
    # at temperature T: dE/dtheta averaged over p(z | x) of exp(-E/T)
    hot = Sweeps(rbm, MemoryGibbs(temperature=3.0)).statistics(x)
    expected = rbm.gradients(x, torch.sigmoid(rbm.logits(x) / 3))
    for name in hot:
        torch.testing.assert_close(hot[name], expected[name], atol=1e-12, rtol=0)


@pytest.mark.parametrize("burn_in", [None, 4, 1, 0])
def test_streamed_gradient_is_the_mean_over_the_states(burn_in):
    rbm, kernel = grbm(), GibbsLangevin(step_size=0.3, n_inner=4)
    x0 = torch.randn(30, 5, dtype=torch.float64)
    _, got = Sweeps(rbm, kernel).run(x0, 4, burn_in=burn_in, generator=torch.Generator().manual_seed(2))
    states, zs = [x0], []
    chain = iterate(rbm, kernel, x0, generator=torch.Generator().manual_seed(2))
    for _ in range(4):
        state, _ = next(chain)
        states.append(state.x), zs.append(state.aux.z)
    zs.append(torch.sigmoid(rbm.logits(states[-1])))
    first = 4 if burn_in is None else burn_in
    parts = []
    for x, z in list(zip(states, zs))[first:]:
        free, pair = rbm.gradients(x), rbm.gradients(x, z)
        parts.append({**free, "log_var": pair["log_var"]})  # W z of the drawn z is at hand: the only term that uses it
    for name in got:
        torch.testing.assert_close(got[name], sum(p[name] for p in parts) / len(parts), atol=1e-12, rtol=0)


def test_marginal_sweeps_are_langevin_on_the_free_energy():
    rbm = grbm()
    x0 = torch.randn(20, 5, dtype=torch.float64)
    steps = Sweeps(rbm, GibbsLangevin(step_size=0.2, n_inner=1, anneal=False), marginal=True)
    last, _ = steps.run(x0, 3, generator=torch.Generator().manual_seed(3))
    eta = tuple((0.2 * rbm.variance).tolist())
    expected = sample(rbm.marginalise(), Langevin(step_size=eta), x0, 3, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(last, expected, atol=1e-10, rtol=0)


def test_bfloat16_products_keep_the_law():
    rbm, n = grbm(dtype=torch.float32), 40_000
    kernel = MemoryGibbs()
    moments = []
    for products, seed in (("float32", 1), ("bfloat16", 2)):
        x, gradient = Sweeps(rbm, kernel, products=products).run(
            torch.zeros(n, 5), 10, generator=torch.Generator().manual_seed(seed)
        )
        moments.append((x, gradient))
    (a, ga), (b, gb) = moments
    for f in (lambda x: x, lambda x: x * x):
        error = ((f(a).var(0) + f(b).var(0)) / n).sqrt()
        assert ((f(a).mean(0) - f(b).mean(0)).abs() < 5 * error + 4e-3 * f(a).abs().mean(0)).all()  # 2^-8 is bfloat16's rounding
    for name in ga:
        assert (ga[name] - gb[name]).norm() < 0.05 * ga[name].norm() + 0.05, name


def test_in_place_and_pure_draws_agree():
    a, b, u = torch.randn(6, 4), torch.randn(4), torch.rand(6, 4)
    for dtype in (torch.float32, torch.bfloat16):
        for scale in (1.0, 0.5):
            like = torch.empty(6, 4, dtype=dtype)
            pure = draw_hidden(a.clone(), b, u, scale, like)
            assert torch.equal(pure, draw_hidden_(a.clone(), b, u, scale, torch.empty_like(like))) and pure.dtype == dtype


def test_without_a_compiler_the_fused_parts_run_eagerly_with_one_warning():
    fused = Fused(lambda x: 2 * x)
    calls = []

    def broken(x):
        calls.append(1)
        raise RuntimeError("no compiler")

    fused.call = broken
    with pytest.warns(UserWarning, match="could not be compiled"):
        assert fused(torch.ones(1)).item() == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fused(torch.ones(1)).item() == 2
    assert len(calls) == 1


def test_bad_input_is_named():
    steps = Sweeps(grbm(), MemoryGibbs())
    with pytest.raises(ValueError, match="sweeps >= 1"):
        steps.run(torch.zeros(1, 5, dtype=torch.float64), 0)
    with pytest.raises(ValueError, match="burn_in <= 3"):
        steps.run(torch.zeros(1, 5, dtype=torch.float64), 3, burn_in=4)
    with pytest.raises(ValueError, match="'float32' or 'bfloat16'"):
        Sweeps(grbm(), MemoryGibbs(), products="float16")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("products", ["float32", "bfloat16"])
def test_a_captured_graph_has_the_law_of_the_eager_sweeps(products):
    rbm, n = grbm(64, 128, dtype=torch.float32, scale=0.1).cuda(), 20_000
    x0 = torch.zeros(n, 64, device="cuda")
    out = []
    for graph, seed in ((False, 1), (True, 2)):
        steps = Sweeps(rbm, GibbsLangevin(step_size=0.3, n_inner=10), products=products, graph=graph, fuse=graph)
        g = torch.Generator("cuda").manual_seed(seed)
        for _ in range(2):  # the second call replays
            x, gradient = steps.run(x0, 10, generator=g)
        assert steps.graph == graph
        out.append((x.clone(), {k: v.clone() for k, v in gradient.items()}))
    (a, ga), (b, gb) = out
    error = ((a.var(0) + b.var(0)) / n).sqrt()
    assert ((a.mean(0) - b.mean(0)).abs() < 5 * error).all()
    assert ((a.var(0) / b.var(0)).log().abs() < 5 * math.sqrt(4 / n) + 0.01).all()
    for name in ga:
        assert (ga[name] - gb[name]).norm() < 0.1 * ga[name].norm() + 0.05, name

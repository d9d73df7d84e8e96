"""The recipe of generalized contrastive divergence: what its losses touch, exact resume, divergence, and that it works."""

import math
from dataclasses import replace

import pytest
import torch

from ebmlearn.datasets.toy import eight_gaussians
from ebmlearn.energies import FromFunction
from ebmlearn.networks import StepMLP
from ebmlearn.samplers.diffusion import Backward, DiffusionSampler
from ebmlearn.training.game import GcdConfig, build_state, gcd_preset, read_weights, training_points, write_weights
from ebmlearn.training.gcd import run_gcd, sampler_losses, train_gcd
from ebmlearn.training.gcd_report import grid, report_points, report_run
from ebmlearn.training.state import CheckpointError, Diverged, RunOptions, make_fabric, read_checkpoint, resume, run
from tests.helpers import same

TINY = GcdConfig(
    pretrain_steps=6,
    steps=8,
    batch_size=16,
    pretrain_batch_size=16,
    sampler_steps=3,
    hidden_features=(8, 8),
    fourier_features=4,
    warm_up=2,
)


@pytest.fixture(autouse=True)
def small_pool(monkeypatch):
    monkeypatch.setattr("ebmlearn.training.game.POOL", 2000)


@pytest.mark.parametrize("update", ["pg", "bptt", "dp"])
def test_interrupted_and_resumed_is_uninterrupted(update, tmp_path):
    """Bit for bit, in both phases: stop after 3, 9 and 14 updates."""
    config = replace(TINY, update=update)
    whole = run_gcd(config, RunOptions(out=tmp_path / "whole", log_every=1))
    for i, stop in enumerate((3, 9, 14)):
        fabric = make_fabric()
        state = build_state(config, fabric)
        options = RunOptions(out=tmp_path / "parts", resume=i > 0, log_every=1)
        resume(fabric, state, recipe="gcd", config=config, options=options)
        run(fabric, state, train_gcd(fabric, state, config), recipe="gcd", config=config, total=stop, options=options)
    assert state.step == whole.step == 14
    assert same(state.state_dict(), whole.state_dict())

    def rows(name):
        return [line.split(",")[:1] + line.split(",")[2:] for line in (tmp_path / name / "metrics.csv").read_text().splitlines()]

    assert rows("parts") == rows("whole")


@pytest.mark.parametrize("update", ["pg", "bptt", "dp"])
def test_the_sampler_loss_moves_the_sampler_only(update, generator):
    """No gradient reaches the energy's parameters through "pg"; "bptt" and "dp" use its input gradient with parameters frozen."""
    state = build_state(replace(TINY, update=update), make_fabric())
    config = replace(TINY, update=update)
    with torch.no_grad():
        path = state.sampler.path(16, generator=generator)
    state.energy.requires_grad_(False)
    loss, v_loss = sampler_losses(state, config, None if update == "bptt" else path)
    loss.backward()
    assert all(p.grad is None for p in state.energy.parameters())
    assert state.sampler.log_sigma.grad.abs().min() > 0
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in state.sampler.net.parameters())
    if update == "pg":
        assert all(p.grad is None or p.grad.abs().max() == 0 for p in state.value.parameters())
    if v_loss is not None:
        before = [p.grad.clone() for p in state.sampler.net.parameters() if p.grad is not None]
        state.value.zero_grad()
        v_loss.backward()
        after = [p.grad for p in state.sampler.net.parameters() if p.grad is not None]
        assert all(torch.equal(a, b) for a, b in zip(before, after))
        assert any(p.grad.abs().max() > 0 for p in state.value.parameters())


def test_dp_goes_back_through_one_step_only(generator):
    """The loss of step k has no gradient to the points of the stored path, and one to mu_k and sigma_k."""
    config = replace(TINY, update="dp")
    state = build_state(config, make_fabric())
    with torch.no_grad():
        path = state.sampler.path(16, generator=generator)
    assert not path.x.requires_grad
    loss, _ = sampler_losses(state, config, path)
    grads = torch.autograd.grad(loss, [state.sampler.log_sigma, *state.sampler.net.parameters()], allow_unused=True)
    assert grads[0].abs().min() > 0 and any(g is not None and g.abs().max() > 0 for g in grads[1:])


@pytest.mark.parametrize("update", ["pg", "bptt", "dp"])
def test_a_constant_in_the_energy_changes_no_update_of_the_sampler(update, generator):
    """Centred advantages, reparametrised paths: c drops out of the gradient exactly (to rounding)."""
    config = replace(TINY, update=update)
    state = build_state(config, make_fabric())
    with torch.no_grad():
        path = state.sampler.path(16, generator=generator)
    net = state.energy
    grads = []
    for c in (0.0, 50.0):
        state.energy = FromFunction(lambda x, c=c: net(x) + c)
        state.generator.manual_seed(3)
        loss, _ = sampler_losses(state, config, None if update == "bptt" else path)
        grads.append(
            torch.cat(
                [
                    g.flatten()
                    for g in torch.autograd.grad(
                        loss, [state.sampler.log_sigma, *state.sampler.net.parameters()], allow_unused=True
                    )
                    if g is not None
                ]
            )
        )
    assert torch.allclose(grads[0], grads[1], atol=2e-4 * grads[0].abs().max())


def test_all_updates_agree_in_expectation(generator):
    """pg and bptt estimate one gradient: |mean difference| < 5 standard errors in every entry of log sigma."""
    config = TINY
    state = build_state(config, make_fabric())
    net = StepMLP(2, 2, n_steps=4, hidden_features=(8, 8))
    state.sampler = DiffusionSampler(net, event_shape=(2,), table=(1.0, 0.8, 0.6, 0.4), last_sigma=0.5)  # mild: a small variance
    state.backward = Backward(state.sampler.alpha_bar, event_shape=(2,))
    state.energy = FromFunction(lambda x: 0.5 * (x - 1).square().sum(-1))
    draws = {"pg": [], "bptt": []}
    for _ in range(300):
        for update, found in draws.items():
            c = replace(config, update=update, batch_size=64)
            with torch.no_grad():
                path = state.sampler.path(64, generator=generator) if update == "pg" else None
            found.append(torch.autograd.grad(sampler_losses(state, c, path)[0], state.sampler.log_sigma)[0])
    pg, bptt = (torch.stack(draws[k]) for k in ("pg", "bptt"))
    se = (pg.var(0) / 300 + bptt.var(0) / 300).sqrt()
    assert ((pg.mean(0) - bptt.mean(0)).abs() < 5 * se).all()
    assert (se < 0.2 * pg.mean(0).abs().max()).all()


def test_divergence_is_said_with_its_step(tmp_path):
    config = replace(TINY, lr_energy=1e30, negatives="plain")
    with pytest.raises((Diverged, FloatingPointError), match="step"):
        run_gcd(config, RunOptions(out=tmp_path, log_every=1))
    payload = read_checkpoint(tmp_path / "last.ckpt") if (tmp_path / "last.ckpt").exists() else None
    assert payload is None or payload["state"]["step"] < 14


def test_changed_hyperparameters_need_an_override(tmp_path):
    run_gcd(TINY, RunOptions(out=tmp_path))
    with pytest.raises(CheckpointError, match="temperature"):
        run_gcd(replace(TINY, temperature=2.0, steps=9), RunOptions(out=tmp_path, resume=True, override=("steps",)))
    state = run_gcd(replace(TINY, steps=9), RunOptions(out=tmp_path, resume=True, override=("steps",)))
    assert state.step == 15


def test_weights_start_another_run(tmp_path):
    first = run_gcd(replace(TINY, steps=0), RunOptions(out=tmp_path / "a"))
    path = str(tmp_path / "a" / "sampler.safetensors")
    second = build_state(replace(TINY, pretrain_steps=0, init=path), make_fabric())
    ours, theirs = first.trained[0].net.state_dict(), second.trained[0].net.state_dict()
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)
    write_weights(first.trained[0], tmp_path / "half.safetensors", half=True)
    half = read_weights(str(tmp_path / "half.safetensors"))
    assert max((half[f"net.{k}"] - v).abs().max().item() for k, v in ours.items()) < 0.01


def test_frozen_energy_and_waiting_sampler():
    config = replace(TINY, pretrain_steps=0, steps=6, warm_up=3, freeze_energy_at=3)
    fabric = make_fabric()
    state = build_state(config, fabric)
    copies = []
    for _ in zip(range(6), train_gcd(fabric, state, config)):
        copies.append([torch.cat([p.detach().flatten().clone() for p in m.parameters()]) for m in (state.sampler, state.energy)])
    assert torch.equal(copies[0][0], copies[2][0]) and not torch.equal(copies[2][0], copies[3][0])
    assert not torch.equal(copies[1][1], copies[2][1]) and torch.equal(copies[2][1], copies[5][1])


def test_without_entropy_the_kernel_does_not_matter(generator):
    """The critic of an integral probability metric: the sampler's loss is mean E(x_0) and nothing else."""
    config = replace(TINY, entropy=False, update="bptt")
    state = build_state(config, make_fabric())
    loss = sampler_losses(state, config, None)[0]
    state.generator.manual_seed(1000)
    with torch.no_grad():
        x = state.sampler.path(16, generator=state.generator).x[0]
    assert loss.item() == pytest.approx(state.energy(x).mean().item(), rel=1e-5)


@pytest.mark.parametrize("backward", ["learned", "forward", "walk"])
def test_every_backward_kernel_trains(backward):
    config = replace(TINY, backward=backward, pretrain_steps=0)
    fabric = make_fabric()
    state = build_state(config, fabric)
    start = [p.detach().clone() for p in state.backward.parameters()]
    for _, metrics in zip(range(3), train_gcd(fabric, state, config)):
        assert all(math.isfinite(float(v)) for v in metrics.values())
    moved = [not torch.equal(a, b) for a, b in zip(start, state.backward.parameters())]
    assert any(moved) == (backward != "forward")


@pytest.mark.parametrize(("data", "update"), [("digits", "bptt"), ("digits", "dp"), ("digits", "pg")])
def test_images_train(data, update):
    config = replace(
        gcd_preset(data), width=8, energy_width=8, pretrain_steps=2, steps=2, batch_size=8, pretrain_batch_size=8, table=20,
        sampler_steps=3, warm_up=0, update=update, backward="learned" if update == "pg" else "forward",
    )  # fmt: skip
    fabric = make_fabric()
    state = build_state(config, fabric)
    for _, metrics in zip(range(4), train_gcd(fabric, state, config)):
        assert all(math.isfinite(float(v)) for v in metrics.values())
    assert state.trained[0].sample(2).shape == (2, 1, 8, 8)
    assert training_points(data).min() == -1 and training_points(data).max() == 1


def test_presets_and_errors():
    assert gcd_preset("25gaussians").update == "pg" and gcd_preset("digits").gamma > 0
    for wrong in ({"update": "sgd"}, {"negatives": "langevin"}, {"backward": "none"}):
        with pytest.raises(ValueError, match="to be one of"):
            GcdConfig(**wrong)
    with pytest.raises(ValueError, match="temperature > 0"):
        GcdConfig(temperature=0.0)


def test_report_of_the_truth(generator):
    """The true density as the energy, scaled and shifted: KL 0, held-out likelihood the truth's, AUC the ideal one; w estimates its Z."""
    truth = eight_gaussians()
    state = build_state(replace(TINY, hidden_features=(16, 16)), make_fabric())
    sampler = state.trained[0]
    with torch.no_grad():
        sampler.log_sigma.fill_(math.log(1.5))
    energy = FromFunction(lambda x: 2 * truth(x) + 3)
    report = report_points(
        truth, sampler, energy, Backward(sampler.alpha_bar, event_shape=(2,)), temperature=2.0, n=2000, pairs=2
    )
    assert report["kl"] == pytest.approx(0, abs=1e-4)
    assert report["ll"] == pytest.approx(report["ll_true"], abs=1e-3)
    assert report["auc"] == report["auc_true"] == pytest.approx(0.905, abs=0.015)
    assert report["log_z_grid"] == pytest.approx(-1.5, abs=1e-3)
    assert report["floor"] < 0.25 < report["sw"]
    x, area = grid(3.0, 10)
    assert x.shape == (10, 10, 2) and area == pytest.approx(0.36)


@pytest.mark.slow
def test_eight_gaussians(monkeypatch):
    """The command's setting, one seed: samples near their floor, an energy that is the density, log Z by paths as on the grid.

    Seen with two seeds: distance 1.5 and 1.6 times the floor and 0.45 times the start, AUC 0.903, KL 0.020, log Z within 0.04.
    """
    monkeypatch.setattr("ebmlearn.training.game.POOL", 200_000)
    report = report_run(gcd_preset("8gaussians"), seed=0)
    assert report["sw"] < 2.5 * report["floor"] and report["sw"] < 0.6 * report["sw_start"]
    assert report["auc"] >= 0.89 and report["auc_true"] == pytest.approx(0.905, abs=0.01)
    assert report["kl"] <= 0.08
    assert abs(report["log_z_paths"] - report["log_z_grid"]) <= 0.1
    assert report["ess"] > 0.12
    assert report["ll"] > report["ll_true"] - 0.08


def test_shipped_eight_gaussians():
    """The weights of lesson 14 keep what their card says."""
    from ebmlearn.pretrained import load_pretrained, read_card

    model = load_pretrained("lesson14-8gaussians")
    report = report_points(eight_gaussians(), model.sampler, model.energy, model.backward, n=5000, pairs=3)
    said = read_card("lesson14-8gaussians")["results"]
    assert report["kl"] == pytest.approx(said["kl"], abs=1e-3) and report["auc"] == pytest.approx(said["auc"], abs=0.01)
    assert report["log_z_grid"] == pytest.approx(said["log_z_grid"], abs=1e-3)
    assert report["sw"] < 2.5 * report["floor"]
    assert 0 <= model(torch.tensor([[0.0, 0.0]])).item() - model(torch.tensor([[4 / math.sqrt(2), 0.0]])).item()


def test_shipped_models_round_trip(tmp_path):
    """Written, hashed, read back by `load_pretrained`: the same samples, energies and path densities; a changed byte is refused."""
    from ebmlearn.pretrained import WeightsError, load_pretrained
    from ebmlearn.training.gcd_weights import export_gcd, sampled

    state = build_state(TINY, make_fabric())
    weights = {}
    for name, module in zip(("sampler", "energy", "backward"), state.trained):
        weights[name] = tmp_path / f"{name}.st"
        write_weights(module, weights[name])
    export_gcd(tmp_path / "card", weights, TINY, (2,), {"data": "8gaussians", "licence": "MIT"})
    model = load_pretrained(str(tmp_path / "card"))
    sampler, energy, backward = state.trained
    x = sampler.sample(5, generator=torch.Generator().manual_seed(1))
    assert torch.equal(sampled(model, 5, generator=torch.Generator().manual_seed(1)), x)
    path = torch.randn(4, 5, 2)
    assert torch.equal(model.energy(x), energy(x)) and torch.equal(model(x), energy(x) / TINY.temperature)
    assert torch.equal(model.backward(path), backward(path)) and model.config == TINY
    file = tmp_path / "card" / "energy.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    with pytest.raises(WeightsError, match="SHA-256"):
        load_pretrained(str(tmp_path / "card"))
    with pytest.raises(ValueError, match="players"):
        export_gcd(tmp_path / "card", {"critic": file}, TINY, (2,), {})

"""Every command of a training run at tiny size on archives in CIFAR-10's format: train, stop, resume, sample, evaluate, export, load."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ebmlearn import cli, cli_runs, cli_train
from ebmlearn.pretrained import WeightsError, load_pretrained, pretrained_names
from ebmlearn.training import evaluate, weights
from ebmlearn.training.evaluate import Judge
from ebmlearn.training.game import gcd_preset
from ebmlearn.training.samples import Trained, load_trained
from ebmlearn.training.state import CheckpointError, RunOptions, make_fabric, read_checkpoint, resume, save_atomic
from tests.helpers import fake_cifar

SIZES = {
    "clel": "--steps 4 --log-every 1",
    "gcd": "--pretrain-steps 2 --steps 2 --log-every 1",
    "rbm": "--steps 4 --log-every 1",
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    fake_cifar(root)
    return root


@pytest.fixture
def run(archive, monkeypatch, capsys):
    monkeypatch.setenv("EBMLEARN_DATA", str(archive))

    def call(words, *paths):
        code = cli.main([*words.split(), *map(str, paths)])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("recipe", SIZES)
def test_from_training_to_a_shipped_model(recipe, run, tmp_path):
    out = tmp_path / "run"
    train = f"train {recipe} --data cifar10 --preset tiny {SIZES[recipe]} --accelerator cpu --devices 1 --precision bf16-mixed"
    code, text, err = run(f"{train} --checkpoint-minutes 0 --max-minutes 0.00001 --out", out)
    assert code == 0 and "1 updates" in text, err  # out of time after one update, with a checkpoint
    code, text, err = run(f"{train} --resume --max-minutes 5 --out", out)
    assert code == 0 and "4 updates" in text, err
    assert [int(r["step"]) for r in rows_of(out / "metrics.csv")] == [1, 2, 3, 4]
    code, _, err = run(f"{train} --out", out)
    assert code == 2 and "--resume" in err
    code, _, err = run(f"sample --from {out} --n 3 --out", tmp_path / "x.png")
    assert code == 0 and (tmp_path / "x.png").stat().st_size > 100

    code, text, err = run(
        f"evaluate --from {out} --n 20 --outside cifar10 --batch 8 --features",
        "cifar10-classifier" if recipe == "gcd" else "none",
    )
    assert code == 0 and "floor" in text, err
    found = json.loads((out / "evaluation" / "step00000004.json").read_text())
    assert (found["step"], found["n"], found["recipe"]) == (4, 20, recipe)
    distance = "frechet" if recipe == "gcd" else "energy_distance"
    assert {f"samples_{distance}", f"floor_{distance}", f"noise_{distance}"} <= set(found)
    assert any(k.startswith("auroc_patch") for k in found) and any(k.startswith("auroc_cifar10") for k in found)
    assert (out / "evaluation" / "step00000004.png").exists()
    assert rows_of(out / "evaluation" / "evaluation.csv")[0]["step"] == "4"

    code, text, err = run(f"export --from {out} --name {recipe}-cifar10-tiny --out", tmp_path / "shipped")
    assert code == 0 and ".safetensors" in text, err
    card = json.loads((tmp_path / "shipped" / "card.json").read_text())
    assert card["results"] == found and card["licence"] == "MIT" and card["limits"] and card["hours"] >= 0
    assert card["command"].startswith(f"ebmlearn train {recipe} --data cifar10") and card["commit"] and "CPU" in card["device"]
    assert len(card["sessions"]) == 2 and [s["last_step"] for s in card["sessions"]] == [1, 4]
    text = (tmp_path / "shipped" / "card.md").read_text()
    for must in (card["command"], "hours", "floor_", "auroc_", "Licence", "Limits", "not recorded"):
        assert (must in text) == (must != "not recorded"), must
    shipped, own = load_pretrained(str(tmp_path / "shipped")), load_trained(out / "last.ckpt")
    x = torch.rand(4, 3, 32, 32)
    energy = {"clel": lambda m: m.energy(), "gcd": lambda m: m.energy, "rbm": lambda m: m}[recipe]
    assert torch.allclose(
        energy(shipped)(x), energy(own.model)(x), rtol=0.02, atol=0.05 * float(energy(own.model)(x).abs().mean())
    )
    code, _, err = run(f"export --from {out} --name again --out", tmp_path / "shipped")
    assert code == 2 and "holds a model already" in err


def test_points_are_judged_without_a_network(run, tmp_path):
    code, _, err = run("train score --data 8gaussians --steps 2 --batch-size 16 --hidden-features 8 --out", tmp_path / "run")
    assert code == 0, err
    code, text, err = run("evaluate --n 50 --from", tmp_path / "run")
    assert code == 0 and "samples_sliced_wasserstein" in text and "floor_energy_distance" in text, err
    code, _, err = run(f"export --from {tmp_path / 'run'} --name", "x")
    assert code == 2 and "weights are shipped of clel, gcd, rbm" in err


def test_bad_requests_say_what_to_do(run, tmp_path):
    for words, expected in (
        ("train rbm --data digits --precision 16-true --out", "knows the precisions 32-true, bf16-mixed"),
        ("train gcd --data digits --preset enormous --out", "there are default, tiny"),
        ("evaluate --from", "no checkpoint at"),
    ):
        code, _, err = run(words, tmp_path / "nothing")
        assert code == 2 and expected in err and err.count("\n") == 1
    code, _, err = run("train clel --data digits --preset tiny --steps 1 --tensorboard --out", tmp_path / "board")
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        assert code == 2 and "pip install tensorboard" in err
    else:
        assert code == 0 and list((tmp_path / "board" / "tensorboard").glob("events*"))


@pytest.mark.parametrize(
    "recipe, place, expected",
    [
        ("clel", "ebmlearn.training.clel.build_state", "--batch-size 4.*--buffer-size"),
        ("gcd", "ebmlearn.training.gcd.build_state", "--batch-size 4.*--sampler-steps"),
        ("rbm", "ebmlearn.training.rbm.build", "--batch-size 8 and --n-chains 8.*--n-hidden"),
    ],
)
def test_out_of_memory_says_which_setting_to_lower(recipe, place, expected, run, tmp_path, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB")

    monkeypatch.setattr(place, full)
    code, _, err = run(f"train {recipe} --data digits --preset tiny --out", tmp_path / "run")
    assert code == 2 and err.count("\n") == 1 and re.search(expected, err), err


def test_every_command_of_the_page_on_training_can_be_given(run, monkeypatch):
    """The flags of docs/training.md exist: each command is read as it stands there; what it would start is not started."""
    given = []
    monkeypatch.setattr(
        cli_train, "_with_progress", lambda run, config, options, fabric: given.append(options) or SimpleNamespace(step=0)
    )
    monkeypatch.setattr(
        "ebmlearn.training.state.make_fabric", lambda **more: SimpleNamespace(global_rank=0, device=torch.device("cpu"))
    )
    monkeypatch.setattr("ebmlearn.training.evaluate.checkpoints", lambda *_, **__: [])
    page = (Path(__file__).parent.parent / "docs" / "training.md").read_text()
    blocks = "\n".join(re.findall(r"```\n(.*?)```", page, re.S)).replace("\\\n", " ")
    inline = [
        line
        for line in re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", page, flags=re.S))
        if line.startswith(("ebmlearn train", "torchrun"))
    ]
    lines = [line.split("#")[0] for line in [*blocks.splitlines(), *inline]]
    commands = [line[re.search(r"\bebmlearn\b", line).end() :].split() for line in lines if re.search(r"\bebmlearn\b", line)]
    assert len(commands) >= 11
    for words in commands:
        if words[0] == "train" and "--help" not in words:
            assert cli.main([*words, "--data", "digits"] if "fashion_mnist" in words else words) == 0, words
        elif words[0] in ("evaluate", "export"):
            target = {"evaluate": cli_runs.Evaluate, "export": cli_runs.Export}[words[0]]
            assert cli_runs._parse(target, words[1:], words[0]).source.name == "base"
    assert {str(o.out) for o in given} >= {"runs/clel-cifar10-base", "runs/gcd-cifar10", "runs/large", "runs/two"}
    assert all(o.command.startswith("ebmlearn train ") for o in given)


def test_a_preset_that_is_not_shipped_names_its_command():
    assert "clel-cifar10-huge" not in pretrained_names()
    with pytest.raises(WeightsError, match="unknown model 'clel-cifar10-huge'"):
        load_pretrained("clel-cifar10-huge")
    with pytest.raises(WeightsError, match="ebmlearn train rbm --data cifar10 --preset paper .* && ebmlearn export"):
        load_pretrained("rbm-cifar10-paper")


def trained(draw, step=1, **more):
    return Trained(recipe="toy", config=gcd_preset("digits", "tiny"), step=step, model=None, draw=draw, **more)


def test_the_judge_puts_training_images_at_the_floor_and_noise_far_away():
    net = load_pretrained("digits-classifier")
    judge = Judge("digits", features=net.features, logits=net, n=300)
    again = trained(lambda n, g: judge.train[torch.randint(len(judge.train), (n,), generator=g)])
    ring = trained(
        lambda n, g: judge.train[:1].expand(n, -1, -1, -1).clone(), scores={"mean": lambda x: -(x.mean((1, 2, 3)) - 0.3).abs()}
    )
    same, _ = evaluate.evaluate(again, judge, batch=120)
    one, _ = evaluate.evaluate(ring, judge, outside={"white": torch.ones(300, 1, 8, 8)})
    assert same["samples_frechet"] < same["floor_frechet"] < 25 < 100 < same["noise_frechet"]
    assert abs(same["samples_kernel"]) < 0.1 * same["noise_kernel"]
    assert same["samples_precision"] > 0.8 and same["samples_recall"] > 0.8
    assert one["samples_recall"] < 0.1 and one["samples_class_entropy"] < 0.5 < same["samples_class_entropy"]
    assert one["auroc_white_mean"] == 1.0 and abs(one["auroc_mirrored_mean"] - 0.5) < 0.05
    broken = trained(lambda n, g: torch.full((n, 1, 8, 8), float("nan")))
    with pytest.raises(FloatingPointError, match="step 1 are not finite"):
        evaluate.evaluate(broken, judge)


def test_watching_yields_each_new_checkpoint_until_the_run_is_complete(tmp_path, monkeypatch):
    steps = iter([3, 4, 6])
    monkeypatch.setattr(evaluate, "load_trained", lambda path, device: trained(None, step=int(path.read_text())))
    config = replace(gcd_preset("digits", "tiny"), pretrain_steps=2, steps=4)
    monkeypatch.setattr(Trained, "total", config.steps + config.pretrain_steps)

    def new(_):
        (tmp_path / "next").write_text(str(next(steps)))
        (tmp_path / "next").replace(tmp_path / "last.ckpt")

    monkeypatch.setattr(evaluate.time, "sleep", new)
    seen = [t.step for t in evaluate.checkpoints(tmp_path, device=torch.device("cpu"), watch=True)]
    assert seen == [3, 4, 6]
    assert [t.step for t in evaluate.checkpoints(tmp_path, device=torch.device("cpu"), watch=False)] == [6]
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="no checkpoint"):
        list(evaluate.checkpoints(tmp_path / "nowhere", device=torch.device("cpu"), watch=False))


def test_large_weights_are_split_and_put_together_again(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "LIMIT", 3000)
    tensors = {f"layer{i}": torch.randn(20, 20) for i in range(6)} | {"bias": torch.randn(7)}
    slim = weights.slim(tensors)
    sums = weights.write_tensors(tmp_path, slim) | weights.write_tensors(tmp_path, {"a": torch.ones(3)}, name="other")
    assert [f for f in sums if f.startswith("weights")] == [f"weights-{i}-of-2.safetensors" for i in (1, 2)]
    again = weights.read_tensors(tmp_path, sums)
    assert again.keys() == slim.keys() and all(torch.equal(again[k], slim[k]) for k in slim)
    assert torch.equal(again["bias"], tensors["bias"]) and again["layer0"].dtype == torch.bfloat16
    assert list(weights.read_tensors(tmp_path, sums, name="other")) == ["a"]
    file = tmp_path / "weights-2-of-2.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    with pytest.raises(ValueError, match="weights-2-of-2.safetensors does not have the hash"):
        weights.read_tensors(tmp_path, sums)
    with pytest.raises(ValueError, match=r"names no critic.safetensors"):
        weights.read_tensors(tmp_path, sums, name="critic")


def test_another_number_of_processes_is_refused(tmp_path):
    from ebmlearn.training.score import ScoreConfig, run_score

    config = ScoreConfig(steps=1, batch_size=8, hidden_features=(8,))
    state = run_score(config, RunOptions(out=tmp_path))
    save_atomic(tmp_path / "last.ckpt", {**read_checkpoint(tmp_path / "last.ckpt"), "processes": 4})
    with pytest.raises(CheckpointError, match=r"written by 4 processes.*not 1"):
        resume(make_fabric(), state, recipe="score", config=config, options=RunOptions(out=tmp_path, resume=True))

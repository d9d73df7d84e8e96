"""What the shipped digits models can do, with thresholds at about half the effect that was measured; and the report's own parts."""

import pytest
import torch

from ebmlearn.pretrained import load_pretrained
from ebmlearn.training.clel_model import clel_preset
from ebmlearn.training.clel_report import clel_settings, nearest_distance, report_conditional, report_detection


@pytest.fixture(scope="module")
def classifier():
    return load_pretrained("digits-classifier")


@pytest.fixture(scope="module")
def model():
    return load_pretrained("clel-digits")


@pytest.fixture(scope="module")
def conditional(model, classifier):
    return report_conditional(model, classifier, weights=(0.0, 1.0), per_class=15)


def test_class_latents_steer_the_samples(conditional):
    assert conditional["class_accuracy_w1"] >= 0.8  # chance 0.1, standard error 0.03 at n = 150
    assert conditional["class_accuracy_w0"] <= 0.25
    assert conditional["class_fd_w1"] <= 0.6 * conditional["class_fd_w0"]


def test_the_latent_of_one_image_without_labels_steers_too_and_makes_no_copies(conditional):
    assert conditional["instance_accuracy_w1"] >= 0.7
    assert conditional["instance_fd_w1"] <= 0.7 * conditional["instance_fd_w0"]
    # further from every training image than real test images are
    assert conditional["instance_nearest_w1"] > 1.2 * conditional["test_nearest"]


def test_the_joint_score_sees_swapped_patches_that_the_plain_energy_misses(model):
    joint = report_detection(model)
    plain = report_detection(load_pretrained("clel-digits-plain"))
    assert joint["auroc_patch_w1"] - plain["auroc_patch_w0"] >= 0.05
    assert joint["auroc_patch_w1"] - joint["auroc_patch_w0"] >= 0.06
    for name in ("noise", "inverted", "shuffled"):  # saturated: they cannot tell methods apart
        assert min(joint[f"auroc_{name}_w0"], joint[f"auroc_{name}_w1"], plain[f"auroc_{name}_w0"]) >= 0.98
    assert "auroc_patch_w1" not in plain


def test_nearest_distance_is_the_nearest():
    to = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    assert nearest_distance(torch.tensor([[0.0, 1.0], [3.0, 2.0]]), to) == pytest.approx(1.5)
    assert nearest_distance(to, to) == 0


def test_the_ablation_has_the_settings_that_the_question_asks_for(classifier):
    settings = clel_settings(clel_preset("digits"), classifier)
    assert list(settings) == ["no latent", "SimCLR, no extra negatives", "SimCLR", "BYOL", "MAE", "supervised", "random"]

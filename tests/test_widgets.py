"""Widgets without a browser: the pure functions, and the objects moved from Python."""

import asyncio

import ipywidgets
import pytest
import torch

from ebmlearn.samplers import MALA, Langevin, sample
from ebmlearn.widgets import Explorer, ParticleView, choice, slider, switch
from ebmlearn.widgets.explorer import picture
from ebmlearn.widgets.particles import AHEAD, map_bytes


def quadratic(x):
    return 0.5 * (x**2).sum(-1)


def draw(ax, k, sign="+"):
    ax.plot([0, k])
    return f"k is {k}, sign {sign}."


def test_controls_are_labelled_throttled_and_typed():
    assert isinstance(slider(4, 1, 8, label="width"), ipywidgets.IntSlider)
    assert isinstance(slider(0.5, 0, 1, label="noise"), ipywidgets.FloatSlider)
    log = slider(0.1, 0.001, 1.0, label="step size", log=True)
    assert log.min == pytest.approx(-3) and log.max == pytest.approx(0) and log.value == pytest.approx(0.1)
    for control in (slider(4, 1, 8, label="a"), log):
        assert control.continuous_update is False
    controls = (slider(4, 1, 8, label="words"), choice([1, 2], label="words"), switch(True, label="words"))
    assert all(c.description == "words" and c.tooltip for c in controls)
    with pytest.raises(ValueError, match="low <= value <= high"):
        slider(9, 1, 8, label="width")


def test_choice_takes_names_for_values():
    c = choice({"half": 0.5, "one": 1.0}, label="share", value=1.0)
    assert c.value == 1.0
    c.label = "half"
    assert c.value == 0.5


def test_picture_is_a_pure_function():
    a = picture(draw, {"k": 3}, figsize=(2, 2), panels=1, dpi=50)
    b = picture(draw, {"k": 3}, figsize=(2, 2), panels=1, dpi=50)
    assert a == b and a[0].startswith(b"\x89PNG") and a[1] == "k is 3, sign +."
    assert picture(draw, {"k": 4}, figsize=(2, 2), panels=1, dpi=50)[0] != a[0]


def test_explorer_redraws_with_all_controls():
    explorer = Explorer(draw, {"k": slider(4, 1, 8, label="k"), "sign": choice(["+", "-"], label="sign")})
    before = explorer._image.value
    explorer.controls["k"].value = 7
    assert explorer.text == "k is 7, sign +."
    assert explorer._image.value != before and 'alt="k is 7, sign +."' in explorer._image.value
    explorer.controls["sign"].value = "-"
    assert explorer.state == {"k": 7, "sign": "-"} and "sign -" in explorer._says.value
    explorer.controls["k"].value = 100  # a slider clamps
    assert explorer.text.startswith("k is 8")


def test_explorer_gives_one_axes_a_panel():
    seen = []
    Explorer(lambda axes, k: seen.append(len(axes)), {"k": slider(1, 0, 2, label="k")}, panels=3)
    assert seen == [3]


def test_explorer_text_is_escaped():
    explorer = Explorer(lambda ax, k: '<b>"x"</b>', {"k": slider(1, 0, 2, label="k")})
    assert "<b>" not in explorer._image.value and "<b>" not in explorer._says.value


def test_explorer_never_hides_an_error():
    def fragile(ax, k):
        if k != 4:
            raise ArithmeticError("no picture for this k")

    with pytest.raises(ArithmeticError):
        Explorer(fragile, {"k": slider(5, 1, 8, label="k")})
    explorer = Explorer(fragile, {"k": slider(4, 1, 8, label="k")})
    with pytest.raises(ArithmeticError):
        explorer.controls["k"].value = 5
    assert "no picture for this k" in explorer._says.value and 'role="alert"' in explorer._says.value
    explorer.controls["k"].value = 4
    assert "no picture" not in explorer._says.value


def test_explorer_wants_controls():
    with pytest.raises(ValueError, match="at least one control"):
        Explorer(draw, {})
    with pytest.raises(ValueError, match="widget with a value"):
        Explorer(draw, {"k": 3})


def test_map_is_dark_in_the_well_and_the_right_way_up():
    n = 50
    rgba = torch.frombuffer(bytearray(map_bytes(lambda x: -x[:, 1], (-1.0, 1.0, -1.0, 1.0), n)), dtype=torch.uint8)
    rgba = rgba.reshape(n, n, 4).float()
    assert rgba[..., 3].min() == 255
    assert rgba[0, :, :3].mean() < rgba[-1, :, :3].mean()  # E is low at the top: the first row is dark


def test_map_of_an_energy_with_walls():
    def box(x):
        return torch.where(x.abs().amax(-1) < 1, quadratic(x), torch.inf)

    assert len(map_bytes(box, (-3.0, 3.0, -3.0, 3.0), 20)) == 20 * 20 * 4
    with pytest.raises(ValueError, match="not finite anywhere"):
        map_bytes(lambda x: torch.full((len(x),), torch.inf), (-3.0, 3.0, -3.0, 3.0), 20)


def view(**kwargs):
    settings = {"step_size": slider(0.3, 0.01, 2.5, label="step size"), "temperature": slider(1.0, 0.0, 4.0, label="temperature")}
    return ParticleView(
        quadratic,
        lambda step_size, temperature: Langevin.at_temperature(step_size=step_size, temperature=temperature),
        torch.zeros(400, 2),
        controls=settings,
        **kwargs,
    )


def positions(v):
    return torch.frombuffer(bytearray(v.canvas.positions), dtype=torch.float32).reshape(-1, 2)


def test_particles_are_the_chain_of_sample():
    v = view(steps_per_frame=3, seed=5)
    v.advance()
    v.advance()
    expected = sample(quadratic, Langevin(step_size=0.3), torch.zeros(400, 2), 6, generator=torch.Generator().manual_seed(5))
    assert torch.allclose(v.x, expected, atol=1e-6)
    assert torch.equal(positions(v), v.x) and v.steps == 6 and "Step 6" in v.canvas.says


def test_reset_repeats_the_run():
    v = view()
    v.advance()
    first = v.x.clone()
    v.advance()
    v._reset.click()
    assert v.steps == 0 and not v.x.any() and not positions(v).any()
    v._one.click()
    assert torch.equal(v.x, first)


def test_settings_act_on_the_next_step():
    v = view()
    for _ in range(40):
        v.advance()
    warm = v.x.var().item()
    v.controls["temperature"].value = 0.0
    assert v.kernel.noise == 0.0 and v.state["temperature"] == 0.0
    for _ in range(20):
        v.advance()
    assert 0.8 < warm < 1.6 and v.x.abs().max() < 0.02  # 20 noiseless steps shrink by .7 each


def test_an_explosion_is_told_raised_and_can_be_reset():
    v = view()
    v.controls["step_size"].value = 2.5  # |1 - 2.5| > 1
    with pytest.raises(FloatingPointError):
        for _ in range(500):
            v.advance()
    assert "step is too large" in v.canvas.error
    v.controls["step_size"].value = 0.3
    v.reset()
    v.advance()
    assert v.canvas.error == "" and v.steps == 1


def test_choosing_an_energy_changes_map_and_chain():
    v = ParticleView({"round": quadratic, "tilted": lambda x: quadratic(x) + x[:, 0]}, MALA(step_size=0.3), torch.zeros(50, 2))
    before = v.canvas.background
    v._chooser.value = "tilted"
    assert v.canvas.background != before
    assert v.energy(torch.tensor([[1.0, 0.0]])).item() == 1.5
    assert "acceptance" not in v.canvas.says
    v.advance()
    assert "acceptance" in v.canvas.says


def test_play_never_runs_ahead_of_the_browser():
    async def scene():
        v = view()
        v.start()
        assert v.running and v._toggle.description == "Stop"
        await asyncio.sleep(0.3)
        ahead = v.canvas.frame
        v._on_drawn(v.canvas, {"drawn": v.canvas.frame}, [])
        await asyncio.sleep(0.2)
        more = v.canvas.frame
        v.stop()
        await asyncio.sleep(0.01)
        assert not v.running and v._toggle.description == "Start"
        return ahead, more

    ahead, more = asyncio.run(scene())
    assert ahead == AHEAD + 1 and more == ahead + AHEAD + 1


def test_play_stops_by_itself_when_nobody_looks(monkeypatch):
    monkeypatch.setattr("ebmlearn.widgets.particles.PATIENCE", 0.05)

    async def scene():
        v = view()
        v.start()
        await asyncio.sleep(0.5)
        return v

    v = asyncio.run(scene())
    assert not v.running and v._toggle.value is False


def test_play_stops_and_tells_when_the_chain_explodes():
    async def scene():
        v = view(steps_per_frame=300)
        v.controls["step_size"].value = 2.5
        task = asyncio.create_task(v.play())
        with pytest.raises(FloatingPointError):
            await task
        return v.canvas.error

    assert "step is too large" in asyncio.run(scene())


@pytest.mark.parametrize("x", [torch.zeros(5), torch.zeros(5, 3), torch.zeros(0, 2)])
def test_particles_want_points_in_the_plane(x):
    with pytest.raises(ValueError, match=r"\[N, 2\]"):
        ParticleView(quadratic, MALA(step_size=0.1), x)
    with pytest.raises(ValueError, match="steps_per_frame"):
        ParticleView(quadratic, MALA(step_size=0.1), torch.zeros(1, 2), steps_per_frame=0)

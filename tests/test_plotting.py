"""Figures: what is drawn, and that nothing global is touched."""

import sys

import jax
import matplotlib
import matplotlib.image
import numpy as np
import pytest

import eqx_qdeq as qdeq
from eqx_qdeq import plotting

pytestmark = pytest.mark.usefixtures("once")

HISTORY = [
    {
        "epoch": epoch,
        "train_loss": 1 / epoch,
        "validation_loss": 0.1 + (epoch - 6) ** 2 / 50,
        "train_accuracy": 0.9,
        "validation_accuracy": 0.8,
        "train_solver_steps": 3.5,
        "train_residual": 1e-6,
        "validation_residual": 2e-6,
    }
    for epoch in range(1, 11)
]


def _labels(axes):
    return [axes.get_xlabel(), axes.get_ylabel(), axes.get_title()]


def _line(axes, label):
    (line,) = [line for line in axes.lines if line.get_label() == label]
    return line


def _draws(figure, tmp_path):
    """It renders, without warnings, to something that is not blank."""
    path = tmp_path / "figure.png"
    figure.savefig(path)
    image = matplotlib.image.imread(path)
    assert image.std() > 0.01
    return image


def test_training(tmp_path):
    figure = plotting.plot_training(HISTORY)
    loss, accuracy, residual, steps = figure.axes
    assert _labels(loss) == ["epoch", "cross-entropy (nats)", "Loss"]
    assert _labels(accuracy) == ["epoch", "accuracy (%)", "Accuracy"]
    assert "‖f(z) − z‖" in residual.get_ylabel() and "solver steps" in steps.get_ylabel()
    np.testing.assert_allclose(_line(loss, "train").get_ydata(), 1 / np.arange(1, 11))
    assert _line(loss, "best epoch").get_xdata() == [6]
    np.testing.assert_allclose(_line(accuracy, "validation").get_ydata(), 80)
    assert residual.get_yscale() == "log"
    _draws(figure, tmp_path)


def test_training_without_a_solver_and_with_gaps(tmp_path):
    history = [{k: v for k, v in row.items() if "loss" in k or k == "epoch"} for row in HISTORY]
    history[3]["validation_loss"] = None
    figure = plotting.plot_training([row | {"validation_r2": 0.5} for row in history])
    loss, r2 = figure.axes
    assert (loss.get_ylabel(), r2.get_ylabel()) == ("loss", "R²")
    np.testing.assert_allclose(_line(r2, "validation").get_ydata(), 0.5)
    assert len(plotting.plot_training(history).axes) == 1
    assert np.isnan(_line(figure.axes[0], "validation").get_ydata()[3])
    _draws(figure, tmp_path)


def test_one_epoch_and_no_residual_at_all(tmp_path):
    row = HISTORY[0] | {"train_residual": 0.0, "validation_residual": None}
    _draws(plotting.plot_training([row]), tmp_path)


def test_residuals(tmp_path):
    many = 10.0 ** -np.arange(5) * np.linspace(0.5, 2, 21)[:, None]
    figure = plotting.plot_residuals({"a": many, "b": many[0]}, tolerance=1e-3)
    (axes,) = figure.axes
    assert _labels(axes) == ["solver step", "residual ‖f(z) − z‖", "Convergence"]
    np.testing.assert_allclose(_line(axes, "a").get_ydata(), 1.25 * 10.0 ** -np.arange(5))
    assert len(axes.collections) == 1  # the band of the many
    assert axes.get_yscale() == "log" and _line(axes, "tolerance") is not None
    _draws(figure, tmp_path)
    _draws(plotting.plot_residuals(many[0]), tmp_path)
    _draws(plotting.plot_residuals(np.zeros((3, 4))), tmp_path)


def test_confusion(tmp_path):
    matrix = np.array([[8, 2, 0], [0, 5, 0], [0, 0, 0]])
    figure = plotting.plot_confusion(matrix, ["cat", "a long name", "none"])
    axes = figure.axes[0]
    assert _labels(axes) == ["guessed class", "true class", "Accuracy 86.7%"]
    assert [text.get_text() for text in axes.texts] == ["8", "2", "0", "0", "5", "0", "0", "0", "0"]
    share = axes.images[0].get_array()
    np.testing.assert_allclose(share, [[80, 20, 0], [0, 100, 0], [0, 0, 0]])
    assert [t.get_text() for t in axes.get_yticklabels()] == ["cat", "a long name", "none"]
    _draws(figure, tmp_path)
    _draws(plotting.plot_confusion(matrix / 3), tmp_path)


def test_summary(tmp_path):
    figure = plotting.plot_summary(HISTORY, np.ones((2, 3)), np.eye(4, dtype=int), list("0369"))
    titles = [axes.get_title() for axes in figure.axes[:4]]
    assert titles == ["Loss", "Accuracy", "Convergence", "Test accuracy 100.0%"]
    _draws(figure, tmp_path)


@pytest.mark.parametrize(
    "draw,message",
    [
        (lambda: plotting.plot_training([]), "`history` has no epochs"),
        (lambda: plotting.plot_residuals({}), "`residuals` is empty"),
        (lambda: plotting.plot_residuals(np.ones((1, 2, 3))), r"got \(1, 2, 3\)"),
        (lambda: plotting.plot_residuals(np.ones(0)), r"got \(0,\)"),
        (lambda: plotting.plot_confusion(np.ones((2, 3))), r"must be square; got shape \(2, 3\)"),
        (lambda: plotting.plot_confusion(np.eye(2), ["a"]), "needs 2 names; got 1"),
    ],
)
def test_bad_arguments(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()


def test_no_global_state():
    before = dict(matplotlib.rcParams)
    plotting.plot_summary(HISTORY, np.ones(3), np.eye(2))
    assert dict(matplotlib.rcParams) == before
    assert "matplotlib.pyplot" not in vars(plotting)


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "\.\[plot\]"'):
        plotting.plot_training(HISTORY)


def test_diagnosis_of_a_batch_and_of_one_sample(tmp_path):
    deq = qdeq.QDEQ(2, 4, key=jax.random.key(0)).deq
    x = jax.random.normal(jax.random.key(1), (8, 4))
    diagnose = jax.jit(jax.vmap(lambda x: deq.diagnose(x, n_steps=16)))
    batch = diagnose(x)
    figure = batch.plot()
    convergence, spectrum, gradients = figure.axes
    assert convergence.get_yscale() == "log"
    radius = _line(spectrum, "spectral radius").get_xdata()
    np.testing.assert_allclose(radius, np.sort(batch.spectral_radius))
    assert [tick.get_text() for tick in gradients.get_yticklabels()] == ["layer.angles", "x"]
    _draws(figure, tmp_path)
    one = jax.tree.map(lambda a: a[0], batch)
    _draws(plotting.plot_diagnosis(one), tmp_path)


def test_circuits_and_equilibria_as_figures(tmp_path):
    circuit = qdeq.circuits.hardware_efficient(3, depth=1)
    layer = qdeq.QuantumLayer(
        circuit, qdeq.AmplitudeEncoding(), qdeq.PauliZ(), key=jax.random.key(0)
    )
    deq = qdeq.DEQ(qdeq.QuantumCell(layer, qdeq.AddInjection(8)))
    for figure, picture in (
        (plotting.draw_circuit(circuit, width=300), circuit.picture(300)),
        (plotting.draw_picture(deq.picture()), deq.picture()),
    ):
        words = [text.get_text() for text in figure.axes[0].texts]
        assert words == [line for shape in picture.shapes for line in shape.text]
        image = _draws(figure, tmp_path)
        size = np.array([picture.height, picture.width])
        np.testing.assert_allclose(image.shape[:2], size * figure.dpi / 96, atol=1)

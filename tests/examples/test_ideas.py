"""The examples that show one idea each: run small, and what their checked line says holds."""

import pytest

pytestmark = pytest.mark.usefixtures("once")


def test_sequence(checked):
    apart, warm, cold = checked(
        "sequence",
        "the same equilibria to #, in # solver steps from the frame before, in # by themselves",
    )
    assert apart < 1e-4 and warm < 0.6 * cold


def test_own_circuit(checked, tmp_path):
    circuits, right, apart = checked(
        "own_circuit",
        "# circuit from OpenQASM, qujax(?:, Qiskit)?; trained, exported and read again, it is #% "
        "right, and logits differ by #",
    )
    assert circuits == 1 and right > 50 and apart < 1e-4
    assert (tmp_path / "own_circuit.qasm").read_text().startswith("OPENQASM 3")


def test_own_parts(checked):
    apart, right, converged = checked(
        "own_parts",
        "three solvers find the same equilibria to #; #% of 36 flowers are right, #% of the solves "
        "converged",
    )
    assert apart < 1e-3 and right > 50 and converged == 100


def test_fine_tune(checked):
    moved, n_angles, as_it_is, head, _ = checked(
        "fine_tune",
        "# of # frozen angles moved; as it is #%, new head #%, from nothing #%",
    )
    assert moved == 0 and n_angles == 900 and as_it_is > 30 and head > 10


def test_transformer(checked):
    n, quantum, _, mlp, _ = checked(
        "transformer",
        "# test images; equilibrium, # parameters: #%; MLP, # parameters: #%",
    )
    assert n == 100 and quantum == mlp


def test_cnn(checked):
    _, quantum, _, linear, _, mlp, _ = checked(
        "cnn",
        "digits, # test images; equilibrium, # parameters: #%; linear, # parameters: #%; MLP, # "
        "parameters: #%",
    )
    assert quantum == linear == mlp + 1


def test_neural_ode(checked):
    hares, lynx, moved = checked(
        "neural_ode",
        "at # thousand hares and # lynx the equilibrium says nothing changes; Diffrax, 20 "
        "years on: #",
    )
    assert hares > 0 and lynx > 0 and moved < 0.01


def test_graph(checked):
    slope, _, _, n = checked(
        "graph",
        "slope of the map at most #; test accuracy with a quantum signal #%, without #%, of # "
        "graphs",
    )
    assert slope < 1 and n > 20


def test_regression(checked):
    _, few, many = checked(
        "regression",
        "R² #; 16 times the shots, a fourth of the spread: # and #",
    )
    assert few > 2 * many


def test_sklearn_pipeline(checked):
    *_, right, n, _ = checked(
        "sklearn_pipeline",
        "depth #, # components; #% of # test wines; cross-validated # of #, logistic regression #",
    )
    assert n == 178 and right > 89


def test_sweep(checked):
    n, rates, compiled, *_ = checked(
        "sweep",
        "# trainings as one computation; # more learning rates compiled # programs; # noise rates "
        "in one call, accuracy #% without noise, #% at #",
    )
    assert n == 2 and rates == 1 and compiled == 0

import jax
import jax.numpy as jnp
import numpy as np
import pennylane as qml
import pytest
from hypothesis import given, settings, strategies as st

from eqx_qdeq import (
    AmplitudeEncoding,
    AngleEncoding,
    ComplexAmplitudeEncoding,
    DataReuploading,
)

pytestmark = pytest.mark.float32


def test_amplitudes_agree_with_pennylane(tol):
    x = np.random.default_rng(0).normal(size=11)

    @qml.qnode(qml.device("default.qubit", wires=4))
    def expected():
        qml.AmplitudeEmbedding(x, wires=range(4), pad_with=0, normalize=True)
        return qml.state()

    np.testing.assert_allclose(AmplitudeEncoding().state(jnp.asarray(x), 4), expected(), atol=tol)


@pytest.mark.parametrize("size", [32, 21, 16, 3])
def test_complex_amplitudes_agree_with_pennylane(size, tol):
    x = np.random.default_rng(0).normal(size=size)
    real, imaginary = np.pad(x, (0, 32 - size)).reshape(2, 16)

    @qml.qnode(qml.device("default.qubit", wires=4))
    def expected():
        qml.AmplitudeEmbedding(real + 1j * imaginary, wires=range(4), normalize=True)
        return qml.state()

    ours = ComplexAmplitudeEncoding().state(jnp.asarray(x), 4)
    np.testing.assert_allclose(ours, expected(), atol=tol)


@pytest.mark.parametrize("size", [0, 9])
def test_a_wrong_number_of_complex_amplitudes(size):
    with pytest.raises(ValueError, match=f"on 2 wires takes 1 to 8 features; got {size}.*wires"):
        ComplexAmplitudeEncoding().check(size, 2)


@pytest.mark.parametrize("encoding", [AmplitudeEncoding(), ComplexAmplitudeEncoding()])
def test_a_zero_vector_gives_a_state_and_a_zero_gradient(encoding):
    def fidelity(x):
        return jnp.abs(encoding.state(x, 2)[0]) ** 2

    value, gradient = jax.value_and_grad(fidelity)(jnp.zeros(4))
    assert value == 1
    np.testing.assert_array_equal(gradient, np.zeros(4))


@pytest.mark.parametrize("size", [1e-30, 1e-10, 1.0, 1e10, 1e30])
def test_any_norm_can_be_encoded(size, tol):
    x = jnp.array([3.0, 0.0, 4.0]) * size
    np.testing.assert_allclose(AmplitudeEncoding().state(x, 2).real, [0.6, 0.0, 0.8, 0.0], atol=tol)
    assert np.all(np.isfinite(jax.jacobian(lambda x: AmplitudeEncoding().amplitudes(x, 2))(x)))


@pytest.mark.parametrize("size", [0, 5])
def test_a_wrong_number_of_amplitudes_names_both_sizes(size):
    with pytest.raises(ValueError, match=f"on 2 wires takes 1 to 4 features; got {size}"):
        AmplitudeEncoding().check(size, 2)


def test_the_papers_angle_layout(tol):
    """Issue of the paper: RY(v0..3), RZ(v4..7), RX(v8..11), RY(v12..15), wire = index mod 4."""
    x = np.random.default_rng(1).normal(size=16)

    @qml.qnode(qml.device("default.qubit", wires=4))
    def expected():
        for i, gate in enumerate([qml.RY, qml.RZ, qml.RX, qml.RY]):
            for wire in range(4):
                gate(x[4 * i + wire], wires=wire)
        return qml.state()

    ours = AngleEncoding("YZXY").state(jnp.asarray(x), 4)
    np.testing.assert_allclose(ours, expected(), atol=tol)


@given(
    layout=st.lists(st.tuples(st.sampled_from("XYZ"), st.integers(0, 2)), min_size=1, max_size=9),
    scale=st.floats(-2, 2),
)
@settings(max_examples=10)
def test_any_layout_agrees_with_pennylane(layout, scale, tol):
    x = np.random.default_rng(2).normal(size=len(layout))

    @qml.qnode(qml.device("default.qubit", wires=3))
    def expected():
        for value, (axis, wire) in zip(x, layout, strict=True):
            getattr(qml, f"R{axis}")(scale * value, wires=wire)
        return qml.state()

    encoding = AngleEncoding(layout=tuple(layout), scale=scale)
    np.testing.assert_allclose(encoding.state(jnp.asarray(x), 3), expected(), atol=tol)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AngleEncoding("YQ"), "a rotation axis is 'X', 'Y' or 'Z'; got 'Q'"),
        (lambda: AngleEncoding(""), "`axes` is empty"),
        (
            lambda: AngleEncoding(layout=(("X", 3),)).check(1, 2),
            "puts feature 0 on wire 3, but the circuit has 2 wires",
        ),
        (
            lambda: AngleEncoding(layout=(("X", 0),)).check(2, 2),
            "`layout` places 1 features; got 2",
        ),
        (lambda: AngleEncoding().check(0, 2), "takes at least one feature; got 0"),
        (lambda: DataReuploading(AngleEncoding(), 0), "`n_uploads` must be at least 1; got 0"),
        (
            lambda: DataReuploading(AngleEncoding(), 3).cuts(10),
            "n_uploads=3 does not divide the circuit's 10 gates",
        ),
        (
            lambda: DataReuploading(AngleEncoding(), 2, (0,)),
            "`positions` has 1 entries for n_uploads=2",
        ),
        (
            lambda: DataReuploading(AngleEncoding(), 2, (3, 1)),
            "`positions` must not decrease",
        ),
        (
            lambda: DataReuploading(AngleEncoding(), 2, (0, 11)).cuts(10),
            "leave the circuit, which has 10 gates",
        ),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()

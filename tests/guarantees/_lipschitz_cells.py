"""Quantum cells of every kind, for the tests of their Lipschitz bounds."""

import jax
import jax.numpy as jnp
import numpy as np

import eqx_qdeq as qdeq


def _hermitian(seed, count, size):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((count, size, size)) + 1j * rng.standard_normal((count, size, size))
    return (a + a.conj().swapaxes(1, 2)) / 2


Z = qdeq.PauliZ()
STRINGS = qdeq.PauliStrings(["X0", "Z0 Z1", "Y1 X2", "I", "Z2"])
MATRICES = qdeq.Hermitian(_hermitian(0, 3, 4), (0, 2))
AMPLITUDES = qdeq.AmplitudeEncoding()
_KEY = jax.random.key(9)

# name: (wires, features, encoding, measurement, injection)
CASES = {
    "paper": (4, 16, AMPLITUDES, Z, qdeq.AddInjection(16)),
    "two wires": (2, 4, AMPLITUDES, Z, qdeq.AddInjection(4, jnp.array([0.5, -0.3]))),
    "five wires": (5, 20, AMPLITUDES, Z, qdeq.AddInjection(20, 0.2)),
    "probabilities": (
        3,
        8,
        AMPLITUDES,
        qdeq.Probabilities((0, 2)),
        qdeq.LinearInjection(8, 4, 8, key=_KEY),
    ),
    "strings": (3, 6, AMPLITUDES, STRINGS, qdeq.AddInjection(6, 0.4)),
    "matrices": (3, 5, AMPLITUDES, MATRICES, qdeq.ConcatInjection(0.4)),
    "narrow": (3, 5, AMPLITUDES, Z, qdeq.LinearInjection(5, 3, 2, key=_KEY)),
    "angles": (3, 9, qdeq.AngleEncoding("YZX"), Z, qdeq.AddInjection(9, 0.4)),
    "one angle": (4, 4, qdeq.AngleEncoding("Y", scale=0.7), STRINGS, qdeq.ConcatInjection(0.6)),
    "repeated axis": (2, 6, qdeq.AngleEncoding("YYX"), Z, qdeq.AddInjection(6, 0.3)),
    "re-uploading": (
        3,
        6,
        qdeq.DataReuploading(qdeq.AngleEncoding("YZ"), 2),
        qdeq.Probabilities(),
        qdeq.LinearInjection(6, 8, 6, key=_KEY),
    ),
    "feedback": (3, 8, AMPLITUDES, Z, qdeq.AngleFeedback("Y", 0.7)),
    "feedback, X": (
        3,
        3,
        qdeq.AngleEncoding("Y"),
        STRINGS,
        qdeq.AngleFeedback("X", jnp.array([0.7, 0.2, 0.5, 0.9, 0.4])),
    ),
    "feedback, Z": (4, 16, AMPLITUDES, MATRICES, qdeq.AngleFeedback("Z", 0.4)),
}


def make_cell(name, key):
    n, _, encoding, measurement, injection = CASES[name]
    circuit = qdeq.circuits.hardware_efficient(n, 2)
    if isinstance(encoding, qdeq.DataReuploading):
        circuit = circuit.repeat(2)
    layer = qdeq.QuantumLayer(circuit, encoding, measurement, key=key)
    return qdeq.QuantumCell(layer, injection)

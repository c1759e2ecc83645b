"""Quantum cells of every kind, for the tests of certificates."""

import equinox as eqx
import jax

import eqx_qdeq as qdeq

AMPLITUDES, Z = qdeq.AmplitudeEncoding(), qdeq.PauliZ()

# name: (encoding, measurement, injection), all with 8 features on 3 wires
CASES = {
    "add": (AMPLITUDES, Z, qdeq.AddInjection(8)),
    "probabilities": (
        AMPLITUDES,
        qdeq.Probabilities((0, 1)),
        qdeq.LinearInjection(8, 4, 8, key=jax.random.key(9)),
    ),
    "angles": (qdeq.AngleEncoding("YZX", scale=0.8), Z, qdeq.AddInjection(8, 0.5)),
    "re-uploading": (
        qdeq.DataReuploading(qdeq.AngleEncoding("YZ"), 2),
        qdeq.PauliStrings(["Z0", "X1 Y2"]),
        qdeq.AddInjection(8, 0.4),
    ),
    "feedback": (AMPLITUDES, Z, qdeq.AngleFeedback("Y", 0.8)),
}


def make_cell(name, key):
    encoding, measurement, injection = CASES[name]
    circuit = qdeq.circuits.hardware_efficient(3, 2).repeat(2)
    return qdeq.QuantumCell(qdeq.QuantumLayer(circuit, encoding, measurement, key=key), injection)


def cast(tree, dtype):
    return jax.tree.map(lambda a: a.astype(dtype) if eqx.is_inexact_array(a) else a, tree)

"""Your own circuit, from qujax, OpenQASM or Qiskit: as an equilibrium, trained, and exported again.

python examples/own_circuit.py
"""

from pathlib import Path

import equinox as eqx
import jax
import numpy as np
import optax
import tyro
from matplotlib.figure import Figure

import eqx_qdeq as qdeq
from eqx_qdeq import training

# A block of a circuit in OpenQASM 3; the inputs are its angles.
PROGRAM = """OPENQASM 3.0; include "stdgates.inc"; qubit[4] q;
input float t0; input float t1; input float t2; input float t3;
input float t4; input float t5; input float t6; input float t7;
ry(t0) q[0]; ry(t1) q[1]; ry(t2) q[2]; ry(t3) q[3];
crx(t4) q[0], q[1]; crx(t5) q[1], q[2]; crx(t6) q[2], q[3]; crx(t7) q[3], q[0];"""


def blocks() -> dict[str, qdeq.Circuit]:
    """The same block from elsewhere; from Qiskit where it is installed."""
    pairs = [[0, 1], [1, 2], [2, 3], [3, 0]]
    triple = ["Ry"] * 4 + ["CRx"] * 4, [[0], [1], [2], [3], *pairs], [[i] for i in range(8)]
    out = {"OpenQASM": qdeq.Circuit.from_openqasm(PROGRAM)[0]}
    out["qujax"] = qdeq.Circuit.from_qujax(*triple)
    try:
        import qiskit.qasm3

        out["Qiskit"] = qdeq.circuits.from_qiskit(qiskit.qasm3.loads(PROGRAM))[0]
    except ImportError:
        pass
    return out


def main(epochs: int = 40, out: Path = Path("own_circuit.png"), smoke: bool = False) -> None:
    """Trains a circuit of one's own on scikit-learn's digits 0, 3, 6 and 9.

    Args:
        epochs: passes over the training samples.
        out: the figure to write; the trained circuit is written beside it, as .qasm.
        smoke: two epochs only.
    """
    same = blocks()
    circuit = same["OpenQASM"].repeat(6)
    key1, key2 = jax.random.split(jax.random.key(0))
    layer = qdeq.QuantumLayer(circuit, qdeq.AmplitudeEncoding(), qdeq.PauliZ(), key=key1)
    deq = qdeq.DEQ(qdeq.QuantumCell(layer, qdeq.AddInjection(in_size=16, gain=0.3)))
    model = eqx.nn.Sequential([deq, eqx.nn.Linear(4, 4, key=key2)])
    data = training.load_dataset("digits", classes=(0, 3, 6, 9))
    epochs = 2 if smoke else epochs
    result = training.fit(model, data, optimizer=optax.adam(0.03), epochs=epochs, batch_size=32)

    # The trained circuit as a text that any OpenQASM 3 tool reads, and as such a tool has it.
    of = lambda m: m.layers[0].cell.layer
    text = circuit.to_openqasm(of(result.model).angles)
    out.with_suffix(".qasm").write_text(text)
    circuit, angles = qdeq.Circuit.from_openqasm(text)
    layer = qdeq.QuantumLayer(circuit, layer.encoding, layer.measurement, angles=angles)
    again = eqx.tree_at(of, result.model, layer)
    ours, theirs = (np.asarray(jax.vmap(m)(data.test.x)) for m in (result.model, again))

    figure = Figure(figsize=(10, 3.2), layout="constrained")
    drawing, curves = figure.subplots(1, 2, width_ratios=(3, 2))
    drawing.text(0.02, 0.5, same["OpenQASM"].draw(), family="monospace", va="center", fontsize=11)
    drawing.set_title("One of the circuit's six blocks")
    drawing.axis("off")
    for part in ("train", "validation"):
        curves.plot([100 * row[f"{part}_accuracy"] for row in result.history], label=part)
    curves.set(title="Trained as an equilibrium", xlabel="epoch", ylabel="accuracy in %")
    curves.legend()
    figure.savefig(out, dpi=100)
    right, apart = np.mean(theirs.argmax(1) == data.test.y), abs(ours - theirs).max()
    print(f"figure {out}, circuit {out.with_suffix('.qasm')}")
    print(
        f"checked: {len(set(same.values()))} circuit from {', '.join(same)}; trained, exported and "
        f"read again, it is {right:.1%} right, and logits differ by {apart:.0e}"
    )


if __name__ == "__main__":
    tyro.cli(main, config=(tyro.conf.FlagCreatePairsOff,))

"""QDEQ: the paper's layer in one line."""

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray

from .._checks import check_at_least, check_instance
from ..cells import AddInjection, QuantumCell
from ..circuits import Circuit, hardware_efficient, paper
from ..encodings import AbstractEncoding, AmplitudeEncoding
from ..layers import QuantumLayer
from ..measurements import PauliZ
from ._deq import DEQ
from ._solve import Solution


class QDEQ(eqx.Module):
    r"""The quantum deep equilibrium layer of the paper: amplitude encoding of
    $x + \mathrm{upsample}(z)$, the circuit, $\langle Z\rangle$ on every wire; from `(in_size,)` to
    `(n_qubits,)`.

    !!! example

        ```python
        import equinox as eqx
        import jax
        import eqx_qdeq as qdeq

        key1, key2 = jax.random.split(jax.random.key(0))
        model = eqx.nn.Sequential(
            [qdeq.QDEQ(4, 16, key=key1), eqx.nn.Linear(4, 10, key=key2)]
        )
        logits = model(jax.random.normal(jax.random.key(1), (16,)))
        ```

    ??? cite "Reference"

        P. Schleich, M. Skreta, L. B. Kristensen, R. A. Vargas-Hernández and A. Aspuru-Guzik,
        "Quantum deep equilibrium models", NeurIPS 2024, arXiv:2410.23940.
    """

    deq: DEQ

    def __init__(
        self,
        n_qubits: int,
        in_size: int,
        *,
        circuit: Circuit | None = None,
        encoding: AbstractEncoding | None = None,
        gain: float | Float[Array, ""] | Float[Array, " n_qubits"] = 1.0,
        key: PRNGKeyArray,
    ):
        check_at_least("n_qubits", n_qubits, 1)
        check_at_least("in_size", in_size, 1)
        check_instance("circuit", circuit, Circuit | None, "a Circuit, e.g. `circuits.paper(4)`")
        check_instance(
            "encoding", encoding, AbstractEncoding | None, "an encoding, e.g. `AmplitudeEncoding()`"
        )
        # The paper has circuits of its own for its two sizes.
        if circuit is None:
            circuit = paper(n_qubits) if n_qubits in (4, 10) else hardware_efficient(n_qubits, 4)
        elif circuit.n_qubits != n_qubits:
            raise ValueError(
                f"`circuit` has {circuit.n_qubits} wires, but n_qubits={n_qubits} was asked for."
            )
        # Refused here, where the sizes are named, not at the first call.
        encoding = AmplitudeEncoding() if encoding is None else encoding
        encoding.check(in_size, n_qubits)
        # The paper iterates v = x + upsample(z); the measured z alone have the same fixed points.
        layer = QuantumLayer(circuit, encoding, PauliZ(), key=key)
        self.deq = DEQ(QuantumCell(layer, AddInjection(in_size, gain)))

    def __call__(
        self,
        x: Float[Array, " d"],
        *,
        z0: Float[Array, " n_qubits"] | None = None,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, " n_qubits"]:
        """The equilibrium for one sample; see [`eqx_qdeq.DEQ`][]."""
        return self.deq(x, z0=z0, key=key)

    def solve(
        self,
        x: Float[Array, " d"],
        *,
        z0: Float[Array, " n_qubits"] | None = None,
        key: PRNGKeyArray | None = None,
    ) -> Solution:
        """As calling the module, but says how the solve went; see [`eqx_qdeq.DEQ.solve`][]."""
        return self.deq.solve(x, z0=z0, key=key)


QDEQ.__init__.__doc__ = """**Arguments:**

- `n_qubits`: the number of wires, and of values.
- `in_size`: the number d of features, at most 2**n_qubits with amplitude encoding.
- `circuit`: the circuit; if left out, the paper's at 4 and 10 wires and
    `circuits.hardware_efficient(n_qubits, 4)` otherwise.
- `encoding`: [`eqx_qdeq.AmplitudeEncoding`][] if left out.
- `gain`: the strength of the feedback, one for all wires or one for each: a float is fixed (the
    paper's is 1), an array trained.
- `key`: for the initial angles.

**Raises:** `ValueError` if the sizes do not fit.
"""

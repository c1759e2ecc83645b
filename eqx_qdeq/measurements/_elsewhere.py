"""Sums of Pauli strings in Qiskit, PennyLane and OpenFermion. Wire w is qubit w of each."""

import math
from typing import Any

from .._checks import check_choice, describe, need
from ._rows import String

Terms = list[tuple[String, float]]


def _real(coefficient: Any, string: Any) -> float:
    try:
        value = complex(coefficient)
    except (TypeError, ValueError):
        raise ValueError(
            f"the coefficient of {string} is {coefficient!r}, which is no number: bind its "
            "parameters first."
        ) from None
    # What a mapping of fermions leaves of canceled imaginary parts is rounding.
    if abs(value.imag) > 1e-12 * max(1.0, abs(value.real)) or not math.isfinite(value.real):
        raise ValueError(
            f"the coefficient of {string} is {value}: an observable is Hermitian, and its "
            "coefficients are real and finite."
        )
    return value.real


def _wrong(operator: object, wanted: str) -> TypeError:
    return TypeError(f"`operator` must be {wanted}; got {describe(operator)}.")


def from_qiskit(operator: Any) -> Terms:
    need("qiskit", "qiskit", "from_qiskit")
    from qiskit.quantum_info import SparsePauliOp

    if not isinstance(operator, SparsePauliOp):
        raise _wrong(operator, "Qiskit's SparsePauliOp")
    terms: Terms = []
    for label, qubits, coefficient in operator.to_sparse_list():
        pairs = sorted(zip(qubits, label, strict=True))
        terms.append((tuple((int(q), p) for q, p in pairs if p != "I"), _real(coefficient, label)))
    return terms


def to_qiskit(terms: Terms, n_qubits: int) -> Any:
    need("qiskit", "qiskit", "to_qiskit")
    from qiskit.quantum_info import SparsePauliOp

    sparse = [("".join(p for _, p in string), [w for w, _ in string], c) for string, c in terms]
    return SparsePauliOp.from_sparse_list(sparse, num_qubits=n_qubits)


def from_pennylane(operator: Any) -> Terms:
    need("pennylane", "pennylane", "from_pennylane")
    sentence = getattr(operator, "pauli_rep", None)
    if sentence is None:
        raise _wrong(operator, "an operator of PennyLane that is made of Pauli words")
    terms: Terms = []
    for word, coefficient in sentence.items():
        for wire in word:
            if isinstance(wire, bool) or not isinstance(wire, int) or wire < 0:
                raise ValueError(
                    f"wires must be numbers from 0 on; got {wire!r}. Use `qml.map_wires`."
                )
        terms.append((tuple(sorted(word.items())), _real(coefficient, word)))
    return terms


def to_pennylane(terms: Terms) -> Any:
    qml = need("pennylane", "pennylane", "to_pennylane")
    words = {qml.pauli.PauliWord(dict(string)): c for string, c in terms}
    return qml.pauli.PauliSentence(words).operation(wire_order=[0])


def from_openfermion(operator: Any, mapping: str) -> Terms:
    openfermion = need("openfermion", "openfermion", "from_openfermion")
    check_choice("mapping", mapping, ("jordan_wigner", "bravyi_kitaev"))
    if not isinstance(operator, openfermion.QubitOperator):
        try:
            operator = getattr(openfermion, mapping)(operator)
        except TypeError:
            raise _wrong(operator, "an operator of OpenFermion") from None
    return [(tuple(string), _real(c, string)) for string, c in operator.terms.items()]


def to_openfermion(terms: Terms) -> Any:
    openfermion = need("openfermion", "openfermion", "to_openfermion")
    total = openfermion.QubitOperator()
    for string, coefficient in terms:
        total += openfermion.QubitOperator(string, coefficient)
    return total

r"""Depolarising noise in the three conventions in use.

With $d=2^k$ for k wires, the channel is $\rho\mapsto(1-\lambda)\rho+\lambda\,1/d$ (λ: Qiskit Aer's
parameter), or a Pauli other than the identity with probability p (PennyLane's parameter).
"""

from jaxtyping import Array, Float

Rate = float | Float[Array, ""]


def depolarising_parameter(probability: Rate, n_wires: int = 1) -> Rate:
    r"""Aer's $\lambda = p\,d^2/(d^2-1)$ from the Pauli probability p."""
    return probability * (4**n_wires / (4**n_wires - 1))


def probability_from_parameter(parameter: Rate, n_wires: int = 1) -> Rate:
    r"""The Pauli probability $p = \lambda\,(d^2-1)/d^2$ from Aer's λ."""
    return parameter * ((4**n_wires - 1) / 4**n_wires)


def average_infidelity(probability: Rate, n_wires: int = 1) -> Rate:
    r"""The average gate infidelity $1-\bar F = p\,d/(d+1)$ from the Pauli probability p.

    ??? cite "Reference"

        M. A. Nielsen, "A simple formula for the average gate fidelity of a quantum dynamical
        operation", Phys. Lett. A 303, 249 (2002).
    """
    return probability * (2**n_wires / (2**n_wires + 1))


def probability_from_infidelity(infidelity: Rate, n_wires: int = 1) -> Rate:
    r"""The Pauli probability $p = (1-\bar F)(d+1)/d$ from the average gate infidelity."""
    return infidelity * ((2**n_wires + 1) / 2**n_wires)

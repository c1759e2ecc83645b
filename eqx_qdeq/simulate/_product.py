"""The unitaries of fused blocks, with few operations however many gates.

Within a block on k wires every parametrised gate is a matrix that is linear in its entries e_b(θ),

    F = Σ_b e_b K_b,

with constant matrices K_b of size 2ᵏ × 2ᵏ: K_b has ones where the gate's entry b goes. Gates
without parameters are constant, so they are multiplied into the K_b beforehand. All factors F of
all blocks then come from one contraction, and each block's product from a tree of batched matrix
products.
"""

import dataclasses
import functools as ft

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex

from ..circuits import Circuit
from ._qujax import constant_matrix, entry_layout, is_constant


@dataclasses.dataclass(frozen=True)
class Block:
    """Gates that are fused: their positions in the circuit and the wires they act on."""

    wires: tuple[int, ...]
    gates: tuple[int, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class _Factors:
    """The factors of all blocks on equally many wires.

    `entries[s, f, b]` is the position, in the circuit's entries followed by 1 and 0, of the b-th
    coefficient of factor f of the s-th of these blocks; `constants` holds the K_b.
    """

    blocks: tuple[int, ...]
    entries: np.ndarray  # (blocks, factors, b)
    constants: np.ndarray  # (blocks, factors, b, dim, dim)


def block_products(
    circuit: Circuit, blocks: tuple[Block, ...], entries: Complex[Array, "sections entries"]
) -> list[Complex[Array, "..."]]:
    """The unitary of every block, for several sets of gate entries at once.

    **Arguments:**

    - `circuit`: the circuit of which the blocks are made.
    - `blocks`: the blocks.
    - `entries`: for each section, what `gate_entries` gives for its angles.

    **Returns:**

    One array of shape `(sections, 2**k, 2**k)` for each block on k wires.
    """
    ends = jnp.broadcast_to(jnp.array([1, 0], entries.dtype), (entries.shape[0], 2))
    pool = jnp.concatenate([entries, ends], axis=1)
    out: dict[int, Array] = {}
    for factors in _factors(circuit, blocks):
        coefficients = pool[:, factors.entries]
        constants = jnp.asarray(factors.constants, entries.dtype)
        matrices = jnp.einsum(
            "nsfb,sfbij->nsfij", coefficients, constants, precision=jax.lax.Precision.HIGHEST
        )
        products = _ordered_product(matrices)
        for s, block in enumerate(factors.blocks):
            out[block] = products[:, s]
    return [out[i] for i in range(len(blocks))]


def _ordered_product(matrices: Complex[Array, "n s f dim dim"]) -> Complex[Array, "n s dim dim"]:
    """M_{f-1} ⋯ M_1 M_0, by pairing neighbours."""
    while matrices.shape[2] > 1:
        if matrices.shape[2] % 2:
            matrices, last = matrices[:, :, :-1], matrices[:, :, -1:]
        else:
            last = matrices[:, :, :0]
        paired = jnp.matmul(
            matrices[:, :, 1::2], matrices[:, :, 0::2], precision=jax.lax.Precision.HIGHEST
        )
        matrices = jnp.concatenate([paired, last], axis=2)
    return matrices[:, :, 0]


@ft.lru_cache(maxsize=256)
def _factors(circuit: Circuit, blocks: tuple[Block, ...]) -> list[_Factors]:
    by_size: dict[int, list[int]] = {}
    for i, block in enumerate(blocks):
        by_size.setdefault(len(block.wires), []).append(i)
    return [_stack(circuit, blocks, members) for members in by_size.values()]


def _stack(circuit: Circuit, blocks: tuple[Block, ...], members: list[int]) -> _Factors:
    chains = [_chain(circuit, blocks[i]) for i in members]
    starts, total = entry_layout(circuit)
    one, zero = total, total + 1
    n_factors = max(len(chain) for chain in chains)
    n_terms = max(len(terms) for chain in chains for terms in chain)
    dim = 2 ** len(blocks[members[0]].wires)
    entries = np.full((len(chains), n_factors, n_terms), zero)
    constants = np.zeros((len(chains), n_factors, n_terms, dim, dim), complex)
    # Shorter chains are filled up with identities.
    entries[:, :, 0] = one
    constants[:, :, 0] = np.eye(dim)
    for s, chain in enumerate(chains):
        for f, terms in enumerate(chain):
            for b, (entry, constant) in enumerate(terms):
                entries[s, f, b] = one if entry is None else starts[entry[0]] + entry[1]
                constants[s, f, b] = constant
    if not np.any(np.imag(constants)):
        constants = np.real(constants)
    return _Factors(tuple(members), entries, constants)


_Term = tuple[tuple[int, int] | None, np.ndarray]
"""A coefficient (gate and entry, or None for 1) and its constant matrix."""


def _chain(circuit: Circuit, block: Block) -> list[list[_Term]]:
    """The factors of one block, first gate first, constant gates multiplied in."""
    dim = 2 ** len(block.wires)
    constant = np.eye(dim, dtype=complex)
    chain: list[list[_Term]] = []
    for g in block.gates:
        local = [block.wires.index(wire) for wire in circuit.wires[g]]
        if is_constant(circuit.gates[g]):
            matrix = constant_matrix(circuit.gates[g])  # pyright: ignore[reportArgumentType]
            constant = _embed(matrix, local, len(block.wires)) @ constant
            continue
        chain.append(
            [
                (entry, _embed(unit, local, len(block.wires)) @ constant)
                for entry, unit in _terms(circuit, g)
            ]
        )
        constant = np.eye(dim, dtype=complex)
    if not chain:
        return [[(None, constant)]]
    # What is left over acts last.
    chain[-1] = [(entry, constant @ matrix) for entry, matrix in chain[-1]]
    return chain


def _terms(circuit: Circuit, g: int) -> list[_Term]:
    """Gate g as a sum over its entries of constant matrices."""
    k = len(circuit.wires[g])
    dim = 2**k
    gate = circuit.gates[g]
    positions = [(i, j) for i in range(dim) for j in range(dim)]
    terms: list[_Term] = []
    if isinstance(gate, str) and gate[0] == "C":
        # A controlled gate: the identity where the control is 0, and four entries.
        terms.append((None, np.diag([1.0, 1.0, 0.0, 0.0])))
        positions = [(i, j) for i in (2, 3) for j in (2, 3)]
    for i, j in positions:
        unit = np.zeros((dim, dim))
        unit[i, j] = 1
        terms.append(((g, dim * i + j), unit))
    return terms


def _embed(matrix: np.ndarray, wires: list[int], n: int) -> np.ndarray:
    """A matrix on some of n wires as one on all of them."""
    k = len(wires)
    rest = [w for w in range(n) if w not in wires]
    full = np.kron(matrix, np.eye(2 ** (n - k))).reshape((2,) * (2 * n))
    order = [*wires, *rest]
    back = [order.index(w) for w in range(n)]
    return full.transpose(*back, *(n + b for b in back)).reshape(2**n, 2**n)

"""The unitaries of fused blocks, with few operations however many gates.

A gate on some of a block's k wires is linear in its own entries e_b(θ),

    F = Σ_b e_b K_b,

with constant matrices K_b of size 2ᵏ × 2ᵏ: K_b has a one for each place where entry b goes. So
all factors of all blocks come from one contraction, and each block's product from a tree of batched
matrix products.

This is done twice: gates are multiplied into *pairs* on two wires, where a product costs little,
and the few pairs of a block into its unitary. Gates without parameters are constant and are
multiplied into the K_b beforehand. Everything is in real arithmetic, real and imaginary parts
along an axis of their own: a batch of complex products is several times slower on CPUs.
"""

import dataclasses
import functools as ft
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Complex, Float

from ..circuits import Circuit
from ._blocks import Block, fuse
from ._qujax import constant_matrix, entry_layout, is_constant

_PAIR = 2


@dataclasses.dataclass(frozen=True, eq=False)
class _Factors:
    """The factors of all products that have matrices of one size.

    `entries[s, f, b]` is the position, in a pool of numbers that ends with 1 and 0, of the b-th
    coefficient of factor f of the s-th of these products; `constants` holds the K_b, as
    (real part, imaginary part) only if they are complex.
    """

    members: tuple[int, ...]
    entries: np.ndarray  # (products, factors, b)
    constants: np.ndarray  # (products, factors, b, dim, dim), real or complex


def block_unitaries(
    circuit: Circuit, blocks: tuple[Block, ...], entries: Complex[Array, "sections entries"]
) -> list[Float[Array, "sections 2 _ _"]]:
    """The unitary of every block, for several sets of gate entries at once.

    **Arguments:**

    - `circuit`: the circuit of which the blocks are made.
    - `blocks`: the blocks.
    - `entries`: for each section, what `gate_entries` gives for its angles.

    **Returns:**

    For each block on k wires an array of shape `(sections, 2, 2**k, 2**k)`, real parts first.
    """
    pairs, products = _hierarchy(circuit, blocks)
    pool = jnp.stack([entries.real, entries.imag], axis=1)
    pool = jnp.concatenate(
        [u.reshape(*u.shape[:2], -1) for u in _multiply_all(pairs, pool)] or [pool[..., :0]], axis=2
    )
    return _multiply_all(products, pool)


def _multiply_all(
    stacks: Sequence[_Factors], pool: Float[Array, "n 2 entries"]
) -> list[Float[Array, "n 2 _ _"]]:
    """The products of all stacks, in the order of their members."""
    ends = np.zeros((2, 2), pool.dtype)
    ends[0, 0] = 1
    pool = jnp.concatenate([pool, jnp.broadcast_to(ends, (pool.shape[0], 2, 2))], axis=2)
    out: dict[int, Array] = {}
    for stack in stacks:
        product = _ordered_product(_factor_matrices(stack, pool))
        for s, member in enumerate(stack.members):
            out[member] = product[:, s]
    return [out[i] for i in range(len(out))]


def _factor_matrices(stack: _Factors, pool: Float[Array, "n 2 entries"]) -> Array:
    """The factors, shape `(n, products, factors, 2, dim, dim)`."""
    coefficients = pool[:, :, stack.entries]
    constants = stack.constants
    if np.iscomplexobj(constants):
        re, im = constants.real, constants.imag
        # (re + i im)(a + i b): what each part of a coefficient adds to each part of the matrix.
        constants = np.stack([np.stack([re, im]), np.stack([-im, re])])
        spec = "ncsfb,cdsfbij->nsfdij"
    else:
        spec = "ncsfb,sfbij->nsfcij"
    return jnp.einsum(
        spec, coefficients, jnp.asarray(constants, pool.dtype), precision=lax.Precision.HIGHEST
    )


def _ordered_product(matrices: Float[Array, "n s f 2 dim dim"]) -> Float[Array, "n s 2 dim dim"]:
    """M_{f-1} ⋯ M_1 M_0, by pairing neighbours."""
    while matrices.shape[2] > 1:
        if matrices.shape[2] % 2:
            matrices, last = matrices[:, :, :-1], matrices[:, :, -1:]
        else:
            last = matrices[:, :, :0]
        later, earlier = matrices[:, :, 1::2], matrices[:, :, 0::2]
        *batch, _, dim, _ = later.shape
        paired = jnp.matmul(
            real_form(later),
            earlier.reshape(*batch, 2 * dim, dim),
            precision=lax.Precision.HIGHEST,
        )
        matrices = jnp.concatenate([paired.reshape(*batch, 2, dim, dim), last], axis=2)
    return matrices[:, :, 0]


def real_form(matrix: Float[Array, "*b 2 rows cols"]) -> Float[Array, "*b 2*rows 2*cols"]:
    """`[[Re, -Im], [Im, Re]]`: a complex matrix as a real one."""
    re, im = matrix[..., 0, :, :], matrix[..., 1, :, :]
    top = jnp.concatenate([re, -im], axis=-1)
    bottom = jnp.concatenate([im, re], axis=-1)
    return jnp.concatenate([top, bottom], axis=-2)


# --- What is fixed by the circuit alone -------------------------------------------------------


_Term = tuple[int | None, np.ndarray]
"""The position of a coefficient (None for 1) and its constant matrix."""

_Chain = list[list[_Term]]
"""Factors, the first one acting first."""


@ft.lru_cache(maxsize=256)
def _hierarchy(
    circuit: Circuit, blocks: tuple[Block, ...]
) -> tuple[list[_Factors], list[_Factors]]:
    """How gates are multiplied into pairs, and pairs into blocks."""
    pair_chains: list[_Chain] = []
    block_chains: list[_Chain] = []
    starts, total = entry_layout(circuit)
    position = 0
    for block in blocks:
        k = len(block.wires)
        chain: _Chain = []
        for pair in fuse([circuit.wires[g] for g in block.gates], _PAIR):
            # A lone wire is taken with a neighbour: then nearly all pairs have one size.
            spare = [w for w in block.wires if w not in pair.wires]
            wires = pair.wires + tuple(spare[: max(0, _PAIR - len(pair.wires))])
            gates = [block.gates[i] for i in pair.gates]
            pair_chains.append(_gate_chain(circuit, wires, gates, starts))
            local = [block.wires.index(w) for w in wires]
            units = _units(2 ** len(wires))
            chain.append([(position + i, _embed(u, local, k)) for i, u in enumerate(units)])
            position += len(units)
        block_chains.append(chain or [[(None, np.eye(2**k))]])
    return _stacks(pair_chains, total), _stacks(block_chains, position)


def _units(dim: int) -> list[np.ndarray]:
    """The matrices with a single one, row by row."""
    return list(np.eye(dim * dim).reshape(-1, dim, dim))


def _stacks(chains: list[_Chain], total: int) -> list[_Factors]:
    """The chains as arrays, those with matrices of one size together."""
    by_size: dict[int, list[int]] = {}
    for i, chain in enumerate(chains):
        by_size.setdefault(chain[0][0][1].shape[0], []).append(i)
    return [_stack(chains, members, total) for members in by_size.values()]


def _stack(chains: list[_Chain], members: list[int], total: int) -> _Factors:
    one, zero = total, total + 1
    chosen = [chains[i] for i in members]
    n_factors = max(len(chain) for chain in chosen)
    n_terms = max(len(terms) for chain in chosen for terms in chain)
    dim = chosen[0][0][0][1].shape[0]
    entries = np.full((len(chosen), n_factors, n_terms), zero)
    constants = np.zeros((len(chosen), n_factors, n_terms, dim, dim), complex)
    # Shorter chains are filled up with identities.
    entries[:, :, 0] = one
    constants[:, :, 0] = np.eye(dim)
    for s, chain in enumerate(chosen):
        for f, terms in enumerate(chain):
            for b, (entry, constant) in enumerate(terms):
                entries[s, f, b] = one if entry is None else entry
                constants[s, f, b] = constant
    if not np.any(np.imag(constants)):
        constants = np.real(constants)
    return _Factors(tuple(members), entries, constants)


def _gate_chain(
    circuit: Circuit, wires: tuple[int, ...], gates: list[int], starts: dict[int, int]
) -> _Chain:
    """The factors of some gates as matrices on `wires`, constant gates multiplied in."""
    k = len(wires)
    constant = np.eye(2**k, dtype=complex)
    chain: _Chain = []
    for g in gates:
        local = [wires.index(wire) for wire in circuit.wires[g]]
        if is_constant(circuit.gates[g]):
            matrix = constant_matrix(circuit.gates[g])  # pyright: ignore[reportArgumentType]
            constant = _embed(matrix, local, k) @ constant
            continue
        chain.append(
            [
                (
                    None if entry is None else starts[g] + entry,
                    _embed(unit, local, k) @ constant,
                )
                for entry, unit in _gate_terms(circuit, g)
            ]
        )
        constant = np.eye(2**k, dtype=complex)
    if not chain:
        return [[(None, constant)]]
    # What is left over acts last.
    chain[-1] = [(entry, constant @ matrix) for entry, matrix in chain[-1]]
    return chain


def _gate_terms(circuit: Circuit, g: int) -> list[_Term]:
    """Gate g as a sum over its own entries of constant matrices."""
    gate, dim = circuit.gates[g], 2 ** len(circuit.wires[g])
    units = _units(dim)
    terms: list[_Term] = list(enumerate(units))
    if isinstance(gate, str) and gate[0] == "C":
        # A controlled gate: the identity where the control is 0, and four entries.
        kept = [dim * i + j for i in (2, 3) for j in (2, 3)]
        terms = [(None, np.diag([1.0, 1.0, 0.0, 0.0])), *((e, units[e]) for e in kept)]
    return terms


def _embed(matrix: np.ndarray, wires: list[int], n: int) -> np.ndarray:
    """A matrix on some of n wires as one on all of them."""
    k = len(wires)
    rest = [w for w in range(n) if w not in wires]
    full = np.kron(matrix, np.eye(2 ** (n - k))).reshape((2,) * (2 * n))
    order = [*wires, *rest]
    back = [order.index(w) for w in range(n)]
    return full.transpose(*back, *(n + b for b in back)).reshape(2**n, 2**n)

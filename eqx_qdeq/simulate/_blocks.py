"""Blocks: neighboring gates that are multiplied together before they touch a state, and their
unitaries, with few operations however many gates."""

import dataclasses
import functools as ft
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from .._precise import einsum, matmul
from ..circuits import Circuit
from ._qujax import constant_matrix, entry_layout, is_constant


@dataclasses.dataclass(frozen=True)
class Block:
    """Gates that are fused: their positions in the circuit and the wires they act on. Without
    gates: the identity on a wire that no gate touches, whose matrix is not looked at.

    !!! example

        ```python
        from eqx_qdeq import simulate

        block = simulate.Block(wires=(0, 1), gates=(0, 1, 2))
        ```

    **Raises:** `ValueError` for no gates on more than one wire.
    """

    wires: tuple[int, ...]
    gates: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.gates and len(self.wires) != 1:
            raise ValueError(
                f"`gates` is empty for a block on wires {self.wires}; name the positions of its "
                "gates. (Without any, a block is the identity and is skipped.)"
            )


Block.__init__.__doc__ = """**Arguments:**

- `wires`: the wires that the gates act on, in order.
- `gates`: the positions of the gates in the circuit.
"""


def fuse(gate_wires: Sequence[tuple[int, ...]], block_size: int) -> tuple[Block, ...]:
    """Each gate joins the block that grows least, among those it may still join.

    A gate may move to any block that is not followed by a block sharing one of its wires:
    those after the latest such block, and that block itself. A gate on more than `block_size`
    wires is a block of its own.
    """
    # What is smallest in the end is not sought: the number of orders explodes. Taking what grows
    # least costs gates × blocks steps, and the paper's 78 gates on 10 wires become 6 blocks of 5.
    wires: list[set[int]] = []
    gates: list[list[int]] = []
    for g, its_wires in enumerate(gate_wires):
        new = set(its_wires)
        limit = max(block_size, len(new))
        sharing = [b for b, w in enumerate(wires) if w & new]
        earliest = sharing[-1] if sharing else 0
        candidates = [b for b in range(earliest, len(wires)) if len(wires[b] | new) <= limit]
        if candidates:
            best = min(candidates, key=lambda b: (len(wires[b] | new) - len(wires[b]), b))
            wires[best] |= new
            gates[best].append(g)
        else:
            wires.append(new)
            gates.append([g])
    return tuple(Block(tuple(sorted(w)), tuple(g)) for w, g in zip(wires, gates, strict=True))


# --- Unitaries --------------------------------------------------------------------------------
#
# A gate on some of a block's k wires is linear in its own entries e_b(θ),
#
#     F = Σ_b e_b K_b,
#
# with constant matrices K_b of size 2ᵏ × 2ᵏ: K_b has a one for each place where entry b goes. So
# all factors of all blocks come from one contraction, and each block's product from a tree of
# batched matrix products. Written gate by gate, the program would grow with the gates, and with it
# the time to compile it.
#
# This is done twice: gates are multiplied into *pairs* on two wires, where a product costs little,
# and the few pairs of a block into its unitary. Gates without parameters are constant and are
# multiplied into the K_b beforehand.
#
# Everything is in real arithmetic, real and imaginary parts along an axis of their own: a batch of
# complex products is several times slower on CPUs.

_PAIR = 2


@dataclasses.dataclass(frozen=True, eq=False)
class _Factors:
    """The factors of all products that have matrices of one size.

    `entries[s, f, b]` is the position, in a pool of numbers that ends with 1 and 0, of the b-th
    coefficient of factor f of the s-th of these products; `constants` holds the K_b, as
    (real part, imaginary part) only if they are complex. Where every number of the matrices is a
    single one of the pool, `places` says which.
    """

    members: tuple[int, ...]
    entries: np.ndarray  # (products, factors, b)
    constants: np.ndarray  # (products, factors, b, dim, dim), real or complex
    places: np.ndarray | None  # (products, factors, dim, dim)


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
    # A stack's products side by side, as they are: each by itself would be one more to compile.
    numbers = [
        jnp.swapaxes(u, 1, 2).reshape(len(u), 2, u.shape[1] * u.shape[3] ** 2)
        for u in _multiply_all(pairs, pool)
    ]
    stacked = _multiply_all(products, jnp.concatenate(numbers or [pool[..., :0]], axis=2))
    out: dict[int, Array] = {}
    for stack, unitaries in zip(products, stacked, strict=True):
        out |= {member: unitaries[:, s] for s, member in enumerate(stack.members)}
    return [out[i] for i in range(len(out))]


def _multiply_all(
    stacks: Sequence[_Factors], pool: Float[Array, "n 2 entries"]
) -> list[Float[Array, "n products 2 _ _"]]:
    """The products of each stack."""
    ends = np.zeros((2, 2), pool.dtype)
    ends[0, 0] = 1
    pool = jnp.concatenate([pool, jnp.broadcast_to(ends, (pool.shape[0], 2, 2))], axis=2)
    return [_ordered_product(_factor_matrices(stack, pool)) for stack in stacks]


def _factor_matrices(stack: _Factors, pool: Float[Array, "n 2 entries"]) -> Array:
    """The factors, shape `(n, products, factors, 2, dim, dim)`."""
    if stack.places is not None:
        return _placed(stack.places, pool)
    constants, spec = stack.constants, "ncsfb,sfbij->nsfcij"
    if np.iscomplexobj(constants):
        re, im = np.real(constants), np.imag(constants)
        # (re + i im)(a + i b): what each part of a coefficient adds to each part of the matrix.
        constants = np.stack([np.stack([re, im]), np.stack([-im, re])])
        spec = "ncsfb,cdsfbij->nsfdij"
    constants = jnp.asarray(constants, pool.dtype)
    return einsum(spec, pool[:, :, stack.entries], constants)


def _placed(places: np.ndarray, pool: Float[Array, "n 2 entries"]) -> Array:
    """The pool's numbers where they belong, shape `(n, *places.shape[:2], 2, dim, dim)`."""
    size = pool.shape[2]
    index = np.stack([places, places + size], axis=2)
    order = np.argsort(index, axis=None, kind="stable")
    order = order[index.reshape(-1)[order] % size < size - 2]  # without ones and zeros
    sources, counts = np.unique(index.reshape(-1)[order], return_counts=True)

    @jax.custom_jvp
    def place(pool: Float[Array, "n numbers"]) -> Float[Array, "n places"]:
        return pool[:, index.reshape(-1)]

    @place.defjvp
    def place_jvp(primals, tangents):
        # Not as above, whose transpose in reverse mode adds one number at a time. That of this one
        # collects, for each of the pool, its places.
        (pool,), (t_pool,) = primals, tangents
        tangent = t_pool[:, sources]
        if (counts == counts[:1]).all():
            repeats = (len(pool), len(counts), int(counts[:1].sum()))
            tangent = jnp.broadcast_to(tangent[..., None], repeats).reshape(len(pool), -1)
        else:
            tangent = tangent[:, np.repeat(np.arange(len(counts)), counts)]
        zeros = jnp.zeros((len(pool), index.size), pool.dtype)
        return place(pool), zeros.at[:, order].set(tangent, unique_indices=True)

    return place(pool.reshape(len(pool), -1)).reshape(len(pool), *index.shape)


def _ordered_product(matrices: Float[Array, "n s f 2 dim dim"]) -> Float[Array, "n s 2 dim dim"]:
    """M_{f-1} ⋯ M_1 M_0, by pairing neighbors."""
    while (n := matrices.shape[2]) > 1:
        # M_1 M_0, M_3 M_2, …; an odd one out waits for the next round.
        even = n - n % 2
        paired = multiply(matrices[:, :, 1:even:2], matrices[:, :, 0:even:2])
        matrices = jnp.concatenate([paired, matrices[:, :, even:]], axis=2)
    return matrices[:, :, 0]


def multiply(a: Float[Array, "*b 2 dim dim"], b: Float[Array, "*b 2 dim dim"]) -> Array:
    """The products a b of complex matrices in real and imaginary parts."""
    # The real form of a times the first column of that of b, [Re b; Im b]: the second column
    # would only say the same again.
    *batch, _, dim, _ = b.shape
    column = b.reshape(*batch, 2 * dim, dim)
    return matmul(real_form(a), column).reshape(b.shape)


def real_form(matrix: Float[Array, "*b 2 rows cols"]) -> Float[Array, "*b 2*rows 2*cols"]:
    """`[[Re, -Im], [Im, Re]]`: a complex matrix as a real one."""
    # (A + iB)(x + iy) = (Ax - By) + i (Bx + Ay), so the real form of A + iB times [x; y] is the
    # product in real and imaginary parts, and real forms multiply as the matrices do.
    re, im = matrix[..., 0, :, :], matrix[..., 1, :, :]
    top = jnp.concatenate([re, -im], axis=-1)
    bottom = jnp.concatenate([im, re], axis=-1)
    return jnp.concatenate([top, bottom], axis=-2)


# --- What is fixed by the circuit alone: computed once, in NumPy ---------------------------------

_Factor = tuple[list[int | None], np.ndarray]
"""The positions of b coefficients (None for 1) and their constant matrices, (b, dim, dim)."""


@ft.lru_cache(maxsize=256)
def _hierarchy(
    circuit: Circuit, blocks: tuple[Block, ...]
) -> tuple[list[_Factors], list[_Factors]]:
    """How gates are multiplied into pairs, and pairs into blocks."""
    pair_chains: list[list[_Factor]] = []
    pairs_of: list[list[tuple[int, list[int]]]] = []  # of each block, with their wires in it
    starts, total = entry_layout(circuit)
    for block in blocks:
        pairs_of.append([])
        for pair in fuse([circuit.wires[g] for g in block.gates], _PAIR):
            # A lone wire is taken with a neighbor: then nearly all pairs have one size.
            spare = [w for w in block.wires if w not in pair.wires]
            wires = pair.wires + tuple(spare[: max(0, _PAIR - len(pair.wires))])
            gates = [block.gates[i] for i in pair.gates]
            pairs_of[-1].append((len(pair_chains), [block.wires.index(w) for w in wires]))
            pair_chains.append(_gate_chain(circuit, wires, gates, starts))
    pairs = _stacks(pair_chains, total)
    # Their numbers, in the stacks' order.
    begins, position = {}, 0
    for stack in pairs:
        for member in stack.members:
            begins[member] = position
            position += stack.constants.shape[-1] ** 2
    block_chains: list[list[_Factor]] = []
    for block, members in zip(blocks, pairs_of, strict=True):
        k = len(block.wires)
        chain: list[_Factor] = []
        for pair, local in members:
            units = _units(2 ** len(local))
            positions: list[int | None] = [begins[pair] + i for i in range(len(units))]
            chain.append((positions, _embed(units, local, k)))
        block_chains.append(chain or [([None], np.eye(2**k)[None])])
    return pairs, _stacks(block_chains, position)


def _units(dim: int) -> np.ndarray:
    """The matrices with a single one, row by row."""
    return np.eye(dim * dim).reshape(-1, dim, dim)


def _stacks(chains: list[list[_Factor]], total: int) -> list[_Factors]:
    """The chains as arrays, those with matrices of one size together."""
    by_size: dict[int, list[int]] = {}
    for i, chain in enumerate(chains):
        by_size.setdefault(chain[0][1].shape[-1], []).append(i)
    return [_stack(chains, members, total) for members in by_size.values()]


def _stack(chains: list[list[_Factor]], members: list[int], total: int) -> _Factors:
    one, zero = total, total + 1
    chosen = [chains[i] for i in members]
    n_factors = max(len(chain) for chain in chosen)
    n_terms = max(len(positions) for chain in chosen for positions, _ in chain)
    dim = chosen[0][0][1].shape[-1]
    is_complex = any(np.any(np.imag(constants)) for chain in chosen for _, constants in chain)
    # int32: JAX must not meet one kept array as int32 first and, in x64 mode, as int64 later.
    entries = np.full((len(chosen), n_factors, n_terms), zero, np.int32)
    constants = np.zeros((*entries.shape, dim, dim), complex if is_complex else float)
    # Chains of one size are one array, so that each level of the product's tree is one batched
    # product, however many blocks there are. Shorter chains are filled up with identities, and
    # shorter sums with zeros: that is some arithmetic too many and no operation more.
    entries[:, :, 0] = one
    constants[:, :, 0] = np.eye(dim)
    for s, chain in enumerate(chosen):
        for f, (positions, matrices) in enumerate(chain):
            entries[s, f, : len(positions)] = [one if p is None else p for p in positions]
            constants[s, f, : len(positions)] = matrices if is_complex else np.real(matrices)
    return _Factors(tuple(members), entries, constants, _places(entries, constants, zero))


def _places(entries: np.ndarray, constants: np.ndarray, zero: int) -> np.ndarray | None:
    """Which number of the pool stands where, if there is just one everywhere."""
    used = constants != 0
    if np.any(constants[used] != 1) or np.any(np.sum(used, axis=2) > 1):
        return None
    chosen = np.argmax(used, axis=2)[:, :, None]
    places = np.take_along_axis(entries[..., None, None], chosen, axis=2)[:, :, 0]
    return np.where(np.any(used, axis=2), places, np.int32(zero))


def _gate_chain(
    circuit: Circuit, wires: tuple[int, ...], gates: list[int], starts: dict[int, int]
) -> list[_Factor]:
    """The factors of some gates as matrices on `wires`, constant gates multiplied in."""
    k = len(wires)
    # With constant gates C in between, F C = Σ e_b (K_b C): they vanish into the K_b of the gate
    # behind them, and at the end of the chain into those of the gate before.
    constant = np.eye(2**k, dtype=complex)
    chain: list[_Factor] = []
    for g in gates:
        local = [wires.index(wire) for wire in circuit.wires[g]]
        if is_constant(circuit.gates[g]):
            matrix = constant_matrix(circuit.gates[g])  # pyright: ignore[reportArgumentType]
            constant = _embed(matrix[None], local, k)[0] @ constant
            continue
        entries, matrices = _gate_factor(circuit, g)
        positions = [None if entry is None else starts[g] + entry for entry in entries]
        chain.append((positions, _embed(matrices, local, k) @ constant))
        constant = np.eye(2**k, dtype=complex)
    if not chain:
        return [([None], constant[None])]
    positions, matrices = chain[-1]
    chain[-1] = (positions, constant @ matrices)
    return chain


def _gate_factor(circuit: Circuit, g: int) -> _Factor:
    """Gate g as a sum over its own entries of constant matrices."""
    gate, dim = circuit.gates[g], 2 ** len(circuit.wires[g])
    units = _units(dim)
    if isinstance(gate, str) and gate[0] == "C":
        # A controlled gate (those with angles have one control and one target): the identity where
        # the control is 0, and four entries of sixteen.
        kept = [dim * i + j for i in (2, 3) for j in (2, 3)]
        return [None, *kept], np.concatenate([np.diag([1.0, 1.0, 0.0, 0.0])[None], units[kept]])
    return list(range(dim * dim)), units


def _embed(matrices: np.ndarray, wires: list[int], n: int) -> np.ndarray:
    """Matrices on some of n wires, shape (b, 2**k, 2**k), as ones on all of them."""
    # M ⊗ 1 with the wires of M in front, then all wires are brought into their order, those of
    # the rows and those of the columns alike.
    b, k = matrices.shape[0], len(wires)
    others = np.eye(2 ** (n - k))
    full = matrices[:, :, None, :, None] * others[:, None, :]
    order = [*wires, *(w for w in range(n) if w not in wires)]
    back = [1 + order.index(w) for w in range(n)]
    full = full.reshape((b,) + (2,) * (2 * n))
    return full.transpose(0, *back, *(n + i for i in back)).reshape(b, 2**n, 2**n)

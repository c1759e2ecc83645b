"""The peak memory of a program, from its traced form: nothing is compiled and nothing is run.

XLA keeps an array from the operation that makes it to the last one that reads it. So we go through
the program's operations in their order, with these rules for what XLA makes of them:

- what is computed entry by entry is not stored if all that read it do so entry by entry (fusion);
- where it is stored, it takes the place of an argument of its size that nobody reads any more;
- a product of matrices wants the axes that it sums over side by side; otherwise an argument is
  copied;
- a loop needs what it carries, what one turn needs, and what all its turns leave.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax.extend import core
from jaxtyping import PyTree

from ._checks import check_at_least, describe
from ._memory import available_bytes, in_units, memory_limit


@dataclasses.dataclass(frozen=True)
class Memory:
    """The most memory that evaluating and differentiating a model takes at a time.

    !!! example

        ```python
        import jax
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        model = qdeq.QDEQ(4, 16, key=jax.random.key(0))
        needed = qdeq.memory(model, jnp.ones(16), batch=256)
        needed.value < needed.gradient < needed.available  # True
        ```

    **Attributes:**

    - `value`: the bytes of an evaluation: parameters, samples, values and all that is stored in
        between.
    - `gradient`: the bytes of value and gradient, the gradient among them. What an optimizer keeps
        is not: Adam's state has twice the bytes of the parameters.
    - `available`: the bytes that there are; `None` if the machine does not say.
    - `batch`: the number of samples; `None` for one without an axis of samples.
    - `exact`: whether these are XLA's own numbers.
    """

    value: int
    gradient: int
    available: int | None
    batch: int | None
    exact: bool

    def __str__(self) -> str:
        too_much = self.available is not None and self.gradient > self.available
        there = f", more than there is ({in_units(self.available or 0)})" if too_much else ""
        for_samples = "one sample" if self.batch is None else f"a batch of {self.batch:,}"
        return (
            f"{in_units(self.value)} for the values of {for_samples}, "
            f"{in_units(self.gradient)} with the gradient{there}"
        )


def memory(
    model: Callable[[Any], PyTree], x: PyTree, *, batch: int | None = None, exact: bool = False
) -> Memory:
    """The bytes of a training step: of a model's values and their gradient in its parameters.

    The model is traced, not compiled and not run, so states that do not fit can be asked about. The
    result is an estimate, [between 0.45 and 1.8 times](../concepts.md#memory) what XLA takes on a
    CPU for layers and equilibria from some 100 KiB on; of others and of small ones it is rougher.

    !!! example

        ```python
        import jax
        import eqx_qdeq as qdeq

        model = qdeq.QDEQ(12, 4096, key=jax.random.key(0))
        x = jax.ShapeDtypeStruct((4096,), "float32")
        print(qdeq.memory(model, x, batch=64))
        ```

    **Arguments:**

    - `model`: any function of one sample, e.g. a layer, an equilibrium, a classifier. Its floating
        point arrays are the parameters; those that a closure holds are not seen, and without
        parameters there is no gradient.
    - `x`: a sample, or its shape as a `jax.ShapeDtypeStruct`.
    - `batch`: the number of samples; if left out, `x` is given to the model as it is.
    - `exact`: whether to compile (but not to run) and to return what XLA says.

    **Returns:** an [`eqx_qdeq.Memory`][].

    **Raises:** `ValueError` if `batch` is not positive, `TypeError` if `model` cannot be called.
    """
    if not callable(model):
        raise TypeError(f"`model` must be a function of one sample; got {describe(model)}.")
    if batch is not None:
        check_at_least("batch", batch, 1)
        batch = int(batch)
    samples = () if batch is None else (batch,)
    x = jtu.tree_map(lambda a: _shape_of(a, samples), x)
    params, static = eqx.partition(model, eqx.is_inexact_array)
    arrays, static = eqx.partition(static, eqx.is_array)

    def values(params: PyTree, rest: PyTree) -> PyTree:
        arrays, x = rest
        full = eqx.combine(params, arrays, static)
        out = full(x) if batch is None else eqx.filter_vmap(lambda one: full(one))(x)
        return eqx.filter(out, eqx.is_array)

    def loss(params: PyTree, rest: PyTree) -> jax.Array:
        leaves = jtu.tree_leaves(eqx.filter(values(params, rest), eqx.is_inexact_array))
        return sum((jnp.mean(jnp.abs(leaf) ** 2) for leaf in leaves), jnp.zeros(()))

    args = jtu.tree_map(lambda a: _shape_of(a, ()), (params, (arrays, x)))
    with memory_limit(math.inf):
        value, gradient = (_bytes(f, args, exact) for f in (values, jax.value_and_grad(loss)))
    return Memory(value, max(value, gradient), available_bytes(), batch, exact)


def _shape_of(leaf: Any, samples: tuple[int, ...]) -> jax.ShapeDtypeStruct:
    leaf = leaf if hasattr(leaf, "dtype") else jnp.asarray(leaf)
    dtype = jax.dtypes.canonicalize_dtype(leaf.dtype, allow_extended_dtype=True)
    return jax.ShapeDtypeStruct((*samples, *leaf.shape), dtype)


def _bytes(function: Callable[..., PyTree], args: tuple[PyTree, ...], exact: bool) -> int:
    traced = jax.jit(function).trace(*args)
    if not exact:
        inputs = sum(bytes_of(leaf) for leaf in jtu.tree_leaves(args))
        return inputs + peak_bytes(traced.jaxpr.jaxpr)
    analysis = traced.lower().compile().memory_analysis()
    if analysis is None:
        raise RuntimeError("this JAX back end does not say what a program needs; use exact=False.")
    return (
        analysis.argument_size_in_bytes
        + analysis.output_size_in_bytes
        + analysis.temp_size_in_bytes
    )


# --- Of a program ---------------------------------------------------------------------------------

# The same bytes under another name.
_VIEWS = frozenset(
    """reshape squeeze expand_dims copy_p pvary stop_gradient optimization_barrier hide_mesh
    show_mesh within_memory""".split()
)
# Made entry by entry.
_FUSED = frozenset(
    """abs add add_any and atan2 broadcast_in_dim cbrt ceil clamp complex concatenate conj
    convert_element_type copy cos cosh div dynamic_slice eq erf exp exp2 expm1 floor gather ge gt
    imag integer_pow iota is_finite le log log1p logistic lt max min mul ne neg nextafter not or
    pad population_count pow real reduce_precision rem rev round rsqrt select_n shift_left
    shift_right_arithmetic shift_right_logical sign sin sinh slice sqrt square sub tan tanh
    transpose xor""".split()
)
# Too dear to be made anew for each reader, as XLA's fusion does.
_DEAR = frozenset(
    """atan2 cbrt concatenate cos cosh div erf exp exp2 expm1 gather log log1p logistic pad pow rem
    rsqrt sin sinh sqrt tan tanh""".split()
)
_READ_ONCE = frozenset(
    "argmax argmin reduce_and reduce_max reduce_min reduce_or reduce_prod reduce_sum".split()
)
_LOOPS = frozenset(["while", "scan", "cond"])
# Each entry is made of those in its place, so what is read may be written over.
_MOVED = frozenset(
    "broadcast_in_dim concatenate dynamic_slice gather iota pad rev slice transpose".split()
)
_IN_PLACE = (_FUSED - _MOVED) | _LOOPS | {"dynamic_update_slice", "scatter", "scatter-add"}


class _Operation(NamedTuple):
    name: str
    equation: core.JaxprEqn
    reads: list[int]
    makes: list[int]


class _Program:
    """The operations with calls put in their place, and all arrays by numbers."""

    def __init__(self, jaxpr: core.Jaxpr):
        self.sizes: list[int] = []
        self.operations: list[_Operation] = []
        numbers = {var: self._number(var) for var in [*jaxpr.constvars, *jaxpr.invars]}
        results = self._put(jaxpr, numbers)
        self.results = {i for i in results if i is not None}

    def _number(self, var: core.Var) -> int:
        self.sizes.append(bytes_of(var.aval))
        return len(self.sizes) - 1

    def _put(self, jaxpr: core.Jaxpr, numbers: dict[core.Var, int]) -> list[int | None]:
        """Adds a program's operations; returns the numbers of its results, none for constants."""

        def known(atoms: Iterable[core.Var | core.Literal]) -> list[int | None]:
            return [numbers[a] if isinstance(a, core.Var) else None for a in atoms]

        for equation in jaxpr.eqns:
            reads, called = known(equation.invars), _called(equation)
            if called is None:
                makes = [numbers.setdefault(v, self._number(v)) for v in equation.outvars]
                name = equation.primitive.name
                reads = [i for i in reads if i is not None]
                self.operations.append(_Operation(name, equation, reads, makes))
                continue
            inside = {var: self._number(var) for var in called.constvars}
            for var, i in zip(called.invars, reads, strict=True):
                inside[var] = self._number(var) if i is None else i
            for var, i in zip(equation.outvars, self._put(called, inside), strict=True):
                numbers[var] = self._number(var) if i is None else i
        return known(jaxpr.outvars)


def _called(equation: core.JaxprEqn) -> core.Jaxpr | None:
    """The program that an operation stands for, if it is a call."""
    if equation.primitive.name in _LOOPS:
        return None
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        called = equation.params.get(name)
        called = getattr(called, "jaxpr", called)
        if isinstance(called, core.Jaxpr) and len(called.invars) == len(equation.invars):
            return called
    return None


def bytes_of(aval: object) -> int:
    itemsize = getattr(getattr(aval, "dtype", None), "itemsize", 0)
    return math.prod(getattr(aval, "shape", ())) * itemsize


def peak_bytes(jaxpr: core.Jaxpr) -> int:
    """The most bytes that live at a time besides a program's arguments; results are counted."""
    program = _Program(jaxpr)
    stored, last = _lifetimes(program)
    live = most = 0
    held: set[int] = set()
    for k, operation in enumerate(program.operations):
        made = [i for i in operation.makes if stored[i] and last[i] > k]
        new = sum(program.sizes[i] for i in made)
        # An argument that dies here, as large as what is made of it.
        spare = [program.sizes[i] for i in held if last[i] <= k]
        in_place = 0
        if operation.name in _IN_PLACE:
            for size in (program.sizes[i] for i in made):
                if size in spare:
                    spare.remove(size)
                    in_place += size
        most = max(most, live + new - in_place + _meanwhile(operation))
        held |= set(made)
        held = {i for i in held if last[i] > k}
        live = sum(program.sizes[i] for i in held)
    return most


def _lifetimes(program: _Program) -> tuple[list[bool], list[int]]:
    """Which arrays are stored, and the operation that reads each of them last, through views of it
    and through all that is fused with what reads it."""
    operations, n = program.operations, len(program.operations)
    stored, last = [True] * len(program.sizes), [-1] * len(program.sizes)
    readers: list[set[int]] = [set() for _ in program.sizes]
    results = set(program.results)
    for k, operation in enumerate(operations):
        for i in operation.reads:
            readers[i].add(k)
    for i in results:
        last[i] = n
    for k in reversed(range(n)):
        name, _, reads, makes = operations[k]
        if name in _VIEWS:
            for i, j in zip(makes, reads, strict=False):
                stored[i], last[j] = False, max(last[j], last[i])
                readers[j] = (readers[j] - {k}) | readers[i]
                if i in results:
                    results.add(j)
            continue
        if all(last[i] < 0 for i in makes) and name not in _LOOPS:
            for j in reads:
                readers[j].discard(k)
            continue  # read by nobody
        end = k
        if name in _FUSED:
            (i,) = makes
            entrywise = all(operations[r].name in _FUSED | _READ_ONCE for r in readers[i])
            if i not in results and entrywise and (len(readers[i]) <= 1 or name not in _DEAR):
                stored[i], end = False, last[i]
        for j in reads:
            last[j] = max(last[j], end)
    return stored, last


def _meanwhile(operation: _Operation) -> int:
    """What an operation needs while it runs, besides its arguments and what it makes."""
    params = operation.equation.params
    if operation.name == "dot_general":
        return _copied(operation.equation)
    if operation.name == "while":
        return peak_bytes(params["body_jaxpr"].jaxpr)
    if operation.name == "scan":
        body = params["jaxpr"].jaxpr
        slices = body.invars[params["num_consts"] + params["num_carry"] :]
        return peak_bytes(body) + sum(bytes_of(var.aval) for var in slices)
    if operation.name == "cond":
        results = sum(bytes_of(var.aval) for var in operation.equation.outvars)
        return max(peak_bytes(branch.jaxpr) for branch in params["branches"]) - results
    return 0


def _copied(equation: core.JaxprEqn) -> int:
    """The arguments of a product whose axes are brought into order first."""
    summed, together = equation.params["dimension_numbers"]
    total = 0
    for atom, inner, outer in zip(equation.invars, summed, together, strict=True):
        shape = atom.aval.shape  # pyright: ignore[reportAttributeAccessIssue]
        long = [a for a in range(len(shape)) if shape[a] > 1]
        outer, inner = ([a for a in axes if a in long] for axes in (outer, inner))
        rest = [a for a in long if a not in inner and a not in outer]
        if long not in ([*outer, *rest, *inner], [*outer, *inner, *rest]):
            total += bytes_of(atom.aval)
    return total

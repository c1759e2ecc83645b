"""How the solves inside a model went, wherever in it they stand.

A function that is traced returns what its author returns, not what a solve deep inside knows. So
each solve *names* its numbers in the program (`jax.ad_checkpoint.checkpoint_name`: an identity that
every transformation of JAX knows, and that costs nothing where nobody asks), and whoever asks
traces the program, finds the names, and lets it return their sums as well.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float, PyTree

from .._trees import call_doc, summary, Text
from ._harvest import FAR, HOW, names, run, Sums, Wanted
from ._solve import Solution

_SOUGHT, _UNROLLED = "eqx_qdeq: solve", "eqx_qdeq: unrolled"


def noted(solution: Solution, *, sought: bool = True) -> Solution:
    """The solution, its numbers named in the program for `with_solves`. `sought` says whether an
    equilibrium was wanted, or a fixed number of applications."""
    tag = _SOUGHT if sought else _UNROLLED
    steps = jnp.asarray(solution.stats["num_steps"])
    # One number for both, so that they cannot be parted: -1 - steps for a solve that failed.
    how = checkpoint_name(jnp.where(solution.success, steps, ~steps), tag + HOW)
    far = checkpoint_name(solution.stats["residual"], tag + FAR)
    stats = solution.stats | {"num_steps": jnp.where(how < 0, ~how, how), "residual": far}
    return Solution(solution.value, solution.result, stats)


class Solves(eqx.Module):
    """What the solves in a call of a model came to: sums over all of them.

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        cell = qdeq.FunctionCell(lambda z, x: jnp.tanh(0.5 * z + x), jnp.zeros_like)
        deq = qdeq.DEQ(cell)
        twice = lambda x: deq(deq(x))
        value, found = qdeq.solves(twice, jnp.ones(2))
        int(found.count), int(found.num_converged)  # (2, 2)
        ```

    **Attributes:**

    - `count`: how many there were.
    - `num_steps`: the steps of all of them.
    - `residual`, `residual_max`: the sum of all ‖f(z) - z‖, and the largest.
    - `num_converged`: how many met their tolerance.
    - `sought`: whether equilibria were sought. If not, all of them are of
        [`eqx_qdeq.Unrolled`][], which are counted only where there is nothing else.
    - `unseen`: transformations with solves inside that could not be looked into.
    """

    count: Float[Array, "..."]
    num_steps: Float[Array, "..."]
    residual: Float[Array, "..."]
    residual_max: Float[Array, "..."]
    num_converged: Float[Array, "..."]
    sought: bool = eqx.field(static=True, default=True)
    unseen: tuple[str, ...] = eqx.field(static=True, default=())

    @classmethod
    def of(cls, solution: Solution, *, sought: bool = True) -> "Solves":
        """Those of a single solve, or of a batch of them, each by itself."""
        number = lambda value: jax.lax.stop_gradient(jnp.asarray(value, jnp.result_type(float)))
        residual = number(solution.stats["residual"])
        steps, success = number(solution.stats["num_steps"]), number(solution.success)
        return cls(jnp.ones_like(success), steps, residual, residual, success, sought)

    @property
    def success(self) -> Bool[Array, "..."]:
        """Whether all of them met their tolerance."""
        return self.num_converged == self.count

    def __pdoc__(self, **kwargs: Any) -> Any:
        numbers = {name: Text(summary(getattr(self, name))) for name in Sums._fields}
        more = {"unseen": self.unseen} if self.unseen else {}
        return call_doc("Solves", numbers | more, **kwargs)


def solves(model: Callable[..., PyTree], *args: PyTree, **named: PyTree) -> tuple[PyTree, Solves]:
    """Calls a model, and says how the solves inside went: of every [`eqx_qdeq.DEQ`][],
    [`eqx_qdeq.Unrolled`][] and [`eqx_qdeq.SampledDEQ`][], however deep, also under the model's own
    `jit`, `vmap`, `scan`, `checkpoint` and so on.

    !!! example

        ```python
        import equinox as eqx
        import jax
        import eqx_qdeq as qdeq

        key1, key2 = jax.random.split(jax.random.key(0))
        model = eqx.nn.Sequential(
            [qdeq.QDEQ(4, 16, key=key1), eqx.nn.Linear(4, 10, key=key2)]
        )
        x = jax.random.normal(jax.random.key(1), (32, 16))
        logits, found = jax.vmap(lambda x: qdeq.solves(model, x))(x)
        print(found)  # Solves(count=1 to 1, …)
        assert found.success.all()
        ```

    **Arguments:**

    - `model`: anything that is called, e.g. an Equinox module of one sample.
    - `args`, `named`: what it is called with. Batch with `jax.vmap` from outside, as above.

    **Returns:** what the model returns, and the [`eqx_qdeq.Solves`][] of this call, without
    derivatives. A solve inside a loop, or of a batch inside the model, is counted as often as it is
    made.
    """
    out, found = _compiled(model, args, named)
    zero = jnp.zeros((), jnp.result_type(float))
    return out, Solves(zero, zero, zero, zero, zero) if found is None else found


@eqx.filter_jit
def _compiled(
    model: Callable[..., PyTree], args: tuple[PyTree, ...], named: dict[str, PyTree]
) -> tuple[PyTree, Solves | None]:
    return with_solves(model, *args, **named)


def with_solves(
    function: Callable[..., PyTree], *args: PyTree, **named: PyTree
) -> tuple[PyTree, Solves | None]:
    """As `solves`; `None` if it is known that nothing is solved."""
    call = lambda args, named: function(*args, **named)
    closed, arrays, rest = eqx.filter_make_jaxpr(call)(args, named)
    leaves = jtu.tree_leaves(eqx.filter((args, named), eqx.is_array))
    sought = names(closed.jaxpr, _SOUGHT)
    wanted = Wanted(_SOUGHT if sought else _UNROLLED, [])
    out, sums = run(closed.jaxpr, closed.consts, leaves, wanted)
    out = eqx.combine(jtu.tree_unflatten(jtu.tree_structure(arrays), out), rest)
    if not (sought or names(closed.jaxpr, _UNROLLED)):
        return out, None
    return out, Solves(*sums, sought, tuple(dict.fromkeys(wanted.unseen)))

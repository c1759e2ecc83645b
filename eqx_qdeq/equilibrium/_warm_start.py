"""Better initial guesses: from a network, from the last time, from the step before."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PyTree

from .._checks import check_at_least, check_instance, describe
from .._trees import tree_where
from ..cells import AbstractCell
from ._deq import DEQ
from ._solve import check_cell, Solution


class GuessedCell(AbstractCell):
    """A cell whose solves start from a learned guess.

    The equilibrium and its implicit derivatives do not depend on where a solve starts, so the
    loss of a task does not train the guess. [`eqx_qdeq.guess_loss`][] does.

    !!! example

        ```python
        import equinox as eqx
        import jax
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        cell = qdeq.FunctionCell(lambda z, x: 0.5 * z + x, jnp.zeros_like)
        guess = eqx.nn.MLP(2, 2, width_size=8, depth=1, key=jax.random.key(0))
        deq = qdeq.DEQ(qdeq.GuessedCell(cell, guess))
        deq(jnp.ones(2)).round(3)  # [2. 2.]
        ```

    ??? cite "Reference"

        S. Bai, V. Koltun and J. Z. Kolter, "Neural deep equilibrium solvers", ICLR 2022.
    """

    cell: AbstractCell
    guess: Callable[[PyTree[Array]], PyTree[Array]]

    def __check_init__(self) -> None:
        check_cell(self.cell)
        if not callable(self.guess):
            raise TypeError(
                f"`guess` must be a function `x -> z0` of one sample; got {describe(self.guess)}."
            )

    @property
    def follows_flow(self) -> bool:
        return self.cell.follows_flow

    def accept(self, x: Any) -> PyTree[Array]:
        return self.cell.accept(x)

    def init(self, x: PyTree[Array]) -> PyTree[Array]:
        return self.guess(x)

    def bind(self, x: PyTree[Array]) -> Callable[[PyTree[Array]], PyTree[Array]]:
        return self.cell.bind(x)


GuessedCell.__init__.__doc__ = """**Arguments:**

- `cell`: the cell.
- `guess`: `x -> z0` for one sample, e.g. an `equinox.nn.MLP`.

**Raises:** `TypeError` for what is no cell, or a guess that is no function.
"""


def guess_loss(cell: AbstractCell, x: PyTree[Array], z: PyTree[Array]) -> Float[Array, ""]:
    """The mean squared distance between a cell's initial guess and the equilibrium.

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        cell = qdeq.FunctionCell(lambda z, x: 0.5 * z + x, jnp.zeros_like)
        guessed = qdeq.GuessedCell(cell, lambda x: 1.5 * x)
        x = jnp.ones(2)
        qdeq.guess_loss(guessed, x, z=qdeq.DEQ(guessed)(x)).round(3)  # 0.25
        ```

    **Arguments:**

    - `cell`: a [`eqx_qdeq.GuessedCell`][], or any cell whose `init` can be trained.
    - `x`: one sample.
    - `z`: its equilibrium, taken as constant.

    **Returns:** a scalar; add it to the loss of the task.
    """
    # The equilibrium is the target and must not move toward the guess.
    guess, _ = ravel_pytree(cell.init(x))
    return jnp.mean((guess - jax.lax.stop_gradient(ravel_pytree(z)[0])) ** 2)


class EquilibriumMemory(eqx.Module):
    """The last known equilibrium of each sample of a data set, for the next epoch.

    !!! example

        ```python
        import jax
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        deq = qdeq.QDEQ(4, 16, key=jax.random.key(0)).deq
        data = jax.random.normal(jax.random.key(1), (100, 16))
        memory = qdeq.EquilibriumMemory.like(jnp.zeros(4), n_samples=100)
        for _ in range(2):  # the second time, each solve starts from its solution
            for batch in jnp.arange(100).reshape(4, 25):
                solve = lambda x, z0: deq.solve(x, z0=z0)
                solution = jax.vmap(solve)(data[batch], memory.read(batch))
                memory = memory.write(batch, solution)
        assert solution.stats["num_steps"].max() == 1
        ```

    Where the last solve failed the next one starts as if there had been none.
    """

    values: PyTree[Array]
    initial: PyTree[Array]

    @staticmethod
    def like(z: PyTree[Array], *, n_samples: int) -> "EquilibriumMemory":
        """A memory of `n_samples` states, each of which is `z` until it is known better.

        **Raises:** `ValueError` for fewer than one sample.
        """
        check_at_least("n_samples", n_samples, 1)
        z = jtu.tree_map(jnp.asarray, z)
        repeat = lambda a: jnp.broadcast_to(a, (n_samples, *a.shape))
        return EquilibriumMemory(jtu.tree_map(repeat, z), z)

    def read(self, indices: Int[Array | np.ndarray, " batch"]) -> PyTree[Array]:
        """The initial guesses of these samples, each array of shape `(batch, ...)`."""
        return jtu.tree_map(lambda a: a[indices], self.values)

    def write(
        self, indices: Int[Array | np.ndarray, " batch"], solution: Solution
    ) -> "EquilibriumMemory":
        """A memory that knows the solutions of these samples."""
        # What failed starts afresh: a bad guess might fail again.
        known = jax.vmap(tree_where, (0, 0, None))(solution.success, solution.value, self.initial)
        put = lambda a, new: a.at[indices].set(jax.lax.stop_gradient(new))
        return EquilibriumMemory(jtu.tree_map(put, self.values, known), self.initial)


EquilibriumMemory.__init__.__doc__ = """**Arguments:**

- `values`: the states, each array of shape `(n_samples, ...)`; made by
    [`eqx_qdeq.EquilibriumMemory.like`][].
- `initial`: where a sample starts that is not known.
"""


def solve_sequence(deq: DEQ, xs: PyTree[Array], *, z0: PyTree[Array] | None = None) -> Solution:
    """The equilibria of a sequence, e.g. of the frames of a film: each solve starts where the one
    before ended.

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        cell = qdeq.FunctionCell(lambda z, x: 0.5 * z + x, jnp.zeros_like)
        frames = jnp.array([[1.0], [1.1], [1.2]])
        qdeq.solve_sequence(qdeq.DEQ(cell), frames).value[:, 0].round(3)  # [2. 2.2 2.4]
        ```

    **Arguments:**

    - `deq`: the equilibrium.
    - `xs`: the samples in order, each array of shape `(time, ...)`.
    - `z0`: the first initial guess; the cell's own if left out.

    **Returns:** a [`eqx_qdeq.Solution`][] whose arrays have a leading axis `time`. Derivatives
    are those of each equilibrium by itself: where a solve starts has none.

    **Raises:** `TypeError` for what is no [`eqx_qdeq.DEQ`][].
    """
    check_instance("deq", deq, DEQ, "a DEQ")
    if z0 is None:
        z0 = deq.cell.init(jtu.tree_map(lambda a: a[0], xs))

    # Where a solve starts has no derivative. Saying so spares the backward pass a chain through all
    # frames.
    def step(guess: PyTree[Array], x: PyTree[Array]) -> tuple[PyTree[Array], Solution]:
        solution = deq.solve(x, z0=guess)
        return jax.lax.stop_gradient(solution.value), solution

    return jax.lax.scan(step, jax.lax.stop_gradient(z0), xs)[1]

"""A branch of equilibria, as it was followed: its points, and what happens on the way."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PyTree

from ._special_points import KINDS, NOTHING
from ._walk import CLOSED, DOMAIN, FULL, LOST, NO_START, REACHED, RETURNED

_ENDS = {
    REACHED: "reached the end of the path",
    RETURNED: "came back to the path's beginning",
    CLOSED: "closed on itself",
    LOST: "lost: no step, however short, led on",
    DOMAIN: "left the domain: the map or the path is not finite beyond",
    FULL: "not at its end: `max_points` were found",
    NO_START: "not begun: `z0` is no equilibrium",
}
# Numbers of a state that are shown.
_SHOWN = 4


class Branch(eqx.Module):
    r"""What [`eqx_qdeq.trace_branch`][] found; printing it gives a table.

    Under `vmap` all attributes are batched. Their shapes are fixed: there is room for `max_points`
    points, of which the first `count` are points of the branch, in order; the others are NaN, 0 and
    false. So with the `max_special` special points, of which `n_special` are some.

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        # A magnet in a field h, colder than it orders: m = tanh((m + h) / 0.5).
        fn = lambda m, h: jnp.tanh((m + h) / 0.5)
        cell = qdeq.FunctionCell(fn, lambda h: jnp.zeros(1))
        branch = qdeq.trace_branch(
            cell, lambda h: h[None], -jnp.ones(1), start=-0.5, stop=0.5, max_points=64
        )
        branch.kinds  # ('fold', 'fold')
        branch.special_parameters[:2]  # [0.266 -0.266]
        ```

    **Attributes:**

    - `parameters`: the parameter at each point, shape `(max_points,)`.
    - `values`: the equilibria, a pytree with leaves of shape `(max_points, ...)`. Differentiable
        with respect to the cell and what the path is made of, at fixed parameters.
    - `slopes`: how the equilibrium changes with the parameter, dz/dp, likewise; infinite at a fold.
    - `count`: how many points.
    - `stable`: whether plain iteration converges from nearby, ρ(J) < 1, shape `(max_points,)`.
    - `flow_stable`: whether the flow ż = f(z) - z does, Re λ < 1 for all eigenvalues λ of J.
    - `certified`: whether the step to this point is proven to have followed the same branch (of the
        first one: nothing). False everywhere if no `curvature` was given.
    - `special_kinds`: folds, pitchforks, transcritical crossings and Hopf points, by number (see
        `kinds`), shape `(max_special,)`, in their order along the branch.
    - `special_parameters`, `special_values`: where they are. Of folds, differentiable.
    - `special_directions`: at a crossing, the direction of the other branch as a pair (change of
        the parameter, change of the equilibrium), to go on from there: `tangent=`.
    - `n_special`: how many there are (those beyond `max_special` are counted and not kept).
    - `flat`: in how many directions the equilibria are not isolated, at a fixed parameter, as those
        of circuits with more angles than needed are not. The branch goes on normal to these, and
        stability and special points are about what is left.
    - `n_evals`: evaluations of f with its Jacobian.
    - `ended`: how the branch ended, a number; `end` is it in words.
    """

    parameters: Float[Array, "... points"]
    values: PyTree[Array]
    slopes: PyTree[Array]
    count: Int[Array, "..."]
    stable: Bool[Array, "... points"]
    flow_stable: Bool[Array, "... points"]
    certified: Bool[Array, "... points"]
    special_kinds: Int[Array, "... special"]
    special_parameters: Float[Array, "... special"]
    special_values: PyTree[Array]
    special_directions: tuple[Float[Array, "... special"], PyTree[Array]]
    n_special: Int[Array, "..."]
    flat: Int[Array, "..."]
    n_evals: Int[Array, "..."]
    ended: Int[Array, "..."]

    @property
    def end(self) -> str:
        """How the branch ended, in words (of one branch, outside of `jit`)."""
        return _ENDS[int(self.ended)]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of the special points, in words (of one branch, outside of `jit`)."""
        return tuple(KINDS[int(kind)] for kind in self.special_kinds if kind != NOTHING)

    def __str__(self) -> str:
        if jnp.ndim(self.count) > 0:
            ends = {k: int(np.sum(np.asarray(self.ended) == k)) for k in _ENDS}
            rows = [f"{self.count.size} branches of {np.mean(self.count):.0f} points in the mean"]
            return "\n".join(rows + [f"{n:6d}  {_ENDS[k]}" for k, n in ends.items() if n])
        n = int(self.count)
        proven = int(np.sum(self.certified[:n]))
        steps = f"{proven} of {max(n - 1, 0)} steps certified" if proven else "steps not certified"
        k = int(self.flat)
        flat = f", {k} flat direction{'s' * (k > 1)}" if k else ""
        lines = [
            f"a branch of {n} points, {int(self.n_evals)} evaluations, {steps}{flat}; {self.end}"
        ]
        if n == 0:
            return lines[0]
        lines.append("parameter   iteration  flow      value")
        for i in sorted({0, *np.linspace(0, n - 1, min(n, 6)).astype(int).tolist()}):
            words = ["stable" if f[i] else "unstable" for f in (self.stable, self.flow_stable)]
            value = jax.tree.map(lambda leaf, i=i: leaf[i], self.values)
            lines.append(
                f"{self.parameters[i]:10.6g}  {words[0]:9s}  {words[1]:8s}  {_numbers(value)}"
            )
        for k, kind in enumerate(self.kinds):
            value = jax.tree.map(lambda leaf, k=k: leaf[k], self.special_values)
            lines.append(f"{self.special_parameters[k]:10.6g}  {kind:19s}  {_numbers(value)}")
        return "\n".join(lines)


def _numbers(value: PyTree) -> str:
    flat = np.asarray(ravel_pytree(value)[0])
    more = " …" if flat.size > _SHOWN else ""
    return " ".join(f"{v:.4g}" for v in flat[:_SHOWN]) + more

"""An equilibrium inside a vector field, by Diffrax; and a steady state, found as an equilibrium.

    python examples/neural_ode.py

The data are the pelts of snowshoe hares and lynx that the Hudson's Bay Company bought, 1900 to 1920.
"""

from pathlib import Path

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from matplotlib.figure import Figure
from tqdm.auto import trange

import eqx_qdeq as qdeq

# In thousands, as in E. P. Odum, "Fundamentals of ecology", 1953, and J. Mahaffy's table of it.
HARE = [30, 47.2, 70.2, 77.4, 36.3, 20.6, 18.1, 21.4, 22, 25.4, 27.1, 40.3, 57, 76.6, 52.3, 19.5,
        11.2, 7.6, 14.6, 16.2, 24.7]  # fmt: skip
LYNX = [4, 6.1, 9.8, 35.2, 59.4, 41.7, 19, 13, 8.3, 9.1, 7.4, 8, 12.3, 19.5, 45.7, 51.1, 29.7, 15.8,
        9.7, 10.1, 8.6]  # fmt: skip
Y = np.log(np.array([HARE, LYNX], np.float32).T)  # (years, 2)


class Field(eqx.Module):
    """dy/dt for y = log(hares, lynx): the equilibrium of a circuit, between two linear maps."""

    before: eqx.nn.Linear
    deq: qdeq.QDEQ
    after: eqx.nn.Linear

    def __init__(self, key: jax.Array):
        keys = jax.random.split(key, 3)
        self.before = eqx.nn.Linear(2, 8, key=keys[0])
        self.deq = qdeq.QDEQ(3, 8, gain=jnp.full(3, 0.3), key=keys[1])
        self.after = eqx.nn.Linear(3, 2, key=keys[2])

    def __call__(self, y: jax.Array) -> jax.Array:
        return self.after(self.deq(self.before(y - Y.mean(axis=0))))


def integrate(field: Field, start: jax.Array, times: jax.Array) -> jax.Array:
    """The states at these times, of shape `(len(times), 2)`."""
    term = diffrax.ODETerm(lambda t, y, args: field(y))
    controller = diffrax.PIDController(rtol=1e-4, atol=1e-4)
    saveat = diffrax.SaveAt(ts=times)
    span = (times[0], times[-1])
    return diffrax.diffeqsolve(
        term, diffrax.Tsit5(), *span, 0.1, start, saveat=saveat, stepsize_controller=controller
    ).ys  # pyright: ignore


def main(steps: int = 1000, out: Path = Path("neural_ode.png"), smoke: bool = False) -> None:
    """Learns how hares and lynx change, and finds where both would stay as many.

    Args:
        steps: of training.
        out: the figure to write.
        smoke: few steps only.
    """
    window = 6  # years that are predicted from each start
    starts = np.arange(len(Y) - window)
    targets = np.stack([Y[i : i + window + 1] for i in starts])
    times = jnp.arange(window + 1.0)

    def loss(field: Field) -> jax.Array:
        paths = jax.vmap(lambda start: integrate(field, start, times))(jnp.asarray(Y[starts]))
        return jnp.mean((paths - targets) ** 2)

    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.01))
    field = Field(jax.random.key(0))
    state = optimizer.init(eqx.filter(field, eqx.is_inexact_array))

    @eqx.filter_jit
    def step(field, state):
        value, gradient = eqx.filter_value_and_grad(loss)(field)
        updates, state = optimizer.update(gradient, state)
        return eqx.apply_updates(field, updates), state, value

    bar = trange(3 if smoke else steps)
    for i in bar:
        field, state, value = step(field, state)
        if i % 50 == 0:
            bar.set_postfix_str(f"loss {value:.4f}")
    print(value)
    
    cell = qdeq.FunctionCell(lambda y, _: y + field(y), lambda _: jnp.asarray(Y.mean(axis=0)))
    steady = qdeq.DEQ(cell, qdeq.Newton(rtol=1e-6, atol=1e-6)).solve(jnp.zeros(()))
    print(jnp.exp(steady.value), steady.success, field(steady.value))
    years = jnp.linspace(0, 20, 201)
    kept = integrate(field, steady.value, years)
    print(abs(kept - steady.value).max())
    path = integrate(field, jnp.asarray(Y[0]), years)
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    a, b = figure.subplots(1, 2)
    for k, name in enumerate(("hares", "lynx")):
        a.plot(1900 + np.arange(21), np.exp(Y[:, k]), f"C{k}o")
        a.plot(1900 + years, np.exp(path[:, k]), f"C{k}", label=name)
    a.set(xlabel="year", ylabel="thousand pelts", title="data and the neural ODE")
    figure.savefig(out, dpi=100)


if __name__ == "__main__":
    tyro.cli(main)

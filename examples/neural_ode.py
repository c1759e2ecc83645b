"""An equilibrium inside a vector field, by Diffrax; and its steady state, as an equilibrium.

The data are the pelts of hares and lynx that the Hudson's Bay Company bought, 1900 to 1920.

    python examples/neural_ode.py
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

import eqx_qdeq as qdeq
from eqx_qdeq import training

# In thousands, from E. P. Odum, "Fundamentals of ecology", 1953.
HARES = [30, 47.2, 70.2, 77.4, 36.3, 20.6, 18.1, 21.4, 22, 25.4, 27.1, 40.3, 57, 76.6, 52.3, 19.5,
         11.2, 7.6, 14.6, 16.2, 24.7]  # fmt: skip
LYNX = [4, 6.1, 9.8, 35.2, 59.4, 41.7, 19, 13, 8.3, 9.1, 7.4, 8, 12.3, 19.5, 45.7, 51.1, 29.7, 15.8,
        9.7, 10.1, 8.6]  # fmt: skip
Y = np.log(np.array([HARES, LYNX], np.float32).T)  # (years, 2)


class NeuralODE(eqx.Module):
    """dy/dt for y = log(hares, lynx): the equilibrium of a circuit, between two linear maps."""

    before: eqx.nn.Linear
    deq: qdeq.QDEQ
    after: eqx.nn.Linear

    def __init__(self, key: jax.Array):
        self.before = eqx.nn.Linear(2, 8, key=key)
        self.deq = qdeq.QDEQ(3, 8, gain=jnp.full(3, 0.3), key=key)
        self.after = eqx.nn.Linear(3, 2, key=key)

    def field(self, y: jax.Array) -> jax.Array:
        return self.after(self.deq(self.before(y - Y.mean(axis=0))))

    def path(self, start: jax.Array, times: jax.Array) -> jax.Array:
        term = diffrax.ODETerm(lambda t, y, args: self.field(y))
        controller = diffrax.PIDController(rtol=1e-4, atol=1e-4)
        saveat, span = diffrax.SaveAt(ts=times), (times[0], times[-1])
        return diffrax.diffeqsolve(
            term, diffrax.Tsit5(), *span, 0.1, start, saveat=saveat, stepsize_controller=controller
        ).ys  # pyright: ignore

    def __call__(self, start: jax.Array) -> jax.Array:
        """The next six years."""
        return self.path(start, jnp.arange(7.0))[1:].reshape(-1)


def main(epochs: int = 300, out: Path = Path("neural_ode.png"), smoke: bool = False) -> None:
    """Learns how hares and lynx change, and finds where both would stay as many.

    Args:
        epochs: passes over the data.
        out: the figure to write.
        smoke: few epochs, of larger steps.
    """
    epochs, rate = (10, 0.05) if smoke else (epochs, 0.02)
    starts, years = Y[:-6], np.stack([Y[i + 1 : i + 7].reshape(-1) for i in range(15)])
    split = training.Split(starts, years)  # 15 samples are too few to set some aside
    result = training.fit(
        NeuralODE(jax.random.key(0)),
        training.Dataset(split, split, split, name="hares and lynx"),
        optimizer=optax.adam(optax.cosine_decay_schedule(rate, epochs)),
        epochs=epochs,
        clip=1.0,
    )
    ode = result.model

    # y stays where it is if y = y + dy/dt. Newton's method starts at each year's numbers.
    cell = qdeq.FunctionCell(lambda y, _: y + ode.field(y), lambda _: jnp.zeros(2))
    deq = qdeq.DEQ(cell, qdeq.Newton(rtol=1e-6, atol=1e-6))
    found = jax.vmap(lambda y: deq.solve(jnp.zeros(()), z0=y))(jnp.asarray(Y))
    if not found.success.any():
        raise SystemExit("no steady state was found; train for more epochs")
    distance = jnp.where(found.success, jnp.abs(found.value - Y.mean(axis=0)).sum(axis=1), jnp.inf)
    steady, times = found.value[jnp.argmin(distance)], jnp.linspace(0, 20, 201)
    path, stays = jax.vmap(ode.path, (0, None))(jnp.stack([jnp.asarray(Y[0]), steady]), times)

    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for i, name in enumerate(("hares", "lynx")):
        left.plot(range(1900, 1921), np.exp(Y[:, i]), f"C{i}o", label=f"{name}, bought")
        left.plot(1900 + times, np.exp(path[:, i]), f"C{i}", label=f"{name}, from 1900 on")
    left.set(title="Two species and their neural ODE", xlabel="year", ylabel="thousand pelts")
    left.set(xticks=range(1900, 1921, 5), ylim=(0, 110))
    left.legend(ncols=2, fontsize="small")
    h, l = np.meshgrid(np.linspace(1.5, 5, 24), np.linspace(0.8, 4.6, 24))
    flow = jax.vmap(ode.field)(jnp.stack([h.ravel(), l.ravel()], axis=1).astype(Y.dtype))
    right.streamplot(h, l, *np.asarray(flow).T.reshape(2, *h.shape), color="0.75", density=0.9)
    right.plot(*Y.T, "o-", markersize=4, label="1900 to 1920")
    right.plot(*steady, "C3*", markersize=14, label="steady state")
    right.set(title="The vector field", xlabel="log hares", ylabel="log lynx")
    right.legend()
    figure.savefig(out, dpi=100)
    print(f"figure {out}")
    print(
        f"checked: at {np.exp(steady[0]):.1f} thousand hares and {np.exp(steady[1]):.1f} lynx the "
        f"equilibrium says nothing changes; Diffrax, 20 years on: {abs(stays - steady).max():.0e}"
    )


if __name__ == "__main__":
    tyro.cli(main, config=(tyro.conf.FlagCreatePairsOff,))

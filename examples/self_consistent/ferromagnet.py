"""Learn the coupling of a magnet from its magnetization curve, through the equilibrium.

Each spin feels the field of its neighbors' mean, and that mean is what the spin shows:
m = f(m, h), f(m, h) = ⟨Z⟩ in the ground state of -hX - zJm Z. On paper m = √(1 - (h/zJ)²), until
at h = zJ the magnet melts; there f has the slope 1, and no number of applications is enough.

    python examples/self_consistent/ferromagnet.py
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from matplotlib.figure import Figure

import eqx_qdeq as qdeq

NEIGHBORS = 2


class Magnet(eqx.Module):
    """A spin in the field of its neighbors: one wire, whose ground state is one rotation."""

    coupling: jax.Array
    spin: qdeq.QuantumLayer

    def __call__(self, m: jax.Array, h: jax.Array) -> jax.Array:
        return self.spin(jnp.arctan2(h, NEIGHBORS * self.coupling * m))


def cell(coupling: jax.Array) -> qdeq.FunctionCell:
    turned = qdeq.Circuit([], [], [], 1), qdeq.AngleEncoding("Y"), qdeq.PauliZ()
    spin = qdeq.QuantumLayer(*turned, angles=jnp.zeros(0))
    return qdeq.FunctionCell(Magnet(coupling, spin), jnp.ones_like)  # from all spins up


@eqx.filter_jit
def learn(model: Callable, h: jax.Array, data: jax.Array, n_steps: int = 200) -> jax.Array:
    """The couplings with the least squares for data of shape (seeds, fields, 1), by Adam."""
    errors = lambda J, data: jnp.sum((jax.vmap(model(J))(h) - data) ** 2)
    slopes = jax.vmap(jax.grad(errors))
    optimizer = optax.adam(optax.cosine_decay_schedule(0.03, n_steps))

    def step(carry: tuple, _: None) -> tuple:
        couplings, state = carry
        updates, state = optimizer.update(slopes(couplings, data), state)
        return (optax.apply_updates(couplings, updates), state), None

    start = jnp.full(len(data), 0.8)
    return jax.lax.scan(step, (start, optimizer.init(start)), length=n_steps)[0][0]


def main(seeds: int = 5, out: Path = Path("ferromagnet.png"), smoke: bool = False) -> None:
    """Fits the coupling, which is 1, to 24 magnetizations with an error of 0.01.

    Args:
        seeds: of the errors of the data.
        out: the figure to write.
        smoke: two seeds and two models.
    """
    seeds, depths = (2, (5,)) if smoke else (seeds, (1, 2, 5, 10, 30))
    models: dict[Any, Any] = {L: lambda J, L=L: qdeq.Unrolled(cell(J), L) for L in depths}
    models["equilibrium"] = lambda J: qdeq.DEQ(cell(J))
    h = jnp.linspace(0.1, 2.4, 24)[:, None]
    exact = jnp.sqrt(jnp.clip(1 - (h / NEIGHBORS) ** 2, 0))
    data = exact + 0.01 * jax.random.normal(jax.random.key(0), (seeds, *h.shape))

    curves, fits = {}, {}
    for name, model in models.items():
        fits[name] = learn(model, h, data)
        curves[name] = jax.vmap(model(fits[name][0]))(h)

    # At the transition the slope is 1, and plain iteration takes forever.
    fields = 2 - np.geomspace(1.5, 0.005, 4 if smoke else 12)[:, None]
    one = cell(jnp.array(1.0))
    plain = qdeq.DEQ(one, qdeq.Picard(rtol=0.0, atol=1e-6), max_steps=10_000)
    found = jax.vmap(plain.solve)(fields)
    slopes = jax.vmap(lambda h, m: qdeq.spectral_radius(one.bind(h), m))(fields, found.value)
    steps = np.asarray(found.stats["num_steps"])

    figure = Figure(figsize=(11, 3.5), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    left.plot(h, data[0], "k.", label="data")
    for name in (1, 5, "equilibrium"):
        if name in curves:
            left.plot(h, curves[name], label=f"{name}: J = {fits[name][0]:.3f}")
    left.set(xlabel="field h", ylabel="magnetization", title="The best fit of each")
    left.legend(fontsize="small", title="applications")
    middle.axhline(1, color="0.6")
    for i, fit in enumerate(fits.values()):
        middle.plot(np.full(seeds, i), fit, "o", alpha=0.6)
    middle.set_xticks(range(len(fits)), [str(name) for name in fits])
    middle.set(xlabel="applications", ylabel="J learned", title=f"Coupling from {seeds} data sets")
    right.loglog(1 / (1 - slopes), steps, "o-")
    right.set(xlabel="1 / (1 - slope)", ylabel="steps", title="Plain iteration, to 1e-6")
    figure.savefig(out, dpi=100)
    print(f"figure {out}")
    worst = 100 * abs(fits["equilibrium"] - 1).max()
    means = ", ".join(f"{fit.mean():.3f} by {name}" for name, fit in fits.items())
    print(f"checked: J learned {means}; the equilibrium's worst of {seeds} is {worst:.2f}% off")


if __name__ == "__main__":
    tyro.cli(main, config=(tyro.conf.FlagCreatePairsOff,))

"""When do simple quantum cells have an equilibrium, only one, and when does plain iteration find
it? Against the input's norm, the gain, the depth and the number of wires.

    python -m experiments.fixed_points

Random inputs and random angles; what is proven is proven in double precision, by bounds that hold
for all measured values, and compared with what a search finds.
"""

from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from matplotlib.figure import Figure

import eqx_qdeq as qdeq

from . import Off

BLUE, ORANGE, GREEN, PINK, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#666666"
SHARES = {
    "certified": ("an equilibrium proven near z", BLUE, "o-"),
    "unique": ("... and that there is no other", ORANGE, "s--"),
    "contracts": ("contraction proven", GREEN, "^-."),
    "iterates": ("plain iteration converges", GREY, "D:"),
}


class Setting(NamedTuple):
    """A random cell, and how its inputs are drawn."""

    norm: float = 2.0
    gain: float = 1.0
    depth: int = 4
    wires: int = 4
    features: int = 16


SWEEPS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "norm": ("norm of the input", (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)),
    "gain": ("gain of the feedback", (0.05, 0.1, 0.25, 0.5, 1.0, 2.0)),
    "depth": ("layers of the circuit", (1, 2, 4, 8, 16)),
    "wires": ("wires", (4, 5, 6, 8)),
}


def trial(key: jax.Array, norm: Any, gain: Any, setting: Setting, n_starts: int) -> dict[str, Any]:
    """One random circuit and input."""
    key_x, key_angles, key_starts = jax.random.split(key, 3)
    x = jax.random.normal(key_x, (setting.features,))
    x = norm * x / jnp.linalg.norm(x)
    circuit = qdeq.circuits.hardware_efficient(setting.wires, setting.depth)
    layer = qdeq.QuantumLayer(circuit, qdeq.AmplitudeEncoding(), qdeq.PauliZ(), key=key_angles)
    cell = qdeq.QuantumCell(layer, qdeq.AddInjection(setting.features, gain))
    f = cell.bind(x)

    found = qdeq.find_equilibria(cell, x, key_starts, n_starts=n_starts)
    z = jnp.nan_to_num(found.values[0])  # the one found most often
    certificate = qdeq.certify(cell, x, z)
    z = jax.lax.fori_loop(0, 300, lambda _, z: f(z), jnp.zeros(setting.wires))
    return {
        "certified": certificate.certified & (found.count > 0),
        "unique": certificate.unique,
        "contracts": certificate.contracts,
        "iterates": jnp.linalg.norm(f(z) - z) < 1e-4,
        "equilibria": found.count,
        "stable": jnp.sum(found.stable),
        "norm": qdeq.spectral_norm(f, z),
        "bound": certificate.lipschitz,
    }


def sweep(name: str, values: tuple[Any, ...], trials: int, n_starts: int) -> dict[str, np.ndarray]:
    """Shares, means and medians by value."""
    keys = jax.random.split(jax.random.key(0), trials)
    rows, compiled = [], {}
    for value in values:
        setting = Setting()._replace(**{name: value})
        shape = (setting.depth, setting.wires)
        if shape not in compiled:
            run = lambda key, norm, gain, s=setting: trial(key, norm, gain, s, n_starts)
            compiled[shape] = jax.jit(jax.vmap(run, (0, None, None)))
        results = compiled[shape](keys, jnp.asarray(setting.norm), jnp.asarray(setting.gain))
        results = jax.tree.map(np.asarray, results)
        row = {share: 100 * np.mean(results[share]) for share in SHARES}
        row |= {part: np.mean(results[part]) for part in ("equilibria", "stable")}
        row |= {part: np.median(results[part]) for part in ("norm", "bound")}
        rows.append(row)
        print(f"{value!s:>6}" + "".join(f"{row[c]:>13.3g}" for c in row), flush=True)
    return {column: np.array([row[column] for row in rows]) for column in rows[0]}


def draw(tables: dict[str, dict[str, np.ndarray]]) -> Figure:
    figure = Figure(figsize=(3.2 * len(tables), 8), dpi=120, layout="constrained")
    panels = figure.subplots(3, len(tables), sharey="row", squeeze=False)
    for column, (name, table) in enumerate(tables.items()):
        label, values = SWEEPS[name]
        values = values[: len(table["norm"])]
        shares, counts, norms = panels[:, column]
        for share, (text, colour, style) in SHARES.items():
            shares.plot(values, table[share], style, color=colour, label=text, markersize=5)
        counts.plot(values, table["equilibria"], "o-", color=BLUE, label="equilibria found")
        counts.plot(values, table["stable"], "s--", color=ORANGE, label="... stable ones")
        norms.plot(values, table["bound"], "^-", color=GREEN, label="proven bound on ‖J‖ (median)")
        norms.plot(values, table["norm"], "o-", color=BLUE, label="‖J‖ at the equilibrium (median)")
        norms.axhline(1, color=GREY, linestyle=":")
        norms.set_yscale("log")
        for axes in (shares, counts, norms):
            axes.set_xscale("log", base=2)
            axes.set_xticks(values, [f"{v:g}" for v in values])
            axes.minorticks_off()
            axes.grid(True, color="#EEEEEE", linewidth=0.6)
            axes.spines[["top", "right"]].set_visible(False)
        norms.set_xlabel(label)
    panels[0, 0].set_ylabel("share of trials (%)")
    panels[1, 0].set_ylabel("mean number")
    panels[2, 0].set_ylabel("spectral norm")
    for row in panels[:, -1]:
        row.legend(fontsize=8, framealpha=0.9, edgecolor="none")
    return figure


def main(
    trials: int = 200,
    n_starts: int = 24,
    sweeps: tuple[str, ...] = tuple(SWEEPS),
    out: Path = Path("fixed_points.png"),
    smoke: Annotated[bool, Off] = False,
) -> None:
    """Counts equilibria of random quantum cells and certifies them.

    Args:
        trials: random circuits and inputs per setting.
        n_starts: starts of the search for equilibria.
        sweeps: what is varied, of "norm", "gain", "depth" and "wires"; the others stay at norm 2,
            gain 1, 4 layers, 4 wires.
        out: the figure to write.
        smoke: two values of one sweep only.
    """
    unknown = set(sweeps) - set(SWEEPS)
    if unknown:
        raise SystemExit(f"--sweeps must be of {', '.join(SWEEPS)}; got {unknown}.")
    jax.config.update("jax_enable_x64", True)  # before any array is made
    tables = {}
    for name in sweeps[:1] if smoke else sweeps:
        label, values = SWEEPS[name]
        columns = (*SHARES, "equilibria", "stable", "median ‖J‖", "bound")
        print(f"\n{label}\n{'':>6}" + "".join(f"{c:>13}" for c in columns))
        if smoke:
            values, trials, n_starts = values[:2], 8, 4
        tables[name] = sweep(name, values, trials, n_starts)
    draw(tables).savefig(out)
    print(f"\nfigure: {out}")


if __name__ == "__main__":
    tyro.cli(main)

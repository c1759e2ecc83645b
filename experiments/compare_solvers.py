"""Every solver on classical and quantum cells of given spectral radius, and what tolerances,
memory, damping and initial guesses do to a trained model.

    python -m experiments.compare_solvers

Writes two figures: residuals against cell evaluations and against time, and the ablation.
"""

import time
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

import eqx_qdeq as qdeq
from eqx_qdeq import training

from . import Off

TOL = 1e-5
SOLVERS = {
    "Picard": qdeq.Picard(TOL, TOL),
    "Anderson": qdeq.Anderson(TOL, TOL),
    "Broyden, good": qdeq.Broyden(TOL, TOL),
    "Broyden, bad": qdeq.Broyden(TOL, TOL, method="bad"),
    "Newton": qdeq.Newton(TOL, TOL),
    "PseudoTransient": qdeq.PseudoTransient(TOL, TOL),
    "SteadyState": qdeq.SteadyState(TOL, TOL),
}
# Okabe and Ito's colors, and dashes for those who do not see colors.
COLOURS = ("#666666", "#0072B2", "#D55E00", "#E69F00", "#009E73", "#56B4E9", "#CC79A7")
DASHES = ("-", "-", "--", ":", "-", "--", "-.")
_MARKS = "osD^"  # one for each spectral radius


class Problem(NamedTuple):
    """A batch of samples of one cell, whose equilibria have nearly the same spectral radius."""

    cell: Any
    x: Any
    radius: float


class Run(NamedTuple):
    evaluations: np.ndarray  # of shape (n_steps,), cumulative, the batch's mean
    seconds: np.ndarray  # cumulative, for the whole batch
    residuals: np.ndarray  # of shape (batch, n_steps)
    solved: float  # share of samples
    work: float  # evaluations and products of those, on average


# --- Problems ---------------------------------------------------------------------------------


def classical(radius: float, batch: int, size: int = 32) -> Problem:
    """z* + tanh(W (z - z*)) has the equilibrium z*, and there the Jacobian W."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((size, size))
    weight *= radius / np.max(np.abs(np.linalg.eigvals(weight)))
    matrix = jnp.asarray(weight, jnp.float32)
    centres = jnp.asarray(rng.standard_normal((batch, size)) / np.sqrt(size), jnp.float32)
    cell = qdeq.FunctionCell(lambda z, x: x + jnp.tanh(matrix @ (z - x)), jnp.zeros_like)
    return Problem(cell, centres, radius)


def quantum(radius: float, batch: int, candidates: int) -> Problem:
    """Of random inputs to the paper's circuit, those whose equilibria come nearest to `radius`.

    The smaller the input's norm, the larger the Jacobian; so norms are drawn over a wide range.
    """
    layer = qdeq.QuantumLayer(
        qdeq.circuits.paper(4), qdeq.AmplitudeEncoding(), qdeq.PauliZ(), key=jax.random.key(3)
    )
    cell = qdeq.QuantumCell(layer, qdeq.AddInjection(16))
    key_x, key_norm = jax.random.split(jax.random.key(1))
    x = jax.random.normal(key_x, (candidates, 16))
    norm = 10 ** jax.random.uniform(key_norm, (candidates, 1), minval=-0.7, maxval=0.7)
    x = norm * x / jnp.linalg.norm(x, axis=1, keepdims=True)
    robust = qdeq.DEQ(cell, qdeq.Ladder(qdeq.Newton(TOL, TOL), qdeq.PseudoTransient(TOL, TOL)))

    @jax.jit
    @jax.vmap
    def look(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        solution = robust.solve(x)
        return qdeq.spectral_radius(cell.bind(x), solution.value), solution.success

    radii, found = map(np.asarray, look(x))
    nearest = np.argsort(np.where(found, np.abs(radii - radius), np.inf))[:batch]
    return Problem(cell, x[nearest], float(np.median(radii[nearest])))


# --- Convergence ------------------------------------------------------------------------------


def converge(problem: Problem, solver: Any, n_steps: int) -> Run:
    deq = qdeq.DEQ(problem.cell, solver, max_steps=n_steps)

    @jax.jit
    def solve(x: Any) -> Any:
        solution = jax.vmap(deq.solve)(x)
        return solution.value, solution.stats, solution.success

    _, stats, success = jax.block_until_ready(solve(problem.x))
    times = []
    for _ in range(5):
        start = time.perf_counter()
        jax.block_until_ready(solve(problem.x))
        times.append(time.perf_counter() - start)
    steps = np.asarray(stats["num_steps"])
    work = np.asarray(stats["num_evals"]) + np.asarray(stats["num_jvps"])
    longest = int(steps.max())
    record = jax.jit(jax.vmap(lambda x: deq.trajectory(x, n_steps=longest).residuals))
    entries = np.arange(1, longest + 1)
    # A batch takes as long as its slowest sample.
    return Run(
        evaluations=entries * np.mean(work / steps),
        seconds=entries * np.median(times) / longest,
        residuals=np.minimum.accumulate(np.asarray(record(problem.x)), axis=1),
        solved=float(np.mean(success)),
        work=float(np.mean(work[np.asarray(success)])) if np.any(success) else np.nan,
    )


def draw_convergence(runs: dict[str, list[tuple[Problem, dict[str, Run]]]]) -> Figure:
    """A row for each kind of cell: residuals at the smallest and the largest spectral radius, and
    the time of a batch at all of them."""
    figure = Figure(figsize=(10.5, 3.2 * len(runs)), dpi=120, layout="constrained")
    panels = figure.subplots(len(runs), 3, squeeze=False, width_ratios=(1, 1, 1.1))
    for (kind, problems), (*curves, times) in zip(runs.items(), panels, strict=True):
        for axes, (problem, found) in zip(curves, (problems[0], problems[-1]), strict=True):
            for i, (name, run) in enumerate(found.items()):
                middle = np.median(run.residuals, axis=0)
                style = {"color": COLOURS[i], "linestyle": DASHES[i], "label": name}
                axes.loglog(run.evaluations, np.maximum(middle, 1e-8), **style)
            axes.axhline(TOL, color="#BBBBBB", linewidth=0.8)
            axes.set_ylim(1e-7, 10)
            axes.set_ylabel("median residual ‖f(z) − z‖")
            axes.set_xlabel("cell evaluations per sample")
            axes.set_title(f"{kind} cell, spectral radius {problem.radius:.3f}", size=10)
        names = list(problems[0][1])
        for k, (problem, found) in enumerate(problems):
            for i, name in enumerate(names):
                run, place = found[name], i + 0.16 * (k - (len(problems) - 1) / 2)
                face = COLOURS[i] if run.solved == 1 else "none"
                style = {"color": COLOURS[i], "markerfacecolor": face}
                times.plot(1e3 * run.seconds[-1], place, _MARKS[k], **style)
            label = f"{problem.radius:.3f}"
            times.plot([], [], _MARKS[k], color="#333333", markerfacecolor="none", label=label)
        times.set_xscale("log")
        times.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        times.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        times.xaxis.set_minor_locator(NullLocator())
        times.set_yticks(range(len(names)), names)
        times.invert_yaxis()
        times.set_xlabel(f"milliseconds for {len(problems[0][0].x)} samples")
        times.set_title("time by radius; hollow: some not solved", size=10)
        where = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.08), "ncols": len(problems)}
        times.legend(fontsize=8, frameon=False, handletextpad=0, columnspacing=0.8, **where)
    for axes in panels.flat:
        axes.grid(True, color="#EEEEEE", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return figure


# --- Ablation -----------------------------------------------------------------------------------


def train(solver: Any, data: training.Dataset, epochs: int, seed: int) -> tuple[Any, float]:
    """A 4-qubit classifier whose equilibria are found, in training and afterwards, by `solver`."""
    model = qdeq.QDEQClassifier(
        4, 16, 4, depth=8, gain=0.3, readout="zz", max_steps=60, key=jax.random.key(seed)
    )
    model = eqx.tree_at(lambda m: m.deq.solver, model, solver, is_leaf=lambda s: s is None)
    result = training.fit(
        model,
        data,
        optimizer=optax.adam(0.03),
        epochs=epochs,
        batch_size=64,
        seed=seed,
        progress=False,
    )
    accuracy = training.evaluate(result.model, data.test).accuracy
    assert accuracy is not None
    return result.model, accuracy


@eqx.filter_jit
def solve(deq: qdeq.DEQ, x: jax.Array, z0: jax.Array) -> qdeq.Solution:
    return jax.vmap(lambda x, z0: deq.solve(x, z0=z0))(x, z0)


def work(deq: qdeq.DEQ, solver: Any, x: jax.Array, z0: jax.Array) -> float:
    """Mean evaluations of the cell and products with its Jacobian in a solve."""
    # Numbers as arrays, so that a new value does not mean a new compilation.
    solver = jax.tree.map(lambda f: jnp.asarray(f) if isinstance(f, float) else f, solver)
    stats = solve(qdeq.DEQ(deq.cell, solver), x, z0).stats
    return float(jnp.mean(stats["num_evals"] + stats["num_jvps"]))


def learned_guess(deq: qdeq.DEQ, x: jax.Array, steps: int) -> Any:
    """A small network that was trained to guess the equilibria of x."""
    targets = jax.vmap(deq)(x)
    cell = qdeq.GuessedCell(deq.cell, eqx.nn.MLP(16, 4, 32, 2, key=jax.random.key(4)))
    optimizer = optax.adam(1e-2)
    state = optimizer.init(eqx.filter(cell.guess, eqx.is_inexact_array))

    def loss(guess: Any) -> jax.Array:
        guessed = qdeq.GuessedCell(deq.cell, guess)
        return jnp.mean(jax.vmap(qdeq.guess_loss, (None, 0, 0))(guessed, x, targets))

    @eqx.filter_jit
    def step(guess: Any, state: Any) -> tuple[Any, Any]:
        updates, state = optimizer.update(eqx.filter_grad(loss)(guess), state)
        return eqx.apply_updates(guess, updates), state

    guess = cell.guess
    for _ in range(steps):
        guess, state = step(guess, state)
    return guess


def ablate(smoke: bool) -> dict[str, dict[str, float]]:
    data = training.load_dataset("digits", classes=(0, 3, 6, 9))
    epochs, seeds = (1, 1) if smoke else (20, 5)
    results: dict[str, dict[str, float]] = {}

    accuracies = results["test accuracy (%)"] = {}
    contenders: dict[str, Any] = {"Newton, 1e-05": None}  # the default
    for tolerance in (1e-5,) if smoke else (1.0, 3e-1, 1e-1, 1e-2, 1e-3, 1e-5):
        contenders[f"Picard, {tolerance:.0e}"] = qdeq.Picard(tolerance, tolerance)
    models = {}
    for name, solver in contenders.items():
        runs = [train(solver, data, epochs, seed) for seed in range(seeds)]
        models[name] = runs[0][0]
        scores = [100 * accuracy for _, accuracy in runs]
        accuracies[name] = float(np.mean(scores))
        print(f"{name}: test accuracies {', '.join(f'{s:.2f}' for s in scores)}", flush=True)
    model = models["Newton, 1e-05"]

    deq, x = model.deq, data.test.x
    zero = jnp.zeros((len(x), 4))
    table = results["work by tolerance"] = {}
    for name, make in {
        "Picard": qdeq.Picard,
        "Anderson": qdeq.Anderson,
        "Newton": qdeq.Newton,
    }.items():
        for tolerance in (1e-4,) if smoke else (1e-2, 1e-4, 1e-6):
            table[f"{name}, {tolerance:.0e}"] = work(deq, make(tolerance, tolerance), x, zero)
    table = results["work by memory"] = {}
    for memory in (1,) if smoke else (1, 2, 5, 10):
        table[f"Anderson, {memory}"] = work(deq, qdeq.Anderson(TOL, TOL, memory=memory), x, zero)
    for memory in () if smoke else (1, 2, 5, 10):
        table[f"Broyden, {memory}"] = work(deq, qdeq.Broyden(TOL, TOL, memory=memory), x, zero)
    table = results["work by damping"] = {}
    dampings = (0.5,) if smoke else (0.25, 0.5, 0.75, 1.0)
    for damping in dampings:
        table[f"Picard, {damping}"] = work(deq, qdeq.Picard(TOL, TOL, damp=1 - damping), x, zero)
    for damping in dampings:
        table[f"Anderson, {damping}"] = work(deq, qdeq.Anderson(TOL, TOL, mixing=damping), x, zero)

    guess = learned_guess(deq, data.train.x, 10 if smoke else 500)
    nudged = x + 0.02 * jax.random.normal(jax.random.key(6), x.shape)
    starts = {
        "zero": zero,
        "random": jax.random.uniform(jax.random.key(7), zero.shape, minval=-1, maxval=1),
        "learned": jax.vmap(guess)(x),
        "previous": jax.vmap(deq)(nudged),  # the equilibrium of a slightly different image
    }
    table = results["work by initial guess"] = {}
    for name in ("Picard", "Anderson", "Newton"):
        for start, z0 in starts.items():
            table[f"{name}, {start}"] = work(deq, SOLVERS[name], x, z0)
    return results


def draw_ablation(results: dict[str, dict[str, float]]) -> Figure:
    figure = Figure(figsize=(9.5, 6.4), dpi=120, layout="constrained")
    panels = figure.subplots(2, 3).flat
    # The results first: `zip` takes a panel only for one that there is.
    for (title, table), axes in zip(results.items(), panels, strict=False):
        names = list(table)
        shades = {name: COLOURS[i + 1] for i, name in enumerate(dict.fromkeys(map(_head, names)))}
        for place, (name, value) in enumerate(table.items()):
            axes.plot(value, place, "o", color=shades[_head(name)])
            axes.annotate(
                f"{value:.4g}", (value, place), (7, -3), textcoords="offset points", size=8
            )
        axes.set_yticks(range(len(names)), names, size=8)
        axes.invert_yaxis()
        axes.margins(x=0.25)
        if "accuracy" not in title:
            axes.set_xlim(left=0)
            axes.set_xlabel("evaluations and products per sample", size=8)
        axes.set_title(title, size=10)
        axes.grid(True, axis="y", color="#EEEEEE", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels:
        axes.axis("off")
    return figure


def _head(name: str) -> str:
    return name.split(",")[0]


def main(
    batch: int = 256,
    radii: tuple[float, ...] = (0.9, 0.97, 0.999, 1.3),
    n_steps: int = 1000,
    out: Path = Path("compare_solvers.png"),
    out_ablation: Path = Path("compare_solvers_ablation.png"),
    smoke: Annotated[bool, Off] = False,
) -> None:
    """Compares all solvers.

    Args:
        batch: samples per problem.
        radii: spectral radii of the Jacobian at the equilibrium.
        n_steps: steps that a solver may take.
        out: the figure of convergence.
        out_ablation: the figure of the ablation.
        smoke: a little of everything, in seconds.
    """
    solvers = dict(SOLVERS)
    if smoke:
        batch, radii, n_steps = 8, (0.9,), 20
        solvers = {name: SOLVERS[name] for name in ("Picard", "Newton")}
    runs: dict[str, list[tuple[Problem, dict[str, Run]]]] = {"classical": [], "quantum": []}
    for radius in radii:
        problems = {
            "classical": classical(radius, batch),
            "quantum": quantum(radius, batch, candidates=20 * batch),
        }
        for kind, problem in problems.items():
            print(f"\n{kind} cell, spectral radius {problem.radius:.3f}, {batch} samples")
            print(f"{'solver':<18}{'solved':>8}{'evaluations':>14}{'milliseconds':>14}")
            found = {}
            for name, solver in solvers.items():
                run = found[name] = converge(problem, solver, n_steps)
                milliseconds = f"{1e3 * run.seconds[-1]:.2f}"
                print(
                    f"{name:<18}{run.solved:>8.1%}{run.work:>14.1f}{milliseconds:>14}", flush=True
                )
            runs[kind].append((problem, found))
    draw_convergence(runs).savefig(out, transparent=True)
    results = ablate(smoke)
    for title, table in results.items():
        print(f"\n{title}")
        for name, value in table.items():
            print(f"  {name:<22}{value:8.2f}")
    draw_ablation(results).savefig(out_ablation, transparent=True)
    print(f"\nfigures: {out}, {out_ablation}")


if __name__ == "__main__":
    tyro.cli(main)

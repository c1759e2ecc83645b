"""The words of the benchmarks' page. What depends on the numbers is worked out from them."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from ._problems import OURS
from ._tables import show, Table

INTRODUCTION = """\
How fast eqx-qdeq is, how much memory it takes, and how that compares with other simulators that run
under JAX: [qujax](https://github.com/CQCL/qujax) (gate by gate, batched by `jax.vmap`),
[PennyLane](https://pennylane.ai) (`default.qubit`) and
[TensorCircuit-NG](https://github.com/tensorcircuit/tensorcircuit-ng). Each is compiled as a whole
with `jax.jit`. The page is drawn from one file of results; nothing in it is typed by hand.

Before anything is timed, all sides must compute the same numbers. Then they are called in turn,
round after round in one process, so that a machine that slows down slows all of them. The median
counts. Times differ between machines, **ratios** carry over better: a ratio says how many times
slower than eqx-qdeq a contestant is, and below 1 it is faster.

To measure on your machine (this makes an environment with the peers, once):

```bash
make bench                                     # everything
make bench ARGS="--suite layer --seconds 2"    # one suite
python -m benchmarks.report --results outputs/benchmarks.json --docs docs
```
"""

AFTERWORD = """\
## Make this page again

The numbers above are in `benchmarks/results.json`.

```bash
python -m benchmarks.report
```
"""


def fastest_peer(table: Table) -> dict[str, Any] | None:
    """The row of the fastest contestant that is not ours."""
    peers = [row for row in table["rows"] if not row["name"].startswith(OURS)]
    return min(peers, key=lambda row: row["ratio"], default=None)


def against_fastest(tables: Sequence[Table]) -> str:
    """One sentence for each table with peers."""
    sentences = []
    for table in tables:
        peer = fastest_peer(table)
        if peer is not None:
            size = table["title"].partition(": ")[2].partition(",")[0]
            sentences.append(f"{_comparison(peer)[:-1]} at {size}.")
    return " ".join(sentences)


def _comparison(peer: dict[str, Any]) -> str:
    ratio = peer["ratio"]
    if ratio >= 1:
        factor = f"takes {show(ratio)} times as long as eqx-qdeq"
    else:
        factor = f"is faster than eqx-qdeq, which takes {show(1 / ratio)} times as long"
    return f"The fastest peer, {peer['name']}, {factor}."


def _depths(tables: Sequence[Table]) -> str:
    against = against_fastest([table for table in tables if table["first"] != "depth"])
    growth = [
        f"{show(table['rows'][-1]['ratio'])} at {table['title'].partition(': ')[2].split(',')[0]}"
        for table in tables
        if table["first"] == "depth"
    ]
    shallow, deep = (row["name"] for row in tables[-1]["rows"])
    return (
        f"{against} The first call at depth {deep}, by that at depth {shallow}: "
        f"{' and '.join(growth)}."
    )


def _memory(tables: Sequence[Table]) -> str:
    sentences = []
    for table in [table for table in tables if table["id"] != "peak"]:
        sizes = [row.get("temporary_mib") for row in table["rows"]]
        if None in sizes:
            continue
        *ours, loop = table["rows"]
        same = len({row["temporary_mib"] for row in ours}) == 1
        size = table["title"].partition(": ")[2].partition(",")[0]
        sentences.append(
            f"At {size} the memory of our step {'does not depend' if same else 'depends'} on the "
            f"limit on steps, and the loop takes {show(loop['ratio'])} times as much."
        )
    return " ".join(sentences)


def _growth(tables: Sequence[Table]) -> str:
    sentences = []
    for table in tables:
        if table["id"] in ("depth", "batch", "observables"):
            first, *_, last = table["rows"]
            more, longer = last["x"] / first["x"], last["median_ms"] / first["median_ms"]
            what = {"batch": "samples"}.get(table["id"], table["id"])
            sentences.append(f"{more:,g} times the {what} take {show(longer)} times as long.")
    return " ".join(sentences)


def _bandwidth(tables: Sequence[Table]) -> str:
    last = tables[-1]
    ours = next(row for row in last["rows"] if row["name"] == OURS)
    peer = fastest_peer(last)
    words = (
        f"At {last['wires']} wires the gradient moves its state at {show(ours['of_copy'])} % of "
        "what the memory can do."
    )
    return words if peer is None else f"{words} {_comparison(peer)}"


def _solvers(tables: Sequence[Table]) -> str:
    """Where a peer needs less than ours, by method, among those that solved all samples."""
    sentences = []
    for key, what in (("evaluations", "fewer evaluations"), ("median_ms", "less time")):
        cases = []
        for table in tables:
            rows = {row["name"]: row for row in table["rows"]}
            problem = table["title"].partition(": ")[2]
            for name, row in rows.items():
                mine = rows[f"{OURS}: {name.rpartition(': ')[2]}"]
                if row["solved"] == 100 and row[key] < mine[key] and not name.startswith(OURS):
                    numbers = f"{show(row[key])} against {show(mine[key])}"
                    cases.append(f"{name} ({problem}; {numbers})")
        listed = ", ".join(cases) if cases else "nobody"
        sentences.append(f"With {what} than eqx-qdeq by the same method, on all samples: {listed}.")
    return " ".join(sentences)


@dataclasses.dataclass(frozen=True)
class Section:
    """A suite's heading, what is measured, and what follows from its tables."""

    heading: str
    before: str
    alt: str
    after: Callable[[Sequence[Table]], str]


def _noisy(tables: Sequence[Table]) -> str:
    epoch = next(table for table in tables if table["id"] == "epoch")
    noisy = epoch["rows"][-1]
    against = against_fastest([table for table in tables if table["id"] != "epoch"])
    return f"{against} An epoch under noise takes {show(noisy['epoch_s'])} s.".strip()


def _choices(tables: Sequence[Table]) -> str:
    rows = [(row["choice"], row["name"], table) for table in tables for row in table["rows"]]
    ratio, batch, table = max(rows, key=lambda row: row[0])
    size = table["title"].partition(": ")[2]
    return (
        f"At worst the chosen engine takes {show(ratio)}× the time of the fastest one (batch "
        f"{batch} at {size})."
    )


SECTIONS = {
    "layer": Section(
        "One layer",
        """\
The paper's circuit once, for a batch: features to amplitudes, gates, ⟨Z⟩ on every wire; the value
and the gradient with respect to the angles. No equilibrium yet. The circuit's angles are the same
for the whole batch, which eqx-qdeq uses: it multiplies the gates into one matrix first.""",
        "Median times of one layer, by contestant.",
        against_fastest,
    ),
    "solve": Section(
        "Finding the equilibrium",
        """\
The equilibria of a batch by Picard iteration until the residual is below 1e-4, without a gradient.
The peers' circuits are cells of our own `DEQ`, so all sides take the same steps; what differs is
the map that is iterated. Ours no longer contains the circuit, but
[a ratio of quadratic forms][forms] that was computed from it.

[forms]: concepts.md#with-amplitude-encoding-the-map-is-a-ratio-of-quadratic-forms""",
        "Median times of a solve, by contestant.",
        against_fastest,
    ),
    "solvers": Section(
        "Solvers of other libraries",
        """\
Anderson's and Broyden's methods against those of [JAXopt](https://jaxopt.github.io) (under
`jax.vmap`) and of [TorchDEQ](https://github.com/locuslab/torchdeq) (PyTorch, on one thread or on
all, whichever is faster), from zero to the same absolute residual, on the same arrays. The linear
maps are random, so their eigenvalues fill a disc, the hardest case for such methods; the quantum
cell is handed to all libraries as the ratio of quadratic forms that it is. Ours with all defaults.
The peers' default Anderson has a history of 5 or 6 and an absolute ridge that is large near the
tolerance; "tuned" is a history of 10 and a ridge of 1e-8. JAXopt's Broyden runs with full steps, as
its line search takes gradients, and stores 40 updates like ours; TorchDEQ's stores all, as does
"eqx-qdeq, tuned".""",
        "Median times of the solvers, by library and method.",
        _solvers,
    ),
    "train": Section(
        "A training step",
        """\
What training repeats: equilibria to 1e-4, the mean square of their values, its exact gradient by
the implicit function theorem, one step of Adam. Ours with Picard iteration, like the peers' cells,
and with the solver that `DEQ` takes when none is named, which solves to 1e-5.""",
        "Median times of a training step, by contestant.",
        against_fastest,
    ),
    "compile": Section(
        "The first call",
        """\
The first call of a training step traces it and compiles it. Measured with the caches of JAX and of
eqx-qdeq cleared and every function made anew, but in a process that has JAX loaded; tracing (with
lowering) and XLA's compilation apart. Then for two depths of `circuits.hardware_efficient`, whose
layers repeat: they are compiled once and looped over, so depth should cost little.""",
        "Seconds of the first call, split into tracing and compiling.",
        _depths,
    ),
    "memory": Section(
        "Memory",
        """\
The implicit gradient needs the equilibrium and not the way to it. So the temporary memory of a
training step, as XLA reports it for the compiled program, does not grow with the solver's steps.
The loop is what one would write without an equilibrium: the circuit on qujax applied 12 times to
its own output (a `lax.scan`), and differentiated through. The last table is the resident memory,
at its peak, of a fresh process that simulates one large state, engine `"statevector"`.""",
        "Temporary memory of a training step, by limit on the solver's steps.",
        _memory,
    ),
    "engines": Section(
        "Where the engines cross",
        """\
One layer of ours, the paper's circuit, by each engine: gates on every state (`"statevector"`), the
circuit's matrix once and then a product (`"operator"`), or the observables' quadratic forms once
(`"heisenberg"`). `engine="auto"` chooses by a cost model, for the number of samples that
`expected_batch` tells.""",
        "Median times of the three engines by batch, with the chosen one marked.",
        _choices,
    ),
    "scaling": Section(
        "How it grows",
        """\
One layer of ours, value and gradient, while one quantity grows and the others stay. By wires and by
depth the circuit is `circuits.hardware_efficient`; from 12 wires on it is one sample's state vector
(engine `"statevector"`), below a batch with the engine that the layer chooses.""",
        "Median times by wires, depth, batch and observables.",
        _growth,
    ),
    "noise": Section(
        "Noise",
        """\
Depolarising noise after every gate, with probability 0.001 on one wire and 0.01 on two. First what
a solve does: the paper's cell applied ten times to its own output, for a batch. qujax carries a
density matrix for every sample through every iteration; ours pulls the observables back through the
noisy circuit once and iterates the same [ratio of quadratic forms][noisy] as without noise. Then
the density matrix of a single sample, value and gradient, with `circuits.hardware_efficient` (ours
with engine `"density"`, PennyLane's `default.mixed`). Last a whole epoch of `training.fit` on as
many samples as three quarters of MNIST's first four digits, without and with noise.

[noisy]: noise.md#engines""",
        "Median times under noise, by contestant.",
        _noisy,
    ),
    "wires": Section(
        "Large state vectors",
        """\
One sample that fills the whole state, `circuits.hardware_efficient` at depth 4, ⟨Z⟩ on every wire.
Nothing is shared by a batch here: gates are fused into blocks, and these applied to the state. A
block has to read and write the state once; for the gradient we count three times. These bytes, by
the time that was taken, are compared with a plain copy.""",
        "Median times by wires, for the value and for value and gradient.",
        _bandwidth,
    ),
}

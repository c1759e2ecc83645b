"""The figures of the benchmarks' page, each drawn from the tables of one suite."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from ._tables import show, Table

# Okabe and Ito's palette, which color-blind readers can tell apart.
_COLOURS = {
    "eqx-qdeq": "#0072B2",
    "eqx-qdeq, default solver": "#56B4E9",
    "qujax": "#E69F00",
    "qujax-matrix": "#CC79A7",
    "pennylane": "#009E73",
    "tensorcircuit-ng": "#D55E00",
    "jaxopt": "#E69F00",
    "torchdeq": "#D55E00",
}
_MARKERS = {
    "eqx-qdeq": "o",
    "qujax": "s",
    "qujax-matrix": "v",
    "pennylane": "^",
    "tensorcircuit-ng": "D",
}
_GREY = "#666666"
_WIDTH = 7.0  # inches: what a page of 700 pixels shows at the size of its text


def _colour(name: str) -> str:
    """By the whole name of a contestant, or by what stands before its comma or colon."""
    library = name.partition(":")[0].partition(",")[0]
    return _COLOURS.get(name) or _COLOURS.get(library, _GREY)


def _plain(axis: Any) -> None:
    """Numbers as one writes them, and no labels between the powers of ten."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())


def _decade(value: float) -> float:
    """The power of ten at or below a value."""
    return 10.0 ** math.floor(math.log10(value))


def _whole_decades(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis that has a labeled number at either end."""
    axes.set_yscale("log")
    axes.set_ylim(_decade(min(values)), _decade(max(values)) * 10)


def _short(title: str) -> str:
    """What distinguishes a table: behind the colon."""
    return title.partition(": ")[2] or title


def _barh(axes: Axes, table: Table, key: str, label: str) -> None:
    """One line a row on a logarithmic scale, with its value and ratio.

    A bar's length says nothing there, as its zero is infinitely far away; so a point is drawn, and
    a thin line leads to it.
    """
    rows = [row for row in table["rows"] if row.get(key)]
    axes.set_xscale("log")
    for y, row in enumerate(rows):
        colour = _colour(row["name"])
        axes.axhline(y, color="#bbbbbb", linewidth=0.6, zorder=0)
        axes.plot(row[key], y, "o", color=colour, markersize=8)
        text = f"   {show(row[key])} ({show(row['ratio'])}×)"
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
        axes.text(row[key], y, text, va="center", ha="left", fontsize=8, bbox=box, zorder=1)
    # From a power of ten below the shortest; room for the numbers on the right.
    low, high = _decade(min(row[key] for row in rows) / 1.5), max(row[key] for row in rows)
    axes.set_xlim(low, high * (high / low) ** 0.35)
    axes.xaxis.set_major_locator(LogLocator(numticks=8))
    _plain(axes.xaxis)
    axes.set_yticks(range(len(rows)), [row["name"] for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel(label)
    axes.set_title(_short(table["title"]), fontsize=10)


def _stack(tables: Sequence[Table], draw: Callable[[Axes, Table], None]) -> Figure:
    """Panels on top of each other, as high as they have rows."""
    heights = [len(table["rows"]) + 2.2 for table in tables]
    figure = Figure((_WIDTH, 0.3 * sum(heights) + 0.2), layout="constrained")
    panels = figure.subplots(len(tables), 1, squeeze=False, height_ratios=heights)
    for axes, table in zip(panels[:, 0], tables, strict=True):
        draw(axes, table)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def times(tables: Sequence[Table]) -> Figure:
    """Medians of contestants, a panel for each table."""
    label = "median time, ms (and ratio), logarithmic"
    return _stack(tables, lambda axes, table: _barh(axes, table, "median_ms", label))


def noise(tables: Sequence[Table]) -> Figure:
    """The tables with peers; epochs have their numbers in the page."""
    return times([table for table in tables if table["id"] != "epoch"])


def memory(tables: Sequence[Table]) -> Figure | None:
    """Temporary memory of the training step; `None` where XLA does not tell."""
    tables = [t for t in tables if any(row.get("temporary_mib") for row in t["rows"])]
    label = "temporary memory, MiB (and ratio), logarithmic"
    draw = lambda axes, table: _barh(axes, table, "temporary_mib", label)
    return _stack(tables, draw) if tables else None


def first_calls(tables: Sequence[Table]) -> Figure:
    """Tracing and compiling, stacked."""

    def draw(axes: Axes, table: Table) -> None:
        rows = table["rows"]
        left = [0.0] * len(rows)
        for key, label, colour in (
            ("trace_s", "trace and lower", "#56B4E9"),
            ("compile_s", "XLA compile", "#0072B2"),
        ):
            widths = [row[key] for row in rows]
            axes.barh(range(len(rows)), widths, left=left, color=colour, height=0.7, label=label)
            left = [a + b for a, b in zip(left, widths, strict=True)]
        for y, row in enumerate(rows):
            text = f" {show(row['first_call_s'])} ({show(row['ratio'])}×)"
            axes.text(left[y], y, text, va="center", fontsize=8)
        depth = table["first"] == "depth"
        names = [f"eqx-qdeq, depth {row['name']}" if depth else row["name"] for row in rows]
        axes.set_yticks(range(len(rows)), names)
        axes.invert_yaxis()
        axes.set_xlim(0, 1.25 * max(left))
        axes.set_xlabel("first call, s (and ratio)")
        axes.set_title(_short(table["title"]), fontsize=10)

    figure = _stack(tables, draw)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False)
    return figure


def scaling(tables: Sequence[Table]) -> Figure:
    """Time against each quantity that grows."""
    figure = Figure((_WIDTH, 5.2), layout="constrained")
    panels = figure.subplots(2, 2)
    for axes, table in zip(panels.flat, tables, strict=False):
        rows = table["rows"]
        split = table["id"] == "wires" and len({row["batch"] for row in rows}) > 1
        for batch in sorted({row["batch"] for row in rows}, reverse=True) if split else (None,):
            some = [row for row in rows if batch in (None, row["batch"])]
            label = f"batch {batch}" if batch != 1 else "one sample"
            x, y = [row["x"] for row in some], [row["median_ms"] for row in some]
            style = {"color": "#D55E00", "marker": "s"} if batch == 1 else {}
            axes.plot(x, y, **({"color": "#0072B2", "marker": "o", "label": label} | style))
        _whole_decades(axes, [row["median_ms"] for row in rows])
        if table["id"] != "wires":
            axes.set_xscale("log", base=2)
            axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(sorted({row["x"] for row in rows}))
        axes.tick_params("x", labelsize=8)
        _plain(axes.xaxis)
        _plain(axes.yaxis)
        axes.set_xlabel({"wires": "wires", "batch": "samples"}.get(table["id"], table["id"]))
        axes.set_ylabel("median time, ms")
        axes.grid(alpha=0.3)
        axes.set_title(_panel_title(table["title"]), fontsize=9)
        if split:
            axes.legend(frameon=False, fontsize=8)
    return figure


def engines(tables: Sequence[Table]) -> Figure:
    """Time by batch for each engine; a ring marks the one that the cost model chooses."""
    figure = Figure((_WIDTH, 3.2), layout="constrained")
    panels = figure.subplots(1, len(tables), squeeze=False)[0]
    looks = {"statevector": ("#D55E00", "s"), "operator": ("#0072B2", "o")}
    looks["heisenberg"] = ("#009E73", "^")
    for axes, table in zip(panels, tables, strict=True):
        rows = table["rows"]
        x = [int(row["name"]) for row in rows]
        for engine, (colour, marker) in looks.items():
            y = [row[f"{engine}_ms"] for row in rows]
            axes.plot(x, y, color=colour, marker=marker, label=engine)
        chosen = [row[f"{row['chosen']}_ms"] for row in rows]
        ring = {"s": 110, "facecolors": "none", "edgecolors": "black", "zorder": 3}
        axes.scatter(x, chosen, label="chosen", **ring)
        axes.set_xscale("log", base=2)
        axes.set_xticks(x)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.tick_params("x", labelsize=7)
        _whole_decades(axes, [row[f"{engine}_ms"] for row in rows for engine in looks])
        _plain(axes.xaxis)
        _plain(axes.yaxis)
        axes.set_xlabel("samples")
        axes.grid(alpha=0.3)
        axes.set_title(table["title"].partition(": ")[2], fontsize=10)
    panels[0].set_ylabel("median time, ms")
    panels[0].legend(frameon=False, fontsize=8)
    return figure


def _panel_title(title: str) -> str:
    head, _, rest = title.partition(": ")
    return f"{head}\n{rest}"


def wires(tables: Sequence[Table]) -> Figure:
    """State vectors: time of the value, and of value and gradient."""
    tables = [table for table in tables if "kind" in table]
    if len({table["wires"] for table in tables}) == 1:  # nothing grows: bars
        return times(tables)
    figure = Figure((_WIDTH, 3.0), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, kind in zip(panels, ("value", "gradient"), strict=True):
        some = [table for table in tables if table["kind"] == kind]
        names = [row["name"] for row in some[0]["rows"]]
        for name in names:
            found = [(t["wires"], r) for t in some for r in t["rows"] if r["name"] == name]
            x, y = [wires for wires, _ in found], [row["median_ms"] for _, row in found]
            axes.plot(x, y, color=_colour(name), marker=_MARKERS.get(name, "v"), label=name)
        axes.set_xticks([table["wires"] for table in some])
        axes.grid(alpha=0.3)
        axes.set_xlabel("wires")
        axes.set_title("value" if kind == "value" else "value and gradient", fontsize=10)
    _whole_decades(panels[0], [row["median_ms"] for table in tables for row in table["rows"]])
    _plain(panels[0].yaxis)
    panels[0].set_ylabel("median time, ms")
    panels[0].legend(frameon=False, fontsize=8)
    return figure


def wide(tables: Sequence[Table]) -> Figure:
    """Time, and memory beyond what the process had before."""
    figure = Figure((_WIDTH, 2.8), layout="constrained")
    (table,) = tables
    x = [int(row["name"]) for row in table["rows"]]
    memories = {
        "peak of the process": [row["peak_mib"] for row in table["rows"]],
        "temporary arrays": [row["temporary_mib"] for row in table["rows"]],
    }
    left, right = figure.subplots(1, 2)
    left.semilogy(x, [row["median_ms"] / 1e3 for row in table["rows"]], "o-")
    left.set_ylabel("median time, s")
    for (name, y), marker in zip(memories.items(), "os", strict=True):
        right.semilogy(x, y, marker=marker, label=name)
    right.set_ylabel("MiB")
    right.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.set_xticks(x)
        axes.set_xlabel("wires")
        axes.grid(alpha=0.3)
    return figure


def devices(tables: Sequence[Table]) -> Figure:
    """The work of all devices together, by that of one alone."""
    figure = Figure((_WIDTH, 3.0), layout="constrained")
    axes = figure.subplots()
    for table, marker in zip(tables, "os^Dv", strict=False):
        x = [int(row["name"]) for row in table["rows"]]
        axes.plot(
            x, [row["share"] for row in table["rows"]], marker=marker, label=_short(table["title"])
        )
        axes.set_xticks(x)
    axes.axhline(1, color=_GREY, linewidth=0.8)
    axes.set_ylim(0)
    axes.set_xlabel("devices")
    axes.set_ylabel("work of all, by that of one")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    return figure


FIGURES: dict[str, Callable[[Sequence[Table]], Figure | None]] = {
    "layer": times,
    "solve": times,
    "solvers": times,
    "train": times,
    "compile": first_calls,
    "memory": memory,
    "engines": engines,
    "scaling": scaling,
    "wires": wires,
    "wide": wide,
    "noise": noise,
    "graphs": times,
    "devices": devices,
}

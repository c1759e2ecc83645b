"""The tables of the page, from the records alone."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from .. import markdown
from .grid import BINS, DEVICES, MODELS, SOLVED, TRAININGS

Rows = list[dict[str, Any]]
Groups = dict[tuple[str, str, str], Rows]
"""The records, one for each seed, by part, model and training."""

KINDS = {
    "two_qubit": "two-qubit error",
    "two_qubit_prepared": "two-qubit error, preparation included",
    "damping": "amplitude damping",
    "dephasing": "phase damping",
    "readout": "readout error",
}
TRAINED = {"clean": "clean", "p0.01": "at 1 %", "p0.03": "at 3 %"}
WAYS = {"averaged": "10 averaged evaluations", "plain": "5 applications", "": ""}
MITIGATED = {
    "none": "none",
    "readout": "readout inversion",
    "zero-noise": "zero noise, each evaluation",
    "zero-noise after": "zero noise, afterwards",
}


def point(rows: Iterable[dict[str, Any]], **where: Any) -> dict[str, Any] | None:
    """The row with these entries."""
    return next((r for r in rows if all(r.get(k) == v for k, v in where.items())), None)


def values(seeds: Rows, key: str, name: str, **where: Any) -> list[float]:
    """A number of the rows under `key` that fit, one for each seed."""
    found = [point(seed.get(key, ()), **where) for seed in seeds]
    return [row[name] for row in found if row is not None and name in row]


def spread(numbers: Sequence[float], digits: int = 1, factor: float = 100) -> str:
    """Mean ± standard deviation over seeds."""
    if not numbers:
        return ""
    deviation = f" ± {factor * np.std(numbers, ddof=1):.{digits}f}" if len(numbers) > 1 else ""
    return f"{factor * np.mean(numbers):.{digits}f}{deviation}"


def middle(numbers: Sequence[float], how: str, factor: float = 1) -> str:
    return format(factor * float(np.mean(numbers)), how) if numbers else ""


def percent(rate: float) -> str:
    return f"{100 * rate:g}"


def ordered(groups: Groups, part: str) -> list[tuple[str, str, Rows]]:
    """Model, training and seeds, trainings inside of models."""
    keys = [(part, model, training) for model in MODELS for training in TRAININGS]
    return [(model, training, groups[part, model, training]) for _, model, training in keys
            if (part, model, training) in groups]  # fmt: skip


def two_qubit(groups: Groups) -> str:
    """Accuracy over the rates, of every training."""
    found = ordered(groups, "sweep")
    rates = sorted({row["rate"] for *_, seeds in found for s in seeds for row in s["two_qubit"]})
    rows = [
        [MODELS[model], TRAINED[training], str(len(seeds))]
        + [spread(values(seeds, "two_qubit", "accuracy", rate=rate)) for rate in rates]
        for model, training, seeds in found
    ]
    header = ["model", "trained", "seeds", *(f"{percent(rate)} %" for rate in rates)]
    return markdown(header, rows, words=2)


COLUMNS: dict[str, tuple[str, Callable[[list[float]], str]]] = {
    "accuracy, %": ("accuracy", spread),
    "margin": ("margin", lambda v: middle(v, ".2f")),
    "loss": ("loss", lambda v: middle(v, ".3f")),
    "signal": ("signal", lambda v: middle(v, ".3f")),
    "residual": ("residual", lambda v: middle(v, ".1e")),
    "applications": ("picard", lambda v: middle(v, ".1f")),
    "steps": ("steps", lambda v: middle(v, ".1f")),
    "radius": ("radius", lambda v: middle(v, ".2f")),
    "‖J‖": ("norm", lambda v: middle(v, ".2f")),
}


def details(groups: Groups, rates: Sequence[float] = (0.0, 0.01, 0.03)) -> str:
    """All that was measured, of the models that were trained clean."""
    rows = [
        [MODELS[model], percent(rate)]
        + [show(values(seeds, "two_qubit", name, rate=rate)) for name, show in COLUMNS.values()]
        for model, training, seeds in ordered(groups, "sweep")
        for rate in rates
        if training == "clean" and values(seeds, "two_qubit", "accuracy", rate=rate)
    ]
    return markdown(["model", "error, %", *COLUMNS], rows)


def others(groups: Groups) -> str:
    """The other sweeps, of the models that were trained clean."""
    chosen = [(kind, rate) for kind in list(KINDS)[1:4] for rate in (0.003, 0.01, 0.03)]
    chosen += [("readout", rate) for rate in (0.01, 0.05)]
    models = [(model, s) for model, training, s in ordered(groups, "sweep") if training == "clean"]
    short = {"two_qubit_prepared": "prepared", "damping": "damping", "dephasing": "dephasing"}
    rows = [
        [f"{short.get(kind, kind)} {percent(rate)} %"]
        + [middle(values(s, kind, "accuracy", rate=rate), ".1f", 100) for _, s in models]
        for kind, rate in chosen
    ]
    return markdown(["noise", *(MODELS[model] for model, _ in models)], rows)


def devices(groups: Groups) -> str:
    """Accuracy on every device, without and with errors of the preparation."""
    rows = [
        [MODELS[model], TRAINED[training]]
        + [
            middle(values(seeds, "devices", "accuracy", device=name, preparation=p), ".1f", 100)
            for name in DEVICES
            for p in (False, True)
        ]
        for model, training, seeds in ordered(groups, "sweep")
        if any(seed["devices"] for seed in seeds)
    ]
    # (With a space, where a heading may be broken.)
    titles = [name.replace("_", " ") for name in DEVICES]
    header = [f"{title}{also}" for title in titles for also in ("", ", prepared")]
    return markdown(["model", "trained", *header], rows, words=2)


def differences(groups: Groups, rates: Sequence[float] = (0.0, 0.01, 0.03)) -> str:
    """The QDEQ's accuracy minus the others', seed by seed: means with their standard errors."""
    rows = []
    for trained, title in TRAINED.items():
        for this in SOLVED:
            for other in MODELS:
                keys = [("sweep", model, trained) for model in (this, other)]
                if other in SOLVED or not all(key in groups for key in keys):
                    continue
                a, b = (groups[key] for key in keys)
                cells = []
                for rate in rates:
                    ours, theirs = (values(s, "two_qubit", "accuracy", rate=rate) for s in (a, b))
                    gap = 100 * (np.asarray(ours) - np.asarray(theirs))
                    error = np.std(gap, ddof=1) / np.sqrt(len(gap)) if len(gap) > 1 else np.nan
                    cells.append(f"{np.mean(gap):+.1f} ± {error:.1f}")
                rows.append([MODELS[this], MODELS[other], title, *cells])
    header = ["this", "minus", "trained", *(f"{percent(rate)} %" for rate in rates)]
    return markdown(header, rows, words=3)


def ten_qubits(groups: Groups) -> str:
    """Accuracy on MNIST-10, from the records of that task."""
    rows = []
    for model, _, seeds in ordered(groups, "sweep"):
        cells = []
        for kind in ("two_qubit", "two_qubit_prepared"):
            also = ", prepared" if kind.endswith("prepared") else ""
            for row in seeds[0][kind]:
                cells.append((f"{percent(row['rate'])} %{also}", f"{100 * row['accuracy']:.1f}"))
        for row in seeds[0]["devices"]:
            also = ", prepared" if row["preparation"] else ""
            cells.append((f"{row['device']}{also}", f"{100 * row['accuracy']:.1f}"))
        rows.append((MODELS[model], cells))
    if not rows:
        return markdown([], [])
    header = ["model", *(name for name, _ in rows[0][1])]
    return markdown(header, [[title, *(cell for _, cell in cells)] for title, cells in rows])


def _shot_numbers(groups: Groups) -> list[int]:
    found = ordered(groups, "shots")
    return sorted({row["shots"] for *_, seeds in found for s in seeds for row in s["rows"]})


def shots(groups: Groups) -> str:
    """Accuracy over the shots of an image in all, without other noise."""
    numbers, rows = _shot_numbers(groups), []
    for model, training, seeds in ordered(groups, "shots"):
        for way in WAYS:
            where = {"noise": "none", "way": way, "mitigation": "none"}
            cells = [spread(values(seeds, "rows", "accuracy", shots=n, **where)) for n in numbers]
            if any(cells):
                rows.append([_title(model, way), TRAINED[training], *cells])
    return markdown(["model", "trained", *map(_count, numbers)], rows, words=2)


def mitigation(groups: Groups, noise: str, training: str = "clean") -> str:
    """Accuracy under a noise by mitigation, at equal shots."""
    numbers, rows = _shot_numbers(groups), []
    for model, trained, seeds in ordered(groups, "shots"):
        for way in WAYS:
            for mitigated, title in MITIGATED.items():
                where = {"noise": noise, "way": way, "mitigation": mitigated}
                cells = [
                    middle(values(seeds, "rows", "accuracy", shots=n, **where), ".1f", 100)
                    for n in numbers
                ]
                if trained == training and any(cells):
                    rows.append([_title(model, way), title, *cells])
    return markdown(["model", "mitigation", *map(_count, numbers)], rows, words=2)


def _title(model: str, way: str) -> str:
    return f"{MODELS[model]}, {WAYS[way]}" if way else MODELS[model]


def _count(n: int) -> str:
    return f"{n:,}"


def floors(groups: Groups) -> str:
    """What a solve with a number of shots in each evaluation ends with."""
    rows = []
    for model, _, seeds in ordered(groups, "floors"):
        for n in sorted({row["shots"] for seed in seeds for row in seed["rows"]}):
            get = lambda name, n=n, seeds=seeds: values(seeds, "rows", name, shots=n)
            rows.append([
                MODELS[model], _count(n), middle(get("floor"), ".3f"),
                middle(get("residual"), ".3f"), middle(get("num_steps"), ".1f"),
                middle(get("num_shots"), ",.0f"), spread(get("accuracy")),
            ])  # fmt: skip
    header = ["model", "shots of an evaluation", "floor", "residual", "evaluations"]
    return markdown([*header, "shots in all", "accuracy, %"], rows)


def law(groups: Groups, rates: Sequence[float] = (0.001, 0.01, 0.03)) -> str:
    """Errors of an evaluation and of the equilibrium."""
    rows = []
    for model, _, seeds in ordered(groups, "law"):
        if model in ("direct2", "direct5"):
            continue  # between those of one and of ten
        for kind in ("two_qubit", "damping", "readout"):
            for rate in rates:
                get = lambda name, k=kind, r=rate, s=seeds: values(s, k, name, rate=r)
                if get("delta"):
                    rows.append([
                        MODELS[model], KINDS[kind], percent(rate), middle(get("delta"), ".4f"),
                        middle(get("error"), ".4f"), middle(get("amplification"), ".2f"),
                        middle(get("amplification_95"), ".2f"),
                        middle(get("bound_amplification"), ".2f"),
                        middle(get("off_clean"), ".1f", 100), middle(get("off_noisy"), ".1f", 100),
                        middle(get("bound_holds"), ".1f", 100),
                    ])  # fmt: skip
    header = ["cell", "noise", "rate, %", "‖δ‖", "‖Δz‖", "‖Δz‖/‖δ‖", "of 95 % below", "1/(1-κ)"]
    header += ["law, clean J: off by, %", "noisy J: off by, %", "bound holds, %"]
    return markdown(header, rows, words=2)


def binned(groups: Groups) -> str:
    """The amplification by κ, all cells and seeds together."""
    rows = []
    for low, found in sorted(bins(groups).items()):
        rows.append([
            f"{low:.2f}", f"{sum(row['count'] for row in found):,}",
            *(f"{pooled(found, name):.2f}" for name in ("amplification", "amplification_95",
                                                        "random", "worst")),
            f"{1 / (1 - low):.2f}" if low < 1 else "no bound",
        ])  # fmt: skip
    header = ["κ, median", "samples", "this noise", "of 95 % below", "random error"]
    return markdown([*header, "worst error", "1/(1-κ)"], rows, words=0)


def bins(groups: Groups) -> dict[float, Rows]:
    """The bins of all models and seeds, by the bin's middle κ."""
    found = defaultdict(list)
    for _, _, seeds in ordered(groups, "law"):
        for seed in seeds:
            for row in seed["binned"]:
                found[int(np.searchsorted(BINS, row["lipschitz"], side="right"))].append(row)
    return {pooled(rows, "lipschitz"): rows for rows in found.values()}


def pooled(rows: Rows, name: str) -> float:
    """The mean of the medians, weighted by the samples behind them."""
    return float(np.average([r[name] for r in rows], weights=[r["count"] for r in rows]))


def contraction(groups: Groups, rates: Sequence[float] = (0.001, 0.01, 0.03)) -> str:
    """What noise leaves of J and of the signal."""
    rows = []
    for model, _, seeds in ordered(groups, "law"):
        if model in ("direct2", "direct5"):
            continue
        for kind in ("two_qubit", "dephasing", "damping"):
            for rate in rates:
                kept = values(seeds, kind, "jacobian_kept", rate=rate)
                if kept:
                    cells = [middle(kept, ".3f")]
                    for name in ("norm", "radius", "signal"):
                        cells.append(middle(ratios(seeds, kind, name, rate), ".3f"))
                    rows.append([MODELS[model], KINDS[kind], percent(rate), *cells])
    header = ["cell", "noise", "rate, %", "‖J‖ at the same z", "‖J‖ at its own z*"]
    return markdown([*header, "radius", "signal"], rows, words=2)


def ratios(seeds: Rows, kind: str, name: str, rate: float) -> list[float]:
    """A number under noise over the same without, for each seed."""
    found = [(point(seed[kind], rate=rate), seed["clean"]) for seed in seeds if kind in seed]
    return [row[name] / clean[name] for row, clean in found if row is not None]

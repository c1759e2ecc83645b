"""The benchmarks run, and their page says what was measured."""

import dataclasses
import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import __main__ as run, report
from benchmarks._figures import FIGURES
from benchmarks._maps import quantum
from benchmarks._peers import ours
from benchmarks._problems import paper
from benchmarks._prose import SECTIONS
from benchmarks._settings import SMOKE
from benchmarks._suites import SUITES
from benchmarks._tables import as_markdown, load, save, show
from benchmarks._timing import check_agreement, time_in_turn
from eqx_qdeq import AddInjection

pytestmark = pytest.mark.usefixtures("once")

QUICK = ("layer", "solve", "train")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run against one peer, with a suite of an earlier run in the file."""
    path = tmp_path_factory.mktemp("benchmarks") / "results.json"
    save(path, {"layer": {"tables": "replaced"}, "memory": _other_suite()})
    run.main(QUICK, qubits=(3,), batch=4, seconds=0.05, peers=("qujax",), out=path)
    return path


def _other_suite() -> dict:
    row = {"name": "eqx-qdeq", "temporary_mib": 12.34, "ratio": 1.0}
    loop = {"name": "qujax", "temporary_mib": 617.0, "ratio": 50.0}
    table = {"id": "9", "title": "Of: 9 qubits", "first": "", "notes": [], "rows": [row, loop]}
    where = {"command": "python -m elsewhere", "environment": _machine(), "seconds": 60.0}
    return {**where, "tables": [table]}


def _machine() -> dict:
    keys = ("date", "machine", "cpus", "system", "device", "precision", "python")
    rates = {"sgemm_gflops": 1.0, "copy_gbytes": 2.0}
    return dict.fromkeys(keys, "elsewhere") | rates | {"versions": {"jax": "0.0"}}


def test_results(results: Path) -> None:
    suites = load(results)
    assert list(suites) == [*QUICK, "memory"]
    assert suites["memory"] == _other_suite()  # kept as it was
    for name in QUICK:
        suite = suites[name]
        assert suite["command"].startswith(f"python -m benchmarks --suite {name} --qubits 3 ")
        assert suite["environment"]["versions"]["qujax"]
        assert suite["environment"]["sgemm_gflops"] > 0 and suite["environment"]["copy_gbytes"] > 0
        (table,) = suite["tables"]
        rows = {row["name"]: row for row in table["rows"]}
        assert {"eqx-qdeq", "qujax"} <= set(rows)
        assert rows["eqx-qdeq"]["ratio"] == 1
        quotient = rows["qujax"]["median_ms"] / rows["eqx-qdeq"]["median_ms"]
        assert rows["qujax"]["ratio"] == pytest.approx(quotient, rel=1e-2)
        assert all(0 < row["best_ms"] <= row["median_ms"] for row in rows.values())
        if name == "solve":
            assert all(row["solved"] == 100 for row in rows.values())
            assert rows["qujax"]["solver_steps"] == rows["eqx-qdeq"]["solver_steps"] > 1
        else:
            assert all(row["of_sgemm"] > 0 for row in rows.values())


def test_page(results: Path, tmp_path: Path) -> None:
    report.main(results, tmp_path)
    page = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    for suite in load(results).values():
        assert suite["command"] in page
        for table in suite["tables"]:
            assert as_markdown(table) in page
            for row in table["rows"]:
                line = next(l for l in as_markdown(table).splitlines() if f"| {row['name']} |" in l)
                numbers = [row[key] for key in row if key != "name"]
                assert all(f" {show(number)} " in line for number in numbers)
    assert "| 617 |" in page and "python -m elsewhere" in page
    assert SECTIONS["wires"].heading not in page  # was not run
    figures = re.findall(r"!\[.+\]\((.+)\)", page)
    assert len(figures) == 4
    for figure in figures:
        assert (tmp_path / figure).read_text(encoding="utf-8").endswith("</svg>\n")


@pytest.mark.parametrize("library", ["jaxopt", "torchdeq"])
def test_solvers_of_other_libraries(library: str, tmp_path: Path) -> None:
    pytest.importorskip(library)
    settings = dataclasses.replace(SMOKE, batch=8, seconds=0.0, peers=(library, "qujax"))
    command = settings.command("solvers")
    assert command.endswith(f"--peers {library} --smoke")
    tables = SUITES["solvers"](settings, {})
    assert len(tables) == 2
    for table in tables:
        rows = {row["name"]: row for row in table["rows"]}
        for method in ("Anderson", "Broyden"):
            mine, theirs = rows[f"eqx-qdeq: {method}"], rows[f"{library}: {method}"]
            assert mine["solved"] == 100 and mine["ratio"] == 1
            assert 2 < mine["evaluations"] <= mine["at_most"] < 20
            assert theirs["solved"] == 100 and theirs["evaluations"] <= theirs["at_most"]
            quotient = theirs["median_ms"] / mine["median_ms"]
            assert theirs["ratio"] == pytest.approx(quotient, rel=1e-2)
    suite = {"command": command, "environment": _machine(), "seconds": 1.0, "tables": tables}
    save(tmp_path / "results.json", {"solvers": suite})
    report.main(tmp_path / "results.json", tmp_path)
    page = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert "With fewer evaluations than eqx-qdeq by the same method" in page
    assert (tmp_path / "figures/benchmarks/solvers.svg").exists()


def test_the_quantum_map_is_the_cell() -> None:
    """The quadratic forms that are handed to other libraries, against the layer itself."""
    f, p = quantum(3, 8), paper(3, 8)
    injection = AddInjection(p.x.shape[1])
    y = jax.random.normal(jax.random.key(1), (8, 3))
    layer = ours(p.circuit, batch=8)
    expected = jax.vmap(lambda y, x: layer(p.angles, injection(y, x)))(y, p.x)
    np.testing.assert_allclose(jax.vmap(f.in_jax)(y, jnp.asarray(f.x)), expected, atol=2e-6)
    gap = np.linalg.norm(np.asarray(expected - y), axis=1)
    np.testing.assert_allclose(f.residual(np.asarray(y)), gap, atol=2e-5)


def test_every_suite_has_words_and_a_figure() -> None:
    assert set(SUITES) == set(SECTIONS) == set(FIGURES)


def test_the_committed_page_is_that_of_the_results(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    report.main(root / "benchmarks" / "results.json", tmp_path)
    for written in [path for path in tmp_path.rglob("*.*") if path.is_file()]:
        committed = root / "docs" / written.relative_to(tmp_path)
        assert committed.exists(), "run `python -m benchmarks.report`"
        if committed.suffix == ".md":
            assert committed.read_text("utf-8") == written.read_text("utf-8")


def test_a_foreign_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"suites": {}}))
    with pytest.raises(SystemExit, match="is not a results file"):
        save(path, {})
    assert json.loads(path.read_text()) == {"suites": {}}


def test_unknown_names() -> None:
    with pytest.raises(SystemExit, match="'speed'"):
        run.main(("speed",))
    with pytest.raises(SystemExit, match="cirq"):
        run.main(peers=("cirq",))


def test_disagreement_raises() -> None:
    a, b = jnp.array([1.0, 2.0]), jnp.array([1.0, 2.25])
    values = {"ours": (a, 3.0), "theirs": (b, 3.0)}
    with pytest.raises(AssertionError, match="theirs differs from ours by 2.50e-01"):
        check_agreement(values, reference="ours", atol=0.2)
    assert check_agreement(values, reference="ours", atol=0.3) == 0.25
    nan = {"ours": a, "theirs": jnp.full(2, jnp.nan)}
    with pytest.raises(AssertionError, match="theirs"):
        check_agreement(nan, reference="ours", atol=1.0)


def test_contestants_take_turns() -> None:
    calls: list[str] = []
    contestants = {name: (lambda name=name: calls.append(name)) for name in "ab"}
    timings = time_in_turn(contestants, seconds=0.0, min_rounds=3)
    # Once each to begin with, then turns of five calls, of which the first is not counted.
    assert calls == ["a", "b"] + (["a"] * 5 + ["b"] * 5) * 3
    assert all(0 <= t.best <= t.median for t in timings.values())


def test_numbers_are_shown_with_three_digits() -> None:
    shown = [show(x) for x in (0.01234, 0.5, 1.0, 9.996, 12.34, 99.96, 1234.5, None)]
    assert shown == ["0.012", "0.500", "1.00", "10.0", "12.3", "100", "1,234", "–"]

"""The benchmarks run, and their page says what was measured."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import __main__ as run, report
from benchmarks._figures import FIGURES
from benchmarks._maps import quantum
from benchmarks._peers import ours, PEERS
from benchmarks._problems import paper
from benchmarks._settings import SMOKE
from benchmarks._suites import SUITES
from benchmarks._tables import as_markdown, load, save, show, Table
from benchmarks._timing import check_agreement, time_in_turn
from eqx_qdeq import AddInjection

pytestmark = pytest.mark.usefixtures("once")

QUICK = ("layer", "solve", "train")
ROOT = Path(__file__).parents[2]
PAGE, RESULTS = ROOT / "docs" / "benchmarks.md", ROOT / "benchmarks" / "results.json"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run against one peer, with a suite of an earlier run in the file."""
    path = tmp_path_factory.mktemp("benchmarks") / "results.json"
    save(path, {"layer": {"tables": "replaced"}, "memory": _other_suite()})
    run.main(QUICK, qubits=(3,), batch=4, seconds=0.05, peers=("qujax", "qujax-matrix"), out=path)
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
        assert {"eqx-qdeq", "qujax", "qujax-matrix"} <= set(rows)
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
    assert "<!-- begin: wires -->\n\n*(not run)*\n" in page
    for suite in load(results).values():
        assert suite["command"] in page.replace(" \\\n    ", " ")
        for table in suite["tables"]:
            assert as_markdown(table) in page
            for row in table["rows"]:
                line = next(l for l in as_markdown(table).splitlines() if f"| {row['name']} |" in l)
                numbers = [row[key] for key in row if key != "name"]
                assert all(f" {show(number)} " in line for number in numbers)
    assert "| 617 |" in page and "python -m elsewhere" in page
    figures = [*(tmp_path / "figures" / "benchmarks").iterdir()]
    assert sorted(figure.stem for figure in figures) == sorted([*QUICK, "memory"])
    for figure in figures:
        assert figure.read_text(encoding="utf-8").endswith("</svg>\n")


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
    assert all(as_markdown(table) in page for table in tables)
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


def _findings(page: str) -> dict[str, tuple[str, str]]:
    """For every suite of the page, what is filled in and what is written by hand behind it."""
    found = {}
    marked = re.compile(r"<!-- begin: (\w+) -->(.*?)<!-- end -->(.*?)(?=^## |\Z)", re.M | re.S)
    for name, filled, behind in marked.findall(page):
        figure, _, words = behind.strip().partition("\n\n")
        if name in SUITES:
            assert re.fullmatch(rf"!\[.+\]\(figures/benchmarks/{name}\.svg\)", figure)
            found[name] = filled, words
    return found


def _numbers(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?!\w)", text))


def test_every_suite_has_words_and_a_figure() -> None:
    findings = _findings(PAGE.read_text(encoding="utf-8"))
    assert set(SUITES) == set(findings) == set(FIGURES)
    assert all(words.endswith(".") for _, words in findings.values())


def test_the_committed_page_is_that_of_the_results(tmp_path: Path) -> None:
    shutil.copy(PAGE, tmp_path)
    report.main(RESULTS, tmp_path)
    for written in [path for path in tmp_path.rglob("*.*") if path.is_file()]:
        committed = PAGE.parent / written.relative_to(tmp_path)
        assert committed.exists(), "run `python -m benchmarks.report`"
        if committed.suffix == ".md":
            assert committed.read_text("utf-8") == written.read_text("utf-8")


@pytest.mark.parametrize("suite", SUITES)
def test_numbers_in_the_words_are_in_the_tables(suite: str) -> None:
    """Or another run would leave the words as they were."""
    tables, words = _findings(PAGE.read_text(encoding="utf-8"))[suite]
    assert _numbers(words)
    assert not _numbers(words) - _numbers(tables), "read the words again"


def test_the_words_name_every_peer_that_does_better() -> None:
    """And the fastest one."""
    findings = _findings(PAGE.read_text(encoding="utf-8"))
    for suite, found in load(RESULTS).items():
        said = _numbers(findings[suite][1])
        for table in found["tables"]:
            rows = {row["name"]: row for row in table["rows"] if "ratio" in row}
            peers = {name: row for name, row in rows.items() if not name.startswith("eqx-qdeq")}
            if suite == "solvers":
                for name, row in peers.items():
                    mine = rows[f"eqx-qdeq: {name.rpartition(': ')[2]}"]
                    for key in ("median_ms", "evaluations"):
                        if row["solved"] == 100 and row[key] < mine[key]:
                            assert {show(row[key]), show(mine[key])} <= said
            elif "eqx-qdeq" in rows and peers:
                ratios = [row["ratio"] for row in peers.values()]
                better = [ratio for ratio in ratios if ratio < 1]
                assert {show(ratio) for ratio in (min(ratios), *better)} <= said


def test_the_readme_has_the_numbers_of_a_training_step() -> None:
    readme = " ".join((PAGE.parents[1] / "README.md").read_text(encoding="utf-8").split())
    small, large = (
        {row["name"]: row for row in table["rows"]} for table in load(RESULTS)["train"]["tables"]
    )
    ratios = {name: (small[name]["ratio"], large[name]["ratio"]) for name in small if name in PEERS}
    plain, once = ratios["qujax"], ratios.pop("qujax-matrix")
    fastest = min(ratios, key=lambda name: ratios[name][0])
    assert fastest == min(ratios, key=lambda name: ratios[name][1])
    assert (
        f"| {plain[1]:.2g} times as long with qujax's gates, {once[1]:.2g} times with their matrix "
        f"computed once | {large['eqx-qdeq']['median_ms']:.2g} ms "
        f"| fastest other simulator: {ratios[fastest][1]:.2g} times as long |"
    ) in readme


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


def test_devices() -> None:
    settings = dataclasses.replace(SMOKE, batch=16)
    few, many, graph = SUITES["devices"](settings, {})
    for table in (few, many, graph):
        assert [row["name"] for row in table["rows"]] == ["1", "2"]
    for row in (*few["rows"], *many["rows"]):
        assert row["exchanges"] <= 1 and row["exchanges_in_solves"] == 0 < row["gflop"]
    assert few["rows"][1]["exchanges"] == many["rows"][1]["exchanges"] == 1
    # What each does for itself is little where samples are many.
    assert few["rows"][1]["share"] > 1.2 > 1.1 > many["rows"][1]["share"]
    assert "% more in all from" in few["facts"][0]
    assert 0 < graph["rows"][1]["exchanged_kib"] < 1


def test_wide_circuits() -> None:
    (table,) = SUITES["wide"](SMOKE, {})
    rates = {"sgemm_gflops": 1.0, "copy_gbytes": 1.0}
    *_, layer = SUITES["wires"](dataclasses.replace(SMOKE, peers=()), rates)
    _check_memory(table)
    _check_memory(layer)


def _check_memory(table: Table) -> None:
    (row,) = table["rows"]
    assert row["name"] == "8" and 0 < row["best_ms"] <= row["median_ms"]
    assert 0 < row["before_mib"] <= row["compiled_mib"] <= row["peak_mib"]

"""experiments/transitions: its systems against their closed forms, its results, its report."""

import jax
import numpy as np
import pytest

import eqx_qdeq as qdeq
from experiments import load_records
from experiments.transitions import report
from experiments.transitions.measure import execute
from experiments.transitions.systems import SYSTEMS

pytestmark = pytest.mark.usefixtures("once")


@pytest.mark.parametrize("name", SYSTEMS)
def test_equilibria_and_derivatives_are_those_on_paper(name):
    solver = "pseudo-transient" if name == "pair" else "newton"
    with jax.enable_x64(True):
        found = execute(name, solver, (0.05,))
    assert found["success"] == [True]
    assert found["error"][0] < 1e-7 and found["derivative"][0] < 1e-6


@pytest.mark.parametrize("name", ["mott", "driven"])
def test_slopes_are_those_of_the_maps(name):
    about = SYSTEMS[name]
    with jax.enable_x64(True):
        cell, x = about.make(), jax.numpy.array(about.at(0.1))
        z = qdeq.DEQ(cell, qdeq.Newton(rtol=0.0, atol=1e-12))(x)
        slope = float(qdeq.spectral_radius(cell.bind(x), z))
    np.testing.assert_allclose(about.slope(about.at(0.1)), slope, rtol=1e-6)


def test_transitions_are_where_the_slope_is_one():
    for about in SYSTEMS.values():
        assert 0.9 < about.slope(about.at(1e-3)) < 1


def test_applications_leave_what_the_slope_says():
    """Two applications differ by λ in their errors, where these are small."""
    runs = report.load(report.RESULTS)
    run, more = runs["mott", "20"], runs["mott", "50"]
    small = np.array(run["error"]) < 0.05
    fell = np.array(more["error"])[small] / np.array(run["error"])[small]
    expected = np.array(run["slope"])[small] ** 30
    resolved = np.array(more["error"])[small] > 1e-10
    assert resolved.sum() >= 2
    np.testing.assert_allclose(fell[resolved], expected[resolved], rtol=0.2)


def test_equilibria_are_right_where_their_solvers_say_so():
    runs = report.load(report.RESULTS)
    solved = 0
    for (system, model), run in runs.items():
        # Of the pair there are excited states, too, which other solvers than this one may find.
        if model in report.SOLVERS and (system != "pair" or model == "pseudo-transient"):
            success = np.array(run["success"])
            # A residual of 1e-10 over 1 - slope, which is 1e-3 at least; over m twice.
            assert np.all(np.array(run["error"])[success] < 1e-5)
            solved += success.sum()
    assert solved > 100


def test_the_report_has_every_system():
    tables = report.all_tables(report.RESULTS)
    for about in SYSTEMS.values():
        assert about.title.capitalize() in tables["errors"]
    records = load_records(report.RESULTS)
    assert sum(name.startswith("images-") for name in records) == tables["images"].count("`ours-")
    assert report.draw(report.load(report.RESULTS)).axes


def test_no_results_are_an_error(tmp_path):
    with pytest.raises(SystemExit, match="there are no results"):
        report.load(tmp_path / "results.jsonl")

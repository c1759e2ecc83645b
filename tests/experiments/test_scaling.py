"""experiments/scaling: what is measured, the model that is fitted to it, and the page."""

import shutil

import numpy as np
import pytest

from docs.hooks.pages import DOCS
from experiments._results import require_records
from experiments.scaling import report
from experiments.scaling.measure import measure

pytestmark = pytest.mark.usefixtures("once")


def test_a_size_is_measured():
    record = measure(2, 3, 0.0)
    assert record["features"] == 4 and record["parameters"] == 8
    assert record["cpu_ms"] > 0 and 1 < record["solver_steps"] < 256


def test_the_fit_finds_the_constants_of_a_model():
    wanted = {True: np.asarray([0.3, 1e-5, 2e-3, 4e-4]), False: np.asarray([1, 3e-8, 5e-7, 9e-7])}
    records = []
    for wires in (2, 4, 6, 8, 10, 12):
        for batch in (4, 64, 1024):
            features = min(2**wires, 1024)
            time = report.modelled(wanted, wires, features, batch)
            records.append({"wires": wires, "batch": batch, "features": features, "ms": time})
    found = report.fitted(records, "ms")
    for small, constants in wanted.items():
        np.testing.assert_allclose(found[small], constants, rtol=1e-6)


def test_the_page_is_that_of_the_results(tmp_path):
    shutil.copy(DOCS / "scaling.md", tmp_path)
    report.main(docs=tmp_path)
    written = (tmp_path / "scaling.md").read_text(encoding="utf-8")
    assert written == (DOCS / "scaling.md").read_text(encoding="utf-8")
    assert len(require_records(report.RESULTS)) >= 20

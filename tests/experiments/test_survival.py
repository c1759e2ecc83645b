"""The page *What survives what*, and the commands behind it."""

import json

import pytest
import scipy.stats

from experiments import DOCS, fill_page, load_records
from experiments.survival import report, RESULTS, versions

pytestmark = pytest.mark.usefixtures("once")

ROOT = DOCS.parent
MUTANTS = load_records(RESULTS / "mutants.jsonl")


def test_the_page_says_what_the_results_say(tmp_path):
    page, copy = DOCS / "survival.md", tmp_path / "page.md"
    text = page.read_text(encoding="utf-8")
    assert text.count("<!-- begin: ") == len(report.all_tables())
    copy.write_text(text, encoding="utf-8")
    fill_page(copy, report.all_tables())
    assert copy.read_text(encoding="utf-8") == text


def test_no_mutant_is_explained_that_is_dead():
    living = {name for name, record in MUTANTS.items() if record["outcome"] == "survived"}
    assert report.EXPLAINED.keys() <= living


@pytest.mark.parametrize(("k", "n"), [(0, 20), (37, 40), (40, 40)])
def test_the_interval(k, n):
    expected = scipy.stats.binomtest(k, n).proportion_ci(method="wilson")
    assert report.interval(k, n) == pytest.approx((expected.low, expected.high), abs=1e-4)


def test_what_a_command_counted(tmp_path):
    path = tmp_path / "forge.json"
    assert "has not been run" in report.counted("forge", path)
    row = {"inputs": 1200, "outcomes": {"read": 3, "DataError": 1197}, "faults": [], "note": "x"}
    path.write_text(json.dumps({"npz": row}))
    *_, line = report.counted("forge", path).splitlines()
    assert line == "| npz | 1,200 | read 3, DataError 1,197 | 0 |"
    path.write_text(json.dumps({"stopped_again": 89, "by_name": {"open": 7, "of": "x"}}))
    assert report.counted("forge", path).endswith("| stopped again | 89 |\n| by name | open 7 |")
    path.write_text(json.dumps({"calls": {"megabytes": [612.9, 613.1, 613.0]}}))
    assert report.counted("forge", path).endswith("| calls | 612.9 to 613.0 |")


def test_the_oldest_versions_are_the_floors():
    pins = (ROOT / "tests" / "oldest.txt").read_text(encoding="utf-8").split("\n")
    pins = dict(line.split("==") for line in pins if "==" in line)
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for name in (*versions.PACKAGES, "wadler-lindig"):
        if name != "numpy":  # JAX's own floor
            assert f'"{name}>={pins[name]}"' in project


def test_the_core_is_there():
    for test in versions.CORE:
        assert (ROOT / test).exists()


def test_a_sample_of_mutants_is_the_same_each_time():
    pytest.importorskip("cosmic_ray")
    from experiments.survival import mutants

    first, second = (mutants.sample("adjoints", 3, 1) for _ in range(2))
    assert first == second
    for mutant in first.values():
        compile(mutant.code, mutant.file, "exec")
        source = (ROOT / mutant.file).read_text(encoding="utf-8")
        assert mutant.before in source and mutant.code != source

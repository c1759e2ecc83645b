"""experiments/beyond: as a command, its committed results, and the pages that tell them."""

import json
from pathlib import Path

import numpy as np
import pytest

from eqx_qdeq.training import get_recipe, load_metadata, pretrained, pretrained_path
from experiments import load_records
from experiments.beyond import __main__ as main, report

pytestmark = pytest.mark.usefixtures("once")

ROOT = Path(__file__).parents[2]


def _runs(name: str) -> list[dict]:
    records = load_records(report.RESULTS)
    return [records[run] for run in records if run.startswith(f"{name}-seed")]


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("unrolled", [None, 2])
def test_as_a_command(unrolled, tmp_path, capsys):
    main.main(main.Options(seeds=1, unrolled=unrolled, scratch=tmp_path, smoke=True))
    name = "digits-demo" if unrolled is None else "digits-demo-unrolled2"
    run = load_records(tmp_path / "results.jsonl")[f"{name}-seed0"]
    assert 0 < run["test_accuracy"] <= 1
    assert f"| {name} |" in capsys.readouterr().out


def test_the_committed_page_has_the_tables_of_the_results():
    page = _read(ROOT / "docs" / "experiments" / "beyond.md")
    assert report.table(report.RESULTS) in page
    assert report.differences(report.RESULTS) in page


@pytest.mark.parametrize("name", pretrained())
def test_the_page_of_results_has_the_means(name):
    page = _read(ROOT / "docs" / "results.md")
    rows = [line for line in page.splitlines() if f"`{name}`" in line]
    accuracies = 100 * np.array([run["test_accuracy"] for run in _runs(name)])
    stated = f"{accuracies.mean():.2f} ± {accuracies.std(ddof=1):.2f} %"
    assert any(row.startswith("|") and stated in row for row in rows)


@pytest.mark.parametrize("name", ["ours-mnist10", "ours-fashion10", "ours-cifar10"])
def test_the_readme_has_the_rounded_means(name):
    means = [
        100 * np.mean([run["test_accuracy"] for run in _runs(which)])
        for which in (name, f"{name}-logistic")
    ]
    rows = _read(ROOT / "README.md").splitlines()
    assert any(f"| {means[0]:.1f} % |" in row and f": {means[1]:.1f} % |" in row for row in rows)


@pytest.mark.parametrize("name", pretrained())
def test_the_seed_with_the_best_validation_accuracy_is_shipped(name):
    runs = _runs(name)
    assert [run["seed"] for run in runs] == [0, 1, 2, 3, 4]
    best = max(runs, key=lambda run: run["validation_accuracy"])
    metadata = load_metadata(pretrained_path(name))["metadata"]
    assert metadata["seed"] == best["seed"]
    assert metadata["test_accuracy"] == best["test_accuracy"]


@pytest.mark.parametrize("name", pretrained())
def test_every_run_is_of_the_recipe_as_it_is(name):
    recipe = json.loads(json.dumps(get_recipe(name).to_dict()))
    for run in _runs(name):
        assert run["recipe"] == recipe
    for other in _runs(f"{name}-unrolled5"):
        assert other["recipe"]["model"]["base"] == recipe["model"]
        assert other["parameters"] == _runs(name)[0]["parameters"]

"""What the studies share: records in one file, and pages with tables between marks."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import (
    DOCS,
    fill_page,
    load_records,
    markdown,
    progress,
    rounded,
    save_record,
    to_do,
)
from experiments.logistic_regression import main as baseline

pytestmark = pytest.mark.usefixtures("once")

STUDIES = {"beyond": "beyond", "long_range": "long-range", "noise_resilience": "noise"}
STUDIES |= {"paper": "paper-table", "graphs": "graphs"}
FILES = sorted(Path(__file__).parents[2].glob("experiments/*/*.jsonl"))


# --- Records ----------------------------------------------------------------------------------


def test_records_are_added_and_replaced(tmp_path):
    path = tmp_path / "folder" / "results.jsonl"
    assert load_records(path) == {}
    for name, record in (("b", {"x": 1.0}), ("a", {"x": [0.1, None]}), ("b", {"y": "⟨Z⟩", "x": 2})):
        save_record(path, name, record)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines == ['{"name": "a", "x": [0.1, null]}', '{"name": "b", "y": "⟨Z⟩", "x": 2}']
    assert load_records(path) == {"a": {"x": [0.1, None]}, "b": {"y": "⟨Z⟩", "x": 2}}
    assert [each.name for each in path.parent.iterdir()] == ["results.jsonl"]


def test_what_cannot_be_written_leaves_the_file_as_it_is(tmp_path, monkeypatch):
    path = tmp_path / "results.jsonl"
    save_record(path, "a", {"x": 1})
    before = path.read_bytes()
    with pytest.raises(TypeError):
        save_record(path, "a", {"x": object()})
    with pytest.raises(ValueError, match="given apart; got one inside, 'c'"):
        save_record(path, "a", {"name": "c"})
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):  # everything but the last step
        save_record(path, "b", {"x": 2})
    assert path.read_bytes() == before


def test_a_line_that_is_no_record_is_named(tmp_path):
    path = tmp_path / "results.jsonl"
    for line in ("<<<<<<< ours", "{}", "[1]"):
        path.write_text('{"name": "a"}\n' + line + "\n")
        with pytest.raises(ValueError, match=r"results.jsonl, line 2, is not a record: "):
            load_records(path)


def test_several_processes_save_into_one_file(tmp_path):
    code = (
        "import sys; from pathlib import Path; from experiments import save_record\n"
        "for i in range(20): save_record(Path(sys.argv[1]), f'{sys.argv[2]}{i}', {'i': i})"
    )
    path, root = tmp_path / "results.jsonl", Path(__file__).parents[2]
    commands = [[sys.executable, "-c", code, str(path), letter] for letter in "ab"]
    running = [subprocess.Popen(command, cwd=root) for command in commands]
    assert [process.wait() for process in running] == [0, 0]
    assert len(load_records(path)) == 40


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_committed_results_are_as_they_are_written(path, tmp_path):
    """Sorted, once each: saving a record again changes nothing."""
    copy = tmp_path / "results.jsonl"
    copy.write_bytes(path.read_bytes())
    name, record = next(iter(load_records(copy).items()))
    save_record(copy, name, record)
    assert copy.read_bytes() == path.read_bytes()


def test_what_is_left_to_do(tmp_path, capsys):
    path = tmp_path / "results.jsonl"
    runs = {f"{kind}-seed{seed}": seed for kind in ("new", "old") for seed in range(2)}
    save_record(path, "new-seed0", {})
    assert to_do(path, runs, "new-*") == {"new-seed1": 1}
    assert capsys.readouterr().out == "1 of 2 runs are done\n"
    assert to_do(path, runs, show=True) == {}
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["done   new-seed0", "to do  new-seed1", "to do  old-seed0", "to do  old-seed1"]
    with pytest.raises(SystemExit, match="no run matches --only 'none'; --list shows"):
        to_do(path, runs, "none")
    assert dict(progress(runs)) == runs
    assert capsys.readouterr().out.startswith("1/4 new-seed0: 0 s\n2/4 new-seed1: 0 s\n")


def test_rounding():
    assert rounded({"x": 1234.5678, "y": 1e-9 / 3}, 5) == {"x": 1234.6, "y": 3.3333e-10}


# --- Pages ------------------------------------------------------------------------------------


@pytest.mark.parametrize("study", STUDIES)
def test_the_page_says_what_the_results_say(study, tmp_path):
    """Reporting again changes nothing."""
    page, copy = DOCS / "experiments" / f"{STUDIES[study]}.md", tmp_path / "page.md"
    text = page.read_text(encoding="utf-8")
    assert "<!-- begin: " in text
    copy.write_text(text, encoding="utf-8")
    report = importlib.import_module(f"experiments.{study}.report")
    fill_page(copy, report.all_tables(report.RESULTS))
    assert copy.read_text(encoding="utf-8") == text


def test_a_page_that_is_not_there_is_made(tmp_path):
    page = tmp_path / "folder" / "page.md"
    texts = {"a": markdown(["what", "n"], [["x", "1"], ["y", "\\2"]]), "b": markdown(["what"], [])}
    for _ in range(2):  # again and again, to the same effect
        fill_page(page, texts)
        assert page.read_text() == (
            "<!-- begin: a -->\n\n| what | n |\n|---|---:|\n| x | 1 |\n| y | \\2 |\n\n"
            "<!-- end -->\n\n<!-- begin: b -->\n\n*(not run)*\n\n<!-- end -->\n\n"
        )


# --- The baseline -----------------------------------------------------------------------------


def test_the_baseline_of_the_readme(capsys):
    baseline()
    output = capsys.readouterr().out
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    accuracy = output.split()[-1].replace("%", " %")
    assert f"`python -m experiments.logistic_regression` prints {accuracy}" in readme
    assert "parameters      68\n" in output

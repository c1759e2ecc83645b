"""Runs examples, and puts their figures and checked lines into the pages that show them.

python -m docs.hooks.gallery
python -m docs.hooks.gallery --names cnn self_consistent/mott
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import tyro

from .pages import DOCS, fill_page

PAGES = [DOCS / "examples.md", DOCS / "self-consistent.md"]
EXAMPLES = DOCS.parent / "examples"


def main(names: tuple[str, ...] = ()) -> None:
    """Runs examples and writes down what came of them.

    Args:
        names: which; all that the pages have a place for if left out.
    """
    for page in PAGES:
        for name in re.findall("<!-- begin: example (.*) -->", page.read_text("utf-8")):
            if not names or name in names:
                show(page, name)


def show(page: Path, name: str) -> None:
    figure = DOCS / "figures" / "examples" / f"{name}.png"
    figure.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), "--out", str(figure)]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=DOCS.parent)
    line = run.stdout.splitlines()[-1]
    figure.with_suffix(".qasm").unlink(missing_ok=True)  # of one that writes more than a figure
    idea = ast.get_docstring(ast.parse((EXAMPLES / f"{name}.py").read_text("utf-8"))) or name
    picture = f"![{idea.splitlines()[0]}]({figure.relative_to(DOCS).as_posix()})"
    fill_page(page, {f"example {name}": f"{picture}\n\n```text\n{line}\n```"})
    print(f"{name}: {line}", flush=True)


if __name__ == "__main__":
    tyro.cli(main)

"""Runs examples, and puts their figures and checked lines into docs/examples.md.

python -m docs.hooks.gallery
python -m docs.hooks.gallery --names cnn graph
"""

import re
import subprocess
import sys

import tyro

from .pages import DOCS, fill_page

PAGE, EXAMPLES = DOCS / "examples.md", DOCS.parent / "examples"


def main(names: tuple[str, ...] = ()) -> None:
    """Runs examples and writes down what came of them.

    Args:
        names: which; all that the page has a place for if left out.
    """
    for name in names or re.findall("<!-- begin: example (.*) -->", PAGE.read_text("utf-8")):
        figure = DOCS / "figures" / "examples" / f"{name}.png"
        figure.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, str(EXAMPLES / f"{name}.py"), "--out", str(figure)]
        run = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, check=True, cwd=DOCS.parent
        )
        line = run.stdout.splitlines()[-1]
        figure.with_suffix(".qasm").unlink(missing_ok=True)  # of one that writes more than a figure
        picture = f"![{name}](figures/examples/{figure.name})"
        fill_page(PAGE, {f"example {name}": f"{picture}\n\n```text\n{line}\n```"})
        print(f"{name}: {line}", flush=True)


if __name__ == "__main__":
    tyro.cli(main)

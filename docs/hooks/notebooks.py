"""The tutorials as notebooks with their outputs, for Jupyter.

    python -m docs.hooks.notebooks notebooks

What the page says is printed is left out: the notebook prints it.
"""

import re
from pathlib import Path

import jupytext
import nbclient
import tyro

from .pages import DOCS

_PRINTED = re.compile(
    r"(^```\n)\s*^(?:<!-- drawn -->\n)?```text\n.*?^```\n", re.DOTALL | re.MULTILINE
)
_HEAD = re.compile(r"\A---\n.*?\n---\n\n", re.DOTALL)
_SHELL = re.compile(r"^```bash$", re.MULTILINE)  # to be read, not to be run
# Figures are drawn in place, and there are no other pages to point to.
_PICTURE = re.compile(r"^!\[[^\]]*\]\([^)]*\)\n", re.MULTILINE)
_REFERENCE = re.compile(r"\[([^\]]+)\](?:\[eqx_qdeq[^\]]*\]|\((?!http)[^)]*\))")

_CHANGES = (
    *((_HEAD, ""), (_PRINTED, r"\1"), (_SHELL, "```text")),
    *((_PICTURE, ""), (_REFERENCE, r"\1")),
)


def main(folder: tyro.conf.Positional[Path] = Path("notebooks")) -> None:
    """Writes and runs them.

    Args:
        folder: where to.
    """
    folder.mkdir(exist_ok=True, parents=True)
    pages = (page for page in (DOCS / "tutorials").glob("*.md") if page.stem != "index")
    for page in sorted(pages):
        text = page.read_text(encoding="utf-8")
        for pattern, by in _CHANGES:
            text = pattern.sub(by, text)
        notebook = jupytext.reads(text, "md")
        nbclient.execute(notebook, cwd=folder, kernel_name="python3")
        jupytext.write(notebook, folder / f"{page.stem}.ipynb")
        print(page.stem)


if __name__ == "__main__":
    tyro.cli(main)

"""The Python of a Markdown page: runs it, and puts what it prints under it.

    python -m docs.hooks.outputs docs/getting-started.md

The blocks of a page share one namespace, in order, as a reader would type them.
`<!-- skip: why -->` before a block leaves it out, for blocks that need data that are not here. A
block of `text` right under one of `python` is what that one prints; the command writes it anew, and
the tests compare it: the words exactly, the numbers to 3 %, as processors round differently. With
`<!-- drawn -->` between them the numbers are from finitely many shots, where rounding decides over
single ones: they may differ by 0.05.
A figure that the code saves is put where the page shows a picture of that name.
"""

import ast
import contextlib
import io
import os
import re
import shutil
import tempfile
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import tyro

_BLOCK = re.compile(
    r"(?P<skip><!--\s*skip:[^>]+-->\s*\n)?"
    r"^(?P<indent>[ \t]*)```python[^\n]*\n(?P<code>.*?)^(?P=indent)```"
    r"(?:\n\s*(?P<drawn><!--\s*drawn\s*-->\s*\n)?^(?P=indent)```text\n(?P<output>.*?)^(?P=indent)```)?",
    re.DOTALL | re.MULTILINE,
)
_NUMBER = re.compile(r"(?<![\w.])-?(?:\d+(?:\.\d*)?|\.\d+)(?:e[-+]?\d+)?(?!\w)")
_SECONDS = re.compile(r"\b\d+\.?\d*(?= m?s\b)")  # nobody's are alike
_PICTURE = re.compile(r"!\[[^\]]*\]\((?P<path>[^)\s]+)[^)]*\)")

# Figures on no background, which the site shows in light and dark. The same is the same file.
_STYLE = {
    "svg.hashsalt": "eqx-qdeq",
    "savefig.transparent": True,
    "axes.prop_cycle": matplotlib.cycler(color=["#0072B2", "#D55E00", "#009E73", "#CC79A7"]),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}


class Block(NamedTuple):
    """A block of Python, and what the page says that it prints."""

    line: int  # the one before its first
    code: str
    output: str | None
    span: tuple[int, int]  # of the output in the page
    drawn: bool

    def prints(self, printed: str) -> bool:
        """Whether this is what the page says."""
        return self.output is None or alike(self.output, printed, 0.05 if self.drawn else 2e-4)


def blocks(text: str) -> Iterator[Block]:
    """The Python blocks of a Markdown text that are to be run."""
    for match in _BLOCK.finditer(text):
        if match["skip"] is None:
            output = match["output"]
            yield Block(
                text.count("\n", 0, match.start("code")),
                textwrap.dedent(match["code"]),
                None if output is None else textwrap.dedent(output),
                match.span("output"),
                match["drawn"] is not None,
            )


def run(text: str, name: str, first_line: int = 0) -> list[tuple[Block, str]]:
    """Runs the blocks of a text; each with what it printed."""
    module, printed = types.ModuleType("__main__"), []
    # How a page prints arrays is its own business.
    with np.printoptions():
        for block in blocks(text):
            # Line numbers as in the file, so that a traceback shows where.
            tree = ast.parse(block.code, filename=name)
            tree = ast.increment_lineno(tree, first_line + block.line)
            with contextlib.redirect_stdout(io.StringIO()) as stdout:
                exec(compile(tree, name, "exec"), module.__dict__)
            printed.append((block, stdout.getvalue()))
    return printed


def alike(written: str, printed: str, atol: float = 2e-4, rtol: float = 0.03) -> bool:
    """Whether two texts have the same words, and numbers that differ by rounding or by time.

    Spaces and commas do not count, a number may be printed with more digits than are written, and
    `…` stands for any text.
    """
    written, printed = _plain(written), _plain(printed)
    pattern, last, numbers = "", 0, []
    for match in _NUMBER.finditer(written):
        pattern += re.escape(written[last : match.start()]) + f"({_NUMBER.pattern})"
        numbers.append(match[0])
        last = match.end()
    pattern = (pattern + re.escape(written[last:])).replace(re.escape("…"), ".*?")
    found = re.fullmatch(pattern, printed)
    return found is not None and all(
        abs(float(a) - float(b)) <= max(atol, rtol * abs(float(a)), _last_digit(a, b))
        for a, b in zip(numbers, found.groups(), strict=True)
    )


def _plain(text: str) -> str:
    """A text without what moves where an array has a sign or a digit more."""
    text = " ".join(_SECONDS.sub("0", text).replace(",", " ").split())
    return re.sub(r"(?<=[\[(]) | (?=[\])])", "", text)


def _last_digit(written: str, printed: str) -> float:
    """The unit of the last digit that is written, if more are printed or it has an exponent."""
    digits, _, power = written.partition("e")
    n_written, n_printed = (len(n.partition(".")[2]) for n in (digits, printed.partition("e")[0]))
    is_rounded = power or 0 < n_written < n_printed
    return 1.01 * 10.0 ** (int(power or 0) - n_written) if is_rounded else 0.0


def pictures(text: str) -> list[Path]:
    """The pictures that a page shows, as it names them."""
    return [Path(match["path"]) for match in _PICTURE.finditer(text)]


def main(pages: tyro.conf.Positional[tuple[Path, ...]]) -> None:
    """Runs pages and writes down what their code prints and draws.

    Args:
        pages: Markdown files.
    """
    os.environ["SOURCE_DATE_EPOCH"] = "0"  # no date in a figure
    for page in map(Path.absolute, pages):
        text = page.read_text(encoding="utf-8")
        with (
            tempfile.TemporaryDirectory() as folder,
            contextlib.chdir(folder),
            matplotlib.rc_context(_STYLE),
        ):
            for block, printed in reversed(run(text, str(page))):
                if block.output is not None:
                    start, end = block.span
                    text = text[:start] + printed.rstrip() + "\n" + text[end:]
            for picture in pictures(text):
                if Path(picture.name).exists():
                    shutil.copy(picture.name, page.parent / picture)
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    tyro.cli(main)

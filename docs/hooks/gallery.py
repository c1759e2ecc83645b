"""Runs examples, puts figures and checked lines into their pages, and draws docs/gallery.md.

python -m docs.hooks.gallery
python -m docs.hooks.gallery --names cnn self_consistent/mott
python -m docs.hooks.gallery --names none       # the gallery alone, in seconds
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import jax
import tyro

import eqx_qdeq as qdeq
from eqx_qdeq import circuits, plotting

from .pages import DOCS, fill_page, save_figure

PAGES, EXAMPLES = ("examples.md", "self-consistent.md"), DOCS.parent / "examples"

CIRCUITS = {
    "hardware_efficient": (
        lambda: circuits.hardware_efficient(4, depth=2),
        "`hardware_efficient(4, depth=2)`: rotations, then a chain of entangling gates.",
    ),
    "strongly_entangling": (
        lambda: circuits.strongly_entangling(4, depth=2),
        "`strongly_entangling(4, depth=2)`: three rotations, then CX to a wire farther on.",
    ),
    "basic_entangler": (
        lambda: circuits.basic_entangler(4, depth=3),
        "`basic_entangler(4, depth=3)`: one rotation, then a ring of CX.",
    ),
    "brickwork": (
        lambda: circuits.brickwork(4, depth=2, width=2, layers=1),
        "`brickwork(4, depth=2, width=2, layers=1)`: small circuits on neighboring wires.",
    ),
    "random_layer": (
        lambda: circuits.random_layer(4, n_ops=24),
        "`random_layer(4, n_ops=24)`: rotations and CX at random, as TorchQuantum draws them.",
    ),
    "paper": (
        lambda: circuits.paper(4),
        "`paper(4)`: the circuit of the paper on quantum deep equilibrium models.",
    ),
}


def about(name: str) -> str:
    """The first line of an example's documentation, and what is left of its sentence."""
    doc = ast.get_docstring(ast.parse((EXAMPLES / f"{name}.py").read_text("utf-8"))) or ""
    return doc.split("\n\n")[0].replace("\n", " ").partition(". ")[0].rstrip(".") + "."


def main(names: tuple[str, ...] = ()) -> None:
    """Runs examples, writes down what came of them, and draws the gallery.

    Args:
        names: which; all that a page has a place for if left out; `none` for the gallery alone.
    """
    places = {
        name: page
        for page in PAGES
        for name in re.findall("<!-- begin: example (.*) -->", (DOCS / page).read_text("utf-8"))
    }
    for name in () if names == ("none",) else names or places:
        figure = DOCS / "figures" / "examples" / f"{name}.png"
        figure.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, str(EXAMPLES / f"{name}.py"), "--out", str(figure)]
        run = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, check=True, cwd=DOCS.parent
        )
        line = run.stdout.splitlines()[-1]
        figure.with_suffix(".qasm").unlink(missing_ok=True)  # of one that writes more than a figure
        picture = f"![{about(name)}](figures/examples/{name}.png){{ #{figure.stem} }}"
        fill_page(DOCS / places[name], {f"example {name}": f"{picture}\n\n```text\n{line}\n```"})
        print(f"{name}: {line}", flush=True)
    folder = DOCS / "figures" / "circuits"
    for name, (make, _) in CIRCUITS.items():
        save_figure(plotting.draw_circuit(make(), 700), folder / f"{name}.svg")
    deq = qdeq.QDEQ(4, 16, key=jax.random.key(0)).deq
    save_figure(plotting.draw_picture(deq.picture()), folder / "equilibrium.svg")
    examples = [
        _card(f"examples/{name}.png", f"{page}#{Path(name).name}", f"**{name}**: {about(name)}")
        for name, page in places.items()
        if (DOCS / "figures" / "examples" / f"{name}.png").exists()
    ]
    drawn = [
        _card(f"circuits/{name}.svg", f"api/circuits.md#eqx_qdeq.circuits.{name}", text)
        for name, (_, text) in CIRCUITS.items()
    ]
    drawn.append(
        _card(
            "circuits/equilibrium.svg",
            "api/equilibrium.md#eqx_qdeq.DEQ",
            "`deq.picture()`: the circuit with its feedback.",
        )
    )
    page = DOCS / "gallery.md"
    fill_page(page, {"examples": "\n".join(examples), "circuits": "\n".join(drawn)})


def _card(figure: str, link: str, text: str) -> str:
    """A thumbnail that leads to its place, with its caption."""
    alt = re.sub("[*`]", "", text)
    return (
        f'<figure markdown="span">\n[![{alt}](figures/{figure})]({link})\n'
        f'<figcaption markdown="span">{text}</figcaption>\n</figure>'
    )


if __name__ == "__main__":
    tyro.cli(main)

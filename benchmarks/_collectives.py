"""What a compiled program exchanges between devices, and in how many loops."""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

_COLLECTIVE = re.compile(
    r" (all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute|collective-broadcast)"
    r"(-start)?\("
)
_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) (\([^\n]*\) -> [^\n]*)?\{$", re.M)
_CALLED = re.compile(
    r"(?:condition|body|to_apply|calls|true_computation|false_computation)=%?([\w.\-]+)"
    r"|branch_computations=\{([^}]*)\}"
)


_ARRAY = re.compile(r"\b[a-z]+(\d+)\w*\[([\d,]*)\]")


class Collective(NamedTuple):
    """An exchange between devices."""

    kind: str
    loops: int  # around it
    size: int  # bytes of its result


def collectives(text: str) -> list[Collective]:
    """Those of a program as XLA compiled it."""
    heads = list(_HEAD.finditer(text))
    ends = [*(head.start() for head in heads[1:]), len(text)]
    bodies = {h[2]: text[h.end() : end] for h, end in zip(heads, ends, strict=True)}
    (entry,) = [head[2] for head in heads if head[1]]

    def walk(name: str, loops: int) -> Iterator[Collective]:
        for line in bodies[name].splitlines():
            found = _COLLECTIVE.search(line)
            if found:
                arrays = _ARRAY.findall(line[: found.start()])
                sizes = [
                    int(bits) // 8 * math.prod(map(int, shape.split(",") if shape else []))
                    for bits, shape in arrays
                ]
                yield Collective(found[1], loops, sum(sizes))
                continue  # what it calls is how two numbers are added
            inside = loops + (" while(" in line)
            for one, several in _CALLED.findall(line):
                for called in [one] if one else re.findall(r"[\w.\-]+", several):
                    yield from walk(called, inside)

    return list(walk(entry, 0))

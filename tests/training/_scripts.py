"""Examples that are folders of scripts, as modules."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

EXAMPLES = Path(__file__).parents[2] / "examples"


@contextmanager
def scripts(folder: Path, names: Sequence[str]) -> Iterator[dict[str, ModuleType]]:
    """The scripts, which import each other from their own folder as `python main.py` does. Other
    examples have scripts of the same names."""
    sys.path.insert(0, str(folder))
    try:
        yield {name: __import__(name) for name in names}
    finally:
        sys.path.remove(str(folder))
        for name in names:
            sys.modules.pop(name, None)

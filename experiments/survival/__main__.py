"""The commands of this folder, each a module with a `main`.

python -m experiments.survival                    what there is
python -m experiments.survival fuzz --minutes 60  one of them
"""

import importlib
import pkgutil
import sys

import tyro

from . import __path__


def commands() -> list[str]:
    """The names of the commands: of the modules whose names have no underscore in front."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return [name for name in found if not name.startswith("_")]


if __name__ == "__main__":
    # The one that is called alone: `mutants` tests a package that nothing has imported yet.
    called = [name for name in commands() if name in sys.argv[1:2]] or commands()
    modules = {name: importlib.import_module(f"{__package__}.{name}") for name in called}
    tyro.extras.subcommand_cli_from_dict(
        {name.replace("_", "-"): module.main for name, module in modules.items()}
    )

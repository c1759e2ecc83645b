"""How the tests are compiled: as little as XLA can. `python tests/_xla_flags.py` prints the flags.

Nearly all of the suite's time is XLA's compilation of programs that run once.
"""

import os
import subprocess
import sys

_FLAGS = (
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    # The older emitters make slower programs in half of the time.
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_parallel_codegen_split_count=1",
)


def quick_compilation() -> str:
    """The value for XLA_FLAGS; the empty string if this XLA does not know one of the flags, as it
    would then end the process."""
    flags = " ".join(_FLAGS)
    run = subprocess.run(
        [sys.executable, "-c", "import jax; jax.devices('cpu')"],
        env=os.environ | {"XLA_FLAGS": flags},
        capture_output=True,
        check=False,
    )
    return "" if run.returncode else flags


if __name__ == "__main__":
    print(quick_compilation())

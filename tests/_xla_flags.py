"""How the tests are compiled: as little as XLA can. `python tests/_xla_flags.py` prints the flags;
with `plain`, those with which `make test-portable` looks for other roundings; with `devices`, those
of `make test-devices`.

Nearly all of the suite's time is XLA's compilation of programs that run once.
"""

import os
import platform
import subprocess
import sys

_FLAGS = (
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    # The older emitters make slower programs in half of the time.
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_parallel_codegen_split_count=1",
)
# What a plainer processor does: no fused multiply-adds, and matrix products by Eigen, as YNNPACK
# picks its kernels by the processor, whatever XLA is told.
_PLAIN = ("--xla_cpu_experimental_ynn_fusion_type=",)
if platform.machine() in ("x86_64", "AMD64"):
    _PLAIN += ("--xla_cpu_max_isa=SSE4_2",)


def quick_compilation(*more: str) -> str:
    """The value for XLA_FLAGS; the empty string if this XLA does not know one of the flags, as it
    would then end the process."""
    flags = " ".join(_FLAGS + more)
    run = subprocess.run(
        [sys.executable, "-c", "import jax; jax.devices('cpu')"],
        env=os.environ | {"XLA_FLAGS": flags},
        capture_output=True,
        check=False,
    )
    return "" if run.returncode else flags


def plain_processor() -> str:
    """As `quick_compilation`, but not what this processor would do by itself."""
    return quick_compilation(*_PLAIN) or quick_compilation()


def eight_devices() -> str:
    """As `quick_compilation`, for tests of programs for several devices."""
    eight = "--xla_force_host_platform_device_count=8"
    return quick_compilation(eight) or eight


_KINDS = {"plain": plain_processor, "devices": eight_devices}

if __name__ == "__main__":
    print(_KINDS.get(" ".join(sys.argv[1:]), quick_compilation)())

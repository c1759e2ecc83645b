"""What users see, tried without the annotation checks that the other tests run with: these refuse
first what the package itself must refuse, or must compute. `make test` runs this folder by itself;
by hand, `make test-surface ARGS="-k batch"`."""

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return True if config.getoption("jaxtyping_packages") else None

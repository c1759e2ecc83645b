"""A run that is stopped where it writes ends as one that was left alone: a few of its calls.
`python -m experiments.survival crash` stops it at every one."""

import pytest

from experiments.survival.crash import crash

pytestmark = pytest.mark.usefixtures("once")


def test_runs_that_stop_where_they_write(tmp_path):
    counts = crash(tmp_path, epochs=1, every=15, each=7)
    # Every call was counted, and each trial stopped at its own.
    assert counts["calls"] >= 30 and counts["writes_past_the_counter"] == 0
    assert {"open", "write", "fsync", "replace", "unlink", "close"} <= set(counts["by_name"])
    assert counts["stopped"] == 2 * len(range(1, counts["calls"] + 1, 7))
    assert counts["stopped_again"] >= 4
    assert counts["recovered"] == counts["stopped"] + counts["stopped_again"]

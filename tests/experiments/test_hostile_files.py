"""No file or text hangs a reader, fills the memory, or raises anything but its own error."""

import pytest
from hypothesis import given, strategies as st

from experiments.survival._readers import readers
from experiments.survival.forge import forged, outcome_of
from experiments.survival.fuzz import CORPUS, load_corpus, NAMES, peak_memory

pytestmark = [
    pytest.mark.usefixtures("once"),
    # What is not finite in a forged file is said, which is no fault.
    pytest.mark.filterwarnings("ignore:.* are NaN or infinite:UserWarning"),
    pytest.mark.filterwarnings("ignore:.* was saved in another precision:UserWarning"),
]

FORGED = forged()


@pytest.fixture(scope="module")
def known():
    return readers()


@pytest.mark.parametrize("name", FORGED)
def test_what_a_forger_makes_is_read_or_refused(name, known):
    # Some of them: the study `experiments.survival forge` reads all, and measures each.
    before = peak_memory()
    some = FORGED[name][:: {"model": 5, "openqasm": 3}.get(name, 1)]
    outcomes = {what: outcome_of(known[name], content) for what, content in some}
    assert {what: found for what, found in outcomes.items() if "fault" in found} == {}
    # Most are refused, and not all: a byte of a date is nobody's business.
    assert 0 < list(outcomes.values()).count("read") < len(outcomes) / 4
    assert peak_memory() - before < 100_000


@pytest.mark.parametrize("name", NAMES)
def test_what_a_fuzzer_found_is_read_or_refused(name, known):
    corpus = load_corpus(CORPUS, name)
    assert len(corpus) > 20
    outcomes = [outcome_of(known[name], content) for content in corpus]
    # The check of annotations, which users do not have, refuses some first, in its own words.
    faults = [found for found in outcomes if "fault" in found and "Type-check error" not in found]
    assert faults == []


@pytest.mark.parametrize("name", NAMES)
def test_changes_of_good_files_are_read_or_refused(name, known):
    seeds = known[name].seeds()
    change = st.tuples(
        st.integers(0, max(map(len, seeds))), st.integers(0, 3), st.binary(max_size=3)
    )

    @given(st.sampled_from(seeds), st.lists(change, min_size=1, max_size=4))
    def run(content, changes):
        for at, n_taken, put in changes:
            content = content[:at] + put + content[at + n_taken :]
        assert "fault" not in outcome_of(known[name], content)

    run()


@pytest.mark.parametrize("name", NAMES)
def test_good_files_are_read(name, known):
    for content in known[name].seeds():
        assert outcome_of(known[name], content) == "read"

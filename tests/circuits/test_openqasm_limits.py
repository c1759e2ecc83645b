"""No text hangs, fills the memory, or raises anything but our own error."""

import re
import tracemalloc

import pytest
from hypothesis import example, given, settings, strategies as st

from eqx_qdeq import Circuit
from eqx_qdeq.circuits import QasmError


def _doubling(n: int, body: str) -> str:
    gates = (f"gate g{i} a {{ g{i - 1} a; g{i - 1} a; }}" for i in range(1, n + 1))
    return "\n".join([f"gate g0 a {{ {body} }}", *gates, "qubit q;", f"g{n} q;"])


def _chain(n: int) -> str:
    gates = (f"gate g{i} a {{ g{i - 1} a; }}" for i in range(1, n + 1))
    return "\n".join(["gate g0 a { x a; }", *gates, "qubit q;"])


_FORMULA = "OPENQASM 3;\nqubit q;\nrx({}) q;"
_MANY = ", ".join(f"q[{i}]" for i in range(30))

# What a text says, the line that is named, and what is said of it.
HOSTILE = {
    "qubits": ("\nqreg q[1000000000];", 2, "makes 1000000000 qubits, more than 10000"),
    "many registers": ("qubit[9999] q;\nqubit[2] r;", 2, "makes 10001 qubits"),
    "20 doublings": (_doubling(20, "x a;"), 23, "more than 100000 gates"),
    "30 doublings of nothing": (_doubling(30, ""), 33, "more than 100000 gates"),
    "200 doublings": (_doubling(200, ""), 101, "nested more than 100 deep"),
    "chain": (_chain(1_000) + "\ng1000 q;", 901, "nested more than 100 deep"),
    "chain by parts": (_chain(300) + "\ng90 q;\ng180 q;\ng270 q;", 102, "nested more than"),
    "signs": (_FORMULA.format("-" * 10_000 + "1"), 3, "nested more than 100 deep"),
    "parentheses": (_FORMULA.format("(" * 10_000), 3, "nested more than 100 deep"),
    "closed": (_FORMULA.format("(" * 5_000 + "1" + ")" * 5_000), 3, "nested more than 100 deep"),
    "functions": (_FORMULA.format("sin(" * 5_000 + "1"), 3, "nested more than 100 deep"),
    "powers": (_FORMULA.format("2**" * 10_000 + "1"), 3, "nested more than 100 deep"),
    "tower": (_FORMULA.format("9**9**9**9"), 3, "at most 64 bits"),
    "real tower": (_FORMULA.format("9.0**9**9"), 3, "not a finite number"),
    "digits": (_FORMULA.format("9" * 5_000), 3, "not an integer of 64 bits"),
    "index": ("qubit q;\nx q[" + "9" * 5_000 + "];", 2, "not an integer of 64 bits"),
    "hexadecimal": ("qubit[0x" + "F" * 5_000 + "] q;", 1, "not an integer of 64 bits"),
    "width": ("const int[1000000000] a = 2**63;\nqubit q;", 1, "no int of 64 bits"),
    "superscript": (_FORMULA.format("²"), 3, "unexpected character '²'"),
    "other digits": (_FORMULA.format("٣"), 3, "unexpected character '٣'"),
    "comments": ("/* " * 300_000, 1, "a comment without an end"),
    "quotes": ('"' * 300_000, 1, "expected a statement"),
    "long": ("qubit q;\n" + "h q;" * 250_000, 1, "characters, more than 1000000"),
    "controls": (f"qubit[30] q;\nctrl(29) @ x {_MANY};", 2, "too many controls"),
    "angles": (f"qubit[30] q;\nctrl(29) @ rz(0.3) {_MANY};", 2, "too many controls"),
    "power": ("qubit q;\npow(10**12) @ h q;", 2, "more than 100000 gates"),
    "powers in a row": ("qubit q;\n" + "pow(99999) @ h q;" * 999, 2, "more than 100000 gates"),
    "powers of gates": (
        "gate g0 a { x a; z a; }\n"
        + "".join(f"gate g{i} a {{ pow(9) @ g{i - 1} a; }}\n" for i in range(1, 20))
        + "qubit q; g19 q;",
        6,
        "more than 100000 gates",
    ),
    "measurements": ("qubit[9999] q;\n" + "measure q;" * 99, 2, "more than 100000 gates"),
    "modifiers": ("qubit q;\n" + "pow(0.5) @ " * 10_000 + "x q;", 2, "nested more than 100 deep"),
    "indices": ("qubit[9] q;\nx q" + "[0:8]" * 10_000 + ";", 2, "nested more than 100 deep"),
    "parts": (
        "qubit[9999] q; let a = q[0] ++ q[1:];\n" + "".join(f"let a{i} = a[:];" for i in range(99)),
        2,
        "more than 100000 gates",
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_texts_are_refused_at_once(what):
    text, line, message = HOSTILE[what]
    tracemalloc.start()
    try:
        with pytest.raises(QasmError, match=f"^line {line}: .*{re.escape(message)}"):
            Circuit.from_openqasm(text)
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()


def test_limits_can_be_set():
    text = "qubit[1000000] q; h q;"
    with pytest.raises(QasmError, match="more than 100000 gates; if you trust it, raise `max_gat"):
        Circuit.from_openqasm(text, max_qubits=10**6)
    circuit, _ = Circuit.from_openqasm(_chain(110) + "\ng110 q;", max_depth=111)
    assert circuit.gates == ("X",)
    with pytest.raises(QasmError, match="line 5003: nested deeper than Python can follow"):
        Circuit.from_openqasm(_chain(5000) + "\ng5000 q;", max_depth=10**6)
    circuit, _ = Circuit.from_openqasm(_doubling(10, "x a;"), max_gates=2**11 * 2)
    assert len(circuit) == 1024
    for name in ("max_text", "max_qubits", "max_gates", "max_depth"):
        with pytest.raises(ValueError, match=f"`{name}` must be at least 1; got 0"):
            Circuit.from_openqasm("qubit q;", **{name: 0})


@pytest.mark.parametrize("statement", [";", "barrier q;", "bit b{};", "let a{} = q;"])
def test_statements_that_do_nothing_count_too(statement):
    text = "qubit q;\n" + "".join(statement.format(i) for i in range(200))
    assert len(Circuit.from_openqasm(text, max_gates=1000)[0]) == 0
    with pytest.raises(QasmError, match="line 2: the text asks for more than 100 gates"):
        Circuit.from_openqasm(text, max_gates=100)


def test_long_formulas_count_as_gates():
    # A sum may be as long as it likes, but not that often.
    text = "gate g(a) b { rx(" + "a+" * 999 + "a) b; }\nqubit q;\n" + "g(1) q;" * 9
    circuit, angles = Circuit.from_openqasm(text)
    assert angles.tolist() == [1000] * len(circuit)
    with pytest.raises(QasmError, match="line 3: the text asks for more than 1000 gates"):
        Circuit.from_openqasm(text, max_gates=1000)


_WORDS = """
    OPENQASM 2.0 3.0 ; include "qelib1.inc" "stdgates.inc" qreg creg qubit bit input float angle
    const int uint let gate measure reset barrier if for def ctrl negctrl inv pow gphase @ h x cx
    rx u3 U ccx swap c3x cu rzz xy g q r a b t n 0 1 2 3 63 0.5 1e9 0x2 1_0 pi sin sqrt ( ) [ ] {
    } , : + - * / ** ++ ^ -> = == ² 𝟙 \ufeff " ' // /* */ \0 $
""".split(" ")
_WORDS = [word.strip() or "\n" for word in _WORDS]
# Whole statements get further than words do, and whole statements with a word changed furthest.
_STATEMENTS = [
    "OPENQASM 3 ;",
    "OPENQASM 2.0 ;",
    "qubit [ 3 ] q ;",
    "qreg r [ 2 ] ;",
    "input float t ;",
    "const int n = 2 ;",
    "let a = q [ 0 : 1 ] ;",
    "gate g ( a , b ) x , y { rx ( a / 2 ) x ; ctrl @ rz ( b * a ) x , y ; }",
    "gate f x , y { inv @ g ( 1 , 2 ) x , y ; g ( pi , 2 ) y , x ; }",
    "g ( t , 0.5 ) q [ 0 ] , q [ 1 ] ;",
    "f q [ 2 ] , r ;",
    "ctrl ( 2 ) @ pow ( - 2 ) @ xy ( t ) q [ 0 ] , q [ 1 ] , q [ 2 ] , r [ 0 ] ;",
    "negctrl @ pow ( 0.5 ) @ s q [ { 0 , 1 } ] , r ;",
    "cu ( 1 , 2 , 3 , - t + 1 ) q [ 0 ] , q [ 1 ] ;",
    "measure q -> c ;",
    "reset r ;",
]


def _mutated(parts) -> str:
    statements, changes = parts
    words = " \n".join(statements).split(" ")
    for at, n_taken, put in changes:
        at %= len(words) + 1
        words[at : at + n_taken] = put
    return " ".join(words)


_changes = st.tuples(
    st.integers(0, 300), st.integers(0, 2), st.lists(st.sampled_from(_WORDS), max_size=2)
)
_texts = st.tuples(
    st.lists(st.sampled_from(_STATEMENTS), max_size=10, unique=True), st.lists(_changes, max_size=4)
).map(_mutated)


@pytest.mark.parametrize("texts", [_texts, st.text(max_size=50)], ids=["mutated", "random"])
def test_only_our_error_comes_out(texts):
    @given(texts)
    @settings(max_examples=150)
    @example("")
    def run(text):
        try:
            circuit, angles = Circuit.from_openqasm(text, max_gates=1000)
        except QasmError as error:
            assert 1 <= error.line <= text.count("\n") + 1
        else:
            assert angles.shape == (circuit.n_params,)

    run()

"""Files that a forger makes, with the right checksums: each is read, or refused in one clear line.

    python -m experiments.survival forge

A fuzzer finds what nobody thought of. These are what somebody would think of: headers of other
types, sizes of 10⁹, leaves that are cast, swapped or cut off, archives that are bombs.
"""

import gzip
import io
import json
import time
import tracemalloc
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from .. import Off
from . import RESULTS
from ._readers import idx_files, npz_arrays, Reader, readers, saved_model, seal, START

_VALUES = (
    *(None, True, -1, 0, 10**6, 10**9, 10**30, 0.5, 1e300, "", "zz", "zzz", "\ud800\n\x1b[2J"),
    *([], {}, [[]], [None], [10**9], [[10**9]], {"base": {}}, "x" * 10_000),
)


def main(results: Path = RESULTS / "forge.json", show: Annotated[bool, Off] = False) -> None:
    """Makes and reads all of them.

    Args:
        show: whether to print which of them are read.
        results: the file of what was counted.
    """
    warnings.simplefilter("ignore", UserWarning)  # of what is rounded or not finite
    warnings.simplefilter("error", RuntimeWarning)
    counted: dict[str, Any] = {}
    known = readers()
    for name, cases in forged().items():
        reader, outcomes, worst = known[name], {}, {"seconds": 0.0, "megabytes": 0.0}
        for seed in reader.seeds():  # imports, and what is compiled once
            reader.read(seed)
        for what, content in cases:
            outcome, seconds, megabytes = watch(reader, content)
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
            if "fault" in outcome or (show and outcome == "read"):
                print(f"{name}, {what}: {outcome}", flush=True)
            for unit, value in (("seconds", seconds), ("megabytes", megabytes)):
                if value > worst[unit]:
                    worst |= {unit: round(value, 3), f"{unit} of": what}
        counted[name] = {"outcomes": outcomes, "worst": worst}
        print(name, json.dumps(counted[name]), flush=True)
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_text(json.dumps(counted, indent=1, sort_keys=True) + "\n", "utf-8")


def watch(reader: Reader, content: bytes) -> tuple[str, float, float]:
    """What becomes of an input, and the seconds and megabytes that it takes."""
    start = time.process_time()  # the processor's, of which others may have their part
    outcome = outcome_of(reader, content)
    seconds = time.process_time() - start
    tracemalloc.start()  # which takes long, so it is another time
    outcome_of(reader, content)
    megabytes = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return outcome, seconds, megabytes


def outcome_of(reader: Reader, content: bytes) -> str:
    """ "read", the name of the error that refuses it, or what is at fault."""
    try:
        reader.read(content)
        return "read"
    except reader.refusals as error:
        text = str(error)
        clear = len(text) < 700 and text.isprintable()
        return type(error).__name__ if clear else f"fault: an unclear message, {text[:100]!r}"
    except Exception as error:
        return f"fault: {type(error).__name__}: {str(error)[:100]}"


def forged() -> dict[str, list[tuple[str, bytes]]]:
    """All inputs with what they are, by the reader that is tried."""
    good = saved_model()
    model = [*_headers(good), *_texts(good), *_payloads(good)]
    return {
        # What `readers` puts in front and makes right is left out.
        "model": [(what, content.removeprefix(START)) for what, content in model],
        "npz": list(_npz()),
        "idx": list(_idx()),
        "openqasm": [(what, text.encode()) for what, text in _openqasm()],
    }


# --- Model files ------------------------------------------------------------------------------


def _parts(good: bytes) -> tuple[dict[str, Any], bytes]:
    line, _, payload = good.partition(b"\n")
    return json.loads(line.rpartition(b"\t")[0]), payload


def _made(header: dict[str, Any], payload: bytes) -> bytes:
    return seal(json.dumps(header).encode() + b"\n" + payload)


def _changed(tree: Any, path: tuple[Any, ...], *value: Any) -> Any:
    """A copy with another value at a place, or with nothing there."""
    tree = json.loads(json.dumps(tree))
    place = tree
    for step in path[:-1]:
        place = place[step]
    if value:
        place[path[-1]] = value[0]
    else:
        del place[path[-1]]
    return tree


def _headers(good: bytes) -> Iterator[tuple[str, bytes]]:
    """Headers with each entry gone, or of every other type and size."""
    header, payload = _parts(good)
    config, circuit = header["config"], header["config"]["circuit"]
    paths: list[tuple[Any, ...]] = [(name,) for name in header if name != "format"]
    paths += [("config", name) for name in config]
    paths += [("config", "circuit", name) for name in circuit]
    paths += [("config", "circuit", name, 0) for name in circuit if name != "n_qubits"]
    paths += [("config", "circuit", name, 0, 0) for name in ("wires", "params", "scales")]
    paths += [("leaves", 0), ("leaves", 0, 0), ("leaves", 0, 1)]
    for path in paths:
        where = ".".join(map(str, path))
        yield f"{where} is gone", _made(_changed(header, path), payload)
        for value in _VALUES:
            shown = repr(value)[:20]
            yield f"{where} = {shown}", _made(_changed(header, path, value), payload)
    # Several at once, which agree with one another.
    for size in (10**4, 10**6, 10**9):
        for more in ({}, {"readout": "zzz"}, {"head": "paper", "in_size": size, "readout": "z"}):
            other = config | {"n_qubits": size} | more
            other = other | {"circuit": circuit | {"n_qubits": size}}
            yield f"{size} wires, {more}", _made(header | {"config": other}, payload)
            zeros = payload + bytes(4 * 10**4)
            yield f"{size} wires, {more}, zeros", _made(header | {"config": other}, zeros)
        for name in ("hardware_efficient", "strongly_entangling", "brickwork", "paper", "x"):
            other = config | {"circuit": name, "depth": size}
            yield f"{name} of depth {size}", _made(header | {"config": other}, payload)
        classical = {"model": "ClassicalDEQClassifier", "n_classes": 2}
        for sizes in ({"in_size": size, "hidden_size": 2}, {"in_size": 2, "hidden_size": size}):
            yield f"classical, {sizes}", _made(header | {"config": classical | sizes}, payload)
        unrolled = {"model": "UnrolledClassifier", "n_layers": size, "base": config}
        yield f"unrolled {size} times", _made(header | {"config": unrolled}, payload)
    nested: Any = config
    for depth in range(200):
        nested = {"model": "UnrolledClassifier", "n_layers": 1, "base": nested}
        if depth in (0, 1, 199):
            yield f"unrolled {depth} deep", _made(header | {"config": nested}, payload)
    gates = {"gates": ["H"] * 20_000, "wires": [[0]] * 20_000, "params": [[]] * 20_000}
    other = config | {"circuit": gates | {"n_qubits": 2}}
    yield "20000 gates", _made(header | {"config": other}, payload)
    for array in (
        [[1, 2], [3, 4]],
        [[1e308] * 2] * 2,
        [[0, 1], [1]],
        [["a"]],
        {},
        [[[1]]],
        10**400,
    ):
        gate = {"real": array, "imag": array}
        other = _changed(header, ("config", "circuit", "gates", 0), gate)
        yield f"a gate {array!r:.30}", _made(other, payload)


def _texts(good: bytes) -> Iterator[tuple[str, bytes]]:
    """Headers that are no JSON, or not what everybody reads in them."""
    line, _, payload = good.partition(b"\n")
    text = line.rpartition(b"\t")[0]
    note = b'{"note": "\\u00e9"}'
    assert note in text
    for what, other in {
        "lists nested 100000 deep": b"[" * 10**5 + b"]" * 10**5,
        "objects nested 100000 deep": b'{"a":' * 10**5 + b"1" + b"}" * 10**5,
        "lists without an end": b"[" * 10**5,
        "many lists": b"[" + b"[]," * 10**5 + b"0]",
        "5000 digits": b"9" * 5000,
        "NaN": b"NaN",
        "Infinity": b"[-Infinity]",
        "1e999": b"1e999",
        "no UTF-8": b'"\xff\xfe"',
        "a lone surrogate": b'"\\ud800"',
        "twice the same name": b'1, "metadata": 2',
        "twice a config": b'1, "config": null',
        "a zero byte": b'"\0"',
        "nothing": b"",
        "a comment": b"1 // 2",
        "megabytes of spaces": b" " * 10**6 + b"1",
        "a long text": b'"' + b"x" * 10**6 + b'"',
    }.items():
        yield what, seal(text.replace(note, other) + b"\n" + payload)
    yield "half a header", seal(text[: len(text) // 2] + b"\n" + payload)
    yield "two headers", seal(text + text + b"\n" + payload)
    yield "the header alone", seal(text)
    yield "no header", seal(START + b"\n" + payload)
    yield "UTF-16", seal(text.decode().encode("utf-16") + b"\n" + payload)
    for name in ("checkpoint", "x" * 10_000, "\\ud800\\n", "model "):
        yield (
            f"a {name:.10} file",
            seal(text.replace(b"eqx-qdeq model", b"eqx-qdeq %s" % name.encode()) + b"\n" + payload),
        )


def _payloads(good: bytes) -> Iterator[tuple[str, bytes]]:
    """Leaves that are not what the header says of them."""
    import numpy as np

    header, payload = _parts(good)
    file, arrays = io.BytesIO(payload), []
    while file.tell() < len(payload):
        arrays.append(np.load(file))

    def with_first(content: bytes) -> bytes:
        return _made(header, content + b"".join(map(_npy, arrays[1:])))

    first = arrays[0]
    for what, array in {
        "NaN": np.full_like(first, np.nan),
        "infinity": np.full_like(first, -np.inf),
        "other bytes": first.astype(first.dtype.newbyteorder()),
        "another shape": first[:, None],
        "by column": np.asfortranarray(np.ones((2, 2))),
        "a structure": np.zeros(len(first), [("a", "f4")]),
        "texts": np.array(["a"] * len(first)),
        "texts of no length": np.zeros(len(first), "U0"),
        "dates": np.zeros(len(first), "M8[s]"),
        "void": first.view(f"V{first.dtype.itemsize}"),
        **{f"cast to {t}": np.abs(first).astype(t) for t in "? i1 i4 u8 f2 f8 g F D".split()},
    }.items():
        yield what, with_first(_npy(array))
    for shape in ("10**12", "(1000000000000,)", "(-1,)", "(-4, -2)", "(True,)", "(0, 10000000000)"):
        yield (
            f"shape {shape}",
            with_first(_named(f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}")),
        )
    for descr in (
        "'|O'",
        "'O8'",
        "'<f3'",
        "'x'",
        "''",
        "[('a', '|O')]",
        "('<f4', (1000000000,))",
        "'V1000000000'",
        "[]",
        "None",
        "'<U1000000000'",
        "{}",
        "'<M8[1000000000000s]'",
    ):
        yield (
            f"type {descr}",
            with_first(_named(f"{{'descr': {descr}, 'fortran_order': False, 'shape': (2,)}}")),
        )
    for text in (
        "",
        "{",
        "{}",
        "(" * 9000,
        "-" * 9000 + "1",
        "[" * 900,
        "__import__('os').abort()",
        "{**{}}",
        "1" * 9000,
        "'" * 5,
        "\x00",
        "10L",
        "{'descr': '<f4', 'fortran_order': 1, 'shape': (2,)}",
        " " * 60_000,
        "é",
    ):
        yield f"header {text[:20]!r}", with_first(_named(text))
    for magic in (
        b"\x93NUMPY\x02\x00",
        b"\x93NUMPY\x03\x00",
        b"\x93NUMPY\x09\x00",
        b"",
        b"PK\x03\x04",
        b"\x80\x04.",
    ):
        yield f"magic {magic!r}", with_first(magic + b"\xff\xff\xff\xff" + bytes(100))
    yield "a pickle", with_first(_npy(np.array([_Runs()] * len(first), object)))
    yield "swapped leaves", _made(header, b"".join(map(_npy, arrays[::-1])))
    yield "bytes behind", _made(header, payload + b"\0")
    yield "a leaf behind", _made(header, payload + _npy(first))
    yield "a megabyte behind", _made(header, payload + bytes(10**6))
    for cut in (1, 8, 100, len(payload) // 2, len(payload)):
        yield f"{cut} bytes less", _made(header, payload[:-cut])


def _npy(array: Any) -> bytes:
    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _named(text: str) -> bytes:
    """The start of an array with this for its header."""
    content = text.encode("utf-8") + b"\n"
    return b"\x93NUMPY\x01\x00" + len(content).to_bytes(2, "little") + content


class _Runs:
    """Does something when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('a file has run code')",)


# --- Data -------------------------------------------------------------------------------------


def _npz() -> Iterator[tuple[str, bytes]]:
    """Archives that are damaged, odd, or bombs."""
    import numpy as np

    arrays = npz_arrays()
    packed = _archive({name: _npy(array) for name, array in arrays.items()})
    for at in range(0, len(packed), 7):
        other = bytearray(packed)
        other[at] ^= 0b1010101
        yield f"byte {at} is another", bytes(other)
    for length in range(0, len(packed), 97):
        yield f"{length} bytes of it", packed[:length]
    members = {name: _npy(array) for name, array in arrays.items()}
    huge = "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000, 1000, 1000)}"
    wide = np.zeros((8, 3, 3), np.uint8)
    for what, changes in {
        "objects": {"x_train": _npy(np.array([_Runs()] * 8, object))},
        "10¹² pixels": {"x_train": _named(huge)},
        "bytes behind": {"x_train": members["x_train"] + b"\0"},
        "a bomb": {"x_train": _npy(np.zeros((8, 200, 20_000), np.uint8))},
        "no array": {"x_train": b"hello"},
        "nothing": {"x_train": b""},
        "a text": {"x_train": _npy(np.array(["a"] * 8))},
        "a number": {"x_train": _npy(np.array(1))},
        "complex": {"x_train": _npy(np.ones((8, 2), complex))},
        "NaN": {"x_train": _npy(np.full((8, 2, 2), np.nan))},
        "beyond pixels": {"x_train": _npy(np.full((8, 2, 2), 256))},
        "other sizes in test": {"x_test": _npy(wide)},
        "no features": {n: _npy(np.zeros((8, 0))) for n in ("x_train", "x_test")},
        "no samples": {"x_train": _npy(np.zeros((0, 2, 2))), "y_train": _npy(np.zeros(0, int))},
        "no samples in test": {
            "x_test": _npy(np.zeros((0, 2, 2))),
            "y_test": _npy(np.zeros(0, int)),
        },
        "one class": {n: _npy(np.zeros(8, int)) for n in ("y_train", "y_test")},
        "one sample of a class": {"y_train": _npy(np.array([0] * 7 + [1]))},
        "labels of other lengths": {"y_train": _npy(np.arange(7))},
        "labels that are no integers": {"y_train": _npy(np.arange(8) / 2)},
        "labels of 64 bits": {
            n: _npy(np.array([0, 2**64 - 1] * 4, np.uint64)) for n in ("y_train", "y_test")
        },
        "a label that is new": {"y_test": _npy(np.arange(8))},
        "an axis of 10¹⁰": {
            "x_train": _named("{'descr': '|u1', 'fortran_order': False, 'shape': (0, 10000000000)}")
        },
        "64 axes": {"x_train": _npy(np.zeros((8,) + (1,) * 63))},
    }.items():
        yield what, _archive(members | changes)
    for name in members:
        yield f"without {name}", _archive({k: v for k, v in members.items() if k != name})
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        yield f"packed by method {method}", _archive(members, method)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield "an array twice", _archive(members, twice="x_train")
    yield "encrypted", _flagged(packed, 6, 8, 0x1)
    yield "strongly encrypted", _flagged(packed, 6, 8, 0x41)
    yield "of a later zip", _flagged(packed, 4, 6, 99)
    yield "packed by method 99", _flagged(packed, 8, 10, 99)
    yield "an array", _npy(arrays["x_train"])
    yield "a pickle", b"\x80\x04cos\nabort\n(tR."
    yield "gzip", gzip.compress(packed)
    yield "an empty archive", _archive({})
    yield "20000 members", _archive({f"a{i}": b"" for i in range(20_000)})


def _archive(
    members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED, twice: str = ""
) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            for _ in range(1 + (name == twice)):
                archive.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def _flagged(packed: bytes, local: int, central: int, bits: int) -> bytes:
    """The archive with other flags, versions or methods in all its headers."""
    other = bytearray(packed)
    for start, at in ((b"PK\x03\x04", local), (b"PK\x01\x02", central)):
        position = packed.find(start)
        while position >= 0:
            other[position + at] = bits
            position = packed.find(start, position + 1)
    return bytes(other)


def _idx() -> Iterator[tuple[str, bytes]]:
    """Files of MNIST that are cut off, or say what is not so; the first byte says which it is."""
    for number, (name, good) in enumerate(idx_files().items()):
        start = 16 if "images" in name else 8
        huge = good[:4] + b"\xff" * (start - 4) + good[start:]
        changes = {
            **{f"{n} bytes of it": good[:n] for n in (0, 1, 3, 4, 7, 8, 15, 16, 17, len(good) - 1)},
            "a byte behind": good + b"\0",
            "huge axes": huge,
            "no axes": good[:4] + bytes(start - 4),
            "other kind": b"\0\0\x0d" + good[3:],
            "other axes": b"\0\0\x08\x02" + good[4:],
            "other length": good[:7] + b"\x13" + good[8:],
            "a sample less": good[:7] + b"\x13" + good[8 : -16 if start == 16 else -1],
            "labels of 255": good[:start] + b"\xff" * (len(good) - start),
            "one class": good[:start] + bytes(len(good) - start),
            "text": b"hello" * 100,
            "a bomb": good[:4] + b"\0\x01\0\0" * ((start - 4) // 4) + bytes(10**6),
        }
        for what, content in changes.items():
            yield f"{name}: {what}", bytes([number]) + content
            yield f"{name}.gz: {what}", bytes([128 + number]) + gzip.compress(content, mtime=0)
        whole = gzip.compress(good, mtime=0)
        yield f"{name}: packed without saying so", bytes([number]) + whole
        yield f"{name}.gz: not packed", bytes([128 + number]) + good
        for at in range(0, len(whole), 5):
            other = bytearray(whole)
            other[at] ^= 0b1010101
            yield f"{name}.gz: byte {at} is another", bytes([128 + number, *other])


# --- OpenQASM ---------------------------------------------------------------------------------


def _openqasm() -> Iterator[tuple[str, str]]:
    """Texts that ask for much in few words."""
    for n in (10**6, 10**9, 10**18, 10**30):
        yield f"{n} qubits", f"qreg q[{n}];"
        yield f"h on {n} qubits", f"qreg q[{n}];\nh q;"
        yield f"{n} bits", f"qubit q; bit[{n}] c; c = measure q;"
        yield f"to the power {n}", f"qubit q; pow({n}) @ h q; pow(-{n}) @ h q;"
        yield f"{n} controls", f"qubit[3] q; ctrl({n}) @ x q[0], q[1], q[2];"
        yield f"index {n}", f"qubit[3] q; x q[{n}];"
        yield f"range to {n}", f"qubit[3] q; x q[0:1:{n}];"
        yield f"width {n}", f"const int[{n}] a = 1; qubit q; x q;"
    yield "registers", "".join(f"qubit[9999] q{i};" for i in range(100))
    yield "bits", "".join(f"bit[9999] q{i};" for i in range(10_000)) + "qubit q; x q;"
    for n in (20, 30, 90, 1000):
        for body in ("", "x a;", "barrier a;", "pow(2) @ x a;", "ctrl @ x a, a;"):
            gates = (f"gate g{i} a {{ g{i - 1} a; g{i - 1} a; }}\n" for i in range(1, n + 1))
            yield (
                f"{n} doublings of {body!r}",
                f"gate g0 a {{ {body} }}\n{''.join(gates)}qubit q; g{n} q;",
            )
        chain = (f"gate g{i}(t) a {{ g{i - 1}(t+t) a; }}\n" for i in range(1, n + 1))
        text = f"gate g0(t) a {{ rx(t) a; }}\n{''.join(chain)}qubit q;"
        yield f"a chain of {n}", f"{text} g{n}(1) q;"
        yield f"controls of a chain of {n}", f"{text} qubit c; ctrl @ g{n}(1) c, q;"
    for what, text in {
        "signs": "-" * 10_000 + "1",
        "plus": "+" * 10_000 + "1",
        "parentheses": "(" * 10_000 + "1" + ")" * 10_000,
        "open parentheses": "(" * 10_000,
        "closed parentheses": ")" * 10_000,
        "powers": "2**" * 10_000 + "1",
        "carets": "2^" * 10_000 + "1",
        "functions": "sin(" * 10_000 + "1" + ")" * 10_000,
        "sums": "1+" * 10_000 + "1",
        "products": "9*" * 10_000 + "1",
        "a tower": "9**9**9**9",
        "5000 digits": "9" * 5000,
        "5000 digits behind the point": "0." + "9" * 5000,
        "an exponent of 5000 digits": "1e" + "9" * 5000,
        "hexadecimal": "0x" + "f" * 5000,
        "underscores": "1" + "_1" * 5000,
        "superscript": "²",
        "a fraction": "½",
        "Arabic": "٣",
        "a mathematical digit": "𝟙",
        "commas": "1," * 10_000 + "1",
    }.items():
        for version in ("2.0", "3.0"):
            yield f"{what}, {version}", f"OPENQASM {version};\nqubit q;\nrx({text}) q;"
            yield f"{what} as an index, {version}", f"OPENQASM {version};\nqubit q;\nx q[{text}];"
    for what, text in {
        "modifiers": "qubit q; " + "inv @ " * 10_000 + "x q;",
        "powers of powers": "qubit q; " + "pow(0.5) @ " * 10_000 + "x q;",
        "qubits of a gate": "gate g " + ",".join(f"a{i}" for i in range(10_000)) + "{}qubit q;g q;",
        "operands": "qubit q; x " + "q," * 10_000 + "q;",
        "joined": "qubit q; let a = " + "q ++ " * 10_000 + "q;",
        "indices of indices": "qubit[9] q; x q" + "[0:8]" * 10_000 + ";",
        "names": f"qubit {'q' * 10**5}; x {'q' * 10**5}; x r;",
        "statements": ";" * 10**6,
        "comments": "/*" * 10**5,
        "lines": "\n" * 10**6,
        "includes": 'include "stdgates.inc";' * 10_000,
        "a file": 'include "/dev/zero";',
        "zero bytes": "\0" * 1000,
    }.items():
        yield what, text

"""What a model is and does, as JSON that is the same in every process: classes, settings, code, and
sketches of arrays.

No addresses, no order of a set, no path of a file: the same script, started twice, says the same.
What libraries define is known by its name, since their code changes with their releases. What a
user defines is known by its bytecode as well, with what it closes over and the functions and
numbers that it finds among its globals. Numbers are compared up to rounding, since another
machine, or other flags of XLA, may round otherwise.
"""

import dataclasses
import enum
import functools as ft
import hashlib
import inspect
import json
import math
import sys
import sysconfig
import types
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
# Longer lists are one entry: the gates of a circuit.
_LONG = 16
# Floats on another machine, relative to the norm of all in an array.
_ROUNDING = 1e-5
_PLAIN = (str, bytes, bool, int, complex, type(None), type(...), enum.Enum, range, slice, np.dtype)


def described(value: Any) -> Any:
    """Anything that decides the numbers of a run, such as a function, for its identity."""
    found, arrays = describe(value)
    return found | {f"{path} values": sketch(array) for path, array in arrays.items()}


def describe(value: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `value` is made of, by path as `jax.tree_util.keystr` writes them; and its arrays."""
    walk = _Walk()
    walk.visit("", value)
    return walk.found, walk.arrays


class _Walk:
    """A way through an object, which meets every function and class once."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}
        self.arrays: dict[str, Any] = {}
        # With the objects: the address of one that is gone may be that of another.
        self.seen: dict[int, Any] = {}
        self.inside: list[Any] = []

    def visit(self, path: str, value: Any) -> None:
        if isinstance(value, float):
            self.found[path] = f"{value:.9g}"
        elif isinstance(value, _PLAIN):
            text = repr(value)
            self.found[path] = text if len(text) <= 200 else _short_hash(text)
        elif isinstance(value, np.generic):
            self.visit(path, value.item())
        elif isinstance(value, jax.Array | np.ndarray):
            self.found[path] = f"{value.dtype}{list(value.shape)}"
            self.arrays[path] = value
        elif isinstance(value, types.FunctionType | type):
            if id(value) not in self.seen:
                self.seen[id(value)] = value
                self._visit_parts(path, value)
        # Twice is no matter: which parts are one object may differ between equal models.
        elif not any(value is outer for outer in self.inside):
            self.inside.append(value)
            self._visit_parts(path, value)
            self.inside.pop()

    def _visit_parts(self, path: str, value: Any) -> None:
        if isinstance(value, type):
            self._visit_class(path, value)
        elif isinstance(value, Mapping):
            self.found[path] = type(value).__name__
            for key in sorted(value, key=str):
                self.visit(f"{path}[{key!r}]", value[key])
        elif isinstance(value, tuple) and hasattr(value, "_fields"):
            self.found[path] = type(value).__name__
            for name in value._fields:  # pyright: ignore
                self.visit(f"{path}.{name}", getattr(value, name))
        elif isinstance(value, list | tuple):
            self._visit_list(path, value)
        elif isinstance(value, set | frozenset):
            self.found[path] = sorted(json.dumps(describe(part)[0]) for part in value)
        elif isinstance(value, ft.partial):
            self.found[path] = "partial"
            for name in ("func", "args", "keywords"):
                self.visit(f"{path}.{name}", getattr(value, name))
        elif isinstance(value, types.MethodType):
            self.visit(f"{path}.__func__", value.__func__)
            self.visit(f"{path}.__self__", value.__self__)
        elif isinstance(value, types.FunctionType):
            self._visit_function(path, value)
        elif dataclasses.is_dataclass(value):
            self._visit_class(path, type(value))
            for field in dataclasses.fields(value):
                if hasattr(value, field.name):
                    self.visit(f"{path}.{field.name}", getattr(value, field.name))
        elif callable(value) and hasattr(value, "__wrapped__"):  # by `jax.jit` and the like
            self.visit(path, value.__wrapped__)
        elif callable(value) and hasattr(value, "__name__"):
            self.found[path] = _library_name(value)
        elif type(value).__module__.startswith("eqx_qdeq"):
            self.found[path] = type(value).__qualname__
            self._visit_public(path, value)
        elif _is_of_a_library_class(type(value)):
            text = repr(value)
            self.found[path] = text if " at 0x" not in text else type(value).__qualname__
        else:
            self._visit_class(path, type(value))
            self._visit_public(path, value)

    def _visit_public(self, path: str, value: Any) -> None:
        # What is private may be a cache, or a hash, which differs between processes.
        for name, part in sorted(getattr(value, "__dict__", {}).items()):
            if not name.startswith("_"):
                self.visit(f"{path}.{name}", part)

    def _visit_list(self, path: str, value: Any) -> None:
        parts, walk = enumerate(value), self
        if len(value) > _LONG:
            walk = _Walk()
        for i, part in parts:
            walk.visit(f"{path}[{i}]", part)
        if walk is not self:
            self.arrays |= walk.arrays
            if any(isinstance(text, dict) for text in walk.found.values()):
                self.found |= walk.found
            else:
                self.found[path] = f"{len(value)} entries, {_short_hash(walk.found)}"

    def _visit_class(self, path: str, kind: type) -> None:
        self.found[path] = kind.__qualname__
        fields = getattr(kind, "__dataclass_fields__", {})
        for base in kind.__mro__:
            if _is_of_a_library_class(base) or id(base) in self.seen:
                continue
            self.seen[id(base)] = base
            for name, part in sorted(vars(base).items()):
                # Written by `dataclass`, or of the making of an object, whose parts are met anyway.
                if name in fields or name in _NOT_FORWARD:
                    continue
                self._visit_member(f"{path}.{name}", part)

    def _visit_member(self, path: str, part: Any) -> None:
        if isinstance(part, property):
            part = part.fget
        for wrapper in ("__func__", "method", "func"):  # static, of Equinox's modules, cached
            part = getattr(part, wrapper, part)
        if isinstance(part, types.FunctionType | int | float | jax.Array | np.ndarray):
            self.visit(path, part)

    def _visit_function(self, path: str, function: types.FunctionType) -> None:
        code = function.__code__
        if _is_library_file(code.co_filename):
            # A decorator of a library is taken off; what is made by a function of one has only
            # what it was made with.
            if hasattr(function, "__wrapped__"):
                self.visit(path, function.__wrapped__)
                return
            self.found[path] = _library_name(function)
        else:
            self.found[path] = {"code": [_PYTHON, _short_hash(_code(code, function.__doc__))]}
            if hasattr(function, "__wrapped__"):
                self.visit(f"{path}.__wrapped__", function.__wrapped__)
            for name, value in _globals(function):
                self.visit(f"{path}<{name}>", value)
            self.visit(f"{path}.__defaults__", function.__defaults__)
            self.visit(f"{path}.__kwdefaults__", function.__kwdefaults__)
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            try:
                # `super()` in a method closes over the class, which is met by itself.
                if name != "__class__":
                    self.visit(f"{path}<{name}>", cell.cell_contents)
            except ValueError:  # nothing in it yet
                pass


_NOT_FORWARD = frozenset(
    "__init__ __repr__ __eq__ __hash__ __setattr__ __delattr__ __replace__ __check_init__ "
    "__post_init__ __abstractmethods__ __firstlineno__".split()
)


def _code(code: types.CodeType, doc: str | None) -> list[Any]:
    """What code does, without the names of its variables and its place in a file."""
    consts = [_constant(c, doc) for c in code.co_consts if doc is None or c != doc]
    return [code.co_code.hex(), list(code.co_names), consts]


def _constant(value: Any, doc: str | None) -> Any:
    if isinstance(value, types.CodeType):
        return _code(value, doc)
    if isinstance(value, frozenset):  # in the order of their hashes, which is another each time
        return sorted(map(repr, value))
    return repr(value)


def _names(code: types.CodeType) -> list[str]:
    inner = [_names(c) for c in code.co_consts if isinstance(c, types.CodeType)]
    return sorted({*code.co_names, *(name for names in inner for name in names)})


def _globals(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """The functions, classes, numbers and texts of a user's modules that a function may use."""
    names = _names(function.__code__)
    spaces = [("", function.__globals__)]
    for name in names:
        value = function.__globals__.get(name)
        if isinstance(value, types.ModuleType) and not _is_of_a_library(value):
            spaces.append((f"{name}.", vars(value)))
    for prefix, space in spaces:
        for name in names:
            value = space.get(name)
            if name.startswith("__") or value is None or isinstance(value, types.ModuleType):
                continue
            if isinstance(value, int | float | complex | str | jax.Array | np.ndarray):
                yield prefix + name, value
                continue
            inner = inspect.unwrap(value) if callable(value) else None
            if isinstance(inner, types.FunctionType):
                theirs = _is_library_file(inner.__code__.co_filename)
            else:
                theirs = not isinstance(inner, type) or _is_of_a_library_class(inner)
            if not theirs:
                yield prefix + name, value


def _library_name(value: Any) -> str:
    """Without the modules in between, which are private more often than not."""
    package = str(getattr(value, "__module__", None)).partition(".")[0]
    return f"{package}: {getattr(value, '__qualname__', value.__name__)}"


def _is_of_a_library_class(kind: type) -> bool:
    return _is_of_a_library(sys.modules.get(kind.__module__))


def _is_of_a_library(module: Any) -> bool:
    if module is None or module.__name__ == "__main__":
        return False
    file = getattr(module, "__file__", None)
    return file is None or module.__name__.startswith("eqx_qdeq") or _is_library_file(file)


def _is_library_file(file: str) -> bool:
    places = [sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")]
    ours = __file__.rpartition("training")[0]
    known = any(file.startswith(place) for place in (*places, ours) if place)
    return known or "site-packages" in file or "dist-packages" in file or file.startswith("<@")


def _short_hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


# --- Arrays, up to rounding -------------------------------------------------------------------


def directions(n: int) -> np.ndarray:
    """Normal numbers, the same everywhere."""
    return np.random.Generator(np.random.Philox(key=[17, n])).standard_normal(n)


def sketch(array: Array | np.ndarray) -> dict[str, Any]:
    """A few numbers from which it can be told whether two arrays are the same up to rounding: the
    largest entry, and, divided by it, the norm and a random projection."""
    if isinstance(array, jax.Array) and jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        array = jax.random.key_data(array)
    values = np.asarray(array)
    kind = f"{values.dtype}{list(values.shape)}"
    if not jnp.issubdtype(values.dtype, jnp.inexact):
        return {"sketch": [kind, hashlib.sha256(values.tobytes()).hexdigest()[:16]]}
    wide = values.astype(complex if values.dtype.kind == "c" else float).ravel()
    parts = np.concatenate([wide.real, wide.imag]) if wide.dtype.kind == "c" else wide
    finite = np.isfinite(parts)
    if not finite.all():
        others = np.isnan(parts) + 2 * np.isposinf(parts) + 3 * np.isneginf(parts)
        kind += f", not finite: {hashlib.sha256(others.tobytes()).hexdigest()[:8]}"
    parts = np.where(finite, parts, 0)
    largest = float(np.max(np.abs(parts), initial=0))
    scaled = parts / (largest or 1)
    numbers = [largest, np.linalg.norm(scaled), scaled @ directions(len(parts))]
    return {"sketch": [kind, *(float(f"{number:.9g}") for number in numbers)]}


def close(one: list[float | None], other: list[float | None], rounding: float) -> bool:
    """Whether two sketches, without their kinds, are of the same numbers."""
    if None in one or None in other:  # not finite
        return one == other
    (size, norm, along), (size2, norm2, along2) = one, other  # pyright: ignore
    if min(size, size2) == 0:  # pyright: ignore
        return size == size2
    # Both divided by one size: the largest entry itself is rounded.
    ratio = size2 / size  # pyright: ignore
    least = rounding * norm  # pyright: ignore
    near = abs(norm - ratio * norm2) <= least and abs(along - ratio * along2) <= 10 * least  # pyright: ignore
    return math.isfinite(ratio) and near


def differs(there: Any, here: Any) -> str | None:
    """What is different, in words that follow the name of it; `None` if nothing is."""
    both = isinstance(there, dict) and isinstance(here, dict)
    if both and "code" in there and "code" in here:
        # Another version of Python has other bytecode for the same text.
        (version, code), (version2, code2) = there["code"], here["code"]
        return None if version != version2 or code == code2 else "is other code here"
    if both and "sketch" in there and "sketch" in here:
        (kind, *numbers), (kind2, *numbers2) = there["sketch"], here["sketch"]
        if kind != kind2:
            return f"was {kind} there and is {kind2} here"
        exact = len(numbers) == 1
        same = numbers == numbers2 if exact else close(numbers, numbers2, _ROUNDING)
        return None if same else "has other values here"
    return None if there == here else f"was {_short(there)} there and is {_short(here)} here"


def _short(value: Any) -> str:
    text = "other code" if isinstance(value, dict) and "code" in value else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."

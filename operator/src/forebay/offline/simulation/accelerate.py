"""Compile with numba where it is installed; run the same functions as plain Python where it is not.

The simulator's inner functions are written in the subset of Python that numba compiles. ``numba`` is an extra
(``pip install forebay[replay]``), so `compiled` is the identity without it, and both ways give the same results
to the last bit (a test compares them).
"""

import hashlib
from collections.abc import Callable, Mapping
from importlib import import_module
from types import CodeType, FunctionType, ModuleType
from typing import ParamSpec, TypeVar, cast

import numpy as np

numba: ModuleType | None
try:
    numba = import_module("numba")
except ImportError:
    numba = None

P = ParamSpec("P")
R = TypeVar("R")

COMPILED = numba is not None
"""True if the simulator runs compiled."""

_ENTRY_POINTS: set[CodeType] = set()


def _njit(module: ModuleType, **flags: bool) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return numba's decorator with the options that make functions over tuples of many arrays fast.

    ``_nrt=False``: the simulator allocates nothing inside, so arrays need no reference counts; without it every
    access to the state would update dozens of them (measured: 50 times slower). The flag is numba's own, but not
    documented; if a version refuses it, the code is compiled without it.
    """
    try:
        decorator = module.njit(error_model="numpy", _nrt=False, **flags)
    except (KeyError, TypeError):
        decorator = module.njit(error_model="numpy", **flags)
    return cast("Callable[[Callable[P, R]], Callable[P, R]]", decorator)


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile ``function`` at its first call, as part of the entry point that calls it."""
    if numba is None:
        return function
    # Python calls only entry points. The others need no wrapper for Python, and compile in half the time without
    # it.
    decorator = _njit(numba, forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
    return cast("Callable[P, R]", decorator(function))


def compiled_entry(function: Callable[P, R]) -> Callable[P, R]:
    """Compile ``function`` and keep the machine code on disk, beside the source or in the user's cache.

    Numba notices a change in the file of ``function`` only; an entry point that calls functions of other files
    must close over their `fingerprint`, which is part of the cache's key. Where no directory can be written (a
    read-only image), the code is compiled in every process. The first argument is a tuple of arrays.
    """
    _ENTRY_POINTS.add(function.__code__)
    if numba is None:
        return _on_views(function)
    try:
        return cast("Callable[P, R]", _njit(numba, cache=True)(function))
    except RuntimeError:  # no directory for the cache
        return cast("Callable[P, R]", _njit(numba)(function))


def _on_views(function: Callable[P, R]) -> Callable[P, R]:
    """Let the plain ``function`` work on memory views of its first argument's arrays.

    They share the arrays' memory, and an element of a view is a Python number, which plain Python handles much
    faster than an element of the array itself.
    """

    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        arrays, *rest = args
        if not isinstance(arrays, tuple):
            raise TypeError("an entry point takes a tuple of arrays first")
        views = [memoryview(field.data) if isinstance(field, np.ndarray) else field for field in arrays]
        return cast("Callable[..., R]", function)(type(arrays)(*views), *rest, **kwargs)

    return run


def python_function(function: Callable[..., object]) -> FunctionType | None:
    """Return the plain function behind ``function``, or ``None`` if it is not a function of the simulator."""
    plain = getattr(function, "py_func", function)
    return plain if isinstance(plain, FunctionType) else None


def fingerprint(*namespaces: Mapping[str, object]) -> str:
    """Return a digest of the code of every function, and of the fields of every tuple, in ``namespaces``."""
    digest = hashlib.sha256()
    for namespace in namespaces:
        for name, value in sorted(namespace.items()):
            plain = python_function(value) if callable(value) else None
            if plain is not None:
                _add_code(digest, plain.__code__)
            elif isinstance(value, (int, float, bool, str)) and name.isupper():
                digest.update(f"{name}={value!r}".encode())
            elif fields := getattr(value, "_fields", None):
                digest.update(f"{name}{fields}".encode())
    return digest.hexdigest()


def _add_code(digest: "hashlib._Hash", code: CodeType) -> None:
    digest.update(code.co_code)
    digest.update(repr(code.co_names).encode())
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            _add_code(digest, constant)
        else:
            digest.update(repr(constant).encode())


def interpreted(namespace: Mapping[str, object]) -> dict[str, object]:
    """Return a copy of a module's ``namespace`` in which every compiled function is plain Python.

    For tests, and for short runs where a few seconds of compilation would cost more than they save.
    """
    return _interpreted(namespace, {})


def _interpreted(namespace: Mapping[str, object], done: dict[int, dict[str, object]]) -> dict[str, object]:
    if id(namespace) in done:
        return done[id(namespace)]
    copy: dict[str, object] = dict(namespace)
    done[id(namespace)] = copy
    for name, value in namespace.items():
        plain = getattr(value, "py_func", None)
        if not isinstance(plain, FunctionType):
            continue
        home = copy if plain.__globals__ is namespace else _interpreted(plain.__globals__, done)
        function = FunctionType(plain.__code__, home, plain.__name__, plain.__defaults__, plain.__closure__)
        copy[name] = _on_views(function) if plain.__code__ in _ENTRY_POINTS else function
    return copy

"""Which function of the user's made a model call, although nobody has decorated it.

The program is the innermost function of the user's own code on the stack when the call is *made*: a coroutine may run
later, in a task that has nothing of the user's on its stack. Neither installed packages nor the standard library are
the user's own, nor is a comprehension a function; code at the top of a module is the program ``<module>``.

From the frame we get the function object without a search of the heap: by its qualified name from its module, or,
where that finds another one, rebuilt from its code. Of a nested function the *code* around it counts (functions,
classes, what objects are of), data does not: it belongs to the one run, perhaps to somebody's request, and neither
versions nor closures are the place for it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass, field, is_dataclass
from enum import Enum
from types import BuiltinFunctionType, CellType, CodeType, FrameType, FunctionType, MethodType, ModuleType
from typing import Any, Final, TypeVar, cast

from opentelemetry import context as otel_context

from ell_otel import registry, semconv
from ell_otel.closure import Closure, capture
from ell_otel.closure.installed import is_installed
from ell_otel.closure.source import file_of
from ell_otel.closure.wrappers import unwrapped
from ell_otel.instrumentation.coroutines import Pending
from ell_otel.telemetry import current
from ell_otel.telemetry import invocation as invocations
from ell_otel.telemetry.guard import overcome

MAX_KNOWN: Final = 4096
"""So many programs, and so many file names, are remembered; after that we begin anew."""

_CO_OPTIMIZED: Final = 0x1  # set for functions, not for the code of a class body or a module
_HEAP_TYPE: Final = 1 << 9  # set for classes made by a class statement
_CODE: Final = (FunctionType, MethodType, BuiltinFunctionType, ModuleType, type, functools.partial, Enum)
_COLLECTIONS: Final = frozenset({list, tuple, dict})
_DATA: Final = (str, bytes, bytearray, int, float, complex, list, tuple, dict, set, frozenset, BaseException)
_BEHIND: Final = otel_context.create_key("ell.behind")
_LOOPS: Final = ("asyncio.base_events", "asyncio.events", "asyncio.runners", "trio._core._run", "uvloop")
_RUNNERS: Final = frozenset({*_LOOPS, "ell_otel.instrumentation.agents"})
"""Beyond these is who runs what goes on, not who made it."""

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class CallSite:
    """The program that makes a model call, and the attributes that say so."""

    program: str
    version: str
    stamp: dict[str, str]


class _Kind(Enum):
    OWN = "the user's"
    INSTALLED = "installed"
    RUNNER = "an event loop's"


NOBODY: Final = CallSite("", "", {})
"""Where nothing of the user's is on the stack, or a decorated program runs, whose own stamp counts."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What is remembered of a function: its closure, and the objects by whose identity it is known, kept alive."""

    closure: Closure
    site: CallSite
    pins: tuple[Any, ...] = field(repr=False)


_known: dict[tuple[int, ...], _Known] = {}
_kinds: dict[tuple[str, str], _Kind] = {}
_passed_codes: dict[int, CodeType] = {}
_passed_names: set[str] = set()


def calling(depth: int = 1) -> CallSite | None:
    """The call site on the stack, looked for from the caller (1) or a frame above it. Its closure has been announced.

    None inside a decorated invocation or another call site's scope, whose stamp is in the context; when disabled; and
    where nothing of the user's is on the stack, nor asked for what goes on (``Behind``). Never raises.
    """
    try:
        if invocations.is_attributed(context := otel_context.get_current()):
            return None
        pipeline = current.pipeline()
        registry.heed(pipeline.settings)
        if pipeline.settings.disabled:
            return None
        frame = _program_frame(_caller(depth))
        if frame is None:
            return cast("CallSite | None", context.get(_BEHIND))
        known = _remembered(frame)
        registry.announce(known.closure, pipeline)
        return known.site
    except Exception as error:
        if not overcome(error, "finding the program that makes a model call"):
            raise
        return None


def see_through(target: Any) -> Any:
    """Look through a thin wrapper around a model's client: its caller is the program, and it is a part of that one.

    ``target`` is a function or class (this is then a decorator), or the full name of a function, class or module.
    """
    if isinstance(target, str):
        _passed_names.add(target)
    elif isinstance(target, type):
        _passed_names.add(f"{target.__module__}.{target.__qualname__}")
    elif isinstance(inner := unwrapped(target), FunctionType):
        _passed_codes[id(inner.__code__)] = inner.__code__
    else:
        raise TypeError(f"see_through takes a function, a class or the name of one or of a module, not {target!r}")
    return target


def under(site: CallSite, function: Callable[..., R], args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
    """Call ``function`` in the scope of ``site``: every GenAI span that starts in it is stamped, whoever starts it."""
    with invocations.Scope(site.stamp):
        return function(*args, **kwargs)


async def under_async(site: CallSite, pending: Pending) -> Any:
    """As ``under``, for what a coroutine does, in whatever task it runs."""
    with invocations.Scope(site.stamp):
        return await pending.coroutine


class Behind:
    """Context manager: a library works for ``site``. What it does of itself, in tasks of its own with nothing of the
    user's on their stacks, is for it. A function of the user's that the library calls is a program as ever."""

    __slots__ = ("_entered", "_site", "_token")

    def __init__(self, site: CallSite) -> None:
        self._site = site

    def __enter__(self) -> None:
        self._entered = otel_context.set_value(_BEHIND, self._site)
        self._token = otel_context.attach(self._entered)

    def __exit__(self, *_: object) -> None:
        if otel_context.get_current() is self._entered:  # else the garbage collector closes it, wherever that runs
            with contextlib.suppress(ValueError):  # that may be a copy: asyncio ends generators in tasks of their own
                otel_context._RUNTIME_CONTEXT.detach(self._token)


# -- from the stack to a frame ----------------------------------------------------------------------------------------


def _caller(depth: int) -> FrameType | None:
    """The frame ``depth`` above whoever asks; None where a greenlet or a thread begins with less than that."""
    try:
        return sys._getframe(depth + 1)  # the frames between are not made into objects, as `f_back` would
    except ValueError:
        return None


def _program_frame(frame: FrameType | None) -> FrameType | None:
    """The innermost frame of the user's own; of those to be looked through, the innermost if there is no other."""
    passed: FrameType | None = None
    while frame is not None:
        kind = _kind(frame)
        if kind is _Kind.RUNNER and frame.f_code.co_name != "run_in_executor":
            break
        if kind is _Kind.OWN and _is_function(frame.f_code):
            if not (_passed_codes or _passed_names) or not _is_passed(frame):
                return frame
            passed = passed or frame
        frame = frame.f_back
    return passed


def _is_function(code: CodeType) -> bool:
    """Whether code is that of a function or of a module: not of a comprehension or a class, inside of one of them."""
    name = code.co_name
    if name[0] == "<":
        return name in {"<module>", "<lambda>"}
    return bool(code.co_flags & _CO_OPTIMIZED)


def _kind(frame: FrameType) -> _Kind:
    """What the code in a frame belongs to, known by its file once that was seen."""
    module = frame.f_globals.get("__name__")
    key = (frame.f_code.co_filename, module if type(module) is str else "")
    kind = _kinds.get(key)
    if kind is None:
        if len(_kinds) >= MAX_KNOWN:
            _kinds.clear()
        kind = _kinds[key] = _kind_of_file(*key, frame.f_globals)
    return kind


def _kind_of_file(filename: str, module: str, namespace: dict[str, Any]) -> _Kind:
    if module in _RUNNERS:
        return _Kind.RUNNER
    if filename.startswith("<frozen ") or os.path.dirname(filename) == sysconfig.get_path("scripts"):
        return _Kind.INSTALLED
    written = filename if filename[:1] != "<" else file_of(namespace)
    installed = is_installed(module, namespace, written, [])
    return _Kind.INSTALLED if installed else _Kind.OWN


def _is_passed(frame: FrameType) -> bool:
    if _passed_codes.get(id(frame.f_code)) is frame.f_code:
        return True
    module = str(frame.f_globals.get("__name__", ""))
    parts = f"{module}.{frame.f_code.co_qualname}".split(".")
    return any(".".join(parts[:length]) in _passed_names for length in range(1, len(parts) + 1))


# -- from a frame to a program ----------------------------------------------------------------------------------------


def _remembered(frame: FrameType) -> _Known:
    """What is known of the function that runs in ``frame``, captured at first sight and when its code has changed."""
    code = frame.f_code
    around = _code_around(frame) if code.co_freevars else {}
    pins: list[Any] = [code]
    for value in around.values():
        pins += _identities(value)
    key = tuple(map(id, pins))
    known = _known.get(key)
    if known is None or not known.closure.is_current():
        closure = capture(_function(frame, around))
        stamp = {semconv.ELL_PROGRAM_NAME: closure.name, semconv.ELL_PROGRAM_VERSION: closure.version}
        if len(_known) >= MAX_KNOWN:
            _known.clear()
        known = _known[key] = _Known(closure, CallSite(closure.name, closure.version, stamp), tuple(pins))
    return known


def _function(frame: FrameType, around: dict[str, Any]) -> Any:
    """The function whose code runs in ``frame``, or one that is like it."""
    code = frame.f_code
    found = _by_name(frame.f_globals, code)
    if found is not None:
        return found
    cells = tuple(CellType(around[name]) if name in around else CellType() for name in code.co_freevars)
    function = FunctionType(code, frame.f_globals, code.co_name, None, cells)
    function.__module__ = str(frame.f_globals.get("__name__", "__main__"))
    return function


def _by_name(namespace: dict[str, Any], code: CodeType) -> Any:
    """What stands under the code's qualified name, if its code is this one."""
    first, *rest = code.co_qualname.split(".")
    value = namespace.get(first)
    for name in rest:
        value = vars(value).get(name) if isinstance(value, type) else None
    inner = unwrapped(value)
    return inner if isinstance(inner, FunctionType) and inner.__code__ is code else None


def _code_around(frame: FrameType) -> dict[str, Any]:
    """The names of outer functions that the code in ``frame`` reads: with its value if that is code, else ``...``."""
    values = frame.f_locals
    names = frame.f_code.co_freevars
    return {name: values[name] if _is_code(values[name]) else ... for name in names if name in values}


def _is_code(value: Any) -> bool:
    """Whether a value stands for code: a function, class, module or object, or a collection of nothing else."""
    if type(value) in _COLLECTIONS:
        items = list(value.values() if type(value) is dict else value)
        return bool(items) and all(map(_is_code, items))
    return _stands_for_code(type(value))  # type: ignore[arg-type]


@functools.lru_cache(maxsize=256)
def _stands_for_code(kind: type) -> bool:
    """Whether objects of this class do. An object is captured as its class, which is code; one that is captured with
    what it holds is data."""
    if issubclass(kind, _CODE):
        return True
    return bool(kind.__flags__ & _HEAP_TYPE) and not issubclass(kind, _DATA) and not is_dataclass(kind)


def _identities(value: Any) -> list[Any]:
    """What tells one value around a function from another, without keeping more than code alive."""
    kind = type(value)
    if kind in _COLLECTIONS:
        names = [sys.intern(name) for name in list(value) if type(name) is str] if kind is dict else []
        items = list(value.values() if kind is dict else value)
        return [..., kind, *names, *(pin for item in items for pin in _identities(item)), None]
    if isinstance(value, (FunctionType, MethodType)):
        return _codes(value, set())
    if kind is functools.partial:
        return [kind, *_identities(value.func)]
    if kind is functools._lru_cache_wrapper:
        return [kind, *_identities(value.__wrapped__)]
    is_lasting = isinstance(value, (type, ModuleType, Enum)) or (
        kind is BuiltinFunctionType and isinstance(value.__self__, ModuleType)
    )
    return [value if is_lasting else kind]


def _codes(function: FunctionType | MethodType, seen: set[int]) -> list[Any]:
    """The code of a function and of those around it: what one decorator returns has one code for all functions."""
    codes: list[Any] = [function.__code__]
    around = function.__closure__
    for cell in around if type(around) is tuple else ():  # what passes for a function may have anything there
        with contextlib.suppress(ValueError):  # nothing in it yet
            inner = cell.cell_contents
            if type(inner) is FunctionType and id(inner) not in seen:
                seen.add(id(inner))
                codes += _codes(inner, seen)
    return codes

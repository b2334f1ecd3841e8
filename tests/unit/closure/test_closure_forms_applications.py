"""What language-model applications do: modules handed to functions, registries, settings of installed modules, lazy names.

How a table is read, and what is checked of each program and of each change made to it: `closure_tables`.
"""

from __future__ import annotations

import pytest
from closure_projects import Project
from closure_tables import Form, check, check_changes, forms_of_table

pytestmark = pytest.mark.tables

FORMS = forms_of_table(
    r"""
# form: module given a local name
import prompts
def ask():
    p = prompts
    return p.SYSTEM
# file: prompts.py
SYSTEM = 's'
OTHER = 'o'  # unused
# form: module given a local name twice
import prompts, more
def ask(x=1):
    p = prompts
    if x: p = more
    return p.SYSTEM, (lambda: p.TAIL)()
# file: prompts.py
SYSTEM = 's'
TAIL = 't'
OTHER = 'o'  # unused
# file: more.py
SYSTEM = 's2'
TAIL = 't2'
OTHER = 'o'  # unused
# form: module given a local name that is handed on
import prompts
def show(m): return m.OTHER
def ask():
    p = prompts
    return p.SYSTEM, show(p)
# file: prompts.py
SYSTEM = 's'
OTHER = 'o'
# form: module given a local name that a nested function rebinds
import prompts
def ask():
    p = prompts
    def change():
        nonlocal p
        p = None
    a = p.SYSTEM
    change()
    return a, p
# file: prompts.py
SYSTEM = 's'
# form: submodule given a local name
import shop.prompts
def ask():
    p = shop.prompts
    return p.SYSTEM, getattr(p, "TAIL")
# file: shop/__init__.py
# file: shop/prompts.py
SYSTEM = 's'
TAIL = 't'
OTHER = 'o'  # unused
# form: module as a default of a method and a lambda
import prompts
class A:
    def get(self, lib=prompts): return lib.SYSTEM
F = lambda lib=prompts: lib.TAIL
def ask(): return A().get() + F()
# file: prompts.py
SYSTEM = 's'
TAIL = 't'
OTHER = 'o'  # unused
# form: module default when another one is given
import prompts, other
def helper(lib=prompts): return lib.ONLY if hasattr(lib, "ONLY") else lib.SYSTEM
def ask(): return helper(), helper(other)
# file: prompts.py
SYSTEM = 's'
OTHER = 'o'
# file: other.py
ONLY = 1
# form: module default when another one is given, attribute there is not here
import prompts, other
def helper(lib=prompts):
    try: return lib.ONLY
    except AttributeError: return lib.SYSTEM
def ask(): return helper(), helper(other)
# file: prompts.py
SYSTEM = 's'
OTHER = 'o'
# file: other.py
ONLY = 1
# form: an installed module configured
import json, decimal
decimal.getcontext().prec = 5  # loose
json.encoder.MARK = 1
def ask(): return json.encoder.MARK
# form: installed decorators on what is not used
import functools, prompts
import ell_otel as ell
@ell.program
def other(mail): return ell.score("concise", 1.0)  # unused
@ell.tool
def look(x: int) -> int: return x  # unused
@functools.lru_cache
def slow(x): return prompts.OTHER  # unused
if prompts.SYSTEM:  # unused
    @functools.cache
    def also(x): return x
@functools.total_ordering
class Order:
    def __lt__(self, other): return True  # unused
@functools.lru_cache(maxsize=2)
def ask(): return prompts.SYSTEM
# file: prompts.py
SYSTEM = 's'
OTHER = 'o'  # unused
# form: a decorator that an installed module made, on what is not used
from decimal import DefaultContext, Decimal
from unittest import mock
@mock.patch("os.getcwd")
def other(): return 1  # unused
@mock.patch.dict("os.environ")
def another(): return 1  # unused
def ask(): return str(Decimal(1)), mock.sentinel.a.name
# form: a part of one of Python's modules that is changed, and another that is used
import textwrap, typing
def fake(x): return x  # unused
textwrap.shorten_ = fake  # unused
if not hasattr(typing, "Whatever"): typing.Whatever = fake  # unused
def ask(x: typing.Any = 1): return textwrap.dedent(" a")
# form: a command of a group that an installed class makes
import click
@click.group()
def cli(): pass
@cli.command()
def other(): return 1  # unused
cli.short_help = "short"
@cli.command()
@click.option("--x")
def named(x): return helper(x)
def ask(): return named.name, len(named.params), named.callback(1)
def helper(x): return x
# form: a command of a group whose commands are asked for
import click
@click.group()
def cli(): pass
@cli.command()
def other(): return 1
@cli.command()
def named(): return sorted(cli.commands)
def ask(): return named.callback()
# form: a function put on an object of an installed class
from web import cli
import web
@cli.result_callback()
def ask(x=1): return helper(x)
@web.cli.command()
def another(): return 2  # unused
def helper(x): return x
def changed(): return cli.name  # unused
# file: web.py
import click, web2
cli = click.Group("web")
cli.help = HELP = "all of it"
@cli.command()
def other(): return 1  # unused
# file: web2.py
def register():  # unused
    import web
    web.cli.command()(register)
# form: local names given several things at once, one of which is changed
LOG = []
LIMITS = {}  # unused
def clear():  # unused
    log, limits = LOG, LIMITS
    limits.clear()
    log, limits = limits, log
class Handler:  # unused
    def __init__(self): clear()
HANDLER = Handler()  # unused
def ask(): return list(LOG)
# form: local names given several things at once, which are changed crosswise
LOG = []
LIMITS = {}
def clear():
    log, limits = LIMITS, LOG
    log, limits = limits, log
    log.append(1)
class Handler:
    def __init__(self): clear()
HANDLER = Handler()
def ask(): return list(LOG)
# form: environment set for another name
import os
os.environ["ELL_TEST_R"] = "r"
def ask(): return os.getenv("ELL_TEST_R"), os.path.join("a", "b")
# form: environment set but only paths used
import os, sys
os.environ["ELL_TEST_R"] = "r"  # unused
sys.path.append("/nowhere")  # unused
def ask(): return os.path.join("a", "b"), sys.maxsize
# form: environment through from import
from os import environ
environ["ELL_TEST_R"] = "r"
environ.update(ELL_TEST_S="s")
def ask(): return environ["ELL_TEST_R"]
# form: patched function of an installed module
import json
def fake(x): return "fake"
json.dumps_ = fake
def ask(): return json.dumps_(1)
# form: class walrus
class ask:
    x = VALUE if (VALUE := 3) else 0
    def __new__(cls): return cls.x
# form: class decorator registering and returning another class
REG = []
def register(cls):
    class Wrapped(cls):
        tag = TAG
    Wrapped.__name__ = cls.__name__
    REG.append(Wrapped)
    return Wrapped
TAG = "t"
@register
class A:
    def go(self): return self.tag
def ask(): return A().go(), [c.__name__ for c in REG]
# form: partial of a bound method
from functools import partial
class Greeter:
    def __init__(self, greeting): self.greeting = greeting
    def greet(self, name, *, end="."): return f"{self.greeting} {name}{end}"
hello = partial(Greeter("Hi").greet, end=END) if (END := "!") else None
def ask(): return hello("Bob")
# form: few-shot examples built through a chain of module functions
def _ex(q, a): return {"q": q, "a": a}
EXAMPLES = [_ex("1+1", "2")]
EXAMPLES.append(_ex("2+2", "4"))
EXAMPLES[0]["a"] = "two"
EXAMPLES += [_ex("3+3", "6")]
OTHERS = [_ex("9", "9")]  # unused
def ask(): return EXAMPLES
# form: match class pattern with constants
from dataclasses import dataclass
import codes
@dataclass
class Point:
    x: int
    y: int
ORIGIN = 0
def ask():
    out = []
    for p in (Point(0, 1), Point(1, 2), "other", {"k": 3}):
        match p:
            case Point(x=codes.ZERO, y=y): out.append(("zero", y))
            case Point(x, y) if x > ORIGIN: out.append(("pos", x, y))
            case {"k": v, **rest}: out.append((v, rest))
            case str() as ORIGIN_: out.append(ORIGIN_)
    return out
# file: codes.py
ZERO = 0
ONE = 1  # unused
# form: class with changed module attribute
class Public:
    x = VALUE if (VALUE := 3) else 0
Public.__module__ = "api"
def ask(): return Public.x, Public.__module__
# form: class whose module is changed in the class body
class Public:
    __module__ = "api.public"
    size = 2
def make(): return Public()
def ask(): return make().size, type(make()).__module__
# form: target class with changed module
import other
def deco(c):
    c.__module__ = "elsewhere"
    return c
@deco
class ask:
    def __new__(cls): return other.K
# file: other.py
K = 3
UNUSED = 4  # unused
# form: a function with changed module attribute
def public(x): return x + K
K = 1
public.__module__ = "api"
def ask(): return public(1), public.__module__
# form: module given as a default argument
import prompts
def ask(p=prompts): return p.SYSTEM
# file: prompts.py
SYSTEM = "s"
OTHER = "o"  # unused
# form: module given as keyword default with method use
import tools
def ask(*, lib=tools): return lib.fmt("x")
# file: tools.py
def fmt(x): return PRE + x
PRE = ">"
def unused_tool(): return 1  # unused
# form: a name that an except clause binds in a function
err = "module"  # unused
def ask():
    try:
        raise ValueError(TEXT)
    except ValueError as err:
        found = str(err)
    return found
TEXT = "e"
# form: a name that an except clause binds in a function and leaves
err = "module"
def ask():
    try: raise ValueError("x")
    except ValueError as problem: err2 = str(problem)
    return err2 + err
# form: local except as then read again is unbound local
err = "module"  # unused
def helper():
    try: raise ValueError("x")
    except ValueError as err: return repr(err)
def ask(): return helper()
# form: module-level except as name
err = None
try:
    raise KeyError("k")
except KeyError as err:
    MESSAGE = str(err)
def ask(): return MESSAGE
# form: ctypes prototype set
import ctypes
libc = ctypes.CDLL(None)
libc.labs.argtypes = [ctypes.c_long]
libc.labs.restype = ctypes.c_long
def ask(): return libc.labs(-3)
# form: lazy importer class with getattr
import importlib
class Lazy:
    def __init__(self, name): self._n = name
    def __getattr__(self, a): return getattr(importlib.import_module(self._n), a)
mod = Lazy("json")
def ask(): return mod.dumps([1])
# form: lazy importer of anyio style in package
from pkg import connect
def ask(): return connect(1)
# file: pkg/__init__.py
from ._core import connect as connect
from ._core import unused as unused  # unused
for __value in list(locals().values()):  # loose
    if getattr(__value, "__module__", "").startswith("pkg."):
        __value.__module__ = __name__
del __value  # loose
# file: pkg/_core.py
def connect(x): return x + BASE
BASE = 2
def unused(): return 3  # unused
# form: import a, b on one line and one with submodule
import json, os.path, prompts as p, unusedmod
def ask(): return json.dumps({"p": p.SYSTEM}), os.path.join("a", "b")
# file: prompts.py
SYSTEM = "s"
UNUSED = "u"  # unused
# file: unusedmod.py
X = 1  # unused
# form: a registry class with instance decorators in another module
from reg import prompts
import more
@prompts.add("main")
def main_prompt(): return "m"
def ask(): return {k: f() for k, f in sorted(prompts.items.items())}
# file: reg.py
class Registry:
    def __init__(self): self.items = {}
    def add(self, name):
        def deco(f):
            self.items[name] = f
            return f
        return deco
prompts = Registry()
unused_registry = Registry()  # unused
# file: more.py
import reg
@reg.prompts.add("other")
def other_prompt(): return "o"
@reg.unused_registry.add("nothing")
def nothing(): return "n"  # unused
# form: ctypes structure and function
import ctypes
FIELD = ctypes.c_int
class P(ctypes.Structure):
    _fields_ = [("x", ctypes.c_int), ("y", FIELD)]
libc = ctypes.CDLL(None)
other = ctypes.CDLL(None)  # unused
def ask(): return P(1, 2).x + libc.abs(-3)
# form: os.environ.setdefault before use
import os
os.environ.setdefault("ELL_TEST_Q", "dflt")
def ask(): return os.environ["ELL_TEST_Q"]
# form: decorator from method of imported module object
import app as application
@application.router.get("/x")
def ask(): return application.router.routes and len(application.router.routes)
# file: app.py
class Router:
    def __init__(self): self.routes = []
    def get(self, path):
        def deco(f):
            self.routes.append((path, f.__name__))
            return f
        return deco
router = Router()
other = Router()  # unused
@router.get("/home")
def home(): return 1
# form: registered by a partial of a function that registers
import functools
HANDLERS = {}
def on(event, *, priority=0):
    return functools.partial(_add, event, priority)
def _add(event, priority, fn):
    HANDLERS.setdefault(event, []).append((priority, fn))
    return fn
@on("start")
def first(): return "1"
@on("start", priority=2)
def second(): return "2"
def third(): return "3"  # unused
def ask(): return [f() for _, f in sorted(HANDLERS["start"], key=lambda p: p[0])]
"""
)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_the_closure_has_what_the_program_needs_and_the_version_follows_it(project: Project, form: Form) -> None:
    closure = check(project, form)
    assert check_changes(project, form, closure) > 0

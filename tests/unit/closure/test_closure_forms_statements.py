"""Module-level statements: assignments, branches, later changes, registrations, wrappers.

How a table is read, and what is checked of each program and of each change made to it: `closure_tables`.
"""

from __future__ import annotations

import pytest
from closure_projects import Project
from closure_tables import Form, check, check_changes, forms_of_table

pytestmark = pytest.mark.tables

FORMS = forms_of_table(
    r'''
# form: tuple assignment
A, B = 1, 2
def ask(): return A
# form: starred assignment
FIRST, *REST = [1, 2, 3]
def ask(): return REST
# form: nested tuple assignment
(A, [B, C]), D = (1, [2, 3]), 4
def ask(): return C
# form: chained assignment
X = Y = Z = [7]
def ask(): return Y
# form: chained assignment with a subscript
TABLE = {}
TABLE["k"] = LAST = 5
def ask(): return TABLE, LAST
# form: augmented assignment
PROMPT = "a"
PROMPT += "b"
OTHER = "x"  # unused
OTHER += "y"  # unused
def ask(): return PROMPT
# form: augmented assignment of an alias mutates the list
BASE = [1]
ALL = BASE
ALL += [2]
def ask(): return ALL
# form: conditional definition
import sys
if sys.version_info >= (3, 11):
    def work(): return "new"
else:
    def work(): return "old"
def ask(): return work()
# form: conditional on a constant of the module
DEBUG = False
if DEBUG:
    LEVEL = 1
elif not DEBUG:
    LEVEL = 2
def ask(): return LEVEL
# form: try except ImportError falls back
try:
    import nowhere_to_be_found as fast
except ImportError:
    fast = None
def slow(): return "slow"
def ask(): return fast.run() if fast else slow()
# form: try except ImportError falls back to the user's module
try:
    from nowhere_to_be_found import work
except ImportError:
    from lib import work
def ask(): return work()
# file: lib.py
SAID = "fallback"
UNUSED = 1  # unused
def work(): return SAID
# form: try import of the user's module succeeds
try:
    from lib import work
except ImportError:
    def work(): return "no"
def ask(): return work()
# file: lib.py
SAID = "lib"
UNUSED = 1  # unused
def work(): return SAID
# form: try, else and finally
try:
    VALUE = int("3")
except ValueError:
    VALUE = 0
else:
    EXTRA = 5
finally:
    DONE = True
def ask(): return VALUE, EXTRA
# form: mutation by subscript
PROMPTS = {"a": "A"}
PROMPTS["b"] = "B"
OTHERS = {}  # unused
OTHERS["c"] = "C"  # unused
def ask(): return PROMPTS
# form: mutation by method
ITEMS = ["a"]
ITEMS.append("b")
ITEMS.extend(["c"])
ITEMS.sort(reverse=True)
NOT = []  # unused
NOT.append("x")  # unused
def ask(): return ITEMS
# form: mutation by del of an item
TABLE = {"a": 1, "b": 2}
del TABLE["a"]
def ask(): return TABLE
# form: mutation of a nested container
TABLE = {"a": {"b": []}}
TABLE["a"]["b"].append(4)
def ask(): return TABLE
# form: mutation in a loop
TABLE = {}
for i in range(3):
    TABLE[i] = i * 2
def ask(): return TABLE
# form: a for loop builds functions
FUNCS = []
SCALE = 3
for n in (1, 2):
    def make(k=n): return k * SCALE
    FUNCS.append(make)
def ask(): return [f() for f in FUNCS]
# form: a while loop at module level
N = 1
while N < 100:
    N *= 3
def ask(): return N
# form: a loop's variable used afterwards
for WORD in ("a", "b"):
    pass
def ask(): return WORD
# form: with at module level
import io
with io.StringIO("text") as stream:
    TEXT = stream.read()
def ask(): return TEXT
# form: with at module level, the change inside
import contextlib
LOG = []
with contextlib.suppress(KeyError):
    LOG.append("x")
def ask(): return LOG
# form: del and rebinding
X = 1  # unused
del X  # unused
X = 2
def ask(): return X
# form: del hides nothing else
A = 1
B = 2  # unused
del B  # unused
def ask(): return A
# form: rebinding, the last counts
P = "first"  # unused
P = "second"
def ask(): return P
# form: rebinding that uses itself
P = "first"
P = P + " second"
def ask(): return P
# form: redefinition of a function
def work(): return 1  # unused
def work(): return 2
def ask(): return work()
# form: a function wrapped under its own name
def deco(f):
    def inner(): return f() + "!"
    return inner
def work(): return "w"
work = deco(work)
def ask(): return work()
# form: registration by decorator
TOOLS = {}
def tool(fn):
    TOOLS[fn.__name__] = fn
    return fn
@tool
def search(): return "s"
@tool
def fetch(): return "f"
def unrelated(): return 1  # unused
def ask(): return sorted((n, f()) for n, f in TOOLS.items())
# form: registration by decorator with arguments
TOOLS = {}
def tool(name, *, cost=1):
    def wrap(fn):
        TOOLS[name] = (fn, cost)
        return fn
    return wrap
@tool("one", cost=3)
def search(): return "s"
def ask(): return [(n, f(), c) for n, (f, c) in TOOLS.items()]
# form: registration by a method of an object
class Registry:
    def __init__(self): self.items = []
    def add(self, fn):
        self.items.append(fn)
        return fn
    def tool(self, fn):
        self.items.append(fn)
        return fn
REG = Registry()
@REG.add
def one(): return 1
@REG.tool
def two(): return 2
def ask(): return [f() for f in REG.items]
# form: registration by a call
HANDLERS = []
def register(fn): HANDLERS.append(fn)
def one(): return 1
def two(): return 2  # unused
register(one)
def ask(): return [f() for f in HANDLERS]
# form: registration by __init_subclass__
class Base:
    known = {}
    def __init_subclass__(cls, **kw):
        super().__init_subclass__(**kw)
        Base.known[cls.__name__] = cls
class A(Base):
    value = 1
class B(A):
    value = 2
class C:  # unused
    value = 3
def ask(): return {n: c.value for n, c in Base.known.items()}
# form: registration by __init_subclass__ into a module's dictionary
KNOWN = {}
class Base:
    def __init_subclass__(cls, tag="", **kw): KNOWN[tag] = cls
class A(Base, tag="a"):
    value = 1
def ask(): return {n: c.value for n, c in KNOWN.items()}
# form: registration by a metaclass
class Meta(type):
    known = []
    def __new__(mcs, name, bases, ns):
        cls = super().__new__(mcs, name, bases, ns)
        mcs.known.append(cls)
        return cls
class Base(metaclass=Meta):
    n = 0
class A(Base):
    n = 1
def ask(): return [c.n for c in Meta.known]
# form: subclasses found by __subclasses__
class Base: pass
class A(Base):
    n = 1
class B(Base):
    n = 2
def ask(): return sorted(c.n for c in Base.__subclasses__())
# form: a dictionary of functions
def a(): return "a"
def b(): return "b"
def c(): return "c"  # unused
TABLE = {"a": a, "b": b}
def ask(k="b"): return TABLE[k]()
# form: a dictionary of functions added to later
def a(): return "a"
def b(): return "b"
TABLE = {"a": a}
TABLE["b"] = b
TABLE.update(c=lambda: "c")
def ask(): return [f() for f in TABLE.values()]
# form: singledispatch
import functools
@functools.singledispatch
def show(x): return "any"
@show.register
def _(x: int): return "int"
@show.register(str)
def _(x): return "str"
@show.register(list)
def show_list(x): return "list"
def ask(): return show(1), show("a"), show([]), show(None)
# form: singledispatch registered by a call
from functools import singledispatch
@singledispatch
def show(x): return "any"
def show_int(x): return "int"
show.register(int, show_int)
def ask(): return show(1), show("s")
# form: singledispatch registered in another module
from base import show
import more
def ask(): return show(1), more.NAME
# file: base.py
import functools
@functools.singledispatch
def show(x): return "any"
# file: more.py
from base import show
NAME = "n"
@show.register(int)
def _(x): return "int"
# form: singledispatchmethod
from functools import singledispatchmethod
class Shower:
    @singledispatchmethod
    def show(self, x): return "any"
    @show.register
    def _(self, x: int): return "int"
def ask(): return Shower().show(1), Shower().show("s")
# form: partial of a function
import functools
BASE = 2
def power(x, n): return x ** n
square = functools.partial(power, n=BASE)
def ask(): return square(3)
# form: lru_cache and cache
from functools import lru_cache, cache
@lru_cache(maxsize=10)
def slow(n): return n + 1
@cache
def slower(n): return slow(n) + 1
def ask(): return slower(1)
# form: reduce and operator
import functools, operator
ITEMS = [1, 2, 3]
total = functools.partial(functools.reduce, operator.add)
def ask(): return total(ITEMS)
# form: a context manager made from a generator
import contextlib
TAG = "t"
@contextlib.contextmanager
def tagged(name):
    yield f"<{TAG} {name}>"
def ask():
    with tagged("x") as t: return t
# form: a context manager as the target
from contextlib import contextmanager
TAG = "t"
@contextmanager
def ask():
    yield TAG
# call: ask().__enter__()
# form: a function changed through its attributes
def work(): return work.mode
work.mode = "fast"
def ask(): return work()
# form: setattr at module level
class Config: pass
setattr(Config, "mode", "fast")
def ask(): return Config.mode
# form: a class changed after its definition
class Config:
    mode = "slow"
Config.mode = "fast"
def extra(self): return "extra"
Config.extra = extra
def ask(): return Config.mode, Config().extra()
# form: a mutation by a function called for no value
PROMPTS = {}
def fill(target):
    target["a"] = "A"
fill(PROMPTS)
def ask(): return PROMPTS
# form: a mutation by a function with a global
STATE = []
def setup(value): STATE.append(value)
setup("on")
def ask(): return STATE
# form: a global set by a function that was called
MODE = "off"
def switch():
    global MODE
    MODE = "on"
switch()
def ask(): return MODE
# form: a registry reached through a default argument
HANDLERS = []
def on(fn, handlers=HANDLERS):
    handlers.append(fn)
    return fn
@on
def a(): return "A"
def ask(): return [f() for f in HANDLERS]
# form: a name read through globals
HIDDEN = 1
OTHER = 2  # unused
def ask(): return globals()["HIDDEN"]
# form: statements on one line
A = 1; B = 2; C = 3
def ask(): return B + A + C
# form: an import inside a branch that is used
import os
if os.sep == "/":
    import posixpath as pathmod
else:
    import ntpath as pathmod
def ask(): return pathmod.join("a", "b")
# form: environment read at import
import os
KEY = os.environ.get("SOME_NAME_NOT_SET", "default")
def ask(): return KEY
# form: values computed at import
import time, uuid
STARTED = time.time()
RUN = uuid.uuid4().hex
def ask(): return STARTED > 0 and len(RUN)
# form: a name mangled with the same letters
PROMPT = "p"
PROMPTS = "q"  # unused
PROMPT_2 = "r"  # unused
def ask(): return PROMPT
# form: a conditional mutation
FLAGS = []
VERBOSE = True
if VERBOSE:
    FLAGS.append("v")
def ask(): return FLAGS
# form: a mutation inside a try
FLAGS = {}
try:
    FLAGS["n"] = int("4")
except ValueError:
    FLAGS["n"] = 0
def ask(): return FLAGS
# form: alias of a container that is changed through the alias
BASE = {"a": 1}
ALIAS = BASE
ALIAS["b"] = 2
def ask(): return BASE
# form: list comprehension for effects
OUT = []
[OUT.append(i) for i in range(2)]
def ask(): return OUT
# form: a decorator that replaces the function by a constant
def const(fn): return fn()
@const
def VALUE(): return 5
def ask(): return VALUE
# form: a class used as a decorator
class Tool:
    def __init__(self, fn): self.fn = fn
    def __call__(self, *a): return self.fn(*a)
@Tool
def work(n): return n + 1
def ask(): return work(1)
# form: a target wrapped by a class
import functools
class Tool:
    def __init__(self, fn):
        functools.update_wrapper(self, fn)
        self.fn = fn
    def __call__(self, *a): return self.fn(*a)
STEP = 1
@Tool
def ask(n=1): return n + STEP
# form: a target whose wrapper hides it
def hide(fn):
    def inner(*a): return fn(*a) + "!"
    return inner
@hide
def ask(): return WORD
WORD = "w"
# form: a script guard
X = 1
def ask(): return X
if __name__ == "__main__":
    print(ask())  # unused
# form: unused statements with effects elsewhere
import logging  # unused
log = logging.getLogger("x")  # unused
log.setLevel(10)  # unused
print("", end="")  # unused
def ask(): return 1
# form: a module-level assert and docstring
"""The module's docstring."""  # unused
assert 1 == 1  # unused
__all__ = ["ask"]  # unused
__version__ = "1"  # unused
def ask(): return 1
# form: __version__ and __all__ used
__version__ = "1"
def ask(): return __version__
# form: a subscripted attribute of an object is set
class Box: pass
BOX = Box()
BOX.table = {}
BOX.table["k"] = "v"
def ask(): return BOX.table
# form: swapped names
A, B = 1, 2
A, B = B, A
def ask(): return A
# form: operators that change in place
S = {1}
S |= {2}
L = [0]
L *= 2
def ask(): return S, L
# form: lambda assigned to a name
DELTA = 3
shift = lambda n: n + DELTA
def ask(): return shift(1)
# form: a conditional lambda or function by expression
FAST = True
def quick(): return "q"
def slow(): return "s"
work = quick if FAST else slow
def ask(): return work()
# form: exec-free alias chain
def a(): return 1
b = a
c = b
def ask(): return c()
# form: type statement like aliases
from typing import Union
Number = Union[int, float]
Pair = tuple[Number, Number]
def ask(x: Pair = (1, 2)): return x
'''
)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_the_closure_has_what_the_program_needs_and_the_version_follows_it(project: Project, form: Form) -> None:
    closure = check(project, form)
    assert check_changes(project, form, closure) > 0

"""Names that modules share, hand on and load: built-ins bound anew, star imports, modules as values, texts filled in.

How a table is read, and what is checked of each program and of each change made to it: `closure_tables`.
"""

from __future__ import annotations

import pytest
from closure_projects import Project
from closure_tables import Form, check, check_changes, forms_of_table

pytestmark = pytest.mark.tables

FORMS = forms_of_table(
    r"""
# form: a built-in bound anew to itself in another module
from compat import str, text, bytes
def ask(): return text(str(3)), bytes
# file: compat.py
text = str
str = str
bytes = len  # loose
# form: a built-in replaced by a function that uses it
def len(x): return 42
def ask(): return len([1])
# form: a built-in kept under another name and replaced
_print = print
def print(*a): return a
def ask(): return print(1), _print is not print
# form: the target called through functions while the module executes
def make(f): return [f(1)]
def helper(x): return ask(x) + 1
def ask(x=0): return x if x else T
T = make(helper)
def unused(): return 1  # unused
# form: the target needed by a class that is made
class Meta(type):
    def __new__(m, n, b, d):
        d["x"] = ask(0)
        return super().__new__(m, n, b, d)
W = 3
def ask(n=1): return A.x if n else W
class A(metaclass=Meta): pass
# form: the target imported inside a function of another module
from other import run
def ask(n=1): return run(n) if n else 5
# file: other.py
def run(n):
    from main import ask
    return ask(n - 1) + 1
# form: the target imported inside functions that bind its name twice
from other import run
def ask(n=1): return run(n) if n else 5
# file: other.py
def run(n):
    try:
        from main import ask
    except ImportError:
        ask = None
    return ask(n - 1) + 1
# form: a local import of what a user's module imports from the standard library
def ask():
    from lib import sqrt, js
    return sqrt(4), js.dumps([1])
# file: lib.py
from math import sqrt
import json as js
X = 1  # unused
# form: an import in a branch of what a user's module imports
try:
    from lib import sqrt
except ImportError:
    sqrt = None
def ask(): return sqrt(4)
# file: lib.py
from math import sqrt
# form: an import and a definition of one name
import sys
from lib import sqrt
if sys.platform == "none":
    def sqrt(x): return 0
def ask(): return sqrt(4)
# file: lib.py
from math import sqrt
# form: sys modules lookup with getattr
import sys  # loose
import lib  # loose
def ask(): return getattr(sys.modules["lib"], "K")
# file: lib.py
K = 3
OTHER = 1  # loose
# form: a text filled with names that two modules have
import other
NAME = "n"
TEXT = "hello {NAME} {{NAME}}".format(**globals())
def ask(): return TEXT, other.TEXT, other.P
# file: other.py
NAME = "m"
TEXT = "bye {NAME}".format(**globals())
P = "%(NAME)s!" % globals()
# form: format with globals
NAME = "n"
OTHER = "o"  # unused
TEXT = "hello {NAME}".format(**globals())
def ask(): return TEXT
# form: percent with globals
NAME = "n"
OTHER = "o"  # unused
TEXT = "hello %(NAME)s" % globals()
def ask(): return TEXT
# form: format_map with vars
NAME = "n"
OTHER = "o"  # unused
TEXT = "hello {NAME}".format_map(vars())
def ask(): return TEXT
# form: import_module attribute in a function, called
from importlib import import_module as im
def ask(): return im("lib").f()
# file: lib.py
def f(): return K
K = 2
OTHER = "o"  # unused
# form: import_module attribute at module level
import importlib
NAME = importlib.import_module("lib").NAME
def ask(): return NAME
# file: lib.py
NAME = "n"
OTHER = "o"  # unused
# form: import_module in a default and a dictionary
import importlib
MODS = {"a": importlib.import_module("lib_a"), "b": importlib.import_module("lib_b")}
def ask(): return MODS["a"].V + MODS["b"].V
# file: lib_a.py
V = 1
# file: lib_b.py
V = 2
# form: dunder import
lib = __import__("lib")
def ask(): return lib.f()
# file: lib.py
def f(): return K
K = 2
OTHER = "o"  # unused
# form: dunder import in a function
def ask(): return __import__("lib").f()
# file: lib.py
def f(): return K
K = 2
OTHER = "o"  # unused
# form: dunder import of a package
m = __import__("pkg.lib")
def ask(): return m.lib.K
# file: pkg/__init__.py
# file: pkg/lib.py
K = 2
OTHER = "o"  # unused
# form: dunder import with fromlist
m = __import__("pkg.lib", fromlist=["K"])  # loose
def ask(): return m.K
# file: pkg/__init__.py
# file: pkg/lib.py
K = 2
OTHER = "o"  # unused
# form: dunder import of an installed module
js = __import__("json")
def ask(): return js.dumps([1])
# form: sys.modules lookup
import sys  # loose
import lib  # loose
def ask(): return sys.modules["lib"].K
# file: lib.py
K = 3
OTHER = 1  # unused
# form: an aliased module
import prompts
p = prompts
def ask(): return p.SYSTEM
# file: prompts.py
SYSTEM = "s"
OTHER = "o"  # unused
def unused(): return 1  # unused
# form: a module as an argument of the user's function
import prompts
def render(m): return m.SYSTEM
def ask(): return render(prompts)
# file: prompts.py
SYSTEM = "s"
OTHER = "o"  # loose
# form: a module as a class attribute
import prompts
class A:
    p = prompts
    def go(self): return self.p.SYSTEM
def ask(): return A().go()
# file: prompts.py
SYSTEM = "s"
OTHER = "o"  # loose
# form: modules in a list
import a, b
def ask(): return [m.V for m in (a, b)]
# file: a.py
V = 1
W = 2  # loose
# file: b.py
V = 2
# form: a module re-exported as a name of another module
from api import prompts
def ask(): return prompts.SYSTEM
# file: api.py
import prompts
OTHER = 1  # unused
# file: prompts.py
SYSTEM = "s"
U = 1  # unused
# form: a module re-exported under another name and passed on
import api
def ask(): return api.p.SYSTEM
# file: api.py
import prompts as p
# file: prompts.py
SYSTEM = "s"
U = 1  # unused
# form: a conditional expression of modules
import a, b
FLAG = True
m = a if FLAG else b
def ask(): return m.V
# file: a.py
V = 1
# file: b.py
V = 2
# form: a package whose modules import each other
import pkg
def ask(): return pkg.run()
# file: pkg/__init__.py
from .core import run
from . import util  # unused
VERSION = "1"
# file: pkg/core.py
from . import util
def run(): return util.up(NAME)
NAME = "n"
# file: pkg/util.py
def up(x):
    from . import VERSION
    return x.upper() + VERSION
# form: equal class names where one inherits from the other
import base
class Agent(base.Agent):
    def run(self): return super().run() + "m"
def ask(): return Agent().run(), base.Agent().run(), Agent.__name__
# file: base.py
class Agent:
    def run(self): return "b"
# form: local imports of a package with alias in several functions
def a():
    import pkg.x as m
    return m.V
def b():
    from pkg import y as m
    return m.V
def ask():
    m = "l"
    return a() + b() + m
# file: pkg/__init__.py
# file: pkg/x.py
V = "x"
W = 1  # unused
# file: pkg/y.py
V = "y"
# form: star import after a constant of the same name
X = 1  # unused
from lib import *
def ask(): return X
# file: lib.py
X = 2
# form: star import before a constant of the same name
from lib import *  # unused
X = 1
def ask(): return X
# file: lib.py
X = 2  # unused
# form: star import of an installed module after a definition
def sqrt(x): return "mine"  # unused
from math import *
def ask(): return sqrt(4)
# form: star import of an installed module
from math import *
def ask(): return sqrt(4) + floor(pi)
# form: star import of an installed module in another module
from lib import area
def ask(): return area(2)
# file: lib.py
from math import *
def area(r): return pi * r ** 2
# form: star import of an installed module through the user's
from lib import *
def ask(): return sqrt(9), OWN
# file: lib.py
from math import *
OWN = 3
# form: f-string names renamed
import other
N = 1
W = 5
def ask(): return f"{N:>{W}} {other.show()}"
# file: other.py
N = 2
W = 3
def show(): return f"{N!r:>{W}} N {{N}} {N=}"
# form: closure cells of several kinds
def make(a, *, b, **c):  # loose
    total = a + b
    def inner(x=total): return x, a, b, sorted(c.items())
    return inner
ask = make(1, b=2, d=[1, {"k": (2, 3)}], e=None)
# form: a cell that is a class and one that is an instance method
class Tool:
    n = 2
    def go(self): return self.n
def make(cls, fn):  # loose
    def inner(): return cls().go(), fn(cls())
    return inner
ask = make(Tool, Tool.go)
# form: cells that are bound methods of a class, an instance and an inherited one
class Base:
    n = 1
    @classmethod
    def make(cls): return cls.n
class Tool(Base):
    n = 2
    @staticmethod
    def s(): return "s"
def make(f, s):  # loose
    def inner(): return f(), s()
    return inner
ask = make(Tool.make, Tool.s)
# form: defaults of a nested function that are constants of the module and of the function
DEPTH = 4
def make(w):  # loose
    local = [w]
    def inner(n=DEPTH, *, m=local): return n, m
    return inner
ask = make("w")
# form: conditional on TYPE_CHECKING with else
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from lib import Thing
else:
    Thing = "thing"
def ask(x: "Thing" = None): return Thing
# file: lib.py
class Thing: pass  # unused
# form: hasattr guard for a notebook
def in_notebook():
    try:
        return get_ipython() is not None
    except NameError:
        return False
def ask(): return in_notebook()
# form: an optional dependency that is missing
try:
    import nothing_here_at_all as nh
    from nothing_here_at_all.sub import thing
    HAS = True
except ImportError:
    nh = thing = None
    HAS = False
def ask(): return nh.go(thing) if HAS else "no"
# form: attributes set by a function at import
class Codes: pass
CODES = Codes()
TABLE = {1: ("a", "b"), 2: ("c",)}
def _init():
    for code, names in TABLE.items():
        for name in names: setattr(CODES, name, code)
_init()
def ask(): return CODES.b, CODES.c
"""
)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_the_closure_has_what_the_program_needs_and_the_version_follows_it(project: Project, form: Form) -> None:
    closure = check(project, form)
    assert check_changes(project, form, closure) > 0

"""Programs that use programs, and modules that change one another's objects.

How a table is read, and what is checked of each program and of each change made to it: `closure_tables`.
"""

from __future__ import annotations

import pytest
from closure_projects import Project
from closure_tables import Form, check, check_changes, forms_of_table

pytestmark = pytest.mark.tables

FORMS = forms_of_table(
    r"""
# form: a program that uses a program
class Program:
    __ell_program__ = True
    def __init__(self, fn, model):
        self.__wrapped__ = fn
        self.model = model
    def __call__(self, *a): return self.__wrapped__(*a)
def program(model): return lambda fn: Program(fn, model)
INNER = "inner prompt"
@program("small")
def inner(): return INNER
@program("other")
def unused(): return 1  # unused
@program("big")
def ask(): return inner() + "!"
# form: programs in other modules
from deco import program
from other import inner
@program("big")
def ask(): return inner() + "!"
# file: deco.py
class Program:
    __ell_program__ = True
    def __init__(self, fn, model):
        self.__wrapped__ = fn
        self.model = model
    def __call__(self, *a): return self.__wrapped__(*a)
def program(model): return lambda fn: Program(fn, model)
# file: other.py
from deco import program
WORD = "w"
@program("small")
def inner(): return WORD
@program("small")
def stranger(): return "x"  # unused
# form: tools and response formats given to the decorator
from pydantic import BaseModel
class Format(BaseModel):
    n: int = 1
class Unused(BaseModel):  # unused
    n: int = 1
def search(q): return "found " + q
def program(**options):
    def wrap(fn):
        fn.options = options
        return fn
    return wrap
TOOLS = [search]
@program(tools=TOOLS, response_format=Format)
def ask(): return 1
# call: (ask.options["tools"][0]("x"), ask.options["response_format"]().n)
# form: star import
from lib import *
def ask(): return A + helper()
# file: lib.py
A = 1
B = 2  # unused
_C = 3
def helper(): return _C
def other(): return 1  # unused
# form: a re-export through a package
from pkg import work as w
def ask(): return w()
# file: pkg/__init__.py
from .core import work
from .other import stranger  # unused
# file: pkg/core.py
from .consts import WORD as THE_WORD
def work(): return THE_WORD
# file: pkg/consts.py
WORD = "w"
OTHER = "o"  # unused
# file: pkg/other.py
def stranger(): return 1  # unused
# form: module attributes
import prompts
import prompts as p
def ask(): return prompts.SYSTEM + p.USER
# file: prompts.py
SYSTEM = "s"
USER = "u"
UNUSED = "x"  # unused
# form: a module attribute by getattr with a literal
import prompts
def ask(): return getattr(prompts, "SYSTEM")
# file: prompts.py
SYSTEM = "s"
UNUSED = "x"  # unused
# form: a module's attribute of a dotted import
import pkg.prompts
def ask(): return pkg.prompts.SYSTEM
# file: pkg/__init__.py
NOTHING = 1  # unused
# file: pkg/prompts.py
SYSTEM = "s"
UNUSED = "x"  # unused
# form: two modules with the same names
import a, b
def ask(): return a.work(), b.work()
# file: a.py
WORD = "a"
def work(): return WORD
# file: b.py
WORD = "b"
def work(): return WORD
# form: a local import
def ask():
    from lib import work
    return work()
# file: lib.py
WORD = "w"
def work(): return WORD
def other(): return 1  # unused
# form: a local import of a module
def ask():
    import lib as l
    return l.work()
# file: lib.py
WORD = "w"
def work(): return WORD
def other(): return 1  # unused
# form: a registry filled by another module
import registry
import plugins
def ask(): return [f() for f in registry.TOOLS]
# file: registry.py
TOOLS = []
def tool(fn):
    TOOLS.append(fn)
    return fn
# file: plugins.py
from registry import tool
WORD = "p"
@tool
def plug(): return WORD
def other(): return 1  # unused
# form: a registry object filled by another module
from registry import REG
import plugins
def ask(): return [f() for f in REG.items]
# file: registry.py
class Registry:
    def __init__(self): self.items = []
    def tool(self, fn):
        self.items.append(fn)
        return fn
REG = Registry()
# file: plugins.py
from registry import REG
WORD = "p"
@REG.tool
def plug(): return WORD
def other(): return 1  # unused
# form: a dictionary changed by another module
from base import PROMPTS
import extra
def ask(): return PROMPTS
# file: base.py
PROMPTS = {"a": "A"}
# file: extra.py
from base import PROMPTS
PROMPTS["b"] = "B"
OTHER = 1  # unused
# form: subclasses in another module
from base import Base
import extra
def ask(): return sorted((n, c().run()) for n, c in Base.known.items())
# file: base.py
class Base:
    known = {}
    def __init_subclass__(cls): Base.known[cls.__name__] = cls
# file: extra.py
from base import Base
class Child(Base):
    def run(self): return "child"
class Stranger: pass  # unused
# form: a name that only contains another
import ell_helpers
def ask(): return ell_helpers.work()
# file: ell_helpers.py
def work(): return "mine"
# form: model as a keyword and a harmless TOKEN
MODEL = "gpt-x"
TOKEN = "<eos>"
def call(**kw): return kw
def ask(limit=TOKEN): return call(model=MODEL, stop=limit)
# form: a helper edited in another module
from a import one
def ask(): return one()
# file: a.py
from b import two
def one(): return two()
# file: b.py
from c import THREE
def two(): return THREE
# file: c.py
THREE = 3
# form: cyclic imports with late attribute
import a
def ask(): return a.run()
VALUE = "main"  # unused
# file: a.py
import b
def run(): return b.get()
SHARED = "a"
# file: b.py
import a
def get(): return a.SHARED
# form: a package attribute named like its submodule
from pkg import core
def ask(): return core.work()
# file: pkg/__init__.py
from .core import work as core_work  # unused
# file: pkg/core.py
def work(): return "w"
# form: from package import function named like module
from pkg import work
def ask(): return work()
# file: pkg/__init__.py
from .work import work
# file: pkg/work.py
def work(): return "w"
X = 1  # unused
# form: several modules registered by importing a package
from registry import TOOLS, tool
import plugins
def ask(): return sorted(f() for f in TOOLS.values())
# file: registry.py
TOOLS = {}
def tool(name):
    def wrap(fn):
        TOOLS[name] = fn
        return fn
    return wrap
# file: plugins/__init__.py
from . import first, second
from plugins.third import *
NOTHING = 1  # unused
# file: plugins/first.py
from registry import tool
@tool("1")
def one(): return "one"
# file: plugins/second.py
import registry
@registry.tool("2")
def two(): return "two"
registry.TOOLS["2b"] = lambda: "2b"
# file: plugins/third.py
import registry as r
r.tool("3")(lambda: "three")
x = 1  # unused
# form: a function of another module fills a table
from lib import fill
import lib
TABLE = {}
MORE = []
fill(TABLE)
lib.extend(MORE)
def ask(): return TABLE, MORE
# file: lib.py
WORD = "w"
def fill(t): t["a"] = WORD
def extend(l): l.append(WORD)
def other(t): pass  # unused
# form: an import without effect stays out
from lib import WORD
import aside  # unused
def ask(): return WORD
# file: lib.py
WORD = "w"
LIST = []  # unused
# file: aside.py
from lib import WORD, LIST  # unused
LIST.append(WORD)  # unused
# form: functions of Python's own that change what they are given
import heapq, random, operator
HEAP = []
heapq.heappush(HEAP, 3)
DECK = [1]
random.shuffle(DECK)
TABLE = {}
operator.setitem(TABLE, "k", 2)
def ask(): return HEAP, DECK, TABLE
# form: a part of a table that is changed under its own name
TABLE = {"a": [], "b": 1}
PART = TABLE["a"]
PART.append(4)
NUMBER = TABLE["b"]  # unused
NUMBER += 1  # unused
def ask(): return TABLE
# form: a module imported for its effect changes another one's list
import plugin, registry
def ask(): return registry.WORDS
# file: registry.py
WORDS = []
# file: plugin.py
import registry
registry.WORDS.append("x")
# file: unrelated.py
OTHER = 1  # unused
"""
)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_the_closure_has_what_the_program_needs_and_the_version_follows_it(project: Project, form: Form) -> None:
    closure = check(project, form)
    assert check_changes(project, form, closure) > 0

"""What modules do while they are imported: registrations, later changes, names bound anew.

How a table is read, and what is checked of each program and of each change made to it: `closure_tables`.
"""

from __future__ import annotations

import pytest
from closure_projects import Project
from closure_tables import Form, check, check_changes, forms_of_table

pytestmark = pytest.mark.tables

FORMS = forms_of_table(
    r"""
# form: rebinding used by a function executed in between
X = 1
def f(): return X
Y = f()
X = 2
def ask(): return Y, X
# form: rebinding used through two functions executed in between
X = "first"
def f(): return X
def g(): return f() + "!"
Y = [g() for _ in range(2)]
X = "second"
def ask(): return Y, X
# form: rebinding of which only the value in between is used
X = "first"
def f(): return X
Y = f()
X = "second"
def ask(): return Y
# form: chained assignment changed through the second name
D = d = {}
d["a"] = 1
d["b"] = 2
del d  # unused
def ask(): return D
# form: chained assignment changed through the first name
D = d = []
D.append(3)
def ask(): return d
# form: registered by a call that is assigned
ITEMS = []
def add(x):
    ITEMS.append(x)
    return x
A = add("a")
B = add("b")
def ask(): return ITEMS
# form: registered by a call inside a call that is assigned
ITEMS = []
def add(x):
    ITEMS.append(x)
    return x
A = str(add("a"))
def ask(): return ITEMS
# form: registered by a loop
ITEMS = []
def add(x): ITEMS.append(x)
def a(): return "a"
def b(): return "b"
for fn in (a, b):
    add(fn)
def ask(): return [f() for f in ITEMS]
# form: registered in a branch
ITEMS = []
ON = True
def add(x): ITEMS.append(x)
if ON:
    add("x")
def ask(): return ITEMS
# form: registered in a with
import contextlib
ITEMS = []
def add(x): ITEMS.append(x)
with contextlib.suppress(KeyError):
    add("x")
def ask(): return ITEMS
# form: registered in a try
ITEMS = []
def add(x): ITEMS.append(x)
try:
    add("x")
except KeyError:
    add("y")
def ask(): return ITEMS
# form: registered by a comprehension
ITEMS = []
def add(x): ITEMS.append(x)
[add(w) for w in ("a", "b")]
def ask(): return ITEMS
# form: an object filled by a method of its own
class Box:
    def __init__(self): self.items = []
    def fill(self, x): self.items.append(x)
BOX = Box()
BOX.fill("a")
BOX.fill("b")
def ask(): return BOX.items
# form: an object filled by a method that calls another
class Box:
    def __init__(self): self.items = []
    def put(self, x): self.items = self.items + [x]
    def load(self):
        self.put("a")
BOX = Box()
BOX.load()
def ask(): return BOX.items
# form: an object filled by an inherited method
class Base:
    def load(self, x): self.x = x
class Box(Base): pass
BOX = Box()
BOX.load(7)
def ask(): return BOX.x
# form: a class set up by a class method
class Conf:
    mode = "a"
    @classmethod
    def use(cls, mode): cls.mode = mode
Conf.use("b")
def ask(): return Conf.mode
# form: a class set up by its own hook
class T:
    delim = "$"
    def __init_subclass__(cls):
        cls.pattern = cls.delim + "x"
T.__init_subclass__()
def ask(): return T.pattern
# form: the target is called at module level
CACHE = {}
def ask(x=1):
    CACHE[x] = 1
    return len(CACHE) > 0
print(ask(3), end="")  # unused
R = ask(4)  # unused
for n in (1, 2): ask(n)  # unused
def main(): print(ask(5), end="")  # unused
main()  # unused
# form: registered through two functions
NAMES = []
def add(n): NAMES.append(n)
def tool(n): add(n + "!")
tool("a")
def ask(): return NAMES
# form: registered through two functions of two modules
import reg, deco
deco.tool("a")
def ask(): return reg.NAMES
# file: reg.py
NAMES = []
def add(n): NAMES.append(n)
# file: deco.py
from reg import add
def tool(n): add(n + "!")
# form: registered in a third module through two functions
import reg, plug
def ask(): return reg.NAMES
# file: reg.py
NAMES = []
def add(n): NAMES.append(n)
# file: deco.py
from reg import add
def tool(n): add(n + "!")
# file: plug.py
import deco
deco.tool("a")
# form: counted identifiers
COUNT = 0
def fresh():
    global COUNT
    COUNT += 1
    return COUNT
A = fresh()
B = fresh()
def ask(): return B
# form: a setting rebound by a function of its module
import conf
conf.setup("x")
def ask(): return conf.MODE
# file: conf.py
MODE = "off"
def setup(m):
    global MODE
    MODE = m
# form: a table changed through a local name of a function
PROMPTS = {"a": {"t": 1}}
def setup():
    p = PROMPTS["a"]
    p["t"] = 2
setup()
def ask(): return PROMPTS
# form: objects changed in a loop of a function
class T:
    on = 0
TOOLS = [T(), T()]
def setup():
    for t in TOOLS: t.on = 3
setup()
def ask(): return [t.on for t in TOOLS]
# form: objects changed in a loop at module level
class T:
    on = 0
TOOLS = [T(), T()]
for t in TOOLS:
    t.on = 3
def ask(): return [t.on for t in TOOLS]
# form: setattr in a loop at module level
class T: pass
for k, v in {"a": 1, "b": 2}.items():
    setattr(T, k, v)
def ask(): return T.a, T.b
# form: a table changed in a loop through its parts
TABLE = {"a": [], "b": []}
for k, part in TABLE.items():
    part.append(k)
def ask(): return TABLE
# form: a setting rebound by a function while running
import conf
def ask():
    conf.setup("x")
    return conf.MODE
# file: conf.py
MODE = "off"
def setup(m):
    global MODE
    MODE = m
# form: subclasses that store themselves in new
class Tool:
    all = []
    def __new__(cls, *a):
        o = super().__new__(cls)
        cls.all.append(o)
        return o
    def __init__(self, n): self.n = n
A = Tool("a")
def ask(): return [t.n for t in Tool.all]
# form: instances stored through type of self
class Tool:
    all = []
    def __init__(self, n):
        self.n = n
        type(self).all.append(self)
class Sub(Tool): pass
A = Sub("a")
def ask(): return [t.n for t in Tool.all]
# form: global made by a function
def setup():
    global MODE, LEVEL
    MODE = "m"
    LEVEL = 2
setup()
def ask(): return MODE, LEVEL
# form: global made by a function of another module
import conf
conf.setup("x")
def ask(): return conf.MODE
# file: conf.py
def setup(m):
    global MODE
    MODE = m + SUF
SUF = "!"
# form: an attribute of a module set while running
import state
def ask():
    state.COUNT = 5
    return state.shown()
# file: state.py
COUNT = 0
def shown(): return COUNT
"""
)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_the_closure_has_what_the_program_needs_and_the_version_follows_it(project: Project, form: Form) -> None:
    closure = check(project, form)
    assert check_changes(project, form, closure) > 0

"""Scopes and names: what a name in a program means, and what only looks like a name.

How a table is read, and what is checked of each program and of each change made to it: `closure_tables`.
"""

from __future__ import annotations

import pytest
from closure_projects import Project
from closure_tables import Form, check, check_changes, forms_of_table

pytestmark = pytest.mark.tables

FORMS = forms_of_table(
    r'''
# form: a comprehension's variable hides the module's name
K = 1  # unused
def ask(): return [K for K in range(3)]
# form: the first iterable of a comprehension is outside its scope
K = [1, 2]
def ask(): return [K for K in K]
# form: a condition in a comprehension reads the module
LIMIT = 2
K = 5  # unused
def ask(): return {K: K * 2 for K in range(4) if K < LIMIT}
# form: nested comprehensions
ROWS = [[1, 2], [3]]
cell = 9  # unused
row = 9  # unused
def ask(): return [cell for row in ROWS for cell in row]
# form: the inner comprehension's iterable names the outer's variable
ROWS = [[1], [2]]
xs = "no"  # unused
def ask(): return [[x + OFFSET for x in xs] for xs in ROWS]
OFFSET = 10
# form: generator expression with a walrus binds in the function
last = 7  # unused
def ask():
    any((last := n) > 2 for n in range(5))
    return last
# form: walrus at module level in an expression
print(end=(SEP := ""))
def ask(): return SEP + "x"
# form: walrus at module level in a condition
if (N := 4) > 3:
    BIG = True
else:
    BIG = False
def ask(): return N
# form: walrus inside a module-level comprehension
PARTS = [y := v + 1 for v in (1, 2)]
def ask(): return y
# form: match captures hide module names
name = "N"  # unused
rest = "R"  # unused
x = 1  # unused
def ask(value={"kind": "a", "more": 2}):
    match value:
        case {"kind": name, **rest}: return name, rest
        case [x, *_]: return x
# form: match against a class and a dotted value
class Point:
    __match_args__ = ("x", "y")
    def __init__(self, x, y): self.x, self.y = x, y
class Kind:
    RED = "red"
RED = "blue"  # unused
y = 3  # unused
def ask():
    out = []
    for item in (Point(1, 2), "red", 5):
        match item:
            case Point(x, y): out.append(x + y)
            case Kind.RED: out.append("is red")
            case _: out.append("other")
    return out
# form: a capture pattern is a binding, not a read
STOP = "stop"  # unused
def ask(v="go"):
    match v:
        case STOP: return STOP
# form: match at module level binds
import sys
match sys.maxsize > 5:
    case True: SIZE = "big"
    case _: SIZE = "small"
def ask(): return SIZE
# form: a lambda's parameter hides the module's name
K = 3  # unused
def ask(): return (lambda K: K + 1)(2)
# form: a lambda's default reads the module's name it hides
K = 3
def ask(): return (lambda K=K: K + 1)()
# form: two lambdas on one line, the first
a, b = (lambda: ONE), (lambda: TWO)
ONE = "one"
TWO = "two"
# target: a
# call: a()
# form: two lambdas in a dictionary
ONE, TWO = "one", "two"
TABLE = {"one": lambda: ONE, "two": lambda: TWO}
def ask(k="two"): return TABLE[k]()
# form: a lambda as a default argument
SUFFIX = "!"
def ask(shout=lambda s: s + SUFFIX): return shout("hey")
# form: nested function with a default from a module constant
DEPTH = 4
def ask():
    def inner(n=DEPTH): return n
    return inner()
# form: nested function hides a module function
def work(): return "module"  # unused
def ask():
    def work(): return "local"
    return work()
# form: a local name bound later in the function hides the module's
K = 3  # unused
def ask():
    for i in range(1):
        K = i
    return K
# form: a parameter hides the module's name
model = "m"  # unused
def ask(model="p"): return model
# form: keyword-only and star parameters hide names
args = 1  # unused
kwargs = 2  # unused
only = 3  # unused
def ask(*args, only=5, **kwargs): return args, only, kwargs
# form: a keyword argument named like a constant
MODEL = "gpt"
model = "unused"  # unused
def call(**kw): return kw
def ask(): return call(model=MODEL)
# form: an attribute named like a constant
text = "no"  # unused
class Box:
    def __init__(self): self.text = "yes"
def ask(): return Box().text
# form: a string that looks like code
HIDDEN = 1  # unused
def ask(): return "HIDDEN + 1; from x import HIDDEN"
# form: a class body reads a global of its attribute's name
name = "global"
class Config:
    name = name
    other = name + "!"
def ask(): return Config.name, Config.other
# form: a class body binds before it reads
name = "global"  # unused
class Config:
    name = "own"
    other = name + "!"
def ask(): return Config.other
# form: a method does not see the class's attribute
size = 10
class Box:
    size = 5
    def get(self): return size
def ask(): return Box().get()
# form: a comprehension in a class body does not see the class's attribute
width = 3
class Grid:
    width = 5
    cells = [width for _ in range(2)]
def ask(): return Grid.cells
# form: the first iterable in a class body sees the class's attribute
items = [9]  # unused
class Grid:
    items = [1, 2]
    doubled = [i * 2 for i in items]
def ask(): return Grid.doubled
# form: a class body with a conditional binding
flag = True
mode = "global"
class C:
    if flag:
        mode = "own"
    seen = mode
def ask(): return C.seen
# form: nested class bodies
label = "outer"
class A:
    label = "A"
    class B:
        seen = label
def ask(): return A.B.seen
# form: annotations of a target bring what they name
class Answer:
    field = 1
class Unused: pass  # unused
def ask(q: int = 1) -> Answer: return q
# form: string annotations bring what they name
class Answer: pass
class Other: pass
def ask(q: "list[Answer]" = None, r: "Other | None" = None): return 1
# form: future annotations bring what they name
from __future__ import annotations
class Answer: pass
def ask(q: Answer = None): return 1
# form: a name only a type checker imports is used in an annotation
from __future__ import annotations
from typing import TYPE_CHECKING  # unused
if TYPE_CHECKING:
    from nowhere_at_all import Thing  # unused
def ask(q: Thing = None) -> Thing: return 2
# form: a name only a type checker imports is used in a string annotation
import typing  # unused
if typing.TYPE_CHECKING:
    import nowhere_at_all as na  # unused
def ask(q: "na.Thing | None" = None) -> "na.Thing": return 2
# form: a local annotation is not evaluated
def ask():
    x: "Missing" = 1
    return x
# form: a module-level annotation without a value binds nothing
count: int  # unused
def ask(): return 1
# form: annotated assignment at module level
LIMIT: int = 5
def ask(): return LIMIT
# form: annotated with metadata
from typing import Annotated
UNIT = "cm"
def ask(x: Annotated[int, UNIT] = 1): return x
# form: a literal annotation names nothing
from typing import Literal
red = 1  # unused
def ask(x: Literal["red", "blue"] = "red"): return x
# form: a default from a constant
LIMIT = 5
def ask(n=LIMIT, *, m=LIMIT + 1): return n + m
# form: decorator and its arguments
MODEL = "gpt"
TEMPERATURE = 0.5
OTHER = "o"  # unused
def program(model, **options):
    def wrap(fn):
        fn.model, fn.options = model, options
        return fn
    return wrap
@program(MODEL, temperature=TEMPERATURE)
def ask(): return 1
# call: (ask.model, ask.options)
# form: stacked decorators
import functools
def loud(fn):
    @functools.wraps(fn)
    def inner(*a): return fn(*a).upper()
    return inner
def twice(fn):
    @functools.wraps(fn)
    def inner(*a): return fn(*a) * 2
    return inner
def thrice(fn): return fn  # unused
@loud
@twice
def ask(): return "ab"
# form: a decorator kept in a dictionary
DECORATORS = {"plain": lambda f: f}
@DECORATORS["plain"]
def ask(): return 1
# form: decorators on nested functions
import functools
SIZE = 8
def ask():
    @functools.lru_cache(maxsize=SIZE)
    def inner(n): return n + 1
    return inner(1)
# form: except and with names are local
error = "no"  # unused
handle = "no"  # unused
import contextlib
def ask():
    try:
        raise KeyError("k")
    except KeyError as error:
        out = str(error)
    with contextlib.nullcontext(4) as handle:
        return out, handle
# form: exception groups
class MyError(Exception): pass
group = 1  # unused
def ask():
    try:
        raise ExceptionGroup("g", [MyError("a"), ValueError("b")])
    except* MyError as group:
        out = len(group.exceptions)
    except* ValueError:
        pass
    return out
# form: global statement reads and sets module state
COUNT = 0
STEP = 2
def ask():
    global COUNT
    COUNT += STEP
    return COUNT > 0
# form: global declared in a nested function
TOTAL = 1
def ask():
    TOTAL = 10
    def inner():
        global TOTAL
        return TOTAL
    return inner()
# form: nonlocal does not reach the module
count = 3  # unused
def ask():
    count = 0
    def up():
        nonlocal count
        count += 1
    up()
    return count
# form: f-strings, nested and with format specs
WIDTH = 6
NAME = "bob"
PREFIX = ">"
x = 1  # unused
def ask(x=2): return f"{PREFIX}{NAME!r:>{WIDTH}} {f'{x:0{WIDTH}d}'} {{NAME2}}"
# form: text in an f-string's literal part looks like a name
HIDDEN = 1  # unused
def ask(v=3): return f"HIDDEN {{HIDDEN}} {v}"
# form: del in a function makes a name local
value = 3  # unused
def ask():
    value = 1
    del value
    return 2
# form: names imported in a function hide the module's
json = "text"  # unused
def ask():
    import json
    return json.dumps([1])
# form: star expressions and slices
LO, HI = 1, 3
DATA = [1, 2, 3, 4]
EXTRA = {"a": 1}
def ask(): return [*DATA[LO:HI], *EXTRA], {**EXTRA}
# form: async functions, generators and comprehensions
import asyncio
ITEMS = [1, 2, 3]
FACTOR = 2
async def source():
    for item in ITEMS: yield item
async def ask_async():
    async with gate():
        return [i * FACTOR async for i in source()]
class gate:
    async def __aenter__(self): return self
    async def __aexit__(self, *a): return None
def ask(): return asyncio.run(ask_async())
# form: yield from and generator helpers
def part(): yield PART
PART = "p"
def ask_gen():
    yield from part()
    yield 2
def ask(): return list(ask_gen())
# form: conditional expression and short circuit
A = 1
B = 2
def ask(flag=False): return (A if flag else B) or C
C = 3
# form: assert and raise use names
MESSAGE = "must"
class Wrong(Exception): pass
def ask(n=1):
    assert n, MESSAGE
    if n > 5: raise Wrong(MESSAGE) from None
    return n
# form: a loop variable of a function
i = 3  # unused
k = 4  # unused
def ask():
    for i, (k, *_) in enumerate([(1, 2)]): pass
    return i, k
# form: a private name inside a class
_Box__secret = 4
class Box:
    def get(self): return __secret
def ask(): return Box().get()
# form: builtins hidden by the module
def len(x): return 42
def ask(): return len([1])
# form: builtins hidden in another module only
from lib import size
def ask(): return len([1]), size()
# file: lib.py
def len(x): return 42
def size(): return len(())
# form: a name in a function's type comment or docstring
HIDDEN = 1  # unused
def ask():
    """HIDDEN: say {HIDDEN}"""
    return ask.__doc__
# form: unpacking in for with attributes
class Box: pass
def ask():
    box = Box()
    for box.value in range(3): pass
    return box.value
# form: chained comparison and lambdas in sort keys
ORDER = {"b": 0, "a": 1}
def ask(): return sorted("ab", key=lambda c: ORDER[c])
# form: a closure over a loop
def ask():
    return [f() for f in [lambda i=i: i + BASE for i in range(2)]]
BASE = 100
# form: a loop and a branch in a class body
last = 5  # unused
i = 4  # unused
mode = "m"
class A:
    for i in range(3):
        last = i
    with open("/dev/null") as handle:
        closed = handle.closed
    if last:
        mode = 1
    else:
        mode = 2
    seen = mode, last
def ask(): return A.seen, mode
# form: names private to a class
class Box:
    def __twice(self, __n): return __n * 2
    def get(self, __k=3):
        __local = self.__twice(__k)
        return __local
__n = 1  # unused
__local = 1  # unused
def ask(): return Box().get()
# form: names read through globals and getattr
A = 1
B = 2
C = 3
D = 4  # unused
class Box:
    one = 1
def ask(): return globals()["A"], globals().get("B"), globals().get("E", 0), getattr(Box, "one"), getattr(C, "real")
# form: names written through globals
globals()["MADE"] = 3
OTHER = 1  # unused
def ask(): return MADE
# form: a subscript's key below an attribute
TABLE = {"a": "x {0}"}
KEY = "a"
def ask(): return TABLE[KEY].format(1)
# form: a key computed below attributes and calls
TABLE = {"a": [1, 2]}
KEYS = ["a"]
I = 0
def ask(): return TABLE[KEYS[I]].__len__() + TABLE[KEYS[I]][N].real
N = 1
# form: a slice with names
DATA = "abcdef"
LO, HI = 1, 3
def ask(): return DATA[LO:HI].upper()
# form: a store below a key
TABLE = {"a": {}}
KEY = "a"
TABLE[KEY]["b"] = 3
def ask(): return TABLE
# form: a store of an attribute below a key
class T: pass
TABLE = {"a": T()}
KEY = "a"
TABLE[KEY].n = 3
def ask(): return TABLE["a"].n
# form: a method that changes below a key
TABLE = {"a": []}
KEY = "a"
VALUE = 4
TABLE[KEY].append(VALUE)
def ask(): return TABLE
'''
)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_the_closure_has_what_the_program_needs_and_the_version_follows_it(project: Project, form: Form) -> None:
    closure = check(project, form)
    assert check_changes(project, form, closure) > 0

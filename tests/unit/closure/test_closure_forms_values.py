"""Values: closure cells, literals, files read at import, recursion, run-time state.

How a table is read, and what is checked of each program and of each change made to it: `closure_tables`.
"""

from __future__ import annotations

import pytest
from closure_projects import Project
from closure_tables import Form, check, check_changes, forms_of_table

pytestmark = pytest.mark.tables

FORMS = forms_of_table(
    r'''
# form: a closure cell with plain data
def make(n, words):  # loose
    def inner(): return n, words
    return inner
ask = make(3, ["a", "b"])
def other(): pass  # unused
# form: a closure cell with a function
def make(fn):  # loose
    def inner(): return fn() + "!"
    return inner
def word(): return "w"
ask = make(word)
# form: a closure cell with an instance of a frozen dataclass
from dataclasses import dataclass
@dataclass(frozen=True)
class P:
    x: int
def make(p):  # loose
    def inner(): return p.x
    return inner
ask = make(P(3))
# form: cells with sets, enum members, paths, patterns and moments
import datetime, decimal, enum, pathlib, re
class E(enum.Enum):
    A = 1
def make(*values):  # loose
    def inner(): return [getattr(v, "pattern", v) for v in values if v is not E.A]
    return inner
ask = make(
    {"b", "a", "c"}, frozenset({1, 2}), E.A,
    pathlib.PurePosixPath("a/b"), re.compile("x+", re.I), datetime.date(2020, 1, 2),
    decimal.Decimal(5), 1.5, float("inf"), b"x", None, ..., 1j, range(3),
)
# form: a cell with nested containers of functions
def a(): return "a"
def b(): return "b"
def make(table):  # loose
    def inner(): return [f() for fs in table.values() for f in fs]
    return inner
ask = make({"x": [a], "y": (b,)})
# form: two closures of one maker
def make(n):  # loose
    def inner(): return n
    return inner
one = make(1)
two = make(2)
three = make(3)  # unused
def ask(): return one() + two()
# form: literals of every kind
S = {"b", "a"}
F = frozenset({"q", "p"})
B = b"\x00\xff"
T = (1,)
C = 1 + 2j
E = ...
N = -1
H = 0xFF
BIG = 10 ** 30
NAN = float("inf")
NESTED = {"a": [{"b": (1, {2})}]}
def ask(): return sorted(S), sorted(F), B, T, C, E, N, H, BIG, NAN, NESTED
# form: a big list
BIG = [i for i in range(5)] + [1, 2, 3] * 1000
def ask(): return sum(BIG)
# form: numpy arrays at module level
import numpy as np
A = np.array([1, 2, 3])
B = np.zeros(3)  # unused
def ask(): return int(A.sum())
# form: a small numpy array in a cell
import numpy as np
def make(a):  # loose
    def inner(): return a.tolist()
    return inner
ask = make(np.array([1, 2]))
# form: a prompt file read at import
from pathlib import Path
PROMPT = Path(__file__).with_name("p.txt").read_text()
def ask(): return PROMPT
# file: p.txt
hello
# form: a prompt file read with open
import os
with open(os.path.join(os.path.dirname(__file__), "p.txt")) as f:
    PROMPT = f.read()
def ask(): return PROMPT
# file: p.txt
hello
# form: a prompt file read by a function
from pathlib import Path
HERE = Path(__file__).parent
def load(name): return (HERE / name).read_text()  # unused
PROMPT = load("p.txt")
def ask(): return PROMPT
# file: p.txt
hello
# form: prompt files read into a dictionary
import json
from pathlib import Path
PROMPTS = {p.stem: p.read_text() for p in sorted(Path(__file__).parent.glob("*.txt"))}
CONFIG = json.loads(Path(__file__).with_name("c.json").read_text())
def ask(): return PROMPTS, CONFIG
# file: p.txt
hello
# file: c.json
{"a": [1, 2]}
# form: recursive functions
def fact(n): return 1 if n < 2 else n * fact(n - 1)
def ask(): return fact(4)
# form: mutual recursion
def even(n): return True if n == 0 else odd(n - 1)
def odd(n): return False if n == 0 else even(n - 1)
def ask(): return even(4)
# form: mutual recursion over modules
import a
def ask(n=3): return a.down(n)
# file: a.py
import b
LEFT = "a"
def down(n): return LEFT if n == 0 else b.down(n - 1)
# file: b.py
import a
RIGHT = "b"
def down(n): return RIGHT if n == 0 else a.down(n - 1)
# form: the target calls itself
def ask(n=2): return n and ask(n - 1) + 1
# form: a class that refers to itself
class Node:
    def __init__(self, child=None): self.child = child
    def grow(self): return Node(self)
def ask(): return Node().grow().child.child
# form: recursive data
LOOP = [1]
LOOP.append(LOOP)
def ask(): return LOOP[1][1][0]
# form: a nested closure inside a nested closure
def outer(a):  # loose
    def middle(b):
        def inner(): return a + b + C
        return inner
    return middle
C = 100
ask = outer(1)(10)
# form: a decorated closure
import functools
def retry(times):
    def deco(fn):
        @functools.wraps(fn)
        def inner(*a):
            for _ in range(times): return fn(*a)
        return inner
    return deco
TIMES = 3
@retry(TIMES)
def ask(): return WORD
WORD = "w"
# form: an opaque object in a cell
# warns
import threading
WORD = "w"  # unused
def make(lock):  # loose
    def inner():
        return 3
        lock
    return inner
ask = make(threading.Lock())
# form: an object of the user's class in a cell counts as its class
# warns
class Client:
    def __init__(self): self.calls = 0
    def go(self): return 4
def make(client):  # loose
    def inner(): return client.go()
    return inner
ask = make(Client())
# form: functions of the standard library as values
import math, operator, string
TABLE = {"sqrt": math.sqrt, "add": operator.add, "up": str.upper}
def ask(): return TABLE["sqrt"](4), TABLE["add"](1, 2), TABLE["up"]("a"), string.digits
# form: a name put into the module while it ran
import sys
setattr(sys.modules[__name__], "ADDED", [1, 2])
def ask(): return ADDED
# form: module state changed while running
CACHE = {}
COUNT = 0
def ask(n=1):
    global COUNT
    COUNT += 1
    CACHE[n] = n
    return len(CACHE) >= 1
# form: a lazily made client
_client = None
def client():
    global _client
    if _client is None:
        _client = object()
    return _client
def ask(): return client() is client()
# form: a function replaced by another module
import lib
import patch
def ask(): return lib.work()
# file: lib.py
def work(): return "plain"  # unused
# file: patch.py
import lib
def patched(): return "patched"
lib.work = patched
# form: strings with odd characters
S = "a\tb\\n'\"\u2028é😀\x00"
R = r"\d+"
M = """a
    b
"""
J = ("one "
     "two")
def ask(): return S, R, M, J
# form: a function with attributes in a table of tables
def a(): return 1
TABLE = {"x": {"y": [a, lambda: 2]}}
def ask(): return [f() for f in TABLE["x"]["y"]]
# form: generators, iterators and zip objects at module level
PAIRS = dict(zip("ab", [1, 2]))
ORDER = sorted({"c", "a"})
def ask(): return PAIRS, ORDER
# form: a ctypes or C function
import zlib
from math import floor as down
def ask(): return zlib.crc32(b"a"), down(1.5)
# form: a logger, a lock and a context variable
import contextvars, logging, threading
log = logging.getLogger(__name__)
lock = threading.Lock()
current = contextvars.ContextVar("current", default="c")
def ask():
    log.debug("x")
    with lock: return current.get()
'''
)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_the_closure_has_what_the_program_needs_and_the_version_follows_it(project: Project, form: Form) -> None:
    closure = check(project, form)
    assert check_changes(project, form, closure) > 0

"""Classes: instances, inheritance, hooks, models; methods, instances and partials as the target.

How a table is read, and what is checked of each program and of each change made to it: `closure_tables`.
"""

from __future__ import annotations

import pytest
from closure_projects import Project
from closure_tables import Form, check, check_changes, forms_of_table

pytestmark = pytest.mark.tables

FORMS = forms_of_table(
    r"""
# form: an instance as a global
class Client:
    def __init__(self, model): self.model = model
    def run(self): return self.model + SUFFIX
SUFFIX = "!"
MODEL = "gpt"
CLIENT = Client(MODEL)
OTHER = Client("x")  # unused
def ask(): return CLIENT.run()
# form: an instance changed later
class Box:
    pass
BOX = Box()
BOX.size = 4
def ask(): return BOX.size
# form: inheritance across modules
from base import Base
class Child(Base):
    def run(self): return super().run() + "c"
def ask(): return Child().run()
# file: base.py
from root import Root
class Base(Root):
    def run(self): return super().run() + HELP
HELP = "b"
UNUSED = "u"  # unused
# file: root.py
class Root:
    def run(self): return "r"
class Stranger: pass  # unused
# form: a method as the target
STEP = 2
class Agent:
    def ask(self, n=1): return self.twice(n) + STEP
    def twice(self, n): return n * 2
def unused(): pass  # unused
# target: Agent.ask
# call: Agent().ask()
# form: a static method as the target
STEP = 2
class Agent:
    @staticmethod
    def ask(n=1): return n + STEP
# target: Agent.ask
# call: Agent.ask()
# form: a class method as the target
STEP = 2
class Agent:
    base = 5
    @classmethod
    def ask(cls, n=1): return cls.base + n + STEP
# target: Agent.ask
# call: Agent.ask()
# form: a bound method of a global instance as the target
class Agent:
    def __init__(self, n): self.n = n
    def ask(self): return self.n
agent = Agent(3)  # unused
# target: agent.ask
# call: Agent(3).ask()
# form: a class as the target
BASE = 1
class Agent:
    def run(self): return BASE
# target: Agent
# call: Agent().run()
# form: a callable instance as the target
class Agent:
    def __init__(self, n): self.n = n
    def __call__(self): return self.n
ask = Agent(4)
# form: a partial as the target
import functools
def work(a, b): return a + b
ask = functools.partial(work, 1, b=2)
# form: a lambda as the target
N = 3
ask = lambda x=1: x + N
# form: an inherited method as the target
class Base:
    def ask(self): return self.word()
    def word(self): return "base"
class Child(Base):
    def word(self): return "child"  # unused
# target: Base.ask
# call: Base().ask()
# form: a property
class Box:
    @property
    def size(self): return SIZE
    @size.setter
    def size(self, v): pass
SIZE = 3
def ask(): return Box().size
# form: a cached property
from functools import cached_property
class Box:
    @cached_property
    def size(self): return work()
def work(): return 3
def ask(): return Box().size
# form: a descriptor
class Field:
    def __set_name__(self, owner, name): self.name = name
    def __get__(self, obj, owner=None): return DEFAULTS[self.name]
DEFAULTS = {"size": 3}
class Box:
    size = Field()
def ask(): return Box().size
# form: a metaclass
class Meta(type):
    def __new__(mcs, name, bases, ns):
        ns["tag"] = TAG + name
        return super().__new__(mcs, name, bases, ns)
TAG = "t"
class Box(metaclass=Meta): pass
def ask(): return Box.tag
# form: a dataclass with a default factory and constants
from dataclasses import dataclass, field
DEFAULT = 3
def names(): return ["a"]
def unused(): return 1  # unused
@dataclass(frozen=True)
class Config:
    n: int = DEFAULT
    names: list = field(default_factory=names)
    extra: dict = field(default_factory=lambda: {"k": EXTRA})
EXTRA = "e"
def ask():
    c = Config()
    return c.n, c.names, c.extra
# form: dataclasses that inherit
from dataclasses import dataclass
@dataclass
class A:
    x: int = 1
@dataclass
class B(A):
    y: int = 2
def ask(): return B().x + B().y
# form: dataclass with future annotations
from __future__ import annotations
from dataclasses import dataclass, fields
@dataclass
class Inner:
    x: int = 1
@dataclass
class A:
    i: Inner = None
def ask(): return [f.name for f in fields(A)]
# form: an enum with auto
import enum
class Color(enum.Enum):
    RED = enum.auto()
    BLUE = enum.auto()
def ask(): return Color.BLUE.value
# form: an enum whose values are constants
from enum import StrEnum, IntFlag
GPT = "gpt"
class Model(StrEnum):
    BIG = GPT
    SMALL = "small"
class Flag(IntFlag):
    A = 1
    B = 2
def ask(m=Model.BIG): return f"{m}", int(Flag.A | Flag.B)
# form: NamedTuple
from typing import NamedTuple
START = 1
class Point(NamedTuple):
    x: int = START
    def double(self): return self.x * 2
def ask(): return Point().double(), Point(3).x
# form: namedtuple by a call
import collections
FIELDS = "x y"
Point = collections.namedtuple("Point", FIELDS)
def ask(): return Point(1, 2).y
# form: TypedDict
from typing import TypedDict
class Message(TypedDict, total=False):
    role: str
    content: str
def ask() -> Message: return Message(role="user", content="x")
# form: Protocol and ABC
from abc import ABC, abstractmethod
from typing import Protocol
class Runs(Protocol):
    def run(self) -> int: ...
class Base(ABC):
    @abstractmethod
    def run(self): ...
class Impl(Base):
    def run(self): return 3
def ask(r: Runs = None): return (r or Impl()).run()
# form: generics by TypeVar
from typing import Generic, TypeVar
T = TypeVar("T")
U = TypeVar("U")  # unused
class Stack(Generic[T]):
    def __init__(self): self.items: list[T] = []
    def push(self, item: T) -> "Stack[T]":
        self.items.append(item)
        return self
def ask(): return Stack[int]().push(1).items
# form: pydantic models with validators
from pydantic import BaseModel, Field, field_validator, model_validator, ConfigDict
LIMIT = 10
DESCRIPTION = "the size"
class Part(BaseModel):
    name: str = "p"
class Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: int = Field(default=LIMIT, description=DESCRIPTION)
    parts: list[Part] = Field(default_factory=lambda: [Part()])
    @field_validator("size")
    @classmethod
    def check(cls, v): return min(v, LIMIT)
    @model_validator(mode="after")
    def whole(self): return self
def ask(): return Answer(size=20).model_dump(), Answer.model_json_schema()
# form: pydantic model rebuilt after a forward reference
from pydantic import BaseModel
class Node(BaseModel):
    leaf: "Leaf | None" = None
class Leaf(BaseModel):
    name: str = "leaf"
Node.model_rebuild()
def ask(): return Node(leaf={"name": "x"}).model_dump()
# form: slots, dunder methods and operators
class Money:
    __slots__ = ("n",)
    def __init__(self, n): self.n = n
    def __add__(self, o): return Money(self.n + o.n * RATE)
    def __repr__(self): return f"{self.n}{UNIT}"
RATE = 2
UNIT = "EUR"
def ask(): return repr(Money(1) + Money(2))
# form: a class inside a class and a class inside a function
class Outer:
    class Inner:
        value = 5
def ask():
    class Local(Outer.Inner):
        other = EXTRA
    return Local.value + Local.other
EXTRA = 6
# form: a class decorator
TAG = "t"
def tagged(tag):
    def wrap(cls):
        cls.tag = tag
        return cls
    return wrap
@tagged(TAG)
class Box: pass
def ask(): return Box.tag
# form: a class that was made by a function
def make(n):
    class Made:
        value = n
        def get(self): return n + self.value
    return Made
Made = make(3)
def ask(): return Made().get()
# form: a class made by type()
def hello(self): return WORD
WORD = "hi"
Made = type("Made", (), {"hello": hello, "n": 3})
def ask(): return Made().hello()
# form: an instance in a container
class Tool:
    def __init__(self, name): self.name = name
TOOLS = [Tool("a"), Tool("b")]
def ask(): return [t.name for t in TOOLS]
# form: an instance as a default argument
class Options:
    n = 3
DEFAULTS = Options()
def ask(o=DEFAULTS): return o.n
# form: class attributes that are functions of the module
def helper(self): return 5
class Box:
    run = helper
def ask(): return Box().run()
# form: multiple inheritance and super
class A:
    def run(self): return "A"
class B(A):
    def run(self): return "B" + super().run()
class C(A):
    def run(self): return "C" + super().run()
class D(B, C): pass
class E(C): pass  # unused
def ask(): return D().run()
# form: a base class from an expression
def base(n):
    class Base:
        size = n
    return Base
class Box(base(4)): pass
def ask(): return Box.size
# form: keyword arguments of a class
class Base:
    def __init_subclass__(cls, size=0): cls.size = size
N = 4
class Box(Base, size=N): pass
class Other(Base, size=9): pass  # unused
def ask(): return Box.size
# form: a class with __getattr__ and __class_getitem__
class Box:
    def __getattr__(self, name): return NAMES.get(name)
    def __class_getitem__(cls, k): return KINDS[k]
NAMES = {"a": 1}
KINDS = {"k": 2}
def ask(): return Box().a, Box["k"]
# form: a mixin and a class attribute of another class
class Defaults:
    size = 4
class Mixin:
    def get(self): return self.size
class Box(Mixin):
    size = Defaults.size
def ask(): return Box().get()
# form: isinstance of a class that is not made
class Thing: pass
class Never: pass  # unused
def ask(x=None): return isinstance(x, (Thing, int))
# form: a contextmanager method and a generator method
import contextlib
class Session:
    @contextlib.contextmanager
    def open(self): yield NAME
    def __iter__(self): yield from NAMES
NAME = "n"
NAMES = ["a"]
def ask():
    with Session().open() as s: return s, list(Session())
# form: attribute access on a class that looks like another global
class Names:
    first = "a"
first = "z"  # unused
def ask(): return Names.first
# form: only subclasses that register, and those of a metaclass that only changes its namespace
class Meta(type):
    def __new__(mcs, name, bases, ns):
        ns["tag"] = TAG + name
        return super().__new__(mcs, name, bases, ns)
TAG = "t"
class Box(metaclass=Meta): pass
class Other(metaclass=Meta): pass  # unused
def ask(): return Box.tag
# form: subclasses asked for by the class itself
class Base:
    @classmethod
    def all(cls): return sorted(c.__name__ for c in cls.__subclasses__())
class A(Base):
    n = 1
class B:  # unused
    n = 1
def ask(): return Base.all()
# form: a registry inherited by a class of a class
class Base:
    known = []
    def __init_subclass__(cls): Base.known.append(cls.__name__)
class A(Base): pass
class B(A): pass
def ask(): return A.known
"""
)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_the_closure_has_what_the_program_needs_and_the_version_follows_it(project: Project, form: Form) -> None:
    closure = check(project, form)
    assert check_changes(project, form, closure) > 0

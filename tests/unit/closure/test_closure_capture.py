"""Capture of odd targets, odd code and deep code: it never raises, and says what it could not have."""

from __future__ import annotations

import collections
import functools
import json
import operator
import sys
import time
from typing import Any

import pytest
from closure_projects import Project, alone

from ell_otel.closure import Closure, capture, verify


class Odd:
    """An object whose attribute access raises."""

    def __getattribute__(self, name: str) -> Any:
        if name == "__class__":
            return Odd
        raise RuntimeError(name)

    def __call__(self) -> None: ...


ODD_TARGETS = [
    len, print, json.dumps, json.JSONEncoder, int, dict, operator.itemgetter(1), functools.partial(len),
    functools.partial(json.dumps, indent=2), [].append, "".join, str.upper, collections.OrderedDict.fromkeys,
    Odd(), Odd, lambda: 1, (lambda x: x + 1), functools.lru_cache(len), functools.partialmethod(len).func,
    type("Made", (), {}), type("Made", (), {"__call__": lambda self: 1})(), staticmethod(len), property(len),
    functools.singledispatch(lambda x: x), Exception, object, type, sys.exit, collections.namedtuple("P", "a b"),
    collections.defaultdict(list).get, property, classmethod(len),
]  # fmt: skip


@pytest.mark.parametrize("target", ODD_TARGETS, ids=lambda t: type(t).__name__)
def test_whatever_can_be_called_has_a_closure(target: Any) -> None:
    closure = capture(target)
    assert isinstance(closure, Closure)
    assert verify(closure.text, closure.version)
    assert closure.name
    assert not any("could not be captured" in warning for warning in closure.warnings)


@pytest.mark.parametrize("target", [3, "ask", None, [], object()])
def test_what_cannot_be_called_is_refused_with_the_remedy(target: Any) -> None:
    with pytest.raises(TypeError, match="pass a function"):
        capture(target)


def chain(project: Project, length: int) -> None:
    lines = [f"def f{i}(x): return f{i + 1}(x) + 1\n" for i in range(length)]
    project.write(main="".join(lines) + f"def f{length}(x): return x\n")


def seconds_for(project: Project, length: int) -> tuple[float, Closure]:
    """The least processor time of three cold captures."""
    times = []
    for _ in range(3):
        chain(project, length)
        module = project.load("main")
        started = time.process_time()
        closure = capture(module.f0)
        times.append(time.process_time() - started)
        project.write_file("main.py", "# another size, so that the file is read again\n")
    return min(times), closure


@pytest.mark.tables  # the bound is one of the program's own time
def test_a_chain_of_two_thousand_needs_no_recursion_little_time_and_no_square_of_it(project: Project) -> None:
    short, _ = seconds_for(project, 500)
    seconds, closure = seconds_for(project, 2000)
    assert seconds < 1.0
    assert seconds < 10 * short
    assert len(closure.parts) == 2001
    assert not closure.partial


def entangled(project: Project, modules: int) -> None:
    """Modules that register their functions in one table, and whose functions call those of three others."""
    project.write(
        table="TABLE = {}\ndef register(f): return keep(f.__name__, f)\ndef keep(n, f):\n    TABLE[n] = f\n    return f\n"
    )
    for i in range(modules):
        lines = ["import table", *(f"import m{(i + step) % modules}" for step in (1, 2, 3))]
        for j in range(10):
            other = (i + j % 3 + 1) % modules
            lines += ["@table.register", f"def f{i}_{j}(x):"]
            lines += [f"    return table.keep(str(x), m{other}.f{other}_{j}(x))"]
        project.write(**{f"m{i}": "\n".join(lines) + "\n"})
    project.write(main="import m0, table\ndef ask(): return table.TABLE\n")


def test_modules_that_change_one_anothers_objects_take_no_square_of_time(project: Project) -> None:
    times = []
    for modules in (10, 60):
        entangled(project, modules)
        main = project.load("main")
        started = time.process_time()
        closure = capture(main.ask)
        times.append(time.process_time() - started)
        assert len(closure.text.splitlines()) > 30 * modules
    assert times[1] < 14 * times[0], times


def test_a_wide_diamond(project: Project) -> None:
    width = 2000
    text = "def base(x): return x\n" + "".join(f"def d{i}(x): return base(x) + {i}\n" for i in range(width))
    project.write(main=text + "def ask(x): return [" + ", ".join(f"d{i}(x)" for i in range(width)) + "]\n")
    closure = project.capture()
    assert alone(closure).ask(1)[-1] == width


def test_a_chain_of_modules_and_of_reexports(project: Project) -> None:
    length = 300
    for i in range(length):
        project.write(
            **{
                f"r{i}": f"from r{i + 1} import g\n",
                f"m{i}": f"from m{i + 1} import h{i + 1}\ndef h{i}(): return h{i + 1}()\n",
            }
        )
    project.write(**{f"r{length}": "def g(): return 'end'\n", f"m{length}": f"def h{length}(): return 'last'\n"})
    project.write(main="from r0 import g\nfrom m0 import h0\ndef ask(): return g() + h0()\n")
    for i in reversed(range(length)):  # Python's own import recursion would not go this deep
        project.load_more(f"r{i}", f"m{i}")
    assert alone(capture(project.load_more("main").ask)).ask() == "endlast"


def test_names_of_the_enclosing_function_can_be_given(project: Project) -> None:
    project.write(
        main="def deco(model):\n    def wrap(fn):\n        fn.model = model\n        return fn\n    return wrap\n"
        "def make(model):\n    @deco(model=model)\n    def ask(q): return q\n    return ask\nask = make('gpt')\n"
    )
    module = project.load("main")
    without = capture(module.ask)
    assert without.partial
    assert "'model'" in without.warnings[0]
    assert compile(without.text, "x", "exec")
    given = capture(module.ask, names={"model": "gpt", "other": object()})
    assert not given.partial
    assert alone(given).ask.model == "gpt"


@pytest.mark.parametrize(
    "use",
    [
        "try:\n    from other import run\nexcept ImportError:\n    def run(): return 'slow'\ndef ask(): return run()\n",
        (
            "import sys\nif sys.platform == 'nowhere':\n    import other as o\nelse:\n    import json as o\n"
            "def ask(): return o.dumps('slow')[1:5]\n"
        ),
        "def ask(fast=False):\n    if fast:\n        import other\n        return other.run()\n    return 'slow'\n",
    ],
)
def test_a_module_that_cannot_be_imported_here_is_not_in_the_way(project: Project, use: str) -> None:
    project.write(main=use, other="import nowhere_at_all\ndef run(): return nowhere_at_all.run()\n")
    closure = project.capture()
    assert not closure.partial
    assert "def run(): return nowhere" not in closure.text
    assert alone(closure).ask() == "slow"


def test_an_undefined_name_is_a_warning(project: Project) -> None:
    project.write(main="def ask(): return nowhere()\n")
    closure = project.capture()
    assert closure.partial
    assert closure.warnings == ("name 'nowhere', used in main, is not defined anywhere it was looked for",)


def test_parts_are_the_statements_of_the_text(project: Project) -> None:
    project.write(
        helpers="K = 1\ndef h(): return K\n",
        main="import json\nfrom helpers import h\ndef ask(): return json.dumps(h())\n",
    )
    closure = project.capture()
    assert [(part.module, part.names) for part in closure.parts] == [
        ("", ("json",)), ("helpers", ("K",)), ("helpers", ("h",)), ("main", ("ask",))
    ]  # fmt: skip
    assert all(part.text in closure.text for part in closure.parts)
    assert closure.file == str(project.directory / "main.py")
    assert closure.line == 3


def test_the_target_comes_last_where_nothing_needs_it_earlier(project: Project) -> None:
    project.write(main="def ask(): return later()\ndef later(): return L\nL = 1\n")
    assert project.capture().parts[-1].names == ("ask",)


def test_a_capture_of_many_programs_reads_each_file_once(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    import ast

    project.write(main="".join(f"def f{i}(): return {i}\n" for i in range(50)))
    module = project.load("main")
    parsed = []
    real = ast.parse
    monkeypatch.setattr(ast, "parse", lambda text, *a, **k: parsed.append(text) or real(text, *a, **k))
    for i in range(50):
        capture(getattr(module, f"f{i}"))
    assert sum("def f49" in str(text) and "def f0" in str(text) for text in parsed) == 1

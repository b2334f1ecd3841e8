"""The canonical form: what does not count, what does, on every program of the golden corpus."""

from __future__ import annotations

import ast
import copy
import random
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ell_otel.closure import verify
from ell_otel.closure.canonical import forms_of, notation, version_of

sys.path.insert(0, str(Path(__file__).parents[2] / "golden" / "closure"))
from golden import cases

TEXTS = {case.path.stem: case.pinned["text"] for case in cases() if "text" in case.pinned}


def version(text: str) -> str:
    return version_of(forms_of(text))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1", "# c\n\nx   =  1  # d\n\n"),
        ("x = 'a'", 'x = "a"'),
        ("x = 'a' 'b'", 'x = ("ab")'),
        ("x = [1, 2]", "x = [\n  1,\n  2,\n]"),
        ("f(a, b)", "f(\n    a,\n    b,\n)"),
        ("x = (1)", "x = 1"),
        ("x = (1, 2)", "x = 1, 2"),
        ("def f():\n    return 1", "def f(): return(1)"),
        ("def f():\n\treturn 1", "def f():\r\n  return 1\r\n".replace("\r\n", "\n")),
        ("del (a, b)", "del a, b"),
        ("x = f'a{b}c'", 'x = f"a{b}" "c"'),
        ("x = f'a{{{b:}'", "x = f'a' f'{{' f'{b}'"),
        ("x = 0XFF", "x = 0xff"),
        ("x = 1E5", "x = 1e5"),
        ("x = u'a'", "x = 'a'"),
        ("with (open(a)) as b: pass", "with open(a) as b:\n    pass"),
        ("def f(): return 1\ndef g(): return 2", "def g(): return 2\ndef f(): return 1"),
        ("X = 1\ndef f(): return X", "def f(): return X\nX = 1"),
        ("import a\nimport b\nx = 1", "x = 1\nimport b\nimport a"),
        (
            "@p\ndef f(): pass\n@p\ndef g(): pass\ndef p(f): return f",
            "def p(f): return f\n@p\ndef g(): pass\n@p\ndef f(): pass",
        ),
    ],
)
def test_what_does_not_count(one: str, other: str) -> None:
    assert version(one) == version(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1", "x = 2"),
        ("x = 1", "y = 1"),
        ("x = 1", "x = 1.0"),
        ("x = 1", "x = True"),
        ("x = 0.0", "x = -0.0"),
        ("x = 'a'", "x = b'a'"),
        ("x = 'a'", "x = 'a '"),
        ("x = '''a\n  b'''", "x = '''a\n b'''"),
        ("x = {'a': 1, 'b': 2}", "x = {'b': 2, 'a': 1}"),
        ("x = (1,)", "x = 1"),
        ("x = [1]", "x = (1,)"),
        ("x = f'{a}'", "x = f'{a!r}'"),
        ("x = f'{a:>3}'", "x = f'{a:<3}'"),
        ("x = f'{a}'", "x = '{a}'"),
        ("def f():\n    '''A'''", "def f():\n    '''B'''"),
        ("def f(a: int): pass", "def f(a: str): pass"),
        ("def f(a): return a", "def f(b): return b"),
        ("def f(a, /): pass", "def f(a): pass"),
        ("def f(*, a): pass", "def f(a): pass"),
        ("def f(): pass", "async def f(): pass"),
        ("def f(): return 1", "def f(): yield 1"),
        ("f(*a)", "f(**a)"),
        ("x = a if b else c", "x = c if b else a"),
        ("x: int = 1", "x = 1"),
        ("(x): int = 1", "x: int = 1"),
        ("import a.b", "import a"),
        ("import a as b", "import b as a"),
        ("from a import b", "from .a import b"),
        ("x = a < b", "x = a <= b"),
        ("x = ...", "x = None"),
        ("def f():\n    if a:\n        b\n    c", "def f():\n    if a:\n        b\n        c"),
        ("for i in x:\n    pass\nelse:\n    a", "for i in x:\n    pass\n    a"),
        # the order of statements that depend on each other
        ("X = []\nX.append(1)\nX.append(2)", "X = []\nX.append(2)\nX.append(1)"),
        ("X = 1\nY = X\nX = 2", "X = 1\nX = 2\nY = X"),
        ("X = 1\nX = 2", "X = 2\nX = 1"),
        ("X = 1\ndef f(): return X\nY = f()\nX = 2", "X = 1\ndef f(): return X\nX = 2\nY = f()"),
        (
            "R = []\ndef r(f): R.append(f)\n@r\ndef a(): pass\n@r\ndef b(): pass",
            "R = []\ndef r(f): R.append(f)\n@r\ndef b(): pass\n@r\ndef a(): pass",
        ),
        (
            "N = 0\ndef n():\n    global N\n    N += 1\n    return N\nA = n()\nB = n()",
            "N = 0\ndef n():\n    global N\n    N += 1\n    return N\nB = n()\nA = n()",
        ),
    ],
)
def test_what_counts(one: str, other: str) -> None:
    assert version(one) != version(other)


@pytest.mark.parametrize("name", TEXTS)
def test_another_formatter_gives_the_same_version(name: str) -> None:
    text = TEXTS[name]
    assert version(ast.unparse(ast.parse(text))) == version(text)


@pytest.mark.parametrize("name", TEXTS)
def test_comments_and_blank_lines_do_not_count(name: str) -> None:
    text = TEXTS[name]
    lines = text.split("\n")
    inside = {line for node in ast.walk(ast.parse(text)) if isinstance(node, (ast.Constant, ast.JoinedStr))
              for line in range(node.lineno, node.end_lineno or 0)}  # fmt: skip
    commented = [line if number in inside or line.endswith("\\") else f"{line}  # note {number}"
                 for number, line in enumerate(lines, 1)]  # fmt: skip
    assert verify("# top\n\n" + "\n".join(commented), version(text))


def mutations(tree: ast.Module) -> Iterator[ast.Module]:
    """Every single change of a token: names, attributes, keywords, constants, operators, statements left out."""
    for number, node in enumerate(ast.walk(tree)):
        for change in _changes(node):
            mutated = copy.deepcopy(tree)
            target = next(n for i, n in enumerate(ast.walk(mutated)) if i == number)
            change(target)
            yield mutated


def _changes(node: ast.AST) -> Iterator[object]:
    for field in ("id", "attr", "arg", "name", "asname", "module"):
        if isinstance(getattr(node, field, None), str):
            yield lambda n, f=field: setattr(n, f, getattr(n, f) + "_other")
    if isinstance(node, ast.Constant):
        value = node.value
        other = value + "x" if isinstance(value, str) else value + b"x" if isinstance(value, bytes) else "other"
        yield lambda n: setattr(n, "value", other)
    if isinstance(node, ast.BinOp):
        yield lambda n: setattr(n, "op", ast.Mod() if not isinstance(n.op, ast.Mod) else ast.Add())
    if isinstance(node, (ast.Dict, ast.Call)) and len(getattr(node, "values", None) or getattr(node, "args", [])) > 1:
        yield _swap
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        yield lambda n: n.body.append(ast.Pass())
        yield lambda n: n.decorator_list.append(ast.Name("other_decorator"))


def _swap(node: ast.Dict | ast.Call) -> None:
    if isinstance(node, ast.Dict):
        node.keys[:2], node.values[:2] = node.keys[1::-1], node.values[1::-1]
    else:
        node.args[:2] = node.args[1::-1]


@pytest.mark.parametrize("name", TEXTS)
def test_every_other_change_of_a_kept_statement_counts(name: str) -> None:
    tree = ast.parse(TEXTS[name])
    form = notation(tree)
    own = version(ast.unparse(tree))
    for mutated in mutations(tree):
        if notation(mutated) == form:
            continue  # two equal operands changed places
        mutated_version = version(ast.unparse(ast.fix_missing_locations(mutated)))
        assert mutated_version != own, ast.unparse(mutated)


DEFINITIONS = st.lists(
    st.sampled_from(
        ["def f(): return A", "def g(x): return f() + B", "A = 1", "B = [A_, 2]", "A_ = 2", "class C:\n    a = 1",
         "class D(C): pass", "import os", "from typing import Any", "E = C()", "@g\ndef h(): return E", "F = {'a': f}"]
    ),
    unique=True, min_size=2,
)  # fmt: skip


@given(DEFINITIONS, st.randoms())
@settings(max_examples=150, deadline=None)
def test_the_order_of_statements_that_bind_different_names_does_not_count(lines: list[str], rng: random.Random) -> None:
    shuffled = list(lines)
    rng.shuffle(shuffled)
    assert version("\n".join(lines)) == version("\n".join(shuffled))


@given(
    st.lists(st.sampled_from(["X = 1", "X += 2", "X.append(3)", "Y = X", "del X", "Z = [X, Y]", "Q = 5"]), max_size=7)
)
@settings(max_examples=150, deadline=None)
def test_the_canonical_order_keeps_the_order_of_what_touches_one_name(lines: list[str]) -> None:
    forms = forms_of("\n".join(lines))
    from ell_otel.closure.canonical import canonical_order

    touching = [form for form in forms if "X" in form.writes]
    ordered = [form for form in canonical_order(list(forms)) if "X" in form.writes]
    assert [form.digest for form in touching] == [form.digest for form in ordered]


@given(st.text(max_size=40), st.binary(max_size=20), st.floats(), st.integers())
@settings(max_examples=100, deadline=None)
def test_any_constant_has_an_ascii_notation_that_tells_it_apart(
    text: str, data: bytes, real: float, whole: int
) -> None:
    notes = [notation(ast.Constant(value)) for value in (text, data, real, whole, text + "!", whole + 1)]
    assert all(note.isascii() for note in notes)
    assert len(set(notes)) == len(notes)


def test_a_text_that_is_no_python_has_no_version() -> None:
    assert not verify("def (", "c1:0")
    assert not verify("x = '\0'", "c1:0")
    assert not verify("x = 1", "c1:0")
    assert verify("x = 1", version("x = 1"))


def test_the_notation_is_the_one_of_the_specification() -> None:
    source = textwrap.dedent("""
        def greet(name: str, *, n=0x10):
            return f"Hi {name!r}" * n
    """)
    assert notation(ast.parse(source).body[0]) == (
        '(FunctionDef args=(arguments args=[(arg annotation=(Name id="str") arg="name")] kw_defaults=[(Constant int:10)]'
        ' kwonlyargs=[(arg arg="n")]) body=[(Return value=(BinOp left=(JoinedStr values=[(Constant "Hi ")'
        ' (FormattedValue conversion=int:72 value=(Name id="name"))]) op=(Mult) right=(Name id="n")))] name="greet")'
    )

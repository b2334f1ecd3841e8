"""Scopes: our walk over the tree and the compiler's own symbol table must name the same globals."""

from __future__ import annotations

import ast
import random
import symtable
import sysconfig
from pathlib import Path

import pytest

from ell_otel.closure.scopes import analyse

FORMS = """
def f(a, b=D1, *c, d=D2, **e) -> R: return a, b, c, d, e, G1
def g():
    global W1
    W1 = 1
    def h():
        nonlocal_free = x = G2
        def k():
            nonlocal x
            x = G3
            return nonlocal_free
        return k, [y for y in x if (z := y)], z
    class C(B1, metaclass=M1):
        a = 1
        b = a + G4
        def m(self): return a, __class__, super().m()
    return h, C
async def h2():
    async for i in G5: pass
    async with G6 as j: return [k async for k in j], {a: b for a, b in G7}, lambda q, r=G8: (q, r, G9)
class K(Base1):
    x = x
    y: Ann1 = x
    def x(self): return x
try:
    import os as system
except (E1, E2) as err:
    print(err)
match S1:
    case P1(a, b=c) | {"k": a, "l": c, **c2} if G10: pass
    case [first, *rest] as whole: pass
for t1, (t2, *t3) in G11: t1, t2
with C1() as (m, n): pass
del t1
X = [lambda: v for v in G12 for w in v if w if G13]
(q := G14)
a.b.c[d] = e
f"{G15!r:>{G16}} {G17=}"
"""


def symbol_names(source: str) -> tuple[set[str], set[str]]:
    """Names the compiler takes as the module's: read anywhere, bound anywhere."""
    read: set[str] = set()
    bound: set[str] = set()
    todo = [symtable.symtable(source, "x", "exec")]
    while todo:
        table = todo.pop()
        todo += table.get_children()
        for symbol in table.get_symbols():
            top = table.get_type() == "module"
            if top or symbol.is_global():
                read |= {symbol.get_name()} if symbol.is_referenced() else set()
                bound |= {symbol.get_name()} if symbol.is_assigned() or symbol.is_imported() else set()
    return read, bound


def compare(node: ast.stmt, source: str) -> None:
    read, bound = symbol_names(source)
    analysis = analyse(node)
    ours = {r.name for r in analysis.references if r.use == "read" and not isinstance(r.node, ast.Constant)}
    # A class body that reads a name before binding it means the module's; symtable calls such a name local.
    local_first = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} & analysis.local_names
    local_first |= {
        n.target.id for n in ast.walk(node) if isinstance(n, ast.AugAssign) and isinstance(n.target, ast.Name)
    }
    # CPython 3.12 and later splice inlined comprehensions into the table around them, their variables with them.
    comprehensions = [n for n in ast.walk(node) if isinstance(n, ast.comprehension)]
    spliced = {n.id for c in comprehensions for n in ast.walk(c.target) if isinstance(n, ast.Name)}
    hidden = {r.name for r in analysis.references if r.annotation}
    assert read - ours <= {"__classdict__", "__class__", ".0"} | hidden | spliced, source
    assert ours - read <= local_first | hidden, source
    assert analysis.names("write") ^ bound <= hidden | spliced, source


@pytest.mark.parametrize("node", ast.parse(FORMS).body, ids=lambda node: f"line {node.lineno}")
def test_each_form_of_scope_is_seen_as_the_compiler_sees_it(node: ast.stmt) -> None:
    compare(node, ast.unparse(node))


def test_the_standard_library_is_seen_as_the_compiler_sees_it() -> None:
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    for path in random.Random(7).sample(files, 40):
        for node in ast.parse(path.read_bytes()).body:
            source = ast.unparse(node)
            if not (isinstance(node, ast.ImportFrom) and (node.module == "__future__" or node.names[0].name == "*")):
                compare(node, source)


def test_a_statement_as_deep_as_the_parser_allows_needs_no_recursion() -> None:
    node = ast.parse("x = " + " + ".join(f"a{i}" for i in range(900))).body[0]
    assert len(analyse(node).names("read")) == 900

"""The names a statement has to do with, as `scopes` finds them, and the judgements made about one expression."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Container, Iterator
from dataclasses import dataclass, field

from ell_otel.closure.parsing import parse_expression

# Methods that, by their name, change the object they are called on.
CHANGING_METHODS = frozenset(
    {
        "append", "appendleft", "clear", "discard", "extend", "extendleft", "insert", "pop", "popitem",
        "popleft", "remove", "reverse", "rotate", "setdefault", "sort", "update", "move_to_end", "push",
        "subtract", "model_rebuild", "update_forward_refs", "configure",
    }
)  # fmt: skip
_CHANGING_PREFIXES = ("add", "set_", "register", "include_", "update_", "insert_", "append_", "extend_", "__set")
_LEAVES = frozenset({"ctx", "op", "ops", "id", "attr", "lineno", "conversion", "type_comment", "level", "simple"})
_child_fields: dict[type[ast.AST], tuple[str, ...]] = {}
READING_CALLS = frozenset(
    {"open", "read_text", "read_bytes", "read", "get_data", "open_text", "open_binary", "readlines", "loadtxt"}
)
# Functions of Python's own that change what they are given first.
CHANGING_FUNCTIONS = frozenset(
    {"setattr", "delattr", "setitem", "delitem", "update_wrapper", "heapify", "heappush", "insort", "shuffle"}
)


@dataclass(slots=True, eq=False)
class Reference:
    """One occurrence of a name: `chain` holds the attributes read from it, outermost last (`a.b.c` → `b`, `c`)."""

    name: str
    node: ast.AST  # the node whose position names it; a string constant for names inside string annotations
    chain: tuple[str, ...] = ()
    use: str = "read"  # write, change (of the object), declare (`global`); pass to, act by the function in `chain`
    eager: bool = True
    annotation: bool = False
    doubtful: bool = False  # the name may be another one's, or need not be there


@dataclass(slots=True, eq=False)
class LocalImport:
    """An alias of an import that is not itself a module-level statement, and the attributes read through it."""

    node: ast.Import | ast.ImportFrom
    alias: ast.alias
    name: str
    eager: bool
    chains: list[tuple[str, ...]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class ImportCall:
    """An `importlib.import_module("shop.prompts")` or the like, and the attributes read from what it gives."""

    node: ast.Call | ast.Subscript
    root: ast.Name  # `importlib`, or the function itself
    chain: tuple[str, ...]
    eager: bool

    def module(self, package: str, name: str) -> str:
        """The absolute name of the module it imports, called in the module `name` of `package`."""
        if isinstance(self.node, ast.Subscript):  # `sys.modules["shop.prompts"]`
            return str(getattr(self.node.slice, "value", ""))
        words = [str(a.value) if isinstance(a, ast.Constant) else last_name(a) for a in self.node.args]
        if self.root.id == "__import__":
            named = [*self.node.args[3:4], *(k.value for k in self.node.keywords if k.arg == "fromlist")]
            return words[0] if any(getattr(n, "elts", ()) for n in named) else words[0].partition(".")[0]
        if len(words) > 1:
            package = {"__package__": package, "__name__": name}.get(words[1], words[1])
        try:
            return importlib.util.resolve_name(words[0], package)
        except (ImportError, ValueError):
            return ""


@dataclass(slots=True, eq=False)
class Analysis:
    """What one module-level statement has to do with the names of its module."""

    references: list[Reference] = field(default_factory=list)
    imports: list[LocalImport] = field(default_factory=list)
    import_calls: list[ImportCall] = field(default_factory=list)
    strings: list[ast.Constant] = field(default_factory=list)
    formatted: list[ast.AST] = field(default_factory=list)  # f-strings, outermost only
    local_names: set[str] = field(default_factory=set)
    changed_locals: set[str] = field(default_factory=set)
    reading: list[ast.Call] = field(default_factory=list)  # calls that read files while it executes
    reads_file_when_called: bool = False
    mapped: set[str] = field(default_factory=set)  # functions given to `map`, which calls them
    called: set[str] = field(default_factory=set)
    called_later: set[str] = field(default_factory=set)
    annotated: bool = False
    read_through: dict[int, list[tuple[str, ...]]] = field(default_factory=dict)  # by id of a name: as a local one

    def names(self, use: str, eager: bool | None = None) -> set[str]:
        """Names with that use; `eager` narrows to what happens while the statement executes, or to what does not."""
        return {r.name for r in self.references if r.use == use and eager in (None, r.eager)}


def import_call(node: ast.Call, chain: tuple[str, ...], eager: bool, names: Container[str] = ()) -> ImportCall | None:
    """The call as an import, when it is one of a module named in it. `names` are other names of the function."""
    function = last_name(node.func)
    if function not in ("import_module", "__import__") and function not in names:
        return None
    if not node.args or not isinstance(node.args[0], ast.Constant):
        return None
    root = chain_of(node.func)[0]
    return ImportCall(node, root, chain, eager) if isinstance(root, ast.Name) else None


def renamed_import_calls(statement: ast.AST, names: Container[str]) -> list[ImportCall]:
    """The imports by a function that was itself imported under another name."""
    nodes = list(ast.walk(statement))
    chains: dict[int, tuple[str, ...]] = {}
    for root, chain in (chain_of(node) for node in nodes if isinstance(node, ast.Attribute)):
        chains.setdefault(id(root), chain)  # the outermost first
    calls = [import_call(n, chains.get(id(n), ()), True, names) for n in nodes if isinstance(n, ast.Call)]
    return [call for call in calls if call is not None and call.root.id in names]


def loaded_module(node: ast.Subscript, chain: tuple[str, ...], eager: bool) -> ImportCall | None:
    """`sys.modules["shop.prompts"]` as an import."""
    root, path = chain_of(node.value)
    if not isinstance(root, ast.Name) or (root.id, *path) != ("sys", "modules") or not isinstance(node.ctx, ast.Load):
        return None
    named = isinstance(node.slice, ast.Constant) and node.slice.value != "__main__"  # that is whatever was started
    return ImportCall(node, root, chain, eager) if named else None


def named_attribute(node: ast.Call) -> tuple[ast.Name, tuple[str, ...]] | None:
    """What `getattr(prompts, "SYSTEM")` reads, which is what `prompts.SYSTEM` reads: root and attributes."""
    if last_name(node.func) != "getattr" or len(node.args) != 2:
        return None
    holder, name = node.args
    chain: tuple[str, ...] = ()
    while isinstance(holder, ast.Attribute):
        chain = (holder.attr, *chain)
        holder = holder.value
    if isinstance(holder, ast.Name) and isinstance(name, ast.Constant) and isinstance(name.value, str):
        return holder, (*chain, name.value)
    return None


def reads_file(node: ast.Call) -> bool:
    """Whether a call reads a file, by its name; to open one for writing is no reading."""
    called = last_name(node.func)
    if called == "map" and node.args:
        return isinstance(node.args[0], ast.Attribute) and node.args[0].attr in READING_CALLS
    modes = [*node.args[1:2], *(keyword.value for keyword in node.keywords if keyword.arg == "mode")]
    writes = any(isinstance(mode, ast.Constant) and set(str(mode.value)) & set("wax") for mode in modes)
    return called in READING_CALLS and not (called == "open" and writes)


def assigned_attributes(statement: ast.AST, name: str) -> set[str]:
    """The attributes of a name that are assigned somewhere in a statement (`state.count = 1`)."""
    found = (
        node for node in ast.walk(statement) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    )
    return {node.attr for node in found if isinstance(node.value, ast.Name) and node.value.id == name}


def names_filled_in(node: ast.AST) -> tuple[ast.Constant, list[str]] | None:
    """The module's names that `"{NAME}".format(**globals())` and the like put into a text."""
    if isinstance(node, ast.BinOp):
        text, given, pattern = node.left, [node.right], r"%\((\w+)\)"
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and "format" in node.func.attr:
        text, pattern = node.func.value, r"\{(\w+)"
        given = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg is None)]
    else:
        return None
    everything = (isinstance(g, ast.Call) and not g.args and last_name(g.func) in ("globals", "vars") for g in given)
    if not isinstance(text, ast.Constant) or not isinstance(text.value, str) or not any(everything):
        return None
    return text, re.findall(pattern, text.value)


def changes_its_object(method: str) -> bool:
    """Whether a method, by its name, changes the object it is called on."""
    return method in CHANGING_METHODS or method.startswith(_CHANGING_PREFIXES)


def chain_of(node: ast.AST) -> tuple[ast.AST, tuple[str, ...]]:
    """The expression at the root of attributes and subscripts, and the attribute names directly on that root."""
    chain: list[str] = []
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        chain = [node.attr, *chain] if isinstance(node, ast.Attribute) else []
        node = node.value
    return node, tuple(chain)


def names_in(text: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Root names and attribute chains of an annotation written as a string; nothing when it is no expression."""
    try:
        todo: list[ast.AST] = [parse_expression(text.strip())]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    while todo:
        node = todo.pop()
        root, chain = chain_of(node) if isinstance(node, ast.Attribute) else (node, ())
        if isinstance(root, ast.Name):
            yield root.id, chain
        elif root is not node:
            todo.append(root)
        elif isinstance(node, ast.Subscript) and last_name(node.value) == "Literal":
            todo.append(node.value)
        else:
            todo.extend(ast.iter_child_nodes(node))


def last_name(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def all_arguments(arguments: ast.arguments) -> list[ast.arg]:
    stars = [argument for argument in (arguments.vararg, arguments.kwarg) if argument is not None]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *stars]


def defaults_of(arguments: ast.arguments) -> Iterator[tuple[ast.arg, ast.expr]]:
    """The parameters that have defaults, with those."""
    positional = [*arguments.posonlyargs, *arguments.args]
    yield from zip(reversed(positional), reversed(arguments.defaults), strict=False)
    yield from ((a, d) for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if d is not None)


def child_fields(node: ast.AST) -> tuple[str, ...]:
    """Fields that may hold further nodes with names in them, last first, as they go onto a stack."""
    kind = type(node)
    if kind not in _child_fields:
        _child_fields[kind] = tuple(name for name in reversed(kind._fields) if name not in _LEAVES)
    return _child_fields[kind]


def nodes_in(node: ast.AST) -> list[ast.AST]:
    """The node and all below it that names or literals can stand in: `ast.walk`, several times as fast."""
    found = [node]
    for part in found:
        for name in child_fields(part):
            value = getattr(part, name, None)
            if type(value) is list:
                found += [item for item in value if isinstance(item, ast.AST)]
            elif isinstance(value, ast.AST):
                found.append(value)
    return found


def private(name: str, within: str) -> str:
    """The name as the compiler has it: `__name` inside a class is that class's own."""
    return f"_{within}{name}" if within and name.startswith("__") and not name.endswith("__") else name


def reads_around(reference: Reference, writes: list[Reference], body: list[ast.stmt]) -> bool:
    """Whether a class body that binds a name means, at this place, the name outside of it, or may mean it.

    It does before the first binding (`x = x`), and may after one in a branch: then the reference is doubtful.
    """
    place, places = _place(reference.node), [_place(write.node) for write in writes]
    for statement in body:
        end = (statement.end_lineno or 0, statement.end_col_offset or 0)
        binding = [found for found in places if _place(statement) <= found <= end]
        if place <= end:
            if binding and place < min(binding):  # `x = N if (N := 3) else 0` reads it after all
                reference.doubtful = any(isinstance(part, ast.NamedExpr) for part in ast.walk(statement))
            return not binding or place < min(binding) or not isinstance(statement, _BRANCHES)
        if isinstance(statement, ast.If) and binding:
            reference.doubtful = True
            branches = [
                [part for node in nodes for part in ast.walk(node)] for nodes in (statement.body, statement.orelse)
            ]
            if all(any(write.node in branch for write in writes) for branch in branches):
                return False
        elif binding:
            return False
    return True


_BRANCHES = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.TryStar, ast.With, ast.AsyncWith, ast.Match)


def _place(node: ast.AST) -> tuple[int, int]:
    return getattr(node, "lineno", 0), getattr(node, "col_offset", 0)

"""Secrets in a statement's text: which string literals and comments are replaced before anything else sees them."""

from __future__ import annotations

import ast
import io
import tokenize

from ell_otel.closure.references import Analysis
from ell_otel.closure.source import Unit
from ell_otel.redact import mentions_secret_name, redact, redact_value

Edit = tuple[int, int, str]


def secret_edits(unit: Unit, node: ast.AST, analysis: Analysis) -> list[Edit]:
    """Replacements for the string and bytes literals of a statement that hold a secret, by value or by name."""
    if not analysis.strings and not analysis.formatted:
        return []
    start, end = _extent(unit, node)
    named = _names_of_strings(node) if mentions_secret_name(unit.text[start:end]) else {}
    edits: list[Edit] = []
    for constant in analysis.strings:
        edit = _literal_edit(unit, constant, named.get(id(constant), ""))
        if edit is not None:
            edits.append(edit)
    for formatted in analysis.formatted:
        first, last = unit.span(formatted)
        text = unit.text[first:last]
        clean = redact(text)
        if clean != text:
            edits.append((first, last, clean))
    return edits


def _literal_edit(unit: Unit, constant: ast.Constant, name: str) -> Edit | None:
    value = constant.value
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    clean = redact_value(name, text)
    if clean == text:
        return None
    start, end = unit.span(constant)
    return start, end, repr(clean.encode("utf-8") if isinstance(value, bytes) else clean)


def _extent(unit: Unit, node: ast.AST) -> tuple[int, int]:
    decorators = getattr(node, "decorator_list", None)
    start, end = unit.span(node)
    return (unit.span(decorators[0])[0] if decorators else start), end


def _names_of_strings(node: ast.AST) -> dict[int, str]:
    """By string constant: the variable, keyword, parameter, attribute or dictionary key it is the value of."""
    found: dict[int, str] = {}
    for part in ast.walk(node):
        for name, value in _named_values(part):
            for constant in _strings_directly_in(value):
                found.setdefault(id(constant), name)
    return found


def _named_values(node: ast.AST) -> list[tuple[str, ast.AST]]:
    if isinstance(node, ast.Assign):
        return [(name, node.value) for target in node.targets for name in _target_names(target)]
    if isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and node.value is not None:
        return [(name, node.value) for name in _target_names(node.target)]
    if isinstance(node, ast.keyword) and node.arg:
        return [(node.arg, node.value)]
    if isinstance(node, ast.Dict):
        return [
            (key.value, value)
            for key, value in zip(node.keys, node.values, strict=True)
            if isinstance(key, ast.Constant) and isinstance(key.value, str)
        ]
    if isinstance(node, ast.arguments):
        positional = [*node.posonlyargs, *node.args]
        pairs = list(zip(reversed(positional), reversed(node.defaults), strict=False))
        pairs += [(a, d) for a, d in zip(node.kwonlyargs, node.kw_defaults, strict=True) if d is not None]
        return [(argument.arg, default) for argument, default in pairs]
    return []


def _target_names(target: ast.AST) -> list[str]:
    if isinstance(target, ast.Name):
        return [target.id]
    if isinstance(target, ast.Attribute):
        return [target.attr]
    if isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant):
        return [target.slice.value] if isinstance(target.slice.value, str) else []
    return []


def _strings_directly_in(node: ast.AST) -> list[ast.Constant]:
    """The strings an expression may evaluate to, or be a container of: not those it merely mentions in a call."""
    todo, found = [node], []
    while todo:
        part = todo.pop()
        if isinstance(part, ast.Constant) and isinstance(part.value, (str, bytes)):
            found.append(part)
        elif isinstance(part, (ast.List, ast.Tuple, ast.Set)):
            todo += part.elts
        elif isinstance(part, ast.BoolOp):
            todo += part.values
        elif isinstance(part, ast.IfExp):
            todo += [part.body, part.orelse]
        elif isinstance(part, ast.BinOp):
            todo += [part.left, part.right]
        elif isinstance(part, ast.Call):  # `os.environ.get("API_KEY", "<default>")`, `SecretStr("…")`
            todo += part.args[1:] if len(part.args) > 1 else part.args
    return found


def redacted_comments(text: str) -> str:
    """The text with secrets in its comments replaced; code and strings stay."""
    if "#" not in text or redact(text) == text:
        return text
    lines = text.split("\n")
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text + "\n").readline))
    except (tokenize.TokenError, SyntaxError):
        return text
    for token in reversed(tokens):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column] + redact(token.string)
    return "\n".join(lines)

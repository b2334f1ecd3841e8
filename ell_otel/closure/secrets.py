"""Secrets in a statement's text: which string literals and comments are replaced before anything else sees them."""

from __future__ import annotations

import ast
import copy
import io
import re
import tokenize
from collections.abc import Callable

from ell_otel.closure.parsing import parse_expression
from ell_otel.closure.references import Analysis, defaults_of, last_name, nodes_in
from ell_otel.closure.source import Unit
from ell_otel.redact import looks_secret, mentions_secret_name, names_secret, redact, redact_value

Edit = tuple[int, int, str]
Changes = dict[int, tuple[ast.AST, ast.AST]]


# Where literals may be put together: `"a" + "b"`, `"%s" % "a"`, `"".join(["a", "b"])`, `"{}".format("a")`.
_PUT_TOGETHER = re.compile(r"[\"']\s*\)*\s*[+%]|\.join\(|\.format\(")
_HOLE = "{\ue000}"
_LONG = 16  # characters of a value that is no word
# Functions whose first argument says which value they give, and those whose arguments say how a text is changed.
_ASKS = re.compile(r"get|read|load|fetch|find|pop|require|resolve|lookup|prompt|input")
_GIVES_BY_NAME = re.compile(r"(?:^|[._])(?:get|set|put|pop|env|config|header|option|secret|default)")
_SPEAKS_OF_TEXT = re.compile(
    r"(?:encode|decode|replace|[lr]?strip|r?split|startswith|endswith|removeprefix|removesuffix)$"
)


def secret_changes(unit: Unit, node: ast.AST, analysis: Analysis) -> Changes:
    """By the id of a literal, f-string or constant expression of a statement: what stands there without its secrets."""
    if not analysis.strings and not analysis.formatted:
        return {}
    start, end = _extent(unit, node)
    text = unit.text[start:end]
    named = _names_of_strings(node) if mentions_secret_name(text) else {}
    changes: Changes = {}
    for constant in analysis.strings:
        clean = _without_secrets(constant, named.get(id(constant), ""))
        if clean is not constant:
            changes[id(constant)] = (constant, clean)
    if len(analysis.strings) > 1 and _PUT_TOGETHER.search(text):
        for part in nodes_in(node):
            changes.update(_assembled(part, changes))
    for formatted in analysis.formatted:
        if isinstance(formatted, ast.JoinedStr):
            changes.update(_formatted(formatted, named))
    return changes


def changed(node: ast.AST, changes: Changes, memo: dict[int, object]) -> ast.AST:
    """A copy of the tree with the changes made. `memo` gives the copy of each of its nodes by the id of the node."""
    memo.update({key: new for key, (_, new) in changes.items() if not isinstance(new, ast.JoinedStr)})
    for key, (_, new) in changes.items():
        if isinstance(new, ast.JoinedStr):  # with the expressions of the old one in it, which are copied like others
            memo[key] = copy.deepcopy(new, memo)
    return copy.deepcopy(node, memo)


def change_edits(unit: Unit, changes: Changes) -> list[Edit]:
    """The changes as edits of the unit's text; of one within another the outer, which has the inner in it."""
    inner = {id(part) for old, _ in changes.values() for part in ast.walk(old) if part is not old}
    edits: list[Edit] = []
    for key, (old, new) in changes.items():
        if key not in inner:
            start, end = unit.span(old)
            edits.append((start, end, _written(unit.text[start:end], changed(old, changes, {}), new)))
    return edits


def _written(text: str, clean: ast.AST, new: ast.AST) -> str:
    """An f-string as it was written, when to redact that text comes to the same; else the plain form of its tree."""
    plain = ast.unparse(clean)
    if isinstance(new, ast.JoinedStr):
        try:
            if ast.dump(parse_expression(redact(text))) == ast.dump(parse_expression(plain)):
                return redact(text)
        except SyntaxError:  # redacting took a brace or a quotation mark with the secret
            pass
    return plain


def _without_secrets(constant: ast.Constant, name: str) -> ast.Constant:
    value = constant.value
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    clean = redact_value(name, text)
    if clean == text:
        return constant
    return ast.Constant(clean.encode("latin-1") if isinstance(value, bytes) else clean)


def _assembled(node: ast.AST, changes: Changes) -> Changes:
    """An expression of nothing but literals whose value has a secret that none of them has by itself."""
    if not isinstance(node, (ast.BinOp, ast.Call)):
        return {}
    text = _value(node)
    if text is None:
        return _chained(node) if isinstance(node, ast.BinOp) else {}
    clean = redact(text)
    return {id(node): (node, ast.Constant(clean))} if clean != text else {}


def _chained(node: ast.BinOp) -> Changes:
    """`x + "a" + "b"`: neighbouring literals of a sum, redacted as one text, which the last of them then holds."""
    right = _value(node.right)
    if not isinstance(node.op, ast.Add) or right is None or not isinstance(node.left, ast.BinOp):
        return {}
    left = _value(node.left.right) if isinstance(node.left.op, ast.Add) else None
    if left is None or redact(left + right) == redact(left) + redact(right):
        return {}
    return {
        id(node.left.right): (node.left.right, ast.Constant("")),
        id(node.right): (node.right, ast.Constant(redact(left + right))),
    }


def _value(node: ast.AST) -> str | None:
    """The text that an expression of literals alone gives; None for any other."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        values = _values([node.left, node.right])
        return None if values is None else "".join(values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
        left = _value(node.left)
        values = _values(node.right.elts if isinstance(node.right, ast.Tuple) else [node.right])
        return None if left is None or values is None else _tried(lambda: left % tuple(values))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and not node.keywords:
        return _of_method(node, node.func)
    return None


def _of_method(node: ast.Call, function: ast.Attribute) -> str | None:
    text = _value(function.value)
    if text is None:
        return None
    if function.attr == "join" and len(node.args) == 1 and isinstance(node.args[0], (ast.List, ast.Tuple)):
        values = _values(node.args[0].elts)
        return None if values is None else text.join(values)
    if function.attr == "format":
        values = _values(node.args)
        return None if values is None else _tried(lambda: text.format(*values))
    return None


def _values(nodes: list[ast.expr]) -> list[str] | None:
    values = [_value(node) for node in nodes]
    return None if None in values else [value for value in values if value is not None]


def _tried(compute: Callable[[], str]) -> str | None:
    try:
        return compute()
    except (TypeError, ValueError, LookupError, AttributeError):
        return None


def _formatted(node: ast.JoinedStr, named: dict[int, str]) -> Changes:
    """An f-string with a secret in its fixed text, across its parts or in one, or in a literal in its expressions."""
    changes: Changes = {}
    for part in nodes_in(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, (str, bytes)) and part not in node.values:
            clean = _without_secrets(part, named.get(id(part), ""))
            if clean is not part:
                changes[id(part)] = (part, clean)
    values = _fixed_parts(node)
    if changes or values is not node.values:
        changes[id(node)] = (node, ast.JoinedStr(values))
    return changes


def _fixed_parts(node: ast.JoinedStr) -> list[ast.expr]:
    """The parts of an f-string with its fixed text redacted as one; the expressions stay where they stand."""
    fixed = [str(part.value) if isinstance(part, ast.Constant) else _HOLE for part in node.values]
    text = "".join(fixed)
    clean = redact(text)
    if clean == text:
        return node.values
    if clean.count(_HOLE) != text.count(_HOLE):
        clean = "".join(part if part == _HOLE else redact(part) for part in fixed)
    holes = [part for part in node.values if not isinstance(part, ast.Constant)]
    values: list[ast.expr] = []
    for number, piece in enumerate(clean.split(_HOLE)):
        values += holes[number - 1 : number] if number else []
        values += [ast.Constant(piece)] if piece else []
    return values


def _extent(unit: Unit, node: ast.AST) -> tuple[int, int]:
    decorators = getattr(node, "decorator_list", None)
    start, end = unit.span(node)
    return (unit.span(decorators[0])[0] if decorators else start), end


def _names_of_strings(node: ast.AST) -> dict[int, str]:
    """By string constant: the variable, keyword, parameter, attribute or dictionary key it is the value of."""
    found: dict[int, str] = {}
    for part in nodes_in(node):
        for name, value in _named_values(part):
            for constant in _strings_directly_in(value):
                if id(constant) not in found or names_secret(name):
                    found[id(constant)] = name
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
        return [(argument.arg, default) for argument, default in defaults_of(node)]
    if isinstance(node, ast.Call):
        return _named_by_argument(node)
    if isinstance(node, ast.Tuple) and len(node.elts) == 2:  # a pair, as in `dict([("api_key", "…")])`
        name, value = _text_of(node.elts[0]), _text_of(node.elts[1])
        if len(value) >= _LONG and any(c.isdigit() for c in value) and looks_secret(value):
            return [(name, node.elts[1])]
    return []


def _named_by_argument(node: ast.Call) -> list[tuple[str, ast.AST]]:
    """`os.environ.setdefault("API_KEY", "…")`, `setattr(settings, "api_key", "…")`, `config("DSN", default="…")`."""
    function = node.func
    dotted = (
        f"{last_name(function.value)}.{function.attr}" if isinstance(function, ast.Attribute) else last_name(function)
    )
    if not node.args or not _GIVES_BY_NAME.search(dotted):
        return []
    values = [*node.args[1:], *(keyword.value for keyword in node.keywords if keyword.arg == "default")]
    return [(_text_of(name), value) for name, value in zip(node.args, values, strict=False) if _text_of(name)]


def _text_of(node: ast.AST) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


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
        elif isinstance(part, ast.Lambda):
            todo.append(part.body)
        elif isinstance(part, ast.Call) and not _SPEAKS_OF_TEXT.match(last_name(part.func)):
            # `os.environ.get("API_KEY", "<default>")`, `SecretStr("…")`
            asks = len(part.args) > 1 or _ASKS.match(last_name(part.func))
            todo += part.args[1:] if asks else part.args
            todo += [word.value for word in part.keywords if word.arg in ("default", "default_factory")]
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
    comments = [token for token in tokens if token.type == tokenize.COMMENT]
    for run in reversed(_runs(comments)):
        rows = slice(run[0].start[0] - 1, run[-1].start[0])
        block = "\n".join(lines[rows])
        if len(run) > 1 and redact(block) != block:  # a key block of several lines becomes one line
            lines[rows] = redact(block).split("\n")
        elif len(run) == 1:
            row, column = run[0].start
            lines[row - 1] = lines[row - 1][:column] + redact(run[0].string)
    return "\n".join(lines)


def _runs(comments: list[tokenize.TokenInfo]) -> list[list[tokenize.TokenInfo]]:
    """Comments with a line to themselves, by blocks of neighbouring lines; each other comment by itself."""
    runs: list[list[tokenize.TokenInfo]] = []
    for token in comments:
        alone = not token.line[: token.start[1]].strip()
        last = runs[-1][-1] if runs else None
        follows = last is not None and last.start[0] == token.start[0] - 1 and last.start[1] == token.start[1]
        if alone and follows and last is not None and not last.line[: last.start[1]].strip():
            runs[-1].append(token)
        else:
            runs.append([token])
    return runs

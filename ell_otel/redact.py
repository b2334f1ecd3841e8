"""Secrets out of text: by the shape of a value, and by the name it is stored under.

`redact` takes free text; `redact_value` a string with the name it goes by; `redact_data` walks JSON-like data. A secret
becomes `[REDACTED]` whatever it was, so that rotating a key changes nothing that is derived from redacted text.

The shapes are in `secret_kinds`. Random-looking strings alone are never enough: UUIDs, digests and base64 stay.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any

from ell_otel.secret_kinds import KINDS, SHORTEST, Kind

REDACTED = "[REDACTED]"

Row = tuple[str, re.Pattern[str]]  # a hint and what it hints at
Group = tuple[str, list[Row]]  # what a text must have to be looked at for the hints


def _grouped(kinds: Iterable[Kind], first: Callable[[str], str]) -> list[Group]:
    groups: dict[str, list[Row]] = {}
    for kind in kinds:
        groups.setdefault(first(kind.hint), []).append((kind.hint, re.compile(kind.pattern)))
    return list(groups.items())


# Most texts are ruled out by two looks at them. Either they have no word as long as a secret: that is seen from the
# outline of the text, which is searched in one go, a space for each blank and an x for each byte of anything else.
_LONG_WORD = b"x" * SHORTEST
_OUTLINE = bytes(ord(" ") if code < 0x80 and chr(code).isspace() else ord("x") for code in range(256))

# Most hints have a character that prose seldom has: looking for the few of those spares looking for the many hints.
_SELDOM = "_=:/-.$~0123456789"
_IN_WORDS = _grouped(
    (kind for kind in KINDS if not kind.spaced),
    lambda hint: next((character for character in _SELDOM if character in hint), ""),
)

# Or they have none of the words that stand about a secret with blanks in it, or beside any secret as its name.
_NAME_STEMS = ("auth", "credential", "key", "passphrase", "passw", "pwd", "secret", "token")
_STEMS_WITH_LONG_WORD = ("bearer ", "ssws ")
_STEMS_WITH_DASH = ("curl ", "private-lines", "set-cookie:")
# Without a long word, a secret's name is followed at once by a sign, but in a netrc file and where there are dashes.
_SIGNS_AFTER_NAMES = ":=>"
_NAME_TO_SIGN = SHORTEST + 9  # in characters: a quotation mark and some blanks may be between
_STEMS = (*_NAME_STEMS, *_STEMS_WITH_LONG_WORD, *_STEMS_WITH_DASH)
_SPACED = _grouped(
    (kind for kind in KINDS if kind.spaced),
    lambda hint: next(stem for stem in _STEMS if stem in hint),
)

# Names of secrets, as whole words of an identifier in any style: `api_key`, `openaiApiKey`, `DB-PASSWORD`.
_SECRET_WORDS = frozenset(
    {"password", "passwd", "passphrase", "pwd", "secret", "secrets", "credential", "credentials", "apikey", "authtoken"}
)
_SECRET_PAIRS = frozenset(
    {
        ("api", "key"), ("api", "keys"), ("api", "token"), ("access", "key"), ("access", "token"), ("auth", "token"),
        ("auth", "key"), ("bearer", "token"), ("client", "secret"), ("encryption", "key"), ("master", "key"),
        ("private", "key"), ("refresh", "token"), ("secret", "key"), ("session", "token"), ("signing", "key"),
        ("service", "key"), ("account", "key"), ("subscription", "key"), ("id", "token"), ("csrf", "token"),
        ("bot", "token"), ("github", "token"), ("gitlab", "token"), ("hf", "token"), ("slack", "token"),
    }
)  # fmt: skip
_WEAK_WORDS = frozenset({"token", "tokens", "key", "auth", "authorization", "cookie", "dsn", "pin", "salt"})
# Last words of names that describe a secret rather than hold it: `password_prompt`, `secret_name`, `api_key_header`.
_DESCRIBING_WORDS = frozenset(
    {
        "prompt", "prompts", "message", "template", "label", "field", "name", "names", "id", "text",
        "question", "instructions", "instruction", "url", "path", "file", "env", "var", "variable",
        "header", "pattern", "regex", "type", "length", "count", "separator", "policy", "hint", "error",
        "description", "title", "stdin",
    }
)  # fmt: skip
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_ANY_SECRET_NAME = re.compile(
    r"(?i)pass(?:word|wd|phrase)|pwd|secret|credential|token|api_?-?key|key|auth|cookie|dsn|salt|\bpin\b"
)
# A value that is a placeholder, a reference or a word rather than a secret.
_HARMLESS = re.compile(
    r"(?i)^(?:|\s+|[<\[{(|].*[>\]})|]|\$.*|%.*|[\w-]{0,12}(?:x{3,}|\*{3,}|\.{3,}|…)|-+|ollama|lm-studio|none|null|true|false|dummy|test|example|changeme|"
    r"change[-_ ]me|your[-_ ].*|placeholder|unused|not[-_ ]needed|not[-_ ]set|unset|empty|secret|password|token|"
    r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+|env:.*|vault:.*|file:.*|op://.*)$",
    re.DOTALL,
)


# A name and a value in quotes with a colon between, the quotes perhaps escaped: JSON, also within a JSON string.
_PAIR = re.compile(
    r"(?P<quote>\\{0,3}[\"'])(?P<name>[A-Za-z_][\w.-]{1,60})(?P=quote)\s{0,3}:\s{0,3}(?P=quote)"
    r"(?P<value>(?:(?!(?P=quote))(?:\\.|[^\\\n])){4,400})(?P=quote)"
)
# A name and a value as in a settings file, a shell's line or XML. What stands before the matched end of the name is
# looked at afterwards.
_BETWEEN = ('":', "':", '" :', "' :")
_SIGNS = (":", "=", ">", "--")  # one of which a setting has
_SETTING = re.compile(
    r"[PSTCKpstck](?i:assw(?:or)?d|assphrase|wd|ecret|oken|redentials?|ey)(?P<rest>[\w-]{0,30})"
    r"(?P<between>\s{0,3}[:=]\s{0,3}[\"']?|>|(?<=[\w-])[ ](?=\S))"
    r"(?P<value>[^\s\"'`,;<>{}()\[\]&$|\\]{8,400}+)(?![(\[{.$])"
)
_NAME_BEFORE = re.compile(r"[\w-]{0,60}\Z")
_CODE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+|[A-Za-z_]+")
_SCHEME = re.compile(r"(?i:basic|bearer|token|apikey|digest)\s+\S{8,4000}")


Hook = Callable[[str], str]
_hook: Hook | None = None


def use(function: Hook | None) -> None:
    """Have every text go through `function` after our own redaction; None: through nothing more."""
    global _hook
    _hook = function


def hook() -> Hook | None:
    """What was given to `use`."""
    return _hook


def redact(text: str) -> str:
    """The text with every value that has the shape of a secret, or stands as one beside its name, replaced.

    And what the user's hook replaces; where that fails, the whole text is taken for a secret.
    """
    return hooked(_without_secrets(text))


def hooked(text: str) -> str:
    """The text, which has none of the secrets that we know, as the user's hook leaves it."""
    if _hook is None:
        return text
    try:
        return str(_hook(text))
    except Exception:
        return REDACTED


def _without_secrets(text: str) -> str:
    if len(text) < 8:
        return text
    encoded = text.encode("utf-8", "surrogatepass")
    long_words = _long_words(encoded)
    if long_words:
        text = _without_words(encoded, long_words)
    has_dash = "-" in text
    lowered = (text if long_words or has_dash or "login" in text else _before_signs(text)).lower()
    if not lowered:
        return text
    stems = [stem for stem in _NAME_STEMS if stem in lowered]
    if long_words:
        stems += [stem for stem in _STEMS_WITH_LONG_WORD if stem in lowered]
    if has_dash:
        stems += [stem for stem in _STEMS_WITH_DASH if stem in lowered]
    if stems:
        lowered = text.lower()
        text = _without([group for group in _SPACED if group[0] in stems], lowered, text)
        text = _without_named(text, stems)
    return text


def _before_signs(text: str) -> str:
    """What stands right before the signs in a text of short words, or the text itself where it has many of them."""
    pieces: list[str] = []
    for sign in _SIGNS_AFTER_NAMES:
        position = text.find(sign)
        while position >= 0:
            if len(pieces) * _NAME_TO_SIGN > len(text):
                return text
            pieces.append(text[max(0, position - _NAME_TO_SIGN) : position])
            position = text.find(sign, position + 1)
    return " ".join(pieces)


def _without_words(encoded: bytes, spans: list[tuple[int, int]]) -> str:
    """The text without the secrets that have no blanks in them, by a look at its long words alone."""
    words = b" ".join([encoded[start:end] for start, end in spans]).decode("utf-8", "surrogatepass")
    lowered = words.lower()
    clean = _without([group for group in _IN_WORDS if group[0] in lowered], lowered, words)
    if clean == words:
        return encoded.decode("utf-8", "surrogatepass")
    pieces, done = [], 0
    for (start, end), word in zip(spans, clean.split(" "), strict=True):
        pieces += [encoded[done:start], word.encode("utf-8", "surrogatepass")]
        done = end
    return b"".join([*pieces, encoded[done:]]).decode("utf-8", "surrogatepass")


def _long_words(encoded: bytes) -> list[tuple[int, int]]:
    """Where those words begin and end that are as long as a secret, or longer."""
    spans = []
    outline = encoded.translate(_OUTLINE)
    start = outline.find(_LONG_WORD)
    while start >= 0:
        end = outline.find(b" ", start)
        end = len(outline) if end < 0 else end
        spans.append((start, end))
        start = outline.find(_LONG_WORD, end)
    return spans


def _without(groups: list[Group], lowered: str, text: str) -> str:
    """The text without the kinds of these groups whose hints are in `lowered`."""
    for _, rows in groups:
        for hint, pattern in rows:
            if hint in lowered:
                text = pattern.sub(_replacement, text)
    return text


def _without_named(text: str, stems: list[str]) -> str:
    """The text without what a name beside it says is a secret; `stems` are in it."""
    names = [stem for stem in _NAME_STEMS if stem in stems]
    if names and any(between in text for between in _BETWEEN):
        text = _PAIR.sub(_pair_replacement, text)
    if not names or not any(sign in text for sign in _SIGNS):
        return text
    lowered = text.lower()
    if len(lowered) != len(text):  # a letter that is two in lower case: positions differ
        return _SETTING.sub(_setting_replacement, text)
    pieces, done = [], 0
    for start in sorted(position for name in names for position in _positions(name, lowered)):
        if start >= done and (match := _SETTING.match(text, start)):
            pieces += [text[done:start], _setting_replacement(match)]
            done = match.end()
    return "".join([*pieces, text[done:]])


def _positions(part: str, text: str) -> Iterator[int]:
    position = text.find(part)
    while position >= 0:
        yield position
        position = text.find(part, position + 1)


def _pair_replacement(match: re.Match[str]) -> str:
    """A quoted name and its quoted value, as in JSON or a dict's repr, judged as `redact_value` would."""
    name, value = match["name"], match["value"]
    if names_secret(name) and looks_secret(value, _is_weak(name)):
        return match[0][: match.start("value") - match.start()] + REDACTED + match["quote"]
    return match[0]


def _setting_replacement(match: re.Match[str]) -> str:
    """`DB_PASSWORD=…`, `password: …`, `--api-key …`, `<password>…`: what reads as a sentence or as code stays."""
    before = _NAME_BEFORE.search(match.string, max(0, match.start() - 60), match.start())
    head, value, between = before[0] if before else "", match["value"], match["between"]
    if match.string[match.start() - len(head) - 1 : match.start() - len(head)] == "\\":
        head = head[1:]  # an escaped line end
    name = head + match.string[match.start() : match.end("rest")]
    if between == " " and not name.startswith("--"):
        return match[0]
    if _CODE.fullmatch(value) and not (between == "=" and name.isupper()):
        return match[0]
    clear = between == "=" or any(character.isdigit() for character in value)
    if _is_weak(name) and not name.lower().endswith("token"):
        return match[0]
    if not clear or not names_secret(name) or not looks_secret(value, _is_weak(name)) or REDACTED.strip("[]") in value:
        return match[0]
    return match[0][: match.start("value") - match.start()] + REDACTED


def redact_value(name: str, value: str) -> str:
    """The value of something called `name`: replaced as a whole when the name means a secret and the value is one.

    A name alone is not enough: `TOKEN = "<eos>"`, `password = ""` and prose stay. Otherwise as `redact`.
    """
    clean = redact(value)
    weak = _is_weak(name)
    credential = _SCHEME.fullmatch(value) is not None or (not (weak and clean != value) and looks_secret(value, weak))
    return REDACTED if name and credential and names_secret(name) else clean


def redact_data(data: Any, name: str = "") -> Any:
    """JSON-like data with its strings redacted, each by the key it stands under; a new object, same shape.

    Nesting beyond 100 levels is replaced by `[REDACTED]`: it cannot be looked through.
    """
    return _walk(data, name, 0)


def names_secret(name: str) -> bool:
    """Whether an identifier, header or key means a secret: by whole words, so `max_tokens` and `monkey` do not."""
    words = _words(name)
    if words and words[-1] in _DESCRIBING_WORDS:
        return False
    if any(_is_secret_word(word) for word in words):
        return True
    if any(pair in _SECRET_PAIRS for pair in pairwise(words)):
        return True
    return _is_weak(name)


def mentions_secret_name(text: str) -> bool:
    """A quick first look: whether any secret's name may occur in the text."""
    return _ANY_SECRET_NAME.search(text) is not None


def looks_secret(value: str, weak: bool = False) -> bool:
    """Whether a string stored under a secret's name is one: no placeholder, no prose, not too short.

    `weak` names (`token`, `key`) need a value that is random besides: long, of one word, with letters and digits.
    """
    stripped = value.strip()
    if len(stripped) < 4 or _HARMLESS.match(stripped):
        return False
    if any(character.isspace() for character in stripped):
        return not weak and "-----BEGIN" in stripped
    if weak:
        letters = any(c.isalpha() for c in stripped)
        return len(stripped) >= 16 and letters and any(c.isdigit() for c in stripped) and not _is_identity(stripped)
    return True


def _walk(data: Any, name: str, depth: int) -> Any:
    if isinstance(data, str):
        return redact_value(name, data)
    if depth > 100:
        return REDACTED
    if isinstance(data, Mapping):
        return {
            (redact(key) if isinstance(key, str) else key): _walk(value, key if isinstance(key, str) else "", depth + 1)
            for key, value in data.items()
        }
    if isinstance(data, (list, tuple)):
        return [_walk(item, name, depth + 1) for item in data]
    return data


def _words(name: str) -> tuple[str, ...]:
    return tuple(word.lower() for word in _WORDS.findall(name))


def _is_secret_word(word: str) -> bool:
    return word in _SECRET_WORDS or word.endswith(("password", "passwd"))


def _is_weak(name: str) -> bool:
    """A name that ends in a word that may mean a secret and may not: `TOKEN`, `eos_token`, `key`."""
    words = _words(name)
    if not words or any(_is_secret_word(word) for word in words):
        return False
    if any(pair in _SECRET_PAIRS for pair in pairwise(words)):
        return False
    return words[-1] in _WEAK_WORDS


_IDENTITY = re.compile(r"^(?:[0-9a-fA-F]{32,128}|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})$")


def _is_identity(value: str) -> bool:
    """A UUID or a hex digest: names something, opens nothing."""
    return _IDENTITY.match(value) is not None


def _replacement(match: re.Match[str]) -> str:
    whole, group = match[0], match.lastgroup
    if group is None:
        return REDACTED
    secret = match[group]
    if secret.startswith(REDACTED) or _HARMLESS.match(secret.rstrip(",;")):
        return whole
    start, end = match.span(group)
    begin = match.start()
    return whole[: start - begin] + REDACTED + whole[end - begin :]

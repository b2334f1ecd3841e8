"""Secrets in a program's text, values and files: in no part of the closure, and a new key is no new version."""

from __future__ import annotations

import contextlib

import pytest
from canaries import CANARIES, letters
from closure_projects import Project, alone

from ell_otel.closure import verify
from ell_otel.redact import REDACTED

PLACES = {
    "constant": "X = '{s}'\ndef ask(): return X\n",
    "bytes": "X = b'{s}'\ndef ask(): return X\n",
    "default": "def ask(x='{s}', *, y='{s}'): return x, y\n",
    "nested data": "X = {{'k': [1, ('{s}', 2)], '{s}': 1}}\ndef ask(): return X\n",
    "keyword": "def f(x): return x\ndef ask(): return f(x='{s}')\n",
    "adjacent": "X = ('{a}'\n     '{b}')\ndef ask(): return X\n",
    "sum": "X = '{a}' + '{b}'\ndef ask(): return X\n",
    "part of a sum": "Y = 'y '\nX = Y + '{a}' + '{b}'\ndef ask(): return X\n",
    "percent": "X = 'use %s%s now' % ('{a}', '{b}')\ndef ask(): return X\n",
    "join": "X = ''.join(['{a}', '{b}'])\ndef ask(): return X\n",
    "format": "X = '{{}}{{}}'.format('{a}', '{b}')\ndef ask(): return X\n",
    "f-string": "Y = 1\nX = f'use {s} {{Y}}'\ndef ask(): return X\n",
    "f-string in pieces": "Y = 1\nX = f'{{Y}} use {a}' '{b}'\ndef ask(): return X\n",
    "expression of an f-string": "Y = 1\nX = f\"{{ '{s}' if Y else 2 }}\"\ndef ask(): return X\n",
    "docstring": "def ask():\n    '''Use\n    {s}\n    please.'''\n    return 1\n",
    "comments": "# {s}\nX = 1  # {s}\ndef ask():\n    # {s}\n    return X\n",
    "decorator": "def d(*a): return lambda f: f\n@d('{s}')\ndef ask(): return 1\n",
    "class": "class C:\n    x = '{s}'\ndef ask(): return C.x\n",
    "annotation": "def ask(x: '{s}' = 1): return x\n",
    "pattern": "def ask(x=1):\n    match x:\n        case '{s}': return 1\n    return 2\n",
    "environment": "import os\nX = os.environ.get('NOT_SET_HERE', '{s}')\ndef ask(): return X\n",
    "cell": "def make(v):\n    def ask(): return v\n    return ask\nask = make({{'a': ['{s}']}})\n",
    "run time": "globals()['X'] = ('{s}', b'{s}')\ndef ask(): return X\n",
    "file": "X = open('p.txt').read()\ndef ask(): return X\n",
    "escapes": "X = '{x}'\ndef ask(): return X\n",
    "renamed": "import other\nX = [1]\ndef ask(): return X, other.f()\n",
}
OTHER = "X = [2]\ndef f(password='{n}'): return X, f'{{X}} {s}', '{s}'\n"


def captured(project: Project, place: str, secret: str) -> tuple[str, str]:
    """Version and text of the program with the secret at that place."""
    middle = len(secret) // 2
    parts = {
        "s": secret, "a": secret[:middle], "b": secret[middle:], "n": secret[-9:],
        "x": "".join(f"\\x{ord(character):02x}" for character in secret),
    }  # fmt: skip
    project.write_file("p.txt", f"Use {secret}.\n")
    project.write(main=PLACES[place].format(**parts), other=OTHER.format(**parts))
    with contextlib.chdir(project.directory):
        closure = project.capture()
    alone(closure)
    assert verify(closure.text, closure.version)
    assert secret not in repr(closure)
    assert secret[-8:] not in repr(closure)
    assert REDACTED in closure.text
    return closure.version, closure.text


@pytest.mark.parametrize("place", PLACES)
def test_a_rotated_key_is_neither_in_the_closure_nor_a_new_version(project: Project, place: str) -> None:
    before, text = captured(project, place, "sk-proj-" + letters(60))
    assert captured(project, place, "sk-proj-" + letters(70)) == (before, text)


@pytest.mark.parametrize("kind", CANARIES)
def test_every_kind_is_found_wherever_it_stands(project: Project, kind: str) -> None:
    secret = CANARIES[kind]
    middle = len(secret) // 2
    project.write(
        main=f"Y = 1\nA = '{secret}'  # {secret}\nB = '{secret[:middle]}' + '{secret[middle:]}'\nC = f'use {secret} {{Y}}'\n"
        f"def ask(x=b'{secret}', y={{'k': ['{secret}']}}):\n    '''Use {secret}.'''\n    return A, B, C, x, y\n"
    )
    closure = project.capture()
    assert secret[-8:] not in repr(closure)
    assert closure.text.count(REDACTED) == 7
    assert len(alone(closure).ask()) == 5


def test_a_key_block_of_several_lines_is_gone_from_text_and_comments(project: Project) -> None:
    lines = ["-----BEGIN RSA PRIVATE KEY-----", letters(64), letters(30), "-----END RSA PRIVATE KEY-----"]
    block = "\n".join(lines)
    comment = "\n".join(f"# {line}" for line in lines)
    escaped = "\\n".join(lines)
    project.write(main=f'{comment}\nA = """{block}"""\nB = "{escaped}"\nC = r"{escaped}"\ndef ask(): return A, B, C\n')
    closure = project.capture()
    assert lines[1] not in closure.text
    assert lines[2] not in closure.text
    assert closure.text.count(REDACTED) == 4


@pytest.mark.parametrize(
    "line",
    [
        "X = os.getenv('{n}', '{s}')",
        "X = os.environ.get('{n}', '{s}')",
        "X = os.environ; X['{n}'] = '{s}'",
        "X = os.environ; X.setdefault('{n}', '{s}')",
        "X = type('S', (), {{}}); setattr(X, '{n}', '{s}')",
        "def config(name, default): return default\nX = config('{n}', default='{s}')",
        "def Field(default_factory): return default_factory()\nclass X:\n    {n}: str = Field(default_factory=lambda: '{s}')",
        "def Field(default): return default\nclass X:\n    {n}: str = Field(default=str('{s}'))",
        "X = dict([('{n}', '{s}')])",
        "os.environ['{n}'] = '{s}'\nX = os.getenv('{n}')",
    ],
)
def test_a_value_given_by_the_name_of_a_secret_is_gone(project: Project, line: str) -> None:
    secret = letters(24)
    project.write(main="import os\n" + line.format(n="COHERE_API_KEY", s=secret) + "\ndef ask(): return X\n")
    closure = project.capture()
    assert secret not in closure.text
    assert REDACTED in closure.text


@pytest.mark.parametrize(
    "line",
    [
        "X = os.getenv('API_KEY', 'sk-...')",
        "X = 'the password'.replace('password', 'passphrase2024')",
        "X = [('password', 'Passwort')]",
        "X = dict(api_key='ollama')",
        "X = os.getenv('TOKEN', '<eos>')",
    ],
)
def test_a_placeholder_or_a_word_beside_the_name_of_a_secret_stays(project: Project, line: str) -> None:
    project.write(main=f"import os\n{line}\ndef ask(): return X\n")
    assert line in project.capture().text

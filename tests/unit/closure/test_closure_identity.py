"""Which edits of a project make a new version, and which do not: each rule of the design by a pair of projects."""

from __future__ import annotations

import contextlib

import pytest
from closure_projects import Project, alone

from ell_otel.closure import capture, verify

BASE = {
    "main.py": "import shop.prompts\nfrom shop.tools import search, Box\nMODEL = 'm'\n\n"
    "def deco(model, tools=()):\n    def wrap(fn): return fn\n    return wrap\n\n"
    "@deco(model=MODEL, tools=[search])\ndef ask(q, n=3):\n    '''You are terse.'''\n"
    "    answer = shop.prompts.SYSTEM + search(q) + str(Box().size) * n\n    return answer\n\nUNUSED = 1\n",
    "shop/__init__.py": "VERSION = 1\n",
    "shop/prompts.py": "SYSTEM = 'sys'\nOTHER = 'other'\ndef unused(): return OTHER\n",
    "shop/tools.py": "import json\nfrom shop.deep import leaf\nSTATE = {}\n\ndef search(q):\n    # look\n"
    "    return leaf(q)\n\nclass Box:\n    size = 1\n    def unused_method(self): return json.dumps(1)\n",
    "shop/deep.py": "def leaf(q): return q.upper()\ndef other(): return 2\n",
}


def version_of(project: Project, edits: dict[str, tuple[str, str]]) -> str:
    for name, text in BASE.items():
        old, new = edits.get(name, ("", ""))
        assert old in text
        project.write_file(name, text.replace(old, new) if old else text)
    closure = project.capture()
    assert (closure.partial, closure.warnings) == (False, ())
    assert verify(closure.text, closure.version)
    assert alone(closure).ask("q") == project.load("main").ask("q")
    return closure.version


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("main.py", "UNUSED = 1", "UNUSED = 2\ndef more(): pass\nclass More: pass\nimport os"),
        ("main.py", "MODEL = 'm'", '# the model\n\nMODEL = "m"  # fast'),
        ("main.py", "    answer = ", "    # soon\n\n    answer = \\\n        "),
        ("main.py", "def ask(q, n=3):", "def ask(\n    q,\n    n=3,\n):"),
        (
            "main.py",
            "import shop.prompts\nfrom shop.tools import search, Box",
            "from shop.tools import Box, search\nimport shop.prompts\nimport json",
        ),
        ("shop/prompts.py", "OTHER = 'other'", "OTHER = 'changed'"),
        ("shop/prompts.py", "SYSTEM = 'sys'\nOTHER = 'other'\n", "OTHER = 'other'\n\n\nSYSTEM = ('sys')\n"),
        ("shop/tools.py", "# look", "# look again"),
        ("shop/tools.py", "STATE = {}", "STATE = {'a': 1}"),
        ("shop/deep.py", "return 2", "return 3"),
        ("shop/deep.py", "def leaf(q): return q.upper()", "def leaf(q):\n\treturn (q.upper())"),
        ("shop/__init__.py", "VERSION = 1", "VERSION = 2"),
    ],
)
def test_an_edit_that_does_not_count(project: Project, file: str, old: str, new: str) -> None:
    before = version_of(project, {})
    assert version_of(project, {file: (old, new)}) == before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("main.py", "You are terse.", "You are terse. "),
        ("main.py", "MODEL = 'm'", "MODEL = 'n'"),
        ("main.py", "tools=[search])", "tools=[])"),
        ("main.py", "n=3", "n=4"),
        ("main.py", "answer", "reply"),
        ("main.py", "def wrap(fn): return fn", "def wrap(fn): return (lambda *a: fn(*a))"),
        ("shop/prompts.py", "'sys'", "'system'"),
        ("shop/tools.py", "return leaf(q)", "return leaf(q) + ''"),
        ("shop/tools.py", "size = 1", "size = 2"),
        ("shop/tools.py", "unused_method", "renamed_method"),
        ("shop/deep.py", "q.upper()", "q.lower()"),
    ],
)
def test_an_edit_that_counts(project: Project, file: str, old: str, new: str) -> None:
    before = version_of(project, {})
    assert version_of(project, {file: (old, new)}) != before
    assert version_of(project, {}) == before, "going back gives the old version back"


def test_running_a_program_never_changes_its_version(project: Project) -> None:
    project.write(
        main="import functools, os\nCOUNT = 0\nSEEN = []\nCACHE = {}\n_client = None\nclass Conf:\n    n = 0\nCONF = Conf()\n"
        "@functools.lru_cache\ndef slow(x): return x\n"
        "def ask(x):\n    global COUNT, _client\n    COUNT += 1\n    SEEN.append(x)\n    CACHE[x] = COUNT\n    CONF.n += 1\n"
        "    Conf.n = COUNT\n    _client = _client or object()\n    return slow(x), os.environ.get('HOME')\n"
    )
    module = project.load("main")
    before = capture(module.ask)
    for number in range(3):
        module.ask(number)
    assert capture(module.ask).version == before.version
    assert before.is_current()


def test_a_rotated_key_is_not_a_new_version_and_is_in_no_part_of_the_closure(project: Project) -> None:
    text = "KEY = '{key}'  # {key}\nURL = f'https://u:{key}@h/{{KEY}}'\ndef ask(api_key='{key}'): return KEY, URL\n"
    versions = set()
    for key in ("sk-proj-AAAAAAAAAAAAAAAAAAAA1111", "sk-proj-BBBBBBBBBBBBBBBBBBBBBBBBB22222"):
        project.write(main=text.replace("{key}", key).replace("{{", "{").replace("}}", "}"))
        closure = project.capture()
        assert key not in repr(closure)
        versions.add(closure.version)
    assert len(versions) == 1


def test_secrets_in_cells_files_and_run_time_values_go_by_their_names_too(project: Project) -> None:
    project.write_file("conf.json", '{"api_key": "abc-def-ghi", "model": "m"}')
    project.write(
        main="import json\nCONF = json.load(open('conf.json'))\nglobals()['db_password'] = 'swordfish-1'\n"
        "def make(token, opts):\n    def ask(): return token, opts, CONF, db_password\n    return ask\n"
        "ask = make('a1b2c3d4e5f6g7h8i9', {'client_secret': b'xyzzy-42', 'n': ('keep', 1)})\n"
    )
    with contextlib.chdir(project.directory):
        closure = project.capture()
    for secret in ("abc-def", "swordfish", "a1b2c3d4", "xyzzy"):
        assert secret not in repr(closure)
    assert "('keep', 1)" in closure.text
    assert alone(closure).CONF["model"] == "m"


@pytest.mark.parametrize(
    "harmless", ["TOKEN = 3", "MAX_TOKENS = 100", "TOKEN = '<eos>'", "KEY = 'name'", "SECRET = ''"]
)
def test_a_harmless_value_under_a_secrets_name_counts(project: Project, harmless: str) -> None:
    name = harmless.split(" ", maxsplit=1)[0]
    project.write(main=f"{harmless}\ndef ask(): return {name}\n")
    assert harmless in project.capture().text


def test_the_content_of_a_prompt_file_belongs_to_the_version(project: Project) -> None:
    project.write(
        main="from pathlib import Path\nP = (Path(__file__).parent / 'p.txt').read_text()\ndef ask(): return P\n"
    )
    versions = []
    for content in ("one\n", "two\n", "one\n"):
        project.write_file("p.txt", content)
        closure = project.capture()
        assert alone(closure).ask() == content
        versions.append(closure.version)
    assert versions[0] == versions[2] != versions[1]


def test_values_of_cells_count_and_objects_in_them_count_as_their_class(project: Project) -> None:
    project.write(
        main="class Client:\n    def __init__(self, n): self.n = n\n"
        "def make(word, client):\n    def ask(): return word, client.n\n    return ask\n"
        "one, two, three = make('a', Client(1)), make('a', Client(2)), make('b', Client(1))\n"
    )
    module = project.load("main")
    one, two, three = map(capture, (module.one, module.two, module.three))
    assert one.version == two.version != three.version
    assert one.partial
    assert "Client" in one.warnings[0]
    assert "class Client" in one.text
    assert alone(one).word == "a"


@pytest.mark.parametrize("value", ["b'x' * 5000", "'x' * 2000000", "list(range(400000))"])
def test_a_large_value_counts_by_its_digest(project: Project, value: str) -> None:
    texts = []
    for ending in ("", "[1:]"):
        project.write(main=f"def make(v):\n    def ask(): return v\n    return ask\nask = make(({value}){ending})\n")
        closure = project.capture()
        texts.append(closure.text)
        assert len(closure.text) < 1000
        assert "sha256:" in closure.text
    assert texts[0] != texts[1]


def test_a_callees_version_is_part_of_the_callers(project: Project) -> None:
    text = (
        "def program(fn):\n    def run(*a): return fn(*a)\n    run.__wrapped__ = fn\n    run.__ell_program__ = True\n    return run\n"
        "def tool(fn):\n    def run(*a): return fn(*a)\n    run.__wrapped__ = fn\n    return run\n"
        "@tool\ndef look(): return 1\n@program\ndef leaf(): return 1\n@program\ndef middle(): return leaf()\n"
        "class Agent:\n    @program\n    def ask(self): return middle(), look()\n"
        "def helper(): return middle()\n@program\ndef ask(): return helper(), look(), Agent\n"
    )
    project.write(main=text)
    first = project.capture()
    assert [use.name for use in first.uses] == ["main.middle"]
    assert first.uses[0].version == project.capture(name="middle").version
    project.write(main=text.replace("def leaf(): return 1", "def leaf(): return 2"))
    second = project.capture()
    assert second.version != first.version
    assert second.uses != first.uses


def test_programs_reached_through_module_attributes_are_used(project: Project) -> None:
    project.write(
        progs="def leaf(): return 1\nleaf.__ell_program__ = True\n",
        main="import progs\nROUTES = {'a': progs.leaf}\ndef ask(): return progs.leaf(), ROUTES\n",
    )
    assert [use.name for use in project.capture().uses] == ["progs.leaf"]


class TestIsCurrent:
    """The cheap check on each call."""

    def load(self, project: Project) -> object:
        project.write(
            helpers="def fmt(x): return x\ndef used_by_attribute(x): return x\nclass Box: pass\n",
            main="import functools, helpers\nfrom helpers import fmt, Box\nN = 0\n"
            "@functools.lru_cache\ndef cached(x): return x\n"
            "def ask(x): return fmt(x), Box, helpers.used_by_attribute(x), cached(x), N\n",
        )
        return project.load("main")

    def test_nothing_happened(self, project: Project) -> None:
        module = self.load(project)
        closure = capture(module.ask)  # type: ignore[attr-defined]
        module.N = 5  # type: ignore[attr-defined]
        module.other = lambda: None  # type: ignore[attr-defined]
        assert closure.is_current()
        assert not closure.partial

    @pytest.mark.parametrize("where", ["fmt", "Box", "cached", "helpers.used_by_attribute", "ask"])
    def test_a_name_bound_anew_or_gone_is_noticed(self, project: Project, where: str) -> None:
        for action in (lambda m, n: setattr(m, n, lambda x: x), delattr):
            module = self.load(project)
            closure = capture(module.ask)  # type: ignore[attr-defined]
            holder, _, name = where.rpartition(".")
            action(getattr(module, holder) if holder else module, name)
            assert not closure.is_current()

    def test_the_same_function_wrapped_again_is_still_the_same(self, project: Project) -> None:
        import functools

        module = self.load(project)
        closure = capture(module.ask)  # type: ignore[attr-defined]
        plain = module.cached.__wrapped__  # type: ignore[attr-defined]
        module.cached = functools.lru_cache(plain)  # type: ignore[attr-defined]
        assert closure.is_current()

    def test_it_keeps_no_value_of_the_users_alive(self, project: Project) -> None:
        import gc
        import weakref

        project.write(
            main="class Heavy: pass\nBIG = Heavy()\ndef helper(): return BIG\ndef ask(): return helper(), Heavy\n"
        )
        module = project.load("main")
        closure = capture(module.ask)
        reference = weakref.ref(module.BIG)
        project.forget()
        del module
        gc.collect()
        assert reference() is None
        assert not closure.is_current()


def test_two_functions_that_fill_the_same_table_keep_their_order(project: Project) -> None:
    functions = "P = {}\ndef a(t): t['k'] = 1\ndef b(t): t['k'] = 2\ndef ask(): return P\n"
    project.write(main=functions + "a(P)\nb(P)\n")
    version = project.capture().version
    project.write(main=functions + "b(P)\na(P)\n")
    assert project.capture().version != version

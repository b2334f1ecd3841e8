"""Where programs come from: files, archives, scripts, notebooks, `exec`, code without source, installed packages."""

from __future__ import annotations

import json
import linecache
import os
import py_compile
import site
import sys
import types
import zipfile
from pathlib import Path

import pytest
from closure_projects import Project, alone

from ell_otel.closure import capture, verify
from ell_otel.closure.installed import is_installed
from ell_otel.closure.source import without_magics

SCRIPT = """
import json
from ell_otel.closure import capture
LIMIT = 3
def helper(x): return x * LIMIT
def ask(x): return helper(x)
c = capture(ask)
print(json.dumps([c.name, c.text, c.partial, list(c.warnings), c.version]))
"""


def test_a_script_is_named_after_its_file(project: Project) -> None:
    project.write_file("my_script.py", SCRIPT)
    name, text, partial, _, _ = json.loads(project.run("my_script.py"))
    assert (name, partial) == ("my_script.ask", False)
    assert alone(text).ask(2) == 6


def test_a_module_run_with_dash_m_has_its_own_name(project: Project) -> None:
    project.write_file("pkg/__init__.py", "")
    project.write_file("pkg/tool.py", SCRIPT)
    assert json.loads(project.run("-m", "pkg.tool"))[0] == "pkg.tool.ask"


def test_a_command_line_program_is_captured_whole(project: Project) -> None:
    name, text, partial, warnings, _ = json.loads(project.run("-c", SCRIPT))
    assert (name, partial, warnings) == ("__main__.ask", False, [])
    assert alone(text).ask(2) == 6


def test_a_program_from_standard_input_without_source_is_partial_and_has_a_version(project: Project) -> None:
    name, text, partial, warnings, version = json.loads(project.run("-", stdin=SCRIPT))
    assert name == "__main__.ask"
    assert version.startswith("c1:")
    assert not partial or ("source" in " ".join(warnings) and compile(text, "x", "exec"))


def test_the_version_does_not_depend_on_directory_process_or_hash_seed(project: Project, tmp_path: Path) -> None:
    other = Project(tmp_path / "quite" / "another" / "place")
    code = (
        "from main import ask\nfrom ell_otel.closure import capture\nprint(capture(ask).version, capture(ask).text)\n"
    )
    outputs = set()
    for place, seed in ((project, "0"), (other, "1"), (project, "77")):
        place.write(
            main="import prompts\nS = {'b', 'a', 'c'}\ndef ask(): return sorted(S) + [prompts.SYSTEM]\n",
            prompts="SYSTEM = 's'\n",
        )
        outputs.add(place.run("-c", f"import os\nos.environ['PYTHONHASHSEED'] = '{seed}'\n{code}"))
    assert len(outputs) == 1


def test_a_module_inside_a_zip_archive_is_inlined(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = project.directory / "lib.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("zipped/__init__.py", "WORD = 'zip'\n")
        file.writestr("zipped/mod.py", "from . import WORD\ndef f(): return WORD\n")
    monkeypatch.syspath_prepend(str(archive))
    project.write(main="from zipped.mod import f\ndef ask(): return f()\n")
    closure = project.capture()
    assert not closure.partial
    assert alone(closure).ask() == "zip"


def test_a_module_without_source_becomes_a_stand_in_that_names_what_is_known(project: Project) -> None:
    source = project.write_file(
        "hidden.py", "K = 'v'\ndef helper(x): return x + K\nclass Gone:\n    def m(self): pass\n"
    )
    py_compile.compile(str(source), cfile=str(source) + "c")
    source.unlink()
    project.write(main="from hidden import helper, K, Gone\ndef ask(x): return helper(x) + K + str(Gone)\n")
    closure = project.capture()
    assert closure.partial
    assert any("hidden.helper" in warning for warning in closure.warnings)
    assert verify(closure.text, closure.version)
    assert alone(closure).K == "v"
    source.write_text("K = 'v'\ndef helper(x): return x * K\nclass Gone:\n    def m(self): return 1\n")
    py_compile.compile(str(source), cfile=str(source) + "c")
    source.unlink()
    assert project.capture().version != closure.version, "what is known of the code counts"


def test_code_made_by_exec_is_found_through_linecache() -> None:
    text = "K = 2\ndef g(x): return x * K\ndef f(x): return g(x)\n"
    linecache.cache["<generated 1>"] = (len(text), None, text.splitlines(True), "<generated 1>")
    namespace: dict[str, object] = {}
    exec(compile(text, "<generated 1>", "exec"), namespace)
    closure = capture(namespace["f"])
    assert not closure.partial
    assert alone(closure).f(2) == 4


def test_code_made_by_exec_without_a_text_is_partial_and_never_raises() -> None:
    namespace: dict[str, object] = {"__name__": "nowhere_at_all"}
    exec("K = 2\ndef f(x): return x * K\n", namespace)
    closure = capture(namespace["f"])
    assert closure.partial
    assert closure.version.startswith("c1:")
    assert closure.warnings


def notebook(*cells: str) -> types.ModuleType:
    """A namespace as IPython leaves it after these cells."""
    module = types.ModuleType("__main__")
    vars(module)["_ih"] = [""]
    for number, cell in enumerate(cells, 1):
        module._ih.append(cell)
        name = f"<ipython-input-{number}>"
        text = without_magics(cell)
        linecache.cache[name] = (len(text), None, [line + "\n" for line in text.split("\n")], name)
        exec(compile(text, name, "exec"), vars(module))
    return module


def test_of_notebook_cells_the_one_run_last_counts() -> None:
    cells = [
        "K = 1\ndef helper(x): return x + K",
        "def ask(x): return helper(x)",
        "K = 5",
        "def helper(x): return x * K",
    ]
    book = notebook(*cells)
    closure = capture(book.ask)
    assert alone(closure).ask(3) == 15
    assert "x + K" not in closure.text
    first = capture(notebook(*cells[:2]).ask)
    again = capture(notebook(*cells, cells[0]).ask)
    assert again.version == first.version != closure.version


def test_magics_of_a_notebook_are_no_part_of_the_program() -> None:
    book = notebook("%matplotlib inline\n!ls\nK = 1", "def ask(): return K", "%%html\nboom(")
    assert alone(capture(book.ask)).ask() == 1


def test_a_doctest_example_is_captured(project: Project) -> None:
    project.write(
        mod='''"""
>>> K = 2
>>> def ask(x): return x * K
>>> from ell_otel.closure import capture
>>> c = capture(ask)
>>> c.partial, "x * K" in c.text, "K = 2" in c.text
(False, True, True)
"""
'''
    )
    assert "1 passed" in project.run(
        "-c", "import doctest, mod\nr = doctest.testmod(mod)\nprint('1 passed' if not r.failed else r)"
    )


def test_an_unloaded_module_gives_the_same_version_as_a_loaded_one(project: Project) -> None:
    project.write(
        helpers="K = 1\ndef fmt(x): return x + K\n",
        main="def ask(x):\n    from helpers import fmt\n    return fmt(x)\n",
    )
    module = project.load("main")
    before = capture(module.ask)
    assert "helpers" not in sys.modules
    assert "K = 1" in before.text
    assert module.ask(1) == 2
    assert capture(module.ask).version == before.version


def test_an_edited_file_is_read_again(project: Project) -> None:
    project.write(main="def ask(): return 1\n")
    first = project.capture()
    project.write(main="def ask(): return 22\n")
    assert "22" in project.capture().text
    assert project.capture().version != first.version


def test_crlf_tabs_and_a_byte_order_mark_do_not_count(project: Project) -> None:
    project.write(main="K = 1\ndef ask():\n    return K\n")
    first = project.capture()
    project.write_file("main.py", "\ufeffK = 1\r\ndef ask():\r\n\treturn K\r\n")
    assert project.capture().version == first.version


def test_what_is_installed_is_decided_by_directories_not_by_words_in_names() -> None:
    purelib = site.getsitepackages()[0]
    assert is_installed("numpy", None, f"{purelib}/numpy/__init__.py", [])
    assert is_installed("json", vars(json), json.__file__, [])
    assert is_installed("sys", vars(sys), None, [])
    assert is_installed("os", vars(os), os.__file__, [])
    assert not is_installed("mine", None, "/srv/site-packages-demo/mine.py", [])
    assert not is_installed("mine", None, "/srv/demo-dist-packages/mine/__init__.py", [])
    assert not is_installed("mine", None, None, ["/srv/namespace/mine"])
    assert is_installed("ell_otel", None, "/srv/checkout/ell_otel/__init__.py", [])
    assert is_installed("ell_otel.closure", None, "/srv/checkout/ell_otel/closure/__init__.py", [])
    assert not is_installed("ell_otel_plugin", None, "/srv/checkout/ell_otel_plugin/__init__.py", [])


def test_packages_of_a_virtual_environment_inside_the_project_are_imported(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    lib = project.directory / ".venv" / "lib" / "site-packages"
    lib.mkdir(parents=True)
    (lib / "vendored.py").write_text("def v(): return 1\n")
    monkeypatch.syspath_prepend(str(lib))
    project.write(main="import vendored\ndef ask(): return vendored.v()\n")
    closure = project.capture()
    assert "import vendored" in closure.text
    assert "def v" not in closure.text
    assert closure.imported == ("vendored",)
    assert closure.packages == {"vendored": ""}


def test_what_pip_has_put_into_a_folder_of_the_users_is_imported_and_what_lies_beside_it_is_not(
    project: Project,
) -> None:
    (project.directory / "vendored").mkdir()
    (project.directory / "vendored" / "__init__.py").write_text("from . import inner\ndef v(): return inner.K\n")
    (project.directory / "vendored" / "inner.py").write_text("K = 1\n")
    (project.directory / "single.py").write_text("def s(): return 2\n")
    info = project.directory / "vendored-1.0.dist-info"
    info.mkdir()
    (info / "RECORD").write_text(
        "../../bin/vendored,sha256=x,1\nsingle.py,sha256=x,1\nvendored-1.0.dist-info/RECORD,,\n"
        "vendored/__init__.py,sha256=x,1\nvendored/inner.py,sha256=x,1\n"
    )
    project.write(
        beside="def b(): return 3\n",
        main="import vendored, single, beside\ndef ask(): return vendored.v() + single.s() + beside.b()\n",
    )
    closure = project.capture()
    assert closure.imported == ("single", "vendored")
    assert "def b" in closure.text
    assert alone(closure).ask() == 6


def test_an_editable_install_is_the_users_code(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = tmp_path / "src" / "edited"
    source.mkdir(parents=True)
    (source / "__init__.py").write_text("def v(): return 1\n")
    monkeypatch.syspath_prepend(str(source.parent))
    project.write(main="import edited\ndef ask(): return edited.v()\n")
    closure = project.capture()
    assert "def v" in closure.text
    assert alone(closure).ask() == 1
    del sys.modules["edited"]


def test_an_unused_import_of_another_part_of_a_package_does_not_count(project: Project) -> None:
    project.write(pkg____init__="", pkg__used="A = 1\n", pkg__unused="B = 1\n")
    project.write(main="import pkg.used\ndef ask(): return pkg.used.A\n")
    version = project.capture().version
    project.write(main="import pkg.used\nimport pkg.unused\ndef ask(): return pkg.used.A\n")
    assert project.capture().version == version


def test_other_names_of_a_decorators_module_stay_out(project: Project) -> None:
    project.write(
        tools="OTHER = 1\ndef deco(fn): return fn\n",
        main="import tools\n@tools.deco\ndef ask(): return 1\n",
    )
    assert "OTHER" not in project.capture().text

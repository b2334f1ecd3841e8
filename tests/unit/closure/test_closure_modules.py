"""Every form in which a program reaches into other modules: its text runs alone, and the right edits count."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from closure_forms import Form, forms
from closure_projects import ROOT, Project, alone

from ell_otel.closure import capture, verify

pytestmark = pytest.mark.tables

FORMS = forms()


def interpreters() -> list[str]:
    """This interpreter and the other CPythons of this machine that we support."""
    named = [shutil.which(f"python3.{minor}") for minor in range(11, 20)]
    built = sorted(Path.home().glob(".pyenv/versions/3.1[1-9].*/bin/python"))
    others = {os.path.realpath(path) for path in [*named, *map(str, built)] if path}
    working = [path for path in sorted(others) if _supported(path)]
    return [sys.executable, *(path for path in working if path != os.path.realpath(sys.executable))]


def _supported(path: str, minor: int = 11) -> bool:
    program = f"import sys; sys.exit(sys.version_info < (3, {minor}))"
    return subprocess.run([path, "-S", "-c", program], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_a_form_runs_alone_with_nothing_it_does_not_need(project: Project, form: Form) -> None:
    files = form.edited(next(iter(form.files)), "", "")
    closure, result = form.outcome(project, files)
    assert (closure.warnings, closure.partial) == ((), False)
    assert verify(closure.text, closure.version)
    assert closure.is_current()
    if form.uses_shop:
        assert "OTHER" not in closure.text
    shutil.rmtree(project.directory)
    project.forget()
    assert eval(form.call, vars(alone(closure))) == result


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_an_edit_counts_when_what_it_edits_is_part_of_the_form(project: Project, form: Form) -> None:
    before, _ = form.outcome(project, form.edited(next(iter(form.files)), "", ""))
    for kind, file, old, new in form.edits:
        after, _ = form.outcome(project, form.edited(file, old, new))
        assert (after.version == before.version) == (kind == "stays"), f"{kind} {file}: {old} -> {new}\n{after.text}"


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_the_order_in_which_modules_were_imported_does_not_count(project: Project, form: Form) -> None:
    closure, _ = form.outcome(project, form.edited(next(iter(form.files)), "", ""))
    names = [
        file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for file in form.files
        if file.endswith(".py")
    ]
    random.Random(form.name).shuffle(names)
    project.forget()
    module, _, target = form.target.partition(":")
    with contextlib.chdir(project.directory):
        assert capture(eval(target, vars(project.load_more(*names, module)))).version == closure.version


def outcomes_under(python: str, seed: str, directory: Path, *folder: str) -> Any:
    """The version and the result of each form in a process of its own."""
    here = Path(__file__).parent
    done = subprocess.run(
        [python, str(here / "closure_forms.py"), *folder],
        cwd=directory,
        env={"PYTHONPATH": os.pathsep.join((str(ROOT), str(here))), "PYTHONHASHSEED": seed, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("python", interpreters())
@pytest.mark.parametrize("seed", ["0", "1", "random"])
def test_versions_are_the_same_under_every_interpreter_and_hash_seed(python: str, seed: str, tmp_path: Path) -> None:
    outcomes = outcomes_under(python, seed, tmp_path)
    assert outcomes == outcomes_under(sys.executable, "0", tmp_path)
    assert len(outcomes) == len(FORMS)


def test_type_parameters_and_nested_quotes_are_what_they_are_in_each_python_that_has_them(tmp_path: Path) -> None:
    pythons = [python for python in interpreters() if _supported(python, 12)]
    if not pythons:
        pytest.skip("no CPython from 3.12 on is here")
    outcomes = [outcomes_under(python, seed, tmp_path, "python312") for python in pythons for seed in ("0", "1")]
    assert len(outcomes[0]) == len(forms("python312")) > 0
    assert all(found == outcomes[0] for found in outcomes)


def test_a_package_that_brings_back_by_star_what_its_module_took_from_it(project: Project) -> None:
    project.write_file("pkg/__init__.py", "from .utils import client\nfrom .main import *\n")
    project.write_file("pkg/utils.py", "def client(f): return f\ndef other(f): return None\n")
    project.write_file("pkg/main.py", "from pkg import client\ndef completion(): return 1\n")
    project.write(
        main="import pkg\nfrom pkg.main import client\ndef ask(): return client(pkg.client(pkg.completion))()\n"
    )
    closure = project.capture()
    assert not closure.partial
    assert "def client" in closure.text
    assert "def other" not in closure.text
    assert alone(closure).ask() == 1


def test_a_circle_of_imports_whose_name_was_set_at_run_time(project: Project) -> None:
    project.write_file("pkg/__init__.py", "globals()['limit'] = 7\nfrom .main import *\n")
    project.write_file("pkg/main.py", "from pkg import limit\n")
    project.write(main="import pkg\ndef ask(): return pkg.limit\n")
    closure = project.capture()
    assert alone(closure).ask() == 7


def test_a_circle_of_imports_that_nobody_has_ever_walked(project: Project) -> None:
    project.write(
        one="def take():\n    from two import lost\n    return lost\n",
        main="import one\ndef ask(go=False): return one.take() if go else 2\n",
    )
    project.write_file("two.py", "from three import lost\n")
    project.write_file("three.py", "from two import lost\n")
    assert alone(project.capture()).ask() == 2


def test_a_class_without_source_that_calls_itself_a_part_of_the_package_that_imports_it(project: Project) -> None:
    project.write_file("pkg/__init__.py", "from .native import *\n")
    project.write_file(
        "pkg/native.py",
        "from pkg import __name__ as package\nexec(f'class Trie:\\n    __module__ = {package!r}\\n    def put(self): return 1')\n",
    )
    project.write(main="import pkg\ndef ask(): return pkg.Trie().put()\n")
    closure = project.capture()
    assert closure.partial
    assert "Trie" in "".join(closure.warnings)

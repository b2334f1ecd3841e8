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


def _supported(path: str) -> bool:
    program = "import sys; sys.exit(sys.version_info < (3, 11))"
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


@pytest.mark.parametrize("python", interpreters())
@pytest.mark.parametrize("seed", ["0", "1", "random"])
def test_versions_are_the_same_under_every_interpreter_and_hash_seed(python: str, seed: str, tmp_path: Path) -> None:
    here = Path(__file__).parent
    outcomes = []
    for interpreter, hashes in ((sys.executable, "0"), (python, seed)):
        done = subprocess.run(
            [interpreter, str(here / "closure_forms.py")],
            cwd=tmp_path,
            env={
                "PYTHONPATH": os.pathsep.join((str(ROOT), str(here))),
                "PYTHONHASHSEED": hashes,
                "PATH": "/usr/bin:/bin",
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        outcomes.append(json.loads(done.stdout))
    assert outcomes[0] == outcomes[1]
    assert len(outcomes[0]) == len(FORMS)

"""Nothing of other packages is touched where we are disabled, and all of it is put back where we are taken back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import anthropic.resources.messages  # noqa: F401
import openai.resources.responses.responses  # noqa: F401
from openai.resources.chat.completions import Completions  # noqa: F401  (which newer versions import when asked for)
from opentelemetry import trace

import ell_otel as ell

APP = """\
import json, sys, wrapt
if sys.argv[1] == "ours":
    import ell_otel
    ell_otel.init()
    ell_otel.instrument()
    @ell_otel.program
    def work(): return 1
    work()
import openai, openai.resources.chat.completions
from opentelemetry import trace
if sys.argv[1] == "ours":
    ell_otel.instrument()
    work()

def touched():
    for name, module in sorted(sys.modules.items()):
        if name.partition(".")[0] in {"openai", "anthropic", "opentelemetry", "concurrent", "threading"}:
            for attribute, value in sorted(vars(module).items()):
                if type(value).__module__.startswith("wrapt"):
                    yield f"{name}.{attribute}"
                elif isinstance(value, type):
                    for inner, function in sorted(vars(value).items()):
                        if type(function).__module__.startswith("wrapt"):
                            yield f"{name}.{attribute}.{inner}"

create = vars(openai.resources.chat.completions.Completions)["create"]
print(json.dumps([list(touched()), str(type(create)), type(trace.get_tracer_provider()).__name__]))
"""


def test_disabled_we_leave_other_packages_as_they_are_without_us(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)

    def run(*words: str, **environment: str) -> Any:
        env = os.environ | {"ELL_OTEL_DIR": str(tmp_path / ".ell")} | environment
        done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, check=True, timeout=120)
        assert done.stderr == ""
        return json.loads(done.stdout)

    bare = run(sys.executable, "app.py", "bare")
    assert bare[0] == []
    assert run(sys.executable, "app.py", "ours", OTEL_SDK_DISABLED="true") == bare
    assert run(sys.executable, "-m", "ell_otel", "run", "app.py", "bare", ELL_OTEL_DISABLED="1") == bare
    assert [entry.name for entry in tmp_path.iterdir()] == ["app.py"]


def attributes() -> Iterator[tuple[str, object]]:
    """Every attribute of every module and class of the packages that we patch, but for what pydantic adds when it
    completes a class of its own."""
    for name, module in list(sys.modules.items()):
        if isinstance(module, ModuleType) and name.partition(".")[0] in {"openai", "anthropic", "concurrent"}:
            for attribute, value in list(vars(module).items()):
                yield f"{name}.{attribute}", value
                if isinstance(value, type):
                    inner = ((each, found) for each, found in vars(value).items() if "pydantic" not in each)
                    yield from ((f"{name}.{attribute}.{each}", found) for each, found in inner)
    yield "trace.set_tracer_provider", trace.set_tracer_provider


def test_taken_back_the_real_packages_have_the_very_objects_that_they_had() -> None:
    ell.uninstrument()  # decorators of other tests have patched openai
    before = dict(attributes())
    ell.instrument()
    during = dict(attributes())
    patched = {name for name, value in before.items() if during[name] is not value}
    ell.uninstrument()
    after = dict(attributes())
    assert [name for name, value in before.items() if after[name] is not value] == []
    for owner in ("openai.resources.chat.completions.Completions", "anthropic.resources.messages.AsyncMessages"):
        assert f"{owner}.create" in patched

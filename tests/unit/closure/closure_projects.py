"""Real projects on disk: written, imported, captured, and their closures executed alone."""

from __future__ import annotations

import importlib
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

from ell_otel.closure import Closure, capture

ROOT = Path(__file__).parents[3]


class Project:
    """A directory of the user's modules, on `sys.path` while the test runs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def write(self, **files: str) -> Project:
        """Write modules; `__` in a keyword stands for a folder (`shop__prompts` is `shop/prompts.py`)."""
        for name, text in files.items():
            self.write_file(name.replace("__", "/") + ".py", text)
        return self

    def write_file(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="")
        return path

    def load(self, name: str) -> types.ModuleType:
        """The module, imported afresh with all the project's modules."""
        self.forget()
        importlib.invalidate_caches()
        return importlib.import_module(name)

    def load_more(self, *names: str) -> types.ModuleType:
        """The last of the modules, all imported beside those that are loaded already."""
        importlib.invalidate_caches()
        return [importlib.import_module(name) for name in names][-1]

    def capture(self, module: str = "main", name: str = "ask") -> Closure:
        target: Any = self.load(module)
        for part in name.split("."):
            target = getattr(target, part)
        return capture(target)

    def forget(self) -> None:
        for name, module in list(sys.modules.items()):
            places = [getattr(module, "__file__", None), *(getattr(module, "__path__", None) or ())]
            if any(str(place).startswith(str(self.directory)) for place in places if place):
                del sys.modules[name]

    def run(self, *arguments: str, stdin: str = "") -> str:
        """What a Python process started in the project prints."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.directory,
            input=stdin,
            env={"PYTHONPATH": f"{ROOT}", "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def alone(closure: Closure | str) -> types.ModuleType:
    """A fresh module in which the closure's text was executed, with no way back to the project."""
    text = closure if isinstance(closure, str) else closure.text
    module = types.ModuleType("alone")
    sys.modules["alone"] = module
    try:
        exec(compile(text, "<alone>", "exec", dont_inherit=True), vars(module))
    finally:
        del sys.modules["alone"]
    return module

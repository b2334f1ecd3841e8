"""``ell-otel run``: start an application that has never heard of us, with every model call attributed."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import Final, NoReturn

from ell_otel import config, instrumentation
from ell_otel.cli.output import Output
from ell_otel.errors import ConfigError

_AUTO: Final = str(Path(instrumentation.__file__).parent / "auto")


def run(arguments: argparse.Namespace, output: Output) -> NoReturn:
    """Become the application. What Python it starts, now or later, finds our ``sitecustomize`` first on its path."""
    config.resolve()  # a setting that cannot be read is better told here than in each process of the application
    module, *rest = arguments.module or [None]
    words = command(module, [*rest, *arguments.application])
    os.environ["PYTHONPATH"] = os.pathsep.join([_AUTO, *filter(None, [os.environ.get("PYTHONPATH")])])
    for variable, given in (("ELL_OTEL_DIR", arguments.dir), ("ELL_OTEL_STORE", arguments.store)):
        if given:
            os.environ[variable] = given
    sys.stdout.flush()
    try:
        os.execvp(words[0], words)  # noqa: S606 - the application is what the user names
    except OSError as error:
        raise ConfigError(f"cannot run {words[0]}: {error.strerror}") from None


def command(module: str | None, application: list[str]) -> list[str]:
    """The words to execute for ``app.py …``, ``-m package …`` or ``-- program …``. Raises ``ConfigError``."""
    if module is not None:
        return [sys.executable, "-m", module, *application]
    words = application[1:] if application[:1] == ["--"] else application
    if not words:
        raise ConfigError(
            "name what to run: ell-otel run app.py, ell-otel run -m package, or ell-otel run -- gunicorn app:app"
        )
    if application[0] != "--" and (words[0].endswith((".py", ".pyw", ".pyz")) or Path(words[0]).is_dir()):
        return [sys.executable, *words]
    beside = Path(sys.executable).parent / words[0]  # installed in this environment, which need not be activated
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which(words[0])
    if found is None:
        raise ConfigError(f"there is no program {words[0]!r}, and no file of Python source is called that")
    return [found, *words[1:]]

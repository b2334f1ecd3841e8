"""Instruments the Python that starts with this folder first on its path: ``ell-otel run`` puts it there.

Nothing is loaded before the application imports a library that asks models, or OpenTelemetry. A ``sitecustomize`` of
the user's runs as it would without us, and the folder is taken off the path again.
"""

import importlib.machinery
import importlib.util
import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))
_LIBRARIES = ("anthropic", "litellm", "openai", "opentelemetry.trace")


def _instrument(_: object) -> None:
    import ell_otel

    ell_otel.instrument()


def _wait_for_libraries() -> None:
    try:
        from ell_otel import config

        if config.resolve().disabled:
            return
        import wrapt
    except Exception:  # another Python without ell_otel, or a setting that cannot be read: no reason to fail
        return
    for name in _LIBRARIES:
        wrapt.register_post_import_hook(_instrument, name)


def _run_the_users() -> None:
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or os.curdir) != _HERE]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", sys.path)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


_wait_for_libraries()
_run_the_users()

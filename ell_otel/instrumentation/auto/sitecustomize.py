"""Instruments the Python that starts with this folder first on its path: ``ell-otel run`` puts it there.

Nothing is loaded before the application has imported a library that asks models, or has set a tracer provider: we must
not import OpenTelemetry's SDK in the midst of its own import. A ``sitecustomize`` of the user's runs as it would
without us, and the folder is taken off the path again.
"""

import importlib.machinery
import importlib.util
import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))
_LIBRARIES = ("anthropic", "litellm", "openai")


class _Once:
    """The one time that this process is instrumented, and again for a library that had come only half. Never raises."""

    def __init__(self):
        self.done = False
        self.early = ()  # libraries that were in the midst of their import
        self.give_back = lambda: None  # what `watch` has replaced

    def instrument(self, module=None):
        if self.done and (module is None or module.__name__ not in self.early):
            return
        self.early = () if self.done else tuple(name for name in _LIBRARIES if name in sys.modules)
        self.done = True
        self.give_back()
        try:
            import ell_otel

            ell_otel.instrument()
        except Exception as error:
            sys.stderr.write(f"ell-otel cannot instrument this process, which goes on without: {error!r}\n")

    def watch(self, trace):
        """Instrument as soon as the application sets a tracer provider, for the libraries that report to it."""
        if self.done:
            return
        original = trace.set_tracer_provider

        def set_tracer_provider(*args, **kwargs):
            original(*args, **kwargs)
            self.instrument()

        def give_back():
            if trace.set_tracer_provider is set_tracer_provider:
                trace.set_tracer_provider = original

        self.give_back = give_back
        trace.set_tracer_provider = set_tracer_provider


def _wait():
    try:
        from ell_otel import config

        if config.resolve().disabled:
            return
        import wrapt
    except Exception:  # another Python, without ell_otel, or a setting that cannot be read: no reason to fail
        return
    once = _Once()
    for name in _LIBRARIES:
        wrapt.register_post_import_hook(once.instrument, name)
    wrapt.register_post_import_hook(once.watch, "opentelemetry.trace")


def _run_the_users():
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or os.curdir) != _HERE]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", sys.path)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


_wait()
_run_the_users()

"""The ``ell-otel`` command: the composition root, where settings, store, collector and output meet.

Data goes to stdout, narration to stderr. Every command takes ``--json``, ``--dir`` and ``--store``. Exit codes:
0 ok, 1 found something (``diff``, ``doctor``, ``spool ls``), 2 usage, 3 store, 4 not found.
Nothing heavy is imported before a command that needs it runs.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from ell_otel import __version__
from ell_otel.cli.output import Output, unpipe
from ell_otel.errors import ConfigError, EllOtelError, InstrumentationError, NotFoundError

OK: Final = 0
FOUND: Final = 1
USAGE: Final = 2
STORE: Final = 3
NOT_FOUND: Final = 4
INTERRUPTED: Final = 130


class _Misused(Exception):
    def __init__(self, parser: argparse.ArgumentParser, message: str) -> None:
        super().__init__(message)
        self.parser = parser


class _Parser(argparse.ArgumentParser):
    """One that leaves it to ``main`` how an error is said: whoever asked for JSON reads nothing else."""

    def error(self, message: str) -> NoReturn:
        raise _Misused(self, message)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. Only ``--help`` and ``--version`` leave by ``SystemExit``."""
    given = sys.argv[1:] if argv is None else argv
    try:
        arguments = parser().parse_args(given)
    except _Misused as error:
        return _misused(error, Output(as_json="--json" in given))
    if "run" not in arguments:
        parser().print_help()
        return USAGE
    output = Output(as_json=arguments.json)
    if sys.stdout is None or sys.stderr is None:  # closed by whoever started us
        unpipe(broken=sys.stdout is None)
    try:
        return _finished(arguments, output)
    except KeyboardInterrupt:
        output.fail("interrupted")
        return INTERRUPTED
    except OSError as error:  # stdout takes nothing more: its reader went (| head), the disk is full, it was closed
        unpipe(broken=True)
        return OK if isinstance(error, BrokenPipeError) else USAGE


def _misused(error: _Misused, output: Output) -> int:
    if not output.as_json and sys.stderr is not None:
        error.parser.print_usage(sys.stderr)
    output.fail(str(error))
    output.finish("error")
    return USAGE


def _finished(arguments: argparse.Namespace, output: Output) -> int:
    try:
        code = run(arguments, output)
    except EllOtelError as error:
        output.fail(str(error))
        output.finish("error")
        return _code(error)
    except ModuleNotFoundError as error:
        if error.name not in {"rich", "chdb", "clickhouse_connect", "grpc", "starlette", "uvicorn"}:
            raise
        output.fail(f"this command needs the package {error.name}: pip install 'ell-otel[local]'")
        output.finish("error")
        return USAGE
    output.finish("found" if code == FOUND else "ok")
    sys.stdout.flush()
    return code


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Run the command that ``parser`` found. Raises ``EllOtelError``."""
    module, _, function = arguments.run.partition(":")
    code: int = getattr(importlib.import_module(f"ell_otel.cli.{module}"), function)(arguments, output)
    return code


def _code(error: EllOtelError) -> int:
    if isinstance(error, NotFoundError):
        return NOT_FOUND
    return USAGE if isinstance(error, (ConfigError, InstrumentationError)) else STORE


def parser() -> argparse.ArgumentParser:
    """The whole command line; ``docs/cli.md`` is printed from it."""
    top = _Parser(
        prog="ell-otel",
        description="Which code made this output, what changed, and did it get better.",
        epilog="VERSION is a hash or its first digits (c1:3f2a9c), PROGRAM (its newest), or PROGRAM@v2. "
        "PROGRAM is a full name (app.greet) or the end of one (greet).",
    )
    top.add_argument("--version", action="version", version=f"ell-otel {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND")
    _reading(commands)
    _operating(commands)
    return top


def _reading(commands: Any) -> None:
    log = _command(commands, "log", "reading:log", "programs; or the versions of one, newest last")
    log.add_argument("program", nargs="?", metavar="PROGRAM", help="show the versions of this program")

    show = _command(commands, "show", "reading:show", "a version's closure, or everything about an invocation")
    show.add_argument(
        "reference", metavar="VERSION|INVOCATION", help="a version, or an invocation's id or first digits"
    )

    diff = _command(commands, "diff", "reading:diff", "what changed between two versions, statement by statement")
    diff.add_argument("before", metavar="A")
    diff.add_argument("after", metavar="B")

    invocations = _command(commands, "invocations", "reading:invocations", "invocations, newest first")
    invocations.add_argument("--program", metavar="PROGRAM")
    invocations.add_argument("--version", dest="of_version", metavar="VERSION")
    invocations.add_argument("--status", choices=["ok", "error"])
    invocations.add_argument("--model", metavar="MODEL", help="that a model of this name answered")
    invocations.add_argument("--since", metavar="AGE|TIME", help="such as 30m, 12h, 7d, or 2026-11-21T09:00")
    invocations.add_argument("--text", metavar="TEXT", help="whose arguments, result or messages contain TEXT")
    invocations.add_argument("--min-ms", type=float, metavar="MS", help="that took at least this long")
    invocations.add_argument("--limit", type=_positive, default=20, metavar="N", help="at most so many (default: 20)")
    invocations.add_argument("--before", metavar="INVOCATION", help="older than this one: the next page")

    checkout = _command(commands, "checkout", "reading:checkout", "write a version's closure as a runnable .py file")
    checkout.add_argument("version", metavar="VERSION")
    checkout.add_argument("-o", "--output", metavar="FILE", help="where to (default: PROGRAM_HASH.py; - for stdout)")
    checkout.add_argument("--force", action="store_true", help="overwrite the file")

    sql = _command(commands, "sql", "reading:sql", "run a SELECT on the store; nothing can be changed or reached by it")
    sql.add_argument("query", metavar="QUERY")
    sql.add_argument("--limit", type=_positive, default=1000, metavar="N", help="at most so many rows (default: 1000)")


def _operating(commands: Any) -> None:
    demo = _command(commands, "demo", "demo:demo", "run the whole product on a local model: no key, no network")
    demo.add_argument(
        "--into", default="ell-demo", metavar="FOLDER", help="where the demo app goes (default: ell-demo)"
    )

    run_it = _command(commands, "run", "running:run", "run an app that has never heard of us: each model call is known")
    run_it.usage = "ell-otel run [--dir DIR] (app.py | -m MODULE | -- COMMAND) [ARGUMENT ...]"
    as_python = "run a module, as python -m does"  # all that follows is for it, options too
    run_it.add_argument("-m", dest="module", nargs=argparse.PARSER, metavar="MODULE", help=as_python)
    run_it.add_argument("application", nargs=argparse.REMAINDER, metavar="app.py ARGUMENT ...", help="what to run")

    serve = _command(commands, "serve", "operating:serve", "receive OTLP, and answer ClickHouse and REST clients")
    serve.add_argument("--host", metavar="ADDRESS", help="address to listen on (default: 127.0.0.1)")
    serve.add_argument("--grpc-port", type=int, metavar="PORT", help="OTLP/gRPC (default: 4317; 0: any free port)")
    serve.add_argument("--http-port", type=int, metavar="PORT", help="OTLP/HTTP (default: 4318)")
    serve.add_argument(
        "--clickhouse-port", type=int, metavar="PORT", help="ClickHouse's HTTP interface (default: 8123)"
    )
    serve.add_argument("-p", "--port", type=int, metavar="PORT", help="REST API (default: 5050)")
    serve.add_argument("--to", metavar="URL", help="send onward to this OTLP/HTTP endpoint; no store is opened")
    serve.add_argument("--tls-cert", metavar="FILE", help="serve OTLP over TLS with this certificate (PEM)")
    serve.add_argument("--tls-key", metavar="FILE", help="and this private key")
    serve.add_argument("--tls-client-ca", metavar="FILE", help="ask senders for a certificate that one of these signed")

    spool = _command(commands, "spool", "spooling:spool", "what programs have written and nobody has taken over yet")
    spool.add_argument(
        "action",
        choices=["ls", "flush", "repair"],
        help="list the segments (exit code 1: damage, or some that a collector refused); hand them on; take damage out",
    )

    migrate = _command(commands, "migrate", "operating:migrate", "bring the store's tables to this release's schema")
    instead = migrate.add_mutually_exclusive_group()
    instead.add_argument("--dry-run", action="store_true", help="only say what would be done")
    instead.add_argument("--status", action="store_true", help="say what has been applied, and when")
    instead.add_argument("--sql", action="store_true", help="print the statements that would be run, for this target")
    instead.add_argument(
        "--rebuild", action="store_true", help="also make what was dropped, and fill ell_* from spans and logs"
    )
    migrate.add_argument("--cluster", metavar="NAME", help="the ClickHouse cluster that the store is a node of")

    doctor = _command(
        commands, "doctor", "operating:doctor", "check the installation, the folder, the spool and the store"
    )
    doctor.add_argument("--show-passwords", action="store_true", help="print those of ClickHouse's users as well")


def _command(commands: Any, name: str, run: str, text: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=f"{text[:1].upper()}{text[1:]}."
    )
    command.set_defaults(run=run, command=name)
    command.add_argument("--dir", metavar="DIR", help="the .ell folder (default: found upward, like .git)")
    command.add_argument("--store", metavar="DSN", help="another store: http(s)://user:password@host:8123/database")
    command.add_argument("--json", action="store_true", help="print {version, status, data, diagnostics}")
    return command


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("1 or more")
    return number


if __name__ == "__main__":
    sys.exit(main())

"""All settings: one row each, with its environment variables, default and meaning.

Precedence, for every setting: an argument in code or on the command line, then the first of its environment
variables that is set and not empty, then the default. A value that cannot be read is a ``ConfigError`` that names the
variable and what it takes. ``docs/settings.md`` is generated from this file (``make generate``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from ell_otel.errors import ConfigError

DIRECTORY_NAME: Final = ".ell"
CONTENT_SWITCH: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_CONTENT_SWITCHES: Final = {
    CONTENT_SWITCH: ("SPAN_ONLY", "NO_CONTENT"),
    "ANTHROPIC_OPEN_TELEMETRY_TRACES_CONTENT_MODE": ("content", "metadata_only"),
}
_ENTRIES: Final = frozenset(
    {".gitignore", "blobs", "ingest-token", "log", "quarantine", "refused", "spool", "store", "store.lock", "token"}
)
_OF_ONE_SIGNAL: Final = {f"{signal}_{name}": name for signal in ("traces", "logs") for name in ("endpoint", "protocol")}
_SET_BY_US: Final = "ELL_OTEL_SET_BY_US"
_PROJECT_MARKERS: Final = (".git", "pyproject.toml", "setup.py", "setup.cfg")


def _flag(text: str) -> bool:
    lowered = text.strip().lower()
    if lowered in {"1", "true", "yes", "on"}:
        return True
    if lowered in {"0", "false", "no", "off"}:
        return False
    raise ValueError("true or false")


def _content(text: str) -> bool:
    """The GenAI conventions' four modes; we only ever put content on spans."""
    lowered = text.strip().lower()
    if lowered in {"span_only", "span_and_event"}:
        return True
    if lowered in {"no_content", "event_only"}:
        return False
    try:
        return _flag(text)
    except ValueError:
        raise ValueError("NO_CONTENT, SPAN_ONLY, EVENT_ONLY, SPAN_AND_EVENT, true or false") from None


def _count(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = -1
    if number < 0:
        raise ValueError("a whole number, 0 or more")
    return number


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _durability(text: str) -> str:
    if text not in {"group", "strict"}:
        raise ValueError("group or strict")
    return text


def _policy(text: str) -> str:
    if text not in {"block", "drop_new", "drop_old"}:
        raise ValueError("block, drop_new or drop_old")
    return text


def _row(default: Any, doc: str, *env: str, parse: Callable[[str], Any] = str) -> Any:
    return field(default=default, metadata={"doc": doc, "env": env, "parse": parse})


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting with its value in force. Made by ``resolve``; never changed afterwards."""

    dir: str = _row("", "The .ell folder. Empty: found upward from the working directory, like .git.", "ELL_OTEL_DIR")
    store: str = _row(
        "", "DSN of another store, http(s)://… or chdb://…. Empty: chDB in the .ell folder.", "ELL_OTEL_STORE"
    )
    cluster: str = _row("", "Name of the ClickHouse cluster that the store is a node of.", "ELL_OTEL_CLUSTER")
    prices: str = _row(
        "", "Price list of your own (CSV, columns as in ours); its models go by it alone.", "ELL_OTEL_PRICES"
    )
    keep: tuple[str, ...] = _row(
        (),
        "Days to keep rows, by table: otel_traces=30,otel_logs=30,ell_spans=365. 0: for ever. Tables not named keep "
        "the TTL they have.",
        "ELL_OTEL_KEEP",
        parse=_names,
    )
    cold: tuple[str, ...] = _row(
        (),
        "Days after which rows move to the volume `cold` of the storage policy, by table, likewise.",
        "ELL_OTEL_COLD",
        parse=_names,
    )
    storage_policy: str = _row(
        "", "Storage policy of the tables that grow, as the server's configuration names it.", "ELL_OTEL_STORAGE_POLICY"
    )
    disabled: bool = _row(
        False,
        "Do nothing at all: nothing patched, nothing written.",
        "ELL_OTEL_DISABLED",
        "OTEL_SDK_DISABLED",
        parse=_flag,
    )
    endpoint: str = _row(
        "", "OTLP endpoint of a collector. Empty: the local spool in the .ell folder.", "OTEL_EXPORTER_OTLP_ENDPOINT"
    )
    protocol: str = _row(
        "http/protobuf", "OTLP protocol towards the endpoint: http/protobuf or grpc.", "OTEL_EXPORTER_OTLP_PROTOCOL"
    )
    traces_endpoint: str = _row("", "URL for spans alone, used as it stands.", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    traces_protocol: str = _row("", "Protocol for spans alone.", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
    logs_endpoint: str = _row("", "URL for events alone, used as it stands.", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT")
    logs_protocol: str = _row("", "Protocol for events alone.", "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL")
    service_name: str = _row("", "service.name of the resource. Empty: the name of the script.", "OTEL_SERVICE_NAME")
    content: bool | None = _row(
        None,
        "Record messages, arguments and results. Unset: on for the local spool, off towards an endpoint.",
        CONTENT_SWITCH,
        parse=_content,
    )
    durability: str = _row(
        "group",
        "Spool fsync: group (every 200 ms) or strict (each record). Both survive the death of the process.",
        "ELL_OTEL_DURABILITY",
        parse=_durability,
    )
    segment_bytes: int = _row(
        8 << 20, "Size at which a spool segment is closed and the next begun.", "ELL_OTEL_SEGMENT_BYTES", parse=_count
    )
    spool_bytes: int = _row(
        1 << 30, "Most bytes the spool folder may hold. 0: no limit.", "ELL_OTEL_SPOOL_BYTES", parse=_count
    )
    spool_policy: str = _row(
        "drop_new",
        "What gives way when the spool is full: block (wait, at most 30 s), drop_new or drop_old. Losses are counted.",
        "ELL_OTEL_SPOOL_POLICY",
        parse=_policy,
    )
    value_bytes: int = _row(
        256 << 10,
        "Arguments and results longer than this, in characters of JSON, are cut.",
        "ELL_OTEL_VALUE_BYTES",
        parse=_count,
    )
    user_packages: tuple[str, ...] = _row(
        (),
        "Installed packages that are your own code, separated by commas: inlined in closures, programs at call sites.",
        "ELL_OTEL_USER_PACKAGES",
        parse=_names,
    )
    blobs: str = _row(
        "",
        "Where images, sound and files of requests are kept by digest: a folder, or a URL that fsspec knows. "
        "Empty: blobs in the .ell folder; none towards an endpoint.",
        "ELL_OTEL_BLOBS",
    )
    exit_ms: int = _row(
        2000, "Longest wait at exit for an endpoint, in milliseconds.", "ELL_OTEL_EXIT_MS", parse=_count
    )
    queue_bytes: int = _row(
        64 << 20,
        "Most memory, in bytes, for spans (and as much for events) that wait for an endpoint. Beyond it they are lost.",
        "ELL_OTEL_QUEUE_BYTES",
        parse=_count,
    )
    host: str = _row("127.0.0.1", "Address that `ell-otel serve` listens on.", "ELL_OTEL_HOST")
    grpc_port: int = _row(4317, "OTLP/gRPC port. 0: any free port.", "ELL_OTEL_GRPC_PORT", parse=_count)
    http_port: int = _row(4318, "OTLP/HTTP port. 0: any free port.", "ELL_OTEL_HTTP_PORT", parse=_count)
    clickhouse_port: int = _row(
        8123,
        "Port of ClickHouse's HTTP interface in front of the store. 0: any free port.",
        "ELL_OTEL_CLICKHOUSE_PORT",
        parse=_count,
    )
    port: int = _row(5050, "Port of the REST API. 0: any free port.", "ELL_OTEL_PORT", parse=_count)
    token: str = _row(
        "",
        "Token for reading, and password of the ClickHouse user `reader`. Empty: made once into the .ell folder.",
        "ELL_OTEL_TOKEN",
    )
    ingest_token: str = _row(
        "",
        "Token for sending OTLP, and password of the ClickHouse user `ingest`. Empty: OTLP on loopback asks for none, "
        "and that user's is made once into the .ell folder.",
        "ELL_OTEL_INGEST_TOKEN",
    )
    forward: str = _row(
        "",
        "OTLP/HTTP endpoint of another collector that `ell-otel serve` sends onward to, in place of a store.",
        "ELL_OTEL_FORWARD",
    )
    forward_headers: str = _row(
        "", "Headers for it, as in OTEL_EXPORTER_OTLP_HEADERS: name=value,name=value.", "ELL_OTEL_FORWARD_HEADERS"
    )
    tls_cert: str = _row("", "Certificate (PEM) of the OTLP receivers. Empty: no TLS.", "ELL_OTEL_TLS_CERT")
    tls_key: str = _row("", "Its private key (PEM).", "ELL_OTEL_TLS_KEY")
    tls_client_ca: str = _row(
        "", "Certificates (PEM) of which one must have signed a sender's: mutual TLS.", "ELL_OTEL_TLS_CLIENT_CA"
    )
    request_bytes: int = _row(
        16 << 20, "Largest OTLP request accepted, in bytes after decompression.", "ELL_OTEL_REQUEST_BYTES", parse=_count
    )

    @property
    def local(self) -> bool:
        """True when telemetry goes to the spool in the ``.ell`` folder rather than to an OTLP endpoint."""
        return not (self.endpoint or self.traces_endpoint or self.logs_endpoint)

    @property
    def record_content(self) -> bool:
        """Whether messages, arguments and results are recorded: the setting, or on exactly when local."""
        return self.local if self.content is None else self.content

    def shares_content(self, *, joined: bool) -> bool:
        """Whether what records content may put it on spans that everybody sees.

        What a ``joined`` provider of the application's is given, its exporters send: then only if it was asked for.
        """
        return self.record_content and (self.content is True or not joined)


def resolve(environ: Mapping[str, str] | None = None, /, **given: Any) -> Settings:
    """Settings in force: each of ``given`` that is not None, else the environment's, else the default.

    Raises ``ConfigError`` for an unknown name or a value that cannot be read.
    """
    environ = os.environ if environ is None else environ
    known = {row.name: row for row in fields(Settings)}
    if unknown := given.keys() - known.keys():
        raise ConfigError(f"no setting is called {sorted(unknown)[0]!r}; there are: {', '.join(known)}")
    values = {name: value for name, value in given.items() if value is not None}
    for name, row in known.items():
        if name not in values and given.get(_OF_ONE_SIGNAL.get(name, "")) is None:
            _from_environment(values, name, row.metadata, environ)
    return Settings(**values)


def _from_environment(values: dict[str, Any], name: str, row: Mapping[str, Any], environ: Mapping[str, str]) -> None:
    for variable in row["env"]:
        text = environ.get(variable)
        if text and f"{variable}={text}" not in _set_by_us(environ):
            try:
                values[name] = row["parse"](text)
            except ValueError as error:
                raise ConfigError(f"{variable}={text!r} cannot be used: it takes {error}") from None
            return


def tell_libraries(*, content: bool) -> None:
    """Have other libraries record contents or not, unless the user has told them: by environment variables.

    It is remembered, in the environment as well and so by child processes, that their values are none of the user's.
    """
    ours = _set_by_us(os.environ)
    for variable, (on, off) in _CONTENT_SWITCHES.items():
        before = f"{variable}={os.environ.get(variable)}"
        if variable not in os.environ or before in ours:
            os.environ[variable] = on if content else off
            ours = [*(each for each in ours if each != before), f"{variable}={os.environ[variable]}"]
    os.environ[_SET_BY_US] = ",".join(ours)


def _set_by_us(environ: Mapping[str, str]) -> list[str]:
    return [each for each in environ.get(_SET_BY_US, "").split(",") if each]


def find_directory(settings: Settings, start: Path | None = None) -> Path:
    """The ``.ell`` folder in force, as an absolute path; it may not exist yet.

    The setting when given; else the nearest existing one from ``start`` (default: the working directory) upward, as far
    as the project's root; else one in the project's root, or in ``start`` itself where no project is recognised.
    A folder of another user's is passed over: in a place like ``/tmp`` it would collect what strangers run below it.
    """
    if settings.dir:
        return _given_folder(settings.dir)
    try:
        start = (start or Path.cwd()).absolute()
    except FileNotFoundError:
        raise ConfigError("the working directory was deleted: name the .ell folder with ELL_OTEL_DIR") from None
    folders = [start, *start.parents]
    root = _project_root(folders)
    within = folders[: folders.index(root) + 1] if root else folders
    for folder in within:
        if _is_own_folder(folder / DIRECTORY_NAME):
            return folder / DIRECTORY_NAME
    return (root or start) / DIRECTORY_NAME


def _given_folder(name: str) -> Path:
    """A folder as given by a person: an ``.ell`` folder, the project's that holds one, or one still to be made."""
    try:
        path = Path(name).expanduser().absolute()
    except (RuntimeError, FileNotFoundError) as error:
        raise ConfigError(f"{name!r} names no folder: {error}") from None
    if path.name == DIRECTORY_NAME or not path.is_dir():
        return path
    if (path / DIRECTORY_NAME).is_dir():
        return path / DIRECTORY_NAME
    strange = {entry.name for entry in path.iterdir()} - _ENTRIES
    if strange:
        raise ConfigError(f"{path} is no .ell folder, it holds {min(strange)}; did you mean {path / DIRECTORY_NAME}?")
    return path


def _project_root(folders: list[Path]) -> Path | None:
    """The nearest folder under version control, else the nearest with a Python project's file."""
    for marker in _PROJECT_MARKERS:
        for folder in folders:
            if (folder / marker).exists():
                return folder
    return None


def _is_own_folder(path: Path) -> bool:
    return path.is_dir() and path.stat().st_uid == os.getuid()


def make_directory(path: Path) -> Path:
    """Create the ``.ell`` folder, private to its owner, with a ``.gitignore`` that keeps it out of commits."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = path.stat()
    if status.st_uid == os.getuid() and status.st_mode & 0o077:
        path.chmod(0o700)  # made by hand, perhaps: prompts are nobody else's business
    ignore = path / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="utf-8")
    return path

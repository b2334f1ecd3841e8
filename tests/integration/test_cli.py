"""The shell: every command on a real store, as data and as text, with the exit codes that docs/cli.md promises."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ell_otel as ell
from ell_otel import cli, config
from ell_otel.cli import operating
from ell_otel.ingest.service import Service
from ell_otel.telemetry import providers

APP = """\
import ell_otel as ell
from words import tone

@ell.program
def reply(mail):
    return f"{tone()}: {mail}"

@ell.program
def fail(mail):
    raise ValueError("no \\x1b[31mcolours\\x1b[0m please")
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ``.ell`` folder with two versions of one program and a failing one."""
    home = tmp_path_factory.mktemp("shop")
    (home / "app.py").write_text(APP)
    environment = os.environ | {"ELL_OTEL_DIR": str(home / ".ell")}
    script = "import app\nfor n in range(3): app.reply(f'mail {n}')\n"
    for word, more in (("kind", ""), ("stern", "try: app.fail('x')\nexcept ValueError: pass\n")):
        (home / "words.py").write_text(f"def tone():\n    return '{word}'\n")
        subprocess.run([sys.executable, "-c", script + more], cwd=home, env=environment, check=True)
    return home / ".ell"


@pytest.fixture(autouse=True)
def folder(shop: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """In place of each test's own folder: all of these read the one shop."""
    monkeypatch.setenv("ELL_OTEL_DIR", str(shop))
    monkeypatch.chdir(tmp_path)
    yield shop
    providers.reset()


def run(capsys: pytest.CaptureFixture[str], *line: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = cli.main(line)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def data(capsys: pytest.CaptureFixture[str], *line: str) -> list[dict[str, Any]]:
    _, out, _ = run(capsys, *line, "--json")
    rows: list[dict[str, Any]] = json.loads(out)["data"]
    return rows


def test_log_lists_programs(capsys: pytest.CaptureFixture[str]) -> None:
    rows = {row["name"]: row for row in data(capsys, "log")}
    assert set(rows) == {"app.reply", "app.fail"}
    assert (rows["app.reply"]["versions"], rows["app.reply"]["invocations"]) == (2, 6)
    assert rows["app.fail"]["errors"] == 1
    code, out, _ = run(capsys, "log")
    assert code == cli.OK
    assert out.splitlines()[0].split()[:3] == ["PROGRAM", "VERSIONS", "INVOCATIONS"]


def test_log_of_a_program_lists_its_versions_in_order_of_first_sight(capsys: pytest.CaptureFixture[str]) -> None:
    assert [(row["number"], row["invocations"]) for row in data(capsys, "log", "reply")] == [(1, 3), (2, 3)]
    _, out, _ = run(capsys, "log", "app.reply")
    assert "v2" in out


def test_diff_shows_the_words_that_changed_and_exits_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "diff", "reply@v1", "reply@v2")
    assert code == cli.FOUND
    assert "[-kind-]{+stern+}" in out
    assert out.startswith("app.reply v1 c1:")
    (change,) = data(capsys, "diff", "reply@v1", "reply@v2")
    assert (change["part"], change["kind"]) == ("words.tone", "changed")


def test_diff_of_a_version_with_itself_is_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "diff", "reply@v1", "reply@v1")
    assert (code, out.splitlines()[1:]) == (cli.OK, ["no difference"])


def test_show_prints_the_closure_of_a_version(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "show", "reply@v1")
    assert "return 'kind'" in out
    assert 'return f"{tone()}: {mail}"' in out


def test_show_of_an_invocation_tells_all_and_no_control_character_reaches_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (failed,) = data(capsys, "invocations", "--program", "fail")
    code, out, _ = run(capsys, "show", failed["id"])
    assert code == cli.OK
    assert '{"mail":"x"}' in out
    assert "ValueError: no" in out
    assert "please" in out
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ((), 7),
        (("--program", "reply"), 6),
        (("--version", "reply@v2"), 3),
        (("--status", "error"), 1),
        (("--text", "MAIL 2"), 2),
        (("--since", "1h"), 7),
        (("--since", "2099-01-01"), 0),
        (("--min-ms", "60000"), 0),
        (("--model", "gpt-4o"), 0),
    ],
)
def test_invocations_can_be_filtered(capsys: pytest.CaptureFixture[str], filters: tuple[str, ...], count: int) -> None:
    assert len(data(capsys, "invocations", *filters)) == count


def test_pages_of_invocations_follow_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[str] = []
    page = data(capsys, "invocations", "--limit", "3")
    while page:
        seen += [row["id"] for row in page]
        page = data(capsys, "invocations", "--limit", "3", "--before", page[-1]["cursor"])
    assert len(seen) == len(set(seen)) == 7


def test_checkout_writes_a_file_that_runs_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = run(capsys, "checkout", "reply@v1")
    path = tmp_path / out.strip()
    assert code == cli.OK
    alone = path.read_text() + "\nprint(reply.__wrapped__('a'))\n"
    done = subprocess.run([sys.executable, "-c", alone], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "kind: a\n"
    code, _, err = run(capsys, "checkout", "reply@v1")
    assert code == cli.USAGE
    assert "--force" in err
    assert run(capsys, "checkout", "reply@v1", "--force")[0] == cli.OK
    assert run(capsys, "checkout", "reply@v1", "-o", "-")[1] == path.read_text()


def test_sql_answers_a_select(capsys: pytest.CaptureFixture[str]) -> None:
    query = "SELECT ProgramName AS program, count() AS n FROM ell_invocations GROUP BY program ORDER BY program"
    assert data(capsys, "sql", query) == [{"program": "app.fail", "n": 1}, {"program": "app.reply", "n": 6}]
    code, out, _ = run(capsys, "sql", "SELECT 1 AS one")
    assert (code, out.split()) == (cli.OK, ["ONE", "1"])


@pytest.mark.parametrize(
    "query",
    [
        "DROP TABLE otel_traces",
        "INSERT INTO otel_traces (SpanName) VALUES ('x')",
        "SELECT * FROM file('/etc/passwd', LineAsString)",
        "SELECT file('/etc/passwd')",
        "SELECT * FROM url('http://127.0.0.1:1/', LineAsString)",
        "SELECT 1 INTO OUTFILE 'stolen.txt'",
        "SYSTEM FLUSH LOGS",
    ],
)
def test_sql_neither_writes_nor_reaches_out(capsys: pytest.CaptureFixture[str], tmp_path: Path, query: str) -> None:
    code, out, err = run(capsys, "sql", query)
    assert (code, out) == (cli.STORE, "")
    assert err
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_select_is_said_in_the_engines_words(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "sql", "SELECT nonsense FROM ell_invocations")
    assert code == cli.STORE
    assert "nonsense" in err


@pytest.mark.parametrize(
    "line",
    [
        ("show", "c1:ffffffff"),
        ("show", "ffffffffffff"),
        ("log", "nobody"),
        ("diff", "reply@v1", "reply@v9"),
        ("checkout", "no@v1"),
    ],
)
def test_what_is_not_there_is_exit_code_4_and_names_what_is(
    capsys: pytest.CaptureFixture[str], line: tuple[str, ...]
) -> None:
    code, out, err = run(capsys, *line)
    assert (code, out) == (cli.NOT_FOUND, "")
    assert "Traceback" not in err
    assert err.startswith("ell-otel: ")


def test_with_json_an_error_is_an_envelope_too(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "log", "nobody", "--json")
    envelope = json.loads(out)
    assert (code, err, envelope["status"], envelope["data"]) == (cli.NOT_FOUND, "", "error", [])
    assert "nobody" in envelope["diagnostics"][-1]["message"]


@pytest.mark.parametrize("line", [("log", "--no-such-flag"), ("invocations", "--limit", "0"), ("nonsense",)])
def test_usage_errors_are_exit_code_2_and_with_json_an_envelope(
    capsys: pytest.CaptureFixture[str], line: tuple[str, ...]
) -> None:
    code, out, err = run(capsys, *line)
    assert (code, out) == (cli.USAGE, "")
    assert err.startswith("usage: ell-otel")
    code, out, err = run(capsys, *line, "--json")
    envelope = json.loads(out)
    assert (code, err, envelope["status"], envelope["data"]) == (cli.USAGE, "", "error", [])
    assert line[-1] in envelope["diagnostics"][0]["message"] or "1 or more" in envelope["diagnostics"][0]["message"]


def test_a_store_that_is_none_or_does_not_answer_is_one_sentence_with_the_remedy(shop: Path) -> None:
    for store, code in (("nonsense", cli.USAGE), ("http://127.0.0.1:1/db", cli.STORE)):
        command = [sys.executable, "-m", "ell_otel", "log", "--store", store]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1), done.stderr
        assert store in done.stderr
    command = [sys.executable, "-m", "ell_otel", "doctor", "--store", "http://127.0.0.1:1/db"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "60"})
    assert (done.returncode, done.stderr) == (cli.FOUND, "")
    assert "problem" in done.stdout
    assert "…" not in done.stdout
    assert done.stdout.rstrip().endswith("ELL_OTEL_STORE")


def test_since_that_is_no_time_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "invocations", "--since", "yesterday-ish")
    assert code == cli.USAGE
    assert "30m" in err


def test_migrate_and_doctor_find_everything_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    data(capsys, "log")
    assert "up to date" in run(capsys, "migrate")[2]
    findings = {row["about"]: row for row in data(capsys, "doctor")}
    assert findings["store"]["level"] == "ok"
    assert "2 programs" in findings["store"]["finding"]


def test_doctor_says_a_password_only_when_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, shop: Path
) -> None:
    monkeypatch.setenv("ELL_OTEL_INGEST_TOKEN", "from-the-environment")
    kept = shop / "token"
    kept.write_text("from-the-file\n")
    kept.chmod(0o600)
    try:
        for more in ((), ("--json",)):
            _, out, err = run(capsys, "doctor", *more)
            assert "from-the" not in out + err
            assert str(kept) in out
            assert "ELL_OTEL_INGEST_TOKEN" in out
        asked = data(capsys, "doctor", "--show-passwords")
        assert [row["finding"] for row in asked if row["about"] == "password"] == [
            "of the ClickHouse user `reader`: from-the-file",
            "of the ClickHouse user `ingest`: from-the-environment",
        ]
    finally:
        kept.unlink()


def test_doctor_says_when_another_folder_lies_about(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / ".ell").mkdir()
    code, out, _ = run(capsys, "doctor")
    assert code == cli.FOUND
    assert "there is another" in out


def test_a_store_held_by_another_process_is_exit_code_3_with_pid_and_remedy(
    capsys: pytest.CaptureFixture[str], shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        "import sys, time; from ell_otel import config; from ell_otel.store.client import open_store\n"
        "with open_store(config.resolve(), purpose='a long job'):\n"
        "    print('open', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "open\n"
            code, _, err = run(capsys, "log")
        finally:
            holder.kill()
    assert code == cli.STORE
    assert str(holder.pid) in err
    assert "a long job" in err


def test_a_damaged_segment_is_reported_and_the_rest_is_read(capsys: pytest.CaptureFixture[str], shop: Path) -> None:
    before = len(data(capsys, "invocations", "--limit", "100"))
    ell.init(dir=str(shop))

    @ell.program
    def odd() -> None:
        """Two runs; the first one's frame will be damaged."""

    odd()
    odd()
    providers.reset()
    (segment,) = (shop / "spool").glob("*.seg")
    whole = bytearray(segment.read_bytes())
    whole[whole.index(b"invoke_workflow")] ^= 1
    segment.write_bytes(whole)
    code, _, err = run(capsys, "log")
    assert code == cli.OK
    assert "1 damaged" in err
    assert len(data(capsys, "invocations", "--limit", "100")) == before + 1


def test_a_folder_that_is_not_there_is_said_and_not_made(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, err = run(capsys, "log", "--dir", str(tmp_path / "new" / ".ell"))
    assert (code, out) == (cli.NOT_FOUND, "")
    assert "there is no" in err
    assert not (tmp_path / "new").exists()


def test_a_projects_folder_may_be_given_for_the_one_inside_it(capsys: pytest.CaptureFixture[str], shop: Path) -> None:
    assert {row["name"] for row in data(capsys, "log", "--dir", str(shop.parent))} >= {"app.reply"}


def test_a_folder_of_other_things_is_refused_and_left_as_it_is(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").touch()
    code, _, err = run(capsys, "log", "--dir", str(tmp_path))
    assert code == cli.USAGE
    assert "is no .ell folder" in err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    "line",
    [
        ("invocations", "--since", "99999999999d"),
        ("invocations", "--since", "999999999w"),
        ("log", "--store", "http://[::1"),
        ("log", "--store", "ftp://x"),
        ("log", "--store", "chdb:////"),
        ("log", "--dir", "~nosuchuser/x"),
    ],
)
def test_odd_values_are_errors_with_a_sentence_and_no_traceback(
    capsys: pytest.CaptureFixture[str], line: tuple[str, ...]
) -> None:
    code, _, err = run(capsys, *line)
    assert code in {cli.USAGE, cli.STORE, cli.NOT_FOUND}
    assert err.startswith("ell-otel: ")


@pytest.mark.parametrize("shell", ["{} log >&-", "{} log > /dev/full", "{} log --json | true", "{} log | head -1"])
def test_a_stdout_that_takes_nothing_is_no_traceback(shop: Path, shell: str) -> None:
    command = shell.format(f"{sys.executable} -m ell_otel")
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr


def test_sql_works_through_a_running_server_as_well(capsys: pytest.CaptureFixture[str], shop: Path) -> None:
    settings = config.resolve(dir=str(shop), grpc_port=0, http_port=0, clickhouse_port=0, port=0)
    service = Service(settings, fronts=operating.fronts(settings))
    service.start()
    try:
        assert data(capsys, "sql", "SELECT 1 AS one") == [{"one": 1}]
        assert run(capsys, "sql", "DROP TABLE otel_traces")[0] == cli.STORE
    finally:
        service.stop()


def test_show_draws_what_ran_inside_an_invocation(capsys: pytest.CaptureFixture[str], shop: Path) -> None:
    ell.init(dir=str(shop))

    @ell.program
    def inner() -> str:
        return "x"

    @ell.program
    def outer() -> str:
        return inner()

    outer()
    providers.reset()
    (newest,) = data(capsys, "invocations", "--program", "outer", "--limit", "1")
    _, out, _ = run(capsys, "show", newest["id"])
    assert f"  invoke_workflow {__name__}" in out.partition("inside it")[2]


def test_a_read_only_folder_is_exit_code_3_with_the_remedy(tmp_path: Path) -> None:
    if os.geteuid() == 0:  # root may write anywhere, so the folder is a file
        blocked = tmp_path / "file"
        blocked.touch()
    else:
        blocked = tmp_path / "closed"
        blocked.mkdir(mode=0o500)
    done = subprocess.run(
        [sys.executable, "-m", "ell_otel", "migrate", "--dir", str(blocked / ".ell")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == cli.STORE
    assert "Traceback" not in done.stderr


def test_help_takes_less_than_four_tenths_of_a_second_of_the_processor_and_imports_no_engine() -> None:
    script = (
        "import sys\nfrom ell_otel import cli\ntry: cli.main(['--help'])\nfinally: assert 'chdb' not in sys.modules"
    )
    took = []
    for _ in range(5):
        before = os.times()
        subprocess.run([sys.executable, "-c", script], stdout=subprocess.DEVNULL, check=True)
        after = os.times()
        took.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert min(took) < 0.4


def test_a_program_whose_source_cannot_be_had_is_followed_all_the_same_and_said_to_be_partial(
    capsys: pytest.CaptureFixture[str], shop: Path
) -> None:
    ell.init(dir=str(shop))
    namespace: dict[str, Any] = {"ell": ell, "__name__": "nowhere"}
    exec("@ell.program\ndef sourceless(): return 'still runs'", namespace)
    assert namespace["sourceless"]() == "still runs"
    providers.reset()
    assert "(partial)" in run(capsys, "log", "sourceless")[1]
    code, _, err = run(capsys, "show", "sourceless")
    assert code == cli.OK
    assert "source of nowhere.sourceless" in err


def test_serve_says_with_json_where_it_listens_and_ends_well(shop: Path) -> None:
    ports = [word for name in ("--grpc-port", "--http-port", "--clickhouse-port", "--port") for word in (name, "0")]
    command = [sys.executable, "-m", "ell_otel", "serve", "--json", *ports]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        envelope = json.loads(server.stdout.readline())
        server.terminate()
        rest, err = server.communicate(timeout=30)
    assert (server.returncode, rest, err, envelope["status"]) == (0, "", "", "ok")
    assert {row["name"] for row in envelope["data"]} == {"OTLP/gRPC", "OTLP/HTTP", "ClickHouse HTTP", "REST API"}
    assert all(row["port"] for row in envelope["data"])

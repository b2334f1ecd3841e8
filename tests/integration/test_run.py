"""``ell-otel run`` on apps that have never heard of us: attributed from outside, and else as without us."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipapp
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_readme import README, ROOT, normal

from ell_otel.cli.running import command
from ell_otel.errors import ConfigError
from ell_otel.testing import FakeModel, RecordedSpan, default_reply, recorded

APP = """\
import sys
import openai

def ask():
    with openai.OpenAI() as client:
        return client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Why?"}])

if __name__ == "__main__":
    ask()
    print(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def model() -> Iterator[FakeModel]:
    def reply(request: dict[str, Any]) -> str | dict[str, Any]:
        answer = default_reply(request)
        return answer if isinstance(answer, dict) else "It slows the sender down until the receiver can keep up."

    with FakeModel(reply) as fake:
        yield fake


def start(model: FakeModel, cwd: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"OPENAI_BASE_URL": model.base_url, "OPENAI_API_KEY": "not-needed"} | environment
    env.pop("COLUMNS", None)
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done


def run(model: FakeModel, cwd: Path, *words: str, **environment: str) -> str:
    return start(model, cwd, sys.executable, "-m", "ell_otel", *words, **environment).stdout


def asked(folder: Path) -> list[RecordedSpan]:
    return [span for span in recorded(folder).spans if "gen_ai.request.model" in span.attributes]


def programs(folder: Path) -> list[str]:
    return [span.attributes.get("ell.program.name", "") for span in asked(folder)]


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def test_the_readmes_app_is_run_and_told_of_as_the_readme_says(model: FakeModel) -> None:
    (shown,) = re.findall(r"```console\n(\$ ell-otel run app.py\n.*?)```", README, re.DOTALL)
    said = re.split(r"^\$ ell-otel (.*)\n", shown, flags=re.MULTILINE)[1:]
    assert said[::2] == ["run app.py", "log"]
    for line, output in zip(said[::2], said[1::2], strict=True):
        printed = run(model, ROOT / "examples" / "unaware", *line.split())
        assert cost_free(normal(printed)) == cost_free(normal(output))


def cost_free(text: str) -> str:
    """Without the tokens, which follow from the exact answers of whichever model is asked, and what they cost."""
    return re.sub(r"\$\d\.\d+", "COST", text)


def test_a_script_gets_its_arguments_and_its_calls_name_their_function(
    model: FakeModel, app: Path, folder: Path
) -> None:
    assert run(model, app, "run", "app.py", "--json", "-m", "x") == "['--json', '-m', 'x']\n"
    assert programs(folder) == ["app.ask"]
    assert [event.name for event in recorded(folder).events] == ["ell.program"]


def test_a_module_and_a_command_are_run_as_well(model: FakeModel, app: Path, folder: Path) -> None:
    assert run(model, app, "run", "-m", "app", "--one", "-m", "two") == "['--one', '-m', 'two']\n"
    assert run(model, app, "run", "-m", "app", "--", "--one") == "['--', '--one']\n"
    run(model, app, "run", "--", "python", "app.py")
    assert programs(folder) == ["app.ask", "app.ask", "app.ask"]


def test_an_archive_is_run_as_python_runs_it(model: FakeModel, app: Path, folder: Path) -> None:
    (app / "packed").mkdir()
    (app / "app.py").rename(app / "packed" / "__main__.py")
    zipapp.create_archive(app / "packed", app / "app.pyz")
    assert run(model, app, "run", "app.pyz", "--json") == "['--json']\n"
    assert programs(folder) == ["app.ask"]


def test_child_processes_are_attributed_too(model: FakeModel, app: Path, folder: Path) -> None:
    (app / "parent.py").write_text("import subprocess, sys\nsubprocess.run([sys.executable, 'app.py'], check=True)\n")
    run(model, app, "run", "parent.py")
    assert programs(folder) == ["app.ask"]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_of_multiprocessing_are_attributed_too(
    model: FakeModel, app: Path, folder: Path, method: str
) -> None:
    (app / "parent.py").write_text(
        f"import multiprocessing, app\nif __name__ == '__main__':\n"
        f"    process = multiprocessing.get_context({method!r}).Process(target=app.ask)\n"
        "    process.start()\n    process.join()\n    assert process.exitcode == 0\n"
    )
    run(model, app, "run", "parent.py")
    assert programs(folder) == ["app.ask"]


def test_a_sitecustomize_of_the_users_runs_as_well(model: FakeModel, app: Path, folder: Path) -> None:
    (app / "theirs").mkdir()
    (app / "theirs" / "sitecustomize.py").write_text("import os\nos.environ['THEIRS'] = 'ran'\n")
    (app / "app.py").write_text(
        APP + "    import os, sitecustomize\n    print(os.environ['THEIRS'], sitecustomize.__file__)\n"
    )
    path = os.pathsep.join([str(app / "theirs"), os.environ.get("PYTHONPATH", "")])
    printed = run(model, app, "run", "app.py", PYTHONPATH=path)
    assert printed.splitlines()[1] == f"ran {app / 'theirs' / 'sitecustomize.py'}"
    assert programs(folder) == ["app.ask"]


def test_code_at_the_top_of_a_script_is_a_program_of_its_own(model: FakeModel, app: Path, folder: Path) -> None:
    (app / "script.py").write_text(
        APP.partition("def ask")[0]
        + "with openai.OpenAI() as client:\n    client.chat.completions.create(model='m', messages=[])\n"
    )
    run(model, app, "run", "script.py")
    assert programs(folder) == ["script.<module>"]


PATCHED = """\
import openai, opentelemetry.trace
from openai.resources.chat.completions import AsyncCompletions, Completions
from openai.resources.embeddings import Embeddings
from openai.resources.responses import Responses
found = [Completions.create, Completions.parse, AsyncCompletions.create, Embeddings.create, Responses.create,
         opentelemetry.trace.set_tracer_provider]
print([type(each).__name__ + ":" + str(hasattr(each, "__wrapped__") and each.__module__) for each in found])
"""


@pytest.mark.parametrize("switch", ["OTEL_SDK_DISABLED", "ELL_OTEL_DISABLED"])
def test_nothing_is_patched_when_disabled(model: FakeModel, app: Path, folder: Path, switch: str) -> None:
    (app / "patched.py").write_text(PATCHED)
    without = start(model, app, sys.executable, "patched.py").stdout
    assert run(model, app, "run", "patched.py") != without
    assert run(model, app, "run", "patched.py", **{switch: "true"}) == without
    run(model, app, "run", "app.py", **{switch: "1"})
    assert not folder.exists()


def test_an_applications_own_provider_is_joined_whenever_it_is_set(model: FakeModel, app: Path, folder: Path) -> None:
    (app / "own.py").write_text(
        "import app\napp.ask()\n"
        "from opentelemetry import trace\nfrom opentelemetry.sdk.trace import TracerProvider\n"
        "from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor\n"
        "provider = TracerProvider()\nprovider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))\n"
        "trace.set_tracer_provider(provider)\nassert trace.get_tracer_provider() is provider\napp.ask()\n"
    )
    printed = run(model, app, "run", "own.py")
    assert printed.count('"ell.program.name": "app.ask"') == 1
    assert programs(folder) == ["app.ask", "app.ask"]


def test_opentelemetry_instrument_finds_us(model: FakeModel, app: Path, folder: Path) -> None:
    tool = Path(sys.executable).parent / "opentelemetry-instrument"
    start(model, app, str(tool), sys.executable, "app.py")
    assert programs(folder) == ["app.ask"]


def test_what_is_to_be_run_is_understood_or_refused() -> None:
    assert command("pkg", ["a"]) == [sys.executable, "-m", "pkg", "a"]
    assert command(None, ["app.py", "-x"]) == [sys.executable, "app.py", "-x"]
    assert command(None, ["--", "python", "app.py"])[1:] == ["app.py"]
    with pytest.raises(ConfigError, match="name what to run"):
        command(None, [])
    with pytest.raises(ConfigError, match="there is no program 'no-such-thing'"):
        command(None, ["no-such-thing"])

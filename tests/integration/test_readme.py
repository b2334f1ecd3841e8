"""The README tells the truth: its program is run, and what it says the commands print is what they print."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ell_otel import config
from ell_otel.cli.reference import commands_page, settings_page
from ell_otel.testing import FakeModel

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def normal(text: str) -> str:
    """Without what differs from run to run: hashes, times, durations, tokens' cost and the width of columns."""
    text = re.sub(r"c1:[0-9a-f]{8}", "c1:HASH", text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME", text)
    text = re.sub(r"[\d.]+ m?s\b", "DURATION", text)
    return re.sub(r" +", " ", text).strip()


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the README's commands print after its program was run, changed and run again."""
    home = tmp_path_factory.mktemp("readme")
    (program,) = blocks("python")
    (home / "pyproject.toml").touch()
    with FakeModel(lambda request: "It slows the sender down until the receiver can keep up.") as model:
        env = {name: value for name, value in os.environ.items() if name not in {"ELL_OTEL_DIR", "COLUMNS"}}
        env |= {"OPENAI_BASE_URL": model.base_url, "OPENAI_API_KEY": "not-needed"}
        for text in (program, program.replace("one sentence", "two sentences")):
            (home / "app.py").write_text(text)
            subprocess.run([sys.executable, "app.py"], cwd=home, env=env, check=True, capture_output=True)
        told = {}
        for line in ("log explain", "diff explain@v1 explain@v2"):
            command = [sys.executable, "-m", "ell_otel", *line.split()]
            done = subprocess.run(command, cwd=home, env=env, check=False, capture_output=True, text=True)
            told[f"$ ell-otel {line}"] = done.stderr + done.stdout
    return told


@pytest.mark.parametrize("command", ["$ ell-otel log explain", "$ ell-otel diff explain@v1 explain@v2"])
def test_what_a_command_prints_is_what_the_readme_says(told: dict[str, str], command: str) -> None:
    (shown,) = [block for block in blocks("console") if block.startswith(command + "\n")]
    assert normal(told[command]) == normal(shown.removeprefix(command))


def test_every_path_that_the_readme_and_the_design_page_name_exists() -> None:
    for page, folder in ((README, ROOT), ((ROOT / "docs" / "design.md").read_text(), ROOT / "docs")):
        links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page)
        assert links
        assert [link for link in links if not (folder / link).exists()] == []


def test_the_reference_pages_are_what_the_code_says() -> None:
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == settings_page()
    if sys.version_info[:2] == (3, 11):  # argparse prints help a little differently in each version
        assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == commands_page()


def test_every_setting_can_be_set_from_the_environment_and_says_what_it_is() -> None:
    for row in config.fields(config.Settings):
        assert row.metadata["env"], row.name
        assert row.metadata["doc"].endswith("."), row.name

"""Tokens: made once, private, compared whole."""

from __future__ import annotations

import base64
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ell_otel.config import resolve
from ell_otel.errors import ConfigError
from ell_otel.server.security import Role, User, authenticate, basic, read_token, users

USERS = {"reader": User("right", Role.READER)}


def test_a_token_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    token = read_token(resolve({}), tmp_path)
    assert len(token) >= 43, "256 bits in base64"
    assert read_token(resolve({}), tmp_path) == token
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["token"]


def test_two_first_uses_at_once_agree_on_one_token(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        tokens = set(pool.map(lambda _: read_token(resolve({}), tmp_path), range(32)))
    assert len(tokens) == 1


def test_an_empty_token_file_is_never_a_password(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("\n")
    assert len(read_token(resolve({}), tmp_path)) >= 43


def test_the_setting_wins_and_nothing_is_written(tmp_path: Path) -> None:
    assert read_token(resolve({"ELL_OTEL_TOKEN": "mine"}), tmp_path) == "mine"
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_used_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ELL_OTEL_TOKEN"):
        read_token(resolve({}), tmp_path / "absent")


def test_readers_and_inserters_have_different_passwords_made_the_same_way(tmp_path: Path) -> None:
    made = users(resolve({}), tmp_path)
    assert made["reader"].password != made["ingest"].password == (tmp_path / "ingest-token").read_text().strip()
    assert stat.S_IMODE((tmp_path / "ingest-token").stat().st_mode) == 0o600
    assert users(resolve({}), tmp_path) == made
    given = users(resolve({"ELL_OTEL_TOKEN": "r", "ELL_OTEL_INGEST_TOKEN": "i"}), tmp_path)
    assert [(user.password, user.role) for user in given.values()] == [("r", Role.READER), ("i", Role.INGEST)]


@pytest.mark.parametrize(
    ("name", "password"), [("reader", "wrong"), ("reader", ""), ("nobody", "right"), ("", ""), ("reader", "rightX")]
)
def test_a_wrong_name_or_password_is_nobody(name: str, password: str) -> None:
    assert authenticate(USERS, name, password) is None


def test_the_right_name_and_password_are_that_user() -> None:
    assert authenticate(USERS, "reader", "right") is USERS["reader"]


@pytest.mark.parametrize(
    "header", [None, "", "Bearer x", "Basic", "Basic %%%", "Basic " + base64.b64encode(b"\xff").decode()]
)
def test_a_header_that_is_not_basic_names_nobody(header: str | None) -> None:
    assert basic(header) is None


def test_a_password_may_hold_a_colon() -> None:
    assert basic("Basic " + base64.b64encode(b"reader:a:b").decode()) == ("reader", "a:b")

"""Redaction: every kind of secret goes, everything that only looks like one stays, in time linear in the text."""

from __future__ import annotations

import base64
import hashlib
import json
import time
import uuid
from typing import Any

import pytest
from canaries import CANARIES
from hypothesis import given, settings
from hypothesis import strategies as st

from ell_otel.redact import REDACTED, names_secret, redact, redact_data, redact_value
from ell_otel.secret_kinds import KINDS


@pytest.mark.parametrize("kind", CANARIES)
@pytest.mark.parametrize(
    "around",
    ["{}", "key={}", 'x = "{}"', "use {}, please", "({})", '{{"k": "{}"}}', "a\n{}\nb", "a\\n{}\\nb",
     "é {} ß", "İ {}", "日本語の長い文章です、\u3000{}\u00a0と", "\ud800 {}", "a_rather_long_word_before {} https://and.after/it"],
)  # fmt: skip
def test_a_key_is_gone_wherever_it_stands(kind: str, around: str) -> None:
    clean = redact(around.format(CANARIES[kind]))
    assert REDACTED in clean
    assert CANARIES[kind][8:] not in clean


def test_there_are_at_least_forty_kinds() -> None:
    assert len(KINDS) >= 40
    assert len({kind.name for kind in KINDS}) == len(KINDS)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("postgres://me:hunter2@db:5432/x", "postgres://me:[REDACTED]@db:5432/x"),
        ("redis://:hunter2@cache", "redis://:[REDACTED]@cache"),
        ("mongodb+srv://me:p%40ss@c.example/x?y=1", "mongodb+srv://me:[REDACTED]@c.example/x?y=1"),
        ("Server=s;User Id=u;Password=s3cret!;", "Server=s;User Id=u;Password=[REDACTED];"),
        ("host=h user=u password=s3cret", "host=h user=u password=[REDACTED]"),
        ("AccountName=a;AccountKey=" + "A1b+" * 21 + "Aw==;", "AccountName=a;AccountKey=[REDACTED];"),
        ("https://x.blob.core/c?sv=1&sig=" + "aB1%2B" * 8, "https://x.blob.core/c?sv=1&sig=[REDACTED]"),
        ("GET /v1?api_key=abcdef123456&x=1", "GET /v1?api_key=[REDACTED]&x=1"),
        ("Authorization: Basic dXNlcjpwYXNzd29yZA==", "Authorization: Basic [REDACTED]"),
        ("{'Authorization': 'Bearer abcdef1234567890'}", "{'Authorization': 'Bearer [REDACTED]'}"),
        ("İ password=s3cret99x, pwd: s3cret99y", "İ password=[REDACTED], pwd: [REDACTED]"),
        ("AWS secret: " + "A1b+" * 10, "AWS secret: [REDACTED]"),
        ("postgres://me:a@b/c#d@db/x", "postgres://me:[REDACTED]@db/x"),
        ("Server=s;User ID=u;Password={a;b=c1};Encrypt=True", "Server=s;User ID=u;Password={[REDACTED]};Encrypt=True"),
        ("jdbc:oracle:thin:scott/tiger9@//h:1521/x", "jdbc:oracle:thin:scott/[REDACTED]@//h:1521/x"),
        ("curl -u ada:s3cret99 https://h", "curl -u ada:[REDACTED] https://h"),
        ("mysql --password=s3cret99x db", "mysql --password=[REDACTED] db"),
        ("tool --api-key s3cret99x run", "tool --api-key [REDACTED] run"),
        ("db:\n  password: s3cret99x\n", "db:\n  password: [REDACTED]\n"),
        ('api_key = "s3cret99x"\n', 'api_key = "[REDACTED]"\n'),
        ("<password>s3cret99x</password>", "<password>[REDACTED]</password>"),
        ("Set-Cookie: sid=s3cret99xs3cret99x; Path=/", "Set-Cookie: sid=[REDACTED]; Path=/"),
        ("https://b.s3.amazonaws.com/k?X-Amz-Signature=" + "0a1b" * 16, "https://b.s3.amazonaws.com/k?X-Amz-Signature=[REDACTED]"),
        ("machine h login u password s3cret", "machine h login u password [REDACTED]"),
        ("PGPASSWORD=s3cret99 psql", "PGPASSWORD=[REDACTED] psql"),
        ('{"password":"a\\"s3cret99"}', '{"password":"[REDACTED]"}'),
        ("x-api-key: abcdef-123456", "x-api-key: [REDACTED]"),
        ("export OPENAI_API_KEY=abcdef123456", "export OPENAI_API_KEY=[REDACTED]"),
        ("https://hooks.slack.com/services/T00000000/B00000000/XXXX1234abcd", "https://hooks.slack.com/services/[REDACTED]"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE\nabc-d\n-----END PRIVATE KEY-----\nrest",
         "-----BEGIN PRIVATE KEY-----[REDACTED]-----END PRIVATE KEY-----\nrest"),
    ],
)  # fmt: skip
def test_of_a_secret_inside_a_larger_value_only_the_secret_goes(text: str, left: str) -> None:
    assert redact(text) == left
    assert redact(left) == left


@pytest.mark.parametrize(
    "text",
    [
        str(uuid.UUID(int=5**50)), hashlib.sha256(b"a").hexdigest(), hashlib.md5(b"a").hexdigest(),
        base64.b64encode(bytes(range(256))).decode(), "c1:" + hashlib.sha256(b"b").hexdigest(),
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ", "scikit-learn sk-learn task-based risk-averse",
        "https://example.com:8080/path@v2", "mail me@example.com", "postgres://{user}:{password}@{host}/db",
        "The bearer of this letter", "password: at least eight characters", "What is a secret?", "key = value", "token=",
        "sk-" + "x" * 30, "x = y  # pat on the back", "https://github.com/a/b/commit/0123456789abcdef0123456789abcdef01234567",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----", "gh_cli npm_config pypi-server hf_hub", "a" * 500,
        "postgres://me:$PASSWORD@db/x", "Authorization: Bearer <token>", "?token=[REDACTED]",
        "client = OpenAI(api_key=os.environ['OPENAI_API_KEY'])", "api_key=settings.openai_api_key", "password = get_password2(user)",
        "def login(user=None, password=None, usenetrc=True): pass", "password: required, at least 12 characters", "token_count = 123456789",
        "ft:gpt-4o-mini:acme:my-run:9AbCdEf1", "gpt-4o-mini-2024-07-18", "isbn 978-3-16-148410-0", "primary-key: customer_id_2",
        "set -u option:value1234", "--password-stdin something1", "<key>CFBundleVersion12</key>", "idempotency_key=order-12345678",
        "http://localhost:8080/a@b", "public_key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH", "What is your password? Enter your password:",
    ],
)  # fmt: skip
def test_what_only_looks_like_a_secret_stays(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    ("name", "value"),
    [("password", "hunter22"), ("API_KEY", "abc-def"), ("openaiApiKey", "abcdef"), ("client-secret", "s3cr3t"), ("DB_PASSWORD", "x!y?z"),
     ("aws_secret_access_key", "wJalr/bPx"), ("x-api-key", "abcd"), ("token", "a1b2c3d4e5f6g7h8i9"), ("Authorization", "abcdef1234567890xx"),
     ("SLACK_TOKEN", "not-by-shape-1"), ("passphrase", "correct-horse"), ("secret2", "aaaa")],
)  # fmt: skip
def test_a_value_under_a_secrets_name_goes(name: str, value: str) -> None:
    assert redact_value(name, value) == REDACTED


@pytest.mark.parametrize(
    ("name", "value"),
    [("TOKEN", "<eos>"), ("token", "hello"), ("TOKEN", "cl100k_base"), ("api_key", ""), ("api_key", "OPENAI_API_KEY"), ("api_key", "${KEY}"),
     ("password", "********"), ("api_key", "your-key-here"), ("SECRET_PROMPT", "Tell me a secret"), ("password_prompt", "Enter it:"),
     ("monkey", "banana-123456789"), ("max_tokens", "4096"), ("keyboard", "qwerty12345678901"), ("key", "user_id"), ("cache_key", hashlib.sha256(b"k").hexdigest()),
     ("tokenizer", "gpt2-tokenizer-0001"), ("secretary", "Mrs-Smith-1"), ("secret", "It is a long story about a secret"), ("api_key_name", "prod-key-1")],
)  # fmt: skip
def test_a_harmless_value_under_such_a_name_stays(name: str, value: str) -> None:
    assert redact_value(name, value) == value


def test_names_are_read_by_whole_words() -> None:
    assert names_secret("OPENAI_API_KEY")
    assert names_secret("openAiApiKey")
    assert names_secret("db-password")
    assert not names_secret("monkey")
    assert not names_secret("max_tokens_limit")
    assert not names_secret("passwordless_login")


def test_data_is_walked_by_key_and_keeps_its_shape() -> None:
    key = CANARIES["openai"]
    data: dict[str, Any] = {
        "api_key": "abcd",
        "messages": [{"content": f"use {key}", "n": 1}],
        "t": (None, True, 1.5),
        key: "k",
    }
    clean = redact_data(data)
    assert clean == {
        "api_key": REDACTED,
        "messages": [{"content": f"use {REDACTED}", "n": 1}],
        "t": [None, True, 1.5],
        REDACTED: "k",
    }
    assert data["api_key"] == "abcd", "the original is left alone"


def test_cyclic_data_comes_to_an_end() -> None:
    data: list[Any] = []
    data.append(data)
    assert REDACTED in json.dumps(redact_data(data))


_SHORT_PIECES = (
    *("password", "Passwd", "pwd", "token", "api_key", "secret", "Auth", "host", "user", "machine", "login"),
    *("curl -u ", "--user "),
    *(":", "=", ">", "<", "--", "-", '"', "'", "\\", ";", "&", "@", "\n", "\u00a0", " ", " ", " ", " "),
    *("hunter2!x", "Xy7zQ9wK", "authorization", "basic", "-----BEGIN PRIVATE KEY-----", "dbname=a", "Private-Lines: 3"),
)


@settings(max_examples=500)
@given(st.lists(st.sampled_from(_SHORT_PIECES), max_size=30).map("".join), st.integers(0, 9))
def test_a_secret_among_short_words_is_found_as_among_long_ones(text: str, filling: int) -> None:
    text = "so it is " * filling + text
    long = "x" * 30 + "\n"  # a text with such a word in it is looked through as a whole
    assert long + redact(text) == redact(long + text)


@pytest.mark.parametrize(
    "setting", ["password: {}", "password={}", '"pwd": "{}"', "<password>{}</password>", "pwd  =  {}"]
)
def test_a_short_secret_is_found_at_any_place_of_a_long_text(setting: str) -> None:
    for before, after in ((0, 0), (300, 0), (0, 300), (300, 300)):
        clean = redact("so it is " * before + setting.format("Xy7zQ9wK") + " and so on" * after)
        assert "Xy7zQ9wK" not in clean
        assert REDACTED in clean


@given(st.text())
def test_redaction_is_settled_after_one_pass(text: str) -> None:
    assert redact(redact(text)) == redact(text)


@pytest.mark.parametrize(
    "unit", ["a", "-", "://", "eyJ", "password=", "x:", "-----BEGIN PRIVATE KEY-----", "aws secret ", "?token=", "http://a:",
             "'key': '" + "\\" * 50, "{\\\"a key\\\": \\\"", "\\\\", "eyJhbGciOi.", "curl ", "token ", "key: a", "-us", "password={",
             "Bearer ", "M", "sk-", "host=a password", ".", "\n", "AAAA", "=", "1:AA", "key-"],
)  # fmt: skip
def test_time_is_linear_in_the_text(unit: str) -> None:
    seconds = []
    for size in (20_000, 80_000):
        text = (unit * size)[:size]
        seconds.append(min(took(text) for _ in range(3)))
    assert seconds[1] < max(0.05, 12 * seconds[0])
    assert seconds[1] < 1.0


def took(text: str) -> float:
    """Of the processor, by this thread alone."""
    started = time.thread_time()
    redact(text)
    return time.thread_time() - started


def test_secrets_are_found_by_name_inside_json_and_reprs() -> None:
    for text in (
        '{"password": "jsonPw12x"}',
        "{'password': 'jsonPw12x'}",
        '{\\"password\\": \\"jsonPw12x\\"}',
        '{"user": "ada", "client_secret":"jsonPw12x", "n": 1}',
    ):
        assert "jsonPw12x" not in redact(text), text
    for text in ('{"token": "<eos>"}', '{"max_tokens": "100"}', '{"password": ""}', '{"key": "value"}'):
        assert redact(text) == text


def test_a_scheme_before_a_credential_does_not_hide_it() -> None:
    headers = {"Authorization": "Basic dXNlcjpwYXNzd29yZDEyMw==", "Accept": "text/html"}
    assert redact_data(headers) == {"Authorization": "[REDACTED]", "Accept": "text/html"}

"""Redaction: every kind of secret goes, everything that only looks like one stays, in time linear in the text."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import string
import time
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ell_otel.redact import REDACTED, names_secret, redact, redact_data, redact_value
from ell_otel.secret_kinds import KINDS

_RANDOM = random.Random(3)


def letters(count: int, alphabet: str = string.ascii_letters + string.digits) -> str:
    """Random characters with a digit among them."""
    return "".join(_RANDOM.choice(alphabet) for _ in range(count - 1)) + "7"


HEX = "0123456789abcdef"
BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
CANARIES = {
    "openai": "sk-" + letters(48), "openai-project": "sk-proj-" + letters(80), "openai-service": "sk-svcacct-" + letters(60),
    "openai-admin": "sk-admin-" + letters(60), "anthropic": "sk-ant-api03-" + letters(93), "openrouter": "sk-or-v1-" + letters(64, HEX),
    "langfuse": "sk-lf-" + str(uuid.uuid4()), "groq": "gsk_" + letters(52), "huggingface": "hf_" + letters(34),
    "replicate": "r8_" + letters(37), "perplexity": "pplx-" + letters(48), "xai": "xai-" + letters(80), "fireworks": "fw_" + letters(24),
    "nvidia": "nvapi-" + letters(64), "tavily": "tvly-" + letters(32), "langsmith": "lsv2_pt_" + letters(32, HEX) + "_" + letters(10, HEX),
    "pinecone": "pcsk_" + letters(50), "aws-id": "AKIA" + letters(16, BASE32), "aws-session": "ASIA" + letters(16, BASE32),
    "google": "AIza" + letters(35), "google-oauth": "GOCSPX-" + letters(28), "google-token": "ya29." + letters(60),
    "digitalocean": "dop_v1_" + letters(64, HEX), "alibaba": "LTAI" + letters(20), "databricks": "dapi" + letters(32, HEX),
    "supabase": "sbp_" + letters(40, HEX), "github": "ghp_" + letters(36), "github-server": "ghs_" + letters(36),
    "github-fine": "github_pat_" + letters(82), "gitlab": "glpat-" + letters(20), "npm": "npm_" + letters(36),
    "pypi": "pypi-" + letters(120), "docker": "dckr_pat_" + letters(27), "atlassian": "ATATT3" + letters(180),
    "stripe": "sk_live_" + letters(24), "stripe-restricted": "rk_test_" + letters(24), "stripe-hook": "whsec_" + letters(32),
    "slack": "xoxb-123456789012-" + letters(24), "slack-app": "xapp-1-" + letters(40), "telegram": "123456789:AA" + letters(33),
    "sendgrid": "SG." + letters(22) + "." + letters(43), "mailgun": "key-" + letters(32, HEX), "mailchimp": letters(32, HEX) + "-us12",
    "twilio": "SK" + letters(32, HEX), "shopify": "shpat_" + letters(32, HEX), "notion": "ntn_" + letters(46), "linear": "lin_api_" + letters(40),
    "airtable": "pat" + letters(14) + "." + letters(64, HEX), "figma": "figd_" + letters(40), "postman": "PMAK-" + letters(24, HEX) + "-" + letters(34, HEX),
    "doppler": "dp.pt." + letters(43), "vault": "hvs." + letters(90), "newrelic": "NRAK-" + letters(27, string.ascii_uppercase + string.digits),
    "grafana": "glsa_" + letters(32) + "_" + letters(8, HEX), "posthog": "phx_" + letters(43),
    "jwt": f"eyJhbGciOiJIUzI1NiJ9.eyJ{letters(40)}.{letters(43)}", "age": "AGE-SECRET-KEY-1" + letters(58, string.ascii_uppercase),
    "azure-ad": letters(3) + "8Q~" + letters(34), "discord": "M" + letters(24) + ".X" + letters(5) + "." + letters(38),
    "vercel": "vercel_blob_rw_" + letters(40), "planetscale": "pscale_tkn_" + letters(43), "logfire": "pylf_v1_us_" + letters(43),
}  # fmt: skip


@pytest.mark.parametrize("kind", CANARIES)
@pytest.mark.parametrize("around", ["{}", "key={}", 'x = "{}"', "use {}, please", "({})", '{{"k": "{}"}}', "a\n{}\nb"])
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


@given(st.text())
def test_redaction_is_settled_after_one_pass(text: str) -> None:
    assert redact(redact(text)) == redact(text)


@pytest.mark.parametrize(
    "unit", ["a", "-", "://", "eyJ", "password=", "x:", "-----BEGIN PRIVATE KEY-----", "aws secret ", "?token=", "http://a:",
             "Bearer ", "M", "sk-", "host=a password", ".", "\n", "AAAA", "=", "1:AA", "key-"],
)  # fmt: skip
def test_time_is_linear_in_the_text(unit: str) -> None:
    seconds = []
    for size in (20_000, 80_000):
        text = (unit * size)[:size]
        started = time.process_time()
        redact(text)
        seconds.append(time.process_time() - started)
    assert seconds[1] < max(0.05, 12 * seconds[0])
    assert seconds[1] < 1.0


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

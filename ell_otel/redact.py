"""Secrets out of text: by the shape of a value, and by the name it is stored under.

`redact` takes free text; `redact_value` a string with the name it goes by; `redact_data` walks JSON-like data. A secret
becomes `[REDACTED]` whatever it was, so that rotating a key changes nothing that is derived from redacted text.

Each pattern is anchored on a fixed prefix or on the words around the value, and every repetition is bounded, so time
grows linearly with the text. Random-looking strings alone are never enough: UUIDs, digests and base64 stay.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

REDACTED = "[REDACTED]"


class Kind(NamedTuple):
    """A kind of secret: `hint` is a lower-case text every match contains; group `s` is what is replaced, or all."""

    name: str
    hint: str
    pattern: str


_END = r"(?![A-Za-z0-9_-])"
_START = r"(?<![A-Za-z0-9_-])"


def _token(name: str, prefix: str, body: str) -> Kind:
    """A token known by its fixed prefix."""
    return Kind(name, prefix.lower(), _START + re.escape(prefix) + body + _END)


KINDS: tuple[Kind, ...] = (
    # Model providers
    _token("anthropic", "sk-ant-", r"[A-Za-z0-9_-]{16,200}"),
    _token("openai-project", "sk-proj-", r"[A-Za-z0-9_-]{16,300}"),
    _token("openai-service", "sk-svcacct-", r"[A-Za-z0-9_-]{16,300}"),
    _token("openai-admin", "sk-admin-", r"[A-Za-z0-9_-]{16,300}"),
    _token("openrouter", "sk-or-", r"(?:v1-)?[A-Za-z0-9]{16,200}"),
    _token("langfuse-secret", "sk-lf-", r"[A-Za-z0-9-]{16,100}"),
    _token("openai", "sk-", r"(?=[A-Za-z0-9]{0,200}[0-9])[A-Za-z0-9]{20,200}"),
    _token("groq", "gsk_", r"[A-Za-z0-9]{20,100}"),
    _token("huggingface", "hf_", r"[A-Za-z0-9]{20,100}"),
    _token("huggingface-org", "api_org_", r"[A-Za-z0-9]{20,100}"),
    _token("replicate", "r8_", r"[A-Za-z0-9]{20,100}"),
    _token("perplexity", "pplx-", r"[A-Za-z0-9]{20,100}"),
    _token("xai", "xai-", r"[A-Za-z0-9]{20,200}"),
    _token("fireworks", "fw_", r"[A-Za-z0-9]{20,100}"),
    _token("nvidia", "nvapi-", r"[A-Za-z0-9_-]{20,200}"),
    _token("tavily", "tvly-", r"[A-Za-z0-9_-]{16,100}"),
    _token("langsmith", "lsv2_", r"(?:pt|sk)_[A-Za-z0-9_]{16,120}"),
    _token("pinecone", "pcsk_", r"[A-Za-z0-9_]{16,200}"),
    _token("voyage", "pa-", r"[A-Za-z0-9_-]{40,100}"),
    # Clouds
    # One kind for each prefix: a hint is what keeps the pattern from being tried on every text.
    *(
        _token(f"aws-{prefix.lower()}", prefix, r"[A-Z2-7]{16}")
        for prefix in ("AKIA", "ASIA", "ABIA", "ACCA", "AROA", "AIDA")
    ),
    Kind(
        "aws-secret-key",
        "aws",
        r"(?i:aws.{0,20}secret.{0,20}?[\"'=:\s]{1,5})(?P<s>[A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])",
    ),
    Kind("google-api-key", "aiza", _START + r"AIza[A-Za-z0-9_-]{35}" + _END),
    _token("google-oauth-secret", "GOCSPX-", r"[A-Za-z0-9_-]{20,60}"),
    Kind("google-oauth-token", "ya29.", r"(?<![A-Za-z0-9_-])ya29\.[A-Za-z0-9_-]{20,400}"),
    Kind("azure-storage-key", "accountkey=", r"(?i:AccountKey=)(?P<s>[A-Za-z0-9+/]{40,100}={0,2})"),
    Kind("azure-sas", "sig=", r"[?&]sig=(?P<s>[A-Za-z0-9%+/]{30,120}(?:%3D|=){0,2})"),
    Kind("azure-shared-access-key", "sharedaccesskey=", r"(?i:SharedAccessKey=)(?P<s>[A-Za-z0-9+/]{20,100}={0,2})"),
    Kind(
        "azure-client-secret",
        "q~",
        r"(?<![A-Za-z0-9_~.-])[A-Za-z0-9_~.-]{3}\dQ~[A-Za-z0-9_~.-]{31,34}(?![A-Za-z0-9_~.-])",
    ),
    _token("digitalocean", "dop_v1_", r"[a-f0-9]{64}"),
    _token("digitalocean-oauth", "doo_v1_", r"[a-f0-9]{64}"),
    _token("cloudflare-ca", "v1.0-", r"[a-f0-9]{24}-[a-f0-9]{100,200}"),
    _token("alibaba", "LTAI", r"[A-Za-z0-9]{12,24}"),
    _token("fly", "fo1_", r"[A-Za-z0-9_-]{30,200}"),
    _token("heroku", "HRKU-", r"[A-Za-z0-9_-]{30,100}"),
    _token("vercel", "vercel_blob_rw_", r"[A-Za-z0-9_]{16,100}"),
    _token("supabase", "sbp_", r"[a-f0-9]{40}"),
    _token("supabase-secret", "sb_secret_", r"[A-Za-z0-9_-]{16,100}"),
    _token("planetscale", "pscale_", r"(?:tkn|pw|oauth)_[A-Za-z0-9_.=-]{16,100}"),
    _token("databricks", "dapi", r"[a-f0-9]{32}(?:-\d)?"),
    # Code hosts and package registries
    Kind("github", "gh", _START + r"gh[pousr]_[A-Za-z0-9]{30,255}" + _END),
    _token("github-fine-grained", "github_pat_", r"[A-Za-z0-9_]{30,255}"),
    Kind("gitlab", "gl", _START + r"gl(?:pat|dt|rt|cbt|ptt|ft|soat|imt|agent)-[A-Za-z0-9_-]{18,100}" + _END),
    _token("npm", "npm_", r"[A-Za-z0-9]{30,60}"),
    _token("pypi", "pypi-", r"[A-Za-z0-9_-]{40,300}"),
    _token("docker", "dckr_pat_", r"[A-Za-z0-9_-]{20,60}"),
    _token("rubygems", "rubygems_", r"[a-f0-9]{40,60}"),
    _token("atlassian", "ATATT3", r"[A-Za-z0-9_=-]{30,300}"),
    # Services
    Kind("stripe", "_", _START + r"(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,200}" + _END),
    _token("stripe-webhook", "whsec_", r"[A-Za-z0-9+/=]{20,100}"),
    Kind("slack", "xox", _START + r"xox[abeoprs]-[A-Za-z0-9-]{10,250}" + _END),
    _token("slack-app", "xapp-", r"\d-[A-Za-z0-9-]{20,200}"),
    Kind("slack-webhook", "hooks.slack.com", r"hooks\.slack\.com/(?:services|workflows)/(?P<s>[A-Za-z0-9/_+]{20,120})"),
    Kind("discord-webhook", "/webhooks/", r"discord(?:app)?\.com/api/webhooks/(?P<s>\d{15,22}/[A-Za-z0-9_-]{40,100})"),
    Kind("discord-bot", ".", _START + r"[MNO][A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,40}" + _END),
    Kind("telegram", ":aa", r"(?<!\d)\d{8,10}:AA[A-Za-z0-9_-]{32,35}" + _END),
    _token("sendgrid", "SG.", r"[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{30,64}"),
    Kind("mailgun", "key-", _START + r"key-[a-f0-9]{32}" + _END),
    Kind("mailchimp", "-us", _START + r"[a-f0-9]{32}-us\d{1,2}" + _END),
    Kind("twilio", "sk", _START + r"SK[a-f0-9]{32}" + _END),
    _token("square", "sq0", r"(?:atp|csp)-[A-Za-z0-9_-]{20,60}"),
    _token("square-access", "EAAA", r"[A-Za-z0-9_-]{56,70}"),
    Kind("shopify", "shp", _START + r"shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}" + _END),
    _token("notion", "ntn_", r"[A-Za-z0-9]{40,60}"),
    Kind("notion-old", "secret_", _START + r"secret_[A-Za-z0-9]{43}" + _END),
    _token("linear", "lin_api_", r"[A-Za-z0-9]{30,60}"),
    _token("airtable", "pat", r"[A-Za-z0-9]{14}\.[a-f0-9]{64}"),
    _token("figma", "figd_", r"[A-Za-z0-9_-]{30,60}"),
    _token("postman", "PMAK-", r"[a-f0-9]{24}-[a-f0-9]{34}"),
    _token("doppler", "dp.pt.", r"[A-Za-z0-9]{40,50}"),
    _token("hashicorp-vault", "hvs.", r"[A-Za-z0-9_-]{20,200}"),
    _token("terraform", "atlasv1.", r"[A-Za-z0-9_=-]{40,100}"),
    _token("newrelic", "NRAK-", r"[A-Z0-9]{27}"),
    _token("grafana-service", "glsa_", r"[A-Za-z0-9]{32}_[A-Fa-f0-9]{8}"),
    _token("grafana-cloud", "glc_", r"[A-Za-z0-9+/=]{32,400}"),
    Kind("sentry-dsn", "sentry", r"https://(?P<s>[a-f0-9]{32}(?::[a-f0-9]{32})?)@[A-Za-z0-9.-]{0,80}sentry"),
    _token("sentry-token", "sntrys_", r"[A-Za-z0-9+/=_-]{30,400}"),
    _token("posthog", "phx_", r"[A-Za-z0-9_]{30,60}"),
    _token("datadog", "ddapi_", r"[A-Za-z0-9]{30,60}"),
    _token("logfire", "pylf_v", r"\d+_[a-z]{2}_[A-Za-z0-9]{20,60}"),
    _token("age", "AGE-SECRET-KEY-1", r"[A-Z0-9]{58}"),
    # Shapes of their own
    Kind("jwt", "eyj", _START + r"eyJ[A-Za-z0-9_-]{8,2000}\.eyJ[A-Za-z0-9_-]{8,4000}\.[A-Za-z0-9_-]{8,2000}"),
    Kind(
        "pem",
        "private key",
        r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----(?P<s>[^-]{0,20000}(?:-(?!----END)[^-]{0,2000}){0,20})"
        r"(?:-----END [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----|\Z)",
    ),
    Kind("ssh-putty", "private-lines", r"Private-Lines: \d{1,3}\s(?P<s>[A-Za-z0-9+/=\s]{20,8000})"),
    Kind(
        "url-password",
        "://",
        r"[A-Za-z][A-Za-z0-9+.-]{1,30}://[^\s:/?#@\"'<>]{0,200}:(?P<s>[^\s/?#@\"'<>{}]{1,200})@",
    ),
    Kind("url-token", "://", r"https?://(?P<s>[A-Za-z0-9_-]{20,200})@[A-Za-z0-9.-]"),
    *(
        Kind(
            f"dsn-{hint}",
            hint,
            rf"(?i:\b(?:{names})\s{{0,2}}=\s{{0,2}})(?P<s>[^\s;&\"'{{}}<>(),]{{4,200}})"
            r"(?=;|&|\s+(?:host|user|port|dbname|sslmode)\s?=)",
        )
        for hint, names in (("passw", "password|passwd"), ("pwd", "pwd"))
    ),
    Kind(
        "dsn-password-last",
        "password=",
        r"(?i:(?:host|server|user(?: id)?|uid|dbname|database)\s?=[^\n\"']{1,200}?\b(?:password|pwd)\s?=\s?)"
        r"(?P<s>[^\s;&\"'{}<>()]{3,200})",
    ),
    Kind(
        "query-secret",
        "=",
        r"(?i:[?&](?:api_?key|access_?token|auth_?token|token|client_?secret|password|signature)=)"
        r"(?P<s>[^&\s\"'{}<>#]{8,400})",
    ),
    Kind(
        "authorization",
        "authorization",
        r"(?i:\bauthorization[\"']?\s{0,2}[:=]\s{0,2}[\"']?)(?i:bearer|basic|token|apikey)\s{1,2}"
        r"(?P<s>[A-Za-z0-9._~+/=-]{8,4000})",
    ),
    Kind(
        "bearer",
        "bearer",
        r"\b[Bb]earer\s{1,2}(?P<s>(?=[A-Za-z._~+/-]{0,400}[0-9])[A-Za-z0-9._~+/-]{16,4000}={0,2})",
    ),
    Kind(
        "key-header",
        "x-",
        r"(?i:\bx-(?:api-key|auth-token|goog-api-key|amz-security-token)[\"']?\s{0,2}[:=]\s{0,2}[\"']?)"
        r"(?P<s>[A-Za-z0-9._~+/=-]{8,4000})",
    ),
    Kind(
        "assigned",
        "=",
        r"(?i:\b[A-Z0-9_]{0,60}(?:API_?KEY|SECRET(?:_KEY)?|PASSWORD|PASSWD|ACCESS_TOKEN|AUTH_TOKEN|PRIVATE_KEY))="
        r"(?P<s>(?![\"'])[^\s\"'{}<>$&;,()\[\]]{8,400})",
    ),
)
# Most hints have a character that prose seldom has: looking for the few of those spares looking for the many hints.
_SELDOM = "_=:/-.0123456789"
_COMPILED = tuple(
    (next((character for character in _SELDOM if character in kind.hint), ""), kind.hint, re.compile(kind.pattern))
    for kind in KINDS
)

# Names of secrets, as whole words of an identifier in any style: `api_key`, `openaiApiKey`, `DB-PASSWORD`.
_SECRET_WORDS = frozenset(
    {"password", "passwd", "passphrase", "pwd", "secret", "secrets", "credential", "credentials", "apikey", "authtoken"}
)
_SECRET_PAIRS = frozenset(
    {
        ("api", "key"), ("api", "keys"), ("api", "token"), ("access", "key"), ("access", "token"), ("auth", "token"),
        ("auth", "key"), ("bearer", "token"), ("client", "secret"), ("encryption", "key"), ("master", "key"),
        ("private", "key"), ("refresh", "token"), ("secret", "key"), ("session", "token"), ("signing", "key"),
        ("service", "key"), ("account", "key"), ("subscription", "key"), ("id", "token"), ("csrf", "token"),
        ("bot", "token"), ("github", "token"), ("gitlab", "token"), ("hf", "token"), ("slack", "token"),
    }
)  # fmt: skip
_WEAK_WORDS = frozenset({"token", "tokens", "key", "auth", "authorization", "cookie", "dsn", "pin", "salt"})
# Last words of names that describe a secret rather than hold it: `password_prompt`, `secret_name`, `api_key_header`.
_DESCRIBING_WORDS = frozenset(
    {
        "prompt", "prompts", "message", "template", "label", "field", "name", "names", "id", "text",
        "question", "instructions", "instruction", "url", "path", "file", "env", "var", "variable",
        "header", "pattern", "regex", "type", "length", "count", "separator", "policy", "hint", "error",
        "description", "title",
    }
)  # fmt: skip
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_ANY_SECRET_NAME = re.compile(
    r"(?i)pass(?:word|wd|phrase)|pwd|secret|credential|token|api_?-?key|key|auth|cookie|dsn|salt|\bpin\b"
)
# A value that is a placeholder, a reference or a word rather than a secret.
_HARMLESS = re.compile(
    r"(?i)^(?:|\s+|[<\[{(|].*[>\]})|]|\$.*|%.*|x{3,}|\*{3,}|\.{3,}|-+|none|null|true|false|dummy|test|example|changeme|"
    r"change[-_ ]me|your[-_ ].*|placeholder|unused|not[-_ ]needed|not[-_ ]set|unset|empty|secret|password|token|"
    r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+|env:.*|vault:.*|file:.*|op://.*)$",
    re.DOTALL,
)


# A name and a value in quotes with a colon between, the quotes perhaps escaped: JSON, also within a JSON string.
_PAIR_HINT = re.compile(r"[\"']\s{0,3}:\s{0,3}\\{0,3}[\"']")
_PAIR = re.compile(
    r"(?P<head>(?P<quote>\\{0,3}[\"'])(?P<name>[A-Za-z_][\w.-]{1,60})(?P=quote)\s{0,3}:\s{0,3}(?P=quote))"
    r"(?P<value>[^\"'\\\n]{4,400})(?P=quote)"
)
_SCHEME = re.compile(r"(?i:basic|bearer|token|apikey|digest)\s+\S{8,4000}")


def redact(text: str) -> str:
    """The text with every value that has the shape of a secret replaced."""
    if len(text) < 8:
        return text
    lowered = text.lower()
    present = {"", *(character for character in _SELDOM if character in lowered)}
    for seldom, hint, pattern in _COMPILED:
        if seldom in present and hint in lowered:
            text = pattern.sub(_replacement, text)
    if _PAIR_HINT.search(text) and mentions_secret_name(text):
        text = _PAIR.sub(_pair_replacement, text)
    return text


def _pair_replacement(match: re.Match[str]) -> str:
    """A quoted name and its quoted value, as in JSON or a dict's repr, judged as `redact_value` would."""
    name, value = match["name"], match["value"]
    if names_secret(name) and looks_secret(value, _is_weak(name)):
        return f"{match['head']}{REDACTED}{match['quote']}"
    return match[0]


def redact_value(name: str, value: str) -> str:
    """The value of something called `name`: replaced as a whole when the name means a secret and the value is one.

    A name alone is not enough: `TOKEN = "<eos>"`, `password = ""` and prose stay. Otherwise as `redact`.
    """
    clean = redact(value)
    weak = _is_weak(name)
    credential = _SCHEME.fullmatch(value) is not None or (not (weak and clean != value) and looks_secret(value, weak))
    return REDACTED if name and credential and names_secret(name) else clean


def redact_data(data: Any, name: str = "") -> Any:
    """JSON-like data with its strings redacted, each by the key it stands under; a new object, same shape.

    Nesting beyond 100 levels is replaced by `[REDACTED]`: it cannot be looked through.
    """
    return _walk(data, name, 0)


def names_secret(name: str) -> bool:
    """Whether an identifier, header or key means a secret: by whole words, so `max_tokens` and `monkey` do not."""
    words = _words(name)
    if words and words[-1] in _DESCRIBING_WORDS:
        return False
    if any(word in _SECRET_WORDS for word in words):
        return True
    if any(pair in _SECRET_PAIRS for pair in pairwise(words)):
        return True
    return _is_weak(name)


def mentions_secret_name(text: str) -> bool:
    """A quick first look: whether any secret's name may occur in the text."""
    return _ANY_SECRET_NAME.search(text) is not None


def looks_secret(value: str, weak: bool = False) -> bool:
    """Whether a string stored under a secret's name is one: no placeholder, no prose, not too short.

    `weak` names (`token`, `key`) need a value that is random besides: long, of one word, with letters and digits.
    """
    stripped = value.strip()
    if len(stripped) < 4 or _HARMLESS.match(stripped):
        return False
    if any(character.isspace() for character in stripped):
        return not weak and "-----BEGIN" in stripped
    if weak:
        letters = any(c.isalpha() for c in stripped)
        return len(stripped) >= 16 and letters and any(c.isdigit() for c in stripped) and not _is_identity(stripped)
    return True


def _walk(data: Any, name: str, depth: int) -> Any:
    if isinstance(data, str):
        return redact_value(name, data)
    if depth > 100:
        return REDACTED
    if isinstance(data, Mapping):
        return {
            (redact(key) if isinstance(key, str) else key): _walk(value, key if isinstance(key, str) else "", depth + 1)
            for key, value in data.items()
        }
    if isinstance(data, (list, tuple)):
        return [_walk(item, name, depth + 1) for item in data]
    return data


def _words(name: str) -> tuple[str, ...]:
    return tuple(word.lower() for word in _WORDS.findall(name))


def _is_weak(name: str) -> bool:
    """A name that ends in a word that may mean a secret and may not: `TOKEN`, `eos_token`, `key`."""
    words = _words(name)
    if not words or any(word in _SECRET_WORDS for word in words):
        return False
    if any(pair in _SECRET_PAIRS for pair in pairwise(words)):
        return False
    return words[-1] in _WEAK_WORDS


_IDENTITY = re.compile(r"^(?:[0-9a-fA-F]{32,128}|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})$")


def _is_identity(value: str) -> bool:
    """A UUID or a hex digest: names something, opens nothing."""
    return _IDENTITY.match(value) is not None


def _replacement(match: re.Match[str]) -> str:
    whole = match[0]
    if "s" not in match.re.groupindex:
        return REDACTED
    secret = match["s"]
    if secret == REDACTED or secret.startswith(REDACTED) or _HARMLESS.match(secret):
        return whole
    start, end = match.span("s")
    begin = match.start()
    return whole[: start - begin] + REDACTED + whole[end - begin :]

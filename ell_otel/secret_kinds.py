"""The shapes of secrets: one row for each kind of key, token, password in a URL, or key block that is known.

Each pattern is anchored on a fixed prefix or on the words around the value, and every repetition is bounded, so time
grows linearly with the text.
"""

from __future__ import annotations

import re
from typing import NamedTuple


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

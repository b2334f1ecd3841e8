"""The shapes of secrets: one row for each kind of key, token, password in a URL, or key block that is known.

Each pattern is anchored on a fixed prefix or on the words around the value, and every repetition is bounded, so time
grows linearly with the text. A prefix comes first and what may stand before it is asked afterwards: `re` finds a fixed
beginning quickly.
"""

from __future__ import annotations

import re
from typing import NamedTuple

SHORTEST = 15
"""The length of the shortest match of a kind that is not `spaced`."""


class Kind(NamedTuple):
    """A kind of secret. Every match contains `hint`, in lower case; group `s` is what is replaced, or all of it.

    Where a match may have blanks in it, or is shorter than `SHORTEST`, the kind is `spaced`.
    """

    name: str
    hint: str
    pattern: str
    spaced: bool = False


_END = r"(?![A-Za-z0-9_-])"


def _start(prefix: str) -> str:
    """A beginning that is not the middle of a word; an escaped line end or a URL's `%3D` may stand before it."""
    return rf"{prefix}(?:(?<![A-Za-z0-9_-]{prefix})|(?<=\\[nrt]{prefix})|(?<=%[0-9A-F]{{2}}{prefix}))"


_START = _start("")
_UUID = r"[a-f0-9]{8}(?:-[a-f0-9]{4}){3}-[a-f0-9]{12}"
_WORD = r"(?:(?<![A-Za-z0-9_])|(?<=\\[nrt]))"


def _token(name: str, prefix: str, body: str) -> Kind:
    """A token known by its fixed prefix."""
    return Kind(name, prefix.lower(), _start(re.escape(prefix)) + body + _END)


KINDS: tuple[Kind, ...] = (
    # Model providers
    _token("anthropic", "sk-ant-", r"[A-Za-z0-9_-]{16,200}"),
    _token("openai-project", "sk-proj-", r"[A-Za-z0-9_-]{16,300}"),
    _token("openai-service", "sk-svcacct-", r"[A-Za-z0-9_-]{16,300}"),
    _token("openai-admin", "sk-admin-", r"[A-Za-z0-9_-]{16,300}"),
    _token("openrouter", "sk-or-", r"(?:v1-)?[A-Za-z0-9]{16,200}"),
    _token("langfuse-secret", "sk-lf-", r"[A-Za-z0-9-]{16,100}"),
    _token("openai", "sk-", r"(?=[A-Za-z0-9]{0,200}[0-9])[A-Za-z0-9]{20,200}"),
    _token("helicone", "sk-helicone-", r"[A-Za-z0-9-]{20,60}"),
    _token("cerebras", "csk-", r"[a-z0-9]{40,60}"),
    _token("together", "tgp_v1_", r"[A-Za-z0-9_-]{30,80}"),
    _token("elevenlabs", "sk_", r"(?:[a-f0-9]{48}|(?=[A-Za-z]{0,43}\d)[A-Za-z0-9_-]{43})"),
    _token("runpod", "rpa_", r"(?=[A-Z]{0,40}\d)[A-Z0-9]{30,60}"),
    *(
        _token(f"modal-{use}", f"{use}-", r"(?=[a-z]{0,22}[A-Z0-9])(?=[A-Za-z]{0,22}\d)[A-Za-z0-9]{22}")
        for use in ("ak", "as")
    ),
    Kind("zhipu", ".", _START + r"[a-f0-9]{32}\.(?=[A-Za-z]{0,15}\d)[A-Za-z0-9]{16}" + _END),
    _token("jina", "jina_", r"[A-Za-z0-9_-]{40,100}"),
    _token("firecrawl", "fc-", r"[a-f0-9]{32}"),
    _token("e2b", "e2b_", r"[a-f0-9]{40}"),
    _token("wandb", "wandb_v1_", r"[A-Za-z0-9_]{30,120}"),
    _token("langchain", "ls__", r"[a-f0-9]{32}"),
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
        _token(f"aws-{prefix.lower()}", prefix, r"[A-Z0-9]{16}")
        for prefix in ("AKIA", "ASIA", "ABIA", "ACCA", "AROA", "AIDA")
    ),
    Kind(
        "aws-secret-key",
        "secret",
        r"(?i:aws.{0,20}secret.{0,20}?[\"'=:\s]{1,5})(?P<s>[A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])",
        spaced=True,
    ),
    Kind("aws-bedrock", "absk", _start("ABSK") + r"[A-Za-z0-9+/]{80,300}={0,2}"),
    _token("aws-bedrock-short", "bedrock-api-key-", r"[A-Za-z0-9+/=_-]{40,4000}"),
    _token("google-api-key", "AIza", r"[A-Za-z0-9_-]{35}"),
    _token("google-refresh-token", "1//0", r"[A-Za-z0-9_-]{40,200}"),
    _token("google-oauth-secret", "GOCSPX-", r"[A-Za-z0-9_-]{20,60}"),
    Kind("google-oauth-token", "ya29.", _start(r"ya29\.") + r"[A-Za-z0-9_-]{20,2000}"),
    Kind("azure-storage-key", "accountkey=", r"(?i:AccountKey=)(?P<s>[A-Za-z0-9+/]{40,100}={0,2})"),
    Kind("azure-sas", "sig=", r"[?&]sig=(?P<s>[A-Za-z0-9%+/]{30,120}(?:%3D|=){0,2})"),
    Kind("azure-shared-access-key", "sharedaccesskey=", r"(?i:SharedAccessKey=)(?P<s>[A-Za-z0-9+/]{20,100}={0,2})"),
    Kind(
        "azure-client-secret",
        "q~",
        _WORD + r"[A-Za-z0-9_~.-]{3}\dQ~[A-Za-z0-9_~.-]{31,34}(?![A-Za-z0-9_~-])",
    ),
    Kind("azure-openai", "jqqj99", r"(?<![A-Za-z0-9])[A-Za-z0-9]{40,60}JQQJ99[A-Za-z0-9]{10,40}(?![A-Za-z0-9])"),
    Kind("azure-function", "?code=", r"azurewebsites\.net/[^\s\"'?]{0,200}\?code=(?P<s>[A-Za-z0-9_=/+%-]{30,120})"),
    *(_token(f"digitalocean-{use}", f"do{use}_v1_", r"[a-f0-9]{64}") for use in "por"),
    _token("cloudflare-ca", "v1.0-", r"[a-f0-9]{24}-[a-f0-9]{100,200}"),
    _token("alibaba", "LTAI", r"[A-Za-z0-9]{12,24}"),
    _token("tencent", "AKID", r"[A-Za-z0-9]{32}"),
    _token("volcengine", "AKLT", r"[A-Za-z0-9_-]{40,60}"),
    _token("baidu", "bce-v3/", r"ALTAK-[A-Za-z0-9]{16,32}/[a-f0-9]{40}"),
    _token("yandex", "AQVN", r"[A-Za-z0-9_-]{35,38}"),
    _token("tailscale", "tskey-", r"[a-z]{2,12}-[A-Za-z0-9_-]{16,80}"),
    _token("fly", "fo1_", r"[A-Za-z0-9_-]{30,200}"),
    *(_token(f"fly-{prefix}", prefix, r"[A-Za-z0-9+/=_-]{30,2000}") for prefix in ("fm1_", "fm2_")),
    _token("netlify", "nfp_", r"[A-Za-z0-9]{36,60}"),
    _token("render", "rnd_", r"[A-Za-z0-9]{24,60}"),
    _token("pulumi", "pul-", r"[a-f0-9]{40}"),
    _token("prefect", "pnu_", r"[A-Za-z0-9]{36}"),
    _token("neon", "napi_", r"[A-Za-z0-9]{30,80}"),
    _token("mongodb-atlas", "mdb_sa_sk_", r"[A-Za-z0-9_-]{30,60}"),
    _token("clickhouse-cloud", "4b1d", r"[A-Za-z0-9]{38}"),
    _token("openshift", "sha256~", r"[A-Za-z0-9_-]{43}"),
    _token("heroku", "HRKU-", r"[A-Za-z0-9_-]{30,100}"),
    _token("vercel", "vercel_blob_rw_", r"[A-Za-z0-9_]{16,100}"),
    _token("supabase", "sbp_", r"[a-f0-9]{40}"),
    _token("supabase-secret", "sb_secret_", r"[A-Za-z0-9_-]{16,100}"),
    _token("planetscale", "pscale_", r"(?:tkn|pw|oauth)_[A-Za-z0-9_.=-]{16,100}"),
    _token("databricks", "dapi", r"[a-f0-9]{32}(?:-\d)?"),
    # Code hosts and package registries
    *(_token(f"github-{use}", f"gh{use}_", r"[A-Za-z0-9]{30,255}") for use in "pousr"),
    _token("github-fine-grained", "github_pat_", r"[A-Za-z0-9_]{30,255}"),
    Kind(
        "gitlab",
        "gl",
        _start("gl")
        + r"(?:pat|dt|rt|cbt|ptt|ft|ffct|soat|imt|agent|wt)-[A-Za-z0-9_-]{18,300}(?:\.[a-z0-9]{2}\.[a-z0-9]{7,9})?"
        + _END,
    ),
    _token("gitlab-runner", "GR1348941", r"[A-Za-z0-9_-]{20,30}"),
    _token("npm", "npm_", r"[A-Za-z0-9]{30,60}"),
    _token("pypi", "pypi-", r"[A-Za-z0-9_-]{40,300}"),
    *(_token(f"docker-{use}", f"dckr_{use}_", r"[A-Za-z0-9_-]{20,60}") for use in ("pat", "oat")),
    _token("nuget", "oy2", r"[a-z0-9]{43}"),
    _token("crates", "cio", r"[A-Za-z0-9]{32}"),
    _token("clojars", "CLOJARS_", r"[A-Za-z0-9]{60}"),
    _token("jfrog", "AKCp", r"[A-Za-z0-9]{69}"),
    *(_token(f"sonar-{use}", f"sq{use}_", r"[a-f0-9]{40}") for use in "pua"),
    _token("sourcegraph", "sgp_", r"(?:[a-f0-9]{16}_|local_)?[a-f0-9]{40}"),
    _token("npm-config", "_authToken=", r"(?P<s>[A-Za-z0-9_/+=-]{16,300})"),
    _token("rubygems", "rubygems_", r"[a-f0-9]{40,60}"),
    *(_token(f"atlassian-{use}", f"AT{use}TT3", r"[A-Za-z0-9_=-]{30,300}") for use in "AC"),
    _token("buildkite", "bkua_", r"[a-f0-9]{40}"),
    # Services
    _token("contentful", "CFPAT-", r"[A-Za-z0-9_-]{43}"),
    *(_token(f"launchdarkly-{use}", f"{use}-", _UUID) for use in ("sdk", "mob", "api")),
    *(_token(f"plaid-{use}", f"access-{use}-", _UUID) for use in ("production", "development", "sandbox")),
    _token("adafruit", "aio_", r"[A-Za-z0-9]{28}"),
    _token("duffel", "duffel_", r"(?:live|test)_[A-Za-z0-9_-]{43}"),
    _token("frameio", "fio-u-", r"[A-Za-z0-9_-]{64}"),
    _token("clickup", "pk_", r"\d{6,12}_[A-Z0-9]{32}"),
    _token("scalingo", "tk-us-", r"[A-Za-z0-9_-]{48}"),
    *(
        _token(f"payment-{prefix}{use}", f"{prefix}_{use}_", r"[A-Za-z0-9]{14,200}")
        for prefix in ("sk", "rk", "pk", "rzp", "shippo", "sk_org")
        for use in ("live", "test")
    ),
    _token("stripe-webhook", "whsec_", r"[A-Za-z0-9+/=]{20,100}"),
    Kind("slack", "xox", _start("xox") + r"[abeoprs](?:\.xox[bp])?-[A-Za-z0-9-]{10,250}" + _END),
    _token("slack-app", "xapp-", r"\d-[A-Za-z0-9-]{20,200}"),
    Kind(
        "slack-webhook",
        "hooks.slack.com",
        r"hooks\.slack\.com/(?:services|workflows|triggers)/(?P<s>[A-Za-z0-9/_+]{20,120})",
    ),
    Kind("discord-webhook", "/webhooks/", r"discord(?:app)?\.com/api/webhooks/(?P<s>\d{15,22}/[A-Za-z0-9_-]{40,100})"),
    *(
        Kind(f"webhook-{host}", host, re.escape(host) + path)
        for host, path in (
            ("webhook.office.com", r"/[a-z0-9]{6,20}/(?P<s>[A-Za-z0-9@/_-]{40,300})"),
            ("hooks.zapier.com", r"/hooks/catch/(?P<s>[A-Za-z0-9/]{8,60})"),
            ("maker.ifttt.com", r"/[A-Za-z0-9/_{}-]{1,100}/with/key/(?P<s>[A-Za-z0-9_-]{16,60})"),
            ("/bot/v2/hook/", r"(?P<s>[A-Za-z0-9-]{16,60})"),
            ("qyapi.weixin.qq.com", r"/[a-z/]{1,40}\?key=(?P<s>[A-Za-z0-9-]{16,60})"),
        )
    ),
    *(  # one kind for each letter: a fixed beginning is found quickly, and "." is in every text
        Kind(
            f"discord-bot-{letter.lower()}",
            ".",
            _start(letter) + r"[A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,40}" + _END,
        )
        for letter in "MNO"
    ),
    Kind("telegram", ":aa", r"(?<!\d)\d{8,10}:AA[A-Za-z0-9_-]{32,35}" + _END),
    _token("sendgrid", "SG.", r"[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{30,64}"),
    _token("brevo", "xkeysib-", r"[a-f0-9]{64}-[A-Za-z0-9]{16}"),
    _token("resend", "re_", r"[A-Za-z0-9]{6,10}_[A-Za-z0-9]{20,40}"),
    _token("mailgun", "key-", r"[a-f0-9]{32}"),
    Kind("mailchimp", "-us", _START + r"[a-f0-9]{32}-us\d{1,2}" + _END),
    _token("twilio", "SK", r"[a-f0-9]{32}"),
    Kind("paypal", "access_token$", r"access_token\$(?:production|sandbox)\$(?P<s>[a-z0-9]{16}\$[a-f0-9]{32})"),
    _token("flutterwave", "FLWSECK", r"(?:_TEST)?-[A-Za-z0-9]{12,40}-X"),
    *(_token(f"easypost-{prefix}", prefix, r"[A-Za-z0-9]{54}") for prefix in ("EZAK", "EZTK")),
    _token("square", "sq0", r"(?:atp|csp)-[A-Za-z0-9_-]{20,60}"),
    _token("square-access", "EAAA", r"[A-Za-z0-9_-]{56,70}"),
    *(_token(f"shopify-{use}", f"shp{use}_", r"[a-fA-F0-9]{32}") for use in ("at", "ca", "pa", "ss")),
    _token("notion", "ntn_", r"[A-Za-z0-9]{40,60}"),
    _token("notion-old", "secret_", r"[A-Za-z0-9]{43}"),
    _token("hubspot", "pat-", r"[a-z]{2}\d-" + _UUID),
    _token("asana", "2/", r"\d{10,20}/\d{10,20}:[a-f0-9]{32}"),
    _token("typeform", "tfp_", r"[A-Za-z0-9_.=-]{40,80}"),
    _token("readme", "rdme_", r"[a-z0-9A-Z]{60,90}"),
    _token("dropbox", "sl.", r"[A-Za-z0-9_=-]{120,400}"),
    _token("facebook", "EAA", r"[A-Z][A-Za-z0-9]{99,400}"),
    _token("mapbox", "sk.eyJ", r"[A-Za-z0-9_-]{30,200}\.[A-Za-z0-9_-]{16,60}"),
    _token("1password", "ops_eyJ", r"[A-Za-z0-9+/=_-]{100,4000}"),
    _token("octopus", "API-", r"(?=[A-Z]{0,25}\d)[A-Z0-9]{26}"),
    _token("infracost", "ico-", r"[A-Za-z0-9]{32}"),
    _token("linear", "lin_api_", r"[A-Za-z0-9]{30,60}"),
    _token("airtable", "pat", r"[A-Za-z0-9]{14}\.[a-f0-9]{64}"),
    _token("figma", "figd_", r"[A-Za-z0-9_-]{30,60}"),
    _token("postman", "PMAK-", r"[a-f0-9]{24}-[a-f0-9]{34}"),
    Kind(
        "doppler",
        "dp.",
        _start(r"dp\.") + r"(?:pt|st|sa|ct|scim|audit)\.(?:[a-z0-9_-]{2,35}\.)?[A-Za-z0-9]{40,50}" + _END,
    ),
    *(_token(f"hashicorp-vault-{use}", f"hv{use}.", r"[A-Za-z0-9_-]{20,400}") for use in "sbr"),
    Kind("terraform", ".atlasv1.", r"(?:[A-Za-z0-9]{14})?\.atlasv1\.[A-Za-z0-9_=-]{40,100}" + _END),
    _token("dynatrace", "dt0c01.", r"[A-Z0-9]{24}\.[A-Z0-9]{64}"),
    _token("newrelic", "NRAK-", r"[A-Z0-9]{27}"),
    _token("grafana-service", "glsa_", r"[A-Za-z0-9]{32}_[A-Fa-f0-9]{8}"),
    _token("grafana-cloud", "glc_", r"[A-Za-z0-9+/=]{32,400}"),
    Kind("sentry-dsn", "sentry", r"https://(?P<s>[a-f0-9]{32}(?::[a-f0-9]{32})?)@[A-Za-z0-9.-]{0,80}sentry"),
    _token("sentry-user", "sntryu_", r"[a-f0-9]{64}"),
    _token("sentry-token", "sntrys_", r"[A-Za-z0-9+/=_-]{30,400}"),
    *(_token(f"posthog-{use}", f"ph{use}_", r"[A-Za-z0-9_]{30,60}") for use in "xc"),
    _token("datadog", "ddapi_", r"[A-Za-z0-9]{30,60}"),
    _token("logfire", "pylf_v", r"\d+_[a-z]{2}_[A-Za-z0-9]{20,60}"),
    _token("age", "AGE-SECRET-KEY-1", r"[A-Z0-9]{58}"),
    # Shapes of their own
    Kind("jwt", "eyj", _start("eyJ") + r"[A-Za-z0-9_-]{8,2000}\.eyJ[A-Za-z0-9_-]{8,4000}\.[A-Za-z0-9_-]{8,2000}"),
    Kind(
        "jwe",
        "eyj",
        _start("eyJ") + r"[A-Za-z0-9_-]{8,1000}(?:\.[A-Za-z0-9_-]{0,8000}){2}(?:\.[A-Za-z0-9_-]{16,8000}){2}",
    ),
    Kind(
        "pem",
        "private key",
        r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----(?P<s>[^-]{0,20000}(?:-(?!----END)[^-]{0,2000}){0,20})"
        r"(?:-----END [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----|\Z)",
        spaced=True,
    ),
    Kind("ssh-putty", "private-lines", r"Private-Lines: \d{1,3}\s(?P<s>[A-Za-z0-9+/=\s]{20,8000})", spaced=True),
    # Outside the web, people seldom escape the password in an address: it ends at the last `@`.
    Kind(
        "database-url",
        "://",
        r"://(?<!http://)(?<!https://)[^\s:/?#@\"'<>]{0,200}:(?P<s>[^\s\"'<>{}]{1,200})@(?=[\w\[.-])",
    ),
    Kind("url-password", "://", r"://[^\s:/?#@\"'<>]{0,200}:(?P<s>[^\s/?#@\"'<>{}]{1,200})@"),
    Kind("url-token", "://", r"(?<=://)(?P<s>[A-Za-z0-9_-]{20,200})@[A-Za-z0-9.-]"),
    Kind("oracle-dsn", "jdbc:oracle:", r"jdbc:oracle:\w{1,10}:[\w$#.-]{1,60}/(?P<s>[^\s@\"'{}<>]{1,100})@"),
    *(
        Kind(
            f"dsn-{hint}",
            hint,
            rf"(?i:\b{names}\s{{0,2}}=\s{{0,2}})"
            r"(?:\{(?P<braced>[^\n{}\"']{4,200})\}|'(?P<quoted>[^\n']{4,200})'|(?P<s>[^\s;&\"'{}<>(),]{4,200}))"
            r"(?=;|&|\s+(?:host|user|port|dbname|sslmode)\s?=)",
            spaced=True,
        )
        for hint, names in (("passw", "passw(?:or)?d"), ("pwd", "pwd"))
    ),
    Kind(
        "dsn-password-last",
        "password=",
        r"(?i:(?:host|server|user(?: id)?|uid|dbname|database)\s?=[^\n\"']{1,200}?\b(?:password|pwd)\s?=\s?)"
        r"(?P<s>[^\s;&\"'{}<>()]{3,200})",
        spaced=True,
    ),
    Kind(
        "query-secret",
        "=",
        r"[?&](?i:api_?key|access_?token|auth_?token|token|client_?secret|password|signature|x-amz-signature"
        r"|x-amz-security-token|x-goog-signature)=(?P<s>[^&\s\"'{}<>#]{8,4000})",
    ),
    Kind(
        "authorization",
        "authorization",
        r"(?i:authorization[\"']?\s{0,2}[:=]\s{0,2}[\"']?)(?i:bearer|basic|token|apikey|ssws)\s{1,2}"
        r"(?P<s>[A-Za-z0-9._~+/=-]{8,4000})",
        spaced=True,
    ),
    Kind(
        "bearer",
        "bearer ",
        r"[Bb]earer(?:(?<![A-Za-z0-9_]......)|(?<=\\[nrt]......))\s{1,2}(?P<s>(?=[A-Za-z._~+/-]{0,400}[0-9])[A-Za-z0-9._~+/-]{16,4000}={0,2})",
        spaced=True,
    ),
    Kind("okta", "ssws ", r"SSWS (?P<s>[A-Za-z0-9_-]{30,60})", spaced=True),
    Kind(
        "curl-user",
        "curl ",
        r"curl [^\n]{0,300}?(?<= )(?:-u|--user) [\"']?[\w.@+-]{1,60}:(?P<s>[^\s\"'{}<>$]{4,200})",
        spaced=True,
    ),
    Kind("netrc", "password ", r"machine \S{1,200}\s{1,9}login \S{1,200}\s{1,9}password (?P<s>\S{3,200})", spaced=True),
    Kind("cookie", "set-cookie:", r"(?i:set-cookie:)\s{0,2}[\w.-]{1,60}=(?P<s>[^\s;\"']{16,4000})", spaced=True),
    *(
        Kind(
            f"header-{header}",
            header,
            rf"(?i:{header}[\"']?\s{{0,2}}[:=]\s{{0,2}}[\"']?)"
            r"(?P<s>(?=[A-Za-z._~+/=-]{0,400}[0-9])[A-Za-z0-9._~+/=-]{8,4000})",
            spaced=True,
        )
        for header in ("api-key", "auth-token", "private-token", "security-token")
    ),
)

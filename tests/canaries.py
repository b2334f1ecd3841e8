"""Invented secrets in the formats that are really in use, one of each kind."""

from __future__ import annotations

import random
import string
import uuid

_RANDOM = random.Random(3)


def letters(count: int, alphabet: str = string.ascii_letters + string.digits) -> str:
    """Random characters with a digit among them."""
    return "".join(_RANDOM.choice(alphabet) for _ in range(count - 1)) + "7"


HEX = "0123456789abcdef"
LOWER = string.ascii_lowercase + string.digits
UPPER = string.ascii_uppercase + string.digits
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
    "deepseek": "sk-" + letters(32, HEX), "cerebras": "csk-" + letters(48, LOWER), "together": "tgp_v1_" + letters(43),
    "elevenlabs": "sk_" + letters(48, HEX), "jina": "jina_" + letters(60), "firecrawl": "fc-" + letters(32, HEX), "e2b": "e2b_" + letters(40, HEX),
    "resend": "re_" + letters(8) + "_" + letters(24), "helicone": "sk-helicone-" + letters(27), "wandb": "wandb_v1_" + letters(60),
    "langchain": "ls__" + letters(32, HEX), "bedrock": "ABSK" + letters(120) + "=", "google-refresh": "1//0" + letters(70),
    "azure-openai": letters(52) + "JQQJ99B" + letters(26), "gitlab-dotted": "glpat-" + letters(27) + ".01." + letters(9, LOWER),
    "gitlab-runner": "GR1348941" + letters(20), "docker-org": "dckr_oat_" + letters(32), "brevo": "xkeysib-" + letters(64, HEX) + "-" + letters(16),
    "slack-rotated": "xoxe.xoxp-1-" + letters(160), "hubspot": "pat-na1-" + str(uuid.uuid4()), "doppler-service": "dp.st.dev." + letters(43),
    "vault-batch": "hvb." + letters(140), "terraform": letters(14) + ".atlasv1." + letters(67), "dynatrace": "dt0c01." + letters(24, UPPER) + "." + letters(64, UPPER),
    "sentry-user": "sntryu_" + letters(64, HEX), "pulumi": "pul-" + letters(40, HEX), "prefect": "pnu_" + letters(36), "netlify": "nfp_" + letters(36),
    "fly": "fm2_" + letters(120), "neon": "napi_" + letters(40, LOWER), "atlas": "mdb_sa_sk_" + letters(40), "clickhouse": "4b1d" + letters(38),
    "sonar": "sqp_" + letters(40, HEX), "sourcegraph": "sgp_" + letters(16, HEX) + "_" + letters(40, HEX), "nuget": "oy2" + letters(43, LOWER),
    "crates": "cio" + letters(32), "jfrog": "AKCp" + letters(69), "dropbox": "sl." + letters(140), "facebook": "EAAC" + letters(150),
    "paypal": "access_token$production$" + letters(16, HEX) + "$" + letters(32, HEX), "razorpay": "rzp_live_" + letters(14),
    "easypost": "EZAK" + letters(54), "asana": "2/1234567890123/1234567890:" + letters(32, HEX), "openshift": "sha256~" + letters(43),
    "jwe": f"eyJhbGciOiJSU0EtT0FFUCJ9.{letters(60)}.{letters(16)}.{letters(40)}.{letters(22)}",
    "novita": "sk_" + letters(43), "runpod": "rpa_" + letters(46, UPPER), "modal": "ak-" + letters(22), "modal-secret": "as-" + letters(22),
    "zhipu": letters(32, HEX) + "." + letters(16), "tencent": "AKID" + letters(32), "volcengine": "AKLT" + letters(44),
    "baidu": "bce-v3/ALTAK-" + letters(21) + "/" + letters(40, HEX), "yandex": "AQVN" + letters(38), "buildkite": "bkua_" + letters(40, HEX),
    "tailscale": "tskey-auth-" + letters(16) + "-" + letters(32), "contentful": "CFPAT-" + letters(43), "launchdarkly": "sdk-" + str(uuid.uuid4()),
    "plaid": "access-production-" + str(uuid.uuid4()), "adafruit": "aio_" + letters(28), "duffel": "duffel_live_" + letters(43),
    "frameio": "fio-u-" + letters(64), "clickup": "pk_24025577_" + letters(32, UPPER), "scalingo": "tk-us-" + letters(48),
    "posthog-project": "phc_" + letters(43), "neon-mixed": "napi_" + letters(64),
}  # fmt: skip

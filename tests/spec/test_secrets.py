"""What looks like a secret is refused wherever a spec says it, and no message shows it.

Shapes are put together here from parts, so that no file of this repository has one.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import example as tried_with
from hypothesis import given, settings
from hypothesis import strategies as st

from gitops.spec.check_secrets import digest_of
from gitops.spec.load import load_spec
from gitops.spec.problems import SpecError
from gitops.spec.resolved import SourceFile
from gitops.spec.secrets import concealing, masked_text, masked_value, secret_in

ALNUM = "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zA1bC3dE5f"
HEX = "3f9a1c7e5b2d8064a9e1f7c3b5d20846"
DIGITS = "1234567890"
WORD = "Tr0ub4dor-horse"

SHAPES: dict[str, tuple[str, str]] = {
    "aws-key": ("X", "AKIA" + "Q3EGRJ7ZK2LW5XYT"),
    "aws-session-key": ("X", "ASIA" + "Q3EGRJ7ZK2LW5XYT"),
    "aws-secret": ("AWS_SECRET_ACCESS_KEY", ALNUM),
    "aws-secret-without-name": ("X", "wJalr9UtnFEMI7K3MDENGb/PxRfiCYzE2amPLk4Q"),
    "github-personal": ("X", "ghp_" + ALNUM[:36]),
    "github-oauth": ("X", "gho_" + ALNUM[:36]),
    "github-server": ("X", "ghs_" + ALNUM[:36]),
    "github-fine-grained": ("X", "github_pat_" + ALNUM[:22] + "_" + ALNUM),
    "github-in-text": ("ci", "pip install git+https://ghp_" + ALNUM[:36] + "@github.com/acme/x"),
    "gitlab": ("X", "glpat-" + ALNUM[:20]),
    "gitlab-trigger": ("X", "glptt-" + ALNUM),
    "slack-bot": ("X", "xoxb-" + DIGITS + "-" + DIGITS + "-" + ALNUM[:24]),
    "slack-user": ("X", "xoxp-" + DIGITS + "-" + ALNUM[:24]),
    "slack-webhook": ("url", "https://hooks.slack" + ".com/services/T0AB1CD2E/B0FG3HI4J/" + ALNUM[:24]),
    "openai": ("X", "sk-" + ALNUM + ALNUM[:8]),
    "openai-project": ("X", "sk-proj-" + ALNUM),
    "anthropic": ("X", "sk-ant-" + "api03-" + ALNUM),
    "hugging-face": ("X", "hf_" + ALNUM[:34]),
    "google-api": ("X", "AIza" + "Sy" + ALNUM[:33]),
    "google-oauth": ("X", "ya29." + ALNUM),
    "google-client": ("X", "GOCSPX-" + ALNUM[:28]),
    "npm": ("X", "npm_" + ALNUM[:36]),
    "pypi": ("X", "pypi-" + "AgEIcHlwaS5vcmc" + ALNUM),
    "docker-hub": ("X", "dckr_pat_" + ALNUM[:27]),
    "sendgrid": ("X", "SG." + ALNUM[:22] + "." + ALNUM),
    "stripe": ("X", "sk_live_" + ALNUM[:24]),
    "stripe-restricted": ("X", "rk_live_" + ALNUM[:24]),
    "groq": ("X", "gsk_" + ALNUM),
    "nvidia": ("X", "nvapi-" + ALNUM),
    "replicate": ("X", "r8_" + ALNUM[:37]),
    "vault": ("X", "hvs." + ALNUM),
    "digital-ocean": ("X", "dop_v1_" + HEX + HEX),
    "grafana": ("X", "glsa_" + ALNUM[:32] + "_" + HEX[:8]),
    "pem": ("X", "-----BEGIN RSA PRIVATE" + " KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA PRIVATE KEY-----"),
    "pem-openssh": ("X", "-----BEGIN OPENSSH PRIVATE" + " KEY-----\nb3BlbnNzaC1rZXktdjEA"),
    "pem-pkcs8": ("X", "-----BEGIN PRIVATE" + " KEY-----\\nMIIEvQIBADANBg"),
    "pgp": ("X", "-----BEGIN PGP PRIVATE" + " KEY BLOCK-----"),
    "jwt": ("X", "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0NTY3ODkwIn0" + ".dozjgNryP4J3jVmNHl0w5N"),
    "service-account": ("X", json.dumps({"type": "service_account", "private_key_id": "1", "private_key": ALNUM})),
    "json-password": ("X", json.dumps({"user": "model", "password": WORD})),
    "docker-config": ("X", json.dumps({"auths": {"ghcr.io": {"auth": "bW9kZWw6aHVudGVyMg=="}}})),
    "azure-connection": (
        "X",
        "DefaultEndpointsProtocol=https;AccountName=acme;AccountKey=" + ALNUM + ALNUM + "==;",
    ),
    "azure-sas": ("uri", "https://acme.blob.core.windows.net/c?sv=2024-01-01&sig=" + ALNUM + "%3D"),
    "postgres": ("DATABASE_URL", "postgres://model:" + WORD + "@db.acme.example:5432/models"),
    "redis": ("REDIS_URL", "redis://:" + WORD + "@cache:6379/0"),
    "amqp": ("X", "amqp://guest:" + WORD + "@mq/"),
    "mongo": ("X", "mongodb+srv://model:" + WORD + "@cluster0.acme.example/x"),
    "https-user-info": ("url", "https://bot:" + WORD + "@git.acme.example/a.git"),
    "https-token": ("url", "https://" + ALNUM[:30] + "@git.acme.example/a.git"),
    "s3-user-info": ("uri", "s3://" + "MODELSTORE7:" + ALNUM[:24] + "@models/chat"),
    "ado-net": ("X", "Server=db;Database=m;User Id=model;Password=" + WORD + ";"),
    "libpq": ("X", "host=db user=model password=" + WORD),
    "query": ("url", "https://metrics.acme.example/write?token=" + WORD),
    "promql": ("query", 'sum(rate(x{api_key="' + WORD + '9"}[5m]))'),
    "argument": ("args", "--token=" + WORD),
    "argument-after": ("api-key", WORD),
    "command": ("command", "serve --port 80 --api-key " + WORD),
    "assignment": ("install", "PIP_PASSWORD=" + WORD + " pip install x"),
    "header": ("X", "Authorization: Bearer " + ALNUM[:20]),
    "bearer": ("X", "Bearer " + ALNUM[:20]),
    "numbered-key": ("OPENAI_KEY_2", "abc123def"),
    "github-pat": ("GITHUB_PAT", "abc123def"),
    "password": ("DB_PASSWORD", "hunter2"),
    "short-password": ("DB_PASSWORD", "abc"),
    "digits-as-password": ("DB_PASSWORD", "123456"),
    "pass": ("DB_PASS", "hunter2"),
    "camel": ("dbPassword", "hunter2"),
    "dashed": ("x-api-key", "letmeinplease"),
    "dotted": ("spring.datasource.password", "hunter2"),
    "in-production": ("API_KEY_PROD", "letmein1"),
    "value-of": ("SECRET_VALUE", "letmein"),
    "credentials": ("CREDENTIALS", "model:letmein"),
    "hexadecimal": ("X", HEX),
    "hexadecimal-64": ("SALT", HEX + HEX[::-1]),
    "base64": ("X", ALNUM + "=="),
    "base32": ("X", "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXQ"),
    "twilio": ("TWILIO_AUTH_TOKEN", HEX),
    "curl-user": ("run", "curl -sSf -u alice:letmein https://acme.example/x | tar -x"),
    "curl-user-option": ("run", "curl https://acme.example --user 'alice:letmein'"),
    "curl-proxy": ("run", "curl --proxy-user=alice:letmein https://acme.example"),
    "sshpass": ("run", "sshpass -p letmein ssh alice@acme.example"),
    "sshpass-attached": ("run", "sshpass -pletmein scp a b"),
    "mysql-command": ("run", "mysqldump -h db -u root -pletmein models"),
    "redis-command": ("run", "redis-cli -h cache -a letmein ping"),
    "docker-login": ("run", "docker login -u bot -p letmein registry.acme.example"),
    "helm-login": ("run", "helm registry login registry.acme.example -u bot -p letmein"),
    "openssl": ("run", "openssl rsa -in key.pem -passin pass:letmein"),
    "ldap-command": ("run", "ldapsearch -D cn=admin -w letmein -b dc=acme"),
}

HARMLESS: dict[str, tuple[str, str]] = {
    "curl-user-of-variables": ("run", 'curl -u "$USER:$PASSWORD" https://acme.example'),
    "curl-user-and-variable": ("run", "curl -u alice:$PASSWORD https://acme.example"),
    "curl-user-alone": ("run", "curl -u alice https://acme.example:8443/x"),
    "curl-silent": ("run", "curl -sSfL https://acme.example/a:b -o out"),
    "docker-user": ("run", "docker run -u 1000:1000 image"),
    "docker-port": ("run", "docker run -p 8080:8080 image"),
    "docker-login-stdin": ("run", "docker login -u bot --password-stdin registry"),
    "sshpass-of-variable": ("run", "sshpass -p $SSH_PASSWORD ssh a@b"),
    "sshpass-environment": ("run", "sshpass -e ssh a@b"),
    "mysql-port": ("run", "mysql -h db -P 3306 -u root"),
    "openssl-environment": ("run", "openssl rsa -passin env:KEY_PASSWORD"),
    "mkdir": ("run", "mkdir -p models && chmod -R u+rw models"),
    "redis-of-variable": ("run", "redis-cli -a ${REDIS} ping"),
    "no-key": ("NO_KEY", "false"),
    "empty": ("HF_TOKEN", ""),
    "none": ("API_KEY", "none"),
    "boolean": ("USE_TOKEN", "true"),
    "number-of-tokens": ("MAX_TOKENS", "4096"),
    "option-max-tokens": ("max-num-batched-tokens", "8192"),
    "option-in-args": ("args", "--max-tokens=4096"),
    "token-limit": ("TOKEN_LIMIT", "100000"),
    "tokenizer": ("tokenizer", "meta-llama/Llama-3.1-8B-Instruct"),
    "tokenizer-mode": ("tokenizer-mode", "mistral"),
    "eos-token": ("X", "<|end_of_text|>"),
    "stop-token": ("STOP_TOKEN", "end-of-turn"),
    "pad-token": ("PAD_TOKEN", "<pad>"),
    "digest": ("digest", "sha256:5ab0d4b6c1f7e93a28d05c7f64be1932a0d7c8f5e1b34692d8fa07c35b6e914d"),
    "bare-digest": ("MODEL_SHA256", "5ab0d4b6c1f7e93a28d05c7f64be1932a0d7c8f5e1b34692d8fa07c35b6e914d"),
    "commit": ("GIT_COMMIT", "9f2c4a7be1d80356c7aa91e4d5b60f2837c1e9da"),
    "commit-of-a-model": ("uri", "hf://acme/model@9f2c4a7be1d80356c7aa91e4d5b60f2837c1e9da"),
    "commit-in-a-path": ("url", "https://git.acme.example/a/raw/9f2c4a7be1d80356c7aa91e4d5b60f2837c1e9da/x.md"),
    "uuid": ("X", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
    "run-id": ("RUN_ID", "6ba7b8109dad11d180b400c04fd430c8"),
    "image": ("image", "vllm/vllm-openai:v0.11.0"),
    "image-digest": ("image", "ghcr.io/acme/server@sha256:" + HEX + HEX),
    "image-of-tokens": ("image", "ghcr.io/acme/token-service:1.2.3"),
    "pip-hash": ("X", "torch==2.7.0 --hash=sha256:" + HEX + HEX),
    "promql": ("query", 'sum(rate(vllm:prompt_tokens_total{model="chat"}[5m])) by (pod)'),
    "promql-quantile": (
        "query",
        "histogram_quantile(0.99, sum by (le) (rate(vllm:time_to_first_token_seconds_bucket[2m])))",
    ),
    "promql-key": ("query", 'up{key="release"}'),
    "hostname": ("hostname", "chat.models.eu-central-1.acme.example"),
    "long-hostname": ("X", "ip-10-0-12-231.eu-central-1.compute.internal.acme.example"),
    "url": ("url", "https://prometheus.monitoring.svc:9090/select/0/prometheus"),
    "url-of-keys": ("JWKS_KEY", "https://login.acme.example/.well-known/jwks.json"),
    "ssh-url": ("url", "ssh://git@github.com/acme/models.git"),
    "scp-url": ("url", "git@github.com:acme/models.git"),
    "https-user": ("url", "https://acme@dev.azure.com/acme/models/_git/gitops"),
    "azure-container": ("uri", "az://models@acmestore.blob.core.windows.net/chat/1.0.0"),
    "s3": ("uri", "s3://acme-models-prod/chat/2024-11-05/checkpoint-12000/model.safetensors"),
    "port-and-address": ("X", "http://user-service:8080/notify@acme"),
    "arn": ("administrators", "arn:aws:iam::123456789012:role/AWSReservedSSO_AdministratorAccess_0a1b2c3d4e5f6789"),
    "arn-of-a-secret": ("DB_SECRET", "arn:aws:secretsmanager:eu-central-1:123456789012:secret:chat-AbCdEf"),
    "secret-file": ("TOKEN_FILE", "/run/secrets/token"),
    "secret-path": ("API_KEY", "/run/secrets/api-key"),
    "public-key-file": ("keys", "keys/release.pub"),
    "key-file": ("SIGNING_KEY", "keys/release.pub"),
    "ssh-key-path": ("sshKey", "~/.ssh/gitops_ed25519"),
    "public-key": ("X", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGx9Hk2Tq7vLw0Zr8yB4nQm5sXc1Pd3Jf6Ea9Ug2Ri7K a@b"),
    "certificate": ("CA", "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUQ7r9K2xW\n-----END CERTIFICATE-----"),
    "reference": ("HF_TOKEN", "$(SHARED_TOKEN)"),
    "shell-reference": ("X", "--token=${HF_TOKEN}"),
    "reference-in-a-url": ("DATABASE_URL", "postgres://model:$(DB_PASSWORD)@db/models"),
    "variable-of-a-key": ("apiKeyEnv", "CHAT_API_KEY"),
    "name-of-a-variable": ("API_KEY", "CHAT_API_KEY"),
    "name-of-a-secret": ("secret", "hugging-face"),
    "key-of-a-secret": ("key", "token"),
    "secret-name": ("secretName", "model-credentials"),
    "token-type": ("TOKEN_TYPE", "bearer"),
    "auth-mode": ("AUTH", "oauth2"),
    "cache-key": ("CACHE_KEY", "model-Version-7"),
    "partition-key": ("PARTITION_KEY", "tenant1"),
    "sort-key": ("SORT_KEY", "created_at"),
    "key-as-a-word": ("LOOKUP_KEY", "customer_id"),
    "model": ("model", "Qwen/Qwen2.5-VL-72B-Instruct-GPTQ-Int4"),
    "long-model": ("X", "DeepSeek-R1-Distill-Qwen-32B-Instruct-AWQ-Int4-Marlin-v2"),
    "class": ("X", "LlavaNextVideoForConditionalGenerationWithProcessorV2"),
    "long-path": ("X", "/opt/models/huggingface/Llama3/Instruct/Quantized/W8A8/checkpoint"),
    "long-word": ("X", "internationalizationandlocalizationconfiguration"),
    "repeated": ("X", "a" * 64),
    "zeros": ("X", "0" * 64),
    "digits": ("X", "1234567890" * 5),
    "person": ("owner", "alice@acme.example"),
    "team": ("owner", "ML Platform - serving (on-call)"),
    "region": ("region", "eu-central-1"),
    "cidr": ("cidr", "10.0.0.0/16"),
    "sentence": ("X", "Rotate the token before you change the password of the database"),
    "skill": ("X", "sk-learn-compatible-pipeline"),
    "hf-word": ("X", "hf_transfer"),
    "json": ("X", '{"max_tokens": 100, "tokenizer": "auto", "stop_token_ids": [1, 2]}'),
    "rope": ("hf-overrides", '{"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}'),
    "uuid-in-a-uri": ("uri", "gs://runs/6ba7b810-9dad-11d1-80b4-00c04fd430c8/model"),
    "encryption-is-off": ("ENCRYPTION_KEY", "disabled"),
    "switch-before-an-option": ("args", "serve --use-token --port 8080"),
    "otlp": ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector.monitoring:4317"),
}


def test_the_lists_are_long() -> None:
    assert len(SHAPES) >= 60
    assert len(HARMLESS) >= 60


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_is_told(name: str) -> None:
    key, value = SHAPES[name]
    assert secret_in(key, value)


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_harmless_passes(name: str) -> None:
    key, value = HARMLESS[name]
    assert secret_in(key, value) is None


SPEC = """
apiVersion: gitops/v1
name: acme
promotion: [dev]
repository: {url: "https://git.acme.example/a.git"}
models:
  chat:
    version: 1.0.0
    owner: team
    artifact:
      uri: s3://models/chat/1.0.0
      digest: sha256:5ab0d4b6c1f7e93a28d05c7f64be1932a0d7c8f5e1b34692d8fa07c35b6e914d
      format: safetensors
    serve: {runtime: custom, image: "ghcr.io/acme/server:1", command: [serve], args: [--quiet, "1"], env: {LOG: info}}
    rollout: careful
rollouts:
  careful:
    strategy: canary
    steps: [{weight: 10, bake: 15m}, {weight: 100}]
    gates: [{name: own, query: 'up{version="$version"}', rollback: "1"}]
ci: {install: pip install gitops}
"""
ENVIRONMENT = """
apiVersion: gitops/v1
clusters:
  local: {provider: embedded, nodePools: {l4: {gpu: {type: L4, count: 1}, max: 4}}}
monitoring: {labels: {release: prom}}
models: {chat: {serve: {env: {LOG: debug}}}}
"""
TOKEN = "ghp_" + ALNUM[:36]
PLACES: tuple[tuple[str, tuple[str | int, ...], str], ...] = (
    ("pipeline.yaml", ("name",), TOKEN),
    ("pipeline.yaml", ("repository", "url"), "https://bot:" + WORD + "@git.acme.example/a.git"),
    ("pipeline.yaml", ("models", "chat", "owner"), TOKEN),
    ("pipeline.yaml", ("models", "chat", "version"), TOKEN),
    ("pipeline.yaml", ("models", "chat", "artifact", "uri"), "s3://KEY" + ALNUM[:9] + ":" + ALNUM + "@models/chat"),
    ("pipeline.yaml", ("models", "chat", "artifact", "format"), TOKEN),
    ("pipeline.yaml", ("models", "chat", "serve", "image"), TOKEN),
    ("pipeline.yaml", ("models", "chat", "serve", "command", 0), "--token=" + WORD),
    ("pipeline.yaml", ("models", "chat", "serve", "args", 0), "--api-token=" + WORD),
    ("pipeline.yaml", ("models", "chat", "serve", "env", "DATABASE_URL"), "postgres://m:" + WORD + "@db/m"),
    ("pipeline.yaml", ("models", "chat", "serve", "env", "OPENAI_KEY_2"), WORD + "1"),
    ("pipeline.yaml", ("rollouts", "careful", "gates", 0, "query"), 'up{api_key="' + WORD + '9"}'),
    ("pipeline.yaml", ("ci", "install"), "pip install --index-url https://u:" + WORD + "@pypi.acme.example gitops"),
    ("environments/dev.yaml", ("monitoring", "labels", "release"), TOKEN),
    ("environments/dev.yaml", ("models", "chat", "serve", "env", "GITHUB_PAT"), WORD + "2"),
    ("environments/dev.yaml", ("nonsense",), TOKEN),
)


def files(changes: tuple[tuple[str, tuple[str | int, ...], object], ...] = ()) -> dict[str, bytes]:
    documents = {"pipeline.yaml": yaml.safe_load(SPEC), "environments/dev.yaml": yaml.safe_load(ENVIRONMENT)}
    for name, path, value in changes:
        place = documents[name]
        for part in path[:-1]:
            place = place[part]
        place[path[-1]] = value
    return {name: yaml.safe_dump(data, sort_keys=False).encode() for name, data in documents.items()}


def said_of(spec: dict[str, bytes]) -> list[str]:
    rest = [SourceFile(name, data) for name, data in spec.items() if name != "pipeline.yaml"]
    try:
        load_spec(SourceFile("pipeline.yaml", spec["pipeline.yaml"]), rest)
    except SpecError as error:
        return str(error).splitlines()
    return []


def test_the_spec_without_secrets_loads() -> None:
    assert said_of(files()) == []


@pytest.mark.parametrize("place", PLACES, ids=lambda place: ".".join(map(str, place[1])))
def test_it_is_refused_wherever_it_stands(place: tuple[str, tuple[str | int, ...], str]) -> None:
    said = said_of(files((place,)))
    assert any("looks like a secret" in line and line.startswith(place[0]) for line in said)
    assert not any(place[2] in line or WORD in line or place[2][:12] in line for line in said)


def test_after_an_option_stands_its_value() -> None:
    said = said_of(files((("pipeline.yaml", ("models", "chat", "serve", "args"), ["--api-key", WORD]),)))
    assert [line.split(": ")[1] for line in said] == ["models.chat.serve.args[1]"]


def test_an_option_is_not_the_value_of_another() -> None:
    assert said_of(files((("pipeline.yaml", ("models", "chat", "serve", "args"), ["--use-token", "--port"]),))) == []


@pytest.mark.parametrize(
    ("args", "place"),
    [
        (["curl", "-u", "alice:letmein", "https://acme.example"], 2),
        (["/usr/bin/sshpass", "-p", "letmein", "ssh"], 2),
        (["redis-cli", "-h", "cache", "-a", "letmein"], 4),
        (["curl", "-u", "alice", "https://acme.example:8443"], None),
        (["curl", "-u", "alice:$PASSWORD"], None),
        (["serve", "-u", "1000:1000", "-p", "8080"], None),
    ],
)
def test_a_command_in_words_is_read_as_one(args: list[str], place: int | None) -> None:
    said = said_of(files((("pipeline.yaml", ("models", "chat", "serve", "args"), args),)))
    assert [line.split(": ")[1] for line in said] == ([] if place is None else [f"models.chat.serve.args[{place}]"])


def test_a_key_can_be_one() -> None:
    said = said_of(files((("pipeline.yaml", ("models", "chat", "serve", "env", TOKEN), "x"),)))
    assert any("looks like a secret written out: a GitHub token" in line for line in said)
    assert TOKEN[:12] not in "".join(said)


def test_a_false_alarm_is_declared_for_one_text() -> None:
    place = ("models", "chat", "serve", "env", "SIGNING_KEY")
    declared = ("pipeline.yaml", ("notSecret",), [digest_of(WORD)])
    (said,) = said_of(files((("pipeline.yaml", place, WORD),)))
    assert f"for a false alarm add {digest_of(WORD)} to `notSecret` in pipeline.yaml" in said
    assert said_of(files((("pipeline.yaml", place, WORD), declared))) == []
    assert said_of(files((("pipeline.yaml", place, WORD + "!"), declared)))


text = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=12, max_size=80)


@settings(max_examples=60)
@given(st.sampled_from([place[:2] for place in PLACES]), st.sampled_from(["ghp_", "hf_", "AKIA", "--token="]), text)
@tried_with(PLACES[0][:2], "ghp_", ALNUM[:36])
def test_no_message_shows_a_secret(place: tuple[str, tuple[str | int, ...]], start: str, rest: str) -> None:
    value = start + rest
    said = said_of(files(((*place, value),)))
    if any("looks like a secret" in line for line in said):
        assert not any(value[:16] in line or value in line for line in said)


@settings(max_examples=100)
@given(text, text)
def test_what_is_taken_out_of_a_text_is_not_in_it(secret: str, around: str) -> None:
    assert secret not in concealing([secret])(around + secret + around)
    assert concealing([])(around) == around


def test_short_secrets_are_taken_out_as_a_whole() -> None:
    assert concealing(["hunter2"])('"hunter2" is not a name') == '"…" is not a name'


def test_live_objects_are_shown_without_values() -> None:
    assert masked_value("HF_TOKEN", "letmein") == "…"
    assert masked_value("env", [{"name": "HF_TOKEN", "value": WORD}, {"name": "LOG", "value": "info"}]) == [
        {"name": "HF_TOKEN", "value": "…"},
        {"name": "LOG", "value": "info"},
    ]
    assert masked_value("args", ["--api-key", WORD, "x"]) == ["--api-key", "…", "x"]
    assert masked_value("args", ["--token=" + WORD, "--port=80", 3]) == ["…", "--port=80", 3]


def test_diffs_are_shown_without_values() -> None:
    diff = f"""\
@@ -1,4 +1,4 @@
 - name: API_PASSWORD
-  value: {WORD}
+  value: "{WORD}2"
 - name: LOG
-  value: info
+  value: debug
+  url: https://u:{WORD}@host/
   secretKeyRef: {{name: hugging-face, key: token}}
"""
    shown = masked_text(diff)
    assert WORD not in shown
    assert "value: info" in shown
    assert "{name: hugging-face, key: token}" in shown


@pytest.mark.parametrize(
    "hostile",
    ["a" * 400_000, "://a:" * 50_000, "-eyJ" * 50_000, "a=" * 50_000, "Bearer " * 50_000, "x  " * 60_000],
    ids=["letters", "urls", "tokens", "assignments", "headers", "spaces"],
)
def test_long_texts_take_no_time(hostile: str) -> None:
    start = time.process_time()
    secret_in("X", hostile)
    masked_text(hostile)
    assert time.process_time() - start < 5


def test_the_example_and_the_golden_specs_have_none() -> None:
    root = Path(__file__).parents[2]
    for pipeline in [root / "pipeline.yaml", *(root / "tests/render/golden").glob("*/pipeline.yaml")]:
        names = [pipeline, *(pipeline.parent / "environments").glob("*.yaml")]
        spec = {path.relative_to(pipeline.parent).as_posix(): path.read_bytes() for path in names}
        assert not [line for line in said_of(spec) if "secret" in line], pipeline

"""What looks like a credential in text that goes to Git, to plans and to logs: known shapes, names, randomness.

A credential is told by its shape (prefixes that services publish, keys in PEM, passwords in URLs), by a name that
means one (`--token=…`, `DB_PASSWORD`), or by randomness where no digest is expected. All is decided by text alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from gitops.spec.random_text import random_in
from gitops.spec.secret_names import harmless_value, is_digest_name, is_secret_name

_BETWEEN = r"[^\n;|&]{0,200}?"
_SOME_WORD = r"(?![$<{*%])[^\s\"']{4,200}"
_PASSWORD_OPTIONS = {"sshpass": ("-p",), "redis-cli": ("-a",), "curl": ("-u", "--user", "-U", "--proxy-user")}
"""Options of programs whose value is a password, though nothing in the name says it; curl's has the user before it."""
_USER_AND_PASSWORD = re.compile(r"[^\s:$]{1,100}:[^\s$].{0,200}")

_SHAPES: tuple[tuple[str, tuple[str, ...], re.Pattern[str]], ...] = (
    ("an AWS access key", ("AKIA", "ASIA"), re.compile(r"(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])")),
    (
        "a GitHub token",
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        re.compile(r"(?<![A-Za-z0-9])(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})"),
    ),
    (
        "a GitLab token",
        ("gl",),
        re.compile(r"(?<![A-Za-z0-9])gl(?:pat|ptt|dt|rt|cbt|soat|ft|agent|imt|oas|ffct)-[\w.-]{16,}"),
    ),
    (
        "a Slack token",
        ("xox", "xapp-"),
        re.compile(r"(?<![A-Za-z0-9])xox[abeoprs]-[A-Za-z0-9-]{10,}|(?<![A-Za-z0-9])xapp-\d-[\w-]{10,}"),
    ),
    (
        "a webhook's address, which is its key",
        ("hooks.slack",),
        re.compile(r"hooks\.slack\.com/(?:services|workflows)/[\w/]{20,}"),
    ),
    (
        "a webhook's address, which is its key",
        ("/api/webhooks/",),
        re.compile(r"discord(?:app)?\.com/api/webhooks/\d+/[\w-]{20,}"),
    ),
    (
        "a Stripe key",
        ("k_live_", "k_test_", "whsec_"),
        re.compile(r"(?<![A-Za-z0-9])(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9+/=]{20,}"),
    ),
    (
        "an API key",
        ("sk-",),
        re.compile(r"(?<![A-Za-z0-9])sk-(?:proj|ant|svcacct|admin|or|lf)-[\w-]{16,}|(?<![\w-])sk-[A-Za-z0-9]{20,}"),
    ),
    (
        "an API key",
        ("gsk_", "nvapi-", "r8_", "tgp_v1_", "fw_", "xai-", "pplx-", "lsv2_", "dapi"),
        re.compile(
            r"(?<![A-Za-z0-9])(?:gsk_|nvapi-|r8_|tgp_v1_|fw_|xai-|pplx-|lsv2_(?:pt|sk)_|dapi)(?=[\w-]{0,200}\d)[\w-]{20,}"
        ),
    ),
    ("a Hugging Face token", ("hf_",), re.compile(r"(?<![A-Za-z0-9])hf_[A-Za-z0-9]{20,}")),
    (
        "a Google key",
        ("AIza", "ya29.", "GOCSPX-"),
        re.compile(r"(?<![A-Za-z0-9])(?:AIza[\w-]{30,}|ya29\.[\w-]{16,}|GOCSPX-[\w-]{16,})"),
    ),
    (
        "a registry token",
        ("npm_", "pypi-AgE", "dckr_"),
        re.compile(r"(?<![A-Za-z0-9])(?:npm_[A-Za-z0-9]{20,}|pypi-AgE[\w-]{16,}|dckr_(?:pat|oat)_[\w-]{16,})"),
    ),
    (
        "an API key",
        ("SG.", "key-", "xkeysib-"),
        re.compile(r"(?<![A-Za-z0-9])(?:SG\.[\w-]{16,}\.[\w-]{16,}|key-[0-9a-f]{32}|xkeysib-[\w-]{32,})"),
    ),
    (
        "a token",
        ("hv", "dop_v1_", "glsa_", "pul-"),
        re.compile(r"(?<![A-Za-z0-9])(?:hv[sbr]\.[\w-]{20,}|dop_v1_[0-9a-f]{32,}|glsa_\w{20,}|pul-[0-9a-f]{40})"),
    ),
    (
        "a token",
        (".atlasv1.", "shp", "sbp_"),
        re.compile(
            r"[\w-]{14}\.atlasv1\.[\w-]{40,}|(?<![A-Za-z0-9])(?:shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}|sbp_\w{32,})"
        ),
    ),
    (
        "a private key",
        ("PRIVATE KEY", "PuTTY-User-Key-File", "AGE-SECRET-KEY-"),
        re.compile(
            r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----"
            r"(?:[\s\S]{0,8000}?-----END [A-Z0-9 ]{0,40}-----)?"
            r"|PuTTY-User-Key-File|AGE-SECRET-KEY-1\w+"
        ),
    ),
    ("a token (JWT)", ("eyJ",), re.compile(r"(?<![A-Za-z0-9])eyJ[\w-]{8,400}\.(?:eyJ)?[\w-]{8,}(?:\.[\w-]*)?")),
    (
        "a storage key",
        ("ey=", "sig="),
        re.compile(r"(?:[Aa]ccount|[Ss]hared[Aa]ccess)[Kk]ey=[A-Za-z0-9+/=%]{20,}|[?&;]sig=[A-Za-z0-9+/=%]{20,}"),
    ),
    (
        "a password in a URL",
        ("://",),
        re.compile(
            r"(?<![A-Za-z0-9])[A-Za-z][A-Za-z0-9+.-]{0,20}://[^\s/@:\"'?#]{0,200}:(?!\d{1,5}/|\$[({]|\$[A-Z_]+@|[<{*]|%\()[^\s@\"']{1,500}@(?=[A-Za-z0-9\[$])"
        ),
    ),
    (
        "a token in a URL",
        ("://",),
        re.compile(r"(?:https?|s3)://(?=[^\s/@:]{0,500}\d)[^\s/@:$\"']{16,500}@(?=[A-Za-z0-9])"),
    ),
    (
        "credentials of a request",
        ("earer ", "asic ", "EARER ", "ASIC "),
        re.compile(r"(?i:\b(?:bearer|basic)[ ]+(?=[A-Za-z._~+/=-]{0,200}\d)[A-Za-z0-9._~+/=-]{12,})"),
    ),
    (
        "the password of a command",
        ("curl", "sshpass", "mysql", "redis-cli", "login", "-pass", "ldap"),
        re.compile(
            # What stands in the place of the password and is a reference is none.
            rf"\bcurl\b{_BETWEEN}\s(?:-[uU]\s?|--(?:proxy-)?user[ =])[\"']?[^\s:\"'$]{{1,100}}:{_SOME_WORD}"
            rf"|\bsshpass\s+-p\s?[\"']?{_SOME_WORD}"
            rf"|\bmysql(?:dump|admin|import)?\b{_BETWEEN}\s-p{_SOME_WORD}"
            rf"|\bredis-cli\b{_BETWEEN}\s-a\s[\"']?{_SOME_WORD}"
            rf"|\b(?:docker|podman|nerdctl|buildah|skopeo|crane|oras|helm)\b{_BETWEEN}\blogin\b{_BETWEEN}"
            rf"\s-p[ =]?[\"']?{_SOME_WORD}"
            rf"|\s-pass(?:in|out)?\s[\"']?pass:{_SOME_WORD}"
            rf"|\bldap(?:search|add|modify|delete|whoami)\b{_BETWEEN}\s-w\s[\"']?{_SOME_WORD}"
        ),
    ),
)
"""What a credential by its form is called, what every text that has one has in it, and the form. Repeats have bounds,
so that no text takes long."""
_SAID = re.compile(
    # --name=value, NAME=value, name: value, "name": "value", ?name=value, name="value" of a query, --name value
    r"(?:^|(?<=[\s?&;,\"'{(]))(?P<dashes>-{0,2})(?P<name>[A-Za-z_][\w.-]{0,60})"
    r"(?:\"\s*:\s*|'\s*:\s*|:\s+|\s*=~?\s*|(?P<space>\s+))"
    r"[\"']?(?P<value>[^\s&;,\"'})]+)"
)
_NAMED = re.compile(r"[ +-]*\bname: *[\"']?(?P<name>[\w.-]+)[\"']?\s*")
_VALUE = re.compile(r"(?P<before>[ +-]*value: *[\"']?)(?P<value>[^\n\"']+)(?P<rest>.*)", re.DOTALL)
OURS = frozenset(
    {"apiKeyEnv", "imagePullSecrets", "installSecrets", "key", "keys", "secret", "signatures", "signers", "signing"}
    | {"sigstore", "sshKey", "tokens", "notSecret"}
)
"""Fields of the spec whose names sound like credentials, and that hold names, paths or public keys."""
_SHORTEST = 4


def secret_in(key: str, value: str) -> str | None:
    """What kind of credential the value looks like, None if it looks like none.

    `key` is the name that the value has: the mapping's key, or the option before it in a list of arguments.
    """
    if len(value) >= _SHORTEST and (kind := _by_itself(value)):
        return kind
    if key not in OURS and is_secret_name(key) and not harmless_value(key, value):
        return f"the value of `{key}`"
    if not is_digest_name(key) and random_in(value):
        return "a random key"
    return None


@lru_cache(maxsize=100_000)
def _by_itself(value: str) -> str | None:
    """What the text looks like whatever its name: a known shape, or `name=value` within it."""
    if len(value) >= 12:
        for kind, hints, shape in _SHAPES:
            if any(hint in value for hint in hints) and shape.search(value):
                return kind
    for match in _SAID.finditer(value):
        if _is_said(match):
            return f"the value of `{match['name']}`"
    return None


def _is_said(match: re.Match[str]) -> bool:
    name, value = match["name"], match["value"]
    if match["space"] and (not match["dashes"] or value.startswith("-")):
        return False
    return len(value) >= _SHORTEST and name not in OURS and is_secret_name(name) and not harmless_value(name, value)


def mask(value: str) -> str:
    """The value as an output may show it: at most the first four characters of a long one."""
    return f"{value[:4] if len(value) >= 16 and value[:4].isalnum() else ''}…"


def masked_value(name: str, value: Any) -> Any:
    """What has the name in an object or a record, as a plan may show it; what is below it too."""
    if isinstance(value, str):
        return mask(value) if secret_in(name, value) else value
    if isinstance(value, Mapping):
        entry = value.get("name")
        return {
            key: masked_value(entry if key == "value" and isinstance(entry, str) else str(key), below)
            for key, below in value.items()
        }
    return [masked_value(key, item) for key, item in named_items(name, value)] if isinstance(value, list) else value


def named_items(name: str, items: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """The items of the list that has the name, each with its own: an argument after an option is the option's value."""
    flag = program = ""
    for item in items:
        is_option = isinstance(item, str) and item.startswith("-")
        yield name if is_option else _meant(program, flag, item) or flag.lstrip("-") or name, item
        if isinstance(item, str) and (word := item.rpartition("/")[2]) in _PASSWORD_OPTIONS:
            program = word
        flag = item if is_option and "=" not in item and " " not in item else ""


def _meant(program: str, flag: str, item: Any) -> str:
    """`password` where the option of the program has one as its value, whatever the option is called."""
    if flag not in _PASSWORD_OPTIONS.get(program, ()) or not isinstance(item, str):
        return ""
    return "password" if program != "curl" or _USER_AND_PASSWORD.fullmatch(item) else ""


def masked_text(text: str) -> str:
    """A file's text or a diff, as a plan may show it: credentials by shape and by name are masked."""
    for _, hints, shape in _SHAPES:
        if any(hint in text for hint in hints):
            text = shape.sub(lambda match: mask(match[0]), text)
    return "".join(_masked_pairs(_SAID.sub(_masked_match, text).splitlines(keepends=True)))


def _masked_pairs(lines: list[str]) -> Iterator[str]:
    """The lines with the values of variables masked, whose name stands in a line of its own above."""
    name = ""
    for line in lines:
        if match := _VALUE.fullmatch(line):
            told = is_secret_name(name) and not harmless_value(name, match["value"])
            yield f"{match['before']}{mask(match['value'])}{match['rest']}" if told else line
            continue
        match = _NAMED.fullmatch(line)
        name = match["name"] if match else ""
        yield line


def _masked_match(match: re.Match[str]) -> str:
    if not _is_said(match):
        return match[0]
    start, end = match.start("value") - match.start(), match.end("value") - match.start()
    return f"{match[0][:start]}{mask(match['value'])}{match[0][end:]}"


_WINDOW = 8
_LONGEST = 4096


def concealing(secrets: Iterable[str]) -> Callable[[str], str]:
    """A function that takes out of a text what it repeats of the secrets.

    That is any eight characters in a row, or a shorter secret as a whole. Those of less than four characters stay:
    other words would be torn apart.
    """
    known = list(secrets)
    short = [secret for secret in known if _SHORTEST <= len(secret) < _WINDOW]
    windows = {
        secret[start : start + _WINDOW] for secret in known for start in range(min(len(secret), _LONGEST) - _WINDOW + 1)
    }

    def conceal(text: str) -> str:
        for secret in short:
            text = text.replace(secret, "…")
        hidden = [False] * len(text)
        for start in range(len(text) - _WINDOW + 1):
            if text[start : start + _WINDOW] in windows:
                hidden[start : start + _WINDOW] = [True] * _WINDOW
        return "".join(
            "…" if hide else character
            for index, (character, hide) in enumerate(zip(text, hidden, strict=True))
            if not (hide and index and hidden[index - 1])
        )

    return conceal

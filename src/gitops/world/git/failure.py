"""What Git says when something fails, turned into one sentence and a next step; credentials never get through."""

from __future__ import annotations

import re

from gitops.errors import GitopsError


class Damaged(GitopsError):
    """The repository on disk lacks something or cannot be read; a cache is rebuilt then."""


_CONTROL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_USERINFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<userinfo>[^/\s'\"]*)@")
_SLASH_IN_PASSWORD = re.compile(r"(?P<scheme>[a-z+]+://)[^/:@]+:(?!\d+/)[^@]*/.*@", re.IGNORECASE)
_SECRET_QUERY = re.compile(r"(?i)([?&][^=&\s]*(?:token|key|secret|password|signature)[^=&\s]*=)[^&\s]+")

# The first line that matches decides, so the particular stands before the general.
_CAUSES: tuple[tuple[str, str, str], ...] = (
    (
        r"could not resolve host|name or service not known|temporary failure in name resolution"
        r"|nodename nor servname|unable to look up",
        "host not found",
        "check the host in repository.url, and the network",
    ),
    (
        r"host key verification failed|remote host identification has changed",
        "the host's SSH key is not trusted",
        "add it to known_hosts (ssh-keyscan) after checking it",
    ),
    (
        r"authentication failed|could not read (username|password)|terminal prompts disabled"
        r"|permission denied \((publickey|password|keyboard|gssapi)|returned error: 40[13]|http basic: access denied"
        r"|invalid (username|credentials)",
        "not allowed: the credentials are missing or not accepted",
        "give Git credentials for this URL (credential helper, token or SSH key); it must not have to ask",
    ),
    (
        r"repository (.* )?not found|returned error: 404|access denied or repository not exported"
        r"|does not appear to be a git repository|project you were looking for could not be found"
        r"|repository '.*' does not exist",
        "repository not found",
        "check repository.url, and that these credentials may see it",
    ),
    (
        r"certificate (problem|verification failed)|ssl certificate",
        "the server's TLS certificate is not trusted",
        "add its authority (http.sslCAInfo)",
    ),
    (
        r"connection refused|connection timed out|operation timed out|network is unreachable|no route to host"
        r"|failed to connect|could(n't| not) connect|connection (was )?reset|connection closed|early eof"
        r"|remote end hung up|operation too slow",
        "cannot connect, or the connection broke",
        "check the network and try again",
    ),
    (
        r"refusing to update checked out branch",
        "the branch is checked out there, so it cannot be pushed to",
        "use a bare repository (git init --bare)",
    ),
    (
        r"transport '.*' not allowed|unable to find remote helper|is not a git command",
        "Git does not allow or know this kind of URL",
        "use ssh, https, git or a path",
    ),
    (
        r"no space left on device|out of diskspace|disk quota exceeded",
        "the disk is full",
        "free some space and run again",
    ),
    (
        r"dubious ownership",
        "the repository belongs to another user, so Git refuses it",
        "git config --global --add safe.directory <path>, if you trust it",
    ),
    (
        r"read-only file system|insufficient permission|permission denied",
        "no permission to read or write there",
        "check the owner and mode of the repository's files",
    ),
    (
        r"unable to create '.*\.lock': file exists|another git process seems",
        "another Git process holds a lock",
        "wait for it; when none is running, remove the .lock file that the message names",
    ),
)
_DAMAGE = re.compile(
    r"not a git repository|bad object|not a valid object name|not our ref|object file .* is empty"
    r"|(loose object|packed object|object) .* (is corrupt|corrupted)|unable to (read|find) [0-9a-f]{40}"
    r"|missing (blob|tree|commit|necessary objects)|could not (read|parse) [0-9a-f]{40}"
    r"|packfile .* (is|cannot|does|claims)"
    r"|index file .* (is too small|corrupt)|bad (numeric|config)|invalid object|inflate|unpack .* header"
    r"|did not receive expected object|(did not|failed to) (send|traverse|find) .*(objects|parents)|broken (ref|link)"
    r"|unable to parse (object|commit)|unresolved deltas|not a commit|not a tree object|unable to read tree",
    re.IGNORECASE,
)


def mask(text: str) -> str:
    """The text without the user part of http URLs, passwords of any URL, and secret query parameters."""
    if "://" not in text:
        return text
    if not any(space in text for space in " \t\n"):
        text = _SLASH_IN_PASSWORD.sub(r"\g<scheme>***@", text)
    return _SECRET_QUERY.sub(r"\1***", _USERINFO.sub(_masked_userinfo, text))


def _masked_userinfo(match: re.Match[str]) -> str:
    scheme, userinfo = match["scheme"], match["userinfo"]
    if scheme.lower().startswith("http"):
        return f"{scheme}***@"
    user, colon, _ = userinfo.partition(":")
    return f"{scheme}{user}:***@" if colon else f"{scheme}{user}@"


def plain(text: str) -> str:
    """What another machine said, fit to be shown: no control characters, no credentials."""
    return mask(_CONTROL.sub("", text.replace("\r", "\n")))


def explain(command: str, stderr: str, where: str) -> GitopsError:
    """The error for a Git command that failed with this text."""
    text = plain(stderr)
    declined = _declined(text)
    if declined:
        return GitopsError(
            f"the server declined the push: {declined}", where=where, hint="see its branch rules and hooks"
        )
    for pattern, what, hint in _CAUSES:
        found = re.search(pattern, text, re.IGNORECASE)
        if found:
            return GitopsError(f"{what} ({_line_of(text, found.start())})", where=where, hint=hint)
    last = _last_line(text) or "no message"
    if _DAMAGE.search(text):
        return Damaged(f"the repository is damaged or incomplete ({last})", where=where, hint="git fsck says more")
    if re.search(r"could not read from remote repository|gitfile", text, re.IGNORECASE):
        hint = "check repository.url, and that it may be read from here"
        return GitopsError(f"there is no repository that can be read ({last})", where=where, hint=hint)
    return GitopsError(f"git {command} failed: {last}", where=where, hint="check this path or URL, then run again")


def _declined(text: str) -> str:
    """The remote's own words about a refused push, empty when it is about something else."""
    if not re.search(r"hook declined|protected branch|\[remote rejected\]|deny updating a hidden ref", text):
        return ""
    if "refusing to update checked out branch" in text:
        return ""
    said = [line.removeprefix("remote:").strip() for line in text.splitlines() if line.startswith("remote:")]
    said = [line for line in said if line.strip(" -=*")]
    if said:
        return "; ".join(said[:2])
    reason = re.search(r"\[remote rejected\].*?\(([^)\n]*)\)", text)
    return reason[1] if reason else _last_line(text)


def _line_of(text: str, position: int) -> str:
    start = text.rfind("\n", 0, position) + 1
    return _shortened(text[start:].split("\n", 1)[0])


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:"))]
    return _shortened((telling or lines or [""])[-1])


def _shortened(line: str) -> str:
    line = re.sub(r"^(fatal|error|remote|ssh): *", "", line.strip())
    return line if len(line) <= 200 else line[:199] + "…"

"""Pure: what Terraform reports as wrong, said in one or two lines that a person can act on."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gitops.errors import GitopsError, StalePlan

_LONGEST = 300
_LOCKED = re.compile(r"[Ee]rror acquiring the state lock")
NEEDS_INIT = re.compile(
    r"Required plugins are not installed|Module not installed|Backend initialization required"
    r"|Inconsistent dependency lock file|Missing required provider|Plugin did not respond to handshake"
)


class TerraformError(GitopsError):
    """Terraform is missing, refused the work or failed at it."""


class StaleTfplan(TerraformError, StalePlan):
    """The state has moved on since the saved plan was made."""


@dataclass(frozen=True)
class Diagnostic:
    """One error as Terraform reports it. `place` is `file:line` below the repository, or a resource address."""

    summary: str
    detail: str = ""
    place: str = ""

    @property
    def text(self) -> str:
        return f"{self.summary}\n{self.detail}"


def errors_in(messages: Sequence[Mapping[str, object]], root: str) -> tuple[Diagnostic, ...]:
    """The errors among the lines of a `-json` stream; warnings are left out. `root` places relative file names."""
    found = [message.get("diagnostic") for message in messages if message.get("type") == "diagnostic"]
    return tuple(
        Diagnostic(str(entry.get("summary", "")), str(entry.get("detail", "")), _place(entry, root))
        for entry in found
        if isinstance(entry, Mapping) and entry.get("severity") == "error"
    )


def explain(verb: str, errors: Sequence[Diagnostic], *, root: str, directory: str, stderr: str) -> TerraformError:
    """The error to raise for a failed run of `terraform <verb>` in `directory`; never empty, never a traceback."""
    for error in errors:
        if _LOCKED.search(error.text):
            return _locked(error, root, directory)
    for known in _KNOWN:
        for error in errors:
            if said := known.say(error, root, directory):
                return said
    if errors:
        return _of_configuration(errors)
    last = next((line.strip() for line in reversed(stderr.splitlines()) if line.strip()), "it said nothing")
    return TerraformError(f"terraform {verb} failed: {_short(last)}", where=root)


def _place(entry: Mapping[str, object], root: str) -> str:
    location = entry.get("range")
    if isinstance(location, Mapping):
        start = location.get("start")
        line = start.get("line", 1) if isinstance(start, Mapping) else 1
        return f"{posixpath.normpath(posixpath.join(root, str(location.get('filename', ''))))}:{line}"
    return str(entry.get("address", ""))


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def _clause(text: str, start: int) -> str:
    """The line of `text` from `start`, as far as it means something to a person."""
    line = text[start:].partition("\n")[0]
    return _short(re.split(r", operation error|, https response error|, RequestID", line)[0].strip().rstrip("."))


def _paragraph(text: str) -> str:
    return _short(" ".join(text.strip().partition("\n\n")[0].split()).rstrip("."))


def _plain(summary: str) -> str:
    """Without the protocol: the AWS provider puts the whole exchange into its summary, the answer last."""
    said = re.sub(r"operation error ([\w ]+): (\w+), https response error .*?RequestID: [^,]*, ", r"\1 \2: ", summary)
    return _short(said).rstrip(".")


def _of_configuration(errors: Sequence[Diagnostic]) -> TerraformError:
    first = errors[0]
    what = _plain(": ".join(part for part in (_first_line(first.summary), _first_line(first.detail)) if part))
    more = len(errors) - 1
    rest = f" (and {more} more error{'s' if more > 1 else ''})" if more else ""
    return TerraformError(f"{what}{rest}", where=first.place)


def _locked(error: Diagnostic, root: str, directory: str) -> TerraformError:
    lock = dict(re.findall(r"^\s*(ID|Who|Created|Operation):\s+(\S.*?)\s*$", error.detail, re.MULTILINE))
    if "ID" not in lock:
        reason = _paragraph(error.detail.partition("Error message:")[2] or error.detail)
        return TerraformError(f"the Terraform state cannot be locked: {reason}", where=root)
    since = lock.get("Created", "an unknown time")
    doing = lock.get("Operation", "").removeprefix("OperationType").lower()
    what = f"the Terraform state is locked by {lock.get('Who', 'somebody')} since {since}"
    return TerraformError(
        f"{what} ({doing})" if doing else what,
        where=root,
        hint=f"wait for that run; if it is dead: terraform -chdir={directory} force-unlock {lock['ID']}",
    )


@dataclass(frozen=True)
class _Known:
    """A usual failure: how to recognise it, and what to say. {reason} and {directory} are filled in.

    The reason is the clause that the pattern begins, or the whole summary, or the detail's first paragraph.
    """

    pattern: re.Pattern[str]
    what: str
    hint: str
    type: type[TerraformError] = TerraformError
    in_summary: bool = False
    in_detail: bool = False

    def say(self, error: Diagnostic, root: str, directory: str) -> TerraformError | None:
        """The error to raise if this is what `error` is about."""
        found = self.pattern.search(error.text)
        if found is None:
            return None
        reason = _clause(error.text, found.start())
        if self.in_summary:
            reason = _plain(_first_line(error.summary))
        elif self.in_detail:
            reason = _paragraph(error.detail)
        what, hint = (text.format(reason=reason, directory=directory) for text in (self.what, self.hint))
        return self.type(what, where=error.place or root, hint=hint)


_KNOWN = (
    _Known(
        re.compile(r"Saved plan is stale|plan file (can no longer be applied|was created with a different)"),
        "the saved Terraform plan is stale: the infrastructure or its state changed after it was made",
        "plan again and review the new plan",
        StaleTfplan,
    ),
    _Known(
        re.compile(
            r"Backend (configuration|type) changed|Backend configuration block has changed"
            r"|approval for state migration"
        ),
        "the place of the Terraform state changed, but the state has not been moved",
        "move it: terraform -chdir={directory} init -migrate-state",
    ),
    _Known(
        re.compile(r"Failed to query available provider packages|Failed to install provider"),
        "a Terraform provider cannot be installed: {reason}",
        "check the network, or name a directory with providers in TF_PLUGIN_MIRROR",
        in_detail=True,
    ),
    _Known(
        re.compile(r"S3 bucket .*does not exist|NoSuchBucket"),
        "the bucket for the Terraform state is missing: {reason}",
        "create it, with versioning, or correct the backend in environments/",
    ),
    _Known(
        re.compile(
            r"No valid credential sources|failed to refresh cached credentials|ExpiredToken|InvalidClientTokenId"
            r"|UnrecognizedClientException|AuthFailure|security token included in the request is"
            r"|SSO session has expired|failed to get shared config profile"
        ),
        "no valid cloud credentials: {reason}",
        "log in again, or set AWS_PROFILE",
    ),
    _Known(
        re.compile(r"AccessDenied|UnauthorizedOperation|is not authorized to perform"),
        "the cloud refuses this with the present credentials: {reason}",
        "grant the permission, or use another role",
        in_summary=True,
    ),
    _Known(
        re.compile(r"[Aa]lready[ _]?[Ee]xists|BucketAlreadyOwnedByYou"),
        "{reason}",
        # An interrupted request can have created what Terraform never heard of.
        "if an interrupted run left it, terraform -chdir={directory} import it or delete it, and plan again",
        in_summary=True,
    ),
)

"""Who a person at the command line is, as Git, CI or a signing key know them, and what each of them is worth.

A signing key proves who signed, to everybody and at any time. CI sets variables that say who started a job; they
prove nothing to anybody who could set them, so that they are worth something only where nobody but CI may push to the
GitOps repository, and where what CI runs is reviewed. In GitLab whoever runs a pipeline can set them: there only the
token counts that GitLab signs for the job. A name that Git was configured with is a claim.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import NamedTuple

from gitops.engine.session import Session
from gitops.errors import GitopsError
from gitops.rollout.approvals import asked_in, people_of
from gitops.spec.environment import Approvals
from gitops.values import person_key, readable
from gitops.world.git.commit import identity
from gitops.world.git.signatures import public_key
from gitops.world.gitlab import verified

_BOT = re.compile(r"\[bot\]$|^(project|group)_\d+_bot|^service_account_")


class Job(NamedTuple):
    """A job in CI. `person` started it, or pressed its button; `url` shows it."""

    system: str
    person: str
    url: str
    scheduled: bool
    """Nobody asked for it now: CI names whoever wrote the schedule."""

    @property
    def words(self) -> str:
        """The line by which a commit says where it was asked for."""
        return asked_in(self.system, self.person, self.url)


def job() -> Job | None:
    """The job of GitHub Actions or GitLab CI that this process says it is in; None anywhere else."""
    known = _github() or _gitlab()
    return known if known and known.person and known.url else None


def person(session: Session) -> str:
    """The one who asks: in CI who started the job, else the Git identity."""
    known = job()
    return known.person if known else identity(session.options.project).email


def proven(session: Session, rules: Approvals, named: str, file: str) -> str:
    """The one who asks, with the proof that the rules (of this file) want; `named` is enough where they want none.

    Raises GitopsError where the proof cannot be had here, with what to do.
    """
    if rules.identity == "ci":
        return _in_ci(session, rules, file)
    return _of_key(session, rules) if rules.identity == "signature" else named


# --- CI ------------------------------------------------------------------------------------------------------


def _github() -> Job | None:
    """A re-run is asked for by whoever triggers it, not by the actor of the first run."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return None
    server, repository, run = map(_variable, ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID"))
    attempt = _variable("GITHUB_RUN_ATTEMPT") or "1"
    return Job(
        "GitHub Actions",
        _variable("GITHUB_TRIGGERING_ACTOR") or _variable("GITHUB_ACTOR"),
        f"{server}/{repository}/actions/runs/{run}/attempts/{attempt}" if repository and run else "",
        _variable("GITHUB_EVENT_NAME") == "schedule",
    )


def _gitlab() -> Job | None:
    if os.environ.get("GITLAB_CI") != "true":
        return None
    return Job(
        "GitLab CI",
        _variable("GITLAB_USER_LOGIN"),
        _variable("CI_JOB_URL"),
        _variable("CI_PIPELINE_SOURCE") == "schedule",
    )


def _variable(name: str) -> str:
    return readable(os.environ.get(name, "")).strip()


def _signed_by_gitlab(session: Session) -> Job:
    """The job by GitLab's signed word. Raises GitopsError where there is none, or it is about something else."""
    ci = session.spec.pipeline.ci
    if ci is None or ci.gitlab is None:
        raise GitopsError(
            "whoever runs a pipeline of GitLab can set its variables, so that they say nothing of who asks",
            where="pipeline.yaml: ci.gitlab",
            hint="set `gitlab: {project: GROUP/PROJECT}` there, and write the workflow again (gitops ci gitlab)",
        )
    token = _variable("GITOPS_JOB_TOKEN")
    claims = verified(token, ci.gitlab.url, f"gitops-{session.spec.pipeline.name}", time.time())
    said = {name: str(claims.get(name, "")) for name in ("project_path", "user_login", "pipeline_source", "job_id")}
    if said["project_path"].casefold() != ci.gitlab.project.casefold():
        raise GitopsError(
            f"this job is of {said['project_path']}, and only those of {ci.gitlab.project} approve here",
            where="pipeline.yaml: ci.gitlab.project",
            hint="start the job in that project",
        )
    url = f"{ci.gitlab.url}/{said['project_path']}/-/jobs/{said['job_id']}"
    return Job("GitLab CI", said["user_login"], url, said["pipeline_source"] == "schedule")


def _in_ci(session: Session, rules: Approvals, file: str) -> str:
    known = job()
    if known and known.system == "GitLab CI":
        known = _signed_by_gitlab(session)
    if known is None:
        raise GitopsError(
            "this is no job of GitHub Actions or GitLab CI, and only such a job can say here who asks",
            where=f"{file}: approvals.identity",
            hint="run the same command in a job that you start by hand (workflow_dispatch, when: manual)",
        )
    if known.scheduled:
        raise GitopsError(
            f"nobody asked for this: {known.url} runs by a schedule of {known.person}",
            where=f"{file}: approvals.identity",
            hint="start a job by hand for it",
        )
    if _BOT.search(known.person) and person_key(known.person) not in map(person_key, rules.approvers):
        raise GitopsError(
            f"{known.person} is no person",
            where=f"{file}: approvals.approvers",
            hint="start the job by hand, or list the bot among the approvers if that is meant",
        )
    return known.person


# --- Keys ----------------------------------------------------------------------------------------------------


def signing_key(session: Session) -> Path:
    """The key that this repository's commits are signed with. Raises GitopsError where none is set."""
    signing = session.spec.pipeline.repository.signing
    if signing is None:
        raise GitopsError(
            "an approval has to be signed here, and no key is set to sign with",
            where="repository.signing.sshKey",
            hint="set it in pipeline.yaml to the path of your SSH key, such as ~/.ssh/id_ed25519",
        )
    return session.options.project / Path(signing.ssh_key).expanduser()


def _of_key(session: Session, rules: Approvals) -> str:
    """Whoever of `signers` has the key that this repository's commits are signed with."""
    path = signing_key(session)
    key = public_key(path)
    owner = next((name for name, known in rules.signers.items() if known.split()[:2] == key.split()), "")
    if not owner:
        people = ", ".join(people_of(rules))
        raise GitopsError(
            "this key belongs to nobody in approvals.signers",
            where=str(path),
            hint=f"sign with the key of one of {people}, or add this one there: {key}",
        )
    return owner

"""`gitops ci`: the file that it writes, and its steps run for real, in order, as the CI systems would run them."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from gitops.cli.ci import CiFlags, ci
from gitops.errors import GitopsError
from gitops.render.ci.workflow import PATHS, CiModel, System, render_ci
from gitops.spec.ci import Ci
from gitops.spec.load import load_spec
from gitops.world.files import read_project, read_templates
from tests.cli.small import release_chat, small_project
from tests.support.project import IDENTITY, ROOT, Project, run_git

pytestmark = pytest.mark.slow

SYSTEMS: tuple[System, ...] = ("github", "gitlab")
BASH = ["bash", "--noprofile", "--norc", "-eo", "pipefail"]
SETTINGS = "\nci:\n  install: echo installed\n"


def project_at(path: Path, url: str) -> Project:
    """A small project in a checkout of its own, whose GitOps repository is at `url`."""
    project = small_project(path, production=False)
    project.edit("pipeline.yaml", "name: acme\n", f'name: acme\nrepository: {{url: "{url}", branch: live}}\n')
    (path / "pipeline.yaml").write_text((path / "pipeline.yaml").read_text() + SETTINGS)
    project.commit_spec("Describe our models")
    return project


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    run_git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=live", "gitops.git")
    return tmp_path / "gitops.git"


@pytest.fixture
def project(tmp_path: Path, bare: Path) -> Project:
    return project_at(tmp_path / "project", str(bare))


# --- The file ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("system", SYSTEMS)
def test_it_writes_checks_and_writes_again(
    project: Project, system: System, capsys: pytest.CaptureFixture[str]
) -> None:
    file = project.path / PATHS[system]
    assert ci(project.path, system, CiFlags(check=True)) == 2
    assert f"next: gitops ci {system}" in capsys.readouterr().err
    assert not file.exists()
    assert ci(project.path, system, CiFlags()) == 0
    assert ci(project.path, system, CiFlags(check=True)) == 0
    written = file.read_bytes()
    assert ci(project.path, system, CiFlags()) == 0
    assert "up to date" in capsys.readouterr().out
    file.write_bytes(written + b"# mine\n")
    assert ci(project.path, system, CiFlags(check=True)) == 2
    assert ci(project.path, system, CiFlags()) == 0, "the first line says that it is ours"
    assert file.read_bytes() == written


def test_it_lists_what_is_installed_by_hash(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    wheel = f"{{uri: vendor/gitops_models-0.1.0-py3-none-any.whl, digest: sha256:{'a' * 64}}}"
    project.edit("pipeline.yaml", "  install: echo installed\n", f"  wheel: {wheel}\n")
    assert ci(project.path, "github", CiFlags()) == 0
    listed = project.path / ".github/gitops/requirements.txt"
    assert f"./vendor/gitops_models-0.1.0-py3-none-any.whl \\\n    --hash=sha256:{'a' * 64}\n" in listed.read_text()
    assert ci(project.path, "github", CiFlags(check=True)) == 0
    listed.write_text(listed.read_text().replace("pydantic==", "pydantic-evil=="))
    assert ci(project.path, "github", CiFlags(check=True)) == 2
    assert f"{listed} differs from what the spec asks for" in capsys.readouterr().err


def test_it_prints_and_writes_nothing(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert ci(project.path, "github", CiFlags(stdout=True)) == 0
    assert yaml.safe_load(capsys.readouterr().out)["name"] == "gitops"
    assert not (project.path / ".github").exists()


def test_it_replaces_nobody_elses_file_without_force(project: Project) -> None:
    file = project.path / PATHS["gitlab"]
    file.write_text("stages: [mine]\n")
    with pytest.raises(GitopsError, match="not written by gitops") as error:
        ci(project.path, "gitlab", CiFlags())
    assert "--force" in error.value.hint
    assert file.read_text() == "stages: [mine]\n"
    assert ci(project.path, "gitlab", CiFlags(force=True)) == 0
    assert file.read_text().startswith("# Written by")


def test_a_template_of_the_project_replaces_ours(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    own = project.path / "templates" / "ci" / "github.yml.j2"
    own.parent.mkdir(parents=True)
    own.write_text("<@ marker @>\nname: <@ pipeline @>\n")
    assert ci(project.path, "github", CiFlags(stdout=True)) == 0
    assert yaml.safe_load(capsys.readouterr().out) == {"name": "acme"}
    own.write_text("<@ nobody @>\n")
    with pytest.raises(GitopsError, match="does not render") as error:
        ci(project.path, "github", CiFlags())
    assert error.value.where == "templates/ci/github.yml.j2:1"


def test_the_example_in_the_documentation_is_good() -> None:
    (example,) = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs" / "ci.md").read_text(), re.MULTILINE | re.DOTALL)
    settings = Ci.model_validate(yaml.safe_load(example)["ci"])
    assert settings.identities.apply.aws
    assert settings.schedule == Ci().schedule


# --- A runner ------------------------------------------------------------------------------------------------


@dataclass
class Runner:
    """Runs the scripts of jobs with bash in a checkout; `gitops` is this program, others may be put beside it."""

    checkout: Path
    place: Path
    context: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.bin = self.place / "bin"
        self.temp = self.place / "temp"
        self.bin.mkdir(parents=True)
        self.temp.mkdir()
        self.program("gitops", f'exec "{sys.executable}" "{self.bin}/program.py" "$@"')
        (self.bin / "program.py").write_text(GITOPS)

    def program(self, name: str, script: str) -> None:
        """Put a program on the PATH of every script."""
        path = self.bin / name
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)

    def github(self, job: Mapping[str, Any], **env: str) -> subprocess.CompletedProcess[str]:
        """Every `run` step until one fails; files of GitHub's protocol are honoured between them."""
        exported: dict[str, str] = {}
        for name in ("env", "output", "summary"):
            (self.place / name).touch()
        for step in job["steps"]:
            if "run" in step:
                own = {name: self._evaluated(str(value)) for name, value in step.get("env", {}).items()}
                done = self._run(step["run"], {**env, **exported, **own})
                if done.returncode:
                    return done
                exported |= dict(line.split("=", 1) for line in (self.place / "env").read_text().splitlines())
        return done

    def gitlab(self, document: Mapping[str, Any], name: str, **env: str) -> subprocess.CompletedProcess[str]:
        """`before_script` and `script` in one shell, as a GitLab runner does."""
        job = document[name]
        job = {**document[job["extends"]], **job} if "extends" in job else job
        given = {
            key: value["value"] if isinstance(value, dict) else value for key, value in job.get("variables", {}).items()
        }
        given = {key: self._with_inputs(value) for key, value in given.items()}
        lines = [*job.get("before_script", []), *job["script"]]
        return self._run(self._with_inputs("\n".join(lines)), {**given, **env})

    def _with_inputs(self, text: str) -> str:
        """GitLab puts inputs in before anything runs."""
        return re.sub(r"\$\[\[ (.+?) \]\]", lambda match: self.context[match[1]], text)

    @property
    def summary(self) -> str:
        return (self.place / "summary").read_text()

    def _evaluated(self, value: str) -> str:
        return re.sub(r"\$\{\{ (.+?) \}\}", self._known, value)

    def _known(self, match: re.Match[str]) -> str:
        """A secret that nobody has set is empty."""
        return self.context.get(match[1], "") if match[1].startswith("secrets.") else self.context[match[1]]

    def _run(self, script: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        foreign = ("GIT_", "GITOPS_", "GITHUB_", "GITLAB_", "CI")
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
        ours = {
            "PATH": f"{self.bin}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
            "RUNNER_TEMP": str(self.temp),
            **{f"GITHUB_{name.upper()}": str(self.place / name) for name in ("env", "output")},
            "GITHUB_STEP_SUMMARY": str(self.place / "summary"),
        }
        file = self.place / "script.sh"
        file.write_text(script)
        command = [*BASH, str(file)]
        whole = {**inherited, **IDENTITY, **ours, **self.variables, **env}
        return subprocess.run(command, cwd=self.checkout, env=whole, capture_output=True, text=True, timeout=120)


GITOPS = """\
import sys
from pathlib import Path
if sys.argv[1] in ("check", "build"):
    # Whatever they say, said by the test: what counts here is what CI makes of it.
    with open(Path(__file__).with_name("asked"), "a") as file:
        file.write(" ".join(sys.argv[1:]) + "\\n")
    answer = Path(__file__).with_name("answer")
    sys.exit(int(answer.read_text()) if answer.exists() else 0)
if sys.argv[1] == "ci":
    from gitops.cli.ci import CiFlags, ci
    from gitops.cli.console import guarded
    sys.exit(guarded(lambda: ci(Path(), sys.argv[2], CiFlags(check="--check" in sys.argv))))
from gitops.cli.main import main
sys.argv[0] = "gitops"
main()
"""


def workflow(project: Project, system: System, changed: Mapping[str, Any] | None = None, *models: CiModel) -> Any:
    """The parsed workflow; with `changed`, one of other settings than the project's."""
    if changed is None:
        ci(project.path, system, CiFlags())
        text = (project.path / PATHS[system]).read_text()
    else:
        sources = read_project(project.path)
        spec = load_spec(sources.pipeline, sources.environments)
        settings = Ci.model_validate({"install": "echo installed", **changed})
        [data] = render_ci(system, spec, settings, read_templates(project.path), models).values()
        text = data.decode()
    return yaml.safe_load(text) if system == "github" else list(yaml.safe_load_all(text))[1]


@pytest.fixture
def runner(project: Project, tmp_path: Path) -> Runner:
    context = {
        "github.server_url": "https://github.com",
        "github.repository": "acme/models",
        "github.run_id": "42",
        "github.token": "job-token",
        "github.event.pull_request.number": "7",
        "secrets.GITOPS_PROMETHEUS_TOKEN": "",
    }
    return Runner(project.path, tmp_path / "runner", context)


# --- GitHub --------------------------------------------------------------------------------------------------

GH = """\
import json, sys
from pathlib import Path
store = Path(__file__).with_name("comments.json")
comments = json.loads(store.read_text()) if store.exists() else []
arguments = sys.argv[2:]
path = next(a for a in arguments if a.startswith("repos/"))
if "--paginate" in arguments:
    assert arguments[arguments.index("--jq") + 1] == ".[] | {id, login: .user.login, body}"
    for one in comments:
        print(json.dumps(one))
    sys.exit()
field = arguments[arguments.index("--field") + 1]
body = Path(field.removeprefix("body=@")).read_text()
if arguments[arguments.index("--method") + 1] == "POST":
    assert path == "repos/acme/models/issues/7/comments"
    comments.append({"id": len(comments) + 100, "login": "github-actions[bot]", "body": body})
else:
    (one,) = [one for one in comments if path == f"repos/acme/models/issues/comments/{one['id']}"]
    one["body"] = body
store.write_text(json.dumps(comments))
"""


def comments(runner: Runner) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((runner.bin / "comments.json").read_text())
    return found


def test_a_users_first_run_on_github_works(project: Project, runner: Runner, bare: Path) -> None:
    jobs = workflow(project, "github")["jobs"]
    runner.program("gh", f'exec "{sys.executable}" "{runner.bin}/gh.py" "$@"')
    (runner.bin / "gh.py").write_text(GH)
    stranger = {"id": 5, "login": "mallory", "body": "<!-- gitops-plan: acme -->\nhello"}
    (runner.bin / "comments.json").write_text(json.dumps([stranger]))

    assert runner.github(jobs["validate"]).returncode == 0
    planned = runner.github(jobs["plan"])
    assert planned.returncode == 0, planned.stderr
    assert "gitops plan: acme" in runner.summary
    for _ in range(2):
        commented = runner.github(jobs["comment"], GITHUB_REPOSITORY="acme/models")
        assert commented.returncode == 0, commented.stderr
    assert [one["id"] for one in comments(runner)] == [5, 101], "one comment, written anew in its place"
    assert comments(runner)[0] == stranger
    assert "2 releases" in comments(runner)[1]["body"]

    applied = runner.github(jobs["apply"], GIT_AUTHOR_NAME="ann", GIT_AUTHOR_EMAIL="ann@users.noreply.github.com")
    assert applied.returncode == 0, applied.stdout + applied.stderr
    assert "Applied: commit" in runner.summary
    assert "No drift" in applied.stdout
    assert run_git(bare, "log", "-1", "--format=%an", "live").strip() == "ann"

    release_chat(project)
    project.commit_spec("Release chat 1.1.0")
    assert runner.github(jobs["plan"]).returncode == 0
    runner.github(jobs["comment"], GITHUB_REPOSITORY="acme/models")
    assert "1.1.0" in comments(runner)[1]["body"]
    assert runner.github(jobs["apply"]).returncode == 0
    passed = runner.github(jobs["reconcile"])
    assert passed.returncode == 0, passed.stderr
    assert "dev/chat: " in passed.stdout


def test_a_plan_that_fails_says_so_in_the_comment_and_fails(project: Project, runner: Runner) -> None:
    jobs = workflow(project, "github")["jobs"]
    project.edit("pipeline.yaml", "rollout: quick", "rollout: nothing")
    assert runner.github(jobs["plan"]).returncode == 1
    text = (runner.temp / "plan.md").read_text()
    assert text.startswith("<!-- gitops-plan: acme -->\n")
    assert "https://github.com/acme/models/actions/runs/42" in text


def test_a_plan_that_apply_would_refuse_fails(project: Project, runner: Runner) -> None:
    jobs = workflow(project, "github")["jobs"]
    project.gitops("apply", "--yes")
    project.edit("environments/dev.yaml", "clusters:", "exclude: [chat, search]\nclusters:")
    done = runner.github(jobs["plan"])
    assert done.returncode == 1
    assert "apply would refuse this" in done.stderr
    assert "Refused" in (runner.temp / "plan.md").read_text()


def test_people_ask_by_inputs_that_no_shell_reads(project: Project, runner: Runner) -> None:
    jobs = workflow(project, "github")["jobs"]
    project.gitops("apply", "--yes")
    spy = runner.place / "hacked"
    evil = f"chat; touch {spy} $(touch {spy}) `touch {spy}`"
    runner.context |= {
        "inputs.action": "approve",
        "inputs.environment": "dev",
        "inputs.model": evil,
        "inputs.hotfix": "false",
        "inputs.version": f"$(touch {spy})",
    }
    for name, action in (("forward", "approve"), ("back", "rollback")):
        runner.context["inputs.action"] = action
        done = runner.github(jobs[name])
        assert done.returncode == 1
        assert "names no release" in done.stderr
    assert not spy.exists()
    runner.context |= {"inputs.model": "chat", "inputs.version": "0.9.0"}
    done = runner.github(jobs["back"])
    assert "rollback was not done" in done.stderr, done.stderr
    assert "0.9.0" in done.stderr


def test_models_that_change_are_built_and_checked_on_the_gpu_runner(project: Project, runner: Runner) -> None:
    serve = "trap 'touch ended; exit 0' TERM; (while :; do sleep 1; done) & printf '%s' \"$MODEL\" > served; wait"
    settings = {"gpu": {"serve": serve, "endpoint": "http://127.0.0.1:9", "health": "/ready"}}
    models = (CiModel("search"), CiModel("chat", builds=True, validates=True))
    jobs = workflow(project, "github", settings, *models)["jobs"]
    assert runner.github(jobs["plan"]).returncode == 0
    assert (runner.place / "output").read_text() == 'models=["chat"]\n'
    # It is ready at the second question.
    runner.program("curl", '[ -f asked ] || { touch asked; exit 7; }; [ "${@: -1}" = http://127.0.0.1:9/ready ]')
    done = runner.github(jobs["model"], MODEL="chat")
    assert done.returncode == 0, done.stderr
    asked = (runner.bin / "asked").read_text().splitlines()
    assert asked == ["build chat", "check dev/chat --endpoint http://127.0.0.1:9"]
    assert (project.path / "served").read_text() == "chat"
    assert (project.path / "ended").exists(), "the server does not outlive the job"


def test_a_server_that_dies_ends_the_job_with_its_last_words(project: Project, runner: Runner) -> None:
    settings = {"gpu": {"serve": "echo CUDA out of memory; exit 3"}}
    jobs = workflow(project, "github", settings, CiModel("chat", validates=True))["jobs"]
    runner.program("curl", "sleep 0.2; exit 7")
    done = runner.github(jobs["model"], MODEL="chat")
    assert done.returncode == 1
    assert "CUDA out of memory" in done.stdout


def test_what_becomes_stable_is_checked_and_goes_back_when_a_gate_says_no(
    project: Project, runner: Runner, bare: Path
) -> None:
    project.edit("pipeline.yaml", "rollout: quick", "rollout: quick\n    route: {hostnames: [chat.acme.example]}")
    jobs = workflow(project, "github", {"verify": ["dev"]}, CiModel("chat", validates=True))["jobs"]
    project.gitops("apply", "--yes")
    # 1: it could not be asked, which says nothing of the version.
    for before, version, answer, decision in (
        ("0", "1", 1, "promote"),
        ("1", "2", 0, "promote"),
        ("2", "3", 2, "roll-back"),
    ):
        project.edit("pipeline.yaml", f"version: 1.{before}.0", f"version: 1.{version}.0")
        digest = re.search("sha256:.{64}", (project.path / "pipeline.yaml").read_text())
        assert digest
        project.edit("pipeline.yaml", digest[0], f"sha256:{version * 64}")
        (runner.bin / "answer").write_text(str(answer))
        project.gitops("apply", "--yes")
        for _ in range(20):
            done = runner.github(jobs["reconcile"])
            if (runner.bin / "asked").exists():
                break
            assert done.returncode == 0, done.stdout + done.stderr
        assert (runner.bin / "asked").read_text() == "check dev/chat --endpoint https://chat.acme.example\n"
        (runner.bin / "asked").unlink()
        assert done.returncode == (1 if answer else 0), done.stderr
        last = run_git(bare, "log", "-1", "--format=%(trailers:key=Decision,valueonly,separator=)", "live")
        assert last.strip() == decision
    assert "1.3.0" in run_git(bare, "log", "-1", "--format=%B", "live")


# --- Reaching the GitOps repository --------------------------------------------------------------------------

SSH = """\
printf '%s\\n' "$@" > "$(dirname "$0")/ssh-arguments"
while [ "$1" != -i ]; do shift; done
stat -c %a "$2" > "$(dirname "$0")/ssh-mode"
cat "$2" > "$(dirname "$0")/ssh-key"
exec bash -c "${@: -1}"
"""


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_repository_is_reached_by_ssh_with_the_jobs_key(tmp_path: Path, bare: Path, system: System) -> None:
    project = project_at(tmp_path / "by-ssh", f"git@git.acme.example:{bare}")
    runner = Runner(project.path, tmp_path / "ssh-runner")
    runner.program("ssh", SSH)
    document = workflow(project, system)
    if system == "github":
        runner.context |= {"secrets.GITOPS_WRITE_KEY": "the\nkey", "vars.GITOPS_KNOWN_HOSTS": "git.acme.example key"}
        runner.context["secrets.GITOPS_PROMETHEUS_TOKEN"] = ""
        done = runner.github(document["jobs"]["apply"])
    else:
        (tmp_path / "key").write_text("the\nkey\n")
        (tmp_path / "hosts").write_text("git.acme.example key\n")
        files = {"GITOPS_WRITE_KEY": str(tmp_path / "key"), "GITOPS_KNOWN_HOSTS": str(tmp_path / "hosts")}
        done = runner.gitlab(document, "apply", **files)
    assert done.returncode == 0, done.stdout + done.stderr
    assert run_git(bare, "log", "--format=%s", "live")
    assert (runner.bin / "ssh-mode").read_text() == "600\n"
    assert (runner.bin / "ssh-key").read_text() == "the\nkey\n"
    assert "StrictHostKeyChecking=yes" in (runner.bin / "ssh-arguments").read_text()


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_missing_key_is_said_by_its_name(tmp_path: Path, bare: Path, system: System) -> None:
    project = project_at(tmp_path / "by-ssh", f"git@git.acme.example:{bare}")
    empty = {"secrets.GITOPS_READ_KEY": "", "vars.GITOPS_KNOWN_HOSTS": "", "secrets.GITOPS_PROMETHEUS_TOKEN": ""}
    runner = Runner(project.path, tmp_path / "ssh-runner", empty)
    document = workflow(project, system)
    done = runner.github(document["jobs"]["plan"]) if system == "github" else runner.gitlab(document, "plan")
    assert done.returncode == 1
    assert "GITOPS_READ_KEY" in done.stdout


@pytest.mark.parametrize("system", SYSTEMS)
def test_git_gets_the_jobs_token_for_that_host_alone(tmp_path: Path, bare: Path, system: System) -> None:
    project = project_at(tmp_path / "by-https", "https://git.acme.example/acme/gitops.git")
    runner = Runner(project.path, tmp_path / "https-runner", {"secrets.GITOPS_WRITE_TOKEN": "t0ken"})
    ask = 'printf "protocol=https\\nhost=%s\\n\\n" "${ASK:-git.acme.example}" | git credential fill'
    runner.program("gitops", ask)
    document = workflow(project, system)
    job = "back"
    runner.context |= {
        "inputs.action": "abort",
        "inputs.environment": "dev",
        "inputs.model": "chat",
        "inputs.version": "",
    }
    for host in ("git.acme.example", "elsewhere.example"):
        given = {"ASK": host, "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "/bin/false"}
        if system == "github":
            done = runner.github(document["jobs"][job], **given)
        else:
            done = runner.gitlab(document, job, GITOPS_WRITE_TOKEN="t0ken", **given)
        assert ("password=t0ken" in done.stdout) == (host == "git.acme.example"), done.stderr


# --- GitLab --------------------------------------------------------------------------------------------------


def test_a_users_first_run_on_gitlab_works(project: Project, runner: Runner) -> None:
    jobs = workflow(project, "gitlab")
    assert runner.gitlab(jobs, "validate").returncode == 0
    planned = runner.gitlab(jobs, "plan", CI_JOB_URL="https://gitlab.com/jobs/1")
    assert planned.returncode == 0, planned.stderr
    with gitlab_api() as (url, notes):
        notes += [{"id": n, "author": {"id": 1}, "body": "looks good"} for n in range(150)]
        notes.append({"id": 900, "author": {"id": 1}, "body": "<!-- gitops-plan: acme -->\nsomebody else's"})
        given = {
            "CI_API_V4_URL": url,
            "CI_PROJECT_ID": "3",
            "CI_MERGE_REQUEST_IID": "7",
            "GITOPS_NOTE_TOKEN": "glpat-x",
        }
        for _ in range(2):
            noted = runner.gitlab(jobs, "comment", **given)
            assert noted.returncode == 0, noted.stderr
        assert len(notes) == 152, "one note, written anew in its place"
        assert "2 releases" in notes[-1]["body"]
        assert "somebody" in notes[-2]["body"]
    applied = runner.gitlab(jobs, "apply")
    assert applied.returncode == 0, applied.stdout + applied.stderr
    assert "No drift" in applied.stdout
    passed = runner.gitlab(jobs, "reconcile")
    assert passed.returncode == 0, passed.stderr
    assert "No rollout is under way." in passed.stdout


def test_gitlab_commands_run_what_the_inputs_say(project: Project, runner: Runner) -> None:
    jobs = workflow(project, "gitlab")
    runner.program("gitops", 'printf "%s\\n" "$*" >> said')
    runner.context |= {
        "inputs.environment": "dev",
        "inputs.model": "chat",
        "inputs.hotfix": "yes",
        "inputs.version": "1.0",
    }
    for job, action in (("forward", "promote"), ("forward", "approve"), ("back", "rollback"), ("back", "pause")):
        runner.context["inputs.action"] = action
        assert runner.gitlab(jobs, job).returncode == 0
    assert (project.path / "said").read_text().splitlines() == [
        "promote dev/chat --hotfix",
        "approve dev/chat",
        "rollback dev/chat --to=1.0",
        "pause dev/chat",
    ]


def test_gitlab_model_jobs_leave_models_alone_that_do_not_change(project: Project, runner: Runner) -> None:
    models = (CiModel("chat", builds=True), CiModel("search", builds=True))
    jobs = workflow(project, "gitlab", {}, *models)
    project.gitops("apply", "--yes")
    release_chat(project)
    assert runner.gitlab(jobs, "plan", CI_JOB_URL="https://gitlab.com/jobs/1").returncode == 0
    for name in ("chat", "search"):
        assert runner.gitlab(jobs, f"model {name}").returncode == 0
    assert (runner.bin / "asked").read_text() == "build chat\n"


def test_gitlab_jobs_say_who_they_are_to_every_cloud(project: Project, runner: Runner) -> None:
    uuid = "01234567-89ab-cdef-0123-456789abcdef"
    provider = "projects/1/locations/global/workloadIdentityPools/ci-pool/providers/gitlab"
    identity = {
        "aws": {"role": "arn:aws:iam::123456789012:role/apply", "region": "us-east-1"},
        "gcp": {"provider": provider, "serviceAccount": "gitops@acme.iam.gserviceaccount.com"},
        "azure": {"client": uuid, "tenant": uuid, "subscription": uuid},
    }
    jobs = workflow(project, "gitlab", {"identities": {"apply": identity}})
    runner.program("gitops", "[ $1 != apply ] || env > seen")
    given = {f"GITOPS_{cloud}_TOKEN": f"token-{cloud}" for cloud in ("AWS", "GCP", "AZURE")}
    assert runner.gitlab(jobs, "apply", CI_JOB_ID="9", **given).returncode == 0
    seen = dict(line.split("=", 1) for line in (project.path / "seen").read_text().splitlines() if "=" in line)
    token = Path(seen["AWS_WEB_IDENTITY_TOKEN_FILE"])
    assert (token.read_text(), stat.S_IMODE(token.stat().st_mode)) == ("token-AWS", 0o600)
    assert seen["AWS_ROLE_ARN"] == "arn:aws:iam::123456789012:role/apply"
    google = json.loads(Path(seen["GOOGLE_APPLICATION_CREDENTIALS"]).read_text())
    assert google["audience"] == f"//iam.googleapis.com/{provider}"
    assert Path(google["credential_source"]["file"]).read_text() == "token-GCP"
    assert Path(seen["AZURE_FEDERATED_TOKEN_FILE"]).read_text() == "token-AZURE"
    assert seen["ARM_SUBSCRIPTION_ID"] == uuid


@contextmanager
def gitlab_api() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The little of GitLab's API that a note needs; its notes, as they are."""
    notes: list[dict[str, Any]] = []

    class Api(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            target = urlsplit(self.path)
            if target.path.endswith("/user"):
                return self._answer({"id": 77})
            assert "sort=asc" in target.query
            page = int(re.search(r"&page=(\d+)", target.query)[1])  # type: ignore[index]
            more = str(page + 1) if len(notes) > page * 100 else ""
            return self._answer(notes[(page - 1) * 100 : page * 100], more)

        def do_POST(self) -> None:
            assert self.path == "/api/v4/projects/3/merge_requests/7/notes"
            notes.append({"id": 1000 + len(notes), "author": {"id": 77}, "body": self._body()})
            self._answer(notes[-1])

        def do_PUT(self) -> None:
            (one,) = [note for note in notes if self.path.endswith(f"/notes/{note['id']}")]
            one["body"] = self._body()
            self._answer(one)

        def _body(self) -> str:
            return str(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["body"])

        def _answer(self, value: Any, more: str = "") -> None:
            assert self.headers["PRIVATE-TOKEN"] == "glpat-x"
            self.send_response(200)
            self.send_header("X-Next-Page", more)
            self.end_headers()
            self.wfile.write(json.dumps(value).encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/api/v4", notes
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

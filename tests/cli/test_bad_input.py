"""Whatever is wrong ends in two lines that say what, where and what next, and leaves everything as it was."""

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.cli.small import commits, live, release_chat, repository, small_project
from tests.support.project import IDENTITY, ROOT, Outcome, Project, run_git

DEPLOYMENT = Path("kubernetes/version/deployment.yaml.j2")
EXISTING = """\
apiVersion: gitops/v1
clusters:
  real: {provider: existing, context: prod, nodePools: {l4: {gpu: {type: L4}, max: 4}}}
"""
KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters: [{{name: c, cluster: {{server: "{server}"}}}}]
users: [{{name: u, user: {{token: expired}}}}]
contexts: [{{name: {context}, context: {{cluster: c, user: u}}}}]
current-context: {context}
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Dev alone on its embedded cluster, applied once, with another version of chat in the spec."""
    project = small_project(tmp_path_factory.mktemp("small") / "project", production=False)
    project.gitops("apply", "--yes")
    release_chat(project)
    return project


@pytest.fixture
def project(prepared: Project, tmp_path: Path) -> Project:
    """A copy of it, to be broken."""
    shutil.copytree(prepared.path, tmp_path / "project")
    return Project(tmp_path / "project")


def fails(project: Project, *arguments: str, says: str, hint: str = "", nothing_moved: bool = True) -> Outcome:
    """Run it: exit code 1, an error line with `says`, a next step with `hint`, and nothing changed."""
    before = kept(project)
    done = project.gitops(*arguments, expect=1)
    judge(done, says, hint)
    if nothing_moved:
        assert kept(project) == before
    return done


def judge(done: Outcome, says: str, hint: str = "") -> None:
    assert "this is a bug" not in done.err
    lines = done.err.splitlines()
    error, following = lines[-2:]
    assert error.startswith("error: "), done.err
    assert says in error, done.err
    assert following.startswith("  next: "), done.err
    assert hint in following, done.err
    assert sum(line.startswith("error: ") for line in lines) == 1, done.err


def kept(project: Project) -> dict[str, object]:
    """The work tree, and where the branches of the project's own repository are."""
    found: dict[str, object] = {}
    for path in project.path.rglob("*"):
        if (
            ".gitops" not in path.parts
            and path.is_file()
            and path.stat().st_size < 1 << 20
            and os.access(path, os.R_OK)
        ):
            found[str(path.relative_to(project.path))] = path.read_bytes()
    refs = repository(project, embedded=False) / "refs"
    for path in refs.rglob("*"):
        if path.is_file():
            found[str(path)] = path.read_text()
    return found


# --- Files of the project --------------------------------------------------------------------------------------


def test_missing_files(project: Project, tmp_path: Path) -> None:
    nowhere = Project(tmp_path / "nowhere")
    fails(nowhere, "validate", says=f"{nowhere.path}/pipeline.yaml: not found", hint="gitops init")
    fails(nowhere, "history", says="pipeline.yaml: not found", hint="--project")
    shutil.rmtree(project.path / "environments")
    fails(project, "plan", says="environments/: not found", hint="`promotion:`")


@pytest.mark.parametrize("file", ["pipeline.yaml", "environments/dev.yaml"])
def test_what_is_no_file_of_text(project: Project, file: str) -> None:
    path = project.path / file
    path.unlink()
    path.mkdir()
    fails(project, "plan", says=f"{path}: this is not a regular file")
    path.rmdir()
    os.mkfifo(path)
    fails(project, "apply", "--yes", says=f"{path}: this is not a regular file")
    path.unlink()
    path.write_bytes(b"# a\n" * (3 << 20))
    fails(project, "validate", says=f"{path}: larger than 8 MiB")
    path.unlink()
    path.symlink_to(path)
    fails(project, "validate", says=f"{path}: cannot be read: Too many levels of symbolic links")


def test_a_saved_plan_that_is_no_file(project: Project, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    fails(project, "apply", str(tmp_path / "pipe"), "--yes", says="not a regular file")
    fails(project, "apply", str(tmp_path), "--yes", says="not a regular file")


@pytest.mark.parametrize("out", [".", "pipeline.yaml/plan.json"])
def test_a_plan_that_cannot_be_saved_there(project: Project, out: str) -> None:
    fails(project, "plan", "--out", str(project.path / out), says="cannot write: ", hint="choose another path")


# --- Permission ------------------------------------------------------------------------------------------------


def unprivileged(project: Project, *arguments: str) -> Outcome:
    """Run without root's power to read and write everything."""
    prefix: list[str] = []
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("running as root, and there is no setpriv to drop its capabilities")
        prefix = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    done = subprocess.run(
        [*prefix, *project.command(*arguments)],
        capture_output=True,
        text=True,
        env=project.environment(),
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return Outcome(done.returncode, done.stdout, done.stderr)


@contextmanager
def mode(path: Path, bits: int) -> Iterator[None]:
    before = path.stat().st_mode
    path.chmod(bits)
    yield
    path.chmod(before)


def test_no_permission_to_read(project: Project) -> None:
    for file in ("pipeline.yaml", "environments", "environments/dev.yaml"):
        with mode(project.path / file, 0):
            judge(unprivileged(project, "plan"), f"{project.path / file}", "check its owner and mode")
    where = repository(project, embedded=False)
    with mode(where, 0):
        for command in ("plan", "history"):
            judge(unprivileged(project, command), f"{where}", "owner and mode")


def test_no_permission_to_write(project: Project, tmp_path: Path) -> None:
    where = repository(project, embedded=False)
    with mode(where / "objects", 0o555), mode(where / "refs/heads", 0o555):
        for path in (where / "objects").iterdir():
            path.chmod(0o555)
        judge(unprivileged(project, "apply", "--yes"), "no permission to read or write there", "owner and mode")
        for path in (where / "objects").iterdir():
            path.chmod(0o755)
    assert commits(project, embedded=False) == 1
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    judge(unprivileged(project, "plan", "--out", str(closed / "plan.json")), "cannot write: Permission denied")
    judge(unprivileged(project, "render", "-o", str(closed / "out")), "cannot write: Permission denied")
    (project.path / ".gitops/clusters/local.db").unlink()
    with mode(project.path / ".gitops/clusters", 0o555):
        judge(unprivileged(project, "plan"), "local.db: cannot open the embedded cluster", "owner and mode")
    project.gitops("apply", "--yes")


# --- The repository --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.mark.parametrize(
    ("url", "says", "hint"),
    [
        ("ssh://git@127.0.0.1:{port}/x.git", "cannot connect", "check the network"),
        ("https://127.0.0.1:{port}/x.git", "cannot connect", "check the network"),
        ("git@nowhere.invalid:x.git", "host not found", "repository.url"),
        ("{path}/some", "repository not found", "repository.url"),
        ("{path}/some/file", "there is no repository that can be read", "repository.url"),
    ],
)
def test_a_repository_that_cannot_be_reached(
    project: Project, tmp_path: Path, closed_port: int, url: str, says: str, hint: str
) -> None:
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "file").write_text("not a repository\n")
    use_repository(project, url.format(port=closed_port, path=tmp_path))
    for command in (["plan"], ["apply", "--yes"], ["history"]):
        fails(project, *command, says=says, hint=hint)
    assert [path.name for path in (tmp_path / "some").iterdir()] == ["file"]


def use_repository(project: Project, url: str) -> None:
    project.edit("pipeline.yaml", "name: acme\n", f'name: acme\nrepository: {{url: "{url}"}}\n')


def test_credentials_in_a_url_are_never_shown(project: Project, closed_port: int) -> None:
    use_repository(project, f"https://bot:hunter2@127.0.0.1:{closed_port}/x.git")
    done = project.gitops("plan", expect=1)
    assert "hunter2" not in done.out + done.err


def object_file(where: Path, name: str) -> Path:
    identifier = run_git(where, "rev-parse", name).strip()
    return where / "objects" / identifier[:2] / identifier[2:]


def overwrite(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        lambda where: overwrite(object_file(where, "main:releases/dev/chat.yaml"), b"rubbish"),
        lambda where: object_file(where, "main").unlink(),
        lambda where: object_file(where, "main^{tree}").unlink(),
        lambda where: overwrite(where / "refs/heads/main", b""),
        lambda where: overwrite(where / "refs/heads/main", b"rubbish\n"),
    ],
    ids=["blob", "commit", "tree", "empty-ref", "bad-ref"],
)
def test_a_damaged_repository_is_no_empty_one(project: Project, damage: Callable[[Path], None]) -> None:
    where = repository(project, embedded=False)
    loose(where)
    damage(where)
    for command in (["plan"], ["apply", "--yes"], ["status"]):
        fails(project, *command, says=str(where), hint="git fsck")


def loose(where: Path) -> None:
    """Unpack everything, so that single objects can be damaged."""
    for pack in list((where / "objects/pack").glob("*.pack")):
        aside = where / pack.name
        shutil.move(pack, aside)
        for other in pack.parent.glob(f"{pack.stem}.*"):
            other.unlink()
        with aside.open("rb") as file:
            subprocess.run(
                ["git", "unpack-objects", "-q"], cwd=where, stdin=file, check=True, env={**os.environ, **IDENTITY}
            )
        aside.unlink()


def test_a_release_record_that_is_no_longer_one(project: Project, tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    where = repository(project, embedded=False)
    run_git(tmp_path, "clone", "--quiet", str(where), str(checkout))
    (checkout / "releases/dev/chat.yaml").write_text("<<<<<<< HEAD\n")
    run_git(checkout, "commit", "--quiet", "--all", "--message", "Merge badly")
    run_git(checkout, "push", "--quiet")
    says = "releases/dev/chat.yaml: this is no release record that gitops wrote"
    for command, code in (("plan", 0), ("status", 0), ("apply --yes", 2), ("reconcile", 1)):
        done = project.gitops(*command.split(), expect=code)
        assert says in re.sub(r"\s+", " ", done.out), command
    fails(project, "rollback", "dev/chat", says=says, hint="git log -p -- releases/dev/chat.yaml")


# --- Clusters --------------------------------------------------------------------------------------------------


def real(project: Project, kubeconfig: Path) -> Project:
    """The same project on a cluster of somebody else."""
    (project.path / "environments/dev.yaml").write_text(EXISTING)
    return Project(project.path, {"KUBECONFIG": str(kubeconfig)})


def test_a_kubeconfig_that_does_not_lead_anywhere(project: Project, tmp_path: Path, closed_port: int) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    onto = real(project, kubeconfig)
    fails(onto, "plan", says=f"{kubeconfig}: no usable kubeconfig", hint="KUBECONFIG")
    kubeconfig.write_text("]")
    fails(onto, "plan", says=f"{kubeconfig}: cannot read the kubeconfig", hint="KUBECONFIG")
    server = f"http://127.0.0.1:{closed_port}"
    kubeconfig.write_text(KUBECONFIG.format(server=server, context="staging"))
    fails(onto, "plan", says="there is no context 'prod' in the kubeconfig", hint="contexts there: staging")
    kubeconfig.write_text(KUBECONFIG.format(server=server, context="prod"))
    fails(onto, "apply", "--yes", says="the connection was refused", hint="reachable from here")


class _Refusing(BaseHTTPRequestHandler):
    code = 401

    def do_GET(self) -> None:
        body = b'{"kind":"Status","apiVersion":"v1","status":"Failure","message":"no","code":%d}' % self.code
        self.send_response(self.code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keeps quiet."""


@contextmanager
def api_server(code: int) -> Iterator[str]:
    handler = type("Handler", (_Refusing,), {"code": code})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("current", ["", "current-context: gone"])
def test_a_context_asked_for_by_name_needs_no_current_one(project: Project, tmp_path: Path, current: str) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    onto = real(project, kubeconfig)
    with api_server(401) as server:
        text = KUBECONFIG.format(server=server, context="prod").replace("current-context: prod", current)
        kubeconfig.write_text(text)
        fails(onto, "plan", says="context prod: the API server does not accept the credentials")
        kubeconfig.write_text(text.replace("name: prod", "name: staging"))
        fails(onto, "plan", says="context prod: cannot use the context", hint="kubectl get namespaces")


@pytest.mark.parametrize(
    ("code", "says", "hint"),
    [(401, "does not accept the credentials; they may have expired", "log in"), (403, "not allowed to list", "role")],
)
def test_credentials_that_are_not_enough(project: Project, tmp_path: Path, code: int, says: str, hint: str) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    onto = real(project, kubeconfig)
    with api_server(code) as server:
        kubeconfig.write_text(KUBECONFIG.format(server=server, context="prod"))
        for command in (["plan"], ["apply", "--yes"]):
            fails(onto, *command, says=says, hint=hint)


def test_status_shows_what_it_knows_of_a_cluster_that_is_away(project: Project, tmp_path: Path) -> None:
    onto = real(project, tmp_path / "kubeconfig")
    project.edit("environments/dev.yaml", "real:", "local:")
    board = onto.gitops("status").out
    assert "1.0.0" in board
    assert "no usable kubeconfig" in board


@pytest.mark.parametrize("damage", ["replaced", "torn"])
def test_a_damaged_embedded_cluster(project: Project, damage: str) -> None:
    path = project.path / ".gitops/clusters/local.db"
    for other in path.parent.glob("local.db-*"):
        other.unlink()
    data = path.read_bytes()
    path.write_bytes(b"rubbish" * 1000 if damage == "replaced" else data[:4096] + b"x" * 8192 + data[12288:])
    for command in (["plan"], ["diff"], ["apply", "--yes"]):
        fails(project, *command, says=f"{path}: cannot open the embedded cluster", hint="delete it to start")
    path.unlink()
    project.gitops("apply", "--yes")
    project.gitops("diff", expect=0)


# --- Terraform -------------------------------------------------------------------------------------------------


def programs(directory: Path, **scripts: str) -> dict[str, str]:
    """A PATH with git and these shell scripts alone."""
    directory.mkdir()
    git = shutil.which("git")
    assert git
    (directory / "git").symlink_to(git)
    for name, script in scripts.items():
        (directory / name).write_text(f"#!/bin/sh\n{script}\n")
        (directory / name).chmod(0o755)
    return {"PATH": str(directory)}


@pytest.mark.parametrize(
    ("scripts", "says"),
    [
        ({}, "terraform is not installed"),
        ({"terraform": """echo '{"terraform_version": "1.5.7"}'"""}, "Terraform 1.5.7 is too old"),
        ({"terraform": "echo hello"}, "does not answer like Terraform"),
    ],
)
def test_terraform_is_absent_or_too_old(tmp_path: Path, scripts: Mapping[str, str], says: str) -> None:
    project = small_project(tmp_path / "project")
    without = Project(project.path, programs(tmp_path / "bin", **scripts))
    for command in (["plan"], ["apply", "--yes"]):
        error = without.gitops(*command, expect=1).err.splitlines()[-1]
        assert error.startswith("error: aws was not reached: "), error
        assert says in error
        assert "install Terraform" in error
    assert commits(project, embedded=False) == 1, "dev's cluster needs no Terraform"
    without.gitops("plan", "--offline", expect=2)


def test_git_is_absent(project: Project, tmp_path: Path) -> None:
    path = programs(tmp_path / "bin")
    (tmp_path / "bin/git").unlink()
    fails(Project(project.path, path), "plan", says="git is not installed", hint="install Git")


# --- A full disk -----------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of half a megabyte."""
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "none", str(path)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a full disk needs the right to mount one")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


@contextmanager
def full(disk: Path, spare: int = 4096) -> Iterator[None]:
    """No room but `spare` bytes."""
    filler = disk / "filler"
    free = os.statvfs(disk)
    filler.write_bytes(b"x" * max(0, free.f_bavail * free.f_frsize - spare))
    yield
    filler.unlink()


def test_full_while_a_plan_is_saved(project: Project, small_disk: Path) -> None:
    saved = small_disk / "plan.json"
    project.gitops("plan", "--out", str(saved), expect=2)
    before = saved.read_bytes()
    with full(small_disk):
        fails(project, "plan", "--out", str(saved), says="No space left on device", hint="free some space")
        assert sorted(path.name for path in small_disk.iterdir()) == ["filler", "plan.json"]
    assert saved.read_bytes() == before
    project.gitops("apply", str(saved), "--yes")


def test_full_while_committing(project: Project, small_disk: Path) -> None:
    where = small_disk / "repository.git"
    shutil.move(repository(project, embedded=False), where)
    use_repository(project, str(where))
    tip = run_git(where, "rev-parse", "main")
    with full(small_disk, 0):
        fails(project, "apply", "--yes", says="the disk is full", hint="free some space")
    run_git(where, "fsck", "--strict")
    assert run_git(where, "rev-parse", "main") == tip
    with live(project, "local", embedded=False) as cluster:
        assert cluster.get("Deployment", "acme-dev", "chat-1-1-0") is None
    project.gitops("apply", "--yes")
    project.gitops("plan", expect=0)


def test_full_while_the_first_commit_is_made(project: Project, small_disk: Path) -> None:
    use_repository(project, str(small_disk / "repository.git"))
    with full(small_disk, 0):
        done = project.gitops("apply", "--yes", "--adopt", expect=1)
        judge(done, "No space left on device", "free some space")
        assert [path.name for path in small_disk.iterdir()] == ["filler"]


def test_full_while_the_embedded_cluster_is_written(project: Project, small_disk: Path) -> None:
    clusters = project.path / ".gitops/clusters"
    shutil.move(clusters, small_disk / "clusters")
    clusters.symlink_to(small_disk / "clusters")
    project.gitops("diff", expect=0)
    with full(small_disk, 0):
        done = project.gitops("apply", "--yes", expect=1)
        lines = [line for line in done.err.splitlines() if line.startswith(("error: ", "  next: "))]
        assert "full" in lines[0] or "disk I/O" in lines[0]
        assert "free space" in done.err
        assert lines[-1].startswith("  next: ")
    project.gitops("apply", "--yes")
    project.gitops("plan", expect=0)
    assert commits(project, embedded=False) == 2


# --- The command line ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["frobnicate"], "No such command 'frobnicate'"),
        (["plan", "--bogus"], "No such option: --bogus"),
        (["plan", "--format", "yaml"], "'text', 'markdown', 'json'"),
        (["history", "--limit", "-1"], "--limit"),
        (["history", "--limit", "many"], "--limit"),
        (["plan", "--project", "pipeline.yaml"], "--project"),
        (["apply", "a", "b"], "unexpected extra argument"),
    ],
)
def test_usage_errors_have_exit_code_2(arguments: list[str], says: str) -> None:
    command = [sys.executable, "-m", "gitops", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=Project(ROOT).environment(), cwd=ROOT)
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.splitlines()) <= 4, "usage, where help is, and the error"
    assert done.stdout == ""


def test_an_environment_variable_that_could_mean_either_world(project: Project) -> None:
    odd = Project(project.path, {"GITOPS_EMBEDDED": "perhaps"})
    for command in (["plan"], ["history"], ["status"]):
        fails(odd, *command, says="GITOPS_EMBEDDED: 'perhaps' is neither yes nor no", hint="unset it")
    assert "1.0.0" in Project(project.path, {"GITOPS_EMBEDDED": "off"}).gitops("history").out


@pytest.mark.parametrize("unit", ["a/b/c", "/chat"])
def test_a_unit_that_cannot_be_one(project: Project, unit: str) -> None:
    fails(project, "history", unit, says="names no unit", hint="ENVIRONMENT/MODEL")
    fails(project, "render", "--unit", "dev/chta", says="no unit dev/chta", hint="dev/chat")


def test_text_that_is_not_utf_8(tmp_path: Path) -> None:
    """From everywhere that people and machines control: it is replaced where it is shown, and nothing is lost."""
    odd = os.fsdecode("Zoë".encode("latin-1"))
    project = small_project(tmp_path / "project", production=False)
    named = Project(project.path, {"GIT_AUTHOR_NAME": odd, "GIT_AUTHOR_EMAIL": f"{odd}@acme.example"})
    named.gitops("apply", "--yes", "--embedded")
    assert "Zo\ufffd <Zo\ufffd@acme.example>" in project.gitops("history", "--embedded", "--format", "json").out
    foreign = tmp_path / "foreign"
    run_git(tmp_path, "clone", "--quiet", str(repository(project)), str(foreign))
    stray = foreign / f"releases/dev/{odd}.yaml"
    stray.write_bytes(b"a: \xeb\n")
    message = tmp_path / "message"
    message.write_bytes(b"Zo\xeb was here\n")
    run_git(foreign, "add", "--all")
    run_git(foreign, "commit", "--quiet", "--file", str(message))
    run_git(foreign, "push", "--quiet")
    assert "Zoë was here" in project.gitops("history", "--embedded").out, "Git takes such a message for Latin-1"
    for command in (["status"], ["plan"], ["diff"]):
        project.gitops(*command, "--embedded")


# --- Templates -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("addition", "says"),
    [
        ("{{ nothing.here }}", "'nothing' is undefined"),
        ("{% if %}", "Expected an expression"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ cycler.__init__.__globals__ }}", "unsafe"),
        ("{% include '/etc/passwd' %}", "no loader"),
        ("{% for i in range(10 ** 9) %}x{% endfor %}", "Undefined"),
    ],
)
def test_a_template_of_ones_own_that_is_wrong(project: Project, addition: str, says: str) -> None:
    own = project.path / "templates" / DEPLOYMENT
    own.parent.mkdir(parents=True)
    text = (ROOT / "templates" / DEPLOYMENT).read_text()
    own.write_text(f"{text}{addition}\n")
    line = text.count("\n") + 1
    done = fails(project, "plan", says=says, hint="correct it")
    assert f"templates/{DEPLOYMENT}:{line}: " in done.err


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"kind: Deployment: [\n", "is not valid YAML"), (b"\xff\xfe", "not UTF-8"), (b"", "clusters/local/dev/chat")],
)
def test_a_template_of_ones_own_that_makes_no_object(project: Project, content: bytes, says: str) -> None:
    own = project.path / "templates" / DEPLOYMENT
    own.parent.mkdir(parents=True)
    own.write_bytes(content)
    fails(project, "apply", "--yes", says=says)

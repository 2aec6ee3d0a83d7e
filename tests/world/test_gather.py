"""Reading the outline of a repository in which somebody else has left things."""

from pathlib import Path

from gitops.plan.registered import VersionKey
from gitops.rollout.release import Release, ReleasedVersion, Rendered, dump_release
from gitops.values import UnitKey
from gitops.world.gather import read_registrations, read_stored
from gitops.world.git.repository import open_repository
from tests.support.project import run_git

CHAT = UnitKey("dev", "chat")


def test_foreign_entries_harm_only_themselves(tmp_path: Path) -> None:
    """A gitlink, a symbolic link, a name that is not UTF-8, and a registration of something else."""
    checkout, bare = tmp_path / "checkout", tmp_path / "repository.git"
    record = dump_release(Release(CHAT, ReleasedVersion("1.0.0", "d", "2026-01-01T00:00:00Z"), Rendered("i")))
    for path in ("releases/dev", "artifacts/iris"):
        (checkout / path).mkdir(parents=True)
    (checkout / "releases/dev/chat.yaml").write_bytes(record)
    (checkout / "releases/dev/link.yaml").symlink_to("chat.yaml")
    Path(str(checkout / "releases/dev/bad-") + "\udcff.yaml").write_bytes(record)
    (checkout / "artifacts/iris/1.0.0.json").write_text("<<<<<<< HEAD\n")
    run_git(checkout, "init", "--quiet", "--initial-branch=main")
    run_git(checkout, "add", "--all")
    run_git(checkout, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},releases/dev/module.yaml")
    run_git(checkout, "commit", "--quiet", "--message", "by hand")
    run_git(tmp_path, "clone", "--quiet", "--bare", str(checkout), str(bare))

    repository = open_repository(str(bare), "main", state=tmp_path / "state", project=tmp_path)
    stored = read_stored(repository)
    assert set(stored.releases) == {CHAT}
    assert set(stored.damaged) == {"dev/link", "dev/module"}

    key = VersionKey("iris", "1.0.0")
    known, damaged = read_registrations(repository, stored.head, [key])
    assert not known
    assert damaged[key].startswith("artifacts/iris/1.0.0.json: this is no registration")

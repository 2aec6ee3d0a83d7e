"""The driver against the real binary. What needs no cloud uses terraform_data, which needs no provider."""

from __future__ import annotations

import logging
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gitops.errors import StalePlan
from gitops.world.terraform import Terraform, TerraformError
from gitops.world.terraform.diagnostics import errors_in, explain
from gitops.world.terraform.settings import cli_configuration
from gitops.world.terraform.tfplan import read_plan
from tests.support.terraform import REPOSITORY, need_terraform

pytestmark = pytest.mark.terraform
ROOT = "terraform/test"

Files = dict[str, str]


def files(body: str, **more: str) -> Files:
    return {f"{ROOT}/main.tf": body, **{f"{ROOT}/{name}": text for name, text in more.items()}}


def items(*names: str, value: str = "1") -> Files:
    """A root with one resource a name."""
    quoted = ", ".join(f'"{name}"' for name in names)
    return files(
        'variable "value" {}\n'
        f'resource "terraform_data" "item" {{\n  for_each = toset([{quoted}])\n  input = var.value\n}}\n'
        'output "value" {\n  value = var.value\n}\n'
        'output "hidden" {\n  value     = "secret"\n  sensitive = true\n}\n'
        'output "names" {\n  value = keys(terraform_data.item)\n}\n',
        **{"terraform.tfvars.json": f'{{"value": "{value}"}}'},
    )


def slow(marker: Path) -> Files:
    """A root with one resource that takes two seconds and then leaves a file, and one that follows it."""
    return files(
        'resource "terraform_data" "slow" {\n  provisioner "local-exec" {\n'
        f'    command = "touch {marker}.begun; sleep 2; touch {marker}"\n  }}\n}}\n'
        'resource "terraform_data" "next" {\n  input = terraform_data.slow.id\n}\n'
    )


def appears(path: Path, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.05)


@pytest.fixture(autouse=True)
def _binary() -> None:
    need_terraform()


def test_plan_apply_and_nothing_left(tmp_path: Path) -> None:
    lines: list[str] = []
    terraform = Terraform(tmp_path, ROOT, progress=lines.append)
    made = terraform.plan(items("a", "b"))
    assert [(change.address, change.action) for change in made.changes] == [
        ('terraform_data.item["a"]', "create"),
        ('terraform_data.item["b"]', "create"),
    ]
    assert (made.exists, made.empty, made.drift) == (False, False, ())
    assert terraform.outputs(items("a", "b")) is None
    assert terraform.apply(made.tfplan, items("a", "b")) == {"names": '["a", "b"]', "value": "1"}
    assert terraform.plan(items("a", "b")).empty
    assert terraform.outputs(items("a", "b")) == {"names": '["a", "b"]', "value": "1"}
    assert any("Creation complete" in line for line in lines)


def test_update_names_attributes_and_new_outputs_count(tmp_path: Path) -> None:
    terraform = Terraform(tmp_path, ROOT)
    terraform.apply(terraform.plan(items("a")).tfplan, items("a"))
    (change,) = terraform.plan(items("a", value="2")).changes
    assert (change.action, change.attributes) == ("update", ("input", "output"))
    body = items("a")[f"{ROOT}/main.tf"] + 'output "more" {\n  value = "x"\n}\n'
    more = terraform.plan({**items("a"), f"{ROOT}/main.tf": body})
    assert (more.changes, more.changed_outputs, more.empty) == ((), ("more",), False)


def test_a_saved_plan_says_itself_what_it_does(tmp_path: Path) -> None:
    terraform = Terraform(tmp_path, ROOT)
    made = terraform.plan(items("a"))
    assert terraform.read(made.tfplan, items("a")) == made
    module = {"terraform/modules/m/main.tf": 'output "x" {\n  value = 1\n}\n'}
    calls = files('module "m" {\n  source = "../modules/m"\n}\n') | module
    called = terraform.plan(calls)
    assert terraform.read(called.tfplan, calls) == called


def test_a_saved_plan_of_other_files_is_refused(tmp_path: Path) -> None:
    """Another configuration, one module more, another variable: whoever wrote the file decides what is in it."""
    terraform = Terraform(tmp_path, ROOT)
    ours = items("a")
    body = ours[f"{ROOT}/main.tf"]
    evil = 'resource "terraform_data" "evil" {\n  provisioner "local-exec" {\n    command = "id"\n  }\n}\n'
    for other, said in (
        ({**ours, f"{ROOT}/main.tf": body + evil}, "main.tf"),
        ({**ours, f"{ROOT}/more.tf": evil}, "more.tf"),
        (items("a", value="2"), "variable value"),
    ):
        with pytest.raises(StalePlan, match=f"{said} in the saved tfplan"):
            terraform.read(terraform.plan(other).tfplan, ours)
    with pytest.raises(TerraformError):
        terraform.read(b"no tfplan", ours)


def test_destroy_is_a_saved_plan(tmp_path: Path) -> None:
    terraform = Terraform(tmp_path, ROOT)
    terraform.apply(terraform.plan(items("a")).tfplan, items("a"))
    end = terraform.destroy_plan(items("a"))
    assert [change.action for change in end.changes] == ["delete"]
    terraform.apply(end.tfplan, items("a"))
    assert terraform.outputs(items("a")) is None


def test_stale_plan_is_refused(tmp_path: Path) -> None:
    terraform = Terraform(tmp_path, ROOT)
    old = terraform.plan(items("a"))
    terraform.apply(terraform.plan(items("b")).tfplan, items("b"))
    with pytest.raises(StalePlan, match="stale") as refused:
        terraform.apply(old.tfplan, items("a"))
    assert isinstance(refused.value, TerraformError)
    assert "plan again" in refused.value.hint


def test_files_follow_and_state_survives(tmp_path: Path) -> None:
    terraform = Terraform(tmp_path, ROOT)
    backend = 'terraform {\n  backend "local" {\n    path = "states/here.tfstate"\n  }\n}\n'
    both = {**items("a"), f"{ROOT}/backend.tf": backend, f"{ROOT}/extra.tf": 'output "x" {\n  value = 1\n}\n'}
    terraform.apply(terraform.plan(both).tfplan, both)
    state = tmp_path / ROOT / "states" / "here.tfstate"
    before = (tmp_path / ROOT / "main.tf").stat().st_mtime_ns
    del both[f"{ROOT}/extra.tf"]
    assert terraform.plan(both).changed_outputs == ("x",)
    assert not (tmp_path / ROOT / "extra.tf").exists()
    assert (tmp_path / ROOT / "main.tf").stat().st_mtime_ns == before
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    assert not list(tmp_path.rglob("tfplan-*"))


@pytest.mark.parametrize("path", ["/etc/x.tf", "../x.tf", "terraform/../../x.tf", ""])
def test_paths_stay_inside(tmp_path: Path, path: str) -> None:
    with pytest.raises(TerraformError, match="not a path inside"):
        Terraform(tmp_path, ROOT).plan({**items("a"), path: ""})


def test_init_runs_only_when_it_must(tmp_path: Path) -> None:
    lines: list[str] = []
    terraform = Terraform(tmp_path, ROOT, progress=lines.append)

    def initialised(given: Files) -> bool:
        lines.clear()
        terraform.plan(given)
        return any("Initializing" in line for line in lines)

    assert initialised(items("a"))
    assert not initialised(items("a", value="2"))
    module = {**items("a"), "terraform/modules/m/main.tf": 'output "x" {\n  value = 1\n}\n'}
    module[f"{ROOT}/module.tf"] = 'module "m" {\n  source = "../modules/m"\n}\n'
    assert initialised(module)
    module["terraform/modules/m/main.tf"] = 'output "x" {\n  value = 2\n}\n'
    assert not initialised(module)
    subprocess.run(["rm", "-r", str(tmp_path / ROOT / ".terraform")], check=True)
    assert initialised(module)


def test_moved_backend_keeps_the_old_state(tmp_path: Path) -> None:
    terraform = Terraform(tmp_path, ROOT)
    terraform.apply(terraform.plan(items("a")).tfplan, items("a"))
    backend = 'terraform {{\n  backend "local" {{\n    path = "{}"\n  }}\n}}\n'
    first = {**items("a"), f"{ROOT}/b.tf": backend.format("one.tfstate")}
    with pytest.raises(TerraformError, match="has not been moved") as refused:
        terraform.plan(first)
    assert "init -migrate-state" in refused.value.hint


def test_error_of_the_configuration(tmp_path: Path) -> None:
    broken = files('resource "terraform_data" "a" {\n  inputs = 1\n}\n')
    with pytest.raises(TerraformError, match="Unsupported argument") as refused:
        Terraform(tmp_path, ROOT).plan(broken)
    assert refused.value.where == f"{ROOT}/main.tf:2"
    assert "Traceback" not in str(refused.value)


def test_provider_that_cannot_be_installed(tmp_path: Path) -> None:
    needs = files('terraform {\n  required_providers {\n    x = {\n      source = "acme/x"\n    }\n  }\n}\n')
    (tmp_path / "mirror").mkdir()
    terraform = Terraform(tmp_path, ROOT, environment={"TF_PLUGIN_MIRROR": str(tmp_path / "mirror")})
    with pytest.raises(TerraformError, match=r"provider cannot be installed.*acme/x") as refused:
        terraform.plan(needs)
    assert "TF_PLUGIN_MIRROR" in refused.value.hint


def test_absent_binary(tmp_path: Path) -> None:
    with pytest.raises(TerraformError, match="terraform is not installed") as refused:
        Terraform(tmp_path, ROOT, environment={"PATH": str(tmp_path)}).version()
    assert "install Terraform 1.11.0" in refused.value.hint


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [('{"terraform_version": "1.5.7"}', "1.5.7 is too old"), ("Segmentation fault", "does not answer like Terraform")],
)
def test_wrong_binary(tmp_path: Path, answer: str, sentence: str) -> None:
    script = tmp_path / "terraform"
    script.write_text(f"#!/bin/sh\necho '{answer}'\n")
    script.chmod(0o755)
    environment = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    with pytest.raises(TerraformError, match=sentence):
        Terraform(tmp_path / "work", ROOT, environment=environment).plan(items("a"))


def test_version_is_a_prerelease_or_newer(tmp_path: Path) -> None:
    assert Terraform(tmp_path, ROOT).version() >= (1, 11, 0)


def test_settings_of_the_machine_do_not_count(tmp_path: Path) -> None:
    hostile = {
        "TF_CLI_CONFIG_FILE": str(tmp_path / "nowhere"),
        "TF_CLI_ARGS": "-bogus",
        "TF_CLI_ARGS_plan": "-destroy",
        "TF_WORKSPACE": "other",
        "TF_DATA_DIR": str(tmp_path / "data"),
        "TF_VAR_value": "stolen",
    }
    made = Terraform(tmp_path, ROOT, environment=hostile).plan(items("a"))
    assert [change.action for change in made.changes] == ["create"]
    assert made.outputs["value"] == "1"
    assert not (tmp_path / "data").exists()


def test_providers_come_from_the_mirror_the_users_file_or_our_cache(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    cached = cli_configuration(home, locked=True)
    assert cached == f'plugin_cache_dir = "{tmp_path}/.cache/gitops-models/terraform-plugins"\n'
    assert "may_break_dependency_lock_file = true" in str(cli_configuration(home, locked=False))
    elsewhere = {**home, "XDG_CACHE_HOME": "/cache"}
    assert 'plugin_cache_dir = "/cache/gitops-models' in str(cli_configuration(elsewhere, locked=True))
    own = tmp_path / ".terraformrc"
    own.touch()
    assert cli_configuration(home, locked=True) == own
    assert cli_configuration({**home, "TF_CLI_CONFIG_FILE": "/nowhere"}, locked=True) == cached
    assert 'path = "/mirror"' in str(cli_configuration({**home, "TF_PLUGIN_MIRROR": "/mirror"}, locked=True))


def test_answer_of_the_cloud_without_its_protocol() -> None:
    summary = (
        "creating EKS Cluster (a): operation error EKS: CreateCluster, https response error StatusCode: 403,"
        " RequestID: 6f1c, api error AccessDeniedException: User: arn:aws:iam::1:user/x is not authorized"
        " to perform: eks:CreateCluster"
    )
    place = {"filename": "../modules/m/cluster.tf", "start": {"line": 7}}
    entry = {"severity": "error", "summary": summary, "detail": "", "range": place}
    warning = {"severity": "warning", "summary": "deprecated"}
    stream = [{"type": "diagnostic", "diagnostic": warning}, {"type": "diagnostic", "diagnostic": entry}]
    said = explain("apply", errors_in(stream, ROOT), root=ROOT, directory="/work", stderr="")
    assert said.where == "terraform/modules/m/cluster.tf:7"
    assert said.what == (
        "the cloud refuses this with the present credentials: creating EKS Cluster (a): EKS CreateCluster:"
        " api error AccessDeniedException: User: arn:aws:iam::1:user/x is not authorized to perform: eks:CreateCluster"
    )
    mute = explain("plan", (), root=ROOT, directory="/work", stderr="\nout of memory\n")
    assert mute.what == "terraform plan failed: out of memory"


def scaling(desired: int, largest: int, **tags: str) -> dict[str, object]:
    return {"scaling_config": [{"desired_size": desired, "max_size": largest}], "tags": tags or None}


@pytest.mark.parametrize(
    ("state", "outside", "planned", "drifted"),
    [
        (scaling(1, 6), scaling(3, 6), scaling(3, 8), ()),  # the autoscaler moved, and we change something else
        (scaling(1, 6), scaling(3, 9), scaling(3, 6), ("scaling_config",)),
        (scaling(1, 6), scaling(1, 6, by="hand"), scaling(1, 8), ("tags",)),
        (scaling(1, 6), {**scaling(1, 6), "tags": {}}, scaling(1, 8), ()),
    ],
)
def test_drift_is_what_the_plan_undoes(state: object, outside: object, planned: object, drifted: object) -> None:
    def shown(before: object, after: object) -> dict[str, object]:
        change = {"actions": ["update"], "before": before, "after": after, "after_unknown": {}}
        return {"address": "pool", "type": "aws_eks_node_group", "change": change}

    plan = read_plan({"resource_drift": [shown(state, outside)], "resource_changes": [shown(outside, planned)]}, b"")
    assert tuple(name for change in plan.drift for name in change.attributes) == drifted
    assert plan.changes[0].drifted == bool(drifted)


def test_timeout_ends_in_order_and_the_next_plan_recovers(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    saved = Terraform(tmp_path, ROOT).plan(slow(marker)).tfplan
    with pytest.raises(TerraformError, match=r"longer than 1 s and was interrupted") as late:
        Terraform(tmp_path, ROOT, timeout=1).apply(saved, slow(marker))
    assert "plan again" in late.value.hint
    left = Terraform(tmp_path, ROOT).plan(slow(marker))
    assert {change.address for change in left.changes} >= {"terraform_data.next"}
    Terraform(tmp_path, ROOT).apply(left.tfplan, slow(marker))
    assert Terraform(tmp_path, ROOT).plan(slow(marker)).empty


def test_stubborn_terraform_is_killed_after_its_grace(tmp_path: Path) -> None:
    script = tmp_path / "terraform"
    script.write_text("#!/bin/sh\ntrap '' INT\nwhile :; do sleep 0.1; done\n")
    script.chmod(0o755)
    begun = time.monotonic()
    with pytest.raises(TerraformError, match="was killed"):
        Terraform(tmp_path / "work", ROOT, binary=str(script), timeout=0.3, grace=0.5).version()
    assert time.monotonic() - begun < 5


def driving(workdir: Path, marker: Path) -> subprocess.Popen[bytes]:
    """A process of its own that plans and applies the slow root."""
    code = (
        "import sys; from pathlib import Path\n"
        "from gitops.world.terraform import Terraform\n"
        "from tests.world.test_terraform import ROOT, slow\n"
        "terraform = Terraform(Path(sys.argv[1]), ROOT); files = slow(Path(sys.argv[2]))\n"
        "try: terraform.apply(terraform.plan(files).tfplan, files)\n"
        "except KeyboardInterrupt: sys.exit(130)\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY / 'src'}{os.pathsep}{REPOSITORY}"}
    return subprocess.Popen([sys.executable, "-c", code, str(workdir), str(marker)], env=environment)


def test_ctrl_c_waits_for_terraform(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    process = driving(tmp_path, marker)
    appears(Path(f"{marker}.begun"))
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)  # an impatient second one changes nothing
    assert process.wait(20) == 130
    left = Terraform(tmp_path, ROOT).plan(slow(marker))
    assert {change.address for change in left.changes} >= {"terraform_data.next"}


def test_terraform_finishes_although_we_were_killed(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    process = driving(tmp_path, marker)
    appears(Path(f"{marker}.begun"))
    process.kill()
    process.wait()
    appears(marker)
    terraform = Terraform(tmp_path, ROOT, lock_timeout=20)
    assert terraform.plan(slow(marker)).empty


def test_locked_state_says_who_and_what_to_do(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    process = driving(tmp_path, marker)
    appears(Path(f"{marker}.begun"))
    process.kill()  # its Terraform goes on and holds the lock of the state
    process.wait()
    with pytest.raises(TerraformError, match=r"state is locked by \S+@\S+ since .* \(apply\)") as refused:
        Terraform(tmp_path, ROOT, lock_timeout=0).plan(slow(marker))
    assert "force-unlock" in refused.value.hint
    appears(marker)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    terraform = Terraform(tmp_path, ROOT)
    saved = terraform.plan(slow(marker)).tfplan
    thread = threading.Thread(target=terraform.apply, args=(saved, slow(marker)))
    thread.start()
    try:
        appears(Path(f"{marker}.begun"))
        with pytest.raises(TerraformError, match="another gitops process is working here"):
            Terraform(tmp_path, ROOT).plan(slow(marker))
    finally:
        thread.join()


def test_logging_is_left_alone(tmp_path: Path) -> None:
    before = list(logging.getLogger().handlers)
    Terraform(tmp_path, ROOT).plan(items("a"))
    assert logging.getLogger().handlers == before


def test_import_is_light() -> None:
    code = "import sys, gitops.world.terraform; sys.exit('python_terraform' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0

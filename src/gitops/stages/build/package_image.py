"""The stage `package` as a container image: a build context, and the image where there is something to build it with.

The output is the context (Dockerfile, model, server, bill of materials): its digest is the same wherever it is made,
and BuildKit is given the time of the commit, so that the image differs as little as the base allows.
Reference: https://docs.docker.com/reference/dockerfile/ and https://github.com/moby/buildkit/blob/master/docs/reference/buildctl.md
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gitops.errors import GitopsError
from gitops.stages.build import code, sbom
from gitops.stages.build.task import Outcome, Task
from gitops.stages.results import Check, GateResult

MODEL_DIRECTORY = "/model"
SBOM = "sbom.cdx.json"
_ANSWERS = "gitops_version.py"


def run(task: Task) -> Outcome:
    """Make the context, and build it. Without BuildKit and docker there is the context alone, and a note."""
    _fill(task)
    image = f"{task.parameters['image']}:{task.facts['commit']}"
    command = builder(task.output, image, task.scratch / "metadata.json", task.parameters["push"], present())
    if not command:
        return Outcome(notes=(f"no BuildKit and no docker here: {image} was not built, its context was",))
    task.say(f"building {image}")
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(task.facts["commitTime"])}
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        env=environment,
    )
    sys.stderr.write(done.stdout)
    if done.returncode:
        last = (done.stdout.strip() or "it says nothing").splitlines()[-1]
        raise GitopsError(f"{command[0]} could not build the image: {last}", hint="see the log")
    digest = image_digest(json.loads((task.scratch / "metadata.json").read_text()))
    gate = GateResult("image", (Check(image, bool(digest), "a digest", digest or "none"),))
    return Outcome((gate,), notes=(f"{image} is {digest}",))


def _fill(task: Task) -> None:
    parameters, context = task.parameters, task.output
    model = context / "model"
    shutil.copytree(task.given, model) if task.given.is_dir() else _copied(task.given, model / task.given.name)
    if "code" in task.files:
        for name in code.members(task.files["code"]):
            _copied(task.files["code"] / name, context / "server" / name)
    packages: list[tuple[str, str, tuple[str, ...]]] = []
    if "requirements" in task.files:
        text = task.files["requirements"].read_text()
        packages = sbom.requirements(text)
        (context / "requirements.txt").write_text(text)
    facts = task.facts
    # Whoever reaches the server reads this: what the source is, and not where it lies or who was asked for it.
    source = {name: facts["source"][name] for name in ("digest", "format", "commit") if name in facts["source"]}
    about = {"model": facts["model"], "version": facts["version"], "commit": facts["commit"], "source": source}
    (context / "version.json").write_text(json.dumps(about, indent=2, sort_keys=True) + "\n")
    (context / _ANSWERS).write_text(_ANSWER)
    (context / "healthcheck.py").write_text(_HEALTHCHECK)
    (context / ".dockerignore").write_text(dockerignore())
    hashed = all(hashes for _, _, hashes in packages)
    (context / "Dockerfile").write_text(dockerfile(parameters, facts, hashed))
    bill = sbom.document(facts["model"], facts["version"], packages, sbom.digests(context), facts["source"])
    (context / SBOM).write_text(json.dumps(bill, indent=2, sort_keys=True) + "\n")


def _copied(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def dockerfile(parameters: Mapping[str, Any], facts: Mapping[str, Any], hashed: bool = True) -> str:
    """The Dockerfile: base by digest, no root, a health check that also asks for /version.

    `hashed` says whether each requirement has its digests, so that pip can insist on them.
    """
    name = parameters["name"] or facts["model"]
    labels = {
        "org.opencontainers.image.title": name,
        "org.opencontainers.image.version": facts["version"],
        "org.opencontainers.image.revision": facts["commit"],
        "org.opencontainers.image.base.digest": parameters["base"].rpartition("@")[2],
    }
    user, port = parameters["user"], parameters["port"]
    lines = [
        f"FROM {parameters['base']}",
        "LABEL " + " ".join(f"{key}={json.dumps(value)}" for key, value in labels.items()),
    ]
    if parameters["requirements"]:
        insist = " --require-hashes" if hashed else ""
        lines += [
            "COPY requirements.txt /opt/gitops/requirements.txt",
            f"RUN python3 -m pip install --no-cache-dir --no-deps{insist} -r /opt/gitops/requirements.txt",
        ]
    lines += [f"COPY {_ANSWERS} healthcheck.py version.json {SBOM} /opt/gitops/"]
    if parameters["code"]:
        lines += ["COPY server /opt/server", "WORKDIR /opt/server"]
    lines += [
        f"COPY --chown={user}:0 model {MODEL_DIRECTORY}",
        f"ENV PYTHONPATH=/opt/gitops MODEL_DIRECTORY={MODEL_DIRECTORY} PORT={port} HOME=/tmp PYTHONUNBUFFERED=1",
        f"USER {user}:0",
        f"EXPOSE {port}",
        "HEALTHCHECK --interval=10s --timeout=5s --start-period=10m --retries=3 "
        f'CMD ["python3", "/opt/gitops/healthcheck.py", "http://127.0.0.1:{port}", {json.dumps(parameters["health"])}]',
        f"ENTRYPOINT {json.dumps(entrypoint(name, parameters))}",
    ]
    return "\n".join(lines) + "\n"


def entrypoint(name: str, parameters: Mapping[str, Any]) -> list[str]:
    """What the container runs. vLLM gets our answer to /version as a middleware, in front of its own."""
    if parameters["server"] == "custom":
        return list(parameters["command"])
    own = {
        "served-model-name": name,
        "host": "0.0.0.0",  # noqa: S104  # inside a container
        "port": parameters["port"],
        "middleware": "gitops_version.Version",
    }
    options: list[str] = []
    for option, value in {**own, **parameters["args"]}.items():
        if isinstance(value, bool):
            options.append(f"--{option}" if value else f"--no-{option}")
        else:
            options += [f"--{option}", str(value)]
    return ["vllm", "serve", MODEL_DIRECTORY, *options]


def dockerignore() -> str:
    """Everything stays out but what the Dockerfile copies; and of that, what never belongs into an image."""
    kept = ("model", "server", "requirements.txt", _ANSWERS, "healthcheck.py", "version.json", SBOM)
    return "\n".join(["*", *(f"!{name}" for name in kept), *(f"**/{name}" for name in code.LEFT_OUT)]) + "\n"


def builder(context: Path, image: str, metadata: Path, push: bool, present: Sequence[str]) -> list[str]:
    """The command that builds the image with the first of buildctl and docker that is present; empty for neither."""
    if "buildctl" in present:
        return [
            "buildctl",
            "build",
            "--frontend=dockerfile.v0",
            f"--local=context={context}",
            f"--local=dockerfile={context}",
            f"--output=type=image,name={image},push={'true' if push else 'false'},rewrite-timestamp=true",
            f"--metadata-file={metadata}",
        ]
    if "docker" in present:
        output = ["--push"] if push else ["--load"]
        return ["docker", "buildx", "build", *output, f"--metadata-file={metadata}", f"--tag={image}", str(context)]
    return []


def image_digest(metadata: Mapping[str, Any]) -> str:
    """The image's digest from BuildKit's metadata file; the configuration's where nothing was pushed, else empty."""
    return str(metadata.get("containerimage.digest") or metadata.get("containerimage.config.digest") or "")


def present() -> list[str]:
    """The builders that answer: a client without its daemon builds nothing."""
    probes = {"buildctl": ["buildctl", "debug", "workers"], "docker": ["docker", "buildx", "inspect"]}
    return [
        name
        for name, probe in probes.items()
        if shutil.which(name) and subprocess.run(probe, capture_output=True, check=False).returncode == 0
    ]


_ANSWER = '''\
"""Answers GET /version with what this image holds, in front of any ASGI application."""

import json
from pathlib import Path

ANSWER = json.dumps(json.loads(Path(__file__).with_name("version.json").read_text())).encode()


class Version:
    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http" or scope["path"] != "/version" or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(ANSWER)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": ANSWER})
'''

_HEALTHCHECK = '''\
"""Exit code 0 when the server is healthy and says the version that this image holds."""

import json
import sys
import urllib.request
from pathlib import Path


def ask(url):
    with urllib.request.urlopen(url, timeout=4) as answer:
        return answer.read()


try:
    base, health = sys.argv[1:]
    ask(base + health)
    expected = json.loads(Path(__file__).with_name("version.json").read_text())["version"]
    found = json.loads(ask(base + "/version")).get("version")
except (OSError, ValueError) as error:
    sys.exit(f"not healthy: {error}")
if found != expected:
    sys.exit(f"/version says {found}, this image holds {expected}")
'''

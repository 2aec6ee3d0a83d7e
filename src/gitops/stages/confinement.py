"""Where code of others runs: the variables that it gets, and what of this machine it sees.

What stages load, and what a server serves, comes from outside, and so may what it does. Such a process gets a list of
variables that are known to be harmless, never the whole environment. Where the machine allows it, it also gets user,
mount, process and network namespaces of its own: it sees the system's libraries, its tools and what it was given, may
write where its result belongs, and reaches nobody. That is the work of util-linux (`unshare`, `mount`, `pivot_root`,
`setpriv`), without rights of root and without anything to install.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from gitops.spec.problems import shorten

PASSED = (
    *("PATH", "LD_LIBRARY_PATH", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TZ", "SOURCE_DATE_EPOCH"),
    *("CUDA_DEVICE_ORDER", "CUDA_HOME", "CUDA_PATH", "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"),
    *("NVIDIA_DRIVER_CAPABILITIES", "NVIDIA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"),
    *("MKL_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_CPP_MIN_LOG_LEVEL"),
)
"""Variables that every such process gets. Whole names: a prefix such as TF_ or NVIDIA_ would let tokens through."""
IMAGE_BUILDERS = (
    *("HOME", "BUILDKIT_HOST", "BUILDX_BUILDER", "BUILDX_CONFIG", "DOCKER_CERT_PATH", "DOCKER_CONFIG"),
    *("DOCKER_CONTEXT", "DOCKER_HOST", "DOCKER_TLS_VERIFY", "XDG_RUNTIME_DIR"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
)
"""What buildctl and docker need besides. They run nothing that the checkpoint holds."""

_SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store", "/opt/nvidia", "/opt/rocm", "/opt/tensorrt"),
    *("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives", "/etc/passwd", "/etc/group"),
    *("/etc/nsswitch.conf", "/etc/localtime", "/etc/hosts", "/etc/mime.types", "/etc/OpenCL", "/sys"),
)
_NETWORK = ("/etc/resolv.conf", "/etc/ssl", "/etc/ca-certificates", "/etc/pki")
_DEVICES = ("null", "zero", "full", "random", "urandom", "kfd", "dri")
_PROGRAMS = "/usr/sbin:/usr/bin:/sbin:/bin"
_PR_SET_DUMPABLE = 4  # <linux/prctl.h>

_ENTER = r"""
set -eu
path=$PATH
PATH=/usr/sbin:/usr/bin:/sbin:/bin
root=$1
shift
mount -t tmpfs -o mode=0755 none "$root"
mkdir -p "$root/tmp" "$root/proc" "$root/dev/shm" "$root/.old"
mount -t tmpfs -o mode=1777 none "$root/tmp"
mount -t tmpfs -o mode=1777 none "$root/dev/shm"
hide() {
  if [ -d "$root$1" ]; then
    mount -t tmpfs -o mode=0755 none "$root$1"
  elif [ -e "$root$1" ]; then
    mount --bind /dev/null "$root$1"
  fi
}
show() {
  if [ -L "$1" ]; then
    mkdir -p "$root${1%/*}"
    [ -e "$root$1" ] || ln -s "$(readlink "$1")" "$root$1"
    return
  fi
  if [ -d "$1" ]; then
    mkdir -p "$root$1"
  else
    mkdir -p "$root${1%/*}"
    [ -e "$root$1" ] || : > "$root$1"
  fi
  mount --rbind "$1" "$root$1"
}
while [ "$1" != -- ]; do
  case $1 in =*) show "${1#=}" ;; *) hide "${1#!}" ;; esac
  shift
done
shift
for link in fd:/proc/self/fd stdin:/proc/self/fd/0 stdout:/proc/self/fd/1 stderr:/proc/self/fd/2; do
  ln -s "${link#*:}" "$root/dev/${link%%:*}"
done
mount -t proc proc "$root/proc" 2>/dev/null || mount --rbind /proc "$root/proc"
while read -r _ _ _ _ at options _; do
  at=$(printf %b "$at")
  case $at in "$root/tmp" | "$root"/dev/*) ;; "$root"/*) mount -o "remount,bind,$options,ro" "$at" ;; esac
done < /proc/self/mountinfo
while [ "$1" != -- ]; do mkdir -p "$root$1"; mount --bind "$1" "$root$1"; shift; done
shift
mount -o remount,bind,ro "$root"
cd "$root"
pivot_root . .old
umount -l /.old
cd "$1"
shift
setpriv=$(command -v setpriv)
PATH=$path
status=0
exec 3>&2 2> /dev/null # or the shell would say "Segmentation fault" in the log of the command
"$setpriv" --no-new-privs --bounding-set=-all --inh-caps=-all -- "$@" 2>&3 3>&- &
wait "$!" || status=$?
exit "$status"
"""
"""Arguments: a directory to stand on, what is shown (`=PATH`) and what of it is hidden (`!PATH`), `--`, what may be
written, `--`, where to begin, and the command. What is shown becomes read-only mount by mount, for what is mounted
below it would not follow; so does /proc, where a process of root without any right could still write."""


@dataclass(frozen=True, slots=True)
class Room:
    """What a process sees of this machine. Paths are absolute."""

    home: Path
    """An existing directory for what is not kept, HOME and TMPDIR, where it also begins; /tmp is in memory."""
    reads: tuple[Path, ...] = ()
    writes: tuple[Path, ...] = ()
    hides: tuple[Path, ...] = ()
    """Of what it reads; what lies in these and is named itself is shown all the same."""
    network: bool = False
    """Whether it may reach others. Without, it does not even reach this machine."""
    start: Path | None = None
    """The working directory, in place of `home`; one of the others, or below."""


def environment(
    home: Path, also: Iterable[str] = (), given: Mapping[str, str] | None = None, source: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """The variables of a process with code of others: those that are harmless, those named, and those given.

    Whatever it writes into its home goes to `home`.
    """
    named = {name: source[name] for name in (*PASSED, *also) if name in source}
    return {"HOME": str(home), "TMPDIR": str(home), **named, **(given or {})}


@contextmanager
def entered(command: Sequence[str], room: Room) -> Iterator[list[str]]:
    """The command line that runs `command` in a room; the command itself where this machine has none to give.

    What is started has to end before this context does. It is the first of its process group: whoever ends that ends
    everything in the room, and so does the end of this process.
    """
    hide_environment()
    if isolation():
        yield list(command)
        return
    with tempfile.TemporaryDirectory(prefix="gitops-room-") as root:
        yield _entering(command, room, root)


def isolation() -> str:
    """Why processes cannot have a room of their own on this machine; empty where they can. It is tried out once."""
    return _tried()


@cache
def _tried() -> str:
    if sys.platform != "linux":
        return "namespaces are Linux's"
    if missing := next((name for name in ("setpriv", "unshare", "pivot_root", "mount") if not _program(name)), ""):
        return f"{missing} of util-linux is not installed"
    with tempfile.TemporaryDirectory(prefix="gitops-room-") as directory:
        home = Path(directory, "home")
        home.mkdir()
        Path(directory, "root").mkdir()
        command = _entering(["true"], Room(home), str(Path(directory, "root")))
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=30, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"unshare: {error}"
    said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
    return shorten(said, 160) if done.returncode else ""


def _entering(command: Sequence[str], room: Room, root: str) -> list[str]:
    network = [] if room.network else ["--net"]
    writes = (room.home, *room.writes)
    return [
        *(_program("setpriv"), "--pdeathsig=KILL", "--"),
        *(_program("unshare"), "--user", "--map-root-user", "--mount", "--pid", "--ipc", *network),
        *("--fork", "--kill-child=KILL", "--", "/bin/sh", "-c", _ENTER, "gitops-room", root),
        *_shown(room),
        *("--", *map(str, writes), "--", str(room.start or room.home), *command),
    ]


def _shown(room: Room) -> list[str]:
    """What is there of the system, and what the room reads and does not."""
    named = [Path(entry) for name in ("PATH", "LD_LIBRARY_PATH") for entry in os.environ.get(name, "").split(":")]
    system = map(Path, (*_SYSTEM, *(_NETWORK if room.network else ())))
    devices = [Path("/dev", name) for name in _DEVICES] + sorted(Path("/dev").glob("nvidia*"))
    wanted = (*system, *devices, *_narrow(named), *room.reads)
    shown, hidden = _by_every_name(wanted), _by_every_name(room.hides)
    # Parents come before what they hold.
    return [f"{'!' if place in hidden else '='}{place}" for place in sorted((shown | hidden) - {Path("/")})]


def _by_every_name(places: Iterable[Path]) -> set[Path]:
    """Those that exist, as they are named and as links lead to them."""
    named = {place for place in places if place.is_absolute() and place.exists()}
    return named | {place.resolve() for place in named}


def _narrow(places: Iterable[Path]) -> tuple[Path, ...]:
    """Without those that hold the user's home, or what others left in /tmp."""
    wide = {Path("/tmp"), Path.home(), *Path.home().parents}  # noqa: S108  # not to write there
    return tuple(dict.fromkeys(place for place in places if place not in wide))


@cache
def _program(name: str) -> str:
    return shutil.which(name, path=_PROGRAMS) or ""


@cache
def hide_environment() -> None:
    """Keep other processes of the same user from reading our variables in /proc, where that can be done."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def files_of_secrets(within: Path, source: Mapping[str, str] = os.environ) -> tuple[Path, ...]:
    """Files below a directory that variables name which such a process does not get: keys, tokens, kubeconfigs."""
    found = []
    for name, value in source.items():
        with suppress(OSError, ValueError):
            place = (Path.cwd() / Path(value).expanduser()).resolve()
            if name not in PASSED and place.is_relative_to(within.resolve()) and place.is_file():
                found.append(place)
    return tuple(found)


def home_of(program: str, path: str | None = None) -> tuple[Path, ...]:
    """The directories that a program needs beside itself: where it is installed, and for one of a virtual environment
    the Python that it was made from. Links are followed step by step."""
    found = shutil.which(program, path=path)
    if not found:
        return ()
    places, place = [], Path.cwd() / found
    for _ in range(16):
        prefix = place.parent.parent
        places += [prefix, *_base(prefix)]
        if not place.is_symlink():
            break
        place = Path(os.path.normpath(place.parent / place.readlink()))
    return _narrow((*places, Path(os.path.realpath(found)).parent.parent))


def _base(prefix: Path) -> Iterator[Path]:
    with suppress(OSError):
        for line in (prefix / "pyvenv.cfg").read_text(errors="replace").splitlines():
            name, _, value = line.partition("=")
            if name.strip() == "home" and value.strip():
                yield Path(value.strip()).parent
                yield Path(os.path.realpath(value.strip())).parent

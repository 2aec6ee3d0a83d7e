"""Processes that end with the one that started them, however that ends."""

import subprocess


def start_guard() -> subprocess.Popen[bytes]:
    """Lead a process group, and kill it whole when this Python process ends in whatever way.

    Children join it with `process_group=guard.pid`. The shell reads from a pipe that only we hold open.
    PR_SET_PDEATHSIG would need code between fork and exec, which is unsafe beside threads and a warning from
    Python 3.12 on.
    """
    script = "trap '' HUP INT TERM; read -r _; kill -KILL 0"
    return subprocess.Popen(["/bin/sh", "-c", script], stdin=subprocess.PIPE, process_group=0)

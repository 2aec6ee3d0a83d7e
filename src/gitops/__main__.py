"""The `gitops` command, also as `python -m gitops`."""

import io
import os
import sys


def _leave_the_working_directory() -> None:
    """Nothing is imported from where we were started, as `python -m` and an empty part of PYTHONPATH would have it: a
    `yaml.py` in the checkout of a pull request is none of our packages. Only our own home stays.
    """
    home, here = os.path.dirname(os.path.dirname(os.path.abspath(__file__))), os.getcwd()  # noqa: PTH109, PTH120, PTH100
    sys.path[:] = [place for place in sys.path if place not in ("", here) or here == home]


def run() -> None:
    """Run the command line. Ctrl-C while it is still being loaded ends quietly as well."""
    try:
        _make_streams_usable()
        from gitops.cli.main import main

        main()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)


def _make_streams_usable() -> None:
    """Started without a stream (`>&-`) we write to nowhere; what its encoding lacks becomes a question mark."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


if __name__ == "__main__":
    _leave_the_working_directory()
    run()

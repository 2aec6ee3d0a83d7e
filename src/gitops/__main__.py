"""The `gitops` command, also as `python -m gitops`."""

import io
import os
import sys


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
    run()

"""The `gitops` command, also as `python -m gitops`."""

import gc
import sys


def run() -> None:
    """Run the command line. Ctrl-C while it is still being loaded ends quietly as well."""
    # What loading makes stays anyway: collecting meanwhile costs a tenth of a short command's time.
    gc.disable()
    try:
        from gitops.cli.main import main

        main()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    run()

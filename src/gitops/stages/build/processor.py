"""What the processor of this machine can do, as far as int8 answers depend on it."""

from __future__ import annotations

import platform
from pathlib import Path

_X86 = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "amx_int8")
_ARM = ("asimddp", "i8mm", "sve")


def features(info: Path = Path("/proc/cpuinfo")) -> str:
    """`x86_64 with avx2 and without avx_vnni, avx512f, avx512_vnni, amx_int8`.

    Where the system does not tell, that is said. Flags are those of Linux (arch/x86/include/asm/cpufeatures.h).
    """
    machine = platform.machine() or "an unknown processor"
    try:
        lines = info.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    flags = next(
        (set(line.partition(":")[2].split()) for line in lines if line.startswith(("flags", "Features"))), None
    )
    if flags is None:
        return f"{machine} (the system does not tell its features)"
    known = _ARM if machine.startswith(("aarch64", "arm")) else _X86
    has, lacks = ([name for name in known if (name in flags) is there] for there in (True, False))
    said = [f"with {', '.join(has)}"] * bool(has) + [f"without {', '.join(lacks)}"] * bool(lacks)
    return f"{machine} {' and '.join(said)}"

"""Other tools to compare with, each in an environment of its own under build/peers: the only place that installs them.

    python benchmarks/peers.py octopi copick-utils      install these; all without a name
    python benchmarks/peers.py --list                   what is installed

Nothing of them is a dependency of the package. scipy, scikit-image, cc3d, MONAI and nnU-Net run in our own environment.
Where packages come from is left to pip's own configuration; every version is pinned.
"""

from __future__ import annotations

import argparse
import functools
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOME = HERE.parent / "build" / "peers"
OURS = HERE.parent / "constraints.txt"
MINUTES = 45


@dataclass(frozen=True)
class Peer:
    """distributions: what is asked for, at the versions of constraints. module: whose import shows that it works."""

    distributions: tuple[str, ...]
    module: str
    constraints: Path = OURS


# constraints-octopi.txt: frozen from an environment that `pip install -c constraints.txt torch octopi==1.7.0` made, without
# local version tags; without it pip goes back through many releases of octopi's 245 distributions.
PEERS = {
    "octopi": Peer(("torch", "octopi==1.7.0"), "octopi.extract.localize", HERE / "constraints-octopi.txt"),
    "copick-utils": Peer(("copick-utils==1.10.2",), "copick_utils.converters.picks_from_segmentation"),
    "stardist": Peer(("stardist==0.9.2",), "stardist.matching"),
    "elf": Peer(("python-elf==0.9.2",), "elf.evaluation"),
    "cellpose": Peer(("torch", "cellpose==4.2.1.1"), "cellpose.metrics"),
    "microsam": Peer(
        ("torch", str(HERE.parent), "micro-sam==1.8.14"), "bioimage_cpp"
    ),  # and us, for both run in one process
}


@functools.cache
def python(name: str) -> Path | None:
    """The interpreter of a peer's environment; None, and a line on stderr, where it isn't installed. Installs nothing."""
    if reason := lacking(name):
        print(f"{name}: {reason} ({how(name)})", file=sys.stderr)
        return None
    return _python(HOME / name)


def lacking(name: str) -> str | None:
    """Why a peer can't be run; None where it can."""
    stamp = _finished(HOME / name)
    if not stamp.is_file():
        return "not installed"
    return None if stamp.read_text() == _wish(PEERS[name]) else "installed for other versions"


def how(name: str) -> str:
    """The command that installs a peer."""
    return f"python benchmarks/peers.py {name}"


def version(name: str) -> str:
    """Name and pinned version, as in 'octopi 1.7.0'."""
    return PEERS[name].distributions[-1].replace("==", " ")


def install(name: str) -> Path | None:
    """Make a peer's environment, unless it is there; its interpreter. None, and a line on stderr, where that fails."""
    peer, folder = PEERS[name], HOME / name
    if not lacking(name):
        return _python(folder)
    python.cache_clear()
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    pip = [str(_python(folder)), "-m", "pip", "--disable-pip-version-check"]
    try:
        for wanted in commands(peer):
            _run([*pip, *wanted])
        if not _imports(folder, "torchvision"):  # one made for another torch breaks what imports it
            _run([*pip, "uninstall", "-q", "-y", "torchvision"])
        _run([str(_python(folder)), "-c", f"import {peer.module}"])
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        print(f"{name}: can't be installed: {_reason(error)}", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        return None
    _finished(folder).write_text(_wish(peer))
    return _python(folder)


def commands(peer: Peer) -> list[list[str]]:
    """What pip is told, one after another."""
    return [["install", "-q", "-c", str(peer.constraints), wanted] for wanted in peer.distributions]


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"


def _finished(folder: Path) -> Path:
    return folder / ".installed"


def _wish(peer: Peer) -> str:
    return "\n".join([*peer.distributions, peer.constraints.read_text()])


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=MINUTES * 60)


def _imports(folder: Path, module: str) -> bool:
    command = [str(_python(folder)), "-W", "ignore", "-c", f"import {module}"]
    return subprocess.run(command, capture_output=True).returncode == 0


def _reason(error: subprocess.CalledProcessError | subprocess.TimeoutExpired) -> str:
    """The last line that says something."""
    if isinstance(error, subprocess.TimeoutExpired):
        return f"took more than {MINUTES} minutes"
    lines = [line.strip() for line in f"{error.stdout}\n{error.stderr}".splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines or [f"exit {error.returncode}"])[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PEERS)}; default: all")
    parser.add_argument("--list", action="store_true", help="say what is installed, and install nothing")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in PEERS]:
        parser.error(f"no peer {unknown[0]!r}; there are {', '.join(PEERS)}")
    failed = False
    for name in arguments.names or PEERS:
        found = python(name) if arguments.list else install(name)
        failed |= found is None and not arguments.list
        if found:
            print(f"{name}: {found}")
    sys.exit(failed)


if __name__ == "__main__":
    main()

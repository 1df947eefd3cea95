"""Daemons that Debian has, unmodified, spawned: each where it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import fusewire

SFTP_SERVER = Path("/usr/lib/openssh/sftp-server")
LONG = bytes(range(256)) * 5_000  # longer than any request


def need(*programs: str) -> None:
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with a few things in it."""
    tree = tmp_path / "tree"
    (tree / "d").mkdir(parents=True)
    (tree / "a").write_bytes(b"hi")
    (tree / "long").write_bytes(LONG)
    return tree


def check_reading(kernel: fusewire.Kernel) -> None:
    assert sorted(kernel.listdir("/")) == ["a", "d", "long"]
    assert kernel.read_bytes("/a") == b"hi"
    assert kernel.read_bytes("/long") == LONG
    assert not kernel.exists("/nothing")


def check_writing(kernel: fusewire.Kernel) -> None:
    kernel.mkdir("/new")
    kernel.write_bytes("/new/b", LONG)
    kernel.rename("/new/b", "/new/c")
    assert kernel.read_bytes("/new/c") == LONG
    with kernel.open("/new/c", "r+b") as file:
        file.seek(3)
        file.write(b"changed")
    assert kernel.read_bytes("/new/c")[:12] == LONG[:3] + b"changed" + LONG[10:12]
    kernel.unlink("/new/c")
    assert kernel.listdir("/new") == []


def check_left(kernel: fusewire.Kernel) -> None:
    assert (kernel.leaks(), kernel.violations) == ([], [])


@pytest.mark.parametrize("program", ["squashfuse", "squashfuse_ll"])
def test_squashfuse(program: str, tree: Path, tmp_path: Path) -> None:
    need(program, "mksquashfs")
    image = tmp_path / "image"
    subprocess.run(["mksquashfs", str(tree), str(image), "-quiet", "-no-progress"], check=True, capture_output=True)
    with fusewire.Kernel.spawn([program, "-f", image, "{mountpoint}"]) as kernel:
        check_reading(kernel)
        with pytest.raises(OSError, match="Read-only"):
            kernel.write_bytes("/b", b"")
        check_left(kernel)


def test_squashfuse_in_the_background(tree: Path, tmp_path: Path) -> None:
    need("squashfuse", "mksquashfs")
    image = tmp_path / "image"
    subprocess.run(["mksquashfs", str(tree), str(image), "-quiet", "-no-progress"], check=True, capture_output=True)
    with fusewire.Kernel.spawn(["squashfuse", image, "{mountpoint}"]) as kernel:
        check_reading(kernel)


def test_squashfuse_without_an_image_says_so(tmp_path: Path) -> None:
    need("squashfuse")
    with pytest.raises(fusewire.SpawnError, match="No such file"):
        fusewire.Kernel.spawn(["squashfuse", "-f", tmp_path / "nothing", "{mountpoint}"]).listdir("/")


def test_fuse_overlayfs(tree: Path, tmp_path: Path) -> None:
    need("fuse-overlayfs")
    for name in ("upper", "work"):
        (tmp_path / name).mkdir()
    layers = f"lowerdir={tree},upperdir={tmp_path / 'upper'},workdir={tmp_path / 'work'}"
    with fusewire.Kernel.spawn(["fuse-overlayfs", "-f", "-o", layers, "{mountpoint}"]) as kernel:
        check_reading(kernel)
        check_writing(kernel)
        check_left(kernel)


def test_sshfs(tree: Path, tmp_path: Path) -> None:
    need("sshfs")
    if not SFTP_SERVER.exists():
        pytest.skip(f"not installed: {SFTP_SERVER}")
    ssh = tmp_path / "ssh"
    ssh.write_text(f"#!/bin/sh\nexec {SFTP_SERVER}\n")
    ssh.chmod(0o755)
    with fusewire.Kernel.spawn(["sshfs", "-f", "-o", f"ssh_command={ssh}", f"x:{tree}", "{mountpoint}"]) as kernel:
        check_reading(kernel)
        check_writing(kernel)


def test_gocryptfs(tmp_path: Path) -> None:
    need("gocryptfs")
    (tmp_path / "password").write_text("secret\n")
    (tmp_path / "cipher").mkdir()
    words = ["gocryptfs", "-q", "-passfile", str(tmp_path / "password")]
    subprocess.run([*words, "-init", "-scryptn", "10", str(tmp_path / "cipher")], check=True, capture_output=True)
    with fusewire.Kernel.spawn([*words, "-fg", tmp_path / "cipher", "{mountpoint}"]) as kernel:
        check_writing(kernel)
        check_left(kernel)


def test_rclone_is_handed_its_device_by_fusermount3(tree: Path, tmp_path: Path) -> None:
    need("rclone")
    words = ["rclone", "mount", "--vfs-cache-mode", "writes", str(tree), "{mountpoint}"]
    environment = {**os.environ, "RCLONE_CONFIG": str(tmp_path / "none"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    with fusewire.Kernel.spawn(words, env=environment) as kernel:
        check_reading(kernel)
        check_writing(kernel)


def test_bindfs_fits_neither_way_and_is_told_so(tree: Path) -> None:
    need("bindfs")
    with pytest.raises(fusewire.SpawnError, match="A daemon is spawned if it takes /dev/fd/N"):
        fusewire.Kernel.spawn(["bindfs", "-f", tree, "{mountpoint}"]).listdir("/")

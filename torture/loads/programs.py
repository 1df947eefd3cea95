"""Programs that people use, doing what they do: git, make, tar, rsync, dbench, fio, stress-ng."""

from __future__ import annotations

import os
import re
from pathlib import Path

from torture.loads.place import Failed, Place, expect, need, run
from torture.loads.trees import describe, grow, same

FIO_JOBS = {
    "sequential": "--rw=write --bs=64k --ioengine=psync",
    "random": "--rw=randwrite --bsrange=512-64k --ioengine=psync",
    "mixed": "--rw=randrw --bs=4k --ioengine=psync --end_fsync=1",
    "direct": "--rw=randwrite --bs=16k --ioengine=psync --direct=1",
    "direct large": "--rw=randwrite --bs=1m --ioengine=psync --direct=1",
    "mmap": "--rw=randwrite --bs=4k --ioengine=mmap",
    "three at once": "--rw=randwrite --bs=8k --ioengine=psync --numjobs=3",
    "asynchronous": "--rw=randwrite --bs=8k --ioengine=libaio --iodepth=8 --direct=1",
}


def fio(place: Place) -> str:
    """Random and sequential I/O of every sort; each block carries its checksum and its address."""
    need("fio")
    size = place.amount(8, 96)
    common = [f"--size={size}m", "--randseed=7", "--fallocate=none", "--group_reporting", "--output-format=terse"]
    verify = ["--verify=crc32c", "--do_verify=1", "--verify_fatal=1"]
    for name, options in FIO_JOBS.items():
        where = [f"--directory={place.directory}", f"--aux-path={place.directory}"]
        run("fio", f"--name={name.replace(' ', '-')}", *where, *common, *verify, *options.split())
        for path in place.directory.iterdir():
            path.unlink()
    return f"{len(FIO_JOBS)} jobs of {size} MiB"


NANOSECONDS = "--modify-window=-1"  # of rsync: by default it compares seconds

STRESSORS = """access chdir chmod chown copy-file dentry dir dirdeep dirmany fallocate fcntl filename flock fpunch fstat
getdent hdd lease link lockf lockofd mknod mmap open rename seek sendfile splice symlink touch utime
xattr"""


def stress_ng(place: Place) -> str:
    """Stressors that use files, a few at a time, verifying what they can."""
    need("stress-ng")
    names = STRESSORS.split()
    together = place.amount(12, 4)
    for start in range(0, len(names), together):
        some = names[start : start + together]
        options = [f"--{name}=1" for name in some]
        bounds = [f"--{name}-bytes=16m" for name in ("hdd", "fallocate", "mmap") if name in some]
        common = ["--temp-path", str(place.directory), "--timeout", f"{place.amount(1, 5)}s", "--verify", "--oomable"]
        output = run("stress-ng", *options, *bounds, *common, cwd=place.directory, codes=(0, 3))
        trouble = [line for line in output.splitlines() if re.search(r"stress-ng: (fail|error):", line)]
        if trouble:
            raise Failed("\n".join(trouble[:10]))
    expect("what is left over", sorted(os.listdir(place.directory)), [])
    return f"{len(names)} stressors"


def dbench(place: Place) -> str:
    """A file server's day, replayed by several clients."""
    need("dbench")
    script = "/usr/share/dbench/client.txt"
    seconds = str(place.amount(2, 15))
    output = run("dbench", "-t", seconds, "-D", place.directory, "-c", script, "3")
    rate = re.search(r"Throughput ([\d.]+)", output)
    if rate is None or "ERROR" in output:
        raise Failed(output[-500:])
    return f"{rate[1]} MB/s"


def git(place: Place) -> str:
    """A repository with a history: clone, check out, repack, check; both ways over the border."""
    need("git")
    quiet = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    for who in ("AUTHOR", "COMMITTER"):
        quiet |= {f"GIT_{who}_NAME": "T", f"GIT_{who}_EMAIL": "t@example.org"}
    made, clone, back = place.native / "made", place.directory / "clone", place.native / "back"
    commits, files = place.amount(5, 40), place.amount(100, 400)

    def at(where: Path, *command: str) -> str:
        return run("git", "-C", where, *command, environment=quiet)

    run("git", "init", "-q", "-b", "main", made, environment=quiet)
    for commit in range(commits):
        for number in range(commit % 3, files, 3):
            path = made / f"d{number % 17}" / f"file-{number}"
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"{commit} {number}\n" * (number % 50 + 1))
        at(made, "add", "-A")
        at(made, "commit", "-q", "-m", f"commit {commit}")
    head = at(made, "rev-parse", "HEAD^{tree}")
    run("git", "clone", "-q", "--no-local", made, clone, environment=quiet)
    at(clone, "fsck", "--strict", "--no-progress")
    at(clone, "checkout", "-q", "-b", "side", "HEAD~2")
    (clone / "d1" / "new").write_text("new\n")
    at(clone, "add", "-A")
    at(clone, "commit", "-q", "-m", "aside")
    at(clone, "merge", "-q", "-m", "merged", "origin/main")
    at(clone, "rm", "-q", "d1/new")
    at(clone, "commit", "-q", "-m", "as it was")
    expect("the tree", at(clone, "rev-parse", "HEAD^{tree}"), head)
    at(clone, "gc", "-q", "--aggressive", "--prune=now")
    at(clone, "fsck", "--strict", "--no-progress")
    expect("git status", at(clone, "status", "--porcelain"), "")
    run("git", "clone", "-q", clone, back, environment=quiet)
    expect("the tree, cloned back", at(back, "rev-parse", "HEAD^{tree}"), head)
    return f"{commits} commits, {files} files"


def build(place: Place) -> str:
    """A C program of many files: everything is compiled once, and then what was changed alone."""
    need("gcc", "make")
    count = place.amount(12, 60)
    for number in range(count):
        text = f'#include "all.h"\nint f{number}(int x) {{ return x + {number}; }}\n'
        (place.directory / f"f{number}.c").write_text(text)
    header = "".join(f"int f{number}(int);\n" for number in range(count))
    (place.directory / "all.h").write_text("#include <stdio.h>\n#include <stdlib.h>\n" + header)
    calls = " ".join(f"sum = f{number}(sum);" for number in range(count))
    main = f'#include "all.h"\nint main(void) {{ int sum = 0; {calls} printf("%d\\n", sum); return 0; }}\n'
    (place.directory / "main.c").write_text(main)
    (place.directory / "Makefile").write_text(
        "OBJECTS = $(patsubst %.c,%.o,$(wildcard *.c))\n"
        "program: $(OBJECTS)\n\t$(CC) -o $@ $^\n"
        "%.o: %.c all.h\n\t$(CC) -O1 -g -c -o $@ $<\n"
    )
    output = run("make", "-j2", cwd=place.directory)
    expect("files compiled", output.count(" -c "), count + 1)
    expect("what the program prints", run(place.directory / "program"), f"{count * (count - 1) // 2}\n")
    expect("make, again", "up to date" in run("make", cwd=place.directory), True)
    os.utime(place.directory / "f3.c")
    expect("files compiled after a change of one", run("make", cwd=place.directory).count(" -c "), 1)
    return f"{count + 1} files"


def tar(place: Place) -> str:
    """To the mount and back again, with everything that tar can keep."""
    need("tar")
    source, there, back = place.native / "source", place.directory / "there", place.native / "back"
    for directory in (source, there, back):
        directory.mkdir()
    grow(source, place.amount(150, 1500))
    wanted = describe(source)
    create = ("--create", "--format=posix", "--xattrs", "--sparse", "--file")
    extract = ("--extract", "--xattrs", "--xattrs-include=*", "--preserve-permissions", "--numeric-owner", "--file")
    run("tar", *create, place.native / "1.tar", "-C", source, ".")
    run("tar", *extract, place.native / "1.tar", "-C", there)
    same(describe(there), wanted, "unpacked on the mount")
    run("tar", *create, place.directory / "2.tar", "-C", there, ".")
    run("tar", *extract, place.directory / "2.tar", "-C", back)
    same(describe(back), wanted, "packed on the mount")
    run("tar", "--compare", "--file", place.directory / "2.tar", "-C", there)
    return f"{len(wanted)} paths"


def rsync(place: Place) -> str:
    """To the mount, again with nothing to do, again after changes, and back."""
    need("rsync")
    source, there, back = place.native / "source", place.directory / "there", place.native / "back"
    source.mkdir()
    grow(source, place.amount(150, 1500), seed=2)
    wanted = describe(source)
    options = ("--archive", "--hard-links", "--xattrs", "--numeric-ids", "--delete", "--itemize-changes", NANOSECONDS)
    run("rsync", *options, f"{source}/", f"{there}/")
    same(describe(there), wanted, "copied to the mount")
    expect("what is copied again", run("rsync", *options, f"{source}/", f"{there}/").strip(), "")
    (source / "odd" / "one").write_bytes(b"changed")
    (source / "odd" / "fifo").unlink()
    run("rsync", *options, "--inplace", f"{source}/", f"{there}/")
    wanted = describe(source)
    same(describe(there), wanted, "updated on the mount")
    run("rsync", *options, "--sparse", f"{there}/", f"{back}/")
    same(describe(back), wanted, "copied from the mount")
    return f"{len(wanted)} paths"

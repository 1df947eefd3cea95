"""What a spawned daemon finds when it calls fusermount3, or fusermount: a program that mounts nothing.

It asks the kernel's end that spawned the daemon (handover.py), which hands it the device, a socket,
and passes that on to the daemon in the way of the real program: over the socket whose number is in
_FUSE_COMMFD. Unmounting is asked for likewise.

A program of its own, copied to where it is run (directory.py), beside the socket on which it asks.

    stand_in.py [-o OPTIONS] [--] MOUNTPOINT
    stand_in.py -u [-z] [--] MOUNTPOINT

Source: libfuse's doc/fusermount3.1 and util/fusermount.c.
"""

import os
import socket
import sys
from typing import Final

SOCKET: Final = "kernel"  # its name, in our directory
NAME: Final = "fusermount3"
VERSION: Final = "3.18.2"  # of the program that we stand in for
WITH_VALUE: Final = ("-o", "--options", "-c", "--comm-fd")
ALIASES: Final = {"--unmount": "-u", "--lazy": "-z", "--quiet": "-q", "--options": "-o", "--version": "-V"} | {
    "--comm-fd": "-c",
    "--auto-unmount": "-U",
    "--help": "-h",
}
USAGE: Final = f"usage: {NAME} [-o OPTIONS] MOUNTPOINT, or {NAME} -u [-z] MOUNTPOINT"


def main(arguments: list[str]) -> int:
    """Do what the real program would be asked for; return its exit status."""
    options, places = parse(arguments)
    if "-V" in options:
        print(f"{NAME} version: {VERSION} (fusewire's stand-in, which mounts nothing)")
        return 0
    if "-h" in options or len(places) != 1:
        print(USAGE, file=sys.stdout if "-h" in options else sys.stderr)
        return 0 if "-h" in options else 1
    unmounting = "-u" in options
    said, fds = ask(["unmount" if unmounting else "mount", options.get("-o", ""), str("-z" in options), places[0]])
    if said:
        print(f"{NAME}: {said}", file=sys.stderr)
        return 1
    return 0 if unmounting else hand_over(fds, options.get("-c") or os.environ.get("_FUSE_COMMFD", ""))


def parse(arguments: list[str]) -> tuple[dict[str, str], list[str]]:
    """Return options by their short names, and what is no option."""
    options: dict[str, str] = {}
    places: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return options, places + rest
        if not word.startswith("-") or word == "-":
            places.append(word)
        elif word.startswith("--"):
            name, equals, value = word.partition("=")
            set_option(options, name, value if equals else None, rest)
        else:
            take_letters(options, word, rest)
    return options, places


def take_letters(options: dict[str, str], word: str, rest: list[str]) -> None:
    """Take in a word such as '-uz', or '-oro'."""
    for at, letter in enumerate(word[1:], start=1):
        if f"-{letter}" in WITH_VALUE:
            set_option(options, f"-{letter}", word[at + 1 :] or None, rest)
            return
        options[f"-{letter}"] = ""


def set_option(options: dict[str, str], name: str, value: str | None, rest: list[str]) -> None:
    if value is None:
        value = rest.pop(0) if name in WITH_VALUE and rest else ""
    name = ALIASES.get(name, name)
    options[name] = f"{options[name]},{value}" if name == "-o" and name in options else value


def ask(question: list[str]) -> tuple[str, list[int]]:
    """Ask the kernel's end; return its complaint, "" if it has none, and the descriptors that it handed over."""
    question[3] = os.path.abspath(question[3])
    os.chdir(os.path.dirname(os.path.abspath(__file__)))  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        try:
            sock.connect(SOCKET)
            sock.send("\0".join(question).encode(errors="surrogateescape"))
            answer, fds, _, _ = socket.recv_fds(sock, 4096, 1)
        except OSError as error:
            return f"the kernel's end that spawned this daemon is gone ({error.strerror})", []
    return answer.decode(errors="replace").rstrip("\n"), fds


def hand_over(fds: list[int], number: str) -> int:
    """Send the device to whoever called us."""
    if not number.isdigit():
        print(f"{NAME}: _FUSE_COMMFD is not set: there is nobody to hand the device to", file=sys.stderr)
        return 1
    with socket.socket(fileno=int(number)) as sock:
        socket.send_fds(sock, [b"\0"], fds)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

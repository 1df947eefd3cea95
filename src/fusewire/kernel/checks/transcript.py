"""What is always true of a conversation between a kernel and a daemon, whoever the two are.

A transcript is what passed the device, in order: messages that were read, and messages that were
written with what the write returned. So it can be had of the embedded kernel and of the real one.
The order must be the device's own: where several threads of a daemon read and write, what one of
them noted first need not have happened first.

The numbers go on from those of connection.py. Some rules of the wire cannot be told from what passed
the device, since they speak of what was queued and when, or of what a program did:

    26      one read is one message: it is the same as 25 for who sees a read's bytes
    31, 32  what waited while something else was read. But who answers an INTERRUPT with EAGAIN has
            queued it again, so the next that is read is an INTERRUPT (31)
    33      how many forgets were queued. A batch has at least two
    40      who the caller was. What the kernel asks for itself is nobody's
    44, 48-50  what the kernel remembers. With the kernel at hand, accounts.py compares both
    52      how often close was called. FLUSH comes before RELEASE

Source: fs/fuse/dev.c; the protocol's rules in include/uapi/linux/fuse.h.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from fusewire.kernel.checks.conversation import Conversation, Exchange
from fusewire.wire import OPERATIONS, InHeader, OutHeader

__all__ = ["Exchange", "check_transcript"]

SHOWN: Final = 60  # messages, the last ones, with a rule that is broken


def check_transcript(exchanges: Iterable[Exchange], *, interrupts: bool = True) -> None:
    """Raise AssertionError, beginning with the rule's number, if the conversation breaks a rule.

    Args:
        interrupts: whether the kernel has INTERRUPT, and keeps the odd numbers for it; in 2005 it had not.
    """
    conversation, last = Conversation(interrupts), deque[Exchange](maxlen=SHOWN)
    try:
        for exchange in exchanges:
            last.append(exchange)
            conversation.goes_on(exchange)
    except AssertionError as error:
        error.add_note("\n".join(["What passed the device until then:", *map(_shown, last)]))
        raise


def _shown(exchange: Exchange) -> str:
    """One message, so that who looks for the reason sees what it was."""
    if len(exchange.message) < (InHeader.SIZE if exchange.read else OutHeader.SIZE):
        return f"{exchange.message.hex()}, which is no message"
    if exchange.read:
        header = InHeader.unpack_from(exchange.message)
        row = OPERATIONS.get(header.opcode)
        name = str(header.opcode) if row is None else row.name
        rest = exchange.message[InHeader.SIZE :][:48].hex()
        return f"> {header.unique} {name} of {header.nodeid} for {header.pid}: {rest}"
    answer = OutHeader.unpack_from(exchange.message)
    refused = f", refused with {exchange.error}" if exchange.error else ""
    return f"  < {answer.unique} {answer.error}: {exchange.message[OutHeader.SIZE :][:48].hex()}{refused}"

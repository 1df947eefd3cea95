"""Through which steps a call passes, in the words of kernel.txt, and how Linux's stacks show it.

The words stand for those functions of today's Linux that do what the functions of 2005 did (`TODAY`).

`WAYS` is a table: one row a call. A step that is `optional` may or may not be taken on the way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from fusewire.events import Step

__all__ = ["DIED", "PAGE", "PAGE_WAIT", "SEMAPHORE", "SEMAPHORE_WAIT", "TODAY", "WAYS", "Spot"]

DIED: Final = "[killed]"  # no step of kernel.txt
PAGE: Final = "the page's lock"
SEMAPHORE: Final = "inode semaphore"
PAGE_WAIT: Final = ("folio_wait_bit_common", "__folio_lock", "folio_wait_bit", "__lock_page")
SEMAPHORE_WAIT: Final = ("rwsem_down_write_slowpath", "rwsem_down_read_slowpath", "down_write")
FAULT: Final = ("exc_page_fault", "handle_mm_fault", "asm_exc_page_fault")

TODAY: Final = {  # what Linux calls them now
    "request_send": "__fuse_simple_request",
    "do_page_fault": "exc_page_fault or handle_mm_fault",
    "fuse_readpage": "fuse_readahead or fuse_read_folio",
    "get_user_pages": "iov_iter_get_pages2",
}


class Spot(NamedTuple):
    """One step on a way."""

    step: str
    name: str = ""
    functions: tuple[str, ...] = ()  # of Linux: one of them in a stack shows that the step has been taken
    optional: bool = False


SEND: Final = (
    Spot(Step.CALL, "request_send", ("__fuse_simple_request", "fuse_simple_request")),
    Spot(Step.QUEUE),
    Spot(Step.WAKE, "fc->waitq", optional=True),
    Spot(Step.CALL, "request_wait_answer", ("request_wait_answer",)),
    Spot(Step.SLEEP, "req->waitq", optional=True),
)

WAYS: Final[Mapping[str, tuple[Spot, ...]]] = {
    "sys_unlink": (
        Spot(Step.CALL, "sys_unlink"),
        Spot(Step.ACQUIRE, SEMAPHORE),
        Spot(Step.SLEEP, SEMAPHORE, optional=True),
        Spot(Step.ACQUIRED, optional=True),
        Spot(Step.CALL, "fuse_unlink", ("fuse_unlink",)),
        *SEND,
    ),
    "sys_read": (
        Spot(Step.CALL, "sys_read"),
        Spot(Step.CALL, "fuse_dev_read", ("fuse_dev_read", "fuse_dev_do_read")),
        Spot(Step.SLEEP, "fc->waitq", optional=True),
        Spot(Step.TAKE_INTERRUPT, optional=True),
        Spot(Step.TAKE_FORGET, optional=True),
        Spot(Step.TAKE),
        Spot(Step.COPY_OUT),
        Spot(Step.READ),
    ),
    "sys_write": (
        Spot(Step.CALL, "sys_write"),
        Spot(Step.CALL, "fuse_dev_write", ("fuse_dev_write", "fuse_dev_do_write")),
        Spot(Step.LOOK_UP),
        Spot(Step.MATCH),
        Spot(Step.FAULT, "", ("__get_user_pages",), optional=True),
        Spot(Step.CALL, "do_page_fault", FAULT, optional=True),
        Spot(Step.FIND_PAGE, optional=True),
        Spot(Step.LOCK_PAGE, "", PAGE_WAIT, optional=True),
        Spot(Step.SLEEP, PAGE, optional=True),
        Spot(Step.COPY_IN),
        Spot(Step.WAKE, "req->waitq", optional=True),
    ),
    "do_page_fault": (
        Spot(Step.TOUCH, "addr", FAULT),
        Spot(Step.CALL, "do_page_fault", FAULT),
        Spot(Step.FIND_PAGE),
        Spot(Step.LOCK_PAGE),
        Spot(Step.CALL, "fuse_readpage", ("fuse_readahead", "fuse_read_folio")),
        Spot(Step.QUEUE),
        Spot(Step.WAKE, "fc->waitq", optional=True),
        Spot(Step.RETURN, "fuse_readpage"),  # Linux reads ahead: it waits for the page, not for the request
        Spot(Step.SLEEP, PAGE, optional=True),
    ),
}

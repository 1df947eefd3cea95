"""Every sentence of kernel.txt, and of its diagrams every step: where it lives, what tests it, what shows it.

kernel.txt (libfuse, doc/kernel.txt, March 2005) is the document that fusewire starts from. `docs/seed.md` is made from
this table; a test checks that the code and the tests named here exist, that the commands do, and that no step of the
diagrams is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

UNLINK: Final = "tests/walkthrough/test_unlink.py::"
SIMPLE: Final = "tests/walkthrough/test_simple_deadlock.py::"
TRICKY: Final = "tests/kernel/test_tricky_deadlock.py::"
CONNECTION: Final = "tests/kernel/test_connection.py::"
DEVICE: Final = "tests/kernel/test_device.py::"
COPYING: Final = "tests/kernel/test_copying.py::"
SEED: Final = "tests/explain/test_seed.py::"
RUNS_AS_DRAWN: Final = UNLINK + "test_unlink_runs_as_kernel_txt_draws_it"
PRINTED: Final = SEED + "test_a_diagram_is_printed_line_by_line_as_in_kernel_txt"
DEADLOCK: Final = TRICKY + "test_both_threads_sleep_and_each_waits_for_the_other"
EXPLAIN: Final = "fusewire explain unlink"
EXPLAIN_SIMPLE: Final = "fusewire explain simple-deadlock"
EXPLAIN_TRICKY: Final = "fusewire explain tricky-deadlock"
EXPLAIN_COPY: Final = "fusewire explain locked-copy"


@dataclass(frozen=True)
class Row:
    """One sentence or step. `code` is a module and a name in it, below `fusewire`."""

    said: str
    code: str
    test: str
    shown: str = ""  # by which command; by default, by running the test

    @property
    def command(self) -> str:
        return self.shown or f"pytest {self.test}"


def steps(code: str, test: str, shown: str, *said: str) -> list[Row]:
    """Steps that one function takes."""
    return [Row(step, code, test, shown) for step in said]


SECTIONS: Final[dict[str, list[Row]]] = {
    "How a request travels": [
        Row(
            "The following diagram shows how a filesystem operation (in this example unlink) is performed in FUSE.",
            "explain.catalogue:explain",
            PRINTED,
            EXPLAIN,
        ),
        Row(
            "NOTE: everything in this description is greatly simplified",
            "diagrams.columns:left_out",
            SEED + "test_everything_is_drawn_in_its_place_if_asked_for",
            "fusewire explain unlink --all",
        ),
    ],
    "The diagram: a reader waits": [
        *steps("embedded.task_daemon:read_message", RUNS_AS_DRAWN, EXPLAIN, ">sys_read()", "<sys_read()"),
        *steps("kernel.device:Device.read", RUNS_AS_DRAWN, EXPLAIN, ">fuse_dev_read()", "<fuse_dev_read()"),
        *steps("kernel.device_reading:_request_wait", RUNS_AS_DRAWN, EXPLAIN, ">request_wait()", "<request_wait()"),
        Row(
            "[sleep on fc->waitq]",
            "kernel.waitq:WaitQueue.sleep",
            DEVICE + "test_a_device_that_does_not_block_says_so_instead_of_sleeping",
            EXPLAIN,
        ),
    ],
    "The diagram: a process asks": [
        *steps("kernel.syscalls.names:Names.unlink", RUNS_AS_DRAWN, EXPLAIN, ">sys_unlink()", "<sys_unlink()"),
        *steps("kernel.operations.names:fuse_unlink", RUNS_AS_DRAWN, EXPLAIN, ">fuse_unlink()", "<fuse_unlink()"),
        Row(
            "[get request from fc->unused_list]",
            "kernel.connection:Connection.get",
            CONNECTION + "test_in_2005_an_eleventh_request_waits_for_one_of_ten",
            EXPLAIN,
        ),
        *steps(
            "kernel.connection:Connection.send",
            CONNECTION + "test_an_answered_request_returns_its_reply",
            EXPLAIN,
            ">request_send()",
            "<request_send()",
        ),
        Row(
            "[queue req on fc->pending]",
            "kernel.connection:Connection.send",
            CONNECTION + "test_requests_are_read_in_the_order_sent_and_answered_in_any",
            EXPLAIN,
        ),
        *steps(
            "kernel.waitq:WaitQueue.wake",
            UNLINK + "test_a_wake_up_is_for_one_reader",
            EXPLAIN,
            "[wake up fc->waitq]",
            "[woken up]",
        ),
        *steps(
            "kernel.waiting:request_wait_answer",
            UNLINK + "test_every_run_ends_well",
            EXPLAIN,
            ">request_wait_answer()",
            "[sleep on req->waitq]",
            "<request_wait_answer()",
        ),
        Row(
            "[add request to fc->unused_list]",
            "kernel.connection:Connection.drop",
            SIMPLE + "test_in_2005_the_killed_ones_request_stays_until_its_reply_and_then_goes_back_to_the_pool",
            EXPLAIN,
        ),
    ],
    "The diagram: the daemon reads, performs, writes": [
        *steps(
            "kernel.device:Device.read",
            CONNECTION + "test_a_signal_while_the_daemon_reads_is_told_to_it_once",
            EXPLAIN,
            "[remove req from fc->pending]",
            "[copy req to read buffer]",
            "[add req to fc->processing]",
        ),
        Row("[perform unlink]", "daemon.session:Call.run", RUNS_AS_DRAWN, EXPLAIN),
        *steps("embedded.task_daemon:write_reply", RUNS_AS_DRAWN, EXPLAIN, ">sys_write()", "<sys_write()"),
        *steps(
            "kernel.device:Device.write",
            DEVICE + "test_nobody_waits_for_an_unknown_unique",
            EXPLAIN,
            ">fuse_dev_write()",
            "[look up req in fc->processing]",
            "[remove from fc->processing]",
            "[copy write buffer to req]",
            "<fuse_dev_write()",
        ),
        Row("[wake up req->waitq]", "kernel.connection:Connection.finish", RUNS_AS_DRAWN, EXPLAIN),
    ],
    "Scenario 1 - Simple deadlock": [
        Row(
            "There are a couple of ways in which to deadlock a FUSE filesystem.",
            "explore.stuck:ending",
            SIMPLE + "test_it_deadlocks_whatever_the_order",
            EXPLAIN_SIMPLE,
        ),
        Row(
            "Since we are talking about unprivileged userspace programs, something must be done about these.",
            "kernel.connection:Connection.abort",
            SIMPLE + "test_a_rescue_frees_all_tasks_from_every_reachable_state",
            EXPLAIN_SIMPLE,
        ),
        Row('>sys_unlink("/mnt/fuse/file")', "explore.scenes.removing:RemovesItself", PRINTED, EXPLAIN_SIMPLE),
        *steps(
            "kernel.locks:Semaphore.acquire",
            PRINTED,
            EXPLAIN_SIMPLE,
            '[acquire inode semaphore for "file"]',
            "*DEADLOCK*",
        ),
        Row(
            "The solution for this is to allow requests to be interrupted while they are in userspace:",
            "kernel.waiting:request_wait_answer",
            CONNECTION + "test_killed_while_processing_it_is_given_up_in_2005",
            EXPLAIN_SIMPLE,
        ),
        Row("[interrupted by signal]", "kernel.tasks:Task.interrupt", PRINTED, EXPLAIN_SIMPLE),
        *steps(
            "kernel.locks:Semaphore.release", PRINTED, EXPLAIN_SIMPLE, "[release semaphore]", "[semaphore acquired]"
        ),
        Row(
            "If the filesystem daemon was single threaded, this will stop here, since there's no other thread to "
            "dequeue and execute the request.",
            "kernel.request:Request._holders",
            SIMPLE + "test_with_one_thread_the_cure_of_2005_stops_where_nobody_is_left_to_read",
            EXPLAIN_SIMPLE,
        ),
        Row(
            "In this case the solution is to kill the FUSE daemon as well.",
            "kernel.device:Device.close",
            SEED + "test_in_2005_the_cure_is_to_kill_as_long_as_any_thread_remains",
            EXPLAIN_SIMPLE,
        ),
        Row(
            "If there are multiple serving threads, you just have to kill them as long as any remain.",
            "explain.seed.simple_deadlock:kill_one_by_one",
            SEED + "test_each_thread_makes_the_same_mistake_before_it_is_killed",
            f"{EXPLAIN_SIMPLE} --threads 3",
        ),
        Row(
            "Moral: a filesystem which deadlocks, can soon find itself dead.",
            "explain.director:Director.end",
            SIMPLE + "test_in_2005_the_killed_ones_request_stays_until_its_reply_and_then_goes_back_to_the_pool",
            EXPLAIN_SIMPLE,
        ),
    ],
    "Scenario 2 - Tricky deadlock": [
        Row(
            "This one needs a carefully crafted filesystem.",
            "explore.scenes.tricky_deadlock:Kamikaze",
            DEADLOCK,
            EXPLAIN_TRICKY,
        ),
        Row(
            "It's a variation on the above, only the call back to the filesystem is not explicit, but is caused by a "
            "pagefault.",
            "kernel.operations.page_faults:do_page_fault",
            DEADLOCK,
            EXPLAIN_TRICKY,
        ),
        Row('[fd = open("/mnt/fuse/file")]', "kernel.syscalls.files:Files.open", PRINTED, EXPLAIN_TRICKY),
        Row(
            "[request served normally]",
            "explore.scenes.tricky_deadlock:serve",
            TRICKY + "test_a_reply_from_a_page_that_is_there_is_no_deadlock",
            EXPLAIN_TRICKY,
        ),
        Row(
            "[mmap fd to 'addr']",
            "kernel.syscalls.memory:Memory.mmap",
            "tests/kernel/test_address_space.py::test_a_page_is_read_when_it_is_first_touched",
            EXPLAIN_TRICKY,
        ),
        *steps(
            "kernel.syscalls.files:Files.close",
            TRICKY + "test_the_mapping_outlives_the_descriptor_whose_end_came_with_flush",
            EXPLAIN_TRICKY,
            "[close fd]",
            "[FLUSH triggers 'magic' flag]",
        ),
        Row("[read a byte from addr]", "kernel.syscalls.memory:Memory.load", PRINTED, EXPLAIN_TRICKY),
        *steps(
            "kernel.operations.page_faults:do_page_fault",
            PRINTED,
            EXPLAIN_TRICKY,
            ">do_page_fault()",
            "[find or create page]",
        ),
        Row("[lock page]", "kernel.vfs.page_cache:Page.lock", PRINTED, EXPLAIN_TRICKY),
        *steps(
            "kernel.operations.reading:fill_page", PRINTED, EXPLAIN_TRICKY, ">fuse_readpage()", "[queue READ request]"
        ),
        Row(
            "[read request to buffer]",
            "kernel.device:Device.read",
            COPYING + "test_a_message_is_copied_to_the_readers_memory",
            EXPLAIN_TRICKY,
        ),
        *steps(
            "kernel.operations.page_faults:MemoryRange",
            PRINTED,
            EXPLAIN_TRICKY,
            "[create reply header before addr]",
            ">sys_write(addr - headerlength)",
        ),
        Row("* DEADLOCK *", "kernel.vfs.page_cache:Page.lock", DEADLOCK, EXPLAIN_TRICKY),
        Row(
            "Solution is again to let the the request be interrupted (not elaborated further).",
            "kernel.waiting:request_wait_answer",
            SEED + "test_the_tricky_deadlock_ends_with_both_threads_in_2005",
            EXPLAIN_TRICKY,
        ),
    ],
    "The copy": [
        Row(
            "An additional problem is that while the write buffer is being copied to the request, the request must not "
            "be interrupted.",
            "kernel.copying:Copy",
            COPYING + "test_in_2005_a_kill_during_the_copy_of_a_page_is_delayed_until_it_is_unlocked",
            EXPLAIN_COPY,
        ),
        Row(
            "This is because the destination address of the copy may not be valid after the request is interrupted.",
            "kernel.sender_memory:SenderMemory",
            COPYING + "test_a_late_copy_to_freed_memory_is_seen",
            EXPLAIN_COPY,
        ),
        Row(
            "This is solved with doing the copy atomically, and allowing interruption while the page(s) belonging to "
            "the write buffer are faulted with get_user_pages().",
            "kernel.user_memory:UserBuffer.fault_in",
            COPYING + "test_in_2005_a_kill_while_the_writers_page_is_fetched_is_the_cure",
            EXPLAIN_COPY,
        ),
        Row(
            "The 'req->locked' flag indicates when the copy is taking place, and interruption is delayed until this "
            "flag is unset.",
            "kernel.request:Request.locked",
            SEED + "test_the_copy_is_not_interrupted_while_it_is_locked",
            EXPLAIN_COPY,
        ),
    ],
}

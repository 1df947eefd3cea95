"""Explanations: what is printed is what kernel.txt draws, and comes from a run."""

from __future__ import annotations

import pytest

from fusewire.diagrams.explain import EXPLANATIONS, explain
from fusewire.kernel.connection import Connection

UNLINK = """
  |  "rm /mnt/fuse/file"                 |  FUSE filesystem daemon
  |                                      |
  |                                      |  >sys_read()
  |                                      |  >fuse_dev_read()
  |                                      |  >request_wait()
  |                                      |  [sleep on fc->waitq]
  |                                      |
  |  >sys_unlink()                       |
  |  >fuse_unlink()                      |
  |  [get request from                   |
  |  fc->unused_list]                    |
  |  >request_send()                     |
  |  [queue req on fc->pending]          |
  |  [wake up fc->waitq]                 |  [woken up]
  |  >request_wait_answer()              |
  |  [sleep on req->waitq]               |
  |                                      |  <request_wait()
  |                                      |  [remove req from fc->pending]
  |                                      |  [copy req to read buffer]
  |                                      |  [add req to fc->processing]
  |                                      |  <fuse_dev_read()
  |                                      |  <sys_read()
  |                                      |
  |                                      |  [perform unlink]
  |                                      |
  |                                      |  >sys_write()
  |                                      |  >fuse_dev_write()
  |                                      |  [look up req in fc->processing]
  |                                      |  [remove from fc->processing]
  |                                      |  [copy write buffer to req]
  |  [woken up]                          |  [wake up req->waitq]
  |                                      |  <fuse_dev_write()
  |                                      |  <sys_write()
  |  <request_wait_answer()              |
  |  <request_send()                     |
  |  [add request to                     |
  |  fc->unused_list]                    |
  |  <fuse_unlink()                      |
  |  <sys_unlink()                       |
"""


def test_unlink_is_drawn_line_by_line_as_in_kernel_txt() -> None:
    drawing, below = explain("unlink").split("\n\n")
    assert drawing.splitlines() == UNLINK.strip("\n").splitlines()
    assert "INIT" in below
    assert "Left out" in below


def test_everything_draws_what_was_left_out() -> None:
    text = explain("unlink", everything=True)
    assert "[release semaphore]" in text
    assert "fc->outstanding_sem" in text
    assert "Left out" not in text
    leaner = [line for line in UNLINK.strip("\n").splitlines() if line not in text.splitlines()]
    assert leaner == []


def test_what_is_drawn_is_what_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel's end that does not give its requests back is not drawn as if it did."""
    monkeypatch.setattr(Connection, "drop", lambda connection, request: None)
    drawing, _ = explain("unlink").split("\n\n")
    without = [line for line in UNLINK.strip("\n").splitlines() if "[add request to" not in line]
    assert drawing.splitlines() == [*without[:-3], *without[-2:]]  # nor its second line


@pytest.mark.parametrize("name", EXPLANATIONS)
@pytest.mark.parametrize("everything", [False, True])
def test_every_explanation_fits_a_terminal(name: str, everything: bool) -> None:
    lines = explain(name, everything).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("  |  ")
    assert len(EXPLANATIONS[name].summary) <= 60


def test_init_is_answered_before_anybody_may_pass() -> None:
    assert "[wake up fc->outstanding_sem]" in explain("init")


def test_what_cannot_be_explained_is_answered_by_what_can() -> None:
    with pytest.raises(ValueError, match=r"no explanation of 'life'\. There is one of: unlink, init\."):
        explain("life")

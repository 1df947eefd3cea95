"""The fuzzer runs, covers every row, and reports what it finds."""

from __future__ import annotations

import importlib.util
import itertools
import random
import struct
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import pytest

from fusewire.errors import ProtocolError
from fusewire.wire import NOTIFICATIONS, OPERATIONS, Notification, Operation, decode_request

PROGRAM = Path(__file__).resolve().parents[2] / "fuzz" / "wire.py"


@pytest.fixture
def fuzzer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_wire", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_short_run_finds_nothing(fuzzer: ModuleType) -> None:
    assert fuzzer.fuzz(seed=1, seconds=0, limit=3000) == 3000


def test_every_row_is_tried_and_both_outcomes_are_common(fuzzer: ModuleType) -> None:
    tried = list(itertools.islice(fuzzer.rounds(random.Random(1)), 3000))
    assert {row.name for _, _, row in tried} == names(OPERATIONS) | names(NOTIFICATIONS)
    requests = [message for check, message, _ in tried if check is fuzzer.check_request]
    refused = sum(is_refused(message) for message in requests)
    assert len(requests) / 5 < refused < len(requests) * 4 / 5


def names(rows: Mapping[int, Operation] | Mapping[int, Notification]) -> set[str]:
    return {row.name for row in rows.values()}


def is_refused(message: bytes) -> bool:
    try:
        decode_request(message, setxattr_ext=True)
    except ProtocolError:
        return True
    return False


def test_another_exception_is_reported_with_its_message(
    fuzzer: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def faulty(*arguments: object, **options: object) -> NoReturn:
        raise struct.error("planted")

    monkeypatch.setattr(fuzzer, "decode_request", faulty)
    with pytest.raises(SystemExit, match=r"check_request of a changed \w+ failed after 0 messages: [0-9a-f]{8}"):
        fuzzer.fuzz(seed=1, seconds=0, limit=100)
    assert "struct.error: planted" in capsys.readouterr().err

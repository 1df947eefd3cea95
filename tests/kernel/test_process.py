"""A process is made of all families of system calls."""

from __future__ import annotations

from fusewire.kernel.syscalls.process import Process


def test_no_family_of_system_calls_has_a_name_that_another_has() -> None:
    """One would take the other's place, and no checker would say so."""
    homes: dict[str, type] = {}
    for family in Process.__mro__[:-1]:
        for name in vars(family):
            if not name.startswith("__"):
                assert homes.setdefault(name, family) is family, f"{homes[name]} and {family} have {name}"
    assert len(homes) > 100

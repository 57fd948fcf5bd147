"""The memory that a run may use, and how it is shared."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orders_lakehouse.machine import memory
from orders_lakehouse.machine.memory import Shares, share


@pytest.mark.usefixtures("clean_settings")
def test_half_of_the_machine_is_what_a_run_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAKEHOUSE_MEMORY_GB", raising=False)
    assert memory.memory_limit() == memory.machine_memory() // 2


def test_container_may_have_less_than_its_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "_LIMITS", (limit, tmp_path / "is not there"))
    of_machine = memory.machine_memory()
    for said, expected in (("max", of_machine), ("2000000000", 2_000_000_000), (str(2**63), of_machine)):
        limit.write_text(f"{said}\n")
        assert memory.machine_memory() == expected


@pytest.mark.usefixtures("clean_settings")
class TestShares:
    @given(wanted=st.lists(st.integers(0, 6), max_size=12))
    def test_no_more_is_lent_than_there_is_and_everyone_gets_some(self, wanted: list[int]) -> None:
        shares, lock = Shares(4), threading.Lock()
        held, most = 0, 0

        def work(number: int) -> None:
            nonlocal held, most
            taken = max(1, min(4, number))
            with shares.reserved(number * share()):
                with lock:
                    held += taken
                    most = max(most, held)
                time.sleep(0.0005)
                with lock:
                    held -= taken

        with ThreadPoolExecutor(6) as workers:
            list(workers.map(work, wanted))
        assert held == 0
        assert most <= 4

    def test_request_for_all_memory_waits_and_is_not_overtaken(self) -> None:
        shares, order = Shares(4), []
        waits, ended = threading.Event(), threading.Event()

        def work(name: str, number: int) -> None:
            with shares.reserved(number * share()):
                order.append(name)

        with shares.reserved(share()):
            large = threading.Thread(target=work, args=("large", 9))
            large.start()
            while not shares._waiting:
                waits.wait(0.001)
            small = threading.Thread(target=work, args=("small", 1))
            small.start()
            ended.wait(0.02)
            assert order == []
        large.join(10)
        small.join(10)
        assert order == ["large", "small"]

    def test_failed_user_returns_its_share(self) -> None:
        shares = Shares(1)
        with pytest.raises(ValueError, match="failed"), shares.reserved(1):
            raise ValueError("failed")
        with shares.reserved(1):
            pass

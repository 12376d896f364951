"""Compaction of a large day: bounded at once, and never the same rows over and over."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everloop.traffic.compaction import merges
from everloop.traffic.delta import DataFile

from .world import START, World, batch, hours, row

MB = 1024 * 1024
DAY = date(2026, 3, 1)


def file(number: int, *, mb: float = 1, rows: int = 1_000, day: date = DAY) -> DataFile:
    return DataFile(
        path=f"f{number}", day=day, rows=rows, size_bytes=int(mb * MB), min_us=number, max_us=number, added_ms=number
    )


FILES = st.lists(st.tuples(st.floats(0.01, 80), st.integers(1, 900_000), st.integers(1, 3)), max_size=80)


@given(FILES)
def test_what_is_read_at_once_is_bounded_and_no_file_is_read_twice(sizes: list[tuple[float, int, int]]) -> None:
    files = [file(n, mb=mb, rows=rows, day=date(2026, 3, day)) for n, (mb, rows, day) in enumerate(sizes)]
    groups = merges(files, older=2, newest=2)
    taken = [one.path for group in groups for one in group]
    assert len(taken) == len(set(taken))
    for group in groups:
        assert len(group) > 1
        assert len({one.day for one in group}) == 1
        assert sum(one.size_bytes for one in group) <= 64 * MB
        assert sum(one.rows for one in group) <= 1_000_000
        assert [one.min_us for one in group] == sorted(one.min_us or 0 for one in group)


def test_a_day_of_fifty_million_rows_is_merged_in_pieces_and_then_left_alone() -> None:
    files = [file(n, mb=5, rows=25_000) for n in range(2_000)]
    rewritten = 0
    for _ in range(10):
        groups = merges(files, older=4, newest=16)
        if not groups:
            break
        rewritten += sum(len(group) for group in groups)
        gone = {one.path for group in groups for one in group}
        made = [
            replace(group[0], path=f"{group[0].path}+", rows=sum(one.rows for one in group),
                    size_bytes=sum(one.size_bytes for one in group))
            for group in groups
        ]  # fmt: skip
        files = [one for one in files if one.path not in gone] + made
    assert merges(files, older=4, newest=16) == []
    assert rewritten <= 2_000 * 1.1
    assert len(files) < 200


def test_the_mover_merges_a_few_at_a_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    import everloop.traffic.compaction as module
    from everloop.traffic.delta import DeltaLog

    monkeypatch.setattr(module, "_MERGED_ROWS", 30)
    read: list[int] = []
    scan = DeltaLog.scan

    def counted(log: DeltaLog, files: Any) -> Any:
        read.append(sum(one.rows for one in files))
        return scan(log, files)

    with world.spool() as spool, world.mover() as mover:
        for n in range(20):
            spool.append_predictions(batch([row(f"p{n}-{i}", at=START + hours(n / 10)) for i in range(10)]))
            mover.move_once()
        monkeypatch.setattr(DeltaLog, "scan", counted)
        assert mover.compact() == 20
    assert max(read) == 30
    monkeypatch.setattr(DeltaLog, "scan", scan)
    assert len(world.ids()) == 200
    assert _sorted_by_time(world.log.predictions().collect()["event_time"].to_list())


def _sorted_by_time(times: Iterable[Any]) -> bool:
    found = list(times)
    return found == sorted(found)

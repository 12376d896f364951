"""The tables are Delta tables, whoever reads them, through new columns, compaction and checkpoints."""

from datetime import timedelta

import polars as pl
from deltalake import DeltaTable
from polars.testing import assert_frame_equal

from everloop.traffic import Moved

from .world import MODEL, START, World, batch, hours, row, said


def foreign(world: World, table: str = "predictions") -> pl.DataFrame:
    """The table as `deltalake` reads it."""
    return pl.DataFrame(DeltaTable(world.traffic / MODEL / table).scan())


def test_another_reader_sees_the_same_rows(world: World) -> None:
    with world.spool() as spool, world.mover() as mover:
        for day in range(3):
            for turn in range(3):
                at = START + timedelta(days=day, hours=turn)
                spool.append_predictions(batch([row(f"{day}-{turn}-{i}", at=at) for i in range(4)]))
                spool.append_outcomes(MODEL, [said(f"{day}-{turn}-0", True, at)])
                assert mover.move_once() == Moved(predictions=4, outcomes=1)
        mover.compact()
    ours = world.log.predictions().collect()
    theirs = foreign(world).drop("event_date").select(ours.columns).sort("event_time", "prediction_id")
    assert_frame_equal(theirs.cast(ours.schema), ours)
    assert foreign(world, "outcomes").height == 9
    assert len(DeltaTable(world.traffic / MODEL / "predictions").file_uris()) == 3


def test_compaction_changes_no_row_and_readers_follow(world: World) -> None:
    log = world.log
    with world.spool() as spool, world.mover() as mover:
        for turn in range(5):
            spool.append_predictions(batch([row(f"{turn}-{i}", at=START + hours(turn)) for i in range(3)]))
            mover.move_once()
        before = log.predictions().collect()
        assert mover.compact() == 5
        assert mover.compact() == 0
    assert log.predictions().collect().equals(before)
    assert log.predictions(START + hours(1), START + hours(3)).collect().height == 6


def test_new_inputs_join_and_old_rows_have_none_of_them(world: World) -> None:
    log = world.log
    with world.spool() as spool, world.mover() as mover:
        spool.append_predictions(batch([row("a")]))
        mover.move_once()
        spool.append_predictions(
            batch([row("b")], inputs=pl.DataFrame({"amount": [7], "channel": ["web"]}), feature_names=("night",))
        )
        spool.append_predictions(batch([row("c")], inputs=pl.DataFrame({"amount": ["much"], "country": [None]})))
        mover.move_once()
        spool.append_predictions(batch([row("d")], features=None, inputs=pl.DataFrame({"amount": ["more"]})))
        mover.move_once()
    frame = log.predictions().collect()
    assert frame["in_channel"].to_list() == [None, "web", None, None]
    assert frame["f_night"].null_count() == 3
    assert frame["in_country"].to_list() == ["AT", None, None, None]
    assert frame.schema["in_amount"] == pl.Float64
    assert frame["in_amount__string"].to_list()[3] == "more", "another type has a column of its own"
    assert foreign(world).height == 4


def test_categories_dates_and_naive_times_are_kept_as_the_log_keeps_them(world: World) -> None:
    inputs = pl.DataFrame(
        {
            "card": pl.Series(["gold"], dtype=pl.Categorical),
            "kind": pl.Series(["x"], dtype=pl.Enum(["x", "y"])),
            "paid": [START.replace(tzinfo=None)],
            "day": [START.date()],
            "small": pl.Series([3], dtype=pl.Int8),
            "ok": [True],
        }
    )
    with world.spool() as spool:
        for i in range(3):
            spool.append_predictions(batch([row(f"a{i}")], inputs=inputs))
    world.move()
    found = world.log.predictions().select(pl.col("^in_.*$")).collect()
    assert found.row(2) == ("gold", "x", START, START.date(), 3, True)


def test_many_commits_checkpoints_and_a_mover_that_comes_new(world: World) -> None:
    log = world.log
    with world.spool() as spool:
        with world.mover() as mover:
            for turn in range(103):
                spool.append_outcomes(MODEL, [said(f"p{turn}", True, START + timedelta(minutes=turn))])
                mover.move_once()
                if turn == 50:
                    assert log.count() == (0, 51)
        spool.append_outcomes(MODEL, [said("last", True, START)])
        with world.mover() as mover:
            assert mover.move_once() == Moved(outcomes=1)
    assert (world.traffic / MODEL / "outcomes" / "_delta_log" / "_last_checkpoint").exists()
    assert log.count() == (0, 104)
    assert log.outcomes().collect().height == 104
    assert foreign(world, "outcomes").height == 104

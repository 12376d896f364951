"""When a schedule is due: what may be written, whole years with both clock changes, spans that do not drift."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.project import check_schedule, due_times, last_due, next_due, parse_model

NOW = datetime(2026, 3, 4, 12, 30, tzinfo=UTC)  # a Wednesday
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "America/Santiago", "Australia/Lord_Howe")
"""North, south with clocks that are turned at midnight, and south by half an hour."""
BEGINS = st.integers(0, 4 * 365 * 24 * 60).map(lambda minutes: datetime(2024, 1, 1, tzinfo=UTC) + minutes * MINUTE)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "due"),
    [
        ("0 2 * * SUN", "2026-03-08T02:00"),
        ("weekly", "2026-03-08T02:00"),
        ("hourly", "2026-03-04T13:00"),
        ("daily", "2026-03-05T02:00"),
        ("monthly", "2026-04-01T02:00"),
        ("every 6h", "2026-03-04T18:00"),
        ("every 1d 12h", "2026-03-06T00:00"),
        ("every 1w", "2026-03-09T00:00"),  # a Monday
        ("rate(1 day)", "2026-03-05T00:00"),
        ("rate(6 hours)", "2026-03-04T18:00"),
        ("rate(1 minute)", "2026-03-04T12:31"),
        ("0 2 L * *", "2026-03-31T02:00"),
        ("0 2 LW * *", "2026-03-31T02:00"),
        ("0 2 * * 5L", "2026-03-27T02:00"),
        ("0 2 1 * MON", "2026-03-09T02:00"),  # cron's old rule: either of the two
        ("0 0 29 2 *", "2028-02-29T00:00"),
    ],
)
def test_when_a_schedule_is_due(schedule: str, due: str) -> None:
    assert next_due(check_schedule(schedule), after=NOW) == moment(due)


@pytest.mark.parametrize(
    ("fields", "due"),
    [
        ("0 2 ? * SUN *", ["03-08T02:00", "03-15T02:00"]),
        ("0 2 ? * 1 *", ["03-08T02:00", "03-15T02:00"]),
        ("0 2 ? * 7 *", ["03-07T02:00", "03-14T02:00"]),
        ("0 9 ? * 2-6 *", ["03-05T09:00", "03-06T09:00", "03-09T09:00"]),
        ("0 9 ? * MON-FRI *", ["03-05T09:00", "03-06T09:00", "03-09T09:00"]),
        ("0 9 ? * fri-mon *", ["03-06T09:00", "03-07T09:00", "03-08T09:00", "03-09T09:00", "03-13T09:00"]),
        ("0 9 ? * 1,4,SAT *", ["03-07T09:00", "03-08T09:00", "03-11T09:00"]),
        ("0 9 ? * 1-7/3 *", ["03-07T09:00", "03-08T09:00", "03-11T09:00"]),
        ("0 9 ? * 6/1 *", ["03-06T09:00", "03-07T09:00", "03-13T09:00"]),
        ("0 9 ? * 6L *", ["03-27T09:00", "04-24T09:00"]),
        ("0 9 ? * FRIL *", ["03-27T09:00", "04-24T09:00"]),
        ("0 9 ? * L *", ["03-07T09:00", "03-14T09:00"]),
        ("0 9 ? * 3#2 *", ["03-10T09:00", "04-14T09:00"]),
        ("0 9 ? * TUE#2 *", ["03-10T09:00", "04-14T09:00"]),
        ("0 9 ? * * *", ["03-05T09:00", "03-06T09:00"]),
        ("0 9 * * ? *", ["03-05T09:00", "03-06T09:00"]),
        ("0 9 1,15 * ? *", ["03-15T09:00", "04-01T09:00"]),
        ("0 9 L * ? *", ["03-31T09:00", "04-30T09:00"]),
        ("0 9 LW * ? *", ["03-31T09:00", "04-30T09:00", "05-29T09:00"]),
        ("0 9 1 JAN,apr/3 ? *", ["04-01T09:00", "07-01T09:00", "10-01T09:00"]),
        ("0/20 8-18/5 * * ? *", ["03-04T13:00", "03-04T13:20", "03-04T13:40", "03-04T18:00"]),
    ],
)
def test_eventbridges_six_fields_mean_what_they_mean_there(fields: str, due: list[str]) -> None:
    found = due_times(check_schedule(f"cron({fields})"), after=NOW)
    assert list(itertools.islice(found, len(due))) == [moment(f"2026-{text}") for text in due]


@settings(deadline=None)
@given(days=st.sets(st.integers(1, 7), min_size=1))
def test_eventbridges_weekdays_count_from_sunday(days: set[int]) -> None:
    schedule = check_schedule(f"cron(0 9 ? * {_listed(days)} *)")
    week = due_times_between(schedule, "UTC", NOW, NOW + 7 * DAY)
    assert {due.isoweekday() % 7 + 1 for due in week} == days
    assert len(week) == len(days)


def test_nothing_is_due_where_something_else_calls() -> None:
    assert next_due(check_schedule("external"), after=NOW) is None
    assert list(due_times("external", after=NOW)) == []
    assert last_due("external", after=NOW, until=NOW + DAY) is None


def test_a_schedule_is_read_in_the_models_time_zone() -> None:
    assert next_due("daily", after=NOW, timezone="Europe/Amsterdam") == moment("2026-03-05T01:00")


WRONG = {
    "sometimes": "'sometimes' is not a schedule (five cron fields",
    "Daily": "did you mean 'daily'?",
    "@weekly": "did you mean 'weekly'?",
    "0 2 * *": "is not a schedule (five cron fields",
    "61 2 * * *": "the minute '61' of '61 2 * * *' is not allowed (0 to 59",
    "0 25 * * *": "the hour '25' of '0 25 * * *' is not allowed (0 to 23",
    "0 2 32 * *": "the day of the month '32'",
    "0 2 * 13 *": "the month '13'",
    "0 2 * * MOON": "the weekday 'MOON'",
    "0 2 */0 * *": "the day of the month '*/0'",
    "0 2 ? * SUN": "the day of the month '?'",
    "0 2 15W * *": "the day of the month '15W'",
    "0 0 31 2 *": "'0 0 31 2 *' never comes due: there is no such day in these months",
    "0 0 31 4,6,9,11 *": "never comes due",
    "0 0 30 2 *": "never comes due",
    "0 0 2 * * SUN": "has six fields and cron has five; EventBridge's six are written cron(0 2 ? * SUN *)",
    "every 0h": "'every 0h' is not a schedule: a span is a minute at least",
    "every 1s": "a span is a minute at least",
    "every 100y": "ten years at most",
    "every": "would be every 6h",
    "every day": "would be every 6h or every 1d 12h: day is not a duration",
    "cron(0 2 * * SUN)": "EventBridge's cron has six fields (minute, hour, day of the month, month, weekday, year)",
    "cron(0 2 * * SUN *)": "of day of the month and weekday one is '?', as EventBridge asks",
    "cron(0 2 ? * ? *)": "one is '?'",
    "cron(0 2 ? * SUN 2026)": "the year of 'cron(0 2 ? * SUN 2026)' must be '*', not '2026'",
    "cron(0 2 ? * 0 *)": "the weekday '0' of 'cron(0 2 ? * 0 *)' is not one of 1 (Sunday) to 7",
    "cron(0 2 ? * 8 *)": "the weekday '8'",
    "cron(0 2 ? * 3#6 *)": "the weekday '3#6'",
    "cron(0 2 15W * ? *)": "the weekday nearest to a day (15W) cannot be had; LW, the month's last, can",
    "cron(0 25 ? * SUN *)": "the hour '25'",
    "cron(0 0 31 2 ? *)": "never comes due",
    "cron(0 2 ? * MON": "has no closing bracket; in {…} a schedule that holds a comma is put in quotes",
    "rate(1 hours)": "EventBridge writes rate(1 hour)",
    "rate(6 hour)": "EventBridge writes rate(6 hours)",
    "rate(0 hours)": "a rate is a number from 1 on and minutes, hours or days",
    "rate(2 weeks)": "a rate is a number from 1 on and minutes, hours or days",
    "rate(99999999999999 days)": "is longer than any calendar",
    "": "'' is not a schedule",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_schedule_is_told_in_one_sentence(text: str) -> None:
    with pytest.raises(ValueError) as told:
        check_schedule(text)
    assert WRONG[text] in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        ("train: {schedule: every 0h}", "fraud/model.yaml:3: train.schedule: 'every 0h' is not a schedule"),
        ("train: {schedule: 5}", "fraud/model.yaml:3: train.schedule: 5 is not a schedule"),
        ("train: {schedule: [daily]}", "fraud/model.yaml:3: train.schedule: ['daily'] is not a schedule"),
        (
            "train: {schedule: cron(0 2 ? * MON,WED *)}",
            "fraud/model.yaml:3: not YAML: expected ',' or '}', but got '?'; in {…} a value that holds a comma or a ?",
        ),
        (
            "train:\n  window: 90d\n  schedule: 0 0 31 2 *",
            "fraud/model.yaml:5: train.schedule: '0 0 31 2 *' never comes",
        ),
        ("train: {missed: twice}", "fraud/model.yaml:3: train.missed: 'twice' is not one of once, skip"),
        ("timezone: Europe/Berln", "fraud/model.yaml:3: timezone: 'Europe/Berln' is not a time zone"),
    ],
)
def test_a_mistake_in_the_file_has_its_line(line: str, mistake: str) -> None:
    head = "data: {source: rows.parquet, time: at, target: fraud}\nobjective: recall at precision >= 0.80\n"
    found, mistakes = parse_model(head + line + "\n", name="fraud")
    assert found is None
    assert any(told.startswith(mistake) for told in mistakes), mistakes


def test_by_default_what_was_missed_runs_once() -> None:
    head = "data: {source: rows.parquet, time: at, target: fraud}\nobjective: recall at precision >= 0.80\n"
    found, _ = parse_model(head, name="fraud")
    assert found is not None
    assert (found.train.schedule, found.train.missed) == (None, "once")


# Both clock changes.


@pytest.mark.parametrize(
    ("zone", "day", "listed", "due"),
    [
        # clocks go from 2 to 3: what is not there is due at 3, together with what is due at 3 anyway
        ("Europe/Berlin", "2026-03-29", "30 1,2,3", ["00:30", "01:00", "01:30"]),
        ("Europe/Berlin", "2026-03-29", "0 2,3", ["01:00"]),
        ("Europe/Berlin", "2026-03-29", "15,45 2", ["01:00"]),
        ("America/New_York", "2026-03-08", "30 2", ["07:00"]),
        ("America/Santiago", "2026-09-06", "0 0", ["04:00"]),  # the day begins at 1 there
        ("Australia/Lord_Howe", "2026-10-04", "15 2", ["15:30-1"]),  # by half an hour
        # from 3 back to 2: the first of two
        ("Europe/Berlin", "2026-10-25", "30 1,2,3", ["23:30-1", "00:30", "02:30"]),
        ("America/New_York", "2026-11-01", "30 1", ["05:30"]),
        ("America/Santiago", "2026-04-04", "30 23", ["02:30+1"]),
    ],
)
def test_a_time_that_is_not_there_or_there_twice_is_due_once(zone: str, day: str, listed: str, due: list[str]) -> None:
    schedule, at = check_schedule(f"{listed} * * *"), date.fromisoformat(day)
    begin, end = (datetime(one.year, one.month, one.day, tzinfo=ZoneInfo(zone)) for one in (at, at + DAY))
    found = due_times_between(schedule, zone, begin.astimezone(UTC) - MINUTE, end.astimezone(UTC) - MINUTE)
    assert found == [moment(f"{at + DAY * _days(text)}T{text[:5]}") for text in due]


def _days(text: str) -> int:
    return int(text[5:] or 0)


def due_times_between(schedule: str, zone: str, after: datetime, until: datetime) -> list[datetime]:
    found = due_times(schedule, after=after, timezone=zone)
    return list(itertools.takewhile(lambda due: due <= until, found))


@pytest.mark.parametrize("zone", ZONES)
def test_an_hour_field_of_a_star_means_every_hour_that_passes(zone: str) -> None:
    begin = datetime(2026, 1, 1, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    end = datetime(2027, 1, 1, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    found = due_times_between("hourly", zone, begin - MINUTE, end - MINUTE)
    halves = 1 if zone == "Australia/Lord_Howe" else 0  # turned by half an hour, a clock strikes twice after 90 minutes
    assert len(found) == len(set(found)) == (end - begin) // HOUR - halves
    assert {one.astimezone(ZoneInfo(zone)).minute for one in found} == {0}


TURNS = (
    ("Europe/Berlin", "2026-03-29T01:00"),
    ("Europe/Berlin", "2026-10-25T01:00"),
    ("America/New_York", "2026-03-08T07:00"),
    ("America/New_York", "2026-11-01T06:00"),
    ("America/Santiago", "2026-04-05T03:00"),
    ("America/Santiago", "2026-09-06T04:00"),
    ("Australia/Lord_Howe", "2026-04-04T15:00"),
    ("Australia/Lord_Howe", "2026-10-03T15:30"),
)


@settings(max_examples=25, deadline=None)
@given(
    turn=st.sampled_from(TURNS),
    minutes=st.sets(st.integers(0, 59), min_size=1, max_size=3),
    weekday=st.sampled_from(["*", "SUN", "SAT", "0-6"]),
    begin=st.integers(0, 48 * 60),
)
def test_every_hour_around_a_turn_of_the_clocks_is_what_the_wall_shows(
    turn: tuple[str, str], minutes: set[int], weekday: str, begin: int
) -> None:
    """Against a look at the wall clock every minute."""
    zone, at = ZoneInfo(turn[0]), moment(turn[1])
    assert (at - MINUTE).astimezone(zone).utcoffset() != at.astimezone(zone).utcoffset()
    days = {"SUN": {7}, "SAT": {6}}.get(weekday, set(range(1, 8)))
    start, end = at - DAY + begin * MINUTE, at + 2 * DAY
    walls = [(one, one.astimezone(zone)) for one in (start + n * MINUTE for n in range(1, (end - start) // MINUTE + 1))]
    shown = [one for one, wall in walls if wall.minute in minutes and wall.isoweekday() in days]
    assert due_times_between(f"{_listed(minutes)} * * * {weekday}", turn[0], start, end) == shown


@settings(max_examples=15, deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    year=st.integers(2024, 2030),
    hours=st.sets(st.integers(0, 23), min_size=1, max_size=4),
    minutes=st.sets(st.sampled_from([0, 15, 30, 45, 59]), min_size=1, max_size=2),
)
def test_over_a_whole_year_every_listed_time_is_due_once(
    zone: str, year: int, hours: set[int], minutes: set[int]
) -> None:
    """Against a plain walk over the calendar: a time of each day, its moment found by looking at every minute."""
    schedule = f"{_listed(minutes)} {_listed(hours)} * * *"
    place = ZoneInfo(zone)
    expected: set[datetime] = set()
    for day in range((date(year + 1, 1, 1) - date(year, 1, 1)).days):
        on = date(year, 1, 1) + DAY * day
        expected |= {walked(datetime.combine(on, time(h, m)), place) for h in hours for m in minutes}
    first, last = min(expected), max(expected)
    found = due_times_between(schedule, zone, first - MINUTE, last)
    assert found == sorted(expected)
    assert len(found) == len(set(found))
    lost = 2 * len(hours) * len(minutes)  # at most, as times in one gap are due together
    assert 0 <= (date(year + 1, 1, 1) - date(year, 1, 1)).days * len(hours) * len(minutes) - len(found) <= lost


def _listed(numbers: set[int]) -> str:
    return ",".join(str(number) for number in sorted(numbers))


def walked(local: datetime, zone: ZoneInfo) -> datetime:
    """The first minute, from a day before on, whose wall clock shows `local` or more."""
    at = local.replace(tzinfo=UTC) - timedelta(hours=15)
    plain = local.replace(tzinfo=zone)
    if plain.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == local:  # there: the first of two
        return plain.astimezone(UTC)
    while at.astimezone(zone).replace(tzinfo=None) < local:
        at += MINUTE
    return at


@settings(max_examples=60, deadline=None)
@given(
    schedule=st.sampled_from(
        ["hourly", "daily", "weekly", "monthly", "every 6h", "every 5h", "*/20 * * * *", "30 */2 * * *", "0 2 L * *",
         "cron(15 10 ? * 6L *)", "rate(90 minutes)"]
    ),
    zone=st.sampled_from(ZONES),
    begin=BEGINS,
    hours=st.integers(1, 1500),
)  # fmt: skip
def test_the_latest_that_came_due_is_the_last_of_those_in_order(
    schedule: str, zone: str, begin: datetime, hours: int
) -> None:
    until = begin + hours * HOUR
    passed = due_times_between(schedule, zone, begin, until)
    assert passed == sorted(set(passed))
    assert all(begin < due <= until for due in passed)
    assert last_due(schedule, after=begin, until=until, timezone=zone) == (passed[-1] if passed else None)


@settings(deadline=None)
@given(
    minutes=st.integers(1, 10_000),
    looks=st.lists(st.integers(1, 40_000), min_size=1, max_size=8),
    begin=BEGINS,
)
def test_a_span_does_not_drift_however_late_one_looks(minutes: int, looks: list[int], begin: datetime) -> None:
    schedule, span = check_schedule(f"every {minutes}m"), minutes * MINUTE
    grid = next_due(schedule, after=begin)
    assert grid is not None
    at = begin
    for late in looks:
        at += late * timedelta(seconds=37)
        due = next_due(schedule, after=at)
        assert due is not None
        assert (due - grid) % span == timedelta(0)
        assert timedelta(0) < due - at <= span


def test_a_span_is_absolute_time_over_both_clock_changes() -> None:
    for zone in ZONES:
        found = due_times_between("every 6h", zone, moment("2026-01-01"), moment("2027-01-01"))
        assert len(found) == 365 * 4
        assert {late - early for early, late in itertools.pairwise(found)} == {6 * HOUR}

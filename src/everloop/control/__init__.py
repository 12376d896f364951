"""The composition root: reads the state, decides, acts.

`Controller(resources).tick()` is the loop's heart; `decide(view)` is pure. Around it: `up`, which keeps the project's
processes running; `work` and `move`, what two of them do; and what people ask of it all: `status`, `why`,
`rollout_now`, `schedule_status`, `examine`.
Importing the room is cheap: a name is loaded where it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from everloop.on_first_use import on_first_use

if TYPE_CHECKING:
    from everloop.control.adding import AddedVersion, add_version, begin_rollout
    from everloop.control.chain import Reason, version_number, why
    from everloop.control.controller import Controller
    from everloop.control.decisions import decide
    from everloop.control.doctor import Finding, examine
    from everloop.control.evidence import rollout_now
    from everloop.control.extras import missing_library, require_extra
    from everloop.control.mover_process import move
    from everloop.control.overview import ModelStatus, Status, status
    from everloop.control.reading import read_view
    from everloop.control.resources import Resources
    from everloop.control.schedule_requests import ScheduleRequest, ask_for_run, pause_schedule, resume_schedule
    from everloop.control.served import Served, ServedVersion, served_at, served_between
    from everloop.control.stopping import told_to_stop
    from everloop.control.supervisor import Running, up
    from everloop.control.telling import ChannelStatus, channel_status, try_channels
    from everloop.control.timetable import Firing, ScheduleStatus, schedule_status
    from everloop.control.trackers import tracked_run
    from everloop.control.view import AlertView, Arrived, Asked, ModelView, Schedule, Try, View
    from everloop.control.worker import work

__all__ = [
    "AddedVersion",
    "AlertView",
    "Arrived",
    "Asked",
    "ChannelStatus",
    "Controller",
    "Finding",
    "Firing",
    "ModelStatus",
    "ModelView",
    "Reason",
    "Resources",
    "Running",
    "Schedule",
    "ScheduleRequest",
    "ScheduleStatus",
    "Served",
    "ServedVersion",
    "Status",
    "Try",
    "View",
    "add_version",
    "ask_for_run",
    "begin_rollout",
    "channel_status",
    "decide",
    "examine",
    "missing_library",
    "move",
    "pause_schedule",
    "read_view",
    "require_extra",
    "resume_schedule",
    "rollout_now",
    "schedule_status",
    "served_at",
    "served_between",
    "status",
    "told_to_stop",
    "tracked_run",
    "try_channels",
    "up",
    "version_number",
    "why",
    "work",
]

_PLACES = {
    "AddedVersion": "adding",
    "AlertView": "view",
    "Asked": "view",
    "Arrived": "view",
    "ChannelStatus": "telling",
    "Controller": "controller",
    "Finding": "doctor",
    "Firing": "timetable",
    "ModelStatus": "overview",
    "ModelView": "view",
    "Reason": "chain",
    "Resources": "resources",
    "Running": "supervisor",
    "Schedule": "view",
    "ScheduleRequest": "schedule_requests",
    "ScheduleStatus": "timetable",
    "Served": "served",
    "ServedVersion": "served",
    "Status": "overview",
    "Try": "view",
    "View": "view",
    "add_version": "adding",
    "ask_for_run": "schedule_requests",
    "begin_rollout": "adding",
    "channel_status": "telling",
    "decide": "decisions",
    "examine": "doctor",
    "missing_library": "extras",
    "move": "mover_process",
    "pause_schedule": "schedule_requests",
    "read_view": "reading",
    "rollout_now": "evidence",
    "require_extra": "extras",
    "resume_schedule": "schedule_requests",
    "schedule_status": "timetable",
    "served_at": "served",
    "served_between": "served",
    "status": "overview",
    "told_to_stop": "stopping",
    "tracked_run": "trackers",
    "try_channels": "telling",
    "up": "supervisor",
    "version_number": "chain",
    "why": "chain",
    "work": "worker",
}


__getattr__ = on_first_use(__name__, _PLACES)

"""Traffic: what was answered, captured durably, and what turned out to be true, on record for good.

A worker's answers go to its `Spool` before they are given; the project's one `Mover` takes them to the log, exactly
once; `TrafficLog` reads it: a window of predictions, a matured cohort with its outcomes, what was known when.
"""

from everloop.traffic.export import Exported, OutcomesWanted, export
from everloop.traffic.forget import FORGET_POINTS, Forgetting, OfEntity
from everloop.traffic.forgotten_keys import ForgottenKeys, subject_of
from everloop.traffic.idle import IdleSpool, idle_spools, remove_spool
from everloop.traffic.imported import IMPORT_POINTS, IMPORTED, Differing, ImportLog, Sorted, prediction_rows
from everloop.traffic.log import Absent, AnsweredRows, TrafficLog, known_rows
from everloop.traffic.mover import CRASH_POINTS, Moved, Mover, Stop
from everloop.traffic.old_days import TrafficDay, remove_days, traffic_days
from everloop.traffic.overview import TableBooks, TrafficBooks, traffic_books
from everloop.traffic.pending import Pending, pending, pending_rows
from everloop.traffic.place import TrafficRoot, traffic_root
from everloop.traffic.records import InputColumns, OutcomeRecord, PredictionBatch, row_digest, row_digests
from everloop.traffic.spool import SPOOL_CRASH_POINTS, Answered, Durability, Recorded, Spool
from everloop.traffic.tables import OUTCOMES, Kind
from everloop.traffic.tail import Tail, TailRow
from everloop.traffic.windows import Window, windows

__all__ = [
    "CRASH_POINTS",
    "FORGET_POINTS",
    "IMPORTED",
    "IMPORT_POINTS",
    "OUTCOMES",
    "SPOOL_CRASH_POINTS",
    "Absent",
    "Answered",
    "AnsweredRows",
    "Differing",
    "Durability",
    "Exported",
    "Forgetting",
    "ForgottenKeys",
    "IdleSpool",
    "ImportLog",
    "InputColumns",
    "Kind",
    "Moved",
    "Mover",
    "OfEntity",
    "OutcomeRecord",
    "OutcomesWanted",
    "Pending",
    "PredictionBatch",
    "Recorded",
    "Sorted",
    "Spool",
    "Stop",
    "TableBooks",
    "Tail",
    "TailRow",
    "TrafficBooks",
    "TrafficDay",
    "TrafficLog",
    "TrafficRoot",
    "Window",
    "export",
    "idle_spools",
    "known_rows",
    "pending",
    "pending_rows",
    "prediction_rows",
    "remove_days",
    "remove_spool",
    "row_digest",
    "row_digests",
    "subject_of",
    "traffic_books",
    "traffic_days",
    "traffic_root",
    "windows",
]

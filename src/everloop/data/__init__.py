"""Data: where rows come from, what they must look like, what is made of them, and how they are summed up.

A row's way starts here: `scan` → `load_rows` (or `decode_rows` at the endpoint) → `FeatureTree.matrix`.
"""

from everloop.data.arrow import read_arrow
from everloop.data.baseline import (
    SCORE,
    Baseline,
    BaselineColumn,
    BaselineSums,
    BaselineWindow,
    profiled_frame,
    watched_columns,
)
from everloop.data.column import AT_PREDICTION, COLUMN_TYPES, ROLES, Column
from everloop.data.compiled import CompiledTree
from everloop.data.contract import Contract, infer_contract
from everloop.data.contract_file import contract_text, parse_contract, read_contract, write_contract
from everloop.data.decoder import Decoded, Decoder, RowProblem, decode_rows
from everloop.data.definitions import FeatureSet, features, load_features, read_features
from everloop.data.event_time import TIME_UNITS, parse_time, utc_times
from everloop.data.fingerprint import rows_hash
from everloop.data.first_contract import write_first_contract
from everloop.data.frame_decoder import FrameDecoder, TableRows
from everloop.data.node import Node
from everloop.data.node_text import node_text
from everloop.data.profile import Profile
from everloop.data.rows import TARGET, WEIGHT, Rows, is_positive, load_rows, rows_of
from everloop.data.sampling import FitSample, fit_sample
from everloop.data.source import collect, is_remote, local_files, scan, source_error
from everloop.data.split import FIRST_SHARES, MIN_POSITIVES, Split, retrain_split, time_split
from everloop.data.translate import EVENT_TIME, columns_read, translate
from everloop.data.tree import FeatureTree, raw_node
from everloop.data.typed_decoder import RowDigests, TypedDecoder, TypedRow
from everloop.data.violations import (
    Violation,
    conform,
    refuse_columns,
    refuse_violations,
    row_reasons,
    violations,
    without_violations,
)

__all__ = [
    "AT_PREDICTION",
    "COLUMN_TYPES",
    "EVENT_TIME",
    "FIRST_SHARES",
    "MIN_POSITIVES",
    "ROLES",
    "SCORE",
    "TARGET",
    "TIME_UNITS",
    "WEIGHT",
    "Baseline",
    "BaselineColumn",
    "BaselineSums",
    "BaselineWindow",
    "Column",
    "CompiledTree",
    "Contract",
    "Decoded",
    "Decoder",
    "FeatureSet",
    "FeatureTree",
    "FitSample",
    "FrameDecoder",
    "Node",
    "Profile",
    "RowDigests",
    "RowProblem",
    "Rows",
    "Split",
    "TableRows",
    "TypedDecoder",
    "TypedRow",
    "Violation",
    "collect",
    "columns_read",
    "conform",
    "contract_text",
    "decode_rows",
    "features",
    "fit_sample",
    "infer_contract",
    "is_positive",
    "is_remote",
    "load_features",
    "load_rows",
    "local_files",
    "node_text",
    "parse_contract",
    "parse_time",
    "profiled_frame",
    "raw_node",
    "read_arrow",
    "read_contract",
    "read_features",
    "refuse_columns",
    "refuse_violations",
    "retrain_split",
    "row_reasons",
    "rows_hash",
    "rows_of",
    "scan",
    "source_error",
    "time_split",
    "translate",
    "utc_times",
    "violations",
    "watched_columns",
    "without_violations",
    "write_contract",
    "write_first_contract",
]

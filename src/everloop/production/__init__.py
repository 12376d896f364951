"""Phase 2: an approved spec becomes a version, by a durable pipeline behind gates; and files are scored in batch."""

from everloop.production.approved import ApprovedSpec, approval_of, approved_spec
from everloop.production.arrival import Arrival, arrive, as_spec, modified_by, trains_the_same, whole_spec
from everloop.production.configuration import Configuration, Part
from everloop.production.data_gates import DataEvidence, judge_data_gates
from everloop.production.file_specs import FileSpecs
from everloop.production.gates import GateEvidence, GateVerdict, judge_gates, refusal
from everloop.production.history import Agreement, History, import_history, version_of_history
from everloop.production.history_columns import SaidColumns
from everloop.production.memory_specs import MemorySpecs
from everloop.production.notebook_file import read_notebook_file
from everloop.production.own_evidence import OwnGateEvidence
from everloop.production.pipeline import PIPELINE, PipelineResources, start_training, training_workflow
from everloop.production.put_spec import put_spec
from everloop.production.rows import everything_known
from everloop.production.score import ScoredFile, score_file
from everloop.production.scoring import SCORING, score_target, scoring_workflow, start_scoring
from everloop.production.spec_store import GROUP, SpecStore, SpecStoreKind, open_store

__all__ = [
    "GROUP",
    "PIPELINE",
    "SCORING",
    "Agreement",
    "ApprovedSpec",
    "Arrival",
    "Configuration",
    "DataEvidence",
    "FileSpecs",
    "GateEvidence",
    "GateVerdict",
    "History",
    "MemorySpecs",
    "OwnGateEvidence",
    "Part",
    "PipelineResources",
    "SaidColumns",
    "ScoredFile",
    "SpecStore",
    "SpecStoreKind",
    "approval_of",
    "approved_spec",
    "arrive",
    "as_spec",
    "everything_known",
    "import_history",
    "judge_data_gates",
    "judge_gates",
    "modified_by",
    "open_store",
    "put_spec",
    "read_notebook_file",
    "refusal",
    "score_file",
    "score_target",
    "scoring_workflow",
    "start_scoring",
    "start_training",
    "training_workflow",
    "trains_the_same",
    "version_of_history",
    "whole_spec",
]

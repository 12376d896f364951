"""Phase 2: an approved spec becomes a version, by a durable pipeline behind gates; and files are scored in batch."""

from everloop.production.approved import ApprovedSpec, FileSpecs, SpecStore, approved_spec
from everloop.production.data_gates import DataEvidence, judge_data_gates
from everloop.production.gates import GateEvidence, GateVerdict, judge_gates, refusal
from everloop.production.own_evidence import OwnGateEvidence
from everloop.production.pipeline import PIPELINE, PipelineResources, start_training, training_workflow
from everloop.production.rows import everything_known
from everloop.production.score import ScoredFile, score_file

__all__ = [
    "PIPELINE",
    "ApprovedSpec",
    "DataEvidence",
    "FileSpecs",
    "GateEvidence",
    "GateVerdict",
    "OwnGateEvidence",
    "PipelineResources",
    "ScoredFile",
    "SpecStore",
    "approved_spec",
    "everything_known",
    "judge_data_gates",
    "judge_gates",
    "refusal",
    "score_file",
    "start_training",
    "training_workflow",
]

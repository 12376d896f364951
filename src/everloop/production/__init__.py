"""Phase 2: an approved spec becomes a version, by a durable pipeline behind gates; and files are scored in batch."""

from everloop.production.approved import ApprovedSpec, FileSpecs, SpecStore, approved_spec
from everloop.production.gates import GateEvidence, GateVerdict, judge_gates, refusal
from everloop.production.pipeline import PIPELINE, PipelineResources, start_training, training_workflow
from everloop.production.rows import everything_known
from everloop.production.score import ScoredFile, score_file
from everloop.production.scoring import SCORING, score_target, scoring_workflow, start_scoring

__all__ = [
    "PIPELINE",
    "SCORING",
    "ApprovedSpec",
    "FileSpecs",
    "GateEvidence",
    "GateVerdict",
    "PipelineResources",
    "ScoredFile",
    "SpecStore",
    "approved_spec",
    "everything_known",
    "judge_gates",
    "refusal",
    "score_file",
    "score_target",
    "scoring_workflow",
    "start_scoring",
    "start_training",
    "training_workflow",
]

"""`approval:` of model.yaml: who may approve a spec."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, StrictBool

from everloop.project.section import Section

__all__ = ["ApprovalSection"]


class ApprovalSection(Section):
    """Who may approve a spec of this model, and whose word is enough."""

    by: Literal["approver"] | None = Field(
        None, description="approver: only who is proven and has this role, no policy; left out: whoever may"
    )
    not_author: StrictBool = Field(False, description="true: whoever wrote a spec cannot approve it")
    trust: tuple[Literal["ssm", "mlflow"], ...] = Field(
        (), description="[ssm, mlflow]: what arrives from there needs no person's approval; left out: it does"
    )

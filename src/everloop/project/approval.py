"""`approval:` of model.yaml: who may approve a spec."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, StrictBool

from everloop.project.section import Section

__all__ = ["ApprovalSection"]


class ApprovalSection(Section):
    """Who may approve a spec of this model."""

    by: Literal["approver"] | None = Field(
        None, description="approver: only who is proven and has this role, no policy; left out: whoever may"
    )
    not_author: StrictBool = Field(False, description="true: whoever wrote a spec cannot approve it")

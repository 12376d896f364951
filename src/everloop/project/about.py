"""The model.yaml section that people read: what a model is for, and what not."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, StrictStr

from everloop.project.section import Section

__all__ = ["AboutSection"]


def _texts(value: object) -> object:
    return [value] if isinstance(value, str) else value


class AboutSection(Section):
    """What a model is for. Nothing here changes what is trained or answered."""

    purpose: StrictStr = Field("", description="which decision it helps with, and who acts on its answers")
    not_for: Annotated[tuple[StrictStr, ...], BeforeValidator(_texts)] = Field(
        (), alias="not for", description="uses that it was not made for, a sentence each"
    )
    owner: StrictStr = Field("", description="who answers for it, and where to reach them")

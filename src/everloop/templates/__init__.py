"""Complete example projects with data generators, used by `everloop init`, the demo and tests alike."""

from everloop.templates.creation import Created, create_project
from everloop.templates.registry import get_template, templates
from everloop.templates.template import Description, History, Template

__all__ = ["Created", "Description", "History", "Template", "create_project", "get_template", "templates"]

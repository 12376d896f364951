"""`ev.open`: a model by its name or by a folder, from wherever the notebook lies in the project."""

from __future__ import annotations

from pathlib import Path

from everloop.errors import NotFound
from everloop.notebook.handle import ModelHandle
from everloop.project import Project, did_you_mean

__all__ = ["open"]


def open(name_or_path: str | Path = ".", *, model: str | None = None) -> ModelHandle:  # noqa: A001 as in gzip.open
    """The model to work on.

    `ev.open("fraud")`: of the project of this folder or the nearest above. `ev.open("path/to/project", model="fraud")`:
    of the project there; without `model` the one whose folder this is, or the only one.
    Raises ProjectNotFound, NotFound naming what there is, ConfigurationError with every mistake in the files.
    """
    path = Path(name_or_path).expanduser()
    if model is None and isinstance(name_or_path, str) and not _is_place(path):
        return _named(name_or_path)
    if not path.is_dir():
        raise NotFound(f"there is no folder {path}; give the project's, or a model's name")
    project = Project.find(path)
    chosen = model if model is not None else _model_of_folder(project, path)
    return ModelHandle(root=project.root, name=project.model(chosen).name)


def _is_place(path: Path) -> bool:
    """Whether it is said as a path, or is a project's folder: a model's own folder is found by its name."""
    return len(path.parts) != 1 or path.parts[0] == ".." or (path / "everloop.yaml").is_file()


def _named(name: str) -> ModelHandle:
    project = Project.find()
    if name in project.models:
        return ModelHandle(root=project.root, name=name)
    if Path(name).is_dir():
        inside = Project.find(Path(name))
        return ModelHandle(root=inside.root, name=inside.model(_model_of_folder(inside, Path(name))).name)
    hint = did_you_mean(name, project.models) or f"; it has {', '.join(sorted(project.models)) or 'none'}"
    raise NotFound(f"there is no model {name!r} in {project.name}{hint}")


def _model_of_folder(project: Project, path: Path) -> str | None:
    """The model in whose folder this is; None where it is in none."""
    here = path.resolve()
    return next((name for name, one in project.models.items() if here.is_relative_to(one.folder.resolve())), None)

"""The laws' page names tests that exist; and law 12, which is about the source itself."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
FORBIDDEN_MODULES = {"pickle", "cloudpickle", "dill", "shelve", "marshal"}
FORBIDDEN_CALLS = {"eval", "exec"}


def test_every_law_names_tests_that_exist() -> None:
    page = (ROOT / "docs" / "laws.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", page)
    assert len(named) >= 12
    for file, test in named:
        text = (ROOT / file).read_text()
        assert not test or f"def {test}(" in text, f"{file} has no {test}"


def test_no_pickle_is_read_and_nothing_is_evaluated() -> None:
    """Law 12. joblib's transport between processes of one run, which we start ourselves, is its own affair."""
    found = []
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            match node:
                case ast.Import(names=names):
                    found += [where for name in names if name.name.split(".")[0] in FORBIDDEN_MODULES]
                case ast.ImportFrom(module=str(module)):
                    found += [where] if module.split(".")[0] in FORBIDDEN_MODULES else []
                case ast.Call(func=ast.Name(id=name)):
                    found += [where] if name in FORBIDDEN_CALLS else []
                case ast.Call(func=ast.Attribute(attr="deserialize")):
                    found.append(where)  # Polars' serialised expressions may carry a pickle
                case ast.Call(func=ast.Attribute(value=ast.Name(id=module), attr=attribute)):
                    unsafe = (module, attribute) in {("yaml", "load"), ("joblib", "load"), ("os", "system")}
                    found += [where] if unsafe else []
                case ast.keyword(arg="shell", value=ast.Constant(value=True)):
                    found.append(where)
                case ast.keyword(arg="allow_pickle", value=ast.Constant(value=True)):
                    found.append(where)
    assert found == []

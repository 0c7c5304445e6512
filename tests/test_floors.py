"""The house keeps its rules: who may import what, and a map that matches the tree."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "onesec"
MODULES = sorted(SOURCE.rglob("*.py"))
OF_A_GPU = {"torch", "triton"}  # for one room alone, which nothing imports before it is asked for
FORBIDDEN = {"transformers", "pickle", "marshal", "shelve", "scipy", "pandas"}


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_only_the_backend_knows_the_native_engine(path: Path) -> None:
    if path.parent != SOURCE / "backend":
        assert "onesec._native" not in imports(path)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_no_module_imports_what_the_package_must_not_need(path: Path) -> None:
    found = {name.split(".")[0] for name in imports(path)}
    assert not found & FORBIDDEN
    if path.parent != SOURCE / "backend" / "gpu":
        assert not found & OF_A_GPU


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_every_module_says_what_it_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not text or ast.get_docstring(ast.parse(text))


def test_the_map_names_every_module_and_nothing_else() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    tree = text.split("<!-- tree -->")[1]
    named = set(re.findall(r"[\w/]+\.py\b", tree))
    real = {str(path.relative_to(SOURCE)) for path in MODULES if path.name != "__init__.py"}
    assert named == real

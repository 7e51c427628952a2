"""The structure that the READMEs promise: imports run one way, and files and functions stay short."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGES = ("minibert", "tasks", "tools", "benchmarks")
MAX_FILE_LINES, MAX_FUNCTION_LINES = 400, 60
REASONS = ("start-up", "startup", "extra", "optional", "takes a second", "takes seconds", "quick", "Windows")

# Lowest first; a module may import from its own layer and from lower ones.
LAYERS = (
    ("minibert",),
    ("tasks.settings", "tasks.data", "tasks.statistics", "tasks.task"),
    ("tasks.read", "tasks.report"),
    ("tasks.run",),
    ("tasks",),  # a room for each task
    (
        "tasks.registry",
        "tasks.predict",
        "tasks.evaluate",
        "tasks.serve",
        "tasks.compare",
        "tasks.search",
        "tasks.embed",
        "tasks.fill_mask",
        "tasks.report.command",
        "tasks.report.arguments",
    ),
    ("tools", "benchmarks"),
)
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in FILES}


def layer(module: str) -> int:
    """The index of the longest name in LAYERS that the module is, or lies in."""
    names = [(name, index) for index, names in enumerate(LAYERS) for name in names]
    return max((len(name), index) for name, index in names if f"{module}.".startswith(f"{name}."))[1]


def imports(module: str, *, at_start: bool) -> Iterator[tuple[str, int]]:
    """The modules of this project that a module imports, and the line.

    Args:
        module: with imports for type checkers only.
        at_start: leave out those inside functions, and those for type checkers.
    """
    tree = TREES[MODULES[module]]
    skipped = {id(inner) for node in ast.walk(tree) if at_start and _is_later(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}, line {node.lineno}: a relative import"
            found = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in found:
            while name not in MODULES and "." in name:
                name = name.rpartition(".")[0]
            if name in MODULES and name != module:
                yield name, node.lineno


def _is_later(node: ast.AST) -> bool:
    of_type_checkers = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    return of_type_checkers or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))


@pytest.mark.parametrize("module", [name for name in MODULES if not name.endswith("__main__")])
def test_imports_run_one_way(module: str) -> None:
    for imported, line in imports(module, at_start=False):
        assert layer(imported) <= layer(module), f"{module}, line {line}: imports {imported}, which is above it"


def test_no_imports_form_a_circle() -> None:
    """Packages whose ``__init__`` lists names for others to load on demand are not in a circle with them."""
    graph = {module: {name for name, _ in imports(module, at_start=True)} for module in MODULES}
    while leaves := {module for module, found in graph.items() if not found & graph.keys()}:
        graph = {module: found for module, found in graph.items() if module not in leaves}
    assert not graph, f"imports in a circle, among {', '.join(sorted(graph))}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_an_import_inside_a_function_gives_its_reason(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    functions = [node for node in ast.walk(TREES[path]) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    for function in functions:
        nodes = [node for node in ast.walk(function) if isinstance(node, (ast.Import, ast.ImportFrom))]
        nodes.sort(key=lambda node: node.lineno)
        explained_line = 0
        for node in nodes:
            comments = [line.partition("#")[2] for line in lines[node.lineno - 2 : node.lineno]]
            explained = any(reason in comment for comment in comments for reason in REASONS)
            # One comment holds for all imports right below it.
            assert explained or node.lineno == explained_line + 1, (
                f"{path}, line {node.lineno}: say in a comment why this import is inside a function"
            )
            explained_line = node.end_lineno or node.lineno


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= MAX_FILE_LINES
    for node in ast.walk(TREES[path]):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= MAX_FUNCTION_LINES, f"line {node.lineno}: {node.name} has {length} lines"

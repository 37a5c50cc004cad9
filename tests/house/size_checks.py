"""Sizes: small files, small functions."""

import ast
from typing import Iterator

import cpp_source
from tree import Finding, Tree

FILE_CAP = 600
FUNCTION_CAP = 60
KERNEL_CAP = 120


def _cap(path: str) -> int:
    return KERNEL_CAP if "/kernels/" in path or path.endswith((".cu", ".cuh")) else FUNCTION_CAP


def file_sizes(tree: Tree) -> Iterator[Finding]:
    """No source file is longer than 600 lines (300 is the aim)."""
    for path in tree.text():
        if path.endswith((".txt", ".json")) and not path.endswith("CMakeLists.txt"):
            continue
        lines = tree.read(path).count("\n")
        if lines > FILE_CAP:
            yield Finding("file_sizes", path, f"{path}: {lines} lines, the cap is {FILE_CAP}; split it by subject")


def _python_functions(text: str) -> Iterator[cpp_source.Function]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield cpp_source.Function(node.name, node.lineno, (node.end_lineno or node.lineno) - node.lineno + 1)


def function_sizes(tree: Tree) -> Iterator[Finding]:
    """No function is longer than 60 lines, in kernels 120 (25 is the aim)."""
    for path in tree.code() + [p for p in tree.paths if p.endswith(".py")]:
        try:
            found = list(_python_functions(tree.read(path)) if path.endswith(".py") else cpp_source.functions(tree.read(path)))
        except (ValueError, SyntaxError) as error:
            yield Finding("function_sizes", path, f"{path}: cannot be read: {error}")
            continue
        for f in found:
            if f.lines > _cap(path):
                yield Finding("function_sizes", f"{path}:{f.name}", f"{path}:{f.line}: {f.name} has {f.lines} lines, the cap is {_cap(path)}")

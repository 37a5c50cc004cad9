"""Directions: sdk <- plugins, sdk <- core <- host. Core names no plugin."""

import pathlib
import posixpath
import re
from typing import Iterator

import cpp_source
from tree import Finding, Tree

_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">]+)[">]', re.MULTILINE)
_RECORD = re.compile(r'"(?:[a-z]+:[a-z0-9_-]+\\0)+"')
_OWN_PREFIXES = ("core/", "host/", "plugins/", "sdk/", "tests/")
# What each folder may include of the repository, besides its own plugin's files.
_ALLOWED = {"sdk": ("nemo/",), "plugins": ("nemo/",), "core": ("nemo/", "core/"), "host": ("nemo/", "core/", "host/")}


def _unit(path: str) -> str:
    """The folder whose files may include each other by relative path: plugins/KIND/NAME, sdk/examples/NAME, else the file's own."""
    parts = path.split("/")
    if parts[0] == "plugins" or parts[:2] == ["sdk", "examples"]:
        return "/".join(parts[:3])
    return posixpath.dirname(path)


def _is_own(path: str, target: str, files: set[str]) -> bool:
    unit = _unit(path)
    places = (posixpath.dirname(path), unit)
    return any((full := posixpath.normpath(posixpath.join(place, target))) in files and full.startswith(unit + "/") for place in places)


def _include_fault(path: str, mark: str, target: str, files: set[str]) -> str:
    allowed = _ALLOWED[path.split("/")[0]]
    if target.startswith(allowed):
        return ""
    if mark == "<":
        return f"<{target}> is the project's own" if target.startswith(_OWN_PREFIXES) else ""
    return "" if _is_own(path, target, files) else f'"{target}" is none of {", ".join(allowed)} and no file of {_unit(path)}'


def _core_edges(tree: Tree) -> dict[str, set[str]]:
    edges: dict[str, set[str]] = {}
    for path in tree.code("core/"):
        folder = path.split("/")[1]
        for match in _INCLUDE.finditer(cpp_source.without_comments(tree.read(path))):
            parts = match[2].split("/")
            if parts[0] == "core" and len(parts) > 2 and parts[1] != folder:
                edges.setdefault(folder, set()).add(parts[1])
    return edges


def _cycle(edges: dict[str, set[str]]) -> list[str]:
    """Folders of one cycle, or nothing."""
    done: set[str] = set()

    def walk(folder: str, trail: list[str]) -> list[str]:
        if folder in trail:
            return trail[trail.index(folder):] + [folder]
        if folder in done:
            return []
        for next_folder in sorted(edges.get(folder, ())):
            if found := walk(next_folder, trail + [folder]):
                return found
        done.add(folder)
        return []

    return next((found for folder in sorted(edges) if (found := walk(folder, []))), [])


def includes(tree: Tree) -> Iterator[Finding]:
    """sdk includes nemo/ only; plugins the sdk and their own files; core never plugins or host; core's folders form no cycle."""
    files = set(tree.paths)
    for path in tree.code("sdk/", "plugins/", "core/", "host/"):
        for match in _INCLUDE.finditer(cpp_source.without_comments(tree.read(path))):
            if fault := _include_fault(path, match[1], match[2], files):
                yield Finding("includes", f"{path}:{match[2]}", f"{path}: {fault}")
    if cycle := _cycle(_core_edges(tree)):
        yield Finding("includes", "core", "core folders include each other in a circle: " + " -> ".join(cycle))


def _plugin_ids(tree: Tree) -> set[str]:
    ids = set()
    for path in tree.code("plugins/"):
        for record in _RECORD.findall(cpp_source.without_comments(tree.read(path))):
            ids |= {entry.split(":")[1] for entry in record.strip('"').split("\\0") if entry}
    return ids


def plugin_ids(tree: Tree) -> Iterator[Finding]:
    """No string literal of core is a plugin's id."""
    ids = _plugin_ids(tree)
    if tree.code("plugins/") and not ids:
        yield Finding("plugin_ids", "plugins", "no plugin record found below plugins/: this check cannot see what it should")
    for path in tree.code("core/"):
        for line, literal in cpp_source.string_literals(tree.read(path)):
            for word in sorted(w for w in set(re.findall(r"[a-z0-9_-]+", literal)) & ids if _is_a_value(literal, w)):
                yield Finding("plugin_ids", f"{path}:{word}", f'{path}:{line}: "{literal}" names the plugin "{word}"')


def _is_a_value(literal: str, word: str) -> bool:
    """The whole literal, or a TOML string in it; not a word of a sentence."""
    return literal == word or f'\\"{word}\\"' in literal


_VAGUE = {"utils", "util", "helpers", "helper", "common", "misc"}


def file_names(tree: Tree) -> Iterator[Finding]:
    """No file or folder is named utils, helpers or common."""
    for path in tree.paths:
        for part in pathlib.PurePosixPath(path).parts:
            if _VAGUE & set(re.split(r"[._-]", part.lower())):
                yield Finding("file_names", path, f"{path}: '{part}' says nothing; name it after what it does")
                break

"""What people read: documents, commands, the axis words."""

import os
import re
from typing import Iterator

import cpp_source
from tree import Finding, Tree

_MARKERS = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX")) + r")\b")
_CODE_BLOCK = re.compile(r"^```[a-z]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)#\s]+)")
_GLOSSARY_ROW = re.compile(r"^\| `([a-z_]+)` \|", re.MULTILINE)
_AXIS = re.compile(r'\{[^{}";]*,\s*"(\w+)"\s*\}')
ENTRY_CAP = 6
CONTRIBUTING_CAP = 120


def markers(tree: Tree) -> Iterator[Finding]:
    """Nothing is left for later in the text."""
    for path in tree.text():
        for number, line in enumerate(tree.read(path).split("\n"), 1):
            if match := _MARKERS.search(line):
                yield Finding("markers", path, f"{path}:{number}: {match[0]}")


def executables(tree: Tree) -> Iterator[Finding]:
    """./dev and .ci/run can be run."""
    for path in ("dev", ".ci/run"):
        if not os.access(tree.root / path, os.X_OK):
            yield Finding("executables", path, f"{path} is missing or not executable")


def dev_commands(tree: Tree) -> set[str]:
    return set(re.findall(r"^cmd_(\w+)\(\)", tree.read("dev"), re.MULTILINE))


def _code_of(markdown: str) -> list[str]:
    """Lines of code blocks, and inline code outside them."""
    lines = [line for block in _CODE_BLOCK.findall(markdown) for line in block.split("\n")]
    return lines + _INLINE_CODE.findall(_CODE_BLOCK.sub("", markdown))


def dev_commands_named(markdown: str) -> list[str]:
    return [word for line in _code_of(markdown) for word in re.findall(r"\./dev ([a-z]\w*)", line)]


def host_commands_named(markdown: str) -> list[str]:
    """Subcommands of nemo-host; one that starts with an option has none."""
    return [word for line in _code_of(markdown) for word in re.findall(r"(?:^|[\s/])nemo-host ([a-z][\w-]*)", line)]


def documents_of(tree: Tree) -> list[str]:
    return [p for p in tree.paths if p in ("README.md", "CONTRIBUTING.md") or p.startswith("docs/") and p.endswith(".md")]


def commands(tree: Tree) -> Iterator[Finding]:
    """Every ./dev command in README, CONTRIBUTING and docs/ exists."""
    for path in documents_of(tree):
        for word in dev_commands_named(tree.read(path)):
            if word not in dev_commands(tree):
                yield Finding("commands", f"{path}:{word}", f"{path}: './dev {word}' is no command of ./dev")
    if not dev_commands_named(tree.read("README.md")):
        yield Finding("commands", "README.md", "README.md: no ./dev command in it")


def documents(tree: Tree) -> Iterator[Finding]:
    """CONTRIBUTING stays short, decisions are dated and short, and relative links lead somewhere."""
    if (lines := tree.read("CONTRIBUTING.md").count("\n")) > CONTRIBUTING_CAP:
        yield Finding("documents", "CONTRIBUTING.md", f"CONTRIBUTING.md: {lines} lines, the cap is {CONTRIBUTING_CAP}")
    for entry in re.split(r"^(?=## )", tree.read("docs/decisions.md"), flags=re.MULTILINE)[1:]:
        title, *body = entry.strip().split("\n")
        if not re.match(r"## \d{4}-\d\d-\d\d ", title) or len([line for line in body if line.strip()]) > ENTRY_CAP:
            yield Finding("documents", "docs/decisions.md", f"docs/decisions.md: '{title}' is not dated or has more than {ENTRY_CAP} lines")
    for path in documents_of(tree):
        for target in _LINK.findall(tree.read(path)):
            if "://" not in target and not (tree.root / path).parent.joinpath(target).exists():
                yield Finding("documents", f"{path}:{target}", f"{path}: the link to {target} leads nowhere")


def glossary_words(tree: Tree) -> set[str]:
    section = re.search(r"^## Axis words\n(.*?)(?=^## |\Z)", tree.read("docs/architecture.md"), re.MULTILINE | re.DOTALL)
    return set(_GLOSSARY_ROW.findall(section[1])) if section else set()


def _words_known_to_core(tree: Tree) -> set[str]:
    path = "core/passes/partition_rules.cpp"
    found = re.search(r"\bkGlossary\b\s*\{([^}]*)\}", tree.read(path)) if path in tree.paths else None
    return set(re.findall(r'"(\w+)"', found[1])) if found else set()


def glossary(tree: Tree) -> Iterator[Finding]:
    """Every axis word of a model plugin is in the glossary of docs/architecture.md, and core's list has the same words."""
    words = glossary_words(tree)
    used = set()
    for path in tree.code("plugins/models/"):
        for word in _AXIS.findall(cpp_source.without_comments(tree.read(path))):
            used.add(word)
            if word not in words:
                yield Finding("glossary", f"{path}:{word}", f"{path}: axis '{word}' is not in the glossary of docs/architecture.md")
    if tree.code("plugins/models/") and not used:
        yield Finding("glossary", "plugins/models", "no axis word found below plugins/models/: this check cannot see what it should")
    for word in sorted(words ^ _words_known_to_core(tree)):
        yield Finding("glossary", word, f"axis '{word}': docs/architecture.md and kGlossary in core/passes/partition_rules.cpp do not both have it")

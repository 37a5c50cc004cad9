"""check.py CHECK ROOT: runs one house check on the repository at ROOT. Exit status 1 and one line per finding where a rule is broken."""

import pathlib
import sys
from typing import Iterable

import layer_checks
import size_checks
import text_checks
from tree import Finding, Tree

CHECKS = {
    check.__name__: check
    for check in (
        size_checks.file_sizes,
        size_checks.function_sizes,
        layer_checks.includes,
        layer_checks.plugin_ids,
        layer_checks.file_names,
        text_checks.markers,
        text_checks.executables,
        text_checks.commands,
        text_checks.documents,
        text_checks.glossary,
    )
}


def exceptions(text: str) -> dict[tuple[str, str], str]:
    """(check, subject) -> reason."""
    rows = [line.split(maxsplit=2) for line in text.splitlines() if line.strip() and not line.startswith("#")]
    for row in rows:
        if len(row) != 3 or row[0] not in CHECKS:
            raise SystemExit(f"exceptions.txt: '{' '.join(row)}' is not: CHECK SUBJECT REASON")
    return {(check, subject): reason for check, subject, reason in rows}


def judge(name: str, findings: Iterable[Finding], excused: dict[tuple[str, str], str]) -> list[str]:
    """The messages that stay: findings without an exception, and exceptions without a finding."""
    findings = list(findings)
    seen = {(f.check, f.subject) for f in findings}
    stale = [subject for check, subject in excused if check == name and (check, subject) not in seen]
    return [f.message for f in findings if (f.check, f.subject) not in excused] + [
        f"exceptions.txt: nothing needs '{name} {subject}' any more; remove it" for subject in stale
    ]


def main(name: str, root: str) -> int:
    excused = exceptions((pathlib.Path(__file__).parent / "exceptions.txt").read_text(encoding="utf-8"))
    messages = judge(name, CHECKS[name](Tree(pathlib.Path(root))), excused)
    print("\n".join(messages) or f"{name}: nothing to object to")
    return 1 if messages else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

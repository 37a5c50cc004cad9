"""host_commands.py ROOT NEMO_HOST: every `nemo-host COMMAND` in README, CONTRIBUTING and docs/ answers --help."""

import pathlib
import subprocess
import sys

import text_checks
from tree import Tree


def main(root: str, program: str) -> int:
    tree = Tree(pathlib.Path(root))
    faults = 0
    for path in text_checks.documents_of(tree):
        for word in sorted(set(text_checks.host_commands_named(tree.read(path)))):
            done = subprocess.run([program, word, "--help"], capture_output=True, text=True, timeout=60, check=False)
            if done.returncode != 0:
                faults += 1
                print(f"{path}: 'nemo-host {word}' is no command: {done.stderr.strip()}")
    if not text_checks.host_commands_named(tree.read("README.md")):
        faults += 1
        print("README.md: no nemo-host command in it")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

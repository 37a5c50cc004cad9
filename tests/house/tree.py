"""The files of the repository that the checks look at, and what a check reports."""

import pathlib
from typing import Iterator, NamedTuple

CODE = {".cpp", ".hpp", ".c", ".h", ".cu", ".cuh", ".def"}
OTHER_TEXT = {".py", ".sh", ".cmake", ".toml", ".md", ".txt", ".json", ".version"}
DATA = ("tests/golden/", "host/data/")


class Finding(NamedTuple):
    """One broken rule. `subject` is what an exception must name: a path, or path:function, or path:word."""

    check: str
    subject: str
    message: str


class Tree:
    """A repository root. Build trees, hidden folders (but .ci), run folders and golden data are left out."""

    def __init__(self, root: pathlib.Path):
        self.root = root
        self.paths = sorted(self._walk(root))

    def _walk(self, folder: pathlib.Path) -> Iterator[str]:
        for path in folder.iterdir():
            name = path.relative_to(self.root).as_posix()
            if path.is_dir() and not path.is_symlink():
                if not self._left_out(name + "/"):
                    yield from self._walk(path)
            elif path.is_file() and not self._left_out(name):
                yield name

    @staticmethod
    def _left_out(name: str) -> bool:
        top = name.split("/")[0]
        hidden_top = top.startswith(".") and top != ".ci" and name.endswith("/")
        return hidden_top or top.startswith("build") or top == "runs" or "__pycache__" in name or name.startswith(DATA)

    def read(self, path: str) -> str:
        return (self.root / path).read_text(encoding="utf-8")

    def code(self, *folders: str) -> list[str]:
        """C and C++ files below the folders; all of them where none is given."""
        return [p for p in self.paths if pathlib.PurePosixPath(p).suffix in CODE and (not folders or p.startswith(folders))]

    def text(self) -> list[str]:
        """Every file that people write."""
        return [p for p in self.paths if pathlib.PurePosixPath(p).suffix in CODE | OTHER_TEXT or p in ("dev", ".ci/run", ".clang-tidy", ".clang-format")]

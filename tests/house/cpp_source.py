"""Reads C++ just well enough for the house rules: code without comments, and where functions begin and end."""

import re
from typing import NamedTuple

_TOKEN = re.compile(
    r'//(?:[^\n\\]|\\.|\\\n)*'  # comment to the end of the line
    r"|/\*.*?\*/"
    r'|R"(?P<tag>[^()\\ ]{0,16})\(.*?\)(?P=tag)"'  # raw string
    r'|"(?:[^"\\\n]|\\.|\\\n)*"'
    r"|(?<![0-9A-Fa-f])'(?:[^'\\\n]|\\.)+'",  # character; not a digit separator
    re.DOTALL,
)
_DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n\\]|\\.|\\\n)*", re.MULTILINE | re.DOTALL)
_CONTAINER = re.compile(r'^(?:inline\s+)?namespace\b|^extern\b\s*$|\b(?:class|struct|union|enum)\b[^()=]*$')
_INIT_LIST = re.compile(r"\)[^:=]*(?<!:):(?!:)")
_NOT_A_NAME = {"requires", "noexcept", "decltype", "alignas", "__attribute__"}


def _blank(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


def without_comments(text: str) -> str:
    """Comments become spaces; lines stay where they are."""
    return _TOKEN.sub(lambda m: _blank(m[0]) if m[0].startswith(("//", "/*")) else m[0], text)


def string_literals(text: str) -> list[tuple[int, str]]:
    """(line, content) of every plain string literal outside comments."""
    return [(text.count("\n", 0, m.start()) + 1, m[0][1:-1]) for m in _TOKEN.finditer(text) if m[0].startswith('"')]


def _bare(text: str) -> str:
    """Without comments, literals and preprocessor lines."""
    return _DIRECTIVE.sub(lambda m: _blank(m[0]), _TOKEN.sub(lambda m: _blank(m[0]), text))


class Function(NamedTuple):
    name: str
    line: int
    lines: int  # from its first line to its closing brace


class _Scope(NamedTuple):
    kind: str  # "container", "function", "nested" (inside a function), "value" (braces of an initialiser)
    name: str
    line: int
    head: str  # what stood before a "value" brace, to go on with behind it


def _function_name(head: str) -> str:
    if re.search(r"\[[^\[\]]*\]\s*(\(.*\)[^()]*)?$", head, re.DOTALL) and "operator" not in head:
        named = re.findall(r"(\w+)\s*=", head)
        return named[-1] if named else "lambda"
    names = [n for n in re.findall(r"((?:[\w>]+::)*(?:operator\s*(?:\(\)|[^\s\w(]+|\w+)|~?\w+))\s*\(", head) if n not in _NOT_A_NAME]
    name = names[0] if names else "?"
    if re.fullmatch(r"[A-Z][A-Z0-9_]*", name):  # a macro: TEST(suite, law)
        name += "(" + re.sub(r"\s+", "", head.split(name, 1)[1].strip(" \n(").split(")")[0]) + ")"
    return name


def _without_template(head: str) -> str:
    """Drops leading template<...> clauses."""
    while match := re.match(r"\s*template\s*<", head):
        depth, at = 1, match.end()
        while at < len(head) and depth > 0:
            depth += {"<": 1, ">": -1}.get(head[at], 0)
            at += 1
        head = head[at:]
    return head


def _classify(head: str, inside: str) -> str:
    if inside in ("function", "nested"):
        return "nested"
    text = re.sub(r"^(?:\[\[[^\]]*\]\]\s*)+", "", _without_template(head).strip())
    if _CONTAINER.search(text):
        return "container"
    if text.count("(") != text.count(")"):
        return "value"
    if re.search(r"\]\s*(\([^{}]*\)[^(){}=]*)?$", text) and re.search(r"=\s*\[[^\]]*\]", text):
        return "function"  # a named lambda
    if ")" not in text or re.search(r"(?<![=!<>])=\s*[\w:<>]*$|\breturn\s*$", text):
        return "value"
    if _INIT_LIST.search(text) and re.search(r"[\w>]$", text):
        return "value"  # a member's braces in a constructor's initialiser list
    return "function"


def functions(text: str) -> list[Function]:
    """Functions with a body, outermost only: lambdas and local classes count as part of the function around them.

    Raises ValueError where braces do not balance, so that a file that cannot be read cannot pass."""
    found: list[Function] = []
    stack: list[_Scope] = []
    head, head_line, line = "", 0, 1
    for c in _bare(text):
        if c == "\n":
            line += 1
        if c == "{":
            kind = _classify(head, stack[-1].kind if stack else "container")
            name = _function_name(_without_template(head)) if kind == "function" else ""
            stack.append(_Scope(kind, name, head_line or line, head))
            head, head_line = "", 0
        elif c == "}":
            if not stack:
                raise ValueError(f"line {line}: a closing brace too many")
            scope = stack.pop()
            head, head_line = (scope.head + "{}", scope.line) if scope.kind == "value" else ("", 0)
            if scope.kind == "function":
                found.append(Function(scope.name, scope.line, line - scope.line + 1))
        elif c == ":" and head.strip() in ("public", "private", "protected"):
            head, head_line = "", 0
        elif c == ";" and head.count("(") <= head.count(")"):
            head, head_line = "", 0
        else:
            if not head.strip() and not c.isspace():
                head, head_line = "", line
            head += c
    if stack:
        raise ValueError(f"line {stack[-1].line}: a brace is not closed")
    return found

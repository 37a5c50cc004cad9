"""The checks against small repositories with one fault each: a check that cannot fail is none."""

import pathlib
import tempfile
import unittest

import check
import cpp_source
import text_checks
from tree import Tree

PLUGIN = 'NEMO_PLUGIN("model:gpt\\0", 1)\nDim d{hidden, "embed"};\n'
GLOSSARY = "# A\n\n## Axis words\n\n| word | meaning |\n|---|---|\n| `embed` | width |\n\n## Next\n| `other` | no |\n"
GOOD = {
    "dev": "cmd_build() { # build\n",
    ".ci/run": "",
    "README.md": "Text with `./dev build`.\n",
    "CONTRIBUTING.md": "How to add.\n",
    "docs/architecture.md": GLOSSARY,
    "docs/decisions.md": "# Decisions\n\n## 2026-01-02 One\nbecause\n",
    "sdk/include/nemo/abi.h": "#include <stdint.h>\n",
    "core/graph/a.hpp": '#include <vector>\n#include "nemo/abi.h"\n',
    "core/passes/partition_rules.cpp": '#include "core/graph/a.hpp"\nconst V kGlossary{"embed", ""};\n',
    "plugins/models/gpt/gpt.cpp": '#include "nemo/abi.h"\n#include "own.hpp"\n' + PLUGIN,
    "plugins/models/gpt/own.hpp": "",
}


class Repository(unittest.TestCase):
    """A temporary repository in which every check is content, until a test breaks one rule."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.root = pathlib.Path(self.folder.name)
        for path, text in GOOD.items():
            self.write(path, text)
        for path in ("dev", ".ci/run"):
            (self.root / path).chmod(0o755)

    def tearDown(self):
        self.folder.cleanup()

    def write(self, path: str, text: str):
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text, encoding="utf-8")

    def messages(self, name: str, excused=None) -> list:
        return check.judge(name, check.CHECKS[name](Tree(self.root)), excused or {})

    def refuses(self, name: str, path: str, text: str, part: str):
        self.assertEqual(self.messages(name), [])
        self.write(path, text)
        found = self.messages(name)
        self.assertEqual(len(found), 1, found)
        self.assertIn(part, found[0])


class Checks(Repository):
    def test_every_check_is_content_with_the_good_repository(self):
        for name in check.CHECKS:
            self.assertEqual(self.messages(name), [], name)

    def test_a_long_file_is_refused(self):
        self.refuses("file_sizes", "core/graph/b.cpp", "\n" * 601, "601 lines")

    def test_a_long_function_is_refused(self):
        self.refuses("function_sizes", "core/graph/b.cpp", "namespace a {\nint f() {\n" + "  g();\n" * 59 + "}\n}\n", "f has 61 lines")

    def test_a_kernel_may_be_longer_but_not_endless(self):
        self.write("plugins/backends/cpu/kernels/a.cpp", "void f() {\n" + "  g();\n" * 118 + "}\n")
        self.refuses("function_sizes", "plugins/backends/cpu/kernels/b.cpp", "void f() {\n" + "  g();\n" * 119 + "}\n", "f has 121 lines")

    def test_a_long_python_function_is_refused(self):
        self.refuses("function_sizes", "tests/a.py", "def f():\n" + "    g()\n" * 60, "f has 61 lines")

    def test_unbalanced_braces_are_refused(self):
        self.refuses("function_sizes", "core/graph/b.cpp", "void f() {\n", "not closed")

    def test_a_plugin_that_includes_core_is_refused(self):
        self.refuses("includes", "plugins/models/gpt/b.cpp", '#include "core/graph/a.hpp"\n', "core/graph/a.hpp")

    def test_a_plugin_that_includes_another_plugin_is_refused(self):
        self.write("plugins/models/llama/l.hpp", "")
        self.refuses("includes", "plugins/models/gpt/b.cpp", '#include "../llama/l.hpp"\n', "../llama/l.hpp")

    def test_core_that_includes_a_plugin_or_host_is_refused(self):
        self.refuses("includes", "core/graph/b.cpp", '#include "plugins/models/gpt/own.hpp"\n', "plugins/models")
        self.write("core/graph/b.cpp", "#include <host/main.hpp>\n")
        self.assertEqual(len(self.messages("includes")), 1)

    def test_an_sdk_header_that_includes_core_is_refused(self):
        self.refuses("includes", "sdk/include/nemo/b.h", '#include "core/graph/a.hpp"\n', "core/graph/a.hpp")

    def test_core_folders_in_a_circle_are_refused(self):
        self.refuses("includes", "core/graph/b.hpp", '#include "core/passes/plan.hpp"\n', "graph -> passes -> graph")

    def test_an_include_in_a_comment_is_none(self):
        self.write("plugins/models/gpt/b.cpp", '// #include "core/graph/a.hpp"\n/*\n#include "core/graph/a.hpp"\n*/\n')
        self.assertEqual(self.messages("includes"), [])

    def test_core_that_names_a_plugin_is_refused(self):
        self.refuses("plugin_ids", "core/graph/b.cpp", 'if (id == "gpt") return;  // "gpt"\n', "gpt")
        self.write("core/graph/b.cpp", 'field("plugin", "\\"gpt\\"");\n')
        self.assertEqual(len(self.messages("plugin_ids")), 1)
        self.write("core/graph/b.cpp", 'throw Error("such as gpt and others");\n')
        self.assertEqual(self.messages("plugin_ids"), [])

    def test_a_vague_file_name_is_refused(self):
        self.refuses("file_names", "core/graph/string_utils.hpp", "", "string_utils")

    def test_a_marker_is_refused(self):
        self.refuses("markers", "core/graph/b.cpp", "// TO" + "DO later\n", "core/graph/b.cpp:1")

    def test_a_script_that_cannot_be_run_is_refused(self):
        (self.root / "dev").chmod(0o644)
        self.assertEqual(len(self.messages("executables")), 1)

    def test_an_unknown_command_is_refused(self):
        self.refuses("commands", "README.md", "`./dev build`\n```\n./dev fly\n```\n", "./dev fly")

    def test_a_long_or_undated_decision_is_refused(self):
        self.refuses("documents", "docs/decisions.md", "# D\n\n## 2026-01-02 A\n" + "a\n" * 7, "2026-01-02 A")
        self.write("docs/decisions.md", "# D\n\n## Undated\na\n")
        self.assertEqual(len(self.messages("documents")), 1)

    def test_a_long_contributing_is_refused(self):
        self.refuses("documents", "CONTRIBUTING.md", "a\n" * 121, "121 lines")

    def test_a_dead_link_is_refused(self):
        self.refuses("documents", "docs/a.md", "[there](../core/nowhere.hpp)\n", "nowhere")

    def test_an_axis_word_outside_the_glossary_is_refused(self):
        self.refuses("glossary", "plugins/models/gpt/b.cpp", 'x = w({{n, "embed"}, {m, "other"}});\n', "'other'")

    def test_a_glossary_that_core_does_not_share_is_refused(self):
        self.refuses("glossary", "core/passes/partition_rules.cpp", 'const V kGlossary{"embed", "heads", ""};\n', "'heads'")

    def test_an_exception_excuses_and_a_stale_one_is_refused(self):
        self.write("core/graph/b.cpp", "\n" * 601)
        self.assertEqual(self.messages("file_sizes", {("file_sizes", "core/graph/b.cpp"): "reason"}), [])
        self.write("core/graph/b.cpp", "")
        self.assertIn("remove it", self.messages("file_sizes", {("file_sizes", "core/graph/b.cpp"): "reason"})[0])

    def test_an_exception_without_a_reason_is_refused(self):
        self.assertRaises(SystemExit, check.exceptions, "file_sizes core/graph/b.cpp\n")


class Functions(unittest.TestCase):
    def sizes(self, text: str) -> list:
        return [(f.name, f.lines) for f in cpp_source.functions(text)]

    def test_namespaces_classes_and_members(self):
        text = "namespace a {\nclass B : public C {\n public:\n  int f() const { return 1; }\n  struct D {\n    void g()\n    {\n    }\n  };\n};\n}\n"
        self.assertEqual(self.sizes(text), [("f", 1), ("g", 3)])

    def test_initialiser_lists_and_default_arguments(self):
        text = "A::A(int x, B b = {})\n    : C(x), d_{x}, e_(b) {\n  f();\n}\nint g{3};\nX h[] = {{1, f(2)}, {3}};\n"
        self.assertEqual(self.sizes(text), [("A::A", 4)])

    def test_lambdas_count_in_the_function_around_them(self):
        text = "void f() {\n  g([&] {\n    if (x) { y(); }\n  });\n}\nconst auto k = [](int i) {\n  return i;\n};\n"
        self.assertEqual(self.sizes(text), [("f", 5), ("k", 3)])

    def test_templates_trailing_types_and_operators(self):
        text = "template <void (*F)(int), class T = X<int>>\nauto f(T t) -> std::vector<T> {\n}\nbool operator==(A a) const noexcept { return true; }\nA::operator int() { return 1; }\n"
        self.assertEqual([n for n, _ in self.sizes(text)], ["f", "operator==", "A::operator int"])

    def test_braces_in_literals_comments_and_directives_do_not_count(self):
        text = "void f() {\n  a('{', \"}\", R\"x(}}})x\", 1'000);  // }\n  /* } */\n}\n#define M(x) { x\n"
        self.assertEqual(self.sizes(text), [("f", 4)])

    def test_macros_that_define_functions(self):
        self.assertEqual(self.sizes("TEST(suite, law) {\n  EXPECT_EQ(1, 1);\n}\n"), [("TEST(suite,law)", 3)])


class Commands(unittest.TestCase):
    def test_host_commands_are_words_behind_the_program(self):
        text = "```\nbuild/bin/nemo-host pretrain --recipe a\nnemo-host --recipe a.toml\n```\nand `nemo-host plugins list`; nemo-host is a program\n"
        self.assertEqual(text_checks.host_commands_named(text), ["pretrain", "plugins"])


if __name__ == "__main__":
    unittest.main()

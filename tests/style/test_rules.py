"""Each rule of rules.py finds a bad snippet and leaves a good one alone."""
import json
import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import rules  # noqa: E402
import test_static  # noqa: E402
from rules import File  # noqa: E402

LONG = "void f(void)\n{\n" + "    g();\n" * 69 + "}\n"
MARK = "TO" + "DO"

# rule, path, bad text, good text
CASES = [
    (rules.floors, "shm/a.c", '#include "proto/job.h"\n', '#include "shm/log.h"\n'),
    (rules.floors, "proto/a.c", '#include "shm/lane.h"\n', '#include "shm/base.h"\n'),
    (rules.floors, "frontend/a.c", '#include "gpu_worker/encoder.h"\n', '#include "shm/lane.h"\n'),
    (rules.floors, "gpu_worker/a.cu", '#include "shm/lane.h"\n', '#include "models/model.h"\n'),
    (rules.floors, "models/a.c", '#include "../shm/base.h"\n', "#include <string.h>\n"),
    (rules.floors, "models/a.c", '#include "model.h"\n', '#include "models/model.h"\n'),
    (rules.ground, "shm/base.h", '#include "shm/lane.h"\n', "#include <time.h>\n"),
    (rules.ground, "shm/file.c", '#include "shm/lane.h"\n', '#include "shm/file.h"\n'),
    (rules.width, "shm/a.c", "x" * 101 + "\n", "x" * 100 + "\n"),
    (rules.width, "shm/a.c", "\tint a;\n", "    int a;\n"),
    (rules.width, "scripts/a.py", "a = 1 \n", "a = 1\n"),
    (rules.function_length, "shm/a.c", LONG.replace("    g();\n", "    g();\n    h();\n", 1),
     LONG.replace("    g();\n", "", 1)),
    (rules.function_length, "scripts/a.py", "def f():\n" + "    g()\n" * 70, "def f():\n    g()\n"),
    (rules.function_length, "scripts/a.sh", "f() {\n" + "    g\n" * 69 + "}\n",
     "f() {\n    g\n}\n"),
    (rules.script_length, "scripts/a.sh", "f\n" * 251, "f\n" * 250),
    (rules.banned_calls, "shm/a.c", "strcpy(a, b);\n", "my_strcpy(a, b); /* strcpy(a, b) */\n"),
    (rules.banned_calls, "tests/a.c", "system(a);\n", "strcpy(a, b);\n"),
    (rules.banned_calls, "shm/a.c", "    rand();\n", 'log("rand()"); x.rand(); brand();\n'),
    (rules.exits, "shm/a.c", "void f(void)\n{\n    exit(1);\n}\n", "thread_exit(1);\n"),
    (rules.exits, "shm/a.c", "    _exit(1);\n", "int main(void)\n{\n    exit(1);\n}\n"),
    (rules.lost_traps, "scripts/children.sh", "f && continue\n", "f # and continue\n"),
    (rules.lost_traps, "scripts/settings.sh", "a=$(b)\n", "a=$((b))\n"),
    (rules.lost_traps, "scripts/supervisor", "trap f HUP\nread a < <(b)\n", "a=$(b)\ntrap f HUP\n"),
    (rules.leftovers, "docs/a.md", f"{MARK}: all\n", "todo lists are fine\n"),
    (rules.leftovers, "shm/a.c", "#if 0\n#endif\n", "#if defined(A)\n#endif\n"),
    (rules.machine_paths, "docs/a.md", "see /ro" "ot/x\n", "see ../root/x, $HOME/work/x\n"),
    (rules.introduction, "shm/a.c", "#include <a.h>\n", "/* What it is. */\n"),
    (rules.introduction, "scripts/a", "#!/usr/bin/env bash\nset -e\n",
     "#!/usr/bin/env bash\n# It.\n"),
    (rules.header_guard, "shm/a.h", "#ifndef A\n#define A\n",
     "#ifndef WEIR_SHM_A_H\n#define WEIR_SHM_A_H\n"),
]


class RulesTest(unittest.TestCase):
    def test_every_rule_finds_its_bad_snippet_and_spares_the_good_one(self):
        for rule, path, bad, good in CASES:
            with self.subTest(rule=rule.__name__, bad=bad[:40]):
                self.assertTrue(list(rule(File(path, bad))))
                self.assertEqual(list(rule(File(path, good))), [])

    def test_every_rule_has_a_case(self):
        self.assertEqual({case[0] for case in CASES}, set(rules.FILE_RULES))

    def test_a_source_file_that_no_build_rule_names_is_found(self):
        build = File("shm/CMakeLists.txt", "add_library(x a.c)\nforeach(n bell)\ntest_${n}.c\n")
        files = [build] + [File(f"shm/{name}.c", "") for name in ("a", "b", "test_bell", "test_y")]
        self.assertEqual([path for path, _ in rules.unbuilt(files)], ["shm/b.c", "shm/test_y.c"])

    def test_the_static_analysers_find_a_leak(self):
        if not test_static.find_tidy():
            self.skipTest("no clang-tidy here")
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "bad.c")
            with open(path, "w", encoding="utf-8") as file:
                file.write("#include <stdlib.h>\nchar f(void);\nchar f(void)\n{\n"
                           "    char *p = malloc(4);\n    if (!p)\n        return 1;\n"
                           "    p[0] = 0;\n    return p[0];\n}\n")
            with open(os.path.join(folder, "compile_commands.json"), "w", encoding="utf-8") as file:
                json.dump([{"file": path, "directory": folder, "command": "cc -c bad.c"}], file)
            self.assertIn("leak", test_static.check(folder, test_static.find_tidy(),
                                                    {"file": path}))


if __name__ == "__main__":
    unittest.main()

#!/usr/bin/env python3
"""The house conventions that a program can check.

Prints one line per check: ok, FAIL (with findings) or skip. With names of checks as arguments only those run. Everything is read from the files git tracks (or, outside a
clone, from the tree less build directories).
"""

import ast
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIBRARIES = ("proto", "kernels", "engine", "server", "load", "sim")

# room -> rooms whose headers it may include (docs/design.md, 'Rooms'). A room may always include its own.
MAY_INCLUDE = {
    "proto": (),
    "kernels": (),
    "engine": ("kernels",),
    "server": ("engine", "proto"),
    "load": ("engine", "proto"),
    "sim": ("engine", "kernels"),
    "cli": LIBRARIES,
    "tests": LIBRARIES + ("cli",),
}
# (file, header): the one way up. A command implements the entry that the command line lists.
ALSO_INCLUDES = {
    ("server/serve.c", "cli/command.h"),
    ("server/generate.c", "cli/command.h"),
    ("server/stubs.c", "cli/command.h"),
}

FUNCTION_LINES_MAX = 120
LONG_FUNCTIONS = {
    # (file, function): why it may be longer than the limit. Tables and command lines only.
}

HEADER_LINES_MAX = 200
LONG_HEADERS = {
    "kernels/kernels.h": "the op table: one contract per op",
    "kernels/cpu/simd/vec.h": "inline code, private to its folder",
}

FILE_BYTES_MAX = 16 << 20
MODEL_BYTES_MAX = 40_000_000

# Where the process's environment may be read, and where the process may be ended: not in a library.
MAINS = re.compile(r"^(cli/.*|server/main\.c|tests/.*|tools/.*)$")

# Written so that this file does not match itself.
MACHINE_PATHS = re.compile(r"(?<![\w.~-])/(?:wo[r]k|ro[o]t|ho[m]e/\w+|tmp/k[t])/")
REGISTRIES = re.compile(r"deb\.debia[n]\.org|snapshot\.debia[n]|registry\.npmj[s]\.org|pypi\.or[g]")

SOURCE = (".c", ".h", ".cpp", ".cu", ".cuh")
TEXT = SOURCE + (".py", ".sh", ".js", ".mjs", ".md", ".json", ".html", ".css", ".build", ".txt")
SKIPPED_FOLDERS = re.compile(r"\.git|node_modules|__pycache__|build.*")


def tracked():
    """Every file of the project, relative to its root."""
    git = None
    if shutil.which("git"):
        git = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT,
                             capture_output=True, text=True)
    if git and git.returncode == 0:
        names = git.stdout.split("\n")
    else:
        names = []
        for folder, folders, files in os.walk(ROOT):
            folders[:] = [f for f in folders if not SKIPPED_FOLDERS.fullmatch(f)]
            names += [os.path.relpath(os.path.join(folder, f), ROOT) for f in files]
    return sorted(n for n in names if n and (ROOT / n).is_file())


FILES = tracked()


def named(*suffixes):
    return [f for f in FILES if f.endswith(suffixes)]


def text_files():
    return [f for f in FILES if pathlib.Path(f).suffix in TEXT or "." not in pathlib.Path(f).name]


def lines(name):
    return (ROOT / name).read_text(encoding="utf-8", errors="replace").split("\n")


def without_comments(name):
    """The source with comments and string contents blanked; line numbers stay."""
    text = (ROOT / name).read_text(encoding="utf-8", errors="replace")
    token = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
    return token.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text).split("\n")


def check_format():
    """clang-format 14 (.clang-format) would change nothing."""
    tool = shutil.which("clang-format-14")
    if not tool:
        return None
    found = []
    for name in named(*SOURCE):
        want = subprocess.run([tool, "--style=file", name], cwd=ROOT, capture_output=True, text=True).stdout
        if want == (ROOT / name).read_text(encoding="utf-8"):
            continue
        diff = subprocess.run(["diff", "-u", "--label", name, "--label", "formatted", name, "-"],
                              cwd=ROOT, input=want, capture_output=True, text=True).stdout
        found.append("\n".join(diff.split("\n")[:40]))
    return found


def check_layers():
    """Each room includes only the rooms below it, by paths from the root of the project."""
    found = []
    for name in named(*SOURCE):
        room = name.split("/")[0]
        allowed = (room,) + MAY_INCLUDE.get(room, ())
        for number, line in enumerate(lines(name), 1):
            m = re.match(r'\s*#\s*include\s*"([^"]+)"', line)
            if not m:
                continue
            target = m.group(1)
            beside = "/" not in target and (ROOT / name).parent.joinpath(target).exists()
            if (beside and room == "tests") or (name, target) in ALSO_INCLUDES:
                continue
            if ".." in target.split("/") or target.split("/")[0] not in allowed:
                found.append(f'{name}:{number}: "{target}" ({room} may include: {", ".join(allowed)})')
    return found


def c_functions(name):
    """(first line, length, name) of each function of a C file; braces stand in column 0 (check_format)."""
    start, source = None, without_comments(name)
    for i, line in enumerate(source):
        if line.rstrip() == "{":
            start = i
        elif line.startswith("}") and start is not None:
            head = " ".join(source[max(0, start - 6):start])
            words = re.findall(r"(\w+)\s*\(", head.rsplit("}", 1)[-1].rsplit(";", 1)[-1])
            yield start, i - start + 1, words[0] if words else "?"
            start = None


def python_functions(name):
    for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.lineno, node.end_lineno - node.lineno + 1, node.name


def check_functions():
    """No function is longer than 120 lines (median wanted: 15)."""
    found, lengths = [], []
    for name in named(".c", ".cu", ".py"):
        functions = python_functions if name.endswith(".py") else c_functions
        for line, length, function in functions(name):
            lengths.append(length)
            if length > FUNCTION_LINES_MAX and (name, function) not in LONG_FUNCTIONS:
                found.append(f"{name}:{line}: {function} has {length} lines")
    lengths.sort()
    if lengths:
        print(f"     {len(lengths)} functions: median {lengths[len(lengths) // 2]}, "
              f"90 % {lengths[len(lengths) * 9 // 10]}, longest {lengths[-1]} lines")
    return found


def check_headers():
    """A header is a contract that one can read at once: 200 lines at most."""
    return [f"{n}: {len(lines(n)) - 1} lines" for n in named(".h")
            if len(lines(n)) - 1 > HEADER_LINES_MAX and n not in LONG_HEADERS]


def check_calls():
    """Libraries read no environment and end no process; errors are returned."""
    found = []
    for name in named(*SOURCE):
        if MAINS.match(name) or name == "engine/base/assert.c":
            continue
        for number, line in enumerate(without_comments(name), 1):
            m = re.search(r"\b(getenv|secure_getenv|setenv|_?exit|_Exit|quick_exit|abort)\s*\(", line)
            if m:
                found.append(f"{name}:{number}: {m.group(1)}()")
    return found


def check_places():
    """No absolute path of somebody's machine and no package registry by host name."""
    found = []
    for name in text_files():
        for number, line in enumerate(lines(name), 1):
            for pattern in (MACHINE_PATHS, REGISTRIES):
                m = pattern.search(line)
                if m:
                    found.append(f"{name}:{number}: {m.group()}")
    return found


def check_documents():
    """Every .md that a comment or document names exists, seen from the root or from the naming file."""
    found = []
    for name in text_files():
        for number, line in enumerate(lines(name), 1):
            for target in re.findall(r"(?<![\w/.*-])[\w.-][\w./-]*\.md\b", re.sub(r"\w+://\S+", "", line)):
                if not any((folder / target).is_file() for folder in (ROOT, (ROOT / name).parent)):
                    found.append(f"{name}:{number}: {target}")
    return found


def check_sizes():
    """No file over 16 MiB; the demo model, which may have larger ones, at most 40 MB in all."""
    size = {n: (ROOT / n).stat().st_size for n in FILES}
    model = sum(s for n, s in size.items() if n.startswith("models/demo/"))
    found = [f"{n}: {s} bytes" for n, s in size.items()
             if s > FILE_BYTES_MAX and not n.startswith("models/demo/")]
    if model > MODEL_BYTES_MAX:
        found.append(f"models/demo: {model} bytes in all, at most {MODEL_BYTES_MAX}")
    return found


def check_whitespace():
    """.editorconfig: no tabs to indent, no trailing blanks, one newline at the end."""
    found = []
    for name in text_files():
        text = (ROOT / name).read_text(encoding="utf-8", errors="replace")
        if text and not text.endswith("\n"):
            found.append(f"{name}: no newline at the end")
        for number, line in enumerate(text.split("\n"), 1):
            if line.startswith("\t") or (line != line.rstrip() and not name.endswith(".md")) or "\r" in line:
                found.append(f"{name}:{number}: tab, trailing blank or carriage return")
    return found


def check_json():
    """Every .json parses; config/ may have // comments."""
    found = []
    for name in named(".json"):
        text = (ROOT / name).read_text(encoding="utf-8")
        if name.startswith("config/"):
            text = re.sub(r'("(?:\\.|[^"\\])*")|//[^\n]*', lambda m: m.group(1) or "", text)
        try:
            json.loads(text)
        except ValueError as e:
            if "/hostile/" not in name and "/bad" not in name:
                found.append(f"{name}: {e}")
    return found


def check_shell():
    """shellcheck finds nothing in the shell scripts."""
    tool = shutil.which("shellcheck")
    if not tool:
        return None
    scripts = [n for n in text_files() if n.endswith(".sh") or re.match(r"#!.*\b(ba)?sh$", lines(n)[0])]
    r = subprocess.run([tool, "-x", "-S", "warning", *scripts], cwd=ROOT, capture_output=True, text=True)
    return r.stdout.strip().split("\n") if r.returncode else []


def main():
    checks = {n[6:]: f for n, f in globals().items() if n.startswith("check_")}
    wanted = sys.argv[1:] or list(checks)
    failed = 0
    for name in wanted:
        if name not in checks:
            sys.exit(f"there is no check '{name}'; there are: {', '.join(checks)}")
        found = checks[name]()
        if found is None:
            print(f"skip {name}: its tool is not installed")
            continue
        print(f"{'FAIL' if found else 'ok  '} {name}: {checks[name].__doc__}")
        for finding in found[:50]:
            print("     " + finding.replace("\n", "\n     "))
        if len(found) > 50:
            print(f"     and {len(found) - 50} more")
        failed += bool(found)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

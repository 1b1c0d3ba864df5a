#!/usr/bin/env python3
"""Checks what no compiler does: where files lie, in which order they import each other, and that none names
the machine it was written on."""

import json
import os
import re
import subprocess
import sys

sys.dont_write_bytecode = True
import imports

TOP_LEVEL = {
    "Cargo.toml", "Cargo.lock", "README.md", "LICENSE-MIT", "LICENSE-APACHE",
    "src", "examples", "tests", "benches",
}
LIBRARY = "tower-reauth"
IN_THE_PACKAGE = {
    "Cargo.toml", "README.md", "LICENSE-MIT", "LICENSE-APACHE", "src/lib.rs",
    "tests/hosts.rs", "tests/jwt/main.rs", "tests/library/main.rs", "tests/limiter.rs", "tests/loom/main.rs", "tests/proxy.rs",
}
NOT_IN_THE_PACKAGE = (
    ".ci", ".github", "benches/", "examples/", "tests/client/", "tests/gateway/", "tests/openclaw", "tests/served/",
    "tests/streams/",
)
CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"

# Where machines have their homes and checkouts. Below `/home` tests make up paths of their own.
MACHINE_PATH = re.compile(r"(?<![\w.~}-])/(?:root|work|Users)/")
# A package manager's settings: whoever builds has their own.
SETTINGS = {".npmrc", "pip.conf", "config.toml"}
# Recorded from a real server, byte for byte: the paths in them are its own.
RECORDED = (".jsonl", ".json", ".json.bak", ".gz")


# Modules are named from here on down.
MODULE_ROOTS = {"src/lib.rs", "examples/gateway.rs"}
MODULE = re.compile(r"^\s*(?:pub(?:\([^)]*\))? )?mod (\w+)(?:;| \{)", re.M)


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def unnamed_modules(files):
    """Rust files that the compiler never sees, as no file beside or above them names their module."""
    for file in files:
        folder, name = os.path.split(file.removesuffix("/mod.rs").removesuffix(".rs"))
        if file in MODULE_ROOTS:
            continue
        parents = [f"{folder}/{parent}.rs" for parent in ("mod", "lib")] + [f"{folder}.rs"]
        named = set()
        for parent in filter(os.path.isfile, parents):
            with open(parent, encoding="utf-8") as text:
                named.update(MODULE.findall(text.read()))
        if name not in named:
            yield file


def problems():
    files = output("git", "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    for name in sorted({file.split("/")[0] for file in files} - TOP_LEVEL):
        if not name.startswith("."):
            yield f"{name}: has no place at the top level"

    this_machine = [path for path in (os.getcwd(), os.path.expanduser("~/")) if path != "/"]
    for file in files:
        if os.path.basename(file) in SETTINGS and not file.startswith(("src/", "tests/", "examples/")):
            yield f"{file}: settings of a package manager"
        if not os.path.isfile(file) or file.startswith("tests/") and file.endswith(RECORDED):
            continue
        with open(file, encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, 1):
                if MACHINE_PATH.search(line) or any(path in line for path in this_machine):
                    yield f"{file}:{number}: names a path of somebody's machine"

    rust = [file for file in files if file.endswith(".rs") and file.startswith(("src/", "examples/gateway/"))]
    for file in unnamed_modules(filter(os.path.isfile, rust)):
        yield f"{file}: no `mod` names it"
    yield from imports.wrong_imports("src/lib.rs", imports.TIERS)

    with open("Cargo.lock", encoding="utf-8") as lock:
        for source in sorted(set(re.findall(r'^source = "(.*)"$', lock.read(), re.M)) - {CRATES_IO}):
            yield f"Cargo.lock: a source other than crates.io: {source}"
    metadata = json.loads(output("cargo", "metadata", "--no-deps", "--format-version", "1", "--locked"))
    for package in metadata["packages"]:
        if package["name"] != LIBRARY and package["publish"] != []:
            yield f"{package['name']}: could be published"
    packaged = set(output("cargo", "package", "-p", LIBRARY, "--list", "--allow-dirty", "--locked").splitlines())
    for file in sorted(IN_THE_PACKAGE - packaged):
        yield f"{file}: missing from the package"
    for file in sorted(packaged):
        if file.startswith(NOT_IN_THE_PACKAGE):
            yield f"{file}: has no business in the package"


found = list(problems())
for problem in found:
    print(problem, file=sys.stderr)
sys.exit(1 if found else 0)

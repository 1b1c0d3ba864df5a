"""In which order the library's files import each other: a file imports from its own tier and from those
below it, never from above."""

import os
import re

# From the bottom up. What a line names lies below `src`: a file, or a folder with all in it that no other
# line names.
TIERS = [
    # Values, and what every room uses.
    [
        "authority.rs", "claims.rs", "clock.rs", "counts.rs", "fault.rs", "http_client/", "identity.rs", "media_type.rs", "sync.rs",
        "timer.rs", "unwind.rs", "scope/few.rs", "scope/set.rs",
    ],
    ["origin.rs"],
    ["scope/requirement.rs", "scope/hierarchy.rs", "scope/granted.rs"],
    ["denied.rs", "ended.rs", "grpc.rs"],
    # Is a credential good, and what takes the answer back.
    ["verify/", "revoke/"],
    # The access, what is said of it, and how a refusal is answered.
    ["scope/resolve.rs", "scope/resolution.rs", "challenge.rs", "access/", "observe.rs", "respond/"],
    # The layers of the three questions.
    ["bearer/", "scope/", "reauth/"],
    # Neighbours behind features.
    ["axum.rs", "hosts/", "json_rpc/", "limiter/", "proxy/", "resource_metadata/", "session/", "threat_model.rs", "websocket/"],
]

NO_CODE = re.compile(
    r"""//[^\n]*|/\*.*?\*/|\bb?r(?P<hashes>\#*)".*?"(?P=hashes)|"(?:\\.|[^"\\])*"|'(?:\\.[^']*|[^\\'])'"""
    r"|\bpub\s*\([^)]*\)",
    re.S,
)
FILE_MODULE = re.compile(r"\bmod\s+(\w+)\s*;")
INLINE_MODULE = re.compile(r"\bmod\s+(\w+)\s*\{")
USE = re.compile(r"\buse\s+(?!<|::)")
PATH = re.compile(r"(?<![\w:.])(?=\w+\s*::\s*[\w{*])")
ITEM = r"\b(?:fn|struct|enum|union|trait|type|const|static|macro_rules!)\s+%s\b"


def tree(text, at):
    """The paths of the `a::{b, c::d as e}` that starts there, each with the name that it gives, and where
    it ends."""
    while text[at].isspace():
        at += 1
    if text[at] == "{":
        paths, at = [], at + 1
        while (gap := re.compile(r"[\s,]*").match(text, at)) and text[gap.end()] != "}":
            more, at = tree(text, gap.end())
            paths += more
        return paths, gap.end() + 1
    if text[at] == "*":
        return [(["*"], None)], at + 1
    segment = re.compile(r"\w+").match(text, at)
    name, at = segment[0], segment.end()
    if follows := re.compile(r"\s*::\s*(?=[\w{*])").match(text, at):
        paths, at = tree(text, follows.end())
        paths = [([name] if path == ["self"] else [name, *path], name if path == ["self"] else given)
                 for path, given in paths]
        return paths, at
    alias = re.compile(r"\s+as\s+(\w+)").match(text, at)
    return [([name], alias[1] if alias else name)], alias.end() if alias else at


def end_of_block(text, at):
    """Where the block ends whose brace is just before there."""
    depth = 1
    while depth:
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        at += 1
    return at


class Module:
    """One file: what it declares, and every path in it, with the number of inline modules around it."""

    def __init__(self, file, parent):
        self.file, self.parent = file, parent or self
        with open(file, encoding="utf-8") as source:
            text = NO_CODE.sub(lambda found: " " * len(found[0]), source.read())
        blocks = [(found.end(), end_of_block(text, found.end())) for found in INLINE_MODULE.finditer(text)]

        def depth(at):
            return sum(start <= at < end for start, end in blocks)

        self.text, self.paths, self.names, self.globs = text, [], {}, []
        code = text
        for found in USE.finditer(text):
            paths, end = tree(text, found.end())
            code = code[:found.start()] + " " * (end - found.start()) + code[end:]
            for path, name in paths:
                self.paths.append((path, depth(found.start())))
                if not depth(found.start()):
                    if name is None:
                        self.globs.append(path[:-1])
                    else:
                        self.names[name] = path
        for found in PATH.finditer(code):
            self.paths += [(path, depth(found.start())) for path, _ in tree(code, found.end())[0]]

        folder, name = os.path.split(file)
        if name not in ("lib.rs", "mod.rs"):
            folder = file.removesuffix(".rs")
        self.children = {}
        for name in FILE_MODULE.findall(text):
            places = (f"{folder}/{name}.rs", f"{folder}/{name}/mod.rs")
            self.children[name] = Module(next(filter(os.path.isfile, places)), self)

    def all(self):
        yield self
        for child in self.children.values():
            yield from child.all()

    def root(self):
        return self if self.parent is self else self.parent.root()

    def find(self, name, asked=()):
        """The module that a name in this one leads to, or that defines it; `None` if nothing here does."""
        if (self, name) in asked:
            return None
        asked = (*asked, (self, name))
        if name in self.children:
            return self.children[name]
        if name in self.names:
            return self.resolve(self.names[name], asked)
        if re.search(ITEM % name, self.text):
            return self
        for glob in self.globs:
            module = self.resolve(glob, asked)
            if module and module is not self and (found := module.find(name, asked)):
                return found
        return None

    def resolve(self, path, asked=(), inline=0):
        """The module that defines what a path names, or `None` if that is another crate's."""
        module, first = self, True
        for segment in path:
            if segment == "crate" and first:
                module, inline = self.root(), 0
            elif segment == "super":
                module, inline = (module, inline - 1) if inline else (module.parent, 0)
            elif segment in ("self", "*"):
                pass
            else:
                found = module.find(segment, asked)
                if found is None:
                    return None if first else module
                is_module = found is not module and segment in (*module.children, *module.names)
                module = found
                if not is_module:
                    break
            first = False
        return module


def wrong_imports(root, tiers):
    """Each import that goes up, and each file that is in no tier, as a line that says so."""
    folder = os.path.dirname(root)
    places = {place: tier for tier, line in enumerate(tiers) for place in line}

    def tier(file):
        file = os.path.relpath(file, folder)
        named = [place for place in places if file == place or place.endswith("/") and file.startswith(place)]
        return places[max(named, key=len)] if named else None

    for module in Module(root, None).all():
        if module.file == root:
            continue
        if tier(module.file) is None:
            yield f"{module.file}: is in no tier of .ci/imports.py"
            continue
        imported = {found.file for path, inline in module.paths if (found := module.resolve(path, inline=inline))}
        for file in sorted(imported - {root, module.file}):
            if tier(file) is not None and tier(file) > tier(module.file):
                yield f"{module.file}: imports {file}, which stands above it"

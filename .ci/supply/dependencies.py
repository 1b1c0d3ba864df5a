#!/usr/bin/env python3
"""Holds every dependency to deny.toml: its licence, its source, that it is not banned, and that what is shipped has it once.

It reads of deny.toml what stands in ours, as cargo-deny reads it, and needs no tool to be built for that. What cargo-deny
knows besides, advisories, needs a network."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections import defaultdict

HERE = os.path.dirname(os.path.abspath(__file__))
# What somebody runs; the rest is for who builds or tests it.
SHIPPED = ("tower-reauth", "examples")
# How many crates one builds who takes the library without its features, itself included, whatever the target.
BY_DEFAULT = 25
# The Rust that the library is for, and the features that need a later one.
RUST = (1, 85)
LATER = {"jwt": (1, 88), "jwt-aws-lc-rs": (1, 88), "jwks": (1, 88), "redis": (1, 88)}


def cargo(*command):
    return subprocess.run(["cargo", *command], check=True, capture_output=True, text=True).stdout


def terms(licence):
    """The parts of an SPDX expression. A slash is an old way to say OR."""
    return re.findall(r"\(|\)|AND|OR|[^\s()]+(?:\s+WITH\s+[^\s()]+)?", licence.replace("/", " OR "))


def is_allowed(licence, allowed):
    """Whether the expression can be met with these licences; AND binds tighter than OR (SPDX annex D)."""
    tokens = terms(licence)

    def any_of():
        met = all_of()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            met |= all_of()
        return met

    def all_of():
        met = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            met &= one()
        return met

    def one():
        token = tokens.pop(0)
        if token == "(":
            met = any_of()
            if not tokens or tokens.pop(0) != ")":
                raise ValueError(f"no SPDX expression: {licence}")
            return met
        if token in (")", "AND", "OR"):
            raise ValueError(f"no SPDX expression: {licence}")
        return " ".join(token.split()) in allowed

    met = any_of()
    if tokens:
        raise ValueError(f"no SPDX expression: {licence}")
    return met


def crate(spec):
    """The name and the version that `name@version` stands for; the version may be the beginning of one."""
    name, _, version = spec.partition("@")
    return name, version


def is_version(version, beginning):
    return version == beginning or version.startswith(f"{beginning}.") or not beginning


def built(name, *flags, target):
    """Each crate, as name and version, that a package is built from, itself included, with those that it is built from.

    As `cargo tree` has it: `cargo metadata` adds what other packages of the workspace want of the same crates."""
    tree = cargo(
        "tree", "--locked", "-p", name, *flags, "-e", "normal,build", "--target", target,
        "--prefix", "depth", "--format", " {p}",
    )
    found, above = {}, []
    for line in filter(None, tree.splitlines()):
        depth, crate, version = line.split()[:3]
        found.setdefault((crate, version.removeprefix("v")), set())
        above[int(depth):] = [(crate, version.removeprefix("v"))]
        if len(above) > 1:
            found[above[-2]].add(above[-1])
    return found


def problems(policy, everything, shipped):
    """What is wrong: `everything` is all of the workspace, for any target; `shipped` the names and versions of what is."""
    members = set(everything["workspace_members"])
    strangers = [package for package in everything["packages"] if package["id"] not in members]
    named = lambda package: f"{package['name']} {package['version']}"

    exceptions = {exception["crate"]: exception["allow"] for exception in policy["licenses"].get("exceptions", [])}
    for package in strangers:
        allowed = set(policy["licenses"]["allow"]) | set(exceptions.get(package["name"], []))
        if not package["license"] or not is_allowed(package["license"], allowed):
            yield f"{named(package)}: licence {package['license']} is not allowed"
    for name in exceptions.keys() - {package["name"] for package in strangers}:
        yield f"deny.toml: nothing needs the exception for {name}"

    sources = {f"registry+{registry}" for registry in policy["sources"]["allow-registry"]}
    for package in strangers:
        if package["source"] not in sources:
            yield f"{named(package)}: source {package['source']} is not allowed"

    for ban in policy["bans"]["deny"]:
        name, beginning = crate(ban["crate"])
        for other, version in shipped:
            if other == name and is_version(version, beginning):
                yield f"{name} {version} is banned: {ban['reason']}"

    for package in everything["packages"]:
        if package["id"] in members:
            for on in package["dependencies"]:
                if on["req"] == "*" and not on.get("path"):
                    yield f"{package['name']}: takes any version of {on['name']}"

    versions = defaultdict(set)
    for name, version in shipped:
        versions[name].add(version)
    skipped = [crate(skip["crate"]) for skip in policy["bans"]["skip"]]
    for name, all_of_it in versions.items():
        left = {
            version
            for version in all_of_it
            if not any(name == other and is_version(version, beginning) for other, beginning in skipped)
        }
        if len(left) > 1:
            yield f"{name} is there {len(left)} times: {', '.join(sorted(left))}"
    for name, beginning in skipped:
        if len(versions[name]) < 2 or not any(is_version(version, beginning) for version in versions[name]):
            yield f"deny.toml: {name} {beginning} is not there beside another"


def version(text):
    return tuple(int(part) for part in text.split("."))


def too_new(everything):
    """Features of the library that need a later Rust than is said."""
    rust = {
        (package["name"], package["version"]): version(package["rust_version"])[:2]
        for package in everything["packages"]
        if package["rust_version"]
    }
    [library] = (package for package in everything["packages"] if package["name"] == "tower-reauth")
    yield from (f"there is no feature {name}" for name in LATER.keys() - library["features"].keys())
    for feature in ["", *(name for name in library["features"] if not name.startswith("_"))]:
        needs = {
            crate: rust[crate]
            for crate in built("tower-reauth", "--no-default-features", "--features", feature, target="all")
            if rust.get(crate, RUST) > LATER.get(feature, RUST)
        }
        for (name, number), least in needs.items():
            yield f"the feature {feature!r} needs Rust {least[0]}.{least[1]}, for {name} {number}"


def main():
    with open(os.path.join(HERE, "deny.toml"), "rb") as file:
        policy = tomllib.load(file)
    everything = json.loads(cargo("metadata", "--locked", "--format-version", "1", "--all-features"))
    [target] = policy["graph"]["targets"]
    shipped = set().union(*(built(name, "--all-features", target=target) for name in SHIPPED))
    found = [*problems(policy, everything, shipped), *too_new(everything)]
    by_default = built("tower-reauth", "--no-default-features", target="all")
    if len(by_default) > BY_DEFAULT:
        found.append(f"the library is {len(by_default)} crates by default, and was {BY_DEFAULT}")

    for problem in found:
        print(problem, file=sys.stderr)
    if not found:
        print(f"{len(everything['packages'])} packages, {len(shipped)} of them shipped; {len(by_default)} by default")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()

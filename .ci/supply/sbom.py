#!/usr/bin/env python3
"""Writes what a package is built from as CycloneDX 1.6 has it (ECMA-424), in JSON: `sbom.py PACKAGE [FILE]`.

PACKAGE is `tower-reauth` or `examples`, whose gateway is what runs; each with all of its features, on Linux. Every crate has its
package URL, its licence and the SHA-256 that Cargo.lock holds it to, and what it is built from. The same commit gives the same
bytes. What is written is read again and held to Cargo.lock first."""

import json
import os
import subprocess
import sys
import tomllib
import uuid
from datetime import datetime, timezone

sys.dont_write_bytecode = True
from dependencies import built, cargo

TARGET = "x86_64-unknown-linux-gnu"
LIBRARY = "tower-reauth"


def reference(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, checksums, kind="library"):
    said = {
        "type": kind,
        "bom-ref": reference(package),
        "name": package["name"],
        "version": package["version"],
        "purl": reference(package),
    }
    if package["description"]:
        said["description"] = " ".join(package["description"].split())
    if package["license"]:
        said["licenses"] = [{"expression": " OR ".join(part.strip() for part in package["license"].split("/"))}]
    if checksum := checksums.get((package["name"], package["version"])):
        said["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package["repository"]:
        said["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return said


def bom(name, tree, packages, checksums, at):
    """The document about `tree`, which has what each crate is built from; `packages` has more of each."""
    root = next(crate for crate in tree if crate[0] == name)
    ordered = sorted(tree)
    said = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": at,
            "component": component(packages[root], checksums, "library" if name == LIBRARY else "application"),
        },
        "components": [component(packages[crate], checksums) for crate in ordered if crate != root],
        "dependencies": [
            {"ref": reference(packages[crate]), "dependsOn": sorted(reference(packages[on]) for on in tree[crate])}
            for crate in ordered
        ],
    }
    # Of what is in it: the same content is the same document.
    said["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(said, sort_keys=True)).urn
    return said


def problems(name, said, lock):
    """Where the document is not what Cargo.lock has: `lock` is the packages of that."""
    held = {f"pkg:cargo/{package['name']}@{package['version']}": package for package in lock}
    components = {component["bom-ref"]: component for component in [said["metadata"]["component"], *said["components"]]}
    if len(components) != len(said["components"]) + 1:
        yield "a component is there twice"
    for ref, component in components.items():
        if not component.get("licenses"):
            yield f"{ref} has no licence"
        if ref not in held:
            yield f"{ref} is not in Cargo.lock"
        elif "checksum" not in held[ref]:
            if component["name"] not in (name, LIBRARY):
                yield f"{ref} is held to no checksum"
        elif component.get("hashes") != [{"alg": "SHA-256", "content": held[ref]["checksum"]}]:
            yield f"{ref} has another checksum than Cargo.lock"
    built_from = {entry["ref"]: entry["dependsOn"] for entry in said["dependencies"]}
    if built_from.keys() != components.keys() or len(built_from) != len(said["dependencies"]):
        yield "what depends on what is not said of each component once"
    reached, waiting = set(), [said["metadata"]["component"]["bom-ref"]]
    while waiting:
        ref = waiting.pop()
        if ref not in reached:
            reached.add(ref)
            waiting += built_from.get(ref, [])
    for ref in sorted(reached ^ components.keys()):
        yield f"{ref} is there, or depended on, alone"
    for ref in components.keys() & held.keys():
        named = {on.split()[0] for on in held[ref].get("dependencies", [])}
        for on in built_from.get(ref, []):
            if on.removeprefix("pkg:cargo/").split("@")[0] not in named:
                yield f"{ref} is not said to depend on {on} in Cargo.lock"


def main(name, file=None):
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
    metadata = json.loads(cargo("metadata", "--locked", "--format-version", "1", "--all-features"))
    packages = {(package["name"], package["version"]): package for package in metadata["packages"]}
    committed = subprocess.run(["git", "log", "-1", "--format=%ct"], capture_output=True, text=True, check=True).stdout
    at = datetime.fromtimestamp(int(committed), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    with open("Cargo.lock", "rb") as file_of_lock:
        lock = tomllib.load(file_of_lock)["package"]
    checksums = {(package["name"], package["version"]): package.get("checksum") for package in lock}
    tree = built(name, "--all-features", target=TARGET)
    text = json.dumps(bom(name, tree, packages, checksums, at), indent=2, ensure_ascii=False) + "\n"

    said = json.loads(text)
    found = list(problems(name, said, lock))
    for problem in found:
        print(f"{name}: {problem}", file=sys.stderr)
    if found:
        sys.exit(1)
    if file:
        with open(file, "w", encoding="utf-8") as written:
            written.write(text)
    print(f"{name}: {len(said['components'])} components")


if __name__ == "__main__":
    main(*sys.argv[1:])

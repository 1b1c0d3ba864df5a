"""That what is wrong is found."""

import copy
import json
import os
import tomllib
import unittest

import dependencies
import sbom

REGISTRY = "registry+https://github.com/rust-lang/crates.io-index"
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "deny.toml"), "rb") as file:
    POLICY = tomllib.load(file)
POLICY["bans"]["skip"] = [{"crate": "old@0.1", "reason": "it"}]
POLICY["licenses"]["exceptions"] = [{"crate": "odd", "allow": ["CC0-1.0"]}]


def package(name, version="1.0.0", licence="MIT", source=REGISTRY, dependencies=()):
    return {
        "id": f"{name}@{version}", "name": name, "version": version, "license": licence, "source": source,
        "dependencies": list(dependencies), "description": f"A {name}.", "repository": None,
    }


OURS = package("tower-reauth", source=None)
GOOD = [OURS, package("odd", licence="CC0-1.0"), package("old", "0.1.2"), package("old", "0.2.0"), package("dual", licence="MIT/Apache-2.0")]


def found(*more, instead=None):
    packages = list(instead or GOOD) + list(more)
    everything = {"packages": packages, "workspace_members": [OURS["id"]]}
    return list(dependencies.problems(POLICY, everything, {(each["name"], each["version"]) for each in packages}))


class Licences(unittest.TestCase):
    def test_an_expression_is_met_or_not(self):
        allowed = {"MIT", "ISC", "Apache-2.0 WITH LLVM-exception"}
        for licence, is_met in [
            ("MIT", True), ("GPL-3.0", False), ("MIT OR GPL-3.0", True), ("MIT/GPL-3.0", True), ("MIT AND GPL-3.0", False),
            ("GPL-3.0 AND MIT OR ISC", True), ("GPL-3.0 AND (MIT OR ISC)", False), ("ISC AND (MIT OR GPL-3.0)", True),
            ("Apache-2.0 WITH LLVM-exception", True), ("Apache-2.0", False),
        ]:
            self.assertEqual(dependencies.is_allowed(licence, allowed), is_met, licence)

    def test_what_is_no_expression_is_an_error(self):
        for licence in ["MIT OR", "(MIT", "MIT)", "AND MIT", "MIT ISC"]:
            with self.assertRaises((ValueError, IndexError), msg=licence):
                dependencies.is_allowed(licence, {"MIT", "ISC"})


class Policy(unittest.TestCase):
    def test_what_is_good_is_taken(self):
        self.assertEqual(found(), [])

    def test_what_is_wrong_is_named(self):
        git = "git+https://example.org/x"
        wild = package("tower-reauth", source=None, dependencies=[{"name": "any", "req": "*"}])
        for more, says in [
            (package("gpl", licence="GPL-3.0"), "gpl 1.0.0: licence GPL-3.0"),
            (package("none", licence=None), "none 1.0.0: licence None"),
            (package("git", source=git), f"git 1.0.0: source {git}"),
            (package("openssl-sys", "0.9.1"), "openssl-sys 0.9.1 is banned"),
            (package("dual", "2.0.0"), "dual is there 2 times"),
            (package("old", "0.3.0"), "old is there 2 times"),
        ]:
            self.assertEqual([problem.startswith(says) for problem in found(more)], [True], found(more))
        self.assertEqual(found(instead=[wild, *GOOD[1:]]), ["tower-reauth: takes any version of any"])

    def test_what_is_allowed_and_not_needed_is_named(self):
        self.assertEqual(found(instead=[OURS]), [
            "deny.toml: nothing needs the exception for odd", "deny.toml: old 0.1 is not there beside another",
        ])


class Document(unittest.TestCase):
    def setUp(self):
        sha = "ab" * 32
        self.lock = [
            {"name": "tower-reauth", "version": "1.0.0", "dependencies": ["old 0.1.2", "dual"]},
            {"name": "old", "version": "0.1.2", "checksum": sha}, {"name": "dual", "version": "1.0.0", "checksum": sha},
        ]
        packages = {(each["name"], each["version"]): each for each in GOOD}
        tree = {("tower-reauth", "1.0.0"): {("old", "0.1.2"), ("dual", "1.0.0")}, ("old", "0.1.2"): set(), ("dual", "1.0.0"): set()}
        checksums = {(each["name"], each["version"]): each.get("checksum") for each in self.lock}
        self.said = sbom.bom("tower-reauth", tree, packages, checksums, "2026-01-01T00:00:00Z")

    def problems(self, change=lambda said: None):
        said = copy.deepcopy(self.said)
        change(said)
        return list(sbom.problems("tower-reauth", said, self.lock))

    def test_what_is_said_holds_and_is_the_same_each_time(self):
        self.assertEqual(self.problems(), [])
        before = json.dumps(self.said)
        self.setUp()
        self.assertEqual(json.dumps(self.said), before)

    def test_what_does_not_hold_is_named(self):
        def surplus(said):
            said["components"].append({"bom-ref": "pkg:cargo/x@1", "name": "x", "licenses": ["MIT"], "hashes": []})

        for change in [
            lambda said: said["components"].pop(),
            lambda said: said["components"].append(said["components"][0]),
            lambda said: said["components"][0]["hashes"][0].update(content="cd" * 32),
            lambda said: said["components"][0].pop("licenses"),
            lambda said: said["dependencies"].pop(),
            lambda said: said["dependencies"][-1]["dependsOn"].clear(),
            surplus,
        ]:
            self.assertNotEqual(self.problems(change), [])


if __name__ == "__main__":
    unittest.main()

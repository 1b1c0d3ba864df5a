"""`python3 -B -m unittest discover .ci`"""

import os
import tempfile
import unittest

from imports import wrong_imports

TIERS = [["low.rs"], ["middle.rs", "room/wide.rs"], ["room/", "top/"]]
CRATE = {
    "lib.rs": "mod low; mod middle; mod room; mod top;\npub use self::{room::{High as Tall, Wide}, top::Top};",
    "low.rs": "pub struct Low;",
    "middle.rs": "use crate::low::Low;\npub struct Middle;",
    "room/mod.rs": "mod high; mod wide;\npub use self::{high::High, wide::Wide};\npub struct Plain;",
    "room/high.rs": "pub struct High;",
    "room/wide.rs": "pub struct Wide;",
    "top/mod.rs": "mod inner;\npub use self::inner::*;",
    "top/inner.rs": "use crate::{low::Low, middle::Middle, Tall};\npub struct Top;",
}


class Imports(unittest.TestCase):
    def wrong(self, **changed):
        files = CRATE | {name.replace("__", "/") + ".rs": text for name, text in changed.items()}
        with tempfile.TemporaryDirectory() as folder:
            for name, text in files.items():
                os.makedirs(os.path.dirname(f"{folder}/src/{name}"), exist_ok=True)
                with open(f"{folder}/src/{name}", "w", encoding="utf-8") as file:
                    file.write(text)
            return [line.replace(f"{folder}/", "") for line in wrong_imports(f"{folder}/src/lib.rs", TIERS)]

    def up(self, file, *targets):
        return [f"src/{file}: imports src/{target}, which stands above it" for target in targets]

    def test_downwards_and_sideways_is_right(self):
        self.assertEqual(self.wrong(), [])
        self.assertEqual(self.wrong(middle="use crate::{Wide, room::wide::{self, Wide as W}, room::Wide as V};"), [])

    def test_however_an_import_is_written(self):
        for written in (
            "use crate::room::high::High;",
            "use crate::{low::Low, room::{high::{High as H}}};",
            "use super::{\n    room::{\n        high::High, // the one\n    },\n};",
            "use crate::Tall;",
            "use super::*;\nfn f(_: Tall) { Tall::new() }",
            "use crate as root;\nuse root::Tall;",
            "use crate::room::Wide;\nuse super::room::wide;\nfn f(_: super::Tall) {}",
            "fn f() -> crate::room::high::High { todo!() }",
            "mod tests { use super::super::room::high; }",
            "mod tests { mod deep { fn f(_: crate::Tall) {} } }",
        ):
            self.assertEqual(self.wrong(middle=written), self.up("middle.rs", "room/high.rs"), written)

    def test_what_a_glob_exports_is_where_it_is_defined(self):
        self.assertEqual(self.wrong(low="use crate::top::Top;"), self.up("low.rs", "top/inner.rs"))

    def test_each_import_that_goes_up_is_said_once(self):
        wrong = self.wrong(low="use crate::{room::{Plain, Wide}, Wide as W};", middle="use crate::room; type H = room::High;")
        up = self.up("low.rs", "room/mod.rs", "room/wide.rs") + self.up("middle.rs", "room/high.rs", "room/mod.rs")
        self.assertEqual(wrong, up)

    def test_what_only_looks_like_an_import(self):
        for written in (
            "//! See [`crate::room::high::High`].",
            "/* use crate::Tall; */",
            'const TEXT: &str = "use crate::Tall; \\" crate::Tall::x";',
            'const RAW: &str = r#"" crate::Tall::x"#;',
            "pub(in crate::room) struct Low;",
            "use std::Tall; use other::room::high::High;",
            "mod tests { use super::*; fn f<'a>(_: &'a str) -> char { '\\'' } }",
        ):
            self.assertEqual(self.wrong(low=written), [], written)

    def test_a_file_in_no_tier(self):
        wrong = self.wrong(middle="mod new;", middle__new="")
        self.assertEqual(wrong, ["src/middle/new.rs: is in no tier of .ci/imports.py"])


if __name__ == "__main__":
    unittest.main()

//! [`Names`]: what a session is called, besides its key.

use crate::json::{
    self, Value,
    text::{first_units, trim},
};

/// The most of a name that is kept, in UTF-16 units.
const LONGEST: usize = 200;

/// What the entry of a session calls it. Trimmed and not blank.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Names {
    /// By who uses it.
    pub label: Option<String>,
    /// By OpenClaw.
    pub display_name: Option<String>,
}

impl Names {
    /// Those in an entry, as the text of its JSON.
    pub fn of_entry(json: &str) -> Self {
        let mut names = Self::default();
        match json::members(&json::decode(json.as_bytes()), |key, value| names.take(&key, value)) {
            Some(()) => names,
            None => Self::default(),
        }
    }

    /// Takes in a member of an entry, if it is a name.
    pub(super) fn take(&mut self, key: &str, value: &str) {
        match key {
            "label" => self.label = name(value),
            "displayName" => self.display_name = name(value),
            _ => {}
        }
    }
}

fn name(json: &str) -> Option<String> {
    let value = json::read::<Value>(json)?;
    let name = first_units(trim(value.as_str()?), LONGEST);
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_text_that_says_something_and_no_more_than_a_line_of_it() {
        let names = |json| {
            let Names { label, display_name } = Names::of_entry(json);
            (label, display_name)
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(names(r#"{"label":" Deploys ","displayName":"d"}"#), (some("Deploys"), some("d")));
        for json in ["{}", "[]", "{", r#"{"label":"\u00a0","displayName":7}"#, r#"{"label":"a"}x"#] {
            assert_eq!(names(json), (None, None), "{json}");
        }
        let long = format!(r#"{{"label":"{}"}}"#, "\u{1F980}".repeat(150));
        assert_eq!(names(&long).0, Some("\u{1F980}".repeat(100)));
    }
}

//! The text of a file of tokens, with one token more, less or anew. What else is there stays as it is written.

use std::path::Path;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, TableLike, value};

use crate::config::{ClientToken, ConfigError};

/// What is to be done.
pub enum Edit<'a> {
    Add(Entry<'a>),
    Remove { id: &'a str },
    Rotate { id: &'a str, sha256: String, expires: Option<Timestamp> },
}

/// A token that is added.
pub struct Entry<'a> {
    pub id: &'a str,
    pub sha256: String,
    pub subject: Option<&'a str>,
    pub scopes: &'a [String],
    pub expires: Option<Timestamp>,
}

/// The text with this done; `None` is a file that is not there yet.
pub fn edited(file: &Path, text: Option<&str>, edit: &Edit<'_>) -> Result<String, ConfigError> {
    let tokens = text.map_or(Ok(Vec::new()), |text| ClientToken::parse_all(file, text))?;
    let at = |id: &str| tokens.iter().position(|token| token.id == id);
    let error = |reason: String| ConfigError::malformed(file, "token", reason);
    let place = match edit {
        Edit::Add(Entry { id: "", .. }) => return Err(error("needs an id".to_owned())),
        Edit::Add(entry) if at(entry.id).is_some() => {
            return Err(error(format!("there is one with the id {:?}", entry.id)));
        }
        Edit::Add(_) => 0,
        Edit::Remove { id } | Edit::Rotate { id, .. } => {
            at(id).ok_or_else(|| error(format!("there is none with the id {id:?}")))?
        }
    };
    let text = text.unwrap_or_default().trim_start_matches('\u{feff}');
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("json") => in_json(text, place, edit),
        _ => in_toml(text, place, edit),
    }
    .ok_or_else(|| error("the file is written in a way that cannot be changed from here".to_owned()))
}

fn in_json(text: &str, place: usize, edit: &Edit<'_>) -> Option<String> {
    let mut root = if text.is_empty() { json!({ "token": [] }) } else { serde_json::from_str(text).ok()? };
    let tokens = root.get_mut("token")?.as_array_mut()?;
    match edit {
        Edit::Add(entry) => {
            let fields = entry.fields().into_iter().map(|(name, value)| (name.to_owned(), value));
            tokens.push(Value::Object(fields.collect::<Map<_, _>>()));
        }
        Edit::Remove { .. } => _ = tokens.remove(place),
        Edit::Rotate { sha256, expires, .. } => {
            let token = tokens.get_mut(place)?.as_object_mut()?;
            token.shift_remove("secret");
            token.insert("sha256".to_owned(), sha256.as_str().into());
            if let Some(expires) = expires {
                token.insert("expires_at".to_owned(), expires.to_string().into());
            }
        }
    }
    let mut text = serde_json::to_string_pretty(&root).ok()?;
    text.push('\n');
    Some(text)
}

fn in_toml(text: &str, place: usize, edit: &Edit<'_>) -> Option<String> {
    let mut root: DocumentMut = text.parse().ok()?;
    if root.get("token").and_then(Item::as_array).is_some_and(Array::is_empty) {
        root.remove("token");
    }
    let tokens = root.entry("token").or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
    let is_empty = match tokens {
        Item::ArrayOfTables(tokens) => {
            match edit {
                Edit::Add(entry) => {
                    let mut table = Table::new();
                    entry.write(&mut table);
                    if !tokens.is_empty() {
                        table.decor_mut().set_prefix("\n");
                    }
                    tokens.push(table);
                }
                Edit::Remove { .. } => _ = tokens.remove(place),
                Edit::Rotate { sha256, expires, .. } => rotate(tokens.get_mut(place)?, sha256, *expires),
            }
            tokens.is_empty()
        }
        Item::Value(tokens) => {
            let tokens = tokens.as_array_mut()?;
            match edit {
                Edit::Add(entry) => {
                    let mut table = InlineTable::new();
                    entry.write(&mut table);
                    tokens.push(table);
                }
                Edit::Remove { .. } => _ = tokens.remove(place),
                Edit::Rotate { sha256, expires, .. } => {
                    rotate(tokens.get_mut(place)?.as_inline_table_mut()?, sha256, *expires);
                }
            }
            false
        }
        _ => return None,
    };
    if is_empty {
        // A list that is empty is one that says so.
        root.insert("token", value(Array::new()));
    }
    Some(root.to_string())
}

fn rotate(token: &mut dyn TableLike, sha256: &str, expires: Option<Timestamp>) {
    token.remove("secret");
    token.insert("sha256", value(sha256));
    if let Some(expires) = expires {
        token.insert("expires_at", value(expires.to_string()));
    }
}

impl Entry<'_> {
    fn fields(&self) -> Vec<(&'static str, Value)> {
        let expires = self.expires.map(|at| at.to_string());
        [
            ("id", self.id.into()),
            ("sha256", self.sha256.as_str().into()),
            ("subject", self.subject.into()),
            ("scopes", self.scopes.into()),
            ("expires_at", expires.into()),
        ]
        .into_iter()
        .filter(|(_, value): &(_, Value)| !value.is_null())
        .collect()
    }

    fn write(&self, token: &mut dyn TableLike) {
        for (name, field) in self.fields() {
            let item = match field {
                Value::Array(texts) => value(texts.iter().filter_map(Value::as_str).collect::<Array>()),
                other => value(other.as_str().unwrap_or_default()),
            };
            token.insert(name, item);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "# Who may read.\n\n[[token]]\nid = \"a\" # the wall\nsecret = \"s3cret\"\nscopes = [\"operator.read\"]\n\n# Another.\n[[token]]\nid = 'b'\nsha256 = '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08'\n";

    fn entry(id: &str) -> Edit<'_> {
        Edit::Add(Entry { id, sha256: "0".repeat(64), subject: None, scopes: &[], expires: None })
    }

    fn toml(text: &str, edit: &Edit<'_>) -> Result<String, String> {
        let file = Path::new("tokens.toml");
        let text = edited(file, Some(text), edit).map_err(|error| error.to_string())?;
        ClientToken::parse_all(file, &text).map_err(|error| error.to_string())?;
        Ok(text)
    }

    #[test]
    fn what_is_not_changed_stays_as_it_is_written() {
        let zeros = "0".repeat(64);
        assert_eq!(
            toml(OLD, &entry("c")).unwrap(),
            format!("{OLD}\n[[token]]\nid = \"c\"\nsha256 = \"{zeros}\"\nscopes = []\n")
        );
        let removed = toml(OLD, &Edit::Remove { id: "b" }).unwrap();
        assert_eq!(removed, OLD[..OLD.find("\n# Another").unwrap()].to_owned());
        let rotated = toml(OLD, &Edit::Rotate { id: "a", sha256: zeros.clone(), expires: None }).unwrap();
        assert!(rotated.starts_with("# Who may read.\n\n[[token]]\nid = \"a\" # the wall\n"), "{rotated}");
        assert!(!rotated.contains("s3cret") && rotated.contains(&zeros), "{rotated}");
        assert!(rotated.ends_with(&OLD[OLD.find("\n# Another").unwrap()..]), "{rotated}");
    }

    #[test]
    fn the_last_one_leaves_a_list_that_is_empty() {
        let none = toml(&toml(OLD, &Edit::Remove { id: "a" }).unwrap(), &Edit::Remove { id: "b" }).unwrap();
        assert!(ClientToken::parse_all(Path::new("tokens.toml"), &none).unwrap().is_empty(), "{none}");
        let one = toml(&none, &entry("c")).unwrap();
        assert!(one.contains("[[token]]"), "{one}");
    }

    #[test]
    fn lists_in_a_line_and_json_are_changed_too() {
        let inline = "token = [{ id = 'a', secret = 'x' }, { id = 'b', secret = 'y' }]\n";
        let added = toml(inline, &entry("c")).unwrap();
        assert!(added.contains("'x'") && added.contains("\"c\""), "{added}");
        assert!(!toml(&added, &Edit::Remove { id: "a" }).unwrap().contains("'x'"));
        let json = Path::new("tokens.json");
        let added = edited(json, None, &entry("c")).unwrap();
        let rotated = Edit::Rotate { id: "c", sha256: "1".repeat(64), expires: None };
        let rotated = edited(json, Some(&added), &rotated).unwrap();
        assert_eq!(added.replace(&"0".repeat(64), &"1".repeat(64)), rotated);
        assert_eq!(edited(json, Some(&rotated), &Edit::Remove { id: "c" }).unwrap(), "{\n  \"token\": []\n}\n");
    }

    #[test]
    fn what_is_there_is_not_added_and_what_is_not_is_not_removed() {
        for edit in [entry("a"), entry(""), Edit::Remove { id: "z" }] {
            assert!(toml(OLD, &edit).unwrap_err().starts_with("tokens.toml: token: "));
        }
        assert!(toml("[[token]]\nid = 'hunter2", &entry("a")).is_err());
        assert!(edited(Path::new("tokens"), None, &entry("a")).is_ok());
    }
}

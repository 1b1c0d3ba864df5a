//! Reading typed values out of a parsed file, each error with the path of the value it is about.
//!
//! The files that come through here hold secrets, and the errors of a deserializer quote what they
//! refuse. These say where and what was expected, never what was found.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::ConfigError;

/// Deeper nesting than any configuration needs, and far less than a stack holds.
const MAX_DEPTH: usize = 200;

/// A parsed file.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    file: PathBuf,
    value: Value,
}

impl Document {
    /// A file without any settings.
    pub fn empty(file: &Path) -> Self {
        Self { file: file.to_owned(), value: Value::Null }
    }

    /// Reads the text of a JSON5 file.
    pub fn json5(file: &Path, text: &str) -> Result<Self, ConfigError> {
        if depth(text) > MAX_DEPTH {
            return Err(ConfigError::malformed(file, "the whole of it", "is nested too deeply"));
        }
        let value = json5::from_str(text).map_err(|error| {
            let place = match error.position() {
                Some(at) => format!("line {}, column {}", at.line + 1, at.column + 1),
                None => "the end".to_owned(),
            };
            let reason = match error.code() {
                Some(code) => code.to_string(),
                None => "not JSON5".to_owned(),
            };
            ConfigError::malformed(file, place, reason)
        })?;
        Ok(Self { file: file.to_owned(), value })
    }

    /// Reads the text of a JSON file.
    pub fn json(file: &Path, text: &str) -> Result<Self, ConfigError> {
        let value = serde_json::from_str(text).map_err(|error| {
            let place = format!("line {}, column {}", error.line(), error.column());
            ConfigError::malformed(file, place, "not valid JSON")
        })?;
        Ok(Self { file: file.to_owned(), value })
    }

    /// Reads the text of a TOML file. A TOML date becomes text.
    pub fn toml(file: &Path, text: &str) -> Result<Self, ConfigError> {
        let table = toml::from_str(text).map_err(|error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.unwrap_or_default().matches('\n').count() + 1;
            ConfigError::malformed(file, format!("line {line}"), error.message())
        })?;
        Ok(Self { file: file.to_owned(), value: json_of(toml::Value::Table(table)) })
    }

    /// Whether `gateway.auth` has a token or a password, spelt out.
    pub fn holds_secrets(&self) -> bool {
        let auth = self.value.pointer("/gateway/auth");
        let names_no_variable = |secret: &Value| secret.as_str().is_some_and(|text| !text.trim().starts_with("${"));
        ["token", "password"].iter().any(|name| auth.and_then(|auth| auth.get(name)).is_some_and(names_no_variable))
    }

    /// The whole of it.
    pub fn root(&self) -> Node<'_> {
        Node { file: &self.file, place: String::new(), value: Some(&self.value).filter(|value| !value.is_null()) }
    }
}

/// A place in a file, and the value there, if any. `null` counts as no value.
#[derive(Clone)]
pub struct Node<'a> {
    file: &'a Path,
    place: String,
    value: Option<&'a Value>,
}

impl<'a> Node<'a> {
    /// The field `key` of this object.
    pub fn at(&self, key: &str) -> Result<Node<'a>, ConfigError> {
        let value = match self.value {
            None => None,
            Some(Value::Object(fields)) => fields.get(key),
            Some(_) => return Err(self.error("must be an object")),
        };
        let place = match self.place.as_str() {
            "" => key.to_owned(),
            outer => format!("{outer}.{key}"),
        };
        Ok(self.node(place, value))
    }

    /// The fields of this object, by name; none if there is no object.
    pub fn fields(&self) -> Result<Vec<(&'a str, Node<'a>)>, ConfigError> {
        match self.value {
            None => Ok(Vec::new()),
            Some(Value::Object(fields)) => fields.keys().map(|name| Ok((name.as_str(), self.at(name)?))).collect(),
            Some(_) => Err(self.error("must be an object")),
        }
    }

    /// The elements of this list; none if there is no list.
    pub fn items(&self) -> Result<Vec<Node<'a>>, ConfigError> {
        let items = match self.value {
            None => return Ok(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(_) => return Err(self.error("must be a list")),
        };
        let item = |(n, value)| self.node(format!("{}[{n}]", self.place), Some(value));
        Ok(items.iter().enumerate().map(item).collect())
    }

    /// An error if there is nothing here.
    pub fn needed(self) -> Result<Self, ConfigError> {
        match self.value {
            None => Err(self.error("is needed")),
            Some(_) => Ok(self),
        }
    }

    pub fn text(&self) -> Result<Option<&'a str>, ConfigError> {
        self.typed(Value::as_str, "must be text")
    }

    pub fn flag(&self) -> Result<Option<bool>, ConfigError> {
        self.typed(Value::as_bool, "must be true or false")
    }

    /// A whole number from 1 to `u32::MAX`, however it is written (`1e3` is one thousand).
    pub fn count(&self) -> Result<Option<u32>, ConfigError> {
        let whole = |value: &Value| {
            let number = value.as_f64()?;
            let whole = number as u32;
            (whole > 0 && f64::from(whole) == number).then_some(whole)
        };
        self.typed(whole, "must be a whole number, at least 1 and below 2^32")
    }

    /// Texts, whole numbers and flags, as a command line would have them: one, or a list.
    pub fn plain(&self) -> Result<Vec<String>, ConfigError> {
        let plain = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) if !number.is_f64() => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            _ => None,
        };
        let all = match self.value {
            None => Some(Vec::new()),
            Some(Value::Array(all)) => all.iter().map(plain).collect(),
            Some(one) => plain(one).map(|one| vec![one]),
        };
        all.ok_or_else(|| self.error("must be text, a whole number, true or false, or a list of them"))
    }

    /// A list of texts; empty if there is no list.
    pub fn texts(&self) -> Result<Vec<&'a str>, ConfigError> {
        self.items()?.into_iter().map(|item| item.text()?.ok_or_else(|| item.error("must be text"))).collect()
    }

    /// An error if this object has a field other than these.
    pub fn allow_only(&self, fields: &[&str]) -> Result<(), ConfigError> {
        let known = |name: &String| fields.contains(&name.as_str());
        let found = match self.value {
            None => return Ok(()),
            Some(Value::Object(found)) => found,
            Some(_) => return Err(self.error("must be an object")),
        };
        match found.keys().find(|name| !known(name)) {
            Some(name) => Err(self.error(format!("has the unknown field `{name}`"))),
            None => Ok(()),
        }
    }

    /// What is wrong here.
    pub fn error(&self, reason: impl Into<String>) -> ConfigError {
        let place = match self.place.as_str() {
            "" => "the whole of it",
            place => place,
        };
        ConfigError::malformed(self.file, place, reason)
    }

    fn typed<T>(&self, read: impl FnOnce(&'a Value) -> Option<T>, expected: &str) -> Result<Option<T>, ConfigError> {
        match self.value {
            None => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| self.error(expected)),
        }
    }

    fn node(&self, place: String, value: Option<&'a Value>) -> Node<'a> {
        Node { file: self.file, place, value: value.filter(|value| !value.is_null()) }
    }
}

/// How many brackets are open at once at most. Counts those in texts and comments too: it need not
/// be exact, only cheap, as the JSON5 parser has no limit of its own.
fn depth(text: &str) -> usize {
    let (mut open, mut most) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        most = most.max(open);
    }
    most
}

fn json_of(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(flag) => flag.into(),
        toml::Value::Datetime(date) => date.to_string().into(),
        toml::Value::Array(items) => items.into_iter().map(json_of).collect(),
        toml::Value::Table(fields) => fields.into_iter().map(|(name, value)| (name, json_of(value))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Parse = fn(&Path, &str) -> Result<Document, ConfigError>;

    fn parse(parse: Parse, content: impl AsRef<str>) -> Result<Document, String> {
        parse(Path::new("file"), content.as_ref()).map_err(|error| error.to_string())
    }

    #[test]
    fn json5_has_comments_and_bare_names() {
        let document = parse(Document::json5, "{ /* c */ a: { b: 'c', }, }").unwrap();
        let node = document.root().at("a").unwrap().at("b").unwrap();
        assert_eq!(node.text().unwrap(), Some("c"));
    }

    #[test]
    fn a_field_of_what_is_not_there_is_not_there() {
        let document = parse(Document::json5, "{ a: null }").unwrap();
        let node = document.root().at("a").unwrap().at("b").unwrap();
        assert_eq!(node.text().unwrap(), None);
        assert_eq!(node.flag().unwrap(), None);
        assert_eq!(node.count().unwrap(), None);
        assert!(node.texts().unwrap().is_empty());
    }

    #[test]
    fn broken_syntax_is_an_error_with_its_line() {
        for (read, content, place) in [
            (Document::json5 as Parse, "{\n  a: hunter2\n}", "file: line 2, column"),
            (Document::json5, "", "file: the end: "),
            (Document::json, "{\n\"a\": hunter2}", "file: line 2, column"),
            (Document::toml, "a = 1\n\nb = hunter2", "file: line 3:"),
            (Document::toml, "a = 1\na = 2", "file: line 2:"),
        ] {
            let error = parse(read, content).unwrap_err();
            assert!(error.starts_with(place), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_secret_that_is_spelt_out_is_told_from_one_that_names_a_variable() {
        for (auth, expected) in [
            ("{ token: 's3cret' }", true),
            ("{ password: 's3cret' }", true),
            ("{ token: '${NAME}' }", false),
            ("{ mode: 'none' }", false),
            ("'s3cret'", false),
        ] {
            let document = parse(Document::json5, format!("{{ gateway: {{ auth: {auth} }} }}")).unwrap();
            assert_eq!(document.holds_secrets(), expected, "{auth}");
        }
    }

    #[test]
    fn any_depth_of_nesting_is_an_error_and_no_crash() {
        for read in [Document::json5 as Parse, Document::json, Document::toml] {
            for open in ["[", "{a:", "{\"a\":", "a=[["] {
                assert!(parse(read, open.repeat(100_000)).is_err());
            }
        }
        let just_deep_enough = format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
        assert!(parse(Document::json5, just_deep_enough).is_ok());
    }

    #[test]
    fn a_value_of_another_type_is_an_error_with_its_path_and_without_the_value() {
        let document = parse(Document::json5, "{ a: [{ b: 'hunter2' }] }").unwrap();
        let a = document.root().at("a").unwrap();
        let b = a.items().unwrap()[0].at("b").unwrap();
        for error in [
            b.flag().unwrap_err(),
            b.count().unwrap_err(),
            b.items().err().unwrap(),
            b.at("c").err().unwrap(),
            b.allow_only(&[]).unwrap_err(),
        ] {
            let error = error.to_string();
            assert!(error.contains("file: a[0].b: must be "), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert!(a.text().unwrap_err().to_string().contains(": a: must be text"));
    }

    #[test]
    fn a_count_is_positive_and_whole() {
        for (written, expected) in [("1", 1), ("1e4", 10_000), ("8000.0", 8000), ("0x10", 16)] {
            let document = parse(Document::json5, written).unwrap();
            assert_eq!(document.root().count().unwrap(), Some(expected));
        }
        for refused in ["0", "-1", "1.5", "1e300", "Infinity", "'1'", "true", "4294967296"] {
            let document = parse(Document::json5, format!("[{refused}]")).unwrap();
            let root = document.root();
            let item = &root.items().unwrap()[0];
            // JSON has no infinity: it reads as null, so as absent.
            assert!(item.count().is_err() || refused == "Infinity", "{refused}");
        }
    }

    #[test]
    fn the_last_of_two_equal_names_counts() {
        let document = parse(Document::json5, "{ a: 1, a: 2 }").unwrap();
        assert_eq!(document.root().at("a").unwrap().count().unwrap(), Some(2));
    }

    #[test]
    fn a_toml_date_is_text() {
        let document = parse(Document::toml, "at = 2026-12-01T08:00:00Z").unwrap();
        let at = document.root().at("at").unwrap();
        assert_eq!(at.text().unwrap(), Some("2026-12-01T08:00:00Z"));
    }
}

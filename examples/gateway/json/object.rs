//! [`Object`]: a JSON object in the order in which it was written.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use super::{Text, Value};

/// A JSON object: keys in insertion order, each once.
///
/// A plain list. A message has a dozen keys or two, and for so few a search beats a hash.
/// (JavaScript moves keys that look like array indices to the front; nothing here depends on it.)
#[derive(Clone, Debug, Default)]
pub struct Object<'a>(Vec<(Text<'a>, Value<'a>)>);

impl<'a> Object<'a> {
    pub fn new() -> Self {
        Self::default()
    }

    /// An object out of entries in the order of the text; of equal keys the last value wins, in
    /// the place of the first.
    pub fn from_entries(entries: Vec<(Text<'a>, Value<'a>)>) -> Self {
        if !has_duplicates(&entries) {
            return Self(entries);
        }
        let mut unique: Vec<(Text<'a>, Value<'a>)> = Vec::with_capacity(entries.len());
        let mut places: HashMap<Text<'a>, usize> = HashMap::with_capacity(entries.len());
        for (key, value) in entries {
            match places.entry(key.clone()) {
                Entry::Occupied(place) => unique[*place.get()].1 = value,
                Entry::Vacant(place) => {
                    place.insert(unique.len());
                    unique.push((key, value));
                }
            }
        }
        Self(unique)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn contains(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    pub fn get(&self, key: &str) -> Option<&Value<'a>> {
        self.0.iter().find(|(own, _)| own == key).map(|(_, value)| value)
    }

    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value<'a>> {
        self.0.iter_mut().find(|(own, _)| own == key).map(|(_, value)| value)
    }

    /// Sets a key: in its place if it is there already, else at the end.
    pub fn insert(&mut self, key: impl Into<Text<'a>>, value: impl Into<Value<'a>>) {
        let (key, value) = (key.into(), value.into());
        match self.0.iter_mut().find(|(own, _)| *own == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((key, value)),
        }
    }

    pub fn remove(&mut self, key: &str) -> Option<Value<'a>> {
        let at = self.0.iter().position(|(own, _)| own == key)?;
        Some(self.0.remove(at).1)
    }

    /// Keeps the entries that `keep` says yes to.
    pub fn retain(&mut self, mut keep: impl FnMut(&Text<'a>, &Value<'a>) -> bool) {
        self.0.retain(|(key, value)| keep(key, value));
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Text<'a>, &Value<'a>)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    pub fn values(&self) -> impl Iterator<Item = &Value<'a>> {
        self.0.iter().map(|(_, value)| value)
    }

    /// The text under this key, if it is a string.
    pub fn text(&self, key: &str) -> Option<&Text<'a>> {
        self.get(key)?.as_text()
    }

    /// The object under this key: "record" in the rules.
    pub fn object(&self, key: &str) -> Option<&Object<'a>> {
        self.get(key)?.as_object()
    }

    pub fn array(&self, key: &str) -> Option<&[Value<'a>]> {
        self.get(key)?.as_array()
    }

    /// The number under this key, if it is finite.
    pub fn number(&self, key: &str) -> Option<f64> {
        self.get(key)?.as_number().filter(|number| number.is_finite())
    }

    /// The trimmed text under this key, if it is a string and not blank.
    pub fn opt_string(&self, key: &str) -> Option<Text<'_>> {
        self.get(key)?.opt_string()
    }

    /// The first of these keys that has a trimmed text.
    pub fn first_opt_string(&self, keys: &[&str]) -> Option<Text<'_>> {
        keys.iter().find_map(|key| self.opt_string(key))
    }

    pub fn into_owned(self) -> Object<'static> {
        let mut entries = Vec::with_capacity(self.0.len());
        for (key, value) in self.0 {
            entries.push((key.into_owned(), value.into_owned()));
        }
        Object(entries)
    }
}

/// Equal when the same keys have equal values, in whatever order.
impl PartialEq for Object<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self.0.iter().all(|(key, value)| other.0.iter().any(|(theirs, other)| key == theirs && value == other))
    }
}

/// An object of a few entries, for tests and for messages of our own.
impl<'a, K: Into<Text<'a>>, V: Into<Value<'a>>, const N: usize> From<[(K, V); N]> for Object<'a> {
    fn from(entries: [(K, V); N]) -> Self {
        let mut object = Self::new();
        for (key, value) in entries {
            object.insert(key, value);
        }
        object
    }
}

/// Compares each with each while that is cheap; a hostile line with very many keys gets a hash.
fn has_duplicates(entries: &[(Text<'_>, Value<'_>)]) -> bool {
    if entries.len() > 32 {
        let mut seen = HashSet::with_capacity(entries.len());
        return entries.iter().any(|(key, _)| !seen.insert(key));
    }
    entries.iter().enumerate().any(|(at, (key, _))| entries[..at].iter().any(|(other, _)| key == other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equal_keys_the_last_value_wins_in_the_first_place() {
        let few =
            Object::from_entries(vec![("a".into(), 1.0.into()), ("b".into(), 2.0.into()), ("a".into(), 3.0.into())]);
        assert_eq!(few.iter().map(|(key, _)| key.to_utf8()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(few.number("a"), Some(3.0));

        let many = (0..200).map(|at| (Text::from(format!("k{}", at % 100)), Value::Number(f64::from(at)))).collect();
        let many = Object::from_entries(many);
        assert_eq!(many.len(), 100);
        assert_eq!(many.number("k7"), Some(107.0));
    }

    #[test]
    fn insert_keeps_the_place_and_remove_closes_the_gap() {
        let mut object = Object::from([("a", 1.0), ("b", 2.0), ("c", 3.0)]);
        object.insert("a", "new");
        assert_eq!(object.remove("b"), Some(Value::Number(2.0)));
        assert_eq!(object.remove("b"), None);
        object.insert("d", true);
        let keys: Vec<_> = object.iter().map(|(key, _)| key.to_utf8()).collect();
        assert_eq!(keys, ["a", "c", "d"]);
        assert!(object.text("a").is_some_and(|text| text == "new"));
    }

    #[test]
    fn order_does_not_matter_for_equality() {
        assert_eq!(Object::from([("a", 1.0), ("b", 2.0)]), Object::from([("b", 2.0), ("a", 1.0)]));
        assert_ne!(Object::from([("a", 1.0)]), Object::from([("a", 2.0)]));
        assert_ne!(Object::from([("a", 1.0)]), Object::from([("b", 1.0)]));
    }

    #[test]
    fn the_first_key_with_text_is_taken() {
        let object = Object::from([("a", Value::from(" ")), ("b", 1.0.into()), ("c", " x ".into())]);
        assert_eq!(object.first_opt_string(&["a", "b", "c"]), Some(Text::from("x")));
        assert_eq!(object.first_opt_string(&["a", "b"]), None);
    }
}

//! Some values, mostly one.

use std::{iter, sync::Arc};

/// Values in order. Clones share an allocation; up to one value has none, so that a clone of what one
/// static scope makes up counts no reference.
#[derive(Clone, Default)]
pub(crate) enum Few<T> {
    #[default]
    None,
    One(T),
    Many(Arc<[T]>),
}

impl<T> Few<T> {
    pub(crate) fn as_slice(&self) -> &[T] {
        match self {
            Self::None => &[],
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(values) => values,
        }
    }

    /// The values that `change` makes of these.
    pub(crate) fn map(&self, change: impl Fn(&T) -> T) -> Self {
        match self {
            Self::None => Self::None,
            Self::One(value) => Self::One(change(value)),
            Self::Many(values) => Self::Many(values.iter().map(change).collect()),
        }
    }

    /// These values and one more.
    pub(crate) fn and(self, value: T) -> Self
    where
        T: Clone,
    {
        match self {
            Self::None => Self::One(value),
            some => Self::Many(some.as_slice().iter().cloned().chain(iter::once(value)).collect()),
        }
    }
}

impl<T> From<Vec<T>> for Few<T> {
    fn from(mut values: Vec<T>) -> Self {
        if values.len() > 1 { Self::Many(values.into()) } else { values.pop().map_or(Self::None, Self::One) }
    }
}

impl<T: PartialEq> PartialEq for Few<T> {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl<T: Eq> Eq for Few<T> {}

impl<T: Clone> IntoIterator for Few<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        match self {
            Self::None => Vec::new(),
            Self::One(value) => vec![value],
            Self::Many(values) => values.to_vec(),
        }
        .into_iter()
    }
}

//! What an open stream is called: in its `x-stream-id`, in the list, and by who ends or renews it.
//!
//! An id is 64 random bits. None is guessed from another, and one of before a restart is none of now.

use tower_reauth::reauth::StreamId;

/// The id as text: 16 hexadecimal digits.
pub fn text(id: StreamId) -> String {
    format!("{:016x}", id.get())
}

/// Reads what [`text`] writes, and nothing else.
pub fn parse(written: &str) -> Option<StreamId> {
    let id = StreamId::from(u64::from_str_radix(written, 16).ok()?);
    (text(id) == written).then_some(id)
}

/// An id for a stream that begins.
pub fn random() -> Option<StreamId> {
    match getrandom::u64() {
        Ok(bits) => Some(bits.into()),
        Err(error) => {
            tracing::warn!(%error, "no random bits: a client is not told the id of its stream");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_was_written() {
        let [one, other] = [(); 2].map(|()| random().unwrap());
        assert_ne!(one, other);
        let written = text(one);
        assert_eq!(written.len(), 16);
        assert_eq!(parse(&written), Some(one));
        let wrong = ["", "0", &written[1..], &format!("{written}0"), &format!("+{}", &written[1..]), &"A".repeat(16)];
        for other in wrong {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}

//! Where one gRPC message ends and the next begins.

/// Follows the length-prefixed messages of a gRPC body: a flag, a length of four bytes, and as many bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Messages {
    /// The bytes of the prefix so far: 5 when the message itself is read.
    prefix: u8,
    /// The length, as far as it is read; then what is left of the message. In bytes, which need no
    /// alignment: each stream has room for them.
    left: [u8; 4],
}

impl Messages {
    pub(super) const START: Self = Self { prefix: 0, left: [0; 4] };

    pub(super) fn is_between_messages(self) -> bool {
        self.prefix == 0
    }

    /// Takes in the next bytes of the body.
    pub(super) fn advance(&mut self, mut bytes: &[u8]) {
        while let [first, rest @ ..] = bytes {
            if self.prefix < 5 {
                if let Some(at) = self.prefix.checked_sub(1) {
                    self.left[usize::from(at)] = *first;
                }
                self.prefix += 1;
                bytes = rest;
            } else {
                let left = u32::from_be_bytes(self.left);
                let here = bytes.len().min(left as usize);
                self.left = (left - here as u32).to_be_bytes();
                bytes = &bytes[here..];
            }
            if self.prefix == 5 && self.left == [0; 4] {
                *self = Self::START;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_ends_where_its_length_says_however_the_bytes_are_split() {
        let body = [&[0, 0, 0, 0, 3], &b"abc"[..], &[1, 0, 0, 0, 0], &[0, 0, 0, 1, 0], &[7; 256]].concat();
        let borders = [0, 8, 13, 274];
        for step in [1, 2, 3, 5, 300] {
            let (mut messages, mut at) = (Messages::START, 0);
            for part in body.chunks(step) {
                messages.advance(part);
                at += part.len();
                assert_eq!(messages.is_between_messages(), borders.contains(&at), "{at} in steps of {step}");
            }
        }
    }
}

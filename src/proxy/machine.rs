//! Whether an address is one of this machine's own.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
};

/// Whether `address` belongs to an interface of this machine. Asks the system by binding a socket to
/// it, which sends nothing. `true` if the system will not say.
pub(super) fn is_own(address: SocketAddr) -> bool {
    let any_port = {
        let mut address = address;
        address.set_port(0);
        address
    };
    match UdpSocket::bind(any_port) {
        Ok(_) => true,
        Err(error) => error.kind() != io::ErrorKind::AddrNotAvailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_this_machine_is_told_from_a_foreign_one() {
        assert!(is_own(([127, 0, 0, 1], 80).into()));
        // 192.0.2.0/24 is for documentation (RFC 5737): nobody has it.
        assert!(!is_own(([192, 0, 2, 1], 80).into()));
    }
}

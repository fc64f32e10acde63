//! Who may use the byte path: whoever has the control plane's credential (mTLS will take its place).

use subtle::ConstantTimeEq;

use crate::h1::request::Request;

/// A header that must have exactly this value. It does not reach a guest.
#[derive(Clone)]
pub struct Identity {
    pub header: String,
    pub value: String,
}

impl Identity {
    /// Takes as long for a near miss as for a far one.
    pub fn admits(&self, request: &Request<'_, '_>) -> bool {
        request
            .field(&self.header)
            .is_some_and(|given| same(given, self.value.as_bytes()))
    }
}

pub fn same(one: &[u8], other: &[u8]) -> bool {
    one.ct_eq(other).into()
}

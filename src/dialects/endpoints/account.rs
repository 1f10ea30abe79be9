//! Users of an authentication endpoint (specification, section 8).

/// Whether it can be the name or the address of a user.
pub fn is_identity(text: &str) -> bool {
    (1..=254).contains(&text.len())
}

//! The life cycle.
fn main() {}

//! Migrations are embedded, so a new file must build the crate anew.
fn main() {
    println!("cargo::rerun-if-changed=../../../migrations/event-proxy");
}

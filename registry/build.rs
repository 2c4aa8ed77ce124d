//! Rebuilds when a migration is added: the macro that embeds them can't tell cargo so.

fn main() {
    println!("cargo:rerun-if-changed=../migrations");
}

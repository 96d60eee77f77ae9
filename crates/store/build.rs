//! Makes cargo notice new migrations: they are embedded at compile time.

fn main() {
    println!("cargo:rerun-if-changed=../../migrations");
}

//! A new migration or configuration file changes no source file: without this, an incremental build would not embed
//! it.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
    println!("cargo:rerun-if-changed=config");
}

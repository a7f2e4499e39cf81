//! `haishin demo`: everything at once, without credentials.

use super::args::DemoOptions;
use crate::demo::{self, Options};
use crate::lang::Lang;

/// Runs the demo.
pub(super) async fn demo(options: &DemoOptions, lang: Lang) -> anyhow::Result<u8> {
    let DemoOptions { dir, fresh, once, port, speed } = options;
    demo::run(&Options { dir: dir.clone(), fresh: *fresh, once: *once, port: *port, speed: *speed }, lang)
        .await
}

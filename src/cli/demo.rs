//! `haishin demo`.

use super::args::{Args, DemoOptions};
use crate::lang::Lang;

/// Runs the demo.
pub(super) async fn demo(_args: &Args, _options: &DemoOptions, _lang: Lang) -> anyhow::Result<u8> {
    anyhow::bail!("soon")
}

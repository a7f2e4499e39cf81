//! The shipped files are clean, and mean what the design promises a Japanese shop.

use std::path::Path;

use haishin::config::{Configuration, Source};
use haishin::lang::Lang;

use super::{check, rendered};

fn source() -> Source {
    Source::read_dir(&Path::new(env!("CARGO_MANIFEST_DIR")).join("config")).unwrap()
}

fn configuration() -> Configuration {
    check(&source()).configuration.unwrap()
}

#[test]
fn the_shipped_configuration_is_clean() {
    assert_eq!(rendered(&source(), Lang::En), "");
    assert_eq!(configuration().campaigns.len(), 3);
}

mod segments_oracle;
//! The one integration-test binary.

mod schedule;
mod sends_oracle;
//! Everything haishin promises, from outside.

mod line_http;
mod sandbox;
//! The one integration-test binary.

mod store_contract;
mod support;
mod import_csv;

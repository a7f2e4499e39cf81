//! The one integration-test binary: everything haishin promises, from outside.

mod import_csv;
mod line_http;
mod phone;
mod sandbox;
mod schedule;
mod segments_oracle;
mod sends_oracle;
mod store_contract;
mod support;
//! The one integration-test binary.

mod config;
mod planner;
mod schedule;
mod sends_oracle;
mod http_health;
mod import_csv;
mod lifecycle;
mod systemd;
mod telemetry;

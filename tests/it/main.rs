//! The one integration-test binary: everything haishin promises, from outside.

mod commands;
mod config;
mod control;
mod hillstrom;
mod http_health;
mod import_csv;
mod isolation;
mod lifecycle;
mod line_http;
mod openapi;
mod phone;
mod planner;
mod sandbox;
mod schedule;
mod segments_oracle;
mod sends_oracle;
mod settles;
mod store_contract;
mod support;
mod systemd;
mod telemetry;

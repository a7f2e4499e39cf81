//! The one integration-test binary: everything haishin promises, from outside.

mod architecture;
mod config;
mod control;
mod demo;
mod docs;
mod http_health;
mod import_csv;
mod kill;
mod lifecycle;
mod line_http;
mod openapi;
mod phone;
mod planner;
mod restart;
mod sandbox;
mod schedule;
mod segments_oracle;
mod sender_run;
mod sending;
mod sends_oracle;
mod settles;
mod store_contract;
mod support;
mod systemd;
mod telemetry;

//! Everything haishin promises, from outside.

mod control;
mod line_http;
mod openapi;
mod phone;
mod sandbox;
mod settles;

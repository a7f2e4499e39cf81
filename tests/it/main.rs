//! Everything haishin promises, from outside.

mod line_http;
mod openapi;
mod phone;
mod sandbox;

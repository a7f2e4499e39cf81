//! Everything haishin promises, from outside.

mod line_http;
mod phone;
mod sandbox;

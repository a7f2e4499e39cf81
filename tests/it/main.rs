//! Everything haishin promises, from outside.

mod line_http;
mod sandbox;

mod http_health;
mod import_csv;
mod lifecycle;
mod telemetry;

mod http_health;
mod import_csv;
mod lifecycle;
mod systemd;
mod telemetry;

mod import_csv;
mod lifecycle;
mod telemetry;

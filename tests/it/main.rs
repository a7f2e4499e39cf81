mod import_csv;
mod telemetry;

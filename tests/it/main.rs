mod import_csv;

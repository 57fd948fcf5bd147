"""Sources of rows: a file or a folder for each kind of source."""

"""Delta tables: where they are, reading, replacing dates, inserting what is new."""

"""An entity and a curated table as a newcomer adds them: a file for each, and a line of each registry."""

"""A table of the shop and a curated table as somebody would add them: a file for each, and a line of each registry."""

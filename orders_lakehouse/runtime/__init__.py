"""Everything that is borrowed from private parts of libraries. README.md lists each piece and what it saves."""

"""All code that uses private parts of libraries. README.md lists each piece and what it saves."""

"""How rows arrive: one file for each kind of source."""

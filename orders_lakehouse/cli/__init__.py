"""What people see on the terminal: a module for each command's body, and the tables and charts they share."""

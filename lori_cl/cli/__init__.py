"""The command line: each command parses, validates, makes one library call and prints the result."""

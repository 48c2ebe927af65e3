"""One-shot jobs: read, call the deciders, write, return a summary. A command runs one and prints it."""

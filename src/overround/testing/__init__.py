"""Fakes and generators for tests, beside the stack: may import any room, no room imports it."""

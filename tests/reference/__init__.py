"""Oracles: each optimizer as the literature has it, in plain loops that share nothing with the library."""

"""How each method is shown to work: one experiment per file, `run(seed, quick) -> Outcome` and what it claims."""

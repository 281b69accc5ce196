"""The commands of `headway`, one small function each, which imports what it needs when it runs (see mbrl.cli)."""

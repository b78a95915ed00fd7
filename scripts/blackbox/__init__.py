"""Black-box suites: fault suites, audits and checks that need no code of the programs."""

"""Pure decisions: the same values give the same answer, with time as an argument."""

"""Budgets on the run's row: what a call may cost is held before it is made and settled once after."""

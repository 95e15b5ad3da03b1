"""Moving to a new space: what was learned in the old one, carried to the new one, and what that costs."""

"""What must hold: a test file for each file above, and what they share."""

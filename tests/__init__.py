"""What must hold: tests lie as what they test does, and share what is listed here."""

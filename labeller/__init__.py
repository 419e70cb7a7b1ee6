"""Where people judge transcripts."""

"""What puts the loop on machines; it may start anything and is imported by nothing."""

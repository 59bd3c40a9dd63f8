"""What is written and read: whole or not at all, and nothing believed that was not checked."""

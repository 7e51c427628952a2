"""What a server does under load, alone, when it is stopped, and when clients are hostile."""

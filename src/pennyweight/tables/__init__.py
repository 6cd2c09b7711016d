"""What commands print for people on stdout."""

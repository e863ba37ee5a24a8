"""One file per revision; a revision never changes once released."""

"""One run: what it was asked, what it loads, what it wrote. Scripts and report/ import this room."""

"""One run: what it was asked, what it loads, what it wrote. Scripts import this room; no other room does."""

"""After the runs: result files and logs read back, the tables and pictures made of them."""

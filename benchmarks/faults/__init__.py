"The trials of `python benchmarks/faults.py`: one module for each test, and `bench` for what they share."

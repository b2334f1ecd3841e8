"""How programs become invocations: our decorators, and one module for each library we instrument."""

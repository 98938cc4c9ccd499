"""What the documentation site is made with beside mkdocs: hooks that it calls, and tables made from the code."""

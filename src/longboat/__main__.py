"""`python -m longboat`: the command line."""

from __future__ import annotations

if __name__ == "__main__":
    from longboat.cli.main import main

    main()

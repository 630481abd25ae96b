"""`python -m tools.gpu`."""

from .run import main

raise SystemExit(main())

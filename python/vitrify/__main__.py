"""python -m vitrify"""
import sys

from vitrify.cli import main

sys.exit(main())

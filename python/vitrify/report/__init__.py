"""What is in a bundle, and what it does on some images, as one page: `collect` gathers the figures, `page` writes them as HTML."""
from vitrify.report.collect import collect
from vitrify.report.page import page

__all__ = ["collect", "page"]

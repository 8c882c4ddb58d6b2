"""vitrify: an ahead-of-time compiler for vision transformers; this package imports models and drives the tools."""

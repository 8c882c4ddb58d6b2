"""vitrify: an ahead-of-time compiler for vision transformers; this package imports models and drives the tools."""
from vitrify.compiler import CompileOptions
from vitrify.compiler import compile_model as compile

__all__ = ["CompileOptions", "compile"]

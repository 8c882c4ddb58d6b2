"""vitrify: an ahead-of-time compiler for vision transformers.

`vitrify.compile(model, images, output)` makes a bundle, `vitrify.Program(bundle)` runs it inside this process, `vitrify.emulator` runs PTX where
there is no GPU, and the command `vitrify` does the same from a shell.
"""
from vitrify.compiler import CompileOptions
from vitrify.compiler import compile_model as compile
from vitrify.errors import VitrifyError
from vitrify.runtime import Argument, Context, Entry, Program, StepTime, Symbol

__version__ = "0.1.0"
__all__ = ["Argument", "CompileOptions", "Context", "Entry", "Program", "StepTime", "Symbol", "VitrifyError", "compile"]

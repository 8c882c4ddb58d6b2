"""Models of other frameworks -> the vit dialect. No framework is needed: the importer reads configurations and tensor names."""
from vitrify.importer.hf import Imported, import_folder

__all__ = ["Imported", "import_folder"]

"""The plan of a compiled model as text of the plan dialect, and back to the same bytes."""
from vitrify.importer import import_folder
from vitrify.tools import run_tool


def test_plan_of_a_model_survives_the_text(small_model, tmp_path):
    import_folder(small_model, tmp_path / "m.mlir")
    run_tool("vitrify-compile", [tmp_path / "m.mlir", "-o", tmp_path / "b", "--target=x86-64-v3"])
    (plan,) = (tmp_path / "b" / "targets").glob("*/plan.json")
    run_tool("vitrify-translate", ["--json-to-plan", plan, "-o", tmp_path / "plan.mlir"])
    text = run_tool("vitrify-opt", [tmp_path / "plan.mlir"])
    assert "plan.launch" in text and "plan.return" in text
    assert run_tool("vitrify-translate", ["--plan-to-json", "-"], stdin=text) == plan.read_text()

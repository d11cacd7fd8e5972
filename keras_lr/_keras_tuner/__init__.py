"""The only folder that touches what KerasTuner keeps to itself.

Nothing here is imported with the rest: KerasTuner loads TensorBoard.
"""

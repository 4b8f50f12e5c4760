"""The engine: `async def` over effects and nothing else."""

"""The offline harness: benchmarks and checks, outside the wheel; imports only mmllm's public parts."""

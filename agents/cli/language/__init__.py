"""The commands on language models: `exactrl train --model`, `exactrl verify --model`."""

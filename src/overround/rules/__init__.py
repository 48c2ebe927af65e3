"""Reading the rules: words and fields of markets in, propositions and constraints out."""

__all__: list[str] = []
